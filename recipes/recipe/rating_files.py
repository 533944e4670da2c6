"""People's scores in the files in which people keep them; everything else in this project reads them here.

    long            one row per score: id, score, and where there are annotator, aspect, question_id, explanation
    wide            a row per image, a column per aspect (overall, appearance, ...), and where there is one, annotator
    wide            a row per image, a column per person: all columns of numbers that mean nothing else, or `annotators`
    the Space's     rows {id, human_scores} of its export, or the folder of its annotations
    Label Studio    exports JSON and JSON-MIN: ratings, numbers, and choices that are numbers or have `values`

CSV, JSONL, JSON and parquet. An image is named by its id or its file; its column is the first of `ID`, a person's the
first of `ANNOTATOR`, and so on. A blank cell is no score. `RatingsTable` names what these rules do not find.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from recipes.recipe.label_studio import of_annotations, of_tasks
from recipes.recipe.rating_table import (
    ANNOTATOR,
    ASPECT,
    EXPLANATION,
    ID,
    NO_SCORES,
    QUESTION,
    SCORE,
    SOMEBODY,
    HumanScore,
    RatingTable,
    Row,
    require_once,
    text_of,
)
from recipes.recipe.sections import RatingsTable
from t2i_judge.boards.people import holds_labels
from t2i_judge.errors import UserError, quoted
from t2i_judge.files import parse_json, read_json, read_jsonl
from t2i_judge.inputs.headers import SUMMARIES
from t2i_judge.inputs.readers import iter_rows
from t2i_judge.records import ALL_ASPECTS, OVERALL

_OPTIONS = ("id", "annotator", "aspect", "score", "question", "explanation", "annotators", "aspects", "values")
_AGAIN = "Export the annotations again"
_INDEX = re.compile(r"Unnamed: \d+(_level_\d+)?|level_\d+|index|__index_level_\d+__", re.I)  # pandas' numbers of rows


def read_scores(path: Path, options: RatingsTable) -> list[HumanScore]:
    """Every score of a file, in its order; which images they are of is not looked at.

    Raises:
        UserError: no such file, none of the layouts above, a cell that is no score, an unknown aspect, or a score that
            one person gave twice.
    """
    if not path.exists():
        raise UserError(f"There are no ratings at {path}", "There is no such file", "Correct evaluation.ratings")
    if path.is_dir():
        _require_used(path.name, options, "the Space's forms")
        scores = list(_spaces_forms(path))
    else:
        scores = list(_of_rows(path, list(iter_rows(path)), options))
    if not scores:
        raise UserError(f"{path.name} has no scores", "It has no rows, or all its cells are blank", "Add scores to it")
    require_once(scores)
    return scores


def _of_rows(path: Path, rows: Sequence[Row], options: RatingsTable) -> Iterator[HumanScore]:
    table = RatingTable(path.name, rows, options)
    if not rows:
        return iter(())
    read, layout, used = _layout(table)
    _require_used(path.name, options, layout, used)
    return read(table)


def _layout(table: RatingTable) -> tuple[Callable[[RatingTable], Iterator[HumanScore]], str, Sequence[str]]:
    """How a table is read, as what, and which options say something of it."""
    first, options = table.rows[0], table.options
    if "human_scores" in first:
        return _nested, "an export of the Space", ("id", "aspects", "values")
    if "annotations" in first and "data" in first:
        return of_tasks, "an export of Label Studio", ("id", "aspects", "values")
    if "annotation_id" in first:
        return of_annotations, "an export of Label Studio", ("id", "aspects", "values")
    aspect, score = (table.column(options.aspect, ASPECT), table.column(options.score, SCORE))
    by_columns = options.annotators or (options.aspects and not aspect and {*options.aspects} <= {*table.columns})
    if options.score or (score and not by_columns):  # what is named counts more than what is merely there
        return _long, "a row per score", [name for name in _OPTIONS if name != "annotators"]
    if options.annotators:
        return _wide, "a column per person (ratings.annotators)", ("id", "annotators", "values")
    return _wide, "a column per aspect or person", ("id", "annotator", "aspects", "values")


def _require_used(name: str, options: RatingsTable, layout: str, used: Sequence[str] = ()) -> None:
    """Raise `UserError` for an option that says nothing of a file: it would be passed over without a word."""
    if idle := next((each for each in _OPTIONS if getattr(options, each) and each not in used), None):
        fix = "Leave it out, or what makes the file read so"
        raise UserError(f"{name} has no use for ratings.{idle}", f"It is read as {layout}", fix)


def _long(table: RatingTable) -> Iterator[HumanScore]:
    options, ident = table.options, table.id_column()
    annotator, aspect = table.column(options.annotator, ANNOTATOR), table.column(options.aspect, ASPECT)
    score = str(table.column(options.score, SCORE))
    question = table.column(options.question, QUESTION)
    explanation, prompt = table.column(options.explanation, EXPLANATION), table.column(None, ("prompt",))
    for number, row in enumerate(table.rows, 1):
        place = table.place(number)
        value = table.score(row.get(score), f"{place}, column {score}")
        if value is None:
            continue
        yield HumanScore(
            _item(row, ident, place),
            _who(row, annotator, place),
            table.aspect(row.get(aspect) if aspect else None, place),
            value,
            place,
            text_of(row.get(question)) if question else None,
            text_of(row.get(explanation)) if explanation else None,
            text_of(row.get(prompt)) if prompt else None,
        )


def _who(row: Row, column: str | None, place: str) -> str:
    """The person of a score. Raises `UserError` where a file names people, but not this one."""
    if column is None:
        return SOMEBODY
    if (name := text_of(row.get(column))) is None:
        raise UserError(
            f"{place}, column {column}: {quoted(row.get(column))}",
            "Each score needs an annotator",
            "Name the annotator",
        )
    return name


def _item(row: Row, column: str, place: str) -> str:
    if (name := text_of(row.get(column))) is None:
        raise UserError(
            f"{place}, column {column}: {quoted(row.get(column))}", "Each score needs an image", "Fill it in"
        )
    return name


def _wide(table: RatingTable) -> Iterator[HumanScore]:
    """A column per aspect, or a column per person."""
    options, ident = table.options, table.id_column()
    for column in (*options.annotators, *options.aspects):
        table.column(column, ())
    annotator, prompt = table.column(options.annotator, ANNOTATOR), str(table.column(None, ("prompt",)))
    by_aspect = {c: table.aspect(c, table.name) for c in table.columns if c in options.aspects or c in ALL_ASPECTS}
    people = options.annotators or (() if by_aspect else _people(table, ident))
    for number, row in enumerate(table.rows, 1):
        place, item = table.place(number), _item(row, ident, table.place(number))
        cells: list[tuple[str, str | None, str]] = [(column, column, OVERALL) for column in people]
        cells += [(column, None, aspect) for column, aspect in by_aspect.items() if not people]
        for column, person, aspect in cells:
            if (value := table.score(row.get(column), f"{place}, column {column}")) is not None:
                person = person or _who(row, annotator, place)
                yield HumanScore(item, person, aspect, value, place, prompt=text_of(row.get(prompt)))


def _people(table: RatingTable, ident: str) -> list[str]:
    """Columns of numbers that mean nothing else. Raises `UserError` where a column may be a person's or not."""
    known = {*ID, *ANNOTATOR, *EXPLANATION, *NO_SCORES, _usual(ident)}
    people = [column for column in table.columns if _usual(column) not in known and not _INDEX.fullmatch(column)]
    fix = (
        "Set ratings.score (one row per score), ratings.annotators (one column per person) "
        "or ratings.aspects (column: aspect)"
    )
    if not people:
        raise UserError(f"{table.name} has no scores", f"Its columns are {', '.join(table.columns)}", fix)
    told = next((column for column in people if column.strip().lower() in SUMMARIES), None)
    if told and len(people) > 1:
        reason = "It may be a person's column, or what the others come to: then it would count as one more person"
        raise UserError(f"{table.name} has a column {quoted(told)}", reason, fix)
    for column in people:
        for number, row in enumerate(table.rows, 1):
            try:
                table.score(row.get(column), "")
            except UserError:
                cell = f"{table.place(number)}, column {column}: {quoted(row.get(column))}"
                raise UserError(f"{cell} is not a number", "The column should have a person's scores", fix) from None
    raters = [column for column in people if _is_raters(column)]
    if raters and (other := next((column for column in people if column not in raters), None)):
        reason = "It may measure the images: then it would count as one more person"
        raise UserError(f"{table.name} has a column {quoted(other)} beside {quoted(raters[0])}", reason, fix)
    return people


def _usual(column: str) -> str:
    """A column's name as the usual ones are spelt: `CLIP score` is `clip_score`."""
    return re.sub("[ -]", "_", column.strip().lower())


def _is_raters(column: str) -> bool:
    """Whether a column's name says that it is a rater's; `h` and `r` may be anybody's initials."""
    return holds_labels(column.strip()) and bool(re.search(r"\d|\w{3}", column))


def _nested(table: RatingTable) -> Iterator[HumanScore]:
    """Rows with a list `human_scores`, as the Space exports them and the benchmark has them."""
    ident = table.id_column()
    for number, row in enumerate(table.rows, 1):
        place, entries = table.place(number), row.get("human_scores") or []
        entries = parse_json(entries, place, _AGAIN) if isinstance(entries, str) else entries
        yield from _entries(table, _item(row, ident, place), None, entries, place)


def _spaces_forms(folder: Path) -> Iterator[HumanScore]:
    """The folder of the Space's annotations, its own or as published; of two forms about one image the first counts.

    Two people of one name, who registered on two Spaces, are two: the later one has a part of the id behind the name.
    """
    forms: dict[tuple[str, str], tuple[str, Row]] = {}
    for path, form in _records(_files(folder, "**/annotations/**/*") or _files(folder, "**/*")):
        if not {"item", "annotator", "ratings"} <= form.keys():
            continue
        texts = ("item", "annotator", "annotator_id", "saved")
        if not all(isinstance(form.get(name, ""), str) for name in texts):
            raise UserError(f"{path} is no form of the Space", f"Its {', '.join(texts)} must be texts", _AGAIN)
        key = form.get("annotator_id") or _first_id(form["annotator"]), form["item"]
        if key not in forms or form.get("saved", "") < forms[key][1].get("saved", ""):
            forms[key] = path.name, form
    if not forms:
        raise UserError(f"{folder} has no annotations", "It has no form of the Space", "Name a file of ratings")
    first = _first_of_each_name(folder, [(who, form) for (who, _), (_, form) in forms.items()])
    table = RatingTable(folder.name, [], RatingsTable(str(folder)))
    for (who, item), (name, form) in forms.items():
        own = form["annotator"]
        own = own if first[own] == who else f"{own}-{hashlib.sha256(who.encode()).hexdigest()[:4]}"
        yield from _entries(table, item, own, form["ratings"], name)


def _files(folder: Path, pattern: str) -> list[Path]:
    """Files of records, in order. What an editor or a write that was broken off leaves beside them is none."""
    found = (path for path in folder.glob(pattern) if path.suffix in (".json", ".jsonl") and path.is_file())
    return sorted(path for path in found if not path.name.startswith("."))


def _records(files: Sequence[Path]) -> Iterator[tuple[Path, Row]]:
    for path in files:
        for record in read_jsonl(path) if path.suffix == ".jsonl" else [read_json(path, _AGAIN)]:
            if isinstance(record, dict):
                yield path, record


def _first_id(name: str) -> str:
    """Who has a name where no id is written. Names had a file each before they had ids, which stood for the id."""
    return f"annotators/{name}.json"


def _first_of_each_name(folder: Path, forms: Sequence[tuple[str, Row]]) -> dict[str, str]:
    """Name -> the id of who has it without more: the first to register, as in the Space, else the first to save.

    Forms that were added from a file (`annotation_formats`) have no time, and come last.
    """
    known = []
    for _, record in _records(_files(folder, "**/annotators/**/*")):
        name, when = record.get("annotator"), record.get("registered", "")
        ident = record.get("id") or _first_id(str(name))
        if isinstance(name, str) and isinstance(ident, str) and isinstance(when, str):
            known.append((when, ident, name))
    first: dict[str, str] = {}
    for _, ident, name in sorted(known):
        first.setdefault(name, ident)
    for ident, form in sorted(forms, key=lambda one: (not one[1].get("saved"), one[1].get("saved", ""))):
        first.setdefault(form["annotator"], ident)
    return first


def _entries(table: RatingTable, item: str, who: str | None, entries: Any, place: str) -> Iterator[HumanScore]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UserError(f"{place}: {quoted(entries)}", "This is not a list of scores", _AGAIN)
    for entry in entries:
        value = table.score(entry.get("score"), place)
        person = who or text_of(entry.get("annotator"))
        if value is None:
            continue
        if person is None:
            raise UserError(
                f"{place}: a score without annotator", "Each score needs an annotator", "Name the annotator"
            )
        aspect, question = table.aspect(entry.get("aspect"), place), text_of(entry.get("question_id"))
        yield HumanScore(item, person, aspect, value, place, question, text_of(entry.get("explanation")))
