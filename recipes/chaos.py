"""`make chaos`: counts items that are lost, doubled or paid for twice under faults, kill -9 and rivals. All must be 0.

    python -m recipes.chaos              # a few minutes; --no-release leaves the longest part out

1. A served judge fails in three of ten answers: errors, rate limits, dropped connections, half a reply.
2. `score` is killed (SIGKILL) at random moments and run again until it is done.
3. Three processes at once are sent into one folder of results.
4. A release goes to a Hub on loopback that fails every few requests; the first try is killed as it commits.

Everything runs as a user runs it, over real HTTP. A call that is answered while its client is being killed is lost on
the wire. It is counted apart, because no client can know of it.
"""

from __future__ import annotations

import asyncio
import csv
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, astuple, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from recipes.loopback.http import Response, serve_connection
from t2i_judge.cli.results import add_json, show
from t2i_judge.errors import UserError
from t2i_judge.layout import plain_table, terminal_width
from t2i_judge.running import command
from t2i_judge.terminal import Parser, note

if TYPE_CHECKING:
    from recipes.hub.repositories import Repository
    from recipes.loopback.hub.server import Hub

ITEMS, FAULTS, KILLS, RIVALS = 200, 0.3, 6, 3
_CONCURRENCY = 32  # most of the time, a call that failed waits to be made again
_CLI = "from t2i_judge.cli import main; raise SystemExit(main())"
_LIMIT = 600  # seconds that one command may take


@dataclass(frozen=True)
class Toll:
    """What one trial cost. `on the wire`: calls that were answered to a process that was being killed."""

    ordeal: str
    items: int
    faults: int
    lost: int
    doubled: int
    paid_twice: int
    on_the_wire: int
    seconds: float

    @property
    def clean(self) -> bool:
        """Nothing lost, nothing doubled, nothing paid twice."""
        return not (self.lost or self.doubled or self.paid_twice)


class Faulty:
    """A model that rates every picture by the hash of the request, and fails at random with `share` of its calls."""

    def __init__(self, share: float, seconds: float = 0.03) -> None:
        self.share, self.seconds, self.url = share, seconds, ""
        self.random = random.Random(0)
        self.paid: Counter[str] = Counter()
        self.faults = self.busy = 0  # busy: calls at work

    async def handle(self, method: str, path: str, body: bytes) -> Response:
        """One request; what is answered in full is paid for."""
        self.busy += 1
        try:
            await asyncio.sleep(self.seconds)
            return self._answer(path, body)
        finally:
            self.busy -= 1

    def _answer(self, path: str, body: bytes) -> Response:
        if not path.endswith("/chat/completions"):
            return Response({"object": "list", "data": []})
        reply = self._reply(body)
        if self.random.random() < self.share:
            self.faults += 1
            return self.random.choice(
                (Response({}, 500), Response({}, 429, {"Retry-After": "0"}), Response(drop=True), Response(reply[:90]))
            )
        self.paid[sha256(body).hexdigest()] += 1
        return Response(reply)

    @staticmethod
    def _reply(body: bytes) -> str:
        score = int(sha256(body).hexdigest(), 16) % 11
        verdict = {"explanation": "as drawn", "score": score, "naturalness": score, "artifacts": score}
        choice = {
            "index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": json.dumps(verdict)},
        }  # fmt: skip
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        head = {"id": "c", "object": "chat.completion", "created": 0, "model": "faulty"}
        return json.dumps({**head, "choices": [choice], "usage": usage})

    @contextmanager
    def served(self) -> Iterator[Faulty]:
        """The model on loopback, in a thread of its own."""
        loop = asyncio.new_event_loop()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.CancelledError):
                await serve_connection(self.handle, reader, writer)

        server = loop.run_until_complete(asyncio.start_server(connected, "127.0.0.1", 0, limit=1 << 20))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)

    def twice(self) -> int:
        """Calls that were paid for after they had been paid for."""
        return sum(times - 1 for times in self.paid.values())


def table_of_pictures(folder: Path) -> Path:
    """Pictures that differ, and a table of them."""
    rows = []
    for number in range(ITEMS):
        Image.new("RGB", (8, 8), (number, 255 - number, 7)).save(folder / f"{number}.png")
        rows.append(f"picture {number},{number}.png\n")
    table = folder / "table.csv"
    table.write_text("prompt,image\n" + "".join(rows), encoding="utf-8")
    return table


def _score(table: Path, out: Path, model: Faulty, *more: str) -> list[str]:
    judge = f"direct+openai:faulty@{model.url}"
    options = ["--concurrency", str(_CONCURRENCY), "--shard-size", "40", *more]
    return [sys.executable, "-c", _CLI, "score", str(table), "--judge", judge, "--out", str(out), *options]


def _run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, check=False, timeout=_LIMIT)


def _finish(table: Path, out: Path, model: Faulty) -> None:
    """Run until every item is judged. Raises `UserError` when that does not come about."""
    for _ in range(10):
        run = _run(_score(table, out, model, "--retry-failed"))
        if run.returncode == 0:
            return
    raise UserError("The run never finished without failures", run.stderr[-300:], "This is a bug in t2i-judge")


def _items(out: Path) -> tuple[int, int]:
    """(lost, doubled) of the items in scores.csv."""
    with (out / "scores.csv").open(encoding="utf-8", newline="") as rows:
        ok = Counter(row["prompt"] for row in csv.DictReader(rows) if row["status"] == "ok")
    return ITEMS - len(ok), sum(ok.values()) - len(ok)


def faults(table: Path, folder: Path) -> Toll:
    """Three in ten replies fail."""
    start = time.monotonic()
    with Faulty(FAULTS).served() as model:
        _finish(table, folder / "faults", model)
        lost, doubled = _items(folder / "faults")
        return Toll("faulty server", ITEMS, model.faults, lost, doubled, model.twice(), 0, _since(start))


def kills(table: Path, folder: Path) -> Toll:
    """Killed at random moments; the scores must be those of a run in peace."""
    start, out, chance = time.monotonic(), folder / "killed", random.Random(1)
    with Faulty(0, 0.1).served() as model:
        wire = killed = 0
        for _ in range(KILLS):
            before = model.paid.total(), _stored(out)
            process = subprocess.Popen(_score(table, out, model), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            wanted = before[0] + chance.randrange(1, ITEMS // KILLS)
            while process.poll() is None and model.paid.total() < wanted:
                time.sleep(0.01)
            time.sleep(chance.random() / 10)
            killed += process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.communicate()
            while model.busy:  # what was sent is answered, and paid for
                time.sleep(0.05)
            wire += (model.paid.total() - before[0]) - (_stored(out) - before[1])
        _finish(table, out, model)
        twice = model.twice() - wire
    with Faulty(0, 0.01).served() as peaceful:
        _finish(table, folder / "peace", peaceful)
    lost, doubled = _items(out)
    lost += (out / "scores.csv").read_bytes() != (folder / "peace" / "scores.csv").read_bytes()
    return Toll("kill -9, again", ITEMS, killed, lost, doubled, twice, wire, _since(start))


def _stored(out: Path) -> int:
    """Replies that the run's cache holds."""
    cache = out / "calls.sqlite"
    if not cache.is_file():
        return 0
    with closing(sqlite3.connect(cache)) as database, suppress(sqlite3.OperationalError):  # no table yet
        return int(database.execute("SELECT count(*) FROM replies").fetchone()[0])
    return 0


def rivals(table: Path, folder: Path) -> Toll:
    """Several processes in one folder: one works, the others are told so."""
    start, out = time.monotonic(), folder / "rivals"
    with Faulty(0).served() as model:
        processes = [
            subprocess.Popen(_score(table, out, model), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for _ in range(RIVALS)
        ]
        errors = [process.communicate(timeout=_LIMIT)[1] for process in processes]
        refused = sum("is in use" in error for error in errors)
        _finish(table, out, model)
        lost, doubled = _items(out)
        return Toll("one folder", ITEMS, refused, lost, doubled, model.twice(), 0, _since(start))


def release(folder: Path) -> Toll:
    """A release to a Hub that fails, killed once as it commits: the Hub ends with the manifests' files, no others."""
    from recipes.hub.repositories import repositories
    from recipes.loopback.hub.server import Fault, start
    from recipes.recipe.config import ROOT, load_recipe
    from recipes.rehearsal import NAMESPACE, TOKEN, Rehearsal
    from t2i_judge import __version__

    begin, recipe = time.monotonic(), load_recipe("smoke")
    command = [sys.executable, "-m", "recipes.release", "--recipe", "smoke", "--allow", "baseline"]
    command += ["--stage", str(folder / "release-smoke"), "--namespace", NAMESPACE]
    running = start(folder / "hub", users={TOKEN: NAMESPACE})
    hub = running.hub
    try:
        rehearsal = Rehearsal(running, folder, xet=False, private=False)
        quiet: dict[str, Any] = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, env=rehearsal.environment(), **quiet)  # builds what is not built
        while process.poll() is None and not any("/commit/" in call for call in hub.calls):
            time.sleep(0.02)
        process.kill()
        if process.wait() != -signal.SIGKILL:
            raise UserError("The release ended before its first commit", "", "Run make release RECIPE=smoke to see why")
        hub.faults += [Fault("POST .*/commit/", kind, times=1) for kind in (503, "drop", "drop_after", "garbled")]
        hub.faults += [Fault("(GET|HEAD) ", kind, times=2) for kind in (500, "drop")]
        planned = sum(fault.times for fault in hub.faults)
        for _ in range(5):
            if not subprocess.run(command, env=rehearsal.environment(), timeout=_LIMIT, **quiet).returncode:
                break
        met = planned - sum(fault.times for fault in hub.faults)
        hub.faults.clear()
        before = len(hub.calls)
        rehearsal.release("smoke", __version__, "baseline", silent=True)
        again = sum("/commit/" in call for call in hub.calls[before:])
        lost, more, files = 0, 0, 0
        for repository in repositories(recipe):
            missing, strange, count = _compare(hub, repository)
            lost, more, files = lost + missing, more + strange, files + count
        return Toll("failing Hub", files, met + 1, lost, more, again, 0, _since(begin))
    finally:
        running.stop()


def _compare(hub: Hub, repository: Repository) -> tuple[int, int, int]:
    """(missing or other, strange, all) of a repository's files on the Hub, by its own manifest."""
    from recipes.hub.repositories import MANIFEST
    from recipes.loopback.hub.repo import Repo
    from recipes.rehearsal import NAMESPACE

    repo = Repo(hub, repository.kind, repository.id(NAMESPACE))
    head = repo.resolve("main")
    wanted = json.loads(repo.read(repo.file(head, MANIFEST)))["files"]
    there = {entry["path"] for entry in repo.entries(head, recursive=True) if entry["type"] == "file"}
    missing = sum(
        path not in there or sha256(repo.read(repo.file(head, path))).hexdigest() != entry["sha256"]
        for path, entry in wanted.items()
    )
    return missing, len(there - wanted.keys() - {MANIFEST, ".gitattributes"}), len(wanted)


def _since(start: float) -> float:
    return round(time.monotonic() - start, 1)


def table_of(tolls: Sequence[Toll]) -> str:
    """The tolls, in columns."""
    names = [field.name.replace("_", " ") for field in fields(Toll)]
    return plain_table([names, *([str(value) for value in astuple(toll)] for toll in tolls)], terminal_width())


@command("chaos", "Run the same command again.")
def main(argv: Sequence[str] | None = None) -> int:
    """Run all trials and print the table. Returns 1 if anything was lost, doubled or paid for twice."""
    parser = Parser(prog="recipes.chaos", description="Count items that are lost, doubled or paid twice under faults.")
    parser.add_argument("--no-release", action="store_true", help="leave out the release to a failing Hub")
    add_json(parser)
    arguments = parser.parse_args(argv)
    folder, tolls = Path(tempfile.mkdtemp(prefix="chaos-")), list[Toll]()
    try:
        table = table_of_pictures(folder)
        for ordeal in (faults, kills, rivals):
            note(f"[chaos] {ordeal.__doc__}")
            tolls.append(ordeal(table, folder))
        if not arguments.no_release:
            note(f"[chaos] {release.__doc__}")
            tolls.append(release(folder))
    except subprocess.TimeoutExpired as error:
        raise UserError(
            f"A command took longer than {error.timeout:.0f} s",
            "It hangs, or this machine is busy",
            "Run the command again on an idle machine",
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        text = f"{table_of(tolls)}\n{sum(toll.seconds for toll in tolls):.0f} seconds"
        show(arguments, text, [asdict(toll) for toll in tolls])  # of those that ended
    return 0 if all(toll.clean for toll in tolls) else 1


if __name__ == "__main__":
    raise SystemExit(main())
