"""Computes item scores from a table of raw yes/no answers, by the rules and policies of published work.

A row is one question about one image: item columns, a set (which question generator), question id, the ids of the
questions it depends on, and for each judge two 0/1 columns: JUDGE_yes (the answer is exactly "yes") and JUDGE_answered
(it is exactly "yes" or "no").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import UserError
from ..inputs.tables import Table
from ..records import Status
from ..scoring import dependency_scores

Item = tuple[Hashable, ...]

RULES = {
    "dependency": "a question whose parent's raw answer is not yes scores 0 (scoring.dependency_scores)",
    "own_answers": "every question scores by its own answer",
    "drop": "a question whose parent's raw answer is not yes is left out of the mean",
}
POLICIES = {
    "dsg_published": "as upstream: a prompt without questions scores 0, an answer neither yes nor no counts as no",
    "unscored_excluded": "a prompt without questions has no score: it is left out and counted (ours)",
    "unparsable_excluded": "as above, and an image with an answer that is neither yes nor no has no score either",
}


@dataclass
class ItemAnswers:
    """The questions about one image: their parents, and what each judge answered."""

    parents: dict[str, list[str]] = field(default_factory=dict)
    yes: dict[str, dict[str, bool]] = field(default_factory=lambda: defaultdict(dict))
    unparsed: set[str] = field(default_factory=set)


def read_answers(
    table: Table, item: Sequence[str], set_column: str, judges: Sequence[str]
) -> dict[str, dict[Item, ItemAnswers]]:
    """Question set -> item -> answers. Raises `UserError` for a column that the table lacks.

    A parents cell holds question ids with commas between them, "0" or nothing for none. Where a cell is malformed, all
    parents of that prompt's questions are dropped, as upstream's try/except does (DSG, j-min/DSG).
    """
    yes, answered = [f"{judge}_yes" for judge in judges], [f"{judge}_answered" for judge in judges]
    marks = {name: table.numbers(name) for name in [*yes, *answered]}
    keys = list(zip(*(table.labels(name) for name in item), strict=True))
    sets, ids, cells = table.labels(set_column), table.labels("question_id"), table.labels("parents")
    sets_of_answers: dict[str, dict[Item, ItemAnswers]] = defaultdict(lambda: defaultdict(ItemAnswers))
    malformed: set[tuple[str, Item]] = set()
    for row, key in enumerate(keys):
        name, question = str(sets[row]), str(ids[row])
        answers = sets_of_answers[name][key]
        parents = [parent.strip() for parent in str(cells[row] or 0).split(",")]
        if not all(parent.isdecimal() for parent in parents):
            malformed.add((name, key))
        answers.parents[question] = [parent for parent in parents if parent != "0"]
        for judge, is_yes, was_answered in zip(judges, yes, answered, strict=True):
            answers.yes[judge][question] = marks[is_yes][row] == 1
            if marks[was_answered][row] != 1:
                answers.unparsed.add(judge)
    for name, key in malformed:
        sets_of_answers[name][key].parents = {}
    return sets_of_answers


def item_scores(
    answers: Mapping[Item, ItemAnswers], items: Sequence[Item], judge: str, rule: str, policy: str
) -> tuple[list[float | None], list[str]]:
    """Score in [0, 1] and status of each item: the mean over its questions under a rule of `RULES`.

    What happens to an item without questions (status skipped) and to one with an answer that was not understood
    (unparsable) is said by a policy of `POLICIES`; an item without a score has None.
    """
    for name, known in ((rule, RULES), (policy, POLICIES)):
        if name not in known:
            raise UserError(f"There is no rule or policy '{name}'", "", f"Use one of {', '.join(known)}")
    scores: list[float | None] = []
    statuses: list[str] = []
    for item in items:
        own = answers.get(item)
        status, score = _item_score(own, judge, rule)
        if policy == "dsg_published":
            status, score = Status.OK, score or 0.0
        elif policy == "unscored_excluded" and status is Status.UNPARSABLE:
            status = Status.OK
        scores.append(score if status is Status.OK else None)
        statuses.append(str(status))
    return scores, statuses


def _item_score(own: ItemAnswers | None, judge: str, rule: str) -> tuple[Status, float | None]:
    if own is None:
        return Status.SKIPPED, None
    matches = own.yes[judge]
    scores = dependency_scores(matches, own.parents if rule != "own_answers" else {})
    if rule == "drop":
        orphans = {q for q, parents in own.parents.items() if not all(matches.get(p, True) for p in parents)}
        scores = {question: score for question, score in scores.items() if question not in orphans}
    status = Status.UNPARSABLE if judge in own.unparsed else Status.OK
    return status, sum(scores.values()) / len(scores)
