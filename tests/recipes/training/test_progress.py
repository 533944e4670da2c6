"""The progress of a training is one line, and no record of the Trainer's log; with -v the Trainer speaks itself."""

from __future__ import annotations

import pytest
import torch
from transformers import Trainer, TrainingArguments

from recipes.training.progress import show_progress
from t2i_judge.terminal import VERBOSE, VERBOSITY


class Line(torch.nn.Module):
    """y = w x, with its loss."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, x, labels):
        return {"loss": ((self.weight * x - labels) ** 2).mean()}


@pytest.mark.parametrize("level", [None, VERBOSE])
def test_one_line_for_each_training(level, tmp_path, capsys, monkeypatch):
    if level:
        monkeypatch.setenv(VERBOSITY, level)
    options = TrainingArguments(
        str(tmp_path), max_steps=6, logging_steps=2, save_strategy="no", report_to="none", use_cpu=True
    )
    rows = [{"x": torch.tensor([1.0]), "labels": torch.tensor([2.0])} for _ in range(48)]
    trainer = Trainer(Line(), options, train_dataset=rows)
    show_progress(trainer, "train judge")
    trainer.train()
    printed = capsys.readouterr()
    if level:
        assert "'loss'" in printed.out + printed.err and "train judge" not in printed.err
    else:
        [line] = printed.err.splitlines()
        assert line.startswith("train judge: 6 of 6 steps (100%), ") and ", loss " in line
        assert printed.out == ""
