"""The Space's names over plain HTTP: nobody chooses the one that others read, nor calls it by a foreign one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from counts import Counts
from limits import PAGES
from naming import by_its_name, is_named_so

EVIL = "evil.example"
CLAIMS = {"x-forwarded-host": f"{EVIL}, proxy.example", "x-forwarded-proto": "https", "x-gradio-server": EVIL}


@pytest.mark.parametrize("first", ["/gradio_api/info", "/gradio_api/openapi.json", "/gradio_api/call/v2/compose"])
def test_no_caller_chooses_the_name_that_others_read(bare_app, line, first):
    """Gradio kept the description of the API as it wrote it for the first who asked, for as long as it ran."""
    bare_app.app.api_info = None
    claims = {**CLAIMS, "x-forwarded-for": "8.8.8.8"}
    scene = {"seed": 1, "swapped": False, "changes": []} if "call" in first else None
    line.request("POST" if scene else "GET", first, headers=claims, json=scene)
    for path in ("/", "/config", "/gradio_api/info", "/gradio_api/openapi.json"):
        told = line.get(path, headers={"x-forwarded-for": "9.9.9.9"})
        assert told.status_code == 200
        assert EVIL not in told.text and "proxy.example" not in told.text, path
    assert "localhost" in line.get("/gradio_api/info").text


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info?page=", "/gradio_api/openapi.json"])
def test_a_claim_without_a_proxy_is_not_repeated(line, path):
    told = line.get(path, headers=CLAIMS)
    assert told.status_code == 200 and EVIL not in told.text and "proxy.example" not in told.text


def test_what_the_nearest_proxy_wrote_is_the_name(line):
    told = line.get("/config", headers={**CLAIMS, "x-forwarded-for": "8.8.8.8"})
    assert told.json()["root"] == "https://proxy.example"


@pytest.mark.parametrize(
    ("client", "forwarded", "stays"),
    [
        (("10.0.0.1", 5), True, True),
        (("10.0.0.1", 5), False, False),
        (("8.8.8.8", 5), True, False),  # a peer on the internet
        (("8.8.8.8", 0), True, True),  # uvicorn put it there, for a proxy that it trusts
        (None, False, False),
    ],
)
def test_a_proxy_is_who_the_address_is_believed_of(client, forwarded, stays):
    headers = [(b"host", b"ours"), (b"x-forwarded-host", b"evil.example"), (b"x-forwarded-host", b"ours.example")]
    headers += [(b"x-forwarded-for", b"1.1.1.1")] if forwarded else []
    told = by_its_name({"client": client, "headers": headers})["headers"]
    assert [value for name, value in told if name == b"x-forwarded-host"] == ([b"ours.example"] if stays else [])


@pytest.mark.parametrize("path", ["/", "/config", "/gradio_api/info", "/static/img/logo.svg"])
def test_another_name_for_this_machine_is_refused(line, path):
    """DNS rebinding: a page's own name leads here now."""
    for host in (EVIL, f"{EVIL}:80", f"127.0.0.1.{EVIL}", "]["):
        told = line.get(path, headers={"host": host})
        assert told.status_code == 421 and "GRADIO_ROOT_PATH" in told.text, host
    for host in ("localhost", "LOCALHOST:1", "127.0.0.1", "[::1]:80"):
        assert line.get(path, headers={"host": host}).status_code != 421, host


def test_the_owners_address_is_a_name_and_so_is_any_where_others_reach_it():
    scope = {"headers": [(b"host", b"judge.example")]}
    at = {"server_name": "127.0.0.1", "root_path": ""}
    assert not is_named_so(scope, SimpleNamespace(**at))
    assert is_named_so(scope, SimpleNamespace(**{**at, "root_path": "https://judge.example/here"}))
    assert is_named_so(scope, SimpleNamespace(**{**at, "server_name": "0.0.0.0"}))


def test_pages_within_a_minute_are_so_many_and_no_browser_meets_that(line, monkeypatch):
    """A page takes a tenth of a second of work; nothing counted them."""
    assert PAGES.each >= 100 and PAGES.share * PAGES.together >= 200
    monkeypatch.setattr("guard.PAGES", Counts("Too often", "Wait", each=50, together=60, share=0.2))

    def told(address: str, path: str) -> int:
        return line.get(path, headers={"x-forwarded-for": address}).status_code

    paths = ["/", "/config", "/gradio_api/info", "/gradio_api/openapi.json", ""] * 3
    assert [told(f"8.8.8.{n}", path) for n, path in enumerate(paths)] == [200] * 10 + [429] * 5
    refused = line.get("/", headers={"x-forwarded-for": "8.8.8.8"})
    assert refused.json() == {"detail": "Too often. Wait."}
    assert told("9.9.9.9", "/") == told("9.9.9.9", "/config") == 200
    assert told("8.8.8.8", "/theme.css") == 200
