"""Arguments of zero-shot judges, and the options of `load_judge` that they become."""

from __future__ import annotations

import argparse
from typing import Any

from ..errors import UserError, quoted
from ..judges.names import HF, PAIR, VQA, JudgeName
from .places import JUDGE

_ZERO_SHOT, _VQA, _DISTILLED = ("decomposer", "template"), ("normalised", "mean"), ("distilled",)


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
        return *_ZERO_SHOT, *_VQA
    if judge.kind != HF or judge.protocol == PAIR:
        return ()
    return _DISTILLED if judge.protocol else (*_ZERO_SHOT, *_DISTILLED)


def zero_shot_options(args: argparse.Namespace, judge: JudgeName) -> dict[str, Any]:
    """The options on the command line. Raises `UserError` for one that this judge does not take."""
    options = {name: getattr(args, name, None) for name in (*_ZERO_SHOT, *_VQA, *_DISTILLED)}
    options = {name: value for name, value in options.items() if value}
    for name in options:
        if name not in zero_shot_takes(judge):
            raise UserError(
                f"--{name} cannot be used with {quoted(str(judge))}",
                "Judges of this kind do not support it",
                "Leave it out",
            )
    return options
