"""Addresses as people write them, and which key a server gets: what is sent, and what is never shown."""

from __future__ import annotations

import json
import pickle
import socket
import subprocess
import sys
import threading
import time

import pytest

from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.judges.loading import load_judge
from t2i_judge.judges.names import JudgeName
from t2i_judge.records import Status
from t2i_judge.served.address import Address
from t2i_judge.served.client import OpenAIBackend
from t2i_judge.served.keys import find_key
from t2i_judge.served.wire import Message

BASIC = "dXNlcjpodW50ZXIyIQ=="  # user:hunter2!
SECRET = "sk-very-secret-0123456789"


@pytest.mark.parametrize(
    ("text", "url", "identity"),
    [
        ("http://h:8000", "http://h:8000/v1/chat/completions", "http://h:8000"),
        ("http://H:8000/v1/", "http://h:8000/v1/chat/completions", "http://h:8000"),
        ("https://h/v1/chat/completions", "https://h/v1/chat/completions", "https://h"),
        ("https://u:p@h/v1?api-version=1", "https://h/v1/chat/completions", "https://h?api-version=1"),
        ("https://h/v1?key=abc", "https://h/v1/chat/completions", "https://h"),
        ("https://h/v1?a=1;key=abc&b=2", "https://h/v1/chat/completions", "https://h?b=2"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1/chat/completions", "http://[::1]:8000"),
        ("https://h/openai/deployments/d", "https://h/openai/deployments/d/chat/completions", "https://h/openai/deployments/d"),
    ],
)  # fmt: skip
def test_an_address_in_any_form(text, url, identity):
    address = Address.parse(text)
    assert (address.endpoints[0], address.identity) == (url, identity)
    assert "abc" not in str(address) + repr(address)
    assert pickle.loads(pickle.dumps(address)) == address


@pytest.mark.parametrize(
    ("login", "secret"), [("me:hunter2!", "hunter2!"), ("hf_token-0123456789", "hf_token-0123456789")]
)
def test_a_login_without_a_password_is_a_key(login, secret):
    """`https://TOKEN@host`: a server that repeated the key had it shown."""
    address = Address.parse(f"https://{login}@h/v1")
    assert secret in address.secrets and address.basic in address.secrets
    assert "me" not in address.secrets


@pytest.mark.parametrize("text", ["", " ", "localhost:8000", "ftp://h", "http://", "http://h:port/v1", "http://h /v1"])
def test_what_is_no_address_is_an_error_in_one_line(text):
    with pytest.raises(UserError, match="is not the address of a server"):
        Address.parse(text)


def test_no_address_is_openai_or_what_the_environment_says(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    assert Address.parse(None).is_openai
    with pytest.raises(UserError, match="is not the address of a server"):  # a variable of the shell that is empty
        load_judge("openai:m", base_url="", api_key="k")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://h/v1")
    assert Address.parse(None).url == "http://h/v1"


@pytest.mark.parametrize(
    ("name", "model", "shown"),
    [
        ("openai:@cf/meta/llama@http://h/v1", "@cf/meta/llama", "openai:@cf/meta/llama@http://h/v1"),
        ("openai:a/b@https://u:pw@h/v1", "a/b", "openai:a/b@https://h/v1"),
        ("direct+openai:m@https://h/v1?api-version=1&key=pw", "m", "direct+openai:m@https://h/v1?api-version=1&key=..."),
    ],
)  # fmt: skip
def test_a_judges_name_shows_no_password(name, model, shown):
    parsed = JudgeName.parse(name)
    assert (parsed.model, str(parsed)) == (model, shown)
    assert "pw" not in str(parsed) + repr(parsed) + parsed.label
    assert "pw" in str(parsed.base_url) or "cf" in name


@pytest.mark.parametrize("text", [f" {SECRET}\n", f'"{SECRET}"', f"'{SECRET}' ", f"{SECRET}\r\n"])
def test_a_key_is_trimmed(monkeypatch, text):
    monkeypatch.setenv("OPENAI_API_KEY", text)
    assert find_key(Address.parse("http://h/v1")) == SECRET


@pytest.mark.parametrize("text", [f'{SECRET}"', f"{SECRET}\nX=1", f"Bearer {SECRET}", f"{SECRET}ü"])
def test_a_key_that_cannot_be_one_is_refused_and_not_shown(monkeypatch, text):
    monkeypatch.setenv("OPENAI_API_KEY", text)
    with pytest.raises(UserError, match="OPENAI_API_KEY does not contain a valid key") as caught:
        find_key(Address.parse("http://h/v1"))
    assert "secret" not in str(caught.value)


def test_every_server_has_its_own_key(monkeypatch):
    for name in ("OPENAI_API_KEY", "GROQ", "OWN", "HF_TOKEN"):
        monkeypatch.setenv(name, f"key-{name}")
    groq, own = "https://api.groq.com/openai/v1", "http://own:8000/v1"
    variables = ("https://api.groq.com=GROQ", "OWN")
    assert find_key(Address.parse(groq), None, variables) == "key-GROQ"
    assert find_key(Address.parse(own), None, variables) == "key-OWN"
    assert find_key(Address.parse(own), None, variables[:1]) == "key-OPENAI_API_KEY"
    assert find_key(Address.parse("https://router.huggingface.co/v1")) == "key-HF_TOKEN"
    with pytest.raises(UserError, match="NOT_SET is not set"):
        find_key(Address.parse(own), None, ["NOT_SET"])
    with pytest.raises(UserError, match="api-key-env") as caught:
        find_key(Address.parse(own), None, [SECRET])
    assert SECRET not in str(caught.value)


def test_a_login_is_sent_and_stands_in_no_file_of_a_run(served, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    served.respond = lambda request, n: served.failure(400, f"bad {SECRET} and hunter2! or {BASIC}", "content_filter")
    (tmp_path / "t.csv").write_text("prompt,image\na cat,cat.png\n")
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "cat.png")
    address = served.url.replace("http://", "http://user:hunter2!@") + "?token=hunter2!"
    out = tmp_path / "out"
    main(["score", str(tmp_path / "t.csv"), "--judge", f"direct+openai:m@{address}", "--out", str(out)])
    printed = capsys.readouterr()
    texts = [path.read_bytes().decode("utf-8", "replace") for path in out.rglob("*") if path.is_file()]
    assert len(texts) > 3
    for text in (*texts, printed.out, printed.err):
        assert SECRET not in text
        assert "hunter2" not in text and BASIC not in text
    assert json.loads((out / "run.json").read_text())["judge"].startswith("direct+openai:m@http://127.0.0.1")


def test_a_socks_proxy_without_its_package_is_one_line(tmp_path):
    code = """
import sys
sys.modules["socksio"] = None
from t2i_judge.cli import main
raise SystemExit(main(sys.argv[1:]))
"""
    (tmp_path / "t.csv").write_text("prompt,image\na cat,cat.png\n")
    arguments = ["score", str(tmp_path / "t.csv"), "--judge", "openai:m@http://h/v1", "--out", str(tmp_path / "o")]
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={"ALL_PROXY": "socks5://user:pw@127.0.0.1:9", "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2, run.stderr
    assert 'pip install "httpx2[socks]"' in run.stderr
    assert "Traceback" not in run.stderr
    assert "pw" not in run.stderr


def test_a_reply_that_drips_ends_in_time():
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=trickle, args=(connection,), daemon=True).start()

    def trickle(connection: socket.socket) -> None:
        try:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
            for _ in range(1000):
                connection.sendall(b" ")
                time.sleep(0.05)
        except OSError:
            return

    threading.Thread(target=drip, daemon=True).start()
    backend = OpenAIBackend("m", f"http://127.0.0.1:{listener.getsockname()[1]}/v1", timeout=0.4)
    begun = time.monotonic()
    reply = backend.run(backend.ask([Message("user", "hi")], 5))
    backend.close()
    listener.close()
    assert reply.status is Status.TRANSPORT
    assert "no whole reply within 0.4 s" in str(reply.reason)
    assert time.monotonic() - begun < 40, "a whole reply drips for 50 s"
