"""Separates what a model thinks from what it says.

Reasoning models think before they answer, between markers that depend on their family. Some servers cut the thoughts
out, some leave them in, and some leave only the closing marker (the opening one is then in the chat template). So
everything up to the last closing marker is a thought, opened or not, and an unclosed thought runs to the end.

A picture may show a marker, and a model repeat it. So a thought that is opened amid words is none, and neither is one
that was never opened and ends within a quotation: both stay where they are, and cost such a reply its verdict.
"""

from __future__ import annotations

import re

_TAG = r"(?:[a-z]+:)?(?:think|thinking|thoughts?|reasoning|reflection|scratchpad|analysis)"
_MARKER = re.compile(
    rf"(?P<close></{_TAG}>"  # <think>, <thinking>, <seed:think>: DeepSeek, Qwen, GLM, and many more
    r"|\[/THINK\]"  # Magistral
    r"|◁/think▷"  # Kimi
    r"|<\|(?:END_THINKING|end_of_thought)\|>"  # Command A Reasoning; OpenThinker
    r"|<unused95>"  # MedGemma
    r"|<\|channel\|>final[^<]{0,80}<\|message\|>)"  # gpt-oss: its last channel
    rf"|<{_TAG}(?:\s[^<>]*)?>|\[THINK\]|◁think▷|<\|(?:START_THINKING|begin_of_thought)\|>|<unused94>"
    r"|<\|channel\|>(?:analysis|commentary)",
    re.IGNORECASE,
)
# Marks that are neither thought nor speech: code fences, markers of answers, ends of turns that a server left in.
_BEFORE = re.compile(r"\s*(?:(?:```[a-z]*|`|<answer>|<\|begin_of_(?:box|solution)\|>)\s*)*", re.IGNORECASE)
_QUOTES = tuple("\"'`“‘«„:")
_AFTER = (
    *("```", "`", "</answer>", "<|end_of_box|>", "<|end_of_solution|>"),
    *("<|return|>", "<|end|>", "<|im_end|>", "</s>", "<|eot_id|>", "<|endoftext|>", "<end_of_turn>"),
)


def spoken(text: str) -> str:
    """A reply without its thoughts; empty if there is nothing else."""
    if not any(mark in text for mark in ("<", "[", "◁")):  # most replies, and much faster for long ones
        return text
    start, opened, amid = 0, None, None  # where speech begins, a thought was opened, and one amid words
    for marker in _MARKER.finditer(text):
        if not marker["close"]:
            if opened is None and amid is None:
                is_first = not bare(text[start : marker.start()])
                opened, amid = (marker.start(), None) if is_first else (None, marker.start())
        elif amid is not None:
            amid = None
        elif opened is not None or not _is_quoted(text, start, marker.start()):
            start, opened = marker.end(), None
    unclosed = opened if opened is not None else amid
    return text[start:unclosed] if start or unclosed is not None else text


def _is_quoted(text: str, start: int, at: int) -> bool:
    """Whether what stands there is repeated from somewhere: in an open code fence, or behind a mark or a colon."""
    line = text[max(start, text.rfind("\n", start, at) + 1) : at].rstrip()
    return text.count("```", start, at) % 2 == 1 or line.endswith(_QUOTES)


def bare(text: str) -> str:
    """The text without white space, code fences and answer marks around it: none of them is surrounding text."""
    match = _BEFORE.match(text)
    start, end = match.end() if match else 0, len(text)
    while True:
        while end > start and text[end - 1].isspace():
            end -= 1
        mark = next((mark for mark in _AFTER if text.endswith(mark, start, end)), None)
        if mark is None:
            return text[start:end]
        end -= len(mark)
