"""Which licences a release may combine: coarse classes, enough to stop what is clearly wrong. Not legal advice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from t2i_judge.errors import nearest

# Identifiers as the Hub's `license:` key takes them (huggingface.co/docs/hub/repositories-licenses), by what they ask
# of a work that is made from one under them.
PERMISSIVE = frozenset(
    "afl-3.0 apache-2.0 artistic-2.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 cc0-1.0 cc-by-2.0 "  # noqa: SIM905
    "cc-by-2.5 cc-by-3.0 cc-by-4.0 cdla-permissive-1.0 cdla-permissive-2.0 ecl-2.0 etalab-2.0 isc mit ms-pl ncsa "
    "odc-by ofl-1.1 openmdw-1.0 pddl postgresql unlicense wtfpl zlib".split()
)
SHARE_ALIKE = frozenset(
    "agpl-3.0 cc-by-sa-3.0 cc-by-sa-4.0 cdla-sharing-1.0 epl-1.0 epl-2.0 eupl-1.1 eupl-1.2 gfdl gpl gpl-2.0 gpl-3.0 "  # noqa: SIM905
    "lgpl lgpl-2.1 lgpl-3.0 lgpl-lr lppl-1.3c mpl-2.0 odbl osl-3.0".split()
)
NON_COMMERCIAL = frozenset(
    "apple-amlr cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 "  # noqa: SIM905
    "fair-noncommercial-research-license h-research intel-research".split()
)
NO_DERIVATIVES = frozenset({"cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"})
OWN_TERMS = frozenset(
    "apple-ascl bigcode-openrail-m bigscience-bloom-rail-1.0 bigscience-openrail-m c-uda cc creativeml-openrail-m "  # noqa: SIM905
    "deepfloyd-if-license gemma grok2-community llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 openrail openrail++ "
    "other".split()
)
OTHER = "other"  # a licence that the Hub has no identifier for: its name and a link to it stand beside
KNOWN = PERMISSIVE | SHARE_ALIKE | NON_COMMERCIAL | NO_DERIVATIVES | OWN_TERMS
_WHAT = {"license_model": "the model", "license_data": "the data", "license_base": "the base model"}


def conflicts(release: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(what is wrong, fix) about the licences of a recipe's `release` section."""
    for key, what in _WHAT.items():
        if not release[key]:
            yield f"no licence for {what}", f"set release.{key} in the recipe"
        elif release[key] not in KNOWN:
            yield (
                f"{release[key]!r} of {what} is not a licence that the Hub knows. {nearest(release[key], KNOWN)}",
                f"correct release.{key}, or set it to other and add release.license_name and release.license_link",
            )
        elif release[key] == OTHER and not (release.get("license_name") and release.get("license_link")):
            yield (
                f"the licence of {what} is other, without its name",
                "set release.license_name and release.license_link in the recipe",
            )
    if not release["teacher_terms"]:
        yield "there are no terms for the teacher's text", "set release.teacher_terms in the recipe"
    if not release["image_provenance"]:
        yield "the source of the images is missing", "set release.image_provenance in the recipe"
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
        return "derivatives are not allowed"
    if whole in (part, OTHER):
        return None
    if part in OWN_TERMS and part != OTHER:
        return "derivatives must keep its terms"
    if part in NON_COMMERCIAL and whole not in NON_COMMERCIAL:
        return "derivatives must be non-commercial"
    if part in SHARE_ALIKE or (part in NON_COMMERCIAL and "-sa-" in str(part)):
        return "derivatives must keep its licence"
    return None
