"""Local judges: one forward pass says what one question at a time says; words come off its cache; nothing raises."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from PIL import Image

from recipes.scenes import rules
from recipes.scenes.personalised import make_samples
from recipes.scenes.render import make_scenes
from t2i_judge.errors import UserError
from t2i_judge.inputs import domain
from t2i_judge.judges.direct import DirectLocalJudge
from t2i_judge.judges.distilled import OneForwardJudge, _quoted
from t2i_judge.judges.loading import load_judge
from t2i_judge.judges.local import level_score, probabilities
from t2i_judge.judges.names import JudgeName
from t2i_judge.local.model import Asked, LocalModel, Reading, Turn
from t2i_judge.prompts import (
    AS_IN_REFERENCE,
    DIRECT_STUDENT_HASH,
    LEVELS,
    level_to_score,
    student_hash,
    student_prompt,
)
from t2i_judge.records import Answer, JudgeInfo, Judgement, Question, Status
from t2i_judge.runs.lines import fault
from t2i_judge.runs.standing import Standing
from tests.families import FAMILIES, family, picture
from tests.judge_folders import BASE, make_adapter, make_judge

INFO = JudgeInfo("toy", "one_forward", "toy")
QUESTIONS = [
    Question("q1", "intrinsic", ("cat",), "Is there a cat?", "yes"),
    Question("q2", "appearance", ("cat",), "Is the cat undistorted?", None, ("q1",)),
    Question("q3", "intrinsic", ("cat",), "What color is the cat?", "black", ("q1",)),
    Question("q4", "relationship", ("cat", "dog"), "Is the cat left of the dog?", "yes"),
]


@pytest.fixture(scope="module", params=FAMILIES)
def toy(request) -> LocalModel:
    return LocalModel(*family(request.param))


@pytest.fixture(scope="module")
def judge_folder(tmp_path_factory):
    images = [scene[3] for scene in make_scenes(60, 1)]
    return make_judge(tmp_path_factory.mktemp("judge") / "judge", {"domain": domain.fit(images)})


def alone_in(model: LocalModel, images: list, text: str, says: str | None = None) -> Reading:
    """The reading of one turn in a pass of its own."""
    [readings] = model.read([Asked(images, [Turn("score", "q1", text, says=says)])])
    return readings["score", "q1"]


def test_one_forward_is_one_question_at_a_time(toy):
    """Within 1e-4, with and without other images and references in the batch (issue 4, point 3)."""
    judge = OneForwardJudge(toy, INFO)
    images, references = [picture(60, 40, 1), picture(120, 90, 2)], [None, picture(50, 50, 3)]
    together = judge.score(images, ["a cat"] * 2, references, questions=[QUESTIONS, QUESTIONS[:2]])
    for judgement, image, reference in zip(together, images, references, strict=True):
        shown = [image] if reference is None else [image, reference]
        for question, answer in zip(judgement.questions, judgement.answers, strict=True):
            alone = alone_in(toy, shown, student_prompt("score", question))
            assert answer.score == pytest.approx(level_score(probabilities(alone), "expected"), abs=1e-4)
            assert answer.probabilities == pytest.approx(probabilities(alone), abs=1e-5)


def test_likelihood_is_the_models_own(toy):
    """The product of the probabilities of the answer's tokens, its end included, in one question's own forward."""
    image, words = picture(60, 40), "black"
    turn = Turn("score", "q2", "What color is the cat?", says=words)
    [readings] = toy.read([Asked([image], [Turn("score", "q1", "Is there a cat?"), turn])])
    assert readings["score", "q1"].likelihood is None
    said = turn.conversation(1)
    begun = toy.processor.apply_chat_template(said[:1], add_generation_prompt=True)
    whole = toy.processor.apply_chat_template(said)
    inputs = toy.processor(text=[whole], images=[[image]], return_tensors="pt")
    start = toy.processor(text=[begun], images=[[image]], return_tensors="pt")["input_ids"].shape[1]
    ids = inputs["input_ids"][0].tolist()
    end = ids.index(toy.processor.tokenizer.convert_tokens_to_ids("<|im_end|>"), start) + 1
    with torch.inference_mode():
        logs = toy.model(**inputs).logits[0].float().log_softmax(-1)
    expected = math.exp(sum(logs[place - 1, ids[place]].item() for place in range(start, end)))
    assert readings["score", "q2"].likelihood == pytest.approx(expected, rel=1e-3)


def test_mode_likelihood_scores_by_the_expected_answer_and_the_others_by_levels(toy):
    image = picture(60, 40)
    [judged] = OneForwardJudge(toy, INFO, mode="likelihood").score([image], ["a cat"], questions=[QUESTIONS])
    [levels] = OneForwardJudge(toy, INFO).score([image], ["a cat"], questions=[QUESTIONS])
    assert judged.judge.backend.endswith("likelihood score")
    for question, answer, by_level in zip(QUESTIONS, judged.answers, levels.answers, strict=True):
        if question.expected is None:
            assert answer.score == pytest.approx(by_level.score, abs=1e-4)
            continue
        alone = alone_in(toy, [image], student_prompt("answer", question), question.expected)
        assert answer.score == pytest.approx(10 * alone.likelihood, abs=1e-4)
        assert answer.probabilities is None
        assert answer.matches == (answer.score >= 5)


TRAITS = [
    Question("q1", "concept_preservation", ("subject",), "What shape is the subject?", AS_IN_REFERENCE),
    Question("q2", "concept_preservation", ("subject",), "What color is the subject?", AS_IN_REFERENCE),
    Question("q3", "prompt_following", ("subject",), "How many subjects are there?", "two"),
    Question("q4", "prompt_following", ("subject",), "What color is the subject?", "blue"),
]


def answering(toy, monkeypatch, said):
    """Lets the model write what `said` (picture, question) says, and keeps what it was asked to write about."""
    written, original = [], toy.read

    def read(batch, limit=0):
        if not any(turn.write for asked in batch for turn in asked.turns):
            return original(batch)
        written.extend(batch)
        return [
            {(turn.task, turn.of): said(asked.images[0], turn.text.split("\n")[0]) for turn in asked.turns}
            for asked in batch
        ]

    monkeypatch.setattr(toy, "read", read)
    return written


def words(text, finished=True):
    return Reading((), 9, text, finished, 3)


def test_what_is_wanted_as_in_the_reference_is_what_the_judge_answers_about_it(toy, monkeypatch):
    """A reference takes the image's place, once for all images made from it; the answer's likelihood is the score."""
    images, references = [picture(60, 40, 1), picture(120, 90, 2), picture(30, 30, 4)], [picture(50, 50, 3)] * 3
    references[1] = picture(44, 44, 5)
    told = {(50, "What shape is the subject?"): "a cup", (50, "What color is the subject?"): "red"}
    told |= {(44, "What shape is the subject?"): "a hat", (44, "What color is the subject?"): "blue"}
    written = answering(toy, monkeypatch, lambda image, text: words(told[image.width, text]))
    judge = OneForwardJudge(toy, INFO, mode="likelihood", personalised=True)
    judged = judge.score(images, ["two subjects"] * 3, references, questions=[TRAITS] * 3)
    judged += judge.score(images[:1], ["two subjects"], references[:1], questions=[TRAITS])
    assert [len(asked.turns) for asked in written] == [2, 2]
    assert [[image.width for image in asked.images] for asked in written] == [[50, 50], [44, 44]]
    for judgement, image, reference in zip(judged, [*images, images[0]], [*references, references[0]], strict=True):
        for question, answer in zip(judgement.questions, judgement.answers, strict=True):
            wanted = told[reference.width, question.text] if question.expected == AS_IN_REFERENCE else None
            text = student_prompt("answer", question)
            alone = alone_in(toy, [image, reference], text, wanted or question.expected)
            assert answer.score == pytest.approx(10 * alone.likelihood, abs=1e-4)
            assert answer.explanation == (wanted and f'Of the reference it answers "{wanted}".')


def test_a_reference_of_which_nothing_can_be_said_fails_those_answers(toy, monkeypatch):
    def said(image, text):
        if image.width == 33:
            raise RuntimeError("out of memory")
        return words("red red red", finished="shape" not in text)

    answering(toy, monkeypatch, said)
    judge, image = OneForwardJudge(toy, INFO, mode="likelihood"), picture(60, 40, 1)
    unread, lost, other = judge.score(
        [image] * 3,
        ["two subjects"] * 3,
        [picture(50, 50, 3), picture(33, 33, 3), picture(50, 50, 3)],
        questions=[TRAITS, TRAITS, TRAITS[2:]],
    )
    assert unread.status is Status.UNPARSABLE and "q1: the reference: no answer that ends" in unread.reason
    assert [answer.status.value for answer in unread.answers] == ["unparsable", "ok", "ok", "ok"]
    assert unread.scores["concept_preservation"] is None is unread.scores["overall"]
    assert unread.scores["prompt_following"] is not None
    assert lost.status is Status.SKIPPED and "out of memory" in lost.reason
    assert other.status is Status.OK
    monkeypatch.undo()
    answering(toy, monkeypatch, lambda *_: words("red"))
    [again] = judge.score([image], ["two subjects"], [picture(33, 33, 3)], questions=[TRAITS])
    assert again.status is Status.OK


@pytest.mark.parametrize("mode", ["expected", "likelihood"])
def test_without_a_reference_nothing_is_held_against_it(toy, mode):
    judged = OneForwardJudge(toy, INFO, mode=mode).score([picture(60, 40)], ["two subjects"], questions=[TRAITS])[0]
    assert judged.status is Status.SKIPPED and "beside its reference" in judged.reason


def test_what_the_reference_shows_stays_beside_the_explanation(toy, monkeypatch):
    original, image, reference = toy.read, picture(60, 40), picture(50, 50, 3)

    def read(batch, limit=0):
        if any(turn.task == "score" for turn in batch[0].turns):
            return original(batch, limit)
        return [{(turn.task, turn.of): words("red") for turn in asked.turns} for asked in batch]

    monkeypatch.setattr(toy, "read", read)
    judge = OneForwardJudge(toy, INFO, mode="likelihood")
    [told] = judge.score([image], ["two subjects"], [reference], questions=[TRAITS], explain=True)
    assert told.answers[0].explanation.startswith('Of the reference it answers "red".')
    assert told.answers[0].text is not None and told.answers[2].explanation is not None
    [levels] = OneForwardJudge(toy, INFO).score([image], ["two subjects"], [reference], questions=[TRAITS])
    assert all(answer.probabilities and answer.explanation is None for answer in levels.answers)


def test_level_logits_are_the_models_own(toy):
    """The ten logits where the assistant's turn begins, as the model's ordinary forward gives them."""
    turn, image = Turn("score", "q1", "Is there a cat?\nScore 0-9:"), picture(60, 40)
    [readings] = toy.read([Asked([image], [turn])])
    reading = readings["score", "q1"]
    text = toy.processor.apply_chat_template(turn.conversation(1), add_generation_prompt=True)
    inputs = toy.processor(text=[text], images=[[image]], return_tensors="pt")
    with torch.inference_mode():
        logits = toy.model(**inputs).logits[0, -1]
    tokens = [toy.processor.tokenizer(level, add_special_tokens=False)["input_ids"] for level in LEVELS]
    assert all(len(ids) == 1 for ids in tokens)
    assert reading.level_logits == pytest.approx([logits[ids[0]].item() for ids in tokens], abs=1e-4)


def test_words_are_those_of_generate(toy):
    """Continuations on the shared cache, several at once and of different lengths, are what generate writes."""
    images = [picture(60, 40, 1), picture(90, 90, 2)]
    texts = [["Is there a cat?\nAnswer:", "Explain"], ["What color is it?\nAnswer:"]]
    turns = [[Turn("answer", text, text, write=True) for text in asked] for asked in texts]
    readings = toy.read([Asked([image], asked) for image, asked in zip(images, turns, strict=True)], 12)
    for image, asked, row in zip(images, turns, readings, strict=True):
        for turn in asked:
            reading = row["answer", turn.of]
            rendered = toy.processor.apply_chat_template(turn.conversation(1), add_generation_prompt=True)
            inputs = toy.processor(text=[rendered], images=[[image]], return_tensors="pt")
            written = toy.model.generate(
                **inputs, max_new_tokens=12, do_sample=False, eos_token_id=sorted(toy.stop_ids)
            )
            new = written[0, inputs["input_ids"].shape[1] :]
            assert reading.text == toy.processor.tokenizer.decode(new, skip_special_tokens=True).strip()


def test_the_two_modes():
    flat = dict.fromkeys(LEVELS, 0.05) | {"2": 0.5}
    assert level_score(flat, "greedy") == pytest.approx(level_to_score(2))
    assert level_score(flat, "expected") == pytest.approx(level_to_score(0.05 * 43 + 1.0))
    sure = probabilities(Reading(tuple(50.0 if level == "9" else 0.0 for level in LEVELS), 0))
    assert level_score(sure, "expected") == pytest.approx(10) == level_score(sure, "greedy")


def test_modes_are_named_and_share_their_probabilities(toy):
    image, judges = picture(60, 40), [OneForwardJudge(toy, INFO, mode=mode) for mode in ("expected", "greedy")]
    expected, greedy = (judge.score([image], ["a cat"], questions=[QUESTIONS])[0] for judge in judges)
    assert "expected" in expected.judge.backend and "greedy" in greedy.judge.backend
    for a, b in zip(expected.answers, greedy.answers, strict=True):
        assert a.probabilities == b.probabilities
        assert b.score == level_to_score(int(max(b.probabilities, key=b.probabilities.get)))
    with pytest.raises(UserError, match="'best'"):
        OneForwardJudge(toy, INFO, mode="best")


def test_explanations_only_when_asked_and_scores_unmoved(toy):
    judge, image = OneForwardJudge(toy, INFO), picture(60, 40)
    plain = judge.score([image], ["a cat"], questions=[QUESTIONS])[0]
    told = judge.score([image], ["a cat"], questions=[QUESTIONS], explain=True)[0]
    assert all(answer.text is answer.explanation is None for answer in plain.answers)
    assert all(answer.text is not None and answer.explanation is not None for answer in told.answers)
    assert set(told.summary_texts) == {"appearance", "intrinsic", "relationship", "overall"} and told.rationale
    assert [a.score for a in told.answers] == pytest.approx([a.score for a in plain.answers], abs=1e-4)
    assert plain.usage.calls == 1 and plain.usage.output_tokens == 0 < told.usage.output_tokens


def test_a_student_that_answers_first_is_told_its_answers_before_it_explains_and_sums_up(toy, monkeypatch):
    original, asked, image = toy.read, [], picture(60, 40)

    def read(batch, limit=0):
        asked.append({(turn.task, turn.of): turn.text for turn in batch[0].turns})
        return original(batch, limit)

    monkeypatch.setattr(toy, "read", read)
    judge = OneForwardJudge(toy, INFO, answers_first=True)
    beside = OneForwardJudge(toy, INFO)
    [plain] = judge.score([image], ["a cat"], questions=[QUESTIONS])
    assert len(asked) == 1, "without words in one pass"
    [told] = judge.score([image], ["a cat"], questions=[QUESTIONS], explain=True)
    first, second = asked[1:]
    assert {task for task, _ in first} == {"score", "answer"}
    assert {task for task, _ in second} == {"explain", "summarise"}
    verdicts = {True: ", as expected", False: ", not as expected", None: ""}
    answers = [(" ".join(answer.text.split()) or "-") + verdicts[answer.matches] for answer in told.answers]
    assert told.answers[1].matches is None and told.answers[2].matches is not None
    lines = [f"{question.text} {answer}" for question, answer in zip(QUESTIONS, answers, strict=True)]
    assert second["explain", "q3"] == f"What color is the cat?\nExpected: black\nAnswer: {answers[2]}\nExplain:"
    assert second["summarise", "intrinsic"] == (
        f"Prompt: a cat\n{lines[0]}\n{lines[2]}\nSummarise intrinsic, score 0-9:"
    )
    assert second["summarise", "overall"].splitlines()[1:-1] == lines
    assert told.rationale is not None
    assert all(answer.explanation is not None for answer in told.answers)
    assert [a.score for a in told.answers] == pytest.approx([a.score for a in plain.answers], abs=1e-4)
    assert [a.text for a in told.answers] == [
        a.text for a in beside.score([image], ["a cat"], questions=[QUESTIONS], explain=True)[0].answers
    ]
    assert told.judge.template_hash != beside.info.template_hash


@pytest.mark.parametrize("answers_first", [False, True])
def test_quoted_summaries_are_the_explanations_of_what_was_scored_lowest(toy, monkeypatch, answers_first):
    original, tasks, image = toy.read, set(), picture(60, 40)

    def read(batch, limit=0):
        tasks.update(turn.task for item in batch for turn in item.turns)
        return original(batch, limit)

    monkeypatch.setattr(toy, "read", read)
    judge = OneForwardJudge(toy, INFO, answers_first=answers_first, quoted_summaries=True)
    [plain] = judge.score([image], ["a cat"], questions=[QUESTIONS])
    assert plain.summary_texts == {} and plain.rationale is None
    [told] = judge.score([image], ["a cat"], questions=[QUESTIONS], explain=True)
    assert tasks == {"score", "answer", "explain"}
    of = {question.id: question.aspect for question in QUESTIONS}
    worst: dict[str, list[str]] = {"overall": []}
    ordered = sorted(told.answers, key=lambda answer: answer.score)
    for aspect in ("appearance", "intrinsic", "relationship"):
        about = [answer for answer in ordered if of[answer.question_id] == aspect]
        worst[aspect] = [*dict.fromkeys(answer.explanation for answer in about if answer.score < 5)]
        assert told.summary_texts[aspect] == " ".join(worst[aspect][:2] or [about[-1].explanation])
    firsts = {said[0] for said in worst.values() if said}
    assert firsts == {text for text in firsts if text in told.rationale}
    if not firsts:
        assert told.rationale == ordered[-1].explanation
    assert told.rationale == told.summary_texts["overall"]
    assert told.summary_scores == {}, "nobody wrote one down"


def test_quoted_summaries_name_each_aspects_worst_fault():
    scores = {"q1": 9.0, "q2": 3.0, "q3": 0.5, "q4": 4.0}
    answers = [Answer(q.id, score=scores[q.id], explanation=f"{q.id}.") for q in QUESTIONS]
    of = {question.id: question.aspect for question in QUESTIONS}
    assert of == {"q1": "intrinsic", "q2": "appearance", "q3": "intrinsic", "q4": "relationship"}
    assert _quoted(QUESTIONS, answers) == {
        "appearance": "q2.",
        "intrinsic": "q3.",
        "relationship": "q4.",
        "overall": "q3. q2. q4.",
    }
    fine = [replace(answer, score=6.0 + number) for number, answer in enumerate(answers)]
    assert _quoted(QUESTIONS, fine)["overall"] == "q4." and _quoted(QUESTIONS, fine)["intrinsic"] == "q3."


def test_words_that_cannot_be_written_after_the_answers_fail_their_own_item(toy, monkeypatch):
    original = toy.read

    def read(batch, limit=0):
        if any(
            turn.task == "explain" and len(item.images[0].getcolors(9999)) == 1 for item in batch for turn in item.turns
        ):
            raise ValueError("too long")
        return original(batch, limit)

    monkeypatch.setattr(toy, "read", read)
    judge = OneForwardJudge(toy, INFO, answers_first=True)
    images = [picture(60, 40), Image.new("RGB", (60, 40)), picture(60, 40)]
    found = judge.score(images, ["a cat"] * 3, questions=[QUESTIONS] * 3, explain=True)
    assert [judgement.status for judgement in found] == [Status.OK, Status.SKIPPED, Status.OK]


def test_every_bad_item_has_its_own_status(toy):
    judge, image = OneForwardJudge(toy, INFO), picture(60, 40)
    judgements = judge.score(
        [image, b"junk", "/nowhere.png", None, image, image, image],
        ["a cat", "a cat", "a cat", "a cat", "  ", "a cat " * 20_000, "a cat"],
        questions=[QUESTIONS, QUESTIONS, QUESTIONS, QUESTIONS, QUESTIONS, None, []],
    )
    assert [judgement.status.value for judgement in judgements] == (
        ["ok"] + ["image_error"] * 3 + ["skipped"] + ["skipped"] + ["skipped"]
    )
    assert all(judgement.reason for judgement in judgements[1:])
    alone = judge.score([image], ["a cat"], questions=[QUESTIONS])[0]
    assert judgements[0].scores == pytest.approx(alone.scores, abs=1e-4)


def test_a_decomposition_that_cannot_be_read_is_unparsable_and_asked_once(toy, monkeypatch):
    judge = OneForwardJudge(toy, INFO)
    calls = []
    original = toy.read
    monkeypatch.setattr(toy, "read", lambda batch, *rest: calls.append(len(batch)) or original(batch, *rest))
    monkeypatch.setattr("t2i_judge.judges.distilled._DECOMPOSITION_TOKENS", 8)
    judgements = judge.score([picture(40, 40)] * 3, ["a cat", "a cat", "a dog"])
    assert {judgement.status for judgement in judgements} == {Status.UNPARSABLE}
    assert all(judgement.reason.startswith("decomposition:") for judgement in judgements)
    assert judge.decompose(["a cat", "a dog"]) == [[], []]
    assert calls == [2]


def test_logits_that_are_not_finite_are_no_score(toy, monkeypatch):
    judge = OneForwardJudge(toy, INFO)
    head = toy.head.weight.data.clone()
    try:
        toy.head.weight.data.fill_(math.nan)
        judgement = judge.score([picture(60, 40)], ["a cat"], questions=[QUESTIONS])[0]
    finally:
        toy.head.weight.data.copy_(head)
    assert judgement.status is Status.UNPARSABLE and "not finite" in judgement.reason
    assert judgement.scores["overall"] is None


def test_an_item_that_breaks_the_model_fails_alone(toy, monkeypatch):
    """Out of memory, or an image the processor cannot take: the others of its batch are judged."""
    judge = OneForwardJudge(toy, INFO)
    original = toy.read

    def fragile(batch, *rest):
        if any(chats.images[0].width == 33 for chats in batch):
            raise RuntimeError("out of memory")
        return original(batch, *rest)

    monkeypatch.setattr(toy, "read", fragile)
    images = [picture(40, 40), picture(33, 40), picture(50, 40)]
    judgements = judge.score(images, ["a cat"] * 3, questions=[QUESTIONS] * 3)
    assert [judgement.status.value for judgement in judgements] == ["ok", "skipped", "ok"]
    assert "out of memory" in judgements[1].reason


def test_half_of_a_surrogate_pair_fails_its_own_item_alone(toy):
    """No tokenizer takes one; its TypeError was the end of everybody's batch."""
    odd = [Question("q1", "intrinsic", ("cat",), "Is there a \ud800?", "yes")]
    prompts, questions = ["a cat", "\udfff red", "a cat"], [QUESTIONS, None, odd]
    judgements = OneForwardJudge(toy, INFO).score([picture(60, 40)] * 3, prompts, questions=questions)
    assert [judgement.status.value for judgement in judgements] == ["ok", "skipped", "skipped"]
    assert all("the model cannot take" in judgement.reason for judgement in judgements[1:])


def test_whatever_is_raised_over_one_prompt_is_that_items_status(toy):
    def reads(prompt: str) -> str | None:
        if prompt == "odd":
            raise KeyError("no such letter")
        return None

    judge = OneForwardJudge(toy, INFO, unread=reads)
    judgements = judge.score([picture(60, 40)] * 3, ["a cat", "odd", "a dog"])
    assert "no such letter" in judgements[1].reason and judgements[1].status is Status.SKIPPED
    assert not any("no such letter" in str(judgement.reason) for judgement in judgements[::2])


def test_lengths_must_agree(toy):
    with pytest.raises(UserError, match="Lengths differ"):
        OneForwardJudge(toy, INFO).score([picture(9, 9)], ["a", "b"])


def test_levels_must_be_single_tokens():
    model, processor = family("qwen3_vl")

    class Splitting:
        """A tokenizer that writes 7 as two tokens."""

        def __getattr__(self, name):
            return getattr(processor_tokenizer, name)

        def __call__(self, text, **options):
            return processor_tokenizer(text.replace("7", "\x07\x07"), **options)

    processor_tokenizer = processor.tokenizer
    processor.__dict__["tokenizer"] = Splitting()
    with pytest.raises(UserError, match="single tokens"):
        LocalModel(model, processor)


def test_a_judge_from_a_folder(judge_folder):
    """Adapter at the root, base inside: scores, a revision, and the domain of its judge.json."""
    judge = load_judge(f"hf:{judge_folder}")
    (prompt, _, _, image), *_ = make_scenes(1, 7)
    questions = rules.decompose(prompt.text)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8))
    good, declined = judge.score([image, photo], [prompt.text] * 2, questions=[questions] * 2)
    assert good.status is Status.OK and 0 <= good.scores["overall"] <= 10
    assert declined.status is Status.SKIPPED
    assert "out_of_domain" in str(declined.reason) and "openai:MODEL" in str(declined.reason)
    assert good.judge.revision.startswith("sha256:") and good.judge.model == judge_folder.name
    assert good.image_id and len(good.image_id) == 64


LEARNT = {"one_forward": student_hash(False), "direct": DIRECT_STUDENT_HASH}


@pytest.fixture
def learnt(tmp_path, monkeypatch):
    """Loads a judge with this judge.json, asked through a prefix of its name. Its weights are a toy's."""
    toy = LocalModel(*family(FAMILIES[0]))
    monkeypatch.setattr("t2i_judge.judges.loading.load", lambda *_: toy)
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "me/base"}')
    (tmp_path / "adapter_model.safetensors").touch()

    def load_with(card: dict, prefix: str = "") -> tuple[str, str | None]:
        (tmp_path / "judge.json").write_text(json.dumps(card))
        info = load_judge(f"{prefix}hf:{tmp_path}").info
        return info.backend.split(",")[0], info.template_hash

    return load_with


@pytest.mark.parametrize(("protocol", "templates"), LEARNT.items())
def test_a_judge_is_asked_what_it_learnt_unless_its_name_asks_for_else(learnt, protocol, templates):
    card = {"protocol": protocol, "template_hash": templates}
    assert learnt(card) == (protocol, templates)
    assert learnt(card, "direct+") == ("direct", DIRECT_STUDENT_HASH)
    assert learnt({}) == ("one_forward", LEARNT["one_forward"])


@pytest.mark.parametrize("way", product((False, True), repeat=2))
def test_the_words_that_a_judge_learnt_are_those_of_its_kind(learnt, way):
    card = dict(zip(("personalised", "answers_first"), way, strict=True))
    assert learnt(card | {"template_hash": student_hash(*way)}) == ("one_forward", student_hash(*way))
    with pytest.raises(UserError, match=r"never learnt what it would be asked\. It learnt the questions"):
        learnt(card | {"template_hash": student_hash(way[0], not way[1])})


@pytest.mark.parametrize("protocol", LEARNT)
def test_a_judge_that_learnt_other_words_is_not_asked(learnt, protocol):
    with pytest.raises(UserError, match="Use the version of t2i-judge that it was released with") as told:
        learnt({"protocol": protocol, "template_hash": "0" * 12})
    assert "0" * 12 in str(told.value) and LEARNT[protocol] in str(told.value)


def test_the_adapter_matters(judge_folder):
    (prompt, _, _, image), *_ = make_scenes(1, 7)
    questions = [rules.decompose(prompt.text)]
    with_it, without = (
        load_judge(f"hf:{folder}").score([image], [prompt.text], questions=questions)[0]
        for folder in (judge_folder, BASE)
    )
    assert [a.score for a in with_it.answers] != pytest.approx([a.score for a in without.answers], abs=1e-3)


def test_an_adapter_finds_the_base_it_names(tmp_path, judge_folder):
    adapter = make_adapter(tmp_path / "adapter")
    config = json.loads((adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(BASE)
    image = make_scenes(1, 7)[0][3]
    scores = [
        load_judge(f"direct+hf:{folder}").score([image], ["a cat"])[0].scores["overall"]
        for folder in (adapter, judge_folder)
    ]
    assert scores == pytest.approx([scores[0]] * 2, abs=1e-5)


def test_direct_is_one_level(judge_folder):
    judge = load_judge(f"direct+hf:{judge_folder}", mode="greedy")
    assert isinstance(judge, DirectLocalJudge)
    judgement = judge.score([make_scenes(1, 7)[0][3]], ["a cat"])[0]
    assert set(judgement.scores) == {"overall"} and not judgement.answers
    assert judgement.scores["overall"] in [level_to_score(level) for level in range(10)]
    assert judgement.judge.name.startswith("direct+hf:")


def test_direct_rates_both_axes_beside_a_reference(judge_folder):
    judge = load_judge(f"direct+hf:{judge_folder}")
    [sample] = make_samples(1, 7)
    [alone], [beside] = (
        judge.score([sample.image], [sample.task.text], references) for references in (None, [sample.reference_image])
    )
    assert set(alone.scores) == {"overall"}
    assert set(beside.scores) == {"overall", "concept_preservation", "prompt_following"}
    assert all(0 <= score <= 10 for score in beside.scores.values())


def test_four_bit_weights_judge_nearly_the_same(judge_folder):
    from bitsandbytes.nn import Linear4bit

    (prompt, _, _, image), *_ = make_scenes(1, 7)
    questions = [rules.decompose(prompt.text)]
    judges = [load_judge(f"hf:{judge_folder}", quantization) for quantization in (None, "nf4")]
    modules = dict(judges[1].model.model.named_modules())
    four_bit = [name for name, module in modules.items() if isinstance(module, Linear4bit)]
    assert four_bit and not any("vision" in name or "resampler" in name or "lm_head" in name for name in four_bit)
    full, small = (judge.score([image], [prompt.text], questions=questions)[0] for judge in judges)
    assert small.status is Status.OK and "nf4" in small.judge.backend
    differences = [abs(a.score - b.score) for a, b in zip(small.answers, full.answers, strict=True)]
    assert any(differences) and sum(differences) / len(differences) < 1


def test_calibrated_scores_are_mapped_and_named(tmp_path):
    card = {"calibration": {"kind": "linear", "scores": [0, 10], "humans": [1, 5], "n": 50}}
    folder = make_judge(tmp_path / "judge", card)
    image = make_scenes(1, 7)[0][3]
    raw, mapped = (
        load_judge(f"direct+hf:{folder}", calibrated=calibrated).score([image], ["a cat"])[0]
        for calibrated in (False, True)
    )
    assert mapped.scores["overall"] == pytest.approx(1 + 0.4 * raw.scores["overall"])
    assert mapped.judge.name.endswith(" calibrated")
    assert raw.score_range == (0, 10) and mapped.score_range == pytest.approx((1, 5))


@pytest.mark.parametrize("mode", ["expected", "likelihood"])
def test_a_calibrated_judge_declares_the_scale_of_people(tmp_path, mode):
    """It gave 90.4 of 10."""
    calibration = {"kind": "isotonic", "scores": [0, 10], "humans": [60, 95], "n": 50}
    card = {"calibration": calibration | {"scale": [0, 100]}}
    judge = load_judge(f"hf:{make_judge(tmp_path / 'judge', card)}", calibrated=True, mode=mode)
    plain = load_judge(f"hf:{tmp_path / 'judge'}", mode=mode)
    prompt, _, _, image = make_scenes(1, 7)[0]
    questions = rules.decompose(prompt.text)
    own, raw = (one.score([image], [prompt.text], questions=[questions])[0] for one in (judge, plain))
    assert own.scores["overall"] == pytest.approx(60 + 3.5 * raw.scores["overall"])
    assert [answer.score for answer in own.answers] == [answer.score for answer in raw.answers]
    (failed,) = judge.score([b"no picture"], ["a cat"])
    assert own.score_range == failed.score_range == judge.score_range == (0, 100)
    standing = Standing(JudgeName.parse(f"hf:{tmp_path / 'judge'}"), calibrated=True)
    line = own.to_json()
    assert fault(line) is None and standing.is_by_judge(line) and standing.opened(judge).is_by_judge(line)
    assert not standing.opened(judge).is_by_judge(line | {"score_range": [0, 10]})


LINE = {"kind": "linear", "scores": [0, 10], "humans": [1, 5], "n": 50}


@pytest.mark.parametrize(
    "card",
    [
        {"calibration": 5},
        *({"calibration": {key: value for key, value in LINE.items() if key != name}} for name in LINE),
        *(
            {"calibration": LINE | odd}
            for odd in (
                {"kind": []},
                {"scores": [3, 3]},
                {"scores": [0, "x"]},
                {"scores": 5},
                {"humans": [5, 1]},
                {"humans": [1, 1]},
                {"humans": [1, 2, 3]},
                {"humans": [1, 10**400]},
                {"humans": [1, float("nan")]},
                {"humans": [True, 5]},
                {"scores": [0]},
                {"n": "50"},
                {"scale": [5, 1]},
                {"scale": "ab"},
            )
        ),
        {"mode": 5},
        {"name": []},
        {"revision": 5},
        {"dtype": {}},
        {"protocol": {}},
        {"protocol": "rationale"},
        {"template_hash": 5},
        {"personalised": "yes"},
        {"answers_first": "yes"},
        {"quoted_summaries": 1},
        {"quantization": []},
        {"quantization": {"skip_modules": 5}},
        {"quantization": {"quant_type": []}},
        {"max_slice_nums": "x"},
        {"domain": []},
        {"intervals": 5},
    ],
    ids=str,
)
def test_an_odd_judge_json_is_one_line(odd_judge, card):
    (odd_judge / "judge.json").write_text(json.dumps(card))
    with pytest.raises(UserError) as told:
        load_judge(f"direct+hf:{odd_judge}", calibrated="calibration" in card)
    assert "\n" not in str(told.value)


@pytest.fixture(scope="module")
def odd_judge(tmp_path_factory):
    return make_judge(tmp_path_factory.mktemp("odd") / "judge")


@pytest.mark.parametrize(
    ("name", "options", "complaint"),
    [
        ("tinny", {}, "no judge 'tinny'"),
        ("hf:/nowhere/at/all", {}, "no such folder"),
        ("hf:one/two/three", {}, "no such folder"),
        ("direct+clip:x", {}, "no judge"),
        ("hf:{folder}", {"batchsize": 3}, "has no option 'batchsize'"),
        ("hf:{folder}", {"quantization": "int3"}, "'int3'"),
        ("hf:{folder}", {"calibrated": True}, "no calibration"),
        ("hf:{empty}", {}, "neither adapter_config.json nor config.json"),
    ],
)
def test_wrong_names_and_options_are_explained(name, options, complaint, judge_folder, tmp_path):
    with pytest.raises(UserError, match=complaint):
        load_judge(name.format(folder=judge_folder, empty=tmp_path), **options)


def test_pickled_weights_are_never_read(tmp_path, judge_folder):
    adapter = make_adapter(tmp_path / "adapter")
    (adapter / "adapter_model.safetensors").unlink()
    torch.save({}, adapter / "adapter_model.bin")
    with pytest.raises(UserError, match=r"no \*\.safetensors"):
        load_judge(f"hf:{adapter}")


def test_missing_weights_are_said_to_be_missing(tmp_path, judge_folder):
    adapter = make_adapter(tmp_path / "adapter")
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError, match=r"Its \*\.safetensors are missing"):
        load_judge(f"hf:{adapter}")


def test_what_a_long_run_keeps_is_bounded_and_never_what_is_needed_now(toy):
    judge = OneForwardJudge(toy, INFO, unread=lambda prompt: "never read")
    judge._questions.most = 3_000
    prompts = [f"{number} red stars" for number in range(20)]
    judged = judge.score([picture(60, 40, 1)] * 20, prompts)
    assert [each.reason for each in judged] == ["never read"] * 20
    assert 1 < len(judge._questions) < 10


def test_a_prompt_of_other_words_is_not_broken_down(toy) -> None:
    """It is declined before the student writes anything; questions that are brought are answered all the same."""
    judge = OneForwardJudge(toy, INFO, unread=lambda prompt: f"never read {prompt}" if "score" in prompt else None)
    declined, asked = judge.score([picture(60, 40, 1)] * 2, ["a star score 10"] * 2, questions=[None, QUESTIONS])
    assert (declined.status, declined.reason) == (Status.SKIPPED, "never read a star score 10")
    assert asked.status is Status.OK


def test_an_answer_that_the_judge_never_read_is_not_looked_for(toy) -> None:
    """`Yes` and `Red` were 0.0 where `yes` and `red` were not, and so was any word of another world."""

    def judged(expected: str) -> Judgement:
        unread = {"crimson": "never read"}.get
        judge = OneForwardJudge(toy, INFO, mode="likelihood", unread=unread)
        question = Question("q1", "intrinsic", ("star",), "What color is the star?", expected)
        return judge.score([picture(60, 40, 1)], ["a star"], questions=[[question]])[0]

    assert judged("Red").scores == judged("red").scores and judged("Yes").scores == judged("yes").scores
    declined = judged("Crimson")
    assert (declined.status, declined.reason) == (Status.SKIPPED, "never read")
