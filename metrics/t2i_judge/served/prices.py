"""What a call costs: rules for image tokens, and dated list prices. A file replaces them: `load_prices("prices.yaml")`.

Prices are US dollars per million tokens as OpenAI published them on `DATED`; image-token rules as its vision guide
described them then (platform.openai.com/docs/pricing, .../docs/guides/images-vision). They change, so a run that must
stay under a limit should have a table of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import read_yaml

DATED = "2025-08-07 (gpt-6: 2026-11)"
BATCH_SHARE = 0.5  # the batch endpoint costs half


@dataclass(frozen=True)
class Price:
    """Dollars per million tokens, and how images become tokens.

    Attributes:
        input, output: price of a million tokens.
        tile_base, tile: tokens of an image, and of each of its 512-pixel tiles (rule "tiles"), or
        patch_factor: tokens of each of its 32-pixel patches, at most 1536 of them (rule "patches"; 0: tiles are used).
    """

    input: float
    output: float
    tile_base: int = 85
    tile: int = 170
    patch_factor: float = 0.0

    def image_tokens(self, width: int, height: int) -> int:
        """Input tokens of an image of this size in pixels, at high detail."""
        if self.patch_factor:
            return math.ceil(_patches(width, height) * self.patch_factor)
        return self.tile_base + self.tile * _tiles(width, height)

    def cost(self, input_tokens: int, output_tokens: int, batch: bool = False) -> float:
        """US dollars for these tokens. Cached input is counted in full, so the bill is never higher."""
        dollars = (input_tokens * self.input + output_tokens * self.output) / 1e6
        return dollars * BATCH_SHARE if batch else dollars


def _tiles(width: int, height: int) -> int:
    """512-pixel tiles after fitting into 2048 x 2048 and then bringing the shorter side down to 768."""
    scale = min(1.0, 2048 / max(width, height))
    scale *= min(1.0, 768 / (min(width, height) * scale))
    return math.ceil(round(width * scale) / 512) * math.ceil(round(height * scale) / 512)


def _patches(width: int, height: int) -> int:
    """32-pixel patches; an image of more is shrunk until at most 1536 cover it, and counted as 1536."""
    patches = math.ceil(width / 32) * math.ceil(height / 32)
    return min(patches, 1536)


TEACHER = "gpt-6.1-sol"  # the default teacher; the next rename is this line, and a price below
PRICES: dict[str, Price] = {
    "gpt-4o-2024-11-20": Price(2.50, 10.00),
    "gpt-4o-2024-08-06": Price(2.50, 10.00),
    "gpt-4o-2024-05-13": Price(5.00, 15.00),
    "gpt-4o-mini-2024-07-18": Price(0.15, 0.60, tile_base=2833, tile=5667),
    "gpt-4.1-2025-04-14": Price(2.00, 8.00),
    "gpt-4.1-mini-2025-04-14": Price(0.40, 1.60, patch_factor=1.62),
    "gpt-4.1-nano-2025-04-14": Price(0.10, 0.40, patch_factor=2.46),
    "o4-mini-2025-04-16": Price(1.10, 4.40, patch_factor=1.72),
    "gpt-5-2025-08-07": Price(1.25, 10.00, tile_base=70, tile=140),
    "gpt-6.1-sol": Price(2.00, 10.00),  # developers.openai.com, November 2026; up to 272,000 input tokens
    "gpt-6-luna": Price(0.10, 0.50),
}
_ALIASES = {
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-4.1-nano": "gpt-4.1-nano-2025-04-14",
    "o4-mini": "o4-mini-2025-04-16",
    "gpt-5": "gpt-5-2025-08-07",
}


def price_of(model: str, prices: Mapping[str, Price] | None = None) -> Price | None:
    """The price of a model (exact name or alias), from `prices` or else `PRICES`; None if it is unknown."""
    for table in (prices or {}, PRICES):
        if entry := table.get(model) or table.get(_ALIASES.get(model, model)):
            return entry
    return None


def load_prices(path: str | Path) -> dict[str, Price]:
    """Prices from YAML or JSON: `MODEL: {input: 2.5, output: 10, ...}`, the fields of `Price`. Raises `UserError`."""
    try:
        table = read_yaml(path)
        return {str(model): _price(values) for model, values in table.items()}
    except (UserError, ValueError, TypeError, AttributeError) as error:
        known = ", ".join(field.name for field in fields(Price))
        raise UserError(
            f"Cannot read prices from {path}",
            error.reason if isinstance(error, UserError) else str(error),
            f"Write MODEL: {{input: ..., output: ...}} ({known})",
        ) from error


def _price(values: Mapping[str, Any]) -> Price:
    price = Price(**values)
    numbers = [getattr(price, field.name) for field in fields(Price)]
    if not all(isinstance(number, int | float) and number >= 0 for number in numbers):
        raise ValueError(f"prices are numbers from 0 upwards, not {dict(values)}")
    return price
