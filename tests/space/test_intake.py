"""Uploads over plain HTTP: what a form may hold, in which letters, how long it may take, how many come in at once."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from counts import Counts
from limits import MAX_FILES, UPLOADS
from tests.waiting import PATIENCE, eventually
from visitors import new_cookie

PART = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\nx\r\n'
TEXT = b'--b\r\nContent-Disposition: form-data; name="note"\r\n\r\n%s\r\n'
END = b"--b--\r\n"
FORM = "multipart/form-data; boundary=b"
NO_FORM = "That is not an upload. Send the pictures in the field 'files' of a form."


def sent(line: httpx.Client, body: bytes, kind: str = FORM) -> httpx.Response:
    return line.post("/gradio_api/upload", content=body, headers={"content-type": kind})


def open_upload(stack: ExitStack, line: httpx.Client, body: bytes, address: str = "", cookie: str = ""):
    """An upload that has more to come."""
    door = stack.enter_context(socket.create_connection((line.base_url.host, line.base_url.port), timeout=PATIENCE))
    who = {"x-forwarded-for": address, "cookie": cookie}
    head = "".join(f"{name}: {value}\r\n" for name, value in who.items() if value)
    length = len(body) + 5_000
    door.sendall(
        f"POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\n{head}"
        f"Content-Type: {FORM}\r\nContent-Length: {length}\r\n\r\n".encode()
        + body
    )
    return door


@pytest.mark.parametrize(
    "charset", ["punycode", "utf-7", '"idna"', "latin-1", "unicode_escape", "utf-8; charset=punycode"]
)
def test_a_form_in_another_charset_is_refused_before_it_is_parsed(line, charset):
    """A megabyte of punycode kept the whole Space busy for hours."""
    start = time.process_time()
    answer = sent(line, TEXT % (b"999" * 300_000) + PART + END, f"{FORM}; charset={charset}")
    assert (answer.status_code, answer.text) == (400, NO_FORM)
    assert time.process_time() - start < 30


@pytest.mark.parametrize("charset", ["", "; charset=utf-8", '; Charset="UTF-8"'])
def test_a_form_in_utf_8_is_taken(line, charset):
    answer = sent(line, PART.replace(b"a.png", "für.png".encode()) + END, FORM + charset)
    [path] = answer.json()
    assert path.endswith("/für.png")


def test_of_two_content_types_none_names_another_charset(line):
    headers = [("content-type", FORM), ("content-type", f"{FORM}; charset=punycode")]
    for pair in (headers, headers[::-1]):
        assert line.post("/gradio_api/upload", content=PART + END, headers=pair).status_code == 400


def test_texts_in_a_form_are_few_and_short(line):
    assert sent(line, TEXT % b"hello" * 3 + PART + END).status_code == 200
    assert sent(line, TEXT % b"hello" * 20 + PART + END).text == NO_FORM
    assert sent(line, TEXT % (b"x" * 2_000) + PART + END).text == NO_FORM


def test_more_files_than_are_allowed_end_the_form(bare_app, line):
    assert len(sent(line, PART * MAX_FILES + END).json()) == MAX_FILES
    answer = sent(line, PART * 1_000 + END)
    assert (answer.status_code, answer.text) == (413, f"{MAX_FILES} files are allowed at a time. Send fewer.")
    assert not bare_app.files._rooms


def test_a_form_has_one_file_open_at_a_time(bare_app, line):
    """A thousand parts of 70 bytes took every descriptor of a process, for a quarter of an hour."""

    def held() -> int:
        count = 0
        for link in Path("/proc/self/fd").iterdir():
            with suppress(OSError):  # it was closed meanwhile
                count += link.readlink().is_relative_to(bare_app.files.folder)
        return count

    with ExitStack() as stack:
        for _ in range(4):
            open_upload(stack, line, PART * (MAX_FILES - 1) + PART[:-3])
        assert eventually(lambda: len(list(bare_app.files.folder.rglob("tmp*"))) == 4 * MAX_FILES)
        assert held() == 4
    assert eventually(lambda: not bare_app.files._rooms)
    assert held() == 0
    assert not list(bare_app.files.folder.rglob("tmp*"))


def test_an_upload_that_drips_ends_however_much_it_announces(line, monkeypatch):
    monkeypatch.setattr("intake._WHOLE", 1.0)
    start, told = time.monotonic(), b""
    with ExitStack() as stack:
        door = open_upload(stack, line, PART[:-3])
        door.settimeout(0.2)
        while not told and time.monotonic() - start < PATIENCE:
            with suppress(TimeoutError):
                told = door.recv(1000)
            if not told:
                door.sendall(b"x")
    assert told.startswith(b"HTTP/1.1 408 ")


def test_uploads_at_once_are_few_for_a_browser_and_for_a_range(line, monkeypatch):
    assert UPLOADS.each <= 8 and UPLOADS.share <= 0.25
    counts = Counts("Too many uploads", "Wait", each=3, together=40, share=0.2)
    monkeypatch.setattr("intake.UPLOADS", counts)

    def told(address: str, cookie: str = "") -> int:
        who = {"content-type": FORM, "x-forwarded-for": address, "cookie": cookie}
        return line.post("/gradio_api/upload", content=PART + END, headers=who).status_code

    def browser() -> str:
        return new_cookie(secure=False).split(b";")[0].decode()

    with ExitStack() as stack:
        one = browser()
        for _ in range(3):
            open_upload(stack, line, PART, "8.8.8.8", one)
        assert eventually(lambda: counts.sum == 3)
        assert told("8.8.8.8", one) == 429
        for n in range(3):
            open_upload(stack, line, PART, f"8.8.8.{n}", browser())
        assert eventually(lambda: counts.sum == 6)
        assert told("8.8.8.77", browser()) == 429
        assert told("9.9.9.9", browser()) == told("9.9.9.9") == 200
    assert eventually(lambda: counts.sum == 0)
    assert told("8.8.8.8", one) == 200
