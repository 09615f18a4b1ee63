"""Bars from trades as they come: those of the whole, whatever the order, and told again when they change."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.cleaned.aggregate import bars_of_trades
from resources.calendars import UTC_MICROS
from resources.errors import ConfigError
from resources.market_data.base import utc_now
from resources.market_data.ticks import trades as checked_trades
from resources.streams.aggregation import BarMaker, Before, bars_of
from resources.streams.base import Bar, Event, Lost, Repaired, Trade
from resources.streams.repair import EPOCH

MINUTE = 60_000_000


def trade(seconds: float, price: float, size: float = 1.0, number: int = 0, symbol: str = "A") -> Trade:
    return Trade(symbol, int(seconds * 1e6), price, size, sequence=number)


def lost(since: float, until: float) -> Lost:
    return Lost("A", int(since * 1e6), "trade", int(until * 1e6), None, "disconnected")


def repaired(since: float, until: float, error: str = "") -> Repaired:
    return Repaired("A", int(since * 1e6), "trade", int(until * 1e6), 0, None, error)


def test_a_bar_is_told_when_the_next_begins() -> None:
    maker = BarMaker("1m")
    assert maker.add([trade(1, 10.0, 2.0), trade(30, 12.0, 3.0), trade(40, 9.0), trade(59.999999, 11.0)]) == []
    assert maker.add([trade(60, 11.5)]) == [Bar("A", 0, 10.0, 12.0, 9.0, 11.0, 7.0, "1m", 4)]


def test_a_bar_is_told_when_its_time_is_over() -> None:
    maker = BarMaker("5m")
    maker.add([trade(1, 10.0), trade(1, 20.0, symbol="B")])
    assert maker.until(299_999_999) == []
    assert [(bar.symbol, bar.open) for bar in maker.until(300_000_000)] == [("A", 10.0), ("B", 20.0)]
    assert maker.until(900_000_000) == []
    assert maker.add([trade(901, 11.0)]) == []
    assert [bar.ts for bar in maker.add([trade(1201, 12.0)])] == [900_000_000]


TOLD_AGAIN = [  # what comes after the bar of the first minute (a trade at 10 and one at 12) was told, and its revisions
    ("a late trade within", [trade(30, 15.0)], [(1, 10.0, 15.0, 10.0, 12.0, True)]),
    ("a late first", [trade(1, 9.0)], [(1, 9.0, 12.0, 9.0, 12.0, True)]),
    ("a late last", [trade(59, 8.0)], [(1, 10.0, 12.0, 8.0, 8.0, True)]),
    ("two at once are one revision", [trade(1, 9.0), trade(59, 8.0)], [(1, 9.0, 12.0, 8.0, 8.0, True)]),
    ("a loss of its time", [lost(50, 61)], []),
    ("a loss repaired with nothing", [lost(50, 61), repaired(50, 61)], []),
    ("a loss that grew", [lost(50, 61), lost(50, 70), trade(55, 13.0), repaired(50, 70)],
     [(1, 10.0, 13.0, 10.0, 13.0, True)]),
    ("a loss given up", [lost(50, 61), repaired(50, 61, "no")], [(1, 10.0, 12.0, 10.0, 12.0, False)]),
    ("a loss of another time", [lost(60, 61), repaired(60, 61, "no")], []),
]  # fmt: skip


@pytest.mark.parametrize(
    ("events", "revisions"), [case[1:] for case in TOLD_AGAIN], ids=[case[0] for case in TOLD_AGAIN]
)
def test_a_bar_is_told_again(events: list[Event], revisions: list[tuple[object, ...]]) -> None:
    maker = BarMaker("1m")
    assert len(maker.add([trade(10, 10.0), trade(50, 12.0), trade(60, 11.0)])) == 1
    told = maker.add(events)
    assert [(bar.revision, *bar[2:6], bar.complete) for bar in told] == revisions


def test_a_bar_in_a_gap_is_incomplete_until_the_repair_and_is_told_once_for_it() -> None:
    maker = BarMaker("1m")
    maker.add([trade(10, 10.0), lost(10, 130)])
    (first,) = maker.add([trade(125, 20.0)])
    assert (first.ts, first.complete, first.revision) == (0, False, 0)
    assert maker.add([trade(30, 11.0), trade(70, 12.0)]) == []  # more may come
    told = maker.add([trade(80, 13.0), repaired(10, 130)])
    assert [(bar.ts, bar.close, bar.complete, bar.revision) for bar in told] == [
        (0, 11.0, True, 1), (MINUTE, 13.0, True, 0)
    ]  # fmt: skip
    (third,) = maker.until(3 * MINUTE)
    assert (third.open, third.complete) == (20.0, True)


def test_trades_of_one_instant_stand_in_the_order_of_their_numbers() -> None:
    (bar,) = bars_of([trade(1, 10.0, number=2), trade(1, 12.0, number=3), trade(1, 9.0, number=1)])
    assert (bar.open, bar.close) == (9.0, 12.0)


def test_what_comes_after_a_bar_was_let_go_is_counted() -> None:
    maker = BarMaker("1m", keep_seconds=60)
    maker.add([trade(1, 10.0), trade(301, 10.0)])
    assert maker.add([trade(2, 99.0)]) == []
    assert maker.too_late == {"A": 1}


def test_a_gap_that_ends_where_bars_were_let_go_names_those_bars() -> None:
    maker = BarMaker("1m", keep_seconds=60)
    maker.add([trade(1, 10.0), trade(301, 10.0)])
    maker.add([lost(70, 130), repaired(70, 130)])
    assert maker.past == {("A", MINUTE), ("A", 2 * MINUTE)}
    maker.add([lost(0, 300), repaired(0, 300, "refused")])
    assert maker.past == {("A", MINUTE * at) for at in range(4)}


def test_a_gap_that_grew_is_one_even_where_the_clock_went_back() -> None:
    maker = BarMaker("1m")
    maker.resume("A", Before(0, 50_000_000, [], [(50_000_000, 90_000_000, True)]))
    assert maker.add([lost(50, 80), trade(85, 10.0), repaired(50, 80)]) == []
    (bar,) = maker.until(120_000_000)
    assert bar.complete


def test_what_is_missing_is_waited_for_however_long_it_takes() -> None:
    maker = BarMaker("1m", keep_seconds=60)
    maker.add([trade(1, 10.0), lost(1, 8000), trade(8001, 10.0)])
    told = maker.add([trade(30, 11.0), trade(4000, 12.0), repaired(1, 8000)])
    assert [(bar.ts, bar.close, bar.complete) for bar in told] == [
        (0, 11.0, True), (3960_000_000, 12.0, True)
    ]  # fmt: skip
    assert not maker.too_late


def came(at: float, *trades: Trade) -> list[Trade]:
    return [one._replace(received=int(at * 1e6)) for one in trades]


@pytest.mark.parametrize("ahead", [90, 4000, 86_400], ids=lambda ahead: f"{ahead} s")
def test_a_stamp_of_the_future_ends_no_bar_and_makes_nothing_too_late(ahead: float) -> None:
    maker = BarMaker("1m")
    told = maker.add([*came(10, trade(10, 10.0)), *came(20, trade(20 + ahead, 99.0)), *came(30, trade(30, 12.0))])
    told += maker.until(50_000_000)
    assert told == []
    for minute in range(1, 5):
        told += maker.add(came(60 * minute, trade(60 * minute, 11.0)))
    honest = [bar for bar in told if bar.high < 99]
    assert (honest[0].ts, honest[0].trades) == (0, 2)
    assert all(bar.revision == 0 for bar in told)
    assert not maker.too_late
    told = maker.until(int((ahead + 120) * 1e6))
    assert ahead < 100 or told[-1][:3] == ("A", int((20 + ahead) // 60) * MINUTE, 99.0)


def test_a_clock_that_is_ahead_of_ours_makes_bars_no_worse() -> None:
    maker, told = BarMaker("1m"), list[Bar]()
    for at in range(0, 600, 20):
        told += maker.add(came(at, trade(at + 180, 10.0 + at)))
    told += maker.until(800_000_000)
    assert [(bar.ts // MINUTE, bar.trades, bar.revision) for bar in told] == [(minute, 3, 0) for minute in range(3, 13)]


def test_of_two_gaps_of_one_instant_each_is_for_itself() -> None:
    maker = BarMaker("1m")
    maker.add([trade(10, 10.0), trade(50, 12.0)])
    hole = lost(10, 10)._replace(events=2, reason="sequence")
    other = hole._replace(until=50_000_000)
    (bar,) = maker.add([hole, hole, other, trade(60, 11.0)])
    assert not bar.complete
    for done in (repaired(10, 50), repaired(10, 10)):
        assert maker.add([done]) == []
    (bar,) = maker.add([repaired(10, 10)])
    assert (bar.complete, bar.revision) == (True, 1)


@pytest.mark.parametrize("timeframe", ["1d", "4h", "2m"])
def test_other_timeframes_are_refused(timeframe: str) -> None:
    with pytest.raises(ConfigError, match="use 1m, 5m, 15m, 30m or 1h"):
        BarMaker(timeframe)


ROWS = st.lists(
    st.tuples(
        st.sampled_from("AB"),
        st.integers(0, 20 * MINUTE),
        st.integers(1, 10_000).map(lambda cents: cents / 100),
        st.integers(1, 10**9).map(lambda size: size / 1000),
    ),
    min_size=1,
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(ROWS, st.randoms(use_true_random=False), st.integers(1, 7))
def test_the_bars_are_those_of_the_whole_in_any_order_and_any_batches(
    rows: list[tuple[str, int, float, float]], shuffle: object, size: int
) -> None:
    """Held against the bars that cleaning makes of the same trades, which come by another road."""
    rows.sort(key=lambda row: row[1])
    numbered = [Trade(*row, sequence=number) for number, row in enumerate(rows, 1)]
    frame = pl.DataFrame(
        [(*row, None, str(number)) for number, row in enumerate(rows, 1)],
        schema=["symbol", "ts", "price", "size", "side", "trade_id"],
        orient="row",
    ).with_columns(pl.from_epoch("ts", "us").dt.replace_time_zone("UTC").cast(UTC_MICROS), side=pl.lit(None, pl.String))
    whole = bars_of_trades(checked_trades(frame.lazy(), provider="x", fetched_at=utc_now(), source="x"), "1m").collect()
    theirs = {
        (row["symbol"], row["ts"]): (row["open"], row["high"], row["low"], row["close"], pytest.approx(row["volume"]))
        for row in whole.iter_rows(named=True)
    }
    shuffle.shuffle(numbered)  # type: ignore[attr-defined]
    maker = BarMaker("1m")
    told = [bar for at in range(0, len(numbered), size) for bar in maker.add(numbered[at : at + size])]
    told += maker.until(30 * MINUTE)
    ours = {(bar.symbol, EPOCH + timedelta(microseconds=bar.ts)): bar[2:7] for bar in told}
    assert ours == theirs
    revisions: dict[tuple[str, int], int] = {}
    for bar in told:
        assert bar.revision == revisions.get((bar.symbol, bar.ts), -1) + 1
        revisions[bar.symbol, bar.ts] = bar.revision


def test_volumes_do_not_depend_on_the_order_of_their_sum() -> None:
    sizes = [0.1] * 10 + [1e9, 0.3, 1e-9]
    there = [trade(at, 1.0, size) for at, size in enumerate(sizes)]
    assert bars_of(there)[0].volume == bars_of(there[::-1])[0].volume == 1_000_000_001.300000001


def test_a_bar_of_a_time_that_nobody_followed_is_not_complete_unless_it_is_repaired() -> None:
    minute, half = 60_000_000, 30_000_000
    maker = BarMaker("1m")

    def said(at: int) -> Trade:
        return Trade("AAPL", at, 10.0, 1.0, received=at)

    def told(bars: list[Bar]) -> list[tuple[int, int, bool]]:
        return [(bar.ts // minute, bar.trades, bar.complete) for bar in bars]

    assert maker.unfollowed("AAPL", 0, minute + half - 1) == []
    assert told(maker.add([said(half), said(minute + half), said(2 * minute), said(3 * minute)])) == [
        (0, 1, False), (1, 1, False), (2, 1, True),
    ]  # fmt: skip
    assert maker.add([Lost("AAPL", minute, "trade", 2 * minute, None, "disconnected")]) == []
    again = [said(minute)._replace(repaired=True), Repaired("AAPL", minute, "trade", 2 * minute, 1, None)]
    assert told(maker.add(again)) == [(1, 2, True)], "what was missed before it is still so"
    assert told(maker.unfollowed("AAPL", 2 * minute + half, 3 * minute - 1)) == [(2, 1, False)]
    assert told(maker.add([Repaired("AAPL", 0, "trade", minute - 1, 0, None)])) == [], "nobody told it as lost"
