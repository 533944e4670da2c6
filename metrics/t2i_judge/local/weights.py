"""Find, check and load the weights of a local judge: an adapter on a base, or a merged model. Safetensors only.

A judge's folder holds one of
    adapter_config.json, adapter_model.safetensors   and the base in base/, or named in adapter_config.json
    adapter/ and base/                               (as the embedded judge lies in the package)
    config.json, *.safetensors                       a merged model
and may hold judge.json: what a release knows about the judge (revision, precision, domain statistics, calibration).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import UserError, faults, quoted
from ..files import read_object, sha256_once
from ..running import disk_is_full
from . import templates, trial
from .compiling import compiled_when_called
from .fetching import fetch, is_hub_id
from .intact import FILES, check_adapter, check_revision, check_safetensors, contents
from .model import LocalModel
from .patterns import refuse_own_adapter
from .precision import Precision, choose, require_bitsandbytes
from .processors import load_processor
from .remedies import remedy
from .trial import ModelFiles, described, tried_out
from .whole import check_loaded, check_model, check_sizes, whole_adapter

EMBEDDED = Path(__file__).parents[1] / "weights" / "tiny"
CARD = "judge.json"
_TYPES = {  # of what is read of a judge.json
    **dict.fromkeys(("name", "revision", "mode", "dtype", "protocol", "template_hash"), str),
    **dict.fromkeys(("calibration", "domain", "intervals", "quantization"), dict),
    "personalised": bool,
    "answers_first": bool,
    "quoted_summaries": bool,
    "max_slice_nums": int,
}
_CALLED = {str: "text", dict: "an object", bool: "true or false", int: "a whole number"}
# Of judge.json, what decides about scores; an option of the judge may say some of it in its place.
_DECIDING = ("mode", "dtype", "quantization", "max_slice_nums", "personalised", "domain")
_INSTEAD = ("mode", "dtype", "distilled")
_ADAPTER = "adapter_config.json"
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".ckpt")


@dataclass(frozen=True)
class Weights:
    """The places of a judge's parts.

    Attributes:
        name: of the judge's repository or folder.
        base: folder or Hub repository of the base, or of the merged model.
        base_revision: of a Hub repository.
        adapter: folder of the adapter; None for a merged model.
        revision: commit, or SHA-256 over the weight files, of what makes this judge.
        card: the contents of judge.json; empty when there is none.
        distilled: whether there is a judge.json or an adapter. Any other model judges zero-shot.
    """

    name: str
    base: str
    base_revision: str | None
    adapter: Path | None
    revision: str
    card: dict[str, Any] = field(default_factory=dict)
    distilled: bool = False


@dataclass(frozen=True)
class Parts:
    """A model of transformers with its processor, and the precision of its weights in words ("" for plain float32)."""

    model: Any
    processor: Any
    precision: str


def find_weights(model: str | None, revision: str | None = None) -> Weights:
    """The weights in a folder or a Hub repository; None: the embedded ones. Raises `UserError` if there are none."""
    if model is None:
        return _embedded()
    if Path(model).is_dir():
        return in_folder(Path(model))
    if model.count("/") != 1 or not all(model.split("/")):
        raise UserError(
            f"There is no judge hf:{model}", "There is no such folder", "Write hf:FOLDER or hf:OWNER/NAME[@REVISION]"
        )
    return _on_the_hub(model, revision)


def _embedded() -> Weights:
    """The judge that comes with this library."""
    if not (EMBEDDED / "adapter").is_dir():
        raise UserError(
            "This package has no embedded judge",
            f"There is no {EMBEDDED / 'adapter'}",
            "Run `make release` and `make embed` in a checkout, or use another judge",
        )
    return in_folder(EMBEDDED)


def in_folder(folder: Path, name: str | None = None, revision: str | None = None) -> Weights:
    """The weights in a folder; `revision` names them, else judge.json does, else their SHA-256.

    Raises:
        UserError: the folder has neither an adapter nor a model, or the base that it names on the Hub is a folder, too.
    """
    card_path = folder / CARD
    card = _checked(read_object(card_path), card_path) if card_path.is_file() else {}
    name = name or card.get("name") or folder.resolve().name
    adapter = next((path for path in (folder, folder / "adapter") if (path / _ADAPTER).is_file()), None)
    if adapter is None and not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} is not a judge", f"It has neither {_ADAPTER} nor config.json", "Name the folder of a model"
        )
    made_of = adapter or folder
    revision = revision or card.get("revision") or digest(made_of)
    if adapter is None:
        return Weights(name, str(folder), None, None, revision, card, card_path.is_file())
    inside = folder / "base"
    if inside.is_dir():
        return Weights(name, str(inside), None, adapter, revision, card, True)
    config = read_object(adapter / _ADAPTER)
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str):
        raise UserError(
            f"{adapter / _ADAPTER} names no base", "Its base_model_name_or_path is missing", "Train it again"
        )
    at = config.get("revision")
    if (at or is_hub_id(base)) and not Path(base).is_absolute() and Path(base).is_dir():
        path = "" if at else f", or write {quoted(f'./{base}')} there"  # a folder has no revisions
        raise UserError(
            f"{adapter / _ADAPTER} means {quoted(base)} {'at a revision ' if at else ''}on the Hub, and a folder here "
            "has that name",
            "The library transformers would load the folder",
            f"Run this in another folder, or move that one{path}",
        )
    return Weights(name, base, at, adapter, revision, card, True)


def _checked(card: dict[str, Any], path: Path) -> dict[str, Any]:
    """A judge.json. Raises `UserError` where what we read of it is of another type."""
    for name, kind in _TYPES.items():
        value = card.get(name)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool) != (kind is bool)):
            fact = f"{path}: its {name} is {quoted(value)}"
            raise UserError(fact, f"It must be {_CALLED[kind]}", "Download judge.json again")
    return card


def digest(folder: Path) -> str:
    """SHA-256 over the safetensors files of a folder, in order of name.

    Raises:
        UserError: there are none.
        OSError: one of them cannot be read, or is a pipe or a device.
    """
    if not folder.is_dir():
        raise UserError(
            f"There is no {folder}", "Nothing was trained or saved there", "Train the judge, or name its folder"
        )
    files = sorted(folder.glob("*.safetensors"))
    if not files and any(path.suffix in _PICKLES for path in folder.iterdir()):
        raise UserError(
            f"{folder} has no *.safetensors", "Pickled weights are never read", "Save the model with safetensors"
        )
    if not files:
        raise UserError(f"{folder} has no weights", "Its *.safetensors are missing", "Train it, or download it again")
    whole = hashlib.sha256()
    for path in files:
        whole.update(bytes.fromhex(sha256_once(path)))
    return f"sha256:{whole.hexdigest()}"


def beside_revision(weights: Weights) -> str:
    """SHA-256 of what makes a judge in a folder, and its revision does not tell: its base, and all but its weights.

    Its card does not count: it is written again whenever the judge is measured (see `settings`).
    """
    base, told = Path(weights.base), weights.revision.startswith("sha256:")
    folders = {path.resolve(): path for path in (weights.adapter or base, base) if path.is_dir()}
    parts = [contents(path, rf"{CARD}|.*\.safetensors") for path in folders.values()]
    if not told:  # a name, which says nothing about bytes
        parts.append(digest(weights.adapter or base))
    if weights.adapter is not None and base.is_dir():
        parts.append(digest(base))
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()


def settings(weights: Weights, options: Mapping[str, Any]) -> dict[str, Any]:
    """What judge.json says that decides about the scores of a judge with these options; objects as their SHA-256.

    Neither names nor reports count.
    """
    said = {name: weights.card.get(name) for name in _DECIDING} | {"distilled": weights.distilled}
    if options.get("calibrated"):
        calibration = weights.card.get("calibration") or {}
        said["calibration"] = {name: value for name, value in calibration.items() if name != "report"}
    said = {name: value for name, value in said.items() if value and not (name in _INSTEAD and options.get(name))}
    return {name: _digest(value) if isinstance(value, dict) else value for name, value in said.items()}


def _digest(value: dict[str, Any]) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()}"


def _on_the_hub(repository: str, revision: str | None) -> Weights:
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = fetch(repository, revision, FILES)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise UserError(
            f"Cannot get {repository}{f'@{revision}' if revision else ''} from the Hub",
            str(error).strip().splitlines()[0],
            "Check the name, the revision, the token (HF_TOKEN) and the connection",
        ) from error
    return in_folder(folder, repository, folder.name)


def check(weights: Weights) -> None:
    """Raise `UserError` if files of weights are pickled, cut off, missing, or not those of judge.json."""
    folders = [Path(weights.base)] if Path(weights.base).is_dir() else []
    if weights.adapter is not None:
        check_adapter(weights.adapter)
        folders.append(weights.adapter)
    for folder in folders:
        check_safetensors(folder)
    made_of = weights.adapter or next(iter(folders), None)
    if made_of is not None and weights.card.get("revision"):
        check_revision(made_of, weights.card["revision"], digest(made_of))


def load(
    weights: Weights, quantization: str | None = None, device: str | None = None, dtype: str | None = None
) -> LocalModel:
    """The model of a distilled judge, loaded as `load_parts` does.

    Raises:
        UserError: as `load_parts`, or a tokenizer that splits score levels.
    """
    parts = load_parts(weights, quantization, device, dtype)
    return LocalModel(parts.model, parts.processor, parts.precision)


def load_parts(
    weights: Weights, quantization: str | None = None, device: str | None = None, dtype: str | None = None
) -> Parts:
    """Load model and processor, as the judge was trained unless told otherwise (see `precision`).

    Args:
        weights: from `find_weights`.
        quantization: "nf4" for four-bit language-model weights, "none" for weights as the base has them; None: what
            judge.json says, and without it none.
        device: "cpu", "cuda", ...; None: a GPU where there is one.
        dtype: "float32", "bfloat16" or "float16"; None: what judge.json says, and without it bfloat16 on a GPU, with
            nf4 and for models of more than a billion parameters, else float32.

    Raises:
        UserError: unknown quantization, or weights that cannot be loaded.
    """
    import torch
    from transformers.utils.hub import resolve_revision

    from .minicpmv.registration import register

    if not _is_ours(weights):
        trial.prepare(_files(weights))
    check(weights)
    at = resolve_revision(weights.base, weights.base_revision)  # what is looked at is what is loaded
    weights = replace(weights, base_revision=at)
    register()
    templates.prepare()
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        parameters = _parameters(weights)
        chosen = choose(weights.card, quantization, dtype, device, parameters)
        if chosen.four_bit:
            require_bitsandbytes(weights.name)
        model = _load_model(weights, chosen, device)
        processor = load_processor(*_processor_of(weights), weights.card.get("max_slice_nums"))
    except UserError:
        raise
    except faults() as error:  # files may hold anything, and each library has its own way to say so
        if disk_is_full(error):
            raise
        raise UserError(
            f"Cannot load {weights.adapter or weights.base}",
            (str(error).strip() or type(error).__name__).splitlines()[0],
            remedy(error),
        ) from error
    return Parts(model, processor, str(chosen))


def _is_ours(weights: Weights) -> bool:
    """Whether all of it came with this package."""
    return all(Path(each).is_relative_to(EMBEDDED) for each in (weights.base, weights.adapter or weights.base))


def _parameters(weights: Weights) -> int:
    """Of the base, as its configuration says. Raises `UserError` for files that describe too much."""
    if _is_ours(weights):
        return described(weights.base).model
    found = tried_out(_files(weights))
    check_model(weights.base, weights.base_revision, found.model)
    if weights.adapter is not None:
        check_sizes(weights.adapter, found.adapter)
    return found.model


def _files(weights: Weights) -> ModelFiles:
    slices = weights.card.get("max_slice_nums")
    return ModelFiles(weights.base, weights.base_revision, _processor_of(weights), weights.adapter, slices=slices)


def _load_model(weights: Weights, precision: Precision, device: str) -> Any:
    from transformers import AutoModelForImageTextToText

    refuse_own_adapter(weights.base, weights.base_revision or "main")
    four_bit = precision.four_bit
    options: dict[str, Any] = {"quantization_config": four_bit.config()} if four_bit else {}
    loaded: Any = AutoModelForImageTextToText.from_pretrained(
        weights.base,
        revision=weights.base_revision or "main",
        dtype=precision.dtype,
        device_map=device,
        use_safetensors=True,
        trust_remote_code=False,
        output_loading_info=True,
        **options,
    )
    model = loaded[0]
    check_loaded(*loaded)
    layers: Any = model.modules() if four_bit else ()
    for layer in layers:  # bitsandbytes would repack weights in place, and fail where sizes are no multiples of 64
        if hasattr(layer, "support_avx512bf16_for_cpu"):
            layer.support_avx512bf16_for_cpu = False
    if weights.adapter is None:
        return model
    with compiled_when_called():
        from peft import PeftModel

    with whole_adapter():
        adapted = PeftModel.from_pretrained(model, str(weights.adapter), torch_device=device)
    plain = precision == Precision("float32")
    return adapted.merge_and_unload() if plain else adapted  # exact there, and faster


def _processor_of(weights: Weights) -> tuple[str, str | None]:
    """Folder or repository, and revision: the adapter's when a processor was saved there, else the base's."""
    folder = weights.adapter
    own = folder is not None and any(
        (folder / name).is_file() for name in ("processor_config.json", "preprocessor_config.json")
    )
    return (str(folder), None) if own else (weights.base, weights.base_revision)
