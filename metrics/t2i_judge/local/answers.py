"""Any vision-language model asked for one word: how likely each word of its vocabulary is to come next.

When a model is loaded, questions about small pictures go each way (see `ways`); the fastest that agrees with the
plain one is taken from then on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UserError, faults
from ..served.words import clean
from .chats import GREEDY
from .model import Asked
from .prompting import Asking, Prompter
from .spelling import NO, YES, tokens_of
from .ways import BY_NAME, PACKED, PLAIN, PREFIX, Read, to_model

if TYPE_CHECKING:
    from torch import Tensor

_LONGEST = 32_768  # tokens of one question; beyond what any model here was trained for with one image
_AGREES = {"float32": 1e-3}  # most that log-probabilities of two ways may differ, by type; others:
_AGREES_ROUNDED = 3e-2
_TRIED = "Is there a {} in the picture? Answer yes or no."


@dataclass(frozen=True)
class NextWord:
    """What the model makes of one turn.

    Attributes:
        log_probabilities: (vocabulary,) of the token that comes next; None for a turn that was written.
        tokens_read: of the turn; the shared prefix counts for the first one only.
        text, tokens: what it wrote, and how many tokens that took; for turns to be written.
    """

    log_probabilities: Tensor | None
    tokens_read: int
    text: str | None = None
    tokens: int = 0

    def mass(self, tokens: Iterable[int]) -> float:
        """Logarithm of the probability that one of these tokens comes next; nan when the model's logits are."""
        assert self.log_probabilities is not None
        return float(self.log_probabilities[list(tokens)].logsumexp(0))


class AnswerModel:
    """A vision-language model that answers with one word.

    Args:
        model: of transformers, with its weights.
        processor: its processor.
        precision: of its weights, in words; nothing for plain float32.
        words: it answers with, in lower case.
        images: in every turn; of an item with more, the first ones are shown.

    Attributes:
        way: one of `ways.WAYS`, how it is asked.
        reason: why no faster way is taken; None for the fastest.
        tokens: word -> the tokens that spell it, token id -> text.

    Raises:
        UserError: it is no causal model, has no chat template, or no token that says one of the words.
    """

    def __init__(
        self, model: Any, processor: Any, precision: str = "", words: Sequence[str] = (YES, NO), images: int = 1
    ) -> None:
        _check_causal(model)
        self.model, self.processor, self.precision = model.eval(), processor, precision
        config = model.config.get_text_config()
        longest = min(int(getattr(config, "max_position_embeddings", None) or _LONGEST), _LONGEST)
        self.prompter = Prompter(processor, longest, images)
        self.tokens = {word: tokens_of(self.prompter.tokenizer, (word,)) for word in words}
        for word, tokens in self.tokens.items():
            if not tokens:
                raise UserError(
                    f"This model has no single token for {word}",
                    "Its answers are read from one token",
                    "Use another model",
                )
        self.way, self.reason = self._fastest()

    def read(self, batch: Sequence[Asked], max_new_tokens: int = 0) -> list[dict[tuple[str, str], NextWord]]:
        """What comes next after each turn of each item, or for turns to be written, what the model writes.

        Args:
            batch: images, and what is asked about them: at least one turn that is not written.
            max_new_tokens: length limit of what is written.

        Raises:
            ValueError: an item is too long, or the model cannot take its images.
        """
        import torch

        turns = [[turn for turn in asked.turns if not turn.write] for asked in batch]
        images = [asked.images[: self.prompter.images] for asked in batch]
        askings = [Asking(some, [turn.text for turn in own]) for some, own in zip(images, turns)]
        readings: list[dict[tuple[str, str], NextWord]] = []
        with torch.inference_mode():
            for asked, some, own, read in zip(batch, images, turns, self._ask(askings, self.way), strict=True):
                words = zip(own, read.log_probabilities.cpu(), read.tokens, strict=True)
                readings.append({(turn.task, turn.of): NextWord(logs, tokens) for turn, logs, tokens in words})
                for turn in asked.turns:
                    if turn.write:
                        readings[-1][turn.task, turn.of] = self._written(some, turn.text, max_new_tokens)
        return readings

    def _ask(self, batch: Sequence[Asking], way: str) -> list[Read]:
        return BY_NAME[way](self.model, self.prompter, batch)

    def _written(self, images: Sequence[Any], text: str, limit: int) -> NextWord:
        """What the model writes, greedily."""
        inputs = to_model(self.model, self.prompter.whole(Asking(images, [text])))
        asked = inputs["input_ids"].shape[1]
        output = self.model.generate(**inputs, max_new_tokens=limit, **GREEDY)[0, asked:]
        words = clean(self.prompter.tokenizer.decode(output, skip_special_tokens=True)).strip()
        return NextWord(None, asked, words, len(output))

    def _fastest(self) -> tuple[str, str | None]:
        """The fastest way that gives what the plain one gives, and why it is not a faster one."""
        import torch

        with torch.inference_mode():
            try:
                measure = self._tried(PLAIN)
            except faults() as error:  # a model's own code may raise anything
                raise UserError(
                    f"{type(self.model).__name__} cannot be asked about an image",
                    _line(error),
                    "Use a causal vision-language model that transformers supports",
                ) from error
            most = _AGREES.get(str(self.model.dtype).removeprefix("torch."), _AGREES_ROUNDED)
            reasons = []
            for way in (PACKED, PREFIX):
                try:
                    difference = float((self._tried(way) - measure).abs().max())
                except faults() as error:
                    reasons.append(f"{way}: {_line(error)}")
                    continue
                if difference <= most:
                    return way, "; ".join(reasons) or None
                reasons.append(f"{way}: log-probabilities differ by {difference:.1g} from those of a single question")
        return PLAIN, "; ".join(reasons)

    def _tried(self, way: str) -> Tensor:
        """Log-probabilities of the words after three questions about two pictures, or both orders of them."""
        import torch

        pictures, shown = _pictures(), self.prompter.images
        texts = [_TRIED.format(thing) for thing in ("cat", "large red car", "dog")]
        reads = self._ask([Asking(pictures[:shown], texts[:2]), Asking(pictures[::-1][:shown], texts[2:])], way)
        logs = torch.cat([read.log_probabilities for read in reads])
        return torch.stack([logs[:, list(tokens)].logsumexp(-1) for tokens in self.tokens.values()])


def _check_causal(model: Any) -> None:
    """Raise `UserError` for what does not write token after token behind an image."""
    name = type(model).__name__
    if getattr(model.config, "is_encoder_decoder", False) or model.get_output_embeddings() is None:
        raise UserError(
            f"{name} is not a causal vision-language model",
            "A question is answered by the next token",
            "Use a chat model such as Qwen-VL, InternVL, LLaVA, SmolVLM, MiniCPM-V or Gemma 3",
        )


def _pictures() -> list[Any]:
    """Two small pictures of different sizes, in which no two places look alike; the same ones each time."""
    import numpy as np
    from PIL import Image

    noise = np.random.default_rng(0)
    shapes = (64, 96, 3), (80, 56, 3)
    return [Image.fromarray(noise.integers(0, 256, shape, dtype=np.uint8)) for shape in shapes]


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
