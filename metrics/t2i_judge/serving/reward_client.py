"""Rewards from a `t2i-judge serve` elsewhere. A few requests run at once, and a server that is away is waited for."""

from __future__ import annotations

import base64
import io
import math
import os
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from ..errors import UserError, quoted
from ..inputs.cells import ImageError, read_cell
from ..records import Status
from ..wording import counted
from .rewards import OnFailure, Reward, Rewards, reward_of

if TYPE_CHECKING:
    import httpx2

_AWAY = 60.0  # seconds for which a lost connection is tried again
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 3.0  # seconds between tries
_ITEMS, _BYTES = 16, 16_000_000  # of one request, at most: small ones join others in the server's batches
_AT_ONCE = 8  # requests


class RewardClient(Rewards):
    """Rewards from a server.

    After a lost connection (the server was restarted or killed) it tries again for 60 s. If the server's queue is full,
    it tries again as long as `timeout` allows. The server remembers what it has judged, so nothing is judged twice.

    Args:
        url: address of the server.
        on_failure: see `Rewards`.
        judge: the judge to ask; None for the server's first.
        client_key_env: name of the variable that holds the server's key; `client_key` is the key itself.
        timeout: seconds for a request, including the time in the server's queue.
    """

    def __init__(
        self,
        url: str,
        on_failure: OnFailure = "raise",
        judge: str | None = None,
        client_key_env: str | None = None,
        client_key: str | None = None,
        timeout: float = 600.0,
    ) -> None:
        super().__init__(on_failure)
        if not url.lower().startswith(("http://", "https://")):
            raise UserError(f"{quoted(url)} is not the address of a server", "", "Write it like http://127.0.0.1:8000")
        self.url, self.judge, self.timeout = url.rstrip("/"), judge, timeout
        if client_key_env is not None and not (client_key := os.environ.get(client_key_env, "").strip()):
            raise UserError(f"The variable {client_key_env} is empty", "It should contain the server's key", "Set it")
        self._headers = {"Authorization": f"Bearer {client_key}"} if client_key else {}
        self._client: httpx2.Client | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"RewardClient({self.url!r}, on_failure={self.on_failure!r})"

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _score(self, images: list[Any], prompts: list[str], references: list[Any] | None) -> list[Reward]:
        rewards: list[Reward | None] = [None] * len(images)
        items: dict[int, dict[str, Any]] = {}
        for number, image in enumerate(images):
            try:
                items[number] = {"image": _encoded(image), "prompt": prompts[number]}
                if references is not None and references[number] is not None:
                    items[number]["reference_image"] = _encoded(references[number])
            except ImageError as error:
                rewards[number] = reward_of(Status.IMAGE_ERROR.value, error.reason, None, {})
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            asked = list(_requests(items))
            for numbers, came in zip(asked, threads.map(lambda some: self._ask([items[n] for n in some]), asked)):
                for number, reward in zip(numbers, came, strict=True):
                    rewards[number] = reward
        return [reward for reward in rewards if reward is not None]

    def _ask(self, items: list[dict[str, Any]]) -> list[Reward]:
        """Rewards of some items. A request that is too large is split in two."""
        answer = self._post({"items": items, **({"judge": self.judge} if self.judge else {})})
        if answer.status_code == 413 and len(items) > 1:
            half = len(items) // 2
            return self._ask(items[:half]) + self._ask(items[half:])
        if answer.status_code != 200:
            raise _refusal(self.url, answer)
        try:
            results = answer.json()["results"]
            rewards = [reward_of(r["status"], r["reason"], _number(r["score"]), r["scores"]) for r in results]
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise UserError(f"{self.url} gives no rewards", str(error), "Use the address of t2i-judge serve") from error
        if len(rewards) != len(items):
            given = f"{counted(len(rewards), 'reward')} for {counted(len(items), 'image')}"
            raise UserError(f"{self.url} gives {given}", "", "Update the server")
        return rewards

    def _post(self, body: dict[str, Any]) -> httpx2.Response:
        """The server's answer. Raises `UserError` when none comes in time."""
        import httpx2

        end, away_since, pause = time.monotonic() + self.timeout, None, _FIRST_PAUSE
        while True:
            wait = pause
            try:
                answer = self._connections().post(f"{self.url}/score", json=body)
                if answer.status_code not in (429, 503):
                    return answer
                away_since, wait = None, _retry_after(answer, pause)
                problem = f"{self.url} is busy (HTTP {answer.status_code})"
            except httpx2.TransportError as error:
                away_since = away_since or time.monotonic()
                problem = f"There was no answer from {self.url} ({error or type(error).__name__})"
                if time.monotonic() - away_since > _AWAY:
                    fix = "Start the server, or correct the address"
                    raise UserError(problem, f"The request was repeated for {_AWAY:.0f} s", fix) from error
            if time.monotonic() + wait > end:
                raise UserError(
                    problem,
                    f"No reward came within {self.timeout:g} s",
                    "Ask for fewer rewards at a time, or raise timeout",
                )
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _connections(self) -> httpx2.Client:
        import httpx2

        with self._lock:
            if self._client is None:
                self._client = httpx2.Client(headers=self._headers, timeout=httpx2.Timeout(self.timeout, connect=10))
            return self._client


def _encoded(image: Any) -> str:
    """An image as base64: a file as it is, pixels as PNG. Raises `ImageError`."""
    data = read_cell(image)
    if not isinstance(data, bytes):
        out = io.BytesIO()
        try:
            data.save(out, "PNG", compress_level=1)
        except (OSError, ValueError) as error:  # a mode that PNG does not hold, a file that is broken
            raise ImageError(f"the PIL image cannot be written as PNG: {error}") from error
        data = out.getvalue()
    return base64.b64encode(data).decode("ascii")


def _requests(items: dict[int, dict[str, Any]]) -> Iterator[list[int]]:
    """Numbers of the items of each request, so that no request is too large."""
    some: list[int] = []
    size = 0
    for number, item in items.items():
        mine = len(item["image"]) + len(item.get("reference_image", ""))
        if some and (len(some) == _ITEMS or size + mine > _BYTES):
            yield some
            some, size = [], 0
        some.append(number)
        size += mine
    if some:
        yield some


def _retry_after(answer: httpx2.Response, otherwise: float) -> float:
    seconds = answer.headers.get("retry-after", "")
    return float(seconds) if seconds.isascii() and seconds.isdecimal() else otherwise


def _number(score: Any) -> float | None:
    """A server's score. Raises `ValueError` unless it is a finite number, since it would train a generator."""
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise ValueError(f"{quoted(str(score)[:50])} is not a score")
    return float(score)


def _refusal(url: str, answer: httpx2.Response) -> UserError:
    try:
        detail = answer.json()["detail"]
    except (ValueError, LookupError, TypeError):
        detail = answer.text[:300]
    problems: Sequence[Any] = detail if isinstance(detail, list) else [detail]
    reason = "; ".join(str(each.get("msg", each) if isinstance(each, dict) else each) for each in problems)[:500]
    fixes = {
        401: "Name the variable of its key: client_key_env=...",
        413: "Send smaller images, or start the server with a larger --max-body",
        404: "Use the address of t2i-judge serve",
    }
    return UserError(
        f"{url} refuses (HTTP {answer.status_code})", reason, fixes.get(answer.status_code, "See the server's log")
    )
