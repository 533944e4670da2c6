"""The example trains a generator by the embedded judge's rewards, over HTTP, and the reward goes up."""

from __future__ import annotations

import re

import pytest

from recipes.reward_example import main
from tests.embedded import needs_embedded_judge


@pytest.mark.slow
@needs_embedded_judge
def test_the_reward_goes_up(capsys):
    assert main(["--steps", "6"]) == 0
    means = [float(mean) for mean in re.findall(r"mean reward +([\d.]+)  pictures", capsys.readouterr().out)]
    assert len(means) == 6
    assert means[-1] > means[0] + 2


def test_what_cannot_be_trained_is_said(capsys):
    assert main(["--steps", "1"]) == 2
    assert "at least 2" in capsys.readouterr().err
