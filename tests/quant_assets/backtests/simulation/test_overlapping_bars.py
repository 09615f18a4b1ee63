"""Bars of different length in one account: what lies inside a long one is known at its end, and works from then on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from quant_assets.backtests import run
from tests.quant_assets.backtests.worlds import sent, sized, target
from tests.resources.exchange.cases import account

HOUR = timedelta(hours=1)
FIRST = datetime(2024, 1, 8, tzinfo=UTC)
DAY = timedelta(days=1)


def rows(symbol: str, length: timedelta, *prices: tuple[float, float, float, float]) -> pl.DataFrame:
    """Bars that follow each other: open, high, low, close."""
    return pl.DataFrame(
        [
            {
                "symbol": symbol,
                "ts": FIRST + number * length,
                "known_at": FIRST + (number + 1) * length,
                **dict(zip(("open", "high", "low", "close"), map(float, bar), strict=True)),
                "volume": 1e9,
            }
            for number, bar in enumerate(prices)
        ]
    )


LONG = rows("A", DAY, (100, 101, 99, 100), (100, 120, 99, 110), (100, 101, 99, 100))
"""On the second day A reaches 119, nobody knows when."""

SHORT = rows("B", HOUR, *[(50, 51, 49, 50)] * 26, (50, 51, 40, 45), *[(45, 46, 44, 45)] * 45)
"""B falls at 02:00 of that day."""

BOTH = pl.concat([LONG, SHORT])
BOUGHT = sized(FIRST, "A", "buy", 100, order_id="in")
TAKEN = sized(FIRST + 20 * HOUR, "A", "sell", 100, type="limit", limit_price=119.0, order_id="exit")
SECOND = FIRST + DAY


def traded(orders: list[dict], until: datetime | None = None, symbol: str = "B") -> list[tuple]:
    """Fills of a symbol, by the whole history or by what was known at an instant."""
    bars = BOTH if until is None else BOTH.filter(pl.col("known_at") <= until)
    fills = run(bars, sent(BOUGHT, *orders), account(cash=10_000, max_gross=1.1)).fills
    return fills.filter(symbol=symbol).select("ts", "side", "quantity", "price", "reason").rows()


CASES = {  # what hangs on A's exit, ordered before or early on its day; what comes of it
    "its cash": ([TAKEN, sized(SECOND + HOUR, "B", "buy", 230)], []),
    "its gain": (
        [TAKEN, target(SECOND + HOUR, "B", 0.5)],
        [],  # half of the equity is not to be had while A is held
    ),
    "its child": (
        [TAKEN, sized(FIRST + 20 * HOUR, "B", "buy", 200, parent="exit")],
        [(SECOND + DAY, "buy", 200, 45, "open")],
    ),
    "its sibling": (
        [
            TAKEN | {"oco_group": "g"},
            sized(FIRST + 20 * HOUR, "B", "sell", 10, type="stop", stop_price=45.0, oco_group="g"),
        ],
        [(SECOND + 2 * HOUR, "sell", 10, 45, "stop")],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_lies_inside_a_long_bar_works_from_its_end(name):
    orders, after = CASES[name]
    assert traded(orders) == after


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("hour", [1, 2, 3, 6, 23])
def test_cutting_the_history_inside_a_long_bar_changes_no_earlier_fill(name, hour):
    orders, after = CASES[name]
    now = SECOND + hour * HOUR
    assert traded(orders, now) == [fill for fill in after if fill[0] < now]


def test_the_long_bar_itself_fills_as_it_would_alone():
    alone = run(LONG, sent(BOUGHT, TAKEN), account(cash=10_000)).fills
    assert traded([TAKEN], symbol="A") == alone.select("ts", "side", "quantity", "price", "reason").rows()
    assert alone["reason"].to_list() == ["open", "limit"]


def test_an_exit_that_a_sibling_ended_in_time_does_not_fill():
    orders, _ = CASES["its sibling"]
    assert [fill[4] for fill in traded(orders, symbol="A")] == ["open"]


ENDING = {  # what would end the exit while A's bar goes on
    "a cancel": [TAKEN, {"ts": SECOND + 5 * HOUR, "symbol": "A", "action": "cancel", "order_id": "exit"}],
    "its session": [TAKEN | {"tif": "day"}],
}


@pytest.mark.parametrize("name", ENDING)
def test_what_ends_an_order_inside_a_bar_waits_for_the_bar(name):
    """As beside no other symbol: nobody knows whether the price came before."""
    orders = ENDING[name]
    alone = run(LONG, sent(BOUGHT, *orders), account(cash=10_000)).fills["reason"].to_list()
    assert [fill[4] for fill in traded(orders, symbol="A")] == alone == ["open", "limit"]


def test_bars_that_are_open_after_the_last_step_are_closed():
    bars = pl.concat([LONG, SHORT.filter(pl.col("ts") <= FIRST + 2 * DAY + 3 * HOUR)])
    bars = bars.with_columns(close=pl.when(pl.col("symbol") == "A").then(pl.col("high")).otherwise("close"))
    result = run(bars, sent(BOUGHT, sized(FIRST + DAY, "A", "sell", 40, type="market_on_close")), account(cash=10_000))
    assert result.fills.select("reason", "price").rows() == [("open", 100), ("close", 120)]
    assert result.equity["equity"].to_list()[-1] == 10_000 + 40 * 20 + 60 * 1
    assert result.positions.sort("ts")["price"].to_list()[-1] == 101


def test_what_is_open_of_a_foreign_share_is_told_of_what_is_held():
    """Bought for 100 euros at 2 dollars; the half that is sold inside the second day is held until its end."""
    listed = pl.DataFrame({"symbol": ["A", "B"], "currency": ["EUR", "USD"]})
    rates = pl.DataFrame({"ts": [FIRST - DAY], "currency": ["EUR"], "rate": [2.0]})
    half = TAKEN | {"quantity": 50.0}
    result = run(BOTH, sent(BOUGHT, half), account(cash=30_000), instruments=listed, rates=rates)
    held = result.positions.filter(symbol="A").with_columns(
        plain=pl.col("quantity") * (pl.col("price") - pl.col("average_price")) * 2
    )
    assert held["quantity"].unique().sort().to_list() == [50, 100]
    assert held["unrealised"].to_list() == pytest.approx(held["plain"].to_list(), abs=1e-9)


CALENDAR = pl.DataFrame({"symbol": ["S", "C"], "calendar": ["XNYS", "24/7"], "asset_class": ["equity", "crypto"]})


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside crypto"])
@pytest.mark.parametrize(
    "words",
    [
        {"type": "market_on_close"},
        {"type": "limit_on_close", "limit_price": 101.0},
        {"type": "limit", "limit_price": 98.0, "tif": "day"},
    ],
    ids=lambda words: str(words["type"]),
)
def test_bars_that_do_not_say_when_they_were_known_are_over_as_their_session_closes(words, beside):
    """Daily bars stamped with the open: an order of the day lives as long as its bar."""
    stamps = [datetime(2024, 1, day, 14, 30, tzinfo=UTC) for day in (8, 9, 10, 11, 12)]
    prices = {"open": 100.0, "high": 102.0, "low": 97.0, "close": 100.0, "volume": 1e6}
    share = pl.DataFrame([{"symbol": "S", "ts": ts, **prices} for ts in stamps])
    coin = pl.DataFrame([{"symbol": "C", "ts": ts.replace(hour=0, minute=0), **prices} for ts in stamps])
    orders = sent(sized(datetime(2024, 1, 9, 14, tzinfo=UTC), "S", "buy", 1, **words))
    result = run(pl.concat([share, coin]) if beside else share, orders, account(), instruments=CALENDAR)
    assert result.fills["session"].dt.day().to_list() == [9]
