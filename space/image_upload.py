"""Components that open nothing. Alone in their module: Gradio writes a stub beside every component's source."""

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
        """The path of the upload; `GuardedBlocks` has found that it is the visitor's own."""
        return payload.path if payload else None


class GalleryUpload(gr.Gallery):
    """A gallery whose value, in Python, is a list of paths with captions; nothing is decoded on the way."""

    def get_block_name(self) -> str:
        """The component of the front end that shows it."""
        return "gallery"

    def preprocess(self, payload: Any) -> list[tuple[str, str | None]] | None:
        """Paths and captions; `GuardedBlocks` has found that the files are the visitor's own."""
        return [(each.image.path, each.caption) for each in payload.root] if payload and payload.root else None
