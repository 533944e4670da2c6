"""What modules have compiled as they are imported is compiled when it is first called.

peft imports bitsandbytes, and that has some functions compiled at once, for which torch imports its compiler: two
seconds of every process that loads a judge, and hardly any judge calls one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial, wraps
from inspect import isfunction
from threading import Lock
from typing import Any

_ONE = Lock()  # at a time: each puts back what it found


@contextmanager
def compiled_when_called() -> Iterator[None]:
    """Meanwhile `torch.compile` gives functions that are compiled at their first call, once."""
    import torch

    library: Any = torch

    def later(model: Callable[..., Any] | None = None, **options: Any) -> Any:
        if model is None:
            return partial(later, **options)
        if not isfunction(model):
            return at_once(model, **options)
        compiled = cache(lambda: at_once(model, **options))
        return wraps(model)(lambda *values, **named: compiled()(*values, **named))

    with _ONE:
        at_once, library.compile = library.compile, later
        try:
            yield
        finally:
            library.compile = at_once
