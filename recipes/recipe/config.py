"""A recipe: everything from which a release is made, as typed data read from `recipes/NAME/recipe.yaml`.

    recipe = load_recipe("tiny")                      # recipes/tiny/recipe.yaml
    recipe = load_recipe("minicpm-v-2.6/24gb")        # a variant: recipes/minicpm-v-2.6/24gb.yaml
    recipe = load_recipe("my/recipe.yaml")            # any file

Relative paths in a recipe start at the checkout's root, so that commands run from anywhere.
"""

from __future__ import annotations

import re
from dataclasses import field, fields
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from recipes.recipe.sections import (
    CLOSED,
    Adapter,
    Evaluation,
    Mixture,
    Quantization,
    Rebalance,
    Release,
    ScenesData,
    Seeds,
    T2IEvalData,
    TableData,
    Teacher,
    Training,
)
from recipes.recipe.typed_yaml import RECIPES, build, read_yaml
from t2i_judge.errors import UserError, nearest, quoted
from t2i_judge.judges.names import JudgeName
from t2i_judge.local.fetching import is_hub_id
from t2i_judge.logins import shown_address
from t2i_judge.prompts import TASKS, student_hash
from t2i_judge.records import ASPECTS, PERSONALISED_ASPECTS

ROOT = Path(__file__).resolve().parents[2]
JUDGES = ("base", "direct", "teacher", "annotator")  # what results call others beside the distilled judge
METRIC, DEMO = "t2i_judge", "t2i-judge-demo"  # the repositories that all recipes of a namespace share
JOBS = "t2i-judge-jobs-"  # begins the names of their repositories on the Hub
# What commands keep in build/ beside the folders of recipes: stages (`recipes.hub.repositories.stage_folder`, and what
# is called so while one is made or replaced), the demo, its visitors' ratings, tables and logs.
_TAKEN = re.compile(
    r"release([-.].*)?|.*\.(part|old)|annotations|bench\.jsonl|coverage\.json|environments|full-size|rehearsal|"
    r"selftest|space",
    re.IGNORECASE,
)
_HUB_NAME = re.compile(r"[A-Za-z0-9](?:[\w.-]{0,76}[A-Za-z0-9_])?", re.ASCII)


@dataclass(frozen=True, config=CLOSED)
class Base:
    """The model to adapt.

    Attributes:
        model: a folder or a Hub id.
        id: for a folder, the Hub id of its files. The released adapter names it as its base.
        revision: branch, tag or commit on the Hub; None: main. The commit is looked up once per build and kept there.
        max_slice_nums: most slices of an image; None keeps the processor's own.
    """

    model: str
    id: str | None = None
    revision: str | None = None
    max_slice_nums: int | None = None

    @property
    def folder(self) -> Path | None:
        """Its folder; None for a model on the Hub."""
        path = resolve(self.model)
        return path if path.is_dir() else None

    @property
    def source(self) -> str:
        """Where `from_pretrained` finds it: the folder, or the Hub id."""
        return str(self.folder or self.model)

    @property
    def hub_id(self) -> str | None:
        """What it is called on the Hub; None for a folder that is from nowhere else."""
        return self.id if self.folder else self.model


@dataclass(frozen=True, config=CLOSED)
class Recipe:
    """Everything from which a release is made. None leaves `quantization` or `rebalance` out. Packing none: one sample
    per row.

    `mode`: how the distilled judge scores unless told otherwise (`t2i_judge.judges.local`).
    `personalised`: images are judged beside a reference image, on concept preservation and prompt following.
    `answers_first`: the student explains and sums up the answers that it gave, which it is told; else beside them.
    `quoted_summaries`: its summaries are its explanations of what it found wrong; it writes no others.
    `judge`: what results call the distilled judge; None: as the recipe.
    `asked`: no key of the YAML, but what the recipe was loaded by: a name, or the path of a file.
    """

    name: str
    data: Annotated[ScenesData | TableData | T2IEvalData, Field(discriminator="source")]
    base: Base
    adapter: Adapter
    teacher: Teacher = field(default_factory=Teacher)
    quantization: Quantization | None = None
    packing: Literal["shared_prefix", "none"] = "shared_prefix"
    personalised: bool = False
    answers_first: bool = False
    quoted_summaries: bool = False
    mode: Literal["expected", "greedy", "likelihood"] = "expected"
    judge: str | None = None
    mixture: Mixture = field(default_factory=Mixture)
    rebalance: Rebalance | None = None
    training: Training = field(default_factory=Training)
    seeds: Seeds = field(default_factory=Seeds)
    evaluation: Evaluation = field(default_factory=Evaluation)
    release: Release = field(default_factory=Release)
    asked: str | None = field(default=None, repr=False, compare=False)

    @property
    def typed(self) -> str:
        """What `--recipe` and RECIPE= take for this recipe, on this machine."""
        return self.asked or self.name

    @property
    def folder(self) -> Path:
        """Where this recipe's steps leave their results: `build/NAME` in the checkout."""
        return ROOT / "build" / self.name

    @property
    def repository_names(self) -> dict[str, str]:
        """What its own repositories on the Hub are called, without the namespace: by its names, else after itself."""
        chosen = self.release.repositories
        return {
            "bench": chosen.bench or f"t2i-judge-bench-{self.name}",
            "distill": chosen.distill or f"t2i-judge-distill-{self.name}",
            "model": chosen.model or f"t2i-judge-{self.name}",
        }

    @property
    def student_hash(self) -> str:
        """The version of what its student is asked."""
        return student_hash(self.personalised, self.answers_first)

    @property
    def judge_name(self) -> str:
        """What results call the distilled judge."""
        return self.judge or self.name


def load_recipe(name: str | Path) -> Recipe:
    """The recipe of that name (`tiny`, `minicpm-v-2.6/24gb`) or in that file (`....yaml`).

    Raises:
        UserError: the recipe does not exist (the nearest is suggested), or the YAML is wrong (key, type or range is
            named).
    """
    path = recipe_path(name)
    where = f"{path.parent.name}/{path.name}" if path.name == "recipe.yaml" else path.name
    content = read_yaml(path)
    if "asked" in content:
        raise UserError(f"{where}: unknown key 'asked'", "It says how a recipe was loaded", "Remove it")
    recipe = build(Recipe, {**content, "asked": str(name)}, where)
    check(recipe)
    return recipe


def recipe_path(name: str | Path) -> Path:
    """The YAML file behind a recipe's name or path. Raises `UserError` with the nearest name.

    A variant goes by the name that its results carry, too (`minicpm-v-2.6-24gb` for `minicpm-v-2.6/24gb`).
    """
    if str(name).endswith((".yaml", ".yml")):
        return Path(name)
    known = recipe_names()
    if str(name) not in known:
        for path in known.values():
            if read_yaml(path).get("name") == name:
                return path
        raise UserError(
            f"There is no recipe {quoted(str(name))}", nearest(name, known), "See the list in recipes/README.md"
        )
    return known[str(name)]


def recipe_names() -> dict[str, Path]:
    """Name -> YAML file of every recipe in the checkout; a variant is called FOLDER/VARIANT."""
    names = {}
    for path in sorted(RECIPES.glob("*/*.yaml")):
        if (path.parent / "recipe.yaml").is_file():
            names[path.parent.name if path.stem == "recipe" else f"{path.parent.name}/{path.stem}"] = path
    return names


def resolve(path: str | Path) -> Path:
    """A path of a recipe: relative ones start at the checkout's root."""
    return ROOT / path


def check(recipe: Recipe) -> None:
    """Ranges that types cannot say. Raises `UserError` naming the value."""
    weights = [getattr(recipe.mixture, task) for task in TASKS]
    weights += [getattr(recipe.mixture.aspects, aspect) for aspect in (*ASPECTS, *PERSONALISED_ASPECTS)]
    if min(weights) < 0 or not any(weights[: len(TASKS)]):
        raise UserError(
            "The mixture has a negative weight, or only zeros",
            "Weights are relative frequencies",
            "Set some of them above 0",
        )
    if recipe.release.space_judge and not JudgeName.parse(recipe.release.space_judge).served:
        raise UserError(
            f"The setting release.space_judge is {quoted(recipe.release.space_judge)}",
            "This judge is used where a Space is too small for a local judge",
            "Use a served judge, openai:MODEL@URL",
        )
    _check_addresses(recipe)
    _check_names(recipe)
    check_base(recipe)
    _check_repositories(recipe)


def _check_addresses(recipe: Recipe) -> None:
    """Raise `UserError` for a login or key in a server's address: recipes are published, and sent to the Hub."""
    servers = [("teacher.base_url", recipe.teacher.base_url), ("release.space_judge", recipe.release.space_judge)]
    servers += [("teacher.api_key_env", entry) for entry in recipe.teacher.api_key_env]
    servers += [("evaluation.judges", name) for name in recipe.evaluation.judges]
    for key, text in servers:
        if text is not None and (shown := shown_address(text)) != text:
            raise UserError(
                f"An address in {key} has a login or a key ({quoted(shown)} without it)",
                "A recipe is a file that others read",
                "Remove it there, and export the key in a variable that teacher.api_key_env names; or leave the "
                "address out, and export it whole as OPENAI_BASE_URL",
            )


def _check_names(recipe: Recipe) -> None:
    """Raise `UserError` where the name of recipe or judge is none, or has a meaning already."""
    fact, key = f"The recipe's name is {quoted(recipe.name)}", "judge" if recipe.judge else "name"
    if not hub_name(recipe.name):
        raise UserError(fact, "Folders and repositories have this name", "Use letters, digits, - and .")
    if _TAKEN.fullmatch(recipe.name):
        raise UserError(fact, f"Other commands write to build/{recipe.name}", "Use another name")
    if recipe.judge_name.lower() in JUDGES:
        raise UserError(
            f"The judge of the recipe is called {quoted(recipe.judge_name)}",
            f"Results call another judge so ({', '.join(JUDGES)})",
            f"Set {key} to another name",
        )


def check_base(recipe: Recipe) -> None:
    """What a release needs to know of its base. Raises `UserError`, naming the key."""
    base = recipe.base
    if is_hub_id(base.model) and base.id in (None, base.model) and (base.folder or Path(base.model).is_dir()):
        raise UserError(
            f"The base.model {quoted(base.model)} is one on the Hub, and a folder here has that name",
            "Nothing says which of the two is the base, and transformers would load the folder",
            f"Write ./{base.model} for the folder, or move it",
        )
    if base.folder is None and base.id not in (None, base.model):
        raise UserError(
            f"The base.model is {quoted(base.model)}, and base.id is {quoted(base.id)}",
            "An id says which model of the Hub a folder has, and base.model is not a folder",
            "Correct base.model, or remove base.id",
        )
    if base.folder and base.id is None and not recipe.release.publish_base:
        raise UserError(
            f"The base.model is the folder {base.model}",
            "A released adapter must name a base that others can load, and only your own base can be published with it",
            "Add base.id, its OWNER/NAME on the Hub, or for your own base release.publish_base: true",
        )
    if base.id is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", base.id):
        raise UserError(f"The base.id is {quoted(base.id)}", "The id of a model is OWNER/NAME", "Correct it")


def hub_name(name: str) -> bool:
    """Whether a folder, a tag and, with a few words in front, a repository of the Hub may be called so."""
    return bool(_HUB_NAME.fullmatch(name)) and not re.search(r"--|\.\.|\.git$", name)


def _check_repositories(recipe: Recipe) -> None:
    """Raise `UserError` for a name that the Hub would refuse, that two repositories would have, or that jobs use."""
    names = recipe.repository_names
    for key, name in names.items():
        if getattr(recipe.release.repositories, key) is not None and not hub_name(name):
            raise UserError(
                f"The setting release.repositories.{key} is {quoted(name)}",
                "It is the name of a repository without its namespace",
                "Use letters, digits, - _ and .",
            )
        if name.lower().startswith(JOBS):
            raise UserError(
                f"A repository of the release would be called {quoted(name)}",
                "Trainings on rented hardware keep their files under such names, and delete others there",
                "Use another name",
            )
        if [other.lower() for other in (*names.values(), METRIC, DEMO)].count(name.lower()) > 1:
            raise UserError(
                f"Two repositories of the release would be called {quoted(name)}",
                "Small and capital letters are the same in such a name",
                f"Give each repository its own name (release.repositories.{key})",
            )


def differing(section: object) -> dict[str, object]:
    """The fields of a recipe's section that differ from their defaults (what a model card lists)."""
    values = {f.name: (getattr(section, f.name), f.default) for f in fields(section)}  # type: ignore[arg-type]
    return {name: value for name, (value, default) in values.items() if value != default}
