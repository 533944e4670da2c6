"""The Space over HTTP: the README's own snippet, every endpoint, and what a hostile client gets."""

from __future__ import annotations

import json
import re
import socket
import threading
from pathlib import Path

import httpx
import pytest
import yaml
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError

from composer import EXAMPLES, draw, faithful
from recipes.publish.stage_spaces import requirements
from t2i_judge.records import Judgement, Status
from tests.embedded import needs_embedded_judge
from tests.space.conftest import served_scene

README = Path(__file__).parents[2] / "space" / "README.md"
PROMPT = EXAMPLES[0].text


@pytest.fixture(scope="module")
def client(space):
    return Client(space, verbose=False)


@pytest.fixture
def pictures(tmp_path):
    """Two pictures of the same prompt, by the names that the README uses."""
    for seed, name in enumerate(("picture.png", "other.png")):
        draw(faithful(EXAMPLES[0], seed)).save(tmp_path / name)
    return tmp_path


@needs_embedded_judge
def test_the_readmes_snippet_runs(space, pictures, monkeypatch, capsys):
    [snippet] = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    monkeypatch.chdir(pictures)
    code = snippet.replace("{namespace}/t2i-judge-demo", space).replace("two blue circles", PROMPT)
    exec(compile(code, "README", "exec"), {})
    said = capsys.readouterr().out
    assert "ok {" in said
    assert "'rank': 1" in said


@needs_embedded_judge
def test_judge_gives_a_whole_judgement(client, pictures):
    found = client.predict(image=handle_file(pictures / "picture.png"), prompt=PROMPT, explain=True, api_name="/judge")
    read = Judgement.from_json(found)
    assert read.status is Status.OK
    assert read.prompt == PROMPT
    assert read.scores["overall"] is not None
    assert len(read.questions) == len(read.answers) > 3
    assert any(answer.explanation for answer in read.answers)


@needs_embedded_judge
def test_compare_ranks(client, pictures):
    images = [{"image": handle_file(pictures / name), "caption": name} for name in ("picture.png", "other.png")]
    found = client.predict(images=images, prompt=PROMPT, api_name="/compare")
    assert sorted(each["image"] for each in found["ranking"]) == ["other.png", "picture.png"]
    scores = {each["image_id"]: each["scores"]["overall"] for each in found["judgements"]}
    assert scores[found["ranking"][0]["image"]] == max(scores.values())


def test_a_served_judge_of_the_owners_choice_is_asked(client, served, tmp_path):
    draw(served_scene()).save(tmp_path / "served.png")
    found = client.predict(
        image=handle_file(tmp_path / "served.png"),
        prompt=PROMPT,
        judge="openai:scene-teacher",
        explain=True,
        api_name="/judge",
    )
    read = Judgement.from_json(found)
    assert read.status is Status.OK
    assert [a.text for q, a in zip(read.questions, read.answers) if q.text == "How many circles are there?"] == [
        "three"
    ]
    assert read.judge.model == "scene-teacher"


@needs_embedded_judge
def test_compose_knows_the_truth(client):
    found = client.predict(seed=1, swapped=False, changes=[{"count": 0}], api_name="/compose")
    assert found["truth"]["overall"] < 10
    assert "no" in found["true_answers"].values()
    with pytest.raises(AppError, match="is not possible"):
        client.predict(seed=7, swapped=False, changes=[{"color": "mauve"}], api_name="/compose")


def test_tables_over_the_api(client):
    rows = client.predict(api_name="/leaderboard")
    assert {row["generator"] for row in rows} >= {"masterly", "careless"}
    for odd in ({"scorer": "nobody"}, {"aspect": "beauty"}):
        with pytest.raises(AppError, match="Nothing is scored by"):
            client.predict(**odd, api_name="/leaderboard")
    assert client.predict(api_name="/human_scores") == []
    assert client.predict(api_name="/agreement") == {}


def test_only_documented_endpoints_are_public(client):
    named = client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    documented = set(re.findall(r"^\| `(/\w+)`", README.read_text(), re.M))
    assert set(named) == documented
    judge = {each["parameter_name"]: each for each in named["/judge"]["parameters"]}
    assert list(judge) == ["image", "prompt", "judge", "explain", "reference"]
    assert judge["judge"]["parameter_has_default"]


@pytest.mark.parametrize(("prompt", "line"), [("", "There is no prompt"), ("x" * 2000, "characters")])
def test_bad_prompts_get_one_line(client, pictures, prompt, line):
    image = handle_file(pictures / "picture.png")
    with pytest.raises(AppError, match=line) as told:
        client.predict(image=image, prompt=prompt, api_name="/judge")
    assert "Traceback" not in str(told.value)


def test_a_text_for_a_picture_gets_one_line(client, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(AppError, match=r"text\.png: not an image"):
        client.predict(image=handle_file(tmp_path / "text.png"), prompt=PROMPT, api_name="/judge")


@pytest.fixture
def listener():
    """A server of the attacker's, to see whether anybody calls."""
    calls = []
    server = socket.create_server(("127.0.0.1", 0))

    def wait() -> None:
        try:
            calls.append(server.accept())
        except OSError:
            return

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.getsockname()[1]}/x.png", calls
    server.shutdown(socket.SHUT_RDWR)  # nobody is waited for any longer
    server.close()
    thread.join()


def post(space: str, image: dict) -> str:
    """Call /judge with a hand-made payload; the error that comes back."""
    body = {"data": [image, PROMPT, "tiny", False, None]}
    event = httpx.post(f"{space}/gradio_api/call/judge", json=body).json()["event_id"]
    return httpx.get(f"{space}/gradio_api/call/judge/{event}", timeout=60).text


def test_links_are_not_fetched(space, listener):
    url, calls = listener
    for sent in ({"path": url}, {"path": "x", "url": url}, {"path": "", "url": url}):
        told = post(space, {**sent, "meta": {"_type": "gradio.FileData"}})
        assert "event: error" in told
        assert "This is not a file that you uploaded here" in told
    for route in (f"/gradio_api/file={url}", f"/gradio_api/proxy={url}"):
        assert httpx.get(space + route).status_code == 403
    assert not calls


@pytest.mark.parametrize("path", ["/etc/passwd", "../../etc/passwd", str(README), "app.py"])
def test_paths_outside_the_upload_folder_are_not_read(space, path):
    told = post(space, {"path": path, "meta": {"_type": "gradio.FileData"}})
    assert "event: error" in told
    assert "root:" not in told
    answer = httpx.get(f"{space}/gradio_api/file={path}")
    assert answer.status_code in (403, 404)


def test_large_requests_and_uploads_are_refused(space):
    body = json.dumps({"data": ["x" * 3_000_000]})
    assert httpx.post(f"{space}/gradio_api/call/judge", content=body).status_code == 413
    files = {"files": ("big.png", b"\x89PNG" + bytes(11_000_000))}
    assert httpx.post(f"{space}/gradio_api/upload", files=files).status_code == 413
    many = [("files", (f"{number}.png", bytes(9_000_000))) for number in range(11)]
    assert httpx.post(f"{space}/gradio_api/upload", files=many).status_code == 413


def test_the_page_holds_no_secret_and_keeps_no_history(space):
    config = httpx.get(f"{space}/config").json()
    assert config["run_history"] is False
    secret = [c for c in config["components"] if c["props"].get("elem_id") == "own-key"]
    assert [c["props"]["type"] for c in secret] == ["password"]
    assert not any(c["props"].get("value") for c in secret)


def test_front_matter_fits_what_is_installed():
    card = yaml.safe_load(README.read_text().split("---")[1].replace("{benchmark}", "me/bench"))
    pinned = dict(line.split("==") for line in requirements("space").split())
    assert card["sdk"] == "gradio"
    assert card["sdk_version"] == pinned["gradio"]
    assert card["app_file"] == "app.py"
    assert len(card["short_description"]) <= 60, "the Hub's limit"
    assert {"gradio", "t2i-judge", "torch"} & set(pinned) == {"gradio", "torch"}
