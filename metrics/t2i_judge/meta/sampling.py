"""The sampling design of intervals: what would be different if the study were made again.

The sampling unit of a figure of one group is an item, or a whole cluster (the prompt, say). An average over groups asks
more: are the groups themselves a sample (ids, prompts), or would another study have the same ones (generators, tasks)?

    groups     the groups are sampled: whole groups (or clusters of them) are drawn, their figures untouched
    inside     the groups stay: items, or clusters that each lie in one group, are drawn inside every group
    across     the groups stay and clusters lie in several of them: clusters are drawn once for all groups
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from ..wording import counted
from .items import Items

SAMPLED, FIXED = "sampled", "fixed"
GROUPS, INSIDE, ACROSS = "groups", "inside", "across"
BOOTSTRAP, JACKKNIFE, ANALYTIC = "percentile bootstrap", "jackknife", "analytic (infinitesimal jackknife)"

FEW_UNITS = 20  # below, an interval is rough and says so
ANALYTIC_ITEMS = 50_000  # above, intervals are worked out and not drawn
_ANALYTIC_GROUPS = 5_000


@dataclass(frozen=True)
class Design:
    """How the groups of a table, and what lies in them, are taken.

    groups: sampled or fixed, None without groups. stated: whether that was asked for. scheme: see above. analytic:
    whether the table is past the size up to which resamples are drawn. smallest: units of the smallest group.
    """

    groups: str | None
    stated: bool
    scheme: str
    unit: str
    analytic: bool
    n_groups: int
    smallest: int
    n_units: int

    @classmethod
    def of(cls, items: Items, groups: str | None = None) -> Design:
        """The design of a table; `groups` overrides what its shape suggests.

        By default groups are sampled where each lies in one cluster, and, without clusters, where there are more of
        them than items in the middle one; else they are fixed. Raises `UserError` for another word.
        """
        if groups not in (None, SAMPLED, FIXED):
            raise UserError(
                f"The value '{groups}' of groups is unknown",
                "Groups are a sample, or fixed",
                f"Use {SAMPLED} or {FIXED}",
            )
        sizes = np.asarray([len(members) for members in items.groups.values()])
        codes = items.clusters
        analytic = items.size > ANALYTIC_ITEMS
        if codes is None:
            units, n_units, unit = sizes, items.size, "items"
            suggested = SAMPLED if len(sizes) > np.median(sizes) else FIXED
        else:
            units = np.asarray([len(np.unique(codes[members])) for members in items.groups.values()])
            n_units, unit = int(codes.max()) + 1, "clusters"
            suggested = SAMPLED if (units == 1).all() else FIXED
        chosen = (groups or suggested) if items.by else None
        crossing = codes is not None and units.sum() > n_units  # a cluster lies in several groups
        if chosen == SAMPLED and not (crossing and (units > 1).any()):
            scheme = GROUPS
        else:
            scheme = ACROSS if crossing else INSIDE
        return cls(chosen, groups is not None, scheme, unit, analytic, len(sizes), int(units.min()), n_units)

    @property
    def method(self) -> str:
        """How intervals of single groups come about."""
        return ANALYTIC if self.analytic else BOOTSTRAP

    @property
    def average_method(self) -> str:
        """How intervals of averages over groups come about."""
        if self.scheme == GROUPS:
            return ANALYTIC if self.n_groups > _ANALYTIC_GROUPS else BOOTSTRAP
        if self.analytic:
            return ANALYTIC
        return JACKKNIFE if self.scheme == INSIDE and self.smallest < FEW_UNITS else BOOTSTRAP

    @property
    def average_units(self) -> tuple[str, int]:
        """What an average over groups resamples, and how many of them there are."""
        whole = self.scheme == GROUPS and not (self.unit == "clusters" and self.n_units < self.n_groups)
        return ("groups", self.n_groups) if whole else (self.unit, self.n_units)

    def to_json(self, draws: int, seed: int) -> dict[str, object]:
        """How the intervals of a report were made."""
        return {
            "groups": self.groups,
            "groups_stated": self.stated,
            "scheme": self.scheme,
            "unit": self.unit,
            "n_units": self.n_units,
            "method": self.method if draws else None,
            "average_method": self.average_method if draws and self.groups else None,
            "draws": draws,
            "seed": seed,
        }

    def sentence(self, draws: int, averaged: bool) -> str:
        """One line under a report."""
        if not draws:
            return ""
        resampled = f"{counted(draws, 'resample')} of" + (" whole" if self.unit == "clusters" else "")
        how = f"{self.method}, {resampled} {self.unit}" if not self.analytic else f"{self.method}, by {self.unit}"
        return f"95% intervals: {how}" + (f"; averages: {self._average()}" if averaged else "")

    def _average(self) -> str:
        what = {
            GROUPS: f"groups ({self.n_groups}) are resampled whole",
            INSIDE: f"{self.unit} are resampled inside groups ({self.n_groups})",
            ACROSS: f"clusters are resampled for all groups ({self.n_groups}) at once",
        }[self.scheme]
        other = FIXED if self.groups == SAMPLED else SAMPLED
        why = "as asked" if self.stated else f"by default; --groups {other} takes them otherwise"
        return f"groups {self.groups} ({why}): {what}, {self.average_method}"


def units_inside(items: Items, members: NDArray[np.intp]) -> tuple[NDArray[np.intp], int]:
    """The number of the unit of each of a group's items, from 0, and how many units there are."""
    if items.clusters is None:
        return np.arange(len(members)), len(members)
    labels, codes = np.unique(items.clusters[members], return_inverse=True)
    return codes.reshape(-1), len(labels)
