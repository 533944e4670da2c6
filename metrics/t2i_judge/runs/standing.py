"""Whether a line of an earlier run still counts: it is of the row that stands there now, and of this run's judge.

A dataset on disk, the weights in a folder or the lines themselves may have been replaced under the same names.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..judges import dreambench, vqa
from ..judges.embedding import CLIPSCORE_WEIGHT, COSINE_RANGE, is_reward
from ..judges.names import CLIP, DINO, DREAMBENCH, HF, TINY, VQA, JudgeName
from ..local.intact import contents
from ..records import SCORE_RANGE, JudgeInfo

if TYPE_CHECKING:
    from ..judges.base import Judge

Line = Mapping[str, Any]
Item = tuple[Any, str, Any, str]  # of `Columns.item`
BESIDE = "beside_revision"  # key of run.json, of a judge in a folder; runs used to be without
SETTINGS = "judge.json"  # key of run.json: what that file of a judge in a folder decides; runs used to be without
SERVERS = "servers"  # key of run.json: where judge and decomposer are asked, if their names do not say it
IMAGES = "images"  # key of a line: SHA-256 of the image, and of the reference image where there are any
_RANGES = {DREAMBENCH: dreambench.SCORE_RANGE, VQA: vqa.RANGE}  # of protocols whose scores are not in SCORE_RANGE
# Options of a judge that change what it says, in run.json.
_ASKED = (
    *("parameters", "max_tokens", "max_image_side", "secret_ids", "ignore_case"),
    *("template", "decomposer", "distilled", "normalised", "mean", "reward", "processor"),
    *("protocol", "kind", "planning", "criteria", "scale", "reasoning", "quantization", "mode", "calibrated", "dtype"),
)
_ASKED_DECOMPOSER = ("parameters", "max_tokens")
# Keys of run.json: how a judge was asked, and whose judgements.
CONDITIONS = (*_ASKED, "decomposer_options")
IDENTITY = ("judge", *CONDITIONS, BESIDE, SETTINGS, "contents", SERVERS)


@dataclass(frozen=True)
class Standing:
    """What a line must say about its judge.

    Attributes:
        judge: name of the run's judge.
        reward: whether a clip: judge was asked for rewards (see `embedding.is_reward`).
        info: of the judge, once it is loaded.
        asked: hashes of what that judge asks, which change with the package's own questions.
        calibrated: whether scores are mapped to the human scale; their range is known once the judge is loaded.
        score_range: of the judge, once it is loaded.
    """

    judge: JudgeName
    reward: bool = False
    info: JudgeInfo | None = None
    asked: Sequence[str | None] = ()
    calibrated: bool = False
    score_range: tuple[float, float] | None = None

    def opened(self, judge: Judge) -> Standing:
        """The same, of the judge that is loaded."""
        asked = (None, *judge.template_hashes)
        return replace(self, info=judge.info, asked=asked, score_range=judge.score_range)

    def is_by_judge(self, line: Line) -> bool:
        """Whether name, questions, revision and score range of a line are this judge's, as far as they are known."""
        by = line.get("judge")
        if not isinstance(by, Mapping) or not self._is_name(by.get("name")):
            return False
        if self.info is not None and by.get("template_hash") not in self.asked:
            return False
        return self.revision in (None, by.get("revision")) and self._is_range(line.get("score_range", SCORE_RANGE))

    def _is_name(self, name: Any) -> bool:
        """Some judges add to their name how they are asked."""
        if self.info is not None:
            return bool(name == self.info.name)
        label = self.judge.label
        return isinstance(name, str) and (name == label or name.startswith(f"{label} "))

    def _is_range(self, ends: Sequence[float]) -> bool:
        if self.calibrated:
            return self.score_range in (None, tuple(ends))
        if self.judge.kind not in (CLIP, DINO):
            return tuple(ends) == _RANGES.get(self.judge.protocol, SCORE_RANGE)
        if tuple(ends) == COSINE_RANGE or self.judge.kind == DINO:  # with a reference, cosines are not scaled
            return tuple(ends) == COSINE_RANGE
        if is_reward(self.judge.model, self.reward):
            return len(ends) == 2 and ends[0] == -ends[1]
        return tuple(ends) == (0.0, CLIPSCORE_WEIGHT)

    @cached_property
    def revision(self) -> str | None:
        """Of the weights; None if only replies, or the Hub, tell it. Raises `UserError` for weights cut off."""
        if self.info is not None:
            return self.info.revision
        model = self.judge.model
        if self.judge.kind in (CLIP, DINO):
            return contents(Path(str(model))) if Path(str(model)).is_dir() else None
        if not is_here(self.judge):
            return None
        from ..local.weights import check, find_weights

        weights = find_weights(model, self.judge.revision)
        check(weights)
        return weights.revision


def asked(judge: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """What run.json says of a judge: its options' values, and what is in the folders that it and they name."""
    named = {"processor": options.get("processor")}
    if decomposer := options.get("decomposer"):
        named["decomposer"] = JudgeName.parse(decomposer).model
    folders = {name: Path(folder) for name, folder in named.items() if folder}
    inside = {name: contents(folder) for name, folder in folders.items() if folder.is_dir()}
    told = options.get("decomposer_options") or {}
    decomposed = {name: told[name] for name in _ASKED_DECOMPOSER if told.get(name) is not None}
    asked = {name: options.get(name) for name in _ASKED}
    asked["decomposer"] = decomposer and str(JudgeName.parse(decomposer))  # without a login in its address
    own = {**_in_folder(JudgeName.parse(judge), options), "contents": inside or None}
    names = [JudgeName.parse(name) for name in (judge, decomposer) if name]
    servers = {name.label: name.server for name in names if name.server and not name.base_url}
    return {**asked, "decomposer_options": decomposed or None, **own, SERVERS: servers or None}


def identity(judge: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Who judges, as far as that can be told before a call: `IDENTITY`'s part of run.json."""
    return {"judge": str(JudgeName.parse(judge)), **asked(judge, options)}  # without a login in its address


def _in_folder(judge: JudgeName, options: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a judge in a folder, and its revision does not tell: its base, all but its weights, its judge.json."""
    if not is_here(judge):
        return dict.fromkeys((BESIDE, SETTINGS))
    from ..local.weights import beside_revision, find_weights, settings

    weights = find_weights(judge.model, judge.revision)
    beside = beside_revision(weights) if judge.kind == HF else None  # the embedded judge's is of this package's version
    return {BESIDE: beside, SETTINGS: settings(weights, options)}


def is_here(judge: JudgeName) -> bool:
    """Whether its weights are files on this machine under its name, which others may replace."""
    folder = judge.kind == HF and bool(judge.model) and Path(str(judge.model)).is_dir()
    return folder or judge.kind == TINY


def row_changed(line: Line, item: Item, cells: Line) -> bool:
    """Whether a line is of another row: another id, prompt or cell that was kept.

    Args:
        line: of a shard.
        item: `Columns.item` of the row.
        cells: of the row, as a line keeps them.
    """
    kept = {name: cell for name, cell in line["row"].items() if name in cells}
    now = {name: cells[name] for name in kept}
    # Cells are compared as text: NaN does not equal itself.
    return (line["image_id"], line["prompt"]) != (item[3], item[1]) or json.dumps(kept) != json.dumps(now)


def matched(lines: Sequence[Line], items: Sequence[Item], hashes: Sequence[Sequence[str | None]]) -> list[Line | None]:
    """The line of each item: of the same id, prompt and images. A line is of one item only.

    Id and prompt may stand twice, as those of two seeds. Lines of earlier versions have no hashes of their images, and
    are an item's only if its id and prompt stand once.

    Args:
        lines: of a shard.
        items: of the rows that stand there now.
        hashes: of each item's images.
    """
    names = [(item[3], item[1]) for item in items]
    were = [(line["image_id"], line["prompt"]) for line in lines]
    once = {name for name, number in (Counter(names) | Counter(were)).items() if number == 1}
    found: dict[Any, list[Line]] = defaultdict(list)
    for name, line in zip(were, lines):
        found[name, None if (images := line.get(IMAGES)) is None else tuple(images)].append(line)
    former: list[Line | None] = []
    for name, images in zip(names, hashes):
        same = found[name, tuple(images)] or (found[name, None] if name in once else [])
        former.append(same.pop(0) if same else None)
    return former
