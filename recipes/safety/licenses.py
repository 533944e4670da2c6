"""Which licences a release may combine: coarse classes, enough to stop what is clearly wrong. Not legal advice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# Identifiers as the Hub's `license:` key takes them.
PERMISSIVE = {"apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "unlicense", "cc-by-4.0", "odc-by",
              "cc-by-3.0", "cc-by-2.0", "pddl", "isc", "zlib", "artistic-2.0", "ecl-2.0"}  # fmt: skip
SHARE_ALIKE = {"cc-by-sa-4.0", "cc-by-sa-3.0", "gpl-2.0", "gpl-3.0", "agpl-3.0", "lgpl-3.0", "mpl-2.0", "odbl", "gfdl"}
NON_COMMERCIAL = {"cc-by-nc-4.0", "cc-by-nc-3.0", "cc-by-nc-2.0", "cc-by-nc-sa-4.0", "cc-by-nc-sa-3.0"}
NO_DERIVATIVES = {"cc-by-nd-4.0", "cc-by-nc-nd-4.0", "cc-by-nc-nd-3.0"}
OWN_TERMS = {
    "openrail",
    "creativeml-openrail-m",
    "openrail++",
    "llama2",
    "llama3",
    "gemma",
    "other",
}
KNOWN = PERMISSIVE | SHARE_ALIKE | NON_COMMERCIAL | NO_DERIVATIVES | OWN_TERMS
_WHAT = {"license_model": "the model", "license_data": "the data", "license_base": "the base model"}


def conflicts(release: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(what is wrong, fix) about the licences of a recipe's `release` section."""
    for key, what in _WHAT.items():
        if not release[key]:
            yield f"no licence for {what}", f"state release.{key} in the recipe"
        elif release[key] not in KNOWN:
            yield (
                f"{release[key]!r} of {what} is not a licence that the Hub knows",
                f"correct release.{key}, or use other",
            )
    if not release["teacher_terms"]:
        yield "no terms for what the teacher wrote", "state release.teacher_terms in the recipe"
    if not release["image_provenance"]:
        yield "it is not said where the images come from", "state release.image_provenance in the recipe"
    model = release["license_model"]
    for key in ("license_base", "license_data"):
        if problem := _incompatible(release[key], model):
            yield (
                f"{_WHAT[key]} is under {release[key]}, the model under {model}: {problem}",
                "change release.license_model",
            )


def _incompatible(part: str | None, whole: str | None) -> str | None:
    """Why a work under `whole` cannot be made from a part under `part`; None when it can, or when nobody can tell."""
    if part in NO_DERIVATIVES:
        return "no derivatives may be made"
    if part in NON_COMMERCIAL and whole not in NON_COMMERCIAL | OWN_TERMS:
        return "what is made from it must stay non-commercial"
    if part in SHARE_ALIKE and whole != part and whole not in OWN_TERMS:
        return "what is made from it must keep its licence"
    return None
