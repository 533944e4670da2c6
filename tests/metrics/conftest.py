"""An OpenAI-compatible server on loopback that answers as a test tells it to."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from recipes.loopback.http import Response, serve_connection
from tests.vlm_families import write_family
from tests.waiting import PATIENCE


def completion(text: str | None, *, finish: str = "stop", refusal: str | None = None, usage=(100, 20)) -> Response:
    """A chat completion."""
    message = {"role": "assistant", "content": text, "refusal": refusal}
    return Response(
        {
            "id": "c",
            "object": "chat.completion",
            "created": 0,
            "model": "served-1",
            "choices": [{"index": 0, "message": message, "finish_reason": finish}],
            "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1], "total_tokens": sum(usage)},
        }
    )


def failure(status: int, message: str = "no", code: str | None = None, **headers: str) -> Response:
    """An error in OpenAI's shape."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response({"error": {"message": message, "code": code, "type": "t", "param": None}}, status, headers)


class FakeOpenAI:
    """`respond(request, n)` answers the n-th chat request (from 0); `calls` keeps them, `most` is how many at once."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.most = self._now = 0
        self.respond: Callable[[dict[str, Any], int], Any] = lambda request, n: completion("hello")

    async def handle(self, method: str, path: str, body: bytes) -> Response:
        if path.partition("?")[0].endswith("/models"):
            return Response({"object": "list", "data": []})
        request = json.loads(body)
        self.calls.append(request)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            response = self.respond(request, len(self.calls) - 1)
            return await response if inspect.isawaitable(response) else response
        finally:
            self._now -= 1

    def __enter__(self) -> FakeOpenAI:
        self._loop, ready = asyncio.new_event_loop(), threading.Event()

        async def start() -> None:
            async def connected(reader, writer) -> None:
                with suppress(asyncio.CancelledError):
                    await serve_connection(self.handle, reader, writer)

            self._server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=1 << 20)
            self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
            ready.set()

        def serve() -> None:
            self._loop.create_task(start())
            self._loop.run_forever()
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(asyncio.sleep(0.01))
            self._loop.close()

        self._thread = threading.Thread(target=serve, daemon=True)
        self._thread.start()
        assert ready.wait(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)


@pytest.fixture
def served() -> Iterator[FakeOpenAI]:
    """The server, for one test."""
    with FakeOpenAI() as server:
        server.completion, server.failure = completion, failure  # type: ignore[attr-defined]
        yield server


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch) -> None:
    """Back off for milliseconds, so that tests of retries take no time."""
    monkeypatch.setattr("t2i_judge.served.server._FIRST_WAIT", 0.01)
    monkeypatch.setattr("t2i_judge.served.server._LONGEST_WAIT", 0.05)


@pytest.fixture(scope="session")
def vlm(tmp_path_factory) -> Callable[[str], Path]:
    """Folder of a tiny random vision-language model of a family (`tests.vlm_families`), made once."""
    folder = tmp_path_factory.mktemp("vlms")

    def made(name: str) -> Path:
        return folder / name if (folder / name).exists() else write_family(name, folder / name)

    return made
