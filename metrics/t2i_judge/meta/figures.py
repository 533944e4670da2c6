"""What one published figure is computed from, and the computing (`rules` has the grammar)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..stats.agreement import (
    ALPHA_LEVELS,
    fleiss_kappa,
    human_ceiling,
    krippendorff_alpha,
    leave_one_out,
    percent_agreement,
    rater_mean,
)
from ..stats.coefficients import COEFFICIENTS, Coefficient, Floats, average, rows_by_group
from ..stats.preferences import ScoredPairs, parse_vote, vote_accuracy
from .data import HUMAN_MEAN, Data
from .rules import FIGURES, Rules, filled

P_VALUE, CEILING = "_p", "ceiling_"
_VERDICTS, _PAIRS = "four_class_accuracy", ("pairwise_accuracy", "accuracy_with_ties", "tie_calibrated_accuracy")
_MOMENTS: dict[str, Callable[[Floats], Any]] = {"mean": np.mean, "sum": np.sum, "count": len}
_DISTINCT = "distinct"


def _raters_std(ratings: Floats) -> Coefficient:
    """Standard deviation, over n, of the raters' own means: how ImagenHub states the spread of a mean."""
    return Coefficient(float(np.std(np.nanmean(ratings, axis=0))), len(ratings))


_AGREEMENT: dict[str, Callable[[Floats], Coefficient]] = {
    "fleiss_kappa": fleiss_kappa,
    "percent_agreement": percent_agreement,
    "raters_std": _raters_std,
    **{f"alpha_{level}": partial(krippendorff_alpha, level=level) for level in ALPHA_LEVELS},
    **{CEILING + name: partial(human_ceiling, coefficient=c) for name, c in COEFFICIENTS.items()},
}


def _footrule(x: Floats, y: Floats) -> Coefficient:
    """Spearman's footrule: the sum of |difference of ranks|, 0 for one order."""
    from scipy import stats

    return Coefficient(float(np.abs(stats.rankdata(x) - stats.rankdata(y)).sum()), len(x))


_SYSTEMS = {f"system_{name}": compute for name, compute in (*COEFFICIENTS.items(), ("footrule", _footrule))}
COMPUTED = (
    *COEFFICIENTS, *(name + P_VALUE for name in COEFFICIENTS), *_AGREEMENT, _VERDICTS, *_PAIRS, *_MOMENTS, *_SYSTEMS,
    _DISTINCT,
)  # fmt: skip


@dataclass(frozen=True)
class PublishedFigure:
    """A figure as a rule means it.

    columns: (prediction, standard); one for a mean, all raters for agreement, (score_a, score_b, votes) for pairs.
    over, rule, nested, digits: the average over groups, where it is one. ceiling: the rule over raters. systems: whose
    means are ranked.
    """

    how: str
    columns: tuple[str, ...]
    where: dict[str, str]
    over: tuple[str, ...] = ()
    rule: str = "mean"
    nested: bool = False
    digits: int | None = None
    ceiling: str = "mean"
    systems: str | None = None

    @classmethod
    def of(cls, rule: Mapping[str, Any], names: Mapping[str, str], spec: Rules) -> PublishedFigure:
        """The figure that a rule means once its placeholders stand for these names."""
        how = filled(rule["compute"], names)
        if how not in COMPUTED:
            raise UserError(f"{FIGURES} computes '{how}'", "There is no such figure", f"Use {', '.join(COMPUTED)}")
        where = {str(column): filled(value, names) for column, value in rule.get("where", {}).items()}
        averaged = rule.get("average", {})
        over = tuple(str(column) for column in averaged.get("over", ()))
        columns = [filled(column, names) for column in _columns(how, rule, spec)]
        return cls(
            how, tuple(columns), where, over, str(averaged.get("rule", "mean")), bool(averaged.get("nested")),
            averaged.get("digits"),
            rule.get("ceiling", "mean"), _systems(how, rule),
        )  # fmt: skip

    def value(self, data: Data) -> float | None:
        """The figure on these data, None where it is undefined."""
        levels = [self.over[: depth + 1] for depth in range(len(self.over))] if self.nested else [self.over]
        return self._averaged(data, data.rows(self.where), [level for level in levels if level])

    def _averaged(self, data: Data, rows: NDArray[np.intp], levels: Sequence[tuple[str, ...]]) -> float | None:
        """The figure of these rows; with levels, the average over the groups of the first of those of the others."""
        if not levels:
            return self._value(data, rows)
        labels = list(zip(*(data.main.labels(column) for column in levels[0]), strict=True))
        groups = rows_by_group([labels[row] for row in rows]).values()
        values = [self._averaged(data, rows[own], levels[1:]) for own in groups]
        if self.digits is not None:
            values = [None if value is None else round(value, self.digits) for value in values]
        if self.how in COEFFICIENTS or self.how.startswith(CEILING):
            return average([Coefficient(value, 0) for value in values], self.rule).value
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    def _value(self, data: Data, rows: NDArray[np.intp]) -> float | None:
        if self.how == _VERDICTS:
            verdicts, votes = ([data.main.column(name)[row] for row in rows] for name in self.columns)
            return _per_cent(vote_accuracy(verdicts, votes).four_class_accuracy)
        if self.how in _PAIRS:
            return _per_cent(_scored(data, self.columns, rows, self.how))
        if self.how == _DISTINCT:
            labels = data.main.labels(self.columns[0])
            return float(len({labels[row] for row in rows} - {None}))
        values = [data.numbers(name)[rows] for name in self.columns]
        if self.how in _SYSTEMS and self.systems:
            labels = data.main.labels(self.systems)
            return _of_means(values[0], values[1], [labels[row] for row in rows], _SYSTEMS[self.how]).value
        if self.how.startswith(CEILING) and self.ceiling != "mean":
            pairs = leave_one_out(np.column_stack(values))
            one = COEFFICIENTS[self.how.removeprefix(CEILING)]
            return average([one(own, others) for own, others in pairs], self.ceiling).value
        if self.how in _AGREEMENT:
            return _AGREEMENT[self.how](np.column_stack(values)).value if len(rows) else None
        if self.how in _MOMENTS:
            means = rater_mean(np.column_stack(values)) if len(values) > 1 else values[0]
            known = means[~np.isnan(means)]
            return float(_MOMENTS[self.how](known)) if len(known) else None
        coefficient = COEFFICIENTS[self.how.removesuffix(P_VALUE)](*values)
        return coefficient.p if self.how.endswith(P_VALUE) else coefficient.value


def _systems(how: str, rule: Mapping[str, Any]) -> str | None:
    """The column of systems. Raises `UserError` where a figure needs it and the rule does not name it."""
    if how in _SYSTEMS and "systems" not in rule:
        raise UserError(f"{FIGURES} computes '{how}'", "It does not name the systems", "Add systems: COLUMN")
    return rule.get("systems")


def _of_means(x: Floats, y: Floats, systems: Sequence[Any], compute: Callable[..., Coefficient]) -> Coefficient:
    """A figure of the systems' means, on the items that have both values."""
    both = ~np.isnan(x + y)
    groups = rows_by_group([system if kept else None for system, kept in zip(systems, both, strict=True)])
    members = [own for own in (rows[both[rows]] for rows in groups.values()) if len(own)]
    means = [np.asarray([column[own].mean() for own in members]) for column in (x, y)]
    return compute(*means) if len(members) > 1 else Coefficient(None, len(members), undefined="one system")


def _columns(how: str, rule: Mapping[str, Any], spec: Rules) -> Sequence[str]:
    """The columns that a figure of this kind stands on. Raises `UserError` where the rule does not name them."""
    if how in _AGREEMENT or (how in _MOMENTS and "raters" in rule):
        raters: Sequence[str] = rule.get("raters") or spec.get("raters") or []
        if not raters:
            raise UserError(f"{FIGURES} computes '{how}'", "It does not name the raters", "Add raters: [COLUMN, ...]")
        return [str(rater) for rater in raters]
    if how == _VERDICTS or how in _PAIRS:
        if "votes" not in spec:
            raise UserError(f"{FIGURES} computes '{how}'", "It does not name the column of votes", "Add votes: COLUMN")
        scores = rule.get("scores", [])
        if how in _PAIRS and len(scores) != 2:
            raise UserError(f"{FIGURES} computes '{how}'", "It does not name two scores", "Add scores: [A, B]")
        if how in _PAIRS:
            return [*map(str, scores), spec["votes"]]
    if how not in _MOMENTS and "prediction" not in rule:
        raise UserError(f"{FIGURES} computes '{how}'", "The rule does not name a prediction", "Add prediction: COLUMN")
    standard = spec["votes"] if how == _VERDICTS else rule.get("against", HUMAN_MEAN)
    if how in _MOMENTS or how == _DISTINCT:
        return [rule.get("prediction", standard)]
    return [rule["prediction"], standard]


def _scored(data: Data, columns: Sequence[str], rows: NDArray[np.intp], how: str) -> float | None:
    a, b = (data.numbers(name)[rows] for name in columns[:2])
    cells = data.main.column(columns[2])
    votes = [parse_vote(None if cells[row] is None else str(cells[row])) for row in rows]
    known = [place for place, vote in enumerate(votes) if vote is not None and not np.isnan(a[place] + b[place])]
    heard = [vote for place in known if (vote := votes[place]) is not None]
    if not known:
        return None
    pairs = ScoredPairs(a[known], b[known], heard, np.zeros(len(known), dtype=np.intp))
    value = float(pairs.figures(np.ones((len(known), 1)))[how][0])
    return None if np.isnan(value) else value


def _per_cent(share: float | None) -> float | None:
    return None if share is None else 100 * share
