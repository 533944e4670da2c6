"""A selftest as text: one line per probe, the verdict, and what would decide the rest. Several as a Markdown table."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ...layout import plain_table
from ...wording import counted
from .battery import Selftest
from .probes import DECLINED, Probe

_ABOUT = {
    "TRUSTED": "every probe passes",
    "UNTRUSTED": "it fails {failed}",
    "INCONCLUSIVE": "these items are not enough to decide",
}


def text(result: Selftest, width: int | None = None) -> str:
    """The table and the verdict, no line of the table longer than `width`."""
    head = ("probe", "expected", "shift", "95% interval", "n", "unscored", "verdict")
    limits = {probe.expectation: probe.reason for probe in result.probes if _is_limit(probe.reason)}
    below = "".join(f"\n{expectation}: {limit}" for expectation, limit in limits.items())
    return f"{plain_table([head, *map(_cells, result.probes)], width)}\n{below}\n\n{sentence(result)}"


def sentence(result: Selftest) -> str:
    """The verdict, the number of items, and the reason."""
    failed = ", ".join(probe.name for probe in result.probes if probe.verdict == "fail")
    about = _ABOUT[result.verdict].format(failed=failed)
    if result.reason:
        return f"{result.judge['name']}: {result.verdict}: {result.reason}."
    on = f"{counted(result.n, 'item')} of {counted(result.prompts, 'prompt')}"
    text = f"{result.judge['name']}: {result.verdict} on {on}: {about}."
    untried = [probe.name for probe in result.probes if probe.untried]
    if result.verdict == "INCONCLUSIVE" and {probe.verdict for probe in result.probes} & {"inconclusive"}:
        text += (
            f" {result.needed} prompts would be enough." if result.needed else " More prompts of this kind are needed."
        )
    if result.verdict == "INCONCLUSIVE" and untried:
        text += f" Add prompts of other kinds: none of these allows {', '.join(untried)}."
    return text


def markdown(results: Sequence[Selftest], only: Collection[str] | None = None) -> str:
    """One row per probe and one column per judge, with shift and verdict. The judges' verdicts stand above, and in
    words below.

    `only`: names of the probes that get a row; None: all.
    """
    names = list(dict.fromkeys(probe.name for result in results for probe in result.probes))
    names = [name for name in names if only is None or name in only]
    found = [{probe.name: probe for probe in result.probes} for result in results]
    expected = {probe.name: probe.expectation for result in results for probe in result.probes}
    head = ["attack", "expected", *(_escaped(result.judge["name"]) for result in results)]
    rows = [head, ["---"] * len(head), ["**verdict**", "", *(f"**{result.verdict}**" for result in results)]]
    rows += [[name, expected[name], *(_cell(probes.get(name)) for probes in found)] for name in names]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", *(f"- {_escaped(sentence(result))}" for result in results)]) + "\n"


def _cell(probe: Probe | None) -> str:
    if probe is None:
        return "–"
    shift = f"{probe.shift:+.2f} " if probe.shift is not None else ""
    verdict = f"**{probe.verdict}**" if probe.verdict == "fail" else probe.verdict
    return f"{shift}{verdict}{' (declined)' if probe.reason == DECLINED else ''}"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _cells(probe: Probe) -> tuple[str, ...]:
    shift = "-" if probe.shift is None else f"{probe.shift:+.2f}"
    interval = "-" if probe.ci is None else f"[{probe.ci[0]:+.2f}, {probe.ci[1]:+.2f}]"
    unscored = str(sum(probe.n_failed.values()))
    verdict = probe.verdict if _is_limit(probe.reason) else f"{probe.verdict} ({probe.reason})"
    return probe.name, probe.expectation, shift, interval, str(probe.n), unscored, verdict


def _is_limit(reason: str) -> bool:
    """Whether it only says what the score was held against, which is the same for many probes."""
    return reason.startswith("scores ")
