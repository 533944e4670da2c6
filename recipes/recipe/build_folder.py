"""build/RECIPE: what each step leaves, and where. No other module spells the names of its files."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

from recipes.recipe.markers import Marker
from t2i_judge.files import read_jsonl


class BuildFolder:
    """The paths of a build, in the order in which its steps write them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.base = Marker(root / "BASE.json")  # the base's commit on the Hub (`recipes.recipe.bases`)
        # images, their prompts, and what is known about them
        self.items = root / "items.jsonl"
        self.drawn = Marker(root / "ITEMS.json")
        self.latent = root / "latent.jsonl"  # of rendered scenes: their true quality
        self.inspected = root / "inspected.jsonl"  # images that were opened before, by their content
        self.copies = root / "copies.json"  # which of them are copies of one another
        self.overlaps = Marker(root / "OVERLAPS.json")  # which held-out images are copies of learnt ones
        self.humans = root / "humans.jsonl"  # simulated people's scores, one annotator and aspect a line
        self.ratings = root / "ratings.jsonl"  # people's, in the same way, where the recipe names any
        # the teacher
        self.calls = root / "calls.sqlite"  # every reply that was paid for
        self.batches = root / "batches"
        self.decompositions = root / "decompositions.jsonl"  # prompt -> questions
        self.teacher = root / "teacher.jsonl"  # judgements
        self.distill = root / "distill"  # what the student learns from, as a dataset
        self.built = Marker(root / "BUILT.json")
        # the student
        self.adapter = root / "adapter"
        self.weights = self.adapter / "adapter_model.safetensors"
        self.judge_card = self.adapter / "judge.json"
        self.trained = Marker(root / "training_log.json")
        self.direct = root / "direct"  # the baseline
        self.direct_card = self.direct / "judge.json"
        self.trained_direct = Marker(self.direct / "training_log.json")
        self.job = root / "JOB.json"  # the training on rented hardware, if one was sent
        # measured
        self.judgements = root / "judgements"
        self.explained = root / "explained.jsonl"  # the student's judgements in words, for its sub-tasks
        self.selftests = root / "selftests"  # what judges said of attacked images
        self.results = Marker(root / "results.json")
        # staged
        self.error_rates = Marker(root / "ERROR_RATES.json")  # how often the search for copies errs
        self.verified = Marker(root / "VERIFIED.json")  # what was behind the doors of the last stage that opened whole
        self.verified_hub = Marker(root / "VERIFIED_HUB.json")  # the same of the last release on a Hub
        # the judge and its baselines on equal terms (recipes.performance)
        self.learning = root / "learning"
        self.fair = Marker(self.learning / "fair.json")
        self.efficiency = Marker(self.learning / "efficiency.json")
        self.efficiency_plot = self.learning / "efficiency.png"

    def judgements_of(self, judge: str) -> Path:
        """Where the judgements of a judge stand; its name may hold what a file's name may not."""
        return self.judgements / f"{quote(judge, safe=' +@#')}.jsonl"

    def selftest_of(self, judge: str) -> Path:
        """Where a judge's judgements of attacked images stand."""
        return self.selftests / self.judgements_of(judge).name

    def learnt_from(self) -> list[Path]:
        """The files that a training reads, on whatever machine."""
        return [path for path in (self.base.path, self.teacher, *sorted(self.distill.rglob("*"))) if path.is_file()]

    def human_scores(self) -> list[dict[str, Any]]:
        """What people said, one score per row: those that the recipe names, else those that its data brings."""
        path = self.ratings if self.ratings.is_file() else self.humans
        return list(read_jsonl(path)) if path.is_file() else []

    def released(self) -> list[Path]:
        """The files that a release is made from."""
        files = [self.items, self.decompositions, self.humans, self.ratings, self.latent, self.teacher]
        files += [self.trained.path, self.results.path]
        files += [self.fair.path, self.efficiency.path, self.efficiency_plot]
        globs = [self.judgements.glob("*.jsonl"), (self.root / "images").glob("*"), self.adapter.glob("*")]
        files += [path for paths in (*globs, self.distill.glob("**/*.parquet")) for path in paths]
        return [path for path in files if path.is_file()]
