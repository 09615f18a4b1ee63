"""Defects of a source, each as a finding and a repair: what was given, what stands, and what the settings change."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from quant_assets.cleaned import CLEANED_SCHEMA, clean
from quant_assets.cleaned.rules import SEVERITY
from resources.calendars import sessions
from resources.config import CleaningSettings
from resources.market_data.base import BAR_SCHEMA
from tests.quant_assets.cleaned.test_clean import DAYS, actions, bars, cleaned, rules

AT = 40
WALK = [100 * (1.01 if i % 2 else 1.0) * 1.0003**i for i in range(60)]
ALL = ["invalid_value", "inconsistent", "unit_error", "half_built", "bad_print"]


def put(frame: pl.DataFrame, at: int, **values: object) -> pl.DataFrame:
    """The frame with other values in one row."""
    here = pl.int_range(pl.len()) == at
    return frame.with_columns(
        pl.when(here).then(pl.lit(value, BAR_SCHEMA[name])).otherwise(name).alias(name)
        for name, value in values.items()
    )


def told(result, *names: str) -> list[tuple[object, ...]]:
    wanted = pl.col("rule").is_in(names) if names else ~pl.col("rule").is_in(["jump"])
    return result.findings.filter(wanted).select("rule", "field", "old", "new").rows()


@dataclass(frozen=True)
class Case:
    name: str
    values: dict[str, float]
    found: list[tuple[str, str, float, float]]
    stands: tuple[float, float, float, float]
    at: int = 1
    closes: list[float] = field(default_factory=lambda: [100.0, 110.0, 120.0])


# Bars open at their close, 1 % around; the row before closed at 100.
VALUES = [  # rule: invalid_value and inconsistent                             open  high   low    close
    Case("zero close", {"close": 0.0}, [("invalid_value", "close", 0.0, 100.0)], (110.0, 111.1, 100.0, 100)),
    Case("close < 0", {"close": -1.0}, [("invalid_value", "close", -1, 100.0)], (110.0, 111.1, 100.0, 100)),
    Case("open zero", {"open": 0.0}, [("invalid_value", "open", 0.0, 108.9)], (108.9, 111.1, 108.9, 110.0)),
    Case("high is none", {"high": math.inf}, [("invalid_value", "high", math.inf, 110.0)], (110, 110, 108.9, 110)),
    Case("low negative", {"low": -3.0}, [("invalid_value", "low", -3.0, 110.0)], (110.0, 111.1, 110.0, 110.0)),
    Case("volume < 0", {"volume": -5.0}, [("invalid_value", "volume", -5, 0.0)], (110, 111.1, 108.9, 110)),
    Case("high too low", {"high": 109.0}, [("inconsistent", "high", 109.0, 110.0)], (110.0, 110.0, 108.9, 110.0)),
    Case("low too high", {"low": 115.0},
         [("inconsistent", "high", 111.1, 115.0), ("inconsistent", "low", 115.0, 110.0)],
         (110.0, 115.0, 110.0, 110.0)),
]  # fmt: skip


@pytest.mark.parametrize("case", VALUES, ids=lambda case: case.name)
def test_values_that_cannot_be(case):
    given = put(bars(case.closes), case.at, **case.values)
    result = cleaned(given)
    found = told(result, "invalid_value", "inconsistent")
    assert [row[:2] for row in found] == [row[:2] for row in case.found]
    assert [value for row in found for value in row[2:]] == pytest.approx([v for row in case.found for v in row[2:]])
    row = result.bars.collect().row(case.at, named=True)
    assert [row[name] for name in ("open", "high", "low", "close")] == pytest.approx(case.stands)
    assert case.found[0][0] in row["flags"]
    assert row["volume"] >= 0


@pytest.mark.parametrize("case", VALUES, ids=lambda case: case.name)
def test_a_repair_not_asked_for_leaves_the_row_as_given(case):
    result = cleaned(put(bars(case.closes), case.at, **case.values), repair=[])
    row = result.bars.collect().row(case.at, named=True)
    assert {name: row[name] for name in case.values} == case.values
    assert {f"adj_{name}": row[f"adj_{name}"] for name in case.values} == {
        f"adj_{k}": v for k, v in case.values.items()
    }
    assert case.found[0][0] in row["flags"]
    assert all(new == old for *_, old, new in told(result, "invalid_value", "inconsistent"))


def test_rows_before_the_first_possible_close_are_left_out_with_a_finding():
    result = cleaned(put(bars([100.0, 110.0]), 0, close=0.0))
    assert result.bars.collect()["close"].to_list() == [110.0]
    assert told(result) == [("invalid_value", "close", 0.0, None)]


# --- rows -------------------------------------------------------------------------------------------------------------


def test_a_duplicate_is_left_out_and_the_first_sound_row_is_kept():
    given = bars([10.0, 11.0, 12.0])
    again = put(given[1:2], 0, close=11.05)
    result = cleaned(pl.concat([given, again]))
    assert result.bars.collect()["close"].to_list() == [10.0, 11.0, 12.0]
    assert told(result) == [("duplicate", "close", 11.05, 11.0)]
    broken = put(given[1:2], 0, close=-1.0)
    kept = cleaned(pl.concat([given[:1], broken, given[1:]]))
    assert kept.bars.collect()["close"].to_list() == [10.0, 11.0, 12.0]
    assert told(kept) == [("duplicate", "close", -1.0, 11.0)]


def test_rows_may_come_in_any_order():
    given = pl.concat([bars([1.0, 2.0, 3.0], "BBB"), bars([4.0, 5.0])])
    assert cleaned(given.reverse()).bars.collect().equals(cleaned(given).bars.collect())


@pytest.mark.parametrize("shift", ["1h", "-1h", "-14h30m", "-9h", "5h"])
def test_a_bar_stamped_beside_its_open_is_moved_there(shift):
    given = bars([10.0, 11.0, 12.0])
    stamp = given["ts"].dt.offset_by(shift)[1]
    result = cleaned(put(given, 1, ts=stamp, fetched_at=DAYS["close"][9]))
    frame = result.bars.collect()
    assert frame["ts"].to_list() == DAYS["open"][:3].to_list()
    assert frame["flags"].to_list() == [[], ["clock_error"], []]
    assert told(result) == [("clock_error", "ts", stamp.timestamp(), DAYS["open"][1].timestamp())]


def test_an_hour_too_late_is_the_same_session_where_sessions_open_in_the_evening():
    day = sessions("CMES", date(2012, 1, 1), date(2012, 1, 31)).head(3)
    ends = pl.Series(day["close"])
    given = bars([7.0, 7.5, 8.0], "NIGHT").with_columns(ts=pl.Series(day["open"]), known_at=ends, fetched_at=ends)
    late = put(given, 1, ts=day["open"][1] + timedelta(hours=1))
    assert cleaned(late).bars.collect()["session"].to_list() == day["session"].to_list()
    assert rules(cleaned(late)) == ["clock_error"]


def test_a_bar_on_a_day_without_a_session_is_left_out():
    saturday = DAYS["open"][3] + timedelta(days=1)
    given = pl.concat([bars([1.0, 2.0, 3.0, 4.0, 5.0]), put(bars([9.0]), 0, ts=saturday, fetched_at=DAYS["close"][9])])
    assert saturday.isoweekday() == 6
    result = cleaned(given)
    assert result.bars.collect()["close"].to_list() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert told(result) == [("out_of_session", "ts", saturday.timestamp(), None)]


def test_a_bar_that_begins_after_it_was_fetched_is_left_out():
    result = cleaned(put(bars([1.0, 2.0, 3.0]), 2, ts=DAYS["open"][50]))
    assert result.bars.collect().height == 2
    assert told(result) == [("clock_error", "ts", DAYS["open"][50].timestamp(), None)]


def test_a_bar_known_before_it_began_is_known_at_its_close():
    result = cleaned(put(bars([1.0, 2.0, 3.0]), 1, known_at=DAYS["open"][1]))
    assert result.bars.collect()["known_at"].to_list() == DAYS["close"][:3].to_list()
    assert told(result) == [("clock_error", "known_at", DAYS["open"][1].timestamp(), None)]


def test_a_last_bar_fetched_while_its_session_traded_is_left_out_unless_told_otherwise():
    given = put(bars([1.0, 2.0, 3.0]), 2, fetched_at=DAYS["close"][2] - timedelta(minutes=1))
    result = cleaned(given)
    assert result.bars.collect()["close"].to_list() == [1.0, 2.0]
    assert told(result) == [("half_built", "close", 3.0, None)]
    kept = cleaned(given, repair=[])
    assert kept.bars.collect()["flags"].to_list() == [[], [], ["half_built"]]
    assert told(kept) == [("half_built", "close", 3.0, 3.0)]


# --- prices -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_bars_in_the_wrong_unit_are_divided_back(factor):
    wrong = [price * factor if AT <= i < AT + 3 else price for i, price in enumerate(WALK)]
    frame = cleaned(bars(wrong)).bars.collect()
    assert frame["close"].to_list() == pytest.approx(WALK)
    assert [i for i, flags in enumerate(frame["flags"].to_list()) if flags] == [AT, AT + 1, AT + 2]
    assert told(cleaned(bars(wrong)))[0] == ("unit_error", "close", wrong[AT], pytest.approx(WALK[AT]))
    left = cleaned(bars(wrong), repair=[]).bars.collect()
    assert left["close"].to_list() == left["adj_close"].to_list() == pytest.approx(wrong)
    assert set(rules(cleaned(bars(wrong), repair=[]))) == {"unit_error"}, "the other rules see through it"


@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_a_wrong_unit_that_begins_with_a_split_is_divided_back_too(factor):
    split = [price / 4 if i >= AT else price for i, price in enumerate(WALK)]
    wrong = [price * factor if AT <= i < AT + 3 else price for i, price in enumerate(split)]
    result = cleaned(bars(wrong), actions((AT, "split", 4.0)))
    assert result.bars.collect()["close"].to_list() == pytest.approx(split)
    assert result.bars.collect()["split"][AT] == 4.0
    assert [row[0] for row in told(result)] == ["unit_error"] * 3


def test_a_hundredfold_split_that_was_told_is_no_unit_error():
    split = WALK[:AT] + [price * 100 for price in WALK[AT:]]
    assert rules(cleaned(bars(split), actions((AT, "split", 0.01)))) == []


PRINTS = [
    ("high", {"high": 180.0}, "high", 180.0),
    ("low", {"low": 60.0}, "low", 60.0),
    ("open above", {"open": 170.0, "high": 170.0}, "open", 170.0),
    ("open below", {"open": 60.0, "low": 60.0}, "open", 60.0),
]


@pytest.mark.parametrize(("values", "name", "old"), [case[1:] for case in PRINTS], ids=[case[0] for case in PRINTS])
def test_a_print_that_nothing_confirms(values, name, old):
    given = put(bars(WALK), AT, **values)
    result = cleaned(given)
    assert (("bad_print", name, old, old)) in told(result)
    assert set(rules(result)) == {"bad_print"}
    assert result.bars.collect()[name][AT] == old, "flagged, not changed, unless the settings ask"
    mended = cleaned(given, repair=ALL)
    frame = mended.bars.collect()
    assert frame[name][AT] == pytest.approx(WALK[AT], rel=0.02)
    assert frame["high"][AT] < 105
    assert frame["low"][AT] > 95
    assert frame["adj_high"][AT] == frame["high"][AT]
    assert all(new == pytest.approx(WALK[AT], rel=0.02) for *_, new in told(mended, "bad_print"))


def test_a_false_close_is_told_when_the_next_bar_shows_it_and_the_row_stays():
    given = put(bars(WALK), AT, close=150.0, high=151.0)
    until = cleaned(given[: AT + 1], repair=ALL)
    assert rules(until) == ["jump"], "at the time it may be news"
    whole = cleaned(given, repair=ALL)
    assert whole.bars.collect()[: AT + 1].equals(until.bars.collect())
    found = whole.findings.filter(pl.col("rule") == "bad_close").select("ts", "field", "old", "new").rows()
    assert found == [(DAYS["open"][AT + 1], "previous_close", 150.0, 150.0)]


@pytest.mark.parametrize("fall", [0.8, 0.7, 0.55])
def test_a_crash_that_stays_is_no_bad_price(fall):
    crashed = WALK[:AT] + [price * fall for price in WALK[AT:]]
    result = cleaned(bars(crashed, opens={AT: WALK[AT] * (1 + fall) / 2}), repair=ALL)
    assert set(rules(result)) == {"jump"}
    assert result.bars.collect()["close"].to_list() == crashed


def test_what_the_whole_market_did_in_a_session_is_no_bad_print():
    names = [f"S{i:02}" for i in range(25)]
    instruments = pl.DataFrame({"symbol": names, "calendar": "XNYS"})
    none = actions().lazy()
    calm = pl.concat(bars(WALK, name) for name in names)
    flash = [put(bars(WALK, name), AT, low=70.0) if i < 8 else bars(WALK, name) for i, name in enumerate(names)]
    assert clean(pl.concat(flash).lazy(), none, instruments).findings.is_empty()
    one = pl.concat([put(bars(WALK, "S00"), AT, low=70.0), calm.filter(pl.col("symbol") != "S00")])
    assert rules(clean(one.lazy(), none, instruments)) == ["bad_print"]


def test_a_print_with_a_rush_of_trading_is_news():
    rushed = put(bars(WALK), AT, high=180.0, volume=50_000.0)
    assert cleaned(rushed).findings.is_empty()


@pytest.mark.parametrize(("volume", "found"), [(2, True), (5, True), (40, False)])
def test_the_more_is_traded_the_farther_a_print_may_be(volume, found):
    given = put(bars(WALK), AT, high=150.0, volume=1_000.0 * volume)
    assert ("bad_print" in rules(cleaned(given))) == found


def test_where_the_bar_before_traded_a_price_stands_not_alone():
    given = put(put(bars(WALK), AT - 1, high=150.0), AT, high=151.0)
    result = cleaned(given)
    assert result.findings.filter(pl.col("rule") == "bad_print")["ts"].to_list() == [DAYS["open"][AT - 1]]


def test_a_bar_that_repeats_the_last_to_its_volume_is_stale_at_once():
    given = bars(WALK)
    copied = put(given, AT, **{name: given[name][AT - 1] for name in ("open", "high", "low", "close", "volume")})
    assert rules(cleaned(copied)) == ["stale"]
    quiet = put(copied, AT, volume=given["volume"][AT])
    assert rules(cleaned(quiet)) == []


# --- actions ----------------------------------------------------------------------------------------------------------


LOST_SPLITS = [  # price after / before, turnover in multiples of the usual, range in multiples, a split?
    ("3:2", 2 / 3, 1.0, 1.0, True),
    ("3:2, three times the turnover", 2 / 3, 3.0, 1.0, True),
    ("3:2, five times the turnover", 2 / 3, 5.0, 1.0, False),
    ("3:2, five times the range", 2 / 3, 1.0, 5.0, False),
    ("3:2, much of both", 2 / 3, 3.7, 3.7, False),
    ("near 3:2", 0.65, 1.0, 1.0, True),
    ("not near 3:2", 0.61, 1.0, 1.0, False),
    ("2:1, five times the turnover", 1 / 2, 5.0, 1.0, True),
    ("2:1, twenty times the turnover", 1 / 2, 20.0, 1.0, False),
    ("10:1", 1 / 10, 1.0, 1.0, True),
    ("10:1, fifty times the turnover", 1 / 10, 50.0, 1.0, False),
    ("1:10, fifty times the turnover", 10.0, 50.0, 1.0, True),
    ("1:2", 2.0, 1.0, 1.0, True),
    ("a tenth more", 1.1, 1.0, 1.0, False),
]


@pytest.mark.parametrize(
    ("step", "turnover", "wide", "found"), [case[1:] for case in LOST_SPLITS], ids=[case[0] for case in LOST_SPLITS]
)
def test_a_split_that_was_not_told(step, turnover, wide, found):
    closes = WALK[:AT] + [price * step for price in WALK[AT:]]
    at = closes[AT]
    given = put(
        bars(closes), AT, high=at * 1.01**wide, low=at * 0.99**wide, volume=(1000.0 + AT) * turnover / step
    )  # fmt: skip
    assert ("unapplied_split" in rules(cleaned(given))) == found


def test_a_large_dividend_is_no_split():
    closes = WALK[:AT] + [price / 2 for price in WALK[AT:]]
    assert "unapplied_split" in rules(cleaned(bars(closes)))
    assert "unapplied_split" not in rules(cleaned(bars(closes), actions((AT, "dividend", WALK[AT - 1] / 2))))


def test_what_the_others_did_over_night_is_taken_off():
    names = [f"S{i:02}" for i in range(25)]
    instruments = pl.DataFrame({"symbol": names, "calendar": "XNYS"})

    def market(night: float, one: float) -> list[tuple[str, str]]:
        """Everything opens at `night` of the close before; the first symbol at `one`."""
        stepped = [
            bars(WALK[:AT] + [price * (one if name == "S00" else night) for price in WALK[AT:]], name) for name in names
        ]
        found = clean(pl.concat(stepped).lazy(), actions().lazy(), instruments).findings
        return found.filter(pl.col("rule") == "unapplied_split").select("rule", "symbol").rows()

    assert market(1.0, 0.60) == [], "too far from 3:2"
    assert market(0.90, 0.60) == [("unapplied_split", "S00")], "3:2 in a market that opens a tenth lower"
    assert market(0.67, 0.67) == [], "a crash of all is no split of each"


def test_news_that_costs_half_the_price_is_no_split_where_trading_says_so():
    halved = put(bars(WALK[:AT] + [price / 2 for price in WALK[AT:]]), AT, volume=200_000.0)
    assert rules(cleaned(halved)) == ["jump"]


def test_a_regular_payer_without_its_dividend_is_told_once():
    days = DAYS.height
    given = bars([100 * (1.01 if i % 2 else 1.0) for i in range(days)])
    paid = [(at, "dividend", 0.5) for at in range(5, 132, 21)]
    regular = cleaned(given, actions(*paid, *[(at, "dividend", 0.5) for at in range(152, days, 21)]))
    assert "dividend_overdue" not in rules(regular)
    stopped = cleaned(given, actions(*paid)).findings.filter(pl.col("rule") == "dividend_overdue")
    assert stopped.select("field", "old", "new", "severity").rows() == [("dividend", None, 0.0, "info")]
    assert 30 < (stopped["ts"][0] - DAYS["open"][131]).days < 50


# --- all together -----------------------------------------------------------------------------------------------------


def dirty(seed: int, count: int = 120) -> pl.DataFrame:
    """A history with every kind of defect at random places."""
    random = np.random.default_rng(seed)
    frame = bars((100 * np.exp(np.cumsum(random.normal(0, 0.01, count)))).tolist())
    for at in random.choice(np.arange(1, count - 1), 12, replace=False):
        name = random.choice(["open", "high", "low", "close", "volume"])
        factor = random.choice([0.0, -1.0, math.nan, 100.0, 0.01, 1.6, 0.6])
        frame = put(frame, int(at), **{str(name): float(frame[str(name)][int(at)] * factor)})
    for at in random.choice(np.arange(30, count - 6), 2, replace=False):
        unit = (pl.int_range(pl.len()) >= int(at)) & (pl.int_range(pl.len()) < int(at) + 3)
        prices = ("open", "high", "low", "close")
        frame = frame.with_columns(
            pl.when(unit).then(pl.col(name) * 100).otherwise(name).alias(name) for name in prices
        )
    return pl.concat([frame, frame[7:9]]).filter(pl.int_range(pl.len()) != 11)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("repair", [ALL, []], ids=["repaired", "as given"])
def test_the_past_of_a_dirty_history_never_changes(seed, repair):
    given = dirty(seed)
    whole = cleaned(given, repair=repair)
    for cut in (25, 50, 51, 77, 100):
        held = given.filter(pl.col("ts") <= DAYS["open"][cut])
        part = cleaned(held, repair=repair)
        rows = part.bars.collect()
        assert rows.equals(whole.bars.collect().head(rows.height))
        known = whole.findings.filter(pl.col("ts") <= held["ts"].max())
        assert part.findings.sort(pl.all()).equals(known.sort(pl.all()))


@pytest.mark.parametrize("seed", range(12))
def test_repaired_rows_are_good_numbers_and_every_change_is_told(seed):
    given = dirty(seed)
    result = cleaned(given, repair=ALL)
    frame = result.bars.collect()
    numbers = frame.select("open", "high", "low", "close")
    assert numbers.select(pl.all().is_finite().all()).row(0) == (True,) * 4
    assert numbers.min_horizontal().min() > 0
    assert (frame["high"] >= numbers.max_horizontal()).all()
    assert (frame["low"] <= numbers.min_horizontal()).all()
    first = given.unique(["symbol", "ts"], keep="first", maintain_order=True)
    both = frame.join(first, on=["symbol", "ts"], suffix="_given")
    changed = pl.any_horizontal(
        pl.col(name).ne_missing(pl.col(f"{name}_given")) for name in ("open", "high", "low", "close")
    )
    assert both.filter(changed & (pl.col("flags").list.len() == 0)).is_empty()
    assert frame.schema == CLEANED_SCHEMA


def test_the_default_repairs_have_rules():
    assert set(CleaningSettings().repair) <= set(SEVERITY)
