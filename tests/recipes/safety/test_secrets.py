"""Secrets in long texts: found wherever they stand, in time that the text's length tells."""

from __future__ import annotations

import time

import pytest

from recipes.safety.contents import Contents, Leaf
from recipes.safety.secrets import secrets_in
from t2i_judge.logins import hidden

TOKEN = "hf_" + "aB3dE6gH9jK2" * 3


def found(text: str) -> list[str]:
    return [what for _, what in secrets_in(Contents(leaves=[Leaf(("prompt",), text)], whole=True))]


@pytest.mark.parametrize(
    "word", ["hf_", "sk-", "eyJ-", "eyJaaaaaaaa.", "bearer ", "password=", "wandb ", "://a:", "://a?code"]
)
def test_a_prompt_of_beginnings_does_not_hold_up_the_gate(word: str) -> None:
    text = word * (120_000 // len(word))
    started = time.process_time()
    found(text)
    assert time.process_time() - started < 5


@pytest.mark.parametrize("line", ["hf_aB3dE6gH9jK2aB3d{:06}", "password='aB3dE6{:06}'", "a {:06}"])
def test_the_time_grows_as_the_text_does_however_many_secrets_it_has(line: str) -> None:
    def seconds(lines: int) -> float:
        piece = Contents("\n".join(map(line.format, range(lines))))
        started = time.process_time()
        assert len(list(secrets_in(piece))) >= (0 if line.startswith("a ") else lines)
        return time.process_time() - started

    assert min(seconds(40_000) for _ in range(2)) < 8 * min(seconds(10_000) for _ in range(2))


def test_each_secret_has_its_line() -> None:
    lines = [f"{'x' * (n % 90)}\n\u00e9 hf_aB3dE6gH9jK2aB3d{n:06}" for n in range(500)]
    found = list(secrets_in(Contents("\n".join(lines))))
    assert {where for where, _ in found} == {f"line {2 * n + 2}" for n in range(500)}


@pytest.mark.parametrize("before", [0, 19_880, 19_900, 19_960, 20_000, 20_100, 39_950, 60_000])
def test_a_token_among_beginnings_is_found_wherever_stretches_are_cut(before: int) -> None:
    assert "a service's token" in found(f"{('hf_ ' * 20_000)[:before]} {TOKEN} {'hf_ ' * 5000}")


@pytest.mark.parametrize("start", ["", "my_", "my-", "key=", "é ", "x" * 300 + " "])
def test_a_token_begins_behind_a_sign(start: str) -> None:
    assert "a service's token" in found(f"a cat {start}{TOKEN}")


@pytest.mark.parametrize(
    "name", ["api_key", "code", "token", "sig", "jwt", "pwd", "cred", "hmac", "pat", "X-Credential"]
)
@pytest.mark.parametrize("mark", ["?", "?v=1&", "?v=1;"])
def test_a_key_in_an_address_is_found_by_every_name_that_hides_it(name: str, mark: str) -> None:
    """`?code=`, `?cred=` and `?hmac=` were hidden in what is shown, and went out with a release."""
    address = f"openai:m@https://host.example/v1{mark}{name}"
    assert found(f"{address}=Zk39fja83hfkJsdhf83hf72Q")
    assert hidden(f"{address}=Zk39fja8") == f"{address}=..."
    assert not found(f"{address}=a-cat-with-two-ears and {address}=<your key>")


def test_a_long_json_web_token_is_found() -> None:
    assert "a JSON web token" in found(f"x eyJ{'a' * 550}.eyJ{'b' * 400}.{'c' * 43} y")
