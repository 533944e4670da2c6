"""Where a recipe's teacher answers, and how whatever is paid for in a build is asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recipes.distillation.spending import spent
from recipes.loopback.http import started
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.sections import Teacher


@contextmanager
def teacher_address(teacher: Teacher, build: BuildFolder) -> Iterator[str | None]:
    """Where the teacher answers, None for OpenAI; a recipe's own server runs only as long as it is needed."""
    if teacher.server is None:
        yield teacher.base_url
    else:
        with started(teacher.server, [str(build.root.resolve())]) as url:
            yield url


def paid_options(teacher: Teacher, build: BuildFolder) -> dict[str, Any]:
    """Options of every client that is asked for money in a build: one ledger, one cap, and what of it is gone."""
    options = {key: getattr(teacher, key) for key in ("concurrency", "max_cost", "max_image_side", "api_key_env")}
    return {**options, "cache": build.calls, "spent": spent(build)}
