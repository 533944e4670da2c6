"""The two Spaces of a release: the metric (the library itself), and the demo (space/, the library beside it)."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from model_card.card import selftests
from model_card.rendering import front_matter, licence_metadata, metadata_of, render
from recipes.hub.repositories import shared_tag
from recipes.recipe.config import ROOT
from t2i_judge.cli.install_metric import SCRIPT, tree_hash
from t2i_judge.errors import UserError
from t2i_judge.files import write_atomic
from t2i_judge.judges.names import TINY
from t2i_judge.records import Judgement, Status, Usage

LIBRARY = ROOT / "metrics" / "t2i_judge"
SPACE = ROOT / "space"
SCENES = ROOT / "recipes" / "scenes"
METRIC_TEMPLATE = ROOT / "model_card" / "metric.md.jinja"
PAGE_TEMPLATE = ROOT / "model_card" / "metric.html.jinja"
COLORS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")  # that the Hub knows
DESCRIPTION_LENGTH = 60
_JUDGED = 200  # judgements in the demo: questions, answers and probabilities of one take some kilobytes
_HUB_BASES = ("bitsandbytes", "torchvision")  # a base from the Hub may be loaded in four bits, or need its own resizing
_SPACE_FILES = (".py", ".css", ".js", ".html")
_LIBRARY_FILES = (".py", ".typed", ".json", ".yaml", ".yml", ".html", ".css", ".js", ".jinja", ".txt", ".safetensors")


def stage_metric(folder: Path, record: dict[str, Any], model: Path) -> None:
    """The metric's Space: the library, its `evaluate` script stamped with this release, card, requirements."""
    stage_library(folder, model)
    stamp(folder, record)
    write_atomic(
        folder / "requirements.txt", requirements(also=("bitsandbytes",) if record["judge"].get("quantization") else ())
    )
    card = render(METRIC_TEMPLATE, metric_metadata(record), **_names(record))
    write_atomic(folder / "README.md", card)
    write_atomic(folder / "index.html", render_page(record))


def _names(record: dict[str, Any]) -> dict[str, Any]:
    """What the metric's templates may name."""
    return {"record": record, "release": record["release"], "ids": record["repositories"], "tag": _tag(record)}


def _tag(record: dict[str, Any]) -> str:
    """The tag of both Spaces, which recipes share."""
    return shared_tag(record["release"]["recipe"], f"v{record['release']['version']}")


def _tags(record: dict[str, Any], *more: str) -> list[str]:
    """What the Hub files a Space under: ours, and simulated where it is."""
    return ["t2i-judge", *more, *(["simulated"] if record["release"]["simulated"] else [])]


def stamp(folder: Path, record: dict[str, Any]) -> None:
    """Tell the `evaluate` script of a staged library which release it is: Space, tag, content, and default judge.

    Raises:
        UserError: the script lacks one of the constants to set.
    """
    values = {
        "REPOSITORY": record["repositories"]["metric"],
        "TAG": _tag(record),
        "TREE": tree_hash(folder),
        "JUDGE": f"hf:{record['repositories']['model']}@v{record['release']['version']}",
    }
    script = folder / SCRIPT
    text = script.read_text(encoding="utf-8")
    for name, value in values.items():
        text, hits = re.subn(rf"^{name} = .*$", f'{name} = "{value}"', text, flags=re.M)
        if hits != 1:
            raise UserError(
                f"{SCRIPT} sets {name} {hits} times", "The release is named there once", "Correct the script"
            )
    write_atomic(script, text)


def metric_metadata(record: dict[str, Any]) -> dict[str, Any]:
    """Front matter of the metric's Space: static, which is free on the Hub."""
    return {
        "title": "t2i_judge",
        "emoji": "⚖️",
        "colorFrom": "indigo",
        "colorTo": "green",
        "sdk": "static",
        "app_file": "index.html",
        **licence_metadata(record["release"], "license_model"),
        "short_description": "Judge text-to-image models with evaluate.load",
        "tags": _tags(record, "evaluate", "metric"),
        "models": [record["repositories"]["model"]],
    }


def render_page(record: dict[str, Any]) -> str:
    """The static page that visitors of the metric's Space see."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(PAGE_TEMPLATE.parent), undefined=StrictUndefined, autoescape=True)
    return environment.get_template(PAGE_TEMPLATE.name).render(**_names(record))


def requirements(*extras: str, also: Iterable[str] = ()) -> str:
    """`name==version` lines of the distribution's dependencies, with these extras, as installed here.

    `also`: further packages, those of them that are installed here.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(line for name in extras for line in project["optional-dependencies"][name])]
    names = sorted({re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0] for line in wanted})
    names += [name for name in also if name not in names and find_spec(name)]
    return "".join(f"{name}=={metadata.version(name).split('+')[0]}\n" for name in sorted(names))


def demo_requirements(simulated: bool) -> str:
    """`requirements` of the demo, which loads a base from the Hub unless the data is simulated."""
    return requirements("space", "heic", also=() if simulated else _HUB_BASES)


def _four_bit_packages(record: dict[str, Any]) -> tuple[str, ...]:
    """What a judge needs beside the library that is loaded in 4 bits."""
    settings = record["judge"].get("quantization")
    return ("bitsandbytes",) if settings and not settings.get("rounded") else ()


def stage_demo(folder: Path, record: dict[str, Any], model: Path, judged: Iterable[Mapping[str, Any]] = ()) -> None:
    """The demo's Space: its own modules flat, the library with this release's weights, the scenes, and names.

    `judged`: judgements of the benchmark's images by the release's judge, of which the page shows what was answered.
    """
    copy_folder(SPACE, folder, _SPACE_FILES, deep=False)
    stage_library(folder / "t2i_judge", model if record["release"]["simulated"] else None)
    copy_folder(SCENES, folder / "scenes", (".py",))
    release, ids = record["release"], record["repositories"]
    names = {
        "namespace": ids["bench"].split("/")[0],
        "benchmark": ids["bench"],
        "version": release["version"],
        "recipe": release["recipe"],
        "model": ids["model"],
        "tag": _tag(record),
    }
    write_atomic(folder / "README.md", _demo_card(names, _tags(record)))
    tested = {"selftests": made} if (made := selftests(record["results"])) else {}
    write_atomic(folder / "release.json", json.dumps({**names, **demo_judge(record), **tested}, indent=1) + "\n")
    write_atomic(folder / "judged.json", json.dumps(list(_answered(judged))) + "\n")
    write_atomic(folder / "requirements.txt", demo_requirements(release["simulated"]))


def _answered(judged: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The first judgements with a score, without what they took, which is another each time."""
    for row in islice((row for row in judged if row["status"] == Status.OK), _JUDGED):
        yield replace(Judgement.from_json(row), usage=Usage()).to_json()


def _demo_card(names: dict[str, str], tags: list[str]) -> str:
    """The Space's own card with the names of this release in it."""
    card = (SPACE / "README.md").read_text(encoding="utf-8")
    for placeholder, value in names.items():
        card = card.replace(f"{{{placeholder}}}", value)
    metadata, body = metadata_of(card), card.split("\n---\n", 1)[1]
    metadata["tags"] = [*tags[:1], *metadata["tags"], *tags[1:]]
    return f"---\n{front_matter(metadata)}---\n{body}"


def demo_judge(record: dict[str, Any]) -> dict[str, Any]:
    """The judge that the demo opens with: simulated data's own, which rides along, or a real release's from the Hub.

    `space_judge` stands in for one from the Hub where the Space's hardware does not carry it.
    """
    release = record["release"]
    if release["simulated"]:
        return {"judge": TINY}
    judge = f"hf:{record['repositories']['model']}@v{release['version']}"
    return {"judge": judge, "space_judge": release.get("space_judge")}


def stage_library(folder: Path, model: Path | None) -> None:
    """The whole library; a judge that is released with its base takes the place of the packaged one.

    None keeps the packaged one: the demo of a real release opens with its own judge, from the Hub, and shows this one
    beside it, for scenes.
    """
    copy_folder(LIBRARY, folder, _LIBRARY_FILES)
    if model is not None and (model / "base").is_dir():
        _replace_weights(folder / "weights" / "tiny", model)


def copy_folder(source: Path, target: Path, kinds: tuple[str, ...], deep: bool = True) -> None:
    """Copy the files of these kinds in a folder, and below it where it goes deep; what else lies there stays behind.

    Raises:
        UserError: one of them is a link. What it leads to would be published.
    """
    for path in sorted(source.glob("**/*" if deep else "*")):
        if path.suffix not in kinds or "__pycache__" in path.parts:
            continue
        if path.is_symlink():
            raise UserError(f"{path.name} is a link", "Its target would be published", "Put the file itself there")
        if path.is_file():
            copy = target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)


def _replace_weights(folder: Path, model: Path) -> None:
    """The judge of this release takes the place of the packaged one, in the package's own layout."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(model / "base", folder / "base")
    (folder / "adapter").mkdir()
    for path in sorted(model.iterdir()):
        if path.is_file() and path.name not in ("README.md", "judge.json"):
            shutil.copyfile(path, folder / "adapter" / path.name)
    shutil.copyfile(model / "judge.json", folder / "judge.json")


def check_space_metadata(card: str) -> list[str]:
    """What keeps a Space's front matter from being valid on the Hub, in words; empty when it is valid."""
    values = metadata_of(card)
    problems = [f"metadata key {key} is missing" for key in ("title", "sdk", "license") if not values.get(key)]
    for key in ("colorFrom", "colorTo"):
        if values.get(key) not in (None, *COLORS):
            problems.append(f"{key} is {values[key]!r}, not one of {', '.join(COLORS)}")
    if len(str(values.get("short_description", ""))) > DESCRIPTION_LENGTH:
        problems.append(f"short_description is longer than {DESCRIPTION_LENGTH} characters")
    return problems
