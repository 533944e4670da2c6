"""Rewards from a `t2i-judge serve` elsewhere. A few requests run at once, and a server that is away is waited for."""

from __future__ import annotations

import base64
import io
import math
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from ..errors import UserError, quoted
from ..inputs.cells import ImageError, read_cell
from ..records import Status
from ..served.address import Address
from ..served.concurrency import EventLoop
from ..served.http import Answer, HttpClient, Silent
from ..wording import counted
from .rewards import OnFailure, Reward, Rewards, reward_of

_AWAY = 60.0  # seconds for which a lost connection is tried again
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 3.0  # seconds between tries
_ITEMS, _BYTES = 16, 16_000_000  # of one request, at most: small ones join others in the server's batches
_AT_ONCE = 8  # requests
_ROUNDING = 1e-6  # by which a score may lie outside its range
_NOT_OURS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)  # of an answer of another form


class RewardClient(Rewards):
    """Rewards from a server.

    After a lost connection (the server was restarted or killed) it tries again for 60 s. If the server's queue is full,
    it tries again as long as `timeout` allows. The server remembers what it has judged, so nothing is judged twice.
    A score outside the range that the server tells of its judge is an error, and so is the score of another image, or
    another judge, revision or range than before, such as after a restart: it would train a generator.

    Args:
        url: address of the server. A login in it is sent and shown nowhere.
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
        self.address, self.judge, self.timeout = Address.parse(url or ""), judge, timeout  # OpenAI's is none of ours
        if client_key_env is not None and not (client_key := os.environ.get(client_key_env, "").strip()):
            raise UserError(f"The variable {client_key_env} is empty", "It should contain the server's key", "Set it")
        self._http, self._loop = HttpClient(self.address, client_key, timeout), EventLoop()
        self._told: _Judge | None = None  # as it was first told

    def __repr__(self) -> str:
        return f"RewardClient({str(self.address)!r}, on_failure={self.on_failure!r})"

    def close(self) -> None:
        """Close the connections."""
        self._loop.run(self._http.close())
        self._loop.close()

    def _score(self, images: list[Any], prompts: list[str], references: list[Any] | None) -> list[Reward]:
        rewards: list[Reward | None] = [None] * len(images)
        items: dict[int, dict[str, Any]] = {}
        for number, image in enumerate(images):
            try:
                items[number] = {"id": str(number), "image": _encoded(image), "prompt": prompts[number]}
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
        answer = self._answer({"items": items, **({"judge": self.judge} if self.judge else {})})
        if answer.status == 413 and len(items) > 1:
            half = len(items) // 2
            return self._ask(items[:half]) + self._ask(items[half:])
        if answer.status != 200:
            raise _refusal(self.address, answer)
        try:
            judge = _judge(answer.record["judge"])
            rewards = [_reward(result, judge) for result in answer.record["results"]]
            ids = [result["id"] for result in answer.record["results"]]
        except _NOT_OURS as error:
            raise self._no_rewards(error) from error
        if len(rewards) != len(items):
            given = f"{counted(len(rewards), 'reward')} for {counted(len(items), 'image')}"
            raise UserError(f"{self.address} gives {given}", "", "Update the server")
        if ids != [item["id"] for item in items]:
            raise UserError(f"{self.address} gives rewards for other images", "", "Update the server")
        self._check_judge(judge)
        return rewards

    def _check_judge(self, judge: _Judge) -> None:
        first = self._told = self._told or judge
        if first.revision is None:  # not known yet: nothing was judged, and a served judge says it with its replies
            first = self._told = replace(first, revision=judge.revision)
        if first != replace(judge, revision=judge.revision or first.revision):
            raise UserError(
                f"{self.address} judges by {judge} now, and did by {first}",
                "Rewards of two judges cannot be mixed",
                "Start the server with the judge that it had, or make a new client",
            )

    def _no_rewards(self, error: Exception) -> UserError:
        return UserError(f"{self.address} gives no rewards", str(error), "Use the address of t2i-judge serve")

    def _answer(self, body: dict[str, Any]) -> Answer:
        """The server's answer. Raises `UserError` when none comes in time."""
        end, away_since, pause = time.monotonic() + self.timeout, None, _FIRST_PAUSE
        while True:
            wait, left = pause, max(end - time.monotonic(), _FIRST_PAUSE)
            try:
                answer = self._loop.run(self._http.post(f"{self.address.url}/score", body, left))
                if answer.status not in (429, 503):
                    return answer
                away_since, wait = None, _retry_after(answer, pause)
                problem = f"{self.address} is busy (HTTP {answer.status})"
            except Silent as error:
                if not error.busy and error.sent:
                    raise self._no_rewards(error) from error
                away_since = away_since or time.monotonic()
                problem = f"There was no answer from {self.address} ({error.reason})"
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


@dataclass(frozen=True)
class _Judge:
    """What a server says of its judge."""

    name: str
    revision: str | None
    low: float
    high: float

    def __str__(self) -> str:
        revision = f" ({self.revision[:20]})" if self.revision else ""
        return f"{quoted(self.name[:100])}{revision} in the range [{self.low:g}, {self.high:g}]"


def _judge(record: Any) -> _Judge:
    """Raises one of `_NOT_OURS` for anything that describes no judge."""
    low, high = map(float, record["score_range"])
    return _Judge(str(record["name"]), None if record["revision"] is None else str(record["revision"]), low, high)


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


def _reward(result: Any, judge: _Judge) -> Reward:
    """What a server says of an image. Raises one of `_NOT_OURS` for anything that is no judgement in the range."""
    reason = None if result["reason"] is None else str(result["reason"])
    scores = {str(aspect): _number(score) for aspect, score in result["scores"].items()}
    score = _number(result["score"])
    for given in (score, *scores.values()):
        if given is not None and not judge.low - _ROUNDING <= given <= judge.high + _ROUNDING:
            raise ValueError(f"{given:g} is not a score of this judge, whose range is [{judge.low:g}, {judge.high:g}]")
    return reward_of(Status(result["status"]).value, reason, score, scores)


def _retry_after(answer: Answer, otherwise: float) -> float:
    seconds = answer.headers.get("retry-after", "")
    return float(seconds) if seconds.isascii() and seconds.isdecimal() else otherwise


def _number(score: Any) -> float | None:
    """A server's score. Raises `ValueError` unless it is a finite number."""
    if score is None:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float) or not math.isfinite(score):
        raise ValueError(f"{quoted(str(score)[:50])} is not a score")
    return float(score)


def _refusal(address: Address, answer: Answer) -> UserError:
    detail = answer.record.get("detail") if isinstance(answer.record, dict) else str(answer.record)
    problems: Sequence[Any] = detail if isinstance(detail, list) else [detail]
    reason = "; ".join(str(each.get("msg", each) if isinstance(each, dict) else each)[:500] for each in problems)[:500]
    fixes = {
        401: "Name the variable of its key: client_key_env=...",
        413: "Send smaller images, or start the server with a larger --max-body",
        404: "Use the address of t2i-judge serve",
    }
    return UserError(
        f"{address} refuses (HTTP {answer.status})", reason, fixes.get(answer.status, "See the server's log")
    )
