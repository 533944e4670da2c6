"""t2i-judge: judges of text-to-image models, and how well they agree with people.

`import t2i_judge` imports nothing heavy: every public name is loaded when it is first used (PEP 562).
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from . import native_code

native_code.forbid()

__version__ = "1.0.0"

_WHERE = {
    "load_judge": "judges.loading",
    "meta_evaluate": "meta.evaluation",
    "register": "local.minicpmv.registration",
    "Judgement": "records",
    "Question": "records",
    "Answer": "records",
    "Status": "records",
    "UserError": "errors",
}
__all__ = [*sorted(_WHERE), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_WHERE[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
