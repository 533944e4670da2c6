"""Where the embedded judge is found when its weights are not beside this file. A release fills these in."""

from __future__ import annotations

REPOSITORY: str | None = None  # model repository of the release, "OWNER/t2i-judge-tiny"
REVISION: str | None = None  # its tag, "v1.0.0"
