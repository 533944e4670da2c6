"""The processor of a vision-language model, as judges need it: images and text, no video."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import UserError
from ..files import read_object

_VIDEOS = "video_processor"
_SOUND = "audio_tokenizer"  # a model of its own, by any name and of any size, which transformers loads at once
_NAMED_IN = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")


def load_processor(source: str, revision: str | None = None, max_slice_nums: int | None = None) -> Any:
    """The processor in a folder or Hub repository, without its part for videos, the only one that needs torchvision.

    Args:
        source: folder or Hub id.
        revision: of a Hub repository.
        max_slice_nums: most slices of an image, for processors that cut; None keeps the processor's own.

    Raises:
        UserError: the processor does not cut images, or has another model for sounds.
        OSError, ValueError, ImportError: as transformers.
    """
    from transformers import AutoProcessor

    from .minicpmv.registration import register

    register()
    revision = revision or "main"
    _check_no_sound(source, revision)
    loader = images_only(_class_name(source, revision) or "") or AutoProcessor
    processor = loader.from_pretrained(source, revision=revision, trust_remote_code=False)
    if max_slice_nums is not None:
        images: Any = getattr(processor, "image_processor", None)
        if not hasattr(images, "max_slice_nums"):
            raise UserError(
                f"The option max_slice_nums is {max_slice_nums}",
                f"{type(images).__name__} does not slice images",
                "Leave it out",
            )
        images.max_slice_nums = max_slice_nums
    return processor


class _NoVideos(dict[str, Any]):
    """Stands where a video processor would: written down it is {}, and every setting of it is None."""

    model_input_names: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def images_only(name: str) -> Any:
    """transformers' processor class of that name, less its video half; None where it has none. Saved, it is whole."""
    import transformers

    whole: Any = getattr(transformers, name, None)
    if whole is None or _VIDEOS not in whole.get_attributes():
        return None

    def check_argument_for_proper_class(self: Any, name: str, argument: Any) -> Any:
        return None if name == _VIDEOS else whole.check_argument_for_proper_class(self, name, argument)

    def get_attributes(cls: Any, /) -> list[str]:
        return [name for name in whole.get_attributes() if name != _VIDEOS]

    def from_args_and_dict(cls: Any, /, args: Sequence[Any], processor_dict: dict[str, Any], **rest: Any) -> Any:
        parts = iter(args)  # each class takes them in an order of its own
        every = [_NoVideos() if name == _VIDEOS else next(parts) for name in whole.get_attributes()]
        processor = tolerant.from_args_and_dict(every, processor_dict, **rest)
        del processor.video_processor
        processor.__class__ = cls
        return processor

    tolerant: Any = type(name, (whole,), {"check_argument_for_proper_class": check_argument_for_proper_class})
    own: dict[str, Any] = {
        function.__name__: classmethod(function) for function in (get_attributes, from_args_and_dict)
    }
    return type(name, (tolerant,), own | {_VIDEOS: _NoVideos()})


def _check_no_sound(source: str, revision: str) -> None:
    """Raise `UserError` for a processor that names one more model, of which nothing was looked at."""
    own, alone = _NAMED_IN[0], f"{_SOUND}_config.json"
    named = own if _SOUND in _read(source, revision, own) else alone if _read(source, revision, alone) else None
    if named:
        fix = "Use another model, or remove that part"
        raise UserError(f"{source} is not loaded", f"Its {named} names one more model, for sounds", fix)


def _class_name(source: str, revision: str) -> str | None:
    """The processor's class by the files of a model, by its type where none names it; None where that is unknown."""
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    named = next(filter(None, (_read(source, revision, name).get("processor_class") for name in _NAMED_IN)), None)
    return named or PROCESSOR_MAPPING_NAMES.get(_read(source, revision, "config.json").get("model_type", ""))


def _read(source: str, revision: str, name: str) -> dict[str, Any]:
    """A file of JSON in a folder or Hub repository; nothing where there is none."""
    from transformers.utils import cached_file

    path = cached_file(source, name, revision=revision, _raise_exceptions_for_missing_entries=False)
    return read_object(path) if path else {}
