"""Any vision-language model as a judge: its own words, yes and no among the whole vocabulary, nothing made up."""

from __future__ import annotations

import json
import math

import pytest
import torch

from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.judges.loading import load_judge
from t2i_judge.judges.zero_shot import TEMPLATE
from t2i_judge.prompts import filled, template_hash
from t2i_judge.records import Judgement, Question, Status
from t2i_judge.served.asking import Outcome
from tests.families import picture
from tests.judge_folders import make_judge

QUESTIONS = [
    Question("q1", "intrinsic", ("cat",), "Is there a cat?", "yes"),
    Question("q2", "appearance", ("cat",), "Is the cat undistorted?", None, ("q1",)),
    Question("q3", "relationship", ("cat", "dog"), "Where is the cat?", "left of the dog", ("q1",)),
]
PROMPT = "a cat left of a dog"


class Written:
    """A decomposer that has its questions written down."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def decompositions(self, prompts, progress=False):
        self.asked += prompts
        return [Outcome(QUESTIONS) if "cat" in p else Outcome(None, Status.REFUSED, "no") for p in prompts]


@pytest.fixture(scope="module")
def judge(vlm):
    return load_judge(f"hf:{vlm('qwen2_5_vl')}", decomposer=Written())


def next_words(judge, image, text: str) -> torch.Tensor:
    """(vocabulary,): probabilities by transformers alone."""
    content = [{"type": "image", "image": image}, {"type": "text", "text": text}]
    inputs = judge.model.processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    with torch.no_grad():
        return judge.model.model(**inputs).logits[0, -1].softmax(-1)


def spelled(judge, word: str) -> list[int]:
    tokenizer = judge.model.processor.tokenizer
    return [i for i in range(len(tokenizer)) if tokenizer.decode([i]).strip().lower() == word]


def test_each_question_scores_ten_times_yes_over_yes_and_no(judge):
    image = picture(90, 60)
    [judged] = judge.score([image], [PROMPT])
    assert judged.status is Status.OK and judged.questions == tuple(QUESTIONS)
    for question, answer in zip(QUESTIONS, judged.answers, strict=True):
        text = filled(TEMPLATE, question=question.text, expected=question.expected or "yes")
        words = next_words(judge, image, text)
        yes, no = (float(words[spelled(judge, word)].sum()) for word in ("yes", "no"))
        assert answer.score == pytest.approx(10 * yes / (yes + no), abs=1e-3)
        assert answer.probabilities == pytest.approx({"yes": yes, "no": no}, rel=1e-3)
        assert answer.matches is (None if question.expected is None else yes >= no)
    assert Judgement.from_json(json.loads(json.dumps(judged.to_json()))) == judged


def test_its_info_says_zero_shot_what_is_asked_which_tokens_and_which_way(judge, vlm):
    info = judge.info
    assert info.backend == "zero-shot, packed" and info.way == "packed" and info.revision.startswith("sha256:")
    assert info.template == TEMPLATE and info.template_hash == template_hash(TEMPLATE)
    assert "' Yes'" in info.tokens and "'no'" in info.tokens
    assert not judge.notes
    slower = load_judge(f"hf:{vlm('qwen3_5')}", decomposer=Written())
    assert slower.info.way == "prefix" and "linear_attention" in slower.notes[0]


def test_eight_images_are_one_by_one_and_a_prompt_is_decomposed_once(judge):
    images = [picture(40 + 8 * n, 96 - 8 * n, n) for n in range(8)]
    judge.decomposer.asked.clear()
    judge._outcomes.clear()
    together = judge.score(images, [PROMPT] * 8)
    assert judge.decomposer.asked == [PROMPT]
    for image, judged in zip(images, together, strict=True):
        [alone] = judge.score([image], [PROMPT])
        assert judged.scores == pytest.approx(alone.scores, abs=1e-4, nan_ok=True)
    assert len({round(judged.scores["overall"], 5) for judged in together}) == 8


def test_what_is_wrong_with_an_item_is_its_status(judge, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no image")
    images = [tmp_path / "broken.png", picture(50, 50), picture(50, 50), picture(50, 50)]
    questions = [None, None, [], None]
    judged = judge.score(images, [PROMPT, "a dog", PROMPT, " "], questions=questions)
    assert [j.status.value for j in judged] == ["image_error", "refused", "skipped", "skipped"]
    assert judged[1].reason == "decomposition: no" and all(j.scores.get("overall") is None for j in judged)


def test_words_on_request(judge):
    [judged] = judge.score([picture(50, 50)], [PROMPT], questions=[QUESTIONS[:1]], explain=True)
    [plain] = judge.score([picture(50, 50)], [PROMPT], questions=[QUESTIONS[:1]])
    assert judged.answers[0].text is not None and plain.answers[0].text is None
    assert judged.scores == plain.scores and judged.usage.output_tokens > 0


def test_a_template_of_one_s_own(vlm, judge):
    name = f"hf:{vlm('qwen2_5_vl')}"
    own = load_judge(name, template="{question} {expected}? {x}", decomposer=Written())
    assert own.info.template_hash == template_hash("{question} {expected}? {x}") != judge.info.template_hash
    with pytest.raises(UserError, match=r"no \{expected\}"):
        load_judge(name, template="{question}")
    with pytest.raises(UserError, match="has no option 'mode'"):
        load_judge(name, mode="greedy")


def test_a_model_that_must_think_is_skipped(vlm, judge, monkeypatch):
    monkeypatch.setattr(type(judge.model.prompter), "thinks", True)
    [judged] = judge.score([picture(50, 50)], [PROMPT])
    assert judged.status is Status.SKIPPED and "thinking" in judged.reason


def test_logits_that_break_are_unparsable(judge, monkeypatch):
    monkeypatch.setattr("t2i_judge.local.answers.NextWord.mass", lambda word, tokens: math.nan)
    [judged] = judge.score([picture(50, 50)], [PROMPT])
    assert judged.status is Status.UNPARSABLE and "not finite" in judged.reason


def test_what_is_distilled_stays_distilled(tmp_path, vlm):
    """An adapter or a judge.json; a merged model without one on request."""
    folder = make_judge(tmp_path / "judge")
    (folder / "judge.json").unlink()
    assert load_judge(f"hf:{folder}").info.backend.startswith("one_forward")
    base = folder / "base"
    assert load_judge(f"hf:{base}", distilled=True).info.backend.startswith("one_forward")
    assert load_judge(f"hf:{base}").info.backend.startswith("zero-shot")


def test_its_own_chat_decomposes_with_the_teacher_s_prompt(vlm, monkeypatch):
    from t2i_judge.local.chat import LocalChat
    from t2i_judge.served.wire import Reply

    entries = [{**vars(q), "entities": list(q.entities), "depends_on": list(q.depends_on)} for q in QUESTIONS]
    sent = []

    async def ask(self, messages, max_tokens, schema=None):
        sent.append(messages[0].text)
        return Reply(json.dumps({"questions": entries}))

    monkeypatch.setattr(LocalChat, "ask", ask)
    [judged] = load_judge(f"hf:{vlm('qwen2_5_vl')}").score([picture(50, 50)], [PROMPT])
    assert judged.status is Status.OK and judged.questions == tuple(QUESTIONS)
    assert PROMPT in sent[0] and '"properties"' in sent[0] and len(sent) == 1


def test_another_decomposer_by_the_command_line(served, vlm, tmp_path):
    entries = [{**vars(q), "entities": list(q.entities), "depends_on": list(q.depends_on)} for q in QUESTIONS]
    served.respond = lambda request, n: served.completion(json.dumps({"questions": entries}))
    picture(70, 50).save(tmp_path / "cat.png")
    (tmp_path / "t.csv").write_text(f"image,prompt\ncat.png,{PROMPT}\n")
    name, out = f"hf:{vlm('qwen2_5_vl')}", tmp_path / "out"
    arguments = ["score", str(tmp_path / "t.csv"), "--judge", name, "--decomposer", f"openai:m@{served.url}"]
    assert main([*arguments, "--out", str(out)]) == 0
    line = json.loads((out / "shards" / "000000.jsonl").read_text())
    assert len(line["answers"]) == 3 and line["judge"]["way"] == "packed" and len(served.calls) == 1
    assert main([*arguments, "--out", str(out), "--template", "{question} {expected}"]) == 2  # another run
