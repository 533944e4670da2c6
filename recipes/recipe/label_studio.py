"""Label Studio's exports JSON (tasks with their annotations) and JSON-MIN (one flat object an annotation).

Controls <Rating>, <Number> and <Choices> give scores, <TextArea> an explanation. A control that is called as an aspect
scores it; one that stands alone scores the overall aspect; `ratings.aspects` maps other names. Annotators are called by
their number, never by their address. Cancelled annotations are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recipes.recipe.rating_table import ID, HumanScore, RatingTable, name_of
from t2i_judge.errors import UserError
from t2i_judge.records import ALL_ASPECTS, OVERALL

_KINDS = ("rating", "number", "choices", "text")
_OF_A_TASK = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement")
Answers = Mapping[str, Any]  # control -> what was said


def of_tasks(table: RatingTable) -> Iterator[HumanScore]:
    """Scores of an export in the format JSON."""
    given = [_answers(annotation, table) for task in table.rows for annotation in _annotations(task, table)]
    controls = _scoring(table, given)
    for number, task in enumerate(table.rows, 1):
        place = table.place(number)
        for annotation in _annotations(task, table):
            who, answers = _person(annotation.get("completed_by")), _answers(annotation, table)
            yield from _scores(table, controls, _image(table, task["data"], place), task["data"], who, answers, place)


def of_annotations(table: RatingTable) -> Iterator[HumanScore]:
    """Scores of an export in the format JSON-MIN: the task's data and the answers side by side."""
    known = {*_OF_A_TASK, *ID, table.options.id}
    said = [{k: v for k, v in map(_flat, row.items()) if k not in known and v is not None} for row in table.rows]
    kinds = [{k: v for k, v in answers.items() if _is_answer(table, k, v)} for answers in said]
    controls = _scoring(table, kinds)
    for number, (row, answers) in enumerate(zip(table.rows, kinds), 1):
        place, data = table.place(number), {k: v for k, v in row.items() if k != "id"}
        item, who = _image(table, data, place), _person(row.get("annotator"))
        yield from _scores(table, controls, item, data, who, answers, place)


def _annotations(task: Mapping[str, Any], table: RatingTable) -> list[Mapping[str, Any]]:
    return [one for one in _objects(task, "annotations", table) if not one.get("was_cancelled")]


def _objects(record: Mapping[str, Any], name: str, table: RatingTable) -> list[Mapping[str, Any]]:
    """The objects in a list of a record. Raises `UserError` for what is no such list."""
    entries = record.get(name) or []
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        fix = "Export the annotations again"
        raise UserError(f"{table.name}: {name} is no list of objects", "Label Studio writes one", fix)
    return entries


def _answers(annotation: Mapping[str, Any], table: RatingTable) -> dict[str, Any]:
    """Control -> (kind, value) of an annotation's results."""
    found = {}
    for result in _objects(annotation, "result", table):
        kind = {"textarea": "text"}.get(str(result.get("type")), result.get("type"))
        if kind in _KINDS and isinstance(result.get("value"), Mapping):
            found[str(result.get("from_name"))] = (kind, result["value"].get(kind))
    return found


def _flat(entry: tuple[str, Any]) -> tuple[str, tuple[str | None, Any] | None]:
    """A cell of JSON-MIN as (kind, value): 4, "4", [{"rating": 4}], {"choices": ["good"]}, "in words"."""
    name, value = entry
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, Mapping):
        kind = next((kind for kind in _KINDS if kind in value), None)
        return name, (kind, value[kind]) if kind else None
    return name, (None, value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None


def _is_answer(table: RatingTable, name: str, answer: tuple[str | None, Any]) -> bool:
    """Whether a cell of JSON-MIN is an answer; one without a kind is, where it can be read as a score of an aspect."""
    kind, value = answer
    if kind is not None or name in table.options.aspects or _aspect(name) in ALL_ASPECTS or name in ("score", "rating"):
        return True
    return isinstance(value, str) and value in table.options.values


def _scoring(table: RatingTable, annotations: Sequence[Answers]) -> dict[str, str]:
    """Control -> aspect. Raises `UserError` where that cannot be known."""
    names = list(dict.fromkeys(k for answers in annotations for k, (kind, _) in answers.items() if kind != "text"))
    chosen = {name: table.options.aspects.get(name) or _aspect(name) for name in names}
    chosen = {name: table.aspect(aspect, table.name) for name, aspect in chosen.items() if aspect in ALL_ASPECTS}
    if not chosen and len(names) == 1:
        return {names[0]: OVERALL}
    if not chosen:
        known = f"Its controls are {', '.join(names) or 'not for scores'}"
        raise UserError(f"{table.name} does not say what was rated", known, "Add ratings.aspects: {CONTROL: overall}")
    return chosen


def _aspect(name: str) -> str:
    return "_".join(name.casefold().replace("-", " ").split())


def _scores(
    table: RatingTable, controls: Mapping[str, str], item: str, data: Any, who: str, answers: Answers, place: str
) -> Iterator[HumanScore]:
    words = "; ".join(_joined(value) for kind, value in answers.values() if kind == "text" and value) or None
    prompt = data.get("prompt") if isinstance(data.get("prompt"), str) else None
    for control, aspect in controls.items():
        _, value = answers.get(control, (None, None))
        while isinstance(value, list) and len(value) == 1:
            value = value[0]
        if (score := table.score(value, f"{place}, control {control}")) is not None:
            why = words if aspect == OVERALL or len(controls) == 1 else None
            yield HumanScore(item, who, aspect, score, place, explanation=why, prompt=prompt)


def _joined(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _image(table: RatingTable, data: Any, place: str) -> str:
    """What names the image in a task's data."""
    names = (table.options.id,) if table.options.id else ID
    value = next((data[name] for name in names if isinstance(data, Mapping) and data.get(name) is not None), None)
    if value is None:
        known = f"The fields of its data are {', '.join(data)}" if isinstance(data, Mapping) else "It has no data"
        raise UserError(f"{place} names no image", known, "Name its field in ratings.id")
    return name_of(value)


def _person(who: Any) -> str:
    return f"annotator_{who.get('id') if isinstance(who, Mapping) else name_of(who)}"
