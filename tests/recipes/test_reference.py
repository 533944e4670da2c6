"""metrics/README.md holds what `make reference` writes: every command, every public name."""

from __future__ import annotations

import pytest

from recipes import reference
from t2i_judge.cli import COMMANDS
from t2i_judge.errors import UserError


def test_the_guide_s_references_are_what_the_code_says():
    guide = reference.GUIDE.read_text(encoding="utf-8")
    assert guide == reference.with_reference(guide), "run make reference, and commit metrics/README.md"


def test_every_command_and_public_name_has_its_place():
    commands, api = reference.commands(), reference.api()
    assert [line.split()[2].rstrip("`") for line in commands.splitlines() if line.startswith("### ")] == list(COMMANDS)
    assert "| `--out OUT` (required) |" in commands
    for name in ("load_judge", "meta_evaluate", "Judge.score", "rewards.RewardClient", "Judgement.to_json"):
        assert f"`{name}`" in api


def test_a_docstring_s_sections_become_lists_and_its_example_code():
    text = """Do it.

    Args:
        a, b: of equal
            length.

    Example:
        >>> do(1, 2)
    """
    expected = "Do it.\n\n**Args**\n\n- `a, b`: of equal length.\n\n```python\n>>> do(1, 2)\n```"
    assert reference.prose("\n".join(line.removeprefix("    ") for line in text.splitlines())) == expected


def test_a_guide_without_the_marks_is_refused():
    with pytest.raises(UserError, match="no place for commands"):
        reference.with_reference("# A guide")
