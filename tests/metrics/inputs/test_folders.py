"""Folders and globs as people have them: the prompt is found where they keep it, and a folder without one says so."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from t2i_judge.boards.items import items_of_folders
from t2i_judge.errors import UserError
from t2i_judge.inputs import png_prompts
from t2i_judge.inputs.folders import image_files, is_image_folder, named_so
from t2i_judge.inputs.png_prompts import prompt_in
from t2i_judge.inputs.readers import count_rows, iter_rows
from t2i_judge.inputs.rows import read_decompositions

QUESTION = '{"id": "q1", "aspect": "intrinsic", "entities": [], "text": "Is it?", "expected": "yes"}'


def picture(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


def prompts(source: str | Path) -> dict[str, str | None]:
    return {row["id"]: row["prompt"] for row in iter_rows(source)}


@pytest.mark.parametrize(
    ("stem", "prompt", "seed"),
    [
        ("a_red_cat_on_a_mat", "a red cat on a mat", None),
        ("a red cat on a mat_00003_", "a red cat on a mat", "00003"),
        ("a-red-cat-seed42", "a red cat", "42"),
        ("a red-haired girl", "a red-haired girl", None),
        ("a_photo_of_mcdonald_s_1", "a photo of mcdonald s", "1"),
        ("a_red_cat_s3", "a red cat", "3"),
        ("a_red_cat_seed_3", "a red cat", "3"),
        ("a red cat seed 3", "a red cat", "3"),
        ("the letter s 3", "the letter s 3", None),
        ("a sign that says 2024", "a sign that says 2024", None),
        ("a_red_cat 3", "a red cat", "3"),
        ("two%20dogs+running", "two dogs running", None),
        ("ein Mädchen im Café", "ein Mädchen im Café", None),
        ("IMG_0001", None, None),
        ("00017", None, None),
        ("IMG_20240101_WA0001", None, None),
        ("ComfyUI_temp_abcde_00001_", None, None),
        ("Screenshot from 2024-01-01 12-00-00", None, None),
        ("screenshot of a terminal", "screenshot of a terminal", None),
        ("imgur logo on a mug", "imgur logo on a mug", None),
    ],
)
def test_a_name_that_is_a_prompt(tmp_path: Path, stem: str, prompt: str | None, seed: str | None) -> None:
    picture(tmp_path / f"{stem}.png")
    picture(tmp_path / "zz a known one.png")
    row = next(row for row in iter_rows(tmp_path) if row["id"] == stem)
    assert (row["prompt"], row.get("seed"), row["image"]) == (prompt, seed, str(tmp_path / f"{stem}.png"))


def test_names_as_prompts_are_told(tmp_path: Path) -> None:
    picture(tmp_path / "my model_00001_.png").with_suffix(".txt").write_text("a dog")
    assert named_so(iter_rows(tmp_path)) is None
    picture(tmp_path / "my model_00002_.png")
    told = "prompts are as the files are called, such as 'my model' of 'my model_00002_.png'"
    assert named_so(iter_rows(tmp_path)) == told
    assert items_of_folders({"ours": str(tmp_path)}, None, tmp_path)[1] == [f"ours: {told}"]


def test_a_text_beside_the_image_goes_before_its_name(tmp_path: Path) -> None:
    picture(tmp_path / "a red cat.avif")
    (tmp_path / "a red cat.txt").write_text("a blue cat,\nsitting\n", encoding="utf-8")
    assert prompts(tmp_path) == {"a red cat": "a blue cat, sitting"}


SETTINGS = "Steps: 20, Sampler: Euler a, Seed: 4"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"two red circles,\nbeside a square\nNegative prompt: blurry\n{SETTINGS}", "two red circles, beside a square"),
        (f"two red circles\r\n{SETTINGS}\r\n", "two red circles"),
        (f"\nNegative prompt: blurry\n{SETTINGS}", None),
        ('{"prompt": "two red\\ncircles", "negative_prompt": "blurry", "steps": 20}', "two red\ncircles"),
        ('\n{"Caption": "two circles", "prompt": " "}', "two circles"),
        ("Steps: 3 of wood,\nSteps: 4 of stone", "Steps: 3 of wood, Steps: 4 of stone"),
        ("{red|blue} circles", "{red|blue} circles"),
        ('{"STOP"|"GO"} on a sign', '{"STOP"|"GO"} on a sign'),
        ("[red] circles [[and]] a square", "[red] circles [[and]] a square"),
        ('"STOP" on a sign', '"STOP" on a sign'),
        ("", None),
    ],
)
def test_a_text_beside_the_image_is_its_prompt_without_what_tools_add(tmp_path: Path, text: str, told: str) -> None:
    picture(tmp_path / "a cat_9.png").with_suffix(".txt").write_bytes(text.encode())
    picture(tmp_path / "b.png").with_suffix(".caption").write_text("b")
    rows = {row["id"]: row for row in iter_rows(tmp_path)}
    assert rows["a cat_9"]["prompt"] == told and "seed" not in rows["a cat_9"]


@pytest.mark.parametrize("seed", [4, "4", 0])
def test_json_beside_an_image_tells_its_seed(tmp_path: Path, seed: int | str) -> None:
    picture(tmp_path / "1.png").with_suffix(".txt").write_text(json.dumps({"prompt": "a cat", "seed": seed}))
    assert [row["seed"] for row in iter_rows(tmp_path)] == [seed]


@pytest.mark.parametrize(
    "text",
    [
        '{"seed": 4}', '{"prompt": ["a", "b"]}', '{"prompt": ""}', '["a cat", "a dog"]', "{}", "[]",
        '{"prompt": "a cat"', '{"prompt": "a cat"}\n{"prompt": "a dog"}', '{"prompt": "a cat", "prompt": "a dog"}',
    ],
)  # fmt: skip
def test_json_beside_an_image_without_one_prompt_is_one_line(tmp_path: Path, text: str) -> None:
    picture(tmp_path / "a cat.png").with_suffix(".txt").write_text(text)
    with pytest.raises(UserError, match=r"a cat\.txt (holds no prompt|is not JSON)"):
        prompts(tmp_path)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_a_metadata_file_goes_before_all_and_brings_its_columns(tmp_path: Path, name: str) -> None:
    import pandas

    picture(tmp_path / "train" / "1.png")
    picture(tmp_path / "train" / "sub" / "2.png")
    picture(tmp_path / "train" / "3.png")
    rows = pandas.DataFrame(
        {"file_name": ["1.png", "sub/2.png"], "text": ["one thing", "two things"], "category": ["a", "b"]}
    )
    path = tmp_path / "train" / name
    if name.endswith("jsonl"):
        rows.to_json(path, orient="records", lines=True)
    else:
        (rows.to_csv if name.endswith("csv") else rows.to_parquet)(path, index=False)
    found = {row["id"]: row for row in iter_rows(tmp_path)}
    assert found["train/1"]["prompt"] == "one thing" and found["train/sub/2"]["category"] == "b"
    assert found["train/3"]["prompt"] is None


@pytest.mark.parametrize(
    "text",
    [
        "file_name,prompt\n1.png,one\nsub/2.png,two\n",
        "File_Name;Caption;Prompt\n1.png;x;one\nsub/2.png;x;two\n",
        "image\tdescription\n1\tone\nsub\\2\ttwo\n",
        "id,positive_prompt\n1,one\nsub/2,two\n",
        "img_path,text\n./1.png,one\n/data/elsewhere/../sub/2.png,two\n",
        "image_id,sentence,seed\n1,one,4\nsub/2.png,two,5\n",
    ],
)
def test_metadata_of_any_common_kind(tmp_path: Path, text: str) -> None:
    picture(tmp_path / "1.png")
    picture(tmp_path / "sub" / "2.png")
    (tmp_path / "metadata.csv").write_text(text.replace("/data/elsewhere/..", str(tmp_path)))
    assert [Path(row["image"]).name for row in iter_rows(tmp_path)] == ["1.png", "2.png"]
    assert [row["prompt"] for row in iter_rows(tmp_path)] == ["one", "two"]


def test_a_missing_image_and_a_second_prompt_are_rows_too(tmp_path: Path) -> None:
    picture(tmp_path / "1.png")
    picture(tmp_path / "1.jpg")
    (tmp_path / "metadata.csv").write_text("file_name,prompt\n1.png,one\n1.png,again\ngone.png,gone\n")
    rows = list(iter_rows(tmp_path))
    assert [(row["id"], row["prompt"]) for row in rows] == [
        ("1", None),
        ("1#2", "one"),
        ("1#3", "again"),
        ("gone", "gone"),
    ]
    assert not Path(rows[-1]["image"]).exists()
    assert [row["prompt"] for row in iter_rows(f"{tmp_path}/*.png")] == ["one", "again"]


def test_a_table_s_columns_are_the_same_in_all_rows(tmp_path: Path) -> None:
    """A row without a file was judged on another row's picture, one without a prompt by its caption."""
    for number in range(3):
        picture(tmp_path / f"{number}.png")
    rows = "id,file_name,prompt,caption\n7,0.png,one,x\n1, ,two,x\n8,1.png,three,x\n9,2.png,,y\n"
    (tmp_path / "metadata.csv").write_text(rows)
    found = [(row["id"], Path(row["image"]).name, row["prompt"]) for row in iter_rows(tmp_path)]
    assert found == [
        ("7", "0.png", "one"), ("8", "1.png", "three"), ("9", "2.png", None),
        ("1", "row 2 without file_name.png", "two"),
    ]  # fmt: skip
    empty = "file_name,id,prompt,caption\n,0,,one\n,1,,two\n"
    (tmp_path / "metadata.csv").write_text(empty)
    assert [row["prompt"] for row in iter_rows(tmp_path)] == ["one", "two", None]


def with_texts(path: Path, **texts: str) -> Path:
    """A PNG with texts, as generators' interfaces write them."""
    info = PngInfo()
    for keyword, text in texts.items():
        info.add_itxt(keyword, text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


def graph(**nodes: dict) -> str:
    return json.dumps(nodes)


COMFY = graph(
    sampler={"class_type": "KSampler", "inputs": {"positive": ["both", 0], "negative": ["no", 0], "seed": 3}},
    both={"class_type": "ConditioningCombine", "inputs": {"conditioning_1": ["yes", 0], "conditioning_2": ["yes", 0]}},
    yes={"class_type": "CLIPTextEncode", "inputs": {"text": ["words", 0], "clip": ["model", 1]}},
    words={"class_type": "PrimitiveString", "inputs": {"value": "a red cat,\non a mat"}},
    no={"class_type": "CLIPTextEncode", "inputs": {"text": "blurry"}},
    save={"class_type": "SaveImage", "inputs": {"filename_prefix": "ComfyUI", "images": ["sampler", 0]}},
)
FLUX = graph(
    a={"class_type": "SamplerCustomAdvanced", "inputs": {"guider": ["b", 0], "noise": ["n", 0]}},
    b={"class_type": "BasicGuider", "inputs": {"conditioning": ["c", 0], "model": ["m", 0]}},
    c={"class_type": "CLIPTextEncode", "inputs": {"text": "a blue dog"}},
)
LOOP = graph(
    a={"class_type": "KSampler", "inputs": {"positive": ["b", 0]}},
    b={"class_type": "Reroute", "inputs": {"conditioning": ["b", 0]}},
)


@pytest.mark.parametrize(
    ("texts", "prompt"),
    [
        ({"parameters": "a red cat\nNegative prompt: blurry\nSteps: 20, Sampler: Euler"}, "a red cat"),
        (
            {"parameters": "an owl, 4 Steps: up\nand a moon\nSteps: 20, Sampler: Euler a"},
            "an owl, 4 Steps: up and a moon",
        ),
        ({"parameters": "\nNegative prompt: blurry\nSteps: 20"}, None),
        ({"prompt": COMFY, "workflow": "{}"}, "a red cat, on a mat"),
        ({"prompt": FLUX}, "a blue dog"),
        ({"prompt": LOOP}, None),
        ({"prompt": "[1, 2"}, None),
        ({"prompt": '{"a": 3, "b": {"class_type": "KSampler", "inputs": [1]}}'}, None),
        ({"Comment": "a red cat"}, None),
    ],
)
def test_what_a_generator_wrote_into_its_png(tmp_path: Path, texts: dict[str, str], prompt: str | None) -> None:
    assert prompt_in(with_texts(tmp_path / "1.png", **texts)) == prompt


def encoded(text: object) -> dict:
    return {"class_type": "CLIPTextEncode", "inputs": {"text": text, "clip": ["model", 1]}}


def sampled(positive: str) -> dict:
    return {"class_type": "KSampler", "inputs": {"positive": [positive, 0], "negative": ["no", 0], "model": ["m", 0]}}


SEVERAL = {
    "two samplers": {"s": sampled("a"), "t": sampled("b")},
    "a detailer first": {
        "d": {"class_type": "DetailerSampler", "inputs": {"positive": ["b", 0], "image": ["s", 0]}}, "s": sampled("a")
    },
    "concat": {
        "c": {"class_type": "x", "inputs": {"conditioning_to": ["a", 0], "conditioning_from": ["b", 0]}},
        "s": sampled("c"),
    },
    "combine": {
        "c": {"class_type": "x", "inputs": {"conditioning_1": ["a", 0], "conditioning_2": ["b", 0]}},
        "s": sampled("c"),
    },
    "joined texts": {
        "j": {"class_type": "StringConcatenate", "inputs": {"string_a": "a red cat", "string_b": "on a mat"}},
        "c": encoded(["j", 0]), "s": sampled("c"),
    },
    "a text that a model writes": {
        "j": {"class_type": "StringConcatenate", "inputs": {"string_a": "a red cat", "string_b": ["w", 0]}},
        "w": {"class_type": "Writer", "inputs": {"model": "x"}}, "c": encoded(["j", 0]), "s": sampled("c"),
    },
    "unlike texts of two encoders": {
        "c": {"class_type": "CLIPTextEncodeSDXL", "inputs": {"text_g": "a red cat", "text_l": "a red cat, photo"}},
        "s": sampled("c"),
    },
}  # fmt: skip


@pytest.mark.parametrize("made", SEVERAL)
def test_a_graph_of_several_texts_tells_no_prompt(tmp_path: Path, made: str) -> None:
    """It was half of the prompt, or the one of another image."""
    nodes = {"a": encoded("a red cat"), "b": encoded("a blue dog"), "no": encoded("ugly"), **SEVERAL[made]}
    assert prompt_in(with_texts(tmp_path / "1.png", prompt=graph(**nodes))) is None


def test_a_graph_of_one_text_tells_it_however_often(tmp_path: Path) -> None:
    nodes = {
        "c": {"class_type": "CLIPTextEncodeSDXL", "inputs": {"text_g": "a red cat", "text_l": ""}},
        "w": {"class_type": "Wildcards", "inputs": {"wildcard_text": "a {x|y} cat", "populated_text": "a red cat"}},
        "b": encoded(["w", 0]), "s": sampled("c"), "t": sampled("b"),
    }  # fmt: skip
    assert prompt_in(with_texts(tmp_path / "1.png", prompt=graph(**nodes))) == "a red cat"


def test_each_node_of_a_graph_is_looked_at_once(monkeypatch) -> None:
    """However many samplers lead along the same way, which a stranger may have made long."""
    way = {f"c{n}": {"class_type": "x", "inputs": {"conditioning": [f"c{n + 1}", 0]}} for n in range(1500)}
    asking = {
        "inputs": {name: ["c0", 0] for name in ("positive", "conditioning", "cond", "guider")},
        "class_type": "KSampler",
    }
    nodes = way | {str(n): asking for n in range(300)}
    looks: Counter[int] = Counter()
    inputs = png_prompts._inputs
    monkeypatch.setattr(png_prompts, "_inputs", lambda node: looks.update([0]) or inputs(node))
    assert png_prompts._from_graph(json.dumps(nodes)) is None
    assert looks.total() <= 5 * len(nodes)
    end = {"c1500": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red cat"}}}
    assert png_prompts._from_graph(json.dumps(nodes | end)) == "a red cat"


def test_a_picture_is_read_once_for_its_prompt_until_it_changes(tmp_path: Path, monkeypatch) -> None:
    reads: list[Path] = []
    read = png_prompts.read_cell
    monkeypatch.setattr(png_prompts, "read_cell", lambda path, limits: reads.append(path) or read(path, limits))
    for name in ("1.png", "2.png"):
        with_texts(tmp_path / name, prompt=COMFY)
    assert count_rows(str(tmp_path), "png") == len(list(iter_rows(tmp_path, prompts_from="png"))) == len(reads) == 2
    with_texts(tmp_path / "2.png", prompt=FLUX)
    assert [row["prompt"] for row in iter_rows(tmp_path, prompts_from="png")] == ["a red cat, on a mat", "a blue dog"]
    assert len(reads) == 3


def test_prompts_out_of_pngs_are_read_on_request_alone(tmp_path: Path) -> None:
    with_texts(tmp_path / "00001.png", prompt=COMFY)
    (tmp_path / "00002.png").write_bytes(b"broken")
    with pytest.raises(UserError, match="use --prompts-from png"):
        list(iter_rows(tmp_path))
    rows = list(iter_rows(tmp_path, prompts_from="png"))
    assert [row["prompt"] for row in rows] == ["a red cat, on a mat", None]
    (tmp_path / "table.csv").write_text("prompt,image\nx,00001.png\n")
    with pytest.raises(UserError, match="not a folder of images"):
        list(iter_rows(tmp_path / "table.csv", prompts_from="png"))


def test_geneval_s_layout(tmp_path: Path) -> None:
    for number, prompt in enumerate(("a photo of a bench", "a photo of two clocks")):
        folder = tmp_path / f"{number:05d}"
        picture(folder / "grid.png")  # an overview, no sample
        for seed in range(2):
            picture(folder / "samples" / f"{seed:04d}.png")
        (folder / "metadata.jsonl").write_text(json.dumps({"tag": "counting", "include": [], "prompt": prompt}) + "\n")
    rows = list(iter_rows(tmp_path))
    assert [row["prompt"] for row in rows] == ["a photo of a bench"] * 2 + ["a photo of two clocks"] * 2
    assert [row["seed"] for row in rows] == ["0000", "0001"] * 2 and {row["category"] for row in rows} == {"counting"}
    assert rows[0]["id"] == "00000/samples/0000" and count_rows(str(tmp_path)) == 4


def test_a_glob_takes_what_it_matches(tmp_path: Path) -> None:
    picture(tmp_path / "a" / "one cat.png")
    picture(tmp_path / "b" / "two cats.png")
    picture(tmp_path / "b" / "three cats.jpg")
    assert prompts(f"{tmp_path}/*/*.png") == {"a/one cat": "one cat", "b/two cats": "two cats"}


def test_folders_that_say_no_prompt_or_have_no_image_are_one_line(tmp_path: Path) -> None:
    picture(tmp_path / "photos" / "IMG_1.jpg")
    with pytest.raises(UserError, match=r"has 1 image, none with a prompt.*metadata.csv"):
        list(iter_rows(tmp_path / "photos"))
    with pytest.raises(UserError, match="has no images"):
        list(iter_rows(f"{tmp_path}/*.png"))
    picture(tmp_path / "other" / "1.png")
    (tmp_path / "other" / "metadata.csv").write_text("number,prompt\n1.png,x\n")
    with pytest.raises(UserError, match="does not say which image"):
        list(iter_rows(tmp_path / "other"))


def test_a_dataset_of_shards_stays_a_dataset(tmp_path: Path) -> None:
    picture(tmp_path / "thumbnail.png")
    (tmp_path / "data.parquet").write_bytes(b"PAR1")
    assert not is_image_folder(tmp_path) and not is_image_folder(tmp_path / "missing")


@pytest.mark.parametrize("name", ["../private.png", "{}/private.png", "folder/private.png", "../gone.png"])
def test_a_metadata_file_names_no_image_outside_the_folder(tmp_path: Path, name: str) -> None:
    """Else whoever made the folder would have a private picture sent to a judge's server."""
    picture(tmp_path / "private.png")
    picture(tmp_path / "theirs" / "1.png")
    (tmp_path / "theirs" / "folder").symlink_to(tmp_path)
    table = tmp_path / "theirs" / "metadata.csv"
    table.write_text(f"file_name,prompt\n1.png,one\n{name.format(tmp_path)},mine\n")
    with pytest.raises(UserError, match=r"leads out of .*theirs\. It would be sent to the judge"):
        list(iter_rows(tmp_path / "theirs"))


@pytest.mark.parametrize("source", ["theirs", "theirs/*.png", "theirs/**/*.png"])
def test_a_link_to_a_picture_outside_the_folder_is_refused(tmp_path: Path, source: str) -> None:
    picture(tmp_path / "private" / "a cat.png")
    picture(tmp_path / "theirs" / "a big dog.png")
    link = tmp_path / "theirs" / "a grey cat.png"
    link.symlink_to("../private/a cat.png")
    link.with_suffix(".txt").symlink_to("../private/a cat.png")  # both to one place
    with pytest.raises(UserError, match=r"a grey cat.png leads out of .*theirs"):
        list(iter_rows(tmp_path / source))
    with pytest.raises(UserError, match="leads out of"):
        image_files(tmp_path / source)


def test_a_link_to_a_folder_brings_none_of_its_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "private" / "a cat.png")
    picture(tmp_path / "theirs" / "a big dog.png")
    (tmp_path / "theirs" / "folder").symlink_to(tmp_path / "private")
    assert [row["prompt"] for row in iter_rows(tmp_path / "theirs")] == ["a big dog"]
    with pytest.raises(UserError, match=r"a cat.png leads out of .*theirs"):
        list(iter_rows(tmp_path / "theirs" / "**" / "*.png"))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_prompt_beside_an_image_and_questions_are_read_as_their_mark_says(tmp_path: Path, encoding: str) -> None:
    """As tables are: of a text in UTF-16 it was said that it is none, and a mark before UTF-8 made a line no JSON."""
    picture(tmp_path / "images" / "1.png").with_suffix(".txt").write_text("ein Kätzchen", encoding=encoding)
    assert prompts(tmp_path / "images") == {"1": "ein Kätzchen"}
    (known := tmp_path / "known.jsonl").write_bytes(
        "".join(f'{{"prompt": "{n} cats\u2028", "questions": [{QUESTION}]}}\r\n' for n in "é2").encode(encoding)
    )
    assert [*read_decompositions(known)] == ["é cats\u2028", "2 cats\u2028"]


def test_utf_16_that_is_broken_is_one_line(tmp_path: Path) -> None:
    (known := tmp_path / "known.jsonl").write_bytes('{"prompt": "a"}\n'.encode("utf-16")[:-1])
    with pytest.raises(UserError, match="Save it as UTF-8"):
        read_decompositions(known)


def test_a_link_out_of_the_folder_tells_no_prompt(tmp_path: Path) -> None:
    """Else whoever made the folder would have a private file sent to a judge's server."""
    (tmp_path / "private.txt").write_text("AWS_SECRET_ACCESS_KEY=x")
    picture(theirs := tmp_path / "theirs" / "cat.png")
    (link := theirs.with_suffix(".txt")).symlink_to("../private.txt")
    with pytest.raises(UserError, match="leads out of"):
        prompts(theirs.parent)
    link.unlink()
    link.write_bytes(b"a cat\0")
    with pytest.raises(UserError, match="holds no prompt"):
        prompts(theirs.parent)
    link.unlink()
    (theirs.parent / "metadata.csv").symlink_to("../private.txt")
    with pytest.raises(UserError, match="leads out of"):
        prompts(theirs.parent)


def test_links_within_the_folder_and_in_the_hubs_cache_are_read(tmp_path: Path) -> None:
    picture(cat := tmp_path / "mine" / "first" / "cat.png")
    cat.with_suffix(".txt").write_text("a grey cat")
    hub = tmp_path / "models--me--cats"
    picture(hub / "blobs" / "1.png").rename(hub / "blobs" / "1")
    (hub / "blobs" / "2").write_text("a grey cat")
    for folder, targets in (("mine", ("first/cat.png", "first/cat.txt")),
                            ("models--me--cats/snapshots/c", ("../../blobs/1", "../../blobs/2"))):  # fmt: skip
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for ending, target in zip((".png", ".txt"), targets, strict=True):
            (tmp_path / folder / f"cat{ending}").symlink_to(target)
        assert prompts(tmp_path / folder)["cat"] == "a grey cat"


def test_a_name_without_its_folder_is_taken_where_one_row_has_it(tmp_path: Path) -> None:
    """The one picture there had the prompts of both rows."""
    rows = "file_name,prompt\na/0.png,a cat\nb/0.png,a dog\nc/1.png,a cow\n"
    (tmp_path / "metadata.csv").write_text(rows)
    picture(tmp_path / "0.png")
    picture(tmp_path / "1.png")
    found = [(row["id"], row["prompt"], Path(row["image"]).is_file()) for row in iter_rows(tmp_path)]
    assert found == [("0", None, True), ("1", "a cow", True), ("0#2", "a cat", False), ("0#3", "a dog", False)]


def test_a_name_from_the_root_is_no_image_that_has_a_row_of_its_own(tmp_path: Path) -> None:
    """A picture missing in a folder gave its prompt to the one above that is called the same."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "metadata.csv").write_text("file_name,prompt\n0.png,a cat\n")
    (tmp_path / "sub" / "metadata.csv").write_text("file_name,prompt\n0.png,a dog\nsub/1.png,a cow\n")
    picture(tmp_path / "0.png")
    picture(tmp_path / "sub" / "1.png")
    found = {(row["prompt"], Path(row["image"]).is_file()) for row in iter_rows(tmp_path)}
    assert found == {("a cat", True), ("a dog", False), ("a cow", True)}


def test_a_picture_that_a_glob_leaves_out_gives_its_prompt_to_no_other(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file_name,prompt\nsub/0.png,a dog\n1.png,a cat\n")
    for name in ("0.png", "1.png", "sub/0.png"):
        picture(tmp_path / name)
    found = iter_rows(f"{tmp_path}/*.png")
    assert [(row["id"], row["prompt"]) for row in found] == [("0", None), ("1", "a cat")]


def test_every_image_of_a_folder_has_an_id_of_its_own(tmp_path: Path) -> None:
    for name in ("a#2.png", "a.jpg", "a.png"):
        picture(tmp_path / name)
        (tmp_path / name).with_suffix(".txt").write_text("a cat on a mat")
    assert [row["id"] for row in iter_rows(tmp_path)] == ["a#2", "a", "a#3"]
