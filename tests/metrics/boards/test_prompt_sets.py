"""Published prompt sets: read in their own shapes from files made here, pinned, and asked with their own questions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from PIL import Image

from recipes.loopback.http import started
from t2i_judge.boards import prompt_sets
from t2i_judge.boards.items import items_of_folders
from t2i_judge.boards.matching import matched
from t2i_judge.boards.prompt_sets import LAYOUTS, PromptSet, SetPrompt, find_set, read_set
from t2i_judge.boards.prompts import read_prompts
from t2i_judge.cli import main
from t2i_judge.errors import UserError
from t2i_judge.meta.sources import ADDRESS, Source, is_content
from tests.metrics.meta.upstream_files import COMMIT, Repositories, serving

DSG = """item_id,text,keywords,proposition_id,dependency,category_broad,question_natural_language
made_5,A blue cup left of a plate,cup,1,0,entity,Is there a cup?
made_5,A blue cup left of a plate,"cup, blue",2,1,attribute,Is the cup blue?
made_5,A blue cup left of a plate,"cup, plate",3,"1,2",relation,Is the cup left of the plate?
made_5,A blue cup left of a plate,"cup, plate",4,"1,4,left",relation,Is the cup beside the plate?
"""
TIFA = [
    {"id": "made_1", "caption": "Two cups", "question": "is there a cup?", "choices": ["yes", "no"], "answer": "yes",
     "element_type": "object", "element": "cup"},
    {"id": "made_1", "caption": "Two cups", "question": "how many cups are there?", "choices": ["1", "2"],
     "answer": "2", "element_type": "counting", "element": "two"},
]  # fmt: skip
GENEVAL2 = {
    "prompt": "two green cups", "atom_count": 3, "skills": ["count", "attribute"],
    "vqa_list": [["How many cups are in the image?", "two"], ["Are the cups green?", "Yes"]],
}  # fmt: skip
GENEVAL = {"tag": "single_object", "include": [{"class": "cup", "count": 1}], "prompt": "a photo of a cup"}
SHAPES = {
    "geneval": (json.dumps(GENEVAL) + "\n", SetPrompt("00000", "a photo of a cup", "single_object")),
    "genai_bench": (json.dumps({"00001": {"id": "00001", "prompt": "A cup."}}), SetPrompt("00001", "A cup.")),
    "compbench": ("a red cup\r\na blue cup\n", SetPrompt("color_000000", "a red cup", "color")),
    "parti": ('Prompt\tCategory\tChallenge\tNote\na "cup\tArts\tBasic\t\n', SetPrompt("00000", 'a "cup', "Arts")),
    "oneig": ('category,id,prompt_en,type\nArt,007,"a cup, blue",T\n', SetPrompt("Art_007", "a cup, blue", "Art")),
    "unigenbench": (
        'index,prompt_en,sub_dims_en\n3,a cup,"{""Primary Categories"": ""Art""}"\n', SetPrompt("3", "a cup", "Art")
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", SHAPES)
def test_each_set_is_read_in_its_own_shape(layout: str) -> None:
    text, first = SHAPES[layout]
    assert next(iter(LAYOUTS[layout](text, "color_val"))) == first


def test_questions_of_a_set_come_along_with_their_parents_and_choices() -> None:
    (dsg,) = LAYOUTS["dsg"](DSG, "")
    assert (dsg.id, dsg.category, [q.aspect for q in dsg.questions]) == (
        "made_5", "made", ["intrinsic", "intrinsic", "relationship", "relationship"]
    )  # fmt: skip
    assert dsg.questions[3].depends_on == ("q1",)  # as in DSG-1k, where no image of such a prompt was judged
    assert dsg.questions[2].depends_on == ("q1", "q2") and dsg.questions[0].expected == "yes"
    (tifa,) = LAYOUTS["tifa"](json.dumps(TIFA), "")
    assert [(q.text, q.expected) for q in tifa.questions] == [
        ("is there a cup?", "yes"),
        ("how many cups are there? (1, 2)", "2"),
    ]
    (geneval2,) = LAYOUTS["geneval2"](json.dumps(GENEVAL2), "")
    assert geneval2.category == "3 atoms" and geneval2.questions[0].expected == "two"


def test_every_set_is_pinned_and_says_its_licence() -> None:
    sets = prompt_sets.prompt_sets()
    assert {
        "geneval", "genai-bench", "dpg-bench", "t2i-compbench", "partiprompts", "tifa", "dsg-1k", "oneig",
        "unigenbench", "geneval2",
    } == sets.keys()  # fmt: skip
    for published in sets.values():
        assert published.layout in LAYOUTS and published.license
        for file in published.files:
            assert len(file.commit) == 40 and (len(file.sha256) == 64 or len(str(file.git_blob)) == 40)


def test_a_set_without_a_licence_and_one_that_is_not_known_are_told() -> None:
    with pytest.raises(UserError, match="without a licence"):
        find_set("DrawBench")
    with pytest.raises(UserError, match="nearest is 'geneval'"):
        find_set("genevl")
    assert find_set("GenEval").name == find_set("geneval").name


def test_a_file_is_known_by_git_s_own_hash_where_nobody_has_published_another(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"hello\n")
    made = Source("some/body", COMMIT, "a.json", 0, "", "CC0", "ce013625030ba8dba906f756967f9e9ca394464a")
    assert is_content(made, b"hello\n") and not is_content(made, b"hello")
    with pytest.raises(UserError, match="does not have the format of Made"):
        read_set(PromptSet("made", "Made", "tifa", (made,)), tmp_path)
    (tmp_path / "a.json").write_bytes(b"other\n")
    with pytest.raises(UserError, match="git blob is not ce0136"):
        read_set(PromptSet("made", "Made", "tifa", (made,)), tmp_path)


def test_images_are_matched_by_file_name_else_by_id(tmp_path: Path) -> None:
    for name in ("named.png", "7.png", "007_2.png", "9/samples/0001.png", "x.png", "deep/only.png"):
        (tmp_path / "g" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / "g" / name)
    table = tmp_path / "prompts.csv"
    table.write_text("prompt,image,id\nby name,named.png,x\nby id,,7\nby folder,,9\nby bare name,else/only.png,\n")
    rows, unmatched, _ = matched(read_prompts(str(table)), str(tmp_path / "g"))
    by_image = {Path(row["image"]).relative_to(tmp_path / "g").as_posix(): (row["prompt"], row["seed"]) for row in rows}
    assert by_image == {
        "named.png": ("by name", None),
        "7.png": ("by id", None),
        "007_2.png": ("by id", "2"),
        "9/samples/0001.png": ("by folder", "0001"),
        "deep/only.png": ("by bare name", None),
    }
    assert unmatched == ["x.png"]  # its row has its image


def test_one_image_cannot_have_two_prompts(tmp_path: Path) -> None:
    (tmp_path / "prompts.csv").write_text("prompt,id\na cat,1\na dog,1\n")
    with pytest.raises(UserError, match="two prompts for '1'"):
        read_prompts(str(tmp_path / "prompts.csv"))


@pytest.fixture
def made_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A published set of DSG's shape on loopback, and nothing else to reach."""
    data = "".join(
        line.replace("made_5", f"made_{n}").replace("A blue cup", f"A blue cup number {n}") + "\n"
        for n in range(12)
        for line in DSG.splitlines()[1:]
    )
    data = DSG.splitlines()[0] + "\n" + data
    source = Source("some/body", COMMIT, "data/made.csv", len(data), hashlib.sha256(data.encode()).hexdigest(), "CC0")
    monkeypatch.setattr(prompt_sets, "prompt_sets", lambda: {"made": PromptSet("made", "Made", "dsg", (source,))})
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    huggingface_hub.close_session()
    with serving(Repositories()) as running:
        running.add("some/body", "data/made.csv", data.encode())
        monkeypatch.setenv(ADDRESS, running.address)
        yield data


def test_a_set_by_name_is_fetched_once_and_asks_its_own_questions(
    tmp_path: Path, made_set: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for generator in "ab":
        for number in range(12):
            path = tmp_path / generator / f"made_{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.effect_noise((64, 64), 10 + number + 60 * (generator == "a")).convert("RGB").save(path)
    arguments = ["leaderboard", *(f"--images={name}={tmp_path / name}" for name in "ab"), "--prompts", "made"]
    with started("tests.recipes.photo_teacher") as url:
        arguments += ["--judge", f"openai:photo-teacher@{url}"]
        assert main([*arguments, f"--out={tmp_path / 'run'}"]) == 0
        assert "Made: 12 prompts of some/body @ c0ffee00 (CC0)" in capsys.readouterr().err
        monkeypatch.setenv(ADDRESS, "http://127.0.0.1:9")
        assert main([*arguments, f"--out={tmp_path / 'again'}"]) == 0  # from the cache
        (tmp_path / "files").mkdir()
        (tmp_path / "files" / "made.csv").write_text(made_set)
        assert main([*arguments, f"--out={tmp_path / 'run'}", "--from", str(tmp_path / "files")]) == 0
    board = json.loads((tmp_path / "run" / "leaderboard.json").read_text())
    assert board["prompts"]["note"].startswith("Made's prompts, judged by openai:photo-teacher")
    assert board["prompts"]["note"].endswith("not a Made score.") and board["prompts"]["license"] == "CC0"
    assert "not a Made score" in (tmp_path / "run" / "leaderboard.md").read_text()
    lines = (tmp_path / "run" / "shards" / "000000.jsonl").read_text().splitlines()
    assert [q["text"] for q in json.loads(lines[0])["questions"]][1] == "Is the cup blue?"
    (tmp_path / "files" / "made.csv").write_text(made_set + "\n")
    assert main([*arguments, f"--out={tmp_path / 'third'}", "--from", str(tmp_path / "files")]) == 2
    assert "is not the published file" in capsys.readouterr().err and not (tmp_path / "third").exists()


def test_an_existing_file_goes_before_a_set_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("geneval").write_text("prompt\na cup\n")
    read = read_prompts("geneval")
    assert read.by_order and read.published is None and [row["prompt"] for row in read.rows] == ["prompt", "a cup"]
    Path("geneval.csv").write_text("prompt,id\na cup,1\n")
    assert read_prompts("geneval.csv").published is None


def pictures(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return str(folder)


@pytest.mark.parametrize("names", [["1.png", "2.png", "10.png"], ["s9/0.png", "s10/0.png"], ["a-2.png", "a-010.png"]])
def test_lines_do_not_fit_names_whose_order_is_not_that_of_their_numbers(tmp_path, names):
    """As ls has them: 1, 10, 2; the prompts were written for 1, 2, 10."""
    (tmp_path / "prompts.txt").write_text("\n".join(f"prompt {n}" for n in range(len(names))))
    prompts = read_prompts(str(tmp_path / "prompts.txt"))
    with pytest.raises(UserError, match=r"stands before .* not the order of their numbers"):
        items_of_folders({"a": pictures(tmp_path / "a", *names)}, prompts, tmp_path)


@pytest.mark.parametrize(
    ("names", "fact"),
    [
        (["0.png", "1.png", "3.png", "4.png", "grid.png"], "an image is missing between '1.png' and '3.png'"),
        (
            ["0.png", "1.png", "3.png"],
            "an image is missing between '1.png' and '3.png'",
        ),  # 3.png is left from a longer run
        (["a_0001_7.jpg", "a_0003_9.png"], "an image is missing between 'a_0001_7.jpg' and 'a_0003_9.png'"),
        (["0.png", "1.png", "2.png", "grid.png"], "'grid.png' is called otherwise than '0.png' and most others"),
        (["samples/0.png", "samples/1.png", "grid-0.png"], "'grid-0.png' is called otherwise than 'samples/0.png'"),
        (["IMG_7.png", "IMG_8.png", "IMG_8(1).png"], r"'IMG_8\(1\).png' is called otherwise than 'IMG_7.png'"),
    ],
)
def test_lines_do_not_fit_where_an_image_failed_and_another_picture_lies_there(tmp_path, names, fact):
    """As many files as lines, and each image had the prompt of the one before."""
    (tmp_path / "prompts.txt").write_text("\n".join(f"prompt {n}" for n in range(len(names))))
    with pytest.raises(UserError, match=fact):
        items_of_folders({"a": pictures(tmp_path / "a", *names)}, read_prompts(str(tmp_path / "prompts.txt")), tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ["cat.png", "dog.png", "grid.png"],
        ["0.png", "1.jpg", "2.webp"],
        ["a cat/0.png", "a cat/1.png", "a dog/0.png"],
        ["cat_0.png", "cat_1.png", "dog_0.png", "dog_1.png"],
        ["00000-4711.png", "00001-815.png", "00002-7.png"],
        ["0/0.png", "0/1.png", "1/0.png"],
        ["0.png", "10.png", "20.png"],  # every tenth
        ["ComfyUI_00057_.png", "ComfyUI_00058_.png", "ComfyUI_00060_.png"],  # counted over all runs
    ],
)
def test_lines_fit_whatever_else_names_are(tmp_path, names):
    (tmp_path / "prompts.txt").write_text("\n".join(f"prompt {n}" for n in range(len(names))))
    items, _ = items_of_folders(
        {"a": pictures(tmp_path / "a", *names)}, read_prompts(str(tmp_path / "prompts.txt")), tmp_path
    )
    assert [item.prompt for item in items] == [f"prompt {n}" for n in range(len(names))]


def test_lines_do_not_fit_two_folders_that_lack_different_images(tmp_path):
    (tmp_path / "prompts.txt").write_text("one\ntwo\nthree\n\n")
    prompts = read_prompts(str(tmp_path / "prompts.txt"))
    a, b = pictures(tmp_path / "a", "5.png", "6.png", "7.png"), pictures(tmp_path / "b", "5.jpg", "7.jpg", "8.jpg")
    with pytest.raises(UserError, match="'7' is image 3 of a and image 2 of b"):
        items_of_folders({"a": a, "b": b}, prompts, tmp_path)
    c = pictures(tmp_path / "c", "x/img_07.png", "x/img_8.png", "y/img_7.png")
    assert [item.prompt for item in items_of_folders({"a": a, "c": c}, prompts, tmp_path)[0]] == [
        "one",
        "two",
        "three",
    ] * 2
