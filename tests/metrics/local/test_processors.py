"""Processors without their video half: the same with and without torchvision, saved and loaded again."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import Qwen3VLProcessor

from t2i_judge.errors import UserError
from t2i_judge.local.minicpmv.processing import MiniCPMVProcessor
from t2i_judge.local.processors import load_processor
from tests.families import MINICPMV, picture
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
    with pytest.raises(UserError, match=r"max_slice_nums is 4.*cuts no slices"):
        load_processor(str(write_qwen(tmp_path / "base")), max_slice_nums=4)
