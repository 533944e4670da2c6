"""Gradio's queue, of which no visitor, nor a range of the internet, fills more than a share: calls that wait or are at
work, and what came of them, which Gradio would keep until somebody fetches it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from gradio.queueing import Event, Queue
from starlette.exceptions import HTTPException
from starlette.requests import Request

from limits import RESULTS, calls
from t2i_judge.errors import UserError
from t2i_judge.kept import weight
from visitors import Visitor, visitor_of

_KEPT = 60.0  # seconds that a result waits for whoever asked for it
LEAST = 50_000  # bytes that a result counts for, its messages and its session's queue included
_QUEUES = 10_000  # of sessions; more than there can be results, since Gradio forgets the oldest beyond it


class Line:
    """Takes a queue's calls in, and counts what comes of them until it is fetched or dropped."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.results: dict[str, tuple[str, Visitor, int]] = {}  # by event: its session, who asked, bytes
        self._joining: list[Visitor] = []
        self._push, self._process = queue.push, queue.process_events
        queue.pending_messages_per_session.max_size = _QUEUES
        queue.push = self.join  # type: ignore[method-assign]
        queue.process_events = self.work  # type: ignore[method-assign]
        queue.compute_analytics_summary = lambda records: {}  # type: ignore[method-assign]  # nobody may read it

    async def join(self, body: Any, request: Request, *args: Any, **options: Any) -> Any:
        """Let a call into the queue. Who has too many there, or too many results unfetched, gets HTTP 429."""
        caller = visitor_of(request.scope)
        try:
            self._admit(caller)
        except UserError as error:
            raise HTTPException(429, str(error)) from None
        self._joining.append(caller)
        try:
            return await self._push(body, request, *args, **options)
        finally:
            self._joining.remove(caller)

    def _admit(self, caller: Visitor) -> None:
        for event in [event for event in self.results if not self._waits(event)]:
            self._forget(event)
        if RESULTS.full(caller, LEAST):
            raise UserError(RESULTS.fact, "", RESULTS.fix)
        there = calls()
        for visitor in self._joining:
            there.add(visitor)
        for call in self.queue.event_ids_to_events.values():
            there.add(visitor_of(call.request.scope))
        there.take(caller)

    async def work(self, events: list[Event], *args: Any, **options: Any) -> None:
        """Do what was asked. What comes of it counts from now on, and is dropped after `_KEPT`."""
        try:
            await self._process(events, *args, **options)
        finally:
            for event in events:
                self._keep(event)

    def _keep(self, event: Event) -> None:
        box = self.queue.pending_messages_per_session.get(event.session_hash)
        unread = [each for each in list(box._queue) if getattr(each, "event_id", None) == event._id] if box else []
        size = max(LEAST, sum(weight(vars(message)) for message in unread))
        caller = visitor_of(event.request.scope)
        self.results[event._id] = event.session_hash, caller, size
        RESULTS.add(caller, size)
        asyncio.get_running_loop().call_later(_KEPT, self._drop, event._id, event.session_hash)

    def _waits(self, event: str) -> bool:
        session, _, _ = self.results[event]
        return event in self.queue.pending_event_ids_session.get(session, ())

    def _forget(self, event: str) -> None:
        if event in self.results:
            _, caller, size = self.results.pop(event)
            RESULTS.add(caller, -size)

    def _drop(self, event: str, session: str) -> None:
        """A result that nobody fetched, and what Gradio keeps for its session where that waits for nothing else."""
        self._forget(event)
        pending = self.queue.pending_event_ids_session.get(session, set())
        pending.discard(event)
        box = self.queue.pending_messages_per_session.get(session)
        if not pending:
            self.queue.pending_event_ids_session.pop(session, None)
            self.queue.pending_messages_per_session.pop(session, None)
        elif box is not None:
            unread: Any = box._queue
            left = [message for message in unread if getattr(message, "event_id", None) != event]
            unread.clear()
            unread.extend(left)
