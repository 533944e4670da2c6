"""A user's own release, from a clone to the Hub: photographs in a CSV, a teacher for money, a base on the Hub, people.

One story in order, each step a command as people type it in a clone of their own: look, release, release again, edit a
rating and release it as the next version, a second recipe, trained in a job, beside the first. The Hub and the teacher
are on loopback; everything between them is the real thing, at toy size, on a CPU. It is the story of the guide,
recipes/README.md, which shows its table, its recipe and what each step prints.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import HfApi

from recipes.loopback.http import started
from recipes.loopback.hub.jobs import LIVE
from recipes.loopback.hub.server import Running, start
from tests.caches import new_home
from tests.recipes.checkout import ROOT, Checkout
from tests.recipes.hub_bases import TINY_MINICPM, TINY_QWEN, put_base, write_minicpm, write_qwen
from tests.recipes.photographs import GENERATORS, HELD_OUT, write_photographs, write_ratings
from tests.users_shell import assert_shown, blocks, shown

pytestmark = pytest.mark.slow
FAMILIES = {"minicpm": ("minicpm-v-2.6", TINY_MINICPM, write_minicpm), "qwen": ("qwen3-vl-8b", TINY_QWEN, write_qwen)}
OF_ANY_FAMILY = pytest.mark.parametrize("lab", ["minicpm"], indirect=True)  # the same for every base: once will do
GUIDE = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
[GUIDE_S_RECIPE] = blocks(GUIDE, "yaml")
STEPS = shown(GUIDE, "sh")  # what is typed -> what it prints
SENDING = re.compile(r"POST .*/(commit|create|tag|preupload|collections)|PUT |DELETE ")
PEOPLE = 2


@dataclass
class Lab:
    """A clone, the Hub that it meets, and where its teacher answers."""

    clone: Checkout
    hub: Running
    teacher: str
    base: str
    commit: str
    extends: str
    uploaded: int = 0  # requests by which the base came onto the Hub

    def recipe(self, name: str = "photographs", **changes: Any) -> None:
        """Write recipes/NAME/recipe.yaml: the shipped one, on the user's own data and a small base."""
        content = yaml.safe_load(GUIDE_S_RECIPE)
        content |= {
            "extends": self.extends,
            "name": name,
            "teacher": {**content["teacher"], "base_url": self.teacher},
            "base": {"model": self.base},
            "adapter": {"r": 4, "alpha": 8},
            "training": {
                "max_steps": 2, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1, "bf16": False,
                "logging_steps": 1, "save_steps": 2, "dataloader_num_workers": 0,
            },
            "evaluation": {**content["evaluation"], "resamples": 100, "subtask_images": 2, "selftest_items": 3},
            "release": {**content["release"], "untrained": True},
            **changes,
        }  # fmt: skip
        folder = self.clone.folder / "recipes" / name
        folder.mkdir(exist_ok=True)
        (folder / "recipe.yaml").write_text(yaml.safe_dump(content))

    def release(self, *more: str, name: str = "photographs", **environment: str) -> str:
        """`make release RECIPE=NAME NAMESPACE=me ...`, which has to end well."""
        arguments = ["--recipe", name, "--namespace", "me", "--allow", "baseline", *more]
        return self.clone.done("recipes.release", *arguments, **environment)

    def asked(self) -> int:
        """Calls that the teacher answered so far."""
        with urllib.request.urlopen(f"{self.teacher}/stats") as response:
            return json.load(response)["calls"]

    def sent(self) -> int:
        """Requests so far by which something of ours came onto the Hub."""
        return sum(bool(SENDING.match(call)) for call in self.hub.hub.calls) - self.uploaded

    def read(self, repository: str, path: str, kind: str = "model", revision: str = "main") -> str:
        """A file on the Hub."""
        local = HfApi(self.hub.endpoint, token="hf_me").hf_hub_download(
            repository, path, repo_type=kind, revision=revision, force_download=True
        )
        return Path(local).read_text(encoding="utf-8")

    def build(self, name: str = "photographs") -> Path:
        return self.clone.folder / "build" / name


@pytest.fixture(scope="module", params=FAMILIES)
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A new user: a clone, photographs, ratings, a base on the Hub, and nothing else."""
    root = tmp_path_factory.mktemp(request.param)
    extends, base, write_base = FAMILIES[request.param]
    hub = start(root / "hub", users={"hf_me": "me"})
    environment = {
        "HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "hf_me", "HF_HUB_DISABLE_XET": "1", "OPENAI_API_KEY": "none",
        "OMP_NUM_THREADS": "2",
    }  # fmt: skip
    with started("tests.recipes.photo_teacher") as teacher:
        commit = put_base(hub, write_base(root / "base"), base)
        made = Lab(Checkout(root / "clone", environment), hub, teacher, base, commit, extends)
        made.uploaded = made.sent()
        write_photographs(made.clone.folder / "data")
        write_ratings(made.clone.folder / "data")
        made.recipe()
        yield made
    hub.stop()


@pytest.fixture(scope="module")
def looked(lab: Lab) -> str:
    """`make release DRY_RUN=1`, before anything is paid for."""
    return lab.clone.done("recipes.release", "--recipe", "photographs", "--namespace", "me", "--dry-run")


@pytest.fixture(scope="module")
def stepped(lab: Lab, looked: str) -> dict[str, str]:
    """What the guide's steps before a release print, each of them by itself, as the first family's user does it."""
    if lab.extends != FAMILIES["minicpm"][0]:
        return {}
    commands = [re.search(r"python -m (recipes\.\w+) (.*)", block) for block in STEPS]
    steps = [found for found in commands if found and found[1] != "recipes.preflight"]
    return {found[0]: lab.clone.done(found[1], *found[2].split()) for found in steps}


@pytest.fixture(scope="module")
def released(lab: Lab, stepped: dict[str, str]) -> str:
    """The first release."""
    return lab.release("--version", "1.0.0")


def stranger(lab: Lab, tmp_path: Path, script: str) -> str:
    """A program in a process with an empty cache, where nothing of the clone can be imported but what it installs."""
    environment = {**lab.clone.environment, "HF_HOME": new_home(tmp_path / "home")}
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


def front_matter(card: str) -> Mapping[str, Any]:
    return yaml.safe_load(card.split("---")[1])


def test_every_question_is_asked_before_the_first_cent(lab: Lab, looked: str) -> None:
    assert lab.asked() == 0 and lab.sent() == 0
    for word in ("licen", "ratings", "new_prompts", "namespace", "token", "disk"):
        assert word in looked.lower(), word
    assert str(3 * len(HELD_OUT)) in looked


@OF_ANY_FAMILY
def test_the_guide_shows_the_table_and_what_each_step_prints(
    lab: Lab, looked: str, stepped: dict[str, str], released: str
) -> None:
    table = (lab.clone.folder / "data" / "items.csv").read_text().splitlines()
    assert blocks(GUIDE, "text")[0].splitlines() == table[:4]
    assert len(STEPS) == 5 and len(stepped) == 3
    for block, expected in STEPS.items():
        printed = {"recipes.preflight": looked, "make release": released}
        words = next((found for words, found in printed.items() if words in block), None)
        assert_shown(expected, words or stepped[block.strip().splitlines()[-1]])


def test_the_release_arrives_and_every_door_opens(lab: Lab, released: str) -> None:
    assert "  FAILED  " not in released and "Traceback" not in released
    gate = released.split("[gate]")[1].split("[gate] done")[0]
    assert set(re.findall(r"^  \[(\w+)\]", gate, re.MULTILINE)) <= {"baseline", "selftest"}, gate
    api = HfApi(lab.hub.endpoint, token="hf_me")
    for kind, name in (
        ("dataset", "me/t2i-judge-bench-photographs"),
        ("dataset", "me/t2i-judge-distill-photographs"),
        ("model", "me/t2i-judge-photographs"),
        ("space", "me/t2i_judge"),
        ("space", "me/t2i-judge-demo"),
    ):
        tags = {tag.name for tag in api.list_repo_refs(name, repo_type=kind).tags}
        assert tags & {"v1.0.0", "photographs-v1.0.0"}, (name, tags)


def test_the_base_keeps_its_name_and_its_commit(lab: Lab, released: str) -> None:
    config = json.loads(lab.read("me/t2i-judge-photographs", "adapter_config.json"))
    assert (config["base_model_name_or_path"], config["revision"]) == (lab.base, lab.commit)
    judge = json.loads(lab.read("me/t2i-judge-photographs", "judge.json"))
    assert judge["base"]["model"] == lab.base and judge["base"]["revision"] == lab.commit
    files = HfApi(lab.hub.endpoint, token="hf_me").list_repo_files("me/t2i-judge-photographs")
    assert not any(path.startswith("base/") for path in files)
    card = lab.read("me/t2i-judge-photographs", "README.md")
    assert front_matter(card)["base_model"] in (lab.base, [lab.base])


def test_people_s_ratings_stand_in_benchmark_card_and_results(lab: Lab, released: str, tmp_path: Path) -> None:
    rows = json.loads(
        stranger(
            lab,
            tmp_path,
            "import json\nfrom datasets import load_dataset\n"
            "rows = load_dataset('me/t2i-judge-bench-photographs', split='new_prompts')\n"
            "print(json.dumps([[row['id'], row['generator'], row['human_scores']] for row in rows]))",
        ).splitlines()[-1]
    )
    assert len(rows) == len(HELD_OUT) * len(GENERATORS) and all(scores for _, _, scores in rows)
    card = lab.read("me/t2i-judge-bench-photographs", "README.md", "dataset")
    assert (
        "No human scores" not in card and "image generators" not in card.split("Photographs, and renderings")[0][-200:]
    )
    results = json.loads((lab.build() / "results.json").read_text())
    people = [row for row in results["rows"] if row["judge"] == "annotator"]
    assert people and all(row["n"] == len(rows) for row in people if row["aspect"] == "overall")


def test_a_stranger_judges_and_evaluates_with_what_is_on_the_hub(lab: Lab, released: str, tmp_path: Path) -> None:
    picture = lab.clone.folder / "data" / "pictures" / "camera" / "00.jpg"
    script = (
        "from t2i_judge import load_judge\n"
        f"judge = load_judge('hf:me/t2i-judge-photographs')\n"
        f"(judgement,) = judge.score([{str(picture)!r}], ['a person'])\n"
        "print(judgement.status, judgement.judge.revision)\n"
    )
    assert "Traceback" not in stranger(lab, tmp_path, script)


@OF_ANY_FAMILY
def test_the_same_release_again_sends_nothing_and_pays_nothing(lab: Lab, released: str) -> None:
    before = lab.asked(), lab.sent()
    again = lab.release("--version", "1.0.0")
    assert (lab.asked(), lab.sent()) == before and "  FAILED  " not in again


@OF_ANY_FAMILY
def test_an_edited_rating_goes_out_with_a_new_version_and_trains_nothing(lab: Lab, released: str) -> None:
    weights = (lab.build() / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns
    before = lab.asked(), json.loads((lab.build() / "results.json").read_text())["rows"]
    ratings = write_ratings(lab.clone.folder / "data", shift=-1.0)
    ratings.write_text(ratings.read_text().replace("camera/08.jpg,ann,overall,8.0", "camera/08.jpg,ann,overall,1.0"))
    lab.release("--version", "1.0.1")
    assert lab.asked() == before[0]
    assert (lab.build() / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns == weights
    assert json.loads((lab.build() / "results.json").read_text())["rows"] != before[1]
    api = HfApi(lab.hub.endpoint, token="hf_me")
    for kind, name in (("dataset", "me/t2i-judge-bench-photographs"), ("model", "me/t2i-judge-photographs")):
        tags = {tag.name: tag.target_commit for tag in api.list_repo_refs(name, repo_type=kind).tags}
        assert any(tag.endswith("1.0.1") for tag in tags) and len(set(tags.values())) == 2, (name, tags)


@dataclass(frozen=True)
class Rented:
    """A second recipe's release, trained in a job: what it printed, and two files of the first from before it."""

    printed: str
    metric: str
    card: str


@pytest.fixture(scope="module")
def rented(lab: Lab, released: str) -> Rented:
    """Another mixture of sub-tasks, trained on rented hardware; the next release brings the job home."""
    metric = lab.read("me/t2i_judge", "t2i_judge.py", "space")
    card = lab.read("me/t2i-judge-bench-photographs", "README.md", "dataset")
    lab.recipe("rented", mixture={"score": 2})
    lab.clone.done("recipes.build_dataset", "--recipe", "rented")
    lab.clone.done("recipes.train", "--recipe", "rented", "--jobs", "cpu-basic", "--namespace", "me")
    (job,) = lab.hub.hub.jobs.jobs
    waited = 0
    while job.stage in LIVE and waited < 1200:
        time.sleep(1)
        waited += 1
    assert job.stage == "COMPLETED", job.log()[-3000:]
    return Rented(lab.release("--version", "1.0.0", name="rented"), metric, card)


@OF_ANY_FAMILY
def test_a_job_is_brought_home_by_the_next_release(lab: Lab, rented: Rented) -> None:
    assert "every hash is as the job wrote it" in rented.printed and "train_runtime" not in rented.printed
    assert json.loads((lab.build("rented") / "training_log.json").read_text())["log_history"]


@OF_ANY_FAMILY
def test_a_second_recipe_stands_beside_the_first(lab: Lab, rented: Rented) -> None:
    assert lab.read("me/t2i_judge", "t2i_judge.py", "space") == rented.metric
    assert lab.read("me/t2i-judge-bench-photographs", "README.md", "dataset") == rented.card
    assert json.loads(lab.read("me/t2i-judge-rented", "judge.json"))["name"] == "rented"
