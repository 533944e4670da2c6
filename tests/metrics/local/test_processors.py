"""Processors without their video half: the same with and without torchvision, saved and loaded again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import Qwen3VLProcessor

from t2i_judge.errors import UserError
from t2i_judge.local.minicpmv.processing import MiniCPMVProcessor
from t2i_judge.local.processors import load_processor
from tests.families import MINICPMV, family, picture
from tests.recipes.hub_bases import write_qwen


def test_a_native_processor_needs_no_torchvision(tmp_path: Path) -> None:
    base = write_qwen(tmp_path / "base")
    first = load_processor(str(base))
    first.save_pretrained(tmp_path / "saved")  # beside an adapter: no config.json, no video_preprocessor_config.json
    for processor in (first, load_processor(str(tmp_path / "saved"))):
        assert isinstance(processor, Qwen3VLProcessor) and processor.get_attributes() == [
            "image_processor",
            "tokenizer",
        ]
        batch = processor(images=[picture(40, 24)], text=["<|vision_start|><|image_pad|><|vision_end|>"])
        assert batch["pixel_values"].shape[0] == batch["image_grid_thw"][0].prod()


def test_the_port_s_processor_is_loaded_whole_and_cuts_as_it_is_told() -> None:
    assert isinstance(load_processor(str(MINICPMV)), MiniCPMVProcessor)
    assert load_processor(str(MINICPMV), max_slice_nums=3).image_processor.max_slice_nums == 3


def test_a_processor_that_cuts_nothing_takes_no_limit(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"max_slice_nums is 4.*does not slice images"):
        load_processor(str(write_qwen(tmp_path / "base")), max_slice_nums=4)


# Type -> processor, image processor, video processor, as their folders name them.
WITH_VIDEOS = {
    "qwen2_vl": ("Qwen2VLProcessor", "Qwen2VLImageProcessor", "Qwen2VLVideoProcessor"),
    "qwen2_5_vl": ("Qwen2_5_VLProcessor", "Qwen2VLImageProcessor", "Qwen2VLVideoProcessor"),
    "qwen3_vl": ("Qwen3VLProcessor", "Qwen2VLImageProcessor", "Qwen3VLVideoProcessor"),
    "internvl": ("InternVLProcessor", "GotOcr2ImageProcessor", "InternVLVideoProcessor"),
    "glm4v": ("Glm4vProcessor", "Glm4vImageProcessor", "Glm4vVideoProcessor"),
    "video_llama_3": ("VideoLlama3Processor", "VideoLlama3ImageProcessor", "VideoLlama3VideoProcessor"),
}
TOKENS = {
    "image_token": "<image>",
    "video_token": "<video>",
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<context>",
}


@pytest.mark.parametrize("nested", [False, True], ids=["a file each", "in processor_config.json"])
@pytest.mark.parametrize("kind", WITH_VIDEOS)
def test_a_missing_video_processor_stops_no_family(tmp_path: Path, kind: str, nested: bool) -> None:
    """Folders as they are published, old and new, on a machine without torchvision."""
    name, images, videos = WITH_VIDEOS[kind]
    tokenizer = family("qwen3_vl")[1].tokenizer
    tokenizer.add_special_tokens({"additional_special_tokens": list(TOKENS.values())})
    tokenizer.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    parts = {"image_processor": {"image_processor_type": images}, "video_processor": {"video_processor_type": videos}}
    files = {
        "config.json": {"model_type": kind},
        "tokenizer_config.json": config | {"extra_special_tokens": TOKENS},
        **(
            {"processor_config.json": parts | {"processor_class": name}}
            if nested
            else {
                "preprocessor_config.json": parts["image_processor"] | {"processor_class": name},
                "video_preprocessor_config.json": parts["video_processor"],
            }
        ),
    }
    for file, content in files.items():
        (tmp_path / file).write_text(json.dumps(content))
    processor = load_processor(str(tmp_path))
    batch = processor(images=[picture(60, 40)], text=[processor.image_token], return_tensors="pt")
    assert type(processor).__name__ == name and len(batch["pixel_values"]) > 0


@pytest.mark.parametrize("name", ["processor_config.json", "audio_tokenizer_config.json"])
def test_a_processor_brings_no_further_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Any model of the Hub, of any size and in a pickle, was fetched and loaded as the processor was."""
    base, loaded = write_qwen(tmp_path / "base"), []
    monkeypatch.setattr("transformers.AutoModel.from_pretrained", lambda *names, **options: loaded.append(names))
    further = {"audio_tokenizer_class": "AutoModel", "audio_tokenizer_name_or_path": "somebody/large"}
    record = json.loads((base / name).read_text()) if (base / name).is_file() else {}
    own = {"audio_tokenizer": further} if name == "processor_config.json" else further
    (base / name).write_text(json.dumps(record | own))
    with pytest.raises(UserError, match=f"Its {name} names one more model"):
        load_processor(str(base))
    assert not loaded
