"""The checks of findings and ticks in Dagster runs: what they say of a partition, reading no more than it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest

from quant_assets.cleaned import CLEANED_SCHEMA, FINDING_SCHEMA
from quant_assets.cleaned import checks as cleaned_checks
from quant_assets.cleaned.rules import SEVERITY
from quant_assets.market_data import checks as market_data_checks
from quant_assets.partitions import HISTORY, SYMBOLS
from resources.calendars import sessions
from resources.lake import Lake
from resources.market_data.base import ACTION_SCHEMA, INSTRUMENT_SCHEMA
from resources.market_data.ticks import QUOTE_SCHEMA, TRADE_SCHEMA

NAMES = ["AAPL", "IBM"]
KEYS = [f"{year}|{symbol}" for year in (2010, 2011) for symbol in NAMES]
DAYS = {year: sessions("XNYS", date(year, 6, 1), date(year, 9, 30)) for year in (2010, 2011)}
CHECKS = [*cleaned_checks.checks, *market_data_checks.checks]


class Watched(Lake):
    """A lake that remembers what was read."""

    def scan(self, asset: Sequence[str], partitions: Sequence[Mapping[str, str]]) -> pl.LazyFrame:
        self.read.append(("/".join(asset), len(list(partitions))))
        return super().scan(asset, partitions)

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.read: list[tuple[str, int]] = []


def cleaned_rows(symbol: str, year: int) -> pl.DataFrame:
    days = DAYS[year].select(symbol=pl.lit(symbol), ts="open", session="session", known_at="close")
    numbers = [name for name, dtype in CLEANED_SCHEMA.items() if dtype == pl.Float64]
    return days.with_columns(pl.lit(1.0).alias(name) for name in numbers).with_columns(
        flags=pl.lit([], pl.List(pl.String))
    ).select(CLEANED_SCHEMA.names())  # fmt: skip


def findings(symbol: str, year: int, rule: str, count: int) -> pl.DataFrame:
    rows = DAYS[year].head(count).select(
        pl.lit(rule).alias("rule"), pl.lit(symbol).alias("symbol"), ts="open", field=pl.lit("close"), old=pl.lit(2.0),
        new=pl.lit(1.0), severity=pl.lit(SEVERITY[rule]), session="session",
    )  # fmt: skip
    return rows.cast({**FINDING_SCHEMA, "session": pl.Date})  # type: ignore[arg-type]


def quotes(symbol: str, year: int, crossed: int) -> pl.DataFrame:
    """A quote a minute of one session, from noon, the first of them crossed."""
    noon = datetime(year, 6, 2, 15, tzinfo=UTC)
    rows = [
        {
            "symbol": symbol,
            "ts": noon + timedelta(minutes=minute),
            "bid": 10.2 if minute < crossed else 9.9,
            "ask": 10.0,
        }
        for minute in range(200)
    ]
    full = [{**row, "provider": "t", "fetched_at": noon + timedelta(days=1), "known_at": row["ts"]} for row in rows]
    return pl.DataFrame(full, schema=QUOTE_SCHEMA)


@pytest.fixture
def lake(tmp_path: Path) -> Watched:
    return Watched(str(tmp_path / "lake"))


def write(lake: Lake, asset: str, frames: dict[str, pl.DataFrame]) -> None:
    """Partitions by their Dagster keys; the key "" is that of an asset without partitions."""
    parts = [
        ({"symbol": key.split("|")[1], "date": key.split("|")[0]} if key else {}, frame)
        for key, frame in frames.items()
    ]
    with lake.writing(asset.split("/")) as staging:
        staging.write(parts)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as held:
        held.add_dynamic_partitions(SYMBOLS, NAMES)
        yield held


def said(
    instance: dg.DagsterInstance, lake: Lake, asset: str, name: str, keys: list[str]
) -> tuple[dict[str | None, str], dict[str, Any]]:
    """What a check alone says in a run of these partitions, by partition (None: the whole), with metadata of that."""
    [check] = [
        check for check in CHECKS for spec in check.check_specs
        if (spec.asset_key.to_user_string(), spec.name) == (asset, name)
    ]  # fmt: skip
    options: dict[str, Any] = {"partitions_def": HISTORY} if keys else {}

    @dg.asset(key=asset.split("/"), **options)
    def made() -> None: ...

    other = [dg.AssetSpec(["cleaned", "bars"])] if asset != "cleaned/bars" else []
    job = dg.define_asset_job("alone", dg.AssetSelection.checks(check))
    resources = {"lake": dg.ResourceDefinition.hardcoded_resource(lake)}
    defs = dg.Definitions(assets=[made, *other], asset_checks=[check], jobs=[job], resources=resources)
    first, last = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
    tags = {first: keys[0], last: keys[-1]} if len(keys) > 1 else {"dagster/partition": keys[0]} if keys else {}
    run = defs.resolve_job_def("alone").execute_in_process(instance=instance, tags=tags, raise_on_error=False)
    found = run.get_asset_check_evaluations()
    words = {one.partition: "ok" if one.passed else one.severity.value for one in found}
    [whole] = [one for one in found if one.partition is None]
    return words, {key: value.value for key, value in whole.metadata.items()}


def test_a_contradiction_warns_in_its_partition(instance: dg.DagsterInstance, lake: Watched) -> None:
    frames = {key: findings(key[5:], int(key[:4]), "jump", 3) for key in KEYS}
    frames["2011|IBM"] = findings("IBM", 2011, "split_unconfirmed", 1)
    write(lake, "cleaned/findings", frames)
    words, facts = said(instance, lake, "cleaned/findings", "contradictions", KEYS)
    assert words == {**dict.fromkeys(KEYS, "ok"), "2011|IBM": "WARN", None: "WARN"}
    assert (facts["contradictions"], facts["findings"].records[0].data["symbol"]) == (1, "IBM")


def test_a_run_of_one_partition_reads_one(instance: dg.DagsterInstance, lake: Watched) -> None:
    write(lake, "cleaned/findings", {key: findings(key[5:], int(key[:4]), "split_unconfirmed", 1) for key in KEYS})
    write(lake, "cleaned/bars", {key: cleaned_rows(key[5:], int(key[:4])) for key in KEYS})
    for name in ("contradictions", "defect_rates", "findings_expectations"):
        said(instance, lake, "cleaned/findings", name, KEYS[:1])
    assert {count for _, count in lake.read} == {1}
    assert {asset for asset, _ in lake.read} == {"cleaned/findings", "cleaned/bars"}


@pytest.mark.parametrize(("count", "word"), [(3, "ok"), (60, "WARN")])
def test_unusually_many_findings_warn(instance: dg.DagsterInstance, lake: Watched, count: int, word: str) -> None:
    write(lake, "cleaned/bars", {key: cleaned_rows(key[5:], int(key[:4])) for key in KEYS})
    frames = {key: findings(key[5:], int(key[:4]), "stale", 0) for key in KEYS}
    frames["2010|AAPL"] = findings("AAPL", 2010, "stale", count)
    write(lake, "cleaned/findings", frames)
    words, facts = said(instance, lake, "cleaned/findings", "defect_rates", KEYS)
    assert words == {None: word}
    assert facts["rows"] == sum(2 * days.height for days in DAYS.values())


def test_all_findings_are_judged_where_a_run_has_no_partitions(instance: dg.DagsterInstance, lake: Watched) -> None:
    write(lake, "cleaned/findings", {key: findings(key[5:], int(key[:4]), "split_unconfirmed", 1) for key in KEYS})
    words, facts = said(instance, lake, "cleaned/findings", "contradictions", [])
    assert (words, facts["contradictions"]) == ({None: "WARN"}, 4)


@pytest.mark.parametrize("batch", [cleaned_checks.BATCH, 30])
def test_crossed_quotes_warn_in_their_partition(
    instance: dg.DagsterInstance, lake: Watched, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaned_checks, "BATCH", batch)
    frames = {key: quotes(key[5:], int(key[:4]), 5) for key in KEYS}
    frames["2011|AAPL"] = quotes("AAPL", 2011, 50)
    write(lake, "market_data/quotes", frames)
    words, facts = said(instance, lake, "market_data/quotes", "tick_faults", KEYS)
    assert words == {**dict.fromkeys(KEYS, "ok"), "2011|AAPL": "WARN", None: "WARN"}
    assert (facts["ticks"], facts["crossed"]) == (800, "65 (8.1250%)")
    assert {count for _, count in lake.read} == {1}


def test_partitions_without_a_tick_pass(instance: dg.DagsterInstance, lake: Watched) -> None:
    write(lake, "market_data/trades", {key: TRADE_SCHEMA.to_frame() for key in KEYS})
    for name in ("tick_faults", "trades_expectations"):
        words, _ = said(instance, lake, "market_data/trades", name, KEYS)
        assert words == dict.fromkeys([*KEYS, None], "ok")


SUITES = [
    ("market_data/corporate_actions", ACTION_SCHEMA, {"kind": "merger", "value": 1.0}),
    ("market_data/quotes", QUOTE_SCHEMA, {"bid": -1.0}),
    ("market_data/trades", TRADE_SCHEMA, {"price": -1.0, "size": 1.0}),
]


@pytest.mark.parametrize(("asset", "schema", "wrong"), SUITES, ids=[row[0] for row in SUITES])
def test_a_suite_fails_in_the_partition_of_the_bad_row(
    instance: dg.DagsterInstance, lake: Watched, asset: str, schema: pl.Schema, wrong: dict[str, Any]
) -> None:
    ts = datetime(2011, 6, 2, 15, tzinfo=UTC)
    row = {"symbol": "IBM", "ts": ts, "known_at": ts, "fetched_at": ts, "provider": "t", **wrong}
    write(lake, asset, {**{key: schema.to_frame() for key in KEYS}, "2011|IBM": pl.DataFrame([row], schema=schema)})
    words, _ = said(instance, lake, asset, f"{asset.split('/')[1]}_expectations", KEYS)
    assert words == {**dict.fromkeys(KEYS, "ok"), "2011|IBM": "ERROR", None: "ERROR"}


def test_instruments_are_judged_whole(instance: dg.DagsterInstance, lake: Watched) -> None:
    row = {"symbol": "IBM", "asset_class": "share", "calendar": "XNYS", "currency": "USD"}
    write(lake, "market_data/instruments", {"": pl.DataFrame([row], schema=INSTRUMENT_SCHEMA)})
    words, _ = said(instance, lake, "market_data/instruments", "instruments_expectations", [])
    assert words == {None: "ERROR"}


def test_what_blocks_and_what_only_warns() -> None:
    blocking = {
        f"{spec.asset_key.to_user_string()} {spec.name}"
        for check in CHECKS
        for spec in check.check_specs
        if spec.blocking
    }
    assert blocking == {
        "cleaned/bars cleaned_bars_expectations", "market_data/bars bars_expectations",
        "market_data/instruments instruments_expectations",
        "market_data/corporate_actions corporate_actions_expectations", "market_data/quotes quotes_expectations",
        "market_data/trades trades_expectations",
    }  # fmt: skip


def test_a_session_of_empty_slots_is_not_covered(instance: dg.DagsterInstance, lake: Watched) -> None:
    """Intraday: a slot in which nothing traded is no gap, a session without any bar is one."""
    rows = cleaned_rows("AAPL", 2010)
    slots = pl.concat([rows, rows.with_columns(pl.col("ts") + pl.duration(minutes=30))]).sort("ts")
    quiet = slots["session"].is_in([DAYS[2010]["session"][5]]) | (
        (slots["session"] == DAYS[2010]["session"][9]) & (slots["ts"].dt.minute() == 0)
    )
    filled = slots.with_columns(flags=pl.when(quiet).then(pl.lit(["missing_bar"])).otherwise("flags"))
    write(lake, "cleaned/bars", {"2010|AAPL": filled})
    words, facts = said(instance, lake, "cleaned/bars", "coverage", ["2010|AAPL"])
    assert (facts["missing"], facts["expected"]) == (1, DAYS[2010].height)
    assert words[None] == "ERROR", "one session of 85 is more than one in 200"


def test_a_symbol_without_a_single_bar_is_named(instance: dg.DagsterInstance, lake: Watched) -> None:
    empty = cleaned_rows("IBM", 2010).clear()
    frames = {key: cleaned_rows(key[5:], int(key[:4])) for key in KEYS} | {"2010|IBM": empty, "2011|IBM": empty}
    write(lake, "cleaned/bars", frames)
    words, facts = said(instance, lake, "cleaned/bars", "coverage", ["2010|AAPL", "2010|IBM"])
    assert (words[None], facts["symbols_without_bars"]) == ("ERROR", 1)
    assert facts["findings"].records[0].data["symbol"] == "IBM"


def test_a_symbol_listed_later_is_no_gap_of_an_earlier_year(instance: dg.DagsterInstance, lake: Watched) -> None:
    frames = {key: cleaned_rows(key[5:], int(key[:4])) for key in KEYS}
    write(lake, "cleaned/bars", frames | {"2010|IBM": cleaned_rows("IBM", 2010).clear()})
    words, facts = said(instance, lake, "cleaned/bars", "coverage", ["2010|AAPL", "2010|IBM"])
    assert (words[None], facts["symbols_without_bars"]) == ("ok", 0)
