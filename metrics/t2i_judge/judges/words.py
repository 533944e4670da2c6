"""Shared by judges that read one word from a model (`local.answers`) and may have prompts decomposed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..decompose import check
from ..kept import Kept
from ..local.answers import AnswerModel, NextWord
from ..prompts import template_hash, wants_reference
from ..records import NO, YES, JudgeInfo, Question, Status
from ..served.asking import Outcome
from .base import Judge
from .decomposing import Decomposer
from .local import Failure, Loaded, LocalJudge

THINKS = "the model's chat template starts thinking that cannot be switched off, so no answer comes next"
NOT_FINITE = "the model's logits are not finite"
_PERSONALISED = "only dreambench+... and distilled judges can ask questions about a reference"


class WordJudge(LocalJudge):
    """Asks a model that answers with one word.

    Args:
        model: the loaded model.
        info: describes the judge; what is asked, which tokens count and how they are read is added.
        template: of what is asked.
        decomposer: turns prompts into questions; None: items without questions are asked about as a whole.
        options: as `LocalJudge`.
    """

    model: AnswerModel

    def __init__(
        self, model: AnswerModel, info: JudgeInfo, template: str, decomposer: Decomposer | None, **options: Any
    ) -> None:
        super().__init__(model, described(info, model, template), **options)
        self.template, self.decomposer = template, decomposer
        self._outcomes: Kept[str, Outcome[list[Question]]] = Kept()

    @property
    def notes(self) -> list[str]:
        """Why the model is not asked in the fastest way, if it is not, and the decomposer's notes."""
        return [*slower(self.model), *getattr(self.decomposer, "notes", [])]

    def check(self) -> None:
        """Raise `UserError` if the decomposer cannot be reached."""
        if isinstance(self.decomposer, Judge):
            self.decomposer.check()

    def interrupt(self) -> None:
        """Let the decomposer's calls under way end, and begin no more of them."""
        if isinstance(self.decomposer, Judge):
            self.decomposer.interrupt()

    def close(self) -> None:
        """Close the decomposer."""
        if isinstance(self.decomposer, Judge):
            self.decomposer.close()

    def decompositions(self, prompts: Sequence[str], progress: bool = False) -> list[Outcome[list[Question]]]:
        """The questions of each prompt, or the status and reason why there are none; each prompt is asked once."""
        assert self.decomposer is not None
        every = {prompt: self._outcomes.get(prompt) for prompt in prompts}
        new = [prompt for prompt, outcome in every.items() if outcome is None]
        fresh = dict(zip(new, self.decomposer.decompositions(new, progress) if new else [], strict=True))
        self._outcomes.update({prompt: outcome for prompt, outcome in fresh.items() if outcome.value})
        return [every[prompt] or fresh[prompt] for prompt in prompts]  # what failed may pass later: it is not kept

    def _prepare(self, batch: list[Loaded]) -> list[Loaded]:
        if self.model.prompter.thinks:
            return [item if item.outcome else item.ended(Failure(Status.SKIPPED, THINKS)) for item in batch]
        asking = self.decomposer is not None
        prompts = [item.prompt for item in batch if asking and item.outcome is None and item.questions is None]
        outcomes = dict(zip(prompts, self.decompositions(prompts, len(prompts) > 1), strict=True)) if prompts else {}
        return [_with_questions(item, outcomes) if item.outcome is None else item for item in batch]


def _with_questions(item: Loaded, outcomes: Mapping[str, Outcome[list[Question]]]) -> Loaded:
    """The item with questions that can be asked, or with the reason why it should have some and has none."""
    questions = item.questions
    if questions is None:
        if item.prompt not in outcomes:
            return item
        outcome = outcomes[item.prompt]
        if outcome.value is None:
            return item.ended(Failure(outcome.status, f"decomposition: {outcome.reason}"))
        questions = tuple(outcome.value)
    try:
        check(questions)
    except ValueError as error:
        return item.ended(Failure(Status.SKIPPED, f"questions: {error}"))
    if any(map(wants_reference, questions)):
        return item.ended(Failure(Status.SKIPPED, _PERSONALISED))
    return replace(item, questions=questions)


def yes_or_no(model: AnswerModel, word: NextWord) -> tuple[dict[str, float], float]:
    """Probabilities of yes and of no over all words, and yes / (yes + no); nan if the logits are not finite."""
    yes, no = word.mass(model.tokens[YES]), word.mass(model.tokens[NO])
    if math.isnan(yes) or math.isnan(no):
        return {}, math.nan
    return {YES: math.exp(yes), NO: math.exp(no)}, 1 / (1 + math.exp(min(no - yes, 700.0)))


def shown_tokens(tokens: Mapping[int, str]) -> str:
    """Decoded tokens in quotation marks."""
    return ", ".join(repr(text) for text in tokens.values())


def slower(model: AnswerModel) -> list[str]:
    """A note on why the model is not asked in the fastest way, if it is not."""
    return [f"questions go the way {model.way!r} ({model.reason})"] if model.reason else []


def described(info: JudgeInfo, model: AnswerModel, template: str) -> JudgeInfo:
    """The judge's description, with what is asked, which tokens count and how the probabilities are computed."""
    tokens = "; ".join(f"{word}: {shown_tokens(tokens)}" for word, tokens in model.tokens.items())
    backend = ", ".join(filter(None, (info.backend, model.way, model.precision)))
    asked = {"template": template, "template_hash": template_hash(template)}
    return replace(info, backend=backend, tokens=tokens, way=model.way, **asked)
