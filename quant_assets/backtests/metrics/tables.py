"""Returns by calendar period. Input is a frame with session (date) and return; missing returns count as 0."""

from __future__ import annotations

import polars as pl

from quant_assets.backtests.metrics.drawdowns import max_drawdown
from quant_assets.backtests.metrics.ratios import sharpe_ratio
from quant_assets.backtests.metrics.returns import cum_returns_final
from quant_assets.backtests.metrics.sample import Sample
from quant_assets.backtests.metrics.tails import annual_volatility

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
EVERY = {"weekly": "1w", "monthly": "1mo", "quarterly": "1q", "yearly": "1y"}


def aggregate_returns(returns: pl.DataFrame, every: str = "monthly") -> pl.DataFrame:
    """Compound return of each week (from Monday), month, quarter or year: period (its first day), return.

    Raises ValueError for another `every` than weekly, monthly, quarterly or yearly.

    Example: `aggregate_returns(result.equity, "yearly")`
    """
    if every not in EVERY:
        raise ValueError(f"every is {every}; use one of {list(EVERY)}")
    period = pl.col("session").dt.truncate(EVERY[every]).alias("period")
    return _clean(returns).group_by(period).agg(_compound().alias("return")).sort("period")


def monthly_table(returns: pl.DataFrame) -> pl.DataFrame:
    """A row a year: year, Jan to Dec (null where there was no session), and the whole year."""
    session = pl.col("session").dt
    months = [_compound(session.month() == number).alias(name) for number, name in enumerate(MONTHS, 1)]
    return _clean(returns).group_by(session.year().alias("year")).agg(*months, _compound().alias("Year")).sort("year")


def yearly_table(
    returns: pl.DataFrame, benchmark: pl.DataFrame | None = None, periods_per_year: float = 252
) -> pl.DataFrame:
    """A row a year: year, periods, return, volatility, sharpe, max_drawdown (within the year), best_month,
    worst_month; with a benchmark (session, return) its return and the active_return beyond it.

    Null where a measure is not defined.
    """
    clean = _clean(returns)
    months = aggregate_returns(clean).group_by(year=pl.col("period").dt.year())
    extremes = months.agg(best_month=pl.col("return").max(), worst_month=pl.col("return").min())
    rows = []
    for (year,), of_year in clean.with_columns(year=pl.col("session").dt.year()).group_by("year", maintain_order=True):
        sample = Sample.of(of_year["return"])
        volatility, sharpe = annual_volatility(sample, periods_per_year), sharpe_ratio(sample, 0.0, periods_per_year)
        rows.append((year, of_year.height, cum_returns_final(sample), volatility, sharpe, max_drawdown(sample)))
    table = (
        pl.DataFrame(rows, schema=_YEARLY, orient="row")
        .with_columns(_defined())
        .join(extremes, on="year", how="left")
        .sort("year")
    )
    if benchmark is None:
        return table
    other = aggregate_returns(benchmark, "yearly").select(
        pl.col("period").dt.year().alias("year"), pl.col("return").alias("benchmark_return")
    )
    return table.join(other, on="year", how="left", maintain_order="left").with_columns(
        active_return=pl.col("return") - pl.col("benchmark_return")
    )


_YEARLY = {"year": pl.Int32, "periods": pl.Int64} | dict.fromkeys(
    ("return", "volatility", "sharpe", "max_drawdown"), pl.Float64
)


def _defined() -> pl.Expr:
    measures = pl.col("return", "volatility", "sharpe", "max_drawdown")
    return pl.when(measures.is_finite()).then(measures)


def _clean(returns: pl.DataFrame) -> pl.DataFrame:
    value = pl.col("return").cast(pl.Float64)
    return returns.select(
        pl.col("session").cast(pl.Date), pl.when(value.is_finite()).then(value).otherwise(0.0).alias("return")
    ).sort("session")


def _compound(when: pl.Expr | None = None) -> pl.Expr:
    values = pl.col("return") if when is None else pl.col("return").filter(when)
    return pl.when(values.len() > 0).then((1 + values).product() - 1)
