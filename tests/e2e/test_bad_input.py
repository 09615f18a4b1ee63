"""Bad input through the real assets: one clear error that names what and where, and the last good partitions stay."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
from dagster_shared.record import copy

from quant_assets import jobs
from quant_assets.definitions import defs
from quant_assets.launch import _failure
from quant_assets.partitions import SYMBOLS
from resources.lake import Lake
from resources.lake_io import LakeIOManager
from resources.market_data import Files, Provider, Yahoo
from sensors.schedules import history_range
from tests.venues.market import Bar, Listing, Market, instant
from tests.venues.yahoo import FAULTS, YahooVenue

NAMES = ["AAPL", "IBM"]
SESSIONS = [date(2010, 6, 1), date(2010, 6, 2), date(2010, 6, 3), date(2010, 6, 4), date(2010, 6, 7)]


def good_rows() -> pl.DataFrame:
    rows = [
        (symbol, session, 100.0 + day, 102.0 + day, 99.0 + day, 101.0 + day, 1e6, 0.0, 1.0)
        for symbol in NAMES
        for day, session in enumerate(SESSIONS)
    ]
    names = ["symbol", "date", "open", "high", "low", "close", "volume", "dividend", "split"]
    return pl.DataFrame(rows, schema=names, orient="row")


def at(symbol: str, session: date) -> pl.Expr:
    return (pl.col("symbol") == symbol) & (pl.col("date") == session)


def put(
    column: str, value: Any, symbol: str = "IBM", session: date = SESSIONS[2]
) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda rows: rows.with_columns(
        pl.when(at(symbol, session)).then(value).otherwise(pl.col(column)).alias(column)
    )


class Current:
    """The provider that an installation has at the moment."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def __getattr__(self, name: str) -> Any:
        return getattr(self._installation.provider, name)


class Installation:
    """The history tier's real assets over a lake, an instance and a source of their own."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.source, self.root, self.instance = folder / "source", folder / "lake", instance
        self.source.mkdir()
        self.lake = Lake(str(self.root))
        self.provider: Provider = Files(self.source)
        resources = {
            "provider": dg.ResourceDefinition.hardcoded_resource(Current(self)),
            "io_manager": LakeIOManager(self.lake, "XNYS"),
            "lake": dg.ResourceDefinition.hardcoded_resource(self.lake),
        }
        placed = copy(defs, resources={**defs.resources, **resources})
        self.job = placed.resolve_implicit_global_asset_job_def()
        self.give(good_rows())

    def give(self, rows: pl.DataFrame) -> None:
        rows.write_parquet(self.source / "bars.parquet")

    def run(
        self, symbols: list[str] = NAMES, selection: dg.AssetSelection = jobs.HISTORY_TIER
    ) -> dg.ExecuteInProcessResult:
        keys = sorted(selection.resolve(defs.resolve_asset_graph()), key=str)
        return self.job.execute_in_process(
            instance=self.instance,
            asset_selection=keys,
            tags=history_range("2010", "2010", symbols),
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            raise_on_error=False,
        )

    def files(self) -> dict[str, bytes]:
        return {str(path.relative_to(self.root)): path.read_bytes() for path in self.root.rglob("*") if path.is_file()}

    def fails(self, message: str, error: str, **options: Any) -> None:
        """A run that fails at its root with one error of this class and text, and replaces nothing."""
        before = self.files()
        result = self.run(**options)
        assert not result.success
        told = _failure(result).removeprefix(f"run {result.run_id} failed. ")
        assert told.count("Error: ") == 1, f"one clear error, not {told}"
        assert re.search(rf"^[\w, ]+: resources\.errors\.{error}: .*{message}", told, re.IGNORECASE), told
        assert self.files() == before, "byte for byte what was there"
        assert not [name for name in before if ".staged-" in name]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(SYMBOLS, NAMES)
        installation = Installation(tmp_path_factory.mktemp("bad input"), instance)
        assert installation.run().success
        yield installation


@pytest.fixture
def installation(made: Installation) -> Iterator[Installation]:
    """The installation with good data in its lake; afterwards its source is good again and a run succeeds."""
    assert made.lake.read(["cleaned", "bars"], {"symbol": "IBM", "date": "2010"}).height == len(SESSIONS)
    yield made
    for path in made.source.iterdir():
        path.unlink()
    made.provider = Files(made.source)
    made.give(good_rows())


def row_on(day: date) -> Callable[[pl.DataFrame], pl.DataFrame]:
    return lambda rows: pl.concat([rows, rows.tail(1).with_columns(date=pl.lit(day))])


def no_date(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.with_columns(date=pl.when(at("IBM", SESSIONS[1])).then(None).otherwise("date"))


ROWS = [  # what is wrong, the change, what the error says; all are a BarSchemaError but the last
    ("a missing column", lambda rows: rows.drop("close"), r"bars\.parquet.*close"),
    ("an extra column", lambda rows: rows.with_columns(colour=pl.lit("red")), r"bars\.parquet.*colour"),
    ("a column of another type", lambda rows: rows.with_columns(close=pl.lit("dear")), r"bars\.parquet.*close"),
    ("NaN", put("close", float("nan")), r"IBM 2010-06-03: close is nan; prices must be positive"),
    ("no price", put("open", None), r"IBM 2010-06-03: open is None; prices must be positive"),
    ("a negative price", put("low", -1.0), r"IBM 2010-06-03: low is -1\.0; prices must be positive"),
    ("a price of zero", put("close", 0.0), r"IBM 2010-06-03: close is 0\.0"),
    ("an infinite price", put("high", float("inf")), r"IBM 2010-06-03: high is inf"),
    ("a high below the close", put("high", 100.0), r"IBM 2010-06-03: high is 100\.0.*highest price"),
    ("a negative volume", put("volume", -5.0), r"IBM 2010-06-03: volume is -5\.0"),
    ("a row twice", row_on(SESSIONS[-1]), r"IBM 2010-06-07.*(more than one row|twice)"),
    ("rows out of order", lambda rows: rows.reverse(), r"IBM 2010-06-04: date comes after 2010-06-07 .*Sort the file"),
    ("a Saturday", row_on(date(2010, 6, 12)), r"IBM 2010-06-12: date is not a session of XNYS"),
    ("a holiday", row_on(date(2010, 7, 5)), r"IBM 2010-07-05: date is not a session of XNYS"),
    ("a row without a date", no_date, r"IBM: a row has no date"),
    ("an unknown symbol", lambda rows: rows.filter(pl.col("symbol") == "AAPL"), r"files has no IBM; it has AAPL"),
]


@pytest.mark.parametrize(("change", "message"), [case[1:] for case in ROWS], ids=[case[0] for case in ROWS])
def test_rows_that_are_not_market_data(
    installation: Installation, change: Callable[[pl.DataFrame], pl.DataFrame], message: str
) -> None:
    installation.give(change(good_rows()))
    installation.fails(message, "UnknownSymbolError" if message.startswith("files") else "BarSchemaError")


def test_a_split_that_is_no_number_stops_the_actions(installation: Installation) -> None:
    installation.give(put("split", -2.0)(good_rows()))
    installation.fails(
        r"IBM 2010-06-03: split is -2\.0; it must be a positive number",
        "BarSchemaError",
        selection=dg.AssetSelection.assets("market_data/corporate_actions"),
    )


def test_a_source_that_is_not_parquet(installation: Installation) -> None:
    (installation.source / "bars.parquet").write_text("<html>moved</html>")
    installation.fails(r"bars\.parquet", "BarSchemaError")


def test_an_empty_source(installation: Installation) -> None:
    (installation.source / "bars.parquet").unlink()
    installation.fails(r"provider\.path: no \.parquet or \.csv file", "ConfigError")


def test_csv_text_where_a_number_should_be(installation: Installation) -> None:
    (installation.source / "bars.parquet").unlink()
    good_rows().with_columns(close=pl.lit("n/a")).write_csv(installation.source / "bars.csv")
    installation.fails(r"close", "BarSchemaError")


DAMAGE = [
    ("cut off", lambda good: good[: len(good) // 2]),
    ("empty", lambda good: b""),
    ("a page", lambda good: b"<html>" * 50),
]


@pytest.mark.parametrize("damage", [case[1] for case in DAMAGE], ids=[case[0] for case in DAMAGE])
def test_a_damaged_file_in_the_lake_is_named_and_fetching_again_mends_it(
    installation: Installation, damage: Callable[[bytes], bytes]
) -> None:
    path = Path(installation.lake.path(["market_data", "bars"], {"symbol": "IBM", "date": "2010"}))
    good = path.read_bytes()
    path.write_bytes(damage(good))
    installation.fails(
        r"market_data/bars: .*symbol=IBM/date=2010/part\.parquet is not readable Parquet; materialize that partition",
        "LakeError",
        selection=dg.AssetSelection.assets("cleaned/bars"),
    )
    assert installation.run().success
    restored = installation.lake.read(["market_data", "bars"], {"symbol": "IBM", "date": "2010"})
    assert restored.height == len(SESSIONS)


@pytest.mark.parametrize("asset", ["market_data/bars", "cleaned/bars", "features/technical"])
def test_a_full_disk(installation: Installation, monkeypatch: pytest.MonkeyPatch, asset: str) -> None:
    installation.give(put("close", 101.5)(good_rows()))
    put_file, written = installation.lake._put, []

    def full(path: str, content: bytes) -> None:
        if f"/{asset}/" in path:
            written.append(path)
            if len(written) == len(NAMES) or asset != "market_data/bars":
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                Path(path).write_bytes(content[:20])
                raise OSError(errno.ENOSPC, "No space left on device")
        put_file(path, content)

    # What is upstream has new content first, so that the asset has something to write.
    above = {
        "market_data/bars": [],
        "cleaned/bars": ["market_data/bars"],
        "features/technical": ["market_data/bars", "cleaned/bars"],
    }[asset]
    if above:
        assert installation.run(selection=dg.AssetSelection.assets(*above, "market_data/corporate_actions")).success
    if asset == "market_data/bars":
        installation.give(good_rows().with_columns(pl.col("volume") + 1))
    monkeypatch.setattr(installation.lake, "_put", full)
    if asset == "features/technical":
        monkeypatch.setattr(installation.lake, "stored_version", lambda path: None)
    installation.fails(
        rf"{asset}: cannot write to .*No space left on device.*Nothing was replaced.*Free some space",
        "LakeError",
        selection=dg.AssetSelection.assets(asset),
    )
    assert written, "the disk was asked to write"


# --- a provider on the network


@pytest.fixture
def venue() -> Iterator[YahooVenue]:
    market = Market()
    for name in NAMES:
        market.add(Listing(name))
        opens = (instant(2010, 6, session.day, 13, 30) for session in SESSIONS)
        market.set_bars(name, "1d", (Bar(at, 100.0, 102.0, 99.0, 101.0, 1e6) for at in opens))
    with YahooVenue(market) as opened:
        yield opened


ANSWERS = [
    ("a page instead of data", "html", "BadAnswerError", "yahoo"),
    ("an error page", "503 html", "BadAnswerError", "yahoo"),
    ("an answer cut off", "truncated", "BadAnswerError", "yahoo"),
    ("nothing", "nothing", "BadAnswerError", "yahoo"),
    ("too many requests", "429", "RateLimitedError", "yahoo"),
    ("an unknown symbol", "404", "UnknownSymbolError", "AAPL"),
]


@pytest.mark.parametrize(
    ("fault", "error", "message"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS]
)
def test_a_provider_that_answers_badly(
    installation: Installation, venue: YahooVenue, fault: str, error: str, message: str
) -> None:
    venue.market.faults.add("GET /v8/finance/chart/", FAULTS[fault], times=None)
    installation.provider = Yahoo(5.0, session=venue.session(), sleep=lambda seconds: None)
    installation.fails(message, error)


def test_a_provider_that_does_not_answer_in_time(installation: Installation, venue: YahooVenue) -> None:
    venue.market.faults.add("GET /v8/finance/chart/", FAULTS["slow"], times=None)
    installation.provider = Yahoo(0.3, session=venue.session(), sleep=lambda seconds: None)
    installation.fails(r"yahoo.*0\.3", "ProviderTimeoutError", selection=dg.AssetSelection.assets("market_data/bars"))


def test_every_run_above_left_the_installation_working(installation: Installation) -> None:
    assert installation.run().success
    assert installation.lake.read(["cleaned", "bars"], {"symbol": "IBM", "date": "2010"}).height == len(SESSIONS)
