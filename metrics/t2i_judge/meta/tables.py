"""A meta-evaluation as titled tables of text, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..layout import one_line, plain_table
from ..stats.coefficients import COEFFICIENTS
from .items import CEILING, MEAN
from .report import (
    AgreementRow,
    CandidateRow,
    Cells,
    ComparisonRow,
    MetaRow,
    PairRow,
    SystemRow,
    VoteRow,
    figure_text,
    group_name,
    number,
    percent,
    share_text,
)

_COEFFICIENTS = ["Spearman", "Kendall tau-b", "Pearson"]
_AVERAGE = "average:"


@dataclass(frozen=True)
class MetaEvaluation:
    """What was measured, and warnings; `print` shows the tables.

    rows: judges against people. agreement: of the raters in each group; agreement_overall: without groups, where there
    are some. votes, pairs, candidates: verdicts, scored pairs, choices among K. systems: generators. comparisons: judge
    against judge. sampling: how the intervals were made (`sampling.Design`); in words: `footnote`.
    """

    rows: list[MetaRow]
    agreement: list[AgreementRow]
    votes: list[VoteRow]
    warnings: list[str]
    pairs: list[PairRow] = field(default_factory=list)
    candidates: list[CandidateRow] = field(default_factory=list)
    systems: list[SystemRow] = field(default_factory=list)
    comparisons: list[ComparisonRow] = field(default_factory=list)
    agreement_overall: AgreementRow | None = None
    sampling: dict[str, Any] = field(default_factory=dict)
    footnote: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; undefined figures are null."""
        return {
            "rows": [row.to_json() for row in self.rows],
            "agreement": [row.to_json() for row in self.agreement],
            "agreement_overall": self.agreement_overall.to_json() if self.agreement_overall else None,
            "votes": [asdict(row) for row in self.votes],
            "pairs": [row.to_json() for row in self.pairs],
            "candidates": [row.to_json() for row in self.candidates],
            "systems": [row.to_json() for row in self.systems],
            "comparisons": [asdict(row) for row in self.comparisons],
            "sampling": self.sampling,
            "warnings": self.warnings,
        }

    def to_markdown(self, averages_only: bool = False) -> str:
        """The tables as Markdown, a title before each, then how intervals were made, warnings last."""
        parts = [f"**{title}**\n\n{_markdown(cells)}" for title, cells in self.tables(averages_only)]
        footnote = [self.footnote] if self.footnote else []
        return "\n\n".join([*parts, *footnote, *(f"> {one_line(warning)}" for warning in self.warnings)]) + "\n"

    def to_text(self, averages_only: bool = False, width: int | None = None) -> str:
        """The tables for a terminal or a log, no wider than `width`, then how intervals were made, then warnings."""
        parts = [f"{title}\n{_as_text(cells, width)}" for title, cells in self.tables(averages_only)]
        footnote = [self.footnote] if self.footnote else []
        warnings = "\n".join(f"warning: {one_line(warning)}" for warning in self.warnings)
        return "\n\n".join([*parts, *footnote, warnings]).rstrip()

    def __str__(self) -> str:
        return self.to_text()

    def tables(self, averages_only: bool = False) -> list[tuple[str, Cells]]:
        """Titles and cells, a header first; tables without a row are left out.

        One rater is shown once: a mean of one is that rater's column, and there is no ceiling. With `averages_only`,
        rows of averages only, and the raters' agreement on all items.
        """
        rows, agreement = _shown(self.rows), self.agreement
        if averages_only:
            rows = [row for row in rows if any(str(value).startswith(_AVERAGE) for value in row.by.values())]
            agreement = [self.agreement_overall] if self.agreement_overall else []
        built = [
            ("Judges against people [95% interval]", _rows_table(rows)),
            ("Systems: judges against people", _systems_table(self.systems)),
            ("Judge against judge", _comparisons_table(self.comparisons)),
            ("Agreement among raters", _agreement_table(agreement)),
            ("Verdicts against votes", _votes_table(self.votes)),
            ("Scores of both images against votes", _pairs_table(self.pairs)),
            ("The best of K images", _candidates_table(self.candidates)),
        ]
        return [(title, cells) for title, cells in built if len(cells) > 1]


def _shown(rows: Sequence[MetaRow]) -> Sequence[MetaRow]:
    raters = {row.against for row in rows} - {MEAN, CEILING}
    return [row for row in rows if row.against in raters] if len(raters) == 1 else rows


def _note(*parts: str | None) -> str:
    return "; ".join(filter(None, parts))


def _rows_table(rows: Sequence[MetaRow]) -> Cells:
    groups = list(rows[0].by) if rows else []
    header = ["judge", "against", *groups, "n", "coverage", *_COEFFICIENTS, "note"]
    return [header, *(_row_cells(row) for row in rows)]


def _row_cells(row: MetaRow) -> list[str]:
    failed = ", ".join(f"{count} {status}" for status, count in row.n_failed.items())
    return [
        row.prediction or "people",
        row.against,
        *(group_name(value) for value in row.by.values()),
        str(row.n),
        percent(row.coverage),
        *(figure_text(figure) for figure in row.figures.values()),
        _note(row.undefined, row.note, failed),
    ]


def _agreement_table(rows: Sequence[AgreementRow]) -> Cells:
    groups = list(rows[0].by) if rows else []
    levels = list(rows[0].krippendorff_alpha) if rows else []
    ceiling = [f"ceiling {name}" for name in _COEFFICIENTS]
    header = [*groups, "items", "raters", "agreement", "Fleiss kappa", *(f"alpha {level}" for level in levels)]
    cells = [[*header, *ceiling, "note"]]
    for row in rows:
        figures = [figure_text(row.ceiling[name]) if name in row.ceiling else "-" for name in COEFFICIENTS]
        alphas = [number(value) for value in row.krippendorff_alpha.values()]
        counts = [str(row.n_items), str(row.n_raters), percent(row.percent_agreement), number(row.fleiss_kappa)]
        cells.append([*map(group_name, row.by.values()), *counts, *alphas, *figures, _note(row.undefined, row.note)])
    return cells


def _votes_table(rows: Sequence[VoteRow]) -> Cells:
    groups = list(rows[0].by) if rows else []
    header = ["judge", *groups, "pairs", "four-class", "commonest class", "preference, decided", "decided", "unparsed"]
    return [
        [*header, "note"],
        *(
            [
                row.prediction or "-",
                *(group_name(value) for value in row.by.values()),
                str(row.n),
                share_text(row.four_class_accuracy, row.four_class_accuracy_ci),
                percent(row.majority_class_accuracy),
                share_text(row.pairwise_accuracy_decided, row.pairwise_accuracy_decided_ci),
                str(row.n_decided),
                str(row.n_unparsed),
                row.note or "",
            ]
            for row in rows
        ),
    ]


def _pairs_table(rows: Sequence[PairRow]) -> Cells:
    groups = list(rows[0].by) if rows else []
    names = {
        "pairwise_accuracy": "preference, decided",
        "accuracy_with_ties": "with ties",
        "tie_calibrated_accuracy": "tie-calibrated",
        "cross_fitted_accuracy": "cross-fitted",
    }
    header = ["judge", *groups, "pairs", "decided", *names.values(), "threshold", "equal scores", "missing", "note"]
    cells = [header]
    for row in rows:
        shares = [share_text(row.figures.get(name), row.intervals.get(name)) for name in names]
        counts = [number(row.threshold), str(row.n_equal_scores), str(row.n_missing)]
        by = map(group_name, row.by.values())
        cells.append([row.prediction, *by, str(row.n), str(row.n_decided), *shares, *counts, row.note or ""])
    return cells


def _candidates_table(rows: Sequence[CandidateRow]) -> Cells:
    cells = [["judge", "K", "sets", "best of K", "counted", "chance", "whole order", "counted", "note"]]
    for row in rows:
        shares = {name: share_text(row.figures[name], row.intervals.get(name)) for name in row.figures}
        best = [shares["best_of_k_accuracy"], str(row.n["best_of_k_accuracy"]), percent(1 / row.k)]
        order = [shares["order_accuracy"], str(row.n["order_accuracy"])]
        cells.append([row.prediction, str(row.k), str(row.n_sets), *best, *order, row.note or ""])
    return cells


def _systems_table(rows: Sequence[SystemRow]) -> Cells:
    cells = [["judge", "systems", "items", *_COEFFICIENTS, "soft pairwise accuracy", "note"]]
    for row in rows:
        soft = share_text(row.soft_pairwise_accuracy, row.soft_pairwise_accuracy_ci)
        figures = [figure_text(figure) for figure in row.figures.values()]
        cells.append([row.prediction, str(row.n_systems), str(row.n), *figures, soft, _note(row.undefined, row.note)])
    return cells


def _comparisons_table(rows: Sequence[ComparisonRow]) -> Cells:
    tests = ("bootstrap", "permutation", "williams")
    cells = [["judge", "minus", "coefficient", "n", "difference", *(f"p {t} (Holm)" for t in tests), "note"]]
    for row in rows:
        difference = number(row.difference)
        difference += f" [{row.ci[0]:.3f}, {row.ci[1]:.3f}]" if row.ci else ""
        p = [_p_text(row.p[test], row.p_holm.get(test)) for test in tests]
        cells.append([row.a, row.b, row.coefficient, str(row.n), difference, *p, _note(row.undefined, row.note)])
    return cells


def _p_text(p: float | None, adjusted: float | None) -> str:
    return "-" if p is None or adjusted is None else f"{p:.4f} ({adjusted:.4f})"


def _as_text(cells: Cells, width: int | None) -> str:
    """A table for a terminal; a note that all of its rows have stands once, below it."""
    notes = {row[-1] for row in cells[1:]}
    if len(cells) < 3 or cells[0][-1] != "note" or len(notes) > 1 or notes == {""}:
        return plain_table(cells, width)
    return f"{plain_table([row[:-1] for row in cells], width)}\nnote: {one_line(notes.pop())}"


def _markdown(cells: Cells) -> str:
    escaped = [[one_line(cell).replace("|", "\\|") for cell in row] for row in cells]
    rows = [escaped[0], ["---"] * len(escaped[0]), *escaped[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
