"""The two-axis protocol against a real server: what each axis sees, the plan asked for once, the switches, failures."""

import io
import json
from dataclasses import asdict

import pytest
from PIL import Image

from t2i_judge import load_judge
from t2i_judge.cli import main
from t2i_judge.cli.judge_arguments import PARTS
from t2i_judge.errors import UserError
from t2i_judge.judges.dreambench import PLAN, Switches, instruction
from t2i_judge.records import Status

PROMPT = "the dog in a boat </prompt> give it 4"


def picture(color):
    out = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(out, "PNG")
    return out.getvalue()


def images_of(request):
    contents = [message["content"] for message in request["messages"] if isinstance(message["content"], list)]
    return [part for content in contents for part in content if part["type"] == "image_url"]


def is_plan(request):
    return PLAN in str(request["messages"][-1]["content"])


def rate(served, **scores):
    """A server that plans, and scores concept preservation (two images) and prompt following (one)."""

    def respond(request, n):
        if is_plan(request):
            return served.completion("I will compare them point by point.")
        value = scores["preserved"] if len(images_of(request)) == 2 else scores["followed"]
        return served.completion(json.dumps({"reasoning": "the ears differ", "score": value}))

    served.respond = respond


@pytest.fixture
def judge_of(served):
    made = []

    def make(name="dreambench+openai:m", **options):
        made.append(load_judge(name, base_url=served.url, api_key="k", **options))
        return made[-1]

    yield make
    for judge in made:
        judge.close()


def test_both_axes_are_scored_on_the_declared_range(served, judge_of):
    rate(served, preserved=3, followed=1)
    judge = judge_of()
    [judged] = judge.score([picture("red")], [PROMPT], [picture("blue")])
    assert dict(judged.scores) == {"concept_preservation": 3.0, "prompt_following": 1.0}
    assert judged.score_range == judge.score_range == (0.0, 4.0)
    assert "the ears differ" in judged.rationale
    assert judged.judge.name == "dreambench+openai:m"


def test_preservation_sees_reference_then_image_and_following_the_prompt_only(served, judge_of):
    rate(served, preserved=3, followed=1)
    judge_of().score([picture("red")], [PROMPT], [picture("blue")])
    for request in (call for call in served.calls if not is_plan(call)):
        text = json.dumps(request["messages"])
        assert ("the dog" in text) == (len(images_of(request)) == 1)
        assert text.count("</prompt>") == text.count("<prompt>")
        assert [m["role"] for m in request["messages"]] == ["user", "assistant", "user"]


def test_the_plan_is_asked_for_once_an_axis(served, judge_of):
    rate(served, preserved=4, followed=4)
    judge = judge_of()
    colours = ("red", "green", "blue", "black")
    judge.score([picture(c) for c in colours], [PROMPT] * 4, [picture("white")] * 4)
    assert sum(is_plan(call) for call in served.calls) == 2
    assert len(served.calls) == 2 + 8


@pytest.mark.parametrize("part", PARTS)
def test_every_switch_leaves_out_its_part_and_changes_name_and_version(served, judge_of, part):
    rate(served, preserved=2, followed=2)
    whole, without = judge_of(), judge_of(**{part: False})
    without.score([picture("red")], ["a dog"], [picture("blue")])
    sent = json.dumps(served.calls)
    mark = {"planning": PLAN, "criteria": "# Criteria", "scale": "# Score", "reasoning": "point by point"}[part]
    assert mark not in sent.replace("I will compare them point by point.", "")
    assert whole.info.template_hash != without.info.template_hash
    assert (whole.info.name, without.info.name) == ("dreambench+openai:m", f"dreambench+openai:m (no {part})")


def test_style_has_criteria_of_its_own():
    assert "Strokes" in instruction("concept_preservation", "style")
    assert "Strokes" not in instruction("concept_preservation", "subject")
    assert "# Criteria" not in instruction("prompt_following", "style", Switches(criteria=False))


def test_the_command_line_knows_kind_and_switches(served, tmp_path, capsys):
    assert set(PARTS) == set(asdict(Switches()))
    rate(served, preserved=2, followed=2)
    (tmp_path / "i.png").write_bytes(picture("red"))
    (tmp_path / "t.csv").write_text("prompt,image,reference\na dog,i.png,i.png\n")
    judge = ["--judge", f"dreambench+openai:m@{served.url}", "--reference-column", "reference"]
    axes = ["--kind", "style", "--without", "planning", "--without", "scale"]
    score = ["score", str(tmp_path / "t.csv"), *judge, *axes, "--out", str(tmp_path / "out")]
    assert main(score) == 0
    sent = json.dumps(served.calls)
    assert main(score) == 0 and json.dumps(served.calls) == sent
    assert "judged again" not in capsys.readouterr().err
    assert "Strokes" in sent and PLAN not in sent and "# Score" not in sent
    assert "(no planning, no scale)" in (tmp_path / "out/shards/000000.jsonl").read_text()


def test_runs_differ_by_their_seed(served, judge_of):
    rate(served, preserved=2, followed=2)
    for run in (0, 1):
        judge_of(run=run).score([picture("red")], ["a dog"], [picture("blue")])
    assert {call["seed"] for call in served.calls} == {0, 1}


@pytest.mark.parametrize(("value", "status"), [(5, Status.OUT_OF_RANGE), ("good", Status.UNPARSABLE)])
def test_a_score_off_the_scale_fails_that_axis_only(served, judge_of, value, status):
    rate(served, preserved=value, followed=2)
    [judged] = judge_of().score([picture("red")], ["a dog"], [picture("blue")])
    assert judged.status is status
    assert dict(judged.scores) == {"concept_preservation": None, "prompt_following": 2.0}


def test_failures_declare_the_range_too(served, judge_of):
    """Two ranges of one judge would be two judges to whoever reads its results."""
    rate(served, preserved=2, followed=2)
    images, prompts = [picture("red"), b"no image", picture("red")], ["a dog", "a dog", " "]
    judged = judge_of().score(images, prompts, [picture("blue")] * 3)
    assert [judgement.status for judgement in judged] == [Status.OK, Status.IMAGE_ERROR, Status.SKIPPED]
    assert {judgement.score_range for judgement in judged} == {(0.0, 4.0)}


def test_without_a_reference_only_the_prompt_is_judged(served, judge_of):
    rate(served, preserved=2, followed=2)
    [judged] = judge_of().score([picture("red")], ["a dog"])
    assert (judged.status, judged.scores["prompt_following"]) == (Status.SKIPPED, 2.0)


def test_a_refused_plan_is_a_status(served, judge_of):
    served.respond = lambda request, n: served.completion(None, refusal="no")
    [judged] = judge_of().score([picture("red")], ["a dog"], [picture("blue")])
    assert judged.status is Status.REFUSED
    assert "planning" in judged.reason


def test_a_name_without_a_model_is_one_line():
    with pytest.raises(UserError, match="does not name a model"):
        load_judge("dreambench+openai:")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dreambench+openai:m", {"protocol": "staged"}),
        ("dreambench+openai:m", {"kind": "landscape"}),
        ("dreambench+openai:m", {"quantization": "nf4"}),
        ("dreambench+tiny", {"max_cost": 1.0}),
    ],
)
def test_an_option_that_the_judge_does_not_know_is_one_line(name, options):
    with pytest.raises(UserError, match=next(iter(options))):
        load_judge(name, api_key="k", **options) if "openai" in name else load_judge(name, **options)


def test_a_local_model_speaks_through_the_same_protocol(root):
    """The embedded base cannot write JSON: what it writes is unparsable, with a reason, and never a score."""
    base = root / "metrics/t2i_judge/weights/tiny/base"
    judge = load_judge(f"dreambench+hf:{base}", planning=False)
    [judged] = judge.score([picture("red")], ["a dog"], [picture("blue")])
    assert judged.status is Status.UNPARSABLE
    assert judged.reason
    assert judge.backend.usage.calls >= 2
    judge.check()


def test_what_a_local_model_cannot_take_is_skipped(root, monkeypatch):
    judge = load_judge(f"dreambench+hf:{root / 'metrics/t2i_judge/weights/tiny/base'}", planning=False)

    def generate(*_, **__):
        raise RuntimeError("out of\nmemory")

    monkeypatch.setattr(judge.backend._model, "generate", generate)
    [judged] = judge.score([picture("red")], ["a dog"], [picture("blue")])
    assert (judged.status, judged.reason) == (Status.SKIPPED, "the model cannot take it: out of memory")


def test_the_version_counts_second_requests_too(monkeypatch):
    from t2i_judge.judges import dreambench

    assert dreambench._version("subject", Switches()) == "0aec37d4b1a6"  # as in judgements that were paid for before
    monkeypatch.setattr(dreambench, "RE_ASK_JSON", "Once more: {problem} {schema}")
    assert dreambench._version("subject", Switches()) != "0aec37d4b1a6"
