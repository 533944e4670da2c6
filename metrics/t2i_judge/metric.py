"""What the `evaluate` module computes: the features of its two configurations, and results as plain dictionaries.

default  images and prompts -> mean scores, every judgement, and agreement with people if their scores are given
meta     scores and human ratings -> coefficients with intervals, agreement of the raters
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from .errors import UserError, quoted
from .inputs.cells import REASON, ImageError, read_cell, unwrapped
from .inputs.images import encode_image
from .judges.base import Judge
from .judges.loading import DEFAULT, load_judge
from .judges.names import JudgeName
from .meta.evaluation import MEAN, meta_evaluate
from .records import ALL_ASPECTS, OVERALL, Judgement, Status, count_statuses
from .runs.intervals import digest
from .runs.standing import Standing, identity
from .wording import counted

_log = logging.getLogger(__name__)
CONFIGS = ("default", "meta")
DESCRIPTION = "Judges text-to-image models by small questions about each image, and measures agreement with people."
INPUTS = """
Config "default" - compute(predictions, references, judge="tiny", human_scores=None, explain=False, **options)
    predictions: images (PIL, path, bytes, file object, array, tensor, base64). references: one prompt per image,
    or {"prompt", "reference_image"}.
    human_scores: one rating per image, or a list of the annotators' ratings (None where there is none).
    Returns overall and the aspects (means over judged items in [0, 10], None where there are none), n, n_failed by
    status, coverage, judge, judgements; and meta (as below) with human_scores.
Config "meta" - compute(predictions, references, **options of meta_evaluate)
    predictions: scores. references: one rating per score, or a list of the annotators' ratings; None is a gap. by,
    clusters, groups, average, systems, candidates, votes and so on: one label per item, like the columns of
    `t2i-judge meta-eval`.
    Returns spearman, kendall_tau_b, pearson against the raters' mean with p-values and intervals, n, coverage; rows,
    agreement, pairs, systems, sampling, warnings.
"""
CITATION = """\
@misc{t2i_eval, title={T2I-Eval}, eprint={2411.15488}, archivePrefix={arXiv}}
@misc{dreambench_plus, title={DreamBench++}, eprint={2406.16855}, archivePrefix={arXiv}}"""


def check_config(config: str) -> str:
    """The configuration's name. Raises `UserError` unless it is one of `CONFIGS`."""
    if config not in CONFIGS:
        raise UserError(
            f"The metric t2i_judge has no configuration {quoted(config)}", "There are two", f"Use one of {CONFIGS}"
        )
    return config


def features(config: str) -> Any:
    """`datasets.Features` of a configuration. Images stay as they are given: broken ones get a status, not an error.

    Not `datasets.Image`, which raises for an array that it cannot save, and writes a PIL image as a JPEG at times.
    """
    from datasets import Features, List, Value

    if config == "meta":
        return Features(predictions=Value("float64"), references=List(Value("float64")))
    image = {"bytes": Value("binary"), "path": Value("large_string"), REASON: Value("large_string")}
    return Features(predictions=image, references={"prompt": Value("string"), "reference_image": image})


def as_reference(config: str, reference: Any) -> Any:
    """One reference in the shape of `features`: a list of ratings, or a prompt with its reference image."""
    if config == "meta":
        several = isinstance(reference, Sequence | np.ndarray) and not isinstance(reference, str | bytes)
        return list(reference) if several and np.ndim(reference) else [reference]
    if isinstance(reference, Mapping):
        return {"prompt": _text(reference.get("prompt")), "reference_image": _cell(reference.get("reference_image"))}
    return {"prompt": _text(reference), "reference_image": _cell(None)}


def as_prediction(config: str, prediction: Any) -> Any:
    """One prediction in the shape of `features`: a score, an image, or the reason why the image cannot be read."""
    return prediction if config == "meta" else _cell(prediction)


def as_predictions(config: str, predictions: Any) -> Any:
    """All predictions in the shape of `features`; None if there are none."""
    return None if predictions is None else [as_prediction(config, prediction) for prediction in predictions]


def _text(prompt: Any) -> str:
    """A prompt; None for a gap or anything that is not text."""
    several = isinstance(prompt, list | tuple) and len(prompt) == 1  # as other metrics take references
    return _text(prompt[0]) if several else prompt if isinstance(prompt, str) else ""


def _cell(image: Any) -> dict[str, Any]:
    """An image as a cell of a table: encoded bytes, a path, or why it is neither."""
    cell = {"bytes": None, "path": "", REASON: ""}
    image = unwrapped(image)
    if image is None:
        return cell
    if isinstance(image, str | Path):
        return cell | {"path": str(image)}
    try:
        data = read_cell(image)
        return cell | {"bytes": data if isinstance(data, bytes) else encode_image(data).data}
    except ImageError as error:
        return cell | {REASON: error.reason}


def as_references(config: str, references: Any) -> Any:
    """All references in the shape of `features`; None if there are none."""
    return None if references is None else [as_reference(config, reference) for reference in references]


def compute(config: str, predictions: Sequence[Any], references: Sequence[Any], **options: Any) -> dict[str, Any]:
    """The result of a configuration; see `INPUTS`."""
    return (_meta if config == "meta" else _judge)(predictions, references, **options)


def _judge(
    predictions: Sequence[Any],
    references: Sequence[Mapping[str, Any]],
    judge: str | Judge = DEFAULT,
    human_scores: Sequence[Any] | None = None,
    explain: bool = False,
    progress: bool = False,
    **options: Any,
) -> dict[str, Any]:
    if human_scores is not None and len(human_scores) != len(predictions):
        raise UserError(
            f"The list human_scores has {counted(len(human_scores), 'score')} for {counted(len(predictions), 'image')}",
            "",
            "Give one score per image; use None for gaps",
        )
    loaded = _load(judge, _Options(options), _made_of(judge, options)) if isinstance(judge, str) else judge
    judgements = loaded.score(
        predictions,
        [reference["prompt"] for reference in references],
        [cell if any((cell := reference["reference_image"]).values()) else None for reference in references],
        explain=explain,
        progress=progress,
    )
    result = summarise(judgements)
    unscored = [judgement for judgement in judgements if judgement.status != Status.OK]
    if unscored:
        shown = len(unscored), counted(len(judgements), "image"), unscored[0].reason
        _log.warning("No score for %d of %s. The first reason is: %s", *shown)
    if human_scores is not None:
        scores = [judgement.scores.get(OVERALL) for judgement in judgements]
        result["meta"] = _meta(scores, human_scores, statuses=[judgement.status.value for judgement in judgements])
    return result


class _Options(dict[str, Any]):
    """Options of a judge as a key of a cache, although some of them are dictionaries."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(repr(sorted(self.items())))


@lru_cache(maxsize=2)
def _load(name: str, options: _Options, made_of: str) -> Judge:
    del made_of
    return load_judge(name, **options)


def _made_of(name: str, options: Mapping[str, Any]) -> str:
    """What decides about a judge's scores now, of files that may be replaced under their names, and of servers."""
    named = {option: value for option, value in options.items() if option != "decomposer" or isinstance(value, str)}
    revision = Standing(JudgeName.parse(name)).revision
    return json.dumps([identity(name, named), revision, digest(name, named)], default=repr)


def summarise(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Means over the items with status ok, their number, and how the others failed."""
    # by value: a judge given as an object has the Status of another copy of this package
    sound = [judgement for judgement in judgements if judgement.status == Status.OK]
    scored = {OVERALL}.union(*(judgement.scores for judgement in sound))
    aspects = [aspect for aspect in ALL_ASPECTS if aspect in scored]
    return {
        **{aspect: _mean(judgement.scores.get(aspect) for judgement in sound) for aspect in aspects},
        "n": len(sound),
        "n_failed": count_statuses(judgement.status for judgement in judgements),
        "coverage": len(sound) / len(judgements) if judgements else None,
        "judge": judgements[0].to_json()["judge"] if judgements else None,
        "judgements": [judgement.to_json() for judgement in judgements],
    }


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _meta(
    predictions: Sequence[Any], references: Sequence[Any], statuses: Sequence[str] | None = None, **options: Any
) -> dict[str, Any]:
    name = "prediction"
    result = meta_evaluate(
        {name: predictions}, references, statuses={name: statuses} if statuses else None, **options
    ).to_json()
    plain = (row for row in result["rows"] if row["against"] == MEAN and row["prediction"] == name and not row["by"])
    return {**next(plain, {}), **result}
