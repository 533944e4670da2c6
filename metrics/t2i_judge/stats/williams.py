"""Williams' test: whether one judge's Pearson correlation with people is larger than another's."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .coefficients import Coefficient, as_floats, pearson

_MINIMUM = 4  # items: n - 3 degrees of freedom


def williams_test(a: ArrayLike, b: ArrayLike, ratings: ArrayLike) -> Coefficient:
    """t and its two-sided p for r(a, ratings) = r(b, ratings), both on the items that all three have.

    With r12 and r13 the correlations of the judges with people, r23 that of the judges with each other, and K = 1 -
    r12^2 - r13^2 - r23^2 + 2 r12 r13 r23: t = (r12 - r13) sqrt((n-1)(1 + r23)) / sqrt(2K (n-1)/(n-3) + ((r12 + r13) /
    2)^2 (1 - r23)^3), with n - 3 degrees of freedom. For independent items and normal data: with several images of one
    prompt it is too sure. `value` is t, positive where a is better; undefined below 4 items and for constants.
    Source: Williams 1959; Steiger 1980, equation 7; for metrics Graham & Baldwin 2014.
    """
    a, b, ratings = as_floats(a), as_floats(b), as_floats(ratings)
    keep = ~(np.isnan(a) | np.isnan(b) | np.isnan(ratings))
    a, b, ratings = a[keep], b[keep], ratings[keep]
    n = len(a)
    if n < _MINIMUM:
        return Coefficient(None, n, undefined=f"fewer than {_MINIMUM} items have all values ({n})")
    found = [pearson(a, ratings), pearson(b, ratings), pearson(a, b)]
    values = [coefficient.value for coefficient in found]
    if values[0] is None or values[1] is None or values[2] is None:
        return Coefficient(None, n, undefined=next(c.undefined for c in found if c.undefined))
    r12, r13, r23 = values[0], values[1], values[2]
    k = max(0.0, 1 - r12**2 - r13**2 - r23**2 + 2 * r12 * r13 * r23)
    below = 2 * k * (n - 1) / (n - 3) + ((r12 + r13) / 2) ** 2 * (1 - r23) ** 3
    if below <= 0:
        return Coefficient(None, n, undefined="both judges give the same scores")
    from scipy import special

    t = (r12 - r13) * math.sqrt((n - 1) * (1 + r23) / below)
    return Coefficient(t, n, float(2 * special.stdtr(n - 3, -abs(t))))
