"""The base of the embedded judge: corpus, tokenizer, pre-training."""
