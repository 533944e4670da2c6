"""Arguments of zero-shot judges, and the options of `load_judge` that they become."""

from __future__ import annotations

import argparse
from typing import Any

from ..judges.names import HF, PAIR, VQA, JudgeName
from .places import JUDGE

_ASKED, _VQA, _DISTILLED = ("decomposer", "template"), ("normalised", "mean"), ("distilled",)
ZERO_SHOT = (*_ASKED, *_VQA, *_DISTILLED)


def add_zero_shot(parser: argparse.ArgumentParser) -> None:
    """Add them as a group of their own."""
    group = parser.add_argument_group("any vision-language model (hf:MODEL, vqa+...)")
    group.add_argument(
        "--decomposer",
        type=JUDGE,
        metavar="JUDGE",
        help="judge that turns prompts into questions (default: the model itself)",
    )
    group.add_argument(
        "--template",
        metavar="TEXT",
        help="text of the question, with {question} and {expected}; for vqa+ with {prompt}",
    )
    group.add_argument(
        "--distilled", action="store_true", help="treat the model as a distilled judge, although it has no judge.json"
    )
    group.add_argument("--normalised", action="store_true", help="vqa+ judges: score yes / (yes + no)")
    group.add_argument(
        "--mean", choices=("arithmetic", "geometric"), help="vqa+ judges with questions: how to average their scores"
    )


def zero_shot_takes(judge: JudgeName) -> tuple[str, ...]:
    """The names of those that this judge takes."""
    if judge.protocol == VQA:
        return *_ASKED, *_VQA
    if judge.kind != HF or judge.protocol == PAIR:
        return ()
    return _DISTILLED if judge.protocol else (*_ASKED, *_DISTILLED)


def zero_shot_options(args: argparse.Namespace) -> dict[str, Any]:
    """The options on the command line."""
    options = {name: getattr(args, name, None) for name in ZERO_SHOT}
    return {name: value for name, value in options.items() if value}
