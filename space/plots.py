"""Plots as HTML and SVG: they take their colours from the page (light or dark) and their width from the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from t2i_judge.wording import counted
from views import join

_SIDE, _LEFT, _BOTTOM, _MARGIN = 420, 62, 44, 12  # of the SVG's own units


@dataclass(frozen=True)
class Point:
    """One item of a scatter plot; `key` comes back when it is picked, `label` shows on hovering."""

    x: float
    y: float
    key: str
    label: str


@dataclass(frozen=True)
class Axis:
    """Title and range of an axis."""

    title: str
    low: float
    high: float

    def share(self, value: float) -> float:
        """Where a value lies between both ends, 0 to 1."""
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Five values, ends included."""
        return [round(self.low + (self.high - self.low) * part / 4, 3) for part in range(5)]


@dataclass(frozen=True)
class Estimate:
    """A mean with its interval; None bounds where there is no interval."""

    label: str
    value: float | None
    low: float | None
    high: float | None
    note: str = ""


def scatter(points: Sequence[Point], x_axis: Axis, y_axis: Axis, picked: str | None = None) -> Markup:
    """Points in a square, with the diagonal on which both agree when both axes have the same range."""
    diagonal = Markup("")
    if (x_axis.low, x_axis.high) == (y_axis.low, y_axis.high):
        diagonal = Markup('<line class="tj-diagonal" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(
            _LEFT, _SIDE - _BOTTOM, _SIDE - _MARGIN, _MARGIN
        )
    dots = join(_dot(point, x_axis, y_axis, point.key == picked) for point in _last(points, picked))
    across, down = (_SIDE + _LEFT - _MARGIN) / 2, (_SIDE - _BOTTOM + _MARGIN) / 2
    titles = Markup(
        '<text x="{}" y="{}" text-anchor="middle" class="tj-axis">{}</text>'
        '<text transform="translate(13 {}) rotate(-90)" text-anchor="middle" class="tj-axis">{}</text>'
    ).format(across, _SIDE - 6, x_axis.title, down, y_axis.title)
    items = counted(len(points), "item")
    return Markup(
        '<svg class="tj-scatter" viewBox="0 0 {0} {0}" role="img" aria-label="{1} against {2}, {3}">{4}</svg>'
    ).format(_SIDE, y_axis.title, x_axis.title, items, join([_grid(x_axis, y_axis), diagonal, dots, titles]))


def _last(points: Sequence[Point], picked: str | None) -> list[Point]:
    """The points with the picked one drawn last, on top of the others."""
    return sorted(points, key=lambda point: point.key == picked)


def _across(value: float, axis: Axis) -> float:
    return _LEFT + (_SIDE - _LEFT - _MARGIN) * axis.share(value)


def _down(value: float, axis: Axis) -> float:
    return _SIDE - _BOTTOM - (_SIDE - _BOTTOM - _MARGIN) * axis.share(value)


def _dot(point: Point, x_axis: Axis, y_axis: Axis, picked: bool) -> Markup:
    return Markup(
        '<circle class="tj-dot{}" data-pick="{}" cx="{:.1f}" cy="{:.1f}" r="{}"><title>{}</title></circle>'
    ).format(
        " tj-picked" if picked else "",
        point.key,
        _across(point.x, x_axis),
        _down(point.y, y_axis),
        8 if picked else 5,
        point.label,
    )


def _grid(x_axis: Axis, y_axis: Axis) -> Markup:
    """Five lines each way, with their values."""
    bottom, right = _SIDE - _BOTTOM, _SIDE - _MARGIN
    upright = Markup(
        '<line class="tj-grid" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>'
        '<text x="{0}" y="{3}" text-anchor="middle">{4:g}</text>'
    )
    level = Markup(
        '<line class="tj-grid" x1="{1}" x2="{2}" y1="{0}" y2="{0}"/>'
        '<text x="{3}" y="{0}" text-anchor="end" dy="4">{4:g}</text>'
    )
    return join(
        upright.format(_across(x, x_axis), bottom, _MARGIN, bottom + 18, x)
        + level.format(_down(y, y_axis), _LEFT, right, _LEFT - 8, y)
        for x, y in zip(x_axis.ticks(), y_axis.ticks())
    )


def intervals(estimates: Sequence[Estimate], axis: Axis) -> Markup:
    """One row per estimate: its name, a dot at the mean on a line for the interval, and the figures."""
    row = Markup('<li><span>{}</span><span class="tj-track">{}</span><b class="tj-digits">{}</b></li>')
    return Markup(
        '<figure class="tj-intervals"><figcaption>{}</figcaption><ul>{}</ul>'
        '<p class="tj-ends"><span>{:g}</span><span>{:g}</span></p></figure>'
    ).format(
        axis.title,
        join(row.format(each.label, _marks(each, axis), estimate_text(each)) for each in estimates),
        axis.low,
        axis.high,
    )


def _marks(estimate: Estimate, axis: Axis) -> Markup:
    """The interval's line and the mean's dot; nothing where the mean is undefined."""
    if estimate.value is None:
        return Markup("")
    dot = Markup('<i class="tj-mean" style="left:{:.1f}%"></i>').format(100 * axis.share(estimate.value))
    if estimate.low is None or estimate.high is None:
        return dot
    left, right = 100 * axis.share(estimate.low), 100 * axis.share(estimate.high)
    return Markup('<i class="tj-whisker" style="left:{:.1f}%;width:{:.1f}%"></i>').format(left, right - left) + dot


def estimate_text(estimate: Estimate, digits: int = 1) -> str:
    """`7.1 [6.8, 7.4]`, a dash where it is undefined, its note behind."""
    if estimate.value is None:
        text = "–"
    elif estimate.low is None or estimate.high is None:
        text = f"{estimate.value:.{digits}f}"
    else:
        text = f"{estimate.value:.{digits}f} [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
    return f"{text} {estimate.note}".strip()
