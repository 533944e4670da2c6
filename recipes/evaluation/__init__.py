"""Judges measured on held-out images: judgements, results, methods."""
