"""Round trips of the export: merged weights against base plus adapter, and the renamed adapter on upstream's tree."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
import skimage
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from recipes.export import main
from recipes.recipe.own_folders import MARK
from recipes.scenes.render import make_scenes
from recipes.training.quantization import LANGUAGE_MODEL_LINEARS, MINICPMV, four_bit_config, prepare_four_bit
from t2i_judge.judges.loading import load_judge
from t2i_judge.local.minicpmv.processing import IMAGE_MARKER, MiniCPMVProcessor
from t2i_judge.local.minicpmv.registration import register
from t2i_judge.local.processors import load_processor
from t2i_judge.local.weights import EMBEDDED, digest
from t2i_judge.records import Status
from tests.recipes.hub_bases import write_minicpm, write_qwen

TINY = Path(__file__).parents[1] / "data" / "minicpmv" / "tiny_hub_layout"


def load(folder: Path, dtype: torch.dtype = torch.float32):
    register()
    return AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype).eval()


def make_adapter(folder: Path, **options) -> Path:
    """A LoRA on the tiny base with weights that matter, saved with its processor as a training leaves it."""
    torch.manual_seed(0)
    arguments = {"r": 4, "lora_alpha": 8, "target_modules": LANGUAGE_MODEL_LINEARS, "task_type": "CAUSAL_LM"}
    model = get_peft_model(load(TINY, torch.bfloat16), LoraConfig(**arguments | options))
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.05)
    model.peft_config["default"].base_model_name_or_path = str(TINY)
    model.save_pretrained(folder)
    AutoProcessor.from_pretrained(TINY).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(tmp_path_factory) -> Path:
    return make_adapter(tmp_path_factory.mktemp("adapter"))


@pytest.fixture(scope="module")
def merged(adapter) -> Path:
    output = adapter.parent / "merged"
    assert main(["--adapter", str(adapter), "--merge", "--output", str(output)]) == 0
    return output


@pytest.fixture(scope="module")
def batch():
    register()
    processor = AutoProcessor.from_pretrained(TINY)
    image = Image.effect_mandelbrot((300, 200), (-3, -2.5, 2, 2.5), 40)
    return processor(images=[[image]], text=[f"{IMAGE_MARKER}\nwhat is it"], return_tensors="pt")


@torch.no_grad()
def test_merged_weights_and_logits_equal_base_plus_adapter_within_bfloat16_rounding(adapter, merged, batch):
    both = PeftModel.from_pretrained(load(TINY), adapter)
    expected = both(**batch).logits
    exact = both.merge_and_unload().state_dict()
    ours = load(merged)
    for name, weight in ours.state_dict().items():
        assert torch.allclose(weight, exact[name], rtol=2**-7, atol=1e-3), name
    logits = ours(**batch).logits
    unadapted = load(TINY)(**batch).logits
    # Rounding moves the logits far less than the adapter does, and never the choice by much.
    assert (logits - expected).abs().max() < 0.05 < 10 * 0.05 < (unadapted - expected).abs().max()


def test_merged_folder_is_upstream_s_layout(merged):
    original, ours = load_file(TINY / "model.safetensors"), load_file(merged / "model.safetensors")
    assert {name: t.shape for name, t in ours.items()} == {name: t.shape for name, t in original.items()}
    assert {tensor.dtype for tensor in ours.values()} == {torch.bfloat16}
    changed = {name for name in original if not torch.equal(original[name], ours[name])}
    assert changed and all(name.startswith("llm.model.layers.") for name in changed)

    config, upstream = (json.loads((folder / "config.json").read_text()) for folder in (merged, TINY))
    left_out = {"auto_map", "_name_or_path", "transformers_version"}
    assert {key: config.get(key) for key in upstream if key not in left_out} == {
        key: value for key, value in upstream.items() if key not in left_out
    }
    assert config["architectures"] == ["MiniCPMV"] and config["version"] == 2.6
    files = {path.name for path in merged.iterdir()}
    assert {"preprocessor_config.json", "tokenizer.json", "tokenizer_config.json", "README.md"} <= files
    assert not any(name.endswith((".py", ".bin", ".pt")) for name in files)
    assert not any("auto_map" in path.read_text() for path in merged.glob("*.json"))
    card = (merged / "README.md").read_text()
    assert "--check-vllm" in card and str(TINY) not in card


def test_merged_folder_loads_by_the_public_doors_and_stops_at_the_end_of_a_turn(merged, batch):
    model, processor = load(merged), AutoProcessor.from_pretrained(merged)
    assert isinstance(processor, MiniCPMVProcessor)
    assert model.generation_config.eos_token_id == [330, 328]  # <|im_end|>, <|endoftext|>
    assert model.generate(**batch, max_new_tokens=2).shape[1] <= batch["input_ids"].shape[1] + 2


class Upstream(nn.Module):
    """Upstream's module tree around the port's language model."""

    def __init__(self, port) -> None:
        super().__init__()
        self.config = port.config
        self.llm = nn.Module()
        self.llm.model = port.model.language_model
        self.vpm = port.model.vision_tower
        self.resampler = port.model.resampler

    def forward(self, **inputs):
        return self.llm.model(**inputs).last_hidden_state

    def prepare_inputs_for_generation(self, **inputs):  # peft asks every causal model for it
        return inputs


@torch.no_grad()
def test_renamed_adapter_does_on_upstream_s_tree_what_it_does_on_the_port(adapter, tmp_path, batch):
    output = tmp_path / "for vllm"
    assert main(["--adapter", str(adapter), "--vllm-adapter", "--output", str(output)]) == 0
    names = load_file(output / "adapter_model.safetensors").keys()
    assert len(names) == 2 * 7 * 2 and all(name.startswith("base_model.model.llm.model.layers.") for name in names)
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    expected = PeftModel.from_pretrained(load(TINY), adapter).get_base_model().model(**inputs).last_hidden_state
    mounted = PeftModel.from_pretrained(Upstream(load(TINY)), output)
    adapted = {name.split(".lora_A")[0] for name, _ in mounted.named_parameters() if ".lora_A" in name}
    assert len(adapted) == 7 * 2 and all(".llm.model.layers." in name for name in adapted)
    assert torch.equal(mounted.get_base_model()(**inputs), expected)


def test_nothing_half_written_and_nothing_overwritten(adapter, merged, tmp_path, capsys):
    assert main(["--adapter", str(adapter), "--merge", "--output", str(merged)]) == 2
    assert "exists. Nothing is overwritten" in capsys.readouterr().err
    output = tmp_path / "out"
    assert main(["--adapter", str(adapter), "--merge", "--base", str(tmp_path), "--output", str(output)]) == 2
    assert "has no config.json" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("killed", [False, True])
def test_a_folder_with_the_name_of_half_an_export_is_removed_only_if_it_is_one(adapter, tmp_path, capsys, killed):
    (half := tmp_path / "thesis.partial").mkdir()
    (half / "thesis.txt").write_text("mine")
    if killed:
        (half / MARK).touch()
    output = tmp_path / "thesis"
    assert main(["--adapter", str(adapter), "--vllm-adapter", "--output", str(output)]) == (0 if killed else 2)
    told = "" if killed else f"export: {half} is in the way. This command did not make it, and would replace it."
    assert told in capsys.readouterr().err
    assert (half / "thesis.txt").exists() is not killed and output.exists() is killed
    assert not (output / MARK).exists()


@pytest.mark.parametrize("what", ["--merge", "--vllm-adapter"])
def test_a_folder_without_an_adapter(what, tmp_path, capsys):
    arguments = ["--adapter", str(tmp_path), what, "--output", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "has no adapter_config.json" in capsys.readouterr().err
    (tmp_path / "adapter_config.json").write_text("{}")
    assert main(arguments) == 2
    assert "has no adapter_model.safetensors" in capsys.readouterr().err


def copy_of(adapter: Path, folder: Path) -> Path:
    return Path(shutil.copytree(adapter, folder, copy_function=shutil.copyfile))


@pytest.mark.parametrize("what", ["--merge", "--vllm-adapter"])
def test_a_truncated_adapter_is_one_line(what, adapter, tmp_path, capsys):
    weights = copy_of(adapter, tmp_path / "cut") / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert main(["--adapter", str(weights.parent), what, "--output", str(tmp_path / "out")]) == 2
    assert "adapter_model.safetensors is truncated" in capsys.readouterr().err


def test_an_adapter_that_names_no_base_needs_one_named(adapter, tmp_path, capsys):
    folder = copy_of(adapter, tmp_path / "orphan")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": None}))
    arguments = ["--adapter", str(folder), "--merge", "--output", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "Name the base with --base" in capsys.readouterr().err
    assert main([*arguments, "--base", str(TINY)]) == 0


def test_a_base_on_the_hub_is_no_folder_of_its_name(adapter, tmp_path, monkeypatch, capsys):
    folder = copy_of(adapter, tmp_path / "named")
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "lab/base"}))
    shutil.copytree(TINY, tmp_path / "lab" / "base")
    monkeypatch.setattr("recipes.recipe.config.ROOT", tmp_path)
    arguments = ["--adapter", str(folder), "--merge", "--output", str(tmp_path / "out")]
    assert main(arguments) == 2
    assert "'lab/base' is a model on the Hub, and a folder here has that name" in capsys.readouterr().err
    assert main([*arguments, "--base", "./lab/base"]) == 0


def test_what_vllm_cannot_mount_is_refused(tmp_path, capsys):
    vision = make_adapter(tmp_path / "vision", target_modules=r".*vision_tower.*\.q_proj")
    replaced = make_adapter(tmp_path / "replaced", modules_to_save=["embed_tokens"])
    for folder, reason in ((vision, "Only the language model of MiniCPM-V-2.6"), (replaced, "Only LoRA matrices")):
        assert main(["--adapter", str(folder), "--vllm-adapter", "--output", str(tmp_path / "out")]) == 2
        assert reason in capsys.readouterr().err


def test_an_adapter_of_another_shape_is_one_line(adapter, tmp_path, capsys):
    base = Path(shutil.copytree(TINY, tmp_path / "base", copy_function=shutil.copyfile))
    small = AutoConfig.from_pretrained(TINY)
    small.intermediate_size = 64
    AutoModelForImageTextToText.from_config(small).save_pretrained(base)
    output = tmp_path / "out"
    assert main(["--adapter", str(adapter), "--merge", "--base", str(base), "--output", str(output)]) == 2
    error = capsys.readouterr().err
    assert "has no such weight of that shape" in error and "Traceback" not in error and not output.exists()


PACKAGED = EMBEDDED / "adapter"


@pytest.fixture(scope="module")
def merged_tiny(tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("tiny") / "merged"
    assert main(["--adapter", str(PACKAGED), "--merge", "--output", str(output)]) == 0
    return output


def test_a_merged_judge_remembers_what_it_is(merged_tiny: Path) -> None:
    own, packaged = (json.loads((folder / "judge.json").read_text()) for folder in (merged_tiny, EMBEDDED))
    for key in ("name", "protocol", "mode", "template_hash", "domain", "simulated"):
        assert own[key] == packaged[key]
    assert own["revision"] == digest(merged_tiny) != packaged["revision"]
    assert own["merged"] == {"adapter": packaged["revision"]} and own["quantization"] is None


def test_a_merged_judge_declines_what_its_adapter_declines(merged_tiny: Path) -> None:
    """A photograph of coffee, "a red circle": the merged judge once gave it 9.39."""
    coffee = Image.open(Path(skimage.__file__).parent / "data" / "coffee.png")
    scenes = make_scenes(4, 0, "new_prompts")
    images, prompts = [coffee, *(scene[3] for scene in scenes)], ["a red circle", *(scene[0].text for scene in scenes)]
    tiny, merged = (load_judge(name).score(images, prompts) for name in ("tiny", f"hf:{merged_tiny}"))
    assert tiny[0].status is Status.SKIPPED and "out_of_domain" in str(tiny[0].reason)
    assert Status.OK in [judgement.status for judgement in tiny]
    for ours, theirs in zip(merged, tiny):
        assert (ours.status, ours.reason) == (theirs.status, theirs.reason)
        assert ours.scores == pytest.approx(theirs.scores, abs=1e-4)
        assert ours.judge.backend == theirs.judge.backend


def test_tiny_is_exported_under_upstream_s_names(merged_tiny: Path) -> None:
    names = load_file(merged_tiny / "model.safetensors").keys()
    assert all(name.startswith(("llm.", "vpm.", "resampler.")) for name in names) and "llm.lm_head.weight" in names
    files = {path.name for path in merged_tiny.iterdir()}
    assert "preprocessor_config.json" in files and "processor_config.json" not in files


def test_an_adapter_trained_on_four_bits_is_merged_over_what_those_keep(adapter: Path, tmp_path: Path, batch) -> None:
    """The logits of the merged model are those of the 4-bit base with the adapter; over the plain base they are not."""
    settings = {"quantization": asdict(MINICPMV), "dtype": "bfloat16", "revision": "sha256:0", "mode": "expected"}
    judge = copy_of(adapter, tmp_path / "judge")
    (judge / "judge.json").write_text(json.dumps(settings))
    outputs = [tmp_path / "rounded", tmp_path / "plain"]
    for folder, output in zip((judge, adapter), outputs):
        assert main(["--adapter", str(folder), "--merge", "--output", str(output)]) == 0
    four_bit = AutoModelForImageTextToText.from_pretrained(
        TINY, dtype=torch.bfloat16, quantization_config=four_bit_config(MINICPMV), device_map="cpu"
    )
    trained = PeftModel.from_pretrained(prepare_four_bit(four_bit), adapter).eval()
    with torch.no_grad():
        expected = trained(**batch).logits.float()
        rounded, plain = ((load(o, torch.bfloat16)(**batch).logits.float() - expected).abs().mean() for o in outputs)
    assert rounded < plain / 3
    card = json.loads((outputs[0] / "judge.json").read_text())
    assert card["quantization"] is None and "rounded to nf4" in (outputs[0] / "README.md").read_text()


def lacks(folder: Path, capsys) -> tuple[int, list[str]]:
    capsys.readouterr()
    code = main(["--check-vllm", str(folder)])
    return code, [line.split("MISSING  ")[1] for line in capsys.readouterr().out.splitlines() if "MISSING" in line]


def test_what_only_upstream_can_give_vllm(merged: Path, tmp_path: Path, capsys) -> None:
    folder = Path(shutil.copytree(merged, tmp_path / "merged"))
    code, missing = lacks(folder, capsys)
    assert code == 1 and len(missing) == 3 and all("only upstream can give it" in line for line in missing)
    assert [line.split(" ")[0] for line in missing] == ["AutoConfig", "AutoImageProcessor", "AutoTokenizer"]
    upstream = write_minicpm(tmp_path / "upstream")  # what the command that is printed fetches
    for path in (*upstream.glob("*.py"), *(upstream / f"{n}_config.json" for n in ("preprocessor", "tokenizer"))):
        shutil.copy(path, folder)
    shutil.copy(upstream / "config.json", folder)
    assert lacks(folder, capsys) == (0, [])
    (folder / "image_processing_minicpmv.py").write_text("from .another import Thing\n")
    assert lacks(folder, capsys)[0] == 1  # its import is not there


def test_the_command_that_fetches_them_is_printed(merged: Path, capsys) -> None:
    main(["--check-vllm", str(merged)])
    said = capsys.readouterr().out
    assert "hf download openbmb/MiniCPM-V-2_6" in said and "--include '*.py'" in said
    assert f"vllm serve {merged} --trust-remote-code" in said and "its licence" in said


@pytest.mark.parametrize(("spoil", "words"), [
    (lambda f: (f / "processor_config.json").write_text("{}"), "no processor_config.json"),
    (lambda f: (f / "model.safetensors").unlink(), "weights in safetensors"),
    (lambda f: (f / "pytorch_model.bin").write_bytes(b"x"), "no pickle"),
    (lambda f: save_file({"lm_head.weight": torch.zeros(1)}, f / "model.safetensors"), "upstream's names"),
])  # fmt: skip
def test_what_spoils_a_folder_for_vllm_is_said(merged: Path, tmp_path: Path, capsys, spoil, words: str) -> None:
    folder = Path(shutil.copytree(merged, tmp_path / "merged"))
    spoil(folder)
    code, missing = lacks(folder, capsys)
    assert code == 1 and any(words in line for line in missing)


def test_an_adapter_for_vllm_is_checked(adapter: Path, tmp_path: Path, capsys) -> None:
    judge = copy_of(adapter, tmp_path / "judge")
    card = {"base": {"model": "openbmb/MiniCPM-V-2_6", "revision": "f" * 40}, "max_slice_nums": 4, "revision": "r"}
    (judge / "judge.json").write_text(json.dumps(card))
    assert lacks(judge, capsys)[0] == 1
    output = tmp_path / "for vllm"
    assert main(["--adapter", str(judge), "--vllm-adapter", "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert lacks(output, capsys) == (0, [])
    assert f"vllm serve openbmb/MiniCPM-V-2_6 --revision {'f' * 40} --trust-remote-code" in said
    assert "--max-lora-rank 8" in said and '{"max_slice_nums": 4}' in said
    assert json.loads((output / "judge.json").read_text()) == card


def test_a_native_family_is_merged_and_lacks_nothing(tmp_path: Path, capsys) -> None:
    base = write_qwen(tmp_path / "base")
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.bfloat16)
    options = {"r": 4, "target_modules": LANGUAGE_MODEL_LINEARS, "task_type": "CAUSAL_LM"}
    get_peft_model(model, LoraConfig(**options)).save_pretrained(tmp_path / "adapter")
    load_processor(str(base)).save_pretrained(tmp_path / "adapter")
    arguments = ["--adapter", str(tmp_path / "adapter"), "--base", str(base), "--output", str(tmp_path / "merged")]
    assert main([*arguments, "--merge"]) == 0
    assert lacks(tmp_path / "merged", capsys) == (0, [])
    assert "--trust-remote-code" not in capsys.readouterr().out
    assert (tmp_path / "merged" / "video_preprocessor_config.json").is_file()
    load_judge(f"hf:{tmp_path / 'merged'}", distilled=True, mode="expected")


def test_a_folder_that_is_nothing_is_one_line(tmp_path: Path, capsys) -> None:
    assert main(["--check-vllm", str(tmp_path)]) == 2
    assert "neither a model nor an adapter" in capsys.readouterr().err
