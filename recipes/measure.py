"""Measures training on this GPU: memory, speed and share of the GPU's peak, at full size with random weights.

    python -m recipes.measure --config recipes/minicpm-v-2.6/recipe.yaml

The base is built from its configuration alone (no download), quantised as the recipe says, and trained by SFTTrainer on
made-up pictures of real size, cut by the real image processor: LoRA rank 64 and 128, with and without gradient
checkpointing and shared-prefix packing, 1 to 8 rows at a time. One line per setting goes to
build/NAME/measurements.jsonl, and the table into recipes/README.md. An interrupted run continues after its last
setting. Without a GPU it says so; `--device cpu` is for small configurations.

    python -m recipes.measure --full-size-cpu        # hours and 40 GB of disk: see recipes/training/full_size.py
"""

from __future__ import annotations

import gc
import itertools
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recipes.recipe.config import ROOT, Recipe, load_recipe
from recipes.training.estimates import base_config
from recipes.training.fine_tuning import hardware, lora_config, sft_config
from t2i_judge.errors import UserError
from t2i_judge.files import append_jsonl, read_jsonl, write_atomic
from t2i_judge.local.packing import IGNORED, Group, pack
from t2i_judge.progress import Progress
from t2i_judge.running import command
from t2i_judge.terminal import Parser, say

RANKS, BATCHES = (64, 128), (1, 2, 4, 8)
SIDE, QUESTIONS, SEGMENT = 1344, 8, 50  # pixels of a picture (nine slices), questions about it, tokens of each
WARM_UP, STEPS = 2, 5
MARKS = "<!-- measured by recipes.measure: begin -->", "<!-- measured by recipes.measure: end -->"
FULL_SIZE_MARKS = (
    "<!-- measured by recipes.measure --full-size-cpu: begin -->",
    "<!-- measured by recipes.measure --full-size-cpu: end -->",
)
GUIDE = ROOT / "recipes" / "README.md"
# Dense bf16 FLOP/s of a device whose name holds the key, from NVIDIA's data sheets.
PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10": 125e12, "4090": 165e12}
_TOKENIZER = ROOT / "metrics" / "t2i_judge" / "weights" / "tiny" / "base"  # only its type matters to the trainer


@dataclass(frozen=True)
class Setting:
    """One way to train: LoRA rank, gradient checkpointing, shared-prefix packing, rows at a time."""

    rank: int
    checkpointing: bool
    packed: bool
    batch: int


@dataclass(frozen=True)
class Measurement:
    """What a setting took; all None if it did not fit into memory.

    Attributes:
        peak_gib: largest memory of tensors, in GiB.
        tokens_s, images_s, questions_s: trained per second. An unpacked row is one question about one image.
        mfu: model FLOPs (2 per parameter and token forward, 2 backward, no recomputation) over the device's bf16 peak.
    """

    device: str
    setting: Setting
    peak_gib: float | None = None
    seconds_a_step: float | None = None
    tokens_s: float | None = None
    images_s: float | None = None
    questions_s: float | None = None
    mfu: float | None = None


def settings(ranks: Sequence[int] = RANKS, batches: Sequence[int] = BATCHES) -> Iterator[Setting]:
    """All combinations of settings, cheap ones first."""
    for rank, checkpointing, packed, batch in itertools.product(ranks, (True, False), (True, False), batches):
        yield Setting(rank, checkpointing, packed, batch)


def random_base(recipe: Recipe, config: Any, device: str) -> Any:
    """The base with random weights on `device`, its linear layers in 4 bits as the recipe says."""
    import torch
    from transformers import AutoModelForImageTextToText

    dtype = torch.bfloat16 if recipe.training.bf16 else torch.float32
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype)
    if recipe.quantization:
        _quantise(model, recipe, device)
    return model.requires_grad_(False)


def _quantise(model: Any, recipe: Recipe, device: str) -> None:
    import torch
    from bitsandbytes.nn import Linear4bit, Params4bit

    assert recipe.quantization is not None
    compute = getattr(torch, recipe.quantization.compute_dtype)
    linears = [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
    for name, linear in linears:
        if name.startswith(recipe.quantization.skip_modules):
            continue
        four_bit = Linear4bit(
            linear.in_features,
            linear.out_features,
            bias=linear.bias is not None,
            compute_dtype=compute,
            compress_statistics=recipe.quantization.double_quant,
            quant_type=recipe.quantization.quant_type,
            device="meta",
        )
        weight: Any = Params4bit(
            linear.weight.data.cpu(),
            requires_grad=False,
            compress_statistics=recipe.quantization.double_quant,
            quant_type=recipe.quantization.quant_type,
        )
        four_bit.weight = weight.to(device)
        four_bit.bias = linear.bias
        four_bit.support_avx512bf16_for_cpu = False
        model.set_submodule(name, four_bit)
    model.is_loaded_in_4bit = True  # what peft and trl ask a model whether it is quantised


def make_batch(config: Any, setting: Setting, side: int = SIDE, seed: int = 0) -> dict[str, Any]:
    """Random pictures, cut as real ones are, and random text, as the collators would hand them over."""
    from PIL import Image

    from t2i_judge.local.minicpmv.processing import MiniCPMVImageProcessor

    rng = np.random.default_rng(seed)
    options = config.slice_config or {}
    cutter = MiniCPMVImageProcessor(
        max_slice_nums=options.get("max_slice_nums", 9),
        scale_resolution=options.get("scale_resolution", config.image_size),
        patch_size=config.vision_config.patch_size,
        image_feature_size=config.query_num,
    )
    pixels = rng.integers(0, 255, (setting.batch, side, side, 3), dtype=np.uint8)
    cut = cutter([Image.fromarray(picture) for picture in pixels], return_tensors="pt")
    questions = QUESTIONS if setting.packed else 1
    groups = []
    for grid in cut.pop("grids"):
        segments = rng.integers(0, 200, (questions, SEGMENT)).tolist()
        labels = [[IGNORED] * (SEGMENT // 2) + segment[SEGMENT // 2 :] for segment in segments]
        groups.append(Group(_image_ids(config, grid), segments, labels))
    tensors = pack(groups, pad_id=0).tensors
    if not setting.packed:
        tensors = {name: tensors[name] for name in ("input_ids", "attention_mask", "labels")}
    return tensors | dict(cut)


def _image_ids(config: Any, grid: tuple[int, int] | None) -> list[int]:
    columns, rows = grid or (0, 0)
    run = [0] * config.query_num
    slices = [config.slice_start_id, *run, config.slice_end_id] * (columns * rows)
    return [config.image_start_id, *run, config.image_end_id, *slices]


def measure_one(recipe: Recipe, model: Any, setting: Setting, side: int = SIDE) -> Measurement:
    """Train a few steps and measure those after the warm-up. What does not fit is a `Measurement` without figures."""
    import torch
    from datasets import Dataset
    from transformers import AutoProcessor, PrinterCallback
    from trl import SFTTrainer

    from t2i_judge.local.packing import enable_shared_prefix

    adapted = replace(
        recipe,
        packing="shared_prefix",
        adapter=replace(recipe.adapter, r=setting.rank, alpha=2 * setting.rank),
        training=replace(
            recipe.training,
            gradient_checkpointing=setting.checkpointing,
            per_device_train_batch_size=setting.batch,
            gradient_accumulation_steps=1,
            dataloader_num_workers=0,
        ),
    )
    enable_shared_prefix(model)
    batch = make_batch(model.config, setting, side)
    clock = _clock()
    with tempfile.TemporaryDirectory() as folder:
        options = sft_config(adapted, Path(folder), max_steps=WARM_UP + STEPS)
        options.save_strategy = "no"
        options.disable_tqdm = True
        trainer = SFTTrainer(
            model,
            args=options,
            train_dataset=Dataset.from_dict({"images": [[]] * (setting.batch * (WARM_UP + STEPS))}),
            data_collator=lambda rows: dict(batch),
            processing_class=AutoProcessor.from_pretrained(_TOKENIZER),
            peft_config=lora_config(adapted),
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)  # one setting of many: the bar over all of them is enough
        try:
            trainer.train()
        except torch.OutOfMemoryError:
            return Measurement(hardware(), setting)
        finally:
            peft_model: Any = trainer.model
            peft_model.unload()
            del trainer
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    return _measurement(model, setting, batch, clock)


def _clock() -> Any:
    """A trainer's callback that notes when each step ended, and the most memory so far."""
    import torch
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.ends: list[float] = []
            self.peak: float | None = None
            if torch.cuda.is_available():
                torch.cuda.reset_peak_memory_stats()

        def on_step_end(self, *arguments: Any, **options: Any) -> None:
            if torch.cuda.is_available():
                torch.cuda.synchronize()
                self.peak = torch.cuda.max_memory_allocated() / 2**30
            self.ends.append(time.perf_counter())

    return Clock()


def _measurement(model: Any, setting: Setting, batch: dict[str, Any], clock: Any) -> Measurement:
    seconds = (clock.ends[-1] - clock.ends[WARM_UP - 1]) / (len(clock.ends) - WARM_UP)
    tokens, device = int(batch["attention_mask"].sum()), hardware()
    peak = next((flops for name, flops in PEAKS.items() if name in device), None)
    patches = int(batch["target_sizes"].prod(1).sum())
    work = 4 * _size(model.model.language_model, model.lm_head) * tokens + 2 * _size(model.model.vision_tower) * patches
    return Measurement(
        device,
        setting,
        clock.peak,
        seconds,
        tokens / seconds,
        setting.batch / seconds,
        setting.batch * (QUESTIONS if setting.packed else 1) / seconds,
        work / seconds / peak if peak else None,
    )


def _size(*modules: Any) -> int:
    """Parameters of matrices that tokens are multiplied with; a 4-bit weight counts as what it stands for."""
    from torch import nn

    linears = [linear for module in modules for linear in module.modules() if isinstance(linear, nn.Linear)]
    return sum(linear.in_features * linear.out_features for linear in linears)


def table(measurements: Sequence[Measurement]) -> str:
    """The figures as a Markdown table."""
    head = "| rank | checkpointing | packed | rows | peak GiB | s per step | tokens/s | images/s | questions/s | MFU |"
    lines = [head, "|" + " --- |" * 10]
    for m in measurements:
        figures = (m.peak_gib, m.seconds_a_step, m.tokens_s, m.images_s, m.questions_s)
        cells = ["out of memory" if m.seconds_a_step is None else "–" if x is None else f"{x:.4g}" for x in figures]
        s = m.setting
        shown = [
            str(s.rank),
            _yes(s.checkpointing),
            _yes(s.packed),
            str(s.batch),
            *cells,
            f"{m.mfu:.1%}" if m.mfu else "–",
        ]
        lines.append("| " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def write_guide(recipe: Recipe, measurements: Sequence[Measurement], guide: Path = GUIDE) -> None:
    """Put the table between the marks in the guide. Raises `UserError` where they are missing."""
    workload = f"pictures of {SIDE}x{SIDE}, {QUESTIONS} questions of {SEGMENT} tokens"
    base = f"{recipe.base.model} with random weights"
    write_between(MARKS, f"{measurements[0].device}; {base}; {workload}.\n\n{table(measurements)}", guide)


def write_between(marks: tuple[str, str], text: str, guide: Path = GUIDE) -> None:
    """Put text between two marks of the guide. Raises `UserError` where they are missing."""
    before, after = around_marks(marks, guide)
    write_atomic(guide, f"{before}{marks[0]}\n{text}\n{marks[1]}{after}")


def around_marks(marks: tuple[str, str], guide: Path = GUIDE) -> tuple[str, str]:
    """The guide's text before and behind the place for figures. Raises `UserError` where its marks are missing."""
    before, begin, rest = guide.read_text(encoding="utf-8").partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not (begin and end):
        raise UserError(
            f"{guide.name} has no place for figures", "Its two marks are missing", f"Add {marks[0]} and {marks[1]}"
        )
    return before, after


def measure(recipe: Recipe, device: str, wanted: Sequence[Setting], side: int = SIDE) -> list[Measurement]:
    """Measure settings that no line of build/NAME/measurements.jsonl has for this device yet; returns all of them."""
    log = recipe.folder / "measurements.jsonl"
    recipe.folder.mkdir(parents=True, exist_ok=True)
    known = {m.setting: m for m in read_measurements(log) if m.device == hardware()}
    missing = [setting for setting in wanted if setting not in known]
    model = random_base(recipe, base_config(recipe), device) if missing else None
    for setting in Progress(missing, desc="measure", unit="setting"):
        known[setting] = measure_one(recipe, model, setting, side)
        append_jsonl(log, [asdict(known[setting])])
    return [known[setting] for setting in wanted]


def read_measurements(log: Path) -> list[Measurement]:
    """The lines of a measurements.jsonl; none where there is no such file."""
    rows = read_jsonl(log) if log.is_file() else ()
    return [Measurement(**row | {"setting": Setting(**row["setting"])}) for row in rows]


def _full_size() -> int:
    from recipes.training import full_size

    around_marks(FULL_SIZE_MARKS)  # before hours of measuring, not after
    stages = full_size.measure_full_size()
    text = (
        f"{hardware()}; random weights: memory, time and disk of a real base, no quality.\n\n{full_size.table(stages)}"
    )
    say(text)
    write_between(FULL_SIZE_MARKS, text)
    return 0


@command("measure", "Run the same command again to continue.")
def main(argv: Sequence[str] | None = None) -> int:
    """Measure all settings; returns the exit code."""
    import torch

    parser = Parser(prog="recipes.measure", description="Memory and speed of training on this GPU.")
    parser.add_argument("--config", "--recipe", default="minicpm-v-2.6", help="a recipe's YAML file or name")
    parser.add_argument("--device", default="cuda", help="cuda, or cpu for small configurations")
    parser.add_argument("--full-size-cpu", action="store_true", help="load, train and merge the 8.1B model on a CPU")
    arguments = parser.parse_args(argv)
    if arguments.full_size_cpu:
        return _full_size()
    recipe = load_recipe(arguments.config)
    on_gpu = arguments.device.startswith("cuda")
    if on_gpu and not torch.cuda.is_available():
        raise UserError(
            "This machine has no GPU",
            "The command measures a GPU",
            "Run it on a machine with CUDA, or with --device cpu",
        )
    if on_gpu:
        around_marks(MARKS)  # before hours of measuring, not after
    done = measure(recipe, arguments.device, list(settings()))
    say(table(done))
    if on_gpu:
        write_guide(recipe, done)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
