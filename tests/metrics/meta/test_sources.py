"""Published files come from where they are published: fetched once, checked each time, one line when they cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.meta.reproduction import folder_of, reproduce, shipped
from t2i_judge.meta.sources import ADDRESS, Source, cached_path, obtain, read_sources
from t2i_judge.meta.upstream import LAYOUTS
from tests.metrics.meta.upstream_files import COMMIT, TIFA, Repositories, serving, source_of, tifa_file, write_set
from tests.shared import shared

OWNER = "Some-Body/metric.eval"
DATA = tifa_file({f"coco_{n}_mini_dalle": ([n, n], {"bleu": n * n / 30}) for n in range(1, 6)})
WHERE = f"/{OWNER}/{COMMIT}/{TIFA}"
PUBLISHED = {"metrics": {"bleu": {"kendall": 1.0}}}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A fresh HF_HOME; nothing real is called."""
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv(ADDRESS, "http://127.0.0.1:9")
    huggingface_hub.close_session()
    return tmp_path / "home"


@pytest.fixture
def repositories(monkeypatch):
    with serving(Repositories()) as running:
        running.add(OWNER, TIFA, DATA)
        monkeypatch.setenv(ADDRESS, running.address + "/")
        yield running


def set_of(folder: Path, entry: dict | None = None) -> str:
    table = ("tifa_scores", [entry or source_of(OWNER, TIFA, DATA)])
    return str(write_set(folder, "tifa160", {"tifa160.csv": table}, PUBLISHED))


def error_of(capsys, *arguments: str) -> str:
    """The one line of a `reproduce` that ends with exit code 2."""
    assert main(["reproduce", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_a_table_is_fetched_once_and_its_source_and_licence_are_printed(tmp_path, repositories, capsys, monkeypatch):
    name = set_of(tmp_path / "own")
    assert main(["reproduce", name, "--json", str(tmp_path / "out.json")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert f"read from {OWNER} @ {COMMIT[:8]} (CC0-1.0) : {TIFA} " in printed
    assert "own, figures: 1 of 1 equal" in printed
    assert json.loads((tmp_path / "out.json").read_text())["own"]["sources"] == [source_of(OWNER, TIFA, DATA)]
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert main(["reproduce", name]) == 0
    assert repositories.requests == [WHERE]


def test_without_the_server_the_cached_copy_is_used(tmp_path, monkeypatch):
    name = set_of(tmp_path / "own")
    with serving(Repositories()) as running:
        running.add(OWNER, TIFA, DATA)
        monkeypatch.setenv(ADDRESS, running.address)
        reproduce(name)
    assert reproduce(name).outcomes[0].status == "equal"


def test_a_damaged_cached_copy_is_fetched_again(tmp_path, repositories):
    name = set_of(tmp_path / "own")
    reproduce(name)
    path = cached_path(Source(**source_of(OWNER, TIFA, DATA)))
    assert path.read_bytes() == DATA
    path.write_bytes(DATA.replace(b"5", b"4", 1))
    assert reproduce(name).outcomes[0].status == "equal"
    assert path.read_bytes() == DATA and repositories.requests == [WHERE] * 2


@pytest.mark.parametrize(
    ("served", "message"),
    [
        (DATA.replace(b"5", b"4", 1), "is not the published file. Its sha256 is not"),
        (DATA + b" ", f"It has more than {len(DATA)} bytes"),
        (DATA[:-1], f"It has fewer than {len(DATA)} bytes"),
        (None, "answers 404. Not Found. Run the command again, or give the files with --from FOLDER."),
    ],
)
def test_another_file_is_refused_and_not_kept(tmp_path, repositories, home, capsys, served, message):
    repositories.files.pop(WHERE) if served is None else repositories.files.update({WHERE: served})
    assert message in error_of(capsys, set_of(tmp_path / "own"))
    assert not list(home.rglob("*.json"))


def test_a_broken_connection_silence_and_no_server_are_one_line(tmp_path, repositories, capsys, monkeypatch, home):
    source = Source(**source_of(OWNER, TIFA, DATA))
    repositories.truncated.add(WHERE)
    assert f"Cannot fetch {repositories.address}{WHERE}" in error_of(capsys, set_of(tmp_path / "own"))
    repositories.truncated.clear()
    repositories.silent.add(WHERE)
    with pytest.raises(
        UserError, match=r"Nothing arrived for 0\.1 s\. Run the command again, or give the files with --from"
    ):
        obtain(source, silence=0.1)
    for address, message in (("http://127.0.0.1:9", "refused"), ("http://[", "Cannot fetch"), ("x:/y", "protocol")):
        monkeypatch.setenv(ADDRESS, address)
        assert message in error_of(capsys, set_of(tmp_path / "own"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE forbids downloading it now. Unset it, or use --from FOLDER." in error_of(capsys, "tifa160")
    assert not list(home.rglob("*.json"))


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path, repositories, capsys, home):
    home.write_text("a file")
    assert "Set HF_HOME to a folder on a disk with space" in error_of(capsys, set_of(tmp_path / "own"))


def test_two_processes_fetch_the_same_file_at_once(tmp_path, repositories, home):
    command = [str(Path(sys.executable).with_name("t2i-judge")), "reproduce", set_of(tmp_path / "own")]
    environment = {**os.environ, "HF_HOME": str(home), ADDRESS: repositories.address}
    environment.pop("HF_HUB_OFFLINE", None)
    runs = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert all("1 of 1 equal" in run.communicate(timeout=300)[0] for run in runs)
    kept = [path for path in home.rglob("*") if path.is_file() and "t2i_judge" in path.parts]
    assert [path.read_bytes() for path in kept] == [DATA]


@pytest.mark.parametrize("place", [TIFA, f"Some-Body+metric.eval/{TIFA}", f"{OWNER}/{TIFA}", Path(TIFA).name])
def test_from_a_folder_in_each_arrangement(tmp_path, capsys, place, home):
    path = tmp_path / "files" / place
    path.parent.mkdir(parents=True)
    path.write_bytes(DATA)
    assert main(["reproduce", set_of(tmp_path / "own"), "--from", str(tmp_path / "files")]) == 0
    assert "1 of 1 equal" in capsys.readouterr().out and not home.exists()


def test_from_a_folder_the_right_file_counts_not_the_first(tmp_path, capsys):
    files = tmp_path / "files"
    files.mkdir()
    name = set_of(tmp_path / "own")
    assert f"does not have {TIFA} of {OWNER}" in error_of(capsys, name, "--from", str(files))
    assert "no folder" in error_of(capsys, name, "--from", str(files / "none"))
    (files / TIFA).parent.mkdir()
    (files / TIFA).write_text("another one")
    assert f"{files / TIFA} is not the published file. Its sha256 is" in error_of(capsys, name, "--from", str(files))
    (files / Path(TIFA).name).write_bytes(DATA)
    assert main(["reproduce", name, "--from", str(files)]) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"path": "../../etc/passwd"}, "has path '../../etc/passwd'. It must be a path inside the repository"),
        ({"path": "/etc/passwd"}, "has path '/etc/passwd'"),
        ({"repository": "../up"}, "It must be OWNER/NAME"),
        ({"commit": "main"}, "It must be 40 hexadecimal digits"),
        ({"sha256": "0" * 63}, "It must be 64 hexadecimal digits"),
        ({"bytes": True}, "It must be a whole number above 0"),
        ({"license": ""}, "It must be a line of text"),
        ({"url": "http://elsewhere"}, "Its keys are repository, commit, path, bytes, sha256, license"),
    ],
)
def test_mistakes_in_a_source_are_one_line(tmp_path, capsys, change, message):
    error = error_of(capsys, set_of(tmp_path / "own", source_of(OWNER, TIFA, DATA) | change))
    assert message in error and "sources.json: file 1 of 'tifa160.csv'" in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a mapping"),
        ('{"t": {"layout": "tifa_scores"}}', "'t' is {'layout': 'tifa_scores'}. It has a layout and a list of files"),
        ('{"t": {"layout": "tifa_score", "files": []}}', "'t' has layout 'tifa_score'. The nearest is 'tifa_scores'"),
        ('{"t": {"layout": "tifa_scores", "files": []}}', "'t' has no files"),
    ],
)
def test_a_malformed_list_of_sources_is_one_line(tmp_path, capsys, text, message):
    name = set_of(tmp_path / "own")
    (tmp_path / "own" / "sources.json").write_text(text)
    assert message in error_of(capsys, name)


def test_a_table_of_ones_own_comes_before_a_published_one(tmp_path):
    name = set_of(tmp_path / "own")
    (tmp_path / "own" / "tifa160.csv").write_text("human_1,human_2,human_avg,metric_bleu\n1,1,1,2\n2,2,2,1\n3,3,3,0\n")
    result = reproduce(name)
    assert (result.outcomes[0].computed, result.sources) == (-1, [])


def test_shipped_sources_are_the_ones_that_are_listed():
    """Every file that a shipped set is read from is in SOURCES.json with commit, size, hash and licence."""
    listed = json.loads(shared("meta_eval/raw/SOURCES.json").read_text())
    known = {tuple(entry.get(key) for key in Source.__annotations__) for entry in listed}
    files = [file for name in shipped() for o in read_sources(folder_of(name), LAYOUTS).values() for file in o.files]
    assert len(files) == 1 + 8 + 3 * 18 + 21 + (21 + 29 + 58) + (21 + 12 * 58 + 28) + 8 + 4 + 1
    elsewhere = (
        "results/image_generation/",
        "results/video_generation/",
        "benchmark/",
        "evaluate/",
        "annotations/",
        "prompts/",
        "MOS&QA/",
    )  # sets that the listing does not hold
    files = [file for file in files if not file.path.startswith(elsewhere)]
    assert {tuple(vars(file).values()) for file in files} <= known


def test_nothing_but_rules_figures_and_addresses_is_shipped():
    """No third party's rows, prompts or licence texts."""
    names = {path.name for name in shipped() for path in folder_of(name).iterdir()}
    assert names == {"figures.yaml", "published.json", "sources.json"}
