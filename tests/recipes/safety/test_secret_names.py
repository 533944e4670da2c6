"""Secrets that only a name gives away: below it, too, and not where a placeholder stands, or a tokenizer's words."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from recipes.safety.gate_files import file_findings

KEY = "kTzQ9wVb4XnRj7MgYp2L" + "sHdCfU"  # no scanner knows it


def checks(path: Path) -> set[str]:
    return {check for check, _, _ in file_findings(path)}


NESTED: list[Any] = [
    {"api_key": {"value": KEY}},
    {"api_key": {"prod": {"eu": KEY}}},
    {"secrets": {"wandb": KEY}},
    {"tokens": {"hub": KEY}},
    {"tokens": [KEY]},
    {"api_keys": [KEY]},
    {"api_keys": {KEY: 1}},
    {"accessKeys": [{"a": [KEY]}]},
    {"passwords": ["Trustno1!7x"]},
    {"passwords": {"admin": "swordfish"}},
    {"credentials": ["admin", "Trustno1!7x"]},
    {"hub_tokens": [KEY]},
    [{"name": "API_KEYS", "value": [KEY]}],
]


@pytest.mark.parametrize("data", NESTED, ids=json.dumps)
def test_a_name_reaches_what_is_nested_below_it(tmp_path: Path, data: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps(data))
    (tmp_path / "recipe.yaml").write_text(json.dumps(data))
    assert all(checks(path) == {"secrets"} for path in tmp_path.iterdir())


def test_a_name_reaches_what_a_column_holds_whatever_stands_in_another(tmp_path: Path) -> None:
    kind = pa.struct([("value", pa.string())])
    rows = pa.table({"note": pa.array([{"value": KEY}], kind), "api_key": pa.array([{"value": KEY}], kind)})
    parquet.write_table(rows, tmp_path / "a.parquet")
    assert checks(tmp_path / "a.parquet") == {"secrets"}


@pytest.mark.parametrize(
    "text", [f"API_KEYS = ['{KEY}']", f"use(api_keys=('{KEY}',))", f"A = {{'secrets': {{'b': '{KEY}'}}}}"]
)
def test_a_variable_names_what_it_holds(tmp_path: Path, text: str) -> None:
    (tmp_path / "app.py").write_text(text)
    assert checks(tmp_path / "app.py") == {"secrets"}


@pytest.mark.parametrize("text", [f"api_keys: [{KEY}]", f'passwords = ["{KEY}"]', f"secret_key: {KEY}"])
def test_a_plural_names_secrets_in_running_text(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(f"words\n{text}\n")
    assert checks(tmp_path / "README.md") == {"secrets"}


@pytest.mark.parametrize(
    "name",
    [
        "passwort", "Kennwort", "mot_de_passe", "motDePasse", "contraseña", "contrasena", "senha", "wachtwoord",
        "hasło", "пароль", "Пароль", "密码", "数据库密码", "パスワード", "비밀번호", "db_passwort",
    ],
)  # fmt: skip
def test_a_password_has_names_in_other_languages(tmp_path: Path, name: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({name: "Geheim!2024xyz"}))
    (tmp_path / "README.md").write_text(f"words\n{name}: Geheim!2024xyz\n")
    assert all(checks(path) == {"secrets"} for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    "value",
    [
        "my-dog-Rex1987!", "my_" + KEY, "the-quick-9Fox", "a-" + KEY, "an-owl-77-hoots", "your" + KEY, "YourMom1987!x",
        "exampleCorp#2024", "changeme-" + KEY, "<" + KEY, "$" + KEY, "{" + KEY, "[" + KEY, "%" + KEY, "redacted" + KEY,
        "self.9Fox!", KEY + "...", "my-golden-retriever", "dummy" + KEY, "todo" + KEY, "placeholder" + KEY,
    ],
)  # fmt: skip
def test_what_only_begins_as_a_placeholder_is_a_secret(tmp_path: Path, value: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"db_password": value}))
    assert checks(tmp_path / "config.json") == {"secrets"}


@pytest.mark.parametrize(
    "value",
    [
        "<your key>", "${OPENAI_API_KEY}", "$OPENAI_API_KEY", "${{ secrets.HF_TOKEN }}", "{{ key }}", "%API_KEY%",
        "xxxxxxxx",
        "********", "sk-...", "sk-proj-...", "sk-xxxxxxxx", "your-api-key", "YOUR_OPENAI_API_KEY", "YourApiKey",
        "my-secret-key", "change-me", "changeme", "not-needed", "example password", "[redacted]", "optional",
        "os.environ", "self.settings.key",
    ],
)  # fmt: skip
def test_a_placeholder_is_none(tmp_path: Path, value: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"password": value, "api_key": [value], "secrets": {"a": value}}))
    assert checks(tmp_path / "config.json") == set()


SEEN = [  # names of other things, too: what stands there looks like a secret
    ("OPENAI_KEY", KEY), ("azure_openai_key", "9f2c41d07be8a35c" * 2), ("hf_key", KEY), ("key", KEY), ("appkey", KEY),
    ("Ocp-Apim-Subscription-Key", "9f2c41d07be8a35c" * 2), ("AccountKey", f"{KEY}/{KEY}+{KEY}=="), ("cookie", KEY),
    ("DB_PASS", "Trustno1!7x"), ("smtpPass", "Trustno1!7x"), ("pass", "Trustno1!7x"), ("passkey", "Trustno1!7x"),
    ("session_id", KEY), ("sig", f"{KEY}%3D"), ("bearer", KEY), ("auth", KEY), ("pat", KEY), ("deploy_token", KEY),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), SEEN, ids=[name for name, _ in SEEN])
def test_a_name_of_many_things_tells_what_looks_like_a_secret(tmp_path: Path, name: str, value: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({name: value}))
    (tmp_path / "recipe.yaml").write_text(f"{name}: {value}\n")
    (tmp_path / "README.md").write_text(f"Run\n\n    {name}={value} make release\n")
    (tmp_path / "app.py").write_text(f"A = {{'{name}': '{value}'}}\n")
    assert [path.name for path in tmp_path.iterdir() if checks(path) != {"secrets"}] == []


HEX = "9f2c41d07be8a35c" * 2
JOINED = {  # as services join them: Discord, Dropbox, Nebius, fal, Convex, Bitwarden, Lambda, Zhipu
    "points": f"MTA{KEY}.Gk3xQ9.{KEY}", "a short part": f"sl.B{KEY}", "a version": f"v1.{KEY}",
    "a bar": f"prod:foo-bar-123|{KEY}", "all of them": f"0.{HEX}.{KEY}:{KEY}==", "words": f"secret_jobs_{HEX}.{HEX}",
    "a point": f"{HEX}.{KEY}", "a colon": f"{HEX}:{HEX}",
}  # fmt: skip


@pytest.mark.parametrize("name", ["token", "DISCORD_TOKEN", "key", "FAL_KEY", "API_KEY"])
@pytest.mark.parametrize("value", JOINED.values(), ids=JOINED)
def test_a_named_token_may_have_parts(tmp_path: Path, name: str, value: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({name: value}))
    (tmp_path / "README.md").write_text(f"Run\n\n    {name}={value}\n")
    (tmp_path / "use.md").write_text(f"It is {name}={value}. Then run it.\n")
    (tmp_path / "table.md").write_text(f"|a|b|\n|-|-|\n|{name}={value}|once|\n")
    assert [path.name for path in tmp_path.iterdir() if checks(path) != {"secrets"}] == []


@pytest.mark.parametrize(
    "value",
    [
        f"{HEX}.png", f"images/{HEX}.jpg", "t2i_judge.inputs.folders.FolderOfImages", "2026-11-29T18:21:29.123456",
        "https://huggingface.co/datasets/tiny/x2/Y3", "qwen2.5-vl-7b-instruct:free", "<|im_start|>",
        "train-00000-of-00001.parquet", "a|b|c|d|e|f|g|h|i|j",
    ],
)  # fmt: skip
def test_names_of_files_modules_and_times_have_parts_too(tmp_path: Path, value: str) -> None:
    data = dict.fromkeys(("key", "session", "sig", "cookie"), value)
    (tmp_path / "config.json").write_text(json.dumps(data))
    (tmp_path / "README.md").write_text("".join(f"    {name}={value}\n" for name in data))
    assert [path.name for path in tmp_path.iterdir() if checks(path)] == []


@pytest.mark.parametrize(
    "data",
    [
        {"key": "a red circle", "sort_key": KEY, "public_key": KEY, "image_key": "9f2c41d07be8a35c" * 4},
        {"key": "datasets/tiny/new_prompts-00000-of-00001.parquet", "session": "2026-11-29T18:21:29", "pass": "passed"},
        {"token": 7, "sig": "signature(image, prompt)", "auth": "none", "key": "seed3_prompt12_sample4"},
    ],
    ids=json.dumps,
)
def test_a_name_of_many_things_is_none_by_itself(tmp_path: Path, data: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps(data))
    lines = [f"    {name}={value}\n\n| {name} | {value} |\n" for name, value in data.items() if "_" not in name]
    (tmp_path / "README.md").write_text("".join(lines))
    assert [checks(path) for path in tmp_path.iterdir()] == [set(), set()]


@pytest.mark.parametrize(
    "address",
    [
        f"https://a.blob.core.windows.net/c/x.png?sv=2022-11-02&sr=b&sig={KEY}{KEY}%3D",
        f"https://d1.cloudfront.net/x.png?Expires=1&Signature={KEY}{KEY}&Key-Pair-Id=K1",
        f"https://example.org/x.png?key={KEY}&size=1", f"https://{KEY}@example.org/x.git",
        f"https://discord.com/api/webhooks/359722032711246400/{KEY}{KEY}",
    ],
)  # fmt: skip
def test_an_address_that_lets_everybody_in_is_a_secret(tmp_path: Path, address: str) -> None:
    parquet.write_table(pa.table({"prompt": [f"a cat as in {address}"]}), tmp_path / "a.parquet")
    assert checks(tmp_path / "a.parquet") == {"secrets"}


@pytest.mark.parametrize("before", range(30, 60, 5))
def test_base64_in_lines_is_read_across_them(tmp_path: Path, before: int) -> None:
    token = "hf_" + "rHgVWErYOTOiAgaXJLhFzKjAYrMNhabcde"
    text = base64.encodebytes(f"{'x' * before} {token} {'y' * 60}".encode()).decode()
    (tmp_path / "README.md").write_text(f"```\n{text}```\n")
    assert checks(tmp_path / "README.md") == {"secrets"}


@pytest.mark.parametrize(
    "data",
    [
        {"tokens": ["<|image|>", "reserved_special_token_12", "\u0120the", "Qwen/Qwen2.5-VL-7B-Instruct-AWQ"]},
        {"tokens": {"input": 1200, "model": "gpt-4o-2024-08-06", "sha256": "0123456789abcdef" * 4}},
        {"user_token": "<|im_start|>user\n", "extra_special_tokens": {"image_token": "<|image_pad_0001|>"}},
        {"properties": {"password": {"type": "string", "title": "Password", "description": "of the server"}}},
        {"secrets": {"provider": "vault2024", "url": "https://example.org/v2/keys"}},
        {"api_key_env": "OPENAI_KEY_2"},
    ],
    ids=json.dumps,
)
def test_a_tokenizers_words_and_what_is_said_about_secrets_pass(tmp_path: Path, data: Any) -> None:
    (tmp_path / "config.json").write_text(json.dumps(data))
    assert checks(tmp_path / "config.json") == set()


WORDS = "legal winner thank year wave sausage worth useful legal winner thank yellow"
BODY = base64.b64encode(bytes(range(256)) * 3).decode()


def spread(*parts: str) -> str:
    """Put together here, so that no scanner takes this file's text for what it tests."""
    return "".join(parts)


PLAIN = {
    "words of a wallet": f"mnemonic: {WORDS}",
    "words in a list": f"seed_phrase: {json.dumps(WORDS.split())}",
    "quoted words": f'recovery-phrase = "{WORDS}"',
    "digits": "password: 48291377",
    "a salt": f"salt: {KEY}",
    "totp": "totp: JBSWY3DPEHPK3PXP",
    "PKCS 1": spread("MIIEpAIB", "AAKCAQEA", BODY),
    "PKCS 8": spread("MIIEvgIB", "ADANBgkqhkiG9w0BAQEFAASC", BODY),
    "SEC 1": spread("MHcCA", "QEEI", BODY[:80]),
    "Ed25519": spread("MC4CAQAw", "BQYDK2VwBCIEI", BODY[:43]),
    "OpenSSH": spread("b3BlbnNz", "aC1rZXktdjEAAAAABG5vbmUA", BODY),
    "PuTTY": spread("PuTTY-User-", "Key-File-3: ssh-ed25519"),
    "SSH2": spread("---- BEGIN SSH2 ", "ENCRYPTED PRIVATE KEY ----"),
    "an extended key": spread("xprv", "9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbP" * 2, "y6cq3jPPqjiChkVvvNKm"),
    "SHA-512 crypt": spread("root:$6$", "saltsalt$", "AbC1" * 21, "ab"),
    "bcrypt": spread("$2b$", "12$", "AbC1" * 13, "a"),
    "Apache": spread("me:$apr1$", "abcdefgh$ABCDEFGHIJKLMNOPQRSTU/"),
    "Basic": f"Authorization: Basic {base64.b64encode(b'me:hunter22').decode()}",
    "a registry": json.dumps({"auths": {"ghcr.io": {"auth": base64.b64encode(b"me:hunter22").decode()}}}),
    "sshpass": "sshpass -p hunter22 ssh me@host",
    "mysql": "mysql -u root -phunter22 db",
    "docker": "docker login -u me -p hunter22 ghcr.io",
    "Oracle": "jdbc:oracle:thin:me/hunter22@db.x.org:1521:XE",
    "Alibaba": spread("LTAI", "5tQnKpXy7ZaBcDeFgHiJkLm"),
    "Tencent": spread("AKID", "z8krbsJ5yKBZQpn74WFkmLPx3aBcDeFg"),
    "Tavily": spread("tvly", "-dev-", "aB3dE6gH" * 4),
    "E2B": spread("e2b", "_", "0123456789abcdef" * 2, "01234567"),
    "Firecrawl": spread("fc", "-", "0123456789abcdef" * 2),
    "Render": spread("rnd", "_", "aB3dE6gH" * 4),
    "Fireworks": spread("fw", "_", "aB3dE6gH" * 3),
    "ComfyUI": spread("comfyui", "-", "0123456789abcdef" * 4),
    "ElevenLabs": spread("sk", "_", "0123456789abcdef" * 3),
    "Mailgun": spread("key", "-", "0123456789abcdef" * 2),
    "a variable": spread("RSYNC_PASS", "WORD=lOxOPbbNc"),
    "a variable with a word": spread("export ADMIN_PASS", "WORD=Hunterpass"),
    "Google's HMAC": spread("GOOG", "1EABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
}  # fmt: skip


@pytest.mark.parametrize("text", PLAIN.values(), ids=PLAIN)
def test_keys_passwords_and_words_of_more_kinds(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(f"words\n\n{text}\n")
    (tmp_path / "config.json").write_text(json.dumps({"notes": text}))
    (tmp_path / "app.py").write_text(f"x = {text!r}\n")
    assert all(checks(path) == {"secrets"} for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    "data",
    [
        {"password": 48291377},
        {"pin": 482913},
        {"mnemonic": WORDS.split()},
        {"kty": "oct", "k": KEY},
        {"kty": "RSA", "d": KEY},
    ],
    ids=json.dumps,
)
def test_numbers_and_lists_under_names_of_secrets_and_keys_of_the_web(tmp_path: Path, data: Any) -> None:
    (tmp_path / "a.json").write_text(json.dumps(data))
    assert checks(tmp_path / "a.json") == {"secrets"}


CODES = {
    "pairs": lambda s: " ".join(f"{ord(c):02x}" for c in s),
    "bytes": lambda s: ", ".join(f"0x{ord(c):02X}" for c in s),
    "numbers": lambda s: json.dumps([ord(c) for c in s], indent=1),
    "octal": lambda s: "".join(f"\\{ord(c):03o}" for c in s),
    "mail": lambda s: "".join(f"={ord(c):02X}" for c in s),
    "a line break of mail": lambda s: f"{s[:20]}=\n{s[20:]}",
    "wide letters": lambda s: "".join(chr(ord(c) + 0xFEE0) for c in s),
}


@pytest.mark.parametrize("code", CODES.values(), ids=CODES)
def test_a_token_letter_by_letter(tmp_path: Path, code: Any) -> None:
    (tmp_path / "README.md").write_text(f"words\n\n{code('ghp_' + 'aB3dE5fG7hI9jK1lM3nO5pQ7rS9tU1vW3xY5')}\n")
    assert checks(tmp_path / "README.md") == {"secrets"}


ORDINARY = """
PIN: see the manual. A pin: 12 of them. Costs $1$ and $5$ each; $a^2 + b^2$, $2b$ or not. A sign that says PIN: 12.
The basic understanding of auth: Understanding. Basic Authentication is off. auth = Authenticator()
Each seed phrase: a red cube on a table with two small blue dogs and one green cat near water.
The secret words: see below. A poster with the words: keep calm and carry on because the sun will rise again tomorrow.
docker login ghcr.io -p needs care. mysql -u root --port 3306. redis-cli -h localhost -a "$PASSWORD"
xprv is a prefix, MIIE is how keys begin, a grocery shelf with salt: pepper, sugar. pin: 1950s diner.
pin: 1950 style. pin: int = 4096, a sign that says "PIN: 4829"
shape [64, 64, 96, 112, 104, 97, 99, 101, 110, 111, 105, 110, 116, 101, 114, 112], pin_memory=True, password: str
"""


def test_ordinary_words_are_no_secrets_of_these_kinds(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(ORDINARY)
    (tmp_path / "a.json").write_text(
        json.dumps({"notes": ORDINARY, "salt": "sea", "pin": "hair pin", "k": 3, "kty": "x"})
    )
    (tmp_path / "a.py").write_text(f"x = {ORDINARY!r}\n")
    assert not any(checks(path) for path in tmp_path.iterdir())
