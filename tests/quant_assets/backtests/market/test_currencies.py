"""An instrument in euros in an account of dollars: what it costs, what it earns, and where the rates come from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from quant_assets.backtests import run
from resources.errors import BarSchemaError
from tests.quant_assets.backtests.worlds import sent, sized
from tests.resources.exchange.cases import account

EURO = pl.DataFrame({"symbol": ["E"], "currency": ["EUR"]})


def at(day: int, hour: int = 0) -> datetime:
    return datetime(2024, 1, day, hour, tzinfo=UTC)


def row(symbol: str, day: int, open: float, close: float, opens: int, ends: int, **more: float) -> dict:
    high, low = max(open, close), min(open, close)
    prices = {"open": float(open), "high": float(high), "low": float(low), "close": float(close), "volume": 1e6}
    times = {"ts": at(day, opens), "known_at": at(day) + timedelta(hours=ends)}
    return {"symbol": symbol, **times, **prices, "dividend": 0.0, "split": 1.0, **more}


def share(day: int, open: float, close: float, **more: float) -> dict:
    return row("E", day, open, close, 8, 16, **more)


def told(*rates: tuple[datetime, float], currency: str = "EUR") -> pl.DataFrame:
    return pl.DataFrame([{"ts": ts, "currency": currency, "rate": rate} for ts, rate in rates])


BARS = pl.DataFrame([share(8, 100, 100), share(9, 100, 110), share(10, 110, 120, dividend=2.0)])
RATES = told((at(8), 1.0), (at(9), 1.1), (at(9, 12), 1.2), (at(10), 1.25))


def test_cost_worth_and_dividend_in_dollars():
    """10 shares: bought for 100 EUR at 1.1; worth 110 EUR at 1.2 (known by the close), then 120 EUR at 1.25."""
    result = run(BARS, sent(sized(at(8, 16), "E", "buy", 10)), account(cash=10_000), instruments=EURO, rates=RATES)
    paid = 10 * 100 * 1.1
    dividend = 10 * 2 * 1.25
    assert result.equity["cash"].to_list() == pytest.approx([10_000, 10_000 - paid, 10_000 - paid + dividend])
    assert result.equity["positions_value"].to_list() == pytest.approx([0, 10 * 110 * 1.2, 10 * 120 * 1.25])
    assert result.equity["dividends"].to_list() == pytest.approx([0, 0, dividend])
    assert result.equity["equity"].to_list() == pytest.approx(
        (result.equity["cash"] + result.equity["positions_value"]).to_list(), rel=1e-12
    )
    assert result.positions["market_value"].to_list() == pytest.approx([1320, 1500])
    assert result.positions["price"].to_list() == [110, 120]


def test_costs_and_realised_profit_are_in_dollars():
    """Half a percent of spread on 100 EUR at 1.1; sold at 110 EUR with a rate of 1.25, which is part of the profit."""
    orders = sent(sized(at(8, 16), "E", "buy", 10), sized(at(9, 16), "E", "sell", 10))
    terms = account(cash=10_000, half_spread_bps=50, commission_per_share=0.1)
    fills = run(BARS, orders, terms, instruments=EURO, rates=RATES).fills
    assert fills["spread_cost"].to_list() == pytest.approx([10 * 0.5 * 1.1, 10 * 0.55 * 1.25])
    assert fills["commission"].to_list() == pytest.approx([10 * 0.1 * 1.1, 10 * 0.1 * 1.25])
    assert fills["realised"].to_list() == pytest.approx([0, 10 * (109.45 * 1.25 - 100.5 * 1.1)])


def test_margin_counts_the_worth_in_dollars():
    """91 shares cost 10,010 dollars at 1.1, which an account of 10,000 does not carry; 90 do."""
    for quantity, state in ((90, "filled"), (91, "rejected")):
        result = run(
            BARS, sent(sized(at(8, 16), "E", "buy", quantity)), account(cash=10_000), instruments=EURO, rates=RATES
        )
        assert result.orders["state"].to_list() == [state]


def test_money_buys_so_many_units_as_it_is_worth():
    """1,100 dollars at the last close (100 EUR) and the rate known (1.1) are 10 shares."""
    orders = sent({"ts": at(9, 1), "symbol": "E", "side": "buy", "notional": 1100.0})
    result = run(BARS, orders, account(cash=10_000), instruments=EURO, rates=RATES)
    assert result.orders["quantity"].to_list() == [10]


def test_money_is_sized_with_the_rate_known_at_submission():
    """Submitted at 10:00 while a euro is 1.1; the 1.2 of 12:00 is known when it is received."""
    orders = sent({"ts": at(9, 10), "symbol": "E", "side": "buy", "notional": 1100.0})
    result = run(BARS, orders, account(cash=10_000), instruments=EURO, rates=RATES)
    assert result.orders["quantity"].to_list() == [10]


PAIRS = [
    ("EURUSD", 1.1, 1.2),
    ("EUR/USD", 1.1, 1.2),
    ("USDEUR", 1 / 1.1, 1 / 1.2),
]


@pytest.mark.parametrize(("pair", "open", "close"), PAIRS, ids=[case[0] for case in PAIRS])
def test_a_pair_among_the_bars_gives_the_rates(pair, open, close):
    """The pair's day of the 9th ends at midnight: until then its close of the day before (1.1) converts."""
    pairs = [row(pair, 8, open, open, 0, 24), row(pair, 9, open, close, 0, 24), row(pair, 10, close, close, 0, 24)]
    bars = pl.concat([BARS, pl.DataFrame(pairs)])
    result = run(bars, sent(sized(at(8, 16), "E", "buy", 10)), account(cash=10_000), instruments=EURO)
    assert result.equity["cash"][-1] == pytest.approx(10_000 - 1100 + 20 * 1.2)
    by_step = dict(result.equity.filter(pl.col("ts").dt.hour() == 8).select("ts", "positions_value").rows())
    assert by_step[at(9, 8)] == pytest.approx(10 * 110 * 1.1)
    assert by_step[at(10, 8)] == pytest.approx(10 * 120 * 1.2)


def test_rates_that_are_given_go_before_a_pair():
    bars = pl.concat([BARS, pl.DataFrame([row("EURUSD", day, 3, 3, 0, 24) for day in (8, 9, 10)])])
    result = run(bars, sent(sized(at(8, 16), "E", "buy", 10)), account(cash=10_000), instruments=EURO, rates=RATES)
    assert result.equity["cash"][-1] == pytest.approx(10_000 - 1100 + 25)


def test_cutting_the_history_leaves_what_was_before_as_it_was():
    orders = sent(sized(at(8, 16), "E", "buy", 10), sized(at(9, 16), "E", "sell", 4))
    whole = run(BARS, orders, account(cash=10_000), instruments=EURO, rates=RATES)
    part = run(BARS.head(2), orders, account(cash=10_000), instruments=EURO, rates=RATES)
    assert part.equity.rows() == whole.equity.rows()[:2]
    assert part.fills.rows() == whole.fills.rows()[:1]


REFUSED = [
    ("no rate at all", None, "currency EUR: no rate to USD is known on 2024-01-08.*give rates .*or bars of EURUSD"),
    ("of another currency", told((at(8), 1.0), currency="GBP"), "currency EUR: no rate to USD"),
    ("too late", told((at(9), 1.1)), "currency EUR: no rate to USD is known on 2024-01-08T08:00"),
    ("not positive", told((at(8), 0.0)), "rates: EUR 2024-01-08 .*rate is 0.0; it must be positive"),
    ("no number", told((at(8), float("nan"))), "rates: EUR .*rate is nan; it must be positive"),
    ("naive", RATES.with_columns(pl.col("ts").dt.replace_time_zone(None)), "rates: column ts is Datetime"),
    ("no column", RATES.drop("rate"), r"rates: missing columns \['rate'\]"),
]


@pytest.mark.parametrize(("name", "rates", "message"), REFUSED, ids=[case[0] for case in REFUSED])
def test_rates_that_are_missing_or_wrong_are_refused(name, rates, message):
    with pytest.raises(BarSchemaError, match=message):
        run(BARS, sent(sized(at(8, 16), "E", "buy", 10)), account(), instruments=EURO, rates=rates)


# ---- what happens as a bar ends is converted at the rate known then


@pytest.mark.parametrize(
    ("kind", "order_type", "cash"),
    [("equity", "market_on_close", 10_000 - 2 * 110), ("future", "market", 10_000 + 2 * 10)],
    ids=["a share", "a future"],
)
def test_the_end_of_a_bar_is_converted_at_the_rate_of_its_end(kind, order_type, cash):
    """A euro is worth 1 dollar at the open and 2 since noon: the close is bought, or settled, at 2."""
    listed = EURO.with_columns(asset_class=pl.lit(kind))
    order = sent(sized(at(9, 7), "E", "buy", 1, type=order_type))
    rates = told((at(7), 1.0), (at(9, 12), 2.0))
    result = run(
        pl.DataFrame([share(8, 100, 100), share(9, 100, 110)]),
        order,
        account(cash=10_000),
        instruments=listed,
        rates=rates,
    )
    assert result.equity["cash"].to_list() == [10_000, cash]
