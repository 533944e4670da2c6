"""DreamBench++'s report: which generator keeps the concept, which follows the prompt."""
