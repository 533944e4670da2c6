"""User turns about images as token ids, exactly as the model's own processor and chat template make them.

One user turn with its images first, no system turn of ours, with the generation prompt, and without thinking if the
template can switch it off. The text behind the images is tokenised without them, so that images are processed only
once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from ..served.thinking import spoken
from .controls import Controls
from .packing import Group
from .templates import render, template_of, tried

if TYPE_CHECKING:
    from torch import Tensor

_PROBE = "\0"  # stands where the user's text begins; no template has it
_THINKING = ("enable_thinking", "thinking")  # what templates call the switch


@dataclass(frozen=True)
class Asking:
    """Images (of PIL) and the user turns about them, each on its own."""

    images: Sequence[Any]
    texts: Sequence[str]


class Prompter:
    """Writes prompts for a model.

    Args:
        processor: of a vision-language model.
        longest: most tokens of images and a question. Longer ones raise ValueError.
        images: in every turn.

    Raises:
        UserError: it has no chat template, or one that cannot show an image.
    """

    def __init__(self, processor: Any, longest: int, images: int = 1) -> None:
        self.processor, self.tokenizer, self.longest = processor, processor.tokenizer, longest
        self.images = images
        template = template_of(processor)
        if not template:
            raise UserError(
                "The model has no chat template",
                "It was trained to continue text, not to answer questions",
                "Use its -Instruct, -it or -chat version",
            )
        self._template = dict.fromkeys((name for name in _THINKING if name in str(template)), False)
        self._controls = Controls(processor)
        probed = tried(processor, self._content(_PROBE), **self._template)
        self._before = probed.partition(_PROBE)[0].rstrip()
        bos = self.tokenizer.bos_token
        self._special = not (bos and probed.startswith(bos))  # as `apply_chat_template` decides it

    @property
    def thinks(self) -> bool:
        """Whether the template opens a thought that it cannot be told to leave out."""
        tail = self.text(_PROBE).rpartition(_PROBE)[2]
        return spoken(tail) != tail and not spoken(tail + "yes").endswith("yes")

    def text(self, text: str) -> str:
        """As `texts`, of one."""
        return self.texts([text])[0]

    def texts(self, texts: Sequence[str]) -> list[str]:
        """Rendered chats about as many images as a turn has. Raises `ValueError` (`Controls.defused`, `render`)."""
        contents = [self._content(self._controls.defused(text)) for text in texts]
        conversations = [([{"role": "user", "content": content}], True) for content in contents]
        return [rendered.text for rendered in render(self.processor, conversations, **self._template)]

    def _content(self, text: str) -> list[dict[str, str]]:
        return [*[{"type": "image"}] * self.images, {"type": "text", "text": text}]

    def whole(self, asking: Asking, number: int = 0) -> dict[str, Tensor]:
        """Everything the model takes to answer one turn, a batch of one."""
        inputs = self._process([asking.images], [self.text(asking.texts[number])])
        self._check_length(inputs["input_ids"].shape[1])
        return inputs

    def groups(self, batch: Sequence[Asking]) -> tuple[list[Group], dict[str, Tensor]]:
        """A batch for packing: the prefix of each one's images with its turns, and the image tensors of all, in order.

        Raises:
            ValueError: a turn's tokens cannot be told from the image's.
        """
        rendered = [self.texts(asking.texts) for asking in batch]
        inputs = self._process([asking.images for asking in batch], [texts[0] for texts in rendered])
        mask = inputs.pop("attention_mask").bool()
        shape = inputs["input_ids"].shape
        by_token = {name: value for name, value in inputs.items() if value.shape == shape}
        features = {name: value for name, value in inputs.items() if name not in by_token}
        groups = []
        for row, texts in enumerate(rendered):
            own = {name: value[row, mask[row]].tolist() for name, value in by_token.items()}
            ids = own.pop("input_ids")
            segments = [self._behind_the_images(text) for text in texts]
            cut = len(ids) - len(segments[0])
            if cut <= 0 or ids[cut:] != segments[0] or any(any(types[cut:]) for types in own.values()):
                raise ValueError("a question's tokens depend on what comes before them")
            self._check_length(cut + max(map(len, segments)))
            groups.append(Group(ids[:cut], segments, (), {name: types[:cut] for name, types in own.items()}))
        return groups, features

    def _check_length(self, tokens: int) -> None:
        if tokens > self.longest:
            raise ValueError(f"{tokens} tokens are more than the limit of {self.longest}")

    def _process(self, images: Sequence[Sequence[Any]], texts: Sequence[str]) -> dict[str, Tensor]:
        import torch

        inputs = self.processor(
            images=[list(some) for some in images],
            text=list(texts),
            padding=True,
            padding_side="right",
            return_tensors="pt",
            add_special_tokens=self._special,
        )
        return {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor)}

    def _behind_the_images(self, text: str) -> list[int]:
        """Ids of what follows the images in a rendered chat."""
        if not text.startswith(self._before):
            raise ValueError("the tokens before the images differ between questions")
        encoded = self.tokenizer(text, add_special_tokens=self._special, return_offsets_mapping=True)
        cut = len(self._before)
        places = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        behind = [(token, start) for token, (start, end) in places if end > cut]
        if any(start < cut for _, start in behind):
            raise ValueError("a token spans the image and the question")
        return [token for token, _ in behind]
