"""Trades on the price chart: prices, fills and spells of holding as the page's script gets them."""

from __future__ import annotations

import base64
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.backtests.report import market as module
from quant_assets.backtests.report.market import LEVELS, market

DAYS = [date(2024, 1, 1) + timedelta(number) for number in range(8)]


def bars(symbol: str, closes: list[float | None], **columns: list[float]) -> pl.DataFrame:
    return pl.DataFrame({"session": DAYS[: len(closes)], "symbol": symbol, "close": closes, **columns})


def fills(*rows: tuple[str, int, str, float, float]) -> pl.DataFrame:
    """Rows of symbol, day, side, quantity and price."""
    return pl.DataFrame(
        [
            {
                "ts": datetime(2024, 1, 1, 15, tzinfo=UTC) + timedelta(day),
                "session": DAYS[day],
                "symbol": symbol,
                "side": side,
                "quantity": quantity,
                "price": price,
                "reference_price": price,
                "reason": "stop" if side == "sell" else "open",
                "ambiguous": side == "sell",
            }
            for symbol, day, side, quantity, price in rows
        ]
    )


def held(*rows: tuple[str, int, float]) -> pl.DataFrame:
    columns = {"symbol": pl.String, "session": pl.Date, "quantity": pl.Float64}
    return pl.DataFrame([(symbol, DAYS[day], quantity) for symbol, day, quantity in rows], columns, orient="row")


def prices(line: dict[str, Any]) -> list[float | None]:
    """What the script decodes."""
    levels = np.frombuffer(base64.b64decode(line["levels"]), "<u2")
    scale = np.log(line["high"] / line["low"])
    return [
        None if level == 0 else pytest.approx(line["low"] * np.exp(scale * (int(level) - 1) / LEVELS), rel=1e-4)
        for level in levels
    ]


ONE = fills(("AAA", 1, "buy", 100, 11.0), ("AAA", 3, "sell", 100, 13.0))


def drawn(*args: Any) -> dict[str, Any]:
    found = market(*args)
    assert found is not None
    return found.data


def test_a_line_goes_through_the_closes_and_has_gaps() -> None:
    data = drawn(bars("AAA", [10.0, 11.0, None, 13.0, float("nan"), 15.0]), ONE, held(), DAYS)
    (line,) = data["symbols"]
    assert (line["name"], line["start"], line["step"]) == ("AAA", 0, 1)
    assert prices(line) == [10.0, 11.0, None, 13.0, None, 15.0]


def test_a_line_begins_with_its_first_price_and_one_price_is_a_line_too() -> None:
    late = bars("AAA", [0.0, -1.0, 12.0])
    (line,) = drawn(late, ONE, held(), DAYS)["symbols"]
    assert line["start"] == 2
    assert prices(line) == [12.0]


def test_fills_are_placed_and_told() -> None:
    data = drawn(bars("AAA", [10.0, 11.0, 12.0, 13.0]), ONE, held(), DAYS)
    assert data["fills"] == {
        "number": [0, 0], "at": [1, 3], "level": [11.0, 13.0], "price": [11.0, 13.0], "quantity": [100.0, -100.0],
        "ambiguous": [0, 1],
    }  # fmt: skip
    assert [data["reasons"][place] for place in data["reason"]] == ["open", "stop"]


def test_prices_and_fills_before_a_split_are_restated() -> None:
    split = bars("AAA", [40.0, 44.0, 11.0, 12.0], split=[1.0, 1.0, 4.0, 1.0])
    made = fills(("AAA", 1, "buy", 10, 42.0), ("AAA", 3, "sell", 40, 12.0))
    data = drawn(split, made, held(), DAYS)
    assert prices(data["symbols"][0]) == [10.0, 11.0, 11.0, 12.0]
    assert data["fills"]["level"] == [10.5, 12.0]
    assert data["fills"]["price"] == [42.0, 12.0], "told as it was traded"


def test_a_fill_on_a_day_without_a_price_is_in_the_units_of_the_day_before() -> None:
    split = bars("AAA", [40.0, None, 11.0, 12.0], split=[1.0, 1.0, 4.0, 1.0])
    data = drawn(split, fills(("AAA", 1, "buy", 10, 42.0), ("AAA", 5, "sell", 40, 12.0)), held(), DAYS)
    assert data["fills"]["level"] == [10.5, 12.0]


def test_the_last_close_of_a_session_counts() -> None:
    stamps = [datetime(2024, 1, day, hour, tzinfo=UTC) for day in (1, 2) for hour in (15, 18)]
    finer = pl.DataFrame({"ts": stamps, "symbol": "AAA", "close": [10.0, 11.0, 12.0, 13.0]})
    assert prices(drawn(finer.sample(fraction=1, shuffle=True, seed=1), ONE, held(), DAYS)["symbols"][0]) == [
        11.0,
        13.0,
    ]


def test_spells_of_holding_end_with_the_side_the_symbol_and_a_gap() -> None:
    two = fills(("AAA", 1, "buy", 1, 1.0), ("BBB", 1, "buy", 1, 1.0))
    both = pl.concat([bars("AAA", [1.0] * 8), bars("BBB", [1.0] * 8)])
    positions = held(
        ("AAA", 1, 5.0), ("AAA", 2, 9.0), ("AAA", 3, -1.0), ("AAA", 4, 0.0), ("AAA", 6, 2.0), ("BBB", 7, 3.0)
    )  # fmt: skip
    assert drawn(both, two, positions, DAYS)["held"] == [[0, 1, 2, 1], [0, 3, 3, -1], [0, 6, 6, 1], [1, 7, 7, 1]]


def test_the_symbol_that_was_traded_most_is_shown_first() -> None:
    made = fills(("AAA", 1, "buy", 1, 10.0), ("BBB", 1, "buy", 3, 10.0), ("CCC", 1, "buy", 2, 10.0))
    every = pl.concat([bars(name, [10.0, 11.0]) for name in ("CCC", "AAA", "BBB", "DDD")])
    data = drawn(every, made, held(), DAYS)
    assert [line["name"] for line in data["symbols"]] == ["AAA", "BBB", "CCC"], "by name, and only those traded"
    assert data["first"] == 1


def test_many_prices_are_thinned_and_then_the_least_traded_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    made = fills(("AAA", 1, "buy", 1, 10.0), ("BBB", 1, "buy", 3, 10.0), ("CCC", 1, "buy", 2, 10.0))
    every = pl.concat([bars(name, [10.0 + day for day in range(8)]) for name in ("AAA", "BBB", "CCC")])
    monkeypatch.setattr(module, "MOST_POINTS", 12)
    found = market(every, made, held(), DAYS)
    assert found is not None
    assert [prices(line) for line in found.data["symbols"]] == [[10.0, 12.0, 14.0, 16.0]] * 3
    assert "a price every 2 sessions; the fills are exact" in found.note
    monkeypatch.setattr(module, "MOST_SESSIONS_A_POINT", 1)
    found = market(every, made, held(), DAYS)
    assert found is not None
    assert [line["name"] for line in found.data["symbols"]] == ["BBB"]
    assert "1 of 3 symbols have prices here. 1 of 3 fills are drawn." in found.note


def test_the_latest_fills_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_FILLS", 1)
    found = market(bars("AAA", [10.0] * 8), ONE.reverse(), held(), DAYS)
    assert found is not None
    assert found.data["fills"]["at"] == [3]
    assert "1 of 2 fills are drawn" in found.note


NOTHING = [
    ("no bars given", None, ONE),
    ("no fills", bars("AAA", [1.0]), ONE.clear()),
    ("no price of what was traded", bars("BBB", [1.0]), ONE),
    ("no price above zero", bars("AAA", [0.0, -37.6]), ONE),
]


@pytest.mark.parametrize(("name", "given", "made"), NOTHING)
def test_without_prices_or_fills_there_is_no_chart(name: str, given: pl.DataFrame | None, made: pl.DataFrame) -> None:
    assert market(given, made, held(), DAYS) is None


def test_bars_of_other_sessions_leave_an_empty_line() -> None:
    (line,) = drawn(bars("AAA", [10.0, 11.0]), ONE, held(), DAYS[3:])["symbols"]
    assert line["levels"] == ""
