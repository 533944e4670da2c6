"""Images and text into MiniCPM-V-2.6's batch: slicing, packing, image tokens, chat template.

Arithmetic and order are the reference's (bit for bit with Pillow < 13, which still resizes as its pinned version does).
"""

# mypy: disable-error-code="assignment,override,misc"
# (transformers declares wider attribute and argument types than its own subclasses use)
#
# No `from __future__ import annotations` here: transformers reads the annotations of the kwargs classes as types.

import math
import re
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
from PIL import Image
from transformers import BatchFeature, ProcessorMixin, Qwen2Tokenizer
from transformers.image_processing_utils import BaseImageProcessor
from transformers.image_transforms import to_pil_image
from transformers.image_utils import make_flat_list_of_images
from transformers.processing_utils import ImagesKwargs, MultiModalData, ProcessingKwargs

# What stands for an image in a text, as in upstream's chat().
IMAGE_MARKER = "(<image>./</image>)"
_INDEX = "{index}"

# Upstream's layout: a default system turn, parts joined by newlines. {% generation %} marks what training learns.
CHAT_TEMPLATE = (
    "{%- if messages[0]['role'] != 'system' -%}"
    "{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' -}}"
    "{%- endif -%}"
    "{%- for message in messages -%}"
    "{%- set content = namespace(text='') -%}"
    "{%- if message['content'] is string -%}"
    "{%- set content.text = message['content'] -%}"
    "{%- else -%}"
    "{%- for part in message['content'] -%}"
    "{%- set content.text = content.text + ('' if loop.first else '\\n') -%}"
    "{%- set content.text = content.text + ('" + IMAGE_MARKER + "' if part['type'] == 'image' else part['text']) -%}"
    "{%- endfor -%}"
    "{%- endif -%}"
    "{{- '<|im_start|>' + message['role'] + '\\n' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{- content.text + '<|im_end|>' -}}{%- endgeneration -%}"
    "{%- else -%}"
    "{{- content.text + '<|im_end|>' -}}"
    "{%- endif -%}"
    "{{- '\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)


def _to_multiple(length: float, patch_size: int) -> int:
    return max(round(length / patch_size) * patch_size, patch_size)


def fit_size(width: float, height: float, resolution: int, patch_size: int, enlarge: bool) -> tuple[int, int]:
    """Width and height of at most `resolution`**2 pixels (that many if `enlarge`), same shape, in whole patches."""
    if width * height > resolution**2 or enlarge:
        ratio = width / height
        height = int(resolution / math.sqrt(ratio))
        width = int(height * ratio)
    return _to_multiple(width, patch_size), _to_multiple(height, patch_size)


def choose_grid(width: int, height: int, resolution: int, max_slice_nums: int) -> tuple[int, int] | None:
    """Columns and rows into which an image is cut, nearest in shape to it; None where it is not cut."""
    wanted = min(math.ceil(width * height / resolution**2), max_slice_nums)
    if wanted <= 1:
        return None
    counts = [count for count in (wanted - 1, wanted, wanted + 1) if 1 < count <= max_slice_nums]
    grids = [(c, count // c) for count in counts for c in range(1, count + 1) if count % c == 0]
    shape = math.log(width / height)
    return min(grids, key=lambda grid: abs(shape - math.log(grid[0] / grid[1])))


def slice_image(
    image: Image.Image, resolution: int, patch_size: int, max_slice_nums: int
) -> tuple[list[Image.Image], tuple[int, int] | None]:
    """The overview of an RGB image, then its slices row by row; and the grid (columns, rows), if it was cut."""
    width, height = image.size
    grid = choose_grid(width, height, resolution, max_slice_nums)
    overview = image.resize(
        fit_size(width, height, resolution, patch_size, enlarge=grid is None), Image.Resampling.BICUBIC
    )
    if grid is None:
        return [overview], None
    columns, rows = grid
    cell_width, cell_height = fit_size(
        _to_multiple(width, columns) / columns, _to_multiple(height, rows) / rows, resolution, patch_size, enlarge=True
    )
    refined = image.resize((cell_width * columns, cell_height * rows), Image.Resampling.BICUBIC)
    corners = [(column * cell_width, row * cell_height) for row in range(rows) for column in range(columns)]
    return [overview] + [refined.crop((x, y, x + cell_width, y + cell_height)) for x, y in corners], grid


def pack_patches(pixels: np.ndarray, patch_size: int) -> np.ndarray:
    """(channels, height, width) -> (channels, patch, patches * patch): the patches row by row, side by side."""
    channels, height, width = pixels.shape
    patches = pixels.reshape(channels, height // patch_size, patch_size, width // patch_size, patch_size)
    return patches.transpose(0, 2, 1, 3, 4).reshape(channels, patch_size, -1)


class MiniCPMVImagesKwargs(ImagesKwargs, total=False):
    """Per-call options of the image processor.

    max_slice_nums: most slices of an image, besides its overview; 1 never cuts.
    scale_resolution: side in pixels of the square whose area a slice approaches.
    slice_mode: False never cuts.
    use_image_id: whether `<image_id>K</image_id>` goes before an image (read by the processor).
    """

    max_slice_nums: int
    scale_resolution: int
    slice_mode: bool
    use_image_id: bool


class MiniCPMVImageProcessor(BaseImageProcessor):
    """Cuts images into slices and packs their patches; reads upstream's preprocessor_config.json.

    Alpha is dropped, not composited, as upstream does.
    """

    model_input_names = ["pixel_values", "target_sizes"]
    valid_kwargs = MiniCPMVImagesKwargs

    def __init__(
        self,
        max_slice_nums: int = 9,
        scale_resolution: int = 448,
        patch_size: int = 14,
        slice_mode: bool = True,
        use_image_id: bool = True,
        image_feature_size: int = 64,
        norm_mean: Sequence[float] = (0.5, 0.5, 0.5),
        norm_std: Sequence[float] = (0.5, 0.5, 0.5),
        **kwargs: Any,
    ) -> None:
        kwargs.pop("auto_map", None)  # remote code: never followed, so never written back
        super().__init__(**kwargs)
        self.max_slice_nums = max_slice_nums
        self.scale_resolution = scale_resolution
        self.patch_size = patch_size
        self.slice_mode = slice_mode
        self.use_image_id = use_image_id
        self.image_feature_size = image_feature_size
        self.norm_mean = list(norm_mean)
        self.norm_std = list(norm_std)

    def preprocess(
        self,
        images: Any,
        max_slice_nums: int | None = None,
        scale_resolution: int | None = None,
        slice_mode: bool | None = None,
        return_tensors: str | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        """Slice and pack images.

        Args:
            images: one, a list, or a list of lists (some of which may be empty) of PIL images, arrays, paths or URLs.
            max_slice_nums, scale_resolution, slice_mode: instead of the processor's own.
            return_tensors: "pt", "np" or None.

        Returns:
            pixel_values (1, 3, patch, patches * patch) float32, target_sizes (slices, 2), rows and columns of patches,
            both only where there is an image; and `grids`: (columns, rows) or None for each image.
        """
        limit = self.max_slice_nums if max_slice_nums is None else max_slice_nums
        resolution = self.scale_resolution if scale_resolution is None else scale_resolution
        if not (self.slice_mode if slice_mode is None else slice_mode):
            limit = 1
        packed, target_sizes, grids = [], [], []
        flat: Any = make_flat_list_of_images(self.fetch_images(images))
        for image in flat:
            rgb = (image if isinstance(image, Image.Image) else to_pil_image(image)).convert("RGB")
            slices, grid = slice_image(rgb, resolution, self.patch_size, limit)
            grids.append(grid)
            for part in slices:
                packed.append(pack_patches(self._normalised(part), self.patch_size))
                target_sizes.append([part.height // self.patch_size, part.width // self.patch_size])
        data: dict[str, Any] = {"grids": grids}
        if packed:
            data |= {"pixel_values": np.concatenate(packed, axis=-1)[None], "target_sizes": np.array(target_sizes)}
        return BatchFeature(data, tensor_type=return_tensors, skip_tensor_conversion=["grids"])

    def _normalised(self, image: Image.Image) -> np.ndarray:
        mean, std = np.array(self.norm_mean, np.float32), np.array(self.norm_std, np.float32)
        pixels = np.asarray(image, dtype=np.float32) / np.float32(255)
        return ((pixels - mean) / std).transpose(2, 0, 1)


def _count_images(images: Any) -> int | list[int]:
    """How many images there are: by sample where they come as a list of lists, else in all."""
    if images is None or (isinstance(images, (list, tuple)) and not images):
        return 0
    if isinstance(images, (list, tuple)) and all(isinstance(row, (list, tuple)) for row in images):
        return [len(row) for row in images]
    return len(make_flat_list_of_images(images))  # type: ignore[arg-type]


class MiniCPMVTokenizer(Qwen2Tokenizer):
    """Qwen2's byte-level BPE under the name that upstream's tokenizer_config.json asks for."""


class MiniCPMVProcessorKwargs(ProcessingKwargs, total=False):
    """Options of the processor: those of the image processor and of the tokenizer."""

    images_kwargs: MiniCPMVImagesKwargs


class MiniCPMVProcessor(ProcessorMixin):
    """Tokenizer and image processor of MiniCPM-V-2.6.

    An image stands in a text as `IMAGE_MARKER`, which the chat template writes; where no text of a batch has one,
    `image_token` stands for it, as with other processors. Any other `<unk>` in a text stays text.
    Batch keys: input_ids, attention_mask and, where there are images, pixel_values and target_sizes.
    """

    valid_processor_kwargs = MiniCPMVProcessorKwargs
    image_token = "<unk>"
    image_marker = IMAGE_MARKER

    def __init__(
        self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(image_processor, tokenizer, chat_template=chat_template or CHAT_TEMPLATE, **kwargs)
        tokenizer.init_kwargs.pop("auto_map", None)
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)

    def save_pretrained(self, save_directory: str | PathLike[str], **kwargs: Any) -> list[str]:
        """Save for transformers 5, and preprocessor_config.json besides: what readers of upstream's layout look for."""
        # tokenizer.json would keep the truncation of the last call, and cut image tokens from then on.
        self.tokenizer.backend_tokenizer.no_truncation()
        self.tokenizer.backend_tokenizer.no_padding()
        return self.image_processor.save_pretrained(save_directory) + super().save_pretrained(save_directory, **kwargs)

    @property
    def unused_input_names(self) -> list[str]:
        """What the image processor returns for this processor alone; the model takes none of it."""
        return ["grids"]

    def placeholder(self, text: Sequence[str], with_images: bool) -> str:
        """The string that stands for an image in these texts."""
        marked = not with_images or any(self.image_marker in sample for sample in text)
        return self.image_marker if marked else self.image_token

    def validate_inputs(self, images: Any = None, text: Any = None, **kwargs: Any) -> None:
        """Check that every text has as many placeholders as images.

        Raises:
            ValueError: where it has not, or where `text` is missing or no string.
        """
        samples = [text] if isinstance(text, str) else text
        if not samples or not all(isinstance(sample, str) for sample in samples):
            raise ValueError("MiniCPM-V's processor needs `text`, a string or a list of strings.")
        pictures = _count_images(images)
        some = any(pictures) if isinstance(pictures, list) else pictures > 0
        placeholder = self.placeholder(samples, with_images=some)
        in_text = [sample.count(placeholder) for sample in samples]
        if pictures != (in_text if isinstance(pictures, list) else sum(in_text)):
            raise ValueError(
                f"The texts have {in_text} image placeholders ({placeholder}), but {pictures} images were given. "
                "Each image needs its own placeholder, in the text of its own sample."
            )

    def _process_images(
        self, images: Any, use_image_id: bool | None = None, **kwargs: Any
    ) -> tuple[BatchFeature, list[str]]:
        processed = self.image_processor(images, **kwargs)
        numbered = self.image_processor.use_image_id if use_image_id is None else use_image_id
        prefix = f"<image_id>{_INDEX}</image_id>" if numbered else ""
        return processed, [prefix + self._image_tokens(grid) for grid in processed["grids"]]

    def _get_num_multimodal_tokens(
        self, image_sizes: Sequence[tuple[int, int]] | None = None, **kwargs: Any
    ) -> MultiModalData:
        """Tokens of the images of one sample, given as (height, width); nothing is resized (transformers' protocol)."""
        processor = self.image_processor
        limit = kwargs.get("max_slice_nums", processor.max_slice_nums) if processor.slice_mode else 1
        grids = [choose_grid(width, height, processor.scale_resolution, limit) for height, width in image_sizes or ()]
        prefix = f"<image_id>{_INDEX}</image_id>" if processor.use_image_id else ""
        texts = [prefix.replace(_INDEX, str(i)) + self._image_tokens(grid) for i, grid in enumerate(grids)]
        tokens = [len(self.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
        slices = [1 + (math.prod(grid) if grid else 0) for grid in grids]
        return MultiModalData(num_image_tokens=tokens, num_image_patches=slices)

    def _image_tokens(self, grid: tuple[int, int] | None) -> str:
        run = self.image_token * self.image_processor.image_feature_size
        columns, rows = grid or (0, 0)
        return f"<image>{run}</image>" + "\n".join([f"<slice>{run}</slice>" * columns] * rows)

    def get_text_with_replacements(
        self, text: list[str], images_replacements: Sequence[str] = (), *_: Any
    ) -> tuple[list[str], list[list[dict[str, Any]]]]:
        """Put each image's tokens where its placeholder stands, numbered from 0 within its sample.

        Returns:
            The texts, and for each the replacements with their spans before and after, as transformers wants them to
            find the assistant's tokens.
        """
        pattern = re.escape(self.placeholder(text, with_images=bool(images_replacements)))
        replacements = iter(images_replacements)
        expanded, offsets = [], []
        for sample in text:
            pieces, spans, end, length = [], [], 0, 0
            for index, match in enumerate(re.finditer(pattern, sample) if images_replacements else ()):
                replacement = next(replacements).replace(_INDEX, str(index))
                before = sample[end : match.start()]
                start = length + len(before)
                end, length = match.end(), start + len(replacement)
                pieces += [before, replacement]
                span = {"type": "image", "span": match.span(), "new_span": (start, length)}
                spans.append(span | {"text": match.group(), "replacement": replacement})
            expanded.append("".join([*pieces, sample[end:]]))
            offsets.append(spans)
        return expanded, offsets
