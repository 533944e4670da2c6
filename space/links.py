"""Addresses that lead somewhere: `?tab=explore&item=SPLIT/ID`, read when the page opens and written as it is used.

`tab` is judge, one, compare, compose, explore, leaderboard or annotate; `item` one of the benchmark, `board` a board.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

ITEM, BOARD = "item", "board"
_INSIDE_JUDGE = ("one", "compare", "compose")
OF_THE_PAGE: dict[str, Any] = {"fn": None, "queue": False, "show_progress": "hidden", "api_visibility": "private"}
# Gradio selects tabs too, while the page opens, and says so late: of tabs that nobody looks at as well.
_WRITE = """(value) => {
  const there = [...document.querySelectorAll('[role=tab][aria-selected=true]')].some(
    (tab) => tab.innerText.trim().toLowerCase() === 'PLACE' && tab.checkVisibility());
  if (!window.tjOpened || !there) return [];
  const address = new URL(window.location.href);
  address.searchParams.set('tab', 'PLACE');
  address.searchParams.delete('item');
  address.searchParams.delete('board');
  if ('NAME' && value) address.searchParams.set('NAME', value);
  window.history.replaceState(window.history.state, '', address);
  return [];
}"""
_OPEN = f"""() => {{
  const named = new URL(window.location.href).searchParams.get('tab');
  const places = {list(_INSIDE_JUDGE)}.includes(named) ? ['judge', named] : [named];
  const tabs = [...document.querySelectorAll('[role=tab]')];
  for (const place of places) tabs.find((tab) => tab.innerText.trim().toLowerCase() === place)?.click();
  window.tjOpened = true;
  return [];
}}"""
_READ = "(_, ...rest) => [new URL(window.location.href).searchParams.get('NAME') ?? '', ...rest]"


def write(place: str, name: str = "") -> dict[str, Any]:
    """Arguments of an event that puts the tab that is looked at into the address, and its input under `name`."""
    return {**OF_THE_PAGE, "js": _WRITE.replace("PLACE", place).replace("NAME", name)}


def read(name: str, then: Callable[..., Any], inputs: Sequence[Any], outputs: Any) -> Any:
    """When the page opens, call `then` with what its address says under a name ("" for nothing) and with `inputs`."""
    asked = gr.Textbox(visible=False)
    js = _READ.replace("NAME", name)
    return gr.on(None, then, [asked, *inputs], outputs, js=js, show_progress="hidden", api_visibility="private")


def open_by_address(demo: gr.Blocks) -> None:
    """When the page opens: select the tab that its address names, if it names one."""
    demo.load(js=_OPEN, **OF_THE_PAGE)
