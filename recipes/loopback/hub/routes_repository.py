"""Repositories: create, delete, settings, information, trees, refs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from recipes.loopback.hub.cards import SDKS
from recipes.loopback.hub.repo import SINGULAR, TYPES, Err, Repo, now, stamp
from recipes.loopback.hub.server import route

if TYPE_CHECKING:
    from recipes.loopback.hub.server import Handler

PAGE = 1000


@route("POST", "/api/repos/create")
def create(h: Handler) -> None:
    asked = h.json()
    if not h.user:
        raise Err(401, "Invalid username or password.")
    kind, namespace = asked.get("type") or "model", asked.get("organization") or h.user
    if not re.fullmatch(r"[\w.-]{1,96}", asked.get("name") or "") or kind not in TYPES:
        raise Err(400, "Invalid repo name or type")
    if not h.may_write(namespace):
        raise Err(403, f'You don\'t have the rights to create a {kind} under the namespace "{namespace}"')
    repo = Repo(h.hub, kind, f"{namespace}/{asked['name']}")
    if repo.exists:
        message = f"You already created this {kind} repo"
        raise Err(409, message, body={"error": message, "url": h.url(repo)})
    meta: dict[str, Any] = {"private": asked.get("visibility") == "private" or bool(asked.get("private"))}
    if kind == "space":
        meta.update(sdk=_sdk(h, asked), hardware=asked.get("hardware") or "cpu-basic")
    repo.create(meta, h.user)
    meta = repo.load()
    for key in ("variables", "secrets"):
        for item in asked.get(key) or []:
            meta[key][item["key"]] = {"value": item["value"], "updatedAt": now()}
    repo.save(meta)
    h.send(200, {"url": h.url(repo), "name": repo.id, "id": repo.info(repo.resolve("main"))["_id"]})


def _sdk(h: Handler, asked: dict[str, Any]) -> str:
    if asked.get("sdk") not in SDKS:
        raise Err(400, "sdk is required for a Space")
    if asked["sdk"] in ("gradio", "docker") and not h.hub.free_gradio and not asked.get("hardware"):
        raise Err(402, "Payment required: Gradio and Docker Spaces on free hardware need a PRO account")
    return asked["sdk"]


@route("DELETE", "/api/repos/delete")
def delete(h: Handler) -> None:
    asked = h.json()
    rid = f"{asked.get('organization') or h.user}/{asked['name']}"
    shutil.rmtree(h.repo(asked.get("type") or "model", rid, write=True).dir)
    h.send(200, b"OK", "text/plain; charset=utf-8")


@route("POST", "/api/repos/move")
def move(h: Handler) -> None:
    asked = h.json()
    repo = h.repo(asked.get("type") or "model", asked["fromRepo"], write=True)
    target = Repo(h.hub, repo.kind, asked["toRepo"])
    h.need_write(asked["toRepo"].split("/")[0])
    if target.exists:
        raise Err(409, "target exists")
    target.dir.parent.mkdir(parents=True, exist_ok=True)
    repo.dir.rename(target.dir)
    h.send(200, b"OK", "text/plain; charset=utf-8")


@route("PUT", "{T}/settings", write=True)
def settings(h: Handler, repo: Repo) -> None:
    asked, meta = h.json(), repo.load()
    if "visibility" in asked or "private" in asked:
        meta["private"] = asked.get("visibility") == "private" or bool(asked.get("private"))
    if "gated" in asked:
        meta["gated"] = asked["gated"]
    repo.save(meta)
    h.send(200, {"private": meta["private"], "gated": meta.get("gated", False)})


@route("GET", "/api/(?P<what>models|datasets|spaces)")
def listing(h: Handler, what: str) -> None:
    query, rows = parse_qs(urlsplit(h.path).query), []
    for repo in h.hub.repos(SINGULAR[what]):
        owner = repo.id.split("/")[0]
        if repo.load()["private"] and not h.may_write(owner):
            continue
        if owner != query.get("author", [owner])[0] or query.get("search", [""])[0].lower() not in repo.id.lower():
            continue
        record = repo.info(repo.resolve("main"), siblings="full" in query)
        if all(wanted in record["tags"] for wanted in query.get("filter", [])):
            rows.append(record)
    h.paged(rows[: int(query["limit"][0])] if "limit" in query else rows, PAGE)


@route("GET", "{T}(?:/revision/(?P<rev>[^/]+))?")
def info(h: Handler, repo: Repo, rev: str | None) -> None:
    h.send(200, repo.info(repo.resolve(rev or "main"), blobs="blobs" in h.q))


@route("GET", "{T}/auth-check(?:/write)?")
def auth_check(h: Handler, repo: Repo) -> None:
    h.send(200, {})


@route("GET", "{T}/tree/(?P<rev>[^/]+)(?:/(?P<path>.*))?")
def tree(h: Handler, repo: Repo, rev: str, path: str | None) -> None:
    sha = repo.resolve(rev)
    rows = repo.entries(sha, (path or "").strip("/"), _true(h.q.get("recursive", "")))
    expand = _true(h.q.get("expand", ""))
    if expand:
        for entry in rows:
            entry["lastCommit"] = repo.last_commit(sha, entry["path"])
            if entry["type"] == "file":
                entry["securityFileStatus"] = {"status": "unscanned", "avScan": None, "pickleImportScan": None}
    h.paged(rows, 50 if expand else PAGE, {"X-Repo-Commit": sha})


def _true(word: str) -> bool:
    return word.lower() in ("true", "1")


@route("POST", "{T}/paths-info/(?P<rev>[^/]+)")
def paths_info(h: Handler, repo: Repo, rev: str) -> None:
    if "json" in (h.headers.get("Content-Type") or ""):
        asked = h.json()
        paths, expand = asked["paths"], bool(asked.get("expand"))
    else:  # huggingface_hub sends a form: paths=a&paths=b&expand=False
        form = parse_qs(h.data.decode(), keep_blank_values=True)
        paths, expand = form.get("paths", []), _true(form.get("expand", ["false"])[0])
    sha = repo.resolve(rev)
    rows = repo.entries_exact(sha, paths if isinstance(paths, list) else [paths])
    if expand:
        for entry in rows:
            entry["lastCommit"] = repo.last_commit(sha, entry["path"])
    h.send(200, rows)


@route("GET", "{T}/refs")
def refs(h: Handler, repo: Repo) -> None:
    record = {"branches": list(_refs(repo, "refs/heads/")), "converts": [], "tags": list(_refs(repo, "refs/tags/"))}
    if h.q.get("include_prs"):
        record["pullRequests"] = list(_refs(repo, "refs/pr/"))
    h.send(200, record)


def _refs(repo: Repo, prefix: str) -> Iterator[dict[str, str]]:
    out = repo.git("for-each-ref", "--format=%(refname)%00%(objectname)%00%(*objectname)", prefix).decode()
    for line in out.splitlines():
        name, oid, peeled = line.split("\0")
        yield {"name": name[len(prefix) :], "ref": name, "targetCommit": peeled or oid}


@route("GET", "{T}/commits/(?P<rev>[^/]+)")
def commits(h: Handler, repo: Repo, rev: str) -> None:
    out = repo.git("log", "--format=%H%x00%an%x00%ct%x00%s%x00%b%x01", repo.resolve(rev)).decode()
    rows = []
    for text in filter(str.strip, out.split("\x01")):
        oid, author, date, title, message = text.strip("\n").split("\0")
        rows.append({"id": oid, "title": title, "message": message.strip(), "date": stamp(int(date)),
                     "authors": [{"user": author, "avatar": ""}]})  # fmt: skip
    h.paged(rows, 50, {"X-Total-Count": len(rows)})


@route("POST DELETE", "{T}/branch/(?P<branch>[^/]+)", write=True)
def branches(h: Handler, repo: Repo, branch: str) -> None:
    ref = f"refs/heads/{branch}"
    there = repo.ask_git("rev-parse", "--verify", "--quiet", ref)
    if h.command == "DELETE":
        if not there:
            raise Err(404, "Branch not found", "RevisionNotFound")
        if branch == "main":
            raise Err(400, "Cannot delete the main branch")
        repo.git("update-ref", "-d", ref)
    elif there:
        raise Err(409, f'Reference "{ref}" already exists')
    else:
        repo.git("update-ref", ref, repo.resolve(h.json().get("startingPoint") or "main"))
    h.send(200, {})


@route("POST", "{T}/tag/(?P<rev>[^/]+)", write=True)
def tag(h: Handler, repo: Repo, rev: str) -> None:
    asked = h.json()
    if repo.ask_git("rev-parse", "--verify", "--quiet", f"refs/tags/{asked['tag']}"):
        raise Err(409, f"Tag {asked['tag']} already exists")
    sha = repo.resolve(rev)
    if asked.get("message"):
        who = {"GIT_COMMITTER_NAME": str(h.user), "GIT_COMMITTER_EMAIL": f"{h.user}@localhost"}
        repo.git("tag", "-a", "-m", asked["message"], asked["tag"], sha, env=who)
    else:
        repo.git("update-ref", f"refs/tags/{asked['tag']}", sha)
    h.send(200, {})


@route("DELETE", "{T}/tag/(?P<tag_name>[^/]+)", write=True)
def untag(h: Handler, repo: Repo, tag_name: str) -> None:
    if repo.ask_git("tag", "-d", tag_name) is None:
        raise Err(404, "Tag not found", "RevisionNotFound")
    h.send(200, {})


@route("POST", "{T}/super-squash/(?P<rev>[^/]+)", write=True)
def squash(h: Handler, repo: Repo, rev: str) -> None:
    sha = repo.resolve(rev)
    tree_of = repo.git("rev-parse", sha + "^{tree}").decode().strip()
    repo.commit_tree(repo.ref_of(rev), tree_of, [], h.json().get("message") or "Super-squash", str(h.user), sha)
    h.send(200, {})
