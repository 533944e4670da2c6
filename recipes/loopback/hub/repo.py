"""One repository of the loopback Hub: a git repository, LFS objects, and a small JSON file of settings."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tempfile
import time
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from recipes.loopback.hub.cards import front_matter


class Known(Protocol):
    """What a repository asks the Xet store: which LFS files came through it."""

    known: dict[str, list[Any]]


class Host(Protocol):
    """What a repository needs to know of the Hub that it stands on."""

    root: Path
    outputs: dict[Any, bytes]  # of git commands that always give the same

    @property
    def xet(self) -> Known | None:
        """The Xet store, where Xet is on."""
        ...

    @property
    def lacks(self) -> dict[str, int]:
        """What this Hub does not have."""
        ...


TYPES = {"model": "models", "dataset": "datasets", "space": "spaces"}
SINGULAR = {plural: kind for kind, plural in TYPES.items()}
PREFIX = {"model": "", "dataset": "datasets/", "space": "spaces/"}
SHA = re.compile(r"[0-9a-f]{40}")
POINTER = re.compile(rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d+)\n")
LFS_EXT = tuple(
    "7z arrow bin bz2 ckpt ftz gz h5 joblib lfs.* mlmodel model msgpack npy npz onnx ot parquet pb pickle pkl pt pth "  # noqa: SIM905
    "rar safetensors tar tflite tgz wasm xz zip zst".split()
)
MEDIA_EXT = tuple("pcm sam raw aac flac mp3 ogg wav bmp gif png tiff jpg jpeg webp mp4 webm".split())  # noqa: SIM905
_REMEMBERED = 100_000  # bytes of an output at most
Operation = tuple[str, ...]  # ("add", path, blob), ("rm", path) or ("rmdir", path)


class Err(Exception):
    """An answer other than 200: status, message, and the Hub's X-Error-Code."""

    def __init__(
        self, status: int, message: str, code: str | None = None, body: Any = None, headers: Any = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.body, self.headers = status, message, code, body, headers or {}


def stamp(seconds: float) -> str:
    """The client parses dates with '%Y-%m-%dT%H:%M:%S.%fZ' and nothing else."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(int(seconds)))


def now() -> str:
    """The time as the Hub writes it."""
    return stamp(time.time())


class Repo:
    """A repository `rid` (owner/name) of a kind; it may not exist yet."""

    def __init__(self, hub: Host, kind: str, rid: str) -> None:
        self.hub, self.kind, self.id = hub, kind, rid
        self.dir = hub.root / TYPES[kind] / rid
        self.gd = self.dir / ".git"
        self.meta_path = self.gd / "loopback.json"

    # ---- git
    def git(self, *arguments: str, input: bytes | None = None, env: dict[str, str] | None = None) -> bytes:
        """Output of a git command. Raises RuntimeError."""
        out = self.ask_git(*arguments, input=input, env=env)
        if out is None:
            raise RuntimeError(f"git {' '.join(arguments)[:200]} failed")
        return out

    def ask_git(self, *arguments: str, input: bytes | None = None, env: dict[str, str] | None = None) -> bytes | None:
        """Output of a git command, None when it fails."""
        environment = {**os.environ, "GIT_DIR": str(self.gd), "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(self.hub.root)}
        run = subprocess.run(["git", *arguments], input=input, capture_output=True, env={**environment, **(env or {})})
        return None if run.returncode else run.stdout

    def git_once(self, *arguments: str, input: bytes | None = None) -> bytes:
        """Output of a git command about objects by their ids, which never change. Raises RuntimeError."""
        key = (self.gd, arguments, input)
        if key in self.hub.outputs:
            return self.hub.outputs[key]
        out = self.git(*arguments, input=input)
        if len(out) < _REMEMBERED:
            self.hub.outputs[key] = out
        return out

    @property
    def exists(self) -> bool:
        """Whether it was created."""
        return self.meta_path.exists()

    def load(self) -> dict[str, Any]:
        """Its settings and discussions."""
        return json.loads(self.meta_path.read_text())

    def save(self, meta: dict[str, Any]) -> None:
        """Write what `load` reads."""
        temporary = self.meta_path.with_suffix(".tmp")
        temporary.write_text(json.dumps(meta, indent=1))
        temporary.replace(self.meta_path)

    def create(self, meta: dict[str, Any], user: str) -> None:
        """Make the git repository, with the commit that the Hub begins with."""
        self.dir.mkdir(parents=True)
        subprocess.run(["git", "init", "-q", "-b", "main", str(self.dir)], check=True)
        self.save({**meta, "created": now(), "discussions": [], "variables": {}, "secrets": {}})
        extensions = LFS_EXT + (MEDIA_EXT if self.kind == "dataset" else ())
        attributes = "".join(f"*.{extension} filter=lfs diff=lfs merge=lfs -text\n" for extension in extensions)
        files = {".gitattributes": attributes.encode()}
        if self.kind == "space":
            title = self.id.split("/")[1]
            files["README.md"] = (
                f"---\ntitle: {title}\nemoji: 🚀\ncolorFrom: blue\ncolorTo: gray\nsdk: {meta['sdk']}\n"
                "app_file: app.py\npinned: false\n---\n"
            ).encode()
        adds = [("add", path, self.blob(content)) for path, content in files.items()]
        self.commit("refs/heads/main", None, "initial commit", user, adds)

    def blob(self, content: bytes) -> str:
        """Keep content as a loose git object and return its id (in Python: a process a file would be slow)."""
        data = b"blob %d\0" % len(content) + content
        oid = hashlib.sha1(data, usedforsecurity=False).hexdigest()
        path = self.gd / "objects" / oid[:2] / oid[2:]
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(zlib.compress(data))
        return oid

    @staticmethod
    def ref_of(revision: str) -> str:
        """Full name of a branch or pull-request ref that can be committed to."""
        return revision if revision.startswith("refs/") else f"refs/heads/{revision}"

    def resolve(self, revision: str) -> str:
        """Commit of a branch, tag, ref or (short) hash. Raises a 404 `Err`."""
        candidates = [revision] if revision.startswith("refs/") else [f"refs/heads/{revision}"]
        if not revision.startswith("refs/") and "tag_reads" not in self.hub.lacks:
            candidates.append(f"refs/tags/{revision}")
        if re.fullmatch(r"[0-9a-f]{7,40}", revision):
            candidates.append(revision)
        asked = "".join(candidate.replace("\n", " ") + "^{commit}\n" for candidate in candidates)
        out = self.ask_git("cat-file", "--batch-check=%(objectname) %(objecttype)", input=asked.encode()) or b""
        for line in out.splitlines():
            if commit := re.fullmatch(rb"([0-9a-f]{40}) commit", line):
                return commit[1].decode()
        raise Err(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def commit(self, ref: str, parent: str | None, message: str, user: str, operations: Sequence[Operation]) -> str:
        """A commit on top of `parent` with these operations; returns its hash."""
        with tempfile.TemporaryDirectory() as scratch:
            env = {"GIT_INDEX_FILE": f"{scratch}/index"}
            if parent:
                self.git("read-tree", parent, env=env)
            lines = b""
            for name, path, *blob in operations:
                if name == "add":
                    lines += f"100644 {blob[0]} 0\t{path}".encode() + b"\0"
                elif name == "rm":
                    lines += f"0 {'0' * 40} 0\t{path}".encode() + b"\0"
                else:
                    inside = self.git("ls-files", "-z", "--", path.rstrip("/") + "/", env=env).split(b"\0")
                    lines += b"".join(b"0 " + b"0" * 40 + b" 0\t" + file + b"\0" for file in inside if file)
            if lines:
                self.git("update-index", "-z", "--index-info", input=lines, env=env)
            tree = self.git("write-tree", env=env).decode().strip()
        return self.commit_tree(ref, tree, [parent] if parent else [], message, user, parent)

    def commit_tree(self, ref: str, tree: str, parents: list[str], message: str, user: str, old: str | None) -> str:
        """A commit of a tree, on which `ref` stands afterwards; returns its hash."""
        roles = ("AUTHOR", "COMMITTER")
        who = {f"GIT_{r}_{k}": v for r in roles for k, v in (("NAME", user), ("EMAIL", f"{user}@localhost"))}
        flags = [word for parent in parents for word in ("-p", parent)]
        sha = self.git("commit-tree", tree, *flags, input=message.encode(), env=who).decode().strip()
        self.git("update-ref", ref, sha, *([old] if old else []))
        return sha

    # ---- trees
    def entries(self, sha: str, path: str = "", recursive: bool = False) -> list[dict[str, Any]]:
        """`git ls-tree` as a list of the API's dictionaries."""
        inside = [path.rstrip("/") + "/"] if path else []
        out = self.git_once("ls-tree", "-l", "-z", *(["-r", "-t"] if recursive else []), sha, "--", *inside)
        rows = [row for row in self._rows(out) if row[3].rstrip("/") != path.rstrip("/") or not path]
        if path and not rows:
            raise Err(404, f'Entry "{path}" does not exist', "EntryNotFound")
        return [e for e in self._entries(rows) if not (e["type"] == "directory" and path.startswith(e["path"] + "/"))]

    def entries_exact(self, sha: str, paths: list[str]) -> list[dict[str, Any]]:
        """The entries at these paths; what is not there is left out."""
        rows = []
        for path in (path.strip("/") for path in paths):
            rows += [row for row in self._rows(self.git_once("ls-tree", "-l", "-z", sha, "--", path)) if row[3] == path]
        return list(self._entries(rows))

    @staticmethod
    def _rows(out: bytes) -> list[tuple[str, str, int, str]]:
        rows = []
        for line in filter(None, out.split(b"\0")):
            head, path = line.split(b"\t", 1)
            _, kind, oid, size = head.decode().split()
            rows.append((kind, oid, 0 if size == "-" else int(size), path.decode()))
        return rows

    def _entries(self, rows: list[tuple[str, str, int, str]]) -> list[dict[str, Any]]:
        pointers = self.pointers([oid for kind, oid, size, _ in rows if kind == "blob" and 120 < size < 200])
        entries = []
        for kind, oid, size, path in rows:
            entry: dict[str, Any] = {"type": "directory", "oid": oid, "size": 0, "path": path}
            if kind == "blob":
                entry.update(type="file", size=size)
                if oid in pointers:
                    self._large(entry, *pointers[oid])
            entries.append(entry)
        return entries

    def _large(self, entry: dict[str, Any], oid: str, size: int) -> None:
        entry.update(lfs={"oid": oid, "size": size, "pointerSize": entry["size"]}, size=size)
        if self.hub.xet and oid in self.hub.xet.known:
            entry["xetHash"] = self.hub.xet.known[oid][0]

    def pointers(self, oids: list[str]) -> dict[str, tuple[str, int]]:
        """Blob -> (sha256, size) of those blobs that are LFS pointers."""
        if not oids:
            return {}
        out, contents, at = self.git_once("cat-file", "--batch", input="\n".join(oids).encode()), {}, 0
        while at < len(out):
            end = out.index(b"\n", at)
            oid, _, length = out[at:end].split()
            match = POINTER.fullmatch(out[end + 1 : end + 1 + int(length)])
            if match:
                contents[oid.decode()] = (match[1].decode(), int(match[2]))
            at = end + 2 + int(length)
        return contents

    def file(self, sha: str, path: str) -> dict[str, Any]:
        """The entry of one file. Raises a 404 `Err`."""
        for entry in self.entries_exact(sha, [path]):
            if entry["type"] == "file":
                return entry
        raise Err(404, "Entry not found", "EntryNotFound", headers={"X-Repo-Commit": sha})

    def read(self, entry: dict[str, Any]) -> bytes:
        """Content of a file, wherever it is kept."""
        if "lfs" in entry:
            return self.lfs_path(entry["lfs"]["oid"]).read_bytes()
        return self.git_once("cat-file", "blob", entry["oid"])

    def last_commit(self, sha: str, path: str) -> dict[str, str]:
        """The commit that last changed a path."""
        out = self.git_once("log", "-1", "--format=%H%x00%s%x00%ct", sha, "--", path).decode().strip()
        oid, title, date = out.split("\0")
        return {"id": oid, "title": title, "date": stamp(int(date))}

    def lfs_path(self, oid: str) -> Path:
        """Where an LFS object lies."""
        return self.gd / "lfs" / "objects" / oid[:2] / oid[2:4] / oid

    def card(self, sha: str) -> dict[str, Any]:
        """Front matter of README.md; empty where there is none."""
        try:
            return front_matter(self.read(self.file(sha, "README.md")).decode("utf-8", "replace")) or {}
        except (Err, ValueError):
            return {}

    # ---- documents
    def info(self, sha: str, blobs: bool = False, siblings: bool = True) -> dict[str, Any]:
        """The document of GET /api/T/id."""
        meta, card = self.load(), self.card(sha)
        tags = [tag for tag in (card.get("tags") or []) if isinstance(tag, str)]
        if card.get("license"):
            tags.append(f"license:{card['license']}")
        record = {
            "_id": hashlib.md5(f"{self.kind}/{self.id}".encode()).hexdigest()[:24], "id": self.id,
            "author": self.id.split("/")[0], "sha": sha, "lastModified": self.last_commit(sha, ".")["date"],
            "createdAt": meta["created"], "private": meta["private"], "gated": meta.get("gated", False),
            "disabled": False, "tags": tags, "downloads": 0, "likes": 0, "cardData": card or None,
        }  # fmt: skip
        if siblings:
            files = [entry for entry in self.entries(sha, recursive=True) if entry["type"] == "file"]
            record["siblings"] = [self._sibling(entry, blobs) for entry in files]
        if self.kind == "model":
            record.update(modelId=self.id, pipeline_tag=card.get("pipeline_tag"), library_name=card.get("library_name"))
        if self.kind == "space":
            subdomain = self.id.replace("/", "-")
            record.update(sdk=meta.get("sdk"), runtime=self.runtime(meta), subdomain=subdomain, models=[], datasets=[])
        return {key: value for key, value in record.items() if value is not None}

    @staticmethod
    def _sibling(entry: dict[str, Any], blobs: bool) -> dict[str, Any]:
        sibling = {"rfilename": entry["path"]}
        if blobs:
            sibling.update(size=entry["size"], blobId=entry["oid"])
            if "lfs" in entry:
                lfs = entry["lfs"]
                sibling["lfs"] = {"sha256": lfs["oid"], "size": lfs["size"], "pointerSize": lfs["pointerSize"]}
        return sibling

    @staticmethod
    def runtime(meta: dict[str, Any]) -> dict[str, Any]:
        """What the Hub says of a Space that runs."""
        hardware = meta.get("hardware", "cpu-basic")
        return {
            "stage": meta.get("stage", "RUNNING"), "hardware": {"current": hardware, "requested": hardware},
            "storage": None, "gcTimeout": meta.get("gcTimeout", 172800), "replicas": {"requested": 1},
            "devMode": False, "domains": [],
        }  # fmt: skip
