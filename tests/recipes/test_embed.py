"""What goes into the package: the weights of a finished judge, and nothing of the machine that made them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from recipes import embed
from recipes.recipe.config import load_recipe
from t2i_judge.errors import UserError
from t2i_judge.prompts import student_hash


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A recipe whose build is finished, and an empty package to put its judge into."""
    monkeypatch.setattr(embed, "EMBEDDED", tmp_path / "package")
    recipe = load_recipe("tiny")
    recipe = replace(recipe, base=replace(recipe.base, model=str(tmp_path / "package" / "base")))
    build = tmp_path / "build" / "tiny"
    monkeypatch.setattr(type(recipe), "folder", property(lambda self: build))
    (build / "adapter").mkdir(parents=True)
    (build / "results.json").write_text("{}")
    (build / "adapter" / "adapter_config.json").write_text(
        json.dumps({"r": 64, "base_model_name_or_path": str(tmp_path / "package" / "base")})
    )
    (build / "adapter" / "adapter_model.safetensors").write_bytes(b"weights")
    (build / "adapter" / "judge.json").write_text('{"name": "tiny"}')
    return recipe


def test_a_judge_is_copied_without_the_path_of_its_machine(finished, tmp_path):
    assert embed.embed(finished) == len(b"weights")
    package = tmp_path / "package"
    assert json.loads((package / "adapter/adapter_config.json").read_text()) == {
        "r": 64,
        "base_model_name_or_path": "../base",
    }
    assert (package / "adapter/adapter_model.safetensors").read_bytes() == b"weights"
    assert json.loads((package / "judge.json").read_text()) == {"name": "tiny"}


def test_an_unfinished_or_a_strangers_judge_is_refused(finished, tmp_path):
    with pytest.raises(UserError, match="does not use the embedded base"):
        embed.embed(replace(finished, base=replace(finished.base, model="openbmb/MiniCPM-V-2_6")))
    (finished.folder / "results.json").unlink()
    with pytest.raises(UserError, match="is not finished"):
        embed.embed(finished)
    assert not (tmp_path / "package" / "adapter").exists()


def test_what_the_package_ships_names_no_place_of_a_machine():
    package = Path(embed.__file__).parents[1] / "metrics/t2i_judge/weights/tiny"
    files = sorted(package.rglob("*.json"))
    assert package / "adapter" / "adapter_config.json" in files
    for path in files:
        assert not re.findall(r'"/\w[^"]*/[^"]*"', path.read_text()), path.name


def test_what_the_package_ships_was_taught_by_todays_templates():
    card = json.loads((Path(embed.__file__).parents[1] / "metrics/t2i_judge/weights/tiny/judge.json").read_text())
    assert card["template_hash"] == load_recipe("tiny-shipped").student_hash
    assert card["template_hash"] == student_hash(False, answers_first=card["answers_first"])
