"""One backtest of each asset class on real data, its cash worked out by hand beside it.

Costs are off unless a test is about them, so that the sums can be followed.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.backtests.engine import BacktestResult, run
from quant_assets.backtests.market.carry import with_carry, with_funding
from quant_assets.backtests.market.forex import conversion_rates, pip_value
from quant_assets.backtests.market.futures import rolled, with_margin
from resources.config import BacktestSettings
from resources.errors import QuantError

DATA = Path(__file__).resolve().parents[5] / "shared" / "data" / "multi_asset"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the shared real data is not there")

FREE: dict[str, Any] = {
    "spread": {"name": "fixed", "half_bps": 0.0},
    "slippage": {"name": "none"},
    "commission": {"name": "none"},
    "borrow": {"name": "fixed", "bps_per_year": 0.0},
    "financing_bps_per_year": 0.0,
    "cash": 1_000_000.0,
}
PRICES = ("open", "high", "low", "close")


def read(name: str) -> pl.DataFrame:
    return pl.read_parquet(DATA / f"{name}.parquet")


def settings(**changes: Any) -> BacktestSettings:
    return BacktestSettings.model_validate(FREE | changes)


def at(*when: int) -> datetime:
    return datetime(*when, tzinfo=UTC)  # type: ignore[arg-type, misc]


def orders(*rows: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(rows, infer_schema_length=None)


def final(result: BacktestResult) -> dict[str, Any]:
    return result.equity.row(-1, named=True)


def close_to(value: float) -> Any:
    return pytest.approx(value, rel=1e-12, abs=1e-6)


# ---- equities


def shares(symbol: str, first: date, last: date) -> pl.DataFrame:
    """Raw daily bars with the file's splits and dividends, to the hundredth that was paid."""
    actions = read("corporate_actions").filter(symbol=symbol)
    split = actions.drop_nulls("split_ratio").select(local_date="date", split=pl.col("split_ratio").round(3))
    paid = actions.drop_nulls("dividend").select(local_date="date", dividend=pl.col("dividend").round(2))
    bars = read("equity_daily").filter((pl.col("symbol") == symbol) & pl.col("local_date").is_between(first, last))
    joined = bars.join(split, on="local_date", how="left").join(paid, on="local_date", how="left")
    return joined.select(
        "symbol", "ts", *PRICES, "volume", pl.col("split").fill_null(1.0), pl.col("dividend").fill_null(0.0)
    ).sort("ts")


def test_apple_through_its_dividend_and_its_split_of_seven_for_one() -> None:
    bars = shares("AAPL", date(2014, 5, 5), date(2014, 6, 12))
    result = run(bars, orders({"ts": bars["ts"][0], "symbol": "AAPL", "side": "buy", "quantity": 100.0}), settings())
    end = final(result)
    # 100 at the open of 5 May, 590.13; 3.29 a share on the 8th; 700 shares from 9 June; 92.26 at the close of the 12th.
    assert end["cash"] == close_to(1_000_000 - 100 * 590.13 + 100 * 3.29)
    assert end["positions_value"] == close_to(700 * 92.26)
    assert result.equity["dividends"].sum() == close_to(329.0)
    assert result.positions.tail(1)["average_price"][0] == close_to(590.13 / 7)


def test_a_short_pays_borrow_by_calendar_days_and_the_dividend() -> None:
    bars = shares("SPY", date(2014, 6, 16), date(2014, 6, 27))
    paid = bars["dividend"].sum()
    assert paid > 0.9
    order = {"ts": bars["ts"][0], "symbol": "SPY", "side": "sell", "quantity": 200.0}
    result = run(bars, orders(order), settings(borrow={"name": "fixed", "bps_per_year": 300.0}))
    days = bars["ts"].diff().dt.total_seconds() / 86_400
    borrow = (200 * bars["close"].shift() * 0.03 * days / 365).sum()
    assert days.sum() == 11
    assert result.equity["borrow_cost"].sum() == close_to(borrow)
    assert final(result)["equity"] == close_to(
        1_000_000 + 200 * (bars["open"][0] - bars["close"][-1]) - 200 * paid - borrow
    )


def test_a_company_that_is_delisted_is_closed_at_its_last_price() -> None:
    """The FB of 2003 was a bank, last traded on 28 March at 33.20."""
    first, last = date(2003, 3, 24), date(2003, 4, 4)
    bars = pl.concat([shares("FB", first, date(2003, 3, 28)), shares("SPY", first, last)])
    order = {"ts": bars["ts"][0], "symbol": "FB", "side": "buy", "quantity": 100.0}
    result = run(bars, orders(order), settings())
    bought = bars.filter(symbol="FB")["open"][0]
    closing = result.fills.row(-1, named=True)
    assert (closing["reason"], closing["price"], closing["quantity"]) == ("delisting", 33.20, 100.0)
    assert closing["order_id"].startswith("delisting:FB:2003-")
    assert final(result)["cash"] == final(result)["equity"] == close_to(1_000_000 + 100 * (33.20 - bought))


# ---- futures

CONTRACTS = {"201312": "ESZ13", "201403": "ESH14"}
ES = pl.DataFrame(
    {
        "symbol": list(CONTRACTS.values()),
        "asset_class": "future",
        "underlying": "ES",
        "expiry": [date(2013, 12, 20), date(2014, 3, 21)],
        "multiplier": 50.0,
        "tick": 0.25,
        "lot": 1.0,
        "currency": "USD",
    }
)


def es() -> pl.DataFrame:
    """From 9 December; Sunday evenings, which the file has as days of their own, are left out."""
    days = read("futures_daily_trade").filter(
        pl.col("contract").is_in(list(CONTRACTS)) & (pl.col("ts") >= at(2013, 12, 9)) & (pl.col("ts").dt.weekday() < 6)
    )
    return days.with_columns(symbol=pl.col("contract").replace(CONTRACTS)).select("symbol", "ts", *PRICES, "volume")


def price(bars: pl.DataFrame, symbol: str, day: tuple[int, int, int], name: str) -> float:
    return float(bars.filter(symbol=symbol, ts=at(*day))[name][0])


def test_an_index_future_is_rolled_settles_daily_and_ties_up_margin() -> None:
    bars = es()
    instruments = with_margin(ES, read("futures_margins"), date(2013, 12, 9))
    assert instruments["margin_per_unit"].to_list() == [4510.0, 4510.0]
    on_root = orders({"ts": at(2013, 12, 9), "symbol": "ES", "target_position": 2.0})
    sent = rolled(on_root, instruments, date(2013, 12, 26), calendar="CMES")
    result = run(bars, sent, settings(), instruments=instruments)
    fills = result.fills.select("ts", "symbol", "side", "quantity", "price", "tag")
    assert fills.rows() == [
        (at(2013, 12, 9), "ESZ13", "buy", 2.0, 1809.75, ""),
        (at(2013, 12, 16), "ESZ13", "sell", 2.0, 1783.5, "roll"),
        (at(2013, 12, 16), "ESH14", "buy", 2.0, 1777.5, "roll"),
    ]
    # 50 dollars a point, 2 contracts: from 1809.75 to 1783.50 in one, from 1777.50 to 1836.75 in the other.
    assert final(result)["cash"] == final(result)["equity"] == close_to(1_000_000 + 100 * (-26.25 + 59.25))
    assert result.equity["positions_value"].abs().max() == 0.0
    assert set(result.equity["margin"]) == {2 * 4510.0}
    day_one = result.equity["equity"][0]
    assert day_one == close_to(1_000_000 + 100 * (price(bars, "ESZ13", (2013, 12, 9), "close") - 1809.75))


def test_a_weight_of_equity_is_so_many_contracts_before_and_after_the_roll() -> None:
    instruments = with_margin(ES, read("futures_margins"), date(2013, 12, 9))
    on_root = orders({"ts": at(2013, 12, 10), "symbol": "ES", "target_weight": -1.0})
    sent = rolled(on_root, instruments, date(2013, 12, 26), calendar="CMES")
    result = run(es(), sent, settings(), instruments=instruments)
    # 1,000,000 / (50 x 1808.75) = 11.06; the gain of 11 x 50 x (1804.50 - 1775.00) makes it 1,016,225 / 88,375 = 11.5.
    assert result.fills.select("symbol", "side", "quantity", "tag").rows() == [
        ("ESZ13", "sell", 11.0, ""),
        ("ESZ13", "buy", 11.0, "roll"),
        ("ESH14", "sell", 11.0, "roll"),
    ]


def test_a_future_that_is_held_is_settled_at_its_last_close() -> None:
    bars = es()
    order = {"ts": at(2013, 12, 9), "symbol": "ESZ13", "side": "sell", "quantity": 1.0}
    result = run(bars, orders(order), settings(), instruments=ES)
    last = price(bars, "ESZ13", (2013, 12, 20), "close")
    expiry = result.fills.row(-1, named=True)
    assert (expiry["reason"], expiry["side"], expiry["price"]) == ("expiry", "buy", last)
    assert final(result)["cash"] == close_to(1_000_000 + 50 * (1809.75 - last))


def test_more_contracts_than_their_margin_allows_are_rejected() -> None:
    instruments = ES.with_columns(margin_per_unit=4510.0)
    rows = [
        {"ts": at(2013, 12, 9), "symbol": "ESZ13", "side": "buy", "quantity": 233.0, "order_id": "too many"},
        {"ts": at(2013, 12, 9), "symbol": "ESZ13", "side": "buy", "quantity": 232.0, "order_id": "fits"},
    ]
    result = run(es(), orders(*rows), settings(), instruments=instruments)  # 1.05 million / 4510 = 232.8
    states = dict(result.orders.select("order_id", "state").rows())
    assert states == {"too many": "rejected", "fits": "filled"}


def test_a_price_after_costs_is_on_a_quarter_point() -> None:
    order = {"ts": at(2013, 12, 9), "symbol": "ESZ13", "side": "buy", "quantity": 1.0}
    result = run(es(), orders(order), settings(spread={"name": "fixed", "half_bps": 0.5}), instruments=ES)
    done = result.fills.row(0, named=True)
    assert done["price"] == 1810.0  # 1809.75 and half of 1 bp, 1809.84
    assert done["spread_cost"] == close_to(50 * 1809.75 * 0.5e-4)
    assert done["spread_cost"] + done["slippage_cost"] == close_to(50 * 0.25)


# ---- options

CHAIN = {("call", 645.0): "AAPL140606C645", ("call", 650.0): "AAPL140606C650", ("put", 647.5): "AAPL140606P647.5"}


def options() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Three contracts on their last day, with the shares that day and the next; and what they are."""
    friday = read("options_daily_trade").filter(ts=at(2014, 6, 6, 4), expiry=date(2014, 6, 6))
    names = pl.DataFrame(
        [(*key, name) for key, name in CHAIN.items()], schema=["right", "strike", "name"], orient="row"
    )
    traded = friday.drop("symbol").join(names.rename({"name": "symbol"}), on=["right", "strike"])
    instruments = traded.select(
        "symbol", "right", "strike", "expiry", underlying=pl.lit("AAPL"), asset_class=pl.lit("option"), multiplier=100.0
    )
    contracts = traded.select("symbol", "ts", *PRICES, "volume", split=1.0, dividend=0.0)
    return pl.concat([contracts, shares("AAPL", date(2014, 6, 6), date(2014, 6, 9))]), instruments


def test_options_are_exercised_assigned_or_worthless_and_the_shares_then_split() -> None:
    bars, instruments = options()
    friday = at(2014, 6, 6, 4)
    rows = [
        {"ts": friday, "symbol": "AAPL140606C645", "side": "buy", "quantity": 2.0},
        {"ts": friday, "symbol": "AAPL140606C650", "side": "sell", "quantity": 1.0},
        {"ts": friday, "symbol": "AAPL140606P647.5", "side": "sell", "quantity": 1.0},
    ]
    result = run(bars, orders(*rows), settings(), instruments=instruments)
    paid = {symbol: price(bars, symbol, (2014, 6, 6, 4), "open") for symbol in CHAIN.values()}  # type: ignore[arg-type]
    # At 645.57 the 645 call is worth 0.57: 200 shares for 645. The put for 647.50 is assigned: 100 shares for 647.50.
    cash = 1_000_000 + 100 * (
        -2 * paid["AAPL140606C645"] + paid["AAPL140606C650"] + paid["AAPL140606P647.5"] - 2 * 645.0 - 647.5
    )
    assert final(result)["cash"] == close_to(cash)
    assert final(result)["positions_value"] == close_to(7 * 300 * 93.70)
    ends = (
        result.fills.tail(-3)
        .select("symbol", "side", "quantity", "price", "reason")
        .sort("symbol", "reason", "quantity")
    )
    assert ends.rows() == [
        ("AAPL", "buy", 100.0, 647.5, "assignment"),
        ("AAPL", "buy", 200.0, 645.0, "exercise"),
        ("AAPL140606C645", "sell", 2.0, 0.0, "exercise"),
        ("AAPL140606C650", "buy", 1.0, 0.0, "expiry"),
        ("AAPL140606P647.5", "buy", 1.0, 0.0, "assignment"),
    ]


def test_an_option_without_its_underlying_is_refused_before_the_run() -> None:
    bars, instruments = options()
    alone = bars.filter(pl.col("symbol") != "AAPL")
    order = {"ts": at(2014, 6, 6, 4), "symbol": "AAPL140606C645", "side": "buy", "quantity": 1.0}
    with pytest.raises(QuantError, match=r"AAPL140606C\d+: an option on AAPL, which is not among the symbols"):
        run(alone, orders(order), settings(), instruments=instruments)


# ---- crypto


def bitcoin(asset_class: str) -> pl.DataFrame:
    minutes = read("crypto_index_minute_trades").filter(symbol="BTCUSDT", venue="bybit", asset_class=asset_class)
    return minutes.select("symbol", "ts", *PRICES, "volume").sort("ts")


def test_a_fraction_of_a_bitcoin_bought_as_taker_and_sold_as_maker() -> None:
    bars = bitcoin("crypto").head(120)
    start, limit = bars["ts"][0], 17_230.0
    instruments = pl.DataFrame({"symbol": ["BTCUSDT"], "asset_class": ["crypto"], "currency": ["USDT"],
                                "lot": [1e-6], "tick": [0.01], "minimum_notional": [5.0]})  # fmt: skip
    rows = [
        {"ts": start, "symbol": "BTCUSDT", "side": "buy", "quantity": 0.123456},
        {"ts": start + timedelta(minutes=1), "symbol": "BTCUSDT", "side": "sell", "quantity": 0.123456,
         "type": "limit", "limit_price": limit},
        {"ts": start + timedelta(minutes=1), "symbol": "BTCUSDT", "side": "buy", "quantity": 0.000290,
         "order_id": "4.99 dollars"},
    ]  # fmt: skip
    fees = {"name": "maker_taker", "maker_bps": 2.0, "taker_bps": 10.0}
    result = run(bars, orders(*rows), settings(currency="USDT", commission=fees), instruments=instruments)
    bought = bars["open"][0]
    assert result.fills["price"].to_list()[0] == bought
    through = bars.filter(pl.col("high") > limit)
    assert through["open"][0] < limit
    sold = result.fills.filter(side="sell")
    assert sold["ts"][0] == through["ts"][0]
    assert set(sold["reason"]) == {"limit"}
    assert sold["quantity"].sum() == close_to(0.123456)
    assert final(result)["cash"] == close_to(1_000_000 + 0.123456 * (limit * (1 - 2e-4) - bought * (1 + 10e-4)))
    refused = result.orders.filter(order_id="4.99 dollars").row(0, named=True)
    assert refused["state"] == "rejected"


def test_a_perpetual_future_settles_its_gains_and_its_funding() -> None:
    rates = read("crypto_funding_rates").filter(symbol="BTCUSDT", venue="bybit")
    bars = with_funding(bitcoin("cryptofuture"), rates)
    hit = bars.filter(pl.col("funding") != 0).filter(pl.col("ts") > bars["ts"][0])
    assert hit.select("ts", "funding").rows() == [(at(2022, 12, 13, 8), -0.00022398)]
    order = {"ts": bars["ts"][0], "symbol": "BTCUSDT", "side": "buy", "quantity": 0.5}
    instruments = pl.DataFrame({"symbol": ["BTCUSDT"], "asset_class": ["future"], "currency": ["USDT"], "lot": [0.001]})
    result = run(
        bars,
        orders(order),
        settings(currency="USDT", margin={"name": "leverage", "leverage": 10}, participation=1.0),
        instruments=instruments,
    )
    fills = result.fills
    assert fills["quantity"].sum() == close_to(0.5)
    then = bars.filter(ts=at(2022, 12, 13, 8))["open"][0]
    received = 0.5 * then * 0.00022398  # the rate is negative: who is short pays
    assert result.equity["funding"].sum() == close_to(-received)
    gain = 0.5 * bars["close"][-1] - (fills["quantity"] * fills["price"]).sum()
    assert final(result)["cash"] == close_to(1_000_000 + gain + received)
    assert final(result)["margin"] == close_to(0.5 * bars["close"][-1] / 10)


# ---- forex


def pairs(symbol: str) -> pl.DataFrame:
    """Middle prices with the quotes at each close. Nobody reports volume: there is enough for everyone."""
    quotes = read("fx_cfd_crypto_daily_quotes").filter(
        (pl.col("symbol") == symbol)
        & (pl.col("venue") == "oanda")
        & pl.col("ts").is_between(at(2018, 7, 9), at(2018, 7, 13))
    )
    middle = {name: (pl.col(f"bid_{name}") + pl.col(f"ask_{name}")) / 2 for name in PRICES}
    return quotes.select("symbol", "ts", volume=pl.lit(1e9), bid="bid_close", ask="ask_close", **middle).sort("ts")


LEVERAGE = {"name": "leverage", "leverage": 30}


def forex(symbol: str) -> pl.DataFrame:
    return pl.DataFrame({"symbol": [symbol], "asset_class": ["forex"], "currency": [symbol[3:]], "tick": [1e-5]})


def test_a_currency_pair_pays_its_quoted_spread_and_its_carry() -> None:
    interest = pl.DataFrame({"ts": [at(2018, 6, 14)] * 2, "currency": ["EUR", "USD"], "rate": [-0.004, 0.02]})
    bars = with_carry(pairs("EURUSD"), interest)
    order = {"ts": at(2018, 7, 10), "symbol": "EURUSD", "side": "buy", "quantity": 100_000.0}
    result = run(
        bars,
        orders(order),
        settings(cash=10_000.0, margin=LEVERAGE, spread={"name": "quoted"}),
        instruments=forex("EURUSD"),
    )
    done = result.fills.row(0, named=True)
    assert done["price"] == close_to(1.17566)  # the ask, at the open of the 10th
    assert done["spread_cost"] == close_to(pip_value("EURUSD", 100_000) * 0.75)
    opens, closes = (dict(bars.select(pl.col("ts").dt.day(), name).rows()) for name in ("open", "close"))
    # Tuesday's roll counts one day, Wednesday's three, Thursday's one; a long pays 2.4 % a year of 360 days, of the
    # worth at the open after the roll.
    carry = 100_000 * 0.024 / 360 * (opens[11] + 3 * opens[12] + opens[13])
    assert result.equity["funding"].sum() == close_to(carry)
    assert final(result)["cash"] == close_to(10_000 + 100_000 * (closes[13] - 1.17566) - carry)
    assert final(result)["margin"] == close_to(100_000 * closes[13] / 30)


def test_ten_pips_are_a_hundred_dollars_for_a_standard_lot_and_are_converted_day_by_day() -> None:
    """An account in pounds that trades euros against dollars: each day's gain at the rate of its close."""
    bars, sterling = pairs("EURUSD"), pairs("GBPUSD")
    known = sterling.select("symbol", ts=pl.col("ts") + timedelta(days=1), price="close")
    before = pl.DataFrame({"symbol": ["GBPUSD"], "ts": [at(2018, 7, 9)], "price": [sterling["open"][0]]})
    rates = conversion_rates(pl.concat([before, known.match_to_schema(before.schema)]), "GBP", ["USD"])
    order = {"ts": at(2018, 7, 10), "symbol": "EURUSD", "side": "buy", "quantity": 100_000.0}
    result = run(
        bars.drop("bid", "ask"),
        orders(order),
        settings(cash=10_000.0, currency="GBP", margin=LEVERAGE),
        instruments=forex("EURUSD").drop("tick"),
        rates=rates,
    )
    closes = dict(bars.select(pl.col("ts").dt.day(), "close").rows())
    pounds = {day: 1 / close for day, close in sterling.select(pl.col("ts").dt.day(), "close").rows()}
    opened = bars.filter(ts=at(2018, 7, 10))["open"][0]
    gains = [
        (closes[10] - opened) * pounds[10],
        (closes[11] - closes[10]) * pounds[11],
        (closes[12] - closes[11]) * pounds[12],
        (closes[13] - closes[12]) * pounds[13],
    ]
    assert final(result)["equity"] == close_to(10_000 + 100_000 * sum(gains))
    moved = result.equity["equity"].diff()[2]
    pips = (closes[11] - closes[10]) / 1e-4
    assert moved == close_to(pips * pip_value("EURUSD", 100_000, rate=pounds[11]))
    # The pair among the bars gives the same rates without being asked.
    both = pl.concat([bars, sterling]).drop("bid", "ask")
    own = run(both, orders(order), settings(cash=10_000.0, currency="GBP", margin=LEVERAGE),
              instruments=forex("EURUSD").drop("tick"))  # fmt: skip
    assert final(own)["equity"] == close_to(final(result)["equity"])


# ---- ticks


def quotes(first: datetime, last: datetime) -> pl.DataFrame:
    """The file has one side a row: the last bid and the last ask that were seen, where they do not cross."""
    sides = read("ticks_quotes").filter(pl.col("ts").is_between(first, last))
    seen = [
        pl.when(pl.col(side) > 0).then(pl.col(name)).forward_fill().alias(name)
        for side in ("bid", "ask")
        for name in (side, f"{side}_size")
    ]
    both = sides.select("ts", "symbol", *seen).drop_nulls()
    return both.filter(pl.col("ask") > pl.col("bid"))


def shares_of(symbol: str) -> pl.DataFrame:
    return pl.DataFrame({"symbol": [symbol], "asset_class": ["equity"], "lot": [1.0], "tick": [0.01]})


def test_on_quotes_a_market_order_takes_what_each_ask_offers() -> None:
    book = quotes(at(2013, 10, 7, 14), at(2013, 10, 7, 14, 5))
    sent = at(2013, 10, 7, 14, 1)
    rows = [{"ts": sent, "symbol": "IBM", "side": "buy", "quantity": 1000.0}]
    latency = {"name": "fixed", "delay_seconds": 0.25}
    result = run(book, orders(*rows), settings(participation=1.0, latency=latency), instruments=shares_of("IBM"))
    expected, left = [], 1000.0
    for ts, ask, size in (
        book.filter(pl.col("ts") >= sent + timedelta(seconds=0.25)).select("ts", "ask", "ask_size").rows()
    ):
        taken = min(left, size)
        if taken > 0:
            expected.append((ts, taken, round(ask, 9)))
            left -= taken
    assert len(expected) > 1
    assert result.fills.select("ts", "quantity", pl.col("price").round(9)).rows() == expected
    spent = sum(quantity * ask for _, quantity, ask in expected)
    assert final(result)["cash"] == close_to(1_000_000 - spent)
    middle = (book["bid"][-1] + book["ask"][-1]) / 2
    assert final(result)["positions_value"] == close_to(1000 * middle)


def test_on_trades_a_resting_limit_waits_for_a_trade_beyond_it() -> None:
    trades = read("ticks_trades").filter(pl.col("ts").is_between(at(2013, 10, 7, 14), at(2013, 10, 7, 14, 10)))
    trades = trades.select("ts", "symbol", "price", "size")
    sent = at(2013, 10, 7, 14, 0, 30)
    after = trades.filter(pl.col("ts") >= sent)
    limit = after.filter(pl.col("price") < after["price"][0] - 0.015)["price"][0]
    beyond = after.filter(pl.col("price") < limit)
    touched = after.filter(pl.col("price") == limit)
    assert touched["ts"][0] < beyond["ts"][0]  # a trade at the limit came first, and fills nothing
    order = {"ts": sent, "symbol": "SPY", "side": "buy", "quantity": 50.0, "type": "limit", "limit_price": limit}
    result = run(trades, orders(order), settings(participation=1.0))
    first = result.fills.row(0, named=True)
    assert (first["ts"], first["price"], first["reason"]) == (beyond["ts"][0], limit, "limit")
    assert result.fills["quantity"].sum() == 50.0


def test_bitcoin_by_the_millisecond_buys_at_the_ask_and_sells_at_the_bid() -> None:
    book = read("ticks_btcusdt_quotes").select("ts", "symbol", "bid", "ask", "bid_size", "ask_size")
    book = book.filter(pl.col("ask") > pl.col("bid"))
    instruments = pl.DataFrame({"symbol": ["BTCUSDT"], "asset_class": ["crypto"], "lot": [1e-6], "currency": ["USDT"]})
    inside, outside = at(2021, 1, 8, 0, 0, 10), at(2021, 1, 8, 0, 0, 20)
    rows = [
        {"ts": inside, "symbol": "BTCUSDT", "side": "buy", "quantity": 0.001},
        {"ts": outside, "symbol": "BTCUSDT", "side": "sell", "quantity": 0.001},
    ]
    result = run(book, orders(*rows), settings(participation=1.0, currency="USDT"), instruments=instruments)
    ask = book.filter((pl.col("ts") >= inside) & (pl.col("ask_size") >= 0.001))["ask"][0]
    bid = book.filter((pl.col("ts") >= outside) & (pl.col("bid_size") >= 0.001))["bid"][0]
    assert result.fills["price"].to_list() == [ask, bid]
    assert final(result)["cash"] == close_to(1_000_000 + 0.001 * (bid - ask))


def test_trades_of_bitcoin_fill_at_the_next_trade_up_to_its_size() -> None:
    trades = read("ticks_btcusdt_trades").select("ts", "symbol", "price", "size")
    sent = at(2021, 1, 8, 0, 0, 5)
    instruments = pl.DataFrame({"symbol": ["BTCUSDT"], "asset_class": ["crypto"], "lot": [1e-6], "currency": ["USDT"]})
    order = {"ts": sent, "symbol": "BTCUSDT", "side": "buy", "quantity": 0.05}
    result = run(trades, orders(order), settings(participation=0.5, currency="USDT"), instruments=instruments)
    left, expected = 0.05, []
    for ts, price_, size in trades.filter(pl.col("ts") >= sent).select("ts", "price", "size").rows():
        taken = min(left, int(0.5 * size * 1e6 + 1e-9) / 1e6)
        if taken > 1e-9:
            expected.append((ts, round(taken, 6), price_))
            left -= taken
    assert result.fills.select("ts", pl.col("quantity").round(6), "price").rows() == expected
