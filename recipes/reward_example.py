"""`python -m recipes.reward_example`: train a small generator by a judge's rewards over HTTP (a minute of CPU).

The generator is a table of probabilities: what it draws for each thing that a prompt asks for (a colour, a number), and
how badly it spoils the picture. At first all are equal. In each step it draws several pictures for each prompt, asks
`t2i-judge serve` for rewards, and makes the better pictures of each prompt likelier (REINFORCE with the mean reward of
the prompt as the baseline, as in GRPO). A picture without a reward is left out and counted; it never gets the reward 0.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from recipes.loopback.judge_server import serving
from recipes.scenes.render import render
from recipes.scenes.world import COLORS, COUNTS, Entity, Group, Prompt, place
from t2i_judge.errors import UserError
from t2i_judge.rewards import RewardClient
from t2i_judge.running import command
from t2i_judge.terminal import Parser, say
from t2i_judge.wording import counted

ASKED = [Entity("circle", "red", 2), Entity("star", "blue", 1), Entity("square", "green", 3), Entity("cross", "red", 1)]
SEVERITIES = (0.0, 0.5, 1.0)


@dataclass
class Policy:
    """Logits of every decision about a picture: what is asked -> what is drawn."""

    color: np.ndarray = field(default_factory=lambda: np.zeros((len(COLORS), len(COLORS))))
    count: np.ndarray = field(default_factory=lambda: np.zeros((len(COUNTS), len(COUNTS))))
    severity: np.ndarray = field(default_factory=lambda: np.zeros((1, len(SEVERITIES))))

    def draw(self, entity: Entity, rng: np.random.Generator) -> tuple[Image.Image, list[Choice]]:
        """A picture of an entity, and the decisions for it."""
        rows = [(self.color, COLORS.index(entity.color)), (self.count, COUNTS.index(entity.count)), (self.severity, 0)]
        choices = [Choice(table, row, int(rng.choice(table.shape[1], p=softmax(table[row])))) for table, row in rows]
        color, count, severity = (choice.column for choice in choices)
        group = Group(entity.shape, COLORS[color], "large", "plain", COUNTS[count], "blur", SEVERITIES[severity])
        dice = random.Random(int(rng.integers(2**32)))
        return render(place([group], [(0, 0)], dice), dice), choices


@dataclass(frozen=True)
class Choice:
    """One decision: the column that was drawn from a row of logits."""

    table: np.ndarray
    row: int
    column: int

    def reinforce(self, amount: float) -> None:
        """Gradient of the decision's log-probability, times an amount."""
        step = -softmax(self.table[self.row])
        step[self.column] += 1
        self.table[self.row] += amount * step


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits."""
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def train(client: RewardClient, steps: int, pictures: int, rate: float, seed: int) -> list[float]:
    """Mean reward of each step.

    Args:
        client: gives the rewards, with nan for failures.
        pictures: of each prompt in each step.
        rate: of learning.
    """
    rng, policy, means = np.random.default_rng(seed), Policy(), list[float]()
    for step in range(steps):
        drawn = [(entity, *policy.draw(entity, rng)) for entity in ASKED for _ in range(pictures)]
        prompts = [Prompt((entity,)).text for entity, _, _ in drawn]
        scores = np.array([reward.score for reward in client.score([picture for _, picture, _ in drawn], prompts)])
        for start in range(0, len(drawn), pictures):
            _improve([choices for _, _, choices in drawn[start : start + pictures]], scores[start:][:pictures], rate)
        lost = int(np.isnan(scores).sum())
        if lost == len(scores):
            raise UserError("No image of a step has a reward", "There is nothing to learn from", "See the server's log")
        means.append(float(np.nanmean(scores)))
        say(f"step {step + 1:3d}  mean reward {means[-1]:5.2f}  pictures {len(scores)}, without a reward {lost}")
    return means


def _improve(decided: Sequence[Sequence[Choice]], scores: np.ndarray, rate: float) -> None:
    """Make what scored above the mean of its prompt likelier; what has no score says nothing."""
    sound = ~np.isnan(scores)
    if sound.sum() < 2 or not scores[sound].std():
        return
    advantages = (scores - scores[sound].mean()) / scores[sound].std()
    for choices, advantage in zip(decided, advantages, strict=True):
        for choice in choices if np.isfinite(advantage) else ():
            choice.reinforce(rate * float(advantage))


@command("reward_example")
def main(argv: Sequence[str] | None = None) -> int:
    """Train; returns 0 if the reward went up."""
    parser = Parser(prog="recipes.reward_example", description="Train a small generator by rewards.")
    parser.add_argument("--url", help="address of t2i-judge serve (default: one is started with the judge tiny)")
    parser.add_argument("--steps", type=int, default=12, help="(default: %(default)s)")
    parser.add_argument("--pictures", type=int, default=8, help="images of each prompt per step (default: %(default)s)")
    parser.add_argument("--rate", type=float, default=0.3, help="learning rate (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if args.steps < 2 or args.pictures < 2:
        raise UserError(
            "--steps and --pictures must be at least 2", "A gain needs two values to compare", "Use larger numbers"
        )

    def learn(url: str) -> list[float]:
        with closing(RewardClient(url, on_failure="nan")) as client:
            return train(client, args.steps, args.pictures, args.rate, args.seed)

    if args.url:
        means = learn(args.url)
    else:
        with serving("--judge", "tiny") as url:
            means = learn(url)
    some = max(1, args.steps // 5)
    before, after = float(np.mean(means[:some])), float(np.mean(means[-some:]))
    say(f"Mean reward of the first {counted(some, 'step')} {before:.2f}, of the last {some} {after:.2f}")
    return 0 if after > before else 1


if __name__ == "__main__":
    raise SystemExit(main())
