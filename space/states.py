"""What Gradio keeps of a visit between its calls: of one with a session alone, since nobody comes back to another's.

Gradio makes a state for every call, with the settings of all components (50 ms of work), and keeps as many as
`state_session_capacity`; one more pushes out somebody else's.
"""

from __future__ import annotations

from copy import copy
from typing import Any

from gradio import Blocks, route_utils, routes
from gradio.state_holder import SessionState, StateHolder


class Passing(SessionState):
    """The state of one call without a session: what its function reads and writes, and no settings of components."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks_config = copy(blocks.default_config)
        self.config_values = {}
        self.state_data: dict[int, Any] = {}
        self._state_ttl = {}
        self.is_closed = False


class States(StateHolder):
    """The states of sessions. A call without one is named by its event's id, and leaves nothing here."""

    def __getitem__(self, session_id: str) -> SessionState:
        if session_id in self.blocks._queue.event_ids_to_events:
            return Passing(self.blocks)
        return super().__getitem__(session_id)


def keep_sessions_alone() -> None:
    """For every app that is launched from now on."""
    routes.StateHolder = States  # type: ignore[misc]
    route_utils.SessionState = Passing  # type: ignore[misc]  # of calls without even an event, which is not kept
