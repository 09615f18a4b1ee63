"""What happens at an instant hangs on what was known then: not on other symbols' bars, nor on what comes after."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from quant_assets.backtests import BacktestResult, run
from resources.config import BacktestSettings

HOUR = timedelta(hours=1)
FREE = {
    "spread": {"name": "fixed", "half_bps": 0},
    "slippage": {"name": "none"},
    "commission": {"name": "none"},
}


def at(day: int, hour: float = 0) -> datetime:
    """An instant of January 2024, whose 8th is a Monday."""
    return datetime(2024, 1, day, tzinfo=UTC) + hour * HOUR


def bars(
    symbol: str, starts: Sequence[datetime], hours: float, prices: Sequence[float] | float = 100.0
) -> pl.DataFrame:
    """Bars of so many hours, each at one price."""
    price = [float(each) for each in (prices if isinstance(prices, Sequence) else [prices] * len(starts))]
    frame = pl.DataFrame(
        {"ts": starts, "known_at": [ts + hours * HOUR for ts in starts], "symbol": symbol, "open": price}
    )
    return frame.with_columns(high="open", low="open", close="open", volume=1e6)


def daily(
    symbol: str, days: Sequence[int], opens: float, hours: float, prices: Sequence[float] | float = 100.0
) -> pl.DataFrame:
    return bars(symbol, [at(day, opens) for day in days], hours, prices)


def listed(**instruments: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame([{"symbol": name, **facts} for name, facts in instruments.items()], infer_schema_length=None)


def rates(currency: str, *told: tuple[datetime, float]) -> pl.DataFrame:
    return pl.DataFrame({"ts": [ts for ts, _ in told], "currency": currency, "rate": [rate for _, rate in told]})


def sent(*orders: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(orders, infer_schema_length=None)


def account(cash: float = 100_000, **settings: Any) -> BacktestSettings:
    return BacktestSettings.model_validate({"cash": cash, **FREE, **settings})


def done(result: BacktestResult, *columns: str) -> list[tuple[Any, ...]]:
    return result.fills.select(columns).rows()


# ---- conversion rates


EURO, SHARE = {"currency": "EUR"}, {"currency": "USD"}
LONG = daily("LONG", range(9, 14), 0, 24).with_columns(low=pl.lit(90.0), high=pl.lit(110.0))
SHORT = daily("SHORT", range(9, 14), 15, 6)
WORLDS = {
    "beside shorter bars": pl.concat([LONG, SHORT]),
    "alone": LONG,
    "cut as the bar ends": pl.concat([LONG, SHORT]).filter(pl.col("known_at") <= at(11)),
}


@pytest.mark.parametrize("made", WORLDS.values(), ids=WORLDS)
def test_what_fills_inside_a_bar_is_converted_at_the_rate_known_as_the_bar_opened(made: pl.DataFrame) -> None:
    known = listed(LONG=EURO, SHORT=SHARE).filter(pl.col("symbol").is_in(made["symbol"].unique().implode()))
    hourly = rates("EUR", *((at(9, hour), 1 + hour / 100) for hour in range(120)))
    order = {"ts": at(10), "symbol": "LONG", "side": "buy", "quantity": 10.0, "type": "limit", "limit_price": 95.0}
    result = run(made, sent(order), account(), known, rates=hourly)
    assert done(result, "price", "multiplier") == [(95, 1.24)]
    assert result.equity["cash"][-1] == pytest.approx(100_000 - 950 * 1.24)


def test_a_delisting_is_converted_at_the_rate_of_its_instant() -> None:
    made = pl.concat([daily("GONE", [8], 14.5, 6.5), daily("STAYS", range(8, 13), 14.5, 6.5)])
    told = rates("EUR", (at(8), 1.0), (at(10, 22), 2.0))
    order = {"ts": at(8, 14.5), "symbol": "GONE", "side": "buy", "quantity": 100.0}
    known = listed(GONE=EURO, STAYS=SHARE)
    open_over_night = daily("NIGHT", [10], 14.5, 20)
    for world in (made, pl.concat([made, open_over_night])):
        here = pl.concat([known, listed(NIGHT=SHARE)]) if world.height > made.height else known
        result = run(world, sent(order), account(), here, rates=told)
        assert done(result, "reason", "ts", "multiplier") == [("open", at(8, 14.5), 1), ("delisting", at(11, 14.5), 2)]
        assert result.equity["equity"][-1] == 110_000


@pytest.mark.parametrize("beside", [None, daily("COIN", range(9, 13), 0, 24)], ids=["alone", "beside a longer bar"])
def test_an_auction_is_converted_at_the_rate_of_its_instant(beside: pl.DataFrame | None) -> None:
    """Tokyo closes at 06:00; the yen doubles at 20:00."""
    tokyo = daily("TOKYO", range(9, 13), 0, 6)
    made, known = tokyo, listed(TOKYO={"currency": "JPY"})
    if beside is not None:
        made, known = pl.concat([tokyo, beside]), pl.concat([known, listed(COIN=SHARE)])
    order = {"ts": at(10), "symbol": "TOKYO", "side": "buy", "quantity": 100.0, "type": "market_on_close"}
    result = run(made, sent(order), account(), known, rates=rates("JPY", (at(9), 0.01), (at(10, 20), 0.02)))
    assert done(result, "reason", "multiplier") == [("close", 0.01)]
    assert (result.equity["cash"][-1], result.equity["equity"][-1]) == (99_900, 100_100)


@pytest.mark.parametrize("others", [[], [{"ts": at(10, 14.5), "symbol": "OTHER", "side": "buy", "quantity": 1.0}]])
def test_a_contract_is_paid_at_each_price_whether_others_trade_or_not(others: list[dict[str, Any]]) -> None:
    """It opens 10 higher while the euro is worth 1.0, and moves no more; the euro rises within the day."""
    made = pl.concat(
        [daily("FDAX", range(8, 12), 14.5, 6, [100, 100, 110, 110]), daily("OTHER", range(8, 12), 14.5, 6, 1.0)]
    )
    held = {"ts": at(8, 14.5), "symbol": "FDAX", "side": "buy", "quantity": 1000.0}
    known = listed(FDAX={"asset_class": "future", **EURO}, OTHER={"asset_class": "equity", **SHARE})
    told = rates("EUR", (at(8, 14.5), 1.0), (at(10, 17.5), 1.2))
    assert run(made, sent(held, *others), account(1e6), known, rates=told).equity["equity"][-1] == 1_010_000


# ---- auctions


@pytest.mark.parametrize(("opens", "hours"), [(15, 6), (0, 6)], ids=["within the coin's day", "opens with the coin"])
def test_an_auction_is_judged_by_what_was_known_then(opens: float, hours: float) -> None:
    """At the share's close the coin stands at 100; it is at 60 by midnight, which would leave no room for the order."""
    coin = daily("COIN", range(9, 13), 0, 24).with_columns(
        open=pl.Series([100.0, 100, 60, 60]), high=pl.Series([100.0, 100, 60, 60]), close=pl.Series([100.0, 60, 60, 60])
    )
    coin = coin.with_columns(low="close")
    made = pl.concat([coin, daily("SHARE", range(9, 13), opens, hours)])
    orders = sent(
        {"ts": at(9), "symbol": "COIN", "side": "buy", "quantity": 100.0, "type": "market"},
        {"ts": at(9, 23), "symbol": "SHARE", "side": "buy", "quantity": 800.0, "type": "market_on_close"},
    )
    settings = account(83_000, max_gross=1.0, by_class={"future": {"margin": {"name": "futures"}}})
    known = listed(COIN={"asset_class": "future"}, SHARE={"asset_class": "equity"})
    for world in (made, made.filter(pl.col("known_at") <= at(11))):
        assert run(world, orders, settings, known).orders["state"].to_list() == ["filled", "filled"]


# ---- expiry


def test_an_option_ends_with_its_own_session_beside_a_bar_that_goes_on() -> None:
    """Worthless on Wednesday; the underlying is at 150 by Friday, when an unrelated week's bar ends."""
    made = pl.concat(
        [
            daily("XYZ", range(8, 13), 14.5, 6.5, [100, 100, 90, 130, 150]),
            daily("CALL", range(8, 11), 14.5, 6.5, [5, 5, 0.05]),
            bars("WEEK", [at(8, 14.5)], 4 * 24 + 6.5),
        ]
    )
    option = {"asset_class": "option", "underlying": "XYZ", "right": "call", "strike": 100.0, "multiplier": 100.0}
    known = listed(CALL=option | {"expiry": date(2024, 1, 10)}, XYZ={}, WEEK={})
    known = known.with_columns(pl.col("asset_class").fill_null("equity"), pl.col("multiplier").fill_null(1.0))
    order = {"ts": at(8, 14.5), "symbol": "CALL", "side": "buy", "quantity": 1.0}
    result = run(made, sent(order), account(50_000, max_gross=5), known)
    assert done(result, "symbol", "session", "reason") == [
        ("CALL", date(2024, 1, 8), "open"),
        ("CALL", date(2024, 1, 10), "expiry"),
    ]


HOURS = [at(day, 14.5 + hour) for day in (9, 10) for hour in range(6)] + [at(10, 20.5)]
SATURDAY = [at(11) + number * HOUR for number in range(72)]
LAST_SESSIONS = {
    "inside its last session": (HOURS, date(2024, 1, 10), "XNYS", at(10, 16.5)),
    "before its weekend": (SATURDAY, date(2024, 1, 13), "24/7", at(12, 8)),
    "before its weekend, without a calendar": (SATURDAY, date(2024, 1, 13), None, at(12, 8)),
}


@pytest.mark.parametrize(("starts", "expiry", "calendar", "cut"), LAST_SESSIONS.values(), ids=LAST_SESSIONS)
def test_a_contract_is_not_settled_before_its_last_session_is_over(
    starts: list[datetime], expiry: date, calendar: str | None, cut: datetime
) -> None:
    made = bars("FUT", starts, 1, [100.0 + number for number in range(len(starts))])
    known = listed(FUT={"asset_class": "future", "expiry": expiry, "calendar": calendar})
    order = {"ts": starts[0], "symbol": "FUT", "side": "buy", "quantity": 10.0}
    settings = account(50_000)
    assert done(run(made, sent(order), settings, known), "reason", "price") == [
        ("open", 100.0),
        ("expiry", 100.0 + len(starts) - 1),
    ]
    part = run(made.filter(pl.col("ts") < cut), sent(order), settings, known)
    assert done(part, "reason") == [("open",)]


# ---- delisting


@pytest.mark.parametrize("calendar", [None, "XNYS"])
def test_a_share_that_is_back_within_the_second_session_was_halted(calendar: str | None) -> None:
    def hours(*days: int) -> list[datetime]:
        return [at(day, 14.5 + hour) for day in days for hour in range(6)]

    halted = bars("HALT", [*hours(8), *hours(10)[2:], *hours(11)], 1)
    made = pl.concat([halted, bars("LIVE", hours(8, 9, 10, 11), 1)])
    known = listed(HALT={"calendar": calendar}, LIVE={"calendar": calendar})
    order = {"ts": at(8, 14.5), "symbol": "HALT", "side": "buy", "quantity": 100.0}
    for until in (at(10, 15.5), at(10, 16.5), at(12)):
        part = run(made.filter(pl.col("ts") < until), sent(order), account(), known)
        assert done(part, "reason") == [("open",)]


@pytest.mark.parametrize("calendar", [None, "XNYS"])
def test_a_week_that_is_not_over_yet_is_no_gap(calendar: str | None) -> None:
    weeks = bars("WEEK", [at(8, 14.5) + number * timedelta(weeks=1) for number in range(3)], 4 * 24 + 6.5)
    days = daily("DAY", [day for day in range(8, 27) if day not in (13, 14, 20, 21)], 14.5, 6.5)
    known = listed(WEEK={"calendar": calendar}, DAY={"calendar": calendar})
    order = {"ts": at(8, 14.5), "symbol": "WEEK", "side": "buy", "quantity": 10.0}
    made = pl.concat([weeks, days])
    for now in (at(24, 22), at(27)):
        part = run(made.filter(pl.col("known_at") <= now), sent(order), account(), known)
        assert done(part, "reason") == [("open",)]
