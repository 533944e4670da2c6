"""Finds mistakes before a model is loaded or trained, and reports each in one line.

check_base(folder)                              # configuration and weights of a local base
check_hub_version(name, revision)               # configuration of a base on the Hub
check_processor(model.config, processor)        # they belong together
check_conversations(rows, processor, max_length)  # images, their places and the answers all fit
check_texts(texts, processor)                   # no text looks like an image
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from t2i_judge import files
from t2i_judge.errors import UserError, quoted
from t2i_judge.local.templates import render
from t2i_judge.progress import Progress
from t2i_judge.wording import counted

V26 = "openbmb/MiniCPM-V-2_6"
INSTEAD = {
    "2.0": f"Use {V26}",
    "2.5": f"Use {V26}",
    "4.0": f"Use {V26}, or openbmb/MiniCPM-V-4.6 with the recipe minicpm-v-4.6",
    "4.5": f"Use {V26}, or openbmb/MiniCPM-V-4.6 with the recipe minicpm-v-4.6",
}


def check_base(folder: Path) -> None:
    """Check a local base: a vision-language model that transformers or this package knows, with all its weights.

    Only headers of weight files are read.

    Raises:
        UserError: a wrong folder, the configuration of another MiniCPM version, a missing shard, a truncated file,
            weights that are not those of the configuration.
    """
    if not folder.is_dir():
        raise UserError(
            f"There is no folder {folder}", "", "Give a folder with config.json, or a Hub id such as " + V26
        )
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        base = read_object(folder / "adapter_config.json").get("base_model_name_or_path")
        raise UserError(f"{folder} is an adapter, not a base", f"It was trained on {base}", f"Give {base}")
    config = read_object(folder / "config.json")
    check_version(config, str(folder))
    shapes = check_weights(folder)
    if config.get("model_type") == "minicpmv":
        check_shapes(folder, shapes)
    if not any((folder / name).is_file() for name in ("processor_config.json", "preprocessor_config.json")):
        raise UserError(
            f"{folder} has no preprocessor_config.json",
            "It says how images become tokens",
            "Copy the base's processor and tokenizer files to this folder",
        )


def check_hub_version(name: str, revision: str | None = None) -> None:
    """Check the config.json of a base on the Hub, as `check_version` does; nothing else of it is downloaded.

    Raises:
        UserError: another MiniCPM than 2.6, or a path rather than a Hub id.
        OSError: it cannot be had.
    """
    from transformers.utils import cached_file

    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise UserError(f"There is no folder {name}", "", f"Give a folder with config.json, or a Hub id such as {V26}")
    check_version(read_object(Path(str(cached_file(name, "config.json", revision=revision)))), name)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file of a model folder. Raises `UserError` where there is none."""
    if not path.is_file():
        raise UserError(f"{path.parent} has no {path.name}", "It is not a model folder", "Use the folder of the model")
    return files.read_object(path, "download it again")


def check_version(config: Mapping[str, Any], source: str) -> None:
    """Check a config.json for another MiniCPM than 2.6 under the same model type. Raises `UserError`, naming it."""
    kind = config.get("model_type")
    if kind == "minicpmo":
        raise UserError(
            f"{source} is MiniCPM-o {config.get('version', '2.6')}",
            "It is another model; this tool supports MiniCPM-V 2.6",
            f"Use {V26}",
        )
    if kind != "minicpmv":
        return
    # 2.0 and 2.5 wrote no version; they differ in width.
    version = str(config.get("version", "2.0" if config.get("hidden_size") == 2304 else "2.5"))
    if version != "2.6":
        raise UserError(
            f"{source} is MiniCPM-V {version}",
            "It has the model type of 2.6, but another architecture",
            INSTEAD.get(version, f"Use {V26}"),
        )


def check_weights(folder: Path) -> dict[str, tuple[int, ...]]:
    """Check that every safetensors file of a model is there and whole; returns shapes by name. Raises `UserError`."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        expected: dict[str, set[str]] = {}
        for tensor, shard in read_object(index).get("weight_map", {}).items():
            expected.setdefault(shard, set()).add(tensor)
    else:
        expected = {"model.safetensors": set()}
    missing = [shard for shard in sorted(expected) if not (folder / shard).is_file()]
    if missing:
        pickled = any(folder.glob("*.bin"))
        raise UserError(
            f"{folder} has no {missing[0]}" + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
            "Pickled weights (.bin) are not loaded" if pickled else "The model's weights are incomplete",
            "Convert them to safetensors" if pickled else "Download the folder again",
        )
    stored: dict[str, tuple[int, ...]] = {}
    for shard, tensors in expected.items():
        shapes = tensor_shapes(folder / shard)
        if absent := sorted(tensors - shapes.keys()):
            raise UserError(f"{folder / shard} lacks {absent[0]}", "Its index names it", "Download the folder again")
        stored |= shapes
    return stored


def check_shapes(folder: Path, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Check a MiniCPM-V-2.6's tensors against its config.json; what is missing would be filled with random numbers.

    Raises:
        UserError: names the first tensor that is missing, foreign, or of another shape.
    """
    from t2i_judge.local.minicpmv.modeling import CHECKPOINT_RENAMINGS

    wanted = _shapes_by_configuration(folder)
    if "lm_head.weight" not in wanted:  # tied, so that a stored one is not read
        shapes = {name: shape for name, shape in shapes.items() if not name.endswith("lm_head.weight")}
    stored = {}
    for name, shape in shapes.items():
        for upstream, ours in CHECKPOINT_RENAMINGS.items():
            name = re.sub(upstream, ours, name)
        stored[name] = shape
    if wrong := sorted(name for name in wanted.keys() | stored if wanted.get(name) != stored.get(name)):
        present, due = stored.get(wrong[0], "missing"), wanted.get(wrong[0], "unknown")
        raise UserError(
            f"{folder}: {wrong[0]} is {present} in the weights and {due} in config.json",
            f"{counted(len(wrong), 'tensor differs', 'tensors differ')}, so they are not of the same model",
            "Download the folder again",
        )


def _shapes_by_configuration(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of what the model of that config.json loads, by this package's names."""
    import torch

    from t2i_judge.local.minicpmv.configuration import MiniCPMVConfig
    from t2i_judge.local.minicpmv.modeling import MiniCPMVForConditionalGeneration

    try:
        with torch.device("meta"):
            model = MiniCPMVForConditionalGeneration(MiniCPMVConfig.from_pretrained(folder))
    except (TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"No model can be made from {folder / 'config.json'}", reason, "Download it again") from error
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if name not in tied}


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Tensors of a safetensors file: name -> shape. Raises `UserError` where the file is not as long as it says."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > size:
                raise ValueError("its header is cut off")
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        end = 8 + length + max((entry["data_offsets"][1] for entry in header.values()), default=0)
        shapes = {name: tuple(entry["shape"]) for name, entry in header.items()}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is not a complete safetensors file", str(error), "Download it again") from error
    if end != size:
        raise UserError(f"{path} is truncated", f"It has {size} of {end} bytes", "Download it again")
    return shapes


def check_processor(config: Any, processor: Any) -> None:
    """Check that a MiniCPM-V-2.6 configuration and a processor belong together; other models are left alone.

    Raises:
        UserError: another number of tokens per slice, other ids, or more tokens than embeddings.
    """
    if config.model_type != "minicpmv":
        return
    tokenizer = processor.tokenizer
    pairs = {
        "tokens per slice": (config.query_num, processor.image_processor.image_feature_size),
        "patch size": (config.vision_config.patch_size, processor.image_processor.patch_size),
        "id of <image>": (config.image_start_id, tokenizer.convert_tokens_to_ids("<image>")),
        "id of </slice>": (config.slice_end_id, tokenizer.convert_tokens_to_ids("</slice>")),
    }
    for what, (model, processor_size) in pairs.items():
        if model != processor_size:
            raise UserError(
                f"{what}: the model has {model}, the processor {processor_size}",
                "Image tokens and image features would not match",
                "Use preprocessor_config.json and the tokenizer of the base itself",
            )
    if len(tokenizer) > config.vocab_size:
        raise UserError(
            f"The tokenizer has {len(tokenizer)} tokens, the model {config.vocab_size} embeddings",
            "Higher ids have no embedding",
            "Use the tokenizer of the base itself",
        )


def check_conversations(rows: Iterable[Mapping[str, Any]], processor: Any, max_length: int | None = None) -> int:
    """Check training rows: each image has its place, and nothing would be cut.

    Args:
        rows: `images` (PIL) with `messages`, `segments` (several conversations), or `prompt` and `completion`.
        processor: of the model.
        max_length: of the training, in tokens; None cuts nothing.

    Returns:
        Tokens of the longest conversation.

    Raises:
        UserError: names the row.
    """
    longest = 0
    for number, row in enumerate(Progress(rows, desc="check rows", unit="row", leave=False)):
        sizes = [(image.height, image.width) for image in row["images"]]
        for messages in _conversations(row):
            length, image_tokens = _measure(messages, sizes, processor, number)
            longest = max(longest, length)
            if max_length is not None and length > max_length:
                cut = "Image tokens and the answer" if image_tokens >= max_length else "The answer"
                raise UserError(
                    f"Row {number} has {length} tokens ({image_tokens} for images), max_length is {max_length}",
                    f"{cut} would be cut off",
                    f"Set training.max_length to null or to at least {length}, or lower base.max_slice_nums",
                )
    return longest


def check_texts(texts: Iterable[str], processor: Any) -> None:
    """Check that no text for trl's own collator has what stands for an image. Raises `UserError`, quoting it.

    Packed rows need no such check: there, control tokens in texts are defused.
    """
    marker = getattr(processor, "image_marker", processor.image_token)
    if wrong := next((text for text in texts if marker in text), None):
        raise UserError(
            f"A training text has {quoted(marker)}: {quoted(wrong[:80])}",
            "It would be read as an image",
            "Remove it from the data",
        )


def _conversations(row: Mapping[str, Any]) -> Sequence[Sequence[Mapping[str, Any]]]:
    if "segments" in row:
        return row["segments"]
    return [row["messages"] if "messages" in row else [*row["prompt"], *row["completion"]]]


def _measure(messages: Sequence[Any], sizes: list[tuple[int, int]], processor: Any, number: int) -> tuple[int, int]:
    """Tokens of a conversation, and how many of them are its images'."""
    from trl.data_utils import prepare_multimodal_messages

    marker = getattr(processor, "image_marker", processor.image_token)
    try:
        typed = prepare_multimodal_messages([dict(message) for message in messages], images=[None] * len(sizes))
        text = render(processor, [(typed, False)])[0].text
        places = text.count(marker)
        if places != len(sizes):
            raise ValueError(f"the rendered text has {marker!r} {counted(places, 'time')}")
    except ValueError as error:
        raise UserError(
            f"Row {number}: {counted(len(sizes), 'image does', 'images do')} not fit the conversation",
            str(error),
            'Write one {"type": "image"} part for each image, in order, and no image token in a text',
        ) from error
    image_tokens = sum(processor._get_num_multimodal_tokens(image_sizes=sizes)["num_image_tokens"]) if sizes else 0
    words = len(processor.tokenizer(text.replace(marker, processor.image_token), add_special_tokens=False)["input_ids"])
    return words - places + image_tokens, image_tokens
