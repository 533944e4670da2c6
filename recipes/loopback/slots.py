"""A served model of known capacity, for benchmarks: `python -m recipes.loopback.slots --slots 64 --seconds 0.5`.

It works on so many requests at once and takes so long for each; others wait. Every reply is the one in --reply.
Address: see `recipes.loopback.http`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence

from recipes.loopback.http import Response, serve


class Slots:
    """At most `slots` requests at once, `seconds` each, all with the same reply."""

    def __init__(self, slots: int, seconds: float, reply: str) -> None:
        self.seconds = seconds
        self.free = asyncio.Semaphore(slots)
        message = {"role": "assistant", "content": reply}
        usage = {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        head = {"id": "c", "object": "chat.completion", "created": 0, "model": "slots"}
        self.body = json.dumps({**head, "choices": [choice], "usage": usage})

    async def handle(self, method: str, path: str, body: bytes) -> Response:
        """One request, whatever it says."""
        async with self.free:
            await asyncio.sleep(self.seconds)
        return Response(self.body)


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve."""
    parser = argparse.ArgumentParser(description="A served model of known capacity.")
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--reply", default="8")
    options = parser.parse_args(arguments)
    serve(Slots(options.slots, options.seconds, options.reply).handle)


if __name__ == "__main__":
    main()
