"""A dataset folder's card chooses no file and no address outside the folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2i_judge.errors import UserError
from t2i_judge.inputs.readers import iter_rows


@pytest.mark.parametrize("place", ["/etc/passwd", "../private.csv", "https://example.com/x.parquet", "~/x.csv"])
@pytest.mark.parametrize("form", ["path: {}", "path: [data.csv, {}]"])
def test_data_elsewhere_are_refused(tmp_path: Path, place: str, form: str) -> None:
    files = f"configs:\n- config_name: default\n  data_files:\n  - split: test\n    {form.format(place)}\n"
    (tmp_path / "README.md").write_text(f"---\n{files}---\n# Cats\n")
    (tmp_path / "data.csv").write_text("prompt,image\na cat,a.png\n")
    with pytest.raises(UserError, match="has its data elsewhere"):
        list(iter_rows(tmp_path))


def test_its_own_files_are_read(tmp_path: Path) -> None:
    files = "configs:\n- config_name: default\n  data_files:\n  - split: test\n    path: data.csv\n"
    (tmp_path / "README.md").write_text(f"---\n{files}---\n")
    (tmp_path / "data.csv").write_text("prompt,image\na cat,a.png\n")
    assert [row["prompt"] for row in iter_rows(tmp_path)] == ["a cat"]
