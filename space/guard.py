"""The two gates of the Space: what a request may ask for at all, and which files it may name.

Gradio checks a file's path only where the payload looks as its own client sends it, keeps uploads by their content, and
has routes that this page does not use. So uploads come in here, everything that names a file is held against `Files`,
and what is not on the list of routes is closed.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from gradio.route_utils import MultiPartException, upload_fn
from gradio.routes import file_upload_statuses
from gradio.utils import get_upload_folder
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from files import Files, Room
from image_upload import GalleryUpload, ImageUpload
from limits import CALLS, MAX_BODY, MAX_FILES, MAX_UPLOAD_BODY, UPLOAD
from t2i_judge.errors import UserError
from t2i_judge.wording import counted
from visitors import Visitor, new_cookie, visitor_of

_API = "/gradio_api/"
_UPLOAD = f"{_API}upload"
_FILES = (f"{_API}file=", f"{_API}file/")
# What the page and gradio_client ask for; all else that Gradio offers (proxies, recordings, deep links, ...) is closed.
_PAGE = ("/", "/config", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json", "/pwa_icon")
_ASSETS = ("/assets/", "/static/", "/svelte/", *_FILES)
_CALLS = ("info", "openapi.json", "call", "run", "api", "queue", "heartbeat", "cancel", "reset", "upload_progress")
_ASKED = ("startup-events", "app_id", "login_check", "token", "user")
_SHORT = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LONG = b"A session's name is 1 to 64 letters and digits."
_IDLE, _WATCHED = 30.0, 60.0  # seconds that an upload may stand still, and that its progress is kept
_STEP = 1_000_000  # bytes of an upload between two looks at the quota
_REFUSED = (UserError, HTTPException, MultiPartException, AttributeError, KeyError, TypeError, ValueError)


class GuardedBlocks(gr.Blocks):
    """Blocks whose functions get files of the visitor alone: uploaded by them, or shown to them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.files = Files(Path(get_upload_folder()) / f"visitors-{secrets.token_hex(8)}")
        atexit.register(self.files.close)

    def share_examples(self) -> None:
        """Let everybody name the files that the page shows to begin with; call it once the page is laid out."""
        props = [component["props"] for component in self.get_config_file()["components"]]
        self.files.share(Path(file["path"]) for file in _files_in(props))

    async def process_api(self, block_fn: Any, inputs: list[Any], *args: Any, **options: Any) -> dict[str, Any]:
        """As in `gr.Blocks`, after every file that `inputs` name was found to be this visitor's."""
        function = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        try:
            if len(inputs) != len(function.inputs):
                raise UserError(
                    f"{counted(len(inputs), 'value was', 'values were')} sent",
                    f"The number expected is {len(function.inputs)}",
                    f"Send {counted(len(function.inputs), 'value')}",
                )
            caller = _caller(options)
            inputs = [self._admitted(*pair, caller) for pair in zip(function.inputs, inputs)]
            ended = await CALLS.take(caller.account)
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error
        try:
            return await super().process_api(block_fn, inputs, *args, **options)
        finally:
            ended()

    def _admitted(self, component: Any, value: Any, caller: Visitor) -> Any:
        """A component's value: of one that takes files, rebuilt from paths that are the caller's; any other as it is.

        Raises:
            UserError: it names a file that is not the caller's.
        """
        if isinstance(component, ImageUpload | GalleryUpload):
            return _only_files(value, caller, self.files)
        for file in _files_in(value):
            self.files.named(caller, file.get("path"))
        return value


def _caller(options: dict[str, Any]) -> Visitor:
    """Who called: a call by plain HTTP has a session hash that is its event's id, which is no session."""
    request, session = options.get("request"), options.get("session_hash")
    scope = request.request.scope if request is not None and request.request is not None else {}
    return visitor_of(scope, None if session == options.get("event_id") else session)


def caller_of(request: gr.Request) -> Visitor:
    """Who called, as an event's function is told."""
    return visitor_of(request.request.scope if request.request is not None else {}, request.session_hash)


def _only_files(value: Any, caller: Visitor, files: Files) -> Any:
    """The value of a component that takes files, with nothing in it but paths that are the caller's."""
    if value is None:
        return None
    if isinstance(value, list):
        if len(value) > MAX_FILES:
            raise UserError(f"{len(value)} pictures were sent", f"{MAX_FILES} are allowed at a time", "Send fewer")
        return [{"image": _only_file(_part(each, "image"), caller, files), "caption": _caption(each)} for each in value]
    return _only_file(value, caller, files)


def _only_file(value: Any, caller: Visitor, files: Files) -> dict[str, Any]:
    path = files.named(caller, _part(value, "path"))
    return {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}


def _part(value: Any, name: str) -> Any:
    """A part of a payload that nobody has checked, None where there is none."""
    return value.get(name) if isinstance(value, dict) else None


def _caption(value: dict[str, Any]) -> str | None:
    caption = value.get("caption")
    return caption if isinstance(caption, str) else None


def _files_in(value: Any) -> list[dict[str, Any]]:
    """Every file payload anywhere in JSON, told by its keys as Gradio tells it."""
    files, left = [], [value]  # no recursion: a visitor decides how deep it is
    while left:
        part = left.pop()
        if isinstance(part, dict):
            files += [part] if "path" in part or "meta" in part else []
            left += part.values()
        elif isinstance(part, list | tuple):
            left += part
    return files


class RequestGuard:
    """ASGI middleware: closes the routes that the page does not use, takes uploads in, gives files to their visitor."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        """Answer a refusal in one line, take an upload, or pass the request on."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, send)

    async def _http(self, scope: dict[str, Any], receive: Callable[..., Any], send: Callable[..., Any]) -> None:
        path, caller = scope.get("path", ""), visitor_of(scope)
        uploads = path.rstrip("/") == _UPLOAD
        if "/file=http" in path or "/proxy=" in path:
            await _answer(send, 403, b"Links are not fetched.")
        elif not _open(path):
            await _answer(send, 404, b"That is not offered here.")
        elif _length(scope) > (MAX_UPLOAD_BODY if uploads else MAX_BODY):
            await _answer(send, 413, b"The request is too large.")
        elif uploads:
            await _take(scope, receive, send, caller)
        elif path.startswith(_FILES) and not _blocks(scope).files.may_see(caller, path[len(_FILES[0]) :]):
            await _answer(send, 403, b"There is no such file for you here.")
        elif not _sessions_are_short(scope):
            await _answer(send, 400, _LONG)
        else:
            body = await _body(receive) if scope["method"] == "POST" else None
            if body is not None and not _is_short(body):
                await _answer(send, 400, _LONG)
                return
            give = _with_cookie(scope, send) if path == "/" and not caller.browser else send
            await self.app(scope, receive if body is None else _again(body, receive), give)


def _open(path: str) -> bool:
    """Is the route one of those that the page, or gradio_client, asks for?"""
    if path.startswith(_API) and not path.startswith(_FILES):
        return path.removeprefix(_API).split("/")[0] in (*_CALLS, *_ASKED, "upload")
    return path.rstrip("/") in (*_PAGE, "") or path.startswith(_ASSETS)


def _blocks(scope: dict[str, Any]) -> GuardedBlocks:
    blocks = scope["app"].get_blocks()
    assert isinstance(blocks, GuardedBlocks)
    return blocks


def _sessions_are_short(scope: dict[str, Any]) -> bool:
    """Gradio keeps a state, and queues, under whatever name a client chooses for its session, or its upload."""
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    names = [value for key in ("session_hash", "upload_id") for value in query.get(key, ())]
    path = scope.get("path", "")
    if path.startswith(f"{_API}heartbeat/"):
        names.append(path.removeprefix(f"{_API}heartbeat/").rstrip("/"))
    return all(_SHORT.fullmatch(name) for name in names)


def _is_short(body: bytes) -> bool:
    """The same for a session that is named in a JSON body; what is no JSON is Gradio's to refuse."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        return True
    names = [values.get(key) for key in ("session_hash", "event_id")] if isinstance(values, dict) else []
    return all(name is None or (isinstance(name, str) and _SHORT.fullmatch(name)) for name in names)


async def _body(receive: Callable[..., Any]) -> bytes:
    """A whole body, whose length was checked."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False) and message["type"] == "http.request"
    return body


def _again(body: bytes, receive: Callable[..., Any]) -> Callable[..., Any]:
    """`receive` that first gives a body that was read already."""
    left = [{"type": "http.request", "body": body, "more_body": False}]

    async def receiving() -> dict[str, Any]:
        return left.pop() if left else await receive()

    return receiving


async def _take(scope: dict[str, Any], receive: Any, send: Any, caller: Visitor) -> None:
    """Gradio's upload, into a folder of its own: the paths as JSON, or one line that says why not."""
    if scope["method"] != "POST" or not _sessions_are_short(scope):
        await _answer(send, 400, b"Files are uploaded by POST, under a short upload_id.")
        return
    blocks = _blocks(scope)
    upload = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("upload_id", [None])[0]
    progress = file_upload_statuses if upload else None
    try:
        with blocks.files.room(caller, int(_length(scope))) as room:
            request = Request(scope, _counted(receive, room))
            paths, _, _ = await upload_fn(request, room.folder, UPLOAD.bytes, upload, upload_progress=progress)
            if len(paths) > MAX_FILES:
                raise UserError(f"{len(paths)} files were sent", f"{MAX_FILES} are allowed at a time", "Send fewer")
            names = [str(room.add(Path(path))) for path in paths]
        await _answer(send, 200, json.dumps(names).encode(), b"application/json")
    except ClientDisconnect:
        return
    except _REFUSED as error:
        await _answer(send, *_refusal(error))
    finally:
        if progress and upload:
            progress.set_done(upload)  # whoever watches it learns so, and Gradio would keep it for ever
            asyncio.get_running_loop().call_later(_WATCHED, progress.stop_tracking, upload)


def _counted(receive: Callable[..., Any], room: Room) -> Callable[..., Any]:
    """`receive` that counts what comes, and waits no longer than `_IDLE` seconds for more."""
    uncounted = 0

    async def receiving() -> dict[str, Any]:
        nonlocal uncounted
        try:
            message = await asyncio.wait_for(receive(), _IDLE)
        except TimeoutError:
            raise ClientDisconnect from None
        uncounted += len(message.get("body", b""))
        if uncounted > _STEP or not message.get("more_body", False):
            room.count(uncounted)
            uncounted = 0
        return message

    return receiving


def _refusal(error: Exception) -> tuple[int, bytes]:
    """Status and line for an upload that was not taken; most other errors come of a body that is no form."""
    if isinstance(error, UserError):
        return 429, str(error).encode()
    if isinstance(error, MultiPartException) and "maximum allowed size" in error.message:
        return 413, f"A picture may have at most {UPLOAD.bytes // 1_000_000} MB.".encode()
    return 400, b"That is not an upload. Send the pictures in the field 'files' of a form."


def _with_cookie(scope: dict[str, Any], send: Callable[..., Any]) -> Callable[..., Any]:
    """`send` that gives a browser its cookie with the page."""
    headers = dict(scope["headers"])
    secure = scope.get("scheme") == "https" or headers.get(b"x-forwarded-proto", b"").startswith(b"https")

    async def sending(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), (b"set-cookie", new_cookie(secure))]
        await send(message)

    return sending


def _length(scope: dict[str, Any]) -> float:
    """Declared length of the body in bytes; a body sent in chunks, its end unknown, counts as endless."""
    headers = dict(scope["headers"])
    declared = headers.get(b"content-length", b"0")
    return int(declared) if declared.isdigit() and b"transfer-encoding" not in headers else float("inf")


async def _answer(
    send: Callable[..., Any], status: int, text: bytes, kind: bytes = b"text/plain; charset=utf-8"
) -> None:
    headers = [(b"content-type", kind), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text})
