"""Pull requests, Collections, and what can be set on a Space."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from recipes.loopback.hub.repo import TYPES, Err, Repo, now
from recipes.loopback.hub.server import route

if TYPE_CHECKING:
    from recipes.loopback.hub.server import Handler

SPACE = "/api/(?P<plural>spaces)/(?P<ns>[^/]+)/(?P<name>[^/]+)"
COLLECTION = "/api/collections/(?P<slug>[^/]+/[^/]+)"


# ---------------------------------------------------------------------------------------------- pull requests
def new_discussion(
    h: Handler, repo: Repo, meta: dict[str, Any], title: str, text: str, request: bool, base: str
) -> dict[str, Any]:
    """Open a discussion, or a pull request on top of `base`."""
    number, author = len(meta["discussions"]) + 1, {"name": h.user, "type": "user"}
    comment = {"edited": False, "hidden": False, "latest": {"raw": text}}
    record: dict[str, Any] = {
        "num": number, "title": title, "author": author, "createdAt": now(), "isPullRequest": request,
        "status": "draft" if request else "open", "repo": {"name": repo.id, "type": repo.kind},
        "events": [{"id": f"e{number}", "type": "comment", "createdAt": now(), "author": author, "data": comment}],
    }  # fmt: skip
    if request:
        record.update(changes={"base": "refs/heads/main"}, filesWithConflicts=False)
        repo.git("update-ref", f"refs/pr/{number}", base)
    meta["discussions"].append(record)
    repo.save(meta)
    return record


@route("GET POST", "{T}/discussions")
def discussions(h: Handler, repo: Repo) -> None:
    meta = repo.load()
    if h.command == "GET":
        records = meta["discussions"]
        if h.q.get("type") == "pull_request":
            records = [d for d in records if d["isPullRequest"]]
        h.send(200, {"discussions": records, "count": len(records), "start": 0})
        return
    if not h.user:
        raise Err(401, "Invalid username or password.")
    asked = h.json()
    request, text = bool(asked.get("pullRequest")), asked.get("description") or ""
    records = new_discussion(h, repo, meta, asked["title"], text, request, repo.resolve("main"))
    url = f"{h.url(repo)}/discussions/{records['num']}"
    h.send(200, {"num": records["num"], "url": url, "pullRequest": records["isPullRequest"]})


@route("GET POST", r"{T}/discussions/(?P<num>\d+)(?:/(?P<act>status|merge|comment|title))?")
def discussion(h: Handler, repo: Repo, num: str, act: str | None) -> None:
    meta = repo.load()
    if not 0 < int(num) <= len(meta["discussions"]):
        raise Err(404, "Discussion not found")
    record = meta["discussions"][int(num) - 1]
    if h.command == "GET":
        h.send(200, {**record, "diff": ""})
        return
    h.need_write(repo.id.split("/")[0])
    asked = h.json() or {}
    event = {"id": f"e{num}-{len(record['events'])}", "createdAt": now(), "author": {"name": h.user}}
    if act == "status":
        record["status"] = asked["status"]
        event.update(type="status-change", data={"status": asked["status"]})
    elif act == "title":
        event.update(type="title-change", data={"from": record["title"], "to": asked["title"]})
        record["title"] = asked["title"]
    elif act == "comment":
        event.update(type="comment", data={"edited": False, "hidden": False, "latest": {"raw": asked["comment"]}})
    else:
        _merge(h, repo, record)
        event.update(type="status-change", data={"status": "merged"})
    record["events"].append(event)
    repo.save(meta)
    h.send(200, {"newStatus": event, "newMessage": event, "newTitle": event})


def _merge(h: Handler, repo: Repo, record: dict[str, Any]) -> None:
    if record["status"] == "draft":
        raise Err(400, "cannot merge a draft pull request")
    ref = f"refs/pr/{record['num']}"
    main, tip = repo.resolve("main"), repo.resolve(ref)
    base = repo.git("merge-base", main, tip).decode().strip()
    words = repo.git("diff", "--name-status", "-z", "--no-renames", base, tip).decode().split("\0")
    operations = [
        ("rm", path) if state == "D" else ("add", path, repo.git("rev-parse", f"{tip}:{path}").decode().strip())
        for state, path in zip(words[::2], words[1::2])
    ]
    title = f"{record['title']} (#{record['num']})"
    sha = repo.commit("refs/heads/main", main, title, str(h.user), operations)
    record["status"] = "merged"
    record["changes"]["mergeCommitId"] = sha


# ---------------------------------------------------------------------------------------------- collections
def _collections(h: Handler) -> dict[str, Any]:
    path = h.hub.root / "collections.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _keep(h: Handler, collections: dict[str, Any]) -> None:
    (h.hub.root / "collections.json").write_text(json.dumps(collections, indent=1))


def _one(h: Handler, slug: str, write: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    collections = _collections(h)
    collection, namespace = collections.get(slug), slug.split("/")[0]
    if collection is None or (collection["private"] and not h.may_write(namespace)):
        raise Err(404, "Collection not found")
    if write:
        h.need_write(namespace)
    return collections, collection


@route("GET POST", "/api/collections")
def collections(h: Handler) -> None:
    known = _collections(h)
    if h.command == "GET":
        owner = h.q.get("owner")
        rows = [c for c in known.values() if not c["private"] or h.may_write(c["owner"]["name"])]
        mine = [c for c in rows if owner in (None, c["owner"]["name"])]
        # a listing has four items at most, and no position: the client counts
        h.paged([{**{k: v for k, v in c.items() if k != "position"}, "items": c["items"][:4]} for c in mine], 100)
        return
    asked = h.json()
    namespace = str(asked.get("namespace") or h.user)
    h.need_write(namespace)
    mark = hashlib.md5(f"{namespace}/{asked['title']}".encode()).hexdigest()[:24]
    words = "".join(letter if letter.isalnum() else " " for letter in asked["title"].lower()).split()
    slug = f"{namespace}/{'-'.join([*words, mark])}"
    if slug in known:
        raise Err(409, "You already have a collection of that title", body={"error": "exists", "slug": slug})
    known[slug] = {
        "slug": slug, "title": asked["title"], "owner": {"name": namespace}, "items": [], "lastUpdated": now(),
        "position": 0, "private": bool(asked.get("private")), "theme": "blue", "upvotes": 0,
        "description": asked.get("description"),
    }  # fmt: skip
    _keep(h, known)
    h.send(200, known[slug])


@route("GET", COLLECTION)
def collection(h: Handler, slug: str) -> None:
    h.send(200, _one(h, slug)[1])


@route("POST", COLLECTION + "/items")
def add_item(h: Handler, slug: str) -> None:
    known, collection = _one(h, slug, write=True)
    asked = h.json()
    item, note = asked["item"], asked.get("note")
    if any((i["id"], i["type"]) == (item["id"], item["type"]) for i in collection["items"]):
        raise Err(409, "Item is already in the collection")
    if not Repo(h.hub, item["type"], item["id"]).exists and item["type"] in TYPES:
        raise Err(404, "Item does not exist")
    mark = hashlib.md5(f"{slug}{item}".encode()).hexdigest()[:24]
    position = len(collection["items"])
    collection["items"].append(
        {"_id": mark, **item, "position": position, **({"note": {"text": note}} if note else {})}
    )
    _keep(h, known)
    h.send(200, collection)


@route("PATCH DELETE", COLLECTION + "/items/(?P<item>[0-9a-f]+)")
def change_item(h: Handler, slug: str, item: str) -> None:
    known, collection = _one(h, slug, write=True)
    entry = next((i for i in collection["items"] if i["_id"] == item), None)
    if entry is None:
        raise Err(404, "Item does not exist")
    if h.command == "DELETE":
        collection["items"].remove(entry)
    elif "note" in h.json():
        entry["note"] = {"text": h.json()["note"]}
    _keep(h, known)
    h.send(200, {"success": True})


# ---------------------------------------------------------------------------------------------- spaces
@route("GET", SPACE + "/runtime", write=True)
def runtime(h: Handler, repo: Repo) -> None:
    h.send(200, repo.runtime(repo.load()))


@route("GET POST DELETE", SPACE + "/(?P<what>variables|secrets)", write=True)
def values(h: Handler, repo: Repo, what: str) -> None:
    meta, asked = repo.load(), h.json()
    if h.command == "POST":
        more = {"description": asked["description"]} if asked.get("description") else {}
        meta[what][asked["key"]] = {"value": asked["value"], "updatedAt": now(), **more}
    elif h.command == "DELETE":
        meta[what].pop(asked["key"], None)
    repo.save(meta)
    if what == "secrets":
        hidden = {key: {k: v for k, v in value.items() if k != "value"} for key, value in meta[what].items()}
        h.send(200, hidden if h.command == "GET" else {})
        return
    h.send(200, meta[what])


@route("POST", SPACE + "/(?P<what>hardware|sleeptime|restart|pause)", write=True)
def manage(h: Handler, repo: Repo, what: str) -> None:
    meta, asked = repo.load(), h.json() or {}
    if what == "hardware":
        meta["hardware"] = asked["flavor"]
        meta["gcTimeout"] = asked.get("sleepTimeSeconds", meta.get("gcTimeout", 172800))
    elif what == "sleeptime":
        meta["gcTimeout"] = asked["seconds"]
    else:
        meta["stage"] = "PAUSED" if what == "pause" else "RUNNING"
    repo.save(meta)
    h.send(200, repo.runtime(meta))
