"""One model on one server: how to reach it, how to ask it, how many calls it can take, and when to give up.

A failure of one call is that call's status. A run ends if every call would fail: a wrong key, model or address, no
credit, a model that takes no images. The first call goes alone, so such a thing is found by one call before the work;
where its rejection may also be about that one image, a call of two words tells the one from the other.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ..errors import Stopped, UserError, nearest, quoted
from ..logins import hidden
from ..records import Status
from .address import Address
from .completions import NotACompletion
from .concurrency import AdaptiveLimit, Stake
from .dialect import LIMITS, Body, Dialect, Manner
from .http import Answer, HttpClient, Silent
from .probes import simplest
from .rejections import Rejection, retry_after
from .wire import Reply
from .words import shorten

Reader = Callable[[Any, float], Reply]
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds, before jitter
_LONGEST_RETRY_AFTER = 300.0  # a server that wants longer is not waited for
_BEFORE_WORK = (501, 503, 521, 522, 523, 529)  # answers from 500 on of who did not begin with the call
_TOO_LATE = (504, 524)  # answers of a gateway while the server behind it works
_BUSY = (408, 409, 425, 429, 502, 503, 504, 520, 522, 524, 529)
_UNCLEAR = (400, 404, 415, 422, 500, 501)  # may be about how something is asked
_ODD_TRIES, _SILENT_TRIES, _BROKEN_TRIES = 2, 3, 4  # of a call that fails each time in the same way
_ADAPTATIONS = 12  # of one call
_REFUSALS = 3  # in a row, after which it is looked whether anything is answered at all
_TRIALS = 2  # calls for which other ways of asking are tried


class _Failed(Exception):
    """An attempt without a reply.

    `tries` is how often it is worth it when it fails like this, 1 for not again; `lost`: it may have been worked on,
    and paid for.
    """

    def __init__(
        self, reason: str, tries: int, rejection: Rejection | None = None, wait: float = 0.0, lost: bool = False
    ) -> None:
        self.reason, self.tries, self.rejection, self.wait, self.lost = reason, tries, rejection, wait, lost
        super().__init__(reason)

    @property
    def status(self) -> int:
        """Of HTTP; 0 when there was no answer."""
        return self.rejection.status if self.rejection else 0


class Server:
    """A model behind an address.

    Args:
        model: the name the server knows it by.
        key: None for none.
        concurrency: most calls at once. It begins with one, and goes up while the server keeps up.
        timeout: seconds for one attempt.
        attempts: how often a call is tried when the server is busy or broken.
        chosen: names of the arguments that the user chose: a server that refuses one is not asked without it.
    """

    def __init__(
        self,
        model: str,
        address: Address,
        key: str | None,
        concurrency: int,
        timeout: float,
        attempts: int,
        chosen: Sequence[str] = (),
    ) -> None:
        self.model, self.address, self.attempts, self.chosen = model, address, attempts, chosen
        self.retries = 0
        self.limit = AdaptiveLimit(concurrency, start=1)
        self.dialect = Dialect(Manner(LIMITS[:1] if address.is_openai else LIMITS))
        self._secrets = tuple(secret for secret in (key, *address.secrets) if secret and len(secret) > 4)
        self._http = HttpClient(address, key, timeout)
        self._endpoints = address.endpoints
        self._answered_at = 0.0  # when a call was last answered
        self._failing = False  # whether an attempt has failed since
        self.ended: UserError | None = None  # what ended the run: nothing more is sent
        self._first, self._is_first = asyncio.Lock(), True
        self._probing = asyncio.Lock()
        self._trials = self._refusals = 0  # the latter since something was last answered

    async def reply(self, request: Mapping[str, Any], read: Reader, stake: Stake) -> Reply:
        """The reply to a request (as `dialect.Manner.body` takes it), tried until trying again is pointless.

        Args:
            read: body of an answer and its seconds -> reply; raises `NotACompletion`.
            stake: what is set aside for the call. Attempts that may have been paid for without a word of it are taken
                from it, and where there is no money for another one, the call is given up.

        Raises:
            UserError: what ends the whole run.
        """
        try:
            if self._is_first:
                async with self._first:
                    if self._is_first:
                        reply = await self._reply(request, read, stake)
                        self._is_first = False
                        return reply
            return await self._reply(request, read, stake)
        except UserError as error:
            self.ended = error
            raise

    async def _reply(self, request: Mapping[str, Any], read: Reader, stake: Stake) -> Reply:
        tries: Counter[str] = Counter()
        adapted = 0
        while True:
            body, begun = self.dialect.body(request), time.monotonic()
            try:
                async with self.limit as sent_at:
                    if self.ended:
                        raise self.ended
                    stake.send()
                    return await self._attempt(body, request, read, sent_at)
            except _Failed as failed:
                failure, self._failing = failed, True
            if failure.lost:
                await stake.lost()
            otherwise = self._learns(body, request, failure) if adapted < _ADAPTATIONS else None
            if otherwise is None:
                tries[failure.reason] += 1
                if tries.total() >= self.attempts or tries[failure.reason] >= failure.tries:
                    return await self._given_up(body, request, read, failure, begun, tries.total(), stake)
            if not await stake.again():
                status, reason = self._outcome(failure, tries.total())
                return Reply(None, status, f"{reason}; another attempt could exceed max_cost")
            if otherwise is not None:
                request, adapted = otherwise, adapted + 1
                continue
            self.retries += 1
            backoff = random.uniform(0.5, 1.0) * min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (tries.total() - 1))
            await asyncio.sleep(max(backoff, failure.wait))

    async def check(self) -> None:
        """Raise `UserError` when nothing answers, or it wants another key: free, or two words after failed calls."""
        try:
            answer = await self._models()
            rejected = await self._probe(False) if self._failing else None
        except Silent as silence:
            raise self._no_answer(silence.reason) from silence
        if answer.status // 100 == 3:
            raise self.redirects(answer.status, answer.headers)
        if answer.status == 401 and "scope" not in (rejection := self._rejection(answer)).text:
            raise await self._fatal(rejection)
        if rejected and rejected.status in _BUSY:
            raise Stopped(f"{self.address} answers no call", str(rejected), "Run the command again to continue")
        if rejected:
            raise await self._fatal(rejected)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    def scrub(self, text: str) -> str:
        """Text without the key and the address's secrets, should a server repeat them."""
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        return text

    async def _attempt(self, body: Body, request: Mapping[str, Any], read: Reader, sent_at: float) -> Reply:
        """Send once. Raises `_Failed`, or `UserError` for what ends the run."""
        try:
            answer = await self._http.post(self._endpoints[0], body)
        except Silent as silence:
            if silence.busy:
                self.limit.overloaded(sent_at)
            timed_out = silence.reason.startswith("no whole reply")
            tries = _SILENT_TRIES if timed_out else self.attempts
            raise _Failed(self.scrub(silence.reason), tries, lost=silence.sent) from silence
        record = answer.record
        if answer.is_error:
            await self._check_credit(self._rejection(answer))
            raise self._failure(answer, sent_at)
        try:
            reply = read(record, time.monotonic() - sent_at)
        except NotACompletion as error:
            shown = f" ({shorten(record, 100)!r})" if isinstance(record, str) else ""
            raise _Failed(
                self.scrub(f"not a chat completion: {error}{shown}"), _ODD_TRIES, lost=self._is_of_a_model(answer)
            ) from error
        self.limit.succeeded()
        self._answered_at, self._failing, self._refusals = time.monotonic(), False, 0
        self.dialect.took(body, request)
        return replace(reply, text=self.scrub(reply.text or "") or None, reason=self.scrub(reply.reason or "") or None)

    def _failure(self, answer: Answer, sent_at: float) -> _Failed:
        """What an answer that is no reply means for this call. Raises `UserError` for what ends the run."""
        rejection = self._rejection(answer)
        if answer.status // 100 == 3:
            raise self.redirects(answer.status, answer.headers)
        busy = rejection.status in _BUSY
        wait = retry_after(answer.headers) if busy or rejection.status >= 500 else 0.0
        if wait > _LONGEST_RETRY_AFTER:
            until = time.strftime("%H:%M", time.localtime(time.time() + wait))
            fact = f"{self.address} asks to wait {wait / 60:.0f} minutes, until {until}"
            raise Stopped(fact, str(rejection), "Run the same command again then: paid replies are kept")
        if busy:
            self.limit.overloaded(sent_at, wait)
        worked = rejection.status == 200 or (rejection.status >= 500 and rejection.status not in _BEFORE_WORK)
        lost = worked and (rejection.status in _TOO_LATE or self._is_of_a_model(answer))
        if answer.status == 200 and rejection.status != 429 and not rejection.filtered:  # asked once more
            return _Failed(str(rejection), _ODD_TRIES, rejection, wait, lost)
        if rejection.status >= 500 and not busy:
            tries = self.attempts if self._answered_at else _BROKEN_TRIES
            return _Failed(str(rejection), tries, rejection, wait, lost)
        return _Failed(str(rejection), self.attempts if busy else 1, rejection, wait, lost)

    async def _check_credit(self, rejection: Rejection) -> None:
        """Raise `UserError` when there is no credit left: other words may be those of a prompt that is repeated."""
        if not rejection.no_money:
            return
        if rejection.status not in (402, 429):
            asked = await self._rejects(False)
            if not (asked and asked.no_money):
                return
        fix = "Add credit, then run the command again"
        raise Stopped(f"{self.address} reports no credit left", str(rejection), fix)

    def _is_of_a_model(self, answer: Answer) -> bool:
        """Whether a model may have worked for an answer: not for a page of an address where none ever answered."""
        return bool(self._answered_at) or not isinstance(answer.record, str)

    def _rejection(self, answer: Answer) -> Rejection:
        rejection = Rejection.of(answer.status, answer.record)
        return replace(rejection, text=self.scrub(rejection.text))

    def _learns(self, body: Body, request: Mapping[str, Any], failure: _Failed) -> Mapping[str, Any] | None:
        """The request to make now, since the server said what it does not take; None where there is no other way."""
        rejection = failure.rejection
        if rejection is None or rejection.status in _BUSY or rejection.status in (401, 403) or rejection.filtered:
            return None
        elsewhere = rejection.status in (404, 405) and not self._about_the_model(rejection) and not rejection.no_images
        if elsewhere and not self._answered_at and len(self._endpoints) > 1:
            self._endpoints = self._endpoints[1:]
            return request
        for name in self.chosen:
            named = re.search(rf"['\"`]{re.escape(name)}['\"`]", rejection.text)
            if rejection.param == name or (named and not self.dialect.has_taken(name)):
                fix = f"Remove {name} from the parameters"
                raise UserError(f"{self.address} does not accept {quoted(name)}", str(rejection), fix)
        return self.dialect.refused(body, request, rejection)

    async def _given_up(
        self,
        body: Body,
        request: Mapping[str, Any],
        read: Reader,
        failure: _Failed,
        begun: float,
        tries: int,
        stake: Stake,
    ) -> Reply:
        """The end of a call. Raises `UserError` when every call would end like that."""
        rejection = failure.rejection
        if rejection is None or rejection.status in _BUSY or rejection.status == 200:
            if failure.reason.startswith("connection failed") and not self._answered_at:
                raise self._no_answer(failure.reason)
            self.limit.gave_up()
            return Reply(None, *self._outcome(failure, tries))
        if rejection.filtered and rejection.status != 401:
            self.limit.succeeded()
            return Reply(None, *self._outcome(failure, tries))
        if everything := await self._refuses_everything(body, rejection, begun):
            raise everything
        if reply := await self._asked_otherwise(body, request, read, rejection, stake):
            return reply
        self.limit.succeeded()  # it answers, though not this
        return Reply(None, *self._outcome(failure, tries))

    def _outcome(self, failure: _Failed, tries: int) -> tuple[Status, str]:
        """Status and reason of a call that is given up."""
        rejection, times = failure.rejection, f" ({tries} attempts)" if tries > 1 else ""
        if rejection is None:
            return Status.TRANSPORT, f"{failure.reason}{times}"
        if rejection.filtered or rejection.status == 403:
            return Status.FILTERED, f"rejected by the provider's content filter: {rejection}"
        large = "; send smaller images (--max-image-side)" if rejection.status == 413 else ""
        return Status.TRANSPORT, f"{rejection}{large}{times}"

    async def _refuses_everything(self, body: Body, rejection: Rejection, begun: float) -> UserError | None:
        """What ends the run, if the rejection is not about this call alone."""
        pictures = "image_url" in str(body["messages"])[:200]
        about_images = pictures and rejection.no_images
        plain = rejection.status == 401 or (rejection.status == 404 and self._about_the_model(rejection))
        if plain and not self._answered_at and not about_images:
            return await self._fatal(rejection)
        self._refusals += 1
        about_all = rejection.about_the_key or self._about_the_model(rejection) or rejection.no_images
        if not (about_all or rejection.status in (401, 403, 404) or self._refusals >= _REFUSALS):
            return None
        async with self._probing:
            if self._answered_at > begun:
                return None  # another call was answered meanwhile
            rejected = await self._rejects(pictures)
            if rejected and pictures and await self._rejects(False) is None:
                fix = "Name a model that accepts images (or give llama.cpp's server its --mmproj)"
                return UserError(f"{quoted(self.model)} at {self.address} does not accept images", str(rejected), fix)
        return await self._fatal(rejected) if rejected else None

    async def _rejects(self, picture: bool) -> Rejection | None:
        """As `_probe`; None, too, if there is no answer or the server is busy: it may take the call later."""
        with suppress(Silent):
            rejected = await self._probe(picture)
            if rejected and rejected.status not in _BUSY:
                return rejected
            self._answered_at = time.monotonic()
        return None

    async def _probe(self, picture: bool) -> Rejection | None:
        """Ask for two words, about a grey picture or about nothing; a rejection of even that. Raises `Silent`."""
        for body in simplest(self.model, self.dialect.manner.limits, picture):
            answer = await self._http.post(self._endpoints[0], body)
            if not answer.is_error:
                return None
            rejection = self._rejection(answer)
            if rejection.status in (401, 403, *_BUSY):
                break
        return rejection

    async def _asked_otherwise(
        self, body: Body, request: Mapping[str, Any], read: Reader, rejection: Rejection, stake: Stake
    ) -> Reply | None:
        """The reply to the same request in another form, while it is not known which forms the server takes."""
        if rejection.status not in _UNCLEAR or self._trials >= _TRIALS or self.dialect.knows(body, request):
            return None
        self._trials += 1
        for manner in self.dialect.variants(body, request):
            if not await stake.again():
                return None
            other = manner.body(request)
            try:
                async with self.limit as sent_at:
                    stake.send()
                    reply = await self._attempt(other, request, read, sent_at)
            except _Failed as failed:
                if failed.lost:
                    await stake.lost()
                continue
            self.dialect.adopt(manner)
            return reply
        return None

    async def _fatal(self, rejection: Rejection) -> UserError:
        if rejection.status == 404 or (self._about_the_model(rejection) and not rejection.about_the_key):
            fact = f"{self.address} does not know the model {quoted(self.model)}, or does not have /chat/completions"
            fix = f"Correct the name or the address{await self._known_models()}"
            return UserError(fact, str(rejection), fix)
        if rejection.status in (401, 403) or rejection.about_the_key:
            fix = "Set OPENAI_API_KEY to a valid key, or name another variable (--api-key-env)"
            return UserError(f"{self.address} rejected the API key", str(rejection), fix)
        fix = "Correct the model's name, the key or the address"
        kind = Stopped if rejection.status >= 500 else UserError
        return kind(f"{self.address} refuses every call", str(rejection), fix)

    def _about_the_model(self, rejection: Rejection) -> bool:
        return rejection.about_the_model or (len(self.model) > 2 and self.model in rejection.text)

    async def _known_models(self) -> str:
        """Half a sentence about the models that the server lists, if it does."""
        try:
            models = [model["id"] for model in (await self._models()).record["data"]]
            return f". {shorten(self.scrub(nearest(self.model, models)), 300)}" if models else ""
        except (Silent, LookupError, TypeError):
            return ""

    async def _models(self) -> Answer:
        return await self._http.get(self._endpoints[0].removesuffix("/chat/completions") + "/models", 20.0)

    def _no_answer(self, reason: str) -> UserError:
        fix = "Start the server, or correct the address"
        return Stopped(f"There was no answer from {self.address}", self.scrub(reason), fix)

    def redirects(self, status: int, headers: Mapping[str, str]) -> UserError:
        """What to say of an answer that sends a call to another address; it is not followed."""
        where = shorten(hidden(self.scrub(headers.get("location", ""))), 200) or "elsewhere"
        reason = "The key, the prompt and the image are not sent to another address"
        fact = f"{self.address} redirects to {where} (HTTP {status})"
        return UserError(fact, reason, "Use the address that the server should have")
