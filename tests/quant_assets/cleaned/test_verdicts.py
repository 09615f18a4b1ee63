"""Verdicts over findings: a healthy source passes, and each kind of defect at one row in a hundred does not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.cleaned import FINDING_SCHEMA, clean
from quant_assets.cleaned.glossary import MEANINGS, TOLD_ONLY
from quant_assets.cleaned.rules import SEVERITY
from quant_assets.cleaned.ticks import faults
from quant_assets.cleaned.verdicts import (
    FEW_TICKS,
    LIMITS,
    TICK_LIMITS,
    UNLIMITED,
    allowed,
    contradictions,
    defect_rates,
    tick_faults,
)
from quant_assets.quality import FINDING_SCHEMA as PROBLEMS
from quant_assets.quality import Verdict
from resources.config import CleaningSettings
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA, PRICES
from resources.market_data.synthetic import Synthetic
from resources.market_data.ticks import QUOTE_SCHEMA, TRADE_SCHEMA

NOON = datetime(2013, 2, 28, 17, tzinfo=UTC)


def found(rule: str, count: int, symbol: str = "A") -> pl.DataFrame:
    """So many findings of a rule, a day apart."""
    stamps = [NOON + timedelta(days=day) for day in range(count)]
    rows = [(rule, symbol, ts, "close", 2.0, 1.0, SEVERITY[rule]) for ts in stamps]
    return pl.DataFrame(rows, schema=FINDING_SCHEMA, orient="row")


# The tables


def test_every_rule_has_a_meaning_and_a_limit_or_a_reason_for_none() -> None:
    assert set(MEANINGS) == set(SEVERITY)
    assert set(LIMITS) | set(UNLIMITED) == set(SEVERITY)
    assert not set(LIMITS) & set(UNLIMITED)
    assert set(TICK_LIMITS) | set(TOLD_ONLY) <= set(SEVERITY)


@pytest.mark.parametrize("rule", MEANINGS)
def test_a_meaning_is_a_plain_sentence(rule: str) -> None:
    sentence = MEANINGS[rule]
    assert sentence[0].isupper()
    assert sentence.endswith(".")
    assert 30 < len(sentence) < 180


# contradictions


def test_no_error_is_no_contradiction() -> None:
    verdict = contradictions(pl.concat([found("jump", 3), found("zero_volume", 2)]))
    assert verdict.passed
    assert verdict.facts == {"findings": 5, "contradictions": 0, "symbols": 0}
    assert verdict.findings.equals(PROBLEMS.to_frame())


def test_every_error_is_told_with_its_meaning_place_and_values() -> None:
    both = pl.concat([found("split_unconfirmed", 1, "B"), found("dividend_unconfirmed", 2), found("jump", 1)])
    verdict = contradictions(both.with_columns(new=pl.when(pl.col("symbol") == "A").then("new")))
    assert not verdict.passed
    assert verdict.facts == {
        "findings": 4, "contradictions": 3, "symbols": 2, "dividend_unconfirmed": 2, "split_unconfirmed": 1
    }  # fmt: skip
    assert verdict.findings.schema == PROBLEMS
    assert verdict.findings.select("symbol", "session", "value").rows() == [
        ("A", date(2013, 2, 28), "2.0 given, 1.0 used"),
        ("A", date(2013, 3, 1), "2.0 given, 1.0 used"),
        ("B", date(2013, 2, 28), "2.0 given, nothing used"),
    ]
    assert verdict.findings["problem"][2] == f"split_unconfirmed: {MEANINGS['split_unconfirmed']}"


def test_a_session_of_their_own_comes_before_the_date_of_the_stamp() -> None:
    dated = found("split_unconfirmed", 1).with_columns(session=pl.lit(date(2013, 3, 1)))
    assert contradictions(dated).findings["session"].to_list() == [date(2013, 3, 1)]


def test_a_rule_of_an_older_version_is_told_without_a_meaning() -> None:
    old = found("split_unconfirmed", 1).with_columns(rule=pl.lit("forgotten"))
    assert contradictions(old).findings["problem"].to_list() == ["forgotten: "]


# defect_rates: the arithmetic


@pytest.mark.parametrize("rule", [rule for rule in LIMITS if LIMITS[rule].share < 0.01])
def test_one_row_in_a_hundred_is_unusual_and_the_limit_itself_is_not(rule: str) -> None:
    rows = 20_000
    assert not defect_rates(found(rule, rows // 100), rows).passed
    assert defect_rates(found(rule, int(rows * LIMITS[rule].share)), rows).passed


@pytest.mark.parametrize(
    ("count", "rows", "passes"),
    [
        (1, 1, True),  # one finding never fails, however few the rows
        (2, 1, False),
        (1, 250, True),
        (2, 250, False),  # a symbol's year: at most 250 x 0.0005 and three standard deviations, 1.2
        (2, 10_000, True),
        (11, 10_000, True),  # 5 expected, 11.7 with chance
        (12, 10_000, False),
        (542, 1_000_000, True),
        (568, 1_000_000, False),
        (0, 0, True),
    ],
)
def test_few_rows_have_the_benefit_of_chance(count: int, rows: int, passes: bool) -> None:
    assert defect_rates(found("action_invalid", count), rows).passed is passes


def test_a_rule_without_limit_never_fails() -> None:
    for rule in UNLIMITED:
        assert defect_rates(found(rule, 500), 1000).passed, rule


def test_an_unusual_rule_is_named_with_share_limit_and_reason() -> None:
    verdict = defect_rates(pl.concat([found("stale", 100), found("jump", 5)]), 10_000)
    assert not verdict.passed
    assert verdict.facts == {"rows": 10_000, "findings": 105, "jump": "5 (0.0500%)", "stale": "100 (1.0000%)"}
    [(symbol, session, field, problem, value)] = verdict.findings.rows()
    assert (symbol, session, field, value) == (None, None, "stale", "100 of 10,000")
    assert problem == f"in 1.000% of rows; usual is at most 0.200%: {LIMITS['stale'].why}"


@pytest.mark.parametrize(("rows", "least", "limit"), [(0, 1, 1.0), (0, 10, 10.0), (10_000, 1, 10 + 3 * 10**0.5)])
def test_allowed(rows: int, least: int, limit: float) -> None:
    assert allowed(0.001, rows, least) == pytest.approx(limit)


# defect_rates: on what cleaning finds

SYMBOLS = [f"SYN{number:04d}" for number in range(1, 41)]
Source = tuple[pl.DataFrame, pl.DataFrame]
Spoil = Callable[[pl.DataFrame, pl.DataFrame, np.ndarray], Source]


@pytest.fixture(scope="module")
def healthy() -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Two years of forty symbols: bars, actions, instruments."""
    market, dates = Synthetic(seed=7), (date(2016, 1, 4), date(2017, 12, 29))
    bars, actions = market.bars(SYMBOLS, *dates).collect(), market.corporate_actions(SYMBOLS, *dates).collect()
    return bars, actions, market.instruments(SYMBOLS)


def judged(bars: pl.DataFrame, actions: pl.DataFrame, instruments: pl.DataFrame) -> Verdict:
    cleaned = clean(bars.lazy(), actions.lazy(), instruments, CleaningSettings())
    return defect_rates(cleaned.findings, cleaned.bars.select(pl.len()).collect().item())


def in_rows(**values: pl.Expr) -> Spoil:
    """Other values in the rows that the mask names."""

    def spoil(bars: pl.DataFrame, actions: pl.DataFrame, mask: np.ndarray) -> Source:
        there = pl.Series(mask)
        return bars.with_columns(
            pl.when(there).then(value).otherwise(name).alias(name) for name, value in values.items()
        ), actions

    return spoil


def with_rows(**values: pl.Expr) -> Spoil:
    """Further rows, like those that the mask names, with other values."""

    def spoil(bars: pl.DataFrame, actions: pl.DataFrame, mask: np.ndarray) -> Source:
        return pl.concat([bars, bars.filter(pl.Series(mask)).with_columns(**values).cast(dict(BAR_SCHEMA))]), actions  # type: ignore[arg-type]

    return spoil


def with_actions(kind: str, value: pl.Expr, times: int = 1, **stamps: pl.Expr) -> Spoil:
    """Invented actions on the rows that the mask names."""

    def spoil(bars: pl.DataFrame, actions: pl.DataFrame, mask: np.ndarray) -> Source:
        made = bars.filter(pl.Series(mask)).select(
            "symbol", "ts", kind=pl.lit(kind), value=value, provider="provider", fetched_at="fetched_at", known_at="ts"
        )
        made = made.with_columns(**stamps).select(ACTION_SCHEMA.names()).cast(dict(ACTION_SCHEMA))  # type: ignore[arg-type]
        return bars, pl.concat([actions, *[made] * times])

    return spoil


def splits_lost(bars: pl.DataFrame, actions: pl.DataFrame, mask: np.ndarray) -> Source:
    """Prices halved from the rows that the mask names, without an action."""
    halved = bars.with_columns(step=pl.Series(mask).cast(pl.Int32)).with_columns(
        factor=0.5 ** (pl.col("step").cum_sum().over("symbol") % 4).cast(pl.Float64)
    )
    return halved.with_columns(pl.col(name) * pl.col("factor") for name in PRICES).drop("step", "factor"), actions


SATURDAY = pl.duration(days=6 - pl.col("ts").dt.weekday())
BEFORE = {name: pl.col(name).shift() for name in (*PRICES, "volume")}
DEFECTS: dict[str, Spoil] = {
    "duplicate": with_rows(),
    "clock_error": in_rows(ts=pl.col("ts") + pl.duration(hours=1)),
    "out_of_session": with_rows(ts=pl.col("ts") + SATURDAY, known_at=pl.col("known_at") + SATURDAY),
    "half_built": in_rows(fetched_at=pl.col("known_at") - pl.duration(hours=2)),
    "invalid_value": in_rows(close=pl.lit(0.0)),
    "inconsistent": in_rows(high=0.97 * pl.min_horizontal("open", "close")),
    "unit_error": in_rows(**{name: 100 * pl.col(name) for name in PRICES}),
    "bad_print": in_rows(high=1.5 * pl.col("high")),
    "bad_close": in_rows(close=1.6 * pl.col("close"), high=1.7 * pl.col("high")),
    "missing_session": lambda bars, actions, mask: (bars.filter(~pl.Series(mask)), actions),
    "zero_volume": in_rows(volume=pl.lit(0.0)),
    "stale": in_rows(**BEFORE),
    "unapplied_split": splits_lost,
    "split_unconfirmed": with_actions("split", pl.lit(3.0)),
    "dividend_unconfirmed": with_actions("dividend", 0.4 * pl.col("close")),
    "dividend_exceeds_price": with_actions("dividend", 3.0 * pl.col("close")),
    "action_invalid": with_actions("split", pl.lit(0.0)),
    "action_duplicated": with_actions("dividend", 0.001 * pl.col("close"), times=2),
    "action_known_late": with_actions("dividend", 0.001 * pl.col("close"), known_at=pl.col("ts") + pl.duration(days=3)),
    "action_moved": with_actions("dividend", 0.001 * pl.col("close"), ts=pl.col("ts") + SATURDAY),
}
OUT_OF_REACH = {
    "jump": "the limit leaves room for crashes; a false close that jumps is a bad_close, too",
    "dividend_overdue": "fewer than one row in a hundred has a dividend that could be lost",
    "action_before_history": "one a symbol",
}
"""Rules whose findings no injection brings to one row in a hundred; the arithmetic above covers their limits."""


def test_a_healthy_source_passes(healthy: tuple[pl.DataFrame, ...]) -> None:
    verdict = judged(*healthy)
    assert verdict.passed, verdict.findings
    assert verdict.facts["rows"] == healthy[0].height


def test_every_limited_rule_is_injected_or_cannot_be() -> None:
    assert set(DEFECTS) | set(OUT_OF_REACH) == set(LIMITS)


@pytest.mark.parametrize("rule", DEFECTS)
def test_one_defect_in_a_hundred_rows_fails(rule: str, healthy: tuple[pl.DataFrame, ...]) -> None:
    bars, actions, instruments = healthy
    # One row in each block of a hundred, so that a defect has sound rows around it, and no two on one day of the
    # market: what happens to many stocks at once is news.
    rank = bars.select(pl.int_range(pl.len()).over("symbol") + 37 * pl.col("symbol").rle_id()).to_series().to_numpy()
    mask = rank % 100 == 60
    assert mask.mean() == pytest.approx(0.01, rel=0.1)
    verdict = judged(*DEFECTS[rule](bars, actions, mask), instruments)
    assert rule in verdict.findings["field"].to_list(), verdict.facts


def test_each_year_of_real_stocks_passes(shared_data: Any) -> None:
    """Sixty of the 505 stocks, each year by itself as the daily run of a year's partition sees it."""
    rows = pl.scan_parquet(shared_data / "sp500_daily.parquet").drop_nulls().unique(["symbol", "date"])
    some = rows.select(pl.col("symbol").unique().sort().gather_every(9)).collect()["symbol"]
    held = rows.filter(pl.col("symbol").is_in(some.implode())).sort("symbol", "date")
    stamped = held.with_columns(
        ts=pl.col("date").cast(pl.Datetime("us")).dt.replace_time_zone("America/New_York").dt.offset_by("9h30m")
        .dt.convert_time_zone("UTC"),
    ).with_columns(
        provider=pl.lit("t"),
        known_at=pl.col("ts") + pl.duration(hours=3, minutes=30),
        fetched_at=pl.col("ts") + pl.duration(days=1),
    )  # fmt: skip
    bars = stamped.select(pl.col(name).cast(dtype) for name, dtype in BAR_SCHEMA.items())
    given = [
        stamped.filter(when).with_columns(kind=pl.lit(name), value=pl.col(name)).with_columns(known_at="ts")
        for name, when in (("split", pl.col("split") != 1), ("dividend", pl.col("dividend") > 0))
    ]
    actions = pl.concat(
        [frame.select(pl.col(name).cast(dtype) for name, dtype in ACTION_SCHEMA.items()) for frame in given]
    )
    calendars = pl.DataFrame({"symbol": some, "calendar": "XNYS"})
    cleaned = clean(bars, actions, calendars)
    years = cleaned.bars.group_by(year=pl.col("session").dt.year()).len().sort("year").collect()
    told = cleaned.findings.with_columns(year=pl.col("ts").dt.year())
    assert years.height == 23
    for year, count in years.iter_rows():
        verdict = defect_rates(told.filter(pl.col("year") == year).drop("year"), count)
        assert verdict.passed, (year, verdict.findings["field"].to_list(), verdict.facts)


# tick_faults

DAY = date(2013, 2, 28)


def counts(*rows: tuple[str, date, str, int]) -> pl.DataFrame:
    schema = {"symbol": pl.String, "session": pl.Date, "rule": pl.String, "count": pl.UInt32}
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def held(*rows: tuple[str, date, int]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema={"symbol": pl.String, "session": pl.Date, "ticks": pl.UInt32}, orient="row")


@pytest.mark.parametrize("rule", TICK_LIMITS)
def test_faults_above_the_usual_share_fail(rule: str) -> None:
    share, ticks = TICK_LIMITS[rule].share, 100_000
    usual, many = int(share * ticks), int(1.2 * share * ticks + 20)
    assert tick_faults(counts(("A", DAY, rule, usual)), held(("A", DAY, ticks))).passed
    verdict = tick_faults(counts(("A", DAY, rule, many)), held(("A", DAY, ticks)))
    assert not verdict.passed
    assert verdict.facts[rule] == f"{many:,} ({many / ticks:.4%})"
    assert verdict.findings.select("symbol", "session", "field", "value").rows() == [
        ("A", DAY, rule, f"{many:,} of 100,000")
    ]


def test_a_broken_symbol_does_not_hide_among_sound_ones() -> None:
    ticks = held(("A", DAY, 1_000_000), ("B", DAY, 1000), ("B", DAY + timedelta(days=1), 1000))
    verdict = tick_faults(counts(("B", DAY, "crossed", 500), ("A", DAY, "crossed", 5)), ticks)
    assert verdict.findings.select("symbol", "session").rows() == [("B", DAY)]
    assert verdict.facts == {"ticks": 1_002_000, "sessions": 3, "crossed": "505 (0.0504%)"}


@pytest.mark.parametrize(("count", "passes"), [(FEW_TICKS, True), (FEW_TICKS + 1, False)])
def test_a_few_ticks_prove_nothing(count: int, passes: bool) -> None:
    assert tick_faults(counts(("A", DAY, "crossed", count)), held(("A", DAY, 20))).passed is passes


def test_no_ticks_pass() -> None:
    verdict = tick_faults(counts(), held())
    assert (verdict.passed, verdict.facts) == (True, {"ticks": 0, "sessions": 0})
    assert verdict.findings.schema == PROBLEMS


HOUR = timedelta(hours=1)
SHIFTS = [("as they came", timedelta(), True), ("an hour late", HOUR, False), ("in local time", -4 * HOUR, False)]


@pytest.mark.parametrize(("shift", "passes"), [row[1:] for row in SHIFTS], ids=[row[0] for row in SHIFTS])
@pytest.mark.parametrize("kind", ["quotes", "trades"])
def test_real_ticks_pass_and_in_the_wrong_zone_they_do_not(
    shared_data: Any, kind: str, shift: timedelta, passes: bool
) -> None:
    rows = pl.scan_parquet(shared_data / "multi_asset" / f"ticks_{kind}.parquet")
    schema, has = (QUOTE_SCHEMA if kind == "quotes" else TRADE_SCHEMA), rows.collect_schema()
    columns = [pl.col(name) if name in has else pl.lit(None, dtype).alias(name) for name, dtype in schema.items()]
    ticks = rows.filter(pl.col("ts").dt.date() == date(2013, 10, 7)).select(columns).with_columns(pl.col("ts") + shift)
    shown = ticks.with_columns(fetched_at=pl.lit(datetime(2014, 1, 1, tzinfo=UTC))).collect()
    symbol = shown["symbol"][0]
    told = faults(shown.lazy(), pl.DataFrame({"symbol": [symbol], "calendar": ["XNYS"]}))
    by_rule = told.group_by("rule").len("count").select(
        pl.lit(symbol).alias("symbol"), pl.lit(DAY).alias("session"), "rule", "count"
    )  # fmt: skip
    assert tick_faults(by_rule, held((symbol, DAY, shown.height))).passed is passes
