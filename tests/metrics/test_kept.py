"""What is kept for who asks again takes so much memory and no more, whatever strangers ask."""

from __future__ import annotations

import tracemalloc

from t2i_judge.kept import Kept, weight
from t2i_judge.records import Question


def test_the_oldest_go_where_there_is_no_room_and_what_is_looked_up_is_new_again():
    kept = Kept(most=4 * 10_000)
    for letter in "abc":
        kept[letter] = letter * 9_900
    assert kept["a"] == "a" * 9_900
    kept["d"], kept["e"] = "d" * 9_900, "e" * 9_900
    assert list(kept) == ["c", "a", "d", "e"]
    assert kept.bytes <= kept.most


def test_what_is_larger_than_all_the_room_is_not_kept():
    kept = Kept(most=10_000)
    kept["a"] = "x"
    kept["b"] = "x" * 20_000
    assert (dict(kept), kept.bytes) == ({}, 0)


def test_there_is_a_number_of_entries_too():
    kept = Kept(number=2)
    for letter in "abc":
        kept[letter] = letter
    kept["c"] = "again"
    assert dict(kept) == {"b": "b", "c": "again"}
    none = Kept(number=0)
    none["a"] = 1
    assert len(none) == 0


def test_records_weigh_what_they_take():
    """Letters of four bytes, in a record within a tuple within a key."""

    def questions(number: int) -> tuple[Question, ...]:
        texts = tuple(f"{number}{each}\N{GRINNING FACE}" + "a" * 20_000 for each in range(20))
        return (Question("q1", "intrinsic", texts, "Is it red?", "yes"),)

    tracemalloc.start()
    try:
        made = [questions(number) for number in range(5)]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.9 * taken < weight(made) < 1.2 * taken


def test_many_small_entries_weigh_something():
    kept = Kept(most=100_000)
    for number in range(1_000):
        kept[number] = None
    assert len(kept) <= 200
