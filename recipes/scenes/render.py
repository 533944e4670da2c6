"""Scenes as pictures, drawn with Pillow: flat shapes on a pale ground, then the defects."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .world import GENERATORS, Entity, Group, Prompt, Scene, place, sample_prompt, simulate

SIZE = 112  # pixels per side: eight patches of 14
_OVERSAMPLING = 2
_RGB = {
    "red": (214, 39, 40),
    "green": (44, 160, 44),
    "blue": (31, 100, 210),
    "yellow": (235, 205, 40),
    "purple": (140, 60, 180),
    "orange": (250, 130, 20),
}
_Point = tuple[float, float]
_Color = tuple[int, int, int]


def render(scene: Scene, rng: random.Random, size: int = SIZE) -> Image.Image:
    """Draw a scene as an RGB picture of `size` x `size` pixels; `rng` decides hues, tilt, ground and grain."""
    side = size * _OVERSAMPLING
    ground: _Color = (rng.randint(225, 250), rng.randint(225, 250), rng.randint(225, 250))
    picture = Image.new("RGB", (side, side), ground)
    for group in scene.groups:
        _draw_group(picture, group, rng)
        if group.severity > 0:
            _spoil(picture, group, ground, rng)
    return picture.resize((size, size), Image.Resampling.BOX)


def render_reference(entity: Entity, rng: random.Random, size: int = SIZE) -> Image.Image:
    """One clean, large copy of an entity alone in the middle: the reference picture of personalised generation."""
    group = Group(entity.shape, entity.color, "large", entity.texture or "plain", 1, "blur", 0.0)
    scene = place([group], [(0, 0)], rng)
    centered = replace(scene.groups[0], center=(0.5, 0.5), copies=((0.5, 0.5),), radius=scene.groups[0].radius * 1.5)
    return render(Scene((centered,)), rng, size)


def _draw_group(picture: Image.Image, group: Group, rng: random.Random) -> None:
    side = picture.width
    color: _Color = tuple(max(0, min(255, value + rng.randint(-15, 15))) for value in _RGB[group.color])  # type: ignore[assignment]
    outline: _Color = tuple(int(value * 0.45) for value in color)  # type: ignore[assignment]
    radius = group.radius * side
    width = max(1, round(side * 0.9 / 96))
    for x, y in group.copies:
        points = _polygon(group.shape, x * side, y * side, radius, rng.uniform(-0.15, 0.15))
        reach = math.ceil(radius * 1.25)
        left, top = int(x * side) - reach, int(y * side) - reach
        mask = Image.new("L", (2 * reach, 2 * reach), 0)
        ImageDraw.Draw(mask).polygon([(px - left, py - top) for px, py in points], fill=255)
        picture.paste(_textured(2 * reach, color, group, side), (left, top), mask)
        ImageDraw.Draw(picture).line([*points, points[0]], fill=outline, width=width)


def _polygon(shape: str, x: float, y: float, radius: float, tilt: float) -> list[_Point]:
    """Corner points of a shape around (x, y), turned by `tilt` radians."""
    if shape == "cross":
        arm, end = 0.36 * radius, 1.1 * radius
        corners = [(-arm, -end), (arm, -end), (arm, -arm), (end, -arm), (end, arm), (arm, arm)]
        corners += [(-px, -py) for px, py in corners]
        cos, sin = math.cos(tilt), math.sin(tilt)
        return [(x + px * cos - py * sin, y + px * sin + py * cos) for px, py in corners]
    number, radii, start = {
        "circle": (24, (1.0,), 0.0),
        "square": (4, (1.1,), math.pi / 4),
        "triangle": (3, (1.2,), -math.pi / 2),
        "star": (10, (1.2, 0.5), -math.pi / 2),
    }[shape]
    angles = [start + tilt + 2 * math.pi * index / number for index in range(number)]
    reaches = [radius * radii[index % len(radii)] for index in range(number)]
    return [(x + reach * math.cos(angle), y + reach * math.sin(angle)) for reach, angle in zip(reaches, angles)]


def _textured(extent: int, color: _Color, group: Group, side: int) -> Image.Image:
    """A square of paint: plain, white stripes or black dots, finer on small shapes."""
    paint = Image.new("RGB", (extent, extent), color)
    draw, period = ImageDraw.Draw(paint), 5.0 * side / 96 * (0.8 if group.size == "small" else 1.0)
    if group.texture == "striped":
        for top in np.arange(0.0, extent, period):
            draw.rectangle((0, int(top), extent, int(top + 0.42 * period)), fill=(250, 250, 250))
    elif group.texture == "dotted":
        dot = 0.26 * period
        for row, y in enumerate(np.arange(0.3 * period, extent, 0.8 * period)):
            for x in np.arange(period * (0.3 + 0.5 * (row % 2)), extent, period):
                draw.ellipse((x - dot, y - dot, x + dot, y + dot), fill=(15, 15, 15))
    return paint


def _spoil(picture: Image.Image, group: Group, ground: _Color, rng: random.Random) -> None:
    """Spoil the part of the picture where the group stands; the measure grows with its severity."""
    side, severity = picture.width, group.severity
    left, top, right, bottom = (round(edge * side) for edge in group.box)
    part = picture.crop((left, top, right, bottom))
    unit = side / 96
    if group.defect == "blur":
        part = part.filter(ImageFilter.GaussianBlur((0.4 + 2.3 * severity) * unit))
    elif group.defect == "noise":
        part = _grain(part, (15 + 85 * severity) * _OVERSAMPLING / 1.4, rng)
    else:
        _scratch(part, severity, unit, ground, rng)
    picture.paste(part, (left, top))


def _grain(part: Image.Image, deviation: float, rng: random.Random) -> Image.Image:
    pixels = np.asarray(part, np.float32)
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0.0, deviation, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def _scratch(part: Image.Image, severity: float, unit: float, ground: _Color, rng: random.Random) -> None:
    """Strokes in the colour of the ground: outlines break where one crosses them."""
    draw, reach = ImageDraw.Draw(part), (2.0 + 3.5 * severity) * unit
    width = max(1, int((0.9 + 1.1 * severity) * unit))
    for _ in range(int(2 + 12 * severity)):
        x, y, angle = rng.uniform(0, part.width), rng.uniform(0, part.height), rng.uniform(0, 2 * math.pi)
        dx, dy = reach * math.cos(angle), reach * math.sin(angle)
        draw.line((x - dx, y - dy, x + dx, y + dy), fill=ground, width=width)


def make_scenes(n: int, seed: int, split: str = "train") -> list[tuple[Prompt, str, Scene, Image.Image]]:
    """`n` rendered samples of a split, the generators taking turns; sample i depends on (seed, split, i) alone."""
    names = list(GENERATORS)
    samples = []
    for index in range(n):
        rng = random.Random(f"{seed}/{split}/{index}")
        prompt, name = sample_prompt(rng, split), names[index % len(names)]
        scene = simulate(prompt, name, rng)
        samples.append((prompt, name, scene, render(scene, rng)))
    return samples
