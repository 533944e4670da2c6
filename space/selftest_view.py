"""Is the judge of this Space to be trusted? What its selftest found before it was released, as escaped HTML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from t2i_judge.runs.selftest.battery import Selftest
from t2i_judge.runs.selftest.probes import Probe
from t2i_judge.runs.selftest.report import sentence

_HEAD = Markup("").join(
    Markup('<th scope="col">{}</th>').format(name) for name in ("Attack", "A sane score", "Mean change", "Verdict")
)
_COLORS = {"pass": "tj-good", "fail": "tj-bad", "inconclusive": "tj-mid"}


def selftest_table(record: Mapping[str, Any]) -> Markup:
    """The verdict in a line, and every attack in a table that opens."""
    result = Selftest.from_json(dict(record))
    rows = Markup("").join(map(_row, result.probes))
    return Markup(
        '<details class="tj-selftest"><summary>Attacked before it was released: <b>{}</b></summary><p>{}</p>'
        '<div class="tj-table" tabindex="0" role="region" aria-label="Selftest"><table><thead><tr>{}</tr></thead>'
        "<tbody>{}</tbody></table></div></details>"
    ).format(result.verdict, sentence(result), _HEAD, rows)


def _row(probe: Probe) -> Markup:
    shift = "–" if probe.shift is None else f"{probe.shift:+.2f}"
    ci = "" if probe.ci is None else f"[{probe.ci[0]:+.2f}, {probe.ci[1]:+.2f}]"
    return Markup(
        '<tr><th scope="row">{}</th><td>{}</td><td>{} <small>{}</small></td><td class="{}"><b>{}</b></td></tr>'
    ).format(probe.name, probe.expectation, shift, ci, _COLORS.get(probe.verdict, ""), probe.verdict)
