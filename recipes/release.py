"""`make release`: from prompts to a staged, checked and, with a namespace and a token, published release.

    python -m recipes.release --recipe tiny                                  # everything under build/release/
    NAMESPACE=me HF_TOKEN=... python -m recipes.release --recipe tiny        # the same, then pushed and verified there

    0 preflight  every question at once, each with its fix              recipes.preflight
    1 build      images, the teacher's answers, distillation data      recipes.build_dataset
    2 train      the judge, and the direct baseline                    recipes.train
    3 judge      every judge on the held-out images -> results.json    recipes.evaluate_judge
    4 stage      every Hub repository, with its card and manifest      recipes.publish.stage
    5 verify     each loaded back through its public door              recipes.publish.verify
    6 gate       what must not go out                                  recipes.publish.gate
    7 push       with a namespace only; then verified from the Hub     recipes.publish.push

A step is skipped if its result exists and nothing that it depends on has changed, so an interrupted release continues
where it stopped. It ends with published ratings, if they can be fetched: `t2i-judge reproduce dsg_tifa160`.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from recipes.evaluation.summary import summary_figures, summary_text
from recipes.hub.client import Hub
from recipes.hub.repositories import PARTS, Repositories, Repository, repositories, stage_folder
from recipes.publish.gate import NEVER_ALLOWED, Finding, allowed_for, check_release, require_clean
from recipes.publish.push import Push
from recipes.publish.push_plan import print_plan
from recipes.publish.stage import require_ours, stage_release
from recipes.publish.standing import names_on_hub
from recipes.publish.verify import Opening, require_open, verify_hub, verify_stage
from recipes.recipe.bases import moved, pinned
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import Recipe, load_recipe
from recipes.safety.leakage import known_rates
from t2i_judge import __version__
from t2i_judge.cli.results import add_json, for_people, show
from t2i_judge.errors import UserError, quoted
from t2i_judge.layout import fitted, terminal_width
from t2i_judge.running import INTERRUPTED, command
from t2i_judge.runs.locks import held
from t2i_judge.terminal import Parser, say, step
from t2i_judge.wording import counted

# `evaluate.load("me/t2i_judge")` first asks for the tag v<its own version>: a tag of ours by that name would pin it.
EVALUATE_RELEASES = (
    "0.1.0", "0.1.1", "0.1.2", "0.2.0", "0.2.1", "0.2.2", "0.3.0", "0.4.0", "0.4.1", "0.4.2", "0.4.3", "0.4.4",
    "0.4.5", "0.4.6",
)  # fmt: skip


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line. NAMESPACE and HF_TOKEN may be set in the environment instead."""
    parser = Parser(
        prog="recipes.release", description="Build the data, distil a judge, measure it, stage the release and push it."
    )
    parser.add_argument("--recipe", default="tiny", help="a folder of recipes/, or a YAML file")
    parser.add_argument(
        "--namespace", default=os.environ.get("NAMESPACE") or None, help="user or organisation to push to"
    )
    parser.add_argument(
        "--version", default=__version__, help="version X.Y.Z; the tag is vX.Y.Z (default: %(default)s)"
    )
    parser.add_argument("--private", action="store_true", help="create the repositories private")
    parser.add_argument("--dry-run", action="store_true", help="print what a push would send; send nothing, pay nobody")
    parser.add_argument("--only", default=",".join(PARTS), help="parts to push and verify (default: %(default)s)")
    parser.add_argument("--create-pr", action="store_true", help="open pull requests instead of committing to main")
    parser.add_argument(
        "--allow",
        default="",
        help="names of gate checks whose findings are accepted, separated by commas; the card lists them",
    )
    parser.add_argument(
        "--retry-failed", action="store_true", help="ask teacher and judges again about items that they failed"
    )
    parser.add_argument("--stage", type=Path, help="folder to stage in (default: build/release[-RECIPE])")
    add_json(parser)
    return parser.parse_args(argv)


@command("release")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the release; returns the exit code."""
    arguments = parse(argv)
    with held(load_recipe(arguments.recipe).folder):  # with --json, stdout is the program's: people read stderr
        with nullcontext() if for_people(arguments) else redirect_stdout(sys.stderr):
            made = release(arguments)
        if made is not None:
            text, figures, outcomes = made
            show(arguments, text, figures)
            require_open(outcomes)
    return 0


def release(arguments: argparse.Namespace) -> tuple[str, dict[str, Any], list[Opening]] | None:
    """Carry out every step in order. Raises `UserError`; finished steps stay done.

    Returns:
        The last lines, the figures for `--json`, and which parts load back; None if a dry run ended early.
    """
    recipe, parts = load_recipe(arguments.recipe), parse_parts(arguments.only)
    check_version(arguments.version)
    check_namespace(arguments.namespace)
    require_ours(arguments.stage or stage_folder(recipe))
    allowed = allowed_for(recipe, [name.strip() for name in arguments.allow.split(",") if name.strip()])
    pushing = arguments.namespace is not None and not arguments.dry_run
    if pushing and token() is None:
        raise UserError(f"NAMESPACE={arguments.namespace} needs HF_TOKEN", "A push needs both", "Set HF_TOKEN")
    with _step("preflight"):
        paid = _preflight(recipe, arguments, allowed)
    if paid is not None:
        say(f"{paid}. The dry run ends before the first call.")
        return None
    names = _names(recipe, arguments.namespace)
    recipe = make(recipe, arguments.retry_failed)
    with _step("stage"):
        stage = stage_release(
            recipe, arguments.version, arguments.namespace, allowed, stage=arguments.stage, names=names
        )
    with _step("verify"):  # what fails is printed at once, and refused at the end
        outcomes = announce(verify_stage(recipe, stage, BuildFolder(recipe.folder).verified))
    with _step("gate"):
        going = [repository for repository in names if repository.part in parts]
        findings = _gate(recipe, stage, arguments.namespace, going, outcomes, allowed, refuse=pushing)
    if arguments.dry_run:
        print_plan(stage, arguments.namespace, parts, token())
    elif pushing:
        with _step("push"):
            _push(recipe, stage, arguments, parts)
    _reproduce()
    left = [finding for finding in findings if finding.check not in allowed]
    text = f"{summary_text(stage, arguments.namespace)}\n{_state(outcomes, findings, left)}"
    if not pushing:
        text += f"\nStaged in {os.path.relpath(stage)}."
        text += "" if left else f" To push it:\n{_push_command(arguments)}"
    figures = {
        "recipe": recipe.name, "version": arguments.version, "namespace": arguments.namespace, "stage": str(stage),
        **summary_figures(stage, arguments.namespace),
        "parts": [asdict(outcome) for outcome in outcomes], "findings": [asdict(finding) for finding in findings],
    }  # fmt: skip
    return text, figures, outcomes


def _state(outcomes: Sequence[Opening], findings: Sequence[Finding], left: Sequence[Finding]) -> str:
    """The last sentences about a release; `left` are the findings that nobody has accepted."""
    loaded, whole = sum(outcome.opened for outcome in outcomes), len(outcomes)
    parts = f"All {whole} published parts load" if loaded == whole else f"{loaded} of {whole} published parts load"
    found = counted(len(findings), "finding") if findings else "no findings"
    text = f"{parts} back. The gate has {found}{', all accepted' if findings and not left else ''}."
    if left:
        names = sorted({finding.check for finding in left})
        accept = "" if set(names).intersection(NEVER_ALLOWED) else f", or accept them with ALLOW={','.join(names)}"
        text += f"\n{len(left)} of them would stop a push. Fix what they name{accept}."
    return text


def _push_command(arguments: argparse.Namespace) -> str:
    """What pushes this very release, in two lines, to be typed in a shell."""
    only = arguments.only if arguments.only != ",".join(PARTS) else None
    typed = {
        "RECIPE": arguments.recipe, "VERSION": arguments.version, "ALLOW": arguments.allow, "STAGE": arguments.stage,
        "ONLY": only, "PRIVATE": int(arguments.private), "CREATE_PR": int(arguments.create_pr),
    }  # fmt: skip
    options = " ".join(f"{name}={shlex.quote(str(value))}" for name, value in typed.items() if value)
    return f"  NAMESPACE=<you> HF_TOKEN=<token> \\\n    make release {options}"


def _preflight(recipe: Recipe, arguments: argparse.Namespace, allowed: tuple[str, ...]) -> str | None:
    """Make all checks. Returns whom a dry run would pay, in words. Raises `UserError` for errors."""
    from recipes.preflight import look, progress_of
    from recipes.publish.preflight import Target, asked_for_money, require_ready

    pushing = not arguments.dry_run
    target = Target(
        arguments.namespace, token(), arguments.private, pushing, not arguments.create_pr, parse_parts(arguments.only)
    )
    progress = progress_of(recipe)
    require_ready(look(recipe, progress, target, allowed))
    return asked_for_money(recipe, progress.built, arguments.retry_failed) if arguments.dry_run else None


def make(recipe: Recipe, retry_failed: bool = False) -> Recipe:
    """Steps 1 to 3: build, train, judge. Returns the recipe `pinned`, as all three used it.

    Each step keeps its own completion marker, and the build keeps the commit of its base.
    """
    from recipes.build_dataset import build
    from recipes.evaluation.evaluation import evaluate
    from recipes.publish.beforehand import beforehand
    from recipes.training.jobs import awaited, fetch
    from recipes.training.trainings import train

    asked, recipe = recipe, pinned(recipe, recipe.folder)
    if line := moved(asked, recipe.base.revision):
        step(f"  {line}")
    with _step("build"):
        build(recipe, retry_failed=retry_failed)
    if awaited(BuildFolder(recipe.folder)):
        with _step("job"):
            fetch(recipe)
    with _step("train"):
        train(recipe, meanwhile=beforehand)
    with _step("judge"):
        evaluate(recipe, retry_failed=retry_failed)
    return recipe


def check_version(version: str) -> None:
    """Raise `UserError` unless the version is X.Y.Z and not a release number of `evaluate`."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise UserError(
            f"The version is {version}", "A version has three numbers, X.Y.Z", f"Use for example {__version__}"
        )
    if version in (*EVALUATE_RELEASES, metadata.version("evaluate")):
        raise UserError(
            f"VERSION={version} is a release number of `evaluate`",
            f'The call evaluate.load("me/t2i_judge") of that release would always load the tag v{version}',
            f"Use another, for example {__version__}",
        )


def parse_parts(only: str) -> tuple[str, ...]:
    """The parts named in ONLY=, in the order of pushing. Raises `UserError` for an unknown word."""
    words = [word.strip() for word in only.split(",") if word.strip()]
    if strangers := [word for word in words if word not in PARTS]:
        raise UserError(f"ONLY names {quoted(strangers[0])}", "There is no such part", f"Use some of {','.join(PARTS)}")
    if not words:
        raise UserError("ONLY names no part", "There would be nothing to push", f"Use some of {','.join(PARTS)}")
    return tuple(part for part in PARTS if part in words)


def check_namespace(namespace: str | None) -> None:
    """Raise `UserError` unless a user or organisation of the Hub can have this name."""
    if namespace is not None and not re.fullmatch(r"[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?", namespace, re.ASCII):
        raise UserError(
            f"The namespace is {namespace}",
            "The name of a user or organisation has letters, digits, - and _",
            "Give only this name",
        )


def token() -> str | None:
    """The Hub token of this run: HF_TOKEN, or the one of `hf auth login`. Never printed, never written."""
    from huggingface_hub import get_token

    return get_token()


@contextmanager
def _step(name: str) -> Iterator[None]:
    """A step between two lines that say what it is and how long it took."""
    step(f"[{name}]")
    start = time.monotonic()
    yield
    step(f"[{name}] done in {time.monotonic() - start:.1f} s")


def _names(recipe: Recipe, namespace: str | None) -> Repositories:
    """The names of the repositories in that namespace. Prints which of them keep an older name."""
    if namespace is None:
        return repositories(recipe)
    names = names_on_hub(recipe, Hub(namespace, token()))
    for name, own in zip(names, repositories(recipe)):
        if name != own:
            step(f"{name.url(namespace)} was released under this name and keeps it.")
    return names


def announce(outcomes: Iterable[Opening]) -> list[Opening]:
    """Print each outcome as it comes."""
    seen = []
    for outcome in outcomes:
        tell, mark = (step, "loads ") if outcome.opened else (say, "FAILED")
        detail = fitted(f"{'':10}{outcome.detail}", terminal_width())
        tell(f"  {mark}  {outcome.door}, {outcome.seconds:.1f} s\n{detail}")
        seen.append(outcome)
    return seen


def _gate(
    recipe: Recipe,
    stage: Path,
    namespace: str | None,
    going: Sequence[Repository],
    outcomes: Sequence[Opening],
    allowed: tuple[str, ...],
    refuse: bool,
) -> list[Finding]:
    rates = known_rates(BuildFolder(recipe.folder).error_rates).summary
    step(fitted(f"  Error rates of the leakage check on rendered scenes: {rates}", terminal_width()))
    findings = check_release(recipe, stage, outcomes, namespace, going, sending=refuse)
    for finding in findings:
        reason = recipe.release.allow.get(finding.check)
        passed = f" Accepted{f': {reason}' if reason else ''}." if finding.check in allowed else ""
        say(fitted(f"  {finding}{passed}", terminal_width()), flush=True)
    if refuse:
        require_clean(findings, allowed)
    return findings


def _push(recipe: Recipe, stage: Path, arguments: argparse.Namespace, parts: tuple[str, ...]) -> None:
    push = Push(
        recipe, stage, arguments.namespace, f"v{arguments.version}", token(), arguments.private, arguments.create_pr
    )
    arrived = push.run(parts)
    if arguments.create_pr:
        return
    hub = Hub(arguments.namespace, token())
    before = BuildFolder(recipe.folder).verified_hub
    require_open(announce(verify_hub(recipe, stage, hub, f"v{arguments.version}", arrived, before)))


def _reproduce() -> None:
    """End with published ratings. If their tables cannot be fetched, a line says why, and nothing has failed."""
    from t2i_judge.cli import main as command
    from t2i_judge.meta.reproduction import obtain_tables

    step("[reproduce] t2i-judge reproduce dsg_tifa160")
    try:
        obtain_tables("dsg_tifa160", silence=10)
    except UserError as error:
        step(fitted(f"  Not reproduced: {error}", terminal_width()))
        return
    code = command(["reproduce", "dsg_tifa160"])
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code:
        raise UserError("The command t2i-judge reproduce dsg_tifa160 failed", "", "See its message above")


if __name__ == "__main__":
    raise SystemExit(main())
