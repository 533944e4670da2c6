"""Published prompt sets by name: fetched from where they are published, checked, cached, and read in their own formats.

`sets.json` has the title, layout and files of each set (see `meta.sources`). None of their text is in this package. If
a set has questions of its own, they are asked instead of the judge's.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import UserError, nearest
from ..files import read_bytes
from ..meta.sources import Source, obtain
from ..records import Question

Row = dict[str, Any]
# Sets that people ask for and that cannot be had this way.
WITHOUT_A_FILE = {
    "drawbench": "Its authors publish a spreadsheet without a licence; save that as a table with a column prompt"
}
_NUMBER = re.compile(r"(?:(?<![ _-])[ _-]++|(?<![\d _-]))\d++$")
_RELATIONS = {"relation", "spatial", "activity", "verb", "action", "position"}


@dataclass(frozen=True)
class PromptSet:
    """A published set.

    Attributes:
        name, title: as it is asked for, and as its authors call it.
        layout: which reader of `LAYOUTS`.
        files: where it stands.
    """

    name: str
    title: str
    layout: str
    files: tuple[Source, ...]

    @property
    def license(self) -> str:
        """Licence of its files."""
        return ", ".join(dict.fromkeys(file.license for file in self.files))

    @property
    def place(self) -> str:
        """Repository and commit."""
        return ", ".join(dict.fromkeys(f"{file.repository} @ {file.commit[:8]}" for file in self.files))


@dataclass(frozen=True)
class SetPrompt:
    """One prompt of a set, with the questions that the set asks about it, if any."""

    id: str
    prompt: str
    category: str | None = None
    questions: tuple[Question, ...] = ()


@cache
def prompt_sets() -> dict[str, PromptSet]:
    """Every set that can be asked for by name."""
    records = json.loads((files(__package__) / "sets.json").read_text(encoding="utf-8"))
    return {
        name: PromptSet(name, record["title"], record["layout"], tuple(Source(**file) for file in record["files"]))
        for name, record in records.items()
    }


def find_set(name: str) -> PromptSet:
    """The set of that name, ignoring case. Raises `UserError` if it is unknown or not available."""
    wanted = name.casefold().replace("_", "-").replace(" ", "-")
    if wanted in WITHOUT_A_FILE:
        raise UserError(f"{name} cannot be fetched", WITHOUT_A_FILE[wanted], "Give its table with --prompts FILE")
    if wanted not in prompt_sets():
        known = [*prompt_sets(), *WITHOUT_A_FILE]
        raise UserError(
            f"--prompts {name} is neither a file nor a prompt set",
            nearest(wanted, known),
            f"Use one of {', '.join(known)}",
        )
    return prompt_sets()[wanted]


def read_set(wanted: PromptSet, folder: Path | None = None) -> list[SetPrompt]:
    """The set's prompts, from a folder with its files or from where they are published (`meta.sources.obtain`).

    Raises:
        UserError: a file is not available, has another content, or does not have the layout of its set.
    """
    prompts: list[SetPrompt] = []
    for source in wanted.files:
        path = obtain(source, folder)
        try:
            text = read_bytes(path).decode("utf-8-sig")
            prompts += LAYOUTS[wanted.layout](text, PurePosixPath(source.path).stem)
        except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
            raise UserError(
                f"{path} does not have the format of {wanted.title}'s file", repr(error), "Give the published file"
            ) from error
    return [prompt for prompt in prompts if prompt.prompt]


def _geneval(text: str, stem: str) -> Iterator[SetPrompt]:
    """JSON Lines {tag, include, prompt}; images are numbered as GenEval's own script numbers them."""
    for number, record in enumerate(_json_lines(text)):
        yield SetPrompt(f"{number:05d}", record["prompt"].strip(), record["tag"])


def _genai_bench(text: str, stem: str) -> Iterator[SetPrompt]:
    for identity, record in json.loads(text).items():
        yield SetPrompt(str(identity), record["prompt"].strip())


def _compbench(text: str, stem: str) -> Iterator[SetPrompt]:
    """A prompt per line, a file per category."""
    category = stem.removesuffix("_val")
    lines = [line.strip() for line in text.splitlines()]
    for number, line in enumerate(filter(None, lines)):
        yield SetPrompt(f"{category}_{number:06d}", line, category)


def _parti(text: str, stem: str) -> Iterator[SetPrompt]:
    for number, row in enumerate(csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)):
        yield SetPrompt(f"{number:05d}", row["Prompt"].strip(), row["Category"])


def _oneig(text: str, stem: str) -> Iterator[SetPrompt]:
    for row in csv.DictReader(io.StringIO(text)):
        yield SetPrompt(f"{row['category']}_{row['id']}", row["prompt_en"].strip(), row["category"])


def _unigenbench(text: str, stem: str) -> Iterator[SetPrompt]:
    for row in csv.DictReader(io.StringIO(text)):
        category = json.loads(row["sub_dims_en"]).get("Primary Categories")
        yield SetPrompt(str(row["index"]), row["prompt_en"].strip(), category)


def _geneval2(text: str, stem: str) -> Iterator[SetPrompt]:
    """JSON Lines {prompt, atom_count, vqa_list: [[question, answer], ...], skills: [...]}."""
    for number, record in enumerate(_json_lines(text)):
        asked = [
            _question(place, str(skill), question, answer)
            for place, ((question, answer), skill) in enumerate(zip(record["vqa_list"], record["skills"]), 1)
        ]
        category = f"{record['atom_count']} atoms"
        yield SetPrompt(f"{number:05d}", record["prompt"].strip(), category, tuple(asked))


def _dsg(text: str, stem: str) -> Iterator[SetPrompt]:
    """A row per question: item_id, text, proposition_id, dependency ("0": none), category_broad, the question.

    Some of DSG-1k's dependencies are the question itself, or words; these are left out.
    """
    rows: dict[str, list[tuple[str, dict[str, str]]]] = defaultdict(list)
    for row in csv.DictReader(io.StringIO(text)):
        rows[row["item_id"]].append((row["proposition_id"].strip(), row))
    for identity, asked in rows.items():
        known = {number for number, _ in asked}
        questions = [
            _question(
                number,
                row["category_broad"],
                row["question_natural_language"],
                "yes",
                [f"q{p}" for part in row["dependency"].split(",") if (p := part.strip()) in known and p != number],
                row.get("keywords") or "",
            )
            for number, row in asked
        ]
        yield SetPrompt(identity, asked[0][1]["text"].strip(), _family(identity), tuple(questions))


def _tifa(text: str, stem: str) -> Iterator[SetPrompt]:
    """One record per question: id and caption of its prompt, question, choices, answer, element and its type."""
    records: dict[str, list[Row]] = defaultdict(list)
    for record in json.loads(text):
        records[record["id"]].append(record)
    for identity, asked in records.items():
        questions = [
            _question(
                number,
                record["element_type"],
                _with_choices(record["question"], record["choices"]),
                record["answer"],
                (),
                record["element"],
            )
            for number, record in enumerate(asked, 1)
        ]
        yield SetPrompt(identity, asked[0]["caption"].strip(), _family(identity), tuple(questions))


def _question(number: Any, kind: str, text: str, answer: str, parents: Any = (), about: str = "") -> Question:
    """A set's question as a `Question`: about relations between things, or about the things themselves."""
    aspect = "relationship" if kind.strip().casefold() in _RELATIONS else "intrinsic"
    entities = tuple(part.strip() for part in about.split(",") if part.strip()) or ("the picture",)
    return Question(f"q{number}", aspect, entities, text.strip(), str(answer).strip(), tuple(parents))


def _with_choices(question: str, choices: list[str]) -> str:
    """The question with its choices; yes and no are left out."""
    if {choice.casefold() for choice in choices} <= {"yes", "no"}:
        return question
    return f"{question} ({', '.join(choices)})"


def _family(identity: str) -> str | None:
    """The source of a prompt, with which its id begins: `coco_301091` comes from coco."""
    return _NUMBER.sub("", identity) or None


def _json_lines(text: str) -> Iterator[Row]:
    yield from (json.loads(line) for line in text.splitlines() if line.strip())


LAYOUTS: dict[str, Callable[[str, str], Iterator[SetPrompt]]] = {
    "geneval": _geneval,
    "genai_bench": _genai_bench,
    "compbench": _compbench,
    "parti": _parti,
    "oneig": _oneig,
    "unigenbench": _unigenbench,
    "geneval2": _geneval2,
    "dsg": _dsg,
    "tifa": _tifa,
}
