"""Shares (14:30 to 21:00 on weekdays) and crypto (every day, midnight to midnight) in one account."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from quant_assets.backtests import run
from tests.quant_assets.backtests.worlds import sent, sized, target
from tests.resources.exchange.cases import account

CALENDARS = pl.DataFrame({"symbol": ["S", "C"], "calendar": ["XNYS", "24/7"], "asset_class": ["equity", "crypto"]})


def at(day: int, hour: int = 0, minute: int = 0) -> datetime:
    """An instant of January 2024, of which the 12th is a Friday and the 15th a holiday in New York."""
    return datetime(2024, 1, day, hour, minute, tzinfo=UTC)


def row(symbol: str, ts: datetime, known_at: datetime, open: float, close: float) -> dict:
    high, low = max(open, close), min(open, close)
    prices = {"open": float(open), "high": float(high), "low": float(low), "close": float(close), "volume": 1e6}
    return {"symbol": symbol, "ts": ts, "known_at": known_at, **prices}


def share(day: int, open: float = 100, close: float | None = None) -> dict:
    return row("S", at(day, 14, 30), at(day, 21), open, open if close is None else close)


def coin(day: int, open: float = 100, close: float | None = None) -> dict:
    return row("C", at(day), at(day) + timedelta(days=1), open, open if close is None else close)


def bars(*rows: dict) -> pl.DataFrame:
    return pl.DataFrame(rows)


# ---- nothing uses a close before it is known


def test_equity_is_marked_with_no_close_before_it_is_known():
    """The coin doubles by midnight; the share's session ends at 21:00, when nobody knows."""
    made = bars(share(10), share(11), coin(10), coin(11), coin(12, 100, 200), share(12), coin(13, 200))
    result = run(made, sent(sized(at(11), "C", "buy", 10)), account(cash=10_000))
    assert result.equity.select("ts", "equity").rows()[-2:] == [(at(12, 14, 30), 10_000), (at(13), 11_000)]


@pytest.mark.parametrize(
    ("when", "quantity"),
    [(at(12, 14, 30), 50), (at(12, 22), 50), (at(13), 55)],
    ids=["at the share's open", "at night", "when the coin's close is known"],
)
def test_a_size_uses_no_close_before_it_is_known(when, quantity):
    """Half of the equity in shares: 10,000 before the coin's close at midnight, 11,000 from then on."""
    made = bars(share(10), share(11), coin(10), coin(11), coin(12, 100, 200), share(12), coin(13, 200), share(16))
    orders = sent(sized(at(11), "C", "buy", 10), target(when, "S", 0.5))
    result = run(made, orders, account(cash=10_000, max_gross=3), instruments=CALENDARS)
    assert result.orders["quantity"].to_list() == [10, quantity]


def test_a_size_in_the_coin_uses_the_close_of_the_day_before_until_midnight():
    made = bars(coin(10), coin(11), coin(12, 100, 200), share(11), share(12), coin(13, 200), coin(14, 200))
    orders = sent(target(at(12, 20), "C", 0.5, order_id="before"), target(at(13), "C", 0.5, order_id="after"))
    result = run(made, orders, account(cash=10_000, max_gross=3))
    assert result.orders.select("order_id", "quantity").rows() == [("before", 50), ("after", 25)]


def test_margin_uses_no_close_before_it_is_known():
    """A short coin that doubles by midnight leaves nothing for shares, but not yet at 14:30."""
    made = bars(coin(11), coin(12, 100, 200), share(11), share(12), coin(13, 200), share(16), coin(16, 200))
    orders = sent(
        sized(at(11), "C", "sell", 50),
        sized(at(12, 14), "S", "buy", 40),
        sized(at(13), "S", "buy", 40, order_id="late"),
    )
    result = run(made, orders, account(cash=10_000), instruments=CALENDARS)
    assert result.orders["state"].to_list() == ["filled", "filled", "rejected"]


def test_a_start_inside_a_bar_does_not_know_its_close():
    """The first step that is traded opens while a bar from before is not over."""
    long = row("C", at(11), at(12, 20), 100, 500)
    made = bars(coin(10), long, coin(13), share(11), share(12), share(16))
    orders = sent(target(at(12, 14, 30), "C", 0.5))
    result = run(made, orders, account(cash=10_000, start=date(2024, 1, 12)))
    assert result.orders["quantity"].to_list() == [50]


# ---- nobody is delisted for having a calendar of his own


def reasons(made: pl.DataFrame, instruments: pl.DataFrame | None = None) -> list[str]:
    """Why fills took place, of an account that bought one share after its first session."""
    first = made.filter(symbol="S")["known_at"][0]
    return run(made, sent(sized(first, "S", "buy", 1)), account(), instruments=instruments).fills["reason"].to_list()


WEEK = [share(10), share(11), share(12), *[coin(day) for day in range(10, 15)]]
HELD = [
    ("over a weekend", WEEK),
    ("over a holiday", [*WEEK, coin(15)]),
    ("and back after it", [*WEEK, coin(15), share(16), coin(16)]),
]


@pytest.mark.parametrize("instruments", [None, CALENDARS], ids=["no calendars", "calendars"])
@pytest.mark.parametrize(("name", "made"), HELD, ids=[case[0] for case in HELD])
def test_shares_survive_the_days_on_which_only_crypto_trades(name, made, instruments):
    assert reasons(bars(*made), instruments) == ["open"]


def test_by_its_calendar_a_share_is_delisted_once_the_second_session_is_over_that_it_lacks():
    """After a holiday, that of the 17th ends at 21:00; the next that is heard of the market is the coin's open."""
    result = run(
        bars(*WEEK, *[coin(day) for day in range(15, 22)]), sent(sized(at(10, 21), "S", "buy", 1)), account(),
        instruments=CALENDARS,
    )  # fmt: skip
    assert result.fills["order_id"].to_list() == ["0", "delisting:S:2024-01-18"]


def test_without_calendars_a_share_is_delisted_when_other_shares_go_on():
    other = [share(day) | {"symbol": "T"} for day in (10, 11, 12, 16, 17)]
    made = bars(*WEEK, *[coin(day) for day in range(15, 22)], *other)
    result = run(made, sent(sized(at(10, 21), "S", "buy", 1)), account())
    assert result.fills["order_id"].to_list() == ["0", "delisting:S:2024-01-18"]


def test_without_calendars_a_share_that_only_crypto_outlives_is_delisted_after_two_weeks():
    result = run(bars(*WEEK, *[coin(day) for day in range(15, 32)]), sent(sized(at(10, 21), "S", "buy", 1)), account())
    assert result.fills["order_id"].to_list() == ["0", "delisting:S:2024-01-27"]


def test_crypto_is_delisted_on_a_weekend():
    made = bars(*[coin(day) for day in range(5, 12)], *[coin(day) | {"symbol": "D"} for day in range(5, 15)])
    result = run(made, sent(sized(at(10), "C", "buy", 1)), account())
    assert result.fills["order_id"].to_list() == ["0", "delisting:C:2024-01-14"]


@pytest.mark.parametrize("instruments", [None, CALENDARS], ids=["no calendars", "calendars"])
def test_cutting_the_history_anywhere_leaves_the_fills_before_the_cut_as_they_were(instruments):
    made = bars(*WEEK, coin(15), *[share(day) for day in (16, 17, 18)], *[coin(day) for day in range(16, 20)])
    orders = sent(
        *(target(at(day, 21), "S", weight) for day, weight in ((10, 0.5), (12, 0.2), (16, 0.7))),
        *(target(at(day), "C", weight) for day, weight in ((11, 0.3), (14, 0.6), (17, 0.1))),
        sized(at(11), "S", "buy", 3, type="market_on_close"),
    )
    whole = run(made, orders, account(cash=10_000), instruments=instruments).fills
    for ts in made.filter(pl.col("ts") >= at(11))["ts"].unique():
        part = run(made.filter(pl.col("ts") <= ts), orders, account(cash=10_000), instruments=instruments).fills
        assert part.rows() == whole.filter(pl.col("ts") <= ts).rows()


# ---- the end of a session is known, not guessed


def hours(day: int, count: int, symbol: str = "S") -> list[dict]:
    """Bars of 65 minutes from 14:30; six are a session in New York."""
    length = timedelta(minutes=65)
    return [
        row(symbol, at(day, 14, 30) + number * length, at(day, 14, 30) + (number + 1) * length, 100, 100)
        for number in range(count)
    ]


def test_the_calendar_tells_the_end_of_a_session_after_a_shorter_one():
    """Cut in mid-session, nothing fills at a close that is none, although the session before was that short."""
    made = bars(*hours(10, 3), *hours(11, 6), *hours(12, 6))
    orders = sent(sized(at(10, 21), "S", "buy", 1, type="market_on_close"))
    whole = run(made, orders, account(), instruments=CALENDARS).fills
    assert whole["ts"].to_list() == [hours(11, 6)[-1]["ts"]]
    for cut, expected in ((hours(11, 3)[-1]["ts"], 0), (hours(11, 6)[-1]["ts"], 1)):
        part = run(made.filter(pl.col("ts") <= cut), orders, account(), instruments=CALENDARS).fills
        assert part.height == expected


def test_the_last_session_of_a_symbol_that_others_outlive_has_an_end():
    made = bars(*hours(10, 6), *hours(11, 6), *hours(10, 6, "T"), *hours(11, 6, "T"))
    made = pl.concat([made, bars(*hours(12, 6, "T"), *hours(16, 6, "T"), *hours(17, 1, "T"))])
    both = pl.DataFrame({"symbol": ["S", "T"], "calendar": ["XNYS", "XNYS"]})
    orders = sent(sized(at(10, 21), "S", "buy", 1, type="market_on_close"))
    assert run(made, orders, account(), instruments=both).fills["reason"].to_list() == ["close", "delisting"]


# ---- a gap is no delisting until two sessions are lacking, and then it is one until bars come back

OTHER = [share(day) | {"symbol": "T"} for day in (8, 9, 10, 11, 12, 16, 17, 18, 19, 22, 23)]
BY = [None, CALENDARS]


def held_over(days: list[int], instruments: pl.DataFrame | None, until: int = 23) -> list[tuple[str, str]]:
    """Reasons and days of the fills of one share bought on the 9th, and of one ordered before each session since."""
    made = bars(*OTHER, *[share(day) for day in days]).filter(pl.col("ts") <= at(until, 23))
    orders = sent(sized(at(8, 21), "S", "buy", 1), *[sized(at(day, 13), "S", "buy", 1, tif="day") for day in (16, 22)])
    listed = None if instruments is None else pl.concat([instruments, instruments.with_columns(symbol=pl.lit("T"))[:1]])
    fills = run(made, orders, account(), instruments=listed).fills
    return [(reason, day.day) for reason, day in fills.select("reason", "session").rows()]


@pytest.mark.parametrize("instruments", BY, ids=["no calendars", "calendars"])
def test_a_session_without_a_bar_is_a_halt(instruments):
    days = [8, 9, 10, 11, 16, 17, 18, 19, 22, 23]
    assert held_over(days, instruments) == [("open", 9), ("open", 16), ("open", 22)]


@pytest.mark.parametrize("instruments", BY, ids=["no calendars", "calendars"])
def test_two_sessions_without_a_bar_are_a_delisting_and_the_next_bar_a_listing(instruments):
    days = [8, 9, 10, 11, 18, 19, 22, 23]
    assert held_over(days, instruments) == [("open", 9), ("delisting", 17), ("open", 22)]


@pytest.mark.parametrize("instruments", BY, ids=["no calendars", "calendars"])
def test_what_is_back_when_the_second_session_is_known_to_lack_it_was_halted(instruments):
    fills = held_over([8, 9, 10, 11, 17, 18, 19, 22, 23], instruments)
    assert [fills[0], fills[-1], len(set(fills))] == [("open", 9), ("open", 22), len(fills)]
    assert "delisting" not in dict(fills)


@pytest.mark.parametrize("instruments", BY, ids=["no calendars", "calendars"])
@pytest.mark.parametrize("until", [10, 11, 12, 16, 17, 18, 22])
def test_what_comes_after_a_gap_decides_nothing_in_it(instruments, until):
    for days in ([8, 9, 10, 11, 16, 17], [8, 9, 10, 17, 18], [8, 9, 10, 18], [8, 9, 22]):
        whole = [fill for fill in held_over(days, instruments) if fill[1] <= until]
        assert held_over(days, instruments, until) == whole


# ---- a bar that goes on is its symbol's bar of all the sessions that it reaches into


@pytest.mark.parametrize("instruments", BY, ids=["no calendars", "calendars"])
@pytest.mark.parametrize("told", [True, False], ids=["known_at", "no known_at"])
def test_a_week_is_a_bar_of_all_its_days(instruments, told):
    """S has weeks of the 8th (a Monday) and the 16th (a Tuesday, after a holiday) and the 22nd, T days."""
    weeks = [row("S", at(day, 14, 30), at(end, 21), 100, 100) for day, end in ((8, 12), (16, 19), (22, 26))]
    made = bars(*OTHER, *[share(day) | {"symbol": "T"} for day in (24, 25, 26)], *weeks)
    listed = None if instruments is None else pl.concat([instruments, instruments.with_columns(symbol=pl.lit("T"))[:1]])
    orders = sent(sized(at(12, 22), "S", "buy", 1), sized(at(8, 21), "T", "buy", 1))
    result = run(made if told else made.drop("known_at"), orders, account(), instruments=listed)
    assert result.fills.select("symbol", "reason").rows() == [("T", "open"), ("S", "open")]
