"""The commands and snippets of the guide (metrics/README.md), run as a user types them, and what they print."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from recipes.example_pictures import write_pictures
from recipes.loopback.http import started
from recipes.loopback.judge_server import serving
from recipes.scenes.render import make_scenes
from t2i_judge.rewards import LocalRewards
from tests.embedded import needs_embedded_judge
from tests.recipes.photographs import write_photographs
from tests.users_shell import assert_shown, blocks, shown, typed

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "metrics" / "README.md").read_text(encoding="utf-8")
LOCAL = "http://127.0.0.1:8000"


def section(heading: str) -> str:
    """What stands under a heading."""
    [text] = [part for part in re.split(r"^## ", GUIDE, flags=re.MULTILINE) if part.startswith(f"{heading}\n")]
    return text


def commands(heading: str) -> list[str]:
    """The lines of the shell blocks under a heading."""
    return [line for block in blocks(section(heading), "sh") for line in block.splitlines()]


@pytest.fixture(scope="module")
def ten_photographs(tmp_path_factory):
    """images.csv and what it names."""
    folder = tmp_path_factory.mktemp("ten")
    with write_photographs(folder).open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["generator"] == "camera"][:10]
    with (folder / "images.csv").open("w", newline="") as out:
        table = csv.writer(out)
        table.writerow(["prompt", "image"])
        table.writerows([row["prompt"], f"pictures/{row['image']}"] for row in rows)
    return folder


@pytest.mark.parametrize(("number", "dialect", "score"), [(0, "plain", "6.0"), (1, "thinks-by-rule", "9.0")])
def test_one_command_scores_ten_photographs_by_any_server_and_by_a_model_that_reasons(
    number, dialect, score, ten_photographs
):
    command = commands("Asking a server")[number]
    with started("recipes.loopback.dialects", ["--name", dialect]) as address:
        command = command.replace(LOCAL, address.removesuffix("/v1"))
        done = typed(command, ten_photographs, OPENAI_BASE_URL=address, OPENAI_API_KEY="sk-loopback")
    assert "10 items, failed: none" in done.stdout
    out = command.split()[-1]
    with (ten_photographs / out / "scores.csv").open(newline="") as lines:
        assert [(row["status"], row["overall"]) for row in csv.DictReader(lines)] == [("ok", score)] * 10


@pytest.fixture
def pictures(ten_photographs, tmp_path):
    """AVIF photographs with their prompts beside them, and GenEval's folders of two tags."""
    with (ten_photographs / "images.csv").open(newline="") as lines:
        rows = [(row["prompt"], Image.open(ten_photographs / row["image"])) for row in csv.DictReader(lines)]
    (tmp_path / "photographs").mkdir()
    for number, (prompt, image) in enumerate(rows):
        image.save(tmp_path / "photographs" / f"{number}.avif")
        (tmp_path / "photographs" / f"{number}.txt").write_text(prompt)
        folder = tmp_path / "geneval" / f"{number:05d}"
        (folder / "samples").mkdir(parents=True)
        image.save(folder / "samples" / "0000.png")
        image.save(folder / "grid.png")
        about = {"tag": ("counting", "colors")[number % 2], "include": [], "prompt": prompt}
        (folder / "metadata.jsonl").write_text(json.dumps(about) + "\n")
    return tmp_path


@pytest.mark.parametrize("number", [0, 1])
def test_one_command_scores_a_folder_of_avif_with_sidecars_and_geneval_s_folders(number, pictures):
    command = commands("Your pictures and tables")[number]
    with started("recipes.loopback.dialects", ["--name", "plain"]) as address:
        command = command.replace(LOCAL, address.removesuffix("/v1"))
        done = typed(command, pictures, OPENAI_BASE_URL=address, OPENAI_API_KEY="sk-loopback")
    assert "10 items, failed: none" in done.stdout
    with (pictures / command.split()[-1] / "scores.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["status"], row["overall"]) for row in rows] == [("ok", "6.0")] * 10
    prompts = {path.read_text() for path in (pictures / "photographs").glob("*.txt")}
    assert {row["prompt"] for row in rows} == prompts
    if "geneval" in command:
        assert "by category" in done.stdout and "counting" in done.stdout and "n 5" in done.stdout
        assert rows[0]["id"] == "00000/samples/0000"


def test_two_runs_of_the_same_items_have_not_drifted(tmp_path):
    [drift] = commands("Prompt sets by name, and CI")
    lines = [
        {"image_id": str(n), "prompt": f"prompt {n}", "status": "ok", "scores": {"overall": float(n)}, "row": {}}
        for n in range(10)
    ]
    for run in ("yesterday", "today"):
        shards = tmp_path / run / "shards"
        shards.mkdir(parents=True)
        (tmp_path / run / "run.json").write_text("{}")
        (shards / "000000.json").write_text("{}")
        (shards / "000000.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert typed(drift, tmp_path).stdout


def test_spreadsheets_of_people_s_ratings_give_what_the_guide_prints(tmp_path):
    """The tables as they stand there, the commands, and their output, figure by figure."""
    text = section("Against people")
    tables, printed = blocks(text, "text"), shown(text, "sh")
    assert len(printed) == 2
    for table, (command, output) in zip(tables[::2], printed.items(), strict=True):
        (tmp_path / command.split()[2]).write_text(table, encoding="utf-8")
        lines = typed(command, tmp_path, COLUMNS="80").stdout.splitlines()
        assert [line.rstrip() for line in lines] == output.splitlines()


@pytest.mark.slow
@needs_embedded_judge
def test_the_server_and_the_three_lines_of_a_trainer(tmp_path):
    """The command as it stands, at a free port; the snippet as it stands, with that address."""
    serve, _ = commands("Serving a judge")
    [snippet] = blocks(section("Serving a judge"), "python")
    prompt, _, _, image = make_scenes(1, 0)[0]
    image.save(tmp_path / "scene.png")
    assert serve.startswith("t2i-judge serve ") and serve.endswith(" --port 8000")
    with serving(*serve.removeprefix("t2i-judge serve ").removesuffix(" --port 8000").split()) as address:
        code = snippet.replace(LOCAL, address).replace("two red circles", prompt.text)
        (tmp_path / "snippet.py").write_text(code)
        done = typed("python snippet.py", tmp_path)
    assert re.match(r"\[\(\d", done.stdout), done.stdout
    assert "'ok', None" in done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """The folder in which the guide's examples are typed: the example's pictures, and the scripts."""
    folder = tmp_path_factory.mktemp("checkout")
    write_pictures(folder / "example")
    shutil.copytree(ROOT / "metrics" / "examples", folder / "metrics" / "examples")
    return folder


SNIPPETS = shown(section("In Python"), "python")
EXAMPLES = shown(section("In Python"), "sh") | shown(section("Serving a judge"), "sh")


@pytest.mark.slow
@needs_embedded_judge
def test_the_snippets_print_what_the_guide_shows(checkout):
    """One after the other in one process, as in a notebook."""
    assert len(SNIPPETS) == len(blocks(section("In Python"), "python")) == 2
    (checkout / "snippets.py").write_text("\n".join(SNIPPETS))
    assert_shown("".join(SNIPPETS.values()), typed("python snippets.py", checkout).stdout)


@pytest.mark.slow
@needs_embedded_judge
def test_the_example_scripts_print_what_the_guide_shows(checkout):
    assert [example.split()[1] for example in EXAMPLES] == [
        f"metrics/examples/{path.name}" for path in sorted((ROOT / "metrics" / "examples").glob("*.py"))
    ]
    for example, expected in EXAMPLES.items():
        assert_shown(expected, typed(example, checkout).stdout)


@pytest.mark.slow
@needs_embedded_judge
def test_trl_s_own_trainer_takes_the_example_s_reward(checkout, tmp_path):
    """One step of GRPO on a random language model; the picture that is missing has no reward, which is not one of 0."""
    from datasets import Dataset
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    spec = importlib.util.spec_from_file_location("reward_function", ROOT / "metrics/examples/reward_function.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "metrics/t2i_judge/weights/tiny/base")
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=1,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    picture, wish = str(checkout / "example/ours/00.png"), "two red circles above a blue star"
    rewards = LocalRewards("tiny", on_failure="nan")
    trainer = GRPOTrainer(
        LlamaForCausalLM(config),
        reward_funcs=example.trl_reward(rewards, draw=lambda texts: [picture] * (len(texts) - 1) + ["missing.png"]),
        args=GRPOConfig(
            str(tmp_path), per_device_train_batch_size=4, num_generations=4, max_completion_length=4, max_steps=1,
            logging_steps=1, report_to="none", use_cpu=True, bf16=False, gradient_checkpointing=None,
            activation_checkpointing=False,
        ),
        train_dataset=Dataset.from_dict({"prompt": ["Improve this prompt: "], "wish": [wish]}),
        processing_class=tokenizer,
    )  # fmt: skip
    trainer.train()
    [expected] = rewards.score([picture], [wish])
    assert trainer.state.log_history[0]["reward"] == pytest.approx(expected.score, abs=1e-4)
