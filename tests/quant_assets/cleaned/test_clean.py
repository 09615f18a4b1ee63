"""Cleaning: alignment, adjustment, flags and findings, on small histories of known answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl
import pytest

from quant_assets.cleaned import CLEANED_SCHEMA, FINDING_SCHEMA, CleanResult, clean
from quant_assets.cleaned.rules import SEVERITY
from resources.calendars import sessions
from resources.config import CleaningSettings
from resources.errors import BarSchemaError
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA

DAYS = sessions("XNYS", date(2012, 1, 1), date(2012, 12, 31))
INSTRUMENTS = pl.DataFrame({"symbol": ["AAA", "BBB", "NIGHT"], "calendar": ["XNYS", "XNYS", "CMES"]})
PRICES = ("open", "high", "low", "close")


def bars(
    closes: list[float], symbol: str = "AAA", opens: dict[int, float] | None = None, without: tuple[int, ...] = ()
) -> pl.DataFrame:
    """Bars from the first session of 2012: each opens at its own close, unless told, and is a little wider."""
    opened = [(opens or {}).get(i, close) for i, close in enumerate(closes)]
    frame = (
        DAYS.head(len(closes))
        .select(ts="open", known_at="close")
        .with_columns(
            symbol=pl.lit(symbol),
            open=pl.Series(opened),
            high=pl.Series([max(pair) * 1.01 for pair in zip(opened, closes, strict=True)]),
            low=pl.Series([min(pair) * 0.99 for pair in zip(opened, closes, strict=True)]),
            close=pl.Series(closes),
            volume=pl.Series([1000.0 + i for i in range(len(closes))]),
            provider=pl.lit("test"),
            fetched_at="known_at",
        )
    )
    return frame.with_row_index().filter(~pl.col("index").is_in(without)).select(BAR_SCHEMA.names())


def actions(*rows: tuple[int, str, float | None], symbol: str = "AAA") -> pl.DataFrame:
    """Actions on the given sessions of 2012; -n is n days before the first."""
    start = DAYS["open"][0]
    stamps = [DAYS["open"][day] if day >= 0 else start + timedelta(days=day) for day, _, _ in rows]
    return pl.DataFrame(
        {
            "symbol": [symbol] * len(rows),
            "ts": stamps,
            "kind": [kind for _, kind, _ in rows],
            "value": [value for *_, value in rows],
            "provider": ["test"] * len(rows),
            "fetched_at": stamps,
            "known_at": stamps,
        },
        schema=ACTION_SCHEMA,
    )


def cleaned(given: pl.DataFrame, acted: pl.DataFrame | None = None, **settings: object) -> CleanResult:
    acted = actions() if acted is None else acted
    return clean(given.lazy(), acted.lazy(), INSTRUMENTS, CleaningSettings.model_validate(settings))


def rules(result: CleanResult) -> list[str]:
    return result.findings["rule"].to_list()


# --- half-built -------------------------------------------------------------------------------------------------------

HALVES = [  # known_at of the last bar: its start, or none; when it was fetched, from the close; whether kept
    ("unsaid, fetched an hour before the close", None, -1, False),
    ("at its start, fetched an hour before the close", "ts", -1, False),
    ("unsaid, fetched at the close", None, 0, True),
    ("at its start, fetched after the close", "ts", 1, True),
]


@pytest.mark.parametrize(("known", "hours", "kept"), [c[1:] for c in HALVES], ids=[c[0] for c in HALVES])
def test_a_bar_that_does_not_say_when_it_was_known_is_measured_against_the_close(known, hours, kept):
    last, close = pl.col("ts") == DAYS["open"][2], DAYS["close"][2]
    known_at = pl.col("ts") if known else pl.lit(None, BAR_SCHEMA["known_at"])
    given = bars([1.0, 2.0, 3.0]).with_columns(
        known_at=pl.when(last).then(known_at).otherwise("known_at"),
        fetched_at=pl.when(last).then(pl.lit(close + timedelta(hours=hours))).otherwise("fetched_at"),
    )
    result = cleaned(given)
    frame = result.bars.collect()
    assert frame["close"].to_list() == [1.0, 2.0, 3.0][: 2 + kept]
    assert frame["known_at"].to_list() == DAYS["close"][: 2 + kept].to_list()
    assert rules(result) == ["clock_error"] * bool(known) + ["half_built"] * (not kept)


# --- adjustment -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    name: str
    closes: list[float]
    acted: list[tuple[int, str, float | None]]
    adjusted: list[float]
    found: list[tuple[str, float | None, float | None]] = field(default_factory=list)
    opens: dict[int, float] = field(default_factory=dict)
    without: tuple[int, ...] = ()


ADJUSTED = [
    Case("nothing happens", [100, 110], [], [100, 110]),
    Case("two for one", [100, 50, 55], [(1, "split", 2.0)], [100, 100, 110]),
    Case("one for ten", [1, 10, 11], [(1, "split", 0.1)], [1, 1, 1.1]),
    Case("dividend", [100, 98, 98], [(1, "dividend", 2.0)], [100, 100, 100]),
    Case("two dividends", [100, 98, 49], [(1, "dividend", 2.0), (2, "dividend", 49.0)], [100, 100, 100]),
    Case("split and dividend of the new shares", [100, 48], [(1, "split", 2.0), (1, "dividend", 2.0)], [100, 100]),
    Case("two dividends of one session", [100, 96], [(1, "dividend", 3.0), (1, "dividend", 1.0)], [100, 100]),
    Case("spin-off larger than the old shares' price", [30, 40], [(1, "split", 0.25), (1, "dividend", 80.0)], [30, 30]),
    Case("a fall that is no dividend", [100, 50], [], [100, 50]),
    Case(
        "dividend larger than the price",
        [100, 90],
        [(1, "dividend", 181.0)],
        [100, 90],
        [("dividend_exceeds_price", 181.0, 0.0)],
    ),
    Case(
        "dividend of the whole price",
        [100, 90],
        [(1, "dividend", 100.0)],
        [100, 90],
        [("dividend_exceeds_price", 100.0, 0.0)],
    ),
    Case(
        "large dividend that did not show",
        [100, 101],
        [(1, "dividend", 15.0)],
        [100, 101],
        [("dividend_unconfirmed", 15.0, 0.0)],
    ),
    Case("large dividend that showed at the open", [100, 99], [(1, "dividend", 15.0)], [100, 9900 / 85], opens={1: 86}),
    Case("small dividend that did not show", [100, 100], [(1, "dividend", 5.0)], [100, 10000 / 95]),
    Case("split that did not show", [100, 101], [(1, "split", 2.0)], [100, 101], [("split_unconfirmed", 2.0, 1.0)]),
    Case("small split that did not show", [100, 100], [(1, "split", 1.05)], [100, 105]),
    Case(
        "spin-off told twice, as split and as dividend",
        [36, 22],
        [(1, "split", 1.5), (1, "dividend", 14.0)],
        [36, 36],
        [("split_unconfirmed", 1.5, 1.0)],
    ),
    Case("on the first bar", [100, 100], [(0, "dividend", 3.0)], [100, 100], [("action_before_history", 3.0, None)]),
    Case("before the first bar", [100, 100], [(-9, "split", 2.0)], [100, 100], [("action_before_history", 2.0, None)]),
    Case("after the last bar", [100, 100], [(5, "split", 2.0)], [100, 100], [("action_without_bar", 2.0, None)]),
    Case(
        "on a session without a bar",
        [100, 50, 50],
        [(1, "split", 2.0)],
        [100, 100, 100],
        [("missing_session", None, 100.0), ("action_moved", 2.0, 2.0)],
        without=(1,),
    ),
    Case("no number", [100, 100], [(1, "dividend", None)], [100, 100], [("action_invalid", None, None)]),
    Case("negative dividend", [100, 100], [(1, "dividend", -1.0)], [100, 100], [("action_invalid", -1.0, None)]),
    Case("split by zero", [100, 100], [(1, "split", 0.0)], [100, 100], [("action_invalid", 0.0, None)]),
    Case(
        "told twice",
        [100, 98],
        [(1, "dividend", 2.0), (1, "dividend", 2.0)],
        [100, 100],
        [("action_duplicated", 2.0, None)],
    ),
]


@pytest.mark.parametrize("case", ADJUSTED, ids=lambda case: case.name)
def test_adjustment(case):
    given = bars([float(close) for close in case.closes], opens=case.opens, without=case.without)
    result = cleaned(given, actions(*case.acted))
    frame = result.bars.collect()
    assert frame["adj_close"].to_list() == pytest.approx(case.adjusted)
    factor = frame["split_factor"] * frame["dividend_factor"]
    for name in PRICES:
        assert frame[f"adj_{name}"].to_list() == pytest.approx((frame[name] * factor).to_list())
    assert frame["adj_volume"].to_list() == pytest.approx((frame["volume"] / frame["split_factor"]).to_list())
    found = result.findings.filter(pl.col("rule") != "unapplied_split").select("rule", "old", "new").rows()
    assert found == case.found


def test_factors_are_kept_and_columns_say_what_was_applied():
    result = cleaned(bars([100.0, 48.0, 48.0]), actions((1, "split", 2.0), (1, "dividend", 2.0), (2, "dividend", 99.0)))
    frame = result.bars.collect()
    assert frame["split"].to_list() == [1.0, 2.0, 1.0]
    assert frame["dividend"].to_list() == [0.0, 2.0, 0.0]
    assert frame["split_factor"].to_list() == [1.0, 2.0, 2.0]
    assert frame["dividend_factor"].to_list() == pytest.approx([1.0, 50 / 48, 50 / 48])
    assert frame["adj_volume"].to_list() == [1000.0, 500.5, 501.0]
    assert frame["flags"].to_list() == [[], [], ["dividend_exceeds_price"]]


def test_a_moved_action_takes_effect_where_its_finding_says():
    result = cleaned(bars([100.0, 50.0, 50.0], without=(1,)), actions((1, "split", 2.0)))
    assert result.bars.collect()["split"].to_list() == [1.0, 1.0, 2.0]
    moved = result.findings.row(by_predicate=pl.col("rule") == "action_moved", named=True)
    assert (moved["ts"], moved["field"], moved["severity"]) == (DAYS["open"][2], "split", "info")


def test_an_action_known_only_after_the_close_is_told():
    late = actions((1, "dividend", 2.0)).with_columns(known_at=pl.lit(DAYS["close"][3]))
    result = cleaned(bars([100.0, 98.0, 98.0]), late)
    assert rules(result) == ["action_known_late"]
    assert result.bars.collect()["dividend"].to_list() == [0.0, 2.0, 0.0]


def test_actions_of_a_symbol_without_bars_are_told():
    result = cleaned(bars([100.0, 98.0]), actions((1, "dividend", 2.0), symbol="ZZZ"))
    assert result.findings.select("rule", "symbol").rows() == [("action_without_bar", "ZZZ")]


# --- alignment --------------------------------------------------------------------------------------------------------


def test_shape_and_order():
    given = pl.concat([bars([5.0, 6.0], "BBB"), bars([1.0, 2.0, 3.0])])
    frame = cleaned(given).bars.collect()
    assert frame.schema == CLEANED_SCHEMA
    assert frame["symbol"].to_list() == ["AAA"] * 3 + ["BBB"] * 2
    assert frame["session"].to_list() == [*DAYS["session"][:3], *DAYS["session"][:2]]
    assert cleaned(given).findings.schema == FINDING_SCHEMA


def test_a_missing_session_is_the_close_before_without_volume():
    frame = cleaned(bars([10.0, 11.0, 12.0, 13.0], without=(1, 2))).bars.collect()
    assert frame["session"].to_list() == DAYS["session"][:4].to_list()
    assert frame["ts"].to_list() == DAYS["open"][:4].to_list()
    assert frame["known_at"].to_list() == DAYS["close"][:4].to_list()
    assert frame.select(PRICES).rows()[1:3] == [(10.0,) * 4] * 2
    assert frame["volume"].to_list() == [1000.0, 0.0, 0.0, 1003.0]
    assert frame["flags"].to_list() == [[], ["missing_session"], ["missing_session"], []]


def test_a_symbol_is_filled_from_its_first_to_its_last_bar_only():
    given = pl.concat([bars([1.0] * 2), bars([2.0] * 6, "BBB", without=(0, 1, 4))])
    counts = cleaned(given).bars.collect().group_by("symbol", maintain_order=True).len()
    assert counts.rows() == [("AAA", 2), ("BBB", 4)]


def test_sessions_that_open_the_evening_before_have_their_own_date():
    day = sessions("CMES", date(2012, 1, 1), date(2012, 1, 31)).head(3)
    assert (day["open"].dt.date() < day["session"]).all()
    ends = pl.Series(day["close"])
    stamped = {"symbol": pl.lit("NIGHT"), "ts": pl.Series(day["open"]), "known_at": ends, "fetched_at": ends}
    frame = cleaned(bars([7.0, 7.5, 8.0]).with_columns(**stamped)).bars.collect()
    assert frame["session"].to_list() == day["session"].to_list()


def test_an_excluded_row_is_left_out_with_a_finding_and_becomes_a_missing_session():
    given = bars([10.0, 11.0, 12.0]).with_columns(close=pl.when(pl.int_range(pl.len()) != 1).then("close"))
    row = {"symbol": "AAA", "session": DAYS["session"][1], "reason": "the source holds an empty row"}
    result = cleaned(given, exclude=[row])
    assert rules(result) == ["excluded", "missing_session"]
    assert result.bars.collect()["close"].to_list() == [10.0, 10.0, 12.0]


def test_exclusion_touches_no_other_symbol_and_no_other_day():
    given = pl.concat([bars([1.0, 2.0]), bars([3.0, 4.0], "BBB")])
    row = {"symbol": "BBB", "session": DAYS["session"][1], "reason": "wrong"}
    result = cleaned(given, exclude=[row, {"symbol": "BBB", "reason": "rows without a date"}])
    assert result.bars.collect()["close"].to_list() == [1.0, 2.0, 3.0]
    assert result.findings.select("rule", "symbol", "old", "new").rows() == [("excluded", "BBB", 4.0, None)]


_LONG_AGO = pl.lit(DAYS["open"][0]).dt.offset_by("-1y")
_untimed = bars([1.0]).with_columns(ts=pl.lit(None, BAR_SCHEMA["ts"]))

REFUSED = [
    ("unknown symbol", bars([1.0], "ZZZ"), None, "ZZZ: no calendar known"),
    ("no bars", bars([1.0]).clear(), None, "no bars to clean"),
    ("no symbol", bars([1.0]).with_columns(symbol=pl.lit(None, pl.String)), None, "1 bars without a symbol"),
    ("no time", pl.concat([bars([1.0]), _untimed]), None, "AAA: 1 bars without a time.*cleaning.exclude"),
    ("no column", bars([1.0]).drop("close"), None, "column close is None; it must be Float64"),
    ("another type", bars([1.0]).with_columns(pl.col("close").cast(pl.Int64)), None, "column close is Int64"),
    (
        "all of the future",
        bars([1.0]).with_columns(fetched_at=_LONG_AGO),
        None,
        "every bar begins after it was fetched",
    ),
    ("unknown action", bars([1.0]), actions((0, "rename", 1.0)), "AAA 2012-01-03.*'rename', not one of split"),
]


@pytest.mark.parametrize(("given", "acted", "message"), [case[1:] for case in REFUSED], ids=[c[0] for c in REFUSED])
def test_refused(given, acted, message):
    with pytest.raises(BarSchemaError, match=message):
        cleaned(given, acted)


def test_a_symbol_with_two_calendars_is_refused():
    twice = pl.DataFrame({"symbol": ["AAA", "AAA"], "calendar": ["XNYS", "XLON"]})
    with pytest.raises(BarSchemaError, match="AAA: calendar is both XLON and XNYS"):
        clean(bars([1.0]).lazy(), actions().lazy(), twice)


# --- flags ------------------------------------------------------------------------------------------------------------

WALK = [100 * (1.01 if i % 2 else 1.0) * 1.0003**i for i in range(60)]
"""Moves of about 1% a session, up and down."""


def flagged(closes: list[float], rule: str, **settings: object) -> list[int]:
    frame = cleaned(bars(closes), **settings).bars.collect()
    return [i for i, flags in enumerate(frame["flags"].to_list()) if rule in flags]


def test_zero_volume():
    given = bars([10.0, 11.0, 12.0]).with_columns(volume=pl.Series([5.0, 0.0, 5.0]))
    result = cleaned(given)
    assert result.bars.collect()["flags"].to_list() == [[], ["zero_volume"], []]
    assert result.findings.select("rule", "old", "new", "severity").rows() == [("zero_volume", 0.0, 0.0, "info")]


@pytest.mark.parametrize(("bars_alike", "where"), [(2, [2, 3, 4]), (3, [3, 4]), (4, [4]), (5, [])])
def test_stale(bars_alike, where):
    assert flagged([9.0, 10.0, 10.0, 10.0, 10.0, 11.0], "stale", stale_bars=bars_alike) == where


def test_a_missing_session_is_not_stale_and_neither_is_the_next_symbol():
    assert rules(cleaned(bars([10.0] * 2 + [10.0] * 3, without=(2, 3)))) == ["missing_session"] * 2
    assert rules(cleaned(pl.concat([bars([10.0] * 2), bars([10.0] * 2, "BBB")]))) == []


def test_jump():
    jumped = WALK[:40] + [price * 1.35 for price in WALK[40:]]
    assert flagged(jumped, "jump") == [40]
    assert flagged(jumped, "jump", jump_sigmas=50) == []
    assert flagged(WALK, "jump") == []


@pytest.mark.parametrize(("at", "where"), [(15, []), (21, []), (22, [22])])
def test_a_jump_can_be_told_after_21_earlier_moves(at, where):
    assert flagged([*WALK[:at], *[price * 1.35 for price in WALK[at:30]]], "jump") == where


def test_a_wild_symbol_jumps_less_easily():
    wild = [100 * (1.2 if i % 2 else 1.0) for i in range(40)]
    assert flagged([*wild, wild[-1] * 1.35], "jump") == []


def test_a_split_that_was_not_told_is_suspected():
    halved = WALK[:40] + [price / 2 for price in WALK[40:]]
    result = cleaned(bars(halved))
    assert rules(result) == ["jump", "unapplied_split"]
    assert cleaned(bars(halved), actions((40, "split", 2.0))).findings.is_empty()


def test_a_fall_to_no_usual_ratio_is_a_jump_only():
    assert rules(cleaned(bars(WALK[:40] + [price * 0.57 for price in WALK[40:]]))) == ["jump"]


def test_every_rule_met_has_a_severity_and_every_flag_a_finding():
    given = pl.concat([bars([*WALK[:40], WALK[40] / 2, WALK[41] / 2]), bars([3.0] * 9, "BBB", without=(4,))])
    result = cleaned(given, actions((40, "dividend", 999.0), (7, "split", 3.0)))
    assert set(rules(result)) <= set(SEVERITY)
    assert (result.findings["severity"] == result.findings["rule"].replace_strict(SEVERITY)).all()
    flags = result.bars.select("symbol", "ts", rule="flags").explode("rule", empty_as_null=False).collect()
    assert sorted(flags.rows()) == sorted(result.findings.select("symbol", "ts", "rule").rows())
    assert len(flags) > 5
