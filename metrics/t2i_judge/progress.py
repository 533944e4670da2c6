"""One line of progress for each step: a bar on a terminal, and in a file or a pipe a line every half minute."""

from __future__ import annotations

import math
import os
import sys
import time
from typing import Any

from tqdm import tqdm

from .terminal import quiet

SECONDS = 30.0  # between two lines where there is no terminal


class Progress(tqdm):  # type: ignore[type-arg]
    """tqdm with lines for readers of a log; nothing with `--quiet`.

    Takes what tqdm takes. Where stderr is no terminal, or one that does not tell its width, a line says how much is
    done and how long the rest will take, and a last line how long it all took. Steps that leave no bar behind
    (`leave=False`) leave no such line.
    """

    begun = False

    def __init__(self, *args: Any, **options: Any) -> None:
        self.lines = not sys.stderr.isatty() or _has_no_width()
        options["disable"] = bool(options.get("disable")) or quiet()
        if self.lines:
            options |= {"mininterval": SECONDS, "maxinterval": SECONDS}
        super().__init__(*args, **options)
        if self.lines:
            self.sp = None  # nothing is drawn, so `close` has nothing to wipe
        self.begun = True

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:  # type: ignore[override]
        """Draw the bar, or print a line."""
        if not self.lines:
            return bool(super().display(msg, pos))
        if self.initial < self.n < (self.total or math.inf):  # the last line is `close`'s
            self._print()
        return True

    def close(self) -> None:
        """Leave the bar behind, or a line that says how long it took."""
        if not self.begun:  # interrupted as it was made; what cleans up behind it closes it all the same
            return
        last = self.lines and self.leave and not self.disable and self.n > self.initial
        super().close()
        if last:
            self._print(ended=True)

    def _print(self, ended: bool = False) -> None:
        state = self.format_dict
        rate = state["rate"] or (self.n - self.initial) / max(state["elapsed"], 1e-9)
        name = (self.desc or "").removesuffix(": ")
        line = _line(name, self.n, self.total, self.unit, state["elapsed"], rate, ended)
        print(f"{line}, {self.postfix}" if self.postfix else line, file=sys.stderr, flush=True)


def _has_no_width() -> bool:
    """Whether the terminal says that its lines have no characters, as some remote ones do: tqdm would draw nothing."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns == 0
    except (OSError, ValueError):  # stderr is no file of the system
        return False


class Pace:
    """The progress of a job of many parts, as a line after each part.

    Args:
        total: number of things.
        done: number of things that were done before.
        unit: what one of them is called.
    """

    def __init__(self, total: int, done: int, unit: str) -> None:
        self.total, self.before, self.unit = total, done, unit
        self.start = time.monotonic()

    def line(self, done: int) -> str:
        """`500 of 12,000 rows (4%), 25 min left`."""
        seconds = time.monotonic() - self.start
        return _line("", done, self.total, self.unit, seconds, (done - self.before) / max(seconds, 1e-9))


def _line(
    name: str, done: float, total: float | None, unit: str, seconds: float, rate: float | None, ended: bool = False
) -> str:
    """How much is done, and how long the rest will take, or if that is unknown, how long it took so far."""
    if unit == "B":
        done, total, rate, unit = done / 1e6, total and total / 1e6, rate and rate / 1e6, "MB"
    else:
        unit = f"{unit}s"
    amount = f"{done:,.0f} {unit}" if not total else f"{done:,.0f} of {total:,.0f} {unit} ({done / total:.0%})"
    ended = ended or not total or done >= total or not rate
    spent = _duration(seconds) if ended or not total or not rate else f"{_duration((total - done) / rate)} left"
    return f"{name}: {amount}, {spent}" if name else f"{amount}, {spent}"


def _duration(seconds: float) -> str:
    """Seconds, minutes or hours, as a person would say it."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6_000 else f"{seconds / 3600:.1f} h"
