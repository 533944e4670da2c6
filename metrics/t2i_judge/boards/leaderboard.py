"""The board: means with intervals, paired decisions between generators, and ranks that show what is undecided.

The unit is the prompt. Every pair of generators is compared by a paired t-test on the prompts for which both have
scores. The p-values of all pairs are adjusted together (Holm 1979). A pair is decided if its adjusted p-value is below
.05 and failures, counted against the better one, could not reverse it. Intervals cover the choice of prompts, not the
judge's own error.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..records import OVERALL, Status
from ..stats.coefficients import Floats, kendall_tau_b
from ..stats.paired import (
    ALPHA,
    MOST_UNITS,
    TIED,
    detectable,
    levelled,
    mean_interval,
    paired_difference,
    sign_flip_p,
    units_needed,
)
from ..stats.resampling import holm
from ..wording import counted
from .scores import Scores

Row = dict[str, Any]
MINIMUM_PROMPTS = 10  # common prompts below which nothing is decided
FAILURE_GAP = 0.05  # a difference of failure rates worth a warning
COVERS = "Intervals cover the choice of prompts, not the judge's own error."


def leaderboard(scores: Scores, detect: float | None = None) -> Row:
    """The board of one judge as JSON: generators, pairs, detectable, warnings (see `leaderboard.json` in README).

    Args:
        scores: what was judged.
        detect: also say how many prompts it takes to find a difference of this size (80% power, alpha .05, the median
            SD of the pairs).
    """
    pairs = _pairs(scores)
    board: Row = {
        "generators": [_generator(scores, row, pairs) for row in range(len(scores.generators))],
        "pairs": pairs,
        "bradley_terry": None,
        **_power(pairs, detect),
        "warnings": _warnings(scores, pairs),
    }
    for pair in pairs:
        del pair["sd"]
    return board


def _generator(scores: Scores, row: int, pairs: Sequence[Row]) -> Row:
    name = scores.generators[row]
    statuses, missing = scores.statuses(name), scores.missing(name)
    items = sum(statuses.values())
    n = statuses.pop(Status.OK.value, 0)
    decided = [pair for pair in pairs if pair["decided"] and name in (pair["a"], pair["b"])]
    better = sum((pair["difference"] > 0) == (pair["b"] == name) for pair in decided)
    return {
        "name": name,
        "n": n,
        "n_failed": dict(sorted(statuses.items())),
        "coverage": n / items if items else None,
        "missing": len(missing),
        "missing_prompts": missing,
        "overall": _mean(scores.overall[row]),
        "aspects": {aspect: _mean(scores.aspect(aspect)[row]) for aspect in scores.aspects},
        "categories": {c: _mean(scores.overall[row][columns]) for c, columns in scores.categories.items()},
        "question_types": {kind: _mean(scores.question_type(kind)[row]) for kind in scores.types},
        "rank": [1 + better, len(scores.generators) - (len(decided) - better)],
        "spread": None,
    }


def _mean(values: Floats) -> Row:
    """Mean over prompts, its unadjusted 95% interval, and the number of prompts; None without prompts."""
    known = values[~np.isnan(values)]
    interval = mean_interval(known)
    return {
        "mean": float(known.mean()) if len(known) else None,
        "ci": list(interval) if interval else None,
        "n": len(known),
    }


def _pairs(scores: Scores) -> list[Row]:
    """Every two generators in the order given, with adjusted p-values, decisions and reasons."""
    numbers = list(itertools.combinations(range(len(scores.generators)), 2))
    overall, (low, high) = scores.overall, scores.score_range
    worst, best = scores.filled(low), scores.filled(high)
    differences = np.stack([overall[a] - overall[b] for a, b in numbers], axis=1) if numbers else np.empty((0, 0))
    permuted = sign_flip_p(differences) if numbers else ()
    rows: list[Row] = []
    for (a, b), p_permutation in zip(numbers, permuted):
        difference = paired_difference(overall[a], overall[b])
        enough = difference.n >= MINIMUM_PROMPTS
        rows.append(
            {
                "a": scores.generators[a],
                "b": scores.generators[b],
                "n": difference.n,
                "difference": difference.difference,
                "ci": list(difference.ci) if difference.ci else None,
                "bounds": _bounds(worst[a] - best[b], best[a] - worst[b]),
                "p": difference.p if enough else None,
                "p_permutation": float(p_permutation) if enough else None,
                "wins": difference.wins,
                "ties": difference.ties,
                "losses": difference.losses,
                "sd": difference.sd,
            }
        )
    p_values: list[float | None] = [row["p"] for row in rows]
    for row, adjusted in zip(rows, holm(p_values)):
        row["p_holm"] = adjusted
        row["reason"] = _undecided(row)
        row["decided"] = row["reason"] is None
    return rows


def _bounds(lowest: Floats, highest: Floats) -> list[float] | None:
    """Mean difference over all common prompts, with the failures counted as badly as possible for each side.

    None without common prompts, or where one failed and the judge's range is unknown.
    """
    known = ~np.isnan(lowest)
    bounds = [float(side[known].mean()) for side in (lowest, highest)] if known.any() else [np.inf]
    return bounds if np.isfinite(bounds).all() else None


def _undecided(pair: Row) -> str | None:
    """Why a pair is not decided; None if it is."""
    if pair["n"] < MINIMUM_PROMPTS:
        return f"{counted(pair['n'], 'common prompt')}; at least {MINIMUM_PROMPTS} are needed"
    if abs(pair["difference"]) <= TIED:
        return "no difference on average"
    if pair["p_holm"] is None or pair["p_holm"] >= ALPHA:
        return f"the difference could be chance (adjusted p = {pair['p_holm']:.3f})"
    if pair["bounds"] is None:
        return "failed images could reverse it (the judge's lowest and highest score are not known)"
    low, high = pair["bounds"]
    if (low if pair["difference"] > 0 else -high) <= 0:
        return f"failed images could reverse it (the difference is between {low:.2f} and {high:.2f})"
    return None


def _power(pairs: Sequence[Row], detect: float | None) -> Row:
    """Which differences this board can find, from the median SD and number of prompts of its pairs."""
    known = [(pair["sd"], pair["n"]) for pair in pairs if pair["sd"] is not None]
    if not known:
        return {"detectable": None, **({"prompts_needed": None} if detect is not None else {})}
    sd, n = float(np.median([sd for sd, _ in known])), int(np.median([n for _, n in known]))
    figures: Row = {"detectable": detectable(sd, n)}
    if detect is not None:
        figures["prompts_needed"] = units_needed(detect, sd) if sd > 0 else 2
    return figures


def ranked(board: Mapping[str, Any]) -> list[Row]:
    """The board's generators, the best first; those without a score last."""
    means = {g["name"]: g[OVERALL]["mean"] for g in board["generators"]}
    return sorted(board["generators"], key=lambda g: (means[g["name"]] is None, g["rank"], -(means[g["name"]] or 0)))


def needed(board: Mapping[str, Any]) -> str:
    """How many prompts the difference of --detect needs, as a sentence; nothing if that was not asked."""
    if "prompts_needed" not in board or board["detectable"] is None:
        return ""
    found = board["prompts_needed"]
    prompts = f"more than {MOST_UNITS:,} prompts" if found is None else counted(found, "prompt", form=",")
    return f"A difference of --detect needs {prompts}."


def _warnings(scores: Scores, pairs: Sequence[Row]) -> list[str]:
    """Warn if failures differ between generators, and if the tests disagree."""
    warnings = _failing(scores)
    for pair in pairs:
        if pair["decided"] and pair["p_permutation"] > ALPHA:
            warnings.append(f"{pair['a']} and {pair['b']}: the permutation test does not confirm it")
    return warnings


def _failing(scores: Scores) -> list[str]:
    """A line for each generator that fails clearly more often than the one that fails least."""
    counts = {
        name: (statuses.total() - statuses[Status.OK.value], statuses.total())
        for name, statuses in ((name, scores.statuses(name)) for name in scores.generators)
        if statuses
    }
    if not counts:
        return []
    least = min(counts, key=lambda name: counts[name][0] / counts[name][1])
    fewest, of = counts[least]
    warnings = []
    for name, (failed, n) in counts.items():
        if failed / n - fewest / of >= FAILURE_GAP:
            chance = "" if _differ(failed, n, fewest, of) else " (this could be chance)"
            shares = f"{failed / n:.1%} against {fewest / of:.1%}"
            warnings.append(f"{name} fails more often than {least}: {shares}{chance}")
    return warnings


def _differ(failed_a: int, n_a: int, failed_b: int, n_b: int) -> bool:
    """Whether two failure rates differ by more than chance (Fisher's exact test)."""
    from scipy import stats

    p = stats.fisher_exact([[failed_a, n_a - failed_a], [failed_b, n_b - failed_b]]).pvalue
    return bool(p < ALPHA)


def ordered(scores: Scores, draws: int = 2000, seed: int = 0) -> Row:
    """Checkpoints in the given order: their curve, and the best one, with an interval that corrects for selecting it.

    Each resample of the prompts selects its own best; the interval is the observed mean less the quantiles of how far a
    selected best lies above its value on all prompts (the basic bootstrap, selection inside: Efron & Tibshirani 1993,
    chapter 13; Efron 2014 on selection). Only prompts that every checkpoint has a score for count.
    """
    complete = scores.overall[:, ~np.isnan(scores.overall).any(axis=0)]
    curve = [{"name": name, **_mean(row)} for name, row in zip(scores.generators, scores.overall)]
    if complete.shape[1] < 2:
        reason = "fewer than 2 common prompts"
        return {"best": None, "mean": None, "ci": None, "n": complete.shape[1], "reason": reason, "curve": curve}
    means = complete.mean(axis=1)
    best = int(means.argmax())
    rng = np.random.default_rng(seed)
    prompts = complete.shape[1]
    weights = rng.multinomial(prompts, np.full(prompts, 1 / prompts), size=draws) / prompts
    resampled = weights @ complete.T
    selected = resampled.argmax(axis=1)
    errors = resampled[np.arange(draws), selected] - means[selected]
    low, high = np.quantile(errors, [0.025, 0.975])
    return {
        "best": scores.generators[best],
        "mean": float(means[best]),
        "ci": [float(means[best] - high), float(means[best] - low)],
        "n": prompts,
        "reason": None,
        "curve": curve,
    }


def surely_below(scores: Scores) -> dict[str, float | None]:
    """Generator -> one-sided upper bound of its mean, at 95% for all generators together (Bonferroni).

    A check that fails if a bound lies below a threshold fails by chance in at most one of 20 runs. None with fewer than
    two prompts.
    """
    level = 1 - 2 * ALPHA / max(1, len(scores.generators))
    bounds: dict[str, float | None] = {}
    for name, row in zip(scores.generators, scores.overall):
        interval = mean_interval(row[~np.isnan(row)], level)
        bounds[name] = interval[1] if interval else None
    return bounds


def against(pairs: Sequence[Row], generators: Sequence[str]) -> list[Row]:
    """For each checkpoint but the first: what was decided against the first and the one before it."""
    by_names = {(pair["a"], pair["b"]): pair for pair in pairs}
    rows = []
    for number, name in enumerate(generators[1:], 1):
        row: Row = {"name": name}
        for word, other in (("first", generators[0]), ("previous", generators[number - 1])):
            pair = by_names[other, name]  # pairs stand in the order of the generators
            difference = None if pair["difference"] is None else -pair["difference"]
            row[word] = {"difference": difference, "p_holm": pair["p_holm"], "decided": pair["decided"]}
        rows.append(row)
    return rows


def agreement(boards: Sequence[Mapping[str, Any]]) -> Row:
    """How far the other judges agree with the first on the generators' order: Kendall's tau-b of their means."""
    order = [{g["name"]: g[OVERALL]["mean"] for g in board["generators"]} for board in boards]
    taus = []
    for other in order[1:]:
        names = [name for name, mean in order[0].items() if mean is not None and other.get(name) is not None]
        taus.append(kendall_tau_b(*(levelled([means[n] for n in names]) for means in (order[0], other))).value)
    known = [tau for tau in taus if tau is not None]
    return {"kendall_tau_b": min(known) if known else None, "by_judge": taus}
