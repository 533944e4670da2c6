"""Tokens, keys and passwords in whatever a file says; the secret itself is never shown.

Kingfisher's whole catalogue (github.com/mongodb/kingfisher: about 500 rules, matched offline by compiled automata)
knows the tokens of hundreds of services by their form. It asks for exact lengths and pairs, and leaves out what only a
name gives away; so a few wider rules stand beside it.
"""

from __future__ import annotations

import hashlib
import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

from recipes.safety.contents import Contents, Leaf
from recipes.safety.decodings import decodings, from_base64
from recipes.safety.secret_names import (
    FOREIGN_WORDS,
    LIKELY,
    LIKELY_VALUE,
    MORE,
    PASSWORD,
    SECRET,
    is_likely,
    is_mixed,
    is_placeholder,
    is_secret,
)  # fmt: skip
from t2i_judge.errors import UserError
from t2i_judge.logins import SECRET as ARGUMENT

REMOVE = "remove it, and revoke it at its provider"
REWORD = "reword that row, or leave it out; if it is a secret, revoke it at its provider"
# Names of this shell's own secrets; those of other things, too, whose values have to look like secrets.
_OWN = re.compile(r"(?:TOKEN|API_KEY|SECRET|SECRET_KEY|ACCESS_KEY|PASSWORD|PASSWD|PASSPHRASE|_PASS|_PWD)$")
_LIKELY_OWN = re.compile(r"(?:KEY|_PAT|_AUTH|COOKIE|SESSION|BEARER|JWT|WEBHOOK)$")
_CHUNK, _OVERLAP = 64_000_000, 10_000  # bytes
_BEFORE, _AFTER = 100, 500  # bytes around a word, in which a rule is tried
_STRETCH = 20_000  # bytes in which words follow each other; longer ones are cut, and overlap
_BEGINNINGS = (
    "hf_ api_org_ ghp_ gho_ ghu_ ghs_ ghr_ github_pat_ glpat- npm_ r8_ gsk_ xai- pplx- nvapi- wandb_v1_ AIza ya29. "
    "GOCSPX- xoxb- xoxp- xoxa- xoxe- xapp- sk_live_ sk_test_ rk_live_ pypi-AgE dop_v1_ lin_api_ tgp_v1_ sk-proj- "
    "sk-ant- sk-or- sk-svcacct- sk-admin- dckr_pat_ hvs. shpat_ sbp_ figd_ ntn_ AKCp"
)
_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_DATA = "in its data"  # where there are neither lines nor rows
_BLOCK = 4096  # bytes
# What is plainly none: four words or more between underscores; the word for a password, at an address of RFC 2606.
_SNAKE = r"(?:[a-z]{1,12}|\d{1,4}|\d{1,2}[a-z]{1,4})(?:_(?:[a-z]{1,12}|\d{1,4}|\d{1,2}[a-z]{1,4})){3,20}(?!\w)"
_EXAMPLE = (
    r"(?i:[a-z]{0,20}:(?:pass(?:word|wd)?|pwd?|secret)@(?:[a-z\d-]{1,40}\.){0,3}example\.(?:com|org|net))(?![\w.-])"
)


@dataclass(frozen=True)
class Rule:
    """A form that secrets have, and words (in small letters) one of which stands near each: the rest is not looked at.

    The secret is the last group of the form that matched, or all of it.
    """

    what: str
    words: tuple[str, ...]
    form: re.Pattern[str]


def _rule(what: str, words: str, form: str) -> Rule:
    return Rule(what, tuple(words.split()), re.compile(form))


_FORMS = (
    _rule(
        "a service's token", _BEGINNINGS.lower(),
        rf"(?<![A-Za-z0-9])(?:{'|'.join(map(re.escape, _BEGINNINGS.split()))})(?=[a-z_-]{{0,200}}+[\dA-Z])[\w-]{{20,}}",
    ),
    _rule(  # of Jina, Supabase, Vercel, Netlify, Pinecone, Scale, Baidu, ModelScope, Langfuse, Tailscale, Google, ...
        "a service's key",
        "jina_ sb_secret_ vercel_blob_ nfp_ pcsk_ live_ bce-v3 ms- sk-lf- tskey- aq.ab8 sk.eyj atbb hrku-",
        r"(?<![\w-])(?:jina_[A-Za-z0-9]{50,70}|sb_secret_(?=[a-z_-]{0,60}[\dA-Z])[\w-]{20,60}|"
        r"vercel_blob_rw_(?=[a-z_]{0,60}[\dA-Z])\w{30,60}|nfp_[A-Za-z0-9]{36,40}|pcsk_[A-Za-z0-9]{4,10}_[A-Za-z0-9]{50,70}|"
        r"live_[0-9a-f]{32}|bce-v3/ALTAK-[A-Za-z0-9]{15,30}/[0-9a-f]{40}|"
        rf"(?:ms|sk-lf|HRKU)-{_UUID}|tskey-(?:auth|api|client)-[A-Za-z0-9]{{8,20}}-[A-Za-z0-9]{{20,40}}|"
        r"AQ\.Ab8[\w-]{40,60}|sk\.eyJ[\w-]{10,200}\.[\w-]{20,40}|ATBB(?=[A-Za-z]{0,40}\d)[A-Za-z0-9]{24,40})"
        r"(?![A-Za-z0-9])",
    ),
    _rule(  # of Tavily, E2B, Firecrawl, Render, Fireworks, ComfyUI, ElevenLabs, Mailgun
        "a service's key", "tvly- e2b_ fc- rnd_ fw_ comfyui- sk_ key-",
        r"(?<![\w-])(?:tvly-(?:dev-|prod-)?(?=[A-Za-z]{0,40}\d)[A-Za-z0-9]{28,40}|e2b_[0-9a-f]{40}|"
        r"(?:fc|key)-[0-9a-f]{32}|rnd_(?=[A-Za-z]{0,40}\d)[A-Za-z0-9]{28,40}|fw_(?=[A-Za-z]{0,40}\d)[A-Za-z0-9]{22,28}|"
        r"comfyui-[0-9a-f]{64}|sk_[0-9a-f]{48})(?![\w-])",
    ),
    _rule(
        "a key that begins with sk-", "sk-",
        rf"(?<![A-Za-z0-9])sk-(?!{_SNAKE})(?=[A-Za-z_-]{{0,200}}+\d)[A-Za-z0-9_]{{20,}}",
    ),
    _rule(
        "an AWS access key", "a3t akia asia abia acca",
        r"(?<![A-Z0-9])(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Z0-9])",
    ),
    _rule(
        "a private key", "-----begin ---- begin putty-user-key-file minisign",
        r"-----BEGIN[ A-Z0-9]{0,40}PRIVATE KEY(?: BLOCK)?-----|---- BEGIN SSH2 ENCRYPTED PRIVATE KEY|"
        r"PuTTY-User-Key-File-\d|minisign encrypted secret key",
    ),
    _rule(  # as its bytes begin, in base64: PKCS #1 and #8, SEC 1, Ed25519 and its kin, OpenSSH
        "a private key's bytes", "mii mig mhccaqee mc4caqaw meccaqaw b3blbnnzac1rzxkt",
        r"(?<![A-Za-z0-9+/])(?:MII[A-Za-z0-9+/]{2}[AQgw]IBA(?:AK[BC]|DAN)|MIG[A-Za-z0-9+/]AgEA|MIGkAgEBBD|MHcCAQEEI|"
        r"MC4CAQAwBQYDK2V|MEcCAQAwBQYDK2V|b3BlbnNzaC1rZXkt)[A-Za-z0-9+/]{20,}",
    ),
    _rule(
        "a wallet's key", "prv nsec1",
        r"(?<![A-Za-z0-9])(?:[xyztuv]prv[1-9A-HJ-NP-Za-km-z]{100,112}|nsec1[02-9ac-hj-np-z]{58})(?![A-Za-z0-9])",
    ),
    _rule(
        "a wallet's words", "mnemonic phrase words",
        r"(?i)(?:mnemonic|(?:seed|recovery|secret|backup|wallet)[\s_-]?(?:phrase|words))['\"\]]{0,2}\s{0,3}[:=]{1,2}\s{0,3}"
        r"[\[('\"]{0,3}((?-i:[a-z]{3,8}[\s,'\"]{1,4}){11,23}(?-i:[a-z]{3,8}))",
    ),
    _rule(
        "a password of digits", f"pass pwd pin {FOREIGN_WORDS}",
        rf"(?i)(?:(?:{PASSWORD})['\"\]]{{0,2}}\s{{0,3}}[:=]\s{{0,3}}(\d{{6,}})(?![\w.])|"
        r"(?m:^|(?<=[{,._]))\s{0,3}['\"]?pin(?:[_ -]?code)?['\"\]]{0,2}\s{0,3}[:=]\s{0,3}"
        r"['\"]?\d{4,8}(?=['\"]|\s{0,3}(?:[\n,;}\]]|\Z)))",
    ),
    _rule(  # small and capital letters, as no other word of a shell's line has them
        "a password in a variable", "pass",
        r"(?<![a-z])[A-Z\d_]{0,60}PASS(?:WORD|WD|PHRASE)?=['\"]?((?=[a-z]*[A-Z])(?=[A-Z]*[a-z])[A-Za-z]{6,64})(?![\w(.\[])",
    ),
    _rule(
        "a password's hash", "$1$ $5$ $6$ $7$ $y$ $apr1$ $2a$ $2b$ $2x$ $2y$ $argon2 $scrypt $pbkdf2",
        r"\$(?:1|5|6|7|y|apr1)\$[./A-Za-z0-9=,]{1,40}\$[./A-Za-z0-9]{20,90}(?![./A-Za-z0-9$])|"
        r"\$2[abxy]\$\d\d\$[./A-Za-z0-9]{53}|\$(?:argon2(?:id|[id])|scrypt|pbkdf2[\w-]{0,20})\$[\w=,.$/+-]{40,}",
    ),
    _rule(
        "a password in a command", "sshpass mysql mariadb redis-cli login sqlplus oracle",
        r"\b(?:sshpass\s{1,3}-p|(?:mysql|mysqldump|mariadb)\b[^\n]{0,80}?\s-p(?!ort)|redis-cli\b[^\n]{0,80}?\s-a\s|"
        r"(?:docker|podman|helm|oras)\s+login\b[^\n]{0,120}?\s-p\s|sqlplus\s+[\w.-]{1,64}/|"
        r"jdbc:oracle:\w{2,10}:[\w.-]{1,64}/)\s{0,3}['\"]?"
        r"(?=[^\s\d]{0,63}\d)([^\s'\"$<{@/-][^\s'\"$<{@]{3,63})",
    ),
    _rule(
        "a cloud's key", "ltai akid goog1 rpa_ kgat_",
        r"(?<![A-Za-z0-9])(?:LTAI(?=[A-Za-z]{0,24}\d)[A-Za-z0-9]{16,26}|AKID(?=[A-Za-z]{0,32}\d)[A-Za-z0-9]{32}|"
        r"GOOG1E?(?=[A-Z]{0,60}\d)[A-Z0-9]{20,60}|rpa_(?=[A-Z]{0,60}\d)[A-Z0-9]{40,60}|KGAT_[0-9a-f]{32})(?![A-Za-z0-9])",
    ),
    _rule(
        "an authorization", "bearer basic token",
        r"(?i)\b(?:bearer|basic|token)[ =:]+(?=[\w.~+/-]*\d)([\w.~+/-]{20,})",
    ),
    _rule(
        "a password in an address", "://",
        rf"://(?!{_EXAMPLE})" r"[^\s:/@'\"<>{}$]{0,128}:[^\s/@'\"<>{}$]{3,256}@[\w.-]",
    ),
    _rule("a JSON web token", "eyj", r"\beyJ[\w-]{8,600}+\.eyJ[\w-]{8,600}+\.[\w-]{8,}"),
    _rule(
        "a token in an address", "://",
        r"://((?=[\w-]{0,200}\d)(?=[\w-]{0,200}[A-Za-z])[\w-]{20,200}):?@[\w.-]",
    ),
    _rule("a Discord webhook", "api/webhooks", r"/api/webhooks/\d{15,25}/([\w-]{40,100})"),
    _rule("a Telegram bot's token", ":aa", r"(?<!\d)\d{8,10}:AA[\w-]{33}(?![\w-])"),
    _rule("a Mailchimp key", "-us", r"\b[0-9a-f]{32}-us\d{1,2}\b"),
    _rule("a Weights & Biases key", "wandb", r"(?i)wandb[^\n]{0,40}?(?<![0-9a-f])([0-9a-f]{40})(?![0-9a-f])"),
)  # fmt: skip
_LOGINS = (
    _rule(
        "a name and a password in base64", "basic auth",
        r"(?i)(?:\bbasic\s{1,3}|auth['\"\]]{0,2}\s{0,3}[:=]\s{0,3}['\"]?)([A-Za-z0-9+/]{8,400}={0,2})",
    ),
)  # fmt: skip
_LOGIN = re.compile(r"[!-9;-~]{1,100}:[!-~]{4,200}")
_BY_NAME = "a value whose name says that it is secret"
_ASSIGNMENTS = (
    _rule(
        _BY_NAME, f"pass pwd secret key token credential {FOREIGN_WORDS}",
        rf"(?i)(?:{SECRET}){MORE}['\"\]]{{0,2}}\s{{0,3}}(?::=|=>|=|:|：)\s{{0,3}}"
        r"\[?((['\"`]?)[^\s'\"`,;<>(){}\[\]]{6,})",
    ),
    _rule(_BY_NAME, "password", r"(?i)\b(?:login|machine)\s+\S+\s+password\s+(\S{6,})"),
    _rule(
        _BY_NAME, "pass pw",
        r"(?i)(?:(?<![a-z])|(?<=[a-z])(?-i:(?=P)))(?:pass(?:key)?|pw)['\"\]]{0,2}\s{0,3}(?::=|=>|=|:|：)\s{0,3}"
        r"([^\s'\"`,;<>(){}\[\]|]{6,})",
    ),
)  # fmt: skip
# Of names that are given to other things, too; also in the addresses of files that somebody has signed.
_LIKELY_ASSIGNMENTS = (
    _rule(
        _BY_NAME, "key token sig cookie session bearer auth pat jwt sas webhook salt pepper otp 2fa",
        rf"(?i)(?<!public[_ -])(?<!public)(?:{LIKELY})['\"\]]{{0,2}}\s{{0,3}}(?::=|=>|=|:|：)\s{{0,3}}"
        rf"\[?['\"`]?{LIKELY_VALUE}",
    ),
    _rule(  # by the names that are hidden in what is shown of an address
        "a key in an address", "://",
        rf"(?i)[?&;][\w.-]{{0,30}}?(?:{ARGUMENT.pattern})[\w.-]{{0,30}}={LIKELY_VALUE}",
    ),
)  # fmt: skip


def secrets_in(piece: Contents) -> Iterator[tuple[str, str]]:
    """(where, what) of every secret in a piece of a file, each once."""
    known: set[str] = set()
    for where, what, secret in _all(piece):
        if (digest := hashlib.sha256(secret.encode(errors="replace")).hexdigest()) not in known:
            known.add(digest)
            yield where, what


def _all(piece: Contents) -> Iterator[tuple[str, str, str]]:
    """(where, what, the secret itself), in the text as it stands first, which has lines."""
    text = piece.text.encode(errors="replace")
    lines_of = _Lines(text)
    for offset, what, secret in _by_form(text):
        yield lines_of.at(offset), what, secret
    lines = _Joined((leaf.line, leaf.place or _DATA) for leaf in piece.leaves)
    for offset, what, secret in _by_form(lines.text):
        yield lines.at(offset), what, secret
    if piece.vocabulary:  # `password` is a token like any other, and its number no secret
        return
    hidden = _Joined([*_hidden(piece.text, None), *(one for leaf in piece.leaves for one in _hidden(leaf.text, leaf))])
    for offset, what, secret in [*_by_form(hidden.text), *_assigned(hidden.text)]:
        yield hidden.at(offset), what, secret
    for offset, what, secret in _assigned(text) if not piece.whole else ():
        yield lines_of.at(offset), what, secret
    texts = _Joined((leaf.text, leaf.place or _DATA) for leaf in piece.leaves)
    for offset, what, secret in _assigned(texts.text):
        yield texts.at(offset), what, secret
    yield from ((leaf.place or _DATA, _BY_NAME, leaf.text) for leaf in piece.leaves if is_secret(leaf))


def _hidden(text: str, leaf: Leaf | None) -> Iterator[tuple[str, str]]:
    """(what is hidden in a text by codes, where)."""
    where = f"{leaf.place}, encoded" if leaf and leaf.place else "encoded"
    yield from ((said, where) for said in decodings(text))


def _assigned(text: bytes) -> Iterator[tuple[int, str, str]]:
    """(offset, what, secret) of what a name in running text, in UTF-8, calls secret."""
    yield from (match for match in _matches(text, _ASSIGNMENTS) if _could_be(match[2]))
    likely = (match for match in _matches(text, _LIKELY_ASSIGNMENTS) if is_likely(match[2]))
    yield from (match for match in likely if not is_placeholder(match[2]))


class _Joined:
    """Texts below each other in UTF-8, and where each of them is from."""

    def __init__(self, texts: Iterable[tuple[str, str]]) -> None:
        parts, self._places = [], []
        for text, place in texts:
            parts.append(text.encode(errors="replace"))
            self._places.append(place)
        self.text = b"\n".join(parts)
        self._ends = list(accumulate(len(part) + 1 for part in parts))

    def at(self, offset: int) -> str:
        """Where the text is from that the byte at this offset stands in."""
        return self._places[bisect_right(self._ends, offset)]


class _Lines:
    """Which line of a text a byte is on; line breaks before a block are counted once, for all that is found in it."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        blocks = range(0, len(text), _BLOCK)
        self._before = [0, *accumulate(text.count(b"\n", start, start + _BLOCK) for start in blocks)]

    def at(self, offset: int) -> str:
        """The line of the byte at this offset, in words."""
        block = offset // _BLOCK
        before = self._before[block] + self._text.count(b"\n", block * _BLOCK, offset)
        return f"line {before + 1}"


def _could_be(value: str) -> bool:
    """Whether a value that is given in running text may be a secret: quoted, or with letters and digits mixed."""
    quoted, bare = value[0] in "'\"`", value.strip("'\"`")
    return (quoted or is_mixed(bare)) and not is_placeholder(bare)


def _is_login(code: str) -> bool:
    """Whether base64 says a name and a password, as HTTP's basic authentication and registries of images have them."""
    try:
        said = from_base64(code).decode("ascii")
    except ValueError:
        return False
    return bool(_LOGIN.fullmatch(said)) and not is_placeholder(said.split(":", 1)[1])


def _by_form(text: bytes) -> Iterator[tuple[int, str, str]]:
    """(offset, what, secret) of what is known for a secret wherever it stands, in UTF-8."""
    yield from (match for match in _matches(text, _FORMS) if not is_placeholder(match[2]))
    yield from (match for match in _matches(text, _LOGINS) if _is_login(match[2]))
    for finding in _scanner().scan(text) if text else ():
        if finding.visible:
            yield finding.location["start_offset"], _named(finding.rule_id), finding.secret


def _matches(text: bytes, rules: Iterable[Rule]) -> Iterator[tuple[int, str, str]]:
    """(offset, what, secret) of every match of a rule near one of its words; as fast as the words are rare."""
    small = text.lower()
    for rule in rules:
        for start, end in _windows(small, rule.words):
            window = text[start:end].decode(errors="replace")
            offset, last = start, 0
            for match in rule.form.finditer(window):
                offset += len(window[last : match.start()].encode(errors="replace"))
                last = match.start()
                yield offset, rule.what, match[match.lastindex or 0]


def _windows(small: bytes, words: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Stretches of text around each of these words; those that overlap are one, up to a length of `_STRETCH`."""
    ends = sorted(at for word in words for at in _places(small, word.encode()))
    start: int | None = None
    end = 0
    for at in ends:
        apart = start is not None and at - _BEFORE > end
        if start is not None and (apart or at - start > _STRETCH):
            yield start, end if apart else at + _AFTER
            start = None
        if start is None:
            start = max(0, at - _BEFORE)
        end = at + _AFTER
    if start is not None:
        yield start, end


def _places(text: bytes, word: bytes) -> Iterator[int]:
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + 1)


def in_bytes(data: Any) -> Iterator[str]:
    """What Kingfisher sees in a file's bytes as they are, whatever its size: in weights, pages, pixels."""
    known = set()
    for start in range(0, len(data), _CHUNK):
        chunk = b"\n" + bytes(data[max(0, start - _OVERLAP) : start + _CHUNK])  # its first bytes are no mark of UTF-16
        for finding in _scanner().scan(chunk):
            if finding.visible and finding.secret not in known:
                known.add(finding.secret)
                yield _named(finding.rule_id)


def own_secrets() -> dict[str, str]:
    """The secrets of this shell, by the names of their variables."""
    named = {name: value for name, value in os.environ.items() if len(value) > 7}
    return {
        name: value
        for name, value in named.items()
        if _OWN.search(name) or (_LIKELY_OWN.search(name) and is_likely(value))
    }


@cache
def _scanner() -> Any:
    """Kingfisher with every rule it has. Raises `UserError` where it is not installed."""
    try:
        from kingfisher_sdk import Rules, Scanner
    except ImportError as error:
        raise UserError(
            "The scanner for secrets is not installed", str(error), "Run: pip install 't2i-judge[train]', or make setup"
        ) from error
    return Scanner(Rules(confidence="low"))


def _named(rule: str) -> str:
    """`betterleaks.github-pat` -> `github-pat`."""
    return rule.split(".", 1)[1].rsplit("/", 1)[-1]
