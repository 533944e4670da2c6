"""Generators compared on the same prompts: who is better, where, and how sure that is."""
