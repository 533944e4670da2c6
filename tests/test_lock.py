"""What `make` installs: requirements.lock, with every package of pyproject.toml as constraints.txt chooses; and how."""

from __future__ import annotations

import re
import subprocess
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
LOCKED = {
    match[1]: (match[2], match[0].count("--hash=sha256:"))
    for match in re.finditer(r"^([a-z0-9-]+)==(\S+)(?:[^\n]*\\\n)(?: +--hash=\S+(?: \\)?\n)+", LOCK, re.MULTILINE)
}


def chosen():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pairs}


def test_every_package_has_its_hashes_but_torch_which_is_not_locked():
    pinned = re.findall(r"^([a-z0-9-]+)==", LOCK, re.MULTILINE)
    assert set(pinned) == set(LOCKED) and all(hashes for _, hashes in LOCKED.values())
    assert not [name for name in pinned if name == "torch" or name.startswith(("nvidia", "cuda", "triton"))]


def test_the_lock_is_what_pyproject_and_constraints_say():
    versions = {name: version for name, (version, _) in LOCKED.items()}
    elsewhere = {"torch"}
    differing = {name: version for name, version in chosen().items() if versions.get(name) != version}
    assert set(differing) == elsewhere, f"{differing}: run `make lock`"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [extras] = re.findall(r"^EXTRAS := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(extras.split(",")) == set(project["optional-dependencies"])
    wanted = chain(project["dependencies"], *project["optional-dependencies"].values())
    for requirement in map(Requirement, wanted):
        name = canonicalize_name(requirement.name)
        assert name in elsewhere or requirement.specifier.contains(versions[name]), f"{requirement}: run `make lock`"


@pytest.mark.parametrize("whole", [False, True])
def test_an_environment_that_was_killed_before_it_had_pip_is_made_again(tmp_path, whole):
    for name in ("Makefile", "pyproject.toml", "constraints.txt", "requirements.lock"):
        (tmp_path / name).write_text((ROOT / name).read_text(encoding="utf-8"), encoding="utf-8")
    scripts = {"python3": 'echo "made with $*"; exit 1', ".venv/bin/python": "exit 0"}
    scripts |= {".venv/bin/pip": '[ "$1" = --version ]'} if whole else {}
    for name, text in scripts.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    command = ["make", "setup", f"PYTHON={tmp_path / 'python3'}"]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False).stdout
    assert ("made with -m venv .venv" in said) is not whole
