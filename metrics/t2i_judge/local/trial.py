"""A stranger's model, tried in a process of its own that ends when it takes too much, before it is loaded in this one.

A few bytes of its files can ask for any size: ten million layers or experts, a billion names of labels, pictures a
million pixels wide, a text that doubles forty times. What reads them fills the memory before anybody could look.
"""

from __future__ import annotations

import os
import re
import resource
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError, faults, quoted
from ..files import read_object
from ..processes import Ended, Processes, Reply, Timed, serve
from . import tried
from .compiling import compiled_when_called
from .fetching import check_announced, fetch
from .lengthening import check_lengthening

SMALL_FILES = ["*.json", "*.jinja", "*.txt", "*.model"]  # of a repository: all but weights
MODEL, EMBEDDING = "AutoModelForImageTextToText", "AutoModel"  # how transformers calls what is loaded
SECONDS = 60.0  # of one core; large models that people publish take 5
_PATIENCE = 10  # times that, by the clock, on a machine that is busy
_MEMORY = 4_000_000_000  # bytes of data, a tenth of which are torch's and transformers'
_SPACE = 1 << 46  # bytes of address space, of which a GPU's libraries take much and fill little
_MOST = {  # of what a setting counts, by the end of its name
    re.compile(r"(?:layer|depth|block)s?$"): 1_000,  # eight times those of the largest that are known
    re.compile(r"^num_labels$"): 1_000_000,  # each gets a name
}
_AGAIN = "Download it again, or export it again"
_TRIALS = Processes(__name__, 1, SECONDS, _SPACE, _PATIENCE)
_TEXT = "Is it 1 RED apple, or 20 €?"
_SIDES = (300, 1_000, 4_000)  # pixels of pictures: some processors cut a large one into parts without end
_TOKENS = 100_000  # of a picture; those that people publish make 16,000 of the large one at most


@dataclass(frozen=True)
class Described:
    """How many parameters a model has by its config.json, and an adapter by its own."""

    model: int
    adapter: int = 0


@dataclass(frozen=True)
class ModelFiles:
    """What is tried out before it is loaded.

    Args:
        model: its folder, or its repository on the Hub, of which all but the weights is fetched.
        revision: of a repository.
        processor: folder or repository of the processor, and the revision.
        adapter: folder of what is put into the model, if anything is.
        kind: `MODEL` or `EMBEDDING`.
        slices: most of an image, where judge.json says so.
    """

    model: str
    revision: str | None
    processor: tuple[str, str | None]
    adapter: Path | None = None
    kind: str = MODEL
    slices: int | None = None


def tried_out(files: ModelFiles) -> Described:
    """What a model's files describe, once its processor has read pictures and a text.

    Raises:
        UserError: it has layers without end, or takes too long or too much memory.
        ValueError: transformers or peft does not take it.
    """
    from transformers.utils import cached_file

    model, revision = files.model, files.revision
    if not Path(model).is_dir():
        check_announced(model, revision, SMALL_FILES)
        cached_file(model, "config.json", revision=revision or "main")  # where there is none, transformers says so best
    request = _request(files, _folder(model, revision), _folder(*files.processor))
    if known := tried.find(request):
        return Described(*known)
    try:
        head, _ = _TRIALS.ask(request)
    except Ended as error:
        if not _is_possible():
            return described(request["model"], request["adapter"], request["kind"])
        much = (
            f"more than {SECONDS:.0f} seconds of work" if error.slow else f"more than {_MEMORY // 10**9} GB of memory"
        )
        raise UserError(f"{model} is not loaded", f"What its files describe takes {much}", _AGAIN) from None
    if "endless" in head:
        name, number, most = head["endless"]
        raise UserError(f"{model} has the {name} {quoted(number)}", f"At most {most:,} are built", _AGAIN)
    if "reason" in head:
        raise ValueError(head["reason"])
    tried.keep(request, *head["parameters"])
    return Described(*head["parameters"])


def prepare(files: ModelFiles) -> None:
    """Start the process for what will be tried out, which takes it some seconds, and do not wait for it.

    What was tried before needs none.
    """
    here, its_processor = _folder_here(files.model, files.revision), _folder_here(*files.processor)
    if here is None or its_processor is None or not tried.find(_request(files, here, its_processor)):
        _TRIALS.prepare()


def described(folder: str, adapter: str | None = None, kind: str = MODEL) -> Described:
    """What the files of a model and an adapter describe, which are believed here; nothing of it takes memory."""
    import torch
    import transformers

    from .minicpmv.registration import register

    register()
    _check_counts(read_object(Path(folder) / "config.json"))  # of a billion, transformers would write a list
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=False)
    _check_counts(config.to_dict())
    with torch.device("meta"):
        model: Any = getattr(transformers, kind).from_config(config, trust_remote_code=False)
        alone = int(model.num_parameters())
        if adapter is None:
            return Described(alone)
        with compiled_when_called():
            from peft import PeftConfig, get_peft_model
        settings: Any = PeftConfig.from_pretrained(adapter)
        if hasattr(settings, "init_lora_weights"):
            settings.init_lora_weights = False  # the file has them
        whole = get_peft_model(model, settings)
        return Described(alone, sum(parameter.numel() for parameter in whole.parameters()) - alone)


def _is_possible() -> bool:
    """Whether such a process works on this machine at all: with nothing to try, no model can end it."""
    try:
        return bool(_TRIALS.ask({})[0])
    except Ended:
        return False


class _Endless(Exception):
    """A model has too many layers, or other parts; `args` are the setting's name, its value and the most."""

    def __str__(self) -> str:
        return "it has the {} {!r}, and at most {:,} are built".format(*self.args)


def _check_counts(settings: Any) -> None:
    for name, value in _numbers(settings):
        for ending, most in _MOST.items():
            if value > most and ending.search(name):
                raise _Endless(name, value, most)


def _request(files: ModelFiles, model: str, processor: str) -> dict[str, Any]:
    """What the process is asked, by the folders where the files lie."""
    adapter = str(files.adapter) if files.adapter else None
    options = {"kind": files.kind, "slices": files.slices}
    return {"model": model, "processor": processor, "adapter": adapter, **options}


def _folder(model: str, revision: str | None) -> str:
    """Where the files of a model lie."""
    if Path(model).is_dir():
        return model
    return str(fetch(model, revision or "main", SMALL_FILES))


def _folder_here(model: str, revision: str | None) -> str | None:
    """The same of what need not be fetched; else None."""
    from huggingface_hub import snapshot_download

    if Path(model).is_dir():
        return model
    with suppress(OSError, ValueError):  # it was never fetched, or is no name of a repository
        return snapshot_download(model, revision=revision or "main", local_files_only=True)
    return None


def _answer(request: dict[str, Any], _: bytes, timed: Timed) -> Reply:
    if not request.get("model"):
        return {"ready": True}, b""
    try:
        with timed():
            for folder in (request["model"], request["processor"]):
                check_lengthening(Path(folder))
            found = described(request["model"], request["adapter"], request["kind"])
            _use(request["processor"], request["kind"], request["slices"])
    except _Endless as endless:
        return {"endless": endless.args}, b""
    except MemoryError:
        raise SystemExit from None
    except faults() as error:  # files may hold anything
        if _is_memory(error):
            raise SystemExit from None
        return {"reason": str(error)[:1000].strip() or type(error).__name__}, b""
    return {"parameters": [found.model, found.adapter]}, b""


class _TooMany(ValueError):
    """A picture becomes too many tokens."""


def _use(source: str, kind: str, slices: int | None) -> None:
    """Let a processor read pictures and a text. What it cannot read is found, and said, when it is loaded.

    Raises `_TooMany`, or `MemoryError` for any error that speaks of it.
    """
    from PIL import Image
    from transformers import AutoImageProcessor, AutoTokenizer

    from .processors import load_processor
    from .templates import encoded, render

    noise = Image.effect_noise((300, 200), 60).convert("RGB")
    pictures = [noise.resize((side, side * 2 // 3)) for side in _SIDES]

    def ask() -> None:
        processor = load_processor(source, None, slices)
        for picture in pictures:
            content = [{"type": "image", "image": picture}, {"type": "text", "text": _TEXT}]
            turn = {"role": "user", "content": content}
            inputs = encoded(processor, [turn], render(processor, [([turn], True)])[0].text)
            if (tokens := inputs["input_ids"].shape[1]) > _TOKENS:
                raise _TooMany(f"its processor makes {tokens:,} tokens of a picture; at most {_TOKENS:,} are read")

    def look() -> None:
        processor: Any = AutoImageProcessor.from_pretrained(source, backend="pil", trust_remote_code=False)
        for picture in pictures:
            processor(images=picture, return_tensors="pt")

    def read() -> None:
        tokenizer: Any = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        tokenizer(_TEXT)

    for use in (ask,) if kind == MODEL else (look, read):
        try:
            use()
        except (MemoryError, _TooMany):
            raise
        except faults() as error:
            if _is_memory(error):
                raise MemoryError from error


def _is_memory(error: BaseException) -> bool:
    return bool(re.search(r"alloc|memory", str(error)))


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


if __name__ == "__main__":
    with suppress(ValueError):  # a lower limit holds already, or (on macOS) none can
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY,) * 2)
    os.environ |= {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}  # all was fetched; nothing is computed
    import torch
    from transformers.utils import logging

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # what there is to warn of is said when the model is loaded
    logging.set_verbosity_error()
    serve(_answer)
