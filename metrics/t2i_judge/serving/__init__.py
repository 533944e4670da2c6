"""One judge for many callers: automatic batches, a server, and rewards for training generators."""
