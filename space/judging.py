"""The judges a visitor may choose from: what each can and cannot see, opened once, called in time"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from limits import SECONDS, timed
from t2i_judge.errors import UserError
from t2i_judge.judges.names import TINY, JudgeName
from t2i_judge.records import Judgement, Question

if TYPE_CHECKING:
    from PIL import Image

    from t2i_judge.judges.base import Judge

PROVIDERS = {
    "OpenAI": "https://api.openai.com/v1",
    "Hugging Face": "https://router.huggingface.co/v1",
    "OpenRouter": "https://openrouter.ai/api/v1",
}
OWN = "own"  # the choice "your own key"
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,99}")
_KEY = re.compile(r"[\x21-\x7e]{8,300}")
_TOGETHER = 32  # most pictures in one call of a local judge


@dataclass(frozen=True)
class Offer:
    """A judge on offer: `sees` and `blind` say in a sentence each what it can and cannot judge."""

    name: str
    label: str
    kind: str  # "local" or "remote": which pool and which time limit
    sees: str
    blind: str


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
        raise UserError(f"{provider!r} is not offered", "only listed providers are called", "choose one of the list")
    if not _MODEL.fullmatch(model):
        raise UserError(
            f"{model!r} is not a model name", "", "type it as the provider writes it, e.g. gpt-4o-2024-11-20"
        )
    if not _KEY.fullmatch(key):
        raise UserError("That is not a key", "keys are 8 or more characters without spaces", "paste it again")
    return OwnKey(provider, model, key)


def offer(name: str) -> Offer:
    """Describe a judge of the owner's choice by its name."""
    judge = JudgeName.parse(name)
    if judge.kind == TINY:
        return Offer(
            name,
            "tiny · embedded, runs here",
            "local",
            "It sees rendered scenes of flat shapes: which, how many, colour, size, texture, place, and how clean.",
            "It cannot see photographs or paintings: those it declines instead of guessing.",
        )
    if judge.served:
        return Offer(
            name,
            f"{judge.model} · served",
            "remote",
            "It sees any picture. Picture and prompt are sent to the served model that this Space's owner chose.",
            "It may refuse pictures of people, and miss small text, exact counts above five and fine defects.",
        )
    return Offer(
        name,
        f"{judge.model} · runs here",
        "local",
        "It sees any picture; nothing leaves this Space.",
        "It may miss small text, exact counts above five and fine defects; on a CPU it takes minutes.",
    )


OWN_OFFER = Offer(
    OWN,
    "your own key",
    "remote",
    "It sees any picture. Picture and prompt are sent to your provider, at your cost.",
    "Your key stays in this Space's memory until you leave; it is never stored, logged or sent back to your browser.",
)


@dataclass(eq=False)
class _Request:
    """A picture that waits to be judged; `judgement` is set once it is."""

    judge: str
    image: Image.Image
    prompt: str
    image_id: str
    reference: Image.Image | None
    questions: Sequence[Question] | None
    explain: bool
    judgement: Judgement | None = None

    def goes_with(self, other: _Request) -> bool:
        """May both be judged in one call?"""
        alike = self.judge == other.judge and self.explain == other.explain
        return alike and (self.reference is None) == (other.reference is None)


def _score(judge: Judge, requests: Sequence[_Request]) -> list[Judgement]:
    """The judgements of requests that go together, in one call."""
    references = [each.reference for each in requests] if requests[0].reference is not None else None
    return judge.score(
        [each.image for each in requests],
        [each.prompt for each in requests],
        references,
        image_ids=[each.image_id for each in requests],
        questions=[each.questions for each in requests],
        explain=requests[0].explain,
    )


class JudgeDesk:
    """Opens each judge once and asks it in time.

    Args:
        names: judges on offer, the default first.
        load: `t2i_judge.load_judge`, or a function with its signature.
    """

    def __init__(self, names: Sequence[str], load: Callable[..., Judge]) -> None:
        self.offers = {each.name: each for each in [*map(offer, names), OWN_OFFER]}
        self.default = names[0]
        self._load, self._open, self._lock = load, dict[str, Any](), threading.Lock()
        self._waiting: list[_Request] = []  # for a local judge

    def open(self, name: str) -> Judge:
        """The judge of that name, loaded once. Raises `UserError`."""
        with self._lock:
            if name not in self._open:
                self._open[name] = self._load(name)
            return self._open[name]

    def _opened(self, name: str) -> Judge:
        """As `open`; why it fails is for the owner's log, because it may name the owner's folders."""
        try:
            return self.open(name)
        except UserError as error:
            logging.getLogger(__name__).warning("%s: %s", name, error)
            fact = f"{self.offers[name].label} is not available"
            raise UserError(fact, "it could not be opened", "tell the owner of this Space") from error

    async def judge(
        self,
        name: str,
        image: Image.Image,
        prompt: str,
        *,
        image_id: str,
        reference: Image.Image | None = None,
        questions: Sequence[Question] | None = None,
        explain: bool = False,
        own: OwnKey | None = None,
    ) -> Judgement:
        """One judgement; a failed one has its status. Raises `UserError` when the judge cannot be asked at all."""
        if name not in self.offers:
            raise UserError(f"{name!r} is not offered here", "", f"choose one of {', '.join(self.offers)}")
        request = _Request(name, image, prompt, image_id, reference, questions, explain)
        if name == OWN:
            if own is None:
                raise UserError("There is no key yet", "this judge is called with your own", "enter it below the judge")
            return await timed("remote", self._by_own_key, request, own)
        if self.offers[name].kind == "remote":
            return await timed("remote", lambda: _score(self._opened(name), [request])[0])
        self._waiting.append(request)
        try:
            return await timed("local", self._with_all_alike, request)
        finally:
            self._waiting.remove(request)

    def _with_all_alike(self, request: _Request) -> Judgement:
        """Judge a request together with those that wait alike; one of them may have taken it along already.

        Runs in the one thread of local judges, which reads twenty prompts in little more time than one.
        """
        if request.judgement is None:
            others = [each for each in self._waiting if each is not request and each.judgement is None]
            together = [request, *filter(request.goes_with, others)][:_TOGETHER]
            for each, judgement in zip(together, _score(self._opened(request.judge), together), strict=True):
                each.judgement = judgement
        assert request.judgement is not None
        return request.judgement

    def _by_own_key(self, request: _Request, own: OwnKey) -> Judgement:
        """Ask a judge that lives for this call alone, because it has a visitor's key."""
        judge: Any = self._load(own.judge, api_key=own.key, timeout=SECONDS["remote"] / 2, attempts=2)
        try:
            [judgement] = _score(judge, [request])
        except UserError as error:
            raise UserError(str(error).replace(own.key, "[key]")) from None
        finally:
            judge.close()
        return replace(judgement, reason=judgement.reason and judgement.reason.replace(own.key, "[key]"))
