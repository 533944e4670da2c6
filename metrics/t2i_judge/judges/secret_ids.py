"""Ids of questions that no image can know: different for each pair of image and prompt, and mapped back at once.

A text painted into an image may spell a whole verdict for questions q1, q2, ... A model that copies it says nothing
about ids like q1-5c1fa09be2d4. The ids follow from a secret in the file of replies, so that a request stays the same in
the next run, in a batch that outlives its process, and when the model is asked again and shown its own reply.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import replace

from ..inputs.images import EncodedImage
from ..records import Question

_DIGITS = 12  # 48 bits: a guess a request


def with_secret_ids(
    questions: Sequence[Question], secret: bytes, prompt: str, images: Sequence[EncodedImage]
) -> list[Question]:
    """The questions, in their order, under ids that follow from the secret, the prompt and the images."""

    def secret_id(question_id: str) -> str:
        about = "\0".join([question_id, prompt, *(image.sha256 for image in images)])
        return f"{question_id}-{hmac.new(secret, about.encode(), hashlib.sha256).hexdigest()[:_DIGITS]}"

    return [replace(q, id=secret_id(q.id), depends_on=tuple(map(secret_id, q.depends_on))) for q in questions]
