"""Pairs: nobody votes twice, votes are taken back without a trace on what counts, gold and agreement are counted."""

from __future__ import annotations

import json
from collections import Counter

import pytest

import annotation_store
from annotation_store import AnnotationStore, FolderShelf
from pair_votes import GOLD_EVERY, PairDesk, agreement_on_pairs, pairs_of
from raters import Marks
from t2i_judge.errors import UserError
from visitors import Visitor


@pytest.fixture
def pairs(paired):
    found = pairs_of(paired.items)
    assert len(found) == 126
    return found


def vote(store, pair, who, what):
    return store.vote((pair.a.id, pair.b.id), pair.key, who, what, "b" if pair.swapped(who) else "a")


def test_pairs_are_two_generators_pictures_of_one_prompt(pairs):
    assert all(p.a.prompt == p.b.prompt and p.a.generator != p.b.generator for p in pairs)
    assert len({p.key for p in pairs}) == len(pairs)
    sides = {pair.swapped("ann") for pair in pairs}
    assert sides == {True, False}, "no side is always the same generator's"


def test_a_vote_survives_a_restart_and_may_be_taken_back(tmp_path, pairs):
    store = AnnotationStore(FolderShelf(tmp_path))
    desk = PairDesk(pairs, store)
    first = desk.next("ann")
    assert desk.next("ann") == first, "an open pair stays"
    vote(store, first, "ann", "both_good")
    with pytest.raises(UserError, match="already voted on"):
        vote(store, first, "ann", "a")
    assert desk.next("ann") != first and desk.progress("ann") == (1, len(pairs))
    again = AnnotationStore(FolderShelf(tmp_path))
    assert again.export_votes() == store.export_votes() and len(again.votes()) == 1
    assert PairDesk(pairs, again).undo("ann") == first and again.votes() == []
    assert PairDesk(pairs, again).undo("ann") is None
    vote(again, first, "ann", "b")
    files = [json.loads(path.read_text()) for path in (tmp_path / "comparisons").rglob("*.json")]
    assert sorted(str(each["vote"]) for each in files) == ["None", "b", "both_good"], "files are only added"
    assert [each.vote for each in AnnotationStore(FolderShelf(tmp_path)).votes()] == ["b"]


def test_a_vote_is_taken_back_although_the_clock_was_set_back(tmp_path, pairs, monkeypatch):
    """The vote stayed, though its voter read that it was taken back."""
    store = AnnotationStore(FolderShelf(tmp_path))
    vote(store, pairs[0], "ann", "a")
    monkeypatch.setattr(annotation_store, "_now", lambda: "2001-01-01T00:00:00.000000+00:00")
    assert PairDesk(pairs, store).undo("ann") == pairs[0] and store.votes() == []
    vote(store, pairs[0], "ann", "b")
    for each in (store, AnnotationStore(FolderShelf(tmp_path))):
        assert [vote.vote for vote in each.votes()] == ["b"]


def test_a_vote_is_taken_back_a_few_times_and_then_stays(tmp_path, pairs):
    store = AnnotationStore(FolderShelf(tmp_path))
    for _ in range(9):
        vote(store, pairs[0], "ann", "a")
        assert PairDesk(pairs, store).undo("ann") == pairs[0]
    again = AnnotationStore(FolderShelf(tmp_path))  # a restart makes no difference
    vote(again, pairs[0], "ann", "b")
    for _ in range(3):
        with pytest.raises(UserError, match=r"was taken back 9 times\. It stays as it is now"):
            PairDesk(pairs, again).undo("ann")
    assert [each.vote for each in again.votes()] == ["b"]
    assert len(list(tmp_path.rglob("*.json"))) == 19
    vote(again, pairs[1], "ann", "a")
    assert PairDesk(pairs, again).undo("ann") == pairs[1], "another pair is another matter"
    vote(again, pairs[0], "ben", "a")
    assert PairDesk(pairs, again).undo("ben") == pairs[0]


def test_what_one_voted_on_comes_first_for_the_next_and_no_pair_gets_too_many(store, pairs):
    desk = PairDesk(pairs, store, raters=2)
    seen = {}
    for who in ("ann", "ben", "cy"):
        seen[who] = []
        for _ in range(8):
            pair = desk.next(who)
            seen[who].append(pair.key)
            vote(store, pair, who, "a")
    assert seen["ann"] == seen["ben"] and not set(seen["cy"]) & set(seen["ann"])


def test_who_opened_a_pair_and_left_keeps_it_from_nobody_for_long(pairs, store):
    few, now = [pair for pair in pairs if pair.gold is None][:4], [0.0]
    desk = PairDesk(few, store, raters=2, clock=lambda: now[0])
    opened = {f"left-{number}": desk.next(f"left-{number}") for number in range(8)}
    assert Counter(pair.key for pair in opened.values()) == {pair.key: 2 for pair in few}
    assert desk.next("newcomer") is None
    now[0] = 1700.0
    assert desk.next("left-0") == opened["left-0"], "shown again, it is held anew"
    now[0] = 1900.0
    given = [desk.next(f"newcomer-{number}") for number in range(7)]
    assert Counter(pair.key for pair in [*given, opened["left-0"]]) == {pair.key: 2 for pair in few}
    assert desk.next("one more") is None and desk.next("left-0") == opened["left-0"]
    for number, pair in enumerate(given):
        vote(store, pair, f"newcomer-{number}", "a")
    assert desk.next("left-1") is None, "their pair has its votes"


def test_gold_pairs_stand_in_every_tenth_place_and_are_counted(store, pairs):
    assert 0 < sum(pair.gold is not None for pair in pairs) < len(pairs) - GOLD_EVERY
    desk = PairDesk(pairs, store)
    for number in range(1, GOLD_EVERY + 1):
        pair = desk.next("ann")
        vote(store, pair, "ann", pair.gold or "a")
        assert (pair.gold is not None) == (number == GOLD_EVERY)
    assert desk.gold("ann") == (1, 1)


def test_agreement_is_alpha_over_the_four_votes(store, pairs):
    for number, pair in enumerate(pairs[:20]):
        for who in ("ann", "ben"):
            vote(store, pair, who, ("a", "b", "both_good", "both_bad")[number % 4])
    assert agreement_on_pairs(store.votes()).value == 1.0
    vote(store, pairs[20], "ann", "a")
    vote(store, pairs[20], "ben", "b")
    assert 0.8 < agreement_on_pairs(store.votes()).value < 1


def test_one_browser_closes_no_pair_to_others_under_any_names(pairs, tmp_path):
    store, few = AnnotationStore(FolderShelf(tmp_path)), [pair for pair in pairs if pair.gold is None][:4]
    bot, other = (Marks(b"key").of(Visitor(name, address="8.8.8.8")) for name in ("bot", "other"))
    desk = PairDesk(few, store)
    for name in range(5):
        while pair := desk.next(f"bot-{name}", bot):
            store.vote((pair.a.id, pair.b.id), pair.key, f"bot-{name}", "a", "a", bot)
    assert len(store.votes()) == 3 * len(few)
    for known in (desk, PairDesk(few, AnnotationStore(FolderShelf(tmp_path)))):
        assert known.next("ann", other) is not None
