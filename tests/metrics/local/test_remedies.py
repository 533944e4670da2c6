"""What a model's missing package is answered with: transformers' own errors, and the line that a person can act on."""

from __future__ import annotations

import pytest
from PIL import Image
from transformers.models.smolvlm import processing_smolvlm
from transformers.utils import import_utils

from t2i_judge.cli import main
from t2i_judge.local.remedies import remedy

VLM = "Run: pip install 't2i-judge[vlm]'"


@pytest.mark.parametrize(
    ("package", "fix"),
    [("torchvision", "Install the torchvision that matches your torch, from the same place"), ("sentencepiece", VLM)],
)
def test_what_transformers_misses_is_named_with_where_it_comes_from(package, fix, monkeypatch) -> None:
    mapping = import_utils.BACKENDS_MAPPING
    monkeypatch.setitem(mapping, package, (lambda: False, mapping[package][1]))
    with pytest.raises(ImportError) as raised:
        import_utils.requires_backends(type("SomeProcessor", (), {}), [package])
    assert remedy(raised.value).startswith(fix)


def test_what_names_no_package_gets_the_general_line() -> None:
    assert remedy(ValueError("Unrecognized model")).startswith("Use a vision-language model")
    assert remedy(ImportError("No module named 'torch'")) == remedy(ValueError("Unrecognized model"))


def test_smolvlm_without_num2words_is_one_line_of_the_command(vlm, tmp_path, monkeypatch, capsys) -> None:
    pytest.importorskip("num2words", reason="its folder is written with it (extra [vlm])")
    folder = vlm("smolvlm")
    monkeypatch.setattr(processing_smolvlm, "num2words", None)  # as its import leaves it where there is none
    Image.new("RGB", (32, 32)).save(tmp_path / "a red cat.png")
    assert main(["score", str(tmp_path), "--judge", f"vqa+hf:{folder}", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "num2words" in error and error.endswith(f"{VLM}.") and "Traceback" not in error
