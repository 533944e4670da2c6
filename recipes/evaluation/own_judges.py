"""A recipe's own judges: the distilled one, the undistilled base, and the direct baseline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe
from recipes.recipe.items import Item
from t2i_judge.files import write_atomic
from t2i_judge.inputs.domain import fit
from t2i_judge.inputs.images import load_image
from t2i_judge.judges.base import Judge
from t2i_judge.judges.loading import load_judge
from t2i_judge.judges.names import JudgeName
from t2i_judge.local.weights import digest
from t2i_judge.prompts import DIRECT_STUDENT_HASH

BASE, DIRECT = "base", "direct"
_TOLD = ("personalised", "answers_first", "quoted_summaries")  # keys of a recipe that its judge.json has, too
_DOMAIN_IMAGES = 2000


@dataclass(frozen=True)
class OwnJudge:
    """A judge that nobody has loaded yet.

    Attributes:
        recipe: whose it is, `pinned`.
        name: what results call it.
        weights: the folder that it is made of; None for a base on the Hub.
    """

    recipe: Recipe
    name: str
    weights: Path | None

    @cached_property
    def revision(self) -> str:
        """Digest of its weights; "" where they are on the Hub. Raises `UserError` where there are none."""
        return digest(self.weights) if self.weights else ""

    @property
    def template_hash(self) -> str:
        """The version of what it is asked."""
        return DIRECT_STUDENT_HASH if self.name == DIRECT else self.recipe.student_hash

    @cached_property
    def settings(self) -> str:
        """Whatever decides about its judgements besides what it is shown; no model is loaded to know it."""
        options = (self.recipe.mode, self.recipe.base, judge_settings(self.recipe))
        quotes = ("quoted_summaries",) if self.recipe.quoted_summaries else ()
        return repr((self.name, *options, self.revision, self.template_hash, *quotes))

    def open(self, mode: str | None = None) -> Judge:
        """Load it; `mode` None is the recipe's, for the base too: like is compared with like."""
        base, protocol = self.recipe.base, "direct+" if self.name == DIRECT else ""
        options: dict[str, Any] = {} if protocol else {"mode": mode or self.recipe.mode}
        if self.name == BASE:
            options["settings"] = judge_settings(self.recipe)
        place = self.weights or f"{base.model}@{base.revision}"
        return load_judge(JudgeName.parse(f"{protocol}hf:{place}").called(self.name), **options)


def own_judges(recipe: Recipe, build: BuildFolder) -> dict[str, OwnJudge]:
    """By name: the distilled judge first, then the base and, where the recipe has one, the direct baseline."""
    weights = {recipe.judge_name: build.adapter, BASE: recipe.base.folder}
    weights |= {DIRECT: build.direct} if recipe.evaluation.direct else {}
    return {name: OwnJudge(recipe, name, folder) for name, folder in weights.items()}


def trained_as(recipe: Recipe) -> dict[str, bool]:
    """What a judge is told to do otherwise than others, for its judge.json."""
    return {key: True for key in _TOLD if getattr(recipe, key)}


def judge_settings(recipe: Recipe) -> dict[str, Any]:
    """How a recipe's judges are loaded wherever they judge: as they were trained (`local.precision`)."""
    return {
        "quantization": asdict(recipe.quantization) if recipe.quantization else None,
        "dtype": "bfloat16" if recipe.training.bf16 else "float32",
        "max_slice_nums": recipe.base.max_slice_nums,
    }


def write_judge_cards(
    recipe: Recipe, build: BuildFolder, judges: Mapping[str, OwnJudge], learnt: Sequence[Item]
) -> None:
    """judge.json of the judge and of the direct baseline: protocol, templates, base, precision, revision, domain."""
    judge, common = judges[recipe.judge_name], _common(recipe)
    card: dict[str, Any] = {"name": judge.name, "protocol": "one_forward", "mode": recipe.mode}
    card |= {"template_hash": judge.template_hash, "revision": judge.revision, **common}
    if recipe.release.decline_out_of_domain:
        images = [load_image(build.root / item.image) for item in learnt[:_DOMAIN_IMAGES]]
        card["domain"] = fit(images, [item.prompt for item in learnt])
    write_atomic(build.judge_card, json.dumps(card, indent=1) + "\n")
    if direct := judges.get(DIRECT):
        write_direct_card(recipe, build, direct)


def write_direct_card(recipe: Recipe, build: BuildFolder, direct: OwnJudge) -> None:
    """judge.json of the direct baseline, without which it is not loaded as it was trained."""
    own = {"name": DIRECT, "protocol": DIRECT, "template_hash": direct.template_hash, "revision": direct.revision}
    write_atomic(build.direct_card, json.dumps(own | _common(recipe), indent=1) + "\n")


def _common(recipe: Recipe) -> dict[str, Any]:
    """What both of them say in judge.json."""
    base = recipe.base
    return {
        "base": {"model": base.hub_id or base.model, "revision": base.revision},
        **judge_settings(recipe),
        "simulated": recipe.release.simulated,
        **trained_as(recipe),
    }
