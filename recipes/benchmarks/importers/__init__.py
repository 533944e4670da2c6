"""Published benchmarks in the layouts of their authors, read as rows of `..benchmark`: one module per layout.

`read(source, images)` of each gives an `Imported`. Human ratings keep their scale, ids keep their names, and gaps stay
gaps; what a file does not say is left unsaid, and what could not be used is counted.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from recipes.benchmarks.importers.common import Imported
from t2i_judge.errors import UserError, nearest, quoted

LAYOUTS = {
    "t2i-eval-bench": "t2i_eval_bench",
    "dreambench": "dreambench",
    "tifa": "tifa",
    "dsg": "dsg",
    "genai-bench": "genai_bench",
}


def read_layout(layout: str, source: Path, images: Path | None = None) -> Imported:
    """The rows of a benchmark in a published layout.

    Args:
        layout: one of `LAYOUTS`.
        source: its folder (or, where it has one, its main file).
        images: the folder of images; None: beside the tables where the layout has them there, else rows without images.

    Raises:
        UserError: no such layout, a file that is not there or not as published, or a row that cannot be read.
    """
    if layout not in LAYOUTS:
        raise UserError(f"There is no layout {quoted(layout)}", nearest(layout, LAYOUTS), "Use a known layout")
    imported: Imported = import_module(f"recipes.benchmarks.importers.{LAYOUTS[layout]}").read(source, images)
    if not imported.rows:
        raise UserError(
            f"No item of {source} could be used",
            str(dict(imported.left_out)),
            f"Check that the files have the layout of {layout}",
        )
    return imported
