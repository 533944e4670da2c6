"""The simplest calls, which tell a server that answers nothing from one that rejects what it was asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .dialect import Body

# A grey picture of 64 x 64 pixels.
_PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAAAAACPAi4CAAAAK0lEQVR42u3MMREAAAgEoNfkRjeEmwcBqMlNRyAQ"
    "CAQCgUAgEAgEAsHzYAFAdAEArKmlZAAAAABJRU5ErkJggg=="
)


def simplest(model: str, limits: Sequence[str], picture: bool) -> tuple[Body, Body]:
    """Two requests for two words, the second without the arguments that limit a reply.

    Args:
        model: the name that the server knows.
        limits: names of these arguments.
        picture: show it a grey picture, too.
    """
    content: Any = "Say OK."
    if picture:
        content = [{"type": "image_url", "image_url": {"url": _PICTURE}}, {"type": "text", "text": content}]
    bare: Body = {"model": model, "messages": [{"role": "user", "content": content}]}
    return bare | dict.fromkeys(limits, 16), bare
