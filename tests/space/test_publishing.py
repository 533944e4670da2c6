"""Forms reach the Hub in few commits, each once, whatever the Hub does; and nothing keeps the Space from opening."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import publishing
from annotate_tab import whereabouts
from annotation_store import AnnotationStore, FolderShelf
from annotations import VisitorRating
from publishing import HubRepository, Publisher
from recipes.loopback.hub.server import Fault
from t2i_judge.errors import UserError
from tests.loopback_hub import loopback
from tests.waiting import PATIENCE, eventually

GOOD = (VisitorRating("overall", None, 7.0, "well made"), VisitorRating("intrinsic", "q1", 10.0, None))
NAME = "me/annotations"
COMMIT = "POST .*/commit/"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    monkeypatch.setattr(publishing, "_FIRST", 0.05)
    monkeypatch.setattr(publishing, "_LAST_TRIES", 0.05)
    with loopback(tmp_path / "hub") as running:
        yield running


@pytest.fixture
def space(hub, tmp_path):
    """`space("a")`: the store and the publisher of a Space whose disk is called a; all of them end with the test."""
    made: list[Publisher] = []

    def open_space(disk: str = "disk", token: str | None = "hf_me", every: float = 0.1) -> Publisher:
        store = AnnotationStore(FolderShelf(tmp_path / disk))
        made.append(Publisher(store, HubRepository(NAME, token, hub.endpoint), every))
        made[-1].start(PATIENCE)
        return made[-1]

    yield open_space
    for publisher in made:
        publisher.close(0.0)


def published(publisher: Publisher) -> Callable[[], bool]:
    return lambda: not publisher.store.waiting(1)


def lines(hub) -> list[dict]:
    """Every form in the repository's files, as it stands there."""
    from huggingface_hub import HfApi, hf_hub_download

    api = HfApi(endpoint=hub.endpoint, token="hf_me")
    rows = []
    for path in api.list_repo_files(NAME, repo_type="dataset"):
        if path.startswith("annotations/"):
            file = hf_hub_download(NAME, path, repo_type="dataset", token="hf_me", endpoint=hub.endpoint)
            rows += map(json.loads, Path(file).read_text(encoding="utf-8").splitlines())
    return rows


def commits(hub) -> int:
    return sum(call.startswith("POST") and "/commit/" in call for call in hub.hub.calls)


def test_many_forms_are_few_commits_and_come_back(hub, space, tmp_path):
    publisher = space(every=3600.0)
    annotator, code = publisher.store.enter("ann", None)
    for number in range(100):
        publisher.store.save(f"item-{number}", annotator, GOOD)
    publisher.every = 0.1
    publisher._wake.set()
    assert eventually(published(publisher))
    assert commits(hub) <= 3
    assert publisher.line() == "100 forms, all published in the dataset me/annotations."
    again = space("another disk")
    assert again.store.export() == publisher.store.export()
    assert again.store.enter("ann", code) == (annotator, None)
    assert len(lines(hub)) == 100
    from huggingface_hub import HfApi

    assert HfApi(endpoint=hub.endpoint, token="hf_me").dataset_info(NAME).private


def test_the_repository_loads_as_a_dataset(hub, space, tmp_path):
    from datasets import load_dataset
    from huggingface_hub import snapshot_download

    publisher = space()
    annotator, _ = publisher.store.enter("ann", None)
    publisher.store.save("item-1", annotator, GOOD)
    assert eventually(published(publisher))
    folder = snapshot_download(NAME, repo_type="dataset", token="hf_me", endpoint=hub.endpoint)
    [row] = load_dataset(folder, "annotations", split="train", cache_dir=str(tmp_path / "cache"))
    assert (row["item"], row["annotator"], row["ratings"][0]["score"]) == ("item-1", "ann", 7.0)


def test_stored_comes_before_published_and_the_page_tells_both(hub, space):
    publisher = space(every=1.0)
    hub.hub.faults.append(Fault(COMMIT, 503, times=-1))
    annotator, _ = publisher.store.enter("ann", None)
    publisher.store.save("item-1", annotator, GOOD)
    shown = str(whereabouts(publisher.store, publisher, annotator))
    assert "1 of yours stored, 0 published." in shown
    hub.hub.faults.clear()
    assert eventually(published(publisher))
    shown = str(whereabouts(publisher.store, publisher, annotator))
    assert "1 of yours stored, 1 published. 1 form, all published in the dataset me/annotations." in shown


@pytest.mark.parametrize("kind", [500, 403, 409, "drop", "drop_after", "timeout"])
def test_each_form_arrives_once_whatever_the_hub_does(hub, space, kind):
    publisher = space()
    hub.hub.faults.append(Fault(COMMIT, kind, times=3 if kind != "timeout" else 1))
    annotator, _ = publisher.store.enter("ann", None)
    for number in range(10):
        publisher.store.save(f"item-{number}", annotator, GOOD)
        time.sleep(0.02)
    assert eventually(published(publisher))
    assert sorted(row["item"] for row in lines(hub)) == sorted(f"item-{number}" for number in range(10))


def test_it_waits_as_long_as_the_hub_asks(hub, space, monkeypatch):
    ahead = [0.0]
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + ahead[0], sleep=time.sleep)
    monkeypatch.setattr(publishing, "time", clock)
    publisher = space()
    hub.hub.faults.append(Fault(COMMIT, 429, headers={"Retry-After": "3600"}))
    annotator, _ = publisher.store.enter("ann", None)
    assert eventually(lambda: bool(publisher.trouble))
    assert "the Hub does not accept more commits at the moment" in publisher.line()
    calls = commits(hub)
    for minutes in (0, 50):
        ahead[0] = 60.0 * minutes
        publisher.store.save(f"item-{minutes}", annotator, GOOD)
        time.sleep(0.2)
        assert commits(hub) == calls, "whoever saves meanwhile"
    ahead[0] = 3_601.0
    publisher._wake.set()
    assert eventually(published(publisher))
    assert eventually(lambda: publisher.trouble == "")


@pytest.mark.parametrize(
    ("token", "words"),
    [("hf_wrong", "token is missing, wrong or expired"), (None, "token is missing"), ("hf_read", "may not write")],
)
def test_a_wrong_token_keeps_forms_here_and_says_so(hub, space, token, words):
    mine = space("first")
    assert eventually(published(mine))
    publisher = space("disk", token)
    annotator, _ = publisher.store.enter("ann", None)
    publisher.store.save("item-1", annotator, GOOD)
    assert eventually(lambda: words in publisher.line())
    shown = str(whereabouts(publisher.store, publisher))
    assert "tj-bad" in shown and "disk, to be published later: 1 of 1 form." in shown
    assert "hf_" not in shown
    publisher.close(0.2)
    right = space("disk")
    assert eventually(published(right))
    assert [row["item"] for row in lines(hub)] == ["item-1"]


def test_what_is_no_repository_is_said(tmp_path, hub):
    store = AnnotationStore(FolderShelf(tmp_path / "disk"))
    publisher = Publisher(store, HubRepository("not a name", "hf_me", hub.endpoint))
    publisher.start(0.1)
    assert eventually(lambda: "its name is not valid" in publisher.line())
    publisher.close(0.1)


def test_a_hub_that_comes_back_gets_what_was_stored_meanwhile(hub, space):
    hub.hub.faults.append(Fault(".", "drop", times=-1))
    publisher = space()
    annotator, _ = publisher.store.enter("ann", None)
    publisher.store.save("item-1", annotator, GOOD)
    assert eventually(lambda: "the Hub does not answer" in publisher.line())
    hub.hub.faults.clear()
    assert eventually(published(publisher))
    assert [row["item"] for row in lines(hub)] == ["item-1"]


def test_the_end_publishes_what_is_left_and_takes_no_more(hub, space):
    publisher = space(every=3600.0)
    annotator, _ = publisher.store.enter("ann", None)
    assert eventually(published(publisher))
    for number in range(5):
        publisher.store.save(f"item-{number}", annotator, GOOD)
    hub.hub.faults.append(Fault(COMMIT, 500, times=2))
    assert publisher.close(20) == 0
    assert len(lines(hub)) == 5
    with pytest.raises(UserError, match="about to restart"):
        publisher.store.save("item-9", annotator, GOOD)


def test_what_the_end_could_not_publish_is_published_after_the_restart(hub, space, monkeypatch):
    monkeypatch.setattr(publishing, "_LAST_TRIES", 5.0)  # so that it does not notice that the commit has arrived
    publisher = space(every=3600.0)
    annotator, _ = publisher.store.enter("ann", None)
    assert eventually(published(publisher))
    publisher.store.save("item-1", annotator, GOOD)
    hub.hub.faults.append(Fault(COMMIT, "drop_after", times=-1))
    assert publisher.close(1.0) == 1, "it has arrived, but nobody said so"
    hub.hub.faults.clear()
    again = space()
    assert eventually(published(again))
    assert [row["item"] for row in lines(hub)] == ["item-1"], "found there, so not sent again"


def test_what_was_removed_on_the_hub_stays_removed(hub, space):
    from huggingface_hub import HfApi

    publisher = space()
    annotator, _ = publisher.store.enter("spam", None)
    publisher.store.save("item-1", annotator, GOOD)
    assert eventually(published(publisher))
    publisher.close()
    HfApi(endpoint=hub.endpoint, token="hf_me").delete_folder("annotations", NAME, repo_type="dataset")
    again = space()
    assert again.line().endswith("all published in the dataset me/annotations. 1 record removed there, not sent again.")
    again.store.save("item-2", annotator, GOOD)
    assert eventually(published(again))
    assert [row["item"] for row in lines(hub)] == ["item-2"]


def test_two_spaces_and_many_people_lose_nothing_and_double_nothing(hub, space):
    hub.hub.faults += [Fault(COMMIT, kind, times=2) for kind in (500, 429, "drop_after", 409)]
    publishers = [space("one"), space("two")]

    def rate(publisher: Publisher, name: str) -> None:
        annotator, _ = publisher.store.enter(name, None)
        for number in range(15):
            publisher.store.save(f"item-{number}", annotator, GOOD)
            time.sleep(0.01)

    people = [(publishers[index % 2], f"rater-{index // 2}") for index in range(6)]  # three names, on both Spaces
    threads = [threading.Thread(target=rate, args=each) for each in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(eventually(published(publisher)) for publisher in publishers)
    rows = lines(hub)
    assert len(rows) == 6 * 15
    assert len({row["id"] for row in rows}) == 6 * 15
    third = space("three")
    assert sum(len(row["human_scores"]) for row in third.store.export()) == 6 * 15 * len(GOOD)
    names = {score["annotator"] for row in third.store.export() for score in row["human_scores"]}
    assert len(names) == 6


def test_what_another_space_adds_is_seen_here(hub, space, monkeypatch):
    monkeypatch.setattr(publishing, "READ_AGAIN", 0.2)
    one, two = space("one"), space("two")
    annotator, code = one.store.enter("ann", None)
    one.store.save("item-1", annotator, GOOD)
    assert eventually(lambda: len(two.store.all()) == 1)
    assert two.store.enter("ann", code) == (annotator, None)


def test_a_bad_file_on_the_hub_stops_nothing(hub, space):
    from huggingface_hub import HfApi

    first = space("first")
    annotator, _ = first.store.enter("ann", None)
    first.store.save("item-1", annotator, GOOD)
    assert eventually(published(first))
    api = HfApi(endpoint=hub.endpoint, token="hf_me")
    for path, data in (("annotations/bad.jsonl", b"\xff nonsense\n[]"), ("annotators/bad.json", b"{}")):
        api.upload_file(path_or_fileobj=data, path_in_repo=path, repo_id=NAME, repo_type="dataset")
    again = space("again")
    assert len(again.store.all()) == 1
    assert set(again.store.unreadable) == {"annotations/bad.jsonl", "annotators/bad.json"}
    assert again.trouble == ""
    again.store.save("item-2", annotator, GOOD)
    assert eventually(published(again))


def test_two_spaces_stay_below_the_hubs_quota():
    assert 2 * 3600 / publishing.EVERY <= 128
