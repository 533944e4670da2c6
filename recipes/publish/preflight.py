"""Checks a recipe before anything is paid for, trained or pushed, and gives a fix for each finding.

    checks = preflight(recipe, Progress(built=False, trained=False), Target("me", token))
    print(table(checks)); require_ready(checks)

An error stops a release, a warning does not. Checks that the gate repeats at the end have the gate's names, so that
what a releaser accepts there (`--allow`) stops nobody here.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import zip_longest
from typing import Literal

from recipes.evaluation.judging import held_out, unjudged
from recipes.hub.client import Hub
from recipes.hub.repositories import PARTS
from recipes.publish.preflight_data import look_at
from recipes.publish.preflight_needs import cost, disk, memory
from recipes.publish.standing import SIMULATED, in_the_way, names_on_hub
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe
from recipes.recipe.items import read_items
from recipes.recipe.sections import T2IEvalData
from recipes.safety.licenses import conflicts
from recipes.training.dry_run import plan
from t2i_judge.errors import UserError, sentences
from t2i_judge.served.address import Address
from t2i_judge.served.prices import price_of
from t2i_judge.wording import counted

_WIDTHS = (7, 14, 55)  # characters of level, check and finding: 80 with the gaps between them
_MAY_WRITE = ("repo.write", "repo.content.write")


@dataclass(frozen=True)
class Check:
    """One line of the table."""

    name: str
    finding: str
    fix: str = ""
    level: Literal["ok", "warning", "error"] = "ok"


@dataclass(frozen=True)
class Progress:
    """The steps that an earlier run has done, which are not checked again. `away`: a job trains elsewhere."""

    built: bool = False
    trained: bool = False
    away: bool = False


@dataclass(frozen=True)
class Target:
    """Where a release goes: a namespace (None: nowhere), a token, and the wanted visibility.

    `pushing`: it is pushed now. `commits`: by commits, and not by pull requests, which anybody may open. `parts`: what
    of it goes there.
    """

    namespace: str | None = None
    token: str | None = field(default=None, repr=False)
    private: bool = False
    pushing: bool = True
    commits: bool = True
    parts: Sequence[str] = PARTS


def preflight(recipe: Recipe, progress: Progress, target: Target, allowed: Sequence[str] = ()) -> list[Check]:
    """Every check of a recipe, errors and warnings among them.

    Args:
        recipe: the recipe to release.
        progress: the steps that are done.
        target: where it goes. Without a namespace, the Hub is asked only about the base.
        allowed: names of the gate's checks whose findings become warnings here.
    """
    data, base = look_at(recipe), []
    size = None
    if not progress.trained:
        try:
            size = plan(recipe).memory
        except UserError as error:
            base = [_refused("base", error)]
    checks = [
        *_licences(recipe),
        *(Check(*line) for line in data.lines),  # type: ignore[arg-type]
        *_asked("cost", lambda: cost(recipe, data, progress.built)),
        *base,
        *_asked("memory", lambda: () if size is None or progress.away else memory(recipe, size)),
        *_asked("disk", lambda: disk(recipe, data, size)),
        *_asked("namespace", lambda: _namespace(recipe, target)),
    ]
    return [replace(c, level="warning") if c.level == "error" and c.name in allowed else c for c in checks]


def _asked(name: str, ask: Callable[[], Iterable[tuple[str, ...]]]) -> Iterator[Check]:
    """The lines of a check; what it refuses is one of them."""
    try:
        yield from (Check(*line) for line in ask())  # type: ignore[arg-type]
    except UserError as error:
        yield _refused(name, error)


def _refused(name: str, error: UserError) -> Check:
    return Check(name, sentences(error.fact, error.reason), error.fix, "error")


def _licences(recipe: Recipe) -> Iterator[Check]:
    findings = list(conflicts(asdict(recipe.release)))
    yield from (Check("license", wrong, fix, "error") for wrong, fix in findings)
    if not findings:
        terms = recipe.release
        yield Check("license", f"Model {terms.license_model}, data {terms.license_data}, base {terms.license_base}")


def _namespace(recipe: Recipe, target: Target) -> Iterator[tuple[str, ...]]:
    """Whether the token may write there, and whether what stands there may be replaced, and is as visible as asked."""
    namespace = target.namespace
    if namespace is None:
        yield "namespace", "None is set: the release is staged here and not pushed"
        return
    if target.token is None:
        level, fix = "error" if target.pushing else "warning", "Set HF_TOKEN to a token with write access"
        yield "namespace", f"NAMESPACE={namespace} needs HF_TOKEN", fix, level
        return
    hub = Hub(namespace, target.token)
    if not target.commits:
        yield "namespace", f"{namespace}: pull requests will be opened"
    else:
        scope = hub.account().get("auth", {}).get("accessToken", {})
        if scope.get("role") == "fineGrained" and not _may_write(scope.get("fineGrained") or {}, namespace):
            fix = f"Give it write access to the repositories of {namespace} (settings, Access Tokens)"
            yield "namespace", f"HF_TOKEN is fine-grained and may not write in {namespace}", fix, "error"
            return
        yield "namespace", f"{namespace}: this token may write there"
    names = names_on_hub(recipe, hub)
    for repository in names if target.private else ():
        if (info := hub.info(repository)) is not None and not info.private:
            name, fix = repository.url(namespace), "Make it private on the Hub, or leave out PRIVATE=1"
            yield "namespace", f"{name} is public, but PRIVATE=1 asks for private", fix, "error"
    terms = recipe.release
    release = {"recipe": recipe.name, SIMULATED: terms.simulated, "default_judge": terms.default_judge}
    chosen = [repository for repository in names if repository.part in target.parts]
    for check, _, wrong, fix in in_the_way(hub, names, release, chosen):
        yield check, wrong, fix[0].upper() + fix[1:], "error"


def _may_write(scope: dict[str, object], namespace: str) -> bool:
    """Whether a fine-grained token's scopes let it make and fill repositories of a namespace."""
    scoped: object = scope.get("scoped")
    for one in scoped if isinstance(scoped, list) else ():
        if one.get("entity", {}).get("name") == namespace and any(p in _MAY_WRITE for p in one.get("permissions", ())):
            return True
    return False


def table(checks: Sequence[Check]) -> str:
    """The checks as a table of 80 columns: what was found, and below it what to do."""
    lines = [_row("", "check", "finding"), _row(*("-" * width for width in _WIDTHS))]
    for check in checks:
        lines.append(_row("" if check.level == "ok" else check.level, check.name, check.finding))
        lines += [_row("", "", f"Fix: {check.fix}")] if check.fix else []
    return "\n".join(lines)


def _row(*cells: str) -> str:
    wrapped = [textwrap.wrap(cell, width) for cell, width in zip(cells, _WIDTHS, strict=True)]
    pieces = zip_longest(*wrapped, fillvalue="")
    return "\n".join("  ".join(f"{p:{w}}" for p, w in zip(piece, _WIDTHS)).rstrip() for piece in pieces)


def require_ready(checks: Sequence[Check]) -> None:
    """Raise `UserError` that names every error."""
    errors = [check for check in checks if check.level == "error"]
    if errors:
        listed = " ".join(f"[{c.name}] {c.finding.rstrip('.')}. Fix: {c.fix.rstrip('.')}." for c in errors)
        raise UserError(f"{counted(len(errors), 'thing')} must be fixed first, and nothing was started: {listed}")


def asked_for_money(recipe: Recipe, built: bool, retry_failed: bool = False) -> str | None:
    """Whom the steps before a stage would ask, perhaps for money, in words; None where they ask nobody.

    Raises:
        UserError: a result of the build cannot be read.
    """
    teacher, build = recipe.teacher, BuildFolder(recipe.folder)
    labels = teacher.server is None and not isinstance(recipe.data, T2IEvalData)
    if labels and _costs(teacher.model, teacher.base_url):
        if not built:
            return "The data is not built yet, and its teacher costs money"
        if retry_failed and build.built.read().get("failed"):
            return "The teacher would be asked again about what it failed, which costs money"
    items = held_out(recipe, read_items(build.root)) if built else []
    left = unjudged(recipe, build, items)
    for name in left:
        address = name.base_url or teacher.base_url
        served_here = teacher.server is not None and name.base_url is None
        if (left[name] or retry_failed or not built) and not served_here and _costs(name.model, address):
            return f"The judge {name} would be asked, which costs money"
    return None


def _costs(model: str | None, address: str | None) -> bool:
    """Whether calls may cost money: all but those of a model without a price, served on this machine."""
    priced = model is not None and price_of(model) is not None
    return priced or Address.parse(address).host not in ("localhost", "127.0.0.1", "::1")
