"""What of a reply is thought and what is spoken.

Reasoning models think before they speak, between markers of their families. Servers cut that out, or leave it in, or
leave only the closing marker in (the opening one then stands in the chat template). So everything up to the last
closing marker is thought, whether it was opened or not, and a thought that is not closed runs to the end.
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
_AFTER = (
    *("```", "`", "</answer>", "<|end_of_box|>", "<|end_of_solution|>"),
    *("<|return|>", "<|end|>", "<|im_end|>", "</s>", "<|eot_id|>", "<|endoftext|>", "<end_of_turn>"),
)


def spoken(text: str) -> str:
    """What is left of a reply without its thoughts; empty when it is nothing but thought."""
    if not any(mark in text for mark in ("<", "[", "◁")):  # most replies, and much faster for long ones
        return text
    start, end = 0, len(text)
    opened: int | None = None
    for marker in _MARKER.finditer(text):
        if marker["close"]:
            start, opened = marker.end(), None
        elif opened is None:
            opened = marker.start()
    return text[start : end if opened is None else opened] if start or opened is not None else text


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
