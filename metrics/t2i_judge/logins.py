"""Texts without the logins and keys of the addresses in them: what is shown or written of an address."""

from __future__ import annotations

import re

SECRET = re.compile(  # names of secrets in a query
    r"key|token|secret|sig|pass|pwd|pw(?![\w.-])|cred|code|auth|jwt|bearer|hmac|session|(?<![a-z])pat(?![a-z])",
    re.IGNORECASE,
)
_START = re.compile(r"(://|(?<=http):/|(?<=https):/)", re.IGNORECASE)  # of an address; one slash where it is a path
# What follows it. A password may hold `/`, `?` and `#` that nobody escaped; a port does not, and `@` follows its slash.
_LOGIN = re.compile(r"[^/?#\s]*@|[^/?#\s:@]*:(?!\d*(?:[?#\s]|$|/(?![^/?#\s@]+@)))\S*@")
_SPACED = re.compile(r"(?<=://)[^/?#]*@")
# No server gets a fragment, and nothing says what it is.
_FRAGMENT = re.compile(r"^([^#\s]*)#[^\s'\"`)\]>]*")
_ARGUMENT = re.compile(r"(?<=[?&])[^&#\s]+")  # or several: some servers read `;` as `&`


def hidden(text: str) -> str:
    """A text without the logins and fragments of addresses in it and without the keys in their queries."""
    parts = _START.split(text)
    parts[2::2] = map(_without_login, parts[2::2])
    return "".join(parts)


def shown_address(text: str) -> str:
    """The same for a text that ends with an address as somebody typed it: its login and fragment may hold spaces."""
    _, scheme, address = text.partition("://")
    fragment = address.find("#", address.rfind("@") + 1) if scheme else -1
    return hidden(_SPACED.sub("", text if fragment < 0 else text[: fragment - len(address)]))


def _without_login(address: str) -> str:
    """An address from its login on, without login and fragment, and with `...` for keys."""
    login = _LOGIN.match(address)
    return _ARGUMENT.sub(_without_key, _FRAGMENT.sub(r"\1", address[login.end() :] if login else address))


def _without_key(argument: re.Match[str]) -> str:
    """An argument up to the first key in it, whose value may hold `;` and `?`."""
    parts = re.split("([;?])", argument[0])
    for number, part in enumerate(parts):
        name, equals, _ = part.partition("=")
        if equals and SECRET.search(name):
            return f"{''.join(parts[:number])}{name}=..."
    return argument[0]
