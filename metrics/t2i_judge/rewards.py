"""Rewards for training a generator: `RewardClient(url).score(images, prompts)`, or in this process `LocalRewards`."""

from __future__ import annotations

from .serving.reward_client import RewardClient
from .serving.rewards import LocalRewards, Reward, RewardError, Rewards, flow_grpo_reward

__all__ = ["LocalRewards", "Reward", "RewardClient", "RewardError", "Rewards", "flow_grpo_reward"]
