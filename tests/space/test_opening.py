"""Which judge a Space opens with: the released one where it fits, and never one that declines photographs."""

from __future__ import annotations

import json
import shutil

import pytest

from hardware import Hardware, hardware, need_of
from offers import OWN, offer
from opening import opening
from settings import Settings, read_settings
from t2i_judge.errors import UserError
from t2i_judge.judges.names import JudgeName
from tests.embedded import needs_embedded_judge
from tests.loopback_hub import loopback

LAPTOP, SPACE, CARD, BIG = Hardware(0, 16), Hardware(0, 16), Hardware(15.8, 16), Hardware(80, 128)
NF4 = {"skip_modules": ["lm_head"], "quant_type": "nf4", "double_quant": True, "compute_dtype": "bfloat16"}
SERVED = "openai:gpt-4o@http://10.0.0.7/v1"


@pytest.fixture
def judge(tmp_path):
    """`judge(parameters, quantization)`: a folder with an adapter on a base of that many parameters in 16 bits."""

    def make(parameters: float, quantization: object = None) -> str:
        base, adapter = tmp_path / "base", tmp_path / "judge"
        base.mkdir()
        adapter.mkdir()
        (base / "config.json").write_text(json.dumps({"torch_dtype": "bfloat16"}))
        with (base / "model.safetensors").open("wb") as file:
            file.truncate(int(2 * parameters))  # a hole: it takes no disk
        (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
        (adapter / "adapter_model.safetensors").write_bytes(bytes(4_000_000))
        (adapter / "judge.json").write_text(json.dumps({"quantization": quantization}))
        return f"hf:{adapter}"

    return make


@pytest.mark.parametrize("quantization", [None, NF4])
def test_what_a_judge_takes_is_known_from_the_sizes_of_its_files(judge, quantization):
    need = need_of(JudgeName.parse(judge(8.1e9, quantization)))
    assert need.parameters == pytest.approx(8.101e9)
    assert need.four_bit == bool(quantization)
    assert need.on_a_gpu == pytest.approx(8.9 if quantization else 18.2, abs=0.1)
    fitting = {str(here): need.fits(here) for here in (SPACE, CARD, BIG)}
    assert fitting == {str(SPACE): False, str(CARD): bool(quantization), str(BIG): True}


def test_a_base_that_is_rounded_already_is_loaded_as_it_is(judge):
    assert not need_of(JudgeName.parse(judge(8.1e9, {**NF4, "rounded": True}))).four_bit


@needs_embedded_judge
def test_a_small_base_runs_without_a_gpu(tmp_path):
    from t2i_judge.local.weights import EMBEDDED

    copy = shutil.copytree(EMBEDDED, tmp_path / "judge")
    (tmp_path / "judge" / "adapter_config.json").write_bytes((copy / "adapter" / "adapter_config.json").read_bytes())
    assert need_of(JudgeName.parse(f"hf:{copy}")).fits(LAPTOP)


def test_the_released_judge_opens_where_it_fits(judge):
    name = judge(8.1e9, NF4)
    found = opening(Settings(judge=name, space_judge=SERVED), lambda: CARD)
    assert found.judges[0] == name
    assert found.default == "hf:judge"
    assert found.notice == ""
    assert SERVED not in found.judges, "the owner does not pay for what is not needed"


def test_where_it_does_not_fit_the_served_judge_of_the_recipe_opens_and_the_page_says_so(judge, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    found = opening(Settings(judge=judge(8.1e9, NF4), space_judge=SERVED), lambda: SPACE)
    assert found.judges[0] == SERVED
    assert found.default == "openai:gpt-4o"
    assert "needs a GPU of about 9 GB for its 8.1 billion parameters" in found.notice
    assert "this Space has no GPU, and 16 GB of memory. Here gpt-4o · served judges instead." in found.notice
    assert "10.0.0.7" not in found.notice
    assert "\n" not in found.notice


def test_where_nothing_fits_the_page_says_what_is_needed_and_which_judge_is_there(judge, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    settings = Settings(judge=judge(8.1e9), space_judge="openai:gpt-4o")
    found = opening(settings, lambda: SPACE)
    assert found.judges == ("tiny",)
    assert found.default == OWN, "never a judge that declines photographs"
    for words in (
        "a GPU of about 18 GB",
        "no key for it",
        "The embedded judge is used here, for rendered scenes only",
        "your own",
    ):
        assert words in found.notice
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    assert opening(settings, lambda: SPACE).default == "openai:gpt-4o"


def test_the_owners_own_choice_is_taken_as_it_is(judge):
    owner = Settings(judge="tiny", judge_is_the_owners=True, more_judges=(SERVED,))
    found = opening(owner, lambda: pytest.fail("measured"))
    assert (found.judges, found.default, found.notice) == (("tiny", SERVED), "tiny", "")
    name = judge(8.1e9)
    assert opening(Settings(judge=SERVED, judge_is_the_owners=True)).judges == (SERVED, "tiny"), "for Compose"
    owned = opening(Settings(judge=name, judge_is_the_owners=True), lambda: SPACE)
    assert (owned.default, owned.notice) == (offer(name).name, "")


def test_a_real_judge_that_is_offered_beside_the_embedded_one_opens(judge, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    def opened(*more: str) -> tuple[tuple[str, ...], str]:
        found = opening(Settings(judge="tiny", more_judges=more), lambda: SPACE)
        return found.judges, found.default

    large = judge(8.1e9)
    assert opened("ocr:rapidocr", SERVED) == ((SERVED, "ocr:rapidocr", "tiny"), "openai:gpt-4o")
    assert opened("openai:gpt-4o", large) == (("tiny", "openai:gpt-4o", large), "tiny"), "no key for it, no room for it"
    assert opened(f"pair+{SERVED}")[1] == "tiny", "it compares two pictures"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    assert opened("openai:gpt-4o")[1] == "openai:gpt-4o"


def test_a_port_that_is_none_is_one_line(tmp_path):
    nowhere = tmp_path / "release.json"
    assert [read_settings({"PORT": port}, nowhere).port for port in ("", "7860")] == [None, 7860]
    assert read_settings({"PORT": "1", "GRADIO_SERVER_PORT": "2"}, nowhere).port == 2
    for port in ("abc", "0", "65536", "-1", "\u0667", "9" * 5000):
        with pytest.raises(UserError, match="It is a number from 1 to 65535"):
            read_settings({"PORT": port}, nowhere)


def test_a_hub_that_does_not_answer_keeps_no_space_from_opening(tmp_path):
    with loopback(tmp_path / "hub"):
        found = opening(Settings(judge="hf:me/nothing@v1.0.0"), lambda: SPACE)
    assert found.default == "hf:me/nothing@v1.0.0"
    assert found.need is None


def test_the_sizes_are_those_of_the_hub(judge, tmp_path):
    """The adapter's repository at its tag, and the base's at the revision that the adapter names."""
    from huggingface_hub import HfApi

    judge(1e6, NF4)
    with loopback(tmp_path / "hub") as running:
        running.hub.users["hf_lab"] = "lab"
        api = HfApi(endpoint=running.endpoint, token="hf_lab")
        api.create_repo("lab/base")
        commit = api.upload_folder(repo_id="lab/base", folder_path=tmp_path / "base").oid
        api.upload_file(path_or_fileobj=bytes(10), path_in_repo="more.safetensors", repo_id="lab/base")
        adapter = {"base_model_name_or_path": "lab/base", "revision": commit}
        (tmp_path / "judge" / "adapter_config.json").write_text(json.dumps(adapter))
        mine = HfApi(endpoint=running.endpoint, token="hf_me")
        mine.create_repo("me/judge")
        mine.upload_folder(repo_id="me/judge", folder_path=tmp_path / "judge")
        mine.create_tag("me/judge", tag="v1.0.0")
        need = need_of(JudgeName.parse("hf:me/judge@v1.0.0"))
    assert (need.base, need.stored, need.four_bit) == ("lab/base", 2_000_000, True)
    assert need.parameters == 2e6


def test_what_is_here_is_measured():
    here = hardware()
    assert here.memory > 0.5
    assert str(here).startswith(("no GPU", "a GPU of"))
