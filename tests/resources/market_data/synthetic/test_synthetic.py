"""The synthetic market: seeded, the same from any side it is asked, and one story on all scales."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from resources.config import ExcludedRow
from resources.errors import NoDataError, NotOfferedError, UnknownSymbolError
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA, INSTRUMENT_SCHEMA
from resources.market_data.synthetic.paths import REGIMES, market
from resources.market_data.synthetic.provider import BOOK_SCHEMA, Synthetic
from resources.market_data.ticks import QUOTE_SCHEMA, TRADE_SCHEMA

NOW = datetime(2021, 6, 1, 12, tzinfo=UTC)
FIRST, LAST = date(2020, 3, 2), date(2020, 3, 31)
DAY, NEXT = datetime(2020, 3, 9, tzinfo=UTC), datetime(2020, 3, 10, tzinfo=UTC)
NAMES = [f"SYN{number:04d}" for number in range(1, 31)]


def synthetic(seed: int = 7) -> Synthetic:
    return Synthetic(seed, ticks=500, clock=lambda: NOW)


def prices(*symbols: str, first: date = FIRST, last: date = LAST, seed: int = 7, timeframe: str = "1d") -> pl.DataFrame:
    return synthetic(seed).bars(symbols, first, last, timeframe).collect()


def test_the_same_seed_gives_the_same_market() -> None:
    assert_frame_equal(prices("SYN0001"), prices("SYN0001"))
    assert not prices("SYN0001").equals(prices("SYN0001", seed=8))
    assert prices("SYN0001")["close"].to_list() != prices("SYN0002")["close"].to_list()


def test_a_share_is_the_same_in_any_company_and_any_range() -> None:
    alone = prices("SYN0003")
    among = prices("SYN0002", "SYN0003", last=date(2021, 5, 28))
    held = among.filter((pl.col("symbol") == "SYN0003") & (pl.col("ts") < datetime(2020, 4, 1, tzinfo=UTC)))
    assert_frame_equal(alone, held)


def test_bars_of_thirty_years_look_like_a_market() -> None:
    frame = prices(*NAMES, first=date(1990, 1, 2), last=date(2020, 12, 31))
    assert frame.schema == BAR_SCHEMA
    assert 1.0 < frame["close"].median() < 400.0  # type: ignore[operator]
    actions = synthetic().corporate_actions(NAMES, date(1990, 1, 2), date(2020, 12, 31)).collect()
    assert actions.schema == ACTION_SCHEMA
    counts = dict(actions.group_by("kind").len().iter_rows())
    assert counts["dividend"] > 500
    assert counts["split"] > 10
    splits = actions.filter(pl.col("kind") == "split").select("symbol", "ts", split="value")
    grown = frame.join(splits, on=["symbol", "ts"], how="left").with_columns(
        move=(pl.col("close") * pl.col("split").fill_null(1.0) / pl.col("close").shift()).log().over("symbol")
    )
    # A crash of the market is in every share, a split in none: no move is larger than a jump on a bad day.
    assert grown["move"].abs().max() < 0.6  # type: ignore[operator]
    wide = grown.filter(pl.col("ts") > datetime(2012, 1, 1, tzinfo=UTC)).pivot("symbol", index="ts", values="move")
    assert wide.select(pl.corr("SYN0001", "SYN0002")).item() > 0.1


def test_regimes_come_and_go() -> None:
    regimes, moves = market(7, 8_000)
    assert set(regimes.tolist()) == {0, 1, 2}
    assert (regimes[1:] == regimes[:-1]).mean() > 0.9
    spread = [moves[regimes == regime].std() for regime in range(3)]
    assert spread == sorted(spread)
    assert spread[0] == pytest.approx(REGIMES[0][1], rel=0.1)


@pytest.mark.parametrize(("timeframe", "bars"), [("1m", 390), ("5m", 78), ("30m", 13), ("1h", 7), ("4h", 2)])
def test_intraday_bars_add_up_to_the_session(timeframe: str, bars: int) -> None:
    fine = prices("SYN0001", "SYN0002", timeframe=timeframe)
    whole = fine.group_by("symbol", day=pl.col("ts").dt.date(), maintain_order=True).agg(
        pl.col("open").first(), pl.col("high").max(), pl.col("low").min(), pl.col("close").last(),
        pl.col("volume").sum(), count=pl.len(),
    )  # fmt: skip
    names = ["open", "high", "low", "close", "volume"]
    assert_frame_equal(whole.select(names), prices("SYN0001", "SYN0002").select(names))
    assert set(whole["count"]) == {bars}


def test_a_half_day_has_fewer_minutes() -> None:
    eve = date(2020, 12, 24)
    assert prices("SYN0001", first=eve, last=eve, timeframe="1m").height == 210


def test_trades_and_quotes_lie_within_the_session() -> None:
    [bar] = prices("SYN0001", first=DAY.date(), last=DAY.date()).to_dicts()
    trades = synthetic().trades(["SYN0001"], DAY, NEXT).collect()
    quotes = synthetic().quotes(["SYN0001"], DAY, NEXT).collect()
    assert (trades.schema, quotes.schema) == (TRADE_SCHEMA, QUOTE_SCHEMA)
    assert trades.height == quotes.height == 500
    assert trades["ts"].is_between(bar["ts"], bar["known_at"]).all()
    assert trades["price"].is_between(bar["low"], bar["high"]).all()
    assert (quotes["bid"] < quotes["ask"]).all()
    assert trades["trade_id"].n_unique() == 500


def test_ticks_are_cut_at_the_instants_asked() -> None:
    noon = DAY + timedelta(hours=16)
    early = synthetic().trades(["SYN0001"], DAY, noon).collect()
    late = synthetic().trades(["SYN0001"], noon, NEXT).collect()
    assert early["ts"].max() < noon <= late["ts"].min()  # type: ignore[operator]
    assert_frame_equal(pl.concat([early, late]), synthetic().trades(["SYN0001"], DAY, NEXT).collect())


def test_a_book_is_ordered_and_does_not_cross() -> None:
    book = synthetic().order_book(["SYN0001"], DAY, NEXT, levels=4).collect()
    assert book.schema == BOOK_SCHEMA
    assert book.height == 390 * 2 * 4
    best = book.filter(pl.col("level") == 1).pivot("side", index="ts", values="price")
    assert (best["bid"] < best["ask"]).all()
    steps = book.sort("ts", "side", "level").group_by("ts", "side").agg(pl.col("price").diff().drop_nulls())
    assert all(step < 0 for prices in steps.filter(pl.col("side") == "bid")["price"] for step in prices)
    assert all(step > 0 for prices in steps.filter(pl.col("side") == "ask")["price"] for step in prices)


def test_what_is_still_trading_is_not_there_yet() -> None:
    during = Synthetic(7, clock=lambda: datetime(2020, 3, 31, 18, tzinfo=UTC))
    assert during.bars(["SYN0001"], FIRST, LAST).collect()["ts"].max() == datetime(2020, 3, 30, 13, 30, tzinfo=UTC)


@pytest.mark.parametrize("timeframe", ["1d", "1h", "1m"])
def test_excluded_bars_are_left_out(timeframe: str) -> None:
    left_out = ExcludedRow(symbol="SYN0001", session=date(2020, 3, 9), reason="a test")
    without = Synthetic(7, exclude=[left_out], clock=lambda: NOW).bars(["SYN0001"], FIRST, LAST, timeframe)
    held = prices("SYN0001", timeframe=timeframe)
    assert_frame_equal(without.collect(), held.filter(pl.col("ts").dt.date() != date(2020, 3, 9)))


def test_instruments_say_when_a_share_was_listed() -> None:
    frame = synthetic().instruments(NAMES)
    assert frame.schema == INSTRUMENT_SCHEMA
    late = frame.filter(pl.col("listed") > date(1995, 1, 1)).row(0, named=True)
    first = prices(late["symbol"], first=date(1990, 1, 2), last=date(2020, 12, 31))["ts"][0]
    assert first.date() == late["listed"]


def test_what_it_has_not_it_says() -> None:
    with pytest.raises(UnknownSymbolError, match="synthetic has no AAPL; its shares are SYN and four digits"):
        prices("AAPL")
    with pytest.raises(NoDataError, match="sessions of XNYS from 1990-01-02 on"):
        prices("SYN0001", first=date(1980, 1, 2), last=date(1980, 12, 31))
    with pytest.raises(NotOfferedError, match="'2h'; it has 1m"):
        prices("SYN0001", timeframe="2h")
    with pytest.raises(NotOfferedError, match="synthetic has no futures"):
        synthetic().futures("ES", LAST)
