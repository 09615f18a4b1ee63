"""Every bar file of the shared data through cleaning: equities, crypto, forex, futures, options, at all timeframes.

The counts of the rules about time were checked by hand against the calendars and the files: each case says what they
are. Those of rules with thresholds are held by what they must find, and by a most.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time

import polars as pl
import pytest

from quant_assets.cleaned import CleanResult, clean
from quant_assets.cleaned.sessions import by_session
from resources.calendars import sessions
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA, PRICES
from resources.market_data.timeframes import INTRADAY

CALENDARS = {"equity": "XNYS", "index": "XNYS", "option": "XNYS", "future": "CMES", "crypto": "24/7",
             "cryptofuture": "24/7", "forex": "FX"}  # fmt: skip
FETCHED = datetime(2026, 6, 1, tzinfo=UTC)
LEFT_OUT = ("clock_error", "duplicate", "half_built", "out_of_session")
PLACING = (*LEFT_OUT, "missing_bar", "missing_session")
INFO = ("zero_volume",)

Dates = tuple[datetime, datetime]


@dataclass(frozen=True)
class Case:
    """A file; the findings about placing, by rule, and the most of all others; findings that must be among them."""

    file: str
    timeframe: str
    rows: int
    placing: dict[str, int]
    most: int = 0
    among: list[tuple[str, str, date]] = field(default_factory=list)
    only: Dates | None = None


def span(first: tuple[int, int, int], last: tuple[int, int, int]) -> Dates:
    return datetime(*first, tzinfo=UTC), datetime(*last, tzinfo=UTC)


CASES = [
    # FB was another company until 2005. The splits are found, as none are given; and March 2020 is no bad print.
    Case("equity_daily", "1d", 22_958, {"missing_session": 2464}, most=50, among=[
        ("unapplied_split", "AAPL", date(2000, 6, 21)), ("unapplied_split", "AAPL", date(2005, 2, 28)),
        ("unapplied_split", "AAPL", date(2014, 6, 9)), ("unapplied_split", "AAPL", date(2020, 8, 31)),
        ("unapplied_split", "IBM", date(1999, 5, 27)), ("jump", "SPY", date(2020, 3, 12)),
        ("jump", "FB", date(2013, 7, 25)),
    ]),
    # Missing: 11 September 2002 opened late, on 22 August 2013 Nasdaq stood still. Out of session: hours after one
    # o'clock on half days, 47 a symbol.
    Case("equity_hour", "1h", 81_574, {"missing_bar": 5, "out_of_session": 94}, most=60, among=[
        ("unapplied_split", "AAPL", date(2000, 6, 21)), ("unapplied_split", "AAPL", date(2005, 2, 28)),
        ("unapplied_split", "AAPL", date(2014, 6, 9)), ("unapplied_split", "AAPL", date(2020, 8, 31)),
        ("missing_bar", "AAPL", date(2013, 8, 22)), ("missing_bar", "SPY", date(2002, 9, 11)),
        ("jump", "SPY", date(2001, 9, 17)), ("jump", "SPY", date(2020, 3, 9)),
    ]),
    # Nine whole sessions of 390 minutes, and what was traded before and after hours.
    Case("equity_minute_trades", "1m", 9 * 390, {"out_of_session": 3632}, only=span((2013, 1, 1), (2020, 1, 1))),
    # Coinbase began with gaps, and the index has two days. 0.06 dollars was a glitch of its matching.
    Case("crypto_index_daily", "1d", 1361, {"missing_session": 41}, most=5,
         among=[("bad_print", "BTCUSD.coinbase.crypto", date(2017, 4, 15))]),
    # Coinbase stood still for seven hours on 4 April 2018.
    Case("crypto_index_minute_trades", "1m", 3 * 1440, {"missing_bar": 433}, only=span((2018, 1, 1), (2019, 1, 1)),
         among=[("missing_bar", "BTCUSD.coinbase.crypto", date(2018, 4, 4))]),
    Case("crypto_index_minute_trades", "1m", 5762, {"missing_bar": 31}, only=span((2022, 1, 1), (2027, 1, 1))),
    # The source cuts days at midnight UTC and has a row for two or three hours of Sunday; the pound fell on the
    # night of 23 June 2016. Coinbase's quotes of 2016 had gaps in the book, which its middle shows.
    Case("fx_cfd_crypto_daily_quotes", "1d", 13_487, {"missing_session": 281, "out_of_session": 2367}, most=30,
         among=[("jump", "GBPUSD.fxcm.forex", date(2016, 6, 23))]),
    # Holidays, and four days of December 2016.
    Case("fx_cfd_hour_quotes", "1h", 75_121, {"missing_bar": 682, "missing_session": 19},
         among=[("missing_bar", "EURUSD.oanda.forex", date(2016, 12, 13))]),
    # FXCM quotes on Sundays from three in the afternoon: two hours before the week begins.
    Case("fx_cfd_crypto_minute_quotes", "1m", 31_680, {"missing_bar": 634, "out_of_session": 177},
         only=span((2014, 5, 1), (2014, 6, 1))),
    # The source cuts days at midnight UTC: rows of Sundays. The later contracts did not trade every day.
    Case("futures_daily_trade", "1d", 282, {"missing_session": 91, "out_of_session": 12}),
    # The file has some days of each contract only.
    Case("futures_minute_trade", "1m", 372_325, {"missing_bar": 348_377, "missing_session": 222}, most=0),
    Case("options_daily_trade", "1d", 2717, {"missing_session": 145}, most=5),
    # At one or two cents a tick is a jump. Trades reported after the close.
    Case("options_minute_trades", "1m", 253_995, {"missing_bar": 231_940, "out_of_session": 12}, most=20),
]  # fmt: skip


def load(shared_data, case: Case) -> pl.DataFrame:
    """The file's rows with one symbol a contract and venue, its calendar, and prices: of quotes, the middle."""
    rows = pl.read_parquet(shared_data / "multi_asset" / f"{case.file}.parquet")
    if case.only:
        rows = rows.filter(pl.col("ts").is_between(*case.only))
    if "bid_open" in rows.columns:
        middle = [((pl.col(f"bid_{name}") + pl.col(f"ask_{name}")) / 2).alias(name) for name in PRICES]
        rows = rows.with_columns(*middle, volume=pl.lit(0.0)).drop_nulls("close")
    several = case.file.startswith(("crypto", "fx"))
    named = ("symbol", "venue", "asset_class") if several else ("symbol", "contract", "expiry", "strike", "right")
    wide = [name for name in named if name in rows.columns]
    return rows.with_columns(
        calendar=pl.col("asset_class").replace_strict(CALENDARS),
        symbol=pl.concat_str([pl.col(name).cast(pl.String) for name in wide], separator="."),
    )


def stamped(rows: pl.DataFrame) -> pl.DataFrame:
    """Daily rows at the open of the session of their date, as a provider gives them; as they are on other days."""
    local = {"XNYS": "America/New_York"}
    parts = []
    for (name,), part in rows.group_by("calendar"):
        day = pl.col("ts").dt.convert_time_zone(local.get(str(name), "UTC")).dt.date()
        held = sessions(str(name), date(1998, 1, 1), date(2022, 1, 1)).select("session", opens="open")
        joined = part.with_columns(session=day).join(held, on="session", how="left")
        parts.append(joined.with_columns(ts=pl.coalesce("opens", "ts")))
    return pl.concat(parts)


def cleaned(rows: pl.DataFrame, timeframe: str) -> CleanResult:
    fetched = pl.lit(FETCHED).cast(BAR_SCHEMA["ts"])
    known = pl.col("ts") + INTRADAY[timeframe] if timeframe in INTRADAY else pl.lit(None, BAR_SCHEMA["ts"])
    bars = (rows if timeframe in INTRADAY else stamped(rows)).with_columns(
        provider=pl.lit("files"), fetched_at=fetched, known_at=known
    )
    instruments = rows.select("symbol", "calendar").unique()
    given = bars.select(BAR_SCHEMA.names()).cast(dict(BAR_SCHEMA))
    return clean(given.lazy(), ACTION_SCHEMA.to_frame().lazy(), instruments, None, timeframe)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.file}-{case.only[0].year if case.only else 'all'}")
def test_findings_of_real_bars(case, shared_data):
    rows = load(shared_data, case)
    result = cleaned(rows, case.timeframe)
    findings = result.findings
    counts = dict(findings.group_by("rule").len().rows())
    assert {rule: counts[rule] for rule in PLACING if rule in counts} == case.placing
    lost = by_session(result.bars).filter(pl.col("flags").list.contains("missing_session"))
    assert lost.select(pl.len()).collect().item() == counts.get("missing_session", 0)
    assert result.bars.select(pl.len()).collect().item() == case.rows
    # Of intraday bars a lost session is no row: each of its slots is.
    filled = "missing_bar" if case.timeframe in INTRADAY else "missing_session"
    placed = {rule: count for rule, count in case.placing.items() if rule in (filled, *LEFT_OUT)}
    assert case.rows == rows.height + sum(count * (1 if rule == filled else -1) for rule, count in placed.items())
    others = {rule: count for rule, count in counts.items() if rule not in (*PLACING, *INFO)}
    assert sum(others.values()) <= case.most, others
    flagged = result.bars.filter(pl.col("symbol").is_in([symbol for _, symbol, _ in case.among])).explode("flags")
    assert set(case.among) <= set(flagged.select("flags", "symbol", "session").collect().rows())


def test_futures_halted_before_the_settlement(shared_data):
    """Until 2015 share index futures stood still from 15:15 to 15:30 in Chicago: fifteen slots a session without bar.

    Then they traded until 16:15, into the hour that the calendar counts as the break.
    """
    rows = load(shared_data, Case("futures_minute_trade", "1m", 0, {}, only=span((2013, 10, 6), (2013, 10, 10))))
    frame = cleaned(rows.filter(pl.col("contract") == "201312"), "1m").bars.collect()
    local = frame.with_columns(clock=pl.col("ts").dt.convert_time_zone("America/Chicago").dt.time())
    full = local.filter(pl.col("session").is_between(date(2013, 10, 8), date(2013, 10, 9)))
    quiet = full.filter(pl.col("clock").is_between(time(15, 15), time(15, 30), closed="left"))
    assert quiet.height == 30
    assert quiet["flags"].to_list() == [["missing_bar"]] * 30
    late = full.filter(pl.col("clock").is_between(time(16), time(17), closed="left"))
    assert late.group_by("session", maintain_order=True).len()["len"].to_list() == [15, 15]
    assert not late["flags"].list.contains("missing_bar").any()


def test_hours_put_together_are_the_vendors_sessions(shared_data):
    """But for the closing auction, which the vendor's hours leave out."""
    hours = load(shared_data, Case("equity_hour", "1h", 0, {}))
    ours = by_session(cleaned(hours, "1h").bars).collect()
    daily = pl.read_parquet(shared_data / "multi_asset" / "equity_daily.parquet").with_columns(session="local_date")
    both = ours.join(daily, on=["symbol", "session"], suffix="_vendor")
    assert both.height == ours.height == 2 * 5849
    for name in (*PRICES, "volume"):
        apart = both.select(((pl.col(name) / pl.col(f"{name}_vendor") - 1).abs() > 1e-3).mean()).item()
        assert apart < 0.005, name
