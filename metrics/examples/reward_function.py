"""A judge as a reward function, in the two shapes that trainers call.

    python metrics/examples/reward_function.py example/prompts.txt example/ours example/theirs --judge tiny

TRL's GRPOTrainer trains language models: here one that rewrites a person's wish into a prompt for a generator. It calls
`reward(prompts, completions, **columns)` and takes one number per completion; None leaves a completion out.
Trainers of image generators (flow_grpo and its kin) call `reward(images, prompts, metadata)`.

The script calls both with pictures from folders in place of a generator, one per prompt in the order of their names.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from t2i_judge.rewards import LocalRewards, Rewards, flow_grpo_reward

Reward = Callable[..., list[float | None]]


def trl_reward(rewards: Rewards, draw: Callable[[Sequence[str]], Sequence[Any]]) -> Reward:
    """TRL's reward function: how well the picture of each completion shows the wish.

    Args:
        rewards: `LocalRewards(judge, on_failure="nan")`, or `RewardClient(url, on_failure="nan")` for a judge that
            `t2i-judge serve` runs on another GPU.
        draw: your generator: one picture per completion.
    """

    def judge_reward(prompts: list[str], completions: list[str], wish: list[str], **columns: Any) -> list[float | None]:
        judged = rewards.score(draw(completions), wish)
        return [reward.score if reward.status == "ok" else None for reward in judged]

    return judge_reward


def main() -> None:
    """Print the rewards of the folders that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompts", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--judge", default="tiny")
    args = parser.parse_args()
    wishes = args.prompts.read_text(encoding="utf-8").splitlines()
    rewards = LocalRewards(args.judge, on_failure="nan")

    # In training:
    #   trainer = GRPOTrainer(model, reward_funcs=trl_reward(rewards, draw), train_dataset=dataset)
    # with a dataset of the columns "prompt" (what the language model reads) and "wish".
    reward = trl_reward(rewards, draw=lambda names: [Image.open(name) for name in names])
    drawn = [sorted(map(str, folder.glob("*.png"))) for folder in args.folders]
    columns = [reward(prompts=wishes, completions=names, wish=wishes) for names in drawn]
    for wish, *row in zip(wishes, *columns):
        print(*("   -" if value is None else f"{value:4.1f}" for value in row), wish)

    scores, info = flow_grpo_reward(rewards)([Image.open(name) for name in drawn[0]], wishes, [{}] * len(wishes))
    print(f"flow_grpo: {len(scores)} rewards, {info['status'].count('ok')} ok, aspects: {', '.join(list(info)[2:])}")


if __name__ == "__main__":
    main()
