"""What a report is made of: the panel's symbols, and a benchmark that is there."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from quant_assets.backtests import as_of
from quant_assets.backtests.engine import run
from quant_assets.backtests.simulation.tables import EQUITY_SCHEMA
from quant_assets.cleaned import clean
from quant_assets.features import compute
from quant_assets.features.labels import LABEL_SCHEMA, forward_returns
from quant_assets.features.panel import panel, panel_schema
from quant_assets.features.sets import load_set
from quant_assets.partitions import SETTINGS
from resources.errors import ConfigError
from resources.lake import Lake
from resources.lake_io import Table
from resources.market_data.sample import Sample
from tests.quant_assets.backtests.worlds import sent

DAYS = [date(2012, 1, 3), date(2012, 1, 4)]


def table(lake: Lake, name: str, rows: pl.DataFrame) -> Table:
    """An asset of one partition a session, as written by a run."""
    partitions = [{"date": day.isoformat()} for day in DAYS]
    with lake.writing((name,)) as staging:
        staging.write(
            [(part, rows.filter(pl.col("session") == day)) for part, day in zip(partitions, DAYS, strict=True)]
        )
    return Table(lake, (name,), partitions)


def closes(*symbols: str) -> pl.DataFrame:
    return pl.DataFrame(
        [(symbol, day, 10.0 + place) for symbol in symbols for place, day in enumerate(DAYS)],
        schema=["symbol", "session", "adj_close"],
        orient="row",
    )


def test_a_symbol_that_left_the_universe_is_in_no_result(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    bars, held = table(lake, "bars", closes("AAPL", "IBM")), table(lake, "panel", closes("AAPL"))
    assert as_of.traded(SETTINGS, bars, held, *DAYS)["symbol"].unique().to_list() == ["AAPL"]


def test_a_benchmark_without_bars_is_refused() -> None:
    other = SETTINGS.model_copy(update={"benchmark": "SPY"})
    with pytest.raises(ConfigError, match="benchmark: there are no bars of SPY in this period; add it to the universe"):
        as_of.benchmark(other, closes("AAPL"))
    own = SETTINGS.model_copy(update={"benchmark": "AAPL"})
    assert as_of.benchmark(own, closes("AAPL", "IBM"))["return"].to_list() == [0.0, pytest.approx(0.1)]


def test_the_columns_declared_in_the_ui_are_those_written() -> None:
    sample, asked = Sample(), (["IBM", "MSFT"], date(2012, 1, 3), date(2012, 6, 29))
    cleaned = clean(sample.bars(*asked), sample.corporate_actions(*asked), sample.instruments(asked[0])).bars
    core = load_set("core").names
    rows = panel(compute(cleaned, core), cleaned)
    assert rows.collect_schema() == panel_schema(core)
    assert forward_returns(rows, 5).collect_schema() == LABEL_SCHEMA
    known = cleaned.collect()["known_at"][0]
    order = sent({"ts": known, "symbol": "IBM", "target_weight": 0.5})
    assert run(cleaned, order).equity.schema == EQUITY_SCHEMA
