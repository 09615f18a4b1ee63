"""What all runs of a sweep share: the market as arrays, and the features that any of its parameter sets reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import polars as pl

from quant_assets.backtests.engine import check_given, check_limits, checked_benchmark
from quant_assets.backtests.market.bar_frames import Frame, check_frame
from quant_assets.backtests.market.history import UNTRADED, History, history
from quant_assets.backtests.sweeps.grid import Candidate, Maker, SweepError
from quant_assets.backtests.sweeps.runs import Prepared
from resources.calendars import UTC_MICROS
from resources.config import BacktestSettings

if TYPE_CHECKING:
    from quant_assets.strategies.base import Strategy

KEYS, TRADABLE = ("symbol", "ts", "session", "known_at"), "tradable"
OF_BARS = ("adj_close", "adj_open", "close", "flags")
"""What strategies may read that is no feature: it lies beside them in features/panel."""


def prepared(
    bars: Frame | History,
    maker: Maker,
    candidates: Sequence[Candidate],
    settings: BacktestSettings,
    features: Frame | None,
    instruments: Frame | None,
    benchmark: Frame | None,
    intrabar: Frame | None = None,
    rates: Frame | None = None,
) -> Prepared:
    """The market and the features of a sweep, computed once for the union of what its strategies read.

    Raises BarSchemaError on bars that are none, ConfigError on what `run` refuses beside them, SweepError on features
    that are neither given nor to be computed.
    """
    check_given(bars, settings, instruments, intrabar, rates)
    beside = checked_benchmark(benchmark)
    listed = None if instruments is None else instruments.lazy().collect()
    frame = None
    if not isinstance(bars, History):
        check_frame(bars)
        frame = bars.lazy().collect()
    past = bars if isinstance(bars, History) else history(frame, listed, settings.currency, intrabar, rates)  # type: ignore[arg-type]
    check_limits(settings, past)
    made = [candidate.strategy for candidate in candidates if candidate.strategy is not None]
    table = _features(frame, past, made, features, listed) if made else None
    return Prepared(past, settings, maker, table, beside, listed)


def _features(
    bars: pl.DataFrame | None,
    past: History,
    strategies: Sequence[Strategy],
    features: Frame | None,
    instruments: pl.DataFrame | None,
) -> pl.DataFrame:
    wanted = list(dict.fromkeys(name for strategy in strategies for name in strategy.required_features))
    if features is not None:
        held = features.collect_schema().names()
        missing = [name for name in wanted if name not in held]
        if missing:
            raise SweepError(f"features: the frame lacks {missing}, which {strategies[0].name} reads; it has {held}")
        found = features.lazy().select(*(name for name in (*KEYS, TRADABLE) if name in held), *wanted).collect()
        if found.is_empty():
            raise SweepError("features: no rows; give a row a bar, or leave features out to have them computed")
        return _keyed(found, past)
    if bars is None:
        raise SweepError("features: a History holds no adjusted prices to compute them from; give features=")
    if any(strategy.needs_predictions for strategy in strategies):
        raise SweepError(
            f"features: {strategies[0].name} reads a model's score and confidence, which bars do not give; give a "
            "frame of features= that has them, such as features/panel joined with models/predictions"
        )
    return _keyed(_computed(bars, wanted, instruments), past)


def _computed(bars: pl.DataFrame, wanted: Sequence[str], instruments: pl.DataFrame | None) -> pl.DataFrame:
    """Features of the catalogue, with whether each bar was traded; sorted by symbol and ts."""
    from quant_assets.features import compute

    ordered = bars.sort("symbol", "ts")
    beside = [name for name in wanted if name in OF_BARS]
    prices = {
        name: pl.col(name if name in ordered.columns else name.removeprefix("adj_")).cast(pl.Float64)
        for name in beside
        if name != "flags"
    }
    traded = pl.col("volume") > 0
    if "flags" in ordered.columns:
        traded &= ~pl.col("flags").list.eval(pl.element().is_in(UNTRADED)).list.any().fill_null(False)
    rows = compute(ordered, [name for name in wanted if name not in OF_BARS], instruments=instruments).collect()
    return rows.hstack(ordered.select(traded.alias(TRADABLE), *(value.alias(name) for name, value in prices.items())))


def _keyed(features: pl.DataFrame, past: History) -> pl.DataFrame:
    """The features sorted by symbol and ts, with session, known_at and tradable where they came without.

    A bar's session and end are then those that the backtest itself goes by.
    """
    lacking = [name for name in ("session", "known_at") if name not in features.columns]
    if lacking:
        opens = past.frame().select(pl.col("ts"), "symbol")
        ends = opens.with_columns(
            session=pl.Series(past.session.repeat(_rows(past))).cast(pl.Date),
            known_at=pl.Series(past.market.rows["until"].copy()).cast(UTC_MICROS),
        )
        features = features.join(ends.select("symbol", "ts", *lacking), on=["symbol", "ts"], how="left")
        alone = features.filter(pl.any_horizontal(pl.col(name).is_null() for name in lacking)).head(1)
        if alone.height:
            raise SweepError(f"features: {alone['symbol'][0]} {alone['ts'][0]} has no bar; give session and known_at")
    if TRADABLE not in features.columns:
        features = features.with_columns(pl.lit(True).alias(TRADABLE))
    symbol = features["symbol"]
    return features if _in_order(symbol, features["ts"]) else features.sort("symbol", "ts")


def _rows(past: History) -> list[int]:
    start = past.market.start
    counts: list[int] = (start[1:] - start[:-1]).tolist()
    return counts


def _in_order(symbol: pl.Series, ts: pl.Series) -> bool:
    frame = pl.DataFrame([symbol, ts])
    same = pl.col("symbol") == pl.col("symbol").shift()
    after = (pl.col("symbol") > pl.col("symbol").shift()) | (same & (pl.col("ts") > pl.col("ts").shift()))
    return bool(frame.select(after.all()).item())
