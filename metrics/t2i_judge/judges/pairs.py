"""`pair+openai:MODEL`: a served model that is shown two images for one prompt, in both orders (see `comparing`)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from ..inputs.images import EncodedImage, ImageLike, encode_image
from ..prompts import PAIR, PAIR_HASH, PAIR_SCHEMA, PAIR_VERDICTS, inside
from ..records import Comparison, JudgeInfo, Judgement, Status
from ..served.asking import Outcome, ask_json
from ..served.backend import ChatBackend
from ..served.concurrency import gather_all
from ..served.replies import to_text
from ..served.verdicts import ReplyError
from ..served.wire import Message
from .base import Candidate
from .comparing import SINGLE, Pair, Verdict, comparison, opened, paired
from .names import JudgeName
from .served import ServedJudge, served_backend

_TOKENS = 500


class PairJudge(ServedJudge):
    """A served model that compares: two calls per pair, one per order."""

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
        return self._map(self._compare, paired(images_a, images_b, prompts), progress)

    async def _compare(self, pair: Pair) -> Comparison:
        """Whatever is wrong with this one pair becomes its status."""
        images = await asyncio.to_thread(opened, pair, self.info, lambda image: self._sized(encode_image(image)))
        if isinstance(images, Comparison):
            return images
        (first, second), prompt = images, pair[2]
        outcomes = await gather_all([self._ask(prompt, first, second), self._ask(prompt, second, first)])
        return comparison(prompt, self._named(outcomes[0].model), outcomes)

    async def _ask(self, prompt: str, first: EncodedImage, second: EncodedImage) -> Outcome[Verdict]:
        text = PAIR.format(prompt=inside(prompt))
        message = Message("user", text, (first, second))
        return await ask_json(self.backend, [message], ("comparison", PAIR_SCHEMA), _read, _TOKENS, 2 * _TOKENS)

    async def _judge(self, item: Candidate, images: tuple[EncodedImage, ...]) -> Judgement:
        return self._failed(item, Status.SKIPPED, SINGLE)


def _read(record: dict[str, Any]) -> tuple[Verdict, None]:
    winner = record.get("winner")
    if winner not in PAIR_VERDICTS:
        raise ReplyError(Status.UNPARSABLE, "winner is neither first, second nor tie")
    return Verdict(str(winner), to_text(record.get("explanation"))), None


def pair_judge(name: JudgeName, **options: Any) -> PairJudge:
    """The judge of a name `pair+openai:MODEL[@BASE_URL]`; `options` as `served_backend`, which raises `UserError`."""
    return PairJudge(served_backend(name, **options), name.label)
