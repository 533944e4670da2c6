"""Judges a build folder's items in chunks, each written before the next, into judgements/NAME.jsonl; resumable.

A judgement belongs to its content (`recipes.recipe.items.content_of`) and to the way it was made: an image keeps it
under another name, and another image under the same name does not get it. One whose call was lost is none: the item is
asked about again.

A recipe may name more judges (`evaluation.judges`), such as embedding baselines and served models. Served ones are
asked `evaluation.runs` times, each run with another seed. DreamBench++'s protocol has other criteria for items of the
category "style".

Nobody else needs to know at what address a judge answers: results and judgements call it by its model. What was paid
for stays that of one address: files and contents of judgements, and the cache of replies, know it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

from recipes.distillation.teacher import paid_options, require_arrived, teacher_address
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe
from recipes.recipe.items import CONTENT, TRAIN, Item, content_of, to_jsonl
from t2i_judge.errors import UserError
from t2i_judge.files import append_jsonl, read_jsonl, write_atomic
from t2i_judge.judges.base import Judge
from t2i_judge.judges.loading import load_judge
from t2i_judge.judges.names import JudgeName, told_apart
from t2i_judge.records import Judgement, Question, Status

STYLE = "style"  # a category of items, and a kind of `dreambench.DreamBenchJudge`
_CHUNK = 64  # images judged between two writes to disk
LOST = frozenset({Status.TRANSPORT})  # what nobody has answered is never kept
FAILED = frozenset(Status) - {Status.OK, Status.IMAGE_ERROR, Status.SKIPPED}  # what may end otherwise if asked again

ByImage = dict[str, Judgement]
Questions = Mapping[str, Sequence[Question]]


def held_out(recipe: Recipe, items: Sequence[Item]) -> list[Item]:
    """Those of all splits but train, at most `evaluation.limit` a split."""
    items = [item for item in items if item.split != TRAIN]
    if not items:
        raise UserError(
            f"{recipe.name} has no held-out images", "There is nothing to measure on", "Set data.held_out above 0"
        )
    splits = dict.fromkeys(item.split for item in items)
    return [item for split in splits for item in [i for i in items if i.split == split][: recipe.evaluation.limit]]


def judge_items(
    open_judge: Callable[[], Judge],
    path: Path,
    folder: Path,
    items: Sequence[Item],
    settings: str,
    questions: Questions | None = None,
    explain: bool = False,
    progress: bool = True,
    again: Collection[Status] = LOST,
    called: str | None = None,
) -> ByImage:
    """Judgements of items by id. Those in `path` of the same content, made in the same way, are kept.

    Args:
        open_judge: makes the judge. It is called only if something is left to judge.
        path: JSON Lines file of judgements. It ends with those of `items`, in their order.
        folder: build folder that the items' paths start from.
        items: items to judge; each content is judged once.
        settings: everything else on which a judgement depends: weights, mode, templates.
        questions: item id -> questions, if the judge is told what to ask.
        explain: as in `Judge.score`.
        progress: show a bar.
        again: statuses of judgements that are not kept.
        called: what the judgements call the judge; None for its own name.

    Raises:
        UserError: no call of a chunk came back.
    """
    contents = _contents(folder, items, settings, questions)
    kept = _kept(path, set(contents.values()), again)
    first = {contents[item.id]: item for item in reversed(items)}
    missing = [item for item in items if contents[item.id] not in kept and first[contents[item.id]] is item]
    if missing:
        _write(path, items, contents, kept)  # without what a kill tore, or what is of other contents
        _judge(open_judge(), path, folder, missing, contents, kept, questions, explain, progress)
    if called is not None:
        kept = {content: replace(one, judge=replace(one.judge, name=called)) for content, one in kept.items()}
    _write(path, items, contents, kept)
    return {item.id: replace(kept[contents[item.id]], image_id=item.id) for item in items}


def judged_by(
    judge: Judge,
    build: BuildFolder,
    items: Sequence[Item],
    progress: bool = True,
    options: Mapping[str, Any] = MappingProxyType({}),
    again: Collection[Status] = LOST,
    called: str | None = None,
) -> ByImage:
    """`judge_items` by a judge that is open, in the file of its own name; `options` of its calls decide about its
    judgements.

    The revision of a served one is known from its replies only: its judgements do not depend on it.
    """
    path, settings = build.judgements_of(judge.info.name), _settings(judge, options)
    return judge_items(lambda: judge, path, build.root, items, settings, progress=progress, again=again, called=called)


def _settings(judge: Judge, options: Mapping[str, Any]) -> str:
    return json.dumps({**asdict(judge.info), **options})


def _contents(folder: Path, items: Sequence[Item], settings: str, questions: Questions | None = None) -> dict[str, str]:
    """Item id -> content of its judgement."""
    asked = {item.id: json.dumps([asdict(q) for q in questions[item.id]]) if questions else "" for item in items}
    return {item.id: content_of(folder, item, settings, asked[item.id]) for item in items}


def _judge(
    judge: Judge,
    path: Path,
    folder: Path,
    items: Sequence[Item],
    contents: Mapping[str, str],
    kept: dict[str, Judgement],
    questions: Questions | None,
    explain: bool,
    progress: bool,
) -> None:
    """Judge items chunk by chunk; each is appended to `path`, and to `kept` by content, before the next."""
    from t2i_judge.progress import Progress

    with Progress(total=len(items), desc=judge.info.name, unit="image", disable=not progress) as bar:
        for start in range(0, len(items), _CHUNK):
            chunk = items[start : start + _CHUNK]
            made = score_items(judge, folder, chunk, questions, explain)
            if len(chunk) == _CHUNK and all(judgement.status in LOST for judgement in made):
                fix = "Run the command again: replies that arrived are kept"
                raise UserError("No call succeeded", str(made[0].reason), fix)
            append_jsonl(path, [_line(judgement, contents[judgement.image_id]) for judgement in made])
            kept |= {contents[judgement.image_id]: judgement for judgement in made}
            bar.update(len(chunk))


def _kept(path: Path, wanted: Collection[str], again: Collection[Status]) -> dict[str, Judgement]:
    """Content -> judgement, of those in a file that are wanted, without statuses that are asked for again."""
    rows = read_jsonl(path) if path.is_file() else ()
    known = {row[CONTENT]: Judgement.from_json(row) for row in rows if row.get(CONTENT) in wanted}
    return {content: judgement for content, judgement in known.items() if judgement.status not in again}


def _write(path: Path, items: Sequence[Item], contents: Mapping[str, str], kept: Mapping[str, Judgement]) -> None:
    """Leave in the file what is known of these items, under their ids."""
    known = [(item.id, contents[item.id]) for item in items if contents[item.id] in kept]
    text = to_jsonl(_line(replace(kept[content], image_id=identity), content) for identity, content in known)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_atomic(path, text)


def _line(judgement: Judgement, content: str) -> dict[str, Any]:
    return {**judgement.to_json(), CONTENT: content}


def score_items(
    judge: Judge, folder: Path, items: Sequence[Item], questions: Questions | None = None, explain: bool = False
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


def further_judges(
    recipe: Recipe, build: BuildFolder, items: Sequence[Item], progress: bool, retry_failed: bool = False
) -> dict[str, list[ByImage]]:
    """Judgements of `evaluation.judges` by what they are called (`names_of`), once per run.

    A served judge without an address asks the teacher's.

    Args:
        recipe, build, items: whose judges they are, where they are kept, what they judge.
        progress: show bars.
        retry_failed: ask again about what failed, too.

    Raises:
        UserError: too many calls of a run were lost. What arrived is kept.
    """
    runs_of: dict[str, list[ByImage]] = {}
    again, names = FAILED if retry_failed else LOST, names_of(recipe)
    for name in map(JudgeName.parse, recipe.evaluation.judges):
        options = asked_with(recipe, name)
        for run in range(recipe.evaluation.runs if name.served else 1):
            judged: ByImage = {}
            for kind, chosen in _by_kind(name, items).items():
                called = names[str(name)] + _suffix(run, kind) if name.served else None
                with _opened(recipe, build, name, run, kind) as judge:
                    judged |= judged_by(judge, build, chosen, progress, options, again, called)
            require_arrived(list(judged.values()), str(name))
            runs_of.setdefault(names[str(name)], []).append({item.id: judged[item.id] for item in items})
    return runs_of


def names_of(recipe: Recipe) -> dict[str, str]:
    """Name of each of `evaluation.judges` -> what results call it: the name without a server's address.

    Those of one model are numbered, in the recipe's order.
    """
    labels = {str(name): name.label for name in map(JudgeName.parse, recipe.evaluation.judges)}
    return dict(zip(labels, told_apart(labels.values())))


def files_of(recipe: Recipe, build: BuildFolder) -> set[Path]:
    """Where judgements of `evaluation.judges` stand, if there are any."""
    runs, names = range(recipe.evaluation.runs), map(JudgeName.parse, recipe.evaluation.judges)
    called = (_called(*one)[0] for one in product(names, runs, (None, STYLE)))
    return {build.judgements_of(name.label) for name in called}


def asked_with(recipe: Recipe, name: JudgeName) -> dict[str, Any]:
    """What decides about a further judge's judgements beside what its name says: options of its calls.

    Those that are left out are not there, so that older judgements made without them stay what they are; nor is the
    server's address: a judge that moves is the same judge.
    """
    if not name.served:
        return {}
    options = {
        "parameters": dict(sorted(recipe.evaluation.parameters.items())),
        "max_tokens": recipe.evaluation.max_tokens,
        "max_image_side": recipe.teacher.max_image_side,
        "server": None if name.base_url else recipe.teacher.server,
    }
    return {option: value for option, value in options.items() if value}


def _by_kind(name: JudgeName, items: Sequence[Item]) -> dict[str | None, list[Item]]:
    """Items by what DreamBench++'s judge has to be told of them; all together for other judges."""
    if name.protocol != "dreambench":
        return {None: list(items)}
    kinds: dict[str | None, list[Item]] = {}
    for item in items:
        kind = STYLE if (item.attributes or {}).get("category") == STYLE else "subject"
        kinds.setdefault(kind, []).append(item)
    return kinds


def unjudged(recipe: Recipe, build: BuildFolder, items: Sequence[Item]) -> dict[JudgeName, list[Item]]:
    """What each served one of `evaluation.judges` has still to judge, an item once for each run; nobody is asked."""
    left: dict[JudgeName, list[Item]] = {}
    for name in map(JudgeName.parse, recipe.evaluation.judges):
        for run in range(recipe.evaluation.runs if name.served else 0):
            for kind, chosen in _by_kind(name, items).items():
                left.setdefault(name, []).extend(_unjudged(recipe, build, name, run, kind, chosen))
    return left


def _unjudged(
    recipe: Recipe, build: BuildFolder, name: JudgeName, run: int, kind: str | None, items: Sequence[Item]
) -> Sequence[Item]:
    """Those whose judgement in one run is not kept."""
    called, known = _called(name, run, kind)
    if not (path := build.judgements_of(called.label)).is_file():
        return items
    judge = load_judge(called, api_key="unused", base_url=name.base_url or recipe.teacher.base_url, **known)
    try:
        contents = _contents(build.root, items, _settings(judge, asked_with(recipe, name)))
    finally:
        judge.close()
    kept = _kept(path, set(contents.values()), LOST)
    return [item for item in items if contents[item.id] not in kept]


def _called(name: JudgeName, run: int, kind: str | None) -> tuple[JudgeName, dict[str, Any]]:
    """The name after the run from the second on, and after styles; and what a judge of this kind is told."""
    return name.called(str(name) + _suffix(run, kind)), {"kind": kind} if kind else {}


def _suffix(run: int, kind: str | None) -> str:
    return (f" {STYLE}" if kind == STYLE else "") + (f" #{run + 1}" if run else "")


@contextmanager
def _opened(recipe: Recipe, build: BuildFolder, name: JudgeName, run: int, kind: str | None) -> Iterator[Judge]:
    """A judge for one run and kind of reference."""
    called, known = _called(name, run, kind)
    if not name.served:
        yield load_judge(called, **known)
        return
    known |= paid_options(recipe.teacher, build)
    known |= {"parameters": {**recipe.evaluation.parameters, "seed": run}, "max_tokens": recipe.evaluation.max_tokens}
    known |= {} if name.base_url else {"server": recipe.teacher.server}
    with teacher_address(recipe.teacher, build) as address:
        judge = load_judge(called, base_url=name.base_url or address, **known)
        try:
            yield judge
        finally:
            judge.close()
