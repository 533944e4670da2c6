"""What a meta-evaluation says: typed rows, and how they become JSON, Markdown and a table on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..records import write_atomic
from ..stats.resampling import Interval

Cells = list[list[str]]


@dataclass(frozen=True)
class Figure:
    """One coefficient of a row: value, two-sided p-value and 95% interval, each None where it does not exist."""

    value: float | None
    p: float | None = None
    ci: Interval | None = None


@dataclass(frozen=True)
class MetaRow:
    """One judge against one standard inside one group.

    prediction: the judge's column, None for the ceiling. against: a rater's column, "mean" (of the ratings each item
    has) or "ceiling" (each rater against the mean of the others, averaged). by: group column -> value; in an average
    over groups every value is "average:RULE". n: items with both values; n_missing: the group's other items.
    figures: spearman, kendall_tau_b, pearson. n_failed: items without a usable prediction, by status.
    """

    prediction: str | None
    against: str
    by: dict[str, Any]
    n: int
    n_missing: int
    figures: dict[str, Figure]
    undefined: str | None
    n_failed: dict[str, int] = field(default_factory=dict)

    @property
    def coverage(self) -> float | None:
        """Share of the group's items that the figures stand on."""
        items = self.n + self.n_missing
        return self.n / items if items else None

    def to_json(self) -> dict[str, Any]:
        """Flat record: spearman, spearman_p, spearman_ci and so on."""
        record: dict[str, Any] = {"prediction": self.prediction, "against": self.against, "by": self.by}
        record |= {"n": self.n, "n_missing": self.n_missing, "coverage": self.coverage}
        record |= {name: figure.value for name, figure in self.figures.items()}
        record |= {f"{name}_p": figure.p for name, figure in self.figures.items()}
        record |= {f"{name}_ci": list(figure.ci) if figure.ci else None for name, figure in self.figures.items()}
        return record | {"undefined": self.undefined, "n_failed": self.n_failed}


@dataclass(frozen=True)
class AgreementRow:
    """How far the raters agree inside one group; n_items counts the items with two or more ratings.

    percent_agreement is a share in [0, 1]; fleiss_kappa stands on n_items_complete, the items that every rater rated.
    """

    by: dict[str, Any]
    n_items: int
    n_items_complete: int
    n_raters: int
    fleiss_kappa: float | None
    krippendorff_alpha: dict[str, float | None]
    percent_agreement: float | None
    undefined: str | None


@dataclass(frozen=True)
class VoteRow:
    """Accuracies of one judge's verdicts inside one group (`agreement.VoteAccuracy`); None names no judge."""

    prediction: str | None
    by: dict[str, Any]
    n: int
    four_class_accuracy: float | None
    pairwise_accuracy_decided: float | None
    n_decided: int
    majority_class_accuracy: float | None
    n_unparsed: int


@dataclass(frozen=True)
class MetaEvaluation:
    """Rows of figures, the raters' agreement, accuracies on votes, and warnings; `print` shows the tables."""

    rows: list[MetaRow]
    agreement: list[AgreementRow]
    votes: list[VoteRow]
    warnings: list[str]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; undefined figures are null."""
        return {
            "rows": [row.to_json() for row in self.rows],
            "agreement": [asdict(row) for row in self.agreement],
            "votes": [asdict(row) for row in self.votes],
            "warnings": self.warnings,
        }

    def to_markdown(self) -> str:
        """The tables as Markdown, a title before each, warnings last."""
        parts = [f"**{title}**\n\n{_markdown(cells)}" for title, cells in self._tables()]
        return "\n\n".join([*parts, *(f"> {warning}" for warning in self.warnings)]) + "\n"

    def to_text(self) -> str:
        """The tables for a terminal or a log, columns aligned."""
        parts = [f"{title}\n{plain_table(cells)}" for title, cells in self._tables()]
        return "\n\n".join([*parts, "\n".join(f"warning: {warning}" for warning in self.warnings)]).rstrip()

    def __str__(self) -> str:
        return self.to_text()

    def _tables(self) -> list[tuple[str, Cells]]:
        built = [
            ("Judges against people [95% interval]", _rows_table(self.rows)),
            ("Agreement among raters", _agreement_table(self.agreement)),
            ("Verdicts against votes", _votes_table(self.votes)),
        ]
        return [(title, cells) for title, cells in built if len(cells) > 1]


def _rows_table(rows: Sequence[MetaRow]) -> Cells:
    groups = list(rows[0].by) if rows else []
    header = ["judge", "against", *groups, "n", "coverage", "Spearman", "Kendall tau-b", "Pearson", "note"]
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
        "; ".join(filter(None, [row.undefined, failed])),
    ]


def _agreement_table(rows: Sequence[AgreementRow]) -> Cells:
    groups = list(rows[0].by) if rows else []
    levels = list(rows[0].krippendorff_alpha) if rows else []
    header = [*groups, "items", "raters", "agreement", "Fleiss kappa", *(f"alpha {level}" for level in levels), "note"]
    return [
        header,
        *(
            [
                *(group_name(value) for value in row.by.values()),
                str(row.n_items),
                str(row.n_raters),
                percent(row.percent_agreement),
                number(row.fleiss_kappa),
                *(number(value) for value in row.krippendorff_alpha.values()),
                row.undefined or "",
            ]
            for row in rows
        ),
    ]


def _votes_table(rows: Sequence[VoteRow]) -> Cells:
    groups = list(rows[0].by) if rows else []
    header = ["judge", *groups, "pairs", "four-class", "commonest class", "preference, decided", "decided", "unparsed"]
    return [
        header,
        *(
            [
                row.prediction or "-",
                *(group_name(value) for value in row.by.values()),
                str(row.n),
                percent(row.four_class_accuracy),
                percent(row.majority_class_accuracy),
                percent(row.pairwise_accuracy_decided),
                str(row.n_decided),
                str(row.n_unparsed),
            ]
            for row in rows
        ),
    ]


def number(value: float | None) -> str:
    """Three decimals, or a dash for what is undefined."""
    return "-" if value is None else f"{value:.3f}"


def percent(value: float | None) -> str:
    """A share as per cent with two decimals, or a dash."""
    return "-" if value is None else f"{100 * value:.2f}%"


def figure_text(figure: Figure) -> str:
    """Value and interval: .571 [.503, .632]."""
    if figure.value is None or figure.ci is None:
        return number(figure.value)
    return f"{figure.value:.3f} [{figure.ci[0]:.3f}, {figure.ci[1]:.3f}]"


def write_report(path: str | Path, text: str) -> None:
    """Write a file that the user named. Raises `UserError` where that cannot be done."""
    try:
        write_atomic(path, text)
    except OSError as error:
        raise UserError(f"cannot write {path}", str(error), "name a file in a folder that can be written") from error


def group_name(value: Any) -> str:
    """The name of a group; items whose cell is blank are a group of their own."""
    return "(blank)" if value is None else str(value)


def plain_table(cells: Cells) -> str:
    """Aligned columns under a ruled header; a first column of words is left aligned, like every text column."""
    cells = [[_one_line(cell) for cell in row] for row in cells]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    rule = ["-" * width for width in widths]
    return "\n".join(
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in [cells[0], rule, *cells[1:]]
    )


def _one_line(cell: str) -> str:
    """Names from a table are data: no line break and no control character of theirs reaches a terminal."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in " ".join(cell.split()))


def _markdown(cells: Cells) -> str:
    escaped = [[_one_line(cell).replace("|", "\\|") for cell in row] for row in cells]
    rows = [escaped[0], ["---"] * len(escaped[0]), *escaped[1:]]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
