"""Which kinds of adapters are loaded: those whose own file says all there is, so that peft does nothing but read it.

Others make peft work as it loads one, on a stranger's word: it decomposes every weight of the base as often as
adapter_config.json says (pissa_niter_999999999), loads further models, or reads a pickle that the file names.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import UserError, quoted
from ..files import read_object

CONFIG = "adapter_config.json"
_KINDS = ("LORA", "LOHA", "LOKR", "IA3")
_STARTS = (True, False, None, "gaussian", "eva", "orthogonal", "lycoris")  # that leave the base as it is
_STARTED = ("init_lora_weights", "init_weights", "init_ia3_weights")
_BESIDE = ("arrow_config", "kasa_config", "megatron_config", "monteclora_config")  # more than weights of its own
_FIX = "Merge it into its base, or save it as a plain LoRA"


def check_kind(adapter: Path) -> None:
    """Raise `UserError` for an adapter that peft would do more for, as it loads it, than read its weights."""
    settings = read_object(adapter / CONFIG)
    kind = settings.get("peft_type")
    if kind not in _KINDS:
        fact = f"{adapter / CONFIG}: peft_type is {quoted(kind)}"
        raise UserError(fact, f"Only adapters of the kinds {', '.join(_KINDS)} are loaded", _FIX)
    for name in _STARTED:
        if settings.get(name) not in _STARTS:
            fact = f"{adapter / CONFIG}: {name} is {quoted(settings[name])}"
            raise UserError(fact, "It changes the weights of the base as it is loaded", _FIX)
    for name in _BESIDE:
        if settings.get(name):
            raise UserError(f"{adapter / CONFIG} has {name}", "It is more than weights", _FIX)
