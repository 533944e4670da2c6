"""The progress of a training as one line: steps, loss, time left; the Trainer's own prints every record of its log."""

from __future__ import annotations

from typing import Any

from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback, TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from t2i_judge.progress import Progress
from t2i_judge.terminal import verbose


def show_progress(trainer: Trainer, name: str) -> None:
    """Have a trainer show one line, unless `-v` asks for all that it says."""
    if verbose():
        return
    for callback in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(callback)
    if trainer.is_world_process_zero():
        trainer.add_callback(OneLine(name))


class OneLine(TrainerCallback):
    """A `Progress` that the steps of a training move on, with its latest loss.

    Args:
        name: what is trained.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.bar: Progress | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start where a checkpoint left off."""
        self.bar = Progress(total=state.max_steps, initial=state.global_step, desc=self.name, unit="step")

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Move on by what was done."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Show the loss."""
        loss = state.log_history[-1].get("loss") if state.log_history else None
        if self.bar is not None and loss is not None:
            self.bar.set_postfix_str(f"loss {float(loss):.3f}", refresh=False)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Leave the line behind."""
        if self.bar is not None:
            self.bar.close()
