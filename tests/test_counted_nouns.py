"""No line says "1 rows": a number that may be 1 stands before its noun by `t2i_judge.wording.counted`."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path
    for folder in ("metrics/t2i_judge", "recipes", "space", "model_card", "dataset_card")
    for path in (ROOT / folder).rglob("*.py")
    if not {"performance", "minicpmv"} & set(path.parts)  # fixed sizes; what only code can meet
)
# Plurals that are no verbs, too, and no measures (tokens, bytes, pixels, seconds), of which nobody meets a single one.
NOUNS = """
    advisories annotators calls cells changes columns comparisons cores decompositions entries files findings forms
    generators groups images intervals items judgements lines methods models overlaps packages pairs persons pictures
    places probes prompts questions raters ratings records replies requests resamples rewards rows scenes scores shards
    sheets statuses steps tensors things threads units values votes words
"""
ADJECTIVE = r"(?:(?!of|in|for|by|with|the)[a-z-]*[a-rt-z] )?"
NUMBERED = re.compile(rf"\0([^\0]+)\0 {ADJECTIVE}({'|'.join(NOUNS.split())})\b")
NEVER_1 = re.compile(r"(len\()?_?[A-Z][A-Z_]*\)?(:,)?|.*:\.[0-9](%|f)")  # a constant of the code; a share or a decimal
MORE_THAN_1 = {  # by the condition under which it is said, or by what is counted
    *("len(asked.items) items", "len(changes) changes", "len(filled) sheets", "len(generators) generators"),
    *("len(items) images", "len(sizes) groups", "len(value) pictures", "total prompts"),
    *("cells:, cells", "count:, files", "intervals.n images", "n images", "items.size items"),
    *("most items", "draws resamples", "plan.t2i_eval_calls:,.0f calls", "self.pairs:, pairs"),
    *("probe.prompts prompts", "result.needed prompts", "rows or 'no' rows", "len(model.state_dict()) tensors"),
    "len(list(folder.rglob('*'))) files",
}
NAMES = {"better scores", "level prompts", "repository.name files"}  # no number stands there


def _part(part: ast.expr) -> str:
    """A part of an f-string: its text, or between two marks what it shows and how."""
    if isinstance(part, ast.FormattedValue):
        form = f":{ast.unparse(part.format_spec)[2:-1]}" if part.format_spec else ""
        return f"\0{ast.unparse(part.value)}{form}\0"
    return part.value if isinstance(part, ast.Constant) else ""


def numbered(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """(line, "NUMBER NOUN") of every text with a plural after a number that may be 1."""
    for node in ast.walk(tree):
        text = ""
        if isinstance(node, ast.JoinedStr):
            text = "".join(map(_part, node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = re.sub(r"%(d)|\{(\w+)\}", lambda found: f"\0{found[1] or found[2]}\0", node.value)
        for found in NUMBERED.finditer(text):
            if not NEVER_1.fullmatch(found[1]):
                yield node.lineno, f"{found[1]} {found[2]}"


def test_a_number_that_may_be_1_has_a_noun_for_1() -> None:
    found = [
        (f"{path.relative_to(ROOT)}:{line}", words)
        for path in FILES
        for line, words in numbered(ast.parse(path.read_text(encoding="utf-8")))
    ]
    wrong = [f"{place}: {words}" for place, words in found if words not in MORE_THAN_1 | NAMES]
    assert not wrong, "Use t2i_judge.wording.counted for\n" + "\n".join(wrong)
    assert {words for _, words in found} == MORE_THAN_1 | NAMES, "an exception that nobody needs any more goes"


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('f"{len(rows)} rows"', ["len(rows) rows"]),
        ('f"{a} of {b:,} broken images"', ["b:, images"]),
        ('"%d of %d items" % (1, 1)', ["d items"]),
        ('"{n} rows".format(n=1)', ["n rows"]),
        ("f\"{counted(n, 'row')} of the rows\"", []),
        ('f"at most {MOST} rows, {share:.0%} rows"', []),
        ('f"{name} holds rows"', []),
    ],
)
def test_what_is_found(code: str, found: list[str]) -> None:
    assert [words for _, words in numbered(ast.parse(code))] == found
