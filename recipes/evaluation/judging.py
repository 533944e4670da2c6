"""A build folder's items judged in chunks, each written before the next: judgements/NAME.jsonl, resumable.

Besides the judges that a recipe trains, it may name further ones (`evaluation.judges`): embedding baselines, served
models. Served ones are asked `evaluation.runs` times, each run with a seed of its own. DreamBench++'s protocol has
criteria of its own for items of the category "style".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from recipes.distillation.spending import spent
from recipes.distillation.teacher import teacher_address
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe
from recipes.recipe.items import Item, to_jsonl
from t2i_judge.judges.base import Judge
from t2i_judge.judges.loading import load_judge
from t2i_judge.judges.names import JudgeName
from t2i_judge.records import Judgement, append_jsonl, read_jsonl, write_atomic

STYLE = "style"  # a category of items, and a kind of `dreambench.DreamBenchJudge`
_CHUNK = 64  # images judged between two writes to disk

ByImage = dict[str, Judgement]


def judge_items(
    judge: Judge, folder: Path, items: Sequence[Item], questions: Mapping[str, Any] | None = None, progress: bool = True
) -> ByImage:
    """Judge items, each chunk appended to judgements/NAME.jsonl; what stands there from the same judge is kept."""
    from tqdm import tqdm

    path = BuildFolder(folder).judgements_of(judge.info.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {j.image_id: j for j in map(Judgement.from_json, read_jsonl(path))} if path.is_file() else {}
    if not all(_made_by(judge, judgement) for judgement in kept.values()):
        path.unlink()
        kept = {}
    missing = [item for item in items if item.id not in kept]
    if missing and kept:  # a kill may have torn the last line: what is appended must not stand behind it
        write_atomic(path, to_jsonl(judgement.to_json() for judgement in kept.values()))
    with tqdm(total=len(missing), desc=judge.info.name, unit="image", disable=not progress) as bar:
        for start in range(0, len(missing), _CHUNK):
            chunk = missing[start : start + _CHUNK]
            made = score_items(judge, folder, chunk, questions)
            append_jsonl(path, [judgement.to_json() for judgement in made])
            kept |= {judgement.image_id: judgement for judgement in made}
            bar.update(len(chunk))
    return {item.id: kept[item.id] for item in items}


def _made_by(judge: Judge, judgement: Judgement) -> bool:
    """Whether this judge made a judgement; the revision of a served one is known from its replies only."""
    revision = judge.info.revision or judgement.judge.revision
    return judgement.judge == replace(judge.info, revision=revision)


def score_items(
    judge: Judge, folder: Path, items: Sequence[Item], questions: Mapping[str, Any] | None = None, explain: bool = False
) -> list[Judgement]:
    """`judge.score` of items of a build folder; `questions` by image id where the judge is told what to ask."""
    return judge.score(
        [folder / item.image for item in items],
        [item.prompt for item in items],
        [folder / item.reference_image if item.reference_image else None for item in items],
        image_ids=[item.id for item in items],
        questions=[questions[item.id] for item in items] if questions else None,
        explain=explain,
    )


def further_judges(recipe: Recipe, folder: Path, items: Sequence[Item], progress: bool) -> dict[str, list[ByImage]]:
    """Judgements of `evaluation.judges` by name, once a run; a served judge without an address asks the teacher's."""
    runs_of: dict[str, list[ByImage]] = {}
    for name in recipe.evaluation.judges:
        runs = recipe.evaluation.runs if JudgeName.parse(name).served else 1
        for run in range(runs):
            judged: ByImage = {}
            for kind, chosen in _by_kind(name, items).items():
                with _opened(recipe, folder, name, run, kind) as judge:
                    judged |= judge_items(judge, folder, chosen, progress=progress)
            runs_of.setdefault(name, []).append({item.id: judged[item.id] for item in items})
    return runs_of


def _by_kind(name: str, items: Sequence[Item]) -> dict[str | None, list[Item]]:
    """Items by what DreamBench++'s judge has to be told of them; all together for other judges."""
    if JudgeName.parse(name).protocol != "dreambench":
        return {None: list(items)}
    kinds: dict[str | None, list[Item]] = {}
    for item in items:
        kind = STYLE if (item.attributes or {}).get("category") == STYLE else "subject"
        kinds.setdefault(kind, []).append(item)
    return kinds


@contextmanager
def _opened(recipe: Recipe, folder: Path, name: str, run: int, kind: str | None) -> Iterator[Judge]:
    """A judge for one run and kind of reference, named after the run from the second on, and after styles."""
    known: dict[str, Any] = {"kind": kind} if kind else {}
    suffix = (f" {STYLE}" if kind == STYLE else "") + (f" #{run + 1}" if run else "")
    parsed = JudgeName.parse(name)
    if not parsed.served:
        yield load_judge(parsed.called(name + suffix), **known)
        return
    known |= {"cache": BuildFolder(folder).calls, "concurrency": recipe.teacher.concurrency}
    known |= {"max_cost": recipe.teacher.max_cost, "spent": spent(BuildFolder(folder)), "parameters": {"seed": run}}
    with teacher_address(recipe, folder) as address:
        judge = load_judge(parsed.called(name + suffix), base_url=parsed.base_url or address, **known)
        try:
            yield judge
        finally:
            judge.close()
