"""Every question before the first cent: each fault is found, all at once, and its fix makes it go away."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from recipes import release
from recipes.build_dataset import build
from recipes.distillation.spending import paid
from recipes.evaluation.judging import further_judges
from recipes.hub.repositories import PARTS
from recipes.preflight import main, progress_of
from recipes.publish.preflight import Check, Progress, Target, asked_for_money, preflight, table
from recipes.publish.preflight_data import look_at
from recipes.publish.preflight_needs import cost
from recipes.recipe.build_folder import BuildFolder
from recipes.recipe.config import load_recipe
from recipes.recipe.items import read_items
from t2i_judge.errors import UserError
from t2i_judge.inputs.images import load_image
from tests.loopback_hub import loopback
from tests.metrics.conftest import FakeOpenAI, completion, failure
from tests.metrics.judges.test_teacher import has_image, text_of
from tests.recipes.test_money import answer

CHECKOUT = Path(__file__).parents[2]
Change = Callable[[Path, dict[str, Any]], None]


@pytest.fixture
def server():
    with FakeOpenAI() as served:
        served.respond = answer
        yield served


@pytest.fixture
def place(tmp_path: Path, server, monkeypatch) -> Path:
    """A folder as checkout: twelve photographs, and a recipe with which nothing is wrong."""
    monkeypatch.setattr("recipes.recipe.config.ROOT", tmp_path)
    rows = ["prompt,image,split"]
    for number in range(12):
        photograph(tmp_path / f"{number}.jpg", number)
        rows.append(f"cat {number},{number}.jpg,{'test' if number < 4 else 'train'}")
    (tmp_path / "items.csv").write_text("\n".join(rows) + "\n")
    ratings = [f"{n}.jpg,ann,overall,{n % 10}" for n in range(12)]
    (tmp_path / "people.csv").write_text("\n".join(["id,annotator,aspect,score", *ratings]) + "\n")
    write(tmp_path, fine(server))
    return tmp_path


def photograph(path: Path, seed: int, **options: Any) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize((96, 96), Image.Resampling.BICUBIC).save(path, **options)


def fine(server: FakeOpenAI) -> dict[str, Any]:
    return {
        "name": "mine",
        "data": {"source": "table", "path": "items.csv", "held_out": 0.3},
        "teacher": {"model": "gpt-4o-2024-11-20", "base_url": server.url, "max_cost": 5},
        "base": {"model": str(CHECKOUT / load_recipe("smoke").base.model), "id": "lab/tiny"},
        "adapter": {"target_modules": load_recipe("smoke").adapter.target_modules},
        "evaluation": {"ratings": "people.csv"},
        "release": {
            "license_model": "apache-2.0", "license_data": "cc-by-4.0", "license_base": "apache-2.0",
            "teacher_terms": "OpenAI's", "image_provenance": "twelve photographs by A",
        },
    }  # fmt: skip


def write(folder: Path, recipe: dict[str, Any]) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def checks_of(folder: Path, **target: Any) -> list[Check]:
    recipe = load_recipe(folder / "recipe.yaml")
    return preflight(recipe, progress_of(recipe), Target(**target))


def errors(checks: list[Check]) -> set[str]:
    return {check.name for check in checks if check.level == "error"}


def put(section: str, **values: Any) -> Change:
    """Write values into a section of the recipe."""
    return lambda folder, recipe: recipe.setdefault(section, {}).update(values)


def gps(folder: Path, recipe: dict[str, Any]) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    photograph(folder / "3.jpg", 3, exif=exif)


def truncated(folder: Path, recipe: dict[str, Any]) -> None:
    (folder / "5.jpg").write_bytes((folder / "5.jpg").read_bytes()[:-300])


def twins(folder: Path, recipe: dict[str, Any]) -> None:
    text = (folder / "items.csv").read_text().replace("cat 0,", "a house,").replace("cat 9,", "A house,")
    (folder / "items.csv").write_text(text)
    recipe["data"].update(split="split")


def other(**terms: str) -> Change:
    return put("release", license_base="other", **terms)


NAMED = {"license_name": "Model License", "license_link": "https://example.com/terms"}
FAULTS: dict[str, tuple[str, Change, Change]] = {
    "misspelt licence": ("license", put("release", license_data="cc-by-4"), put("release", license_data="cc-by-4.0")),
    "other without a name": ("license", other(), other(**NAMED)),
    "no provenance": ("license", put("release", image_provenance=None), put("release", image_provenance="by A")),
    "GPS": ("image_metadata", gps, put("data", strip_metadata=True)),
    "a broken image": ("images", truncated, put("data", broken_images="skip")),
    "nothing held out": ("splits", put("data", held_out=0), put("data", held_out=0.1)),
    "both sides": ("data", twins, put("data", split=None)),
    "misspelt ratings": ("ratings", put("evaluation", ratings="peple.csv"), put("evaluation", ratings="people.csv")),
    "a small purse": ("cost", put("teacher", max_cost=0.001), put("teacher", max_cost=1)),
    "no such column": ("data", put("data", prompt="text"), put("data", prompt="prompt")),
    "no teacher": ("teacher", put("teacher", base_url="http://127.0.0.1:9/v1"), lambda folder, recipe: None),
    "a base that is not there": ("base", put("base", model="nobody/nothing", id=None), lambda folder, recipe: None),
}


def test_a_recipe_with_which_nothing_is_wrong(place, server, capsys) -> None:
    assert main(["--recipe", str(place / "recipe.yaml")]) == 0
    said = capsys.readouterr().out
    assert "error" not in said and "12 rows" in said and "max_cost is $5" in said and "12 image files" in said
    assert "held-out images by 1 annotator" in " ".join(said.split())
    assert not server.calls and not (place / "build" / "mine" / "items.jsonl").exists()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_its_fix_works(place, server, fault) -> None:
    name, spoil, mend = FAULTS[fault]
    recipe = fine(server)
    spoil(place, recipe)
    write(place, recipe)
    with loopback(place / "hub"):  # where a base may be looked for
        found = checks_of(place)
    assert name in errors(found), table(found)
    assert max(map(len, table(found).splitlines())) <= 80
    assert all(check.fix for check in found if check.level != "ok")
    mend(place, recipe)
    recipe["teacher"]["base_url"] = server.url
    recipe["base"] = fine(server)["base"]
    write(place, recipe)
    assert not errors(checks_of(place)), table(checks_of(place))
    assert not server.calls


def test_all_faults_are_listed_at_once_and_nothing_is_begun(place, server, capsys, monkeypatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_me")
    recipe = fine(server)
    several = ("misspelt licence", "no provenance", "GPS", "a broken image", "misspelt ratings", "a small purse")
    for fault in (*several, "nothing held out"):
        FAULTS[fault][1](place, recipe)
    path = write(place, recipe)
    with loopback(place / "hub"):
        assert release.main(["--recipe", str(path), "--namespace", "strangers"]) == 2
    streams = capsys.readouterr()
    wanted = {"license", "image_metadata", "images", "ratings", "cost", "splits", "namespace"}
    assert {name for name in wanted if f"[{name}]" in streams.err} == wanted
    assert streams.err.count("\n") == 1 and "nothing was started" in streams.err
    assert "finding" in streams.out and "Fix: " in streams.out
    assert not server.calls and not (place / "build" / "mine" / "BUILT.json").exists()


def test_the_key_is_looked_for_where_the_recipe_says(place, server, monkeypatch) -> None:
    recipe = fine(server)
    recipe["teacher"]["api_key_env"] = ["MY_KEY"]
    write(place, recipe)
    assert errors(checks_of(place)) == {"teacher"}
    monkeypatch.setenv("MY_KEY", "sk-mine")
    assert not errors(checks_of(place))


def test_a_login_of_the_teacher_s_server_is_not_printed(place, server, monkeypatch) -> None:
    recipe = fine(server)
    recipe["teacher"]["base_url"] = None
    write(place, recipe)
    monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url.replace('//', '//ann:s3cret@')}?api_key=s3cret")
    mine = load_recipe(place / "recipe.yaml")
    said = next(text for name, text, *_ in cost(mine, look_at(mine), built=False) if name == "teacher")
    assert said.endswith(f"at {server.url}?api_key=... answers")


def test_a_dry_run_stops_before_a_paid_teacher(place, server, capsys) -> None:
    assert release.main(["--recipe", str(place / "recipe.yaml"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "The dry run ends before the first call" in said and "train: " in said and "new_prompts: " in said
    assert not server.calls and not (place / "build" / "mine" / "BUILT.json").exists()


@pytest.mark.parametrize(("token", "namespace", "words"), [
    ("hf_me", "me", None),
    ("hf_me", "team", None),
    ("hf_read", "me", "may only read"),
    ("hf_me", "other", "neither this account nor one of its organisations"),
    ("hf_nobody", "me", "token is missing, wrong or expired"),
    (None, "me", "needs HF_TOKEN"),
])  # fmt: skip
def test_namespace_and_token(place, token, namespace, words) -> None:
    with loopback(place / "hub"):
        found = [c for c in checks_of(place, namespace=namespace, token=token) if c.name == "namespace"]
    assert [c.level for c in found] == (["error"] if words else ["ok"]), found
    assert words is None or words in found[0].finding


def test_a_fine_grained_token_needs_the_right_to_write(place, monkeypatch) -> None:
    scoped = {"entity": {"type": "user", "name": "me"}, "permissions": ["repo.content.read"]}
    token = {"role": "fineGrained", "fineGrained": {"scoped": [scoped]}}
    monkeypatch.setattr("recipes.hub.client.Hub.account", lambda hub: {"auth": {"accessToken": token}})
    assert errors(checks_of(place, namespace="me", token="hf_x")) == {"namespace"}
    scoped["permissions"] = ["repo.content.read", "repo.write"]
    with loopback(place / "hub"):
        assert not errors(checks_of(place, namespace="me", token="hf_me"))


def test_a_public_repository_where_private_is_asked(place) -> None:
    from huggingface_hub import HfApi

    with loopback(place / "hub") as hub:
        HfApi(endpoint=hub.endpoint, token="hf_me").create_repo("me/t2i-judge-mine", private=False)
        assert not errors(checks_of(place, namespace="me", token="hf_me"))
        found = checks_of(place, namespace="me", token="hf_me", private=True)
    assert ["is public" in c.finding for c in found if c.level == "error"] == [True]


def test_what_somebody_else_filled_is_said_before_anything_is_trained(place) -> None:
    from huggingface_hub import HfApi

    recipe, progress = load_recipe(place / "recipe.yaml"), Progress()
    with loopback(place / "hub") as hub:
        api = HfApi(endpoint=hub.endpoint, token="hf_me")
        api.create_repo("me/t2i-judge-mine")
        assert not errors(checks_of(place, namespace="me", token="hf_me"))
        api.upload_file(path_or_fileobj=b"mine", path_in_repo="model.bin", repo_id="me/t2i-judge-mine")
        found = checks_of(place, namespace="me", token="hf_me")
        target = Target("me", "hf_me", parts=("dataset",))
        assert not errors(preflight(recipe, progress, target)), "it is not pushed there"
        assert not errors(preflight(recipe, progress, replace(target, parts=PARTS), ("replaces_other",)))
        assert errors(preflight(recipe, progress, replace(target, parts=PARTS, commits=False))) == {"replaces_other"}
    [check] = [check for check in found if check.level == "error"]
    assert check.name == "replaces_other" and "me/t2i-judge-mine" in check.finding
    assert check.fix.startswith("Rename it there")


def test_memory_and_disk(place, monkeypatch) -> None:
    with monkeypatch.context() as small:
        small.setattr("recipes.publish.preflight_needs.os.sysconf", lambda name: 1000)
        small.setattr("recipes.publish.preflight_needs.shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
        found = checks_of(place)
        assert errors(found) == {"memory", "disk"}
        [rent] = [check.fix for check in found if check.name == "memory"]
        assert f"recipes.train --recipe {place / 'recipe.yaml'} --jobs FLAVOR" in rent
        recipe = load_recipe(place / "recipe.yaml")
        assert errors(preflight(recipe, Progress(away=True), Target())) == {"disk"}  # a job trains it elsewhere
    assert not errors(checks_of(place))


def test_what_the_gate_may_let_pass_stops_nobody(place, server, capsys) -> None:
    recipe = fine(server)
    gps(place, recipe)
    loaded = load_recipe(write(place, recipe))
    found = preflight(loaded, Progress(), Target(), allowed=("image_metadata",))
    assert not errors(found) and [c.level for c in found if c.name == "image_metadata"] == ["warning"]
    recipe["release"]["allow"] = {"image_metadata": "taken by ourselves, at home"}
    path = str(write(place, recipe))
    assert main(["--recipe", path]) == 0, "as make release takes it"
    assert main(["--recipe", path, "--allow", "image_metdata"]) == 2
    assert "--allow names image_metdata" in capsys.readouterr().err


def test_stripped_images_are_what_is_judged_and_published(place, server) -> None:
    from recipes.distillation.image_metadata import private_metadata

    recipe = fine(server)
    gps(place, recipe)
    put("data", strip_metadata=True)(place, recipe)
    loaded = load_recipe(write(place, recipe))
    before = (place / "3.jpg").read_bytes()
    build(loaded, progress=False)
    items = {item.id: item for item in read_items(loaded.folder)}
    assert private_metadata((loaded.folder / items["3.jpg"].image).read_bytes()) is None
    assert (place / "3.jpg").read_bytes() == before and private_metadata(before) == "GPS"
    assert (loaded.folder / items["4.jpg"].image).resolve() == (place / "4.jpg").resolve()
    asked = len(server.calls)
    build(loaded, progress=False)
    assert len(server.calls) == asked and progress_of(loaded).built
    assert "No call costs money" in table(checks_of(place))


def test_hundreds_of_images_take_seconds(place, server) -> None:
    rows = ["prompt,image"]
    pictures = [load_image(place / f"{number}.jpg") for number in range(12)]
    for number in range(200):
        picture = pictures[number % 12].copy()
        picture.putpixel((0, 0), (number % 256, number // 256, 0))  # other bytes, and the same to the eye
        picture.save(place / f"many-{number}.png", compress_level=1)
        rows.append(f"cat {number % 12},many-{number}.png")
    (place / "items.csv").write_text("\n".join(rows) + "\n")
    recipe = fine(server) | {"evaluation": {}}
    recipe["teacher"]["max_cost"] = 50
    write(place, recipe)
    checks_of(place)  # imports are not what is timed
    (place / "build" / "mine" / "inspected.jsonl").unlink()
    start = time.monotonic()
    found = checks_of(place)
    assert not errors(found), table(found)
    assert time.monotonic() - start < 60


@pytest.mark.parametrize("judge", ["openai:gpt-4o", "direct+openai:gpt-4o", "vqa+openai:gpt-4o"])
def test_served_judges_are_priced_with_the_teacher(place, server, judge) -> None:
    def calls(*judges: str) -> int:
        recipe = fine(server)
        write(place, recipe | {"evaluation": recipe["evaluation"] | {"judges": list(judges)}})
        [about] = re.findall(r"About \$\S+ for (\d+) calls", table(checks_of(place)))
        return int(about)

    assert calls(judge, judge.replace("gpt-4o", "gpt-4o-2024-11-20")) > calls(judge) > calls()


def test_images_that_are_scaled_down_are_priced_at_the_size_that_is_sent(place, server, monkeypatch) -> None:
    """So an honest `teacher.max_cost` was refused."""
    monkeypatch.setattr("recipes.publish.preflight_needs.image_size", lambda path: (4096, 4096))  # 4 tiles

    def price(side: int | None) -> float:
        recipe = fine(server)
        recipe["teacher"] |= {"max_image_side": side, "model": "gpt-4o-2024-05-13"}
        write(place, recipe | {"evaluation": recipe["evaluation"] | {"judges": ["direct+openai:gpt-4o-2024-11-20"]}})
        [about] = re.findall(r"About \$(\S+) for \d+ calls", table(checks_of(place)))
        return float(about)

    of_teacher, of_judge = 12 * 3 * 170 * 5 / 1e6, 4 * 2 * 3 * 170 * 2.5 / 1e6
    assert price(None) - price(512) == pytest.approx(of_teacher + of_judge, abs=0.011)


def test_a_judge_with_an_address_of_its_own_is_priced_beside_a_teacher_that_the_recipe_runs(place, server) -> None:
    """Such judges were left out of the cost, although they are paid by the same cap."""

    def said(judge: str) -> str:
        recipe = fine(server)
        recipe["teacher"] = {"model": "scene-teacher", "server": "recipes.scenes.teacher", "max_cost": 5}
        write(place, recipe | {"evaluation": recipe["evaluation"] | {"judges": [judge]}})
        return table(checks_of(place))

    assert "No call costs money" in said("direct+openai:gpt-4o")
    assert re.search(r"About \$\S+ for \d+ calls", said(f"direct+openai:gpt-4o@{server.url}"))


def test_what_was_judged_is_not_priced_again(place, server, monkeypatch) -> None:
    """A finished release ends with nothing to pay, whatever the cap and with no key; a judge counts by its limit."""
    judge, recipe = "direct+openai:gpt-4o", fine(server)
    monkeypatch.setenv("A_KEY", "secret")
    recipe["teacher"]["api_key_env"] = ["A_KEY"]

    def said(runs: int = 1, **evaluation: Any) -> str:
        measured = {"judges": [judge], "runs": runs, **evaluation}
        write(place, recipe | {"evaluation": recipe["evaluation"] | measured})
        return table(checks_of(place))

    def calls(text: str) -> int:
        return int(re.findall(r"About \$\S+ for (\d+) calls", text)[0])

    loaded = load_recipe(write(place, recipe))
    build(loaded, progress=False)
    folder, whole = BuildFolder(loaded.folder), calls(said())
    assert calls(said(limit=2)) == whole / 2 and calls(said(runs=2)) == 2 * whole
    held_out = [item for item in read_items(loaded.folder) if item.split != "train"]

    server.respond = lambda request, n: completion(json.dumps({"score": [7, 8]}), usage=(100, 20))
    for items, left in ((held_out[:1], whole), (held_out, whole - whole // len(held_out))):
        assert calls(said()) == left
        further_judges(load_recipe(place / "recipe.yaml"), folder, items, progress=False)
    recipe["teacher"]["max_cost"] = paid(folder).money * 1.01
    monkeypatch.delenv("A_KEY")
    assert "No call costs money" in said() and calls(said(runs=2)) == whole
    assert calls(said(parameters={"top_p": 0.5})) == whole  # other answers are wanted


def test_a_release_of_scenes_asks_nothing_of_anybody(capsys) -> None:
    assert main(["--recipe", "smoke"]) == 0
    assert "error" not in capsys.readouterr().out
    assert json.dumps(progress_of(load_recipe("smoke")).away) == "false"


def test_a_dry_run_pays_nobody(place, server, monkeypatch, capsys) -> None:
    """It ends before the first call: of the teacher, of a judge, of either about what it failed."""
    judge = "direct+openai:gpt-4o"
    written = {"judges": [judge]}

    def ends(*options: str) -> str:
        path = write(place, fine(server) | {"evaluation": {"ratings": "people.csv", **written}})
        asked = len(server.calls)
        assert release.main(["--recipe", str(path), "--dry-run", *options]) == 0
        assert len(server.calls) == asked
        return capsys.readouterr().out.splitlines()[-1]

    def refusing(request: Any, n: int) -> Any:
        filtered = "cat 9" in text_of(request) and has_image(request)
        return failure(400, "no", code="content_filter") if filtered else answer(request, n)

    end = "The dry run ends before the first call."
    assert ends() == f"The data is not built yet, and its teacher costs money. {end}"
    server.respond = refusing
    loaded = load_recipe(place / "recipe.yaml")
    build(loaded, progress=False)
    assert ends() == f"The judge {judge} would be asked, which costs money. {end}"
    assert ends("--retry-failed") == f"The teacher would be asked again about what it failed, which costs money. {end}"
    items = [item for item in read_items(loaded.folder) if item.split != "train"]
    server.respond = lambda request, n: completion(json.dumps({"score": [7, 8]}), usage=(100, 20))
    further_judges(loaded, BuildFolder(loaded.folder), items, progress=False)

    def made(*arguments: Any) -> None:
        raise UserError("It goes on", "", "")

    monkeypatch.setattr("recipes.release.make", made)
    assert release.main(["--recipe", str(place / "recipe.yaml"), "--dry-run"]) == 2
    assert "It goes on" in capsys.readouterr().err
    built = BuildFolder(loaded.folder).built
    built.write(built.read()["inputs"], {**built.read(), "failed": {}})
    assert ends("--retry-failed") == f"The judge {judge} would be asked, which costs money. {end}"


@pytest.mark.parametrize(
    ("teacher", "pays"),
    [
        ({"base_url": None}, True), ({"base_url": "https://api.example/v1"}, True),
        ({"base_url": "http://localhost:8000/v1"}, False),
        ({"base_url": None, "server": "recipes.scenes.teacher"}, False),
        ({"base_url": "http://localhost:8000/v1", "model": "gpt-4o"}, True),
    ],
)  # fmt: skip
def test_whoever_may_cost_money_is_known(place, server, teacher: dict[str, Any], pays: bool) -> None:
    recipe = fine(server)
    recipe["teacher"] |= {"model": "mine", **teacher}
    for judges in ([], [f"openai:{recipe['teacher']['model']}"]):
        recipe["evaluation"]["judges"] = judges
        assert (asked_for_money(load_recipe(write(place, recipe)), built=False) is not None) is pays
