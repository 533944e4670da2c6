"""Makes a judge from its name (`names.JudgeName`), and knows which module makes each kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

from ..calibration import Calibration
from ..conformal import KEY, Conformal, read_intervals
from ..errors import UserError, faults, quoted
from ..inputs.domain import Domain
from ..local.weights import Weights, find_weights, load
from ..prompts import DIRECT_STUDENT_HASH, student_hash
from ..records import JudgeInfo
from .base import Judge, check_options
from .decomposing import Decomposer
from .direct import DirectLocalJudge
from .distilled import OneForwardJudge
from .local import DEFAULT_MODE, LocalJudge
from .names import CLIP, DINO, DIRECT, FAKE, HF, OCR, OPENAI, TINY, JudgeName
from .zero_shot import zero_shot_judge

DEFAULT = TINY
ONE_FORWARD = "one_forward"  # the protocol of a judge whose name names none

# Protocol and kind -> module and function that make such a judge of its name.
_MAKERS = {
    ("", TINY): ("loading", "local_judge"),
    ("", HF): ("loading", "local_judge"),
    ("", OPENAI): ("teacher", "openai_judge"),
    ("", CLIP): ("embedding", "clip_judge"),
    ("", DINO): ("embedding", "dino_judge"),
    ("", OCR): ("ocr", "ocr_judge"),
    ("", FAKE): ("fake", "fake_judge"),
    ("direct", TINY): ("loading", "local_judge"),
    ("direct", HF): ("loading", "local_judge"),
    ("direct", OPENAI): ("viescore", "direct_judge"),
    ("dreambench", TINY): ("dreambench", "dreambench_judge"),
    ("dreambench", HF): ("dreambench", "dreambench_judge"),
    ("dreambench", OPENAI): ("dreambench", "dreambench_judge"),
    ("vqa", HF): ("vqa", "vqa_judge"),
    ("vqa", OPENAI): ("vqa_served", "served_vqa_judge"),
    ("pair", HF): ("pairs_local", "local_pair_judge"),
    ("pair", OPENAI): ("pairs", "pair_judge"),
}


def load_judge(
    name: str | JudgeName = DEFAULT,
    quantization: str | None = None,
    intervals: str | Path | None = None,
    **options: Any,
) -> Judge:
    """Load a judge by its name.

    Args:
        name: the name, such as "tiny", "hf:OWNER/NAME" or "openai:MODEL@BASE_URL".
        quantization: precision of a local judge's weights: "nf4" for four bits, "none" for none; None for the one that
            it was trained in.
        intervals: file that `t2i-judge calibrate --interval` wrote for this judge. Its judgements then carry intervals.
        options: what this kind of judge takes. Every local judge takes `batch_size`, `device` and `dtype`; a distilled
            one also `mode` ("expected", "greedy", "likelihood"), `calibrated` and `distilled`; a zero-shot one also
            `template`, `decomposer` and `decomposer_options`. A served judge takes the options of
            `served.served_backend`. Protocols have their own: see `teacher.openai_judge`,
            `dreambench.dreambench_judge`, `vqa.vqa_judge` and `pairs_local.local_pair_judge`.

    Raises:
        UserError: there is no such judge, it cannot be loaded, or it does not know an option.

    Example:
        >>> judge = load_judge("tiny")
        >>> judge.score([image], ["two red cubes"])[0].scores["overall"]  # doctest: +SKIP
    """
    parsed = name if isinstance(name, JudgeName) else JudgeName.parse(name)
    if intervals is not None and options.get("calibrated"):
        raise UserError(
            "The option calibrated=True cannot be used with intervals",
            "The intervals were made for uncalibrated scores",
            "Leave out one of the two",
        )
    module, function = _MAKERS[parsed.protocol, parsed.kind]
    make = getattr(import_module(f".{module}", __package__), function)
    options |= {"quantization": quantization} if quantization else {}
    if options.get("decomposer") is not None:
        options["decomposer"] = _decomposer(options["decomposer"], options.pop("decomposer_options", None) or {})
    taken = signature(make).parameters
    if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in taken.values()):
        check_options(str(name), options, taken.keys() - {"name"})
    try:
        judge: Judge = make(parsed, **options)
    except faults() as error:
        if isinstance(error, Exception):
            raise
        fix = "Use another model: the patterns of its tokenizer.json cost too much"
        raise UserError(f"{parsed.label} cannot be loaded", str(error), fix) from error
    if intervals is not None:
        judge.intervals = read_intervals(intervals)
    return judge


def _decomposer(decomposer: str | JudgeName | Decomposer, options: Mapping[str, Any]) -> Decomposer:
    """The decomposer of that judge's name, loaded with options. Raises `UserError` if that judge cannot decompose."""
    judge = load_judge(decomposer, **options) if isinstance(decomposer, str | JudgeName) else decomposer
    if not isinstance(judge, Decomposer):
        raise UserError(
            f"{decomposer} cannot decompose prompts", "It writes no questions", "Use openai:MODEL or hf:MODEL"
        )
    return judge


def local_judge(name: JudgeName, distilled: bool = False, **options: Any) -> LocalJudge:
    """A judge that runs on this machine: a distilled one, or any other vision-language model zero-shot.

    Args:
        name: the judge's name.
        distilled: treat it as a distilled judge although it has no judge.json (old merged exports).
        options: those of `distilled_judge` or `zero_shot.zero_shot_judge`.
    """
    weights = find_weights(name.model, name.revision)
    if name.protocol or distilled or weights.distilled or "settings" in options:
        return distilled_judge(name, weights, **options)
    return zero_shot_judge(name, weights, **options)


def distilled_judge(
    name: JudgeName,
    weights: Weights,
    quantization: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    calibrated: bool = False,
    settings: Mapping[str, Any] | None = None,
    **options: Any,
) -> LocalJudge:
    """A judge that answers with levels; `options` are those of its protocol's class.

    `settings` replace what its judge.json says. They serve a base, which has none, beside its judge.
    """
    known = ("mode", "batch_size", "device", "dtype", "calibrated", "quantization", "settings", "distilled")
    check_options(str(name), options, known)
    if settings is not None:
        weights = replace(weights, card={**weights.card, **settings})
    asked = _protocol(name, weights.card)
    domain = Domain.from_json(weights.card["domain"]) if "domain" in weights.card else None
    if domain is not None:
        options["declines"] = domain.declines
    if calibrated:
        options["calibrate"] = Calibration.from_card(str(name), weights.card)
    model = load(weights, quantization, device, dtype)
    protocol: type[LocalJudge] = DirectLocalJudge if asked == DIRECT else OneForwardJudge
    if asked == ONE_FORWARD:
        options = {"mode": weights.card.get("mode", DEFAULT_MODE), **options}
        options |= _trained_as(weights.card) | {"quoted_summaries": bool(weights.card.get("quoted_summaries"))}
        options["unread"] = domain.unread if domain is not None else None
    backend = " ".join(filter(None, (asked, model.precision)))
    label = name.alias or name.label + _how(options.get("mode", DEFAULT_MODE), calibrated)
    judge = protocol(model, JudgeInfo(label, backend, weights.name, weights.revision), **options)
    judge.intervals = own_intervals(name, weights, options | {"calibrated": calibrated})
    return judge


def own_intervals(name: JudgeName, weights: Weights, options: Mapping[str, Any]) -> Conformal | None:
    """The intervals in judge.json, if a judge with these options has them: they are of its scores by default.

    Scores in another protocol than it learnt, in another mode, or calibrated, are others, for which there are none.

    Raises:
        UserError: they are broken.
    """
    learnt = weights.card.get("protocol") or ONE_FORWARD
    usual = weights.card.get("mode", DEFAULT_MODE) if learnt == ONE_FORWARD else DEFAULT_MODE
    default = name.protocol in ("", learnt) and options.get("mode", usual) == usual and not options.get("calibrated")
    return Conformal.from_json(weights.card[KEY], weights.name) if KEY in weights.card and default else None


def _protocol(name: JudgeName, card: Mapping[str, Any]) -> str:
    """How a judge is asked: as its name says, else as it learnt to be, which its judge.json tells.

    Raises:
        UserError: it learnt what this version does not ask, in this protocol or in these words.
    """
    learnt, templates = card.get("protocol") or ONE_FORWARD, card.get("template_hash")
    fix = "Use the version of t2i-judge that it was released with, or train it again"
    if learnt not in (ONE_FORWARD, DIRECT):
        reason = f"Its judge.json says that it learnt the protocol {quoted(learnt)}, which this version does not know"
        raise UserError(f"{name.label} cannot be asked", reason, fix)
    asked = name.protocol or learnt
    ours = DIRECT_STUDENT_HASH if asked == DIRECT else student_hash(**_trained_as(card))
    if asked == learnt and templates and templates != ours:
        reason = f"It learnt the questions {quoted(templates)}, says its judge.json, and this version asks {ours}"
        raise UserError(f"{name.label} never learnt what it would be asked", reason, fix)
    return asked


def _trained_as(card: Mapping[str, Any]) -> dict[str, bool]:
    """What a judge is asked otherwise than others."""
    return {key: bool(card.get(key)) for key in ("personalised", "answers_first")}


def _how(mode: str, calibrated: bool) -> str:
    """What is added to the name of a judge that does not score in the default way."""
    return ("" if mode == DEFAULT_MODE else f" ({mode})") + (" calibrated" if calibrated else "")
