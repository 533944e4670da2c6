"""Absolute paths of a machine: they say who built a release and how their disks are called, and lead nowhere else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

from recipes.recipe.config import ROOT
from recipes.safety.contents import Contents, Leaf
from recipes.safety.decodings import readings

# First folders of paths: of the file system's standard (FHS 3.0), macOS, clusters, clouds, containers and notebooks.
_ROOTS = (
    r"home\d*|root|Users|user|users|mnt\d*|media|scratch\d*|lscratch|workspaces?|work\d*|workdir|tmp|private|data\d*|datasets\d+|opt|"
    r"var|srv|nfs\d*|nas\d*|gpfs\d*|lustre\d*|beegfs|ceph(?:fs)?|weka|fsx|efs|storage\d*|cluster|raid\d*|ssd\d*|nvme\d*|hdd\d*|"
    r"disks?\d*|vol\d*|volumes?\d*|Volumes|shared?|content|kaggle|teamspace|gdrive|notebooks?|projects?|proj|repos?|code|"
    r"app|src|builds?|etc|usr|run|exports?|net|afs|cvmfs|local\w*|hpc|gs|groups?|dbfs|"
    r"Library|System|Applications|Network|sdcard|snap|nix|pool\d*|tank|jobs?|checkpoints?|cygdrive|[a-z]/Users|github|"
    r"dev/shm|dev/[a-z]+\d|home/runner|opt/ml|bucket|s3|gcs|research|experiments?|archive|backup|import|export|drive\d*|"
    r"pscratch|capstor|iopsstor|ocean|ptmp|nobackup\w*|lus|global/(?:homes|cfs|scratch)|u"  # of computing centres
)
_PATH = r"(?:/+[\w.@+~ -]*[\w@+~-])+"
_UNIX = re.compile(
    rf"(?<![\w./<~%-])/(?:{_ROOTS}){_PATH}"
    rf"|(?<=-[A-Za-z])/(?:{_ROOTS}){_PATH}"  # -I/home/me/include
    rf"|(?<=\w:)/(?:home|root|Users|mnt|data|scratch|tmp|var|opt){_PATH}"  # host:/home/me, PATH=a:/home/me
)
_HARMLESS = re.compile(r"/usr/bin/(?:env|python3?)\b.*")  # the same on every machine
_SYSTEM = r"(?i:[a-z]:\\{1,2}Windows(?:\\{1,2}System(?:32)?)?)(?![\w.$\\/-])"  # the same on every machine, too
_WINDOWS = re.compile(
    rf"(?<![A-Za-z0-9])(?!{_SYSTEM})"
    r"(?:[A-Z]:(?:\\{1,2}|/(?!/))[\w.$~-]+|[a-z]:(?:\\{1,2}|/(?!/))[\w.$ ~-]+[\\/])"
)
_SHARES = re.compile(r"(?<![\\\w])\\\\{1,3}[A-Za-z][\w.$-]{2,}\\{1,2}[\w.$-]+")
_URLS = re.compile(r"(?i)\bfile:/{1,4}[\w.%~$-]+[\\/:|][^\s\"'<>]+")
_VARIABLES = re.compile(r"(?:~[\w.-]*|\$\{?HOME\}?|%(?:USERPROFILE|HOMEPATH|APPDATA|LOCALAPPDATA|TEMP)%)[\\/]\S")
_WHOLE = re.compile(r"//?[\w.@-]+(?:/[\w.@+~-]+)+/?")  # a value that is a path and nothing else, from any root
_ROUTES = re.compile(r"/(?:api|v\d|models|spaces|datasets|resolve|docs|gradio_api|static|assets)\b")
_FIX = "write relative paths or Hub ids"
_REWORD = f"{_FIX}; where a person wrote it, reword that row or leave it out"


def local_paths(piece: Contents) -> Iterator[tuple[str, str]]:
    """(what is wrong, fix) of the first path in a piece of a file."""
    for path, place in islice(_paths(piece), 1):
        yield (f"{place}: names the path {path[:80]}", _REWORD) if place else (f"names the path {path[:80]}", _FIX)


def in_bytes(data: bytes) -> str | None:
    """This machine's own folders, in bytes of any kind."""
    places = {str(ROOT), str(Path.home())} - {"/", "/root"}
    return next((place for place in sorted(places) if place.encode() in data), None)


def _paths(piece: Contents) -> Iterator[tuple[str, str | None]]:
    """(path, the cell that it is in)."""
    if piece.vocabulary:  # "/usr/bin" is a token of many
        return
    if not piece.whole:
        yield from ((path, None) for path in _in_text(piece.text))
    for leaf in piece.leaves:
        yield from ((path, leaf.place) for path in _in_text(leaf.text))
        if not piece.code:
            yield from ((path, leaf.place) for path in _as_a_whole(leaf))


def _in_text(text: str) -> Iterator[str]:
    for reading in (text, *readings(text)):
        for form in (_UNIX, _WINDOWS, _SHARES, _URLS):
            yield from (match[0] for match in form.finditer(reading) if not _HARMLESS.fullmatch(match[0]))


def _as_a_whole(leaf: Leaf) -> Iterator[str]:
    """Values of data that are paths: of a home that is not named, or from a root that nobody has heard of."""
    text = unquote(leaf.text.strip())
    if leaf.keys and (_VARIABLES.match(text) or (_WHOLE.fullmatch(text) and not _ROUTES.match(text))):
        yield text
