"""What all judges behind an OpenAI-compatible server share."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from typing import Any, TypeVar

from ..inputs.images import EncodedImage, ImageError, encode_image, scaled_down
from ..records import JudgeInfo, Judgement, Status
from ..served.backend import ChatBackend
from ..served.client import OpenAIBackend
from ..served.concurrency import map_bounded
from .base import Candidate, Judge, check_options
from .names import JudgeName

T = TypeVar("T")
R = TypeVar("R")


class ServedJudge(Judge):
    """Shared by all judges behind an OpenAI-compatible server: items in, judgements out; a bad item raises nothing.

    Args:
        backend: the served model.
        info: describes the judge. Its revision is replaced by the model that the server names in its replies.
    """

    def __init__(self, backend: ChatBackend, info: JudgeInfo) -> None:
        super().__init__(info)
        self.backend = backend

    @abstractmethod
    async def _judge(self, item: Candidate, images: tuple[EncodedImage, ...]) -> Judgement:
        """The judgement of an item. `images` are the one to judge and, if there is one, its reference."""

    def _score(self, items: Sequence[Candidate], explain: bool, progress: bool) -> list[Judgement]:
        """Explanations come with every reply, asked for or not."""
        return self._map(self._judge_item, items, progress)

    async def _judge_item(self, item: Candidate) -> Judgement:
        """Whatever is wrong with this one item becomes its status."""
        if not isinstance(item.prompt, str) or not item.prompt.strip():
            return self._failed(item, Status.SKIPPED, "the prompt is empty or is not text")
        try:
            image = await asyncio.to_thread(encode_image, item.image)
            reference = await asyncio.to_thread(encode_image, item.reference) if item.reference is not None else None
        except ImageError as error:
            return self._failed(item, Status.IMAGE_ERROR, error.reason)
        item = replace(item, image_id=item.image_id or image.sha256)
        images: tuple[EncodedImage, ...] = (image, reference) if reference else (image,)
        return await self._judge(item, tuple([await asyncio.to_thread(self._sized, each) for each in images]))

    def _sized(self, image: EncodedImage) -> EncodedImage:
        """The image as the server takes it."""
        side = self.backend.max_image_side
        return scaled_down(image, side) if side else image

    def _map(self, function: Callable[[T], Awaitable[R]], items: Sequence[T], progress: bool) -> list[R]:
        from ..progress import Progress

        with Progress(total=len(items), disable=not progress, leave=False, desc=self.info.name, unit="item") as bar:

            async def counted(item: T) -> R:
                result = await function(item)
                bar.update()
                return result

            return self.backend.run(map_bounded(counted, items, self.backend.concurrency))

    def _named(self, model: str | None) -> JudgeInfo:
        """Who judged, with the snapshot that the server named unless the user named one."""
        return replace(self.info, revision=model) if model and not self.backend.snapshot else self.info

    @property
    def notes(self) -> list[str]:
        """How the server is asked differently than planned, and which images were made smaller."""
        return self.backend.notes

    def check(self) -> None:
        """Raise `UserError` if the server does not answer or wants another key."""
        self.backend.check()

    @contextmanager
    def anew(self) -> Iterator[None]:
        """Inside this context, questions get new replies of their own."""
        self.backend.again += 1
        try:
            yield
        finally:
            self.backend.again -= 1

    def interrupt(self) -> None:
        """Let the calls under way end, and begin no more of them."""
        self.backend.interrupt()

    def close(self) -> None:
        """Close the backend."""
        self.backend.close()


def served_backend(name: JudgeName, **options: Any) -> OpenAIBackend:
    """The backend of a judge's name `[PROTOCOL+]openai:MODEL[@BASE_URL]`.

    Args:
        name: of the judge.
        options: those of `OpenAIBackend` (api_key, cache, concurrency, max_cost, ...), with base_url if the name has
            none.

    Raises:
        UserError: an option is unknown, or the backend cannot be made.
    """
    check_options(str(name), options, list(signature(OpenAIBackend).parameters)[1:])
    assert name.model is not None
    address = options.pop("base_url", None)
    return OpenAIBackend(name.model, name.base_url if address is None else address, **options)
