"""What each repository of a release may hold: names, kinds and numbers of its files, and nothing beside them."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from recipes.hub.repositories import MANIFEST, Repositories

_MODULE = r"[a-z_][a-z0-9_]*\.py"
_MODEL = (
    r"(?:[\w-]+\.)+(?:safetensors|json|jinja|txt|model)|tokenizer\.model"  # weights, configuration, tokenizer, template
)
_LIBRARY = (
    rf"(?:[a-z_]+/){{0,3}}(?:{_MODULE}|[a-z_]+\.(?:ya?ml|json|html|css|js))|"
    rf"py\.typed|meta/published/\w+/\w+\.(?:ya?ml|json)|"
    rf"weights/tiny/(?:(?:base|adapter)/)?(?:{_MODEL})"
)
_ALLOWED = {
    "bench": r"README\.md|\w+/[\w-]+-\d{5}-of-\d{5}\.parquet",
    "distill": r"README\.md|\w+/[\w-]+-\d{5}-of-\d{5}\.parquet",
    "model": rf"README\.md|efficiency\.png|\.eval_results/[\w-]+\.yaml|(?:base/)?(?:{_MODEL})",
    "metric": rf"README\.md|requirements\.txt|index\.html|{_LIBRARY}",
    "demo": rf"README\.md|requirements\.txt|release\.json|judged\.json|[\w-]+\.(?:css|js|html)|(?:scenes/)?{_MODULE}|"
    rf"t2i_judge/(?:{_LIBRARY})",
}
_STAGE = "results.json"  # beside the repositories; stays on this machine
_MOST = 2_000  # files of a repository
Found = tuple[str, str, str]  # path in the stage, what is wrong, how to mend it
_FIX = "remove it from the released folders, then make the release again"


def not_allowed(stage: Path, names: Repositories) -> Iterator[Found]:
    """Everything in a stage that is none of a release's files: by name, by kind of entry, by number."""
    folders = {name: getattr(names, name).folder(stage) for name in _ALLOWED}
    counts = dict.fromkeys(folders, 0)
    for path in entries(stage):
        where = path.relative_to(stage).as_posix()
        if wrong := odd_entry(path):
            yield where, wrong, _FIX
            continue
        part = next((name for name, folder in folders.items() if path.is_relative_to(folder)), None)
        inside = path.relative_to(folders[part]).as_posix() if part else where
        if inside not in (MANIFEST, *(() if part else (_STAGE,))) and not re.fullmatch(
            _ALLOWED.get(part or "", "(?!)"), inside
        ):
            yield where, f"not a file of a {part} repository" if part else "not a file of a release", _FIX
        elif part:
            counts[part] += 1
    for part, count in counts.items():
        if count > _MOST:
            yield folders[part].name, f"{count:,} files, more than {_MOST:,}", "release fewer, larger files"


def entries(folder: Path) -> Iterator[Path]:
    """Every file below a folder, and every link, which is not followed."""
    for place, folders, files in os.walk(folder, followlinks=False):
        links = [name for name in folders if Path(place, name).is_symlink()]
        yield from (Path(place, name) for name in sorted([*files, *links]))


def odd_entry(path: Path) -> str | None:
    """Why an entry of a folder is no plain file of one name; None when it is."""
    status = path.lstat()
    if stat.S_ISLNK(status.st_mode):
        return f"a link to {'a folder' if path.is_dir() else 'a file'} outside the release"
    if not stat.S_ISREG(status.st_mode):
        return "no file"
    return None
