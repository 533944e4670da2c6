"""`make rehearsal`: whole releases to a Hub on loopback, over real HTTP with the real client, Xet on and off.

    python -m recipes.rehearsal --recipe smoke --allow baseline

An existing build is used. Each release is the whole command (`recipes.release`): gate, push, tags, Collection,
everything read back and opened. These releases follow each other, through Xet and through plain LFS:

    1 a release              3 the next version          5 the first recipe again: it leaves alone what is the
    2 the same again:        4 the same recipe as real     second's now, and sends nothing
      nothing is sent          data, under another name:
                               metric and demo go over to it

A recipe of real data ends after the third; `--until 2` makes the first two.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recipes.hub.repositories import MANIFEST, repositories
from recipes.recipe.config import ROOT, Recipe, load_recipe, recipe_path
from recipes.recipe.typed_yaml import merge, read_yaml
from t2i_judge import __version__
from t2i_judge.errors import UserError
from t2i_judge.files import write_atomic
from t2i_judge.local import tried
from t2i_judge.running import command
from t2i_judge.terminal import Parser, say, step
from t2i_judge.wording import counted

if TYPE_CHECKING:
    from recipes.loopback.hub.server import Running

NAMESPACE, TOKEN = "me", "hf_rehearsal"
_SENDING = re.compile(r"(POST|PUT|PATCH|DELETE) (?!/api/validate-yaml|\S*/paths-info/)")


@command("rehearsal")
def main(argv: Sequence[str] | None = None) -> int:
    """Rehearse and print where everything is. Returns the exit code."""
    parser = Parser(prog="recipes.rehearsal", description="Release to a Hub on loopback.")
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--allow", default="", help="gate checks to let pass, as for a release")
    parser.add_argument("--xet", choices=("on", "off", "both"), default="both")
    parser.add_argument("--private", action="store_true", help="release to private repositories")
    parser.add_argument("--until", type=int, choices=range(1, 6), default=5, help="the last release to make; default 5")
    parser.add_argument("--keep", action="store_true", help="leave the Hub running until Ctrl-C")
    arguments = parser.parse_args(argv)
    modes = {"on": (True,), "off": (False,), "both": (True, False)}[arguments.xet]
    hubs = [rehearse(arguments.recipe, arguments.allow, xet, arguments.private, arguments.until) for xet in modes]
    if arguments.keep:
        say("The Hubs run until Ctrl-C.", flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
    for hub in hubs:
        hub.stop()
    return 0


def rehearse(recipe_name: str, allow: str, xet: bool, private: bool = False, until: int = 5) -> Running:
    """Make the releases above to a new Hub, which keeps running; the last is number `until`.

    Raises:
        UserError: a release failed, sent what was already there, or changed what belongs to another recipe.
    """
    from recipes.loopback.hub.server import start

    recipe = load_recipe(recipe_name)
    folder = ROOT / "build" / "rehearsal" / recipe.name / ("xet" if xet else "lfs")
    shutil.rmtree(folder, ignore_errors=True)
    running = start(folder / "hub", users={TOKEN: NAMESPACE}, xet=xet)
    step(f"[rehearsal] {recipe.name}, Xet {'on' if xet else 'off'}: {running.endpoint}")
    stage = Rehearsal(running, folder, xet, private)
    releases = _releases(stage, recipe_name, allow)[:until]
    for number, (words, release) in enumerate(releases, 1):
        step(f"[rehearsal] {number} of {len(releases)}: {words}")
        release()
    step("[rehearsal] On the Hub:")
    for repository in repositories(recipe):
        say(f"  {running.endpoint}/{repository.url(NAMESPACE)}", flush=True)
    return running


def _releases(stage: Rehearsal, name: str, allow: str) -> list[tuple[str, Callable[[], None]]]:
    """The releases above, in words and to be made."""
    recipe = load_recipe(name)

    def again() -> None:
        stage.release(name, __version__, f"{allow},license" if allow else "license", silent=True)
        step("[rehearsal] A second release sent nothing.")

    def real() -> None:
        second = as_real(recipe, recipe_path(name))
        stage.release(str(second), __version__, allow)
        stage.require_owner(load_recipe(second))

    def first_again() -> None:
        stage.release(name, _next(__version__), allow, silent=True)
        stage.require_owner(load_recipe(as_real(recipe, recipe_path(name))))
        step("[rehearsal] Metric and demo were moved to the second recipe and stayed there.")

    releases = [
        ("a release", lambda: stage.release(name, __version__, allow)),
        ("the same again, which must send nothing", again),
        ("the next version", lambda: stage.release(name, _next(__version__), allow)),
        ("as if the data were real, which takes over metric and demo", real),
        ("the first recipe again, which must leave them alone", first_again),
    ]
    return releases if recipe.release.simulated else releases[:3]


def _next(version: str) -> str:
    major, minor, patch = version.split(".")
    return f"{major}.{minor}.{int(patch) + 1}"


def as_real(recipe: Recipe, path: Path) -> Path:
    """A simulated recipe under another name and without that word, which only a rehearsal may do; its YAML file.

    What was built for the first is built for it, too.
    """
    name = f"{recipe.name}-as-real"
    twin = ROOT / "build" / "rehearsal" / name / "recipe.yaml"
    twin.parent.mkdir(parents=True, exist_ok=True)
    content = merge(read_yaml(path), {"name": name, "release": {"simulated": False}})
    write_atomic(twin, json.dumps(content, indent=1) + "\n")
    if not (ROOT / "build" / name).exists():
        shutil.copytree(recipe.folder, ROOT / "build" / name)
    return twin


@dataclass(frozen=True)
class Rehearsal:
    """Releases to one Hub.

    Attributes:
        running: the Hub.
        folder: where stages and the client's cache stand.
        xet: whether the client uses Xet.
        private: whether the repositories are private.
    """

    running: Running
    folder: Path
    xet: bool
    private: bool

    def release(self, recipe: str, version: str, allow: str, silent: bool = False) -> None:
        """One run of the whole command in a process that knows this Hub only, with an empty cache.

        Raises:
            UserError: it failed, or it sent something although it must be `silent`.
        """
        before = len(self.running.hub.calls)
        stage = self.folder / f"release-{load_recipe(recipe).name}"
        command = [sys.executable, "-m", "recipes.release", "--recipe", recipe, "--namespace", NAMESPACE]
        command += ["--version", version, "--stage", str(stage), *(["--allow", allow] if allow else [])]
        command += ["--private"] if self.private else []
        if subprocess.run(command, cwd=ROOT, env=self.environment(), check=False).returncode:
            raise UserError(f"The release to {self.running.endpoint} failed", "", "See its message above")
        sent = [call for call in self.running.hub.calls[before:] if _SENDING.match(call)]
        if silent and sent:
            raise UserError(
                f"Releasing {recipe} again sent {counted(len(sent), 'request')}",
                f"The first was {sent[0]}",
                "This is a bug in t2i-judge",
            )

    def require_owner(self, recipe: Recipe) -> None:
        """Raise `UserError` unless metric and demo carry this recipe's release, by their manifests on the Hub."""
        from recipes.loopback.hub.repo import Repo

        for repository in (shared for shared in repositories(recipe) if shared.shared):
            repo = Repo(self.running.hub, repository.kind, repository.id(NAMESPACE))
            manifest = json.loads(repo.read(repo.file(repo.resolve("main"), MANIFEST)))
            if manifest["release"]["recipe"] != recipe.name:
                raise UserError(
                    f"{repository.id(NAMESPACE)} is {manifest['release']['recipe']}'s, not {recipe.name}'s",
                    "It belongs to the first recipe of real data",
                    "This is a bug in t2i-judge",
                )

    def environment(self) -> dict[str, str]:
        """The variables of a process that knows this Hub only, with an empty cache."""
        environment = {key: value for key, value in os.environ.items() if key not in ("HF_HUB_OFFLINE", "HF_HUB_CACHE")}
        shutil.rmtree(self.folder / "home", ignore_errors=True)
        tried.lend(self.folder / "home")
        return {
            **environment,
            "HF_ENDPOINT": self.running.endpoint,
            "HF_TOKEN": TOKEN,
            "HF_HOME": str(self.folder / "home"),
            "HF_HUB_DISABLE_XET": "0" if self.xet else "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1",
        }


if __name__ == "__main__":
    raise SystemExit(main())
