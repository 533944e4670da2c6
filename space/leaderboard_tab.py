"""The Leaderboard tab: the page that `t2i-judge leaderboard` writes, of a run or of the benchmark's generators."""

from __future__ import annotations

from typing import Any

import gradio as gr
from markupsafe import Markup

from boards import Boards
from components import PRIVATE, html, waiting
from figures import Figures
from guard import caller_of
from links import BOARD, read, write
from t2i_judge.errors import UserError
from views import notice

# The report is a page of its own: it runs its scripts in a frame that can reach nothing of this one.
_FRAME = Markup('<iframe class="tj-report" title="{}" sandbox="allow-scripts" srcdoc="{}"></iframe>')


def build_leaderboard_tab(boards: Boards, tab: gr.Tab) -> None:
    """Lay out the tab inside the current Blocks; the first board is made when the tab is first opened."""
    if not boards.names:
        tab.select(**write("leaderboard"))
        html(notice("There is no leaderboard here yet. Set RUNS to folders that t2i-judge leaderboard wrote.", "bad"))
        return
    chosen = gr.Dropdown(
        boards.names, value=boards.names[0], label="Board", elem_id="board", visible=len(boards.names) > 1
    )
    page = html(waiting("The leaderboard is being drawn."), elem_id="board-page")

    pages = Figures(boards.page)

    async def show(name: str, request: gr.Request) -> Markup:
        try:
            return _FRAME.format(f"Board: {name}", await pages.of(name, caller_of(request)))
        except UserError as error:
            return notice(str(error), "bad")

    chosen.input(show, [chosen], [page], trigger_mode="always_last", **PRIVATE)
    tab.select(show, [chosen], [page], **PRIVATE)
    tab.select(inputs=chosen, **write("leaderboard", BOARD))
    chosen.change(inputs=chosen, **write("leaderboard", BOARD))

    async def opened(name: str, request: gr.Request) -> tuple[Any, Any]:
        return (name, await show(name, request)) if name in boards.names else (gr.skip(), gr.skip())

    read(BOARD, opened, [], [chosen, page])
