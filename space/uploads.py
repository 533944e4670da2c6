"""What happens to an upload at once: its bare pixels take its place, or one line says why not; the file goes soon."""

from __future__ import annotations

import threading
from pathlib import Path

from markupsafe import Markup
from PIL import Image

from limits import MAX_IMAGES, clean_image
from t2i_judge.errors import UserError
from views import join, notice

GRACE_SECONDS = 20.0  # the visitor's browser still shows the upload until the bare pixels have come


def _forget(path: str) -> None:
    """Delete an upload after the grace period; with everything else of the visit it would stay for an hour."""
    timer = threading.Timer(GRACE_SECONDS, lambda: Path(path).unlink(missing_ok=True))
    timer.daemon = True
    timer.start()


def accept_image(path: str | None) -> tuple[Image.Image | None, Markup]:
    """The picture without anything else that the file held, or nothing and the reason."""
    if path is None:
        return None, Markup("")
    try:
        return clean_image(path), Markup("")
    except UserError as error:
        return None, notice(str(error), "bad")
    finally:
        _forget(path)


def accept_images(uploads: list[tuple[str, str | None]] | None) -> tuple[list[tuple[Image.Image, str]], Markup]:
    """As `accept_image` for a gallery: good pictures are kept, every other one is named in a line."""
    kept: list[tuple[Image.Image, str]] = []
    refused: list[Markup] = []
    for path, caption in uploads or []:
        name = Path(path).name
        try:
            if len(kept) == MAX_IMAGES:
                raise UserError(f"{name} is left out", f"{MAX_IMAGES} pictures are compared", "remove one first")
            kept.append((clean_image(path), caption or Path(path).stem))
        except UserError as error:
            refused.append(notice(str(error), "bad"))
        finally:
            _forget(path)
    return kept, join(refused)
