"""What the owner of this Space decides, from the environment; visitors decide nothing here.

`release.json`, written beside this file by the release, names the release's own benchmark and judge; variables win.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
STAGED_BENCHMARK = HERE.parent / "build/release/datasets/t2i-judge-bench-tiny"  # where `make release` leaves it


@dataclass(frozen=True)
class Settings:
    """Configuration of one running Space.

    Attributes:
        judge: the default judge's name.
        more_judges: further judge names the owner pays for (variable `JUDGES`, comma separated).
        benchmark: folder or Hub id of the benchmark that Explore and Annotate show (`BENCHMARK`); None for none.
        annotations: folder that annotations are written to when there is no repository (`ANNOTATIONS`).
        annotations_repo: dataset repository that they are committed to (`ANNOTATIONS_REPO`, needs `HF_TOKEN`).
        token: the Hub token, server side only.
        version: version of the release.
    """

    judge: str = "tiny"
    more_judges: tuple[str, ...] = ()
    benchmark: str | None = None
    annotations: Path = HERE.parent / "build/annotations"
    annotations_repo: str | None = None
    token: str | None = None
    version: str | None = None

    def __repr__(self) -> str:
        return (
            f"Settings(judge={self.judge!r}, benchmark={self.benchmark!r}, annotations_repo={self.annotations_repo!r})"
        )


def read_settings(environment: Mapping[str, str] = os.environ, release: Path = HERE / "release.json") -> Settings:
    """Settings from the environment, over those of the release."""
    staged = json.loads(release.read_text(encoding="utf-8")) if release.is_file() else {}
    local = str(STAGED_BENCHMARK) if STAGED_BENCHMARK.is_dir() else None
    token = environment.get("HF_TOKEN") or None
    return Settings(
        judge=environment.get("JUDGE") or staged.get("judge") or "tiny",
        more_judges=tuple(name.strip() for name in environment.get("JUDGES", "").split(",") if name.strip()),
        benchmark=environment.get("BENCHMARK") or staged.get("benchmark") or local,
        annotations=Path(environment.get("ANNOTATIONS") or Settings.annotations),
        annotations_repo=(environment.get("ANNOTATIONS_REPO") or None) if token else None,
        token=token,
        version=staged.get("version"),
    )
