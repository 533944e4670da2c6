"""Which base a build stands on: one commit on the Hub, looked up once and kept in build/RECIPE/BASE.json.

A branch moves: without this, what is trained, measured and released in one build could be three models.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe
from recipes.recipe.markers import sha256
from t2i_judge.errors import UserError


def pinned(recipe: Recipe, folder: Path) -> Recipe:
    """The recipe with the commit of its base on which this build stands as its revision; the first call looks it up.

    Args:
        recipe: a base that is a folder from nowhere else has no commit, and stays as it is.
        folder: of the build.

    Raises:
        UserError: the base is not on the Hub, may not be read, or is neither there nor in the cache; or a folder holds
            other weights than the model that its id names.
    """
    base, marker = recipe.base, BuildFolder(folder).base
    if base.hub_id is None:
        return recipe
    asked = {"model": base.model, "id": base.hub_id, "asked": base.revision}
    known = marker.read()
    commit = known.get("commit")
    same_model = (known.get("model"), known.get("id")) == (base.model, base.hub_id)
    if not (commit and same_model and base.revision in (known["asked"], commit)):
        commit = _commit(recipe)
        if commit and base.folder:
            _require_weights_of(base.folder, base.hub_id, commit)
        folder.mkdir(parents=True, exist_ok=True)
        marker.write(commit or "", {**asked, "commit": commit})
    return replace(recipe, base=replace(base, revision=commit))


def moved(recipe: Recipe, commit: str | None) -> str | None:
    """A line where the branch or tag that a recipe names is elsewhere by now; None where it is not, or nobody knows.

    The build stays where it is: what was trained on one commit is measured and released on it.
    """
    base = recipe.base
    if base.hub_id is None or commit is None:
        return None
    try:
        now = _ask(base.hub_id, base.revision)
    except _failures():
        return None
    if now == commit:
        return None
    where = base.revision or "main"
    return f"{base.hub_id}: {where} is now at {now[:12]}; this build keeps {commit[:12]} (BASE.json)"


def _commit(recipe: Recipe) -> str | None:
    """The commit behind the recipe's revision, by the Hub or, without a connection, by the cache."""
    name, revision = str(recipe.base.hub_id), recipe.base.revision
    try:
        return _ask(name, revision)
    except _failures() as error:
        if recipe.base.folder:  # it is all there; a release will ask again
            return revision
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"Cannot find the base {name}{f' at {revision}' if revision else ''}",
            reason,
            "Check base.model and base.revision, your access to it (HF_TOKEN), and the connection",
        ) from error


def _ask(name: str, revision: str | None) -> str:
    from huggingface_hub import HfApi

    return HfApi().resolve_revision(name, revision=revision).resolved


def _failures() -> tuple[type[BaseException], ...]:
    """What the Hub's client raises when there is no such model, no access or no connection."""
    import httpx2
    from huggingface_hub.errors import RevisionResolutionError

    return (OSError, ValueError, RuntimeError, httpx2.HTTPError, RevisionResolutionError)


def _require_weights_of(folder: Path, name: str, commit: str) -> None:
    """Raise `UserError` for weights that are not those of the model that they are said to be, file by file."""
    theirs = _weights_on_the_hub(name, commit)
    for path in sorted(folder.glob("*.safetensors")):
        if path.name in theirs and theirs[path.name] != sha256(path):
            raise UserError(
                f"{path.name} in {folder.name} differs from that of {name} at {commit[:12]}",
                "The adapter would name a base that it was not trained on",
                "Correct base.id or base.revision, or download the folder again",
            )


def _weights_on_the_hub(name: str, commit: str) -> dict[str, str]:
    """SHA-256 by name of a model's safetensors on the Hub; nothing where it cannot be asked."""
    from huggingface_hub import HfApi

    try:
        files: Any = HfApi().model_info(name, revision=commit, files_metadata=True).siblings
    except _failures():
        return {}
    return {file.rfilename: file.lfs.sha256 for file in files or () if file.lfs and "safetensors" in file.rfilename}
