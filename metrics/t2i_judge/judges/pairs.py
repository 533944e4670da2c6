"""Two images for one prompt, asked about in both orders: `pair+openai:MODEL`.

A judge that prefers whatever it sees first contradicts itself when the images change places. Such a disagreement is a
tie, and is counted as a flip (`Comparison.flipped`); it is never one side's win.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UserError
from ..inputs.images import EncodedImage, ImageError, ImageLike, encode_image
from ..prompts import PAIR, PAIR_HASH, PAIR_SCHEMA, PAIR_VERDICTS, inside
from ..records import Comparison, JudgeInfo, Judgement, Status
from ..served.asking import Outcome, ask_json
from ..served.backend import ChatBackend
from ..served.concurrency import gather_all
from ..served.replies import to_text
from ..served.verdicts import ReplyError
from ..served.wire import Message
from .base import Candidate
from .names import JudgeName
from .served import ServedJudge, served_backend

_TOKENS = 500
# What a verdict means when a was shown first, and when b was.
_MEANT = dict(zip(PAIR_VERDICTS, ("a", "b", "tie"))), dict(zip(PAIR_VERDICTS, ("b", "a", "tie")))


@dataclass(frozen=True)
class _Verdict:
    """What one order gave: `PAIR_VERDICTS`, and why."""

    winner: str
    explanation: str | None


class PairJudge(ServedJudge):
    """A served model that compares: two calls a pair, one an order."""

    def __init__(self, backend: ChatBackend, name: str) -> None:
        super().__init__(backend, JudgeInfo(name, "openai", backend.model, backend.snapshot, PAIR_HASH))

    def compare(
        self,
        images_a: Sequence[ImageLike],
        images_b: Sequence[ImageLike],
        prompts: Sequence[str],
        *,
        progress: bool = False,
    ) -> list[Comparison]:
        """As `Judge.compare`."""
        if not len(images_a) == len(images_b) == len(prompts):
            lengths = [len(images_a), len(images_b), len(prompts)]
            raise UserError(f"lengths differ: {lengths}", "two images and a prompt go together", "give one of each")
        return self._map(self._compare, list(zip(images_a, images_b, prompts)), progress)

    async def _compare(self, pair: tuple[ImageLike, ImageLike, str]) -> Comparison:
        """Whatever is wrong with this one pair becomes its status."""
        a, b, prompt = pair
        if not isinstance(prompt, str) or not prompt.strip():
            return Comparison(
                str(prompt or ""), self.info, status=Status.SKIPPED, reason="the prompt is empty, or no text"
            )
        try:
            first, second = [await asyncio.to_thread(encode_image, image) for image in (a, b)]
        except ImageError as error:
            return Comparison(prompt, self.info, status=Status.IMAGE_ERROR, reason=error.reason)
        outcomes = await gather_all([self._ask(prompt, first, second), self._ask(prompt, second, first)])
        return self._comparison(prompt, outcomes)

    async def _ask(self, prompt: str, first: EncodedImage, second: EncodedImage) -> Outcome[_Verdict]:
        text = PAIR.format(prompt=inside(prompt))
        message = Message("user", text, (first, second))
        return await ask_json(self.backend, [message], ("comparison", PAIR_SCHEMA), _read, _TOKENS, 2 * _TOKENS)

    def _comparison(self, prompt: str, outcomes: Sequence[Outcome[_Verdict]]) -> Comparison:
        judge, usage = self._named(outcomes[0].model), outcomes[0].usage + outcomes[1].usage
        said = [outcome.value for outcome in outcomes]
        winners = [meant[verdict.winner] if verdict else None for meant, verdict in zip(_MEANT, said)]
        explanations = tuple(verdict.explanation if verdict else None for verdict in said)
        broken = next((outcome for outcome in outcomes if outcome.value is None), None)
        winner = None if broken else winners[0] if winners[0] == winners[1] else "tie"
        return Comparison(
            prompt,
            judge,
            winner,
            winners[0],
            winners[1],
            (explanations[0], explanations[1]),
            broken.status if broken else Status.OK,
            broken.reason if broken else None,
            usage,
        )

    async def _judge(self, item: Candidate, images: tuple[EncodedImage, ...]) -> Judgement:
        reason = "a pair+ judge compares two images; use compare, or name the judge without pair+"
        return self._failed(item, Status.SKIPPED, reason)


def _read(record: dict[str, Any]) -> tuple[_Verdict, None]:
    winner = record.get("winner")
    if winner not in PAIR_VERDICTS:
        raise ReplyError(Status.UNPARSABLE, "winner is neither first, second nor tie")
    return _Verdict(str(winner), to_text(record.get("explanation"))), None


def pair_judge(name: JudgeName, **options: Any) -> PairJudge:
    """The judge of a name `pair+openai:MODEL[@BASE_URL]`; `options` as `served_backend`, which raises `UserError`."""
    return PairJudge(served_backend(name, **options), name.label)
