"""Turns scores before and after an attack into a verdict on it, and these into a verdict on the judge.

The unit is the prompt: shifts (after minus before) are averaged within it. A probe passes when its interval lies on the
sane side of its limit. It fails when the interval lies on the other side. A score that must not rise fails when it
surely rises (the interval is above 0) and its measured rise exceeds the limit. Intervals hold for all probes together
at 95% (Bonferroni), so that a sane judge is accused of anything in at most one of 20 selftests. Any other probe is
inconclusive and says how many prompts would decide it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from ...records import OVERALL, Judgement, Status, count_statuses
from ...stats.paired import ALPHA, mean_interval
from ...wording import counted
from .attacks import DOES_NOT_RISE, FALLS, STAYS, Attack

ProbeVerdict = Literal["pass", "fail", "inconclusive", "not applicable"]
Verdict = Literal["TRUSTED", "UNTRUSTED", "INCONCLUSIVE"]
TRUSTED = "TRUSTED"
LIMIT = 0.05  # of the score range: a fall must be larger, a rise or a move must not be
MINIMUM_PROMPTS = 10  # below which nothing is decided
_MOST_NEEDED = 1_000_000
DECLINED = "declined"
_DECLINED = {Status.SKIPPED, Status.REFUSED, Status.FILTERED}
_HALF = 0.5


@dataclass(frozen=True)
class Probe:
    """The result of one probe.

    Attributes:
        name, expectation: the attack's name, and what a sane judge does.
        verdict, reason: whether the judge did that, and why.
        n, prompts: items judged both plain and changed, and their prompts. n_failed: changed items without a score, by
            status. left_out: items on which the attack would change what is true.
        shift: mean change of the overall score. ci: its 95% interval over prompts. moved: mean size of the change.
        decisive: interval of what the limit is about, for all probes together. needed: prompts that would decide.
    """

    name: str
    expectation: str
    verdict: ProbeVerdict
    reason: str
    n: int = 0
    prompts: int = 0
    n_failed: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0
    shift: float | None = None
    ci: tuple[float, float] | None = None
    moved: float | None = None
    decisive: tuple[float, float] | None = None
    needed: int | None = None

    @property
    def untried(self) -> bool:
        """Whether it was made on no item, as it would change what is true of each: nobody knows what the judge does."""
        return self.verdict == "not applicable" and self.left_out > 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        intervals = {name: list(value) if (value := getattr(self, name)) else None for name in ("ci", "decisive")}
        return {**asdict(self), **intervals}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Probe:
        """Inverse of `to_json`."""
        intervals = {name: tuple(record[name]) if record[name] else None for name in ("ci", "decisive")}
        return cls(**{name: record[name] for name in cls.__dataclass_fields__} | intervals)


def assess(
    attack: Attack,
    pairs: Sequence[tuple[str, Judgement, Judgement]],
    score_range: float,
    probes: int,
    left_out: int = 0,
) -> Probe:
    """The verdict on one probe.

    Args:
        attack: the attack.
        pairs: (prompt, judgement before, judgement after) of each item.
        score_range: the judge's highest score minus its lowest.
        probes: number of probes that are made together.
        left_out: number of items to which the attack does not apply.
    """
    failed = count_statuses(after.status for _, _, after in pairs)
    about: dict[str, Any] = {"n_failed": failed, "left_out": left_out}
    by_prompt: dict[str, list[float]] = defaultdict(list)
    for prompt, before, after in pairs:
        old, new = before.scores[OVERALL], after.scores.get(OVERALL)
        if after.status is Status.OK and old is not None and new is not None:
            by_prompt[prompt].append(new - old)
    scored = sum(map(len, by_prompt.values()))
    about |= {"n": scored, "prompts": len(by_prompt)}
    if not scored or (scored < _HALF * len(pairs)):
        return _unscored(attack, pairs, about)
    shifts = np.asarray([np.mean(values) for values in by_prompt.values()])
    sizes = np.asarray([np.mean(np.abs(values)) for values in by_prompt.values()])
    about |= {"shift": float(shifts.mean()), "ci": mean_interval(shifts), "moved": float(sizes.mean())}
    return _decided(attack, shifts, sizes, LIMIT * score_range, probes, about)


def _decided(
    attack: Attack, shifts: np.ndarray[Any, Any], sizes: np.ndarray[Any, Any], limit: float, probes: int, about: Any
) -> Probe:
    what = sizes if attack.expectation == STAYS else shifts
    edge = -limit if attack.expectation == FALLS else limit
    interval = mean_interval(what, 1 - ALPHA / max(1, probes))
    told = {
        FALLS: f"scores must fall by more than {limit:g}",
        STAYS: f"scores may move by {limit:g} on average",
    }.get(attack.expectation, f"scores may rise by {limit:g} on average")
    if interval is None or len(what) < MINIMUM_PROMPTS:
        needed = max(MINIMUM_PROMPTS, _needed(what, interval, edge) or 0)
        told = f"{counted(len(what), 'prompt')}; at least {MINIMUM_PROMPTS} are needed"
        return Probe(attack.name, attack.expectation, "inconclusive", told, decisive=interval, needed=needed, **about)
    low, high = interval
    if attack.expectation == DOES_NOT_RISE and what.mean() > limit:
        edge = 0.0
    verdict: ProbeVerdict = "pass" if high <= edge else "fail" if low > edge else "inconclusive"
    needed_now = _needed(what, interval, edge) if verdict == "inconclusive" else None
    return Probe(attack.name, attack.expectation, verdict, told, decisive=interval, needed=needed_now, **about)


def _needed(values: np.ndarray[Any, Any], interval: tuple[float, float] | None, edge: float) -> int | None:
    """Prompts with which an interval of this spread would lie on one side of the edge; None beyond all measure."""
    if interval is None:
        return None
    gap, half = abs(float(values.mean()) - edge), (interval[1] - interval[0]) / 2
    if gap <= 0 or (needed := math.ceil(len(values) * (half / gap) ** 2) + 1) > _MOST_NEEDED:
        return None
    return needed


def _unscored(attack: Attack, pairs: Sequence[tuple[str, Judgement, Judgement]], about: Any) -> Probe:
    """Most changed items have no score: a judge may decline an attack, but not what it judged before."""
    if not pairs:
        return Probe(attack.name, attack.expectation, "not applicable", "it would change the correct score", **about)
    declined = all(after.status in _DECLINED for _, _, after in pairs if after.status is not Status.OK)
    if declined and attack.expectation != STAYS:
        return Probe(attack.name, attack.expectation, "pass", DECLINED, **about)
    return Probe(attack.name, attack.expectation, "inconclusive", "most changed items have no score", **about)


def verdict_on(probes: Sequence[Probe]) -> Verdict:
    """UNTRUSTED if a probe fails, else INCONCLUSIVE if one is or was tried on no item, TRUSTED if all others pass.

    A probe that this judge cannot be asked, such as the order of questions of a judge that asks one, does not count.
    """
    verdicts = {probe.verdict for probe in probes} - {"not applicable"}
    if "fail" in verdicts:
        return "UNTRUSTED"
    return "TRUSTED" if verdicts == {"pass"} and not any(probe.untried for probe in probes) else "INCONCLUSIVE"
