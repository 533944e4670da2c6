"""What happens to an upload at once: its bare pixels take its place, or one line says why not; the file goes soon."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

from markupsafe import Markup
from PIL import Image

from limits import MAX_IMAGES, clean_image
from t2i_judge.errors import UserError
from views import join, notice

GRACE_SECONDS = 20.0  # the visitor's browser still shows the upload until the bare pixels have come
_FRESH = 120.0  # seconds; a client may name any file of the upload folder, an example's too: those are older


def forget(path: str | None) -> None:
    """Delete an upload after the grace period; with everything else of the visit it would stay for an hour."""
    if path is not None:
        timer = threading.Timer(GRACE_SECONDS, _remove, [Path(path)])
        timer.daemon = True
        timer.start()


def _remove(path: Path) -> None:
    with suppress(OSError):
        if time.time() - path.stat().st_mtime < _FRESH:
            path.unlink()


def accept_image(path: str | None) -> tuple[Image.Image | None, Markup]:
    """The picture without anything else that the file held, or nothing and the reason."""
    if path is None:
        return None, Markup("")
    try:
        return clean_image(path), Markup("")
    except UserError as error:
        return None, notice(str(error), "bad")
    finally:
        forget(path)


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
            forget(path)
    return kept, join(refused)
