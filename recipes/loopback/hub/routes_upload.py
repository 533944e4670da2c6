"""Uploads: preupload, commit, LFS (basic and multipart), Xet tokens, and the storage host."""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import hmac
import json
import re
import secrets
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.loopback.hub.cards import validate_card
from recipes.loopback.hub.repo import PREFIX, SHA, SINGULAR, TYPES, Err, Operation, Repo
from recipes.loopback.hub.routes_social import new_discussion
from recipes.loopback.hub.server import route

if TYPE_CHECKING:
    from recipes.loopback.hub.server import Handler

REGULAR_MAX = 10 * 1024 * 1024
PART = 20 * 1024 * 1024  # LFS in several parts above this size
LFS_URL = r"/(?P<prefix>datasets/|spaces/)?(?P<ns>[^/]+)/(?P<name>[^/]+)\.git/info/lfs/objects"
STORE = r"/lfs/(?P<what>models|datasets|spaces)/(?P<rid>[^/]+/[^/]+)/(?P<oid>[0-9a-f]{64})"


def attributes_of(repo: Repo, sha: str) -> list[list[str]]:
    """The fields of every line of .gitattributes."""
    try:
        text = repo.read(repo.file(sha, ".gitattributes")).decode()
    except Err:
        return []
    return [line.split() for line in text.splitlines()]


def is_lfs(attributes: list[list[str]], path: str, size: int, sample: bytes) -> bool:
    """The Hub's rule of thumb: .gitattributes first, then size, then binary content."""
    verdict = None
    for fields in attributes:
        names = (path, path.rsplit("/", 1)[-1])
        if len(fields) > 1 and any(fnmatch.fnmatch(name, fields[0]) for name in names):
            verdict = "filter=lfs" in fields[1:]
    return size > REGULAR_MAX or b"\0" in sample if verdict is None else verdict


def need_upload(h: Handler, repo: Repo, rev: str) -> None:
    """Write access, or a pull request, which anybody may open, and its author may add to."""
    allowed = h.may_write(repo.id.split("/")[0]) or h.q.get("create_pr") or _wrote(h, repo, rev)
    if not h.user or not allowed:
        raise Err(403 if h.user else 401, "no write access")


def _wrote(h: Handler, repo: Repo, rev: str) -> bool:
    """Whether a revision is a pull request of the one who asks."""
    requests = {f"refs/pr/{record['num']}": record["author"]["name"] for record in repo.load()["discussions"]}
    return h.user is not None and requests.get(rev) == h.user


@route("POST", "{T}/preupload/(?P<rev>[^/]+)")
def preupload(h: Handler, repo: Repo, rev: str) -> None:
    need_upload(h, repo, rev)
    asked, sha, out = h.json(), repo.resolve(rev), []
    attributes = attributes_of(repo, sha)
    lines = (asked.get("gitIgnore") or "").splitlines()
    ignored = [line.rstrip("/") for line in lines if line.strip() and not line.startswith("#")]
    there = {entry["path"]: entry for entry in repo.entries(sha, recursive=True) if entry["type"] == "file"}
    for file in asked["files"]:
        path, sample = file["path"], base64.b64decode(file.get("sample") or "")
        large = file["size"] and is_lfs(attributes, path, file["size"], sample)
        skip = any(fnmatch.fnmatch(path, p) or fnmatch.fnmatch(path, p + "/*") for p in ignored)
        verdict = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": skip}
        if path in there:
            verdict["oid"] = there[path]["lfs"]["oid"] if "lfs" in there[path] else there[path]["oid"]
        out.append(verdict)
    h.send(200, {"files": out, "commitOid": sha})


@route("POST", "{T}/commit/(?P<rev>[^/]+)")
def commit(h: Handler, repo: Repo, rev: str) -> None:
    need_upload(h, repo, rev)
    parent = repo.resolve(rev)
    if SHA.fullmatch(rev):
        raise Err(404, f"Invalid rev id: {rev}", "RevisionNotFound")
    lines = [json.loads(line) for line in h.data.splitlines() if line.strip()]
    head: dict[str, Any] = next((line["value"] for line in lines if line["key"] == "header"), {})
    operations = [operation(h, repo, parent, line) for line in lines if line["key"] != "header"]
    if not head.get("summary"):
        raise Err(400, "commit summary is required")
    wanted, request = head.get("parentCommit"), bool(h.q.get("create_pr"))
    if wanted and not request and not parent.startswith(wanted):
        raise Err(412, "A commit has happened since. Please refresh and try again.")
    message = head["summary"] + ("\n\n" + head["description"] if head.get("description") else "")
    answer: dict[str, Any] = {"success": True, "hookOutput": ""}
    ref = repo.ref_of(rev)
    if request:
        meta = repo.load()
        record = new_discussion(h, repo, meta, head["summary"], head.get("description") or "", True, parent)
        ref = f"refs/pr/{record['num']}"
        answer["pullRequestUrl"] = f"{h.url(repo)}/discussions/{record['num']}"
    sha = repo.commit(ref, parent, message, str(h.user), operations)
    h.send(200, {**answer, "commitOid": sha, "commitUrl": f"{h.url(repo)}/commit/{sha}"})


def operation(h: Handler, repo: Repo, parent: str, line: dict[str, Any]) -> Operation:
    """One line of a commit as an operation. Raises `Err` 400 for what the Hub refuses."""
    key, value = line["key"], line["value"]
    path = value["path"]
    if path.startswith("/") or any(part in ("", ".", "..", ".git") for part in path.rstrip("/").split("/")):
        raise Err(400, f"Invalid path {path}")
    if key == "file":
        raw = base64.b64decode(value["content"]) if value.get("encoding") == "base64" else value["content"].encode()
        if path == "README.md" and (errors := validate_card(raw.decode("utf-8", "replace"), repo.kind)[0]):
            raise Err(400, "Invalid metadata in README.md", body={"error": errors[0]["message"]})
        return ("add", path, repo.blob(raw))
    if key == "lfsFile":
        return ("add", path, _pointer(h, repo, path, value))
    if key == "deletedFile":
        repo.file(parent, path)
        return ("rm", path)
    if key == "deletedFolder":
        return ("rmdir", path)
    raise Err(400, f"unknown operation {key}")


def _pointer(h: Handler, repo: Repo, path: str, value: dict[str, Any]) -> str:
    """The LFS pointer of a file whose content has arrived."""
    content = repo.lfs_path(value["oid"])
    if not content.exists() and not (h.hub.xet and h.hub.xet.fetch(value["oid"], content)):
        raise Err(400, f"LFS pointer pointed to a file that does not exist: {path}")
    size = value.get("size", content.stat().st_size)
    if size != content.stat().st_size:
        raise Err(400, f"size of {path} differs from the uploaded object")
    return repo.blob(f"version https://git-lfs.github.com/spec/v1\noid sha256:{value['oid']}\nsize {size}\n".encode())


@route("POST", LFS_URL + "/batch")
def lfs_batch(h: Handler, repo: Repo) -> None:
    asked = h.json()
    upload, multi = asked["operation"] == "upload", "multipart" in asked.get("transfers", [])
    if upload:
        h.need_write(repo.id.split("/")[0])
    objects = [_lfs_object(h, repo, wanted, upload, multi) for wanted in asked["objects"]]
    answer = {"transfer": "multipart" if multi else "basic", "objects": objects}
    h.send(200, answer, "application/vnd.git-lfs+json")


def _lfs_object(h: Handler, repo: Repo, wanted: dict[str, Any], upload: bool, multi: bool) -> dict[str, Any]:
    oid, size = wanted["oid"], wanted["size"]
    entry: dict[str, Any] = {"oid": oid, "size": size, "authenticated": True}
    path = f"/lfs/{TYPES[repo.kind]}/{repo.id}/{oid}"
    signed, there = f"{h.hub.cdn}{path}?X-Sig={h.hub.sign(path)}", repo.lfs_path(oid).exists()
    if upload and not there:
        action: dict[str, Any] = {"href": signed}
        if multi and size > PART:
            parts = {str(n): f"{signed}&part={n}" for n in range(1, -(-size // PART) + 1)}
            action = {"href": f"{h.hub.base}{path}/complete?X-Sig={h.hub.sign(path)}",
                      "header": {"chunk_size": str(PART), **parts}}  # fmt: skip
        verify = {"href": f"{h.hub.base}/{PREFIX[repo.kind]}{repo.id}.git/info/lfs/objects/verify"}
        entry["actions"] = {"upload": action, "verify": verify}
    elif not upload and there:
        entry["actions"] = {"download": {"href": signed}}
    elif not upload:
        entry["error"] = {"code": 404, "message": "Object does not exist"}
    return entry


@route("POST", LFS_URL + "/verify")
def lfs_verify(h: Handler, repo: Repo) -> None:
    asked = h.json()
    content = repo.lfs_path(asked["oid"])
    if not content.exists() or content.stat().st_size != asked["size"]:
        raise Err(404, "object missing or of another size")
    h.send(200, {})


def lfs_store(repo: Repo, oid: str, arrived: Path) -> None:
    """Keep an object whose content is what its name says. Raises `Err` 400."""
    with arrived.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != oid:
        arrived.unlink()
        raise Err(400, "sha256 of the content differs from the oid")
    repo.lfs_path(oid).parent.mkdir(parents=True, exist_ok=True)
    arrived.replace(repo.lfs_path(oid))


def need_signature(h: Handler, path: str) -> None:
    if not hmac.compare_digest(h.q.get("X-Sig", ""), h.hub.sign(path)):
        raise Err(403, "bad signature")


@route("GET HEAD PUT", STORE, cdn=True)
def storage(h: Handler, what: str, rid: str, oid: str) -> None:
    from recipes.loopback.hub.routes_download import serve

    need_signature(h, h.raw_path)
    repo = Repo(h.hub, SINGULAR[what], rid)
    if h.command != "PUT":
        # huggingface_hub 1 takes another port for the same origin: it asks here for what it wants to know of the file
        commit = {"X-Repo-Commit": h.q["commit"]} if "commit" in h.q else {}
        serve(h, repo.lfs_path(oid).read_bytes(), {"ETag": f'"{oid}"', **commit})
        return
    part = h.q.get("part")
    arrived = h.hub.root / f".up-{oid}-{part or secrets.token_hex(4)}"
    arrived.write_bytes(h.data)
    if not part:
        lfs_store(repo, oid, arrived)
    h.send(200, b"", headers={"ETag": f'"{hashlib.md5(h.data).hexdigest()}"'})


@route("POST", STORE + "/complete")
def complete(h: Handler, what: str, rid: str, oid: str) -> None:
    need_signature(h, h.raw_path.removesuffix("/complete"))
    whole = h.hub.root / f".up-{oid}-all"
    with whole.open("wb") as out:
        for piece in h.json()["parts"]:
            part = h.hub.root / f".up-{oid}-{piece['partNumber']}"
            content = part.read_bytes()
            if piece["etag"].strip('"') != hashlib.md5(content).hexdigest():
                raise Err(400, f"etag of part {piece['partNumber']}")
            out.write(content)
            part.unlink()
    lfs_store(Repo(h.hub, SINGULAR[what], rid), oid, whole)
    h.send(200, {})


@route("GET", "{T}/xet-(?P<what>write|read)-token/(?P<rev>.*)")
def xet_token(h: Handler, repo: Repo, what: str, rev: str) -> None:
    if not h.hub.xet:
        raise Err(404, "this server runs without Xet: set HF_HUB_DISABLE_XET=1")
    if what == "write":
        need_upload(h, repo, rev)
    store = h.hub.xet.fresh("w") if what == "write" else h.hub.xet.reader(repo, repo.resolve(re.sub(r"\?.*", "", rev)))
    url, expires = f"local://{store}", int(time.time()) + 3600
    headers = {"X-Xet-Cas-Url": url, "X-Xet-Access-Token": "t", "X-Xet-Token-Expiration": expires}
    h.send(200, {"accessToken": "t", "exp": expires, "casUrl": url}, headers=headers)
