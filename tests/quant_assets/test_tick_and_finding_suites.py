"""The suites of instruments, corporate actions, quotes, trades and findings: good rows pass, each bad one is named."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import polars as pl
import pytest

from quant_assets.cleaned import FINDING_SCHEMA, clean
from quant_assets.cleaned.rules import SEVERITY
from quant_assets.expectation_runs import Scope, SuiteResult
from quant_assets.expectations import load_suite, run
from resources.calendars import session_date
from resources.market_data.base import ACTION_SCHEMA, ASSET_CLASSES, INSTRUMENT_SCHEMA
from resources.market_data.sample import Sample
from resources.market_data.synthetic import Synthetic
from resources.market_data.ticks import QUOTE_SCHEMA, TRADE_SCHEMA
from tests.quant_assets.test_expectations import broken, short

NOON = datetime(2013, 2, 28, 17, tzinfo=UTC)
STAMPS: dict[str, Any] = {"ts": NOON, "known_at": NOON, "fetched_at": NOON + timedelta(hours=5), "provider": "test"}
UNORDERED = "greater_than_b known_at, ts"
EARLY = {"known_at": NOON - timedelta(microseconds=1)}

SCHEMAS = {
    "instruments": INSTRUMENT_SCHEMA,
    "corporate_actions": ACTION_SCHEMA,
    "quotes": QUOTE_SCHEMA,
    "trades": TRADE_SCHEMA,
    "findings": pl.Schema({**FINDING_SCHEMA, "session": pl.Date()}),
}
LISTED = {"listed": date(1990, 1, 2), "delisted": None, "currency": "USD", "sector": "Technology"}
STEPS: dict[str, Any] = {"tick": 0.01, "lot": 1.0, "multiplier": 1.0, "minimum_notional": 0.0}
FOUND = {"rule": "jump", "ts": NOON, "session": NOON.date(), "field": "close", "old": 1.0, "new": 1.0}
GOOD: dict[str, dict[str, Any]] = {
    "instruments": {"asset_class": "equity", "venue": "NYSE", "calendar": "XNYS", **LISTED, **STEPS},
    "corporate_actions": {**STAMPS, "kind": "dividend", "value": 0.25},
    "quotes": {**STAMPS, "bid": 10.0, "bid_size": 5.0, "ask": 10.1, "ask_size": 7.0},
    "trades": {**STAMPS, "price": 10.0, "size": 5.0, "side": "buy", "trade_id": "1"},
    "findings": {**FOUND, "severity": "warning"},
}
OPTION = {"asset_class": "option", "expiry": date(2014, 1, 18), "strike": 500.0, "right": "call", "underlying": "AAPL"}
FUTURE = {"asset_class": "future", "expiry": date(2014, 3, 21)}


class Case(NamedTuple):
    suite: str
    defect: str
    changes: dict[str, Any]
    broken: set[str] = frozenset()  # type: ignore[assignment]


def missing(suite: str, *names: str) -> list[Case]:
    """A row for each column that must be there, without it."""
    return [Case(suite, f"no {name}", {name: None}, {f"not_be_null {name}"}) for name in names]


def outside(suite: str, name: str, *values: float, also: tuple[str, ...] = ()) -> list[Case]:
    """A row for each value that the column must not have."""
    return [Case(suite, f"{name} of {value}", {name: value}, {f"between {name}", *also}) for value in values]


DEFECTS = [
    *missing("instruments", "asset_class", "calendar"),
    Case("instruments", "no currency", {"currency": None}, {"in_set without_currency"}),
    *(case for name in ("tick", "lot", "multiplier", "pip") for case in outside("instruments", name, 0.0, -1, 1e10)),
    *outside("instruments", "strike", 0.0),
    *outside("instruments", "minimum_notional", -1.0, math.nan),
    Case("instruments", "unknown class", {"asset_class": "bond"}, {"in_set asset_class"}),
    Case("instruments", "neither call nor put", {**OPTION, "right": "C"}, {"in_set right"}),
    Case("instruments", "currency in words", {"currency": "dollar"}, {"match_regex currency"}),
    *(
        Case("instruments", f"option without {name}", {**OPTION, name: None}, {"in_set option_incomplete"})
        for name in ("expiry", "strike", "right", "underlying")
    ),
    Case("instruments", "future without end", {**FUTURE, "expiry": None}, {"in_set future_without_end"}),
    Case("instruments", "gone before it came", {"delisted": date(1989, 1, 3)}, {"in_set delisted_before_listed"}),
    *missing("corporate_actions", "ts", "kind", "provider", "fetched_at", "known_at"),
    Case("corporate_actions", "no value", {"value": None}, {"not_be_null value"}),
    Case("corporate_actions", "unknown kind", {"kind": "spinoff"}, {"in_set kind"}),
    *outside("corporate_actions", "value", 0.0, -0.25, math.nan, math.inf, also=("between cash",)),
    Case("corporate_actions", "a fortune", {"value": 200_000.0}, {"between cash"}),
    *(
        Case("corporate_actions", f"split of {value}", {"kind": "split", "value": value}, {"between split_ratio"})
        for value in (0.00001, 20_000.0)
    ),
    *missing("quotes", "provider", "fetched_at"),
    Case("quotes", "no time", {"ts": None}, {"not_be_null ts", UNORDERED}),
    Case("quotes", "never known", {"known_at": None}, {"not_be_null known_at", UNORDERED}),
    Case("quotes", "known before it was made", EARLY, {UNORDERED}),
    Case("quotes", "no side", {"bid": None, "ask": None}, {"in_set sides"}),
    *(case for name in ("bid", "ask") for case in outside("quotes", name, -0.01, 2e7, math.nan)),
    *(case for name in ("bid_size", "ask_size") for case in outside("quotes", name, -1.0, 2e12, math.inf)),
    *missing("trades", "price", "size", "provider", "fetched_at"),
    Case("trades", "no time", {"ts": None}, {"not_be_null ts", UNORDERED}),
    Case("trades", "never known", {"known_at": None}, {"not_be_null known_at", UNORDERED}),
    Case("trades", "known before it was made", EARLY, {UNORDERED}),
    *outside("trades", "price", 0.0, -1.0, 2e7, math.nan),
    *outside("trades", "size", 0.0, -1.0, 2e12, math.inf),
    Case("trades", "unknown side", {"side": "short"}, {"in_set side"}),
    *missing("findings", "rule", "ts", "session", "field", "severity"),
    Case("findings", "unknown rule", {"rule": "odd"}, {"in_set rule"}),
    Case("findings", "unknown severity", {"severity": "fatal"}, {"in_set severity"}),
]
SOUND = [
    Case("instruments", "an option", OPTION),
    Case("instruments", "a future", FUTURE),
    Case("instruments", "an index", {"asset_class": "index", "currency": None}),
    Case("instruments", "a perpetual", {"asset_class": "future", "perpetual": True, "currency": "USDT"}),
    Case("instruments", "little is known", {"tick": None, "lot": None, "venue": None, "listed": None}),
    Case("corporate_actions", "a reverse split", {"kind": "split", "value": 0.05}),
    Case("quotes", "one side", {"bid": None, "bid_size": None}),
    Case("quotes", "an empty side as some venues write it", {"ask": 0.0, "ask_size": 0.0}),
    Case("quotes", "crossed, which is for tick_faults", {"bid": 10.2}),
    Case("trades", "nobody says who", {"side": None, "trade_id": None}),
    Case("findings", "left out", {"rule": "duplicate", "new": None}),
    Case("findings", "no number was given", {"rule": "invalid_value", "old": math.nan}),
    *(Case("findings", rule, {"rule": rule, "severity": severity}) for rule, severity in SEVERITY.items()),
]
CASES = [*DEFECTS, *SOUND]


def frame_of(suite: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Good rows of the suite's asset with these changes, a symbol each unless told otherwise."""
    filled = [{"symbol": f"S{number:02d}", **GOOD[suite], **row} for number, row in enumerate(rows)]
    return pl.DataFrame([{name: row.get(name) for name in SCHEMAS[suite]} for row in filled], schema=SCHEMAS[suite])


@pytest.fixture(scope="module")
def judged() -> Callable[[str], SuiteResult]:
    """Each suite's verdict on a frame with every case of that suite, a symbol each."""
    held: dict[str, SuiteResult] = {}

    def of(suite: str) -> SuiteResult:
        if suite not in held:
            frame = frame_of(suite, [case.changes for case in CASES if case.suite == suite])
            held[suite] = run(load_suite(suite), frame)
        return held[suite]

    return of


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.suite}: {case.defect}")
def test_a_defect_is_found_in_its_row_and_nowhere_else(case: Case, judged: Callable[[str], SuiteResult]) -> None:
    number = [other for other in CASES if other.suite == case.suite].index(case)
    found = judged(case.suite).findings.filter((pl.col("symbol") == f"S{number:02d}") & (pl.col("severity") == "error"))
    assert {short(name, column) for name, column in found.select("expectation", "column").iter_rows()} == case.broken


@pytest.mark.parametrize("suite", GOOD)
def test_good_rows_pass(suite: str) -> None:
    result = run(load_suite(suite), frame_of(suite, [{}, {}]))
    assert broken(result) == set()
    assert (result.passed, result.rows) == (True, 2)


@pytest.mark.parametrize("suite", GOOD)
def test_each_expectation_about_rows_has_a_row_that_breaks_it(suite: str) -> None:
    named = {short(rule.expectation, rule.label) for rule in load_suite(suite).rules() if rule.scope is Scope.ROWS}
    met = {word for case in DEFECTS if case.suite == suite for word in case.broken}
    # A row without a symbol cannot be found by its symbol: the next test has it.
    assert named - met == {"not_be_null symbol"}


@pytest.mark.parametrize("suite", GOOD)
def test_a_row_without_a_symbol_is_found(suite: str) -> None:
    result = run(load_suite(suite), frame_of(suite, [{}, {"symbol": None}]))
    assert broken(result) == {"not_be_null symbol"}


WRONG: dict[Any, pl.DataType] = {
    pl.String: pl.Categorical(),
    pl.Float64: pl.Float32(),
    pl.Date: pl.Datetime("us"),
    pl.Datetime: pl.Datetime("us"),
}


@pytest.mark.parametrize("suite", GOOD)
def test_every_column_of_a_wrong_type_is_found(suite: str) -> None:
    rules = [rule for rule in load_suite(suite).rules() if rule.expectation == "expect_column_type_to_be"]
    schema = SCHEMAS[suite]
    assert {rule.label for rule in rules} == set(schema) - {"perpetual"}  # pandas has no Boolean with holes
    wrong = pl.DataFrame(schema={name: WRONG.get(dtype.base_type(), dtype) for name, dtype in schema.items()})
    expected = {f"type_to_be {rule.label}" for rule in rules}
    assert expected <= broken(run(load_suite(suite), wrong))
    assert not expected & broken(run(load_suite(suite), schema.to_frame()))


@pytest.mark.parametrize("suite", GOOD)
def test_suites_name_the_columns_of_their_asset(suite: str) -> None:
    loaded = load_suite(suite)
    named = {column for rule in loaded.rules() for column in rule.columns} - set(loaded.derive)
    assert named == set(SCHEMAS[suite]) - {"perpetual"}
    assert loaded.asset.split("/")[-1] == suite


@pytest.mark.parametrize(
    ("suite", "twice", "found", "severity"),
    [
        ("instruments", {}, {"unique symbol"}, "error"),
        ("corporate_actions", {}, {"unique symbol, ts, kind, value"}, "warn"),
        ("corporate_actions", {"value": 0.3}, set(), None),
        ("findings", {}, set(), None),
        ("quotes", {}, set(), None),
        ("trades", {}, set(), None),
    ],
)
def test_the_same_key_twice(suite: str, twice: dict[str, Any], found: set[str], severity: str | None) -> None:
    result = run(load_suite(suite), frame_of(suite, [{"symbol": "A"}, {"symbol": "A", **twice}, {"symbol": "B"}]))
    assert (broken(result), result.severity) == (found, severity)


def test_no_instrument_at_all_is_found_and_no_tick_is_not() -> None:
    for suite, passes in [("instruments", False), ("quotes", True), ("trades", True), ("findings", True)]:
        assert run(load_suite(suite), frame_of(suite, [{}]).head(0)).passed is passes, suite


def test_the_words_of_the_suites_are_those_of_the_code() -> None:
    sets = {
        rule.label: rule.kwargs["value_set"] for rule in load_suite("findings").rules() if "value_set" in rule.kwargs
    }
    assert sets == {"rule": list(SEVERITY), "severity": ["info", "warning", "error"]}
    classes = [rule.kwargs["value_set"] for rule in load_suite("instruments").rules() if rule.label == "asset_class"
               and "value_set" in rule.kwargs]  # fmt: skip
    assert classes == [list(ASSET_CLASSES)]


def test_what_the_sample_and_the_synthetic_market_give_passes() -> None:
    sample, symbols, dates = Sample(), ["AAPL", "FB", "IBM"], (date(2000, 3, 1), date(2013, 3, 1))
    bars, actions, listed = (
        sample.bars(symbols, *dates),
        sample.corporate_actions(symbols, *dates),
        sample.instruments(symbols),
    )
    findings = clean(bars, actions, listed).findings
    market, made = Synthetic(seed=7), ["SYN0001"]
    hour = (datetime(2013, 2, 28, 15, tzinfo=UTC), datetime(2013, 2, 28, 16, tzinfo=UTC))
    frames = {
        "instruments": pl.concat([listed, market.instruments(made)]),
        "corporate_actions": pl.concat([actions, market.corporate_actions(made, *dates)]),
        "quotes": market.quotes(made, *hour),
        "trades": market.trades(made, *hour),
        "findings": findings.with_columns(session=session_date(pl.col("ts"), "XNYS")),
    }
    for suite, frame in frames.items():
        result = run(load_suite(suite), frame)
        assert (broken(result), result.rows > 0) == (set(), True), suite
