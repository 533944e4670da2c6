"""The name of a judge: `[PROTOCOL+]KIND:MODEL[@WHERE]`, read in one place.

tiny                                   the embedded judge (the default)
hf:OWNER/NAME[@REVISION], hf:FOLDER    a distilled judge, or any vision-language model zero-shot, run on this machine
openai:MODEL[@BASE_URL]                a model behind an OpenAI-compatible server
clip:CHECKPOINT[@REVISION], dino:...   embedding baselines
ocr:rapidocr                           text in pictures
direct+..., dreambench+...             another protocol, before any of the first three
vqa+hf:..., vqa+openai:...             how likely the model says that the picture shows the prompt (VQAScore)
pair+hf:..., pair+openai:...           two images compared, in both orders (`Judge.compare`)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import UserError, quoted
from ..logins import hidden, shown_address
from ..served.address import OPENAI as OPENAI_SERVER
from ..served.address import Address

DIRECT, DREAMBENCH, VQA, PAIR = PROTOCOLS = ("direct", "dreambench", "vqa", "pair")
TINY, HF, OPENAI, CLIP, DINO, OCR, FAKE = KINDS = ("tiny", "hf", "openai", "clip", "dino", "ocr", "fake")
_ALONE = (TINY, FAKE)  # kinds that name no model
_REVISED = (HF, CLIP, DINO)  # kinds whose WHERE is a Hub revision
_ASKED = (TINY, HF, OPENAI)  # kinds that a protocol can ask
_OWN = re.compile(r"@[ch]f/")  # models of Cloudflare's
_NO_MODEL = re.compile(  # what a server's address leaves in a model's name where it is blank, cut short or misspelt
    r"\s|//|@(?:@|$)"  # a space, a scheme, nothing behind `@`
    r"|(?:^|@)(?:localhost|\d+(?:\.\d+){3})(?![\w.-])"  # HOST
    r"|@[\w-]+(?:\.[\w-]+)*\.[a-z]{2,}(?![\w.-])|@\["
    r"|@[^@/\s]*:\d{1,5}(?:[?#]|$)"  # HOST:PORT
    r"|@(?!(?<![^/]@)[ch]f/)[^@]*[/\\]"  # HOST/PATH; but Cloudflare's models are @cf/... and @hf/...
    r"|@[^@/\s:]*:[^@]*@|@https?:",  # a login, a scheme without its slashes
    re.IGNORECASE,
)
_USE = "Use tiny, hf:OWNER/NAME, hf:FOLDER, openai:MODEL[@BASE_URL], clip:CHECKPOINT, dino:CHECKPOINT or ocr:rapidocr"


@dataclass(frozen=True)
class JudgeName:
    """A judge's name and what it says.

    Attributes:
        text: the name as it was written. `str(name)` leaves out a login and keys in an address.
        protocol: one of `PROTOCOLS`, or "" if prompts are decomposed into questions.
        kind: one of `KINDS`.
        model: a Hub repository, a folder (without `~`) or what the server calls its model; None for `tiny` and `fake`.
        revision: of the Hub repository, if one is named.
        base_url: address of the server, if one is named. Only the client sees a login and keys in it.
        alias: another name that judgements use.
    """

    text: str = field(repr=False)
    protocol: str
    kind: str
    model: str | None = None
    revision: str | None = None
    base_url: str | None = field(default=None, repr=False)
    alias: str | None = None

    @classmethod
    def parse(cls, text: str) -> JudgeName:
        """Read a name. Raises `UserError` if it is not a judge's name.

        A folder that exists wins; but a revision, which follows the last `@`, means the Hub, and with the name of a
        folder it is refused. A server's address starts at the last `@http`, so that its model may hold an `@`
        (`openai:@cf/meta/llama@http://...`). Without one, what an address may have left in a model's name is refused:
        as a model it would go to OpenAI's own server.
        """
        protocol, plus, rest = text.partition("+")
        if not plus or protocol not in PROTOCOLS:
            protocol, rest = "", text
        if rest in _ALONE:
            kind, model = rest, ""
        else:
            kind, colon, model = rest.partition(":")
            if kind not in KINDS or kind in _ALONE or not colon:
                raise UserError(f"There is no judge {quoted(shown_address(text))}", "Its kind is unknown", _USE)
            if not model:
                raise UserError(f"There is no judge {quoted(shown_address(text))}", "It does not name a model", _USE)
        if protocol and kind not in _ASKED:
            raise UserError(
                f"There is no judge {quoted(shown_address(text))}",
                f"{protocol}+ asks a model questions, and {kind}: does not answer questions",
                _USE,
            )
        if protocol in (VQA, PAIR) and kind == TINY:
            fix = f"Use {protocol}+hf:MODEL or {protocol}+openai:MODEL"
            raise UserError(
                f"There is no judge {quoted(shown_address(text))}",
                "The judge tiny answers with levels, not with words",
                fix,
            )
        if kind in _REVISED:
            model = _in_a_home(kind, model)
        where: dict[str, str] = {}
        if kind == OPENAI and (served := re.fullmatch(r"(.+)@((?i:https?)://.*)", model, re.DOTALL)):
            model, where["base_url"] = served.groups()
            if hidden(model) != model:  # it would be sent and written
                raise UserError(
                    f"There is no judge {quoted(shown_address(text))}", "Its model holds a login or a key", _USE
                )
        elif kind == OPENAI and _NO_MODEL.search(model):
            raise _without_address(model)
        elif kind in _REVISED and "@" in model and not Path(model).is_dir():
            model, _, revision = model.rpartition("@")
            if revision and Path(model).is_dir():
                raise UserError(
                    f"{kind}:{model}@{revision} means a revision on the Hub, and {model} is a folder here",
                    "A folder has no revisions: nothing would say which of the two is the judge",
                    f"Write {kind}:{model} for the folder, or run this in another folder",
                )
            where |= {"revision": revision} if revision else {}
        return cls(text, protocol, kind, model or None, **where)

    @property
    def served(self) -> bool:
        """Whether a server answers, perhaps for money. Such judges take a client's options."""
        return self.kind == OPENAI

    @property
    def takes_questions(self) -> bool:
        """Whether it asks the questions that are given with an image; others have their own, or none."""
        return self.protocol in ("", VQA) and self.kind in _ASKED

    @property
    def server(self) -> str | None:
        """Identifies the server, if it is not OpenAI's: one that the name does not say is OPENAI_BASE_URL's."""
        if not self.served:
            return None
        server = Address.parse(self.base_url).identity
        return None if server == Address.parse(OPENAI_SERVER).identity else server

    @property
    def label(self) -> str:
        """What judgements call the judge: its alias, or its name without a server's address."""
        address = f"@{self.base_url}" if self.base_url else ""
        return self.alias or hidden(self.text.removesuffix(address))

    def called(self, alias: str) -> JudgeName:
        """The same judge under another name in its judgements."""
        return replace(self, alias=alias)

    def __str__(self) -> str:
        return shown_address(self.text)


def told_apart(labels: Iterable[str]) -> list[str]:
    """Labels of judges with a number for each further server of the same model, whose address they do not tell."""
    seen: Counter[str] = Counter()
    named = []
    for label in labels:
        seen[label] += 1
        named.append(label if seen[label] == 1 else f"{label} (server {seen[label]})")
    return named


def _without_address(model: str) -> UserError:
    """What is wrong with a served model's name in which an address left something. It shows nothing of a login."""
    own = "@" if _OWN.match(model) else ""
    shown = own + re.split(r"[@:\s]|//", model.removeprefix(own))[0]
    if not shown:
        fact = "does not name a model"
    elif re.search(r"\s", model):
        fact = "has white space in it"
    else:
        fact = "has a blank address" if model.endswith("@") else "has an address without http://"
    return UserError(
        f"{quoted(f'{OPENAI}:{shown}')} {fact}",
        "As the name of a model it would go to OpenAI's own server, with your key",
        f"Write {OPENAI}:MODEL@http://HOST:PORT/v1",
    )


def _in_a_home(kind: str, model: str) -> str:
    """A model that is a folder in a home, `~/...` or `~user/...`, with that home's path; any other as it is."""
    try:
        return str(Path(model).expanduser()) if model.startswith("~") else model
    except RuntimeError as error:
        home = quoted(model.partition("/")[0])
        raise UserError(
            f"There is no judge {quoted(f'{kind}:{model}')}",
            f"There is no home {home}",
            "Write the folder's whole path",
        ) from error
