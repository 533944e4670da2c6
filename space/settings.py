"""Settings of this Space, which its owner makes in the environment. Visitors have no influence on them.

The release writes `release.json` beside this file. It names the release's benchmark, its judge, and the served judge
for hardware that is too small. Variables of the environment win.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spending import MAX_COST
from t2i_judge.errors import UserError, quoted

HERE = Path(__file__).parent
JUDGED = "judged.json"  # beside this file, by the release: what its judge answered about images of its benchmark
STAGED_BENCHMARK = HERE.parent / "build/release/datasets/t2i-judge-bench-tiny"  # where `make release` leaves it


@dataclass(frozen=True)
class Settings:
    """Configuration of one running Space.

    Attributes:
        judge: the judge to open with, by its full name.
        judge_is_the_owners: it is the owner's choice (variable `JUDGE`), taken as it is; else the release's own, which
            opens the Space where the hardware carries it (see `opening`).
        space_judge: the served judge that the recipe names for the other case.
        more_judges: further judge names the owner pays for (variable `JUDGES`, comma separated).
        benchmark: folder or Hub id of the benchmark that Explore and Annotate show (`BENCHMARK`); None for none.
        runs: folders of `t2i-judge leaderboard` that the Leaderboard tab shows (`RUNS`, comma separated).
        annotations: folder that annotations are stored in (`ANNOTATIONS`); on the Hub inside /data, where there is one.
        annotations_repo: dataset repository that they are published in (`ANNOTATIONS_REPO`, needs `HF_TOKEN`).
        token: the Hub token, server side only.
        max_cost: US dollars a day that served judges may cost (`MAX_COST`).
        port: of its server (`GRADIO_SERVER_PORT` or `PORT`); None: the first that is free.
        version: version of the release.
        selftests: of the release's own judge, then of the judges beside it; none where another judge opens the Space.
    """

    judge: str = "tiny"
    judge_is_the_owners: bool = False
    space_judge: str | None = None
    more_judges: tuple[str, ...] = ()
    benchmark: str | None = None
    runs: tuple[str, ...] = ()
    annotations: Path = HERE.parent / "build/annotations"
    annotations_repo: str | None = None
    token: str | None = None
    max_cost: float = MAX_COST
    port: int | None = None
    version: str | None = None
    selftests: Sequence[Mapping[str, Any]] = ()

    def __repr__(self) -> str:
        return (
            f"Settings(judge={self.judge!r}, benchmark={self.benchmark!r}, annotations_repo={self.annotations_repo!r})"
        )


def read_settings(environment: Mapping[str, str] = os.environ, release: Path = HERE / "release.json") -> Settings:
    """Settings from the environment, over those of the release. Raises `UserError`."""
    staged = json.loads(release.read_text(encoding="utf-8")) if release.is_file() else {}
    local = str(STAGED_BENCHMARK) if STAGED_BENCHMARK.is_dir() else None
    return Settings(
        judge=environment.get("JUDGE") or staged.get("judge") or "tiny",
        judge_is_the_owners=bool(environment.get("JUDGE")),
        space_judge=staged.get("space_judge") or None,
        more_judges=_listed(environment.get("JUDGES", "")),
        runs=_listed(environment.get("RUNS", "")),
        benchmark=environment.get("BENCHMARK") or staged.get("benchmark") or local,
        annotations=Path(environment.get("ANNOTATIONS") or _annotations(environment)),
        annotations_repo=environment.get("ANNOTATIONS_REPO") or None,
        token=environment.get("HF_TOKEN") or None,
        max_cost=_dollars(environment.get("MAX_COST") or str(MAX_COST)),
        port=_port(environment.get("GRADIO_SERVER_PORT") or environment.get("PORT")),
        version=staged.get("version"),
        selftests=() if environment.get("JUDGE") else tuple(staged.get("selftests", ())),
    )


def _listed(names: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in names.split(",") if name.strip())


def _dollars(text: str) -> float:
    try:
        dollars = float(text)
    except ValueError:
        dollars = math.nan
    if not 0 <= dollars < math.inf:
        raise UserError(
            f"MAX_COST is {quoted(text)}", "It is in US dollars a day", "Set it to a number such as 5, or to 0"
        )
    return dollars


def _port(text: str | None) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65536):
        raise UserError(f"The port is {quoted(text)}", "It is a number from 1 to 65535", "Set PORT to one, or unset it")
    return int(text)


def _annotations(environment: Mapping[str, str]) -> Path:
    """Where they outlive a restart, if there is such a place: a Space's own disk is new after each."""
    lasting = Path("/data")
    kept = "SPACE_ID" in environment and lasting.is_dir() and os.access(lasting, os.W_OK)
    return lasting / "annotations" if kept else Settings.annotations
