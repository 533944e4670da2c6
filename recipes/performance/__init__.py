"""The workloads that `python -m recipes.bench` runs."""
