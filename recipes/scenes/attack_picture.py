"""One attack as a picture for the README: the scene before and after, what was asked, and both scores."""

from __future__ import annotations

import io
import textwrap

from PIL import Image, ImageDraw, ImageFont

from t2i_judge.inputs.images import load_image
from t2i_judge.records import OVERALL, Judgement
from t2i_judge.runs.selftest.battery import Case, Sample
from t2i_judge.runs.selftest.probes import Probe

_SIDE, _ROOM, _TITLE = 380, 40, 56  # pixels: of a scene, between things, above them
_LINE_HEIGHT, _LINE, _LINES = 28, 38, 4  # pixels and characters of a line of a prompt; lines at most
_INK, _SOFT, _GROUND, _BAD = "#1b1c1f", "#5a5f69", "#fbfaf8", "#b3261e"


def attack_picture(probe: Probe, case: Case) -> bytes:
    """PNG of a case of an attack."""
    added = case.after.prompt.removeprefix(case.before.prompt)
    texts = [_lines(case.before.prompt, ""), _lines(case.after.prompt.removesuffix(added), added)]
    below = _TITLE + _ROOM // 2 + _SIDE
    height = below + 56 + _LINE_HEIGHT * max(map(len, texts)) + _ROOM // 2
    picture = Image.new("RGB", (2 * _SIDE + 3 * _ROOM, height), _GROUND)
    shift = "" if probe.shift is None else f": {probe.shift:+.2f} on average over {probe.prompts} prompts"
    title = f"{case.judged_after.judge.name}, {probe.name}{shift}"
    ImageDraw.Draw(picture).text((_ROOM, _ROOM // 2), title, _INK, ImageFont.load_default(25))
    _one(picture, _ROOM, "before", case.before, case.judged_before, texts[0])
    _one(picture, _SIDE + 2 * _ROOM, "after", case.after, case.judged_after, texts[1])
    out = io.BytesIO()
    picture.quantize(128).save(out, "PNG", optimize=True)
    return out.getvalue()


def _lines(prompt: str, added: str) -> list[tuple[str, str]]:
    """What is written below a scene, line by line, with its colour."""
    lines = [(line, _INK) for line in textwrap.wrap(prompt, _LINE)]
    lines += [(line, _BAD) for line in textwrap.wrap(added, _LINE)]
    return lines if len(lines) <= _LINES else [*lines[: _LINES - 1], ("…", _SOFT)]


def _one(
    picture: Image.Image, left: int, name: str, sample: Sample, judged: Judgement, lines: list[tuple[str, str]]
) -> None:
    draw, top = ImageDraw.Draw(picture), _TITLE + _ROOM // 2
    picture.paste(load_image(sample.image).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), (left, top))
    below, score = top + _SIDE + 12, judged.scores.get(OVERALL)
    draw.text((left, below), name, _SOFT, ImageFont.load_default(22))
    figure = "–" if score is None else f"{score:.1f} of {judged.score_range[1]:g}"
    ink = _BAD if name == "after" else _INK
    draw.text((left + _SIDE, below - 4), figure, ink, ImageFont.load_default(31), anchor="ra")
    for number, (line, color) in enumerate(lines):
        draw.text((left, below + 42 + _LINE_HEIGHT * number), line, color, ImageFont.load_default(20))
