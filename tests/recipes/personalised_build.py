"""Items and judgements of a personalised build, for tests that need no pictures."""

from __future__ import annotations

from recipes.recipe.items import Item
from t2i_judge.records import JudgeInfo, Judgement, Status


def make_items() -> list[Item]:
    """Two methods, two prompts each."""
    families = {"a": "tuned", "b": "tuning-free"}
    return [
        Item(f"{method}{n}", f"prompt {n}", "i.png", method, "new_prompts", "test", "r.png", {"family": family})
        for method, family in families.items()
        for n in (1, 2)
    ]


def judged(items: list[Item], **scores: float) -> dict[str, Judgement]:
    """One judge's judgements of all items, by id; without scores it refused them all."""
    info = JudgeInfo("j", "local", "m", "r")
    outcome = {"scores": scores} if scores else {"status": Status.REFUSED, "reason": "no"}
    return {item.id: Judgement(item.id, item.prompt, info, **outcome) for item in items}
