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
from .fetching import announced, fetch_weights
from .intact import check_torn, elements

_PACKED = 32  # times as many parameters as numbers: one of 32 bits holds sixteen of 2 bits
_IN_A_BYTE = 2  # numbers, of four bits each
_SLACK = 20_000_000  # parameters that weights may lack, and leave the answer to what transformers reports
_AGAIN = "Download it again, or export it again"


def check_model(model: str, revision: str | None, described: int) -> None:
    """Raise as `check_sizes` for a model's folder, or for its repository on the Hub, whose weights are fetched."""
    from transformers.utils import cached_file

    if Path(model).is_dir():
        check_sizes(Path(model), described)
        return
    settings = Path(str(cached_file(model, "config.json", revision=revision or "main")))
    if size := announced(model, revision).weights:
        _compare(model, settings, described, size * _IN_A_BYTE, "at most ")
    if weights := fetch_weights(model, revision):
        check_torn(weights)  # a left-over index may name shards beside a whole file
        _compare(model, settings, described, elements(weights))


def check_sizes(folder: Path, described: int) -> None:
    """Raise `UserError` if a model's, or an adapter's, settings describe far more parameters than its weights are."""
    name = "config.json" if (folder / "config.json").is_file() else "adapter_config.json"
    _compare(str(folder), folder / name, described, elements(folder))


def _compare(model: str, settings: Path, described: int, stored: int, about: str = "") -> None:
    if described > (_PACKED if _is_packed(read_object(settings)) else 2) * stored + _SLACK:
        reason = f"Its {settings.name} describes {described:,} parameters; its weights have {about}{stored:,}"
        raise UserError(f"{model} is not complete", reason, _AGAIN)


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
