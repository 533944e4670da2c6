"""Whether a model's weights are all there: transformers fills what is missing with random numbers.

Sizes are compared before anything is loaded: a few bytes of a config.json can describe a model that fills the memory.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import UserError, quoted
from .intact import elements

_LAYERS = 1_000  # of a part of a model; eight times those of the largest that are known
_COUNT = re.compile(r"(?:layer|depth|block)s?$")  # of a setting that may be a number of layers
_SLACK = 20_000_000  # parameters that weights may lack, and leave the answer to what transformers reports
_AGAIN = "Download it again, or export it again"


def check_sizes(model: str, revision: str | None = None) -> None:
    """Raise `UserError` if a config.json describes far more than the weights of its folder are, or endless layers."""
    import torch
    from transformers import AutoConfig, AutoModelForImageTextToText

    config = AutoConfig.from_pretrained(model, revision=revision or "main", trust_remote_code=False)
    for name, value in _numbers(config.to_dict()):
        if value > _LAYERS and _COUNT.search(name):
            raise UserError(f"{model} has the {name} {quoted(value)}", f"At most {_LAYERS:,} are built", _AGAIN)
    if not Path(model).is_dir() or getattr(config, "quantization_config", None):  # packed: fewer numbers, of more bits
        return
    stored = elements(Path(model))
    with torch.device("meta"):
        wanted = int(AutoModelForImageTextToText.from_config(config, trust_remote_code=False).num_parameters())
    if wanted > 2 * stored + _SLACK:
        fact = f"{model} is not complete"
        raise UserError(fact, f"Its config.json describes {wanted:,} parameters; its weights have {stored:,}", _AGAIN)


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


def _numbers(settings: Any, name: str = "") -> Iterator[tuple[str, int]]:
    """(name, value) of every whole number in nested settings."""
    if isinstance(settings, Mapping):
        for key, value in settings.items():
            yield from _numbers(value, str(key))
    elif isinstance(settings, list | tuple):
        for value in settings:
            yield from _numbers(value, name)
    elif isinstance(settings, int) and not isinstance(settings, bool):
        yield name, settings
