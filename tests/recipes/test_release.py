"""The command line of a release: what it refuses in one line, and what it ends on."""

from __future__ import annotations

import json
import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import SafetensorError

from recipes.evaluation.summary import results_text
from recipes.hub.repositories import PARTS, repositories, stage_folder
from recipes.publish.gate import Finding
from recipes.publish.verify import Opening, require_open
from recipes.recipe.config import ROOT
from recipes.release import _push_command, _state, announce, check_version, main, parse, parse_parts
from t2i_judge import __version__
from t2i_judge.errors import UserError
from tests.recipes.synthetic import synthetic_recipe


@pytest.mark.parametrize("version", ["0.1.0", "0.4.6", "0.2.2"])
def test_a_release_number_of_evaluate_is_refused(version: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--recipe", "smoke", "--version", version]) == 2
    error = capsys.readouterr().err
    assert f"VERSION={version} is a release number of `evaluate`" in error and error.count("\n") == 1


def test_versions_are_three_numbers() -> None:
    check_version(__version__)
    for wrong in ("1.0", "v1.0.0", "1.0.0rc1", "one"):
        with pytest.raises(UserError, match="three numbers"):
            check_version(wrong)


def test_parts_are_checked_and_put_in_order() -> None:
    assert parse_parts("space, model") == ("model", "space")
    assert parse_parts(parse([]).only) == PARTS
    with pytest.raises(UserError, match=r"ONLY names 'weights'.*dataset,model,metric,space"):
        parse_parts("model,weights")
    with pytest.raises(UserError, match="ONLY names no part"):
        parse_parts(" ,")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--recipe", "tinny"], "The nearest is 'tiny'"),
        (["--recipe", "smoke", "--only", "weights"], "There is no such part"),
        (["--recipe", "smoke", "--namespace", "me"], "needs HF_TOKEN"),
        (["--recipe", "smoke", "--namespace", "me/mine"], "Give only this name"),
        (["--recipe", "smoke", "--namespace", "NAME SPACE"], "Give only this name"),
        (["--recipe", "smoke", "--allow", "secrets"], "cannot be accepted"),
        (["--recipe", "smoke", "--allow", "baseline,everything"], "There is no such check"),
    ],
)
def test_a_mistake_is_one_line_before_anything_runs(arguments: list[str], message: str, capsys) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert message in said.err and said.err.count("\n") == 1 and said.out == ""


def test_an_interrupt_and_a_full_disk_are_one_line(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    errors = iter(
        (
            OSError(28, "No space left on device", "build/release.part/x"),
            sqlite3.OperationalError("database or disk is full"),
            SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
            OSError(5, "Input/output error"),
        )
    )

    def full(arguments):
        raise next(errors)

    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("recipes.release.release", full)
    assert main([]) == 2
    assert "The disk is full (build/release.part/x)" in capsys.readouterr().err
    for _ in range(2):
        assert main([]) == 2
        said = capsys.readouterr().err
        assert "The disk is full. Free some space" in said and said.count("\n") == 1
    assert main([]) == 2
    assert "Input/output error" in capsys.readouterr().err
    monkeypatch.setattr("recipes.release.release", interrupted)
    assert main([]) == 130
    assert "again to continue" in capsys.readouterr().err


def test_simulated_repositories_carry_the_recipes_name() -> None:
    names = repositories(synthetic_recipe("tiny"))
    ids = " ".join(repository.id("me") for repository in names)
    assert ids == "me/t2i-judge-bench-tiny me/t2i-judge-distill-tiny me/t2i-judge-tiny me/t2i_judge me/t2i-judge-demo"
    assert stage_folder(synthetic_recipe("tiny")).name == "release"
    assert stage_folder(synthetic_recipe("other")).name == "release-other"


def test_a_shut_door_fails_a_release() -> None:
    fine, shut = Opening("a", True, "", 0.0, {}), Opening("b", False, "no weights", 0.0, {})
    require_open([fine])
    with pytest.raises(UserError, match=r"1 of 2 parts did not load back: b: no weights"):
        require_open([fine, shut])


def test_what_loads_back_fits_80_columns_and_the_last_sentence_counts_it(capsys) -> None:
    fine = Opening("t2i-judge-bench-smoke (dataset)", True, "default 24 + 24, latent 93 + 94, " * 4 + "rows", 4.4, {})
    lost = Opening("t2i-judge-smoke (judge)", False, "no weights", 13.2, {})
    assert announce([fine, lost]) == [fine, lost]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "  loads   t2i-judge-bench-smoke (dataset), 4.4 s" and max(map(len, lines)) <= 80
    assert lines[-2:] == ["  FAILED  t2i-judge-smoke (judge), 13.2 s", "          no weights"]
    assert _state([fine, fine], [], []) == "All 2 published parts load back. The gate has no findings."
    lost_one = "1 of 2 published parts load back."
    weak, secret = (Finding(check, "a.json", "Wrong", "Mend it") for check in ("baseline", "secrets"))
    assert _state([fine, lost], [weak], []) == f"{lost_one} The gate has 1 finding, all accepted."
    stopped = f"{lost_one} The gate has 3 findings.\n{{}} of them would stop a push. Fix what they name"
    assert _state([fine, lost], [weak] * 3, [weak] * 2) == stopped.format(2) + ", or accept them with ALLOW=baseline."
    assert _state([fine, lost], [weak, weak, secret], [secret]) == stopped.format(1) + "."


def test_the_command_that_pushes_lets_pass_what_this_release_did() -> None:
    printed = _push_command(parse(["--recipe", "smoke", "--allow", "baseline"]))
    assert printed.endswith(f"make release RECIPE=smoke VERSION={__version__} ALLOW=baseline")
    assert "ALLOW" not in _push_command(parse(["--recipe", "smoke"]))
    assert all(len(line) <= 80 for line in printed.splitlines())


TYPED = {
    "RECIPE": "my recipes/it's one.yaml",
    "NAMESPACE": "me",
    "STAGE": "my stage",
    "ONLY": "model,space",
    "PRIVATE": 1,
}


def made(folder: Path, *words: str) -> list[str]:
    """What `make` gives to Python, typed in a shell."""
    (folder / "bin").mkdir(exist_ok=True)
    (python := folder / "bin" / "python").write_text(
        f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))"
    )
    python.chmod(0o755)
    (folder / "installed").touch()
    call = ["make", "--no-print-directory", *words, f"BIN={folder / 'bin'}", f"INSTALLED={folder / 'installed'}"]
    return json.loads(subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("target", ["release", "rehearsal", "space", "embed"])
def test_make_takes_paths_with_spaces_and_quotes(target: str, tmp_path: Path) -> None:
    words = made(tmp_path, target, *(f"{name}={value}" for name, value in TYPED.items()))
    assert words[:4] == ["-m", f"recipes.{target}", "--recipe", TYPED["RECIPE"]]
    if target == "release":
        arguments = parse(words[2:])
        assert (str(arguments.stage), arguments.only, arguments.private) == ("my stage", "model,space", True)


def test_the_command_that_pushes_is_of_this_very_release(tmp_path: Path) -> None:
    """Typed as it is printed, it stages where this one is staged, and pushes what this one would have pushed."""
    options = ["--recipe", TYPED["RECIPE"], "--stage", "my stage", "--only", "model", "--private", "--create-pr"]
    printed = _push_command(parse(options)).replace("<you>", "me").replace("<token>", "x")
    _, _, words = printed.partition("make ")
    again = parse(made(tmp_path, *shlex.split(words))[2:])
    assert vars(again) == vars(parse([*options, "--version", __version__]))
    plain = _push_command(parse([]))
    assert plain.endswith(f"make release RECIPE=tiny VERSION={__version__}")


def test_with_json_a_program_reads_stdout_and_a_person_stderr(capsys, monkeypatch) -> None:
    def released(arguments):
        print("[build]")
        return "What was built", {"recipe": "smoke"}, []

    monkeypatch.setattr("recipes.release.release", released)
    assert main(["--recipe", "smoke", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"recipe": "smoke"} and printed.err == "[build]\n"


def test_the_table_fits_80_columns_and_leaves_nothing_out() -> None:
    names = ("tiny", "annotator", "dreambench+openai:a-model-with-a-long-name")
    rows = [
        {
            "judge": judge, "split": split, "aspect": aspect, "against": "humans_mean", "n": 1000, "n_failed": 24,
            "spearman": -0.5, "spearman_ci": [-0.75, -0.25],
            "kendall_tau_b": 0.125 * (judge == "tiny") or None, "kendall_tau_b_ci": None, "simulated": True,
        }
        for judge in names
        for split in ("new_prompts", "new_pairs")
        for aspect in ("overall", "appearance")
    ]  # fmt: skip
    promised = {"split": "new_pairs", "aspect": "overall", "goal": 0.8}
    goals = [{**promised, "reached": -0.5, "met": False}, {**promised, "goal": -0.6, "reached": -0.5, "met": True}]
    lines = results_text({"rows": rows, "goals": goals}).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0] == "What it scored (simulated)"
    assert lines[1].split() == ["judge", "n", "failed", "Spearman", "[95%", "CI]", "Kendall", "tau-b", "[95%", "CI]"]
    at = lines.index("new_pairs, overall, against humans_mean")
    assert lines[at + 1].split() == ["tiny", "1000", "24", "-0.500", "[-0.750,", "-0.250]", "0.125"]
    assert lines[at + 2].split() == ["annotator", "1000", "24", "-0.500", "[-0.750,", "-0.250]", "-"]
    assert lines[at + 3].strip() == names[2]
    assert lines[at + 4].split() == ["1000", "24", "-0.500", "[-0.750,", "-0.250]", "-"]
    assert not [line for line in lines if "appearance" in line], "headline rows only"
    assert lines[-2:] == [
        "goal of new_pairs, overall: 0.8, MISSED: -0.500",
        "goal of new_pairs, overall: -0.6, reached: -0.500",
    ]


def test_cleaning_keeps_what_was_paid_for_and_what_people_said(tmp_path: Path) -> None:
    def cleaned(*words: str) -> tuple[str, set[str]]:
        call = ["make", "--no-print-directory", "-f", str(ROOT / "Makefile"), "clean", *words]
        run = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, check=True)
        files = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
        return run.stdout, files

    kept = {f"build/{name}" for name in ("mine/calls.sqlite", "mine/adapter/x", "annotations/x", "set/confirmed.jsonl")}
    for name in (*kept, *(f"build/{name}/x" for name in ("release", "release-mine", "release.part", "space/mine"))):
        (path := tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    text, left = cleaned()
    assert left == kept and "Kept: build/annotations build/mine build/set\n" in text and "make clean ALL=1" in text
    assert cleaned("ALL=1") == ("", set()) and cleaned() == ("", set())


@pytest.mark.slow
def test_a_release_without_namespace_is_staged_verified_and_says_how_to_push(smoke_release: Path) -> None:
    """Every door opens, the last words are the table and the push, which tests/test_readme.py runs."""
    printed = smoke_release.with_suffix(".txt").read_text()
    assert (
        "All 6 published parts load back." in printed and "\n  Not reproduced: Cannot fetch" in printed
    )  # no network here
    assert printed.rstrip().endswith(f"make release RECIPE=smoke VERSION={__version__} ALLOW=baseline")
    assert "What it scored (simulated)" in printed and f"Staged in {Path('build', 'release-smoke')}." in printed
    built = printed[printed.index("What was built") :].splitlines()
    assert max(map(len, built)) <= 80, "no line of the last tables is wider than a narrow terminal"


@pytest.mark.slow
def test_a_small_rehearsal(smoke_build: Path, root: Path) -> None:
    """Whole releases to private repositories on a loopback Hub through Xet, twice: only their token opens a door.

    The other releases of `make rehearsal`, a next version and a second recipe, are those of test_real_release.py, and
    of test_standing.py, which push without the doors.
    """
    command = [sys.executable, "-m", "recipes.rehearsal", "--recipe", "smoke", "--allow", "baseline", "--xet", "on"]
    command += ["--private", "--until", "2"]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-2000:]
    assert "A second release sent nothing" in run.stdout and "  FAILED  " not in run.stdout
    assert "Release v" in run.stdout and "is complete" in run.stdout
