"""A selftest as text: a line a probe, and the verdict with what would decide the rest."""

from __future__ import annotations

from .battery import Selftest
from .probes import Probe

_ABOUT = {
    "TRUSTED": "every probe passes",
    "UNTRUSTED": "it fails {failed}",
    "INCONCLUSIVE": "these items do not decide it",
}


def text(result: Selftest) -> str:
    """The table and the verdict."""
    head = ("probe", "a sane score", "shift", "95% interval", "n", "unscored", "verdict")
    rows = [head, *map(_cells, result.probes)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    return "\n".join([*lines, sentence(result)])


def sentence(result: Selftest) -> str:
    """The verdict, on how many items, and why."""
    failed = ", ".join(probe.name for probe in result.probes if probe.verdict == "fail")
    about = _ABOUT[result.verdict].format(failed=failed)
    text = f"{result.judge['name']}: {result.verdict} on {result.n} items of {result.prompts} prompts: {about}."
    if result.verdict == "INCONCLUSIVE":
        text += f" {result.needed} prompts would decide." if result.needed else " More prompts of the kind are needed."
    return text


def _cells(probe: Probe) -> tuple[str, ...]:
    shift = "-" if probe.shift is None else f"{probe.shift:+.2f}"
    interval = "-" if probe.ci is None else f"[{probe.ci[0]:+.2f}, {probe.ci[1]:+.2f}]"
    unscored = str(sum(probe.n_failed.values()))
    return probe.name, probe.expectation, shift, interval, str(probe.n), unscored, f"{probe.verdict} ({probe.reason})"
