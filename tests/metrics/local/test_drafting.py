"""Drafts make writing faster and change nothing of what is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.scenes.render import make_scenes
from t2i_judge import load_judge
from t2i_judge.judges.distilled import OneForwardJudge
from t2i_judge.local.drafting import MOST, Drafts
from t2i_judge.local.model import Asked, Turn
from t2i_judge.local.packing import has_window
from t2i_judge.prompts import student_prompt
from tests.embedded import needs_embedded_judge

TOKENS = st.lists(st.integers(0, 5), min_size=1, max_size=40)


class Wrong(Drafts):
    """Guesses with tokens that are hardly ever right."""

    def after(self, tokens: Sequence[int], most: int) -> list[int]:
        return [7 + (tokens[-1] + n) % 50 for n in range(most)]


@given(text=TOKENS, most=st.integers(-3, MOST))
def test_a_text_that_was_noted_is_guessed_as_it_goes_on(text, most):
    drafts = Drafts()
    assert drafts.after(text, most) == []
    for end in range(1, len(text) + 1):
        drafts.note(text[:end])
    draft = drafts.after(text, most)
    assert len(draft) <= max(most, 0)
    assert set(draft) <= set(text)


def test_the_longest_context_that_is_known_decides_and_of_equal_ones_the_latest():
    drafts = Drafts()
    for text in ([1, 2, 3, 4, 5, 6], [9, 9, 9, 4, 5, 7]):
        for end in range(1, len(text) + 1):
            drafts.note(text[:end])
    assert drafts.after([1, 2, 3, 4, 5], 1) == [6]
    assert drafts.after([8, 4, 5], 1) == [7]


def test_a_sliding_window_is_known_from_the_configuration():
    def backbone(**text):
        return SimpleNamespace(config=SimpleNamespace(get_text_config=lambda: SimpleNamespace(**text)))

    assert has_window(backbone(sliding_window=64))
    assert has_window(backbone(sliding_window=64, layer_types=["full_attention", "sliding_attention"]))
    assert not has_window(backbone(sliding_window=64, layer_types=["full_attention"]))
    assert not has_window(backbone())


@contextmanager
def steps(judge: OneForwardJudge) -> Iterator[list[int]]:
    """The tokens that each pass of the judge's model is fed, as long as this is open."""
    widths: list[int] = []
    hook = judge.model.backbone.register_forward_pre_hook(
        lambda _, args, inputs: widths.append(inputs["input_ids"].shape[1]), with_kwargs=True
    )
    try:
        yield widths
    finally:
        hook.remove()


@pytest.fixture(scope="module")
def judge() -> OneForwardJudge:
    judge = load_judge("tiny")
    assert isinstance(judge, OneForwardJudge)
    return judge


@pytest.fixture(scope="module")
def scenes() -> tuple[list, list[str]]:
    made = make_scenes(10, 5, "new_prompts")
    return [image for *_, image in made], [prompt.text for prompt, *_ in made]


@pytest.fixture
def written(judge, scenes):
    """What the judge writes with given drafts of a given length, anew each time."""

    def write(drafts: Drafts, longest: int) -> list:
        images, prompts = scenes
        judge._questions.clear()
        judge.model.drafts, judge.model.longest_draft = drafts, longest
        questions = judge.decompose(prompts)
        judgements = judge.score(images[:3], prompts[:3], explain=True)
        words = [(a.text, a.explanation) for each in judgements for a in each.answers]
        return [questions, words, [each.summary_texts for each in judgements]]

    kept = judge.model.drafts, judge.model.longest_draft
    yield write
    judge.model.drafts, judge.model.longest_draft = kept
    judge._questions.clear()


@needs_embedded_judge
def test_what_is_written_is_the_same_with_drafts_right_and_wrong(written):
    plain, drafts = written(Drafts(), 0), Drafts()
    assert all(plain[0])
    assert written(drafts, MOST) == plain
    assert written(drafts, MOST) == plain, "every draft is known now"
    assert written(Wrong(), MOST) == plain


@needs_embedded_judge
def test_drafts_save_steps_and_wrong_ones_are_soon_short(judge, written):
    drafts = Drafts()
    written(drafts, MOST)
    with steps(judge) as plain:
        written(Drafts(), 0)
    with steps(judge) as known:
        written(drafts, MOST)
    with steps(judge) as wrong:
        written(Wrong(), MOST)
    assert 3 * len(known) < len(plain)
    assert len(wrong) == len(plain)
    assert sum(wrong) < 4 * sum(plain)


@needs_embedded_judge
def test_a_limit_of_tokens_holds_whatever_is_guessed(judge, scenes, written):
    drafts = Drafts()
    written(drafts, MOST)
    judge.model.drafts = drafts
    turns = [judge.model.read([asked], 13) for asked in _decompositions(scenes[1])]
    assert {reading.tokens for [readings] in turns for reading in readings.values()} == {13}
    assert not any(reading.finished for [readings] in turns for reading in readings.values())


def _decompositions(prompts: Sequence[str]) -> list[Asked]:
    texts = [student_prompt("decompose", prompt=prompt) for prompt in prompts]
    return [Asked([], [Turn("decompose", "", text, write=True)]) for text in texts]
