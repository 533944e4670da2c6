"""A recipe is read strictly: what is wrong is named in one line, with the nearest right name."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recipes.evaluation.own_judges import BASE, DIRECT
from recipes.evaluation.results import ANNOTATOR, TEACHER
from recipes.recipe.config import JUDGES, ROOT, differing, load_recipe, recipe_names
from recipes.recipe.sections import Quantization, ScenesData, T2IEvalData, TableData
from recipes.recipe.typed_yaml import merge, read_yaml
from t2i_judge.errors import UserError

MINIMAL = {
    "name": "mine",
    "data": {"source": "table", "path": "items.csv"},
    "base": {"model": "owner/base"},
    "adapter": {"target_modules": ["q_proj", "v_proj"]},
}


def written(folder: Path, content: object) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def error_of(folder: Path, changes: dict) -> str:
    with pytest.raises(UserError) as caught:
        load_recipe(written(folder, merge(MINIMAL, changes)))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_is_valid(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.folder.name == recipe.name


@pytest.mark.parametrize("name", recipe_names())
def test_the_name_that_results_and_printed_commands_carry_leads_back(name: str) -> None:
    recipe = load_recipe(name)
    assert load_recipe(recipe.name) == recipe


def test_minimal_recipe_takes_defaults(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, MINIMAL))
    assert recipe.data == TableData("items.csv")
    assert recipe.adapter.target_modules == ("q_proj", "v_proj")
    assert recipe.quantization is None and recipe.rebalance is None
    assert differing(recipe.training) == {}


def test_sources_are_told_apart(tmp_path: Path) -> None:
    for data, kind in (
        ({"source": "scenes"}, ScenesData),
        ({"source": "t2i_eval", "path": "a.json", "images": "b"}, T2IEvalData),
    ):
        assert isinstance(load_recipe(written(tmp_path, {**MINIMAL, "data": data})).data, kind)


def test_exponents_and_integers_are_numbers(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(MINIMAL) + "training: {learning_rate: 1e-4, num_train_epochs: 3}\n")
    assert load_recipe(path).training.learning_rate == 1e-4


def test_a_variant_extends_its_recipe() -> None:
    tiny, smoke = load_recipe("tiny"), load_recipe("smoke")
    assert smoke.adapter == tiny.adapter and smoke.quantization == tiny.quantization
    assert smoke.training != tiny.training and smoke.evaluation.goals.new_pairs is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trainning": {}}, ("unknown key 'trainning'", "nearest is 'training'")),
        ({"training": {"learnig_rate": 1}}, ("recipe.yaml.training", "nearest is 'learning_rate'")),
        ({"training": {"max_steps": "many"}}, ("training.max_steps is 'many' (text)", "It must be an integer")),
        ({"training": {"bf16": 1}}, ("training.bf16 is 1 (an integer)", "It must be true or false")),
        ({"training": {"learning_rate": float("nan")}}, ("It must be a finite number",)),
        ({"training": {"learning_rate": 0}}, ("training.learning_rate is 0", "above 0")),
        ({"data": {"source": "tabel"}}, ("data.source is 'tabel'", "nearest is 'table'")),
        ({"data": {"source": ["table"]}}, ("data.source",)),
        ({"data": {"held_out": 1.5}}, ("data.held_out is 1.5",)),
        ({"packing": "shared-prefix"}, ("nearest is 'shared_prefix'",)),
        ({"mixture": {"scores": 2}}, ("unknown key 'scores'", "nearest is 'score'")),
        ({"mixture": {"score": -1}}, ("negative weight",)),
        ({"mixture": {"aspects": {"concept_preservation": -1}}}, ("negative weight",)),
        ({"mixture": {"aspects": {"apearance": 2}}}, ("nearest is 'appearance'",)),
        ({"rebalance": {"percentile": 175}}, ("rebalance.percentile is 175",)),
        ({"quantization": {}}, ("'skip_modules' is missing",)),
        ({"quantization": {"skip_modules": "lm_head"}}, ("It must be a list",)),
        ({"adapter": {"target_modules": 3}}, ("It must be text",)),
        ({"adapter": {"target_modules": ["a", 5]}}, ("adapter.target_modules.1 is 5", "It must be text")),
        ({"data": "table"}, ("data is 'table'", "It must be a mapping")),
        ({"base": {"model": datetime.date(2024, 1, 1)}}, ("not text, a number, a list or a mapping",)),
        ({"name": "a/b"}, ("name is 'a/b'",)),
        ({"name": "a--b"}, ("name is 'a--b'", "letters, digits")),
        ({"name": "my judge"}, ("name is 'my judge'",)),
        ({"name": "x.git"}, ("name is 'x.git'",)),
        ({"name": "a" * 90}, ("Folders and repositories have this name",)),
        ({"asked": "mine"}, ("unknown key 'asked'",)),
        ({"name": "release"}, ("name is 'release'", "Other commands write to build/release")),
        ({"name": "Release-smoke"}, ("Other commands write to build/Release-smoke",)),
        ({"name": "tiny.part"}, ("Other commands write to build/tiny.part",)),
        ({"name": "annotations"}, ("Other commands write to build/annotations",)),
        ({"name": "base"}, ("judge of the recipe is called 'base'", "Results call another judge so", "Set name to")),
        ({"judge": "direct"}, ("judge of the recipe is called 'direct'", "Set judge to another name")),
        ({"name": "jobs-tiny"}, ("would be called 't2i-judge-jobs-tiny'", "delete others there")),
        ({"release": {"repositories": {"bench": "T2I-judge-jobs-x"}}}, ("would be called 'T2I-judge-jobs-x'",)),
        ({"release": {"repositories": {"bench": "me/x"}}}, ("release.repositories.bench is 'me/x'", "namespace")),
        (
            {"release": {"repositories": {"bench": "x", "model": "x"}}},
            ("Two repositories", "Give each repository its own name (release.repositories.bench)"),
        ),
        ({"release": {"repositories": {"bench": "x", "model": "X"}}}, ("Two repositories",)),
        ({"release": {"repositories": {"bench": "t2i-judge-distill-mine"}}}, ("Two repositories",)),
        ({"release": {"repositories": {"model": "T2I_judge"}}}, ("Two repositories",)),
        ({"name": "demo"}, ("'t2i-judge-demo'", "Two repositories")),
        ({"release": {"repositories": {"metric": "x"}}}, ("unknown key 'metric'",)),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict, words: tuple[str, ...]) -> None:
    message = error_of(tmp_path, changes)
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    "address", ["http://ann:s3cret@host/v1", "https://s3cret@host/v1", "https://host/v1?api_key=s3cret"]
)
@pytest.mark.parametrize(
    ("key", "form"),
    [
        ("teacher.base_url", "{}"),
        ("teacher.api_key_env", ["{}=MY_KEY"]),
        ("release.space_judge", "openai:m@{}"),
        ("evaluation.judges", ["clip:owner/x", "dreambench+openai:m@{}"]),
    ],
)
def test_no_login_stands_in_a_recipe(tmp_path: Path, address: str, key: str, form: str | list[str]) -> None:
    section, name = key.split(".")

    def recipe(address: str) -> dict:
        value = form.format(address) if isinstance(form, str) else [part.format(address) for part in form]
        return {section: {name: value}}

    message = error_of(tmp_path, recipe(address))
    assert key in message and "s3cret" not in message and "api_key_env" in message
    load_recipe(written(tmp_path, merge(MINIMAL, recipe("https://host/v1?api-version=2024-10-21"))))


def test_no_recipe_is_called_as_what_other_commands_write(tmp_path: Path) -> None:
    assert set(JUDGES) == {BASE, DIRECT, TEACHER, ANNOTATOR}
    code = "".join(path.read_text() for path in (ROOT / "recipes").rglob("*.py"))
    names = set(re.findall(r'/ "build" / "([^"]+)"', code))
    names |= set(re.findall(r"build/([\w.-]+)", (ROOT / "Makefile").read_text())) - {"smoke"}
    assert names >= {"annotations", "coverage.json", "environments"}
    for name in names:
        assert "Other commands write" in error_of(tmp_path, {"name": name})


def test_a_wrong_recipe_name_suggests_the_nearest() -> None:
    with pytest.raises(UserError, match=r"no recipe 'tinny'.*nearest is 'tiny'"):
        load_recipe("tinny")


@pytest.mark.parametrize("text", ["- a\n", "a: [", "", "\x00"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(UserError):
        load_recipe(tmp_path / "recipe.yaml")


def test_a_recipe_anywhere_extends_those_of_the_checkout(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "mine" / "recipe.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("extends: minicpm-v-2.6\nname: mine\ndata: {path: my.csv}\n")
    assert load_recipe(path).base == load_recipe("minicpm-v-2.6").base and load_recipe(path).data.held_out == 0.1
    path.write_text("extends: minicpm-v-2.6/24gb\nname: mine\n")
    assert load_recipe(path).adapter.r == 64
    path.write_text("extends: minicpm-v-26\nname: mine\n")
    with pytest.raises(UserError, match=r"extends 'minicpm-v-26'.*nearest is 'minicpm-v-2.6'"):
        load_recipe(path)


def test_data_of_another_source_replaces_what_is_extended(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: tiny\nname: mine\ndata: {source: table, path: my.csv}\n")
    assert load_recipe(tmp_path / "mine.yaml").data == TableData("my.csv")
    assert load_recipe("minicpm-v-2.6/t2i-eval").data.held_out == 0.1


def test_what_extends_a_recipe_has_its_own_name(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: tiny\ntraining: {max_steps: 3}\n")
    with pytest.raises(UserError, match=r"mine.yaml extends 'tiny' and has no name.*Write `name: ...`"):
        load_recipe(tmp_path / "mine.yaml")


def test_a_chain_of_extends_must_end(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("extends: b\nname: a\n")
    (tmp_path / "b.yaml").write_text("extends: a\nname: b\n")
    with pytest.raises(UserError, match="extends itself"):
        read_yaml(tmp_path / "a.yaml")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SECTIONS = st.sampled_from(
    ["data", "base", "adapter", "training", "mixture", "seeds", "quantization", "extends_", "name"]
)


@given(section=SECTIONS, key=st.text(max_size=6), value=anything, whole=st.booleans())
def test_any_yaml_gives_a_recipe_or_one_line(tmp_path_factory, section, key, value, whole) -> None:
    path = written(tmp_path_factory.mktemp("recipe"), merge(MINIMAL, {section: value if whole else {key: value}}))
    try:
        recipe = load_recipe(path)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert recipe.quantization is None or isinstance(recipe.quantization, Quantization)


def test_a_number_of_half_a_million_places_is_one_line(tmp_path: Path) -> None:
    (path := tmp_path / "prices.yaml").write_text("m: 1" + ":1" * 499_000)
    with pytest.raises(UserError, match="more than 100 characters"):
        read_yaml(path)
