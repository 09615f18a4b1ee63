"""Each suite passes good rows and names each planted defect; a wrong suite is refused with field and example."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from quant_assets.cleaned import CLEANED_SCHEMA, clean
from quant_assets.expectation_runs import MAX_FINDINGS, NO_PARTITION, Severity, SuiteResult
from quant_assets.expectations import FOLDER, Suite, load_suite, run
from quant_assets.features import catalog, compute, panel
from quant_assets.features.panel import RANKED, rank_bounds
from quant_assets.features.sets import load_set
from quant_assets.features.stored import STORED
from quant_assets.signals.daily import SIGNAL_SCHEMA
from resources.calendars import UTC_MICROS
from resources.market_data.base import BAR_SCHEMA
from resources.market_data.sample import Sample

INSTANT = {"ts": UTC_MICROS, "known_at": UTC_MICROS, "fetched_at": UTC_MICROS}
OPEN, CLOSE = datetime(2013, 2, 28, 14, 30), datetime(2013, 2, 28, 21)
STAMPS: dict[str, Any] = {"session": date(2013, 2, 28), "ts": OPEN, "known_at": CLOSE}

BAR = {"open": 10.0, "high": 12.0, "low": 9.0, "close": 11.0, "volume": 500.0}
FACTORS = {"split": 1.0, "dividend": 0.0, "split_factor": 2.0, "dividend_factor": 1.5}
ADJUSTED = {"adj_open": 30.0, "adj_high": 36.0, "adj_low": 27.0, "adj_close": 33.0, "adj_volume": 250.0}
WEIGHTS = {"target_weight": 0.5, "previous_weight": 0.2, "score": 0.01, "confidence": 0.6}
EXITS = {"take_profit_fraction": 0.05, "stop_loss_fraction": 0.08}
WORDS = {"order_intent": "buy", "model_version": None, "data_version": "abc", "reasons": ["trend"]}
RANKS = dict.fromkeys(
    [f"{name}_rank" for name in ("return_21", "return_126", "return_252_21", "sma_ratio_200", "rsi_14")]
    + [f"{name}_rank" for name in ("volatility_63", "volume_ratio_5_63", "amihud_21")],
    0.5,
)
PRICES = {"tradable": True, "close": 10.0, "adj_open": 9.0, "adj_close": 10.0, "flags": []}

GOOD: dict[str, dict[str, Any]] = {
    "bars": {"ts": OPEN, "known_at": CLOSE, **BAR, "provider": "sample", "fetched_at": CLOSE},
    "cleaned_bars": {**STAMPS, **BAR, **FACTORS, **ADJUSTED, "flags": []},
    "features": {**STAMPS, "oscillator": 50.0, "ratio": 1.0},
    "panel": {**STAMPS, **PRICES, **RANKS},
    "signals": {**STAMPS, "strategy": "s", **WEIGHTS, **EXITS, **WORDS},
}
CATALOGUE = pl.DataFrame({"name": ["oscillator", "ratio"], "lower": [0.0, -math.inf], "upper": [100.0, math.inf]})
CATALOGUES = {"panel": rank_bounds(RANKED)}
"""What the suites are told of the columns whose bounds they read; CATALOGUE where nothing else stands here."""

TEXTS = ("symbol", "provider", "strategy", "order_intent", "model_version", "data_version")


def frame_of(suite: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Good rows of the suite's asset with these changes, a symbol each unless told otherwise."""
    filled = [{"symbol": f"S{number:02d}", **GOOD[suite], **row} for number, row in enumerate(rows)]
    if suite == "signals":  # each row a strategy of its own, so that weights do not add up
        filled = [{**row, "strategy": row["symbol"]} if row["strategy"] == "s" else row for row in filled]
    overrides: dict[str, Any] = {name: dtype for name, dtype in INSTANT.items() if name in filled[0]}
    overrides |= {name: pl.List(pl.String) for name in ("flags", "reasons") if name in filled[0]}
    overrides |= {name: pl.String for name in TEXTS if name in filled[0]}
    return pl.DataFrame(filled, schema_overrides=overrides, infer_schema_length=None, strict=False)


def broken(result: SuiteResult) -> set[str]:
    failed = result.results.filter(~pl.col("passed"))
    return {short(name, column) for name, column in failed.select("expectation", "column").iter_rows()}


def short(expectation: str, column: str) -> str:
    """`expect_column_values_to_be_between` of close as `between close`."""
    for cut in (
        "expect_",
        "column_",
        "values_",
        "to_",
        "be_",
        "compound_columns_to_be_",
        "pair_values_a_to_be_",
        "table_",
    ):
        expectation = expectation.removeprefix(cut)
    return f"{expectation.removesuffix('_to_be_between')} {column}"


class Case(NamedTuple):
    suite: str
    defect: str
    changes: dict[str, Any]
    broken: set[str]


ABOVE_ALL = {"greater_than_b high, open", "greater_than_b high, close"}
EARLY = {"known_at": OPEN}
UNFINISHED = {"fetched_at": CLOSE - timedelta(seconds=1)}
LATER_OPEN = {"ts": CLOSE}
NO_OPEN = {"not_be_null open", "greater_than_b high, open", "greater_than_b open, low"}
BACKWARD = {"dividend_factor": 0.75, "adj_close": 16.5}
BELOW_ALL = {"greater_than_b high, low", "greater_than_b open, low", "greater_than_b close, low"}
NOT_LATER = {"greater_than_b known_at, ts"}

DEFECTS = [
    # suite            defect                    changes                          what must break
    Case("bars", "no price", {"open": None}, NO_OPEN),
    Case("bars", "price is not a number", {"low": math.nan}, {"between low", *BELOW_ALL}),
    Case("bars", "price is infinite", {"high": math.inf}, {"between high"}),
    Case("bars", "price of zero", {"low": 0.0}, {"between low"}),
    Case("bars", "negative price", {"low": -1.0}, {"between low"}),
    Case("bars", "price beyond belief", {"high": 1e8}, {"between high"}),
    Case("bars", "high below the rest", {"high": 9.5}, ABOVE_ALL),
    Case("bars", "low above the open", {"low": 10.5}, {"greater_than_b open, low"}),
    Case("bars", "low above the close", {"low": 9.5, "close": 9.2}, {"greater_than_b close, low"}),
    Case("bars", "low above the high", {"low": 13.0}, BELOW_ALL),
    Case("bars", "negative volume", {"volume": -1.0}, {"between volume"}),
    Case("bars", "no volume", {"volume": None}, {"not_be_null volume"}),
    Case("bars", "known when it starts", EARLY, NOT_LATER),
    Case("bars", "fetched before its end", UNFINISHED, {"greater_than_b fetched_at, known_at"}),
    Case("bars", "no provider", {"provider": None}, {"not_be_null provider"}),
    Case("cleaned_bars", "hole left", {"adj_open": None}, {"not_be_null adj_open"}),
    Case("cleaned_bars", "no flags", {"flags": None}, {"not_be_null flags"}),
    Case("cleaned_bars", "factor forgotten", {"adj_close": 11.0}, {"between adj_close_error"}),
    Case("cleaned_bars", "volume not restated", {"adj_volume": 500.0}, {"between adj_volume_error"}),
    Case("cleaned_bars", "backward dividends", BACKWARD, {"between dividend_factor"}),
    Case("cleaned_bars", "negative dividend", {"dividend": -0.1}, {"between dividend"}),
    Case("cleaned_bars", "split of nothing", {"split": 0.0}, {"between split"}),
    Case("cleaned_bars", "high below the rest", {"high": 9.5}, ABOVE_ALL),
    Case("cleaned_bars", "known when it starts", EARLY, NOT_LATER),
    Case("features", "above its range", {"oscillator": 100.5}, {"between oscillator"}),
    Case("features", "below its range", {"oscillator": -0.1}, {"between oscillator"}),
    Case("features", "bounded, not a number", {"oscillator": math.nan}, {"between oscillator"}),
    Case("features", "unbounded, not a number", {"ratio": math.nan}, {"between ratio"}),
    Case("features", "unbounded, infinite", {"ratio": -math.inf}, {"between ratio"}),
    Case("features", "known when it starts", LATER_OPEN, NOT_LATER),
    Case("panel", "rank above one", {"rsi_14_rank": 1.01}, {"between rsi_14_rank"}),
    Case("panel", "price of zero", {"adj_open": 0.0}, {"between adj_open"}),
    Case("panel", "nobody knows if tradable", {"tradable": None}, {"not_be_null tradable"}),
    Case("signals", "weight above one", {"target_weight": 1.2}, {"between target_weight", "between gross"}),
    Case("signals", "weight is not a number", {"target_weight": math.nan}, {"between target_weight", "between gross"}),
    Case("signals", "no weight", {"target_weight": None}, {"not_be_null target_weight"}),
    Case("signals", "unknown word", {"order_intent": "short"}, {"in_set order_intent"}),
    Case("signals", "stop above the price", {"stop_loss_fraction": -0.1}, {"between stop_loss_fraction"}),
    Case("signals", "no distance", {"take_profit_fraction": -0.01}, {"between take_profit_fraction"}),
    Case("signals", "buys less", {"previous_weight": 0.6}, {"in_set against_target"}),
    Case("signals", "sells more", {"order_intent": "sell"}, {"in_set against_target"}),
    Case("signals", "confidence above one", {"confidence": 1.5}, {"between confidence"}),
    Case("signals", "loses more than all", {"score": -1.5}, {"between score"}),
    Case("signals", "no reasons", {"reasons": None}, {"not_be_null reasons"}),
    Case("signals", "no data version", {"data_version": None}, {"not_be_null data_version"}),
    Case("signals", "known when it starts", EARLY, NOT_LATER),
]  # fmt: skip
SOUND = [
    Case("bars", "flat bar", {"open": 9.0, "high": 9.0, "low": 9.0, "close": 9.0}, set()),
    Case("features", "still warming up", {"oscillator": None, "ratio": None}, set()),
    Case("features", "at its bounds, to rounding", {"oscillator": 100.00000000000003}, set()),
    Case("panel", "too few for a rank", {"rsi_14_rank": None}, set()),
    Case("signals", "no model", {"score": None, "confidence": None}, set()),
    Case("signals", "short", {"target_weight": -0.5, "order_intent": "sell"}, set()),
]
CASES = [*DEFECTS, *SOUND]


@pytest.fixture(scope="module")
def judged() -> Callable[[str], SuiteResult]:
    """Each suite's verdict on a frame with every case of that suite, a symbol each."""
    held: dict[str, SuiteResult] = {}

    def of(suite: str) -> SuiteResult:
        if suite not in held:
            frame = frame_of(suite, [case.changes for case in CASES if case.suite == suite])
            held[suite] = run(load_suite(suite), frame, catalogue=CATALOGUES.get(suite, CATALOGUE))
        return held[suite]

    return of


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.suite}: {case.defect}")
def test_a_defect_is_found_in_its_row_and_nowhere_else(case: Case, judged: Callable[[str], SuiteResult]) -> None:
    number = [other for other in CASES if other.suite == case.suite].index(case)
    found = judged(case.suite).findings.filter((pl.col("symbol") == f"S{number:02d}") & (pl.col("severity") == "error"))
    assert {short(name, column) for name, column in found.select("expectation", "column").iter_rows()} == case.broken


@pytest.mark.parametrize("suite", GOOD)
def test_good_rows_pass(suite: str) -> None:
    result = run(load_suite(suite), frame_of(suite, [{}, {}]), catalogue=CATALOGUES.get(suite, CATALOGUE))
    assert broken(result) == set()
    assert (result.passed, result.severity, result.everywhere, result.rows) == (True, None, None, 2)
    assert result.findings.is_empty()


@pytest.mark.parametrize(
    ("suite", "twice", "found"),
    [
        ("bars", {}, {"unique symbol, ts"}),
        ("cleaned_bars", {}, {"unique symbol, ts"}),
        ("features", {}, {"unique symbol, session"}),
        ("panel", {}, {"unique symbol, session"}),
        ("signals", {"target_weight": 0.3}, {"unique strategy, symbol, session"}),
    ],
)
def test_the_same_key_twice_is_found(suite: str, twice: dict[str, Any], found: set[str]) -> None:
    frame = frame_of(suite, [{"symbol": "A"}, {"symbol": "A", **twice}, {"symbol": "B"}])
    result = run(load_suite(suite), frame, catalogue=CATALOGUES.get(suite, CATALOGUE), rows_per_batch=1)
    assert broken(result) == found
    assert set(result.findings["symbol"]) == {"A"}
    assert result.findings.height == 2 * len(found)


@pytest.mark.parametrize(
    ("suite", "schema"), [("bars", BAR_SCHEMA), ("cleaned_bars", CLEANED_SCHEMA), ("signals", SIGNAL_SCHEMA)]
)
def test_suites_name_the_columns_of_their_asset(suite: str, schema: pl.Schema) -> None:
    loaded = load_suite(suite)
    named = {column for rule in loaded.rules() for column in rule.columns} - set(loaded.derive)
    assert named == set(schema)
    assert set(frame_of(suite, [{}]).columns) == set(schema)


def test_the_sample_passes_from_bars_to_panel() -> None:
    sample, symbols, dates = Sample(), ["IBM", "MSFT"], (date(2005, 1, 3), date(2007, 12, 31))
    raw, instruments = sample.bars(symbols, *dates), sample.instruments(symbols)
    cleaned = clean(raw, sample.corporate_actions(symbols, *dates), instruments).bars
    core = load_set("core").names
    technical = compute(cleaned, core)
    catalogues = {**CATALOGUES, "features": catalog().filter(pl.col("name").is_in(core))}
    frames = {
        "bars": raw,
        "cleaned_bars": cleaned,
        "features": technical,
        "panel": panel(technical, cleaned, instruments),
    }
    by_year = pl.format("{}|{}", pl.col("ts").dt.year(), "symbol")
    for suite, frame in frames.items():
        result = run(load_suite(suite), frame, partition=by_year, catalogue=catalogues.get(suite, CATALOGUE))
        assert broken(result) == set(), suite


def test_weights_add_up_within_strategy_and_session() -> None:
    rows = [
        {"strategy": "x", "target_weight": 0.6},
        {"strategy": "x", "target_weight": -0.6, "order_intent": "sell"},
        {"strategy": "y", "target_weight": 0.9},
    ]
    result = run(load_suite("signals"), frame_of("signals", rows))
    assert broken(result) == {"between gross"}
    assert result.findings["value"].to_list() == ["gross=1.2", "gross=1.2"]


TABLE_DEFECTS = [
    ("column missing", lambda bars: bars.drop("volume"), {"volume"}),
    ("prices in 32 bits", lambda bars: bars.with_columns(pl.col("close").cast(pl.Float32)), {"close"}),
    ("time without a zone", lambda bars: bars.with_columns(pl.col("ts").dt.replace_time_zone(None)), {"ts"}),
    ("time in nanoseconds", lambda bars: bars.with_columns(pl.col("known_at").dt.cast_time_unit("ns")), {"known_at"}),
    ("symbols as numbers", lambda bars: bars.with_columns(symbol=pl.lit(7)), {"symbol"}),
]


@pytest.mark.parametrize(("defect", "spoil", "columns"), TABLE_DEFECTS, ids=[row[0] for row in TABLE_DEFECTS])
def test_a_defect_of_the_table_fails_everywhere(
    defect: str, spoil: Callable[[pl.DataFrame], pl.DataFrame], columns: set[str]
) -> None:
    result = run(load_suite("bars"), spoil(frame_of("bars", [{}])), partition=pl.col("symbol"))
    failed = result.results.filter(~pl.col("passed"))
    assert columns <= {name for label in failed["column"] for name in label.split(", ")}, defect
    assert result.everywhere is Severity.ERROR
    assert result.severity is Severity.ERROR


def test_an_empty_table_fails_its_row_count_alone() -> None:
    result = run(load_suite("bars"), frame_of("bars", [{}]).clear())
    assert broken(result) == {"row_count table"}
    assert result.rows == 0


def test_a_missing_column_is_named() -> None:
    result = run(load_suite("bars"), frame_of("bars", [{}]).drop("high"))
    seen = result.results.filter(pl.col("column").str.contains("high"))
    assert set(seen["observed"]) == {"no column high"}


def suite_of(*expectations: dict[str, Any], **fields: Any) -> Suite:
    entries = [{"why": "because the test says so", **entry} for entry in expectations]
    return Suite.model_validate(
        {"name": "own", "asset": "a/b", "description": "A suite of the tests.", "expectations": entries, **fields}
    )


POSITIVE = {"expectation": "expect_column_values_to_be_between", "kwargs": {"column": "x", "min_value": 0}}
MOSTLY = {**POSITIVE, "kwargs": {"column": "x", "min_value": 0, "mostly": 0.5}}


def test_a_warning_fails_the_suite_without_being_an_error() -> None:
    frame = pl.DataFrame({"symbol": ["A", "B"], "x": [-1.0, 1.0], "y": [None, 2.0]})
    exists = {"expectation": "expect_column_values_to_not_be_null", "kwargs": {"column": "y"}}
    warned = run(suite_of({**POSITIVE, "severity": "warn"}), frame)
    both = run(suite_of({**POSITIVE, "severity": "warn"}, exists), frame)
    assert (warned.passed, warned.severity) == (False, Severity.WARN)
    assert (both.passed, both.severity) == (False, Severity.ERROR)
    assert run(suite_of(POSITIVE, severity="warn"), frame).severity is Severity.WARN


def test_row_results_tell_what_was_seen() -> None:
    frame = pl.DataFrame({"symbol": ["A", "B", "C"], "ts": [OPEN] * 3, "x": [-1.0, 1.0, None]})
    result = run(suite_of(POSITIVE), frame.with_columns(pl.col("ts").cast(UTC_MICROS)))
    row = result.results.row(0, named=True)
    assert row["observed"] == "1 of 2 unexpected (50.0000%)"
    assert (row["unexpected_count"], row["examples"]) == (1, ["A 2013-02-28 x=-1.0"])
    assert row["why"] == "because the test says so"
    assert result.findings.select("symbol", "value").rows() == [("A", "x=-1.0")]


def test_what_cannot_be_judged_fails_and_says_so() -> None:
    result = run(suite_of(POSITIVE), pl.DataFrame({"x": ["text"]}))
    assert not result.passed
    assert "cannot be judged" in result.results["observed"][0]


PARTITIONED = pl.DataFrame(
    {
        "symbol": ["A"] * 4 + ["B"] * 4 + ["C"] * 4 + ["D"] * 4,
        "x": [1.0, 1.0, 1.0, -1.0] + [-1.0, -1.0, 1.0, None] + [1.0] * 4 + [1.0, -1.0, None, None],
    }
)


@pytest.mark.parametrize("rule", [POSITIVE, MOSTLY], ids=["all", "mostly"])
@pytest.mark.parametrize("rows_per_batch", [1, 3, 1000])
def test_a_range_says_what_its_partitions_would_say(rule: dict[str, Any], rows_per_batch: int) -> None:
    suite = suite_of(rule)
    whole = run(suite, PARTITIONED.lazy(), partition=pl.col("symbol"), rows_per_batch=rows_per_batch)
    alone = {
        symbol: run(suite, PARTITIONED.filter(pl.col("symbol") == symbol), partition=pl.col("symbol"))
        for symbol in ("A", "B", "C", "D")
    }
    assert set(whole.partitions["partition"]) == {symbol for symbol, result in alone.items() if not result.passed}
    assert whole.passed == all(result.passed for result in alone.values())
    assert whole.findings.equals(pl.concat([result.findings for result in alone.values()]))


def test_a_share_is_judged_within_each_partition() -> None:
    """9 of 13 values are positive, but only 1 of the 3 that B has."""
    result = run(suite_of(MOSTLY), PARTITIONED, partition=pl.col("symbol"))
    assert result.partitions.rows() == [("B", "error", 2, ["expect_column_values_to_be_between(x)"])]
    assert run(suite_of(MOSTLY), PARTITIONED).passed


def test_rows_without_a_partition_are_counted() -> None:
    frame = pl.DataFrame({"symbol": [None, "A"], "x": [-1.0, -1.0]}, schema={"symbol": pl.String, "x": pl.Float64})
    result = run(suite_of(POSITIVE), frame, partition=pl.col("symbol"))
    assert set(result.partitions["partition"]) == {"A", NO_PARTITION}


def test_findings_are_bounded_and_counts_are_not() -> None:
    rows = MAX_FINDINGS + 5
    frame = pl.DataFrame({"symbol": ["A"] * MAX_FINDINGS + ["B"] * 5, "x": [-1.0] * rows})
    result = run(suite_of(POSITIVE), frame, partition=pl.col("symbol"), rows_per_batch=3000)
    assert result.findings.height == MAX_FINDINGS
    assert result.results["unexpected_count"][0] == rows
    assert dict(result.partitions.select("partition", "unexpected_count").iter_rows()) == {"A": MAX_FINDINGS, "B": 5}


@pytest.mark.parametrize(
    ("sums", "passed"), [({"min_value": 0, "max_value": 5}, False), ({"min_value": 0, "max_value": 6}, True)]
)
def test_a_sum_sees_all_batches(sums: dict[str, Any], passed: bool) -> None:
    entry = {"expectation": "expect_column_sum_to_be_between", "kwargs": {"column": "x", **sums}}
    frame = pl.DataFrame({"x": [1.0, 2.0, 3.0]})
    result = run(suite_of(entry), frame, rows_per_batch=1)
    assert result.passed is passed
    assert result.results["observed"][0] == "6.0"


# The suites themselves

ELSEWHERE = ("instruments", "corporate_actions", "quotes", "trades", "findings", "alternative", "sentiment", "entities")
"""Their good rows and defects stand in test_tick_and_finding_suites.py and alternative/test_verdicts.py."""


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_suite_is_readable(path: Path) -> None:
    suite = load_suite(path.stem)
    assert suite.name == path.stem
    assert path.stem in (*GOOD, *ELSEWHERE), "a new suite needs good rows and defects above"
    used = {column for rule in suite.rules(CATALOGUE) for column in rule.columns}
    assert set(suite.derive) <= used


def test_the_real_catalogue_bounds_every_feature_of_an_asset() -> None:
    between = "expect_column_values_to_be_between"
    for held in STORED.values():
        own = catalog().filter(pl.col("name").is_in(held.names))
        bounded = {rule.label: rule.kwargs for rule in load_suite("features").rules(own) if rule.expectation == between}
        assert set(bounded) == set(held.names)
        if held.name == "technical":
            assert bounded["rsi_14"]["max_value"] == pytest.approx(100.0)


def test_the_panel_suite_knows_every_rank_that_the_panel_has() -> None:
    for names, ranked in ((load_set("core").names, RANKED), (["rsi_14", "gap"], ["rsi_14"]), (["gap"], [])):
        rules = load_suite("panel").rules(rank_bounds(names))
        assert {rule.label for rule in rules if rule.label.endswith("_rank")} == {f"{name}_rank" for name in ranked}
