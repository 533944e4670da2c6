"""Any YAML is a recipe or one line that says what is wrong."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from recipes.recipe.config import load_recipe
from t2i_judge.errors import UserError

WHOLE = yaml.safe_load((Path(__file__).parents[3] / "recipes/tiny/recipe.yaml").read_text())
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates() | st.binary(max_size=4)
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 5000, "a: " * 5000, "{a: " * 5000, "? [a]\n: b", "!!python/object/apply:os.system ['true']",
        "name: !!bool maybe", "name: !!int x", "name: !!timestamp x", "name: 2001-99-99", "a: &a {b: *a}", "*a",
        "<<: [*b]", "name: \x07", "\ufeffname: x", "name: " + "9" * 5000, "extends: ../../../../etc/passwd",
        "extends: [1]", "extends: hostile", "a: &a [x]\n" + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(12)
        ),
        "a: &a {x: 1}\n" + "".join(
            f"{chr(98 + n)}: &{chr(98 + n)} {{<<: [{', '.join([f'*{chr(97 + n)}'] * 9)}]}}\n" for n in range(12)
        ),
    ],
)  # fmt: skip
def test_hostile_yaml_is_one_line(tmp_path, text):
    path = tmp_path / "hostile.yaml"
    path.write_text(text, encoding="utf-8")
    start = time.process_time()  # of this process alone: the machine may have other things to do
    with pytest.raises(UserError) as told:
        load_recipe(path)
    assert "\n" not in str(told.value)
    assert time.process_time() - start < 10


def test_any_value_at_any_place(tmp_path):
    path, places = tmp_path / "recipe.yaml", [(section, key) for section in WHOLE for key in section_keys(section)]

    @seed(22)
    @settings(max_examples=150, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(places), VALUES)
    def check(place: tuple[str, str | None], value: object) -> None:
        section, key = place
        changed = {**WHOLE, section: value if key is None else {**WHOLE[section], key: value}}
        path.write_text(yaml.safe_dump(changed, allow_unicode=True), encoding="utf-8")
        try:
            load_recipe(path)
        except UserError as error:
            assert str(error).isprintable()

    check()


def section_keys(section: str) -> list[str | None]:
    """The keys of a section, and None for the section itself."""
    return [None, *(WHOLE[section] if isinstance(WHOLE[section], dict) else ())]
