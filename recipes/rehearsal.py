"""`make rehearsal`: a whole release to a Hub on loopback, over real HTTP with the real client, Xet on and off.

    python -m recipes.rehearsal --recipe smoke --allow baseline

What has been built is used as it is. Every repository is pushed, tagged, collected, read back and opened, once through
Xet and once through plain LFS; then a second release must find nothing to send.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from recipes.hub.repositories import repositories
from recipes.recipe.config import ROOT, load_recipe
from t2i_judge.errors import UserError
from t2i_judge.running import command

if TYPE_CHECKING:
    from recipes.loopback.hub.server import Running

NAMESPACE, TOKEN = "me", "hf_rehearsal"
_SENDING = re.compile(r"(POST|PUT|PATCH|DELETE) (?!/api/validate-yaml)")


@command("rehearsal")
def main(argv: Sequence[str] | None = None) -> int:
    """Rehearse and print where everything stands; returns the exit code."""
    parser = argparse.ArgumentParser(prog="recipes.rehearsal", description="Release to a Hub on loopback.")
    parser.add_argument("--recipe", default="tiny")
    parser.add_argument("--allow", default="", help="gate checks to let pass, as for a release")
    parser.add_argument("--xet", choices=("on", "off", "both"), default="both")
    parser.add_argument("--private", action="store_true", help="release to private repositories")
    parser.add_argument("--keep", action="store_true", help="leave the Hub running until Ctrl-C")
    arguments = parser.parse_args(argv)
    modes = {"on": (True,), "off": (False,), "both": (True, False)}[arguments.xet]
    hubs = [rehearse(arguments.recipe, arguments.allow, xet, arguments.private) for xet in modes]
    if arguments.keep:
        print("The Hubs run until Ctrl-C.", flush=True)
        with suppress(KeyboardInterrupt):
            threading.Event().wait()
    for hub in hubs:
        hub.stop()
    return 0


def rehearse(recipe_name: str, allow: str, xet: bool, private: bool = False) -> Running:
    """One release to a fresh Hub, and a second one that must send nothing.

    Raises:
        UserError: a release failed, or the second one sent something.
    """
    from recipes.loopback.hub.server import start

    recipe = load_recipe(recipe_name)
    folder = ROOT / "build" / "rehearsal" / recipe.name / ("xet" if xet else "lfs")
    shutil.rmtree(folder / "hub", ignore_errors=True)
    running = start(folder / "hub", users={TOKEN: NAMESPACE}, xet=xet)
    print(f"[rehearsal] {recipe.name}, Xet {'on' if xet else 'off'}: {running.endpoint}", flush=True)
    options = ["--stage", str(folder / "release"), *(["--allow", allow] if allow else [])]
    _release(recipe_name, running, [*options, *(["--private"] if private else [])], _environment(running, folder, xet))
    before = len(running.hub.calls)
    _push_again(recipe_name, running, folder, xet)
    if sent := [call for call in running.hub.calls[before:] if _SENDING.match(call)]:
        raise UserError(f"a second push sent {len(sent)} requests", f"the first was {sent[0]}", "this is a defect")
    print("[rehearsal] a second push sent nothing. On the Hub:", flush=True)
    for repository in repositories(recipe):
        print(f"  {running.endpoint}/{repository.url(NAMESPACE)}", flush=True)
    return running


def _environment(running: Running, folder: Path, xet: bool) -> dict[str, str]:
    """Of a process that knows this Hub only, with an empty cache."""
    environment = {key: value for key, value in os.environ.items() if key not in ("HF_HUB_OFFLINE", "HF_HUB_CACHE")}
    shutil.rmtree(folder / "home", ignore_errors=True)
    return {
        **environment,
        "HF_ENDPOINT": running.endpoint,
        "HF_TOKEN": TOKEN,
        "HF_HOME": str(folder / "home"),
        "HF_HUB_DISABLE_XET": "0" if xet else "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
    }


def _release(recipe: str, running: Running, options: Sequence[str], environment: Mapping[str, str]) -> None:
    command = [sys.executable, "-m", "recipes.release", "--recipe", recipe, "--namespace", NAMESPACE, *options]
    if subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode:
        raise UserError(f"the release to {running.endpoint} failed", "", "see its message above")


def _push_again(recipe: str, running: Running, folder: Path, xet: bool) -> None:
    """The push of the same stage once more, in a process of its own."""
    from t2i_judge import __version__

    script = (
        "from pathlib import Path\nfrom recipes.publish.push import Push\n"
        "from recipes.recipe.config import load_recipe\nfrom recipes.hub.repositories import PARTS\n"
        f"stage = Path({str(folder / 'release')!r})\n"
        f"Push(load_recipe({recipe!r}), stage, {NAMESPACE!r}, 'v{__version__}', {TOKEN!r}).run(PARTS)\n"
    )
    environment = _environment(running, folder, xet)
    if subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environment, check=False).returncode:
        raise UserError("the second push failed", "", "see its message above")


if __name__ == "__main__":
    raise SystemExit(main())
