"""Finds the key for a server. A key is never shown, logged or stored; messages name only where it came from."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from ..errors import UserError
from .address import Address

OPENAI_KEY, HF_KEY = "OPENAI_API_KEY", "HF_TOKEN"
_HUGGING_FACE = ("router.huggingface.co", "api-inference.huggingface.co")
_HF_ENDPOINTS = ".endpoints.huggingface.cloud"
_VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")  # what is surely a variable's name; anything else may be a key


def find_key(address: Address, given: str | None = None, variables: Sequence[str] = ()) -> str | None:
    """The key for a server; None if it needs none.

    Args:
        given: the key itself.
        variables: names of environment variables, each alone or as BASE_URL=NAME for that server only. Without any,
            HF_TOKEN (or the login of `hf auth login`) is for Hugging Face's servers, OPENAI_API_KEY for all others.

    Raises:
        UserError: a variable is not set, its value cannot be a key, or there is none for OpenAI's or Hugging Face's
            server.
    """
    if given is not None and given.strip():
        return clean_key(given, "The key that was passed")
    if name := _named(address, variables):
        if name not in os.environ:
            shown = name if _VARIABLE.fullmatch(name) else "The variable of --api-key-env"
            raise UserError(f"{shown} is not set", f"This variable should contain the key for {address}", "Export it")
        return clean_key(os.environ[name], name)
    if address.host in _HUGGING_FACE or address.host.endswith(_HF_ENDPOINTS):
        return _required(_hf_token(), HF_KEY, address)
    key = clean_key(os.environ.get(OPENAI_KEY, ""), OPENAI_KEY)
    return _required(key, OPENAI_KEY, address) if address.is_openai and not address.login else key


def clean_key(text: str, place: str) -> str | None:
    """The key without the spaces, line ends and quotes that copying leaves around it; None when nothing is left.

    Raises:
        UserError: it has characters that no key has. The message does not show it.
    """
    key = text.strip()
    while len(key) > 1 and key[0] == key[-1] and key[0] in "\"'`":
        key = key[1:-1].strip()
    if not re.fullmatch(r"[!#-&(-_a-~]*", key):  # printable ASCII but spaces and quotes
        raise UserError(
            f"{place} does not contain a valid key", "It has a quote, a space, a line end or a letter that no key has",
            "Copy the key again",
        )  # fmt: skip
    return key or None


def _named(address: Address, variables: Sequence[str]) -> str | None:
    """The variable for this server: one that names its address, else the first that names none."""
    alone = None
    for entry in variables:
        url, equals, name = entry.rpartition("=")
        if not equals:
            alone = alone or entry
        elif address.identity == (server := Address.parse(url).identity) or address.identity.startswith(f"{server}/"):
            return name
    return alone


def _hf_token() -> str | None:
    from huggingface_hub import get_token

    return clean_key(os.environ.get(HF_KEY) or get_token() or "", HF_KEY)


def _required(key: str | None, variable: str, address: Address) -> str:
    if key is None:
        raise UserError("There is no API key", f"{address} needs one", f"Set {variable}, or use another base URL")
    return key
