"""Benchmarks: own tables, published ones, personalised sets; as rows with every annotator."""
