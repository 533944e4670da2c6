"""The judges of a build attacked on its held-out images (`t2i_judge.runs.selftest`), before anything is released.

What a judge said of the plain pictures is known by then. Of each attack its judgements are kept by content, in
`selftests/`: one that was cut off goes on with the next attack. So is the whole: a judge is opened only to be asked.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from recipes.evaluation.judging import ByImage
from recipes.recipe.items import CONTENT, Item, to_jsonl
from t2i_judge.errors import Undecided
from t2i_judge.files import append_jsonl, read_jsonl, sha256, write_atomic
from t2i_judge.inputs.images import load_image
from t2i_judge.judges.base import Judge
from t2i_judge.records import Judgement, Question, Status
from t2i_judge.runs.selftest import probes
from t2i_judge.runs.selftest.attacks import OTHER_PROMPT
from t2i_judge.runs.selftest.battery import Ask, Questions, Sample, Selftest, asking, attacked, examine, readable

BATTERY = Path(probes.__file__).parent  # the code that decides what a selftest is


def examined(
    opening: Callable[[], Judge],
    path: Path,
    folder: Path,
    items: Sequence[Item],
    own: ByImage,
    settings: str,
    most: int,
    seed: int = 0,
    progress: bool = True,
) -> dict[str, Any]:
    """The selftest of a judge as JSON; INCONCLUSIVE with a reason where it could not be made.

    Args:
        opening: gives the judge who is tested; called where anything is to be asked.
        path: JSON Lines file of what it said of attacked pictures.
        folder: build folder that the items' paths start from.
        items: held-out images.
        own: the judge's judgements of them by id.
        settings: whatever else decides about a judgement: weights, mode, templates.
        most: how many items are attacked.
        seed: of which these are.
        progress: show bars.
    """
    plain, samples = [], []
    for item in attackable(items, own, most, seed):
        for sample in readable([Sample(folder / item.image, item.prompt, _reference(folder, item))]):
            plain.append(own[item.id])
            samples.append(sample)
    kept = _Kept(path, settings, plain)
    whole = _content(_conditions(settings, seed, plain), "selftest", samples, None)
    if (known := kept.selftest(whole)) is not None:
        return known
    judge = opening()
    try:
        selftest = examine(judge, samples, attacked(samples, seed=seed), ask=kept.asking(judge, progress))
    except Undecided as error:
        selftest = Selftest(asdict(judge.info), 0, 0, "INCONCLUSIVE", None, (), f"{error.fact}: {error.reason}")
    kept.write(whole, selftest)
    return selftest.to_json()


def _conditions(settings: str, seed: int, plain: Sequence[Judgement]) -> str:
    """What decides about a selftest beside its samples: the judge, the battery's code, what was said of the samples."""
    code = {path.name: sha256(path) for path in sorted(BATTERY.glob("*.py"))}
    return json.dumps([settings, seed, code, [judgement.to_json() for judgement in plain]])


def attackable(items: Sequence[Item], own: ByImage, most: int, seed: int) -> list[Item]:
    """Images with a score, each of another prompt, evenly from all splits; any where none has a score."""
    scored = [item for item in items if own[item.id].status is Status.OK] or list(items)
    by_split: dict[str, list[Item]] = {}
    for item in {item.prompt: item for item in scored}.values():
        by_split.setdefault(item.split, []).append(item)
    for split, of_split in by_split.items():
        random.Random(f"selftest/{split}/{seed}").shuffle(of_split)
    turns = [(turn, item) for of_split in by_split.values() for turn, item in enumerate(of_split)]
    return [item for _, item in sorted(turns, key=lambda pair: pair[0])][:most]


def _reference(folder: Path, item: Item) -> Path | None:
    return folder / item.reference_image if item.reference_image else None


class _Kept:
    """What a judge said of attacked samples, and what came of it, in a file."""

    def __init__(self, path: Path, settings: str, plain: Sequence[Judgement]) -> None:
        self._path, self._settings, self._plain = path, settings, list(plain)
        self._questions: Mapping[str, Sequence[Question]] = {j.prompt: j.questions for j in plain}
        rows = read_jsonl(path) if path.is_file() else ()
        self._known = {row[CONTENT]: row for row in rows if row.get(CONTENT)}
        self._used: dict[str, Mapping[str, Any]] = {}
        write_atomic(path, to_jsonl(self._known.values()))  # without what a kill tore

    def selftest(self, content: str) -> dict[str, Any] | None:
        """The selftest of this content, where it was made before."""
        return self._known[content]["selftest"] if content in self._known else None

    def asking(self, judge: Judge, progress: bool) -> Ask:
        """Asks the judge, but not about what it said before."""
        judging = asking(judge, progress)

        def ask(what: str, samples: Sequence[Sample], questions: Questions) -> list[Judgement]:
            if what == "plain":
                return self._plain
            if what == OTHER_PROMPT:  # whose questions are another item's own
                questions = [self._questions[sample.prompt] or None for sample in samples]
            content = _content(self._settings, what, samples, questions)
            if content not in self._known:
                made = [judgement.to_json() for judgement in judging(what, samples, questions)]
                self._known[content] = {CONTENT: content, "attack": what, "judgements": made}
                append_jsonl(self._path, [self._known[content]])
            self._used[content] = self._known[content]
            return [Judgement.from_json(row) for row in self._used[content]["judgements"]]

        return ask

    def write(self, content: str, selftest: Selftest) -> None:
        """Leave in the file what was asked for, and what came of it."""
        whole = {CONTENT: content, "selftest": selftest.to_json()}
        write_atomic(self._path, to_jsonl([*self._used.values(), whole]))


def _content(settings: str, what: str, samples: Sequence[Sample], questions: Questions) -> str:
    """Digest of all that decides about the judgements of an attack."""
    digest = hashlib.sha256(json.dumps([settings, what]).encode())
    for sample, asked in zip(samples, questions or [None] * len(samples), strict=True):
        reference = None if sample.reference is None else sha256(sample.reference)
        said = None if asked is None else [asdict(question) for question in asked]
        picture = load_image(sample.image)
        words = [sample.prompt, picture.size, reference, said]
        digest.update(json.dumps(words).encode() + picture.tobytes())
    return digest.hexdigest()
