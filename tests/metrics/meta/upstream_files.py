"""Small files in the layouts of the repositories that the shipped sets are read from, and folders that name them."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from t2i_judge.meta.reproduction import folder_of
from tests.waiting import PATIENCE

COMMIT = "c0ffee" + "0" * 34
TIFA = "human_annotations/human_annotations_with_scores.json"
RATINGS = "dsg/data/tifa160-likert-anns.csv"
TIFA_MODELS = {"mini-dalle": "mini_dalle", "sd1dot5": "stable_diffusion_v1_5"}


def tifa_file(images: Mapping[str, tuple[list[int], dict[str, float]]]) -> bytes:
    """TIFA's object of images: id -> human scores and metrics."""
    rows = {
        item: {
            "text_id": "_".join(item.split("_")[:2]), "image_path": f"{item}.jpg", "text": "a thing",
            "human_scores": scores, "human_avg": sum(scores) / len(scores), **metrics,
        }
        for item, (scores, metrics) in images.items()
    }  # fmt: skip
    return json.dumps(rows, indent=4).encode()


def ratings_file(ratings: Mapping[tuple[str, str, str], Mapping[str, int]]) -> bytes:
    """DSG's ratings, a line each: (model, item, source) -> worker -> rating."""
    rows = [
        ["tifa160", *key, worker, "How consistent is the image, text and all?", rating]
        for key, by_worker in ratings.items()
        for worker, rating in by_worker.items()
    ]
    return separated("dsg_prompt_split,t2i_model,item_id,source_id,worker_id,question,answer", rows)


def answers_file(qg: str, rows: list[list[Any]]) -> bytes:
    """DSG's answers; a row is split, model, item, question (with its id and its parents, unless of VQ2A), answer."""
    ids = "" if qg == "vq2a" else "question_id,dependency_id,"
    header = f"dsg_prompt_split,qg_model,t2i_model,item_id,question,{ids}answer"
    return separated(header, [[row[0], qg, *row[1:]] for row in rows])


def votes_file(votes: list[tuple[str, str | None]], prompts: bool = True) -> bytes:
    """GenAI-Bench's list of pairs: the people's vote and the judge's, in brackets."""
    texts = {"source_prompt": "a", "target_prompt": "b", "instruct_prompt": "c"} if prompts else {}
    rows = [
        {"idx": n, **texts, "response": "...", "model_vote": verdict, "human_vote": vote, "correct": False}
        for n, (vote, verdict) in enumerate(votes)
    ]
    return json.dumps(rows, indent=4).encode()


def separated(header: str, rows: list[list[Any]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header.split(","), *rows])
    return text.getvalue().encode()


def source_of(repository: str, path: str, data: bytes) -> dict[str, Any]:
    """The entry of sources.json for a file."""
    return {
        "repository": repository, "commit": COMMIT, "path": path, "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(), "license": "CC0-1.0",
    }  # fmt: skip


def write_set(folder: Path, rules: str, tables: Mapping[str, tuple[str, list[dict[str, Any]]]], published: Any) -> Path:
    """A set of one's own by the rules of a shipped one: table -> layout and files."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(folder_of(rules) / "figures.yaml", folder)
    (folder / "published.json").write_text(json.dumps(published))
    listed = {table: {"layout": layout, "files": files} for table, (layout, files) in tables.items()}
    (folder / "sources.json").write_text(json.dumps(listed))
    return folder


class Repositories:
    """Files by OWNER/NAME/COMMIT/PATH, what was asked for, and how the server answers instead (by path)."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.truncated: set[str] = set()
        self.silent: set[str] = set()
        self.address = ""

    def add(self, repository: str, path: str, data: bytes) -> dict[str, Any]:
        """Hand a file out; returns its entry for sources.json."""
        self.files[f"/{repository}/{COMMIT}/{path}"] = data
        return source_of(repository, path, data)


@contextmanager
def serving(repositories: Repositories) -> Iterator[Repositories]:
    """The repositories on loopback for a while."""

    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            repositories.requests.append(self.path)
            data = repositories.files.get(self.path)
            if self.path in repositories.silent:
                ended.wait(PATIENCE)
            if data is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            with suppress(ConnectionError):  # whoever asked had no patience
                self.wfile.write(data[: len(data) // 2] if self.path in repositories.truncated else data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    repositories.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield repositories
    finally:
        ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
