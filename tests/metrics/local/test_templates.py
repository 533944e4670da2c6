"""A model's chat template says what transformers makes of it, and ends when it takes too long or too much memory."""

from __future__ import annotations

import multiprocessing
import resource
from resource import getrusage as usage
from types import SimpleNamespace

import pytest
from PIL import Image

from t2i_judge.errors import UserError
from t2i_judge.local import templates
from t2i_judge.local.templates import SECONDS, Rendered, render, tried

TURN = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Is it red?"}]}
TEXT = "{{ messages[0]['content'][1]['text'] }}"
DOUBLED = "{% set ns = namespace(t='x' * 1000) %}{% for i in range(40) %}{% set ns.t = ns.t ~ ns.t %}{% endfor %}"
LOOPS = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"


def with_template(template: object, **tokens: str) -> SimpleNamespace:
    """What stands for a processor here."""
    return SimpleNamespace(chat_template=template, tokenizer=SimpleNamespace(special_tokens_map=tokens))


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% if 'red' in " + TEXT[3:-3] + " %}" + LOOPS + "{% endif %}", "2 seconds"),  # harmless over another text
        (DOUBLED, "memory"),
        ("{{ 'x' * 10 ** 10 }}", "memory"),  # folded as it is compiled, before anything is rendered
        ("{{ 9 ** (9 ** 9) }}", "2 seconds"),
        ("{{ '%999999999d' | format(1) }}", "memory"),
        ("{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}", "recursion"),
        ("{{ 'x' * 5000000 }}", "4,000,000 characters"),
    ],
)
def test_a_template_without_an_end_is_one_line(template, reason):
    here, work = usage(resource.RUSAGE_SELF).ru_maxrss, spent()
    with pytest.raises(ValueError, match=rf"^its chat template does not accept the question: .*{reason}"):
        render(with_template(template), [([TURN], False)])
    assert spent() - work < SECONDS + 10  # ten for a process that starts: two, but for machines that are busy
    assert usage(resource.RUSAGE_SELF).ru_maxrss - here < 50_000  # kilobytes
    assert said("Is it red?") == "Is it red?"
    [process] = templates._RENDERERS.idle.queue
    assert resource.prlimit(process.pid, resource.RLIMIT_AS)[0] < 1_000_000_000


def spent() -> float:
    """Seconds of work of all processes that have ended."""
    children = usage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime


def test_what_a_template_sees_and_says_is_as_transformers_has_it():
    template = (
        (
            "{{ bos_token }}{{ messages[0]['content'][0]['image'] }} {{ enable_thinking }}\ud83d\ude00 "
            "{% generation %}é{% endgeneration %}{{ '!' if add_generation_prompt }}"
        )
        .encode("utf-16", "surrogatepass")
        .decode("utf-16")
    )
    messages = [{"role": "user", "content": [{"type": "image", "image": Image.new("RGB", (2, 2))}]}]
    processor = with_template({"default": template, "rag": "no"}, bos_token="<s>")
    text = "<s><Image> False😀 é"
    spoken, asked = render(processor, [(messages, False), (messages, True)], enable_thinking=False)
    assert (spoken, asked) == (Rendered(text, [(len(text) - 1, len(text))]), Rendered(f"{text}!"))


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('No\nsystem turn') }}", "No system turn"),
        ("{% for %}", "Expected"),
        ("{{ 1 / 0 }}", "zero"),
    ],
)
def test_what_a_template_objects_to_is_said(template, reason):
    with pytest.raises(ValueError, match=reason):
        render(with_template(template), [([TURN], True)])
    with pytest.raises(UserError, match=rf"^The model cannot be asked\. Its chat template .*{reason}"):
        tried(with_template(template), TURN["content"])


def test_a_process_that_was_forked_has_renderers_of_its_own():
    """Of one of its parent's, it would read the answers that are its parent's."""
    assert said("Is it red?") == "Is it red?"
    with multiprocessing.get_context("fork").Pool(2) as pool:
        texts = [f"Is it {number}?" for number in range(200)]
        results = pool.map_async(said, texts, chunksize=1)
        here = [said(f"here {number}") for number in range(100)]
        assert results.get(60) == texts
    assert here == [f"here {number}" for number in range(100)]


def said(text: str) -> str:
    turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}
    return render(with_template(TEXT), [([turn], True)])[0].text
