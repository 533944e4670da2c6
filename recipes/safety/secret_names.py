"""Names that call a value a secret, in data, and what stands there instead of one: placeholders.

A name reaches what is nested below it, `{"api_keys": {"prod": ...}}`. There, and under `tokens`, which may be counts or
a tokenizer's words, a value has to look like a secret itself; so it has under names that are given to other things,
too: `OPENAI_KEY`, but also the key of a table; `DB_PASS`, but also the pass of a test; `sig` and `cookie`.
"""

from __future__ import annotations

import re

from recipes.safety.contents import Leaf

# The word for a password in other languages, in small letters.
_FOREIGN = (
    r"passwort|kennwort|zugangsschlüssel|mot[_ -]?de[_ -]?passe|contraseña|contrasena|senha|wachtwoord|"
    r"salasana|lösenord|hasło|şifre|пароль|密码|密碼|口令|パスワード|暗証番号|비밀번호"
)
# Parts of these by which bytes are searched, where capital letters of ASCII are small.
FOREIGN_WORDS = (
    "wort woord senord schlüssel passe contrase senha salasana hasł şifre ароль АРОЛЬ 密 口令 スワード 暗証 비밀"
)
PASSWORD = rf"{_FOREIGN}|pass(?:word|wd|phrase)|pwd|passcode"
SECRET = (
    rf"(?:{PASSWORD}|secret|credential|api[_ -]?key|apikey|access[_ -]?key|"
    r"auth[_ -]?key|private[_ -]?key|secret[_ -]?key|encryption[_ -]?key|signing[_ -]?key|account[_ -]?key|"
    r"storage[_ -]?key|service[_ -]?key|"
    r"(?:auth|access|refresh|api|bearer|session|personal|hub|hf|github|gitlab|npm|slack|bot|user|id)[_ -]?token)s?"
)
MORE = r"(?:[_-]?(?:id|value|\d+))?"
# Of a key in data, or of a variable: nothing follows but what says more about it. `password_reset` is none.
_NAME = re.compile(rf"(?i)(?:^|[^a-z]|(?<=[a-z])(?=[A-Z]))(?:{SECRET}){MORE}$")
_TOKEN_NAME = re.compile(r"(?i)(?:^|[_.\- ])token$")
_TOKENS_NAME = re.compile(r"(?i)(?:^|[_.\- ])tokens?$")
_TOKENS = re.compile(r"(?i)token")
_PASSWORDS = re.compile(rf"(?i)pass|pwd|{_FOREIGN}")
# Names of many things, whose values have to look like secrets.
LIKELY = (
    r"(?:app)?keys?|token|sig|signature|cookie|session(?:[_-]?id)?|bearer|auth|pat|jwt|sas|webhook|"
    r"salt|pepper|t?otp|2fa"
)
_LIKELY_NAME = re.compile(rf"(?i)(?:^|[^a-z]|(?<=[a-z])(?-i:(?=[A-Z])))(?:{LIKELY})$")
_PASS_NAME = re.compile(r"(?i)(?:^|[^a-z])(?:pass|passkey|pw)$|(?<=[a-z])(?-i:Pass|Pw)$")
# Keys that find something, or that everybody may have.
_OPEN_NAME = re.compile(
    r"(?i)(?:public|primary|foreign|sort|cache|group|cluster|partition|lookup|dict|index|row|item|image|picture|sample|"
    r"prompt|dedup\w{0,9}|unique|join|hash|sha\d{0,3}|answer|config|state|metric|column)[_-]?keys?$"
)
_ABOUT = re.compile(  # what says something about a secret: of a schema, of a list of providers
    r"(?i)(?:type|title|description|format|name|kind|provider|source|url|urls|uri|host|env|variable|file|path|field|label|"
    r"help|docs?|status|created|updated|expires|sha\d*|.*hash|.*digest|revision|fingerprint|commit|model|user(?:name)?)$"
)
_PLACEHOLDER = re.compile(
    r"(?i)(?:[x*.•_\-]+|<[^<>]*>|\{{1,2}[^{}]*\}{1,2}|\[[^\[\]]*\]|\([^()]*\)|\$\{{1,2}[^{}]*\}{1,2}|\$\([^()]*\)|"
    r"\$(?-i:[A-Z_][A-Z0-9_]*|[a-z_]+)|\$env:\w+|%[A-Z_]+%|self\.[\w.]+|os\.(?:environ|getenv)(?:\.get)?(?:[\[(][^\[\]()]*[\])])?|"
    r"(?:[a-z0-9]{1,8}[-_]){0,3}(?:[a-z]{0,4}(?:\.{3}|…)|[x*]{4,}))"
)
_LEADING = """
    your my the a an some example sample dummy fake placeholder todo change changeme insert replace put enter here
    redacted not none null nil true false optional required string str empty unused
"""
_FOLLOWING = """
    own real new old actual set it this that with from in to for of me and or is be key keys api apikey token tokens
    secret secrets password passwords passwd passphrase passcode pass credential credentials access auth hub hf
    huggingface hugging face openai anthropic google gemini azure aws wandb github gitlab slack npm user username admin
    server model service provider account client private public value goes needed necessary used available
"""
_LEADS = frozenset(_LEADING.split())
_WORDS = _LEADS | frozenset(_FOLLOWING.split())
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_TOKEN = re.compile(r"[\w.~+/=:-]+(?:\|[\w.~+/=:-]+)*", re.ASCII)
_TURN = re.compile(r"(?=[a-z][A-Z\d]|[A-Z]\d|\d[A-Za-z])")  # where one kind of sign follows another, within a word
_LIKELY, _LIKELY_TURNS = 16, 4  # characters, and turns, of a value that is taken for a token by the name `token` alone
_SHORTEST = 6
# A path is short, or ends in a point and a few letters; of other parts, the last looks like a token by itself.
_LIKELY_SIGNS = re.compile(r"(?!\w+://)(?:[\w%+/=~-]+[.|:])*([\w%+-]{16,}={0,2}|[\w%+/=~-]{40,})", re.ASCII)
_SIGN, _NO_MORE = r"[\w%+/=~-]", r"(?![\w%+/=~-]|[.:]+[\w%+/=~-])"
LIKELY_VALUE = (  # in running text: with parts before it, or before the bar of a table
    rf"((?:{_SIGN}{{1,400}}+[.|:](?={_SIGN})){{1,4}}{_SIGN}{{16,}}+{_NO_MORE}|{_SIGN}{{16,}}+{_NO_MORE})"
)


def is_placeholder(value: str) -> bool:
    """Whether a value stands for a secret, as a whole: `<your key>`, `$API_KEY`, `my-key`, but not `my-dog-Rex1`."""
    return bool(_PLACEHOLDER.fullmatch(value)) or _is_said(value)


def _is_said(value: str) -> bool:
    """Whether words say that a value is missing, and nothing but these words stands there."""
    if any(sign.isdigit() for sign in value) or not value.isascii():
        return False
    words = [part.lower() for part in re.findall(r"[A-Za-z]+|[^A-Za-z _.'-]", value)]
    if not all(word in _WORDS for word in words):
        words = [part.lower() for part in _WORD.findall(value)] if value.isalnum() else []
    return any(word in _LEADS for word in words) and all(word in _WORDS for word in words)


def is_mixed(value: str) -> bool:
    """Whether letters and digits are mixed in a value."""
    return any(sign.isdigit() for sign in value) and any(sign.isalpha() for sign in value)


def is_likely(value: str) -> bool:
    """Whether a value looks like a token by itself: long, without words, small and capital letters and digits mixed."""
    signs = _LIKELY_SIGNS.fullmatch(value)
    return signs is not None and len(_TURN.findall(signs[1])) >= _LIKELY_TURNS


def is_secret(leaf: Leaf) -> bool:
    """Whether a name calls its value a secret, and the value could be one."""
    if not leaf.keys or len(leaf.text) < _SHORTEST or leaf.text == leaf.keys[-1] or is_placeholder(leaf.text):
        return False
    name = leaf.keys[-1]
    if not leaf.a_name and _NAME.search(name):
        plain = _TOKEN.fullmatch(leaf.text) if _TOKENS.search(name) else " " not in leaf.text
        return bool(plain or _PASSWORDS.search(name))
    if not leaf.a_name and _TOKEN_NAME.search(name) and len(leaf.text) >= _LIKELY:
        return bool(_TOKEN.fullmatch(leaf.text))
    if not leaf.a_name and _PASS_NAME.search(name) and is_mixed(leaf.text) and not any(map(str.isspace, leaf.text)):
        return True
    if not leaf.a_name and _LIKELY_NAME.search(name) and not _OPEN_NAME.search(name) and is_likely(leaf.text):
        return True
    return _is_nested_secret(leaf)


def _is_nested_secret(leaf: Leaf) -> bool:
    """Whether a value, or a name, looks like a secret and stands below a name of secrets."""
    about = not leaf.a_name and bool(_ABOUT.match(leaf.keys[-1]))
    if any(map(_NAME.search, leaf.keys)) and not any(map(str.isspace, leaf.text)):
        passwords = not leaf.a_name and any(map(_PASSWORDS.search, leaf.keys))
        return not about and (is_mixed(leaf.text) or passwords)
    turns = len(_TURN.findall(leaf.text)) if _TOKEN.fullmatch(leaf.text) and len(leaf.text) >= _LIKELY else 0
    return turns >= _LIKELY_TURNS and not about and any(map(_TOKENS_NAME.search, leaf.keys))
