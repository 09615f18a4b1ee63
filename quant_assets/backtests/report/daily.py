"""The account by session, and the charts drawn of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Literal

import polars as pl

from quant_assets.backtests.engine import checked_benchmark
from quant_assets.backtests.glossary import DASH, unsigned_zero
from quant_assets.backtests.metrics.year import sessions_a_year
from quant_assets.backtests.report.geometry import Chart, Panel, Series, Values, date_ticks, panel
from quant_assets.backtests.trades.statistics import CORPORATE, amount_of

Benchmark = pl.LazyFrame | pl.DataFrame | Literal["cash"] | None

FLAT = 1e-12
"""A standard deviation up to here is rounding: returns that do not move have no Sharpe ratio."""


def daily(equity: pl.DataFrame, fills: pl.DataFrame, benchmark: Benchmark, year: float | None = None) -> pl.DataFrame:
    """One row a session: equity, benchmark (grown from the same start), drawdowns, rolling figures, exposure.

    `equity` and `fills` as in a BacktestResult. `benchmark` holds session and return; sessions it lacks count as
    unchanged; without one, or with "cash", its columns are null. What follows the loss of an account is null, too.
    `year`: the sessions of a year, of which the rolling figures are; from their spacing without it.

    Raises ConfigError on a benchmark that cannot be read, as the engine does.
    """
    year = year or sessions_a_year(equity["session"])
    window, root = window_of(year), math.sqrt(year)
    by_order = fills.lazy().filter(~pl.col("reason").is_in(CORPORATE))
    traded = by_order.group_by("session").agg(traded=amount_of(fills).sum())
    other = _other(equity, benchmark)
    own, spread = pl.col("return"), pl.col("return").rolling_std(window)
    traded_share = pl.when(pl.col("equity") > 0).then(pl.col("traded") / pl.col("equity"))
    return (
        _by_session(equity)
        .join(other, on="session", how="left", maintain_order="left")
        .join(traded, on="session", how="left", maintain_order="left")
        .with_columns(pl.col("traded").fill_nan(None).fill_null(0.0))
        .with_columns(benchmark=_start() * (1 + pl.col("benchmark_return")).cum_prod())
        .with_columns(
            drawdown=_below_peak("equity"),
            benchmark_drawdown=_below_peak("benchmark"),
            rolling_sharpe=pl.when(spread > FLAT).then(own.rolling_mean(window) / spread * root),
            rolling_volatility=spread * root,
            benchmark_volatility=pl.col("benchmark_return").rolling_std(window) * root,
            turnover=traded_share.rolling_sum(window) / 2 * (year / window),
        )
        .collect()
    )


def _other(equity: pl.DataFrame, benchmark: Benchmark) -> pl.LazyFrame:
    """The benchmark's return in each session of the account; null without one."""
    sessions = equity.lazy().select("session").unique()
    if benchmark is None or (isinstance(benchmark, str) and benchmark == "cash"):
        return sessions.with_columns(benchmark_return=pl.lit(None, pl.Float64))
    checked = checked_benchmark(benchmark)
    assert checked is not None, "only None is nothing"
    known = checked.lazy().select("session", benchmark_return=pl.col("return"))
    return sessions.join(known, on="session", how="left").with_columns(
        pl.col("benchmark_return").fill_nan(None).fill_null(0.0)
    )


def _by_session(equity: pl.DataFrame) -> pl.LazyFrame:
    """The last row of each session, with the session's return: an account of ticks has a row a minute.

    An account that was lost ends with the row in which it was.
    """
    alive = pl.col("alive")
    change = pl.col("return").fill_nan(None).fill_null(0.0).filter(alive)
    last = pl.col("equity", "gross_exposure", "net_exposure").filter(alive).last()
    rows = equity.lazy().sort("ts").with_columns(alive=pl.col("equity").shift(1, fill_value=1.0).cum_min() > 0)
    return rows.group_by("session", maintain_order=True).agg(
        last, pl.when(alive.any()).then((1 + change).product() - 1).alias("return")
    )  # fmt: skip


def _start() -> pl.Expr:
    """Equity before the first session's return; 1 where that session lost everything."""
    grown = 1 + pl.col("return").first()
    return pl.when(grown > 0).then(pl.col("equity").first() / grown).otherwise(1.0)


def _below_peak(column: str) -> pl.Expr:
    return pl.col(column) / pl.max_horizontal(pl.col(column).cum_max(), _start()) - 1


def compared(frame: pl.DataFrame) -> bool:
    """Whether the frame has a benchmark."""
    return frame["benchmark_return"].null_count() < frame.height


def window_of(year: float) -> int:
    """The sessions of a rolling figure: those of a year, two at least."""
    return max(2, round(year))


def charts(frame: pl.DataFrame, year: float | None = None) -> dict[str, Chart]:
    """The charts by name: equity, exposure and, where there is more than a year of sessions, rolling.

    `year` as in `daily`, which made the frame.
    """
    window = window_of(year or sessions_a_year(frame["session"]))
    dates, both = date_ticks(frame["session"].to_list()), " and benchmark" if compared(frame) else ""
    found = [
        Chart(
            "equity",
            f"Equity of strategy{both} on a log axis, and below it how far each stood under its peak",
            _equity_panels(frame),
            dates,
        ),
        Chart(
            "exposure",
            "Gross and net exposure as shares of equity, and turnover",
            _exposure_panels(frame, window),
            dates,
        ),
    ]
    if frame.height > window:
        label = f"Rolling Sharpe ratio of the strategy, and rolling volatility of strategy{both}"
        found.append(Chart("rolling", label, _rolling_panels(frame), dates))
    return {chart.name: chart for chart in found}


def _equity_panels(frame: pl.DataFrame) -> tuple[Panel, ...]:
    under = [_line(frame, "Drawdown", "bad", "drawdown", percent=True, filled=True)]
    grown = [_line(frame, "Strategy", "a", "equity")]
    if compared(frame):
        under.insert(0, _line(frame, "Benchmark drawdown", "b", "benchmark_drawdown", percent=True))
        grown.insert(0, _line(frame, "Benchmark", "b", "benchmark"))
    return panel("", grown, 300, log=True), panel("Drawdown", under, 130)


def _exposure_panels(frame: pl.DataFrame, window: int) -> tuple[Panel, ...]:
    exposure = [
        _line(frame, "Gross", "b", "gross_exposure", percent=True),
        _line(frame, "Net", "a", "net_exposure", percent=True, filled=True),
    ]
    held = panel("Exposure", exposure, 130)
    if frame.height <= window:
        return (held,)
    return held, panel("Turnover", [_line(frame, "Turnover", "c", "turnover")], 110, note="times equity, a year")


def _rolling_panels(frame: pl.DataFrame) -> tuple[Panel, ...]:
    scatter = [_line(frame, "Volatility", "a", "rolling_volatility", percent=True)]
    if compared(frame):
        scatter.insert(0, _line(frame, "Benchmark volatility", "b", "benchmark_volatility", percent=True))
    ratio = [_line(frame, "Sharpe", "a", "rolling_sharpe")]
    return panel("Sharpe ratio", ratio, 130), panel("Volatility", scatter, 130)


def _line(
    frame: pl.DataFrame, label: str, tone: str, column: str, *, percent: bool = False, filled: bool = False
) -> Series:
    return Series(label, tone, frame[column].fill_nan(None).to_list(), percent, filled)


def under_pointer(sessions: Sequence[date], drawn: Mapping[str, Chart]) -> dict[str, object]:
    """The values that the page's script shows for a session, chart by chart in the order of the lines."""
    return {
        "sessions": [str(session) for session in sessions],
        "charts": {
            name: [
                {"percent": path.series.percent, "values": _rounded(path.series.values, path.series.percent)}
                for part in chart.panels
                for path in part.paths
            ]
            for name, chart in drawn.items()
        },
    }


def _rounded(values: Values, percent: bool) -> list[float | int | None]:
    places = 4 if percent else 2
    return [
        None
        if value is None or not math.isfinite(value)
        else round(value)
        if abs(value) >= 1000
        else round(value, places)
        for value in values
    ]


def latest(series: Series) -> str:
    """The last value of a line as text."""
    value = series.values[-1] if series.values else None
    if value is None or not math.isfinite(value):
        return DASH
    if series.percent:
        return unsigned_zero(f"{value * 100:.1f}") + "%"
    return f"{value:,.0f}" if abs(value) >= 1000 else unsigned_zero(f"{value:.2f}")
