"""Where a recipe's teacher answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recipes.loopback.http import started
from recipes.recipe.config import Recipe


@contextmanager
def teacher_address(recipe: Recipe, folder: Path) -> Iterator[str | None]:
    """Where the teacher answers, None for OpenAI; a recipe's own server runs only as long as it is needed."""
    if recipe.teacher.server is None:
        yield recipe.teacher.base_url
    else:
        with started(recipe.teacher.server, [str(folder.resolve())]) as url:
            yield url
