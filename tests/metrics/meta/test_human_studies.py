"""GenEval's and EvalMi-50K's human studies: their layouts, and their shipped rules on files of the same shape."""

from __future__ import annotations

import json
import shutil

import pytest

from t2i_judge.meta.evalmi import evalmi_ratings
from t2i_judge.meta.geneval import geneval_annotations
from t2i_judge.meta.reproduction import folder_of, reproduce
from t2i_judge.stats.agreement import percent_agreement
from tests.metrics.inputs.workbook_files import write_workbook
from tests.metrics.meta.upstream_files import separated, source_of

PROMPTS = [
    {"tag": "counting", "include": [{"class": "clock", "count": 2}], "prompt": "two clocks"},
    {"tag": "colors", "include": [{"class": "cow", "count": 1, "color": "blue"}], "prompt": "a blue cow"},
    {
        "tag": "position",
        "include": [{"class": "bear", "count": 1}, {"class": "dog", "count": 1, "position": ["right of", 0]}],
        "prompt": "a dog right of a bear",
    },
]
ANSWERS = (
    "Answer.task-count-0", "Answer.task-color-0", "Answer.task-count-1", "Answer.task-color-1",
    "Answer.task-position-x", "Answer.task-position-y", "Answer.task-quality",
)  # fmt: skip
HEADER = ["Input.index", "Input.caption", "Input.object_0_name", "Input.object_1_name", *ANSWERS]


def annotated(prompt, *answers):
    names = [thing["class"] for thing in prompt["include"]] + [""]
    return [[f"{PROMPTS.index(prompt)}_1", prompt["prompt"], *names[:2], *each.split(",")] for each in answers]


@pytest.fixture
def geneval(tmp_path):
    """Three images, of three annotators each; a cell of one holds a carriage return, as upstream's do."""
    counting, colors, position = PROMPTS
    rows = [
        *annotated(counting, "2,,,,,,4", "3,,,,,,3", "0,,,,,,1"),
        *annotated(colors, "2,blue|red,,,,,4", "1,red,,,,,2", "1.0,blue,,,,,4"),
        *annotated(position, "1,,1.0,,right,below,4", "1,,1,,left,neither_y,3", "1,,0,,,,2"),
    ]
    text = separated(",".join([*HEADER, "Answer.task-objects"]), [[*row, "1.cowXX2.bear"] for row in rows])
    made = {
        "annotations/annotations_sdv2.csv": text.replace(b"XX", b"\r"),
        "prompts/evaluation_metadata.jsonl": "\n".join(map(json.dumps, PROMPTS)).encode(),
    }
    for path, data in made.items():
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).write_bytes(data)
    return {path: tmp_path / path for path in made}


def with_sources(tmp_path, name, table, layout, files, published):
    """The shipped set `name` with other files and figures."""
    own = tmp_path / name
    shutil.copytree(folder_of(name), own)
    entries = [source_of("made/up", path, file.read_bytes()) for path, file in files.items()]
    (own / "sources.json").write_text(json.dumps({table: {"layout": layout, "files": entries}}))
    (own / "published.json").write_text(json.dumps({"_source": "made @ here", **published}))
    return {outcome.path: outcome for outcome in reproduce(str(own), source_folder=tmp_path).outcomes}


def test_what_meets_a_prompt_is_what_genevals_program_counts(geneval):
    columns = geneval_annotations(geneval)
    assert columns["task"] == ["counting", "colors", "position"] and columns["model"] == ["sdv2"] * 3
    by_image = list(zip(columns["r1"], columns["r2"], columns["r3"]))
    assert by_image == [(1, 0, 0), (1, 0, 1), (1, 0, 0)]
    assert columns["fit_2"] == [3, 2, 3] and columns["annotators"] == [3, 3, 3]


def test_geneval_by_its_shipped_rules(geneval, tmp_path):
    # Five annotators are the shipped rules' own: two more, who say what the first two did.
    file = geneval["annotations/annotations_sdv2.csv"]
    header, *rows = file.read_bytes().split(b"\n")[:-1]
    images = [rows[first : first + 3] for first in (0, 3, 6)]
    file.write_bytes(b"\n".join([header, *(row for own in images for row in own + own[:2])]))
    columns = geneval_annotations(geneval)
    ratings = list(zip(*(columns[f"r{n}"] for n in range(1, 6))))
    agreement = {"people_with_each_other": round(percent_agreement(ratings).value, 2), "geneval_with_people": 0.83}
    study = {"images": 3, "annotations": 15, "annotators_an_image": 5, "tasks": 3}
    found = with_sources(
        tmp_path, "geneval", "annotated.csv", "geneval_annotations", geneval, {"study": study, "agreement": agreement}
    )
    assert [outcome.status for outcome in found.values()] == ["equal"] * 5 + ["not computable"]
    assert found["agreement/people_with_each_other"].computed == pytest.approx((0.4 + 0.4 + 0.4) / 3)


def test_evalmi_out_of_its_workbook_and_by_its_shipped_rules(tmp_path):
    pytest.importorskip("python_calamine", reason="the extra [excel]")
    header = ["ImageName", "MOS1", "MOS2", "Y/N", "YN_1"]
    rows = [[f"{model}/{n:03}.png", 40.5 + n, 60.25, n % 2] for model in ("sdxl", "NOVA") for n in (1, 2, 3)]
    book = write_workbook(tmp_path / "MOS.xlsx", {"Sheet1": [header, *rows]})
    columns = evalmi_ratings({"MOS.xlsx": book})
    assert columns["model"] == ["sdxl"] * 3 + ["NOVA"] * 3 and columns["prompt"] == [1, 2, 3] * 2
    study = {
        "images": 6,
        "models": 2,
        "prompts": 3,
        "mean_opinion_scores": {"perception": 6},
        "question_answer_pairs": 6,
    }
    means = {"sdxl": {"perception": 42.5, "correspondence": 60.26}, "NOVA": {"answer": 0.67}}
    published = {"study": study, "model": means, "CLIPScore": {"spearman": {"perception": 0.3}}}
    found = with_sources(tmp_path, "evalmi_50k", "opinions.csv", "evalmi_ratings", {"MOS.xlsx": book}, published)
    assert [outcome.status for outcome in found.values()] == ["equal"] * 6 + ["different", "equal", "not computable"]
