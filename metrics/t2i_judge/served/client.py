"""Calls to any server that speaks the OpenAI chat protocol: concurrent, cached, retried, counted and capped.

One `OpenAIBackend` holds a model, a cache and a budget. `ask` never raises for what a server or model does to one call;
it returns a `Reply` whose status says what happened. Replies with text are stored before anyone sees them; refusals and
failures are not, nor is what its reader found unusable (`forget`). What ends the whole run is a `UserError`: a wrong
key, an unknown model, no money, a full disk.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import os
import random
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..errors import UserError
from ..prompts import response_format
from ..records import Status, Usage
from .backend import ChatBackend, Schema
from .cache import CallCache, call_key
from .completions import NotACompletion, read_completion
from .concurrency import AdaptiveLimit, Budget, EventLoop
from .prices import Price, price_of
from .refusals import is_filter
from .wire import Message, Reply, input_tokens, says
from .words import shorten

if TYPE_CHECKING:
    from openai import APIStatusError, AsyncOpenAI, OpenAI

T = TypeVar("T")
_RETRIED = (408, 409, 429)  # and every 5xx
_FATAL = (401, 403, 404)
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0  # seconds, before jitter
_LONGEST_RETRY_AFTER = 600.0


class Queue(Protocol):
    """Takes calls instead of the server, to be answered later (`batch.BatchQueue`)."""

    def ask(self, key: str, request: dict[str, Any], estimate: float) -> Reply:
        """The reply that came meanwhile, or one that says the call waits."""

    def forget(self, reply: Reply) -> None:
        """The reply is unusable, and will not be asked for again."""


class _TryAgain(Exception):
    """An attempt failed for now; `wait` at least so many seconds before the next, None for not at all.

    `answered`: the server did its work, and its answer cannot be used. The same a second time will not change.
    """

    def __init__(self, reason: str, wait: float | None = 0.0, answered: bool = False) -> None:
        self.reason, self.wait, self.answered = reason, wait, answered


class OpenAIBackend(ChatBackend):
    """A served model.

    Args:
        model: the name the server knows it by, best a dated snapshot.
        base_url: the server; None for OpenAI's (or OPENAI_BASE_URL).
        api_key: None for OPENAI_API_KEY; a server of one's own needs none. Never printed, logged or stored.
        snapshot: names the weights behind `model` when the name alone does not; part of the cache key.
        cache: file of the reply cache, or a `CallCache`; None keeps replies in memory only.
        concurrency: most calls at once; fewer while the server is overloaded.
        timeout: seconds for one attempt.
        attempts: how often a call is tried when the server is overloaded, broken or silent.
        max_cost: US dollars; the call that could exceed it is not made.
        spent: US dollars of `max_cost` that earlier runs have used (`CallCache.paid`).
        prices: prices by model, looked at before `prices.PRICES`.
        parameters: further arguments of the chat API; {"temperature": None} leaves a default out.

    Raises:
        UserError: no key where one is needed, or `max_cost` with a model whose price is unknown.
    """

    room = 4096

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        snapshot: str | None = None,
        cache: CallCache | str | Path | None = None,
        concurrency: int = 64,
        timeout: float = 180.0,
        attempts: int = 7,
        max_cost: float | None = None,
        spent: float = 0.0,
        prices: Mapping[str, Price] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.model, self.base_url, self.snapshot = model, base_url, snapshot
        self.price = price_of(model, prices)
        if max_cost is not None and self.price is None:
            raise UserError(f"max_cost with {model!r}", "its price is not known", "give a price table (--prices FILE)")
        self._key = api_key or os.environ.get("OPENAI_API_KEY") or ("none" if base_url else None)
        if self._key is None:
            raise UserError("no API key", "OpenAI's server needs one", "set OPENAI_API_KEY, or name another base URL")
        self.cache = cache if isinstance(cache, CallCache) else CallCache(cache)
        self.concurrency, self.timeout, self.attempts = concurrency, timeout, attempts
        chosen = {"temperature": 0.0, **(parameters or {})}
        self.parameters = {name: value for name, value in chosen.items() if value is not None}
        self.budget = Budget(max_cost, spent)
        self.usage = Usage()  # of the calls that were made, not of stored replies
        self.retries = 0
        self.queue: Queue | None = None
        self._limit = AdaptiveLimit(concurrency)
        self._loop = EventLoop()
        self._under_way: dict[str, asyncio.Task[Reply]] = {}
        self._client: AsyncOpenAI | None = None
        self._schemas = True  # does the server take response_format?
        self._stopped: UserError | None = None

    def __repr__(self) -> str:
        return f"OpenAIBackend(model={self.model!r}, base_url={self.base_url!r})"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run asynchronous work of this backend from synchronous code."""
        self._stopped = None
        return self._loop.run(work, on_interrupt=self._interrupt)

    def close(self) -> None:
        """Close connections, cache and thread."""
        if self._client is not None:
            self._loop.run(self._client.close())
        self._loop.close()
        self.cache.close()

    def check(self) -> None:
        """Raise `UserError` when nothing answers at the address, or it wants another key: one free request."""
        self.run(self._check())

    async def _check(self) -> None:
        import openai

        try:
            await self._openai().with_options(max_retries=2, timeout=20).models.list()
        except openai.APIConnectionError as error:
            raise UserError(
                f"no answer from {self.base_url or 'OpenAI'}",
                str(error.__cause__ or error),
                "start the server or correct the address",
            ) from error
        except openai.APIStatusError as error:
            if error.status_code in (401, 403):
                raise self._fatal(error) from error

    async def ask(self, messages: Sequence[Message], max_tokens: int, schema: Schema | None = None) -> Reply:
        """The model's reply, from the cache when this very call was answered before.

        Args:
            messages: the conversation; ends with a user turn.
            max_tokens: most tokens of the reply.
            schema: (name, JSON schema) that the reply should follow; a server may ignore it.

        Raises:
            UserError: what ends the whole run.
        """
        limits: dict[str, Any] = {**self.parameters, "max_completion_tokens": max_tokens}
        key = call_key(
            {
                "model": self.model,
                "snapshot": self.snapshot,
                "messages": [message.in_the_key() for message in messages],
                "parameters": limits,
                "schema": schema,
            }
        )
        if stored := self.cache.get(key):
            return replace(Reply.from_json(stored), key=key, cached=True)
        if self.queue is not None:
            estimate = self._most_it_can_cost(messages, max_tokens)
            return self.queue.ask(key, self._request(messages, limits, schema), estimate)
        if key not in self._under_way:
            self._under_way[key] = asyncio.create_task(self._call(key, messages, limits, schema))
            self._under_way[key].add_done_callback(lambda _: self._under_way.pop(key, None))
        return await self._under_way[key]

    def forget(self, reply: Reply) -> None:
        """Drop a stored reply that turned out to be unusable, so that the next run asks again."""
        if self.queue is not None:
            self.queue.forget(reply)
        self.cache.remove(reply.key)

    def keep(self, key: str, reply: Reply) -> None:
        """Store a usable reply under the key of the request that an unusable one had answered before."""
        self.cache.put(key, self.model, replace(reply, key=key, cached=False, stands_in=True).to_json())

    async def _call(
        self,
        key: str,
        messages: Sequence[Message],
        limits: Mapping[str, Any],
        schema: Schema | None,
    ) -> Reply:
        estimate = self._most_it_can_cost(messages, limits["max_completion_tokens"])
        try:
            if self._stopped:
                raise self._stopped
            reserved = await self.budget.reserve(estimate)
            reply = Reply(None, Status.TRANSPORT, "not sent")
            try:
                reply = await self._send(messages, limits, schema)
            finally:
                await self.budget.settle(reserved, estimate, reply.usage.money or 0.0)
            self.usage += reply.usage
            if reply.text is not None:
                self.cache.put(key, self.model, reply.to_json())
            elif reply.usage.calls:
                self.cache.pay(reply.usage)
            return replace(reply, key=key)
        except UserError as error:
            self._stopped = error
            raise

    def _most_it_can_cost(self, messages: Sequence[Message], max_tokens: int) -> float:
        return self.price.cost(input_tokens(messages, self.price), max_tokens) if self.price else 0.0

    async def _send(
        self,
        messages: Sequence[Message],
        limits: Mapping[str, Any],
        schema: Schema | None,
    ) -> Reply:
        """Try until there is a reply, the attempts are used up, or trying again is pointless."""
        request, reason = self._request(messages, limits, schema), ""
        for attempt in range(self.attempts):
            try:
                async with self._limit as sent_at:
                    return await self._attempt(request, sent_at)
            except _TryAgain as failure:
                if failure.answered and failure.reason == reason:
                    return Reply(None, Status.TRANSPORT, f"{reason} (twice)")
                reason, wait = failure.reason, failure.wait
            if attempt + 1 < self.attempts:
                self.retries += 1
                backoff = random.uniform(0.5, 1.0) * min(_LONGEST_WAIT, _FIRST_WAIT * 2**attempt)
                await asyncio.sleep(0.0 if wait is None else max(backoff, wait))
        return Reply(None, Status.TRANSPORT, f"{reason} ({self.attempts} attempts)")

    def _request(self, messages: Sequence[Message], limits: Mapping[str, Any], schema: Schema | None) -> dict[str, Any]:
        """The body of a chat request."""
        shape = {"response_format": response_format(*schema)} if schema else {}
        return {"model": self.model, "messages": [message.on_the_wire() for message in messages], **limits, **shape}

    async def _attempt(self, request: dict[str, Any], sent_at: float) -> Reply:
        """Send once. Raises `_TryAgain` when another attempt may help."""
        import openai

        if not self._schemas:
            request = {name: value for name, value in request.items() if name != "response_format"}
        try:
            # Not chat.completions.create: its walk over every message part costs a third of a call's CPU time, and its
            # model of a reply lets everything through that a server sends.
            answer = await self._openai().post("/chat/completions", cast_to=str, body=request)
            reply = read_completion(json.loads(answer), self.price, time.monotonic() - sent_at)
        except openai.APIStatusError as error:
            reason = f"HTTP {error.status_code}: {self._said(error)}"
            if error.status_code == 400 and "response_format" in request and "response_format" in says(error):
                self._schemas = False  # an old server: the prompt alone must do
                raise _TryAgain(reason, None) from error
            if not _worth_retrying(error):
                return self._final(error)
            wait = _retry_after(error)
            self._limit.overloaded(sent_at, wait)
            raise _TryAgain(reason, wait) from error
        except openai.APITimeoutError as error:
            self._limit.overloaded(sent_at)
            raise _TryAgain(f"no reply within {self.timeout:g} s") from error
        except openai.APIConnectionError as error:
            raise _TryAgain(f"connection failed: {self._said(error.__cause__ or error)}") from error
        except (openai.APIError, NotACompletion, ValueError, RecursionError) as error:
            raise _TryAgain(f"not a chat completion: {self._said(error)}", answered=True) from error
        self._limit.succeeded()
        return reply

    def _final(self, error: APIStatusError) -> Reply:
        """A rejection that another attempt will not change. Raises `UserError` for those that hit every call."""
        if is_filter(says(error)) and error.status_code not in (401, 404):
            return Reply(None, Status.FILTERED, f"rejected by the provider's content filter: {self._said(error)}")
        about_one = error.status_code == 403 and self.usage.calls > 0  # others got through with this key
        if error.code == "insufficient_quota" or (error.status_code in _FATAL and not about_one):
            raise self._fatal(error) from error
        return Reply(None, Status.TRANSPORT, f"HTTP {error.status_code}: {self._said(error)}")

    def _fatal(self, error: APIStatusError) -> UserError:
        where = self.base_url or "OpenAI"
        if error.code == "insufficient_quota":
            return UserError(f"{where} reports no credit left", "every call would fail", "top up and run again")
        if error.status_code == 404:
            return UserError(
                f"{where} knows no model {self.model!r}, or no /chat/completions",
                "HTTP 404",
                "correct the name or address",
            )
        return UserError(
            f"{where} rejected the API key", f"HTTP {error.status_code}", "set OPENAI_API_KEY to a valid key"
        )

    def _interrupt(self) -> None:
        self._stopped = UserError("interrupted", "", "run again to go on: what is paid for is kept")

    def _said(self, error: BaseException) -> str:
        """The error's message in one short line; a server that repeats the key does not get it into a file."""
        text = says(error) if hasattr(error, "status_code") else str(error) or type(error).__name__
        return shorten(text.replace(str(self._key), "[key]") if self._key != "none" else text)

    def _openai(self) -> AsyncOpenAI:
        if self._client is None:
            from openai import AsyncOpenAI

            self._client = AsyncOpenAI(api_key=self._key, base_url=self.base_url, max_retries=0, timeout=self.timeout)
        return self._client

    def file_client(self) -> OpenAI:
        """A synchronous client of the same server and key, for files and batches."""
        from openai import OpenAI

        return OpenAI(api_key=self._key, base_url=self.base_url, max_retries=self.attempts)


def _worth_retrying(error: APIStatusError) -> bool:
    overloaded = error.status_code in _RETRIED or error.status_code >= 500
    return overloaded and error.code != "insufficient_quota"


def _retry_after(error: APIStatusError) -> float:
    """Seconds that the server asks to wait (`Retry-After` in seconds or as a date), 0 when it does not say."""
    header = error.response.headers.get("retry-after-ms")
    try:
        if header:
            return min(float(header) / 1000, _LONGEST_RETRY_AFTER)
        header = error.response.headers.get("retry-after")
        if not header:
            return 0.0
        if header.replace(".", "", 1).isdigit():
            return min(float(header), _LONGEST_RETRY_AFTER)
        until = email.utils.parsedate_to_datetime(header).timestamp()
        return min(max(0.0, until - time.time()), _LONGEST_RETRY_AFTER)
    except ValueError:
        return 0.0
