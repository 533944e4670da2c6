"""A judge from its name: where each kind of name leads.

tiny                                the embedded judge (the default)
hf:OWNER/NAME[@REVISION], hf:FOLDER a distilled judge, run on this machine
openai:MODEL[@BASE_URL]             a model behind an OpenAI-compatible server
clip:CHECKPOINT, dino:CHECKPOINT    embedding baselines
direct+..., dreambench+...          another protocol, before any of the first three
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from inspect import Parameter, signature
from typing import Any

from ..calibration import Calibration
from ..errors import UserError
from ..inputs.domain import Domain
from ..local.weights import find_weights, load
from ..records import JudgeInfo
from .base import Judge, check_options
from .distilled import DirectLocalJudge, LocalJudge, OneForwardJudge

DEFAULT = "tiny"
_LOCAL_OPTIONS = ("mode", "batch_size", "device", "dtype", "calibrated", "quantization")


# Beginning of a name -> module and function that make such a judge; the longest that fits is taken.
_MAKERS: dict[str, tuple[str, str]] = {
    "openai:": ("teacher", "openai_judge"),
    "direct+openai:": ("teacher", "openai_judge"),
    "clip:": ("embedding", "ClipJudge"),
    "dino:": ("embedding", "DinoJudge"),
    "dreambench+": ("dreambench", "dreambench_judge"),
    "fake": ("fake", "FakeJudge"),
}


def load_judge(name: str = DEFAULT, quantization: str | None = None, **options: Any) -> Judge:
    """Load a judge by name (see the module's docstring).

    Args:
        name: of the judge.
        quantization: "nf4" for four-bit weights of a local judge.
        options: of a local judge, `mode` ("expected", "greedy", "likelihood"), `batch_size`, `device`, `dtype`,
            `calibrated`;
            of a served judge, those of `teacher.openai_judge` or `dreambench.dreambench_judge`.

    Raises:
        UserError: no such judge, it cannot be loaded, or it does not know an option.

    Example:
        >>> judge = load_judge("tiny")
        >>> judge.score([image], ["two red cubes"])[0].scores["overall"]  # doctest: +SKIP
    """
    protocol, _, rest = name.rpartition("+") if name.startswith(("direct+", "dreambench+")) else ("", "", name)
    if protocol in ("", "direct") and (rest == DEFAULT or rest.startswith("hf:")):
        return _local_judge(name, rest, direct=protocol == "direct", quantization=quantization, **options)
    for beginning in sorted(_MAKERS, key=len, reverse=True):
        if name.startswith(beginning):
            make = _find(name, *_MAKERS[beginning])
            options |= {"quantization": quantization} if quantization else {}
            taken = signature(make).parameters
            if not any(parameter.kind is Parameter.VAR_KEYWORD for parameter in taken.values()):
                check_options(name, options, taken.keys() - {"name", "checkpoint"})
            return make(name, *_checkpoint(name), **options)
    raise UserError(
        f"no judge {name!r}",
        "no kind of judge is named like that",
        "use tiny, hf:OWNER/NAME, hf:FOLDER, openai:MODEL[@BASE_URL], clip:CHECKPOINT or dino:CHECKPOINT",
    )


def _checkpoint(name: str) -> tuple[str, ...]:
    """Checkpoint and revision of `clip:CHECKPOINT[@REVISION]`, `dino:...`; other judges read their name themselves."""
    kind, _, source = name.partition(":")
    checkpoint, at, revision = source.partition("@")
    return (checkpoint, *((revision,) if at else ())) if kind in ("clip", "dino") else ()


def _find(name: str, module: str, function: str) -> Callable[..., Judge]:
    try:
        return getattr(import_module(f".{module}", __package__), function)
    except (ModuleNotFoundError, AttributeError) as error:
        raise UserError(
            f"{name!r} is not available here", f"this installation has no {module}.{function}", "install t2i-judge anew"
        ) from error


def _local_judge(
    name: str,
    source: str,
    direct: bool,
    quantization: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    calibrated: bool = False,
    **options: Any,
) -> LocalJudge:
    check_options(name, options, _LOCAL_OPTIONS)
    weights = find_weights(source)
    if "domain" in weights.card:
        options["declines"] = Domain.from_json(weights.card["domain"]).declines
    if calibrated:
        options["calibrate"] = Calibration.from_card(name, weights.card).apply
    model = load(weights, quantization, device, dtype)
    protocol = DirectLocalJudge if direct else OneForwardJudge
    if not direct:
        options = {"mode": weights.card.get("mode", "expected"), **options}
        options["personalised"] = weights.card.get("personalised", False)
    backend = ("direct" if direct else "one_forward") + (f" {quantization}" if quantization else "")
    return protocol(model, JudgeInfo(name, backend, weights.name, weights.revision), **options)
