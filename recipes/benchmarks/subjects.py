"""Reference images of a personalised benchmark: keywords, images with their licences, and a person's yes or no to each.

Keywords are a table (keyword, category). Images stand in a folder with `images.csv` beside them: file, keyword,
photorealistic, license, source, author, confirmed. An image without a licence is refused, whoever confirmed it.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from t2i_judge.errors import UserError, nearest, quoted
from t2i_judge.files import append_jsonl, read_jsonl, write_atomic
from t2i_judge.inputs.images import ImageError, load_image
from t2i_judge.inputs.numerals import is_blank
from t2i_judge.inputs.places import is_below
from t2i_judge.inputs.readers import iter_rows
from t2i_judge.inputs.spreadsheets import guarded, unguarded
from t2i_judge.wording import counted

CATEGORIES = ("live", "object", "style")  # live: animals and people
MANIFEST, DECISIONS = "images.csv", "confirmed.jsonl"
QUESTION = "one clear subject on a clean background? [y]es, [n]o, [s]kip, [q]uit: "
_COLUMNS = ("file", "keyword", "photorealistic", "license", "source", "author", "confirmed")
_PICTURES = (".jpg", ".jpeg", ".png", ".webp")
_NO_LICENSE = ("unknown", "none", "?", "n/a", "all rights reserved")
_YES, _NO = ("yes", "y", "true", "1"), ("no", "n", "false", "0")


@dataclass(frozen=True)
class Subject:
    """A reference image.

    Attributes:
        file: path relative to the image folder.
        keyword, category: what it shows; category is one of `CATEGORIES`.
        photorealistic: a photograph, or as good as one.
        license, source, author: of the image; the author may be unknown.
        sha256: of the file's bytes.
        confirmed: a person said that it shows one clear subject on a clean background; None: nobody has said yet.
    """

    file: str
    keyword: str
    category: str
    photorealistic: bool
    license: str
    source: str
    author: str | None
    sha256: str
    confirmed: bool | None = None


def read_keywords(path: Path) -> dict[str, str]:
    """Keyword -> category, from a table with both columns. Raises `UserError` naming the row."""
    keywords: dict[str, str] = {}
    for number, row in enumerate(iter_rows(path), 1):
        keyword, category = (_text(row, name, f"{path.name}, row {number}") for name in ("keyword", "category"))
        if category not in CATEGORIES:
            raise UserError(
                f"{path.name}, row {number}: category {quoted(category)}", nearest(category, CATEGORIES), "Correct it"
            )
        if keywords.setdefault(keyword, category) != category:
            raise UserError(f"{path.name}, row {number}: {quoted(keyword)} has two categories", "", "Keep one of them")
    return keywords


def read_subjects(folder: Path, keywords: Mapping[str, str]) -> list[Subject]:
    """The images of a folder as its `images.csv` lists them, each checked.

    Raises:
        UserError: no `images.csv` (one is begun for what lies there), an image without licence or source, a keyword
            that is not listed, a file that is no image, or the same image twice.
    """
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise UserError(
            f"{MANIFEST} now lists {counted(begin_manifest(folder, keywords), 'image')}",
            "Only you know where they come from",
            "Fill in photorealistic, license, source and author, then run the command again",
        )
    subjects: dict[str, Subject] = {}
    for number, line in enumerate(iter_rows(manifest), 1):
        row = {name: unguarded(cell) for name, cell in line.items()}
        subject = _subject(folder, row, keywords, f"{MANIFEST}, row {number}")
        if (twin := subjects.get(subject.sha256)) is not None:
            raise UserError(
                f"{MANIFEST}, row {number}: {subject.file} is the same image as {twin.file}", "", "Remove one of them"
            )
        subjects[subject.sha256] = subject
    return list(subjects.values())


def begin_manifest(folder: Path, keywords: Iterable[str]) -> int:
    """Write `images.csv` for the images in KEYWORD/ folders, licences left blank; returns how many there are.

    Raises:
        UserError: there is none.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _PICTURES)
    known = {_slug(keyword): keyword for keyword in keywords}
    names = {path: known.get(_slug(path.parent.name)) or known.get(_slug(path.stem)) or "" for path in files}
    if not files:
        raise UserError(f"There are no images in {folder}", "Images have paths like KEYWORD/1.jpg", "Put some there")
    out = io.StringIO()
    table = csv.DictWriter(out, _COLUMNS, lineterminator="\n")
    table.writeheader()
    for path, keyword in names.items():
        table.writerow({"file": guarded(str(path.relative_to(folder))), "keyword": guarded(keyword)})
    write_atomic(folder / MANIFEST, out.getvalue())
    return len(files)


def _subject(folder: Path, row: Mapping[str, Any], keywords: Mapping[str, str], where: str) -> Subject:
    file, keyword = _text(row, "file", where), _text(row, "keyword", where)
    if keyword not in keywords:
        raise UserError(
            f"{where}: {quoted(keyword)} is not among the keywords", nearest(keyword, keywords), "Correct it"
        )
    terms = _text(row, "license", where)
    if terms.casefold() in _NO_LICENSE:
        raise UserError(
            f"{where}: licence {quoted(terms)}", "This licence does not allow publishing the image", "Use another image"
        )
    if not is_below(folder / file, folder):
        raise UserError(f"{where}: {file}", f"It leads out of {folder}, and would be published", "Copy the file there")
    try:
        load_image(folder / file)
    except ImageError as error:
        raise UserError(f"{where}: {file}", error.reason, "Replace the file, or remove the row") from error
    return Subject(
        file=file,
        keyword=keyword,
        category=keywords[keyword],
        photorealistic=_yes_or_no(_text(row, "photorealistic", where), f"{where}, photorealistic"),
        license=terms,
        source=_text(row, "source", where),
        author=None if is_blank(row.get("author")) else str(row["author"]).strip(),
        sha256=hashlib.sha256((folder / file).read_bytes()).hexdigest(),
        confirmed=None if is_blank(row.get("confirmed")) else _yes_or_no(str(row["confirmed"]), f"{where}, confirmed"),
    )


def _text(row: Mapping[str, Any], name: str, where: str) -> str:
    if is_blank(row.get(name)):
        raise UserError(f"{where}: no {name}", "Every row needs one", f"Fill in {name}")
    return str(row[name]).strip()


def _yes_or_no(text: str, where: str) -> bool:
    if text.strip().lower() not in (*_YES, *_NO):
        raise UserError(f"{where}: {quoted(text)}", "The cell must say yes or no", "Write yes or no")
    return text.strip().lower() in _YES


def _slug(text: str) -> str:
    return "_".join(text.casefold().split())


def confirm(subjects: Sequence[Subject], decisions: Path, ask: Callable[[str], str] | None = input) -> list[Subject]:
    """The subjects with a person's decisions; what `images.csv` or an earlier session says is not asked again.

    Args:
        subjects: of `read_subjects`.
        decisions: JSON Lines that each answer is added to at once, by the image's bytes.
        ask: shows a question and returns the answer; None: nobody is there to ask.
    """
    rows = read_jsonl(decisions) if decisions.is_file() else ()
    made = {row["sha256"]: row["confirmed"] for row in rows}
    made |= {subject.sha256: subject.confirmed for subject in subjects if subject.confirmed is not None}
    undecided = [subject for subject in subjects if subject.sha256 not in made]
    for number, subject in enumerate(undecided if ask else (), 1):
        answer = _decision(f"[{number}/{len(undecided)}] {subject.file} ({subject.keyword}): {QUESTION}", ask)
        if answer == "q":
            break
        if answer != "s":
            made[subject.sha256] = answer == "y"
            append_jsonl(decisions, [{"file": subject.file, "sha256": subject.sha256, "confirmed": answer == "y"}])
    return [Subject(**{**asdict(subject), "confirmed": made.get(subject.sha256)}) for subject in subjects]


def _decision(question: str, ask: Any) -> str:
    """y, n, s or q; anything else is asked again, the end of the input is q."""
    while True:
        try:
            answer = ask(question).strip().lower()[:1]
        except EOFError:
            return "q"
        if answer and answer in "ynsq":
            return answer
