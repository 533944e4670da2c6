"""Chat templates, rendered as transformers does, but in a process of its own that ends when one takes too much.

A template is a program that comes with a model. Jinja's sandbox keeps it from files and code, not from time and memory:
a hundred characters that double a text take a gigabyte, and some do as they are compiled. So no template is compiled
or rendered in the process that has the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import UserError
from ..processes import Ended, Processes, Reply, Timed, serve

SECONDS = 2.0  # of one core, for conversations that are rendered at once; those that people publish take .001 for each
_PATIENCE = 60  # times that, by the clock: a template cannot wait for anything, and the machine may be busy
MEMORY = 800_000_000  # bytes of address space, 150 million of which are Python's and transformers'
LONGEST = 4_000_000  # characters that are rendered at once, and spans of what an assistant says in them
_TOO_MUCH = "it takes too much memory"
_GIVEN = "{{ rendered }}"  # the only template that transformers sees here
Message = Mapping[str, Any]
Conversation = tuple[Sequence[Message], bool]
_RENDERERS = Processes(__name__, 1, SECONDS, MEMORY, _PATIENCE)


@dataclass(frozen=True)
class Rendered:
    """A chat as text, and the spans of what the assistant says in it."""

    text: str
    answers: list[tuple[int, int]] = field(default_factory=list)


def template_of(processor: Any) -> str | None:
    """The chat template of a processor or its tokenizer; None where there is none."""
    template = getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None)
    return template.get("default") if isinstance(template, Mapping) else template


def render(processor: Any, conversations: Sequence[Conversation], **variables: Any) -> list[Rendered]:
    """Apply the chat template of a processor.

    Args:
        processor: of a vision-language model, with a chat template.
        conversations: messages with typed parts, as chat templates take them, and whether they end where the assistant
            begins. If not, what the assistant says is found by the template's `{% generation %}`. Pictures in messages
            are not looked at.
        variables: more of the template's own.

    Raises:
        ValueError: the template does not accept the messages, or takes too long or too much memory.
    """
    request = {
        "template": template_of(processor),
        "conversations": [(list(messages), prompted) for messages, prompted in conversations],
        "variables": {**processor.tokenizer.special_tokens_map, **variables},
    }
    try:
        head, body = _RENDERERS.ask({}, json.dumps(request, default=_placeholder).encode())
    except Ended as error:
        raise _refusal(f"it takes more than {SECONDS:.0f} seconds of work" if error.slow else _TOO_MUCH) from None
    if "reason" in head:
        raise _refusal(head["reason"])
    return [Rendered(text, [(start, end) for start, end in spans]) for text, spans in json.loads(body)]


def prepare() -> None:
    """Start the process in which templates are rendered, which takes it some seconds, and do not wait for it."""
    _RENDERERS.prepare()


def encoded(processor: Any, messages: Sequence[Message], text: str) -> Any:
    """What a model takes for messages with pictures in them, whose rendered text is known."""
    return processor.apply_chat_template(
        messages, chat_template=_GIVEN, rendered=text, tokenize=True, return_dict=True, return_tensors="pt"
    )


def tried(processor: Any, content: Sequence[Mapping[str, Any]], **variables: Any) -> str:
    """The rendered text of a user's turn, for a model that is being loaded. Raises `UserError` where there is none."""
    try:
        return render(processor, [([{"role": "user", "content": content}], True)], **variables)[0].text
    except ValueError as error:
        reason, fix = str(error), "Use another vision-language chat model, or correct its template"
        raise UserError("The model cannot be asked", reason[:1].upper() + reason[1:], fix) from error


def _refusal(reason: str) -> ValueError:
    return ValueError(f"its chat template does not accept the question: {reason}")


def _placeholder(value: object) -> str:
    """What a template sees of anything that is not plain data, as transformers has it."""
    return f"<{type(value).__name__}>"


def _answer(_: dict[str, Any], data: bytes, timed: Timed) -> Reply:
    request = json.loads(data)
    rendered: list[tuple[str, list[tuple[int, int]]]] = []
    try:
        with timed():
            for messages, prompted in request["conversations"]:
                rendered.append(_rendered(messages, prompted, request["template"], request["variables"]))
                if sum(len(text) + len(spans) for text, spans in rendered) > LONGEST:
                    return {"reason": f"it makes more than {LONGEST:,} characters of it"}, b""
    except MemoryError:
        raise SystemExit from None  # whatever it left goes with the process
    except Exception as error:  # a template may raise anything it likes
        return {"reason": " ".join(str(error)[:300].split()) or type(error).__name__}, b""
    return {}, json.dumps(rendered).encode()


def _rendered(
    messages: Sequence[Message], prompted: bool, template: str, variables: Mapping[str, Any]
) -> tuple[str, list[tuple[int, int]]]:
    """A conversation's text, and the spans of what the assistant says in it."""
    from transformers.utils.chat_template_utils import render_jinja_template

    rendered: Any = render_jinja_template(
        [[dict(message) for message in messages]],
        chat_template=template,
        return_assistant_tokens_mask=not prompted,
        add_generation_prompt=prompted,
        **variables,
    )
    (text,), answers = rendered
    return text, answers[0] if answers else []


if __name__ == "__main__":
    from transformers.utils import chat_template_utils, logging  # noqa: F401  (before the first request comes)

    logging.set_verbosity_error()
    serve(_answer)
