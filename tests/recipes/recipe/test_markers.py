"""A step is done when its marker names the digest of these very inputs; torn markers and other inputs are not."""

from __future__ import annotations

import json

import pytest

from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.markers import Marker, file_table, fingerprint, read_json
from t2i_judge.errors import UserError


def test_done_is_decided_by_the_inputs(tmp_path):
    marker = Marker(tmp_path / "deep" / "DONE.json")
    assert marker.read() == {} and not marker.done("a")
    marker.write("a", {"rows": 3})
    assert marker.done("a") and marker.done("b", "a") and not marker.done("b")
    assert marker.read() == {"rows": 3, "inputs": "a"}
    marker.remove()
    assert not marker.done("a")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"a"', '{"inputs": null}', "\xff"])
def test_a_torn_marker_is_none(tmp_path, text):
    (tmp_path / "DONE.json").write_text(text, encoding="latin-1")
    assert not Marker(tmp_path / "DONE.json").done("a")


def test_what_a_build_called_its_digest_before_is_read(tmp_path):
    (tmp_path / "BUILT.json").write_text(json.dumps({"fingerprint": "a", "items": 3}))
    assert BuildFolder(tmp_path).built.done("a")


def test_a_fingerprint_is_of_names_contents_and_texts(tmp_path):
    def of(name: str, content: str, *texts: str) -> str:
        folder = tmp_path / f"{name}{content}{len(texts)}"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(content)
        return fingerprint(file_table(folder), *texts)

    assert of("a", "1", "x") == of("a", "1", "x")
    assert len({of("a", "1", "x"), of("b", "1", "x"), of("a", "2", "x"), of("a", "1", "y"), of("a", "1", "x", "")}) == 5


def test_a_step_that_left_nothing_is_named(tmp_path):
    with pytest.raises(UserError, match=r"results\.json.*python -m recipes\.evaluate_judge"):
        read_json(tmp_path / "results.json", "recipes.evaluate_judge")


@pytest.mark.parametrize("judge", ["openai:m@http://127.0.0.1:1/v1 #2", "hf:../../etc", "clip:a/b"])
def test_a_judge_of_any_name_has_a_file_inside_the_build(tmp_path, judge):
    path = BuildFolder(tmp_path).judgements_of(judge)
    assert path.parent == tmp_path / "judgements" and path.name.endswith(".jsonl")
