"""The rules on ticks: each quote or trade is a step of its own, and orders mean what they mean on bars.

A buy meets the ask and a sell the bid; the middle is the price before costs, half the spread a cost. Resting limits
fill at their own price. On trades there is no spread, and only a trade beyond a resting limit is proof of its fill.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta

import polars as pl
import pytest

from quant_assets.backtests import run
from resources.brokers.base import Order, OrderType
from tests.resources.exchange import cases
from tests.resources.exchange.cases import MONDAY, account

TICK = timedelta(microseconds=1)
FIELDS = ("order_id", "symbol", "side", "quantity", "type", "limit_price", "stop_price", "tif", "trail", "expire_at")


def order(side: str = "buy", quantity: float = 100, *, at: datetime = MONDAY, **words) -> Order:
    """An order that is submitted at the instant of the first tick, unless a case says otherwise."""
    return cases.order(side, quantity, at=at, **words)


def at(number: int) -> datetime:
    """The instant of tick `number`, counted from 0: a second apart."""
    return MONDAY + timedelta(seconds=number)


def quotes(*prices: tuple[float, ...]) -> pl.DataFrame:
    """Quotes of X: bid and ask, and where given the sizes of both."""
    names = ("bid", "ask", "bid_size", "ask_size")[: len(prices[0])]
    rows = [
        {"ts": at(number), "symbol": "X", **dict(zip(names, row, strict=True))} for number, row in enumerate(prices)
    ]
    return pl.DataFrame(rows).cast({pl.Datetime: pl.Datetime("us", "UTC"), pl.Int64: pl.Float64})


def trades(*prices: float | tuple[float, float]) -> pl.DataFrame:
    """Trades of X: prices, or prices and sizes."""
    rows = [price if isinstance(price, tuple) else (price, 1e6) for price in prices]
    made = [
        {"ts": at(number), "symbol": "X", "price": float(price), "size": float(size)}
        for number, (price, size) in enumerate(rows)
    ]
    return pl.DataFrame(made).cast({pl.Datetime: pl.Datetime("us", "UTC")})


def fills(orders: list[Order], ticks: pl.DataFrame, **terms: float) -> list[dict]:
    """What the orders get, each fill with the number of its tick."""
    rows = [
        {
            **{name: value for name, value in asdict(each).items() if name in FIELDS},
            "order_id": each.id,
            "ts": each.submitted_at,
            "side": each.side.value,
            "type": each.type.value,
            "tif": each.tif.value,
        }
        for each in orders
    ]
    prices = dict.fromkeys(("quantity", "limit_price", "stop_price", "trail"), pl.Float64)
    instants = dict.fromkeys(("ts", "expire_at"), pl.Datetime("us", "UTC"))
    frame = pl.DataFrame(rows, schema_overrides={**prices, **instants})
    done = run(ticks, frame, account(**terms)).fills.to_dicts()
    return [{**fill, "tick": (fill["ts"] - MONDAY) // timedelta(seconds=1)} for fill in done]


@dataclass(frozen=True)
class Case:
    """An order, the ticks that it meets, and its fill: number of the tick, reference price, price after costs."""

    name: str
    order: Order
    ticks: pl.DataFrame
    fill: tuple[int, float, float] | None


def trailing(side: str, by: float, **words) -> Order:
    return replace(order(side, **words), type=OrderType.TRAILING_STOP, trail=by)


NARROW, WIDE = (99.9, 100.1), (99.5, 100.5)
QUOTES = [
    Case("rule 3: a market buy pays the ask", order("buy"), quotes(NARROW), (0, 100, 100.1)),
    Case("rule 3: a market sell gets the bid", order("sell"), quotes(NARROW), (0, 100, 99.9)),
    Case("rule 1: at its instant", order("buy", at=at(1)), quotes(NARROW, WIDE), (1, 100, 100.5)),
    Case("rule 1: not a microsecond before", order("buy", at=at(0) + TICK), quotes(NARROW, WIDE), (1, 100, 100.5)),
    Case("rule 4: a limit beyond the ask pays the ask", order("buy", limit=101), quotes(NARROW), (0, 100, 100.1)),
    Case("rule 4: a limit at the ask", order("buy", limit=100.1), quotes(NARROW), (0, 100, 100.1)),
    Case("rule 4: it rests below the ask", order("buy", limit=100), quotes(NARROW), None),
    Case("rule 4: the ask comes to it", order("buy", limit=99), quotes(NARROW, (98.8, 99)), (1, 99, 99)),
    Case("rule 4: the ask falls through it", order("buy", limit=99), quotes(NARROW, (98.2, 98.4)), (1, 99, 99)),
    Case("rule 4: a bid at it is not enough", order("buy", limit=99), quotes(NARROW, (99, 99.2)), None),
    Case("rule 4: sell beyond the bid", order("sell", limit=99), quotes(NARROW), (0, 100, 99.9)),
    Case("rule 4: sell, the bid comes to it", order("sell", limit=101), quotes(NARROW, (101, 101.2)), (1, 101, 101)),
    Case("rule 4: sell, an ask at it is not enough", order("sell", limit=101), quotes(NARROW, (100.8, 101)), None),
    Case("rule 5: the ask reaches the stop", order("buy", stop=101), quotes(NARROW, (100.8, 101)), (1, 100.9, 101)),
    Case("rule 5: the ask jumps over it", order("buy", stop=101), quotes(NARROW, (101.8, 102)), (1, 101.9, 102)),
    Case("rule 5: below the stop", order("buy", stop=101), quotes(NARROW, (100.79, 100.99)), None),
    Case("rule 5: sell, the bid reaches it", order("sell", stop=99), quotes(NARROW, (99, 99.2)), (1, 99.1, 99)),
    Case("rule 5: sell, the ask does not count", order("sell", stop=99), quotes(NARROW, (99.1, 99.3)), None),
    Case(
        "rule 6: triggered within the limit",
        order("buy", stop=101, limit=102),
        quotes(NARROW, (101.3, 101.5)),
        (1, 101.4, 101.5),
    ),
    Case("rule 6: beyond the limit", order("buy", stop=101, limit=102), quotes(NARROW, (102.3, 102.5)), None),
    Case(
        "rule 6: then it rests as a limit",
        order("buy", stop=101, limit=102),
        quotes(NARROW, (102.3, 102.5), (101.6, 101.8)),
        (2, 102, 102),
    ),
    Case("rule 10: ioc, not at once", order("buy", limit=99, tif="ioc"), quotes(NARROW, (98.2, 98.4)), None),
]
TRADES = [
    Case("rule 3: market", order("buy"), trades(100, 101), (0, 100, 100)),
    Case("rule 1: the next trade", order("buy", at=at(0) + TICK), trades(100, 101), (1, 101, 101)),
    Case("rule 4: a limit beyond the price", order("buy", limit=101), trades(100), (0, 100, 100)),
    Case("rule 4: a trade at a resting limit is no proof", order("buy", limit=99), trades(100, 99), None),
    Case("rule 4: a trade through it", order("buy", limit=99), trades(100, 98.99), (1, 99, 99)),
    Case("rule 4: sell, a trade at it", order("sell", limit=101), trades(100, 101), None),
    Case("rule 4: sell, a trade through it", order("sell", limit=101), trades(100, 101.5), (1, 101, 101)),
    Case("rule 5: a trade at the stop", order("buy", stop=101), trades(100, 101), (1, 101, 101)),
    Case("rule 5: a trade beyond it", order("buy", stop=101), trades(100, 103), (1, 103, 103)),
    Case("rule 5: sell", order("sell", stop=99), trades(100, 98), (1, 98, 98)),
    Case(
        "rule 6: triggered within the limit", order("buy", stop=101, limit=102), trades(100, 101.5), (1, 101.5, 101.5)
    ),
    Case("rule 6: then a limit", order("buy", stop=101, limit=102), trades(100, 103, 102, 101.9), (3, 102, 102)),
    Case("rule 7: falls to the level", trailing("sell", 2), trades(100, 99, 98), (2, 98, 98)),
    Case("rule 7: the level follows", trailing("sell", 2), trades(100, 105, 103.5, 103), (3, 103, 103)),
    Case("rule 7: and does not come back", trailing("sell", 2), trades(100, 105, 103.5, 104, 102), (4, 102, 102)),
    Case("rule 7: buy", trailing("buy", 2), trades(100, 95, 96.5, 97.5), (3, 97.5, 97.5)),
]
CASES = {"quotes": QUOTES, "trades": TRADES}


@pytest.mark.parametrize(
    "case",
    [case for table in CASES.values() for case in table],
    ids=[f"{kind}: {case.name}" for kind, table in CASES.items() for case in table],
)
def test_rules_1_to_7_on_ticks(case):
    done = fills([case.order], case.ticks)
    got = [(fill["tick"], fill["reference_price"], fill["price"]) for fill in done]
    assert got == ([] if case.fill is None else [pytest.approx(case.fill, abs=1e-9)])
    for fill in done:
        assert fill["spread_cost"] == pytest.approx(100 * abs(fill["price"] - fill["reference_price"]), abs=1e-9)
        assert not fill["ambiguous"]


def test_rule_4_on_trades_a_touch_fills_where_it_is_said_to():
    [fill] = fills([order("buy", limit=99)], trades(100, 99), limit_touch_fills=True)
    assert (fill["tick"], fill["price"]) == (1, 99)


SIZES = [  # rule 10: 100 wanted, and the quantity that each tick gives
    ("buys take the ask's size", order("buy"), quotes((99.9, 100.1, 500, 60), (99.9, 100.1, 500, 60)), [60, 40]),
    ("sells take the bid's", order("sell"), quotes((99.9, 100.1, 30, 500), (99.9, 100.1, 500, 60)), [30, 70]),
    ("trades", order("buy"), trades((100, 60), (100, 30), (100, 60)), [60, 30, 10]),
    ("nothing offered", order("buy"), quotes((99.9, 100.1, 500, 0), (99.9, 100.1, 500, 500)), [100]),
]


@pytest.mark.parametrize(("name", "wanted", "ticks", "expected"), SIZES, ids=[case[0] for case in SIZES])
def test_rule_10_a_tick_fills_what_it_offers(name, wanted, ticks, expected):
    assert [fill["quantity"] for fill in fills([wanted], ticks)] == expected


def test_rules_12_and_13_a_quote_is_the_spread_and_slippage_comes_on_top():
    [fill] = fills([order("buy", 10)], quotes(NARROW), half_spread_bps=50, slippage_bps=20)
    got = (fill["reference_price"], fill["price"], fill["spread_cost"], fill["slippage_cost"])
    assert got == pytest.approx((100, 100.3, 1.0, 2.0), abs=1e-9)


def test_instants_are_kept_to_the_microsecond():
    ticks = trades(100, 101, 102).with_columns(ts=pl.Series([at(0), at(0) + TICK, at(0) + 2 * TICK]))
    ticks = ticks.cast({"ts": pl.Datetime("us", "UTC")})
    [fill] = fills([order("buy", at=at(0) + TICK)], ticks)
    assert (fill["ts"], fill["price"]) == (at(0) + TICK, 101)


def test_a_crossed_quote_is_refused():
    with pytest.raises(Exception, match=r"X .*ask is 99\.8"):
        fills([order()], quotes((99.9, 99.8)))


# ---- what is left of a limit that took what was offered


@pytest.mark.parametrize(
    ("side", "limit", "ticks", "expected"),
    [
        ("buy", 110.0, quotes(*[(99.99, 100.01, 100.0, 100.0)] * 3), [100.01] * 3),
        ("sell", 90.0, quotes(*[(99.99, 100.01, 100.0, 100.0)] * 3), [99.99] * 3),
        ("sell", 50.0, trades((100, 100), (100, 100), (100, 100)), [100.0] * 3),
        ("buy", 110.0, quotes((99.99, 100.01, 100.0, 0.0), (99.99, 100.01, 100.0, 300.0)), [100.01]),
        (
            "buy",
            100.0,
            quotes((99.0, 100.0, 9.0, 100.0), (100.0, 101.0, 9.0, 9.0), (98.0, 99.0, 9.0, 500.0)),
            [100, 100],
        ),
    ],
    ids=["a buy", "a sell", "of trades", "nothing offered at first", "what has come to rest fills at its limit"],
)
def test_rule_4_what_is_left_of_a_limit_takes_until_its_price_has_gone(side, limit, ticks, expected):
    done = fills([order(side, 300, limit=limit)], ticks)
    assert [fill["price"] for fill in done] == expected


# ---- a trailing stop follows the side of the quote that it is tested against


@pytest.mark.parametrize("side", ["buy", "sell"])
def test_rule_7_a_trailing_stop_on_quotes_rests_while_nothing_moves(side):
    still = [replace(order(side, 1), type=OrderType.TRAILING_STOP, trail=1.5)]
    assert fills(still, quotes(*[(99.0, 101.0)] * 4)) == []


def test_rule_7_a_trailing_sell_on_quotes_follows_the_bid():
    trailing = [replace(order("sell", 1), type=OrderType.TRAILING_STOP, trail=1.5)]
    moved = quotes((99.0, 101.0), (103.0, 105.0), (101.6, 103.6), (101.5, 103.5))
    assert [(fill["tick"], fill["price"]) for fill in fills(trailing, moved)] == [(3, 101.5)]


# ---- what a quote shows is there at its price


@pytest.mark.parametrize("model", [{"name": "volume_share"}, {"name": "square_root"}], ids=lambda model: model["name"])
@pytest.mark.parametrize(("side", "price"), [("buy", 101.0), ("sell", 99.0)])
def test_rule_13_what_a_quote_offers_has_no_impact(side, price, model):
    small = quotes((99.0, 101.0, 1000.0, 1000.0), (99.0, 101.0, 1000.0, 1.0))
    done = fills([order(side, 1)], small, slippage=model)
    assert [(fill["price"], fill["slippage_cost"]) for fill in done] == [(price, 0.0)]


@pytest.mark.parametrize(("bid", "ask"), [(0.05, 0.15), (80.0, 120.0)])
def test_rule_12_however_wide_a_quote_its_ask_is_paid_and_its_bid_got(bid, ask):
    both = fills([order("buy", 1), order("sell", 1)], quotes((bid, ask)))
    assert [fill["price"] for fill in both] == [pytest.approx(ask, abs=1e-12), pytest.approx(bid, abs=1e-12)]
