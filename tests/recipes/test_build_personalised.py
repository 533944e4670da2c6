"""From keywords and images to a set: licences, a person's word, graded prompts without near-duplicates, the dataset."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from recipes.benchmarks.graded_prompts import COUNTS, LEVELS, near_duplicate, write_prompts
from recipes.benchmarks.subjects import MANIFEST, Subject, confirm, read_keywords, read_subjects
from recipes.build_personalised import main
from t2i_judge.errors import UserError
from t2i_judge.served.client import OpenAIBackend
from tests.metrics.conftest import FakeOpenAI, completion

HEADER = "file,keyword,photorealistic,license,source,author,confirmed\n"
KITTEN = "kitten/a.png,kitten,yes,CC0-1.0,https://example.org/1,Ann,yes\n"
INK = "ink.png,ink drawing,no,CC-BY-4.0,https://example.org/2,,yes\n"
PLACES = ("a boat", "the moon", "two old towers", "wet sand", "a red sofa", "green hills", "an empty street",
          "someone's hat", "a frozen lake", "the kitchen floor", "heavy rain", "a paper box")  # fmt: skip


@pytest.fixture
def images(tmp_path):
    """Two images on disk, without a manifest."""
    folder = tmp_path / "images"
    (folder / "kitten").mkdir(parents=True)
    Image.new("RGB", (32, 32), "orange").save(folder / "kitten" / "a.png")
    Image.new("RGB", (32, 32), "black").save(folder / "ink.png")
    return folder


@pytest.fixture
def keywords(tmp_path):
    path = tmp_path / "keywords.csv"
    path.write_text("keyword,category\nkitten,live\nink drawing,style\n")
    return path


@pytest.fixture
def served():
    with FakeOpenAI() as server:
        yield server


def teach(served, write):
    """A teacher whose prompts are `write(n, keyword)` for the n-th call: (level, text) pairs."""
    calls = []

    def respond(request, n):
        text = request["messages"][-1]["content"]
        calls.append(text)
        keyword = text.split("<keyword>\n")[1].split("\n")[0]
        listed = [{"level": level, "text": said} for level, said in write(len(calls) - 1, keyword)]
        return completion(json.dumps({"prompts": listed}))

    served.respond = respond
    return calls


def good(n, keyword):
    levels = [level for level, count in COUNTS.items() for _ in range(count)]
    return [(level, f"{keyword} {number} {place}") for number, (level, place) in enumerate(zip(levels, PLACES))]


def run(served, keywords, images, tmp_path, *more):
    out = tmp_path / "out"
    options = ["--keywords", str(keywords), "--images", str(images), "--out", str(out)]
    return main([*options, "--teacher", "m", "--base-url", served.url, *more]), out


def test_keywords_to_dataset(served, keywords, images, tmp_path):
    from datasets import load_dataset

    (images / MANIFEST).write_text(HEADER + KITTEN + INK)
    calls = teach(served, good)
    code, out = run(served, keywords, images, tmp_path)
    assert code == 0 and len(calls) == 2
    rows = load_dataset(str(out), split="test")
    assert len(rows) == 18
    first, last = rows[0], rows[-1]
    assert (first["id"], first["category"], first["license"]) == ("live_00_kitten-0", "live", "CC0-1.0")
    assert (last["id"], last["photorealistic"], last["author"]) == ("style_00_ink_drawing-8", False, None)
    assert first["reference_image"].getpixel((0, 0)) == (255, 165, 0)
    assert [row["difficulty"] for row in rows][:9] == [level for level in LEVELS for _ in range(COUNTS[level])]
    card = (out / "README.md").read_text()
    assert "| style_00_ink_drawing | CC-BY-4.0 | – | https://example.org/2 |" in card
    assert "| live | 4 | 3 | 2 |" in card
    code, _ = run(served, keywords, images, tmp_path)
    assert code == 0 and len(calls) == 2  # nothing is paid for twice


def test_what_no_build_wrote_stays_where_it_is(served, keywords, images, tmp_path, capsys):
    (images / MANIFEST).write_text(HEADER + KITTEN)
    calls = teach(served, good)
    (mine := tmp_path / "out" / "data").mkdir(parents=True)
    (mine / "my_notes.txt").write_text("mine")
    (mine / "cat").mkdir()
    (mine / "cat" / "0.jpg").write_bytes(b"mine")
    card = tmp_path / "out" / "README.md"
    card.write_text("by hand")
    assert run(served, keywords, images, tmp_path)[0] == 2 and not calls  # it is said before anything is paid for
    assert f"{card} is there already. No build wrote it" in capsys.readouterr().err
    assert card.read_text() == "by hand"
    card.unlink()
    for _ in range(2):
        assert run(served, keywords, images, tmp_path)[0] == 0
    assert (mine / "my_notes.txt").read_text() == "mine" and (mine / "cat" / "0.jpg").read_bytes() == b"mine"
    assert len(list(mine.glob("*.parquet"))) == 1


def test_counts_are_configurable(served, keywords, images, tmp_path):
    (images / MANIFEST).write_text(HEADER + KITTEN)
    calls = teach(served, good)
    code, out = run(served, keywords, images, tmp_path, "--photorealistic", "1", "--imaginative", "0")
    assert code == 0
    assert "Wanted: 1 photorealistic, 3 non_photorealistic." in calls[0]
    assert json.loads((out / "BUILT.json").read_text())["prompts"] == 4


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--imaginative", "-1"], "numbers of prompts"),
        ([f"--{level.replace('_', '-')}=0" for level in LEVELS], "numbers of prompts"),
        (["--max-cost", "1"], "Give a price table (--prices FILE)"),
        (["--prices", "nowhere.yaml"], "Cannot read prices from nowhere.yaml"),
    ],
)
def test_wrong_calls_are_one_line(served, keywords, images, tmp_path, capsys, options, says):
    code, _ = run(served, keywords, images, tmp_path, *options)
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1)
    assert says in error


def test_a_manifest_is_begun_and_wants_licences(keywords, images):
    listed = read_keywords(keywords)
    with pytest.raises(UserError, match="now lists 2 images"):
        read_subjects(images, listed)
    assert (images / MANIFEST).read_text().splitlines() == [HEADER.strip(), "ink.png,,,,,,", "kitten/a.png,kitten,,,,,"]
    (images / MANIFEST).write_text(HEADER + KITTEN.replace("CC0-1.0", ""))
    with pytest.raises(UserError, match="row 1: no license"):
        read_subjects(images, listed)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (KITTEN.replace("CC0-1.0", "All rights reserved"), "licence 'All rights reserved'"),
        (KITTEN.replace(",kitten,", ",kiten,"), "nearest is 'kitten'"),
        (KITTEN.replace("a.png", "b.png"), "kitten/b.png"),
        (KITTEN.replace(",yes,CC0", ",perhaps,CC0"), "The cell must say yes or no"),
        (KITTEN.replace("kitten/a.png", "../keywords.csv"), r"row 1: \.\./keywords.csv.* leads out of .*images"),
        (KITTEN + KITTEN, "is the same image as kitten/a.png"),
    ],
)
def test_a_wrong_row_is_named(keywords, images, row, message):
    (images / MANIFEST).write_text(HEADER + row)
    with pytest.raises(UserError, match=message):
        read_subjects(images, read_keywords(keywords))


def subjects(n):
    return [Subject(f"{i}.png", "kitten", "live", True, "CC0-1.0", "s", None, str(i)) for i in range(n)]


def test_a_person_decides_once_and_may_come_back(tmp_path):
    """y, n, nonsense then skip, quit; the second session asks for what is open only."""
    path, asked = tmp_path / "confirmed.jsonl", []
    answers = iter(["y", "No", "what?", "s", "q"])
    found = confirm(subjects(5), path, lambda question: asked.append(question) or next(answers))
    assert [subject.confirmed for subject in found] == [True, False, None, None, None]
    answers = iter(["y", "y", "y"])
    found = confirm(subjects(5), path, lambda question: asked.append(question) or next(answers))
    assert [subject.confirmed for subject in found] == [True, False, True, True, True]
    assert "[1/3] 2.png (kitten)" in asked[5]


def test_without_anybody_to_ask_nothing_is_confirmed(served, keywords, images, tmp_path, capsys):
    (images / MANIFEST).write_text(HEADER + KITTEN.replace(",yes\n", ",\n"))
    assert run(served, keywords, images, tmp_path)[0] == 2
    assert "No image is confirmed. A person's yes or no is missing for 1 of 1 image." in capsys.readouterr().err
    assert served.calls == []


@pytest.mark.parametrize(
    ("text", "near"),
    [
        ("A kitten on a beach.", True),
        ("a kitten on the beach", True),
        ("a kitten asleep on a beach", True),
        ("a kitten inside a teapot", False),
        ("an oil painting of a kitten at sea", False),
    ],
)
def test_near_duplicates(text, near):
    assert near_duplicate(text, ["a dog", "a kitten on a beach"]) is near


def backend_of(served):
    return OpenAIBackend("m", served.url, api_key="k")


def test_what_is_missing_is_asked_for_again(served):
    """The first reply repeats itself and forgets the keyword once; the second round fills the gaps."""

    def write(n, keyword):
        rows = good(n, keyword)
        return [*rows[:3], ("photorealistic", rows[2][1] + "!"), *rows[4:8], ("imaginative", "a dog")] if not n else [
            ("photorealistic", f"{keyword} with five blue balloons"), ("imaginative", f"{keyword} made of clocks")
        ]  # fmt: skip

    calls = teach(served, write)
    written = write_prompts(backend_of(served), subjects(1))["0"]
    assert written.reason is None and len(written.prompts) == 9
    assert len({prompt.text for prompt in written.prompts}) == 9
    assert "Wanted: 1 photorealistic, 1 imaginative." in calls[1]
    assert "kitten 2 two old towers" in calls[1].split("<prompts_that_exist>")[1]


def test_subjects_of_one_keyword_share_no_prompt(served):
    """Asked about the second image the teacher first says the same again; that is not taken."""

    def write(n, keyword):
        usual = good(n, keyword)[:2]
        return usual if n < 2 else [(level, f"far away from here: {text}") for level, text in usual]

    calls = teach(served, write)
    written = write_prompts(backend_of(served), subjects(2), {"photorealistic": 2})
    first, second = ([prompt.text for prompt in written[name].prompts] for name in "01")
    assert len(calls) == 3 and len(second) == 2
    assert not any(near_duplicate(text, first) for text in second)


def test_a_teacher_that_never_finishes_is_reported(served, keywords, images, tmp_path):
    (images / MANIFEST).write_text(HEADER + KITTEN)
    teach(served, lambda n, keyword: [("imaginative", f"{keyword} in space")])
    code, out = run(served, keywords, images, tmp_path)
    assert code == 1
    record = json.loads((out / "BUILT.json").read_text())
    assert record["prompts"] == 1
    assert "lacked 4 photorealistic, 3 non_photorealistic, 1 imaginative" in record["incomplete"]["kitten/a.png"]
