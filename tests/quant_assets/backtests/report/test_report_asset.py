"""The report asset on a small lake: it knows the instruments, the finer bars, and both paths through a bar."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from quant_assets import strategies
from quant_assets.backtests import History, as_of, assets, history
from quant_assets.backtests.assets import SETTINGS, report_asset
from quant_assets.backtests.verdict.assess import TITLES
from quant_assets.evidence.trials import Counted
from quant_assets.versions import modules_of
from resources import exchange
from resources.calendars import sessions
from resources.config import Settings
from resources.errors import ConfigError
from resources.lake import Lake
from resources.lake_io import Bundle, Table

PROJECT = Path(__file__).resolve().parents[4]
FIRST = SETTINGS.dates.start
PLAIN = SETTINGS.backtest.model_copy(update={"start": FIRST, "intrabar_timeframe": None})


def cleaned(symbol: str, days: pl.DataFrame, price: float = 100.0) -> pl.DataFrame:
    """Daily cleaned bars that rise a little every day."""
    number = pl.int_range(pl.len())
    close = price + 0.1 * number
    rows = days.select(
        "session",
        symbol=pl.lit(symbol),
        ts="open",
        known_at="close",
    ).with_columns(open=close, high=close + 1, low=close - 1, close=close, volume=pl.lit(1e6))
    adjusted = {f"adj_{name}": pl.col(name) for name in ("open", "high", "low", "close", "volume")}
    return rows.with_columns(
        **adjusted, split=pl.lit(1.0), dividend=pl.lit(0.0), flags=pl.lit([], pl.List(pl.String))
    ).with_columns(split_factor=pl.lit(1.0), dividend_factor=pl.lit(1.0))


class Record:
    """Stands for the record of trials in MLflow, which takes seconds to load."""

    def __init__(self, tracking: object) -> None:
        self.said: list[str] = []

    def plan(self, family: str, configurations: list[str], *, origin: str, symbols: str | None = None) -> str:
        self.said.append(f"planned {len(configurations)} of {family} for {origin}")
        return "plan"

    def results(self, plan: str, figures: pl.DataFrame) -> None:
        self.said.append(f"{figures.height} result of the {plan}")

    def counted(self, family: str, beside: Iterable[str] = ()) -> Counted:
        return Counted(3, 1, None, len({family, *beside}))


@pytest.fixture
def strategy() -> strategies.Strategy:
    return strategies.create(next(one for one in SETTINGS.strategies if one.name == "moving_average_cross"))


@pytest.fixture
def lake(tmp_path: Path, strategy: strategies.Strategy) -> Lake:
    """Two symbols over three months of the installation: AAA is to be held from the tenth session on."""
    days = sessions(SETTINGS.calendar, FIRST, FIRST + timedelta(days=90))
    lake = Lake(str(tmp_path / "lake"))
    bars = {symbol: cleaned(symbol, days) for symbol in ("AAA", "BBB")}
    with lake.writing(("cleaned", "bars")) as staging:
        staging.write([({"symbol": symbol, "date": f"{FIRST:%Y}"}, rows) for symbol, rows in bars.items()])
    panel = pl.concat(bars.values()).select("symbol", "ts", "session", "known_at", "adj_close", tradable=pl.lit(True))
    # The shorter average lies above the longer one where the close is further above the longer.
    late = (pl.col("symbol") == "AAA") & (pl.col("session") >= days["session"][10])
    near, far = strategy.required_features
    others = {f"sma_ratio_{window}": pl.lit(0.0) for window in (20, 100)}  # which the grid's other runs read
    values = others | {near: pl.lit(0.1), far: pl.when(late).then(0.2).otherwise(0.05)}
    with lake.writing(("features", "panel")) as staging:
        parts = panel.with_columns(**values).partition_by("session", as_dict=True)
        staging.write([({"date": str(session)}, part) for (session,), part in parts.items()])
    with lake.writing(("market_data", "instruments")) as staging:
        staging.write([({}, pl.DataFrame({"symbol": ["AAA", "BBB"], "tick": [0.25, 0.25], "lot": [100.0, 1.0]}))])
    return lake


def table(lake: Lake, *asset: str) -> Table:
    return Table(lake, asset, lake.partitions(asset))


def test_the_report_is_traded_by_the_rules_of_the_instruments(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "SETTINGS", SETTINGS.model_copy(update={"backtest": PLAIN}))
    shown: dict[str, object] = {}
    monkeypatch.setattr(assets, "show", lambda context, metadata: shown.update(metadata))
    record = Record(None)
    monkeypatch.setattr(assets, "Trials", lambda tracking: record)
    month = f"{FIRST + timedelta(days=80):%Y-%m}"
    context = dg.build_asset_context(
        partition_key=dg.MultiPartitionKey({"as_of": month, "strategy": "moving_average_cross"})
    )
    made = report_asset(
        context,
        bars=table(lake, "cleaned", "bars"),
        panel=table(lake, "features", "panel"),
        predictions=table(lake, "models", "predictions"),
        instruments=lake.read(("market_data", "instruments")).lazy(),
        swept=table(lake, "backtests", "sweep"),
        tracking=None,
        lake=lake,
    )
    assert isinstance(made, Bundle)
    assert record.said == [
        f"planned 1 of moving_average_cross for backtests/report {context.partition_key}",
        "1 result of the plan",
    ]
    bought = made.frames["fills"]
    assert bought["symbol"].unique().to_list() == ["AAA"]
    assert (bought["quantity"] % 100 == 0).all(), "whole lots"
    assert (bought["price"] % 0.25 == 0).all(), "whole ticks"
    assert bought["tag"].unique().to_list() == ["moving_average_cross"]
    assert shown["total_return"] > 0.0  # type: ignore[operator]  # it is a number
    assert "No fill was ambiguous" in made.files["caveats.txt"].decode()
    told = made.files["caveats.txt"].decode().splitlines()[0]
    assert told == shown["verdict"]
    assert told.startswith("Unproven: it fails on ")
    assert told.endswith("the length of its history.")
    assert (shown["proven"], shown["trials"]) == (False, 3 + len(SETTINGS.strategies) - 1)
    tests = made.frames["tests"]
    assert tests["name"].to_list() == list(TITLES)
    assert set(tests.filter(pl.col("passed").is_null())["name"]) == {"overfitting", "superiority", "surface"}
    assert tests.filter(name="surface")["words"][0] == (
        f"No sweep of moving_average_cross as of {month} was run, so the choice of its parameters was not tested: run "
        f"the job sweep, or quant_assets.launch.sweep('moving_average_cross', '{month}')."
    )
    assert made.frames["stress"]["times"].to_list() == [1.0, 2.0, 3.0]
    assert "sharpe_ratio" in made.frames["intervals"]["figure"].to_list()


# ---- finer bars


def test_finer_bars_are_those_of_the_lake_without_empty_slots(tmp_path: Path) -> None:
    days = sessions(SETTINGS.calendar, FIRST, FIRST + timedelta(days=10))
    rows = cleaned("AAA", days).with_row_index("slot")
    empty = pl.when(pl.col("slot") == 1).then(pl.lit(["missing_bar"])).otherwise(pl.lit([], pl.List(pl.String)))
    lake = Lake(str(tmp_path / "lake"))
    with lake.writing(("cleaned", "bars")) as staging:
        staging.write([({"symbol": "AAA", "date": "2010"}, rows.with_columns(flags=empty).drop("slot"))])
    bars = table(lake, "cleaned", "bars")
    traded = rows.filter(pl.col("slot") < 4)

    def of(timeframe: str, wanted: str | None) -> Settings:
        asked = PLAIN.model_copy(update={"intrabar_timeframe": wanted})
        return SETTINGS.model_copy(update={"backtest": asked, "timeframe": timeframe})

    finer = as_of.finer(of("30m", "30m"), bars, traded)
    assert finer is not None
    assert finer.collect()["session"].to_list() == [days["session"][number] for number in (0, 2, 3)]
    with pytest.raises(
        ConfigError, match="intrabar_timeframe is 30m, and the bars of this installation are 1d; leave it out"
    ):
        as_of.finer(of("1d", "30m"), bars, traded)
    with pytest.raises(ConfigError, match="are 5m; set it to 5m"):
        as_of.finer(of("5m", "30m"), bars, traded)
    assert as_of.finer(of("30m", None), bars, traded) is None


# ---- both paths


def bracket_world(target: float) -> tuple[History, pl.LazyFrame, pl.DataFrame]:
    """A purchase at 100 whose stop at 95 and target lie in the bar of the entry, between 94 and 106."""
    days = sessions(SETTINGS.calendar, FIRST, FIRST + timedelta(days=10))
    bars = cleaned("AAA", days).with_columns(
        open=pl.lit(100.0), high=pl.lit(106.0), low=pl.lit(94.0), close=pl.lit(100.0)
    )
    sent = pl.LazyFrame({"ts": [bars["known_at"][1]], "symbol": ["AAA"], "side": ["buy"], "quantity": [100.0]})
    sent = sent.with_columns(take_profit=pl.lit(target), stop_loss=pl.lit(95.0))
    benchmark = days.select("session", pl.lit(0.0).alias("return"))
    return history(bars), sent, benchmark


@pytest.mark.parametrize("taken", ["worse", "better"])
def test_ambiguous_fills_are_run_by_both_paths(taken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = PLAIN.model_copy(update={"ambiguous": taken})
    monkeypatch.setattr(assets, "SETTINGS", SETTINGS.model_copy(update={"backtest": asked}))
    result, other = assets._results(*bracket_world(105.0))
    assert other is not None
    assert result.fills["ambiguous"].any()
    ours, theirs = result.equity["equity"][-1], other.equity["equity"][-1]
    assert ours < theirs if taken == "worse" else ours > theirs
    shown = assets._by_path(other)
    left = "better" if taken == "worse" else "worse"
    assert shown[f"total_return, {left} path"] == other.metrics["total_return"]
    assert f"sharpe_ratio, {left} path" in shown


def test_without_an_ambiguous_fill_there_is_one_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assets, "SETTINGS", SETTINGS.model_copy(update={"backtest": PLAIN}))
    result, other = assets._results(*bracket_world(120.0))
    assert (result.fills.height, other) == (2, None)
    assert assets._by_path(other) == {}


# ---- the universe

LISTINGS = [  # listed and delisted of two symbols: is the universe that of its time?
    ({"listed": [FIRST, FIRST], "delisted": [None, FIRST + timedelta(days=30)]}, True),
    ({"listed": [FIRST, FIRST], "delisted": [None, None]}, False),
    ({"listed": [None, FIRST], "delisted": [None, FIRST + timedelta(days=30)]}, False),
    ({"listed": [FIRST, FIRST], "delisted": [None, FIRST + timedelta(days=3000)]}, False),
    ({}, False),
]


@pytest.mark.parametrize(("dates", "expected"), LISTINGS)
def test_a_universe_that_holds_who_left_is_one_of_its_time(dates: dict[str, list[date | None]], expected: bool) -> None:
    traded = pl.DataFrame({"symbol": ["AAA", "BBB"], "session": [FIRST, FIRST + timedelta(days=90)]})
    known = pl.DataFrame({"symbol": ["AAA", "BBB"], **dates}, schema_overrides=dict.fromkeys(dates, pl.Date))
    assert assets._follows_members(traded, known.lazy()) == expected


# ---- the code version


def test_the_code_version_holds_every_module_of_the_exchange() -> None:
    held = {Path(str(module.__file__)).name for module in modules_of(exchange)}
    files = {path.name for path in (PROJECT / "resources" / "exchange").glob("*.py")} - {"__init__.py"}
    assert held == files
