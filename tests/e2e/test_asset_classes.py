"""Equities, options, futures, crypto and forex: the real files, through the real graph, to cleaned data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from resources.calendars import session_date
from resources.lake import Lake
from tests.e2e.processes import Place

pytestmark = pytest.mark.slow

RUN = """
from quant_assets import launch
launch.partition("market_data/instruments")
launch.history({first!r}, {last!r}, {symbols!r})
for asset in {ticks!r}:
    launch.history({first!r}, {last!r}, {symbols!r}, assets=asset)
"""


@dataclass(frozen=True)
class Case:
    """A file of one class. `expected`: symbol, ts or session, close and volume from the file, by itself."""

    file: str
    asset_class: str
    calendar: str
    timeframe: str
    symbols: list[str]
    dates: tuple[date, date]
    terms: dict[str, Any]
    expected: Callable[[pl.LazyFrame], pl.LazyFrame]
    files: dict[str, str] = field(default_factory=dict)
    ticks: tuple[str, ...] = ()
    listed: str = ""
    """A list of instruments, where the file does not tell enough."""
    bars: int = 100
    """At least so many come through."""


def shares(raw: pl.LazyFrame) -> pl.LazyFrame:
    return raw.select("symbol", pl.col("local_date").alias("session"), "close", "volume")


def contracts(raw: pl.LazyFrame) -> pl.LazyFrame:
    """The file's days are those of UTC: what was traded on a Sunday evening is part of Monday's session."""
    name = pl.concat_str("symbol", "contract", separator=".")
    day = pl.col("ts").dt.date()
    monday = pl.when(day.dt.weekday() == 7).then(day.dt.offset_by("1d")).otherwise(day)
    dated = raw.sort("ts").select(name.alias("symbol"), monday.alias("session"), "close", "volume")
    return dated.group_by("symbol", "session").agg(pl.col("close").last(), pl.col("volume").sum())


def options(raw: pl.LazyFrame) -> pl.LazyFrame:
    strike = (pl.col("strike") * 1000).round().cast(pl.Int64).cast(pl.String).str.zfill(8)
    right = pl.col("right").str.head(1).str.to_uppercase()
    name = pl.concat_str("symbol", pl.col("expiry").dt.strftime("%y%m%d"), right, strike)
    local = pl.col("ts").dt.convert_time_zone("America/New_York").dt.date()
    return raw.select(name.alias("symbol"), local.alias("session"), "close", "volume")


def coins(raw: pl.LazyFrame) -> pl.LazyFrame:
    """Of the pair itself: the file has futures of the same name, too."""
    return raw.filter(~pl.col("asset_class").str.contains("future")).select("symbol", "ts", "close", "volume")


def pairs(raw: pl.LazyFrame) -> pl.LazyFrame:
    return raw.select("symbol", "ts", close=(pl.col("bid_close") + pl.col("ask_close")) / 2, volume=pl.lit(0.0))


CASES = {
    "equities": Case(
        *("equity_daily", "equity", "XNYS", "1d", ["AAPL", "SPY"], (date(2013, 1, 2), date(2014, 12, 31))),
        {"currency": "USD", "multiplier": 1.0},
        shares,
        files={"actions": "corporate_actions"},
    ),
    "equities by the minute": Case(
        *("equity_minute_trades", "equity", "XNYS", "1m", ["SPY"], (date(2013, 10, 7), date(2013, 10, 11))),
        {"multiplier": 1.0},
        coins,
        files={"trades": "ticks_trades"},
        ticks=("market_data/trades", "cleaned/tick_bars"),
    ),
    "options": Case(
        *("options_daily_trade", "option", "XNYS", "1d", ["AAPL160115C00100000"]),
        (date(2015, 1, 2), date(2015, 12, 31)),
        {"multiplier": 100.0, "underlying": "AAPL", "expiry": date(2016, 1, 15), "strike": 100.0, "right": "call"},
        options,
    ),
    "futures": Case(
        *("futures_daily_trade", "future", "CMES", "1d", ["ES.201312"], (date(2013, 9, 2), date(2013, 12, 20))),
        {"underlying": "ES", "multiplier": 50.0, "currency": "USD"},
        contracts,
        listed="symbol,asset_class,calendar,currency,multiplier,tick,expiry,underlying\n"
        "ES.201312,future,CMES,USD,50,0.25,2013-12-20,ES\n",
        bars=50,
    ),
    "crypto": Case(
        *("crypto_index_minute_trades", "crypto", "24/7", "1m", ["BTCUSDT"], (date(2022, 12, 12), date(2022, 12, 14))),
        {"multiplier": 1.0},
        coins,
    ),
    "forex": Case(
        *("fx_cfd_hour_quotes", "forex", "FX", "1h", ["EURUSD"], (date(2018, 3, 1), date(2018, 4, 30))),
        {"pip": 0.0001, "currency": "USD"},
        pairs,
    ),
}


@pytest.fixture
def place(tmp_path: Path) -> Callable[[Case, Path], Place]:
    def make(case: Case, data: Path) -> Place:
        listed = {"instruments": str(tmp_path / "listed.csv")} if case.listed else {}
        (tmp_path / "listed.csv").write_text(case.listed)
        config = {
            "name": "classes",
            "provider": {
                "name": "files",
                "path": str(data / f"{case.file}.parquet"),
                **listed,
                **{setting: str(data / f"{name}.parquet") for setting, name in case.files.items()},
            },
            "universe": {"symbols": case.symbols},
            "dates": {"start": case.dates[0], "end": case.dates[1]},
            "calendar": case.calendar,
            "timeframe": case.timeframe,
            "model": {"start": case.dates[0] + timedelta(days=1)},
            "strategies": [{"name": "moving_average_cross", "parameters": {"fast": 10, "slow": 50}}],
            "live": {"strategy": "moving_average_cross"},
        }
        (tmp_path / "classes.yaml").write_text(yaml.safe_dump(config))
        return Place(tmp_path / "home", tmp_path / "classes.yaml")

    return make


def held(lake: Lake, asset: tuple[str, str]) -> pl.LazyFrame:
    return lake.scan(asset, lake.partitions(asset))


@pytest.mark.parametrize("name", list(CASES))
def test_a_class_comes_through_to_cleaned_data(
    name: str, shared_data: Path, place: Callable[[Case, Path], Place]
) -> None:
    case = CASES[name]
    data = shared_data / "multi_asset"
    at = place(case, data)
    first, last = (day.strftime("%Y") for day in case.dates)
    done = at.python(RUN.format(first=first, last=last, symbols=case.symbols, ticks=case.ticks))
    assert done.returncode == 0, done.stderr[-3000:]

    lake = Lake(str(at.home / "lake"))
    instruments = lake.read(("market_data", "instruments"))
    assert instruments["symbol"].to_list() == sorted(case.symbols)
    assert instruments["asset_class"].unique().to_list() == [case.asset_class]
    for term, value in case.terms.items():
        assert instruments[term].unique().to_list() == [value], term

    cleaned = held(lake, ("cleaned", "bars"))
    real = cleaned.filter(
        ~pl.col("flags").list.contains("missing_session") & ~pl.col("flags").list.contains("missing_bar")
    )
    raw = case.expected(pl.scan_parquet(data / f"{case.file}.parquet")).filter(pl.col("symbol").is_in(case.symbols))
    key = "session" if "session" in raw.collect_schema() else "ts"
    both = real.join(raw, on=["symbol", key], how="left", suffix="_told").collect()
    assert both.height >= case.bars
    assert both["close_told"].null_count() == 0, "a bar that the file does not have"
    changed = both.filter((pl.col("close") - pl.col("close_told")).abs() > 1e-9 * pl.col("close_told"))
    assert changed.is_empty(), "raw closes are the file's"
    assert both.filter((pl.col("volume") - pl.col("volume_told")).abs() > 1e-9).is_empty()
    # Every row of the file in these dates is there, or a finding says why not.
    day = pl.col("session") if key == "session" else session_date(pl.col("ts"), case.calendar)
    wanted = raw.filter(day.is_between(*case.dates)).collect()
    lost = wanted.join(both, on=["symbol", key], how="anti").unique(["symbol", key])
    told = held(lake, ("cleaned", "findings")).filter(
        pl.col("rule").is_in(["out_of_session", "half_built", "duplicate"])
    )
    assert lost.height <= told.select(pl.len()).collect().item(), lost
    if case.asset_class == "equity" and case.timeframe == "1d":
        split = cleaned.filter(pl.col("split") != 1).select("symbol", "session", "split").collect().row(0)
        assert split[:2] == ("AAPL", date(2014, 6, 9))
        assert split[2] == pytest.approx(7.0, rel=1e-3)
    if case.ticks:
        agree = held(lake, ("cleaned", "tick_bars")).join(real, on=["symbol", "ts"], suffix="_told").collect()
        assert agree.height > 700
        same = agree.filter((pl.col("close") - pl.col("close_told")).abs() < 0.015)
        assert same.height > 0.97 * agree.height, "bars made of trades are the vendor's bars"
