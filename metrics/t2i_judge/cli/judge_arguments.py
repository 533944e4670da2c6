"""Arguments of every command that judges images, and the options of `load_judge` that they become.

Which judges take an argument stands once, in `_RULES`: for others it is refused, and of several judges each is given
what it takes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import UserError, quoted
from ..inputs.decoding import apart
from ..judges.names import CLIP, DINO, DREAMBENCH, FAKE, HF, OCR, OPENAI, TINY, VQA, JudgeName
from ..records import Question
from ..terminal import note
from ..wording import counted
from .numbers import Counted
from .places import CHECKPOINT
from .served_arguments import CLIENT, add_served, check_served, served_options
from .zero_shot_arguments import ZERO_SHOT, add_zero_shot, zero_shot_options, zero_shot_takes

PARTS = ("planning", "criteria", "scale", "reasoning")  # of DreamBench++'s protocol, see `dreambench.Switches`


def add_judging(parser: argparse.ArgumentParser) -> None:
    """Arguments of every command that judges images: by which judge, on what machines, for how much money."""
    parser.add_argument(
        "--shard-size", type=int, action=Counted, default=500, help="rows per shard (default: %(default)s)"
    )
    parser.add_argument(
        "--explain", action="store_true", help="also ask for explanations, for which a served judge charges"
    )
    parser.add_argument(
        "--decompositions", type=Path, help="JSON Lines of {prompt, questions}: questions that exist already"
    )
    parser.add_argument("--retry-failed", action="store_true", help="also judge again the items that failed")
    parser.add_argument(
        "--isolate-images",
        action="store_true",
        help="decode images in separate processes with limits on time and memory (for images you do not trust)",
    )
    parser.add_argument(
        "--intervals",
        type=Path,
        metavar="FILE",
        help="file from `calibrate --interval`: scores get intervals",
    )
    parser.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="ray: on the workers of a Ray cluster (default: %(default)s)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        action=Counted,
        default=2,
        help="judges at work at once with --engine ray, each on a GPU of its own if any (default: %(default)s)",
    )
    served = add_judge_options(parser)
    served.add_argument(
        "--batch", action="store_true", help="use OpenAI's Batch API: half the price, replies within a day"
    )


def decoding(args: argparse.Namespace) -> AbstractContextManager[None]:
    """Where this command decodes images, whatever for: with --isolate-images in processes of their own."""
    return apart() if args.isolate_images else nullcontext()


def add_judge_options(parser: argparse.ArgumentParser, seed: bool = True) -> Any:
    """Arguments that become options of the judge. Returns the group of served judges; `seed` as in `add_served`."""
    parser.add_argument(
        "--quantization", choices=("nf4", "none"), help="quantize a local judge's weights (default: as trained)"
    )
    parser.add_argument("--ignore-case", action="store_true", help="ocr: judges: capital and small letters are equal")
    parser.add_argument(
        "--reward",
        action="store_true",
        help="clip: judges: the model was trained on people's choices (PickScore)",
    )
    parser.add_argument(
        "--processor",
        type=CHECKPOINT,
        metavar="CHECKPOINT",
        help="clip: and dino: judges: folder or repository of the processor and the tokenizer",
    )
    add_zero_shot(parser)
    served = add_served(parser, seed=seed)
    served.add_argument(
        "--protocol", choices=("structured", "staged"), help="how openai:MODEL is asked (default: structured)"
    )
    served.add_argument(
        "--secret-ids",
        action="store_true",
        help="give questions random ids, so that no text in an image can answer them",
    )
    axes = parser.add_argument_group("personalised images (dreambench+...)")
    axes.add_argument("--kind", choices=("subject", "style"), help="what the references show (default: subject)")
    axes.add_argument(
        "--without", action="append", choices=PARTS, help="leave out a part of the protocol; can be repeated"
    )
    return served


def check_judging(args: argparse.Namespace) -> None:
    """Raise `UserError` for arguments of `add_judging` that make no sense."""
    if args.engine == "ray" and args.batch:
        raise UserError(
            "--batch cannot be used with --engine ray",
            "A batch waits for its replies and needs no cluster",
            "Leave out one of them",
        )


def check_questions(source: Path, questions: Mapping[str, Sequence[Question]], prompts: Collection[Any]) -> None:
    """Say for how many of the prompts `--decompositions` has questions. Raises `UserError` if it is none."""
    wanted = {prompt for prompt in prompts if isinstance(prompt, str) and prompt.strip()}
    found, of = len(wanted & questions.keys()), counted(len(wanted), "prompt", form=",")
    if wanted and not found:
        fix = "Write the prompts as they stand there, or leave out --decompositions"
        raise UserError(f"{source} has questions for none of {of}", "The judge would make its own", fix)
    others = "" if found == len(wanted) else "; for others the judge makes its own"
    note(f"{source}: questions for {found:,} of {of}{others}.")


def judge_options(args: argparse.Namespace, cache: Path | None = None, seed: bool = True) -> dict[str, Any]:
    """The options for `load_judge` on the command line. Raises `UserError` if the judge does not take one of them.

    Args:
        args: of `add_judging`, or of `add_judge_options` alone.
        cache: file of a served judge's replies.
        seed: as in `add_served`.
    """
    judge = JudgeName.parse(args.judge)
    for rule in _RULES:
        if getattr(args, rule.name, None) and not rule.takes(judge):
            raise UserError(
                f"--{rule.name.replace('_', '-')} cannot be used with {quoted(str(judge))}", rule.reason, "Leave it out"
            )
    if args.secret_ids and args.protocol == "staged":
        raise UserError("--secret-ids cannot be used with --protocol staged", _NAMES_QUESTIONS, "Leave out one of them")
    options = {name: getattr(args, name) for name in _AS_THEY_ARE if getattr(args, name)}
    options |= {"intervals": str(args.intervals)} if getattr(args, "intervals", None) else {}
    options |= dict.fromkeys(args.without or (), False)
    options |= zero_shot_options(args)
    client = {**served_options(args, seed), "cache": cache}
    if _has_served_decomposer(args, judge):
        options["decomposer_options"] = client
    elif not judge.served:
        check_served(judge, args, seed)
    return {**options, **client} if judge.served else options


def for_judge(args: argparse.Namespace, judge: str, judges: Sequence[str]) -> argparse.Namespace:
    """The arguments for one of several judges, without those that only another one takes."""
    name, others = JudgeName.parse(judge), [JudgeName.parse(other) for other in judges]

    def asks(judge: JudgeName) -> bool:
        return judge.served or _has_served_decomposer(args, judge)

    rules = [*_RULES, *(_Rule(argument, asks) for argument in CLIENT)]
    foreign = {rule.name: None for rule in rules if not rule.takes(name) and any(map(rule.takes, others))}
    return argparse.Namespace(**vars(args) | foreign | {"judge": judge})


def _has_served_decomposer(args: argparse.Namespace, judge: JudgeName) -> bool:
    """Whether the prompts of a judge are turned into questions by a server."""
    takes = "decomposer" in zero_shot_takes(judge)
    return takes and bool(args.decomposer) and JudgeName.parse(args.decomposer).served


class _Rule(NamedTuple):
    """An argument that only some judges take, and why others do not."""

    name: str
    takes: Callable[[JudgeName], bool]
    reason: str = ""


def _takes_zero_shot(name: str, judge: JudgeName) -> bool:
    return name in zero_shot_takes(judge)


def _takes_questions(judge: JudgeName) -> bool:
    return judge.kind == FAKE or (judge.protocol in ("", VQA) and judge.kind in (TINY, HF, OPENAI))


def _explains(judge: JudgeName) -> bool:
    """Whether a judge explains on request, or always, as a server does."""
    return judge.served or (not judge.protocol and judge.kind in (TINY, HF, FAKE))


_AS_THEY_ARE = ("quantization", "kind", "ignore_case", "reward", "processor", "protocol", "secret_ids")
_NAMES_QUESTIONS = "Only openai:MODEL names questions"
_RULES = (
    _Rule("batch", lambda judge: judge.served, "Only served judges support it"),
    _Rule("protocol", lambda judge: judge.served and not judge.protocol, "Only openai:MODEL has two protocols"),
    _Rule("secret_ids", lambda judge: judge.served and not judge.protocol, _NAMES_QUESTIONS),
    _Rule("kind", lambda judge: judge.protocol == DREAMBENCH, "Only dreambench+... judges support it"),
    _Rule("without", lambda judge: judge.protocol == DREAMBENCH, "Only dreambench+... judges support it"),
    _Rule("quantization", lambda judge: judge.kind in (TINY, HF), "Only tiny and hf: judges support it"),
    _Rule("ignore_case", lambda judge: judge.kind == OCR, "Only ocr: judges support it"),
    _Rule("reward", lambda judge: judge.kind == CLIP, "Only clip: judges support it"),
    _Rule("processor", lambda judge: judge.kind in (CLIP, DINO), "Only clip: and dino: judges support it"),
    _Rule("decompositions", _takes_questions, "It asks no questions about the prompt"),
    _Rule("explain", _explains, "It writes no explanations"),
    *(_Rule(name, partial(_takes_zero_shot, name), "Judges of this kind do not support it") for name in ZERO_SHOT),
)
