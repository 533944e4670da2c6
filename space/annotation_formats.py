"""Converts ratings and votes to files for other tools, and back without loss: CSV, benchmark rows, Label Studio.

Ratings are rows {id, human_scores} as in the benchmark; votes are rows {item_a, item_b, annotator, vote, shown_first}.
`python annotation_formats.py FILE OUT` converts ratings by the files' endings: .csv, .jsonl, .json (Label Studio). If
OUT is a folder, they are added to the annotations there, which the Space reads when it starts (ANNOTATIONS).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from annotation_store import AnnotationStore, FolderShelf
from annotations import read_records
from t2i_judge.errors import UserError, quoted
from t2i_judge.files import parse_json, read_text, write_atomic
from t2i_judge.inputs.numerals import is_gap, parse_number
from t2i_judge.inputs.spreadsheets import RATINGS_COLUMNS, VOTES_COLUMNS, guarded, is_ours, unguarded
from t2i_judge.terminal import say
from t2i_judge.wording import counted

Row = dict[str, Any]
RATING, VOTE = RATINGS_COLUMNS[1:], VOTES_COLUMNS
_WHY = "why"


def ratings_to_csv(rows: Sequence[Row]) -> str:
    """One line per rating: item, annotator, aspect, question_id, score, explanation; `meta-eval` reads it as it is."""
    lines = [{"item": row["id"], **rating} for row in rows for rating in row["human_scores"]]
    return _csv(("item", *RATING), lines)


def ratings_from_csv(text: str) -> list[Row]:
    """Inverse of `ratings_to_csv`. Raises `UserError` naming the line."""
    rows: dict[str, list[Row]] = {}
    for number, line in enumerate(_lines(text, ("item", *RATING)), 2):
        rating = {name: line[name] or None for name in RATING} | {"score": _score(line["score"], f"line {number}")}
        rows.setdefault(line["item"], []).append(rating)
    return _rows(rows)


def votes_to_csv(votes: Sequence[Row]) -> str:
    """One line per vote; `vote` is A, B, both good or both bad, as `meta-eval --votes` reads it."""
    return _csv(VOTE, [{**vote, "vote": _WORDS[vote["vote"]]} for vote in votes])


def votes_from_csv(text: str) -> list[Row]:
    """Inverse of `votes_to_csv`. Raises `UserError` for words that are no vote."""
    votes = []
    known = {word: vote for vote, word in _WORDS.items()}
    for number, line in enumerate(_lines(text, VOTE), 2):
        if line["vote"] not in known:
            raise UserError(
                f"Line {number}: {quoted(line['vote'])} is not a vote", "", f"Write one of {', '.join(known)}"
            )
        votes.append({name: line[name] for name in VOTE} | {"vote": known[line["vote"]]})
    return votes


_WORDS = {"a": "A", "b": "B", "both_good": "both good", "both_bad": "both bad"}


def ratings_to_lines(rows: Sequence[Row]) -> str:
    """The benchmark's rows, one per line."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def ratings_from_lines(text: str) -> list[Row]:
    """Inverse of `ratings_to_lines`. Raises `UserError` naming the line."""
    rows: dict[str, list[Row]] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            row = _object(line, f"line {number}")
            ratings = [_rating(rating, f"line {number}") for rating in _list(row, "human_scores", f"line {number}")]
            rows.setdefault(str(row.get("id")), []).extend(ratings)
    return _rows(rows)


def ratings_to_label_studio(rows: Sequence[Row]) -> str:
    """Label Studio's JSON: one task per item, one annotation per annotator, numbers and texts as results.

    `meta` of each result says aspect, question and place in the row, which Label Studio carries along.
    """
    people = list(dict.fromkeys(rating["annotator"] for row in rows for rating in row["human_scores"]))
    tasks = []
    for number, row in enumerate(rows, 1):
        own: dict[str, list[Row]] = {}
        for place, rating in enumerate(row["human_scores"]):
            own.setdefault(rating["annotator"], []).extend(_results(rating, place))
        annotations = [
            {
                "completed_by": {"id": people.index(name) + 1, "first_name": name},
                "was_cancelled": False,
                "result": results,
            }
            for name, results in own.items()
        ]
        tasks.append({"id": number, "data": {"id": row["id"]}, "annotations": annotations})
    return json.dumps(tasks, ensure_ascii=False, indent=1) + "\n"


def _results(rating: Mapping[str, Any], place: int) -> list[Row]:
    meta = {"aspect": rating["aspect"], "question_id": rating["question_id"], "place": place}
    name = rating["aspect"] if rating["question_id"] is None else f"{rating['aspect']}_{rating['question_id']}"
    results = [(name, "number", {"number": rating["score"]})]
    if rating["explanation"] is not None:
        results.append((f"{name}_{_WHY}", "textarea", {"text": [rating["explanation"]]}))
    return [
        {"from_name": control, "to_name": "image", "type": kind, "value": value, "meta": meta}
        for control, kind, value in results
    ]


def ratings_from_label_studio(text: str) -> list[Row]:
    """Inverse of `ratings_to_label_studio`; of another export, numbers and ratings of controls called as aspects."""
    tasks = parse_json(text, "The file", "Correct it")
    if not isinstance(tasks, list):
        raise UserError("This is not an export of Label Studio", "An export is a list of tasks", "Export it as JSON")
    rows: dict[str, list[Row]] = {}
    for number, task in enumerate(tasks, 1):
        place = f"task {number}"
        data = task.get("data") if isinstance(task, Mapping) else None
        if not isinstance(data, Mapping) or data.get("id") is None:
            raise UserError(f"{place} names no item", "Its data has no id", "Export tasks with their data")
        ratings: dict[tuple[Any, ...], Row] = {}
        for annotation in _list(task, "annotations", place):
            if not annotation.get("was_cancelled"):
                _add_results(ratings, annotation, place)
        ordered = sorted(ratings.items(), key=lambda entry: entry[0][0])
        rows.setdefault(str(data["id"]), []).extend(rating for _, rating in ordered)
    return _rows(rows)


def _add_results(ratings: dict[tuple[Any, ...], Row], annotation: Mapping[str, Any], place: str) -> None:
    who = annotation.get("completed_by")
    name = who.get("first_name") or f"annotator_{who.get('id')}" if isinstance(who, Mapping) else f"annotator_{who}"
    for result in _list(annotation, "result", place):
        kind, value, meta = result.get("type"), _part(result, "value", place), _part(result, "meta", place)
        control = str(result.get("from_name"))
        aspect = str(meta.get("aspect", control.removesuffix(f"_{_WHY}")))
        question = None if meta.get("question_id") is None else str(meta["question_id"])
        at = meta.get("place")
        key = (at if isinstance(at, int) else len(ratings), name, aspect, question)
        key = next((known for known in ratings if known[1:] == key[1:] and "place" not in meta), key)
        empty = {"annotator": name, "aspect": aspect, "question_id": question, "score": None, "explanation": None}
        if kind in ("number", "rating"):
            ratings.setdefault(key, empty)["score"] = _score(value.get(kind), place)
        elif kind == "textarea" and (text := value.get("text")):
            texts = text if isinstance(text, list) else [text]
            ratings.setdefault(key, empty)["explanation"] = " ".join(map(str, texts))


FORMATS: Mapping[str, tuple[Callable[[Sequence[Row]], str], Callable[[str], list[Row]]]] = {
    ".jsonl": (ratings_to_lines, ratings_from_lines),
    ".csv": (ratings_to_csv, ratings_from_csv),
    ".json": (ratings_to_label_studio, ratings_from_label_studio),
}


def _csv(names: Sequence[str], lines: Sequence[Row]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: guarded(cell) for name, cell in line.items()} for line in lines)
    return out.getvalue()


def _lines(text: str, names: Sequence[str]) -> list[dict[str, str]]:
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    if missing := [name for name in names if name not in (reader.fieldnames or ())]:
        raise UserError(
            f"There is no column {quoted(missing[0])}", f"It has {', '.join(reader.fieldnames or ())}", "Add it"
        )
    meant = unguarded if is_ours(reader.fieldnames or ()) else str
    return [{name: meant(line[name] or "") for name in names} for line in reader]


def _score(cell: Any, place: str) -> float | None:
    if is_gap(cell):
        return None
    try:
        return parse_number(cell)
    except ValueError as error:
        fix = "Write a number, or leave it blank"
        raise UserError(f"{place}: {quoted(cell)} is not a score", f"It {error}", fix) from None


def _object(text: str, place: str) -> Row:
    value = parse_json(text, place, "Correct it")
    if not isinstance(value, dict):
        raise UserError(f"{place} is not an object", "A row has named values", "Write one object per line")
    return value


def _list(record: Mapping[str, Any], name: str, place: str) -> list[Any]:
    value = record.get(name)
    if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value):
        raise UserError(f"{place} has no list {name}", "", "Export it again")
    return value


def _part(record: Mapping[str, Any], name: str, place: str) -> Mapping[str, Any]:
    """What a result has under a name, as Label Studio nests it; nothing where there is none."""
    value = record.get(name) or {}
    if not isinstance(value, Mapping):
        raise UserError(f"{place}: {quoted(value)} is not a {name}", "Label Studio writes an object", "Export it again")
    return value


def _rating(rating: Mapping[str, Any], place: str) -> Row:
    if missing := [name for name in ("annotator", "aspect", "score") if name not in rating]:
        raise UserError(f"{place}: a score has no {missing[0]}", f"It has {', '.join(rating)}", "Add it")
    return {name: rating.get(name) for name in RATING} | {"score": _score(rating["score"], place)}


def _rows(rows: Mapping[str, list[Row]]) -> list[Row]:
    return [{"id": item, "human_scores": ratings} for item, ratings in rows.items()]


def convert(source: Path, out: Path) -> int:
    """Write the ratings of one file in the format of another's ending; returns how many were written.

    Raises:
        UserError: a file cannot be read, or says otherwise than the folder that it is added to.
    """
    for path in (source, *([] if out.is_dir() else [out])):
        if path.suffix not in FORMATS:
            raise UserError(
                f"{path} has an unknown extension", "The extension says the format", f"Use {', '.join(FORMATS)}"
            )
    rows = FORMATS[source.suffix][1](read_text(source))
    if out.is_dir():
        return _put_among(rows, out)
    write_atomic(out, FORMATS[out.suffix][0](rows))
    return sum(len(row["human_scores"]) for row in rows)


def _put_among(rows: Sequence[Row], folder: Path) -> int:
    """New forms of these ratings, in a file of their own; returns how many ratings. Raises `UserError`.

    Who has a name in the folder is who has it in the file. What is stored counts once, and is never changed.
    """
    store = AnnotationStore(FolderShelf(folder))
    stored = {(form.item, store.label(form)): form for form in store.all()}
    people = {store.label(form): (form.annotator, form.annotator_id) for form in store.all()}
    lines, added = [], 0
    for (item, name), said in _forms(rows).items():
        if (form := stored.get((item, name))) is not None:
            _require_stored(item, name, said, {_question_of(each): _said(each) for each in form.human_scores()})
            continue
        annotator, annotator_id = people.get(name, (name, f"imported-{name}"))
        new = {"item": item, "annotator": annotator, "annotator_id": annotator_id, "ratings": list(said.values())}
        new["saved"] = ""
        new["id"] = hashlib.sha256(json.dumps(new, sort_keys=True).encode()).hexdigest()[:16]
        lines.append(json.dumps(new, ensure_ascii=False))
        added += len(said)
    if not lines:
        return 0
    text = "\n".join(lines) + "\n"
    path = f"annotations/imported-{hashlib.sha256(text.encode()).hexdigest()[:16]}.jsonl"
    if bad := next((record for record in read_records(path, text.encode()) if isinstance(record, str)), None):
        raise UserError(
            "These ratings cannot be used as annotations", bad, "Use scores of 0 to 10, and names of 2 to 32 letters"
        )
    write_atomic(folder / path, text)
    return added


_Question = tuple[Any, Any]  # aspect and question's id


def _forms(rows: Sequence[Row]) -> dict[tuple[str, str], dict[_Question, Row]]:
    """What each annotator says about each item, by question. Raises `UserError` where one says two things."""
    forms: dict[tuple[str, str], dict[_Question, Row]] = {}
    for row in rows:
        for rating in row["human_scores"]:
            form = forms.setdefault((row["id"], str(rating["annotator"])), {})
            if form.setdefault(_question_of(rating), said := _said(rating)) != said:
                raise _contradiction(rating["annotator"], row["id"], rating["aspect"], "Keep one of its scores")
    return forms


def _require_stored(item: str, name: str, said: Mapping[_Question, Row], stored: Mapping[_Question, Row]) -> None:
    """Raise `UserError` where a form says anything else than the one that is stored."""
    for question, rating in said.items():
        if stored.get(question) != rating:
            fix = "Leave it out; or, to correct an import, delete its file in annotations/ and import all of it again"
            raise _contradiction(name, item, rating["aspect"], fix)


def _contradiction(name: Any, item: str, aspect: Any, fix: str) -> UserError:
    fact = f"{quoted(name)} has rated {quoted(item)} before, and not so: {quoted(aspect)}"
    return UserError(fact, "Each annotator rates an item once", fix)


def _question_of(rating: Mapping[str, Any]) -> _Question:
    return rating["aspect"], rating["question_id"] or None


def _said(rating: Mapping[str, Any]) -> Row:
    """A rating without its annotator; what is blank in one format is null in another."""
    aspect, question = _question_of(rating)
    explanation = rating["explanation"] or None
    return {"aspect": aspect, "question_id": question, "score": rating["score"], "explanation": explanation}


if __name__ == "__main__":
    try:
        say(counted(convert(*map(Path, sys.argv[1:3])), "rating"))
    except (UserError, OSError, TypeError) as error:
        raise SystemExit(f"annotation_formats: {error}") from error
