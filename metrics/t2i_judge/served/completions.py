"""Reads a server's answer to a chat request: a reply with its status and cost.

Servers differ: content may be a list of typed parts, thinking may have fields of its own, counts may be missing, and an
error may come with HTTP 200. Every field is looked at before it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..records import Status, Usage
from ..wording import counted
from .prices import Price
from .refusals import is_filter, stopped_by_filter
from .wire import Reply
from .words import clean, shorten

_MOST_TOKENS = 10**9  # a count above is no count
_LEAST_LIKELY = -1e6  # log-probability; a whole number below may be too large for a float
_WORDS = ("content", "reasoning_content", "reasoning", "refusal", "tool_calls", "function_call")  # of a message
_CUT = ("length", "max_tokens", "model_length", "max_output_tokens")


class NotACompletion(ValueError):
    """The body of an answer is not a chat completion, such as an error that came with HTTP 200."""


def read_completion(body: object, price: Price | None, seconds: float, batch: bool = False) -> Reply:
    """The reply in a chat completion.

    Thinking (`reasoning_content`, `reasoning`, typed parts) is left out; what a model thinks inside its text stays in
    it, for `thinking.spoken` to cut.

    Its cost is known only where input and output are both counted.

    Args:
        body: the JSON of the answer.
        price: for its cost; None when it is not known.
        seconds: how long it took.
        batch: it costs what it costs in a batch.

    Raises:
        NotACompletion: the body is not a chat completion.
    """
    if not isinstance(body, dict):
        raise NotACompletion(f"the answer is not a JSON object but {type(body).__name__}")
    choices = body.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    error = body.get("error") or choice.get("error")
    into, out = _counts(body.get("usage"))
    model = body.get("model")
    # Of a reply that has words, a count of nought is none.
    told = into > 0 and out is not None and (out > 0 or not _has_words(choice))
    out = out or 0
    money = price.cost(into, out, batch) if price and told else None
    paid: dict[str, Any] = {
        "usage": Usage(1, into, out, seconds, money),
        "model": clean(model) if isinstance(model, str) and model else None,
    }
    if error:
        message = error_text(error)
        if is_filter(message):
            return Reply(None, Status.FILTERED, f"the provider's content filter: {shorten(message, 300)}", **paid)
        raise NotACompletion(f"an error instead of a reply: {shorten(message, 300)}")
    if "choices" not in body:
        raise NotACompletion("the answer has no choices")
    return _reply(choice, out, paid)


def _reply(choice: Mapping[str, Any], out: int, paid: Mapping[str, Any]) -> Reply:
    """The reply in a choice, which may be empty."""
    finish, message = choice.get("finish_reason"), choice.get("message")
    finish = finish.lower() if isinstance(finish, str) else ""
    message = message if isinstance(message, dict) else {}
    text, refusal = _texts(message.get("content"))
    refusal = message["refusal"] if isinstance(message.get("refusal"), str) and message["refusal"] else refusal
    if refusal or finish == "refusal":
        return Reply(None, Status.REFUSED, f"refused: {shorten(refusal or text or 'no message', 200)}", **paid)
    if stopped_by_filter(finish):
        return Reply(None, Status.FILTERED, f"stopped by the provider's content filter ({shorten(finish)})", **paid)
    likeliest = _likeliest(choice.get("logprobs"))
    if finish in _CUT and likeliest is None:  # where its first token was asked about, the rest does not count
        return Reply(
            None, Status.UNPARSABLE, f"cut off at the length limit after {counted(out, 'token')}", cut_off=True, **paid
        )
    if text.strip():
        return Reply(clean(text), likeliest=likeliest, **paid)
    if message.get("tool_calls") or message.get("function_call"):
        why = "the model called a tool instead of replying"
    elif message.get("reasoning_content") or message.get("reasoning"):
        why = "only thinking, without a reply"
    else:
        why = "an empty reply" if message else "an answer without a message"
    return Reply(None, Status.UNPARSABLE, why, **paid)


def _texts(content: object) -> tuple[str, str | None]:
    """Text and refusal of a message's content: a text, or a list of typed parts, of which thinking is left out."""
    parts: list[Any] = content if isinstance(content, list) else [content]
    texts: list[str] = []
    refusal = None
    for part in parts:
        kind, value = (part.get("type"), part.get("text")) if isinstance(part, dict) else ("text", part)
        if kind == "refusal":
            refusal = str(part.get("refusal"))
        # Where a part is left out, what stands before and behind it does not become one word.
        texts.append(value if kind in ("text", "output_text", None) and isinstance(value, str) else "\n")
    return "".join(texts), refusal


def _likeliest(logprobs: object) -> dict[str, float] | None:
    """What the first token of the content may have been -> log-probability; None where that is not told."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    first = content[0] if isinstance(content, list) and content and isinstance(content[0], dict) else {}
    others = first.get("top_logprobs")
    entries = [entry for entry in [first, *(others if isinstance(others, list) else [])] if isinstance(entry, dict)]
    told = {
        clean(token): float(max(value, _LEAST_LIKELY))
        for token, value in ((entry.get("token"), entry.get("logprob")) for entry in entries)
        if isinstance(token, str) and isinstance(value, int | float) and not isinstance(value, bool) and value <= 0
    }
    return told or None


def _has_words(choice: Mapping[str, Any]) -> bool:
    message = choice.get("message")
    return isinstance(message, dict) and any(message.get(name) for name in _WORDS)


def _counts(usage: object) -> tuple[int, int | None]:
    """Input tokens, 0 where a server does not say; output tokens, None where it does not say.

    Some servers count thinking in the total, or as a detail, but not in the completion. All but the prompt is output.
    """
    usage = usage if isinstance(usage, dict) else {}
    into, said, total = (_count(usage.get(f"{name}_tokens")) for name in ("prompt", "completion", "total"))
    details = usage.get("completion_tokens_details")
    thought = _count(details.get("reasoning_tokens")) if isinstance(details, dict) else None
    if said is None and total is None:
        return into or 0, None
    said, thought = said or 0, thought or 0
    rest = (total or 0) - into if into else 0  # of a total without the prompt, nobody knows what is output
    return into or 0, max(said + (thought if thought > said else 0), rest)


def _count(value: object) -> int | None:
    """A number of tokens; None where it is none."""
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= _MOST_TOKENS else None


def error_text(error: object) -> str:
    """Code and message of an error in any shape that servers give it."""
    if not isinstance(error, dict):
        return str(error)
    names = ("code", "type", "message", "metadata", "innererror", "detail")
    return clean(" ".join(str(error[name]) for name in names if error.get(name)))
