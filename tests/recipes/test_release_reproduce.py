"""The last step of a release: real ratings where their tables can be had, one line where they cannot."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from recipes.release import _reproduce
from t2i_judge.errors import UserError
from t2i_judge.meta import reproduction
from t2i_judge.meta.sources import ADDRESS
from tests.metrics.meta.upstream_files import TIFA, Repositories, serving, tifa_file, write_set


@pytest.fixture
def repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A server with one table of our own, and a shipped dsg_tifa160 that is read from it: tau is 1."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    huggingface_hub.close_session()
    with serving(Repositories()) as running:
        monkeypatch.setenv(ADDRESS, running.address)
        data = tifa_file({f"coco_{n}_mini_dalle": ([n, n], {"bleu": n / 30}) for n in range(1, 6)})
        tables = {"tifa160.csv": ("tifa_scores", [running.add("Yushi-Hu/tifa", TIFA, data)])}
        for tau in (1, 0.5):
            write_set(
                tmp_path / str(tau) / "dsg_tifa160", "tifa160", tables, {"metrics": {"bleu": {"kendall": float(tau)}}}
            )
        monkeypatch.setattr(reproduction, "_SHIPPED", tmp_path / "1")
        yield running


def test_a_release_ends_on_real_ratings(repositories, capsys) -> None:
    _reproduce()
    assert "dsg_tifa160, figures: 1 of 1 equal" in capsys.readouterr().out
    assert len(repositories.requests) == 1


def test_tables_that_cannot_be_had_are_one_line_and_no_failure(repositories, capsys) -> None:
    repositories.files.clear()
    _reproduce()
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == "[reproduce] t2i-judge reproduce dsg_tifa160" and rest[0].startswith("  Not reproduced:")
    assert "http://127.0.0.1:" in " ".join(rest) and "answers 404. Not Found." in " ".join(" ".join(rest).split())


def test_a_figure_that_differs_is_a_failure(repositories, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(reproduction, "_SHIPPED", tmp_path / "0.5")
    with pytest.raises(UserError, match="t2i-judge reproduce dsg_tifa160 failed"):
        _reproduce()
    assert "1 DIFFERENT" in capsys.readouterr().out
