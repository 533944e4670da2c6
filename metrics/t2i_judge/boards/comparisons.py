"""Images of two generators compared directly: which pairs to ask about, RUN/comparisons.jsonl, and the strengths.

The file has one line per comparison, in the order in which they were made. Lines of earlier runs are kept and not paid
for again. What is compared depends on the prompt alone, so a run that asks for more comparisons continues the choice of
an earlier one.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import append_jsonl, read_bytes, read_jsonl, write_atomic
from ..judges.base import Judge
from ..progress import Progress
from ..records import Comparison, Status
from ..runs.record import require_precision
from ..stats.bradley_terry import bradley_terry
from .items import BoardItem

Row = dict[str, Any]
Key = tuple[str, frozenset[tuple[str, str]]]
FILE = "comparisons.jsonl"
_CHUNK = 64  # comparisons made between two writes to disk
_POINTS = {"a": 1.0, "b": 0.0, "tie": 0.5}


@dataclass(frozen=True)
class Pairing:
    """Two images of two generators for one prompt."""

    a: BoardItem
    b: BoardItem

    @property
    def key(self) -> Key:
        """Names what is compared: generators, and images by their content. The order of the two does not matter."""
        return self.a.prompt, frozenset(map(_content, (self.a, self.b)))


def pairings(items: Sequence[BoardItem], generators: Sequence[str], most: int | None) -> list[Pairing]:
    """What to compare: every two generators with an image of the prompt, or `most` pairs per prompt, spread evenly.

    Seeds are paired by their order: the first of one generator with the first of the other, and so on.
    """
    images: dict[str, dict[str, list[BoardItem]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        images[item.prompt][item.generator].append(item)
    chosen: list[Pairing] = []
    for prompt, by_generator in images.items():
        present = [name for name in generators if name in by_generator]
        every = [
            Pairing(a, b)
            for left, right in itertools.combinations(present, 2)
            for a, b in zip(by_generator[left], by_generator[right])
        ]
        if most is not None:
            random.Random(hashlib.sha256(prompt.encode()).hexdigest()).shuffle(every)
        chosen += every[:most]
    return chosen


class Book:
    """RUN/comparisons.jsonl: every comparison made so far. None of them is asked for again.

    Args:
        path: of the file.
        retry_failed: forget what failed, so that it is compared again.
        revision: of the weights of a judge in a folder, whose earlier weights' comparisons are forgotten; None: not
            known.
        asked: hash of the question that is asked now; comparisons by another one are forgotten. None: not known.
    """

    def __init__(
        self, path: Path, retry_failed: bool = False, revision: str | None = None, asked: str | None = None
    ) -> None:
        self._path, self._wanted = path, list[Pairing]()
        self.lines = _by(read_comparisons(path), revision, None if asked is None else (asked,))
        if retry_failed:
            self.lines = [line for line in self.lines if line["status"] == Status.OK.value]
        self._write()

    def _write(self) -> None:
        text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in self.lines)
        if not self._path.is_file() or read_bytes(self._path) != text.encode():  # a killed run leaves half a line
            write_atomic(self._path, text)

    def missing(self, wanted: Sequence[Pairing]) -> list[Pairing]:
        """The pairings that have not been compared yet."""
        self._wanted = list(wanted)
        known = {_key(line) for line in self.lines}
        return [pairing for pairing in wanted if pairing.key not in known]

    def compare(self, judge: Judge, todo: Sequence[Pairing]) -> None:
        """Compare pairings. Each result is on disk before the next ones are asked for.

        Only a loaded judge tells its weights, where they are on the Hub. What other weights compared is forgotten now,
        and compared again where it was wanted.

        Raises:
            UserError: as `Judge.compare`; no call came back and the server is gone; these weights compared in another
                precision before.
        """
        self.lines, before = _by(self.lines, judge.info.revision, judge.template_hashes), len(self.lines)
        require_precision(self._path.parent, self.lines, judge.info)  # runs used to note no backend
        if len(self.lines) < before:
            self._write()
            todo = list({pairing.key: pairing for pairing in (*todo, *self.missing(self._wanted))}.values())
        with Progress(total=len(todo), desc="compare", unit="pair") as bar:
            for start in range(0, len(todo), _CHUNK):
                chunk = todo[start : start + _CHUNK]
                made = judge.compare(
                    [pairing.a.image for pairing in chunk],
                    [pairing.b.image for pairing in chunk],
                    [pairing.a.prompt for pairing in chunk],
                )
                if all(comparison.status is Status.TRANSPORT for comparison in made):
                    judge.check()  # a server that answers refuses these pairs only
                new = [_line(pairing, comparison) for pairing, comparison in zip(chunk, made)]
                append_jsonl(self._path, new)
                self.lines += new
                bar.update(len(chunk))


def _by(lines: Sequence[Row], revision: str | None, asked: Sequence[str | None] | None) -> list[Row]:
    """Lines by these weights and questions, as far as they are known; runs used to note none."""
    if revision is not None:
        lines = [line for line in lines if line.get("revision", revision) == revision]
    if asked is not None:
        lines = [line for line in lines if "template_hash" not in line or line["template_hash"] in asked]
    return list(lines)


def read_comparisons(path: Path) -> list[Row]:
    """The lines of a file of comparisons; none without a file. Raises `UserError` for one that no run wrote."""
    lines = list(read_jsonl(path)) if path.is_file() else []
    if wrong := next((number for number, line in enumerate(lines, 1) if not _is_comparison(line)), None):
        fix = f"Remove {path} and run the command again: paid replies are in the cache"
        raise UserError(f"{path}, line {wrong} is not a comparison", "No run wrote this line", fix)
    return lines


def current(lines: Sequence[Row], items: Sequence[BoardItem]) -> list[Row]:
    """The lines that count on a board of these items: both of their images are on it, and neither was replaced."""
    images = {(item.prompt, *_content(item)) for item in items}
    return [line for line in lines if all((line["prompt"], *content) in images for content in _key(line)[1])]


def _is_comparison(line: Row) -> bool:
    """Whether a run can have written this line: its winner, which is counted, must be a valid one."""
    texts = all(isinstance(line.get(name), str) for name in ("prompt", "a", "b", "image_a", "image_b"))
    hashes = all(isinstance(line.get(name, 0), str | None) for name in ("sha256_a", "sha256_b"))
    return texts and hashes and {"first", "second"} <= line.keys() and _is_outcome(line)


def _is_outcome(line: Row) -> bool:
    outcomes = ("a", "b", "tie") if line.get("status") == Status.OK.value else (None,)
    return line.get("status") in list(Status) and line.get("winner") in outcomes


def _content(item: BoardItem) -> tuple[str, str]:
    """(generator, hash of the image)."""
    return item.generator, item.sha256 or item.image


def _line(pairing: Pairing, comparison: Comparison) -> Row:
    return {
        "prompt_id": pairing.a.prompt_id,
        "a": pairing.a.generator,
        "b": pairing.b.generator,
        "image_a": pairing.a.image,
        "image_b": pairing.b.image,
        "winner": comparison.winner,
        "first": comparison.first,
        "second": comparison.second,
        "status": comparison.status.value,
        "reason": comparison.reason,
        "prompt": pairing.a.prompt,
        "sha256_a": pairing.a.sha256,
        "sha256_b": pairing.b.sha256,
        "explanations": list(comparison.explanations),
        "probabilities": list(comparison.probabilities),
        "judge": comparison.judge.name,
        "backend": comparison.judge.backend,
        "revision": comparison.judge.revision,
        "template_hash": comparison.judge.template_hash,
    }


def _key(line: Mapping[str, Any]) -> Key:
    return line["prompt"], frozenset((line[side], line[f"sha256_{side}"] or line[f"image_{side}"]) for side in "ab")


def counts(lines: Sequence[Row]) -> Row:
    """How many comparisons there are, and how many of them are ties, flips (orders disagree) or failed."""
    fine = [line for line in lines if line["status"] == Status.OK.value]
    return {
        "n": len(lines),
        "ties": sum(line["winner"] == "tie" for line in fine),
        "flips": sum(line["first"] != line["second"] for line in fine),
        "failed": len(lines) - len(fine),
    }


def strengths(lines: Sequence[Row], generators: Sequence[str]) -> tuple[list[Row] | None, str | None]:
    """Bradley-Terry strengths of the generators with intervals; None, and the reason, if there are none."""
    place = {name: number for number, name in enumerate(generators)}
    fine = (line for line in lines if line["status"] == Status.OK.value)
    used = [line for line in fine if line["a"] in place and line["b"] in place]
    fit = bradley_terry(
        [place[line["a"]] for line in used],
        [place[line["b"]] for line in used],
        [_POINTS[line["winner"]] for line in used],
        [line["prompt"] for line in used],
        len(generators),
    )
    if fit.strengths is None:
        return None, fit.reason
    rows = [
        {
            "name": name,
            "strength": float(fit.strengths[number]),
            "ci": None if fit.ci is None else [float(bound) for bound in fit.ci[number]],
        }
        for name, number in place.items()
    ]
    return rows, fit.reason
