"""Shows the results of the selftests before the release, as escaped HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from t2i_judge.runs.selftest.battery import Selftest
from t2i_judge.runs.selftest.probes import Probe
from t2i_judge.runs.selftest.report import sentence

_COLORS = {"pass": "tj-good", "fail": "tj-bad", "inconclusive": "tj-mid"}


def selftest_table(records: Sequence[Mapping[str, Any]]) -> Markup:
    """The verdict on the first judge in a line, and a table that opens: one row per attack, one column per judge."""
    results = [Selftest.from_json(dict(record)) for record in records]
    names = ("Attack", "Expected", *(result.judge["name"] for result in results))
    head = Markup("").join(Markup('<th scope="col">{}</th>').format(name) for name in names)
    sentences = Markup("").join(Markup("<p>{}</p>").format(sentence(result)) for result in results)
    by_name = [{probe.name: probe for probe in result.probes} for result in results]
    rows = Markup("").join(_row(probe, [probes.get(probe.name) for probes in by_name]) for probe in results[0].probes)
    return Markup(
        '<details class="tj-selftest"><summary>Attacked before it was released: <b>{}</b></summary>{}'
        '<div class="tj-table" tabindex="0" role="region" aria-label="Selftest"><table><thead><tr>{}</tr></thead>'
        "<tbody>{}</tbody></table></div></details>"
    ).format(results[0].verdict, sentences, head, rows)


def _row(attack: Probe, probes: Sequence[Probe | None]) -> Markup:
    cells = Markup("").join(map(_cell, probes))
    return Markup('<tr><th scope="row">{}</th><td>{}</td>{}</tr>').format(attack.name, attack.expectation, cells)


def _cell(probe: Probe | None) -> Markup:
    if probe is None:
        return Markup("<td>–</td>")
    shift = "" if probe.shift is None else f"{probe.shift:+.2f}"
    interval = "" if probe.ci is None else f"[{probe.ci[0]:+.2f}, {probe.ci[1]:+.2f}]"
    return Markup('<td class="{}">{} <small>{}</small> <b>{}</b></td>').format(
        _COLORS.get(probe.verdict, ""), shift, interval, probe.verdict
    )
