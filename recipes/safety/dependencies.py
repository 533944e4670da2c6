"""What a release was made with: every installed package that it needs, its licence, and what is known against it.

The bill of materials is CycloneDX 1.6 (ECMA-424); advisories are OSV's (https://ossf.github.io/osv-schema/), read from
a copy of their database, so that a machine without a network can be audited.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any
from urllib.parse import quote

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from t2i_judge.errors import UserError
from t2i_judge.files import parse_json

PROJECT, EXTRAS = "t2i-judge", ("train",)
BILL = "sbom.cdx.json"  # in the judge's repository
UNKNOWN = "not stated"
_LICENSE = re.compile(r"License :: (?:OSI Approved :: )?(.*)")
_LONGEST_NAME = 60  # characters; what is longer is a licence's text, not its name


@dataclass(frozen=True)
class Package:
    """An installed package.

    Attributes:
        license: as its own metadata states it: an SPDX expression where it has one.
        needs: names of the packages that it needs here.
    """

    name: str
    version: str
    license: str
    needs: tuple[str, ...]


def needed(project: str = PROJECT, extras: Sequence[str] = EXTRAS) -> list[Package]:
    """The project and all that it needs on this machine, directly or not, by name.

    Raises:
        UserError: the project is not installed.
    """
    seen: dict[str, Package] = {}
    todo = [(project, tuple(extras))]
    while todo:
        name, wanted = todo.pop()
        if (found := _installed(key := canonicalize_name(name))) is None:
            continue  # a requirement of another platform that its marker does not name
        requirements = [r for r in found.requirements if _wanted(r, wanted)]
        names = {canonicalize_name(requirement.name) for requirement in requirements}
        before = set(seen[key].needs) if key in seen else set()
        if key not in seen or names - before:
            needs = tuple(sorted(names | before))
            seen[key] = Package(key, found.version, found.license, needs)
            todo += [(requirement.name, tuple(sorted(requirement.extras))) for requirement in requirements]
    if not seen:
        raise UserError(
            f"{project} is not installed", "Its metadata names the packages that it needs", "Run: pip install -e ."
        )
    return [seen[name] for name in sorted(seen)]


@dataclass(frozen=True)
class _Installed:
    """What the metadata of an installed package says, whatever extras are wanted of it."""

    version: str
    license: str
    requirements: tuple[Requirement, ...]


@cache
def _installed(name: str) -> _Installed | None:
    """An installed package, read once a process; None where there is none of that name."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    return _Installed(found.version, license_of(found), tuple(map(Requirement, found.requires or ())))


def _wanted(requirement: Requirement, extras: Sequence[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras))


def license_of(installed: Distribution) -> str:
    """What a package's metadata says about its licence, best first: expression, classifiers, name."""
    about = installed.metadata
    if expressions := about.get_all("License-Expression"):
        return str(expressions[0])
    classified = [match[1] for line in about.get_all("Classifier") or () if (match := _LICENSE.fullmatch(line))]
    named = " ".join(" ".join(about.get_all("License") or ()).split())
    return "; ".join(classified) or (named if 0 < len(named) <= _LONGEST_NAME else UNKNOWN)


def bill(packages: Sequence[Package], project: str = PROJECT) -> str:
    """The packages as a CycloneDX bill of materials, in JSON; the same packages make the same text."""
    components = {package.name: _component(package, project) for package in packages}
    own = components.pop(project)
    content = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": own},
        "components": list(components.values()),
        "dependencies": [
            {"ref": package.name, "dependsOn": [name for name in package.needs if name in {*components, project}]}
            for package in packages
        ],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _component(package: Package, project: str) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "application" if package.name == project else "library",
        "bom-ref": package.name,
        "name": package.name,
        "version": package.version,
        "purl": f"pkg:pypi/{package.name}@{quote(package.version)}",
    }
    if package.license != UNKNOWN:
        component["licenses"] = [{"license": {"name": package.license}}]
    return component


@dataclass(frozen=True)
class Advisory:
    """What is known against an installed package: OSV's id and its summary."""

    package: Package
    id: str
    summary: str


def audit(packages: Iterable[Package], database: Path) -> list[Advisory]:
    """The advisories that concern these versions.

    Args:
        packages: from `needed`.
        database: OSV's PyPI records: their all.zip, or a folder of JSON files.

    Raises:
        UserError: there is no such database, or it holds no record.
    """
    installed = {package.name: package for package in packages}
    found, records = [], 0
    for record in _records(database):
        records += 1
        for entry in record.get("affected", ()):
            package = installed.get(canonicalize_name(str(entry.get("package", {}).get("name"))))
            if package and not record.get("withdrawn") and _concerns(entry, package.version):
                found.append(Advisory(package, str(record.get("id")), str(record.get("summary", ""))))
                break
    if not records:
        raise UserError(f"{database} has no advisories", "An audit needs them", "Download it again")
    return sorted(found, key=lambda advisory: (advisory.package.name, advisory.id))


def _records(database: Path) -> Iterator[Mapping[str, Any]]:
    fix = "Give OSV's all.zip for PyPI, or a folder of its JSON files"
    for name, text in _texts(database, fix):
        record = parse_json(text, f"{database}: {name}", fix)
        if isinstance(record, Mapping):
            yield record


def _texts(database: Path, fix: str) -> Iterator[tuple[str, bytes]]:
    if database.is_dir():
        yield from ((path.name, path.read_bytes()) for path in sorted(database.glob("**/*.json")))
        return
    try:
        with zipfile.ZipFile(database) as archive:
            for name in archive.namelist():
                if name.endswith(".json"):
                    yield name, archive.read(name)
    except (OSError, zipfile.BadZipFile) as error:
        raise UserError(f"Cannot read {database}", str(error), fix) from error


def _concerns(entry: Mapping[str, Any], version: str) -> bool:
    """Whether an `affected` entry names a version, in its list or by a range."""
    if version in entry.get("versions", ()):
        return True
    try:
        ranges = [line["events"] for line in entry.get("ranges", ()) if line.get("type") == "ECOSYSTEM"]
        return any(_within(events, Version(version)) for events in ranges)
    except (InvalidVersion, KeyError):
        return False


def _within(events: Sequence[Mapping[str, str]], version: Version) -> bool:
    """The last event at or before a version decides: introduced, or no longer affected."""
    affected = False
    for event in sorted(events, key=lambda e: Version(next(iter(e.values())))):
        [(kind, bound)] = event.items()
        if kind == "introduced" and version >= Version(bound):
            affected = True
        if (kind == "fixed" and version >= Version(bound)) or (kind == "last_affected" and version > Version(bound)):
            affected = False
    return affected
