"""The shipped sets' rules on small files in upstream's layouts, handed out by a loopback server: answers are known."""

from __future__ import annotations

import huggingface_hub
import pytest
from huggingface_hub import constants
from scipy import stats

from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.meta.reproduction import reproduce
from t2i_judge.meta.sources import ADDRESS
from t2i_judge.meta.upstream import read_upstream
from tests.metrics.meta.upstream_files import (
    RATINGS,
    TIFA,
    TIFA_MODELS,
    Repositories,
    answers_file,
    ratings_file,
    separated,
    serving,
    tifa_file,
    votes_file,
    write_set,
)

JUDGES = ("mplug", "instructblip", "pali17b")


@pytest.fixture
def repositories(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    huggingface_hub.close_session()
    with serving(Repositories()) as running:
        monkeypatch.setenv(ADDRESS, running.address)
        yield running


def statuses(result):
    return {outcome.path: outcome.status for outcome in result.outcomes}


def test_tifa_by_its_shipped_rules(tmp_path, repositories):
    human = [[5, 5], [3, 4], [1, 2], [4, 2], [3, 3]]
    bleu, vilt = [0.5, 1e-9, 0.25, 0.75, 0.3], [1.0, 0.5, 0.0, 0.25, 0.5]
    images = {
        f"{prompt}_mini_dalle": (scores, {"bleu": b, "tifa_vilt": v})
        for prompt, scores, b, v in zip(("coco_1", "coco_2", "drawbench_1", "paintskill_1", "x_1"), human, bleu, vilt)
    }
    means = [sum(scores) / 2 for scores in human]
    published = {"metrics": {}}
    for name, values in (("bleu", bleu), ("tifa_vilt", vilt)):
        tau = stats.kendalltau(values, means)
        pearson = stats.pearsonr(values, means).statistic
        published["metrics"][name] = {"labelled_spearman": pearson, "kendall": tau.statistic, "kendall_p": tau.pvalue}
    published["metrics"]["spice"] = {"kendall": 0.1}
    file = repositories.add("Yushi-Hu/tifa", TIFA, tifa_file(images))
    result = reproduce(str(write_set(tmp_path / "s", "tifa160", {"tifa160.csv": ("tifa_scores", [file])}, published)))
    counted = statuses(result)
    assert counted.pop("metrics/spice/kendall") == "not computable"
    assert len(counted) == 6 and set(counted.values()) == {"equal"}


# Prompt -> its questions' ids and parents. tifa160_10 has none: published scores count it as 0.
QUESTIONS = {"tifa160_0": {"1": "0", "2": "1"}, "tifa160_1": {"1": "0", "2": "0", "3": "1,2"}}
# By hand: answers, then the item's score with dependency, without, and with dependents dropped.
ANSWERS = {
    ("mini-dalle", "tifa160_0"): (["yes", "yes"], 1, 1, 1),
    ("mini-dalle", "tifa160_1"): (["yes", "no", "yes"], 1 / 3, 2 / 3, 1 / 2),
    ("sd1dot5", "tifa160_0"): (["no", "yes"], 0, 1 / 2, 0),
    ("sd1dot5", "tifa160_1"): (["yes", "yes", "no bus"], 2 / 3, 2 / 3, 2 / 3),
}
VQ2A = {  # answers and score
    ("mini-dalle", "tifa160_0"): (["yes"], 1),
    ("mini-dalle", "tifa160_1"): (["no", ""], 0),
    ("mini-dalle", "tifa160_10"): (["no"], 0),
    ("sd1dot5", "tifa160_0"): (["yes"], 1),
    ("sd1dot5", "tifa160_1"): (["yes", "no"], 1 / 2),
    ("sd1dot5", "tifa160_10"): (["yes", "yes", "no"], 2 / 3),
}
PROMPTS = {"tifa160_10": "drawbench_7", "tifa160_1": "coco_9", "tifa160_0": "coco_3"}
RATED = {  # by five workers, one of whom passed an image over
    ("sd1dot5", "tifa160_10"): [2, 2, 3, 2, 2],
    ("mini-dalle", "tifa160_1"): [3, 4, 3, 3, 3],
    ("mini-dalle", "tifa160_10"): [1, 1, 1, None, 2],
    ("sd1dot5", "tifa160_0"): [2, 1, 2, 2, 2],
    ("mini-dalle", "tifa160_0"): [5, 5, 5, 4, 5],
    ("sd1dot5", "tifa160_1"): [4, 4, 4, 4, 4],
}
IMAGES = sorted(RATED)
MEANS = [sum(r for r in RATED[image] if r) / sum(1 for r in RATED[image] if r) for image in IMAGES]


def dsg_files(repositories, answers=ANSWERS):
    """The tables of sources.json; other prompts and generators, which nobody rated here, are in the files too."""
    ratings = {
        (*image, PROMPTS[image[1]]): {str(9000 + n): r for n, r in enumerate(scores) if r is not None}
        for image, scores in RATED.items()
    }
    dsg = [["whoops", "sd2dot1", "whoops_5", "Is there a cube?", "1", "0", "no"]]
    for (model, prompt), (replies, *_) in answers.items():
        for (question, parents), reply in zip(QUESTIONS[prompt].items(), replies, strict=True):
            dsg.append(["tifa160", model, prompt, f"Is there, {question}?", question, parents, reply])
    vq2a = [
        ["tifa160", model, prompt, "What is it? a thing?", reply]
        for (model, prompt), (replies, _) in {**VQ2A, ("imagen2dot4", "tifa160_0"): (["yes"], 1)}.items()
        for reply in replies
    ]
    answered = [
        repositories.add("j-min/DSG", f"vqa_answers_release/{judge}_{qg}.csv", answers_file(qg, rows))
        for judge in JUDGES
        for qg, rows in (("dsg", dsg), ("vq2a", vq2a))
    ]
    images = {
        f"{PROMPTS[prompt]}_{TIFA_MODELS[model]}": ([3, 3], {"bleu": score})
        for (model, prompt), score in zip(reversed(IMAGES), (0.1, 0.2, 0.3, 0.5, 0.4, 0.6))
    }
    return {
        "likert.csv": ("dsg_ratings", [repositories.add("j-min/DSG", RATINGS, ratings_file(ratings))]),
        "vqa_answers.csv": ("dsg_answers", answered),
        "tifa160.csv": ("tifa_scores", [repositories.add("Yushi-Hu/tifa", TIFA, tifa_file(images))]),
    }


def coefficients(scores, means=MEANS):
    return [stats.spearmanr(scores, means).statistic, stats.kendalltau(scores, means).statistic]


def test_dsg_by_its_shipped_rules(tmp_path, repositories, capsys):
    dsg, without, drop = ([ANSWERS.get(image, (0, 0, 0, 0))[n] for image in IMAGES] for n in (1, 2, 3))
    vq2a = [VQ2A[image][1] for image in IMAGES]
    coco = [n for n, (_, prompt) in enumerate(IMAGES) if prompt != "tifa160_10"]
    published = {
        "readme": {
            "mplug-large/dsg": {"spearman_p": stats.spearmanr(dsg, MEANS).pvalue},
            "pali-17b/dsg without dependency": {"kendall_p": stats.kendalltau(without, MEANS).pvalue},
            "pali-17b/tifa": {"spearman": 0.4},
        },
        "table3": {judge: {"vq2a": coefficients(vq2a), "dsg": coefficients(dsg)} for judge in JUDGES},
        "table9": {"mplug": {"dsg_drop": coefficients(drop), "dsg_nodep": coefficients(without)}},
        "table11_pali": {"dsg": {"coco": coefficients([dsg[n] for n in coco], [MEANS[n] for n in coco])}},
        "table12": {"bleu": coefficients([0.6, 0.4, 0.5, 0.3, 0.2, 0.1])},
        "table14": {"mini-dalle": sum(MEANS[:3]) / 3, "sd1dot5": sum(MEANS[3:]) / 3},
    }
    folder = write_set(tmp_path / "s", "dsg_tifa160", dsg_files(repositories), published)
    result = reproduce(str(folder), draws=0)
    counted = statuses(result)
    assert counted.pop("readme/pali-17b/tifa/spearman") == "not computable"
    assert len(counted) == 2 + 12 + 4 + 2 + 2 + 2 and set(counted.values()) == {"equal"}
    published_policy, ours, strict = ({row.prediction: row for row in rows} for rows in result.policies.values())
    assert [published_policy["dsg/mplug"].n, ours["dsg/mplug"].n, strict["dsg/mplug"].n] == [6, 4, 3]
    assert main(["reproduce", str(folder), "--bootstrap", "0"]) == 0
    assert "read from j-min/DSG @ c0ffee00 (CC0-1.0) : dsg/data/tifa160-likert" in capsys.readouterr().out
    assert len(repositories.requests) == len(set(repositories.requests)) == 8


def test_genai_bench_by_its_shipped_rules(tmp_path, repositories):
    votes = ["leftvote", "rightvote", "tievote", "bothbad_vote"]
    verdicts = {
        "gpt4o": ["[[A>B]]", "[[B>A]]", "[[A=B=Good]]", "[[A>B]]"],  # 3 of 4
        "llava": ["[[A>B]]", "A>B", "[[A > B]]", "[[A>B]] or [[B>A]]"],  # the first alone is a verdict
        "random": ["[[B>A]]", None, "[[A=B]]", "[[A=B]]"],  # a bare tie counts for both
        "kosmos2": ["I prefer the first.", "A", "", "tie"],  # no official verdict at all
    }
    files = [
        repositories.add(
            "TIGER-AI-Lab/GenAI-Bench",
            f"results/image_edition/{judge}/pairwise.json",
            votes_file(list(zip(votes, cells, strict=True)), prompts=judge != "random"),
        )
        for judge, cells in verdicts.items()
    ]
    published = {"accuracy_image_edition": {"gpt4o": 75.0, "llava": 25, "random": 50.0, "kosmos2": 0.0, "qwenVL": 1}}
    tables = {"image_edition.csv": ("genai_bench_votes", files)}
    result = reproduce(str(write_set(tmp_path / "s", "genai_bench_edit", tables, published)))
    assert [outcome.status for outcome in result.outcomes] == ["equal"] * 4 + ["not computable"]
    assert "no column" in result.outcomes[4].note


def test_a_changed_answer_and_a_changed_figure_are_different(tmp_path, repositories):
    changed = {**ANSWERS, ("sd1dot5", "tifa160_0"): (["yes", "yes"], 1, 1, 1)}
    dsg = [ANSWERS.get(image, (0, 0))[1] for image in IMAGES]
    published = {"table3": {"mplug": {"dsg": coefficients(dsg)}}, "table14": {"sd1dot5": 2.5}}
    tables = dsg_files(repositories, changed)
    folder = write_set(tmp_path / "s", "dsg_tifa160", tables, published)
    assert set(statuses(reproduce(str(folder), draws=0)).values()) == {"different"}
    assert main(["reproduce", str(folder), "--bootstrap", "0"]) == 1


QUESTION = "dsg_prompt_split,t2i_model,item_id,question,question_id,dependency_id,answer"
RATING = "t2i_model,item_id,source_id,worker_id,answer"


@pytest.mark.parametrize(
    ("layout", "files", "message"),
    [
        ("tifa_scores", {"a.json": b"[]"}, "AttributeError"),
        ("tifa_scores", {"a.json": b"{}"}, "has no rows"),
        ("tifa_scores", {"a.json": b"{"}, "JSONDecodeError"),
        ("tifa_scores", {"a.json": b"{}", "b.json": b"{}"}, "ValueError"),
        ("tifa_scores", {"a.json": b'{"x": {"text_id": "x"}}'}, "KeyError: 'human_scores'"),
        (
            "tifa_scores",
            {"a.json": b'{"x": {"text_id": 1, "human_scores": [1]}, "y": {"text_id": 1, "human_scores": [1, 2]}}'},
            "y has not 1 human_scores",
        ),
        ("dsg_ratings", {"r.csv": b"t2i_model,item_id\na,b\n"}, "KeyError: 'worker_id'"),
        ("dsg_ratings", {"r.csv": separated(RATING, [["m", "t_1", "s_1", "w", 1]] * 2)}, "m, t_1 was rated twice"),
        ("dsg_ratings", {"r.csv": separated(RATING, [["m", "t_x", "s_1", "w", 1]])}, "invalid literal for int"),
        (
            "dsg_answers",
            {"a_dsg.csv": separated(QUESTION, [["tifa160", "m", "t_1", "q", 1, 0, "yes"]] * 2)},
            "a_dsg.csv has question 1 of m, t_1 twice",
        ),
        (
            "dsg_answers",
            {
                "a_dsg.csv": separated(QUESTION, [["tifa160", "m", "t_1", "q", n, 0, "yes"] for n in (1, 2)]),
                "b_dsg.csv": separated(QUESTION, [["tifa160", "m", "t_1", "q", 1, 0, "yes"]]),
            },
            "b was not asked all questions",
        ),
        ("dsg_answers", {"a_dsg.csv": separated(QUESTION, [["whoops", "m", "t", "q", 1, 0, "yes"]])}, "has no rows"),
        ("genai_bench_votes", {"a/p.json": b'[{"human_vote": "leftvote"}]'}, "KeyError: 'model_vote'"),
        (
            "genai_bench_votes",
            {"a/p.json": votes_file([("leftvote", None)]), "b/p.json": votes_file([("rightvote", None)])},
            "b/p.json uses other votes",
        ),
    ],
)
def test_files_of_another_layout_are_one_line(tmp_path, layout, files, message):
    paths = {}
    for number, (name, data) in enumerate(files.items()):
        paths[name] = tmp_path / f"{number}.{name[-4:].strip('.')}"
        paths[name].write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_upstream(layout, paths)
