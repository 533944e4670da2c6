"""Takes uploads in: each into a folder of its own, with limits on what a form holds and on how long it may take.

Gradio's parser keeps a file of the form open until the whole form has come, decodes texts as the form says, and counts
the files afterwards. Here a file is closed with its last byte, and a form with too much in it ends at once.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from gradio.route_utils import GradioMultiPartParser, MultiPartException
from gradio.routes import file_upload_statuses
from gradio_client.utils import strip_invalid_filename_characters
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from files import Files, Room
from limits import MAX_FILES, UPLOAD, UPLOADS
from t2i_judge.errors import UserError
from t2i_judge.serving.admission import in_time
from t2i_judge.serving.forms import is_utf8
from visitors import Visitor

_STILL, _WHOLE, _LONGEST = 30.0, 60.0, 900.0  # seconds: without a byte, for a small upload, for the largest
_SLOWEST = 20_000  # bytes a second that are enough for more time than `_WHOLE`
_TEXTS, _TEXT = 8, 1_000  # texts in a form, of which the page sends none, and bytes of one
_WATCHED = 60.0  # seconds that an upload's progress is kept
_STEP = 1_000_000  # bytes of an upload between two looks at the quota
_JSON, _LINE = b"application/json", b"text/plain; charset=utf-8"
_REFUSED = (UserError, HTTPException, MultiPartException, AttributeError, KeyError, TypeError, ValueError)
Reply = tuple[int, bytes, bytes]  # status, body, its type


class _Parser(GradioMultiPartParser):
    """Gradio's, which writes each part to its file as it comes, and closes it there: a form has one open file."""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """Some bytes of a part came. Raises `MultiPartException` where they are too many."""
        part, size = self._current_part, end - start
        if part.file is None:
            if len(part.data) + size > _TEXT:
                raise MultiPartException("a text is too long")
            part.data += data[start:end]
            return
        part.file.size = (part.file.size or 0) + size
        if part.file.size > self.max_file_size:
            raise _TooLarge("a file is too large")
        part.file.file.write(data[start:end])
        if self.upload_progress is not None:
            self.upload_progress.append(str(self.upload_id), str(part.file.filename), data[start:end])

    def on_part_end(self) -> None:
        """A part is complete."""
        part = self._current_part
        if part.file is None:
            super().on_part_end()
        else:
            part.file.file.close()
            self.items.append((part.field_name, part.file))

    def close(self) -> None:
        """Close the file that is open, if the form ended in the middle of it."""
        for file in self._files_to_close_on_error:
            file.close()


class _TooLarge(MultiPartException):
    """A file of the form has more bytes than a picture may have."""


async def take(scope: dict[str, Any], receive: Any, caller: Visitor, files: Files, length: int) -> Reply | None:
    """An upload of about so many bytes: the paths as JSON, or a line that says why not; None for who hung up."""
    upload = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("upload_id", [None])[0]
    try:
        with UPLOADS.held(caller), files.room(caller, length) as room:
            request = Request(scope, _counted(in_time(receive, _STILL, _LONGEST), room))
            names = [str(room.add(path)) for path in await _parsed(request, room.folder, upload)]
        return 200, json.dumps(names).encode(), _JSON
    except ClientDisconnect:
        return None
    except _REFUSED as error:
        return *_refusal(error), _LINE
    finally:
        if upload:
            file_upload_statuses.set_done(upload)  # whoever watches it learns so, and Gradio would keep it for ever
            asyncio.get_running_loop().call_later(_WATCHED, file_upload_statuses.stop_tracking, upload)


async def _parsed(request: Request, folder: Path, upload: str | None) -> list[Path]:
    """The files of a form's field `files`, each under its own name in a folder that nobody can guess."""
    kinds = request.headers.getlist("content-type")
    if not kinds or kinds[0].partition(";")[0].strip().lower() != "multipart/form-data" or not is_utf8(kinds):
        raise MultiPartException("no form, or one that is not in UTF-8")
    if upload:
        file_upload_statuses.track(upload)
    parser = _Parser(
        request.headers,
        request.stream(),
        max_files=MAX_FILES,
        max_fields=_TEXTS,
        upload_dir=folder,
        upload_id=upload,
        upload_progress=file_upload_statuses if upload else None,
        max_file_size=UPLOAD.bytes,
    )
    try:
        form = await parser.parse()
    finally:
        parser.close()
    return [_named(file, folder) for file in form.getlist("files")]


def _named(file: UploadFile | str, folder: Path) -> Path:
    """A file of the form under the name that the visitor gave it, as far as it can be one."""
    if not isinstance(file, UploadFile):
        raise TypeError("a text in the place of a file")
    name = strip_invalid_filename_characters(Path(file.filename or "").name)
    path = folder / secrets.token_hex(8) / (name if name.strip(".") else "picture")
    path.parent.mkdir()
    return Path(str(file.file.name)).rename(path)


def _counted(receive: Callable[..., Any], room: Room) -> Callable[..., Any]:
    """`receive` that counts what comes, and ends what comes so slowly that it is there to stay."""
    came, uncounted, begun = 0, 0, time.monotonic()

    async def receiving() -> Any:
        nonlocal came, uncounted
        message = await receive()
        size, more = len(message.get("body", b"")), message.get("more_body", False)
        came, uncounted = came + size, uncounted + size
        if more and time.monotonic() - begun > _WHOLE + came / _SLOWEST:
            raise HTTPException(408, "the upload is too slow: send it again")
        if uncounted > _STEP or not more:
            room.count(uncounted)
            uncounted = 0
        return message

    return receiving


def _refusal(error: Exception) -> tuple[int, bytes]:
    """Status and line for an upload that was not taken; most other errors come of a body that is no form."""
    if isinstance(error, UserError):
        return 429, str(error).encode()
    if isinstance(error, HTTPException):
        return error.status_code, error.detail.encode()
    if isinstance(error, _TooLarge):
        return 413, f"A picture may have at most {UPLOAD.bytes // 1_000_000} MB.".encode()
    if isinstance(error, MultiPartException) and error.message.startswith("Too many files"):
        return 413, f"{MAX_FILES} files are allowed at a time. Send fewer.".encode()
    return 400, b"That is not an upload. Send the pictures in the field 'files' of a form."
