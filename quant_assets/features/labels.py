"""What the features are asked to predict."""

from __future__ import annotations

import polars as pl

from resources.calendars import UTC_MICROS

LABEL_SCHEMA = pl.Schema(
    {
        "symbol": pl.String(),
        "session": pl.Date(),
        "known_session": pl.Date(),
        "known_at": UTC_MICROS,
        "decided_at": UTC_MICROS,
        "forward_return": pl.Float64(),
    }
)


def forward_returns(bars: pl.LazyFrame, horizon: int) -> pl.LazyFrame:
    """Return of buying at the next session's open and selling at the close `horizon` sessions ahead.

    Columns: symbol, session (t, when the features are known), known_session (t + horizon) and known_at (its close),
    decided_at (the close of t, by which the features must be known),
    forward_return = adj_close[t + horizon] / adj_open[t + 1] - 1. Sessions are counted on the cleaned bars, which
    have a row for each; sorted by symbol and session.

    A row belongs to the session on which its label becomes KNOWN and needs the bars from `horizon` sessions before.
    There is none where the first or the last of the bars held is missing: that trade could not be made.

    Raises ValueError unless horizon is at least 1.
    """
    if horizon < 1:
        raise ValueError(f"horizon {horizon}: a label looks at least 1 session ahead, for example horizon=5")
    real = ~pl.col("flags").list.contains("missing_session")
    entry = horizon - 1
    return (
        bars.sort("symbol", "ts")
        .select(
            "symbol",
            session=pl.col("session").shift(horizon).over("symbol"),
            known_session="session",
            known_at="known_at",
            decided_at=pl.col("known_at").shift(horizon).over("symbol"),
            forward_return=pl.col("adj_close") / pl.col("adj_open").shift(entry).over("symbol") - 1,
            tradable=real & real.shift(entry).over("symbol"),
        )
        .filter(pl.col("session").is_not_null() & pl.col("tradable"))
        .drop("tradable")
    )
