"""VQAScore and Soft-TIFA, by a model on this machine and by a server's log-probabilities."""

from __future__ import annotations

import math

import pytest
import torch

from t2i_judge.errors import UserError
from t2i_judge.judges.loading import load_judge
from t2i_judge.judges.vqa import TEMPLATE
from t2i_judge.prompts import SOFT_TIFA, template_hash
from t2i_judge.records import Question, Status
from t2i_judge.scoring import soft_tifa
from tests.families import picture
from tests.metrics.judges.test_zero_shot import next_words, spelled

PROMPT = "three cats"
QUESTIONS = [
    Question("q1", "intrinsic", ("cat",), "How many cats are there?", "three"),
    Question("q2", "intrinsic", ("cat",), "Is the cat black?", "Yes"),
]


@pytest.fixture(scope="module")
def folder(vlm):
    return f"vqa+hf:{vlm('qwen3_vl')}"


@pytest.fixture(scope="module")
def judge(folder):
    """One that says yes or no, and little else."""
    judge = load_judge(folder)
    weight, word = judge.model.model.lm_head.weight.data, torch.randn(32, generator=torch.Generator().manual_seed(1))
    for sign, answer in ((1, "yes"), (-1, "no")):
        weight[list(judge.model.tokens[answer])] = 40 * word * sign
    return judge


def test_the_score_is_the_whole_vocabulary_s_probability_of_yes(judge):
    images = [picture(60 + 9 * n, 50, n) for n in range(4)]
    judged = judge.score(images, [PROMPT] * 4)
    for image, one in zip(images, judged, strict=True):
        words = next_words(judge, image, TEMPLATE.replace("{prompt}", PROMPT))
        yes, no = (float(words[spelled(judge, word)].sum()) for word in ("yes", "no"))
        assert yes + no >= 0.5 and one.status is Status.OK and one.score_range == (0.0, 1.0)
        assert one.scores["overall"] == pytest.approx(yes, abs=1e-4)
        assert one.answers[0].probabilities == pytest.approx({"yes": yes, "no": no}, abs=1e-4)
    assert judge.info.template == TEMPLATE and judge.info.way == "packed" and "' yes'" in judge.info.tokens


def test_who_says_neither_is_skipped_with_both_masses(folder):
    [judged] = load_judge(folder).score([picture(60, 50)], [PROMPT])
    assert judged.status is Status.SKIPPED and "less than 0.5" in judged.reason
    assert judged.scores["overall"] is None and set(judged.answers[0].probabilities) == {"yes", "no"}


def test_normalised_and_a_template_of_one_s_own(folder, judge):
    published = 'Does this figure show "{prompt}"? Please answer yes or no.'
    other = load_judge(folder, template=published, normalised=True)
    other.model.model.lm_head.weight.data.copy_(judge.model.model.lm_head.weight.data)
    [judged] = other.score([picture(60, 50)], [PROMPT])
    masses = judged.answers[0].probabilities
    assert judged.scores["overall"] == pytest.approx(masses["yes"] / (masses["yes"] + masses["no"]))
    assert judged.judge.template_hash == template_hash(published) and judged.judge.name.endswith("(normalised)")
    with pytest.raises(UserError, match=r"no \{prompt\}"):
        load_judge(folder, template="{question}")
    with pytest.raises(UserError, match="mean 'median'"):
        load_judge(folder, mean="median")


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
def test_soft_tifa_counts_by_word_and_digits(folder, mean):
    judge, image = load_judge(folder, mean=mean), picture(60, 50)
    [judged] = judge.score([image], [PROMPT], questions=[QUESTIONS])
    count = next_words(judge, image, "How many cats are there? Answer in one word.")
    black = next_words(judge, image, "Is the cat black? Answer in one word.")
    shares = [
        float(count[spelled(judge, "three") + spelled(judge, "3")].sum()),
        float(black[spelled(judge, "yes")].sum()),
    ]
    assert [answer.score for answer in judged.answers] == pytest.approx(shares, rel=1e-3)
    expected = sum(shares) / 2 if mean == "arithmetic" else math.sqrt(shares[0] * shares[1])
    assert judged.status is Status.OK and judged.scores == {"overall": pytest.approx(expected, rel=1e-3)}
    assert judged.judge.template == SOFT_TIFA and "geometric mean" in judged.rationale


def test_an_answer_of_several_tokens_has_no_probability(judge):
    questions = [Question("q1", "intrinsic", ("cat",), "What colour is it?", "dark red")]
    [judged] = judge.score([picture(60, 50)], [PROMPT], questions=[questions])
    assert judged.status is Status.SKIPPED and "no single token" in judged.reason


def test_a_mean_of_nothing_is_none():
    assert soft_tifa([]) is None


def told(served, tokens: dict[str, float] | None, **rest):
    response = served.completion("Yes", **rest)
    entries = [{"token": token, "logprob": math.log(share)} for token, share in (tokens or {}).items()]
    if tokens:
        response.body["choices"][0]["logprobs"] = {"content": [{**entries[0], "top_logprobs": entries}]}
    return response


def test_a_server_s_log_probabilities(served):
    served.respond = lambda request, n: told(served, {"Yes": 0.5, " yes": 0.2, "No": 0.1, "\n": 0.1}, finish="length")
    judge = load_judge(f"vqa+openai:m@{served.url}")
    [judged] = judge.score([picture(60, 50)], [PROMPT])
    assert judged.scores["overall"] == pytest.approx(0.7) and judged.score_range == (0.0, 1.0)
    assert judged.answers[0].probabilities == pytest.approx({"yes": 0.7, "no": 0.1})
    assert served.calls[0]["logprobs"] is True and served.calls[0]["top_logprobs"] == 20
    assert judge.info.template == TEMPLATE and judge.info.way == "logprobs"
    judge.score([picture(60, 50)], [PROMPT])
    assert len(served.calls) == 1, "kept, though the limit cut it off: its first token counts"


def test_a_server_is_asked_the_questions_of_soft_tifa(served):
    served.respond = lambda request, n: told(served, {"3": 0.5, "Three": 0.3, "Yes": 0.1})
    [judged] = load_judge(f"vqa+openai:m@{served.url}").score([picture(60, 50)], [PROMPT], questions=[QUESTIONS])
    assert [answer.score for answer in judged.answers] == pytest.approx([0.8, 0.1])
    assert judged.scores["overall"] == pytest.approx(0.45)


def test_a_server_without_them_is_skipped_with_the_reason(served):
    served.respond = lambda request, n: told(served, None)
    [judged] = load_judge(f"vqa+openai:m@{served.url}").score([picture(60, 50)], [PROMPT])
    assert judged.status is Status.SKIPPED and judged.reason == "the server gives no logprobs"


def test_a_server_that_refuses_them_is_skipped_with_the_reason(served):
    def respond(request, n):
        if "logprobs" in request:
            return served.failure(400, "'logprobs' is not supported with this model")
        return served.completion("OK")

    served.respond = respond
    judged = load_judge(f"vqa+openai:m@{served.url}").score([picture(60 + n, 50) for n in range(2)], [PROMPT] * 2)
    assert {one.status for one in judged} == {Status.SKIPPED} and "not supported" in judged[0].reason


def test_a_server_that_names_fewer_tokens_is_asked_for_fewer(served):
    def respond(request, n):
        if request["top_logprobs"] > 5:
            return served.failure(400, "top_logprobs must be at most 5")
        return told(served, {"Yes": 0.9})

    served.respond = respond
    [judged] = load_judge(f"vqa+openai:m@{served.url}").score([picture(60, 50)], [PROMPT])
    assert judged.scores["overall"] == pytest.approx(0.9)


def test_tiny_answers_with_levels():
    with pytest.raises(UserError, match="levels"):
        load_judge("vqa+tiny")
