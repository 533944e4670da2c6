"""Units of a survey: each generator's prompts, with the judge's score and, where people labelled them, their label.

A unit's label stands on its labelled images only, and so does its score then: both are of the same images.
"""

from __future__ import annotations

import itertools
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from ..errors import UserError
from ..wording import counted
from .coefficients import Floats, exact_means
from .estimates import Estimate, people_mean

Units = Mapping[Hashable, tuple[float, float]]  # unit -> label (nan: none) and score
Pair = tuple[Hashable, Hashable]
MOST_SYSTEMS = 200  # every two of them are compared: 19,900 pairs
Name = TypeVar("Name", bound=Hashable)


def check_systems(number: int, fix: str = "Compare fewer of them at once") -> None:
    """Raise `UserError` for more generators than can be compared in pairs."""
    if number > MOST_SYSTEMS:
        fact = f"There are {counted(number, 'generator', form=',')}; at most {MOST_SYSTEMS} can be compared"
        raise UserError(fact, "Every two are compared, so work and memory grow with the square of their number", fix)


def by_unit(
    systems: Sequence[Hashable], units: Sequence[Hashable], scores: Floats, people: Floats
) -> dict[Hashable, Units]:
    """Generator -> unit -> mean label and mean score, from one value per image each.

    Images without a generator, a unit or a score are left out.
    """
    members: dict[Hashable, dict[Hashable, list[int]]] = {}
    for row, (system, unit) in enumerate(zip(systems, units, strict=True)):
        if system is not None and unit is not None and not np.isnan(scores[row]):
            members.setdefault(system, {}).setdefault(unit, []).append(row)
    found: dict[Hashable, Units] = {}
    for system, own in members.items():
        means = {}
        for unit, rows in own.items():
            labelled = [row for row in rows if not np.isnan(people[row])]
            means[unit] = (float(exact_means([people[rows]])[0]), float(exact_means([scores[labelled or rows]])[0]))
        found[system] = means
    return found


def columns(own: Units) -> tuple[Floats, Floats]:
    """Label and score of each unit, in the order of the units."""
    pairs = np.asarray(list(own.values()), dtype=np.float64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def difference(a: Units, b: Units) -> Units:
    """a minus b on the units that both have; labelled only where people labelled both."""
    return {unit: (a[unit][0] - b[unit][0], a[unit][1] - b[unit][1]) for unit in a if unit in b}


def differences(units: Mapping[Hashable, Units]) -> Iterator[tuple[Pair, Units]]:
    """Every two generators, in their order, with their differences, one at a time."""
    for a, b in itertools.combinations(units, 2):
        yield (a, b), difference(units[a], units[b])


def estimates(units: Iterable[tuple[Name, Units]]) -> dict[Name, Estimate]:
    """People's mean of each (`people_mean`), from pairs of a name and its units."""
    return {name: people_mean(*columns(own)) for name, own in units}
