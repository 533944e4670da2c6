"""Reads a server's error: the message in any of the usual shapes, and what it is about."""

from __future__ import annotations

import email.utils
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .refusals import is_filter
from .words import shorten

_LONGEST_WAIT = 1e7  # seconds; who asks for more means never
_LONGEST = 500  # characters of a message
_NO_MONEY = re.compile(
    r"insufficient.?(?:quota|balance|credit|funds)|billing.?(?:hard.?limit|not.?active)|arrear|credit balance|no credit"
    r"|out of credits|payment required",
    re.IGNORECASE,
)
_NO_IMAGES = re.compile(
    r"(?:not|n't|no\b|without|only|lacks?|isn't|unsupported|need).{0,60}(?:image|vision|multi.?modal|mmproj)"
    r"|(?:image|vision|multi.?modal).{0,60}(?:not|n't|un)\W{0,2}(?:support|enabl|avail|capab)",
    re.IGNORECASE,
)
_MODEL = re.compile(
    r"model.{0,120}(?:not|n't|unknown|invalid|no such|deprecated|unavailable|retired)"
    r"|(?:unknown|invalid|no such|unsupported|deprecated|unrecognized).{0,20}model"
    r"|no (?:healthy )?(?:deployment|endpoint)",
    re.IGNORECASE,
)
_KEY = re.compile(r"api.?key|authenti|unauthori[sz]ed|credential|(?:access|server|bearer|invalid) token", re.IGNORECASE)
_CONTEXT = re.compile(r"(?:context|n_ctx|model).{0,60}?(\d{2,})", re.IGNORECASE | re.DOTALL)
_INPUT = re.compile(
    r"(?<!\d)(\d++)\s++(?:tokens?\s++)?(?:in|from) the (?:messages|prompt|input)|(?<!\d)(\d++) (?:input|prompt) tokens"
    r"|(?:prompt|input|messages)\D{0,40}?(\d+)",
    re.IGNORECASE,
)
_WITH_PROMPT = re.compile(r"context|n_ctx|input|prompt|messages|\b(?:total|sum)\b", re.IGNORECASE)
_MOST = re.compile(
    r"(?:at most|less than or equal to|no more than|up to|maximum (?:of|value|is)|<=)\s*(\d+)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Rejection:
    """An answer that is an error.

    Attributes:
        status: of HTTP, or what a body says instead in an answer with status 200.
        text: code and message, in one line, without control characters.
        param: the argument that is refused, where the server names one.
    """

    status: int
    text: str
    param: str | None = None

    @classmethod
    def of(cls, status: int, body: Any, reason: str = "") -> Rejection:
        """Read a body: OpenAI's `{"error": {...}}`, FastAPI's `{"detail": ...}`, `{"message"}`, or text."""
        error = body.get("error", body) if isinstance(body, Mapping) else body
        if isinstance(error, list) and error and isinstance(error[0], Mapping):  # Gemini's
            error = error[0].get("error", error[0])
        if isinstance(error, Mapping) and isinstance(error.get("detail"), list):
            return cls._of_details(status, error["detail"])
        code = param = None
        message: Any = error
        if isinstance(error, Mapping):
            message = next((error[k] for k in ("message", "detail", "msg", "error") if error.get(k)), "")
            code, param = error.get("code") or error.get("type"), error.get("param")
            if status == 200 and re.fullmatch(r"[45][0-9]{2}", str(code)):
                status = int(str(code))
            message = _with_metadata(message, error.get("metadata"))
        words = [str(code)] if code and str(code) not in str(message) and str(code) != str(status) else []
        text = ": ".join([*words, str(message or reason or "no message")])
        return cls(status, shorten(text, _LONGEST), param if isinstance(param, str) else None)

    @classmethod
    def _of_details(cls, status: int, details: list[Any]) -> Rejection:
        """FastAPI's list of what is wrong; what was sent is repeated in it and left out here."""
        entries = [entry for entry in details if isinstance(entry, Mapping)]
        told = [entry.get("loc") for entry in entries]
        places = [[str(part) for part in (loc if isinstance(loc, list) else ()) if part != "body"] for loc in told]
        words = [f"{'.'.join(place)}: {entry.get('msg', '')}" for place, entry in zip(places, entries)]
        param = places[0][0] if places and places[0] else None
        return cls(status, shorten("; ".join(words) or str(details), _LONGEST), param)

    def names(self, argument: str) -> bool:
        """Whether it is about this argument."""
        return self.param == argument or self.place(argument) < len(self.text)

    def place(self, argument: str) -> int:
        """Where the argument is first named; behind everything when it is not."""
        if self.param == argument:
            return -1
        words = rf"(?<![A-Za-z_]){argument.replace('_', '[_ ]')}(?![A-Za-z_])"
        match = re.search(words, self.text, re.IGNORECASE)
        return match.start() if match else len(self.text)

    def room(self, asked: int) -> int | None:
        """Tokens of the longest reply there is room for, where the message lets it be worked out."""
        text = self.text.replace(",", "")
        context, into = _CONTEXT.search(text), _INPUT.search(text)
        if context and into:
            return int(context[1]) - int(next(filter(None, into.groups())))
        smaller = [int(number) for number in _MOST.findall(text) if int(number) < asked]
        return max(smaller, default=None)

    def cap(self, asked: int) -> int | None:
        """The most tokens of any reply, where the message gives such a number and speaks of no prompt."""
        return None if _WITH_PROMPT.search(self.text) else self.room(asked)

    @property
    def filtered(self) -> bool:
        """Whether a content filter refused the image or the prompt."""
        return is_filter(self.text) or self.status == 451

    @property
    def no_money(self) -> bool:
        """Whether it says that nothing is answered until somebody pays."""
        return self.status == 402 or bool(_NO_MONEY.search(self.text))

    @property
    def no_images(self) -> bool:
        """Whether the model takes no images."""
        return bool(_NO_IMAGES.search(self.text))

    @property
    def about_the_model(self) -> bool:
        """Whether the server does not have the model."""
        return bool(_MODEL.search(self.text))

    @property
    def about_the_key(self) -> bool:
        """Whether the server wants another key."""
        return bool(_KEY.search(self.text))

    def __str__(self) -> str:
        return f"HTTP {self.status}: {self.text}"


def retry_after(headers: Mapping[str, str]) -> float:
    """Seconds that the server asks to wait (`Retry-After` in seconds or as a date), 0 when it does not say."""
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return _seconds(float(milliseconds) / 1000)
        header = headers.get("retry-after") or "0"
        if re.fullmatch(r"\s*\d+(\.\d*)?\s*", header):
            return _seconds(float(header))
        return _seconds(email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, OverflowError):
        return 0.0


def _seconds(value: float) -> float:
    return min(value, _LONGEST_WAIT) if 0 < value < float("inf") else 0.0


def _with_metadata(message: Any, metadata: Any) -> str:
    """OpenRouter tells beside its own message what the provider behind it said, and why an input was flagged."""
    if not isinstance(metadata, Mapping):
        return str(message)
    more = [str(metadata[name]) for name in ("raw", "reasons") if metadata.get(name)]
    return " ".join([str(message), *more])
