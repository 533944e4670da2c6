"""The chat protocol on the wire: messages as a server takes them, replies as it gives them, and what they cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..inputs.images import EncodedImage
from ..records import Status, Usage
from .prices import Price

CHARACTERS_A_TOKEN = 4.0  # of English and JSON
_MARGIN = 1.6  # current tokenizers make at most so many times the tokens that this gives
_MESSAGE_TOKENS = 8  # roles and separators of a message


_Text = str | None
_KINDS: dict[str, Any] = {  # of what is kept of a reply
    "text": _Text, "reason": _Text, "model": _Text, "key": str, "cached": bool, "cut_off": bool, "stands_in": bool,
    "likeliest": Mapping | None,
}  # fmt: skip


@dataclass(frozen=True)
class Message:
    """One turn. Images stand before the text, so that a server's prefix cache serves every question about them."""

    role: str
    text: str
    images: tuple[EncodedImage, ...] = ()

    def on_the_wire(self) -> dict[str, Any]:
        """As the chat API takes it."""
        if not self.images:
            return {"role": self.role, "content": self.text}
        parts: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": i.data_url}} for i in self.images]
        return {"role": self.role, "content": [*parts, {"type": "text", "text": self.text}]}

    def in_the_key(self) -> dict[str, Any]:
        """As the cache key sees it: images by the hash of their bytes."""
        return {"role": self.role, "text": self.text, "images": [image.sha256 for image in self.images]}


@dataclass(frozen=True)
class Reply:
    """What came of a call.

    Attributes:
        text: the model's words; None unless status is OK.
        status, reason: OK, REFUSED, FILTERED, TRANSPORT, or UNPARSABLE when the length limit cut the reply off.
        usage: what the call cost when it was made (a stored reply says what it cost then).
        model: the model that the server says it used; None when no reply came.
        cached: it was stored before; nothing was sent.
        key: under which it is stored.
        cut_off: the length limit cut it off.
        stands_in: it is stored in the place of an unusable reply; its usage is that of all tries, each of which is on
            the ledger by itself.
        likeliest: what its first token may have been -> log-probability, where that was asked for and is told.
    """

    text: str | None
    status: Status = Status.OK
    reason: str | None = None
    usage: Usage = field(default_factory=Usage)
    model: str | None = None
    cached: bool = False
    key: str = ""
    cut_off: bool = False
    stands_in: bool = False
    likeliest: Mapping[str, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """What the cache keeps."""
        return {**vars(self), "status": self.status.value, "usage": vars(self.usage)}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Reply:
        """Inverse of `to_json`. Raises `ValueError` for what is no reply: a cache may come from a stranger."""
        try:
            reply = cls(**{**record, "status": Status(record["status"]), "usage": Usage(**record["usage"])})
            fits = all(isinstance(getattr(reply, name), kind) for name, kind in _KINDS.items())
            counts = all(value is None or value >= 0 for value in vars(reply.usage).values())
            likeliest = reply.likeliest is None or all(value <= 0 for value in reply.likeliest.values())
        except (AttributeError, LookupError, TypeError) as error:
            raise ValueError(str(error)) from error
        if not (fits and counts and likeliest) or (reply.text is None) == (reply.status is Status.OK):
            raise ValueError("a field is missing or of another type")
        return reply


def input_tokens(messages: Sequence[Message], price: Price | None = None) -> int:
    """Input tokens of a conversation, estimated on the high side; images by the price's rule."""
    rule = price or Price(0, 0)
    text = sum(_MARGIN * len(message.text) / CHARACTERS_A_TOKEN + _MESSAGE_TOKENS for message in messages)
    return int(text) + sum(rule.image_tokens(i.width, i.height) for message in messages for i in message.images)


def says(error: Any) -> str:
    """Code and message of an API error."""
    return f"{error.code or ''} {error.message}".strip()
