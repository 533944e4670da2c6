"""Models that run on this machine: weights, prompts as tokens, packed batches, readings. No judge's protocol."""
