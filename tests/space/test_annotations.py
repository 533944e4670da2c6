"""Nothing is acknowledged before it is stored, nothing is changed afterwards, and nobody rates a picture twice."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotate_tab import Form, whereabouts
from annotation_store import AnnotationStore, FolderShelf
from annotations import Annotation, PairVote, Registration, VisitorRating
from assignments import Assignments, agreement, aspects_of, scale_of
from raters import Marks, key_of
from recipes.benchmarks.benchmark import check_rows
from t2i_judge.errors import UserError
from t2i_judge.stats.agreement import krippendorff_alpha
from visitors import NOBODY, Visitor

GOOD = (VisitorRating("overall", None, 7.0, "well made"), VisitorRating("intrinsic", "q1", 10.0, None))


class BrokenShelf(FolderShelf):
    """A full disk."""

    def add(self, path: str, text: str) -> None:
        raise UserError("Not saved", "No space left on device", "Tell the owner of this Space, then save again")


def test_a_saved_form_survives_a_restart(tmp_path):
    store = AnnotationStore(FolderShelf(tmp_path))
    annotator, code = store.enter("ann", None)
    store.save("item-1", annotator, GOOD)
    again = AnnotationStore(FolderShelf(tmp_path))
    assert again.export() == store.export()
    assert again.enter("ann", code) == (annotator, None)


def test_what_is_not_stored_is_not_acknowledged(tmp_path):
    store = AnnotationStore(BrokenShelf(tmp_path))
    with pytest.raises(UserError, match="Not saved"):
        store.save("item-1", "ann", GOOD)
    assert store.all() == []
    with pytest.raises(UserError, match="Not saved"):
        store.enter("ann", None)


def test_saved_files_are_never_touched_again(tmp_path):
    store = AnnotationStore(FolderShelf(tmp_path))
    store.save("item-1", "ann", GOOD)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.json")}
    with pytest.raises(UserError, match="already saved"):
        store.save("item-1", "ann", (VisitorRating("overall", None, 0.0, "changed my mind"),))
    store.save("item-1", "ben", GOOD)
    assert {path: path.read_bytes() for path in before} == before


def test_a_name_belongs_to_who_has_its_code(store):
    _, code = store.enter("ann", None)
    assert len(code) == 12
    for wrong in (None, "", "0" * 12):
        with pytest.raises(UserError, match="The code is wrong"):
            store.enter("ann", wrong)
    for name in ("", "../x", "a b", "<b>", "x" * 33):
        with pytest.raises(UserError, match="cannot be used as a name"):
            store.enter(name, None)


def test_codes_are_not_kept(tmp_path):
    _, code = AnnotationStore(FolderShelf(tmp_path)).enter("ann", None)
    assert code and all(code not in path.read_text() for path in tmp_path.rglob("*.json"))


def test_of_two_people_who_save_at_once_none_is_lost(store):
    def save(name: str) -> None:
        for number in range(20):
            store.save(f"item-{number}", name, GOOD)

    threads = [threading.Thread(target=save, args=(name,)) for name in ("ann", "ben", "cy")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.all()) == 60
    assert len(AnnotationStore(store.shelf).all()) == 60


def test_the_export_is_the_benchmarks_own_human_scores(benchmark, store):
    item = benchmark.items[0]
    ratings = (
        VisitorRating("intrinsic", item.questions[0].id, 5.0, None),
        *(VisitorRating(a, None, 6.0, "so") for a in aspects_of(item)),
    )
    store.save(item.id, "ann", ratings)
    store.save(item.id, "ben", ratings)
    [row] = store.export()
    stored = benchmark.datasets[item.split][item.row]
    check_rows([{**stored, "image": b"", "reference_image": None, "human_scores": row["human_scores"]}])
    assert set(row["human_scores"][0]) == set(stored["human_scores"][0])


def test_alpha_is_that_of_the_library(store):
    scores = {"ann": [1, 5, 9], "ben": [2, 5, 8], "cy": [None, 4, 9]}
    for name, column in scores.items():
        for number, score in enumerate(column):
            if score is not None:
                store.save(f"item-{number}", name, (VisitorRating("overall", None, float(score), "so"),))
    expected = krippendorff_alpha(
        list(zip(*([float("nan") if x is None else x for x in c] for c in scores.values()))), "interval"
    )
    assert agreement(store)["overall"].value == pytest.approx(expected.value)


def test_agreement_of_one_person_is_undefined_with_a_reason(store):
    store.save("item-1", "ann", GOOD)
    assert agreement(store)["overall"].value is None
    assert agreement(store)["overall"].undefined


class Shelfless:
    """Keeps nothing on disk, so that many simulated days are quick."""

    def add(self, path: str, text: str) -> None:
        json.loads(text)

    def read_all(self):
        return iter(())


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=120), st.integers(1, 3))
def test_nobody_rates_twice_and_no_picture_has_more_raters_than_wanted(benchmark, days, raters):
    store = AnnotationStore(Shelfless())
    assignments = Assignments(benchmark.items[:12], store, raters, clock=lambda: 0.0)
    saved = Counter()
    for name, saves in days:
        item = assignments.next(f"{name}{name}", "general")
        if item is not None and saves:
            store.save(item.id, f"{name}{name}", GOOD)  # raises if this annotator had it before
            saved[item.id] += 1
    assert max(saved.values(), default=0) <= raters


def test_an_open_picture_stays_until_it_is_saved_and_the_next_one_follows(benchmark, store):
    assignments = Assignments(benchmark.items, store)
    first = assignments.next("ann", "general")
    assert assignments.next("ann", "general") == first
    store.save(first.id, "ann", GOOD)
    assert assignments.next("ann", "general") != first
    assert assignments.next("ben", "general") == first, "pictures that others began come first"
    assert assignments.progress("ann", "general") == (1, 42)


def test_an_abandoned_picture_comes_free(benchmark, store):
    now = [0.0]
    assignments = Assignments(benchmark.items[:1], store, raters=1, clock=lambda: now[0])
    assert assignments.next("ann", "general") is not None
    assert assignments.next("ben", "general") is None
    now[0] = 3600.0
    assert assignments.next("ben", "general") is not None


def test_what_nobody_holds_any_longer_is_forgotten():
    """Of everybody who had ever looked, a lease stayed, and each next picture went through all of them."""
    from leases import SECONDS, Leases

    now = [0.0]
    leases = Leases(lambda: now[0])
    for number in range(1000):
        leases.hold(number, f"item {number}", f"name {number}", "")
    now[0] = SECONDS / 2
    leases.hold(7, "item 8", "name 7", "")
    now[0] = SECONDS
    assert (leases.of(6), leases.of(7)) == (None, "item 8")
    assert list(leases.of_others("ann")) == [("item 8", "name 7", "")]
    assert len(leases._open) == 1


def test_pictures_with_a_reference_have_dreambench_plus_plus_scales(benchmark, store):
    item = Assignments(benchmark.items, store).next("ann", "personalised")
    assert scale_of(item) == "personalised"
    assert aspects_of(item) == ["concept_preservation", "prompt_following"]


def test_a_form_says_what_is_missing(benchmark):
    item = benchmark.items[0]
    form = Form(["q1"], ["intrinsic", "overall"])
    with pytest.raises(UserError, match="Overall has no score yet"):
        form.ratings(item, [10.0, 5, None, "a", "b"])
    with pytest.raises(UserError, match="no explanation yet"):
        form.ratings(item, [10.0, 5, 5, " ", None])
    read = form.ratings(item, [None, 5, 0, "a", ""])
    assert read == (VisitorRating("intrinsic", None, 5.0, "a"), VisitorRating("overall", None, 0.0, None))


def test_one_bad_file_stops_nothing_and_is_named(tmp_path):
    store = AnnotationStore(FolderShelf(tmp_path))
    annotator, _ = store.enter("ann", None)
    store.save("item-1", annotator, GOOD)
    good = next((tmp_path / "annotations").rglob("*.json")).read_text()
    far = good.replace("7.0", "1e99").replace("item-1", "item-2")
    other = json.dumps({**json.loads(good), "id": "another", "item": "item-4"})
    bad = {
        "annotations/ann/torn.json": good[:40].encode(),
        "annotations/ann/empty-object.json": b"{}",
        "annotations/ann/list.json": b"[1, 2]",
        "annotations/ann/bytes.json": b"\xff\xfe",
        "annotations/ann/deep.json": b"[" * 100_000,
        "annotations/ann/score.json": far.encode(),
        "annotations/ann/nan.json": good.replace("7.0", "NaN").replace("item-1", "item-3").encode(),
        "annotators/ben.json": b'{"annotator": "../ben", "code_sha256": "0"}',
        "annotations/lines.jsonl": f"{good.strip()}\n{other}\nnonsense\n".encode(),
    }
    for path, data in bad.items():
        (tmp_path / path).write_bytes(data)
    for name in ("old.json~", "torn.json.bak", ".torn.json.ab12cd34.part"):  # what lies beside is no record
        (tmp_path / "annotations/ann" / name).write_text(other.replace("item-4", "item-5").replace("another", "copy"))
    again = AnnotationStore(FolderShelf(tmp_path))
    assert set(again.unreadable) == set(bad)
    assert sorted(each.item for each in again.all()) == ["item-1", "item-4"], "good lines count, each once"
    assert all(reason and "\n" not in reason for reason in again.unreadable.values())
    shown = str(whereabouts(again, None))
    assert "Left out: 9 files of annotations that cannot be read: annot" in shown


def test_what_an_earlier_version_left_is_read(tmp_path):
    """One record per file, no ids: the name is the annotator, and the code is that of the name's own file."""
    (tmp_path / "annotators").mkdir()
    (tmp_path / "annotations/ann").mkdir(parents=True)
    code = {"annotator": "ann", "code_sha256": hashlib.sha256(b"abc").hexdigest()}
    (tmp_path / "annotators/ann.json").write_text(json.dumps(code))
    rating = {"aspect": "overall", "question_id": None, "score": 3.0, "explanation": "so"}
    form = {"item": "item-1", "annotator": "ann", "ratings": [rating], "saved": "2026-01-01T00:00:00+00:00"}
    (tmp_path / "annotations/ann/0123.json").write_text(json.dumps(form))
    store = AnnotationStore(FolderShelf(tmp_path))
    annotator, fresh = store.enter("ann", "abc")
    assert fresh is None
    with pytest.raises(UserError, match="already saved"):
        store.save("item-1", annotator, GOOD)
    store.save("item-2", annotator, GOOD)
    assert [row["human_scores"][0]["annotator"] for row in store.export()] == ["ann", "ann"]


def test_two_people_of_one_name_stay_two(tmp_path):
    """They came to two Spaces that did not know of each other."""
    one, two = AnnotationStore(FolderShelf(tmp_path / "1")), AnnotationStore(FolderShelf(tmp_path / "2"))
    entries = [store.enter("ann", None) for store in (one, two)]
    for store, (annotator, _) in zip((one, two), entries):
        store.save("item-1", annotator, GOOD)
    both = AnnotationStore(FolderShelf(tmp_path / "1"))
    both.take(FolderShelf(tmp_path / "2").read_all())
    [row] = both.export()
    names = {score["annotator"] for score in row["human_scores"]}
    assert len(row["human_scores"]) == 2 * len(GOOD)
    assert len(names) == 2 and "ann" in names
    assert [both.enter("ann", code) for _, code in entries] == [(annotator, None) for annotator, _ in entries]


def test_a_code_for_a_name_that_is_not_known_begins_nothing(store):
    with pytest.raises(UserError, match="Try again in a minute, or start without a code"):
        store.enter("ann", "0123456789ab")
    assert store.enter("ann", None)[1]


def test_an_export_looks_up_every_name_once(tmp_path):
    """Who saves waits for it: thousands of annotators are a moment."""
    store = AnnotationStore(FolderShelf(tmp_path))
    for number in range(4_000):
        who = f"{number:016x}"
        store._keep(Registration(who, f"name-{number}", "0" * 64, "2026-01-01T00:00:00.000000+00:00"))
        store._keep(PairVote(f"v{who}", "p", "a", "b", f"name-{number}", who, "a", "a", "2026-01-02"))
        store._keep(Annotation(f"f{who}", "item", f"name-{number}", who, (), "2026-01-02"))
    start = time.process_time()
    assert [vote["annotator"] for vote in store.export_votes()] == [f"name-{number}" for number in range(4_000)]
    assert len(store.export()) == 1
    assert time.process_time() - start < 0.7


def marked(number: int, address: str = "") -> str:
    return Marks(b"key").of(Visitor(f"browser {number}", address=address))


def taken(benchmark, store, mark: str, names: int) -> None:
    """One visitor rates whatever it is given, under as many names."""
    assignments = Assignments(benchmark.items[:6], store)
    for name in range(names):
        while item := assignments.next(f"bot-{mark[-8:]}-{name}", "general", mark):
            store.save(item.id, f"bot-{mark[-8:]}-{name}", GOOD, mark)


@pytest.mark.parametrize("address", ["8.8.8.8", "10.0.0.1", ""])
def test_one_browser_closes_no_picture_to_others_under_any_names(benchmark, tmp_path, address):
    store = AnnotationStore(FolderShelf(tmp_path))
    taken(benchmark, store, marked(0, address), names=5)
    assert max(Counter(form.item for form in store.all()).values()) == 3, "nor has it more places than there are"
    for known in (store, AnnotationStore(FolderShelf(tmp_path))):  # a restart opens and closes nothing
        assignments = Assignments(benchmark.items[:6], known)
        for other in ("1.1.1.1", address):
            assert assignments.next("ann", "general", marked(1, other)) is not None


def test_one_range_closes_no_picture_to_others_under_any_cookies(benchmark):
    store = AnnotationStore(Shelfless())
    for number in range(8):
        taken(benchmark, store, marked(number, f"8.8.8.{number}"), names=3)
    for address in ("1.1.1.1", "8.8.8.8"):
        assert Assignments(benchmark.items[:6], store).next("ann", "general", marked(99, address)) is not None


def test_pictures_that_enough_people_rated_come_last_while_all_are_from_one_place(benchmark):
    store, items = AnnotationStore(Shelfless()), benchmark.items[:2]
    for number in range(3):
        store.save(items[0].id, f"ann-{number}", GOOD, marked(number, "8.8.8.8"))
    assignments = Assignments(items, store)
    assert assignments.next("ben", "general", marked(9, "1.1.1.1")) == items[1]
    store.save(items[1].id, "ben", GOOD, marked(9, "1.1.1.1"))
    assert assignments.next("ben", "general", marked(9, "1.1.1.1")) == items[0]
    for number in range(2):
        store.save(items[0].id, f"cy-{number}", GOOD, marked(number, f"{number + 1}.1.1.1"))
    assert assignments.next("dee", "general", marked(5, "4.4.4.4")) != items[0], "from three places: it has its raters"


def test_records_carry_a_mark_that_tells_no_address(tmp_path):
    key = key_of(None, tmp_path)
    assert key == key_of(None, tmp_path) and len(key) == 32
    assert (tmp_path / "visitors.key").stat().st_mode & 0o077 == 0
    assert key_of("hf_a", tmp_path) == key_of("hf_a", tmp_path / "elsewhere") != key_of("hf_b", tmp_path)
    one, two = (Marks(key).of(Visitor(f"browser {n}", address=f"8.8.8.{n}")) for n in (1, 2))
    assert one.split("-")[0] == two.split("-")[0] and one != two, "of one network, two browsers"
    assert one != Marks(b"another").of(Visitor("browser 1", address="8.8.8.1"))
    assert Marks(key).of(NOBODY) == ""
    store = AnnotationStore(FolderShelf(tmp_path))
    store.save("item-1", "ann", GOOD, one)
    store.vote(("item-1", "item-2"), "pair", "ann", "a", "a", one)
    written = [path.read_text() for path in tmp_path.rglob("*.json")]
    assert all(json.loads(text)["visitor"] == one for text in written) and len(written) == 2
    assert not any("8.8.8" in text or "browser 1" in text for text in written)
    assert {each.visitor for each in (*AnnotationStore(FolderShelf(tmp_path)).all(), *store.votes())} == {one}
