"""The real files of ../shared/data/multi_asset, one class after the other, against the raw rows read another way."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.cleaned.clean import CleanResult, clean
from quant_assets.cleaned.ticks import faults
from resources.calendars import sessions
from resources.errors import NotOfferedError
from resources.market_data import Files
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA

FIRST, LAST = date(1998, 1, 1), date(2026, 2, 1)
LENGTHS = {"1m": timedelta(minutes=1), "1h": timedelta(hours=1)}
VALUES = ("open", "high", "low", "close", "volume")

TRADE_BARS = [pl.col(name) for name in VALUES]
QUOTE_BARS = [
    *[((pl.col(f"bid_{name}") + pl.col(f"ask_{name}")) / 2).alias(name) for name in VALUES[:4]],
    pl.lit(0.0).alias("volume"),
]
OCC = pl.concat_str(
    "symbol", pl.col("expiry").dt.strftime("%y%m%d"), pl.col("right").replace({"call": "C", "put": "P"}),
    (pl.col("strike") * 1000).round().cast(pl.Int64).cast(pl.String).str.pad_start(8, "0"),
)  # fmt: skip
BY_VENUE = pl.concat_str("symbol", pl.lit("."), pl.col("venue").str.to_uppercase())
PERPETUAL = pl.col("asset_class") == "cryptofuture"
COINS = (
    pl.when(PERPETUAL & (pl.col("symbol") == "BTCUSD"))
    .then(pl.concat_str("symbol", pl.lit(".P."), pl.col("venue").str.to_uppercase()))
    .when(PERPETUAL)
    .then(pl.concat_str("symbol", pl.lit(".P")))
)


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    found = shared_data / "multi_asset"
    if not found.is_dir():
        pytest.skip(f"no {found}")
    return found


def raw(path: Path, values: list[pl.Expr], name: pl.Expr) -> pl.DataFrame:
    """symbol, ts and values of a file's rows that have them all."""
    return pl.read_parquet(path).select(name.alias("symbol"), "ts", *values).drop_nulls().sort("symbol", "ts")


def bars(path: Path, timeframe: str, **settings: Any) -> pl.DataFrame:
    files = Files(path, **settings)
    return files.bars(files.symbols(), FIRST, LAST, timeframe).collect()


INTRADAY: dict[str, tuple[str, str, list[pl.Expr], pl.Expr, int]] = {
    "equity, hours": ("equity_hour", "1h", TRADE_BARS, pl.col("symbol"), 2),
    "equity, minutes": ("equity_minute_trades", "1m", TRADE_BARS, pl.col("symbol"), 2),
    "equity, minutes of quotes": ("equity_minute_quotes", "1m", QUOTE_BARS, pl.col("symbol"), 2),
    "options, minutes": ("options_minute_trades", "1m", TRADE_BARS, OCC, 1185),
    "futures, minutes": ("futures_minute_trade", "1m", TRADE_BARS, pl.concat_str("symbol", pl.lit("."), "contract"), 8),
    "crypto, minutes": ("crypto_index_minute_trades", "1m", TRADE_BARS, pl.coalesce(COINS, "symbol"), 6),
    "forex, hours": ("fx_cfd_hour_quotes", "1h", QUOTE_BARS, pl.col("symbol"), 1),
    "forex and crypto, minutes": (
        "fx_cfd_crypto_minute_quotes",
        "1m",
        QUOTE_BARS,
        pl.coalesce(COINS, pl.when(asset_class="forex").then(BY_VENUE), "symbol"),
        6,
    ),
}


@pytest.mark.parametrize(("file", "timeframe", "values", "name", "count"), INTRADAY.values(), ids=INTRADAY)
def test_intraday_bars_are_the_files_own(
    folder: Path, file: str, timeframe: str, values: list[pl.Expr], name: pl.Expr, count: int
) -> None:
    path = folder / f"{file}.parquet"
    frame = bars(path, timeframe)
    assert frame.schema == BAR_SCHEMA
    assert frame["symbol"].n_unique() == count
    assert_frame_equal(frame.select("symbol", "ts", *VALUES), raw(path, values, name), check_exact=True)
    assert (frame["known_at"] - frame["ts"]).unique().to_list() == [LENGTHS[timeframe]]
    other = "1m" if timeframe == "1h" else "1h"
    for wrong in (other, "1d"):
        with pytest.raises(NotOfferedError, match=f"timeframe {wrong} was asked for, but .* bars of {timeframe} "):
            bars(path, wrong)


# Daily files: the values, the name, the calendar, and how a stamp's date is read from it.

NEW_YORK = pl.col("ts").dt.convert_time_zone("America/New_York").dt.date()
UTC_DAY = pl.col("ts").dt.date()


def cleaned(files: Files, frame: pl.DataFrame) -> CleanResult:
    names = frame["symbol"].unique().to_list()
    result = clean(frame.lazy(), files.corporate_actions(names, FIRST, LAST), files.instruments(names))
    kept = result.bars.collect()
    there = frame.select("symbol", "ts")
    assert kept.join(there, on=["symbol", "ts"], how="semi").height == frame.height  # not one of them is lost
    added = kept.join(there, on=["symbol", "ts"], how="anti")
    assert added.filter(~pl.col("flags").list.contains("missing_session")).is_empty()
    assert result.findings.filter(
        pl.col("rule").is_in(["clock_error", "out_of_session", "half_built", "duplicate"])
    ).is_empty()
    return result


DAILY: dict[str, tuple[str, list[pl.Expr], pl.Expr, str, int]] = {
    "options": ("options_daily_trade", TRADE_BARS, OCC, "XNYS", 2572),
    "options, quotes": ("options_daily_quote", QUOTE_BARS, OCC, "XNYS", 4782 - 355),
    "equity": ("equity_daily", TRADE_BARS, pl.col("symbol"), "XNYS", 20494),
}


@pytest.mark.parametrize(("file", "values", "name", "calendar", "count"), DAILY.values(), ids=DAILY)
def test_daily_bars_of_an_exchange_are_at_its_sessions(
    folder: Path, file: str, values: list[pl.Expr], name: pl.Expr, calendar: str, count: int
) -> None:
    path = folder / f"{file}.parquet"
    files = Files(path, actions=folder / "corporate_actions.parquet")
    frame = files.bars(files.symbols(), FIRST, LAST).collect()
    assert frame.height == count
    known = sessions(calendar, FIRST, LAST).select("session", opening="open", known_at="close")
    expected = raw(path, [*values, NEW_YORK.alias("session")], name).drop("ts").join(known, on="session")
    assert_frame_equal(
        frame.select("symbol", *VALUES, ts="ts", known_at="known_at"),
        expected.select("symbol", *VALUES, ts="opening", known_at="known_at").sort("symbol", "ts"),
        check_exact=True,
    )
    cleaned(files, frame)


def folded(rows: pl.DataFrame, calendar: str) -> pl.DataFrame:
    """Rows by the first session of a calendar that is not before their UTC date, written without a join_asof."""
    days = sessions(calendar, FIRST, LAST)["session"].to_list()
    home = {day: next(session for session in days if session >= day) for day in rows["day"].unique()}
    return (
        rows.with_columns(session=pl.col("day").replace_strict(home, return_dtype=pl.Date))
        .sort("symbol", "ts")
        .group_by("symbol", "session")
        .agg(
            open=pl.col("open").first(), high=pl.col("high").max(), low=pl.col("low").min(),
            close=pl.col("close").last(), volume=pl.col("volume").sum(), over=pl.col("ts").max() + timedelta(days=1),
        )
        .sort("symbol", "session")
    )  # fmt: skip


ROUND_THE_CLOCK: dict[str, tuple[str, list[pl.Expr], pl.Expr, str, pl.Expr]] = {
    "futures": (
        "futures_daily_trade",
        TRADE_BARS,
        pl.concat_str("symbol", pl.lit("."), "contract"),
        "CMES",
        pl.lit(True),
    ),
    "futures, quotes": (
        "futures_daily_quote",
        QUOTE_BARS,
        pl.concat_str("symbol", pl.lit("."), "contract"),
        "CMES",
        pl.lit(True),
    ),
    "crypto": ("crypto_index_daily", TRADE_BARS, pl.col("symbol"), "24/7", pl.col("symbol") == "BTCUSD"),
    "crypto, quotes": (
        "fx_cfd_crypto_daily_quotes",
        QUOTE_BARS,
        pl.col("symbol"),
        "24/7",
        pl.col("symbol") == "BTCUSD",
    ),
    "forex": ("fx_cfd_crypto_daily_quotes", QUOTE_BARS, BY_VENUE, "FX", ~pl.col("symbol").str.starts_with("BTC")),
}


@pytest.mark.parametrize(("file", "values", "name", "calendar", "which"), ROUND_THE_CLOCK.values(), ids=ROUND_THE_CLOCK)
def test_daily_bars_round_the_clock_take_sundays_in_and_are_known_after_24_hours(
    folder: Path, file: str, values: list[pl.Expr], name: pl.Expr, calendar: str, which: pl.Expr
) -> None:
    files = Files(folder / f"{file}.parquet")
    # UTC-05 is five hours behind all year, so that the UTC date is the day's.
    rows = raw(folder / f"{file}.parquet", [*values, UTC_DAY.alias("day")], name).filter(which)
    expected = folded(rows, calendar).join(sessions(calendar, FIRST, LAST), on="session", maintain_order="left")
    names = rows["symbol"].unique().to_list()
    frame = files.bars(names, FIRST, LAST).collect()
    assert_frame_equal(
        frame.select("symbol", "ts", *VALUES, "known_at"),
        expected.select(
            "symbol", *VALUES, ts="open_right", known_at=pl.max_horizontal("over", "close_right")
        ).select("symbol", "ts", *VALUES, "known_at"),
        check_exact=True,
    )  # fmt: skip
    cleaned(files, frame)


def test_an_index_is_at_the_sessions_of_the_exchange(folder: Path) -> None:
    frame = bars(folder / "crypto_index_daily.parquet", "1d").filter(symbol="SPX")
    assert frame["ts"].to_list() == [datetime(2021, 1, day, 14, 30, tzinfo=UTC) for day in (4, 14)]


def test_the_splits_of_the_factor_files_are_applied(folder: Path) -> None:
    """The cleaned series equals the raw one times the files' own factors, which are of another hand."""
    path = folder / "equity_daily.parquet"
    files = Files(path, actions=folder / "corporate_actions.parquet")
    actions = files.corporate_actions(["AAPL"], FIRST, LAST).collect()
    assert actions.schema == ACTION_SCHEMA
    splits = actions.filter(kind="split").select(pl.col("ts").dt.date(), pl.col("value").round(3)).rows()
    assert splits == [
        (date(2000, 6, 21), 2.0), (date(2005, 2, 28), 2.0), (date(2014, 6, 9), 7.0), (date(2020, 8, 31), 4.0),
    ]  # fmt: skip
    result = cleaned(files, files.bars(["AAPL"], FIRST, LAST).collect())
    factors = pl.read_parquet(path).filter(symbol="AAPL").select(session="local_date", factor="split_factor")
    both = result.bars.filter(~pl.col("flags").list.contains("missing_session")).collect().join(factors, on="session")
    assert both.height == 5849
    # Ours begins at 1 and rises with each split; theirs ends at 1.
    ratio = both["split_factor"] / both["factor"] * both["factor"][0]
    assert (ratio - 1).abs().max() < 1e-4


def test_quotes_of_shares_are_the_files_own_with_empty_sides_null(folder: Path) -> None:
    path = folder / "ticks_quotes.parquet"
    files = Files(folder / "equity_daily.parquet", quotes=path, trades=folder / "ticks_trades.parquet")
    start, end = datetime(2013, 10, 7, 13, 30, tzinfo=UTC), datetime(2013, 10, 7, 15, tzinfo=UTC)
    frame = files.quotes(["IBM"], start, end).collect()
    rows = pl.read_parquet(path).filter(pl.col("ts") >= start, pl.col("ts") < end, pl.col("suspicious") == "0")
    assert frame.height == rows.height > 10_000
    assert frame["bid"].null_count() == (rows["bid"] == 0).sum() > 0
    assert frame["ask"].null_count() == (rows["ask"] == 0).sum() > 0
    for side in ("bid", "ask"):
        assert frame[side].drop_nulls().to_list() == rows.filter(pl.col(side) > 0)[side].to_list()
        assert frame[f"{side}_size"].sum() == rows[f"{side}_size"].sum()
    assert set(faults(frame.lazy(), files.instruments(["IBM"]))["rule"]) <= {"crossed"}


def test_trades_of_shares_are_the_files_own(folder: Path) -> None:
    path = folder / "ticks_trades.parquet"
    files = Files(folder / "equity_daily.parquet", trades=path)
    start, end = datetime(2013, 10, 8, 13, 30, tzinfo=UTC), datetime(2013, 10, 8, 14, tzinfo=UTC)
    frame = files.trades(["SPY"], start, end).collect()
    rows = pl.read_parquet(path).filter(pl.col("ts") >= start, pl.col("ts") < end)
    assert frame.height == rows.height > 10_000
    assert_frame_equal(frame.select("ts", "price", "size"), rows.select("ts", "price", "size"), check_exact=True)
    assert frame["side"].null_count() == frame.height


def test_ticks_of_coins_are_the_files_own(folder: Path) -> None:
    files = Files(
        folder / "crypto_index_daily.parquet", quotes=folder / "ticks_btcusdt_quotes.parquet",
        trades=folder / "ticks_btcusdt_trades.parquet",
    )  # fmt: skip
    start, end = datetime(2021, 1, 8, tzinfo=UTC), datetime(2021, 1, 9, tzinfo=UTC)
    trades = files.trades(["BTCUSDT"], start, end).collect()
    rows = pl.read_parquet(folder / "ticks_btcusdt_trades.parquet")
    assert_frame_equal(trades.select("ts", "price", "size"), rows.select("ts", "price", "size"), check_exact=True)
    assert (trades["side"] == "sell").sum() == rows["buyer_is_maker"].sum() > 0
    assert trades["trade_id"].to_list() == rows["trade_id"].cast(pl.String).to_list()
    quotes = files.quotes(["BTCUSDT"], start, end).collect()
    sides = ("ts", "bid", "bid_size", "ask", "ask_size")
    expected = pl.read_parquet(folder / "ticks_btcusdt_quotes.parquet").select(sides)
    assert_frame_equal(quotes.select(sides), expected, check_exact=True)


def test_the_chain_of_a_day_is_that_of_the_universe_file(folder: Path) -> None:
    """The options quoted on a day are those that another file lists on the evening before."""
    on = date(2014, 6, 6)
    chain = Files(folder / "options_daily_quote.parquet").option_chain("AAPL", on)
    universe = pl.read_parquet(folder / "option_chain_universe.parquet").filter(pl.col("expiry").is_not_null())
    listed = universe.filter(date=date(2014, 6, 5)).with_columns(pl.col("right").replace({"C": "call", "P": "put"}))
    key = ("expiry", "strike", "right")
    assert chain.height == 2352
    assert_frame_equal(chain.select(key), listed.select(key).sort(key), check_exact=True)
    assert chain.select("underlying", "multiplier", "currency").unique().rows() == [("AAPL", 100.0, "USD")]
    assert chain["expiry"].min() == on


def test_the_futures_of_a_day_need_a_list_with_their_expiries(folder: Path, tmp_path: Path) -> None:
    path = folder / "futures_daily_trade.parquet"
    with pytest.raises(NotOfferedError, match=r"has no expiry\. Give a list"):
        Files(path).futures("ES", date(2013, 10, 8))
    days = {"201312": "2013-12-20", "201403": "2014-03-21", "201406": "2014-06-20", "201409": "2014-09-19",
            "201412": "2014-12-19", "202003": "2020-03-20", "202006": "2020-06-19", "202009": "2020-09-18"}  # fmt: skip
    lines = [f"ES.{month},future,{day},50,0.25,USD\n" for month, day in days.items()]
    (tmp_path / "list.csv").write_text("symbol,asset_class,expiry,multiplier,tick,currency\n" + "".join(lines))
    files = Files(path, instruments=tmp_path / "list.csv")
    months = [f"ES.{month}" for month in ("201312", "201403", "201406", "201409", "201412")]
    assert files.futures("ES", date(2013, 12, 20))["symbol"].to_list() == months
    assert files.futures("ES", date(2014, 1, 2))["symbol"].to_list() == months[1:]
