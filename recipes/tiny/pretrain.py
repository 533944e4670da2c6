"""Pre-train the base of `tiny` on perception: `python -m recipes.tiny.pretrain` (two hours on two CPU cores).

Six stages, each a fixed number of steps. *See*: the vision tower alone tells, patch by patch, what lies there (linear
heads, dropped afterwards). *Tell*: the whole model puts scenes into words, and every image token names a word that is
true of its place. *Place*: the same with more said about places and relations, which are learnt last, and with more
exercises in reading. *Retell*: texts are told again as lists of facts in many layouts, relations and attributes of
pictures go on, and the rates fall to 0. *Relate*: the same at lower rates, and the tower rests; most pictures show
three groups, and where two of them lie has to be known before their relation is told; so has what a text says of a
noun, where the noun stands and where it comes again (linear readers, dropped afterwards). *Settle*: as *retell*, with
the readers of texts, at rates that fall from there to 0. Muon for matrices, AdamW for the rest.
Deterministic: batches depend on the seed and the step. A killed run goes on from its last checkpoint; the finished base
(bf16 safetensors) is written last.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipes.training.quantization import round_to_four_bits
from t2i_judge.files import write_atomic
from t2i_judge.local.packing import enable_shared_prefix

from .architecture import QUIETER, build_model, build_processor, divide_residual_stream
from .losses import see_loss, tell_loss
from .stream import CELLS, DENSE_CLASSES, FACTS, Mixture, Speller, dense_batch, text_batch
from .tokenizer import load_tokenizer

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

OUTPUT = Path(__file__).resolve().parents[2] / "metrics/t2i_judge/weights/tiny/base"
WORK = Path(__file__).resolve().parents[2] / "build/pretrain-tiny"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast. Rates rise for `warm_up` steps and fall to 0 over the last share `*_decay` of a stage."""

    seed: int = 0
    see_steps: int = 8000
    see_batch: int = 32
    see_decay: float = 0.4
    tell_steps: int = 800
    tell_decay: float = 0.0
    tell_mixture: Mixture = field(default_factory=Mixture)
    place_steps: int = 1200
    place_decay: float = 0.0
    place_mixture: Mixture = field(default_factory=lambda: Mixture("place", pictures=14, pairs=3, texts=4))
    retell_steps: int = 2400
    retell_decay: float = 1.0
    retell_mixture: Mixture = field(
        default_factory=lambda: Mixture("retell", pictures=9, pairs=6, texts=12, pair_segments=14)
    )
    relate_steps: int = 1000
    relate_decay: float = 1.0
    relate_mixture: Mixture = field(
        default_factory=lambda: Mixture("relate", pictures=10, pairs=1, texts=6, picture_segments=12, of_three=0.8)
    )
    relate_share: float = 0.4  # of the rates, but of the readers', in the last two stages
    relate_left: float = 0.41  # of that share at the end of *relate*, where *settle* goes on
    settle_steps: int = 600
    settle_decay: float = 1.0
    settle_mixture: Mixture = field(
        default_factory=lambda: Mixture("settle", pictures=8, pairs=2, texts=6, picture_segments=12, of_three=0.5)
    )
    reader_rate: float = 0.01
    muon_rate: float = 0.01
    adam_rate: float = 3e-3
    tower_share: float = 0.3  # of the rates, for the tower once it has learnt to see
    tag_weight: float = 0.5
    warm_up: int = 50
    checkpoint_every: int = 200


Loss = Callable[[dict[str, "Tensor"]], "Tensor"]
Batches = Callable[[int], dict[str, "Tensor"]]


def pretrain(plan: Schedule, output: Path = OUTPUT, work: Path = WORK, base: Path | None = None) -> None:
    """Train by `plan` and write config, tokenizer, processor and weights to `output`; `work` keeps the checkpoints.

    From a finished base only the last two stages are trained.
    """
    tokenizer = load_tokenizer(base or OUTPUT)
    model = load(base, tokenizer) if base else build_model(tokenizer, plan.seed)
    processor = build_processor(tokenizer)
    speller = Speller(processor)
    if base is None:
        _perceive(model, speller, plan, work)
    _relate(model, speller, plan, work)
    save(model, processor, output)


def _perceive(model: Any, speller: Speller, plan: Schedule, work: Path) -> None:
    """The first four stages."""
    from torch import nn

    heads = nn.Linear(model.config.vision_config.hidden_size, sum(DENSE_CLASSES.values()))
    nn.init.zeros_(heads.weight)
    seeing = nn.ModuleList([model.model.vision_tower, heads])
    run(
        Stage("see", plan.see_steps, plan.see_decay, seeing, lambda batch: see_loss(model, heads, batch)),
        lambda step: dense_batch(plan.seed, step, plan.see_batch),
        plan,
        work,
    )
    enable_shared_prefix(model)
    for steps, decay, mixture in (
        (plan.tell_steps, plan.tell_decay, plan.tell_mixture),
        (plan.place_steps, plan.place_decay, plan.place_mixture),
        (plan.retell_steps, plan.retell_decay, plan.retell_mixture),
    ):
        run(
            Stage(mixture.stage, steps, decay, model, partial(tell_loss, model, tag_weight=plan.tag_weight)),
            partial(text_batch, speller, plan.seed, mixture=mixture),
            plan,
            work,
        )


def _relate(model: Any, speller: Speller, plan: Schedule, work: Path) -> None:
    """The last two stages: all but the vision tower learns to tell the relation of two groups of three, and settles."""
    from torch import nn

    enable_shared_prefix(model)
    width, known = model.config.hidden_size, sum(map(len, FACTS.values()))
    sizes = {"noun": CELLS, "end": 2 * CELLS, "named": known, "again": known}
    readers = nn.ModuleDict({name: nn.Linear(width, size) for name, size in sizes.items()})
    for parameter in readers.parameters():
        nn.init.zeros_(parameter)
    model.model.vision_tower.requires_grad_(False)
    parts = {"language_model": model.model.language_model, "resampler": model.model.resampler, "readers": readers}
    module = nn.ModuleDict(parts | {"lm_head": model.lm_head})
    loss = partial(tell_loss, model, tag_weight=plan.tag_weight, readers=readers)
    of_texts = partial(tell_loss, model, tag_weight=plan.tag_weight, readers=readers, places=False)
    first, last = plan.relate_mixture, plan.settle_mixture
    for stage, mixture, share in (
        (Stage(first.stage, plan.relate_steps, plan.relate_decay, module, loss, plan.relate_left), first, 1.0),
        (Stage(last.stage, plan.settle_steps, plan.settle_decay, module, of_texts), last, plan.relate_left),
    ):
        share *= plan.relate_share
        slower = replace(plan, muon_rate=plan.muon_rate * share, adam_rate=plan.adam_rate * share)
        run(stage, partial(text_batch, speller, plan.seed, mixture=mixture), slower, work)


@dataclass(frozen=True)
class Stage:
    """One part of the training: its name, number of steps, share of falling rates, what is trained, by which loss.

    Rates fall to the share `left` of what they were.
    """

    name: str
    steps: int
    decay: float
    module: nn.Module
    loss: Loss
    left: float = 0.0


def optimizers(module: nn.Module, plan: Schedule) -> list[torch.optim.Optimizer]:
    """Muon for the matrices that mix features, AdamW for tables, kernels, biases and norms."""
    import torch

    tables = ("embed", "lm_head", "query", "readers")
    trained = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    matrices = [(n, p) for n, p in trained if p.ndim == 2 and not any(table in n for table in tables)]
    known = {name for name, _ in matrices}
    rest = [(name, parameter) for name, parameter in trained if name not in known]

    def groups(members: list[tuple[str, nn.Parameter]], rate: float) -> list[dict[str, Any]]:
        parts: dict[float, list[nn.Parameter]] = {}
        for name, parameter in members:
            own = rate * plan.tower_share if "vision_tower" in name else rate
            parts.setdefault(plan.reader_rate if "readers" in name else own, []).append(parameter)
        return [{"params": parameters, "lr": own} for own, parameters in parts.items()]

    return [
        torch.optim.Muon(groups(matrices, plan.muon_rate), weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(groups(rest, plan.adam_rate), weight_decay=0.0),
    ]


def run(stage: Stage, batches: Batches, plan: Schedule, work: Path) -> None:
    """Train one stage, from its last checkpoint if there is one."""
    import torch

    from t2i_judge.progress import Progress

    trainers = optimizers(stage.module, plan)
    step = restore(stage, trainers, work)
    groups = [group for trainer in trainers for group in trainer.param_groups]
    rates = [group["lr"] for group in groups]
    recent = 0.0
    quick = bool(torch.cpu.get_capabilities().get("avx512_bf16"))  # then twice as fast, else a fifth as fast
    with Progress(total=stage.steps, initial=step, desc=stage.name, mininterval=10) as bar:
        for batch in stream(batches, step, stage.steps):
            fallen = min(1.0, (stage.steps - step) / max(stage.decay * stage.steps, 1))
            factor = min((step + 1) / plan.warm_up, stage.left + (1 - stage.left) * fallen)
            for group, rate in zip(groups, rates):
                group["lr"] = rate * factor
            stage.module.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=quick):
                loss = stage.loss(batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(stage.module.parameters(), 5.0)
            for trainer in trainers:
                trainer.step()
            step += 1
            recent = loss.item() if step == 1 else 0.98 * recent + 0.02 * loss.item()
            bar.update()
            bar.set_postfix(loss=f"{recent:.3f}", refresh=False)
            if step % plan.checkpoint_every == 0 or step == stage.steps:
                checkpoint(stage, trainers, step, work)


def stream(batches: Batches, start: int, stop: int) -> Iterator[dict[str, Tensor]]:
    """Batches `start` to `stop`, made ahead by one worker process."""
    from torch.utils.data import DataLoader

    if start < stop:
        dataset: Any = _Lazy(batches)
        loader = DataLoader(dataset, batch_size=None, sampler=range(start, stop), num_workers=1, prefetch_factor=8)
        yield from loader


@dataclass(frozen=True)
class _Lazy:
    """A data set whose item k is batch k, made when asked for."""

    batches: Batches

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.batches(index)


def _state(stage: Stage, trainers: Sequence[torch.optim.Optimizer]) -> dict[str, Tensor]:
    """Everything a stage needs to go on, as flat tensors: weights and the optimisers' moments."""
    tensors = {f"module/{name}": value for name, value in stage.module.state_dict().items()}
    for index, trainer in enumerate(trainers):
        for number, moments in trainer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{number}/{name}": value for name, value in moments.items()}
    return {name: value.detach().clone().contiguous() for name, value in tensors.items()}


def checkpoint(stage: Stage, trainers: Sequence[torch.optim.Optimizer], step: int, work: Path) -> None:
    """Write the stage's state, whole or not at all."""
    from safetensors.torch import save

    write_atomic(work / f"{stage.name}.safetensors", save(_state(stage, trainers), metadata={"step": str(step)}))


def restore(stage: Stage, trainers: Sequence[torch.optim.Optimizer], work: Path) -> int:
    """Load the stage's last checkpoint, if any; the number of steps already done."""
    from safetensors import safe_open

    path = work / f"{stage.name}.safetensors"
    if not path.exists():
        return 0
    with safe_open(path, "pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a mapping)
        step = int(stored.metadata()["step"])
    stage.module.load_state_dict({name[7:]: value for name, value in tensors.items() if name.startswith("module/")})
    for index, trainer in enumerate(trainers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            kind, *rest = name.split("/")
            if kind == "optimizer" and int(rest[0]) == index:
                state.setdefault(int(rest[1]), {})[rest[2]] = value
        trainer.load_state_dict({"state": state, "param_groups": trainer.state_dict()["param_groups"]})
    log.info("%s goes on from step %d", stage.name, step)
    return step


def load(base: Path, tokenizer: Any) -> Any:
    """A finished base in float32, as loud as it was before `save` divided what it writes."""
    from safetensors.torch import load_file

    model = build_model(tokenizer)
    model.load_state_dict({name: weight.float() for name, weight in load_file(base / "model.safetensors").items()})
    model.config.rms_norm_eps /= QUIETER**2  # that of the divided weights
    divide_residual_stream(model, 1 / QUIETER)
    return model


def save(model: Any, processor: Any, output: Path) -> None:
    """Write the base as a Hub folder: bfloat16, the language model's layers rounded to what four bits keep of them."""
    import torch

    output.mkdir(parents=True, exist_ok=True)
    divide_residual_stream(model)
    round_to_four_bits(model.model.language_model)
    processor.save_pretrained(output)
    model.to(torch.bfloat16).save_pretrained(output, save_original_format=False)  # our names, registered or not


def main() -> None:
    """Command line: only the size of the run can be chosen; everything else is the plan."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--see-steps", type=int, default=Schedule.see_steps)
    parser.add_argument("--tell-steps", type=int, default=Schedule.tell_steps)
    parser.add_argument("--place-steps", type=int, default=Schedule.place_steps)
    parser.add_argument("--retell-steps", type=int, default=Schedule.retell_steps)
    parser.add_argument("--relate-steps", type=int, default=Schedule.relate_steps)
    parser.add_argument("--settle-steps", type=int, default=Schedule.settle_steps)
    parser.add_argument("--base", type=Path, help="a finished base, from which the last two stages alone are trained")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    parser.add_argument("--work", type=Path, default=WORK, help="checkpoints; give another folder for another plan")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(arguments.threads)
    stages = ("see", "tell", "place", "retell", "relate", "settle")
    plan = Schedule(**{f"{stage}_steps": getattr(arguments, f"{stage}_steps") for stage in stages})
    pretrain(plan, arguments.output, arguments.work, arguments.base)
    log.info("base written to %s", json.dumps(str(arguments.output)))


if __name__ == "__main__":
    main()
