"""The judges from which a visitor may choose, under names that do not show the owner's servers and folders."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePath
from urllib.parse import urlsplit

from t2i_judge.errors import UserError, quoted
from t2i_judge.judges.names import OCR, TINY, JudgeName

PROVIDERS = {
    "OpenAI": "https://api.openai.com/v1",
    "Hugging Face": "https://router.huggingface.co/v1",
    "OpenRouter": "https://openrouter.ai/api/v1",
}
OWN = "own"  # the choice "your own key"
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}")
_KEY = re.compile(r"[\x21-\x7e]{8,300}")


@dataclass(frozen=True)
class Offer:
    """A judge on offer.

    Attributes:
        name: what visitors, and clients of the API, call it.
        label: what the page calls it.
        kind: "local" or "remote": which pool and which time limit.
        sees, blind: what it can and what it cannot judge, a sentence each.
        judge: what it is loaded by, which visitors do not see; None for a visitor's own.
    """

    name: str
    label: str
    kind: str
    sees: str
    blind: str
    judge: JudgeName | None = field(default=None, repr=False)

    @property
    def sees_pictures(self) -> bool:
        """Does it judge any picture, and at no visitor's cost?"""
        return self.judge is not None and self.judge.kind not in (TINY, OCR)

    @property
    def hidden(self) -> tuple[str, ...]:
        """Words that no visitor may read in what this judge says: its server's address, its folder."""
        if self.judge is None:
            return ()
        if self.judge.base_url:
            address = urlsplit(self.judge.base_url)
            hosts = (address.netloc, address.hostname or "")  # a bare word may stand in any prompt
            return (self.judge.base_url, *(host for host in hosts if "." in host or ":" in host))
        return (str(self.judge.model),) if _is_folder(self.judge) else ()


@dataclass(frozen=True)
class OwnKey:
    """A visitor's own access, in memory for one visit only; never shown, stored or logged."""

    provider: str
    model: str
    key: str = field(repr=False)

    @property
    def judge(self) -> str:
        """The judge's name."""
        return f"openai:{self.model}@{PROVIDERS[self.provider]}"


def own_key(provider: str, model: str | None, key: str | None) -> OwnKey:
    """Check what a visitor typed. Raises `UserError`, which never repeats the key."""
    model, key = (model or "").strip(), (key or "").strip()
    if provider not in PROVIDERS:
        raise UserError(
            f"{quoted(provider)} is not offered", "Only listed providers are called", "Choose one from the list"
        )
    if not _MODEL.fullmatch(model):
        raise UserError(
            f"{quoted(model)} is not a model name", "", "Type it as the provider writes it, such as gpt-4o-2024-11-20"
        )
    if not _KEY.fullmatch(key):
        raise UserError("That is not a key", "A key has 8 or more characters and no spaces", "Paste it again")
    return OwnKey(provider, model, key)


def offer(name: str) -> Offer:
    """Describe a judge of the owner's choice by its name. Raises `UserError` where it is no judge's."""
    judge = JudgeName.parse(name)
    if judge.kind == TINY:
        return Offer(
            name,
            "tiny · embedded, runs here",
            "local",
            "It judges rendered scenes of flat shapes: kind, number, colour, size, texture, place and flaws.",
            "It declines photographs instead of guessing, and misreads three in ten prompts that name three shapes.",
            judge,
        )
    if judge.served:
        return Offer(
            judge.label,
            f"{judge.model} · served",
            "remote",
            "It sees any picture. Picture and prompt are sent to the served model that this Space's owner chose.",
            "It may refuse pictures of people, and miss small text, exact counts above five and fine defects.",
            judge,
        )
    if judge.kind == OCR:
        return Offer(
            name,
            "text in pictures · runs here",
            "local",
            "It reads the texts that the prompt quotes, letter by letter; nothing leaves this Space.",
            "It judges only text, and only for prompts that quote text.",
            judge,
        )
    shown = PurePath(str(judge.model)).name if _is_folder(judge) else str(judge.model)
    protocol = f"{judge.protocol}+" if judge.protocol else ""
    revision = f"@{judge.revision}" if judge.revision else ""
    return Offer(
        f"{protocol}{judge.kind}:{shown}{revision}",
        f"{shown} · runs here",
        "local",
        "It sees any picture; nothing leaves this Space.",
        "It may miss small text, exact counts above five and fine defects; on a CPU it takes minutes.",
        judge,
    )


def _is_folder(judge: JudgeName) -> bool:
    """A path, whether it is there or not; a Hub repository has one slash, between two names."""
    parts = str(judge.model).split("/")
    return not judge.served and (len(parts) != 2 or parts[0] in ("", ".", "..", "~"))


def all_offers(names: Iterable[str]) -> dict[str, Offer]:
    """Every judge by the name that visitors use; of two that would share one, the second gets a number."""
    offers: dict[str, Offer] = {}
    for each in map(offer, names):
        if any(each.judge == other.judge for other in offers.values()):
            continue
        number, name = 1, each.name
        while name in offers:
            number += 1
            name = f"{each.name} ({number})"
        suffix = f" ({number})" if number > 1 else ""
        offers[name] = Offer(name, each.label + suffix, each.kind, each.sees, each.blind, each.judge)
    return {**offers, OWN: OWN_OFFER}


OWN_OFFER = Offer(
    OWN,
    "your own key",
    "remote",
    "It sees any picture. Picture and prompt are sent to your provider, and you pay for them.",
    "Your key stays in this Space's memory until you leave; it is never stored, logged or sent back to your browser.",
)
