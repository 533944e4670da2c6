"""An image component that opens nothing. Alone in its module: Gradio writes a stub beside every component's source."""

from __future__ import annotations

from typing import Any

import gradio as gr


class ImageUpload(gr.Image):
    """An image component whose value, in Python, is the path of the upload; nothing is decoded on the way.

    It keeps `gr.Image`'s own constructor: Gradio tells the front end only what stands in the constructor's signature.
    """

    def get_block_name(self) -> str:
        """The component of the front end that shows it."""
        return "image"

    def preprocess(self, payload: Any) -> str | None:
        """The path of the upload; Gradio has checked that it lies in its upload folder."""
        return payload.path if payload else None
