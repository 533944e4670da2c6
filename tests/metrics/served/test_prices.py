"""Image tokens as providers publish them, and price tables of one's own."""

from __future__ import annotations

import pytest

from t2i_judge.errors import UserError
from t2i_judge.served.prices import PRICES, Price, load_prices, price_of


@pytest.mark.parametrize(
    ("model", "size", "tokens"),
    [  # the examples of OpenAI's vision guide, and bills that users measured
        ("gpt-4o-2024-11-20", (1024, 1024), 765),
        ("gpt-4o-2024-11-20", (2048, 4096), 1105),
        ("gpt-4o-2024-11-20", (128, 64), 255),
        ("gpt-4o-2024-11-20", (512, 512), 255),
        ("gpt-4o-2024-11-20", (513, 512), 425),
        ("gpt-4o-mini-2024-07-18", (128, 64), 8500),
        ("gpt-4.1-mini-2025-04-14", (1024, 1024), 1659),
        ("gpt-4.1-mini-2025-04-14", (4000, 4000), 2489),
    ],
)
def test_image_tokens(model, size, tokens):
    assert PRICES[model].image_tokens(*size) == tokens


def test_cost_is_per_million_and_half_in_batches():
    price = Price(2.5, 10)
    assert price.cost(1_000_000, 100_000) == pytest.approx(3.5)
    assert price.cost(1_000_000, 100_000, batch=True) == pytest.approx(1.75)


def test_own_prices_come_first_and_unknown_models_have_none(tmp_path):
    path = tmp_path / "prices.yaml"
    path.write_text("gpt-4o: {input: 1, output: 2}\nmine: {input: 0.5, output: 1.5, tile_base: 100, tile: 0}\n")
    own = load_prices(path)
    assert price_of("gpt-4o", own) == Price(1, 2)
    assert price_of("mine", own).image_tokens(5000, 5000) == 100
    assert price_of("gpt-4o") == PRICES["gpt-4o-2024-08-06"]
    assert price_of("someone-elses-model", own) is None


@pytest.mark.parametrize(
    "text",
    ["m: {input: 1}", "m: {input: x, output: 1}", "m: {in: 1, output: 1}", "- a", "m: [", "m: {input: -1, output: 1}"],
)
def test_a_wrong_table_is_a_user_error(tmp_path, text):
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match="prices"):
        load_prices(path)
