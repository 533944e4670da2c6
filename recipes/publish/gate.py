"""The gate before a push: finds everything that must not be published, and lists all of it.

Each check has a name. A releaser may accept its findings by that name (`--allow baseline`); the model card then says
so.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_card.rendering import metadata_of
from recipes.evaluation.results import headline_aspects
from recipes.hub.client import Hub
from recipes.hub.repositories import Repositories, Repository, recorded_repositories
from recipes.publish.base_files import base_files
from recipes.publish.manifest import MANIFEST, changed, read_manifest
from recipes.publish.release_record import terms
from recipes.publish.standing import in_the_way
from recipes.publish.verify import Opening
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe
from recipes.recipe.markers import sha256
from recipes.safety.allowed import entries, not_allowed, odd_entry
from recipes.safety.gate_files import FILE_CHECKS, file_findings, name_findings
from recipes.safety.pickles import pickles
from t2i_judge.errors import UserError
from t2i_judge.inputs.decoding import apart
from t2i_judge.records import OVERALL
from t2i_judge.runs.selftest.battery import Selftest
from t2i_judge.runs.selftest.probes import TRUSTED
from t2i_judge.runs.selftest.report import sentence
from t2i_judge.wording import counted

NEVER_ALLOWED = ("files", "secrets", "changed", "door")  # nobody may decide that these go out
_LISTED = 20
_HEAD_BYTES = 4096  # in which a pickle shows itself


@dataclass(frozen=True)
class Finding:
    """Something that must not be published: the check's name, where it is, what is wrong, what to do."""

    check: str
    where: str
    wrong: str
    fix: str

    def __str__(self) -> str:
        return f"[{self.check}] {self.where}: {self.wrong}. Fix: {self.fix}."


@dataclass(frozen=True)
class Staged:
    """What the checks look at."""

    recipe: Recipe
    stage: Path
    names: Repositories
    manifest: Mapping[str, Any]
    outcomes: Sequence[Opening]
    namespace: str | None
    pushed: Sequence[Repository]
    sending: bool = True

    @property
    def record(self) -> Mapping[str, Any]:
        """The run record in the manifest: what cards are filled from."""
        return self.manifest["record"]


@apart()  # what is staged may be strangers' pictures
def check_release(
    recipe: Recipe,
    stage: Path,
    outcomes: Sequence[Opening] = (),
    namespace: str | None = None,
    pushed: Sequence[Repository] | None = None,
    sending: bool = True,
) -> list[Finding]:
    """Every finding about a staged release, in the order of `CHECKS`.

    Args:
        recipe: the recipe of the release.
        stage: its folder.
        outcomes: results of the doors. A shut door is a finding.
        namespace: where it would be pushed; None leaves out the checks that ask the Hub.
        pushed: the repositories that would be pushed, all by default. Only these are compared with the Hub.
        sending: whether they are pushed now. If not, nothing is sent: the Hub itself is not asked about the cards.
    """
    manifest = read_manifest(stage)
    names = recorded_repositories(manifest["record"])
    chosen = tuple(names) if pushed is None else pushed
    staged = Staged(recipe, stage, names, manifest, outcomes, namespace, chosen, sending)
    return [finding for check in CHECKS for finding in check(staged)]


@apart()
def not_met(
    recipe: Recipe, stage: Path, record: Mapping[str, Any], names: Repositories, allowed: Sequence[str]
) -> tuple[str, ...]:
    """Those of the allowed checks that a stage does not meet, which its card must name.

    Not all that were allowed: the same files have the same card, whatever else somebody was ready to accept.
    """
    staged = Staged(recipe, stage, names, {"record": record}, (), None, ())
    wanted = [check for check, names in _BY_CONTENT.items() if set(names) & set(allowed)]
    failing = {finding.check for check in wanted for finding in check(staged)}
    return tuple(name for name in NAMES if name in failing and name in allowed)


def require_clean(findings: Sequence[Finding], allowed: Sequence[str]) -> None:
    """Raise `UserError` listing every finding whose check is not among those allowed (see `require_allowable`)."""
    require_allowable(allowed)
    if left := [finding for finding in findings if finding.check not in allowed]:
        listed = " ".join(str(finding) for finding in left[:_LISTED])
        more = f" (and {len(left) - _LISTED} more)" if len(left) > _LISTED else ""
        things = counted(len(left), "thing")
        raise UserError(f"The gate found {things} that must not be published: {listed}{more}")


def allowed_for(recipe: Recipe, names: Sequence[str]) -> tuple[str, ...]:
    """The checks whose findings the releaser or the recipe accepts; also `selftest` if hardly anything is trained.

    Raises:
        UserError: a check does not exist, or its findings may not be accepted.
    """
    untrained = ("selftest",) if recipe.release.untrained else ()
    allowed = tuple(dict.fromkeys((*names, *recipe.release.allow, *untrained)))
    require_allowable(allowed)
    return allowed


def require_allowable(allowed: Sequence[str]) -> None:
    """Raise `UserError` for a check that does not exist or whose findings may not be accepted."""
    for name in allowed:
        if name not in NAMES:
            raise UserError(f"--allow names {name}", "There is no such check", f"The checks are {', '.join(NAMES)}")
        if name in NEVER_ALLOWED:
            raise UserError(f"--allow names {name}", "Findings of this check cannot be accepted", "Fix what it found")


def _files(staged: Staged) -> Iterator[Finding]:
    """What no repository may hold, and the checks of each file, under every path that it has.

    The metric's files are the demo's, too: what has the same content and the same name is read once.
    """
    for where, wrong, fix in not_allowed(staged.stage, staged.names):
        yield Finding("files", where, wrong, fix)
    known: dict[tuple[str, str], list[tuple[str, str, str]]] = {}
    for path in entries(staged.stage):
        where = path.relative_to(staged.stage).as_posix()
        if where == MANIFEST:
            continue
        key = (path.name, where if odd_entry(path) else sha256(path))
        if key not in known:
            known[key] = list(file_findings(path))
        for check, wrong, fix in dict.fromkeys([*name_findings(where), *known[key]]):
            yield Finding(check, where, wrong, fix)


def _base(staged: Staged) -> Iterator[Finding]:
    """A base that is not released is another's, but it is loaded with what is: no file of it may run code."""
    files = base_files(staged.record["base"], staged.recipe.base.folder)
    for path in files.paths if files else ():
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        for wrong, _ in pickles(path, head):
            where = f"{files.id}/{path.name}" if files else path.name
            yield Finding("pickles", where, f"of the base: {wrong}", "choose a base in safetensors")


def _changed(staged: Staged) -> Iterator[Finding]:
    for path in changed(staged.stage, staged.manifest):
        yield Finding("changed", path, "not what the manifest says", "make the release again")
    for key, value in terms(staged.recipe).items():
        if staged.record["release"].get(key) != value:
            wrong = "another value in the recipe than when this was staged"
            yield Finding("changed", f"release.{key}", wrong, "make the release again")


def _doors(staged: Staged) -> Iterator[Finding]:
    for outcome in staged.outcomes:
        if not outcome.opened:
            yield Finding(
                "door", outcome.door, f"does not load: {outcome.detail}", "fix it, then make the release again"
            )


def _licenses(staged: Staged) -> Iterator[Finding]:
    from recipes.safety.licenses import conflicts

    release = staged.record["release"]
    for wrong, fix in conflicts(release):
        yield Finding("license", "release", wrong, fix)
    for repository in staged.names:
        card = (repository.folder(staged.stage) / "README.md").read_text(encoding="utf-8")
        if metadata_of(card).get("license") in (None, "unknown"):
            yield Finding("license", repository.name, "its card has no licence", "set it in the recipe")


def _leakage(staged: Staged) -> Iterator[Finding]:
    from recipes.safety.leakage import dataset_overlaps

    train, bench = (repository.folder(staged.stage) for repository in (staged.names.distill, staged.names.bench))
    build = BuildFolder(staged.recipe.folder)
    for overlap in dataset_overlaps(train, bench, build.overlaps if build.root.is_dir() else None):
        yield Finding("leakage", staged.names.bench.name, str(overlap), "remove it from one of the two")


def _stale(staged: Staged) -> Iterator[Finding]:
    """Results that were not measured with these weights."""
    from pyarrow import parquet

    from model_card.card import main_judge
    from recipes.distillation.parquet import DEFAULT_CONFIG, splits

    revision, judge = staged.record["judge"].get("revision"), main_judge(staged.record)
    bench = staged.names.bench.folder(staged.stage)
    measured = {
        score["revision"]
        for paths in splits(bench)[DEFAULT_CONFIG].values()
        for path in paths
        for scores in parquet.read_table(path, columns=["baselines"])["baselines"].to_pylist()
        for score in scores
        if score["judge"] == judge
    }
    if not measured:
        yield Finding("stale", "results.json", f"the benchmark has no judgement of {judge!r}", "run make release again")
    elif measured != {revision}:
        others = ", ".join(str(other)[:19] for other in measured - {revision})
        wrong = f"measured with the weights {others}, not with the released ones, {str(revision)[:19]}"
        yield Finding("stale", "results.json", wrong, "measure again: python -m recipes.evaluate_judge")


def _cards(staged: Staged) -> Iterator[Finding]:
    from dataset_card.card import check_metadata as check_dataset
    from model_card.card import check_metadata as check_model
    from recipes.publish.stage_spaces import check_space_metadata

    checks = {"model": check_model, "dataset": check_dataset, "space": check_space_metadata}
    for repository in staged.names:
        card = (repository.folder(staged.stage) / "README.md").read_text(encoding="utf-8")
        problems = checks[repository.kind](card)
        if staged.namespace and staged.sending and not problems:
            problems = _hub_problems(card, repository.kind)
        for problem in problems:
            yield Finding("card", f"{repository.name}/README.md", problem, "correct the recipe or the card's template")


def _hub_problems(card: str, kind: str) -> list[str]:
    """What the Hub itself says against a card; nothing when it cannot be asked (the push will be told)."""
    from huggingface_hub import HfApi

    from recipes.hub.client import failures

    try:
        HfApi()._validate_yaml(card, repo_type=kind)
    except ValueError as error:
        return [" ".join(str(error).split())]
    except failures():
        return []
    return []


def _in_the_way(staged: Staged) -> Iterator[Finding]:
    """What stands on the Hub where this release would go: real data under simulated, or what is not this recipe's."""
    if not staged.namespace:
        return
    from huggingface_hub import get_token

    hub = Hub(staged.namespace, get_token())
    for check, repository, wrong, fix in in_the_way(hub, staged.names, staged.record["release"], staged.pushed):
        yield Finding(check, repository.name, wrong, fix)


def _baseline(staged: Staged) -> Iterator[Finding]:
    """The judge must beat the recipe's baseline on every split: its interval of the difference lies above 0.

    On both axes where it was compared on them, else overall.
    """
    from model_card.card import main_judge

    judge, baseline = main_judge(staged.record), staged.record["release"]["baseline"]
    compared = staged.record["results"]["comparisons"]
    pairs = [{"aspect": OVERALL, **row} for row in compared if row["a"] == judge and row["b"] == baseline]
    if not pairs:
        yield Finding("baseline", "results.json", f"{judge} was not compared with {baseline}", "measure both")
    aspects = headline_aspects(pairs)
    for row in pairs:
        if row["aspect"] in aspects and (row["ci"] is None or row["ci"][0] <= 0):
            measured = row.get("undefined") or f"difference {row['difference']}, 95% CI {row['ci']}"
            where = row["split"] if row["aspect"] == OVERALL else f"{row['split']}, {row['aspect']}"
            wrong = f"{judge} does not beat {baseline} on {where} ({measured})"
            yield Finding("baseline", "results.json", wrong, "train longer or on more data, or --allow baseline")


def _selftest(staged: Staged) -> Iterator[Finding]:
    """What is released must withstand attacks: TRUSTED, with these weights."""
    made, revision = staged.record["results"].get("selftest"), staged.record["judge"].get("revision")
    if made is None:
        yield Finding("selftest", "results.json", "the judge was not attacked", "run make release again")
    elif made["judge"]["revision"] != revision:
        wrong = f"made with weights {str(made['judge']['revision'])[:19]}, not with {str(revision)[:19]}"
        yield Finding("selftest", "results.json", wrong, "measure again: python -m recipes.evaluate_judge")
    elif made["verdict"] != TRUSTED:
        fix = "improve the judge, attack more items (evaluation.selftest_items), or --allow selftest"
        yield Finding("selftest", "results.json", sentence(Selftest.from_json(made)).rstrip("."), fix)


CHECKS: tuple[Callable[[Staged], Iterator[Finding]], ...] = (
    _files, _base, _changed, _doors, _licenses, _leakage, _stale, _cards, _in_the_way, _baseline,
    _selftest,
)  # fmt: skip
NAMES = (
    *FILE_CHECKS, "changed", "door", "license", "leakage", "stale", "card", "replaces_real", "replaces_other",
    "baseline", "selftest",
)  # fmt: skip
# What the checks that look at the staged files alone may find, and a releaser let pass.
_BY_CONTENT: dict[Callable[[Staged], Iterator[Finding]], tuple[str, ...]] = {
    _files: FILE_CHECKS, _licenses: ("license",), _leakage: ("leakage",), _stale: ("stale",), _cards: ("card",),
    _baseline: ("baseline",), _selftest: ("selftest",),
}  # fmt: skip
