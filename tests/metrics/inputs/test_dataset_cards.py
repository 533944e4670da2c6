"""A dataset's card chooses no file and no address outside the dataset, in a folder or on the Hub."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import DatasetCard, HfApi

from t2i_judge.errors import UserError
from t2i_judge.inputs.dataset_cards import check_card
from t2i_judge.inputs.readers import iter_rows
from tests.loopback_hub import loopback

ELSEWHERE = (
    "/etc/passwd", "../private.csv", "a/../../b.csv", "https://example.com/x.parquet", "~/x.csv", "file:/etc/passwd",
    "hf://datasets/me/other/data.csv", "simplecache::/etc/passwd", "s3://bucket/x.csv",
)  # fmt: skip


def configs(path: str) -> str:
    return f"configs:\n- config_name: default\n  data_files:\n  - split: test\n    path: {path}\n"


def write(folder: Path, path: str, start: str = "", card: bool = True) -> None:
    """A dataset of one table, and what it says that its data are: in its card, or in a file of its own."""
    folder.mkdir(exist_ok=True)
    name, text = (
        ("README.md", f"{start}---\n{configs(path)}---\n# Cats\n") if card else (".huggingface.yaml", configs(path))
    )
    (folder / name).write_text(text)
    (folder / "data.csv").write_text("prompt,image\na cat,a.png\n")


@pytest.mark.parametrize("place", ELSEWHERE)
@pytest.mark.parametrize("form", ["{}", "[data.csv, '{}']"])
def test_data_elsewhere_are_refused(tmp_path: Path, place: str, form: str) -> None:
    write(tmp_path, form.format(place))
    with pytest.raises(UserError, match="has its data elsewhere"):
        list(iter_rows(tmp_path))


@pytest.mark.parametrize("options", [{"start": "\n"}, {"start": " \r\n \n"}, {"card": False}], ids=str)
def test_wherever_a_dataset_says_so(tmp_path: Path, options: dict) -> None:
    write(tmp_path, "/etc/passwd", **options)
    with pytest.raises(UserError, match="has its data elsewhere"):
        list(iter_rows(tmp_path))


def test_a_header_ends_where_the_hub_library_ends_it(tmp_path: Path) -> None:
    write(tmp_path, "/etc/passwd", start="---\npretty_name: Cats\n")
    text = (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text(text.replace("Cats\n---\n", "Cats\n---x: 1\n"))
    assert "configs" in DatasetCard.load(tmp_path / "README.md").data.to_dict()
    with pytest.raises(UserError, match="has its data elsewhere"):
        list(iter_rows(tmp_path))


@pytest.mark.parametrize("text", ["---" + "\n" * 200_000 + "x", "---\n" * 50_000 + "x", "\r\n" * 200_000])
def test_a_card_costs_what_its_length_does(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    started = time.process_time()
    check_card(tmp_path)
    assert time.process_time() - started < 2


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Publishes a dataset as me/cats on a Hub of this machine."""
    with loopback(tmp_path / "hub") as hub:
        for module in ("datasets.config", "datasets.utils.file_utils.config"):
            monkeypatch.setattr(f"{module}.HF_ENDPOINT", hub.endpoint)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        api = HfApi(hub.endpoint, token="hf_me")
        api.create_repo("me/cats", repo_type="dataset")

        def publish(path: str, **options: Any) -> None:
            write(tmp_path / "cats", path, **options)
            api.upload_folder(repo_id="me/cats", repo_type="dataset", folder_path=tmp_path / "cats")

        yield publish


@pytest.mark.parametrize("options", [{}, {"start": "\n"}, {"card": False}], ids=str)
def test_data_elsewhere_of_a_dataset_on_the_hub_are_refused(published: Callable[..., None], options: dict) -> None:
    for place in ELSEWHERE[::3]:
        published(place, **options)
        with pytest.raises(UserError, match="me/cats has its data elsewhere"):
            list(iter_rows("me/cats"))


def test_a_dataset_on_the_hub_is_read_at_the_commit_that_was_looked_at(
    published: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    published("data.csv")
    commit = HfApi().dataset_info("me/cats").sha
    whole, asked = datasets.load_dataset, []

    def load(*args: Any, revision: str | None = None, **options: Any) -> Any:
        published("/etc/passwd")  # in between
        asked.append(revision)
        return whole(*args, revision=revision, **options)

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert [row["prompt"] for row in iter_rows("me/cats")] == ["a cat"]
    assert asked == [commit]


def test_its_own_files_are_read(tmp_path: Path) -> None:
    files = "configs:\n- config_name: default\n  data_files:\n  - split: test\n    path: data.csv\n"
    (tmp_path / "README.md").write_text(f"---\n{files}---\n")
    (tmp_path / "data.csv").write_text("prompt,image\na cat,a.png\n")
    assert [row["prompt"] for row in iter_rows(tmp_path)] == ["a cat"]
