"""Finds the questions on which two generators differ most.

A question's score counts as it does in the judgement (0 if the thing it asks about is missing); seeds are averaged. The
differences of a question that is asked for several prompts are added, because that sum is its share of the whole.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...records import Answer, Status, question_from_json
from ...scoring import question_scores
from ...stats.coefficients import Floats
from ..scores import question_type

Row = dict[str, Any]
EXAMPLES = 3  # prompts shown for a question
_ROWS = 6_000  # questions over all pairs of generators
_MOST, _LEAST = 12, 3  # questions per pair


class Asked:
    """Every question that was asked about a prompt, with its mean score for each generator."""

    def __init__(self, generators: Sequence[str]) -> None:
        self._row = {name: number for number, name in enumerate(generators)}
        self._scores: dict[tuple[int, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        self._aspects: dict[str, str] = {}

    def add(self, generator: str, prompt: int, judgement: Mapping[str, Any]) -> None:
        """Count the answers of one judged image; `prompt` is its number."""
        if judgement["status"] != Status.OK.value:
            return
        for text, aspect, score in scored_questions(judgement):
            if score is not None:
                self._scores[prompt, text][self._row[generator]].append(score)
                self._aspects[text] = aspect

    def deciding(self, shown: set[int]) -> list[Row]:
        """For every two generators, in their order, the questions that contribute most to their difference.

        Args:
            shown: prompts whose pictures are on the page. They come first as examples.

        Returns:
            a row per pair: a, b (generators' numbers), questions: text, aspect, kind, n prompts, mean difference a - b,
            examples (numbers of prompts).
        """
        keys = list(self._scores)
        names = list(self._aspects)
        of = {text: number for number, text in enumerate(names)}
        places = np.asarray([of[text] for _, text in keys], dtype=int)
        table = np.full((len(keys), len(self._row)), np.nan)
        for number, key in enumerate(keys):
            for generator, scores in self._scores[key].items():
                table[number, generator] = sum(scores) / len(scores)
        pairs = list(itertools.combinations(range(len(self._row)), 2))
        most = max(_LEAST, min(_MOST, _ROWS // max(1, len(pairs))))
        prompts = np.asarray([prompt for prompt, _ in keys], dtype=int)
        visible = np.asarray([prompt in shown for prompt, _ in keys], dtype=bool)
        rows = []
        for a, b in pairs:
            largest = self._largest(table[:, a] - table[:, b], places, prompts, visible)
            rows.append({"a": a, "b": b, "questions": list(itertools.islice(largest, most))})
        return rows

    def _largest(self, differences: Floats, places: Any, prompts: Any, visible: Any) -> Iterator[Row]:
        """Questions of one pair, those that contribute most to its difference first."""
        names = list(self._aspects)
        known = ~np.isnan(differences)
        sums = np.bincount(places[known], differences[known], len(names))
        counts = np.bincount(places[known], minlength=len(names))
        for number in np.argsort(-np.abs(sums), kind="stable"):
            if not counts[number] or abs(sums[number]) < 1e-9:
                return
            here = np.flatnonzero(known & (places == number))
            agreeing = differences[here] * np.sign(sums[number])
            examples = here[np.lexsort((-agreeing, ~visible[here]))][:EXAMPLES]
            text = names[number]
            yield {
                "text": text,
                "aspect": self._aspects[text],
                "kind": question_type(text, self._aspects[text]),
                "n": int(counts[number]),
                "difference": float(sums[number] / counts[number]),
                "examples": [int(prompt) for prompt in prompts[examples]],
            }


def scored_questions(judgement: Mapping[str, Any]) -> Iterator[tuple[str, str, float | None]]:
    """(text, aspect, score as it counts) of each question of a judgement."""
    questions = [question_from_json(question) for question in judgement.get("questions") or ()]
    answers = [
        Answer(a["question_id"], a["text"], a["matches"], a["score"], status=Status(a["status"]), reason=a["reason"])
        for a in judgement.get("answers") or ()
    ]
    scores = question_scores(questions, answers)
    yield from ((question.text, question.aspect, scores[question.id]) for question in questions)
