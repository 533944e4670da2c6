"""A small HTTP/1.1 server on loopback, in a process of its own: what teachers, tests and benchmarks talk to.

Plain asyncio, so that a server starts in a fraction of a second and costs little beside what is measured. Keep-alive,
JSON bodies, nothing else of HTTP. It binds 127.0.0.1 only.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from t2i_judge.errors import UserError

READY = "listening on "
# Headers of the request that is being answered, names in lower case.
REQUEST_HEADERS: ContextVar[Mapping[str, str]] = ContextVar("request_headers")
_LARGEST_BODY = 256_000_000  # bytes


@dataclass(frozen=True)
class Response:
    """Status, JSON body and extra headers; `drop` closes the connection without a word instead."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    drop: bool = False

    def encode(self) -> bytes:
        """The response as bytes on the wire; a body of type str is sent as it is."""
        body = (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()
        lines = [f"HTTP/1.1 {self.status} Status", "Content-Type: application/json", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode() + body


Handler = Callable[[str, str, bytes], Awaitable[Response]]  # method, path, body


async def serve_connection(handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one connection's requests, one after the other, until either side closes it."""
    try:
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                method, path, _ = head[0].split(" ", 2)
                pairs = (line.split(": ", 1) for line in head[1:] if ": " in line)
                headers = {name.lower(): value for name, value in pairs}
                REQUEST_HEADERS.set(headers)
                length = int(headers.get("content-length", 0))
                if length > _LARGEST_BODY:
                    break
                response = await handler(method, path, await reader.readexactly(length))
                if response.drop:
                    break
                writer.write(response.encode())
                await writer.drain()
    finally:
        writer.close()


async def _serve(handler: Handler, port: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve_connection(handler, reader, writer)

    server = await asyncio.start_server(connected, "127.0.0.1", port, limit=1 << 20, backlog=1024)
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    watch = asyncio.create_task(_outlived(os.getppid(), stop))
    print(f"{READY}http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await stop.wait()
    watch.cancel()
    server.close()


async def _outlived(parent: int, stop: asyncio.Event) -> None:
    """Stop once the process that started this one is gone, killed or not."""
    while os.getppid() == parent:
        await asyncio.sleep(0.5)
    stop.set()


def serve(handler: Handler, port: int = 0) -> None:
    """Serve until SIGTERM, Ctrl-C or the death of the parent process; prints `listening on URL` first."""
    asyncio.run(_serve(handler, port))


@contextmanager
def started(module: str, arguments: Sequence[str] = (), seconds: float = 30.0) -> Iterator[str]:
    """Run `python -m MODULE ARGUMENTS` as a server of its own process; yields the address that it prints.

    Raises:
        UserError: it ended, or printed no address within `seconds`.
    """
    # Its own session: a Ctrl-C at the terminal reaches us alone, and the server outlives the calls still under way.
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield _address(process, module, seconds)
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout:
            process.stdout.close()


def _address(process: subprocess.Popen[str], module: str, seconds: float) -> str:
    import select

    assert process.stdout is not None
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and select.select([process.stdout], [], [], deadline - time.monotonic())[0]:
        line = process.stdout.readline()
        if line.startswith(READY):
            return line.removeprefix(READY).strip()
        if not line:
            break
    raise UserError(f"The server {module} did not start", "It printed no address", "Run it alone to see why")
