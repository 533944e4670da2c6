"""The one object of a reply: what is thought, what is repaired, what does not fit, in time linear in the length."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from t2i_judge.prompts import decompose_schema, object_schema
from t2i_judge.records import Status
from t2i_judge.served.refusals import refuses
from t2i_judge.served.replies import parse_score, parse_words
from t2i_judge.served.thinking import spoken
from t2i_judge.served.verdicts import ReplyError, misfit, read_object

RATING = object_schema({"reasoning": {"type": "string"}, "score": {"type": "integer"}})


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("8", "8"),
        ("<think>2</think>8", "8"),
        ("2</think>8", "8"),
        ("<think>2", ""),
        ("8<think>2", "8"),
        ("<think>1</think>2</think>8", "8"),
        ("<think>1<think>2</think>8", "8"),
        ("<THINKING>2</Thinking> 8", " 8"),
        ("[THINK]2[/THINK]8", "8"),
        ("◁think▷2◁/think▷8", "8"),
        ("<seed:think>2</seed:think>8", "8"),
        ("<|channel|>analysis<|message|>2<|end|><|start|>assistant<|channel|>final<|message|>8", "8"),
        ("I think so", "I think so"),
        ("```json\n<think>2</think>8", "8"),
        ("Hm.\n</think>\n\n8", "\n\n8"),
        ("<think>final answer: </think>8", "8"),
        ("<think>```python\n</think>8", "8"),
        ("1 <think>2</think>8", "1 <think>2</think>8"),
        ("1. The sign: `</think>8`", "1. The sign: `</think>8`"),
        ("1. It reads: </think>8", "1. It reads: </think>8"),
        ("1\n```\n</think>8\n```", "1\n```\n</think>8\n```"),
        ('<think>2</think>1. It reads "</think>8"', '1. It reads "</think>8"'),
        ("<think>2</think>1 <think>7</think>8", "1 <think>7</think>8"),
    ],
)
def test_what_is_thought_is_not_spoken(text, rest):
    assert spoken(text) == rest


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('{"reasoning": "r", "score": 4}', 4),
        ('<think>{"reasoning": "d", "score": 2}</think>{"reasoning": "f", "score": 4}', 4),
        ('{"reasoning": "the sign says </think>", "score": 4}', 4),
        ('{"reasoning": "r", "score": "4"}', "4"),
        ('{"reasoning": "r", "score": 4.0, "confidence": 1}', 4.0),
        ('{"shape": {"score": 1}, "reasoning": "r", "score": 4,}', 4),
        ('{"reasoning": "r", "score": 4}<|im_end|>', 4),
    ],
)
def test_the_verdict_is_read(text, score):
    assert read_object(text, RATING)[0]["score"] == score


@pytest.mark.parametrize(
    "text",
    [
        '{"shape": {"reasoning": "r", "score": 1}, "score": 4,',
        '{"shape": {"reasoning": "r", "score": 1}, "score": 4,}',
        '{"draft": {"reasoning": "r", "score": 1}',
        '"score": 4, "shape": {"reasoning": "r", "score": 1}',
        'The sign says {"score": 4}. {"reasoning": "r", "score": 1}',
        '{"reasoning": "r", "score": 4} {"reasoning": "r", "score": 1}',
        '{"reasoning": "r", "score": 4, "score": 1}',
        '{"reasoning": "r", "score": 4,,}',
        '{"reasoning": "r",, "score": 4}',
        '{"reasoning": "r", "score": [4,],}',
        '{"reasoning": "r", "score": 4.5}',
        '{"reasoning": "r", "score": true}',
        '{"reasoning": "r", "score": NaN}',
        '{"reasoning": "r", "score": Infinity}',
        '{"reasoning": "r", "score": "1_0"}',
        '{"reasoning": "r", "score": "1*0"}',
        '{"reasoning": "r", "score": "\\"1\\"0"}',
        '{"reasoning": "r", "score": "4/4"}',
        '{"reasoning": "r", "score": null}',
        '{"reasoning": 4, "score": 4}',
        '{"score": 4}',
        '{"reasoning": "r", "score": 4} is what I say.',
        '{"reasoning": "r", "score": 4, "deep": ' + "[" * 100_000 + "]" * 100_000 + "}",
    ],
)
def test_what_does_not_fit_is_unparsable(text):
    with pytest.raises(ReplyError) as caught:
        read_object(text, RATING)
    assert caught.value.status is Status.UNPARSABLE
    assert caught.value.reason


VERDICT = '{"reasoning": "r", "score": 4}'


@pytest.mark.parametrize(
    "before",
    [
        "I would rate this picture 1 out of 10: it shows no circle. The sign held up in it reads:\n",
        "The sign reads:\n```json\n",
        "The sign in the picture says ",
        "The note on the table, in small letters: ",
        "There is no cat. The poster, which is red:\n\n",
        "The text in the image:\n",
        "Here is what the caption of the picture says:\n",
        "It shows this JSON: ",
        "The board\nreads\n",
        'It says: "',
        "> ",
        "Auf dem Schild steht: ",
        "牌子上写着：",
        "I rate this image 1/10.\n\n",
        "**Score**: 1\n\n",
        "My rating is 1. ",
        "I give it a 2, no more.\n",
        "Hands 2/10, face 4/10.\n",
    ],
)
def test_an_object_that_the_words_before_it_quote_or_contradict_is_no_verdict(before):
    with pytest.raises(ReplyError, match="the words before it") as caught:
        read_object(before + VERDICT, RATING)
    assert caught.value.status is Status.UNPARSABLE


@pytest.mark.parametrize(
    "before",
    [
        "Here is the JSON:\n",
        "Here's my evaluation of how well the image follows the text prompt:\n```json\n",
        "Based on the caption, my verdict: ",
        "**Verdict**: ",
        "Score: ",
        "Final answer:\n\n",
        "My verdict is as shown below:\n",
        "Mein Urteil: ",
        "以下是评价结果：\n",
        "The picture shows a cat. The sign in its paws reads HELLO, as asked.\n\n",
        "1. Colour: the cat is black.\n2. Text: the sign says 'HELLO'\n\n",
        "Since the image shows one circle only, my rating is: ",
        "The sign is missing; so my verdict:\n",
        "Scores go from 0 to 10. The cat is fine.\n",
        "I count 3 of 5 circles, and 2 stars out of 6.\n",
        "I would rate this image 4/10, as the hand is odd.\n\n",
        "On 9/10/2024 it was given to 3 people.\n",
    ],
)
def test_words_that_lead_to_a_verdict_or_reason_before_it_cost_nothing(before):
    assert read_object(before + VERDICT, RATING)[0]["score"] == 4


def test_an_integer_of_hundreds_of_digits_is_a_number():
    record, _ = read_object('{"reasoning": "r", "score": ' + "9" * 400 + "}", RATING)
    assert record["score"] == float("inf")
    assert read_object('{"reasoning": "r", "score": ' + "9" * 5000 + "}", RATING)[0]["score"] == float("inf")


def test_half_a_character_can_be_written_to_a_file():
    record, _ = read_object('{"reasoning": "\\ud800 \\ud83d\\ude00", "score": 4}', RATING)
    assert record["reasoning"].encode() == "\ufffd \U0001f600".encode()


@pytest.mark.parametrize(
    "change",
    [
        {"expected": True},
        {"expected": 3},
        {"id": ["q1"]},
        {"aspect": "style"},
        {"entities": "cat"},
        {"depends_on": [1]},
        {"text": None},
    ],
)
def test_a_question_of_other_types_does_not_fit(change):
    question = {
        "id": "q1",
        "aspect": "intrinsic",
        "entities": [],
        "text": "A cat?",
        "expected": "yes",
        "depends_on": [],
    }
    assert misfit({"questions": [question]}, decompose_schema()) is None
    problem = misfit({"questions": [{**question, **change}]}, decompose_schema())
    assert problem and next(iter(change)) in problem


REFUSING = """I'm sorry, but I can't assist with that.
I’m sorry, I can’t help with that request.
I'm unable to help with that.
Unfortunately, I can't evaluate this image.
As an AI language model, I cannot view images.
I must decline.
I'm not able to provide an evaluation of this image.
I can't provide assistance with that.
I cannot process this request.
I won't rate this image.
I apologize, but I cannot fulfill this request.
I'm sorry, I can't identify the person in this image.
This image violates our content policy.
No, I can't help with that.
抱歉，我无法协助处理这个请求。
Es tut mir leid, aber dabei kann ich nicht helfen.
Lo siento, pero no puedo ayudar con eso.
Je suis désolé, mais je ne peux pas vous aider."""
ANSWERING = """I can't see a cat.
I cannot see any dog in the image.
Sorry, there is no cat in the picture.
I can't help but notice the warped fingers.
I can't help thinking that the face looks odd.
I cannot provide a higher score because the hand is distorted.
I can't support the claim that there is a cat.
I cannot determine the colour since it is dark.
Unfortunately, the cat has five legs.
I am afraid the hand has six fingers.
The sign reads "I can't help you".
The picture violates the laws of physics.
This image goes against the prompt.
I cannot judge the texture because the cat is absent.
I cannot rate this image higher than 3 because of the artifacts.
I cannot see the picture frame on the wall."""


@pytest.mark.parametrize("words", REFUSING.splitlines())
def test_a_refusal_in_words_is_one_in_every_protocol(words):
    assert refuses(words)
    for read in (parse_words, parse_score, read_object):
        with pytest.raises(ReplyError) as caught:
            read(f"<think>what is this?</think>{words}")
        assert caught.value.status is Status.REFUSED


@pytest.mark.parametrize("words", ANSWERING.splitlines())
def test_an_answer_that_sounds_like_one_is_none(words):
    assert not refuses(words)


LONG = {
    "braces": "{" * 1_000,
    "objects": '{"a":' * 200,
    "pairs": "{}" * 500,
    "quotes": '{"' * 500,
    "escapes": '{"a": "' + '\\"' * 500,
    "brackets": "[" * 1_000,
    "markers": "<think>" * 140,
    "closings": "</think>" * 125,
    "ticks": "`" * 1_000,
    "spaces": " " * 1_000,
    "stars": "*" * 1_000,
    "digits": "9" * 1_000,
    "commas": '{"a": [' + "1," * 500,
    "sorry": "sorry " * 170,
    "ratings": "score is " * 110,
    "gaps": "score" + " " * 995,
    "led": "the sign reads: " * 60 + "{}",
}


@pytest.mark.parametrize("name", LONG)
def test_reading_takes_time_linear_in_the_length(name):
    """Eight times the length may take thirty times as long, and not the sixty-four of a quadratic reader."""

    def seconds(times: int) -> float:
        text, best = LONG[name] * times, float("inf")
        for _ in range(3):
            start = time.process_time()
            for read in (read_object, parse_score, parse_words):
                with suppress(ReplyError):
                    read(text)
            best = min(best, time.process_time() - start)
        return best

    assert seconds(800) < 30 * max(seconds(100), 0.002)
