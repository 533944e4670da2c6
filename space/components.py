"""Parts of every tab: our HTML, private events of the page, and public endpoints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from markupsafe import Markup

PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}  # an event of the page alone


def html(value: str | Markup = "", **options: Any) -> gr.HTML:
    """Escaped HTML (see `views`) in the style of style.css, without Gradio's own."""
    return gr.HTML(value, apply_default_css=False, **options)


def waiting(text: str) -> Markup:
    """The placeholder for a result."""
    return Markup('<p class="tj-empty">{}</p>').format(text)


def endpoint(function: Callable[..., Any], inputs: Sequence[Any], name: str) -> None:
    """A named API endpoint that takes components' values (uploads too) and that no button of the page calls."""
    output = gr.JSON(visible=False, label=name)
    gr.Button(visible=False).click(
        function, list(inputs), output, api_name=name, api_description=(function.__doc__ or "").strip()
    )
