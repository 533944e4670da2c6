"""Downloads: files at a revision, with the headers that clients read, and git clone."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from recipes.loopback.hub.repo import TYPES, Err, Repo
from recipes.loopback.hub.server import route

if TYPE_CHECKING:
    from recipes.loopback.hub.server import Handler

PAGE = r"/(?P<prefix>datasets/|spaces/|models/)?(?P<ns>[^/]+)/(?P<name>[^/]+"


def serve(h: Handler, data: bytes, headers: dict[str, Any]) -> None:
    """Bytes, or the range of them that was asked for."""
    size, wanted = len(data), re.fullmatch(r"bytes=(\d*)-(\d*)", h.headers.get("Range") or "")
    headers = {"Accept-Ranges": "bytes", **headers}
    if wanted and (wanted[1] or wanted[2]):
        first = int(wanted[1]) if wanted[1] else max(0, size - int(wanted[2]))
        last = min(int(wanted[2]), size - 1) if wanted[1] and wanted[2] else size - 1
        if first > last:
            raise Err(416, "Requested range not satisfiable", headers={"Content-Range": f"bytes */{size}"})
        span = {**headers, "Content-Range": f"bytes {first}-{last}/{size}"}
        h.send(206, data[first : last + 1], "application/octet-stream", span)
        return
    if h.command == "HEAD":
        headers["Content-Length"] = size
    h.send(200, data, "application/octet-stream", headers)


@route("GET HEAD", PAGE + r")/(?:resolve|raw)/(?P<rev>[^/]+)/(?P<path>.+)")
def resolve(h: Handler, repo: Repo, rev: str, path: str) -> None:
    sha = repo.resolve(rev)
    entry, name = repo.file(sha, path), quote(path.rsplit("/", 1)[-1])
    headers = {"X-Repo-Commit": sha, "Content-Disposition": f"inline; filename*=UTF-8''{name}"}
    if "lfs" not in entry or "/raw/" in h.raw_path:
        headers["ETag"] = f'"{entry["oid"]}"'
        serve(h, repo.git_once("cat-file", "blob", entry["oid"]), headers)
        return
    oid, size = entry["lfs"]["oid"], entry["lfs"]["size"]
    store = f"/lfs/{TYPES[repo.kind]}/{repo.id}/{oid}"
    location = f"{h.hub.cdn}{store}?X-Sig={h.hub.sign(store)}&commit={sha}"
    headers.update({"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": size, "Location": location})
    if "xetHash" in entry:
        token = f"{h.hub.base}/api/{TYPES[repo.kind]}/{repo.id}/xet-read-token/{sha}"
        xet = {"X-Xet-Hash": entry["xetHash"], "X-Xet-Refresh-Route": token, "Link": f'<{token}>; rel="xet-auth"'}
        headers.update(xet)
    # a client follows a redirect on the same origin when it asks for metadata: the storage must be another origin
    h.send(302, b"", "text/plain", headers)


@route("GET POST", PAGE + r"?)(?:\.git)?/(?P<what>info/refs|git-upload-pack)")
def clone(h: Handler, repo: Repo, what: str) -> None:
    """git clone and fetch; pushes go through the commit API."""
    if what == "info/refs":
        if h.q.get("service") != "git-upload-pack":
            raise Err(403, "read only")
        out = repo.git("upload-pack", "--http-backend-info-refs", str(repo.gd))
        head = b"001e# service=git-upload-pack\n0000"
        h.send(200, head + out, "application/x-git-upload-pack-advertisement")
        return
    data = gzip.decompress(h.data) if h.headers.get("Content-Encoding") == "gzip" else h.data
    out = repo.git("upload-pack", "--stateless-rpc", str(repo.gd), input=data)
    h.send(200, out, "application/x-git-upload-pack-result")
