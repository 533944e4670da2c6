"""Names of judges: the contract's examples, names with an `@` of their own, and what is no name."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from t2i_judge.errors import UserError
from t2i_judge.judges.names import PROTOCOLS, JudgeName
from t2i_judge.logins import hidden

URL = "http://127.0.0.1:8000/v1"


@pytest.mark.parametrize(
    ("text", "protocol", "kind", "model", "revision", "base_url"),
    [
        ("tiny", "", "tiny", None, None, None),
        ("direct+tiny", "direct", "tiny", None, None, None),
        ("hf:me/judge", "", "hf", "me/judge", None, None),
        ("hf:me/judge@v1.0.0", "", "hf", "me/judge", "v1.0.0", None),
        ("dreambench+hf:me/judge@refs/pr/1", "dreambench", "hf", "me/judge", "refs/pr/1", None),
        ("clip:openai/clip-vit-base-patch32@main", "", "clip", "openai/clip-vit-base-patch32", "main", None),
        ("openai:gpt-4o-2024-11-20", "", "openai", "gpt-4o-2024-11-20", None, None),
        (f"openai:m@{URL}", "", "openai", "m", None, URL),
        (f"direct+openai:@cf/meta/llama@{URL}", "direct", "openai", "@cf/meta/llama", None, URL),
        ("openai:@cf/meta/llama", "", "openai", "@cf/meta/llama", None, None),
        ("openai:model@2024", "", "openai", "model@2024", None, None),
        ("openai:a+b:free", "", "openai", "a+b:free", None, None),
        (f"openai:m@http://a/@{URL}", "", "openai", "m@http://a/", None, URL),
        ("openai:m@HTTP://host/v1", "", "openai", "m", None, "HTTP://host/v1"),
        ("openai:m@None", "", "openai", "m@None", None, None),
        ("openai:m@https://user:p@host/v1", "", "openai", "m", None, "https://user:p@host/v1"),
    ],
)
def test_what_a_name_says(text, protocol, kind, model, revision, base_url):
    assert JudgeName.parse(text) == JudgeName(text, protocol, kind, model, revision, base_url)
    assert str(JudgeName.parse(text)) == text.replace("user:p@", "")  # a login is not shown


def test_judgements_never_name_an_address():
    name = JudgeName.parse(f"direct+openai:@cf/m@{URL}")
    assert name.label == "direct+openai:@cf/m" and name.called("mine").label == "mine"
    for text in ("hf:me/judge@v1", "openai:m@None"):
        assert JudgeName.parse(text).label == text


def test_a_folder_that_exists_wins(tmp_path, monkeypatch):
    (tmp_path / "run@2").mkdir()
    monkeypatch.chdir(tmp_path)
    for kind in ("hf", "clip", "dino"):
        assert JudgeName.parse(f"{kind}:run@2").model == "run@2"
        assert JudgeName.parse(f"{kind}:run@3").revision == "3"


@pytest.mark.parametrize("kind", ["hf", "clip", "dino", "vqa+hf"])
def test_a_folder_in_a_home_is_found_by_every_kind(kind, tmp_path, monkeypatch):
    """A home that nobody has was a bug in t2i-judge, and clip: looked for a folder called `~`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run@2").mkdir()
    for name in ("run", "run@2"):
        judge = JudgeName.parse(f"{kind}:~/{name}")
        assert (judge.model, judge.revision, judge.label) == (str(tmp_path / name), None, f"{kind}:~/{name}")
    with pytest.raises(UserError, match=f"{kind.rpartition('+')[2]}:~nobody-at-all/x.*Write the folder's whole path"):
        JudgeName.parse(f"{kind}:~nobody-at-all/x@v1")


@pytest.mark.parametrize("kind", ["hf", "clip", "dino", "dreambench+hf"])
def test_a_revision_means_the_hub_and_never_a_folder(tmp_path, monkeypatch, kind):
    (tmp_path / "me" / "judge").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"me/judge@v1 means a revision on the Hub, and me/judge is a folder here"):
        JudgeName.parse(f"{kind}:me/judge@v1")
    assert JudgeName.parse(f"{kind}:me/judge").model == "me/judge"
    monkeypatch.chdir(tmp_path / "me")
    assert JudgeName.parse(f"{kind}:me/judge@v1").revision == "v1"


@pytest.mark.parametrize(
    "address",
    [
        "localhost:8000/v1",
        "127.0.0.1:8000",
        "box:8000/v1?x=1",
        "example.com/v1",
        "user:topsecret@host",
        "user:topsecret@127.0.0.1:8000/v1",
        "http:/user:topsecret@127.0.0.1:8000/v1",
        "HTTP:\\\\user:topsecret@127.0.0.1:8000",
        "http:/example/v1",
        "[::1]:8000/v1",
    ],
)
def test_an_address_without_its_scheme_is_no_part_of_a_model(address):
    with pytest.raises(UserError, match=r"'openai:org/qwen' has an address without http://") as told:
        JudgeName.parse(f"direct+openai:org/qwen@{address}")
    assert "topsecret" not in str(told.value)


@pytest.mark.parametrize(
    ("model", "fact"),
    [
        ("qwen@", "'openai:qwen' has a blank address"),
        ("@cf/meta/llama@", "'openai:@cf/meta/llama' has a blank address"),
        ("@", "does not name a model"),
        ("@http://gpubox:8000/v1", "does not name a model"),
        ("@gpubox/v1", "does not name a model"),
        ("qwen@gpubox/v1", "'openai:qwen' has an address without http://"),
        ("@cf/meta/llama@gpubox/v1", "'openai:@cf/meta/llama' has an address without http://"),
        ("org/qwen@//host/v1", "'openai:org/qwen' has an address without http://"),
        ("qwen@htp://h/v1", "'openai:qwen' has an address without http://"),
        ("qwen@ws://h:1/v1", "'openai:qwen' has an address without http://"),
        ("qwen:7b@htps:/me:topsecret@h/v1", "'openai:qwen' has an address without http://"),
        ("qwen@localhost", "'openai:qwen' has an address without http://"),
        ("qwen@10.0.0.5", "'openai:qwen' has an address without http://"),
        ("qwen@gpubox.example.com", "'openai:qwen' has an address without http://"),
        ("qwen@@gpubox:8000", "'openai:qwen' has an address without http://"),
        ("http://me:topsecret@gpubox/v1", "'openai:http' has an address without http://"),
        ("localhost:8000/v1", "'openai:localhost' has an address without http://"),
        ("qwen@ http://me:topsecret@gpubox/v1", "'openai:qwen' has white space in it"),
        ("qwen http://h/v1", "'openai:qwen' has white space in it"),
        ("gpt-4o ", "'openai:gpt-4o' has white space in it"),
    ],
)
def test_a_blank_or_misspelt_address_is_no_part_of_a_model(model, fact):
    """The key, prompts and pictures went to OpenAI's server, and a login into files."""
    with pytest.raises(UserError, match=re.escape(fact)) as told:
        JudgeName.parse(f"direct+openai:{model}")
    assert "topsecret" not in str(told.value)


def test_no_login_is_part_of_a_model():
    with pytest.raises(UserError, match="Its model holds a login or a key") as told:
        JudgeName.parse(f"openai:m@ http://me:topsecret@gpubox/v1@{URL}")
    assert "topsecret" not in str(told.value)
    assert JudgeName.parse("hf:m@http://me:topsecret@gpubox/v1").label == "hf:m@http://gpubox/v1"


@pytest.mark.parametrize(
    "model",
    [
        "@cf/meta/llama",
        "@hf/nous/hermes",
        "workers-ai/@cf/meta/llama",
        "anthropic/claude-3-5-sonnet@20240620",
        "m@2024",
        "m@v1.5",
        "m@v1.5.rc2",
        "m@None",
        "m@latest",
        "m@sha256:0a1b2c",
        "ft:m:org::id",
        "m:7b@q4",
        "localhost-qwen",
        "accounts/org/models/qwen2.5-vl",
    ],
)
def test_an_at_sign_in_a_model_is_its_own(model):
    assert JudgeName.parse(f"openai:{model}").model == model


@pytest.mark.parametrize(
    "address",
    [
        "http://h/v1?pwd=topsecret",
        "http://h/v1?a=1&jwt=topsecret",
        "http://h/v1#topsecret",
        "http://h/#a topsecret",
        "http://h/v1?pw=topsecret",
        "http://h/v1?pass=topsecret",
        "http://h/v1?x=1#topsecret",
        "http://u:top#secret@h/v1#topsecret",
    ],
)
def test_no_secret_of_an_address_is_shown(address):
    name = JudgeName.parse(f"openai:m@{address}")
    assert "secret" not in str(name) and str(name).startswith("openai:m@http://h/")
    assert "topsecret" not in hidden(f"'{address}' is not there") or " topsecret" in address


def test_what_follows_an_address_stays():
    assert hidden("see 'http://h/a#b', item #3") == "see 'http://h/a', item #3"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tiny2",
        "gpt-4o",
        "openai:",
        "hf:",
        "direct+",
        "quick+openai:m",
        "direct+clip:x",
        "tiny:x",
        ":m",
        "direct+direct+tiny",
    ],
)
def test_what_is_no_name_is_one_sentence(text):
    with pytest.raises(UserError, match="no judge"):
        JudgeName.parse(text)


@given(st.text(min_size=1), st.sampled_from(["", *(f"{protocol}+" for protocol in PROTOCOLS)]))
def test_any_model_of_a_server_comes_back_as_it_is(model, protocol):
    assume(hidden(model) == model)
    name = JudgeName.parse(f"{protocol}openai:{model}@{URL}")
    assert (name.model, name.base_url, f"{name.protocol}+" if name.protocol else "") == (model, URL, protocol)
