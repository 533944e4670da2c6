"""Xet on loopback: bookkeeping around the directory store (`local://DIR`) inside the released hf_xet wheel.

The process that opens a store locks it, so every write token gets a directory of its own, and every read token a copy
of one that was built for the revision. Content goes to .git/lfs/objects at commit, where plain HTTP clients find it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from recipes.loopback.hub.repo import Err, Repo

_BUILD = (
    "import hf_xet, sys\n"
    "c = hf_xet.XetSession().new_upload_commit(endpoint=sys.argv[1])\n"
    "for p in sys.stdin.read().split(): c.start_upload_file(p, sha256=p[-64:])\n"
    "c.wait_to_finish()\n"
)


class Xet:
    """The stores below `root`."""

    def __init__(self, root: Path) -> None:
        import hf_xet

        self.hf_xet, self.root, self.number = hf_xet, root, 0
        root.mkdir(parents=True, exist_ok=True)
        self.map = root / "known.json"
        self.known = json.loads(self.map.read_text()) if self.map.exists() else {}  # sha256 -> [xet hash, size]

    def fresh(self, what: str) -> Path:
        """A directory that no process has opened yet."""
        self.number += 1
        return self.root / f"{what}-{os.getpid()}-{self.number}"

    def shards(self) -> Iterator[tuple[str, str, int, Path]]:
        """(sha256, xet hash, size, store) of all that clients have uploaded: shard files hold 48-byte records."""
        for file in self.root.glob("w-*/**/shards/*.mdb"):
            data, at = file.read_bytes(), 48
            while data[at : at + 32] != b"\xff" * 32:
                name = _hex(data[at : at + 32])
                flags, number = struct.unpack("<II", data[at + 32 : at + 40])
                at += 48
                sizes = (data[at + 48 * k + 36 : at + 48 * k + 40] for k in range(number))
                size = sum(struct.unpack("<I", word)[0] for word in sizes)
                at += 48 * number * (2 if flags >> 31 & 1 else 1)
                if flags >> 30 & 1:
                    yield _hex(data[at : at + 32]), name, size, self.root / file.relative_to(self.root).parts[0]
                    at += 48

    def fetch(self, sha256: str, path: Path) -> bool:
        """Write the content of a file that came through Xet to `path`; False where there is none."""
        shard = next((row for row in self.shards() if row[0] == sha256), None)
        if shard is None:
            return False
        _, name, size, store = shard
        copy, part = self.fresh("t"), path.with_suffix(".part")
        shutil.copytree(store, copy)
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.hf_xet.XetSession().new_file_download_group(endpoint=f"local://{copy}") as group:
            group.start_download_file(self.hf_xet.XetFileInfo(name, size), str(part))
        shutil.rmtree(copy, ignore_errors=True)
        if hashlib.sha256(part.read_bytes()).hexdigest() != sha256:
            raise Err(400, "xet: sha256 differs")
        part.replace(path)
        self.known[sha256] = [name, size]
        self.map.write_text(json.dumps(self.known))
        return True

    def reader(self, repo: Repo, sha: str) -> Path:
        """A store with every Xet file of a revision, for one reader."""
        base = self.root / f"b-{sha}"
        if not base.exists():
            large = {entry["lfs"]["oid"] for entry in repo.entries(sha, recursive=True) if "xetHash" in entry}
            files = "\n".join(str(repo.lfs_path(oid)) for oid in large)
            subprocess.run([sys.executable, "-c", _BUILD, f"local://{base}"], input=files, text=True, check=True)
        copy = self.fresh("r")
        shutil.copytree(base, copy)
        return copy


def _hex(data: bytes) -> str:
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", data))
