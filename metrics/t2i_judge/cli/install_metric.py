"""`t2i-judge install-metric`: make the bare name `evaluate.load("t2i_judge")` resolve everywhere on this machine.

A bare name leads evaluate to a folder in the working directory, to the `evaluate-metric` organisation on the Hub, or to
its own module cache. This command fills the cache with the whole library, weights included, so that the copy works
offline and without the package. evaluate takes the newest copy, in a folder named by 64 hexadecimal digits.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
import shutil
import stat
import sys
import tempfile
from pathlib import Path

from ..errors import UserError
from ..files import write_atomic
from ..terminal import note

SCRIPT = "t2i_judge.py"
INSTALLED = Path("evaluate_modules", "metrics", "evaluate-metric--t2i_judge")


def install(library: Path, modules_cache: Path) -> Path:
    """Copy the library into evaluate's module cache; returns the copy's folder.

    The folder appears complete or not at all, even if others install at the same time. Installing again makes the copy
    the newest one, and replaces a copy whose files differ from the library's.

    Raises:
        UserError: another copy claims to be newer, so that evaluate would load it, and its date cannot be changed; or a
            folder of the cache, where evaluate makes one, is a link.
    """
    from filelock import FileLock  # huggingface-hub and datasets stand on it

    place = modules_cache / INSTALLED
    for folder in (place, *place.parents[:2]):
        if folder.is_symlink():
            reason = f"It leads to {folder.readlink()}, and what lies there would be changed"
            raise UserError(f"{folder} is a link", reason, "Remove it, or name another cache with --modules-cache")
    place.mkdir(parents=True, exist_ok=True)
    for folder in (place, *place.parents[:2]):
        _empty(folder)
    content = tree_hash(library).encode() + (library / SCRIPT).read_bytes()
    target = place / hashlib.sha256(content).hexdigest()
    with FileLock(place.with_suffix(".lock")):
        if not _holds(target, library):
            _put(library, target)
        for compiled in target.rglob("__pycache__"):
            _remove(compiled)
        (target / SCRIPT).touch()
        _put_behind(target)
    return target


def tree_hash(library: Path) -> str:
    """SHA-256 over names and contents of a library's modules and weights, without the `evaluate` script.

    The script has the same function, because evaluate copies it alone; to import that one takes seconds, for evaluate.
    """
    whole = hashlib.sha256()
    paths = {*library.rglob("*.py"), *(path for path in library.glob("weights/**/*") if path.is_file())}
    for name in sorted(path.relative_to(library).as_posix() for path in paths):
        if name != SCRIPT:
            content = (library / name).read_bytes()
            whole.update(f"{name}\0{len(content)}\0".encode() + content)
    return whole.hexdigest()


def _empty(package: Path) -> None:
    """Have a package's module hold nothing, as evaluate makes it: what stands there runs with the metric.

    So does what Python takes before `__init__.py`, or in its place: `__init__.so`, and compiled files.
    """
    module = package / "__init__.py"
    if module.is_symlink() or not module.is_file() or module.stat().st_size:
        if os.path.lexists(module):
            note(f"{module} was not empty. It is replaced.")
        write_atomic(module, "")
    for other in (*package.glob("__init__.*"), package / "__pycache__"):
        if other != module and os.path.lexists(other):
            _remove(other)


def _remove(entry: Path) -> None:
    """Remove a file, a link or a folder. Raises OSError if it stays: Python would run what lies there."""
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink()


def _put_behind(target: Path) -> None:
    """Have evaluate take this copy, made just now: date back those that claim to be newer, and put aside what is none.

    evaluate looks at the script's date in every folder with a name of 64 characters, and fails where there is none.
    """
    newest = (target / SCRIPT).stat().st_mtime
    for other in sorted(target.parent.iterdir()):
        if other == target or len(other.name) != len(target.name):
            continue
        script = other / SCRIPT
        try:
            if not script.exists():
                aside = other.with_name(f"{other.name}.aside-{secrets.token_hex(4)}")
                other.rename(aside)
                note(f"{other} is no whole copy, and evaluate would fail. It is now {aside.name}.")
            elif script.stat().st_mtime >= newest:
                os.utime(script, (newest - 1, newest - 1))
                note(f"The copy in {other} claimed to be newer. It is dated back, so that evaluate does not load it.")
        except OSError as error:
            fact = f"The copy {other} would be loaded in the place of what was just installed"
            raise UserError(fact, f"It cannot be changed: {error.strerror}", f"Remove {other}") from error


def _files(folder: Path) -> dict[str, str]:
    """Path -> SHA-256 of every file of a library, except compiled ones."""
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _holds(target: Path, library: Path) -> bool:
    """Whether a copy has exactly the library's files with their content, and no link."""
    links = any(path.is_symlink() for path in (target, *target.rglob("*")))
    return target.is_dir() and not links and _files(target) == _files(library)


def _put(library: Path, target: Path) -> None:
    """Move a copy into place in one step, after moving away a changed or torn one."""
    with tempfile.TemporaryDirectory(dir=target.parent) as temporary:
        copy = Path(temporary) / "copy"
        shutil.copytree(library, copy, ignore=shutil.ignore_patterns("__pycache__"))
        if os.path.lexists(target):
            note(f"The copy in {target} was changed after it was installed. It is replaced.")
            target.rename(Path(temporary) / "old")
        copy.rename(target)


def open_to_others(copy: Path) -> tuple[Path, str] | None:
    """The first place in or above a copy that others may write to, and who; None if there is none.

    Whoever may write there could replace the copy by other code. In a sticky folder (`/tmp`) entries are safe.
    """
    for place in (*copy.rglob("*"), copy, *copy.resolve().parents):
        if who := _writers(place.stat()):
            return place, who
    return None


def _writers(status: os.stat_result) -> str | None:
    """Who may write there beside its owner, by its permissions; a group of the owner alone is nobody."""
    if status.st_mode & stat.S_ISVTX:
        return None
    if status.st_mode & stat.S_IWOTH:
        return "Every user of this machine"
    if not status.st_mode & stat.S_IWGRP:
        return None
    import grp
    import pwd

    try:
        group, owner = grp.getgrgid(status.st_gid), pwd.getpwuid(status.st_uid).pw_name
    except KeyError:  # nobody knows who that is
        return f"The group {status.st_gid}"
    members = {*group.gr_mem, *(user.pw_name for user in pwd.getpwall() if user.pw_gid == status.st_gid)}
    return f"The group {group.gr_name}" if members - {owner} else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the command."""
    parser.add_argument("--modules-cache", type=Path, help="evaluate's module cache (default: where evaluate looks)")


def run(args: argparse.Namespace) -> int:
    """Install and say where."""
    cache = args.modules_cache
    if cache is None:
        from evaluate.config import HF_MODULES_CACHE

        cache = Path(HF_MODULES_CACHE)
    copy = install(Path(__file__).parents[1], cache)
    print(f'evaluate.load("t2i_judge") now finds {copy}')
    if found := open_to_others(copy):
        place, who = found
        print(
            f"{who} may write to {place} and could replace the copy with other code. Remove this "
            f"permission (chmod go-w {place}), or set HF_MODULES_CACHE to your own folder.",
            file=sys.stderr,
        )
    return 0
