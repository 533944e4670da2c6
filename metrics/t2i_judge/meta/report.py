"""The rows of a meta-evaluation, and how they become JSON, Markdown and tables for a terminal."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import check_atomic, write_atomic
from ..stats.resampling import Interval

Cells = list[list[str]]


@dataclass(frozen=True)
class Figure:
    """One coefficient of a row: value, two-sided p-value and 95% interval, each None if it does not exist."""

    value: float | None
    p: float | None = None
    ci: Interval | None = None


@dataclass(frozen=True)
class MetaRow:
    """One judge against one standard inside one group.

    prediction: the judge's column, None for the ceiling. against: a rater's column, "mean" (of the ratings each item
    has) or "ceiling" (each rater against the mean of the others, averaged). by: group column -> value; in an average
    over groups every value is "average:RULE". n: items with both values; n_missing: the group's other items.
    figures: spearman, kendall_tau_b, pearson. n_failed: items without a usable prediction, by status. unit, n_units,
    method: what the intervals resample, how many of them there are, and how; note: what to bear in mind.
    """

    prediction: str | None
    against: str
    by: dict[str, Any]
    n: int
    n_missing: int
    figures: dict[str, Figure]
    undefined: str | None
    n_failed: dict[str, int] = field(default_factory=dict)
    unit: str | None = None
    n_units: int | None = None
    method: str | None = None
    note: str | None = None

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
        record |= {"undefined": self.undefined, "n_failed": self.n_failed, "note": self.note}
        return record | {"interval": {"unit": self.unit, "n_units": self.n_units, "method": self.method}}


@dataclass(frozen=True)
class AgreementRow:
    """How far the raters agree inside one group; n_items counts the items with two or more ratings.

    percent_agreement is a share in [0, 1]; fleiss_kappa stands on n_items_complete, the items that every rater rated.
    ceiling: coefficient -> each rater against the mean of the others, averaged (`agreement.human_ceiling`).
    note: a warning about the ceiling's intervals.
    """

    by: dict[str, Any]
    n_items: int
    n_items_complete: int
    n_raters: int
    fleiss_kappa: float | None
    krippendorff_alpha: dict[str, float | None]
    percent_agreement: float | None
    undefined: str | None
    ceiling: dict[str, Figure] = field(default_factory=dict)
    note: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The fields, and each ceiling as value and interval."""
        ceiling = {name: {"value": figure.value, "ci": figure.ci} for name, figure in self.ceiling.items()}
        return {**asdict(self), "ceiling": ceiling}


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
    four_class_accuracy_ci: Interval | None = None
    pairwise_accuracy_decided_ci: Interval | None = None
    n_units: int | None = None
    note: str | None = None


@dataclass(frozen=True)
class PairRow:
    """A judge's scores of both images against votes inside one group (`preferences.ScoredPairs.figures`).

    n: pairs with a vote and both scores; n_missing: other pairs with a vote. threshold: fitted, in units of the score.
    """

    prediction: str
    by: dict[str, Any]
    n: int
    n_missing: int
    n_decided: int
    n_equal_scores: int
    figures: dict[str, float | None]
    intervals: dict[str, Interval | None]
    threshold: float | None
    n_units: int
    note: str | None

    def to_json(self) -> dict[str, Any]:
        """Flat record: pairwise_accuracy, pairwise_accuracy_ci and so on."""
        record = {name: value for name, value in asdict(self).items() if name not in ("figures", "intervals")}
        return record | self.figures | {f"{name}_ci": self.intervals.get(name) for name in self.figures}


@dataclass(frozen=True)
class CandidateRow:
    """A judge's choice among k images of one prompt (`preferences.best_hits`): shares in [0, 1] of the sets counted."""

    prediction: str
    k: int
    n_sets: int
    n: dict[str, int]
    figures: dict[str, float | None]
    intervals: dict[str, Interval | None]
    note: str | None

    def to_json(self) -> dict[str, Any]:
        """Flat record: best_of_k_accuracy, _ci, _n, and the same of order_accuracy; chance is 1/k."""
        record: dict[str, Any] = {"prediction": self.prediction, "k": self.k, "n_sets": self.n_sets}
        for name, value in self.figures.items():
            record |= {name: value, f"{name}_ci": self.intervals.get(name), f"{name}_n": self.n[name]}
        return record | {"chance": 1 / self.k, "note": self.note}


@dataclass(frozen=True)
class SystemRow:
    """A judge against people over n_systems systems, whose means stand on n items."""

    prediction: str
    n_systems: int
    n: int
    figures: dict[str, Figure]
    soft_pairwise_accuracy: float | None
    soft_pairwise_accuracy_ci: Interval | None
    undefined: str | None
    note: str | None

    def to_json(self) -> dict[str, Any]:
        """Flat record: spearman, spearman_p, spearman_ci and so on."""
        record = {name: value for name, value in asdict(self).items() if name != "figures"}
        for name, figure in self.figures.items():
            record |= {name: figure.value, f"{name}_p": figure.p, f"{name}_ci": figure.ci}
        return record


@dataclass(frozen=True)
class ComparisonRow:
    """Judge a minus judge b in one coefficient: difference in [-2, 2], interval, p-values by test and after Holm."""

    a: str
    b: str
    coefficient: str
    n: int
    difference: float | None
    ci: Interval | None
    p: dict[str, float | None]
    p_holm: dict[str, float | None]
    undefined: str | None
    note: str | None


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


def share_text(share: float | None, interval: Interval | None) -> str:
    """A share and its interval in per cent: 53.54% [50.27, 56.80]."""
    if share is None or interval is None:
        return percent(share)
    return f"{100 * share:.2f}% [{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]"


def write_report(path: str | Path, text: str) -> None:
    """Write a file that the user named, also /dev/stdout and the like. Raises `UserError` if that fails."""
    with _named(path):
        if Path(path).is_char_device() or Path(path).is_fifo():
            Path(path).write_text(text, encoding="utf-8")
        else:
            write_atomic(path, text)


def check_report(path: str | Path) -> None:
    """Raise `UserError` where `write_report` would: before the work is paid for whose report it will be."""
    with _named(path):
        if Path(path).is_dir():
            raise IsADirectoryError(errno.EISDIR, "It is a folder", str(path))
        if Path(path).is_file() or not Path(path).exists():
            check_atomic(path)


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)  # without the name of the temporary file
        raise UserError(f"Cannot write {path}", reason, "Name a file in a folder that you can write to") from error


def group_name(value: Any) -> str:
    """The name of a group; items whose cell is blank are a group of their own."""
    return "(blank)" if value is None else str(value)
