"""`make coverage` goes on where it was stopped, and begins anew when the code is another."""

from __future__ import annotations

from recipes.performance import boards, coverage


def test_a_line_is_measured_once_for_the_same_code(tmp_path, monkeypatch):
    monkeypatch.setattr(coverage, "_KEPT", tmp_path)
    calls = []

    def measure():
        calls.append(1)
        return [boards.Proof("it holds", 0.95, 0.9, 1.0, len(calls))]

    first = coverage.kept("a", boards.Proof, measure)
    assert coverage.kept("a", boards.Proof, measure) == first and len(calls) == 1
    assert coverage.kept("b", boards.Proof, measure)[0].n == 2
    monkeypatch.setattr(coverage, "_code", lambda: ["other code"])
    assert coverage.kept("a", boards.Proof, measure)[0].n == 3


def test_every_design_and_promise_has_a_name_of_its_own():
    names = [line.name for line in coverage.lines()] + list(boards.PROOFS)
    assert len(names) == len(set(names)) == 20
