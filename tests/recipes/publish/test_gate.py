"""The gate: every kind of thing that must not go out is found, named with its fix, and listed with the others."""

from __future__ import annotations

import io
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from PIL import Image

from model_card.rendering import licence, licence_metadata
from recipes.distillation.image_metadata import private_metadata, without_metadata
from recipes.hub.repositories import repositories
from recipes.publish import gate
from recipes.publish.gate import NAMES, allowed_for, check_release, require_clean
from recipes.publish.manifest import changed, read_manifest, write_manifest
from recipes.publish.verify import Opening
from recipes.recipe.config import Recipe, load_recipe, recipe_names
from recipes.safety.allowed import not_allowed
from recipes.safety.gate_files import file_findings
from recipes.safety.licenses import conflicts
from t2i_judge.errors import UserError
from t2i_judge.inputs.images import load_image
from tests.recipes.staged import StagedRelease, slim_spaces
from tests.recipes.synthetic import selftest_of

TOKEN = "hf" + "_" + "AbCdEfGhIj" * 4


def checks(path: Path) -> set[str]:
    return {check for check, _, _ in file_findings(path)}


def found(staged: StagedRelease, **options) -> dict[str, list[str]]:
    """Check -> its findings as text, after the manifest was written anew."""
    record = json.loads((staged.stage / "manifest.json").read_text())["record"]
    write_manifest(staged.stage, record, repositories(staged.recipe), "test")
    listed: dict[str, list[str]] = {}
    with mock.patch.object(gate, "CHECKS", gate.CHECKS[1:]):  # all but the reading of every file, tested by itself
        for finding in check_release(staged.recipe, staged.stage, **options):
            listed.setdefault(finding.check, []).append(str(finding))
    return listed


def test_a_clean_release_passes(staged_once: StagedRelease) -> None:
    assert check_release(staged_once.recipe, staged_once.stage) == []


@pytest.mark.parametrize(
    "text",
    [
        f"token = '{TOKEN}'",
        "aws_key = AKIA" + "IOSFODNN7EXAMPLZ",
        "-----BEGIN RSA " + "PRIVATE KEY-----",
        "OPENAI=sk" + "-proj-" + "Ab3" * 16,
    ],
)
def test_secrets_are_found_and_not_repeated(tmp_path: Path, text: str) -> None:
    path = tmp_path / "notes.md"
    path.write_text(f"one\n{text}\n")
    findings = [wrong for check, wrong, _ in file_findings(path) if check == "secrets"]
    assert findings and all("line 2" in wrong and text[-12:] not in wrong for wrong in findings)


def test_this_shells_own_token_is_found_in_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "an-odd-token")
    monkeypatch.setenv("MY_TEACHER_API_KEY", "no-scanner-knows-me")
    path = tmp_path / "weights.safetensors"
    for value in ("an-odd-token", "no-scanner-knows-me"):
        path.write_bytes(b"\x10\0\0\0\0\0\0\0{}              " + value.encode())
        assert "secrets" in checks(path)
        findings = " ".join(wrong for _, wrong, _ in file_findings(path))
        assert value not in findings


def test_this_shells_own_token_is_found_in_compressed_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    monkeypatch.setenv("HF_TOKEN", "an-odd-token")
    path = tmp_path / "data.parquet"
    texts = pa.table({"question": [f"an-odd-token {'la ' * 99}"] * 99})
    parquet.write_table(texts, path, compression="gzip", use_dictionary=False, write_statistics=False)
    assert b"an-odd-token" not in path.read_bytes()
    assert checks(path) == {"secrets"}


def test_secrets_in_parquet_texts_are_found(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_list([{"messages": [{"content": f"my key is {TOKEN}"}]}]).to_parquet(tmp_path / "data.parquet")
    assert checks(tmp_path / "data.parquet") == {"secrets"}


@pytest.mark.parametrize(
    ("name", "content", "check"),
    [
        (".env", b"A=1", "secrets"),
        ("config.json", b'{"base": "/home/somebody/models/base"}', "local_paths"),
        ("config.json", b'{"base": "C:\\\\Users\\\\me\\\\base"}', "local_paths"),
        ("model.bin", b"weights", "pickles"),
        ("model.pth", b"weights", "pickles"),
        ("MODEL.PTH", b"weights", "pickles"),
        ("old-torch.dat", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", "pickles"),
        ("innocent.dat", b"\x80\x04\x95\x10\0\0\0\0\0\0\0}", "pickles"),
        ("config.json", b'{"auto_map": {"AutoModel": "modeling.Model"}}', "remote_code"),
        ("README.md", b"from_pretrained(x, trust_remote_code=True)", "remote_code"),
    ],
)
def test_what_no_file_may_be_or_hold(tmp_path: Path, name: str, content: bytes, check: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert check in checks(path)


@pytest.mark.parametrize(
    "text",
    [
        "see https://example.org/home/page",
        "ratio 3/4, and/or",
        "trust_remote_code=False",
        "GET /api/models/me/x",
        "a" * 64,
    ],
)
def test_what_is_harmless_is_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "README.md"
    path.write_text(text)
    assert checks(path) == set()


def photograph() -> bytes:
    """A picture with a place in its EXIF."""
    out, exif = io.BytesIO(), Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x0132] = "2026:01:01 00:00:00"
    exif[0x8825] = {1: "N", 2: (52.0, 1.0, 2.0)}
    Image.new("RGB", (8, 8)).save(out, "JPEG", exif=exif)
    return out.getvalue()


def test_photographs_with_a_place_are_found_alone_and_in_parquet(tmp_path: Path) -> None:
    from recipes.benchmarks.benchmark import write_benchmark
    from tests.recipes.benchmarks.test_benchmark import row

    assert private_metadata(photograph()) == "GPS"
    for name in ("a.jpg", "DSC0001.JPG"):
        (tmp_path / name).write_bytes(photograph())
        assert checks(tmp_path / name) == {"image_metadata"}
    write_benchmark(tmp_path, {"test": [row("a", image=photograph())]})
    assert checks(tmp_path / "data" / "test-00000-of-00001.parquet") == {"image_metadata"}


def test_exif_that_cannot_be_read_is_found_and_can_be_stripped(tmp_path: Path) -> None:
    for ending in ("png", "webp"):
        path = tmp_path / f"a.{ending}"
        Image.new("RGB", (8, 8), "red").save(path, exif=b"Exif\0\0no TIFF header")
        assert checks(path) == {"image_metadata"}
        clean = without_metadata(path)
        assert isinstance(clean, bytes)
        assert private_metadata(clean) is None
        assert load_image(clean).getpixel((0, 0)) == Image.open(path).getpixel((0, 0))


def test_files_changed_by_hand_are_found(staged: StagedRelease) -> None:
    model = repositories(staged.recipe).model.folder(staged.stage)
    (model / "judge.json").write_text("{}")
    (model / "more.txt").write_text("more")
    (model / "base" / "config.json").unlink()
    with mock.patch.object(gate, "CHECKS", [check for check in gate.CHECKS if check is gate._changed]):
        findings = [f for f in check_release(staged.recipe, staged.stage) if f.check == "changed"]
    assert [Path(f.where).name for f in findings] == ["config.json", "judge.json", "more.txt"]


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("model", "modeling_x.py"), ("model", "weights.zip"), ("model", "adapter_model.bin"),
        ("model", "a/config.json"), ("model", ".git/config"), ("model", "photograph.png"), ("bench", "bench.py"),
        ("bench", "data.csv"),
        ("bench", "data/train.parquet"), ("distill", "notes.md"), ("metric", ".env"), ("metric", "cli/lib.so"),
        ("metric", "tests.jsonl"), ("demo", "ratings.db"), ("demo", "t2i_judge/__pycache__/a.pyc"), (None, "more.json"),
        (None, "models/another/README.md"),
    ],
)  # fmt: skip
def test_a_repository_holds_nothing_but_its_files(staged_once: StagedRelease, part: str | None, name: str) -> None:
    names = repositories(staged_once.recipe)
    folder = getattr(names, part).folder(staged_once.stage) if part else staged_once.stage
    path = folder / name
    made = [parent for parent in path.parents if not parent.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.write_text("{}")
        assert [where for where, _, _ in not_allowed(staged_once.stage, names)] == [
            path.relative_to(staged_once.stage).as_posix()
        ]
    finally:
        path.unlink()
        for parent in made:
            parent.rmdir()


def test_a_file_is_looked_at_under_each_of_its_names(tmp_path: Path) -> None:
    for folder in ("a", "b", TOKEN):
        (tmp_path / folder).mkdir()
        for name in ("notes.md", "more.md"):
            (tmp_path / folder / name).write_text(f"one {TOKEN}")
        for name in ("__init__.py", "modeling_x.py"):
            (tmp_path / folder / name).write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.md")
    staged = gate.Staged(None, tmp_path, repositories(load_recipe("tiny")), {}, (), None, ())
    where: dict[str, set[str]] = {}
    for finding in gate._files(staged):
        if "not a file of a release" not in finding.wrong:
            where.setdefault(finding.check, set()).add(finding.where)
    names = ("notes.md", "more.md", "__init__.py", "modeling_x.py")
    assert where["remote_code"] == {f"{folder}/modeling_x.py" for folder in ("a", "b", TOKEN)}
    assert where["secrets"] == {f"{folder}/{name}" for folder in "ab" for name in names[:2]} | {
        f"{TOKEN}/{name}" for name in names
    }
    assert where["files"] == {"pipe.md"}


def test_links_in_a_stage_are_found_and_lead_nowhere(staged: StagedRelease, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "key.md").write_text(TOKEN)
    names = repositories(staged.recipe)
    (names.model.folder(staged.stage) / "more").symlink_to(outside)
    card = names.bench.folder(staged.stage) / "README.md"
    card.rename(outside / "README.md")
    card.symlink_to(outside / "README.md")
    wrong = {where: wrong for where, wrong, _ in not_allowed(staged.stage, names)}
    assert sorted(Path(where).name for where in wrong) == ["README.md", "more"]
    assert all("a link" in text for text in wrong.values())
    with mock.patch.object(gate, "CHECKS", gate.CHECKS[:1]):
        findings = check_release(staged.recipe, staged.stage)
    assert {finding.check for finding in findings} == {"files"}


def test_a_link_among_the_files_that_are_released_stops_the_stage(tmp_path: Path) -> None:
    from recipes.publish.stage_spaces import copy_folder

    source = tmp_path / "source"
    source.mkdir()
    (source / "a.py").write_text("A = 1")
    (source / "notes.txt").write_text("left behind")
    copy_folder(source, tmp_path / "good", (".py",))
    assert [path.name for path in (tmp_path / "good").iterdir()] == ["a.py"]
    (source / "b.py").symlink_to("/etc/hostname")
    with pytest.raises(UserError, match=r"b\.py is a link"):
        copy_folder(source, tmp_path / "bad", (".py",))


def test_leakage_is_found(staged: StagedRelease) -> None:
    import shutil

    names = repositories(staged.recipe)
    shutil.copy(
        next((names.distill.folder(staged.stage) / "data").glob("*.parquet")),
        names.distill.folder(staged.stage) / "data" / "train-00001-of-00002.parquet",
    )
    bench = names.bench.folder(staged.stage)
    shutil.rmtree(names.distill.folder(staged.stage) / "data")
    shutil.copytree(bench / "data", names.distill.folder(staged.stage) / "data")
    kinds = found(staged)["leakage"]
    assert any("the same image file" in text for text in kinds) and any("the same prompt" in text for text in kinds)


def test_results_of_other_weights_are_found(staged: StagedRelease) -> None:
    path = staged.stage / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["record"]["judge"]["revision"] = "sha256:new"
    path.write_text(json.dumps(manifest))
    assert "not with the released ones, sha256:new" in found(staged)["stale"][0]


def test_cards_that_the_hub_would_reject_are_found(staged: StagedRelease) -> None:
    names = repositories(staged.recipe)
    for repository, old, new in (
        (names.metric, "colorFrom: indigo", "colorFrom: teal"),
        (names.model, "pipeline_tag: image-text-to-text\n", ""),
        (names.bench, "license: apache-2.0\n", ""),
    ):
        card = repository.folder(staged.stage) / "README.md"
        assert old in card.read_text()
        card.write_text(card.read_text().replace(old, new, 1))
    listed = found(staged)
    assert {text.split()[1].split("/")[0] for text in listed["card"]} == {
        r.name for r in (names.metric, names.model, names.bench)
    }
    assert len(listed["license"]) == 1


def test_a_judge_that_does_not_beat_its_baseline_is_found(staged: StagedRelease) -> None:
    path = staged.stage / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["record"]["results"]["comparisons"][2]["ci"] = [-0.05, 0.3]
    path.write_text(json.dumps(manifest))
    assert ["tiny does not beat direct on new_prompts" in text for text in found(staged)["baseline"]] == [True]


def test_a_personalised_judge_beats_its_baseline_on_both_axes(staged: StagedRelease) -> None:
    """People may rate the axes alone; an overall score that they gave beside them decides nothing."""
    path = staged.stage / "manifest.json"
    manifest = json.loads(path.read_text())
    axes = {"concept_preservation": [0.1, 1.9], "prompt_following": [0.2, 1.2]}
    pair = {"a": "tiny", "b": "direct", "split": "new_prompts", "difference": 0.7}
    rows = [{**pair, "aspect": aspect, "ci": ci} for aspect, ci in axes.items()]
    for compared, wrong in (
        (rows, []),
        ([*rows, {**pair, "aspect": "overall", "ci": [-0.1, 0.5]}], []),
        ([rows[0], {**rows[1], "ci": [-0.1, 0.5]}], ["does not beat direct on new_prompts, prompt_following (diff"]),
        ([], ["tiny was not compared with direct"]),
    ):
        manifest["record"]["results"]["comparisons"] = compared
        path.write_text(json.dumps(manifest))
        told = found(staged).get("baseline", [])
        assert len(told) == len(wrong) and all(words in text for words, text in zip(wrong, told)), told


def test_a_shut_door_is_a_finding(staged_once: StagedRelease) -> None:
    shut = Opening("t2i-judge-demo (space)", False, "app.py ended: no gradio", 1.0, {})
    with mock.patch.object(gate, "CHECKS", gate.CHECKS[1:]):  # nor is anything else one, as in every clean release
        findings = check_release(staged_once.recipe, staged_once.stage, [shut])
    assert [f.check for f in findings] == ["door"] and "app.py ended" in str(findings[0])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"license_data": None}, "no licence for the data"),
        ({"license_base": "my-licence"}, "not a licence that the Hub knows"),
        ({"license_base": "other"}, "without its name"),
        ({"license_base": "other", "license_name": "Terms of mine"}, "without its name"),
        ({"license_base": "cc-by-nc-4.0"}, "must be non-commercial"),
        ({"license_data": "cc-by-nd-4.0"}, "derivatives are not allowed"),
        ({"license_data": "gpl-3.0"}, "must keep its licence"),
        ({"license_base": "gemma"}, "must keep its terms"),
        ({"license_base": "cc-by-nc-4.0", "license_model": "openrail"}, "must be non-commercial"),
        ({"license_base": "cc-by-nc-sa-4.0", "license_model": "cc-by-nc-4.0"}, "must keep its licence"),
        ({"teacher_terms": None}, "there are no terms for the teacher's text"),
        ({"image_provenance": ""}, "the source of the images"),
    ],
)
def test_licences_that_are_missing_or_do_not_fit(changes: dict, message: str) -> None:
    fine = {
        "license_model": "apache-2.0", "license_data": "cc-by-4.0", "license_base": "mit", "teacher_terms": "theirs",
        "image_provenance": "rendered",
    }  # fmt: skip
    assert list(conflicts(fine)) == []
    assert [wrong for wrong, _ in conflicts({**fine, **changes}) if message in wrong]


@pytest.mark.parametrize(
    "identifier", ["llama3.1", "openmdw-1.0", "cdla-permissive-2.0", "bigscience-openrail-m", "mit"]
)
def test_licences_that_the_hub_knows_may_go_out(identifier: str) -> None:
    terms = {"license_data": identifier, "teacher_terms": "theirs", "image_provenance": "made by A"}
    assert list(conflicts({"license_model": "other", "license_base": "other", "license_name": "MiniCPM Model License",
                           "license_link": "https://example.com/terms", **terms})) == []  # fmt: skip


@pytest.mark.parametrize("name", recipe_names())
def test_shipped_recipes_state_licences_that_may_go_out(name: str) -> None:
    release = {**asdict(load_recipe(name).release), "license_data": "cc-by-4.0"}  # the user's own, like the provenance
    wrong = [wrong for wrong, _ in conflicts({**release, "image_provenance": "made by A"})]
    assert wrong == []


def test_cards_name_a_licence_of_ones_own() -> None:
    release = {"license_model": "other", "license_name": "MiniCPM Model License", "license_link": "https://a.b/terms"}
    assert licence_metadata(release, "license_model") == {
        "license": "other", "license_name": "minicpm-model-license", "license_link": "https://a.b/terms",
    }  # fmt: skip
    assert licence(release, "license_model") == "[MiniCPM Model License](https://a.b/terms)"


def test_all_findings_are_listed_at_once_and_some_may_pass_by_name(staged_once: StagedRelease) -> None:
    from recipes.publish.gate import Finding

    two = [
        Finding("baseline", "results.json", "not better", "train"),
        Finding("leakage", "bench", "a copy", "remove it"),
    ]
    with pytest.raises(UserError, match=r"found 2 things.*\[baseline\].*\[leakage\]"):
        require_clean(two, ())
    with pytest.raises(UserError, match=r"found 1 thing that.*\[leakage\]"):
        require_clean(two, ("baseline",))
    require_clean(two, ("baseline", "leakage"))
    with pytest.raises(UserError, match="cannot be accepted"):
        require_clean([], ("secrets",))
    with pytest.raises(UserError, match="no such check"):
        require_clean([], ("everything",))
    assert {f.check for f in two} <= set(NAMES)


def test_what_was_let_pass_and_is_not_met_stands_on_the_card(tmp_path: Path, staged_once: StagedRelease) -> None:
    """Not what was allowed beside it: the same files are the same version, whatever else was allowed."""
    import shutil

    from recipes.publish.stage import stage_release

    build = tmp_path / "build"
    shutil.copytree(staged_once.build, build)
    results = json.loads((build / "results.json").read_text())
    for row in results["comparisons"]:
        row["ci"] = [-0.1, 0.1]
    (build / "results.json").write_text(json.dumps(results))
    allowed: tuple[str, ...] = ("license", "baseline", "replaces_real")
    stages = {}
    for names in (allowed, ("baseline",), ("license",)):
        stage = stage_release(staged_once.recipe, "1.0.0", None, names, build, tmp_path / "-".join(names))
        stages[names] = (repositories(staged_once.recipe).model.folder(stage) / "README.md").read_text()
        assert changed(stage, read_manifest(stage)) == []
    assert "Released although" in stages[allowed] and "- baseline" in stages[allowed]
    assert "- license" not in stages[allowed] and "replaces_real" not in stages[allowed]
    assert stages[allowed] == stages[("baseline",)] and "Released although" not in stages[("license",)]


def staged_with(
    tmp_path: Path, staged_once: StagedRelease, selftest: dict | None, **release: Any
) -> tuple[Recipe, Path]:
    """The synthetic release with another selftest."""
    import shutil

    from recipes.publish.stage import stage_release

    build = tmp_path / "build"
    shutil.copytree(staged_once.build, build)
    results = json.loads((build / "results.json").read_text())
    results.pop("selftest")
    (build / "results.json").write_text(json.dumps(results | ({"selftest": selftest} if selftest else {})))
    recipe = replace(staged_once.recipe, release=replace(staged_once.recipe.release, **{"allow": {}, **release}))
    with slim_spaces(tmp_path / "slim"):
        return recipe, stage_release(recipe, "1.0.0", None, (), build, tmp_path / "stage")


@pytest.mark.parametrize(
    ("selftest", "wrong"),
    [
        (None, "was not attacked"),
        (selftest_of("tiny", "ab" * 32, 0.9), "UNTRUSTED on 24 items of 24 prompts: it fails suffix: score 10"),
        (selftest_of("tiny", "cd" * 32), "made with weights cdcd"),
    ],
)
def test_what_is_released_must_be_trusted(tmp_path: Path, staged_once: StagedRelease, selftest, wrong: str) -> None:
    recipe, stage = staged_with(tmp_path, staged_once, selftest, untrained=False)
    with mock.patch.object(gate, "CHECKS", gate.CHECKS[-1:]):
        [finding] = check_release(recipe, stage)
    assert finding.check == "selftest" and wrong in finding.wrong
    with pytest.raises(UserError, match=r"\[selftest\]"):
        require_clean([finding], allowed_for(recipe, ("baseline",)))
    require_clean([finding], allowed_for(recipe, ("selftest",)))
    card = (repositories(recipe).model.folder(stage) / "README.md").read_text()
    assert "Released although" not in card
    assert (f"**{(selftest or {}).get('verdict')}**" in card) == (selftest is not None)


def test_a_recipe_lets_its_selftest_pass_with_a_reason_that_the_card_gives(
    tmp_path: Path, staged_once: StagedRelease
) -> None:
    allow = {"selftest": "a demo"}
    made = selftest_of("tiny", "ab" * 32, 0.9)
    recipe, stage = staged_with(tmp_path, staged_once, made, untrained=False, allow=allow)
    with mock.patch.object(gate, "CHECKS", gate.CHECKS[-1:]):
        [finding] = check_release(recipe, stage)
    require_clean([finding], allowed_for(recipe, ()))
    assert "- selftest: a demo" in (repositories(recipe).model.folder(stage) / "README.md").read_text()
    demo = json.loads((repositories(recipe).demo.folder(stage) / "release.json").read_text())
    assert demo["selftests"][0]["verdict"] == "UNTRUSTED"
    for recipe_name in ("smoke", "smoke-personalised"):
        assert "selftest" in allowed_for(load_recipe(recipe_name), ())
    assert allowed_for(load_recipe("minicpm-v-2.6"), ()) == ()
    with pytest.raises(UserError, match="cannot be accepted"):
        allowed_for(replace(recipe, release=replace(recipe.release, allow={"secrets": "why not"})), ())
