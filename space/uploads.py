"""Replaces an upload at once by its bare pixels, or says in one line why not. The file is deleted soon."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import gradio as gr
from markupsafe import Markup
from PIL import Image

from components import PRIVATE
from files import Files
from guard import caller_of
from image_upload import GalleryUpload, ImageUpload
from limits import DECODERS, DECODING, MAX_IMAGES, PIXELS, SECONDS, UPLOAD, timed
from t2i_judge.errors import UserError
from t2i_judge.inputs.decoding import Decoders
from t2i_judge.inputs.images import ImageError, ImageLimits
from views import join, notice
from visitors import NOBODY, Visitor

_DECODERS = Decoders(count=DECODERS)
_BARE = replace(UPLOAD, bytes=4 * UPLOAD.pixels)  # an upload's bare pixels may take more bytes than the upload
_PIXEL = 4  # bytes that Pillow takes for one in RGB
_Decoded = TypeVar("_Decoded")
# Gradio's images take "image/*", to which many systems do not count what a phone writes: it is missing in their file
# dialogs, and refused when it is dropped.
OF_A_PHONE = r"""() => {
  const widen = () => document.querySelectorAll('input[type=file][accept="image/*"]').forEach(
    (input) => { input.accept = 'image/*,.heic,.heif,.avif'; });
  new MutationObserver(widen).observe(document.body, {childList: true, subtree: true});
  widen();
  const nameless = (file) => !file.type && /\.(heic|heif|avif)$/i.test(file.name);
  document.addEventListener('drop', (event) => {
    const files = [...event.dataTransfer.files];
    const input = event.target.closest('.block')?.querySelector('input[type=file]');
    if (!input || !files.some(nameless)) return;
    event.preventDefault();
    event.stopPropagation();
    const named = new DataTransfer();
    files.forEach((file) => named.items.add(nameless(file) ? new File([file], file.name, {type: 'image/heic'}) : file));
    input.files = named.files;
    input.dispatchEvent(new Event('change', {bubbles: true}));
  }, true);
  return [];
}"""


def prepare() -> None:
    """Start a process that decodes, so that the first picture need not wait for it."""
    _DECODERS.prepare()


@asynccontextmanager
async def decoded(visitor: Visitor, *paths: str) -> AsyncIterator[list[Image.Image]]:
    """Pictures as upright RGB pixels, as long as they are needed. A visitor holds only a few large ones at a time.

    Raises:
        UserError: what is wrong with one, or its turn did not come.
    """
    size = sum([await _decoded_bytes(path, visitor) for path in paths])
    async with PIXELS.held(visitor.turns, size):
        yield [await pixels(path, visitor) for path in paths]


async def _decoded_bytes(path: str, visitor: Visitor) -> int:
    """What its header declares; nothing for a picture that will not be decoded. Raises `UserError` for no picture."""
    ended = await DECODING.take(visitor.turns)
    width, height = await timed("picture", _decoded, _DECODERS.size, Path(path), _BARE, ended=ended)
    return _PIXEL * width * height if width * height <= UPLOAD.pixels else 0


async def pixels(path: str, visitor: Visitor = NOBODY) -> Image.Image:
    """A picture as upright RGB pixels, decoded in another process. Raises `UserError` that names the problem."""
    ended = await DECODING.take(visitor.turns)
    return await timed("picture", _decoded, _DECODERS.pixels, Path(path), _BARE, ended=ended)


def _decoded(decode: Callable[[bytes, ImageLimits], _Decoded], path: Path, limits: ImageLimits) -> _Decoded:
    try:
        return decode(path.read_bytes(), limits)
    except (ImageError, OSError) as error:
        reason = error.reason if isinstance(error, ImageError) else "the upload is no longer here"
        size = f"{UPLOAD.bytes // 1_000_000} MB and {UPLOAD.pixels // 1_000_000} megapixels"
        fix = f"Upload one PNG, JPEG, WebP, AVIF, HEIC, GIF, BMP or TIFF picture of at most {size}"
        raise UserError(f"{path.name}: {reason.rstrip('?.')}", "", fix) from error


async def accept_image(files: Files, visitor: Visitor, slot: str, path: str | None) -> tuple[str | None, Markup]:
    """The picture without anything else of its file, as a new file; or nothing, and the reason."""
    kept, notice = await accept_images(files, visitor, slot, [] if path is None else [(path, None)])
    return (kept[0][0] if kept else None), notice


async def accept_images(
    files: Files, visitor: Visitor, slot: str, uploads: Iterable[tuple[str, str | None]] | None
) -> tuple[list[tuple[str, str]], Markup]:
    """As `accept_image` for a gallery: good pictures are kept, every other one is named in a line.

    Those that were accepted before stay as they are. What `slot` held and no longer holds is deleted after a while.
    """
    kept: list[tuple[str, str]] = []
    refused: list[Markup] = []
    start = time.monotonic()
    for path, caption in uploads or []:
        name = Path(path).name
        try:
            if len(kept) == MAX_IMAGES:
                raise UserError(
                    f"{name} is left out", f"At most {MAX_IMAGES} pictures are compared", "Remove one first"
                )
            if time.monotonic() - start > SECONDS["picture"]:
                raise UserError(
                    f"{name} is left out", "The pictures before it took too long to open", "Upload it alone"
                )
            bare = path if files.holds(path, slot) else str(await _bare(files, visitor, slot, Path(path)))
            kept.append((bare, caption or Path(path).stem))
        except UserError as error:
            refused.append(notice(str(error), "bad"))
    shown = [path for path, _ in kept]
    for path, _ in uploads or []:
        if path not in shown:
            files.forget(path)
    files.only(visitor, slot, shown)
    return kept, join(refused)


async def _bare(files: Files, visitor: Visitor, slot: str, path: Path) -> Path:
    """A new file with the bare pixels of an upload. Raises `UserError`: not a picture, or no room for it."""
    ended = await DECODING.take(visitor.turns)
    kind, data = await timed("picture", _decoded, _DECODERS.bare, path, UPLOAD, ended=ended)
    with files.room(visitor) as room:
        room.count(len(data))
        bare = room.folder / f"{path.stem}.{kind}"
        bare.write_bytes(data)
        return room.add(bare, slot)


def accepts(files: Files, upload: ImageUpload, slot: str, refused: gr.HTML) -> None:
    """Wire an image component: uploads become bare pixels, and what it no longer shows is done with."""

    async def take(path: str | None, request: gr.Request) -> tuple[str | None, Markup]:
        return await accept_image(files, caller_of(request), slot, path)

    def shows(path: str | None, request: gr.Request) -> None:
        files.only(caller_of(request), slot, [] if path is None else [path])

    upload.upload(take, upload, [upload, refused], **PRIVATE)
    upload.change(shows, upload, None, trigger_mode="always_last", **PRIVATE)


def accepts_several(files: Files, gallery: GalleryUpload, slot: str, refused: gr.HTML) -> None:
    """As `accepts`, for a gallery."""

    async def take(
        uploads: list[tuple[str, str | None]] | None, request: gr.Request
    ) -> tuple[list[tuple[str, str]], Markup]:
        return await accept_images(files, caller_of(request), slot, uploads)

    def shows(pictures: list[tuple[str, str | None]] | None, request: gr.Request) -> None:
        files.only(caller_of(request), slot, [path for path, _ in pictures or []])

    gallery.upload(take, gallery, [gallery, refused], **PRIVATE)
    gallery.change(shows, gallery, None, trigger_mode="always_last", **PRIVATE)
