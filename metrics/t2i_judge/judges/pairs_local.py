"""`pair+hf:MODEL`: any vision-language model on this machine that is shown two images for one prompt, in both orders.

One user turn shows both images. The verdict of an order is the likeliest of three answers, each counted over all single
tokens that spell it: first, second and tie, or 1, 2 and 0 if a vocabulary lacks one of these words.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import UserError, quoted
from ..inputs.images import ImageLike, load_image
from ..local.answers import AnswerModel, NextWord
from ..local.model import Asked, Turn
from ..local.spelling import tokens_of
from ..local.weights import Weights, find_weights, load_parts
from ..prompts import PAIR_VERDICTS, PAIR_WORD, filled, inside
from ..records import Comparison, JudgeInfo, Judgement, Status, Usage
from ..served.asking import Outcome
from .base import Candidate, Judge
from .comparing import SINGLE, Pair, Verdict, comparison, opened, paired
from .local import Failure, chunks, fitting, read_safely
from .names import JudgeName
from .words import NOT_FINITE, THINKS, described, slower

_ANSWERS = (PAIR_VERDICTS, ("1", "2", "0"))  # what says the verdicts, the first that a vocabulary has
_IMAGES = 2
_ORDERS = 2


class LocalPairJudge(Judge):
    """A model on this machine that compares.

    Args:
        model: the loaded model; its words are the answers that say first, second and tie, in this order.
        info: who judges; what is asked, which tokens count and how they are read is added.
        batch_size: images that go through the model together. A pair takes four and is not split.

    Raises:
        UserError: the batch is too small for one pair.
    """

    def __init__(self, model: AnswerModel, info: JudgeInfo, batch_size: int = 16) -> None:
        if batch_size < 1:
            raise UserError(f"The batch_size is {batch_size}", "A batch has at least one item", "Give 1 or more")
        self.template = filled(PAIR_WORD, **dict(zip(PAIR_VERDICTS, model.tokens, strict=True)))
        super().__init__(described(info, model, self.template))
        self.model, self.batch_size = model, batch_size

    @property
    def notes(self) -> list[str]:
        """Why the model is not asked in the fastest way, if it is not."""
        return slower(self.model)

    def compare(
        self,
        images_a: Sequence[ImageLike],
        images_b: Sequence[ImageLike],
        prompts: Sequence[str],
        *,
        progress: bool = False,
    ) -> list[Comparison]:
        """As `Judge.compare`."""
        from ..progress import Progress

        pairs = paired(images_a, images_b, prompts)
        made: list[Comparison] = []
        with Progress(total=len(pairs), disable=not progress, leave=False, desc=self.info.name, unit="pair") as bar:
            rest = iter(pairs)
            while len(made) < len(pairs):
                some = self._compare_next(rest)
                made += some
                bar.update(len(some))
        return made

    def _compare_next(self, rest: Iterator[Pair]) -> list[Comparison]:
        """One pass over both orders of the next pairs. Whatever is wrong with a pair is its status."""
        start = time.perf_counter()
        most = max(self.batch_size // (_IMAGES * _ORDERS), 1)
        pairs = fitting(rest, lambda pair: (self._opened(pair), pair[2]), lambda pair: _pictures(pair[0]), most)
        sound = [(both, prompt) for both, prompt in pairs if not isinstance(both, Comparison)]
        asked = [Asked(order, [self._turn(prompt)]) for both, prompt in sound for order in (both, both[::-1])]
        readings = read_safely(self.model, asked)
        seconds = (time.perf_counter() - start) / max(len(asked), 1)
        outcomes = chunks([self._outcome(reading, seconds) for reading in readings], _ORDERS)
        return [
            both if isinstance(both, Comparison) else comparison(prompt, self.info, next(outcomes))
            for both, prompt in pairs
        ]

    def _opened(self, pair: Pair) -> tuple[Any, Any] | Comparison:
        both = opened(pair, self.info, load_image)
        if self.model.prompter.thinks and not isinstance(both, Comparison):
            return Comparison(pair[2], self.info, status=Status.SKIPPED, reason=THINKS)
        return both

    def _turn(self, prompt: str) -> Turn:
        return Turn("compare", "winner", filled(self.template, prompt=inside(prompt)))

    def _outcome(self, reading: dict[tuple[str, str], NextWord] | Failure, seconds: float) -> Outcome[Verdict]:
        """The verdict of one order; a tie if two answers are equally likely."""
        if isinstance(reading, Failure):
            return Outcome(None, reading.status, reading.reason)
        [word] = reading.values()
        usage = Usage(1, word.tokens_read, 0, seconds, 0.0)
        masses = dict(zip(PAIR_VERDICTS, map(word.mass, self.model.tokens.values()), strict=True))
        if not all(map(math.isfinite, masses.values())):
            return Outcome(None, Status.UNPARSABLE, NOT_FINITE, usage)
        likeliest = [verdict for verdict, mass in masses.items() if mass == max(masses.values())]
        shares = {verdict: math.exp(mass) for verdict, mass in masses.items()}
        return Outcome(Verdict(likeliest[0] if len(likeliest) == 1 else "tie", None, shares), usage=usage)

    def _score(self, items: Sequence[Candidate], explain: bool, progress: bool) -> list[Judgement]:
        return [self._failed(item, Status.SKIPPED, SINGLE) for item in items]


def _pictures(both: tuple[Any, Any] | Comparison) -> tuple[Any, ...]:
    return () if isinstance(both, Comparison) else both


def comparing_weights(name: JudgeName) -> Weights:
    """The weights of a name `pair+hf:MODEL`. Raises `UserError` where there are none, or of a distilled judge."""
    weights = find_weights(name.model, name.revision)
    if weights.distilled:
        reason = "A distilled judge answers with levels and cannot compare images"
        raise UserError(
            f"There is no judge {quoted(str(name))}", reason, "Use its base, or leave out pair+ and --pairs"
        )
    return weights


def local_pair_judge(
    name: JudgeName,
    quantization: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    batch_size: int = 16,
) -> LocalPairJudge:
    """The judge of a name `pair+hf:MODEL`.

    Args:
        name: of the judge.
        quantization, device, dtype: as `load_parts`.
        batch_size: as `LocalPairJudge`.

    Raises:
        UserError: it is a distilled judge, cannot be loaded, or has no single tokens for the answers.
    """
    weights = comparing_weights(name)
    parts = load_parts(weights, quantization, device, dtype)
    words = answers_of(name, parts.processor.tokenizer)
    model = AnswerModel(parts.model, parts.processor, parts.precision, words, _IMAGES)
    return LocalPairJudge(model, JudgeInfo(name.label, "pair", weights.name, weights.revision), batch_size)


def answers_of(name: JudgeName, tokenizer: Any) -> tuple[str, ...]:
    """What says first, second and tie with a token each. Raises `UserError` where the vocabulary has no such words."""
    for words in _ANSWERS:
        if all(tokens_of(tokenizer, (word,)) for word in words):
            return words
    reason = "Its vocabulary has no single tokens for first, second and tie, nor for 1, 2 and 0"
    raise UserError(f"There is no judge {quoted(str(name))}", reason, "Use another model")
