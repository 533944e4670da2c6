"""Calls any server that speaks the OpenAI chat protocol: concurrent, cached, retried, counted and capped.

One `OpenAIBackend` holds a model, a cache and a budget. `ask` never raises for what a server or model does to one call;
it returns a `Reply` whose status says what happened. Replies with text are stored before anyone sees them; refusals and
failures are not, nor is what its reader found unusable (`forget`). What ends the whole run is a `UserError`: a wrong
key, an unknown model, no money, a full disk.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..errors import UserError, quoted
from ..prompts import response_format
from ..records import Status, Usage
from .address import Address
from .backend import ChatBackend, Schema
from .cache import CallCache, call_key
from .completions import read_completion
from .concurrency import Budget, Estimates, EventLoop, Stake
from .dialect import LIMITS
from .files import bounded_client
from .keys import find_key
from .prices import Price, price_of
from .server import Server
from .wire import Message, Reply, input_tokens

if TYPE_CHECKING:
    from openai import OpenAI

T = TypeVar("T")
_OWN = ("model", "messages", "stream", "n", "response_format", *LIMITS)  # arguments that are not the user's to choose


class Queue(Protocol):
    """Takes calls instead of the server and answers them later (`batch.BatchQueue`)."""

    def ask(self, key: str, request: dict[str, Any], estimate: float) -> Reply:
        """The reply, if it has come, or one that says that the call is waiting."""

    def forget(self, reply: Reply) -> None:
        """The reply is unusable, and will not be asked for again."""


class OpenAIBackend(ChatBackend):
    """A served model.

    Args:
        model: the name by which the server knows it, best a dated snapshot.
        base_url: the server, as `address.Address` reads it; None for OpenAI's (or OPENAI_BASE_URL).
        api_key: the key; None for what `keys.find_key` finds. Servers of your own need none. Never printed, logged or
            stored.
        snapshot: names the weights behind `model` when the name alone does not; part of the cache key.
        cache: file of the reply cache, or a `CallCache`; None keeps replies in memory only.
        concurrency: most calls at once, up to 10,000; fewer while the server is overloaded.
        timeout: seconds for one attempt, from the first byte sent to the last received.
        attempts: number of tries of a call if the server is overloaded, broken or silent.
        max_cost: limit in US dollars, or a `Budget` that several backends share. A call that could exceed it is not
            made. Attempts whose answers are lost or a server's failure in mid-work (500, 502), and replies without
            counts of tokens, are taken to cost what they can at most.
        spent: US dollars of `max_cost` that earlier runs have used (`CallCache.paid`); None where the limit is for this
            run alone.
        prices: prices by model, looked at before `prices.PRICES`.
        parameters: further arguments of the chat API; {"temperature": None} leaves a default out.
        max_tokens: most tokens of a reply, thinking included; None for each protocol's own limits.
        max_image_side: larger images are scaled down to this many pixels per side; None sends them as they are.
        api_key_env: names of variables that hold keys, see `keys.find_key`.
        server: name of the server in the cache, for one whose address changes; None for its address.

    Raises:
        UserError: a key is missing, an argument may not be chosen, or `max_cost` is given and the model's price is
            unknown.
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
        max_cost: float | Budget | None = None,
        spent: float | None = None,
        prices: Mapping[str, Price] | None = None,
        parameters: Mapping[str, Any] | None = None,
        max_tokens: int | None = None,
        max_image_side: int | None = None,
        api_key_env: Sequence[str] = (),
        server: str | None = None,
    ) -> None:
        self.model, self.snapshot = model, snapshot
        self.address = Address.parse(base_url)
        self.max_tokens, self.max_image_side = _positive("max_tokens", max_tokens), max_image_side
        _positive("max_image_side", max_image_side)
        self.room = max_tokens or self.room
        self.price = price_of(model, prices)
        self.budget, self._estimates = Budget.of(max_cost, spent), Estimates()
        if self.budget.limit is not None and self.price is None:
            raise UserError(
                f"The price of {quoted(model)} is unknown",
                "A limit (max_cost) needs the price",
                "Give a price table (--prices FILE)",
            )
        self._key = find_key(self.address, api_key, api_key_env)
        self.cache = cache if isinstance(cache, CallCache) else CallCache(cache)
        self.concurrency = concurrency
        chosen = check_parameters(parameters or {})
        self.parameters = {n: value for n, value in {"temperature": 0.0, **chosen}.items() if value is not None}
        self.usage = Usage()  # of the calls that were made, not of stored replies
        self.queue: Queue | None = None
        given = [name for name in chosen if name not in ("temperature", "seed")]  # a server may do without those
        self.server = Server(model, self.address, self._key, concurrency, timeout, attempts, given)
        self._identity = server or self.address.identity
        self._loop = EventLoop()
        self._under_way: dict[str, asyncio.Task[Reply]] = {}
        self._cut_off: dict[str, Reply] = {}  # replies that would be cut off again

    def __repr__(self) -> str:
        return f"OpenAIBackend(model={self.model!r}, base_url={str(self.address)!r})"

    @property
    def retries(self) -> int:
        """How often a call had to be sent once more."""
        return self.server.retries

    @property
    def notes(self) -> list[str]:
        """Sentences about how the server is asked differently than planned."""
        return list(self.server.dialect.notes)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run asynchronous work of this backend from synchronous code."""
        self.server.ended = None
        return self._loop.run(work, on_interrupt=self.interrupt)

    def close(self) -> None:
        """Close connections, cache and thread."""
        self._loop.run(self.server.close())
        self._loop.close()
        self.cache.close()

    def check(self) -> None:
        """Raise `UserError` if nothing answers at the address, or it wants another key. Makes one free request."""
        self.run(self.server.check())

    async def ask(
        self,
        messages: Sequence[Message],
        max_tokens: int,
        schema: Schema | None = None,
        beside: Mapping[str, Any] | None = None,
    ) -> Reply:
        """The model's reply, from the cache if exactly this call was answered before.

        Args:
            messages: the conversation, which ends with a user turn.
            max_tokens: most tokens of the reply.
            schema: (name, JSON schema) that the reply should follow; a server may ignore it.
            beside: further arguments of the chat API that this call needs.

        Raises:
            UserError: what ends the whole run.
        """
        limits: dict[str, Any] = {**self.parameters, **(beside or {}), LIMITS[0]: self.max_tokens or max_tokens}
        key, stored = self._kept(
            {
                "model": self.model,
                "snapshot": self.snapshot,
                "messages": [message.in_the_key() for message in messages],
                "parameters": limits,
                "schema": schema,
                **({"again": self.again} if self.again else {}),
            }
        )
        if stored:
            return replace(self._stored(stored), key=key, cached=True)
        if key in self._cut_off:
            return replace(self._cut_off[key], usage=Usage())
        shape = {"response_format": response_format(*schema)} if schema else {}
        request = {"model": self.model, "messages": [m.on_the_wire() for m in messages], **limits, **shape}
        estimate = self._most_it_can_cost(messages, limits[LIMITS[0]])
        if self.queue is not None:
            return self.queue.ask(key, self.server.dialect.body(request), estimate)
        if key not in self._under_way:
            self._under_way[key] = asyncio.create_task(self._call(key, request, estimate))
            self._under_way[key].add_done_callback(lambda _: self._under_way.pop(key, None))
        return await self._under_way[key]

    def _kept(self, call: dict[str, Any]) -> tuple[str, dict[str, Any] | None]:
        """Key of a call and its stored reply, if any; older caches have keys without the server."""
        key = call_key({**call, "server": self._identity})
        stored = self.cache.get(key)
        if stored is None and self.cache.adopted_by(self.model, self._identity):
            older = call_key(call)
            if stored := self.cache.get(older):
                return older, stored
        return key, stored

    def _stored(self, record: dict[str, Any]) -> Reply:
        try:
            return Reply.from_json(record)
        except ValueError as error:
            fix = "Remove this file, or name another one"
            raise UserError(f"A reply in {self.cache.path} has an unknown format", str(error), fix) from error

    def forget(self, reply: Reply) -> None:
        """Drop a stored reply that turned out to be unusable. The next run asks again."""
        if self.queue is not None:
            self.queue.forget(reply)
        self.cache.remove(reply.key)

    def keep(self, key: str, reply: Reply) -> None:
        """Store a usable reply under the key of the request that an unusable one had answered before."""
        self.cache.put(key, self.model, replace(reply, key=key, cached=False, stands_in=True).to_json())

    async def _call(self, key: str, request: dict[str, Any], estimate: float) -> Reply:
        try:
            if self.server.ended:
                raise self.server.ended
            stake = Stake(self.budget, estimate, self._estimates, self.cache)
            await stake.begin()
            reply = Reply(None, Status.TRANSPORT, "not sent")
            try:
                reply = replace(await self.server.reply(request, self._read, stake), key=key)
                if reply.text is not None:
                    self.cache.put(key, self.model, reply.to_json())
                elif reply.usage.calls:
                    self.cache.pay(reply.usage)
            except asyncio.CancelledError:
                await stake.cancelled()
                raise
            finally:
                if reply.usage.calls and reply.usage.money is None:  # a server that counts no tokens
                    await stake.lost()
                await stake.settle(reply.usage.money or 0.0)
            self.usage += reply.usage
            if reply.cut_off and self.max_tokens:
                reply = self._cut_off[key] = replace(reply, reason=f"{reply.reason}; raise --max-tokens")
            return reply
        except UserError as error:
            self.server.ended = error
            raise

    def _read(self, body: object, seconds: float) -> Reply:
        return read_completion(body, self.price, seconds)

    def _most_it_can_cost(self, messages: Sequence[Message], max_tokens: int) -> float:
        return self.price.cost(input_tokens(messages, self.price), max_tokens) if self.price else 0.0

    def interrupt(self) -> None:
        """Begin no more calls of the work under way, which then ends with a `UserError`; those that are end."""
        self.server.ended = UserError(
            "The run was interrupted", "", "Run the command again to continue: paid replies are kept"
        )

    def file_client(self) -> OpenAI:
        """A synchronous client for the same server and key, for files and batches."""
        from openai import OpenAI

        return OpenAI(
            api_key=self._key or "none",
            base_url=self.address.url,
            default_query=dict(self.address.query),
            max_retries=self.server.attempts,
            http_client=bounded_client(),
        )


def check_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Check arguments of the chat API. Raises `UserError` for one that a user may not choose, or JSON cannot hold."""
    for name in parameters:
        if name in LIMITS:
            raise UserError(
                f"The parameters contain {name}",
                "This tool sets the limit of each call",
                "Use --max-tokens (max_tokens)",
            )
        if name in _OWN:
            raise UserError(f"The parameters contain {name}", "The protocol sets it", "Leave it out")
        if "key" in name.lower() or "token" in name.lower().split("_"):
            raise UserError(
                f"The parameters contain {name}",
                "Parameters are written to files, so they must not contain keys",
                "Name the key's variable with --api-key-env",
            )
    try:
        json.dumps(parameters, allow_nan=False)
    except (ValueError, TypeError) as error:
        raise UserError("The parameters cannot be sent", str(error), "Give what JSON can hold") from error
    return dict(parameters)


def _positive(name: str, value: int | None) -> int | None:
    if value is not None and value < 1:
        raise UserError(f"{name} is {value}", "At least 1 is needed", "Give 1 or more, or leave it out")
    return value
