"""Opens every public door of a release, staged or on the Hub, in a fresh process with an empty cache.

A door behind which every item fails counts as shut, unless the recipe says that it hardly trains (`release.untrained`).
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from model_card.card import main_judge
from recipes.distillation.parquet import row_counts
from recipes.hub.client import Hub, NotOffered
from recipes.hub.repositories import MANIFEST, Repositories, Repository, recorded_repositories
from recipes.publish.base_files import BaseFiles, base_files
from recipes.publish.manifest import changed, read_manifest, same_release
from recipes.recipe.config import Recipe
from recipes.recipe.markers import Marker, file_table, fingerprint, sha256
from recipes.safety.dependencies import needed
from t2i_judge.errors import UserError
from t2i_judge.local import tried
from t2i_judge.records import Status, count_statuses
from t2i_judge.terminal import step
from t2i_judge.wording import counted

DOORS = Path(__file__).with_name("doors.py")
DOOR_SECONDS = 600
SECONDS_A_GB = 600  # more, for the base that is loaded and asked behind a door, on a CPU if need be
LARGE_BYTES = 2_000_000_000  # of a base that is in memory once at a time
WORD_SECONDS = 60  # between two signs of life of a door
_LEFT_BEHIND = (
    "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_MODULES_CACHE", "HF_EVALUATE_CACHE", "PYTHONPATH",
    "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY",
)  # fmt: skip
AT_ONCE = 2  # doors opened at the same time: each spends its time importing, on one core


@dataclass(frozen=True)
class Place:
    """Where to open a repository: a folder, or a Hub id at a tag or a commit."""

    name: str
    revision: str | None = None


@dataclass(frozen=True)
class Opening:
    """The result of a door: its name, whether it opened, what is behind it or why it stayed shut, and the seconds."""

    door: str
    opened: bool
    detail: str
    seconds: float
    found: Mapping[str, Any]


def verify_stage(recipe: Recipe, stage: Path, before: Marker | None = None) -> Iterator[Opening]:
    """Open every door of a staged release, offline, straight from its folders.

    Args:
        recipe, stage: what was staged.
        before: the marker of the last stage whose doors all opened, with their outcomes. These are given again, and no
            door is opened, as long as the hashes of all files, the packages and this code have not changed.
    """
    manifest = read_manifest(stage)
    names = recorded_repositories(manifest["record"])
    differing = changed(stage, manifest)
    yield Opening("manifest", not differing, _hash_detail(differing), 0.0, {})
    places = {repository: Place(str(repository.folder(stage).resolve())) for repository in names}
    doors = _open_doors(recipe, manifest["record"], stage, places, names, tuple(names), offline=True)
    yield from _or_again(doors, tuple(names), None if differing else before, _decides(recipe, stage, manifest))


def _or_again(
    doors: Iterator[Opening], opened: Sequence[Repository], before: Marker | None, inputs: str
) -> Iterator[Opening]:
    """Outcomes of the doors of these repositories: those of the last time, if all opened and nothing has changed."""
    known = before.read()["outcomes"] if before and before.done(inputs) else {}
    if all(repository.name in known for repository in opened):
        step("  The same files were opened before, with the same packages:")
        yield from (replace(Opening(**known[repository.name]), seconds=0.0) for repository in opened)
        return
    outcomes = {}
    for outcome, repository in zip(doors, opened):
        outcomes[repository.name] = outcome
        yield outcome
    if before and all(outcome.opened for outcome in outcomes.values()):
        before.write(inputs, {"outcomes": {name: asdict(outcome) for name, outcome in outcomes.items()}})


def _decides(recipe: Recipe, stage: Path, manifest: Mapping[str, Any], *where: str) -> str:
    """A digest of everything that decides what is behind the doors of a release whose files match its manifest."""
    packages = [f"{package.name} {package.version}" for package in needed(extras=("train", "space"))]
    texts = [str(stage), str(recipe.release.untrained), sys.version, platform.platform(), *packages, *where]
    return fingerprint({}, *manifest["fingerprints"].values(), sha256(DOORS), sha256(Path(__file__)), *texts)


def verify_hub(
    recipe: Recipe, stage: Path, hub: Hub, tag: str, arrived: Sequence[Repository], before: Marker | None = None
) -> Iterator[Opening]:
    """Download every repository that arrived at its tag, compare all hashes, and open every door on the Hub.

    Args:
        recipe, stage: what was pushed.
        hub, tag: where, and as which release, vX.Y.Z. A Hub that does not read by tags is read by commit.
        arrived: the repositories to open. Benchmark rows for other doors come from the stage.
        before: as for `verify_stage`, of this release on this Hub. Its files are compared every time.
    """
    manifest = read_manifest(stage)
    names = recorded_repositories(manifest["record"])
    places = {repository: Place(str(repository.folder(stage).resolve())) for repository in names}
    inputs, all_same = _decides(recipe, stage, manifest, hub.api.endpoint, hub.namespace, tag), True
    with tempfile.TemporaryDirectory(prefix="t2i-judge-verify-") as scratch:
        for repository in arrived:
            start, folder, name = time.monotonic(), Path(scratch, repository.name), repository.id(hub.namespace)
            revision, by_commit = _revision(hub, repository, repository.tag(tag))
            hub.call(
                name, "read back", hub.api.snapshot_download, name,
                repo_type=repository.kind, revision=revision, local_dir=folder, cache_dir=scratch,
            )  # fmt: skip
            differing = _differing(folder, repository, stage, manifest)
            all_same = all_same and not differing
            seconds = time.monotonic() - start
            yield Opening(f"{repository.name} files", not differing, _hash_detail(differing) + by_commit, seconds, {})
            places[repository] = Place(str(folder)) if repository == names.demo else Place(name, revision)
        doors = _open_doors(recipe, manifest["record"], stage, places, names, arrived, offline=False)
        yield from _or_again(doors, arrived, before if all_same else None, inputs)


def _revision(hub: Hub, repository: Repository, tag: str) -> tuple[str, str]:
    """Where a release is read on the Hub: at its tag, else at the commit of the tag or of main; and a remark on it."""
    if hub.reads_by(repository, tag, MANIFEST):
        return tag, ""
    try:
        commit = hub.tags(repository)[tag]
    except (NotOffered, KeyError):
        commit = getattr(hub.info(repository), "sha", "main")
    return commit, f" (at commit {commit[:8]}: this Hub does not read by the tag {tag})"


def _differing(folder: Path, repository: Repository, stage: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Files of a downloaded repository whose hash is not the manifest's; what others put there is left aside."""
    prefix = repository.folder(stage).relative_to(stage).as_posix() + "/"
    wanted = {p.removeprefix(prefix): e for p, e in manifest["files"].items() if p.startswith(prefix)}
    table = file_table(folder)
    differing = sorted(path for path in wanted if wanted[path] != table.get(path))
    if differing == [MANIFEST] and MANIFEST in table:  # of the same files, staged at another commit
        there, here = ((place / MANIFEST).read_bytes() for place in (folder, repository.folder(stage)))
        return [] if same_release(there, here) else differing
    return differing


def _hash_detail(differing: list[str]) -> str:
    if not differing:
        return "every file has its hash of the manifest"
    return f"{counted(len(differing), 'file differs', 'files differ')} from the manifest: {', '.join(differing[:5])}"


def _open_doors(
    recipe: Recipe,
    record: Mapping[str, Any],
    stage: Path,
    places: Mapping[Repository, Place],
    names: Repositories,
    opened: Sequence[Repository],
    offline: bool,
) -> Iterator[Opening]:
    """Outcomes of the doors of these repositories; a large base stands behind one of them at a time."""
    bench, model, metric = places[names.bench], places[names.model], places[names.metric]
    rows = {
        "bench": bench.name,
        "split": record["data"]["bench_splits"][0],
        "bench_revision": bench.revision,
        "known_as": main_judge(record),
    }
    judge = f"hf:{model.name}" + (f"@{model.revision}" if model.revision else "")
    stamped = not offline and model.revision in (None, f"v{record['release']['version']}")
    doors: list[tuple[Repository, str, dict[str, Any]]] = [
        (names.bench, "dataset", asdict(bench)),
        (names.distill, "dataset", asdict(places[names.distill])),
        (names.model, "judge", {"name": judge, **rows}),
        (names.metric, "metric", {**asdict(metric), **rows, "judge": None if stamped else judge}),
        (names.demo, "space", {"folder": places[names.demo].name}),
    ]
    wanted = [entry for entry in doors if entry[0] in opened]
    base = base_files(record["base"], recipe.base.folder)
    seen: list[Opening] = []  # the judge's before the metric's
    with ThreadPoolExecutor(1 if base and base.size > LARGE_BYTES else AT_ONCE) as pool:
        # the judge's first, long before the metric's, which then need not try the same model again
        judge_first = sorted(wanted, key=lambda entry: entry[1] != "judge")
        begun = {entry[0]: pool.submit(open_door, entry[0].name, *entry[1:], offline, base) for entry in judge_first}
        try:
            for repository, *_ in wanted:
                seen.append(_like_the_stage(begun[repository].result(), repository.folder(stage)))
                checked = _like_the_judge(seen[-1], seen)
                yield checked if recipe.release.untrained else _judged_something(checked)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # a command that is interrupted opens no further door


def _like_the_stage(outcome: Opening, folder: Path) -> Opening:
    """A dataset's door as shut when it loads other rows than were staged: shards of an older release, say."""
    if "rows" not in outcome.found or (staged := row_counts(folder)) == outcome.found["rows"]:
        return outcome
    return replace(outcome, opened=False, detail=f"loads the rows {outcome.found['rows']} where {staged} were staged")


def _judged_something(outcome: Opening) -> Opening:
    """The door of a judge or metric as shut when not one image got a score behind it."""
    judged = outcome.found.get("statuses") or [
        j["status"] for j in outcome.found.get("result", {}).get("judgements", ())
    ]
    if not outcome.opened or not judged or Status.OK in judged:
        return outcome
    counts = ", ".join(f"{count} {status}" for status, count in count_statuses(map(Status, judged)).items())
    return replace(outcome, opened=False, detail=f"judges none of {counted(len(judged), 'image')} ({counts})")


def _like_the_judge(outcome: Opening, outcomes: Sequence[Opening]) -> Opening:
    """The metric's door as shut when the same images got other scores through it than from the judge itself."""
    judge = next((other.found["scores"] for other in outcomes if "scores" in other.found), None)
    if judge is None or "result" not in outcome.found:
        return outcome
    metric = [judgement["scores"] for judgement in outcome.found["result"]["judgements"]]
    if metric == judge:
        return outcome
    return replace(outcome, opened=False, detail=f"scores {metric} where the judge itself gives {judge}")


def open_door(
    name: str, door: str, arguments: Mapping[str, Any], offline: bool, base: BaseFiles | None = None
) -> Opening:
    """Open one door (a function of `doors.py`) in a fresh process, an empty folder and an empty cache.

    The cache has nevertheless what is not of the release: the files of another's `base`, and which models were tried.
    """
    start, title = time.monotonic(), f"{name} ({door})"
    with tempfile.TemporaryDirectory(prefix="t2i-judge-door-") as empty:
        home = Path(empty, "hf")
        tried.lend(home)
        if base:
            base.lend(home / "hub")
        environment = {**_environment(str(home), offline), "TMPDIR": empty}  # what it leaves goes with the folder
        command = [sys.executable, "-P", str(DOORS), door, json.dumps(arguments)]
        limit = DOOR_SECONDS + (SECONDS_A_GB * base.size / 1e9 if base else 0)
        try:
            code, output, errors = _run(command, empty, environment, limit, title)
        except subprocess.TimeoutExpired:
            return Opening(title, False, f"no answer within {limit:.0f} s", limit, {})
    seconds = time.monotonic() - start
    if code:
        last = (errors.strip() or output.strip() or f"exit code {code}").splitlines()[-1]
        return Opening(title, False, last, seconds, {})
    answer = json.loads(output.strip().splitlines()[-1])
    return Opening(title, True, _describe(door, answer), seconds, answer)


def _run(
    command: Sequence[str], folder: str, environment: Mapping[str, str], limit: float, title: str
) -> tuple[int, str, str]:
    """Exit code, output and errors of a process; a line per minute says that it is still at work.

    Raises:
        subprocess.TimeoutExpired: it took longer than `limit` seconds, and was ended.
    """
    pipe, start = subprocess.PIPE, time.monotonic()
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=pipe, stderr=pipe, text=True) as process:
        while True:
            left = limit - (time.monotonic() - start)
            try:
                output, errors = process.communicate(timeout=min(WORD_SECONDS, max(left, 0.01)))
                return process.returncode, output, errors
            except subprocess.TimeoutExpired:
                if left <= WORD_SECONDS:
                    process.kill()
                    raise
                step(f"  ...    {title:<34} running for {time.monotonic() - start:.0f} s")
            except BaseException:
                process.kill()
                raise


def _environment(home: str, offline: bool) -> dict[str, str]:
    """Of a door's process: an empty cache; the Hub's token where the door is on the Hub, no secret where it is not."""
    from huggingface_hub import get_token

    environment = {name: value for name, value in os.environ.items() if name not in _LEFT_BEHIND}
    # Python would write __pycache__ beside the staged modules that a door imports, and the stage would be another
    environment.update(HF_HOME=home, HF_UPDATE_DOWNLOAD_COUNTS="0", PYTHONDONTWRITEBYTECODE="1")
    if offline:
        environment.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1")
    elif token := get_token():  # that of `hf auth login` stands in the cache which the door does not see
        environment["HF_TOKEN"] = token
    return environment


def _describe(door: str, answer: Mapping[str, Any]) -> str:
    """What was seen behind a door, in a few words."""
    if door == "dataset":
        rows: dict[str, list[str]] = {}
        for name, count in answer["rows"].items():
            rows.setdefault(name.split("/")[0], []).append(f"{count:,}")
        return ", ".join(f"{config} {' + '.join(counts)}" for config, counts in rows.items()) + " rows"
    if door == "judge":
        shown = [f"{s['overall']:.2f}" if s.get("overall") is not None else "no score" for s in answer["scores"]]
        return f"status {', '.join(answer['statuses'])}; overall {', '.join(shown)}"
    if door == "metric":
        return "computes " + ", ".join(answer["result"])
    return f"{answer['modules']} modules compile" + (
        f", page answers after {answer['seconds']:.0f} s" if "seconds" in answer else ""
    )


def require_open(outcomes: list[Opening]) -> None:
    """Raise `UserError` naming every door that did not open."""
    if shut := [outcome for outcome in outcomes if not outcome.opened]:
        listed = "; ".join(f"{outcome.door}: {outcome.detail}" for outcome in shut)
        raise UserError(
            f"{len(shut)} of {len(outcomes)} parts did not load back: {listed}",
            "",
            "Fix that, then run make release again",
        )
