"""Whether a model's weights are all there: transformers fills what is missing with random numbers.

Sizes are compared before anything is loaded: a few bytes of a config.json can describe a model that fills the memory.
How many parameters it describes is counted elsewhere (`trial`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import read_object
from .intact import elements

_PACKED = 32  # times as many parameters as numbers: one of 32 bits holds sixteen of 2 bits
_SLACK = 20_000_000  # parameters that weights may lack, and leave the answer to what transformers reports
_AGAIN = "Download it again, or export it again"


def check_sizes(folder: Path, described: int) -> None:
    """Raise `UserError` if a model's, or an adapter's, settings describe far more parameters than its weights are."""
    stored = elements(folder)
    name = "config.json" if (folder / "config.json").is_file() else "adapter_config.json"
    if described > (_PACKED if _is_packed(read_object(folder / name)) else 2) * stored + _SLACK:
        fact = f"{folder} is not complete"
        raise UserError(fact, f"Its {name} describes {described:,} parameters; its weights have {stored:,}", _AGAIN)


def check_loaded(model: Any, report: Mapping[str, Any], unused: tuple[str, ...] = ()) -> None:
    """Raise `ValueError` for parameters that the checkpoint does not have: they are random numbers.

    Args:
        model: the loaded model.
        report: what transformers says of loading it (`output_loading_info`).
        unused: beginnings of the names of parameters that nothing is computed with.
    """
    random = [str(key) for key in report["missing_keys"] if not str(key).startswith(unused or "\0")]
    random += [str(key) for key in report["mismatched_keys"]]
    if random:
        shown = f"{min(random)} and {len(random) - 1} more" if len(random) > 1 else random[0]
        raise ValueError(f"{type(model).__name__} is incomplete: {shown} would have random weights")


@contextmanager
def whole_adapter() -> Iterator[None]:
    """Where an adapter is loaded: what peft only warns of is an error, parameters that its file does not have."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        yield


def _is_packed(settings: Any) -> bool:
    """Whether weights are quantised, of a part of the model at least: fewer numbers are stored, of more bits."""
    if not isinstance(settings, Mapping):
        return False
    return bool(settings.get("quantization_config")) or any(map(_is_packed, settings.values()))
