"""Bars shorter than a session: where each belongs, what fills the rest, and which rules look at it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from quant_assets.cleaned import CLEANED_SCHEMA, CleanResult, clean
from quant_assets.cleaned.sessions import by_session
from resources.calendars import sessions
from resources.config import CleaningSettings
from resources.errors import BarSchemaError, ConfigError
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA, PRICES
from resources.market_data.timeframes import INTRADAY

FETCHED = datetime(2030, 1, 1, tzinfo=UTC)
VENUES = {"NY": "XNYS", "LON": "XLON", "ES": "CMES", "BTC": "24/7", "EUR": "24/5", "FX": "FX", "HK": "XHKG"}
INSTRUMENTS = pl.DataFrame({"symbol": list(VENUES), "calendar": list(VENUES.values())})


def at(*when: int) -> datetime:
    return datetime(*when, tzinfo=UTC)  # type: ignore[arg-type, misc]


Row = tuple[datetime, float] | tuple[datetime, float, float]


def bars(*rows: Row, symbol: str = "NY", timeframe: str = "1h", fetched: datetime = FETCHED) -> pl.DataFrame:
    """Bars that open at their close (or are given both), a little wider, with a volume that does not repeat."""
    stamps = [row[0] for row in rows]
    opens, closes = [row[1] for row in rows], [row[-1] for row in rows]
    return pl.DataFrame(
        {
            "symbol": [symbol] * len(rows),
            "ts": stamps,
            "open": opens,
            "high": [max(pair) * 1.001 for pair in zip(opens, closes, strict=True)],
            "low": [min(pair) * 0.999 for pair in zip(opens, closes, strict=True)],
            "close": closes,
            "volume": [1000.0 + i for i in range(len(rows))],
            "provider": ["test"] * len(rows),
            "fetched_at": [fetched] * len(rows),
            "known_at": [stamp + INTRADAY[timeframe] for stamp in stamps],
        },
        schema=BAR_SCHEMA,
    )


def cleaned(given: pl.DataFrame, timeframe: str = "1h", acted: pl.DataFrame | None = None, **settings) -> CleanResult:
    acted = ACTION_SCHEMA.to_frame() if acted is None else acted
    return clean(given.lazy(), acted.lazy(), INSTRUMENTS, CleaningSettings.model_validate(settings), timeframe)


def told(result: CleanResult) -> list[tuple[str, datetime]]:
    return result.findings.select("rule", "ts").rows()


# --- slots ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Grid:
    """From a first bar to a last: the sessions, how many slots each has, and where its first slot begins."""

    name: str
    symbol: str
    timeframe: str
    first: datetime
    last: datetime
    slots: list[tuple[date, datetime, int]]


GRIDS = [
    # New York: 9:30 to 16:00. The clock goes forward on 9 March 2014, and back on 2 November.
    Grid("forward, minutes", "NY", "1m", at(2014, 3, 7, 20, 59), at(2014, 3, 10, 13, 31),
         [(date(2014, 3, 7), at(2014, 3, 7, 20, 59), 1), (date(2014, 3, 10), at(2014, 3, 10, 13, 30), 2)]),
    Grid("forward, half hours", "NY", "30m", at(2014, 3, 7, 14, 30), at(2014, 3, 10, 19, 30),
         [(date(2014, 3, 7), at(2014, 3, 7, 14, 30), 13), (date(2014, 3, 10), at(2014, 3, 10, 13, 30), 13)]),
    Grid("forward, hours from :30", "NY", "1h", at(2014, 3, 7, 14, 30), at(2014, 3, 10, 19, 30),
         [(date(2014, 3, 7), at(2014, 3, 7, 14, 30), 7), (date(2014, 3, 10), at(2014, 3, 10, 13, 30), 7)]),
    Grid("forward, hours from :00", "NY", "1h", at(2014, 3, 7, 14), at(2014, 3, 10, 19),
         [(date(2014, 3, 7), at(2014, 3, 7, 14), 7), (date(2014, 3, 10), at(2014, 3, 10, 13), 7)]),
    Grid("back, minutes", "NY", "1m", at(2014, 10, 31, 19, 59), at(2014, 11, 3, 14, 31),
         [(date(2014, 10, 31), at(2014, 10, 31, 19, 59), 1), (date(2014, 11, 3), at(2014, 11, 3, 14, 30), 2)]),
    Grid("back, half hours", "NY", "30m", at(2014, 10, 31, 13, 30), at(2014, 11, 3, 20, 30),
         [(date(2014, 10, 31), at(2014, 10, 31, 13, 30), 13), (date(2014, 11, 3), at(2014, 11, 3, 14, 30), 13)]),
    Grid("back, hours from :30", "NY", "1h", at(2014, 10, 31, 13, 30), at(2014, 11, 3, 20, 30),
         [(date(2014, 10, 31), at(2014, 10, 31, 13, 30), 7), (date(2014, 11, 3), at(2014, 11, 3, 14, 30), 7)]),
    Grid("back, four hours", "NY", "4h", at(2014, 10, 31, 12), at(2014, 11, 3, 17),
         [(date(2014, 10, 31), at(2014, 10, 31, 12), 2), (date(2014, 11, 3), at(2014, 11, 3, 13), 2)]),
    Grid("half day, minutes", "NY", "1m", at(2014, 11, 28, 14, 30), at(2014, 12, 1, 14, 30),
         [(date(2014, 11, 28), at(2014, 11, 28, 14, 30), 210), (date(2014, 12, 1), at(2014, 12, 1, 14, 30), 1)]),
    Grid("half day, half hours", "NY", "30m", at(2014, 11, 28, 14, 30), at(2014, 12, 1, 14, 30),
         [(date(2014, 11, 28), at(2014, 11, 28, 14, 30), 7), (date(2014, 12, 1), at(2014, 12, 1, 14, 30), 1)]),
    Grid("half day, hours from :30", "NY", "1h", at(2014, 11, 26, 20, 30), at(2014, 12, 1, 14, 30),
         [(date(2014, 11, 26), at(2014, 11, 26, 20, 30), 1), (date(2014, 11, 28), at(2014, 11, 28, 14, 30), 4),
          (date(2014, 12, 1), at(2014, 12, 1, 14, 30), 1)]),
    # London: 8:00 to 16:30. Forward on 30 March 2014, back on 26 October; half days end at 12:30.
    Grid("London forward", "LON", "30m", at(2014, 3, 28, 8), at(2014, 3, 31, 15),
         [(date(2014, 3, 28), at(2014, 3, 28, 8), 17), (date(2014, 3, 31), at(2014, 3, 31, 7), 17)]),
    Grid("London back", "LON", "1h", at(2014, 10, 24, 7), at(2014, 10, 27, 16),
         [(date(2014, 10, 24), at(2014, 10, 24, 7), 9), (date(2014, 10, 27), at(2014, 10, 27, 8), 9)]),
    Grid("London half day", "LON", "1m", at(2014, 12, 24, 8), at(2014, 12, 29, 8),
         [(date(2014, 12, 24), at(2014, 12, 24, 8), 270), (date(2014, 12, 29), at(2014, 12, 29, 8), 1)]),
    # Chicago: from 17:00 to 17:00, without the hour from 16:00.
    Grid("Chicago forward, minutes", "ES", "1m", at(2014, 3, 7, 21, 59), at(2014, 3, 9, 22),
         [(date(2014, 3, 7), at(2014, 3, 7, 21, 59), 1), (date(2014, 3, 10), at(2014, 3, 9, 22), 1)]),
    Grid("Chicago forward, half hours", "ES", "30m", at(2014, 3, 6, 23), at(2014, 3, 10, 20, 30),
         [(date(2014, 3, 7), at(2014, 3, 6, 23), 46), (date(2014, 3, 10), at(2014, 3, 9, 22), 46)]),
    Grid("Chicago back, hours", "ES", "1h", at(2014, 10, 30, 22), at(2014, 11, 3, 21),
         [(date(2014, 10, 31), at(2014, 10, 30, 22), 23), (date(2014, 11, 3), at(2014, 11, 2, 23), 23)]),
    Grid("Chicago, hours from :30: the one over 17:00 is the earlier session's", "ES", "1h",
         at(2014, 6, 9, 20, 30), at(2014, 6, 9, 22, 30),
         [(date(2014, 6, 9), at(2014, 6, 9, 20, 30), 2), (date(2014, 6, 10), at(2014, 6, 9, 22, 30), 1)]),
    Grid("Chicago half day", "ES", "1h", at(2014, 11, 27, 23), at(2014, 11, 30, 23),
         [(date(2014, 11, 28), at(2014, 11, 27, 23), 19), (date(2014, 12, 1), at(2014, 11, 30, 23), 1)]),
    Grid("round the clock", "BTC", "4h", at(2014, 3, 8, 20), at(2014, 3, 10),
         [(date(2014, 3, 8), at(2014, 3, 8, 20), 1), (date(2014, 3, 9), at(2014, 3, 9), 6),
          (date(2014, 3, 10), at(2014, 3, 10), 1)]),
    Grid("weekdays by UTC", "EUR", "1h", at(2014, 6, 6, 22), at(2014, 6, 9, 1),
         [(date(2014, 6, 6), at(2014, 6, 6, 22), 2), (date(2014, 6, 9), at(2014, 6, 9), 2)]),
    Grid("forex forward", "FX", "1h", at(2014, 3, 7, 21), at(2014, 3, 9, 22),
         [(date(2014, 3, 7), at(2014, 3, 7, 21), 1), (date(2014, 3, 10), at(2014, 3, 9, 21), 2)]),
    Grid("lunch", "HK", "30m", at(2014, 6, 9, 1, 30), at(2014, 6, 9, 7, 30),
         [(date(2014, 6, 9), at(2014, 6, 9, 1, 30), 11)]),
]  # fmt: skip


@pytest.mark.parametrize("case", GRIDS, ids=lambda case: case.name)
def test_one_row_for_every_slot(case):
    ends = bars((case.first, 10.0), (case.last, 11.0), symbol=case.symbol, timeframe=case.timeframe)
    result = cleaned(ends, case.timeframe)
    frame = result.bars.collect()
    assert frame.schema == CLEANED_SCHEMA
    found = frame.group_by("session", maintain_order=True).agg(pl.col("ts").first(), pl.len())
    assert found.rows() == case.slots
    step = INTRADAY[case.timeframe]
    assert frame["known_at"].to_list() == [ts + step for ts in frame["ts"]]
    assert frame["close"].to_list() == [10.0] * (frame.height - 1) + [11.0]
    assert frame["volume"].to_list() == [1000.0] + [0.0] * (frame.height - 2) + [1001.0]
    slots = result.findings.filter(pl.col("rule") != "missing_session")
    assert slots.select("rule", "ts").rows() == [("missing_bar", ts) for ts in frame["ts"][1:-1]]
    assert set(slots["severity"]) <= {"info"}
    # Of sessions between the first and the last none has a bar; that is told on the last slot of each.
    lost = [frame.filter(session=session)["ts"][-1] for session, *_ in case.slots[1:-1]]
    assert result.findings.filter(pl.col("rule") == "missing_session")["ts"].to_list() == lost
    flags = [["missing_bar", *["missing_session"] * (ts in lost)] for ts in frame["ts"][1:-1]]
    assert frame["flags"].to_list() == [[], *flags, []]


def test_a_session_without_any_bar_is_told_once():
    given = bars((OPEN, 10.0), (OPEN + timedelta(days=2), 11.0), (OPEN + timedelta(days=2, hours=2), 12.0))
    result = cleaned(given)
    last = at(2014, 6, 10, 19, 30)
    lost = result.findings.filter(pl.col("rule") == "missing_session")
    assert lost.select("ts", "field", "old", "new", "severity").rows() == [(last, "close", None, 10.0, "warning")]
    assert sum(rule == "missing_bar" for rule, _ in told(result)) == 6 + 7 + 1
    daily = by_session(result.bars).collect()
    assert daily["flags"].to_list() == [["missing_bar"], ["missing_bar", "missing_session"], ["missing_bar"]]


def test_a_bar_in_a_daily_break_stands():
    """In 2014 the futures on share indices traded until 16:15 in Chicago."""
    result = cleaned(bars((at(2014, 6, 9, 20, 45), 10.0), (at(2014, 6, 9, 21), 11.0), (at(2014, 6, 9, 22), 12.0),
                          symbol="ES", timeframe="15m"), "15m")  # fmt: skip
    assert result.bars.collect()["close"].to_list() == [10.0, 11.0, 12.0]
    assert told(result) == []


# --- bars in their slots ----------------------------------------------------------------------------------------------

OPEN = at(2014, 6, 9, 13, 30)


def minute(n: int, seconds: float = 0.0) -> datetime:
    return OPEN + timedelta(minutes=n, seconds=seconds)


@dataclass(frozen=True)
class Placing:
    """Rows given at minutes from the open, the closes of the result, and the findings with their minutes."""

    name: str
    given: list[Row]
    closes: list[float]
    found: list[tuple[str, datetime]] = field(default_factory=list)


PLACED = [
    Placing("in order", [(minute(0), 1), (minute(1), 2)], [1, 2]),
    Placing("out of order", [(minute(1), 2), (minute(0), 1)], [1, 2]),
    Placing("a slot without a bar", [(minute(0), 1), (minute(2), 3)], [1, 1, 3], [("missing_bar", minute(1))]),
    Placing("before the open", [(minute(-1), 9), (minute(0), 1)], [1], [("out_of_session", minute(-1))]),
    Placing("after the close", [(minute(389), 1), (minute(390), 9)], [1], [("out_of_session", minute(390))]),
    Placing("weekend", [(minute(0), 1), (at(2014, 6, 14, 15), 9)], [1], [("out_of_session", at(2014, 6, 14, 15))]),
    Placing("nothing inside", [(minute(-9), 9), (minute(-8), 9)], [],
            [("out_of_session", minute(-9)), ("out_of_session", minute(-8))]),
    Placing("off the grid, its slot free", [(minute(0), 1), (minute(1, 17), 2)], [1, 2], [("clock_error", minute(1))]),
    Placing("off the grid, its slot taken", [(minute(0), 1), (minute(1, 17), 9), (minute(1), 2)], [1, 2],
            [("clock_error", minute(1)), ("duplicate", minute(1))]),
    Placing("a little early", [(minute(0), 1), (minute(1, -1.5), 2)], [1, 2], [("clock_error", minute(1))]),
    Placing("a little before the open", [(minute(0, -1), 1), (minute(1), 2)], [1, 2], [("clock_error", minute(0))]),
    Placing("a little before the close", [(minute(388), 1), (minute(390, -1), 2)], [1, 2],
            [("clock_error", minute(389))]),
    Placing("twice", [(minute(0), 1), (minute(1), 2), (minute(1), 3)], [1, 2], [("duplicate", minute(1))]),
]  # fmt: skip


@pytest.mark.parametrize("case", PLACED, ids=lambda case: case.name)
def test_bars_in_their_slots(case):
    result = cleaned(bars(*case.given, timeframe="1m"), "1m")
    assert result.bars.collect()["close"].to_list() == case.closes
    assert told(result) == case.found


def test_findings_about_stamps_say_both():
    result = cleaned(bars((minute(0), 1), (minute(1, 17), 2), (minute(400), 9), timeframe="1m"), "1m")
    seconds = OPEN.timestamp()
    assert result.findings.select("rule", "field", "old", "new").rows() == [
        ("clock_error", "ts", seconds + 77, seconds + 60),
        ("out_of_session", "ts", seconds + 24_000, None),
    ]


def test_a_moved_bar_is_known_when_it_says():
    frame = cleaned(bars((minute(0), 1), (minute(1, 17), 2), timeframe="1m"), "1m").bars.collect()
    assert frame["known_at"].to_list() == [minute(1), minute(2, 17)]


UNSAID = pl.lit(None, BAR_SCHEMA["known_at"])

FIRSTS = [  # timeframe, minutes by which the first stamp is off, where it belongs
    ("half hours, late", "30m", 8, minute(0)),
    ("half hours, later", "30m", 10, minute(0)),
    ("half hours, at the open", "30m", 0, minute(0)),
    ("hours, late", "1h", 14, minute(0)),
]


@pytest.mark.parametrize(("timeframe", "off", "slot"), [c[1:] for c in FIRSTS], ids=[c[0] for c in FIRSTS])
def test_one_wrong_first_stamp_does_not_move_the_grid(timeframe, off, slot):
    step = INTRADAY[timeframe]
    rest = [(OPEN + n * step, 2.0 + n) for n in range(1, 5)]
    given = bars((minute(off), 1.0), *rest, timeframe=timeframe).with_columns(known_at=UNSAID)
    result = cleaned(given, timeframe)
    frame = result.bars.collect()
    assert frame["ts"].to_list() == [slot, *[ts for ts, _ in rest]]
    assert told(result) == [("clock_error", slot)] * (off > 0)
    assert frame["known_at"].to_list() == [minute(off) + step, *[ts + step for ts, _ in rest]]


def test_grids_of_other_quarters_stand():
    """A first bar that is far from the clock and from the open says where its source's grid begins."""
    given = bars((minute(15), 1.0), (minute(45), 2.0), (minute(75), 3.0), timeframe="30m")
    assert told(cleaned(given, "30m")) == []
    four_hours = bars((at(2014, 6, 9, 13), 1.0), (at(2014, 6, 9, 17), 2.0), timeframe="4h")
    assert told(cleaned(four_hours, "4h")) == []


def test_a_wrong_first_bar_before_the_open_is_left_out_alone():
    given = bars((minute(-8), 9.0), (minute(0), 1.0), (minute(30), 2.0), timeframe="30m")
    assert told(cleaned(given, "30m")) == [("out_of_session", minute(-8))]


STAMPS = [  # minutes from the open at which a half hour is stamped whose slot begins at 30, and its end
    ("on the grid", 30, 60),
    ("late", 38, 68),
    ("very late", 55, 85),
    ("a little early", 29, 60),
]


@pytest.mark.parametrize(("stamp", "end"), [case[1:] for case in STAMPS], ids=[case[0] for case in STAMPS])
def test_no_bar_is_known_before_a_timeframe_from_its_stamp(stamp, end):
    given = bars((minute(0), 1.0), (minute(stamp), 2.0), timeframe="30m")
    soonest = given.with_columns(known_at=pl.col("ts") + timedelta(minutes=1))
    for rows in (given.with_columns(known_at=UNSAID), soonest):
        assert cleaned(rows, "30m").bars.collect()["known_at"].to_list() == [minute(30), minute(end)]
    early = given.with_columns(known_at=UNSAID, fetched_at=pl.Series([FETCHED, minute(end, -1)]))
    assert "half_built" in {rule for rule, _ in told(cleaned(early, "30m"))}


def test_the_first_bar_tells_the_grid_to_a_quarter_of_an_hour():
    skewed = cleaned(bars((minute(0, -2), 1), (minute(60), 2)))
    assert skewed.bars.collect()["ts"].to_list() == [minute(0), minute(60)]
    assert told(skewed) == [("clock_error", minute(0))]


def test_symbols_of_other_grids_and_calendars_go_together():
    given = pl.concat([
        bars((at(2014, 6, 9, 13), 1), (at(2014, 6, 9, 14), 2), symbol="NY"),
        bars((at(2014, 6, 9, 7), 3), (at(2014, 6, 9, 8), 4), symbol="LON"),
        bars((at(2014, 6, 8), 5), (at(2014, 6, 8, 1), 6), symbol="BTC"),
    ])  # fmt: skip
    result = cleaned(given)
    assert result.bars.collect()["close"].to_list() == [5, 6, 3, 4, 1, 2]
    assert told(result) == []


CUT = at(2014, 6, 9, 19, 30)  # half an hour before the close, of a grid from :30

HALVES = [  # when the last bar was fetched, its own known_at, whether it is kept
    ("after its full hour", at(2014, 6, 9, 20, 31), at(2014, 6, 9, 20, 30), True),
    ("after the close, known by then", at(2014, 6, 9, 20, 1), at(2014, 6, 9, 20), True),
    ("after the close, known later", at(2014, 6, 9, 20, 1), at(2014, 6, 9, 20, 30), False),
    ("before the close", at(2014, 6, 9, 19, 50), at(2014, 6, 9, 19, 49), False),
    ("before the close, known_at unsaid", at(2014, 6, 9, 19, 50), None, False),
]


@pytest.mark.parametrize(("fetched", "known", "kept"), [c[1:] for c in HALVES], ids=[c[0] for c in HALVES])
def test_half_built(fetched, known, kept):
    last = bars((CUT, 2.0), fetched=fetched).with_columns(known_at=pl.lit(known, BAR_SCHEMA["known_at"]))
    result = cleaned(pl.concat([bars((CUT - timedelta(hours=1), 1.0)), last]))
    assert result.bars.collect()["close"].to_list() == [1.0, 2.0][: 1 + kept]
    assert [rule for rule, _ in told(result)] == ["half_built"] * (not kept)
    if kept:
        assert result.bars.collect()["known_at"][-1] == at(2014, 6, 9, 20, 30)


def test_bars_in_a_week_without_sessions_are_left_out():
    result = cleaned(bars((at(2001, 9, 13, 14), 1.0)))
    assert told(result) == [("out_of_session", at(2001, 9, 13, 14))]
    assert result.bars.collect().is_empty()


def test_repairs_that_are_declined_leave_the_row_as_given():
    given = bars((minute(0), 10.0), (minute(1), 10.0), (minute(3), 11.0), timeframe="1m").with_columns(
        volume=pl.Series([5.0, -2.0, 7.0]), fetched_at=pl.Series([FETCHED, FETCHED, minute(3, 20)])
    )
    mended = cleaned(given, "1m").bars.collect()
    assert mended["volume"].to_list() == [5.0, 0.0]
    as_given = cleaned(given, "1m", repair=()).bars.collect()
    assert as_given["volume"].to_list() == [5.0, -2.0, 0.0, 7.0]
    assert as_given["flags"].to_list() == [[], ["invalid_value", "zero_volume"], ["missing_bar"], ["half_built"]]


def test_an_excluded_session_leaves_no_bar():
    given = bars((minute(0), 1), (minute(1), 2), (minute(60 * 24), 3), timeframe="1m")
    row = {"symbol": "NY", "session": date(2014, 6, 9), "reason": "wrong"}
    result = cleaned(given, "1m", exclude=[row])
    assert result.bars.collect()["close"].to_list() == [3]
    assert told(result) == [("excluded", minute(0)), ("excluded", minute(1))]


def test_a_price_that_is_none_is_replaced_from_the_bar_before():
    given = bars((minute(0), 10.0), (minute(1), -5.0), (minute(2), 11.0), timeframe="1m")
    result = cleaned(given, "1m")
    assert result.bars.collect()["close"].to_list() == [10.0, 10.0, 11.0]
    assert {rule for rule, _ in told(result)} == {"invalid_value"}


def test_refused():
    with pytest.raises(ConfigError, match="timeframe: '2h' cannot be cleaned; for example 1d, 1m"):
        cleaned(bars((minute(0), 1)), "2h")
    with pytest.raises(BarSchemaError, match="ZZZ: no calendar known"):
        cleaned(bars((minute(0), 1), symbol="ZZZ"))
    untimed = bars((minute(0), 1)).with_columns(ts=pl.lit(None, BAR_SCHEMA["ts"]))
    with pytest.raises(BarSchemaError, match="NY: 1 bars without a time"):
        cleaned(pl.concat([bars((minute(1), 1)), untimed]))


def test_daily_is_the_default():
    days = sessions("XNYS", date(2014, 6, 2), date(2014, 6, 13))
    given = bars(*[(ts, 10.0 + i % 3) for i, ts in enumerate(days["open"])]).with_columns(known_at=days["close"])
    nothing = ACTION_SCHEMA.to_frame().lazy()
    default = clean(given.lazy(), nothing, INSTRUMENTS)
    named = clean(given.lazy(), nothing, INSTRUMENTS, None, "1d")
    assert default.bars.collect().equals(named.bars.collect())
    assert default.bars.collect()["known_at"].equals(days["close"])


# --- actions ----------------------------------------------------------------------------------------------------------


def action(ts: datetime, kind: str, value: float) -> pl.DataFrame:
    rows = {"symbol": ["NY"], "ts": [ts], "kind": [kind], "value": [value], "provider": ["test"]}
    return pl.DataFrame(rows | {"fetched_at": [ts], "known_at": [ts]}, schema=ACTION_SCHEMA)


TUESDAY = at(2014, 6, 10, 13, 30)
ACTIONS = [  # bars on Tuesday, when the action is, where it takes effect, findings about it
    ("at the first slot", [TUESDAY, TUESDAY + timedelta(hours=1)], TUESDAY, TUESDAY, []),
    ("stamped at midnight", [TUESDAY], at(2014, 6, 10, 4), TUESDAY, []),
    ("within the session", [TUESDAY], TUESDAY + timedelta(hours=3), TUESDAY, ["action_known_late"]),
    ("first slot without a bar", [TUESDAY + timedelta(hours=2)], TUESDAY, TUESDAY + timedelta(hours=2), []),
    ("session without a bar", [TUESDAY + timedelta(days=1)], TUESDAY, TUESDAY + timedelta(days=1), ["action_moved"]),
]


@pytest.mark.parametrize(("stamps", "when", "where", "found"), [c[1:] for c in ACTIONS], ids=[c[0] for c in ACTIONS])
def test_a_split_takes_effect_on_the_first_bar_of_its_session(stamps, when, where, found):
    given = bars((OPEN, 100.0), *[(ts, 50.0) for ts in stamps])
    result = cleaned(given, acted=action(when, "split", 2.0))
    frame = result.bars.collect()
    assert frame.filter(pl.col("split") != 1)["ts"].to_list() == [where]
    assert frame["adj_close"].to_list() == pytest.approx([100.0] * frame.height)
    assert [rule for rule, _ in told(result) if not rule.startswith("missing_")] == found


def test_on_a_grid_that_begins_before_the_open_an_action_is_on_the_first_slot():
    first = at(2014, 6, 10, 13)
    given = bars((at(2014, 6, 9, 13), 100.0), (first, 98.0), (first + timedelta(hours=1), 98.0))
    frame = cleaned(given, acted=action(TUESDAY, "dividend", 2.0)).bars.collect()
    assert frame.filter(pl.col("dividend") > 0)["ts"].to_list() == [first]
    assert frame["adj_close"][-1] == pytest.approx(100.0)


# --- rules ------------------------------------------------------------------------------------------------------------

DAYS = sessions("XNYS", date(2014, 1, 2), date(2014, 4, 30))["open"].to_list()


def history(sessions_: int, night: float = 0.02, hour: float = 0.002, seed: int = 1) -> list[list[float]]:
    """Closes of seven hours a session that wander by `hour`, after nights that wander by `night`."""
    chance, price, days = random.Random(seed), 100.0, []
    for _ in range(sessions_):
        price *= 1 + chance.choice([-1, 1]) * night * chance.uniform(0.5, 1.0)
        day = []
        for _ in range(7):
            day.append(round(price, 4))
            price *= 1 + chance.choice([-1, 1]) * hour * chance.uniform(0.5, 1.0)
        days.append(day)
    return days


def hourly(days: list[list[float]]) -> pl.DataFrame:
    rows = [
        (opening + timedelta(hours=n), close)
        for opening, day in zip(DAYS, days, strict=False)
        for n, close in enumerate(day)
    ]
    return bars(*rows)


def where(result: CleanResult, rule: str) -> list[tuple[int, int]]:
    """Session and slot of each finding of the rule."""
    stamps = result.findings.filter(pl.col("rule") == rule)["ts"]
    return [(i, (ts - opening) // timedelta(hours=1)) for ts in stamps for i, opening in enumerate(DAYS)
            if opening.date() == ts.date()]  # fmt: skip


def shifted(days: list[list[float]], session: int, slot: int, factor: float) -> list[list[float]]:
    """The history from one bar on at another level."""
    return [[close * (factor if (i, n) >= (session, slot) else 1.0) for n, close in enumerate(day)]
            for i, day in enumerate(days)]  # fmt: skip


def test_nights_are_no_jumps_and_neither_are_hours():
    assert cleaned(hourly(history(60))).findings.is_empty()


JUMPS = [  # a move of 10% is far for an hour, usual for nights of 3%, and far for nights of 0.1%
    ("within a session", 0.02, 3, [(40, 3)]),
    ("over a wild night", 0.03, 0, []),
    ("over a night as quiet as an hour", 0.001, 0, [(40, 0)]),
]


@pytest.mark.parametrize(("night", "slot", "found"), [case[1:] for case in JUMPS], ids=[case[0] for case in JUMPS])
def test_jumps_are_measured_against_their_own_kind(night, slot, found):
    assert where(cleaned(hourly(shifted(history(60, night), 40, slot, 1.10))), "jump") == found


def test_after_slots_without_a_bar_a_wider_move_is_no_jump():
    days = shifted(history(60), 40, 6, 1.09)
    gap = hourly(days).filter(~pl.col("ts").is_between(DAYS[40] + timedelta(hours=1), DAYS[40] + timedelta(hours=5)))
    assert where(cleaned(hourly(days)), "jump") == [(40, 6)]
    assert where(cleaned(gap), "jump") == []


def test_a_split_that_was_not_told_is_suspected_at_the_first_bar_only():
    assert where(cleaned(hourly(shifted(history(60, night=0.005), 40, 0, 0.5))), "unapplied_split") == [(40, 0)]
    assert where(cleaned(hourly(shifted(history(60, night=0.005), 40, 3, 0.5))), "unapplied_split") == []


def test_opening_bars_are_compared_with_opening_bars():
    """The first hour trades more than the others, every day: that is no rush which would explain a halved price."""
    days = hourly(shifted(history(60, night=0.005), 40, 0, 0.5))
    first = pl.col("ts").is_in(DAYS)
    busy = days.with_columns(volume=pl.when(first).then(pl.col("volume") * 50).otherwise("volume"))
    assert where(cleaned(busy), "unapplied_split") == [(40, 0)]


EARLIEST = [  # six moves within a session and one night before each: how many moves of the kind come before
    ("twenty moves within sessions", 3, 3, False),
    ("twenty-one", 3, 4, True),
    ("twenty nights", 21, 0, False),
    ("twenty-one nights", 22, 0, True),
]


@pytest.mark.parametrize(("session", "slot", "found"), [c[1:] for c in EARLIEST], ids=[c[0] for c in EARLIEST])
def test_a_jump_can_be_told_after_21_earlier_moves_of_its_kind(session, slot, found):
    given = hourly(shifted(history(30, night=0.001), session, slot, 1.2))
    assert where(cleaned(given), "jump") == [(session, slot)] * found


def printed(session: int, slot: int, **prices: float) -> pl.DataFrame:
    stamp = DAYS[session] + timedelta(hours=slot)
    hit = pl.col("ts") == stamp
    return hourly(history(60)).with_columns(
        pl.when(hit).then(pl.col(name) * by).otherwise(name).alias(name) for name, by in prices.items()
    )


def test_bad_prints_are_told_bar_by_bar():
    assert where(cleaned(printed(40, 3, low=0.7)), "bad_print") == [(40, 3)]
    assert where(cleaned(printed(40, 0, high=1.6)), "bad_print") == [(40, 0)]


def test_slots_without_a_bar_make_no_rush_of_the_next():
    """Where most slots are empty the usual volume is that of the bars, not zero."""
    hours = pl.col("ts").dt.hour() - pl.col("ts").dt.hour().min().over(pl.col("ts").dt.date())
    sparse = printed(40, 3, low=0.7).filter(hours.is_in([0, 3, 6]))
    assert where(cleaned(sparse), "bad_print") == [(40, 3)]


def test_a_unit_error_is_divided_back():
    hundredfold = dict.fromkeys(PRICES, 100.0)
    result = cleaned(printed(40, 3, **hundredfold))
    assert where(result, "unit_error") == [(40, 3)]
    assert result.bars.collect()["close"].max() < 200


STALE = [  # open, high, low, close of a bar that comes again, whether with its volume, and whether that is stale
    ("a whole bar", (10.0, 10.3, 9.9, 10.1), True, True),
    ("with another volume", (10.0, 10.3, 9.9, 10.1), False, False),
    ("one tick wide", (10.0, 10.01, 10.0, 10.01), True, False),
    ("flat", (10.0, 10.0, 10.0, 10.0), True, False),
]


@pytest.mark.parametrize(("prices", "volume", "stale"), [case[1:] for case in STALE], ids=[case[0] for case in STALE])
def test_stale(prices, volume, stale):
    given = bars(*[(minute(n), 10.0) for n in range(5)], timeframe="1m").with_columns(
        *[pl.lit(price).alias(name) for name, price in zip(PRICES, prices, strict=True)],
        volume=pl.lit(7.0) if volume else pl.col("volume"),
    )
    assert told(cleaned(given, "1m")) == [("stale", minute(n)) for n in range(1, 5)] * stale


def test_zero_volume_is_told_where_there_was_volume_before():
    quiet = bars(*[(minute(n), 10.0 + n) for n in range(4)], timeframe="1m")
    assert told(cleaned(quiet.with_columns(volume=pl.lit(0.0)), "1m")) == []
    mixed = quiet.with_columns(volume=pl.Series([0.0, 5.0, 0.0, 5.0]))
    assert told(cleaned(mixed, "1m")) == [("zero_volume", minute(2))]


def test_a_crash_of_all_symbols_in_one_slot_is_no_bad_print():
    """Its own slot, not its session, is a print's cross-section."""
    many = [f"S{i:02d}" for i in range(25)]
    instruments = pl.DataFrame({"symbol": many, "calendar": ["XNYS"] * 25})
    crash = pl.concat(printed(40, 3, low=0.7).with_columns(symbol=pl.lit(name)) for name in many)
    nothing = ACTION_SCHEMA.to_frame().lazy()
    assert clean(crash.lazy(), nothing, instruments, None, "1h").findings.is_empty()
    other = pl.concat([crash, printed(40, 5, low=0.7).with_columns(symbol=pl.lit("ZZZ"))])
    named = pl.concat([instruments, pl.DataFrame({"symbol": ["ZZZ"], "calendar": ["XNYS"]})])
    assert where(clean(other.lazy(), nothing, named, None, "1h"), "bad_print") == [(40, 5)]
