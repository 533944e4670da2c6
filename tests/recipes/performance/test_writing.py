from __future__ import annotations

from recipes.performance import writing
from tests.embedded import needs_embedded_judge


@needs_embedded_judge
def test_both_judges_break_up_the_same_prompts_in_the_same_way(monkeypatch):
    found = {}

    def seconds(judge, prompts):
        questions = judge.decompose(prompts)
        assert found.setdefault(tuple(prompts), questions) == questions
        return float(1 + bool(judge.model.longest_draft == 0))

    monkeypatch.setattr(writing, "_NUMBER", 12)
    monkeypatch.setattr(writing, "_seconds", seconds)
    lines = {line["name"]: line for line in writing.bench()}
    assert lines.keys() == {"drafts_speedup_12_prompts", "drafts_speedup_1_prompt"}
    assert all(line["value"] == 2 and line["n"] == 12 for line in lines.values())
    assert sorted(map(len, found)) == [1] * 12 + [12]
