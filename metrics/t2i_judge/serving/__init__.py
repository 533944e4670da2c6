"""One judge for many callers: batches that form by themselves, a server, and rewards for training generators."""
