"""The two gates of the Space: what a request may ask for at all, and which files it may name.

Gradio checks a file's path only where the payload looks as its own client sends it, keeps uploads by their content, and
has routes that this page does not use. So uploads come in here, everything that names a file is held against `Files`,
and what is not on the list of routes is closed.
"""

from __future__ import annotations

import atexit
import inspect
import json
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import gradio as gr
from gradio.utils import get_upload_folder
from starlette.exceptions import HTTPException

from files import Files
from image_upload import GalleryUpload, ImageUpload
from intake import take
from limits import MAX_BODY, MAX_FILES, MAX_UPLOAD_BODY, OPEN, PAGES, REQUESTS, VISITS, WORK
from naming import by_its_name, described, is_named_so
from queueing import Line
from states import keep_sessions_alone
from t2i_judge.errors import UserError, quoted
from t2i_judge.serving.admission import in_time
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
_NO_SESSION = b'data: {"msg":"unexpected_error","message":"404","session_not_found":true,"success":false}\n\n'
_NO_CALL = b'event: error\ndata: "There is no such call."\n\n'
_NOT_NAMED_SO = b"This Space is called localhost here. Behind a proxy, its owner sets GRADIO_ROOT_PATH to its address."
_LONG = b"A session's name is 1 to 64 letters and digits."
_STILL, _WHOLE = 30.0, 60.0  # seconds that a body may stand still, and that all of it may take
_LINE = 1_000  # characters of a refusal


class GuardedBlocks(gr.Blocks):
    """Blocks whose functions get files of the visitor alone, uploaded by them or shown to them, and few calls each."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.files = Files(Path(get_upload_folder()) / f"visitors-{secrets.token_hex(8)}")
        atexit.register(self.files.close)

    def share_examples(self) -> None:
        """Let everybody name the files that the page shows to begin with; call it once the page is laid out."""
        props = [component["props"] for component in self.get_config_file()["components"]]
        self.files.share(Path(file["path"]) for file in _files_in(props))

    def queue(self, *args: Any, **options: Any) -> GuardedBlocks:
        """As in `gr.Blocks`; nobody's calls fill it."""
        super().queue(*args, **options)
        keep_sessions_alone()
        self.line = Line(self._queue)
        return self

    async def process_api(self, block_fn: Any, inputs: list[Any], *args: Any, **options: Any) -> dict[str, Any]:
        """As in `gr.Blocks`, after every file that `inputs` name was found to be this visitor's, and in turn."""
        function = self.fns[block_fn] if isinstance(block_fn, int) else block_fn
        try:
            if len(inputs) != len(function.inputs):
                raise UserError(
                    f"{counted(len(inputs), 'value was', 'values were')} sent",
                    f"The number expected is {len(function.inputs)}",
                    f"Send {counted(len(function.inputs), 'value')}",
                )
            caller = _caller(options)
            if not _is_text(inputs):
                raise UserError("A text has half of a surrogate pair", "It is not Unicode", "Send whole characters")
            inputs = [self._admitted(*pair, caller) for pair in zip(function.inputs, inputs)]
            done = await WORK.take(caller.turns) if _works_in_a_thread(function) else _nothing
        except UserError as error:
            raise gr.Error(str(error), print_exception=False) from error
        try:
            return await super().process_api(block_fn, inputs, *args, **options)
        except gr.Error as error:
            error.message = _short(error.message)  # Gradio's own repeats any value that is no choice
            raise
        finally:
            done()

    def _admitted(self, component: Any, value: Any, caller: Visitor) -> Any:
        """A component's value: of one that takes files, rebuilt from paths that are the caller's; any other as it is.

        Raises:
            UserError: it names a file that is not the caller's, or is longer than the component's `max_length`.
        """
        if isinstance(component, ImageUpload | GalleryUpload):
            return _only_files(value, caller, self.files)
        for file in _files_in(value):
            self.files.named(caller, file.get("path"))
        most = getattr(component, "max_length", None)
        if most and isinstance(value, str) and len(value) > most:  # the page's own form holds it, and nothing else does
            raise UserError(
                f"The text in {quoted(component.label)} has {len(value)} characters",
                f"{most} are allowed",
                "Shorten it",
            )
        return value


def _works_in_a_thread(function: Any) -> bool:
    """Whether a function has no turns of its own, as coroutines have, and is more than the end of a visit."""
    waits = inspect.iscoroutinefunction(function.fn) or inspect.isasyncgenfunction(function.fn)
    return not waits and all(event != "unload" for _, event in function.targets)


def _nothing() -> None:
    """There is nothing to give back."""


def _caller(options: dict[str, Any]) -> Visitor:
    """Who called: a call by plain HTTP has a session hash that is its event's id, which is no session."""
    request, session = options.get("request"), options.get("session_hash")
    scope = request.request.scope if request is not None and request.request is not None else {}
    return visitor_of(scope, None if session == options.get("event_id") else session)


def _short(line: str) -> str:
    return line if len(line) <= _LINE else f"{line[:_LINE]}..."


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


def _is_text(values: Any) -> bool:
    """Whether all that JSON says is text that can be written down: it can say half of a surrogate pair."""
    try:
        json.dumps(values, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return False
    return True


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
        path, caller, scope = scope.get("path", ""), visitor_of(scope), by_its_name(scope)
        if not is_named_so(scope, _blocks(scope)):
            await _answer(send, 421, _NOT_NAMED_SO)
        elif "/file=http" in path or "/proxy=" in path:
            await _answer(send, 403, b"Links are not fetched.")
        elif not _open(path):
            await _answer(send, 404, b"That is not offered here.")
        elif _length(scope) > (MAX_UPLOAD_BODY if _is_upload(path) else MAX_BODY):
            await _answer(send, 413, b"The request is too large.")
        elif path.startswith(_FILES) and not _blocks(scope).files.may_see(caller, path[len(_FILES[0]) :]):
            await _answer(send, 403, b"There is no such file for you here.")
        else:
            try:
                if _is_page(path):
                    PAGES.take(caller)
                if path.startswith(_API) and not path.startswith(_FILES):
                    with OPEN.held(caller):
                        await self._call(scope, receive, send, caller)
                else:
                    new = path == "/" and not caller.browser
                    await self.app(scope, receive, _with_cookie(scope, send) if new else send)
            except UserError as error:
                await _tell(send, 429, str(error))
            except HTTPException as error:
                await _tell(send, error.status_code, error.detail)

    async def _call(self, scope: dict[str, Any], receive: Any, send: Callable[..., Any], caller: Visitor) -> None:
        """What the page, or a client of the API, does. Raises `UserError` for who does too much, `HTTPException`."""
        if _is_upload(scope["path"]):
            await _take(scope, receive, send, caller)
            return
        body = await _body(in_time(receive, _STILL, _WHOLE)) if scope["method"] == "POST" else None
        names, sessions = _names(scope, body)
        if not all(isinstance(name, str) and _SHORT.fullmatch(name) for name in names):
            await _answer(send, 400, _LONG)
        elif nothing := _nothing_comes(scope):
            await _answer(send, 200, nothing, b"text/event-stream")
        else:
            if body is not None:
                REQUESTS.take(caller)
            for session in sessions:
                VISITS.take(caller, name=session)
            await described(self.app, scope)
            await self.app(scope, receive if body is None else _again(body, receive), send)


def _is_page(path: str) -> bool:
    """What shows the page, or tells about all of it: the answers that cost most for a question without a body."""
    return path.rstrip("/") in ("", "/config", f"{_API}info", f"{_API}openapi.json")


def _is_upload(path: str) -> bool:
    return path.rstrip("/") == _UPLOAD


def _open(path: str) -> bool:
    """Is the route one of those that the page, or gradio_client, asks for?"""
    if path.startswith(_API) and not path.startswith(_FILES):
        return path.removeprefix(_API).split("/")[0] in (*_CALLS, *_ASKED, "upload")
    return path.rstrip("/") in (*_PAGE, "") or path.startswith(_ASSETS)


def _blocks(scope: dict[str, Any]) -> GuardedBlocks:
    blocks = scope["app"].get_blocks()
    assert isinstance(blocks, GuardedBlocks)
    return blocks


def _names(scope: dict[str, Any], body: bytes | None = None) -> tuple[list[Any], list[Any]]:
    """What a client calls its session, its upload and its event, and of these the names that Gradio keeps a state for.

    A body that is no JSON is Gradio's to refuse.
    """
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    path = scope["path"].removeprefix(_API).rstrip("/")
    sessions: list[Any] = [path.removeprefix("heartbeat/")] if path.startswith("heartbeat/") else []
    others: list[Any] = [name for key in ("session_hash", "upload_id") for name in query.get(key, ())]
    with suppress(ValueError, RecursionError):
        values = json.loads(body or b"{}")
        if isinstance(values, dict):
            sessions += [values["session_hash"]] if values.get("session_hash") is not None else []
            others += [values["event_id"]] if values.get("event_id") is not None else []
    return sessions + others, sessions


def _nothing_comes(scope: dict[str, Any]) -> bytes:
    """The answer to who waits for what comes of calls that nobody made, else nothing.

    Gradio's own begins before it finds out, and puts a traceback into the log.
    """
    queue = _blocks(scope)._queue
    kind, *names = scope["path"].removeprefix(_API).rstrip("/").split("/")
    asked = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("session_hash", [""])[-1]
    if (kind, names) == ("queue", ["data"]):
        return _NO_SESSION if asked and asked not in queue.pending_messages_per_session else b""
    if scope["method"] != "GET" or kind != "call" or not names:
        return b""
    event = names[-1]  # once it has ended it is known by its session alone
    made = event in queue.event_ids_to_events or event in queue.pending_messages_per_session
    return b"" if made or any(event in made for made in queue.pending_event_ids_session.values()) else _NO_CALL


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
    """An upload: answered with its paths, or with a line that says why not."""
    if scope["method"] != "POST" or not all(_SHORT.fullmatch(name) for name in _names(scope)[0]):
        await _answer(send, 400, b"Files are uploaded by POST, under a short upload_id.")
    elif reply := await take(scope, receive, caller, _blocks(scope).files, int(_length(scope))):
        await _answer(send, *reply)


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


async def _tell(send: Callable[..., Any], status: int, line: str) -> None:
    """A line as the page expects it of a call, and shows it."""
    await _answer(send, status, json.dumps({"detail": line}).encode(), b"application/json")
