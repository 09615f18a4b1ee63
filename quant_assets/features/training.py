"""What a model may learn from: the one function that joins features to labels."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from quant_assets.features.inputs import KEYS
from resources.errors import QuantError


class TrainingFrameError(QuantError):
    """Features or labels cannot be joined row by row."""


def training_frame(
    features: Sequence[str],
    frames: Sequence[pl.LazyFrame],
    labels: pl.LazyFrame,
    cutoff: date,
    *,
    since: date | None = None,
) -> pl.DataFrame:
    """Labels known before `cutoff`, each with the features that were known when its trade was decided.

    `features` are the names wanted, in order. `frames` hold symbol, session, known_at and features: the panel, or
    tables of several groups; a feature is taken from the first frame that has it. `labels` are in LABEL_SCHEMA.
    `since`: the first session wanted.

    The join is as of the label's `decided_at`, the close of its session: of each frame a row takes the symbol's newest
    row known by then, provided that it is of that session. A row that became known later is not taken, and neither is
    one of an earlier session in its place. A label whose features lack a row in any frame is left out.

    Columns: symbol, session, known_session, forward_return, and the features as Float32; sorted by session and symbol.
    The same rows give the same frame bit for bit, whatever order they come in.

    Raises TrainingFrameError naming the features that no frame has, and the symbol and session of a repeated row.
    """
    known = (
        labels.filter(pl.col("known_session") < cutoff, pl.col("session") < cutoff)
        .filter(pl.lit(since is None) | (pl.col("session") >= pl.lit(since, pl.Date)))
        .filter(pl.col("forward_return").is_finite())
        .select("symbol", "session", "known_session", "decided_at", "forward_return")
    )
    rows = _once(known, "the labels").sort("decided_at", "symbol")
    for number, (frame, names) in enumerate(_sources(features, frames)):
        numbers = [pl.col(name).cast(pl.Float32) for name in names]
        held = frame.filter(pl.col("session") < cutoff).select("symbol", "session", "known_at", *numbers)
        ready = _once(held, f"frame {number} of the features").rename({"session": "__session"})
        rows = rows.join_asof(
            ready.sort("known_at", "symbol", "__session"),
            left_on="decided_at",
            right_on="known_at",
            by="symbol",
            strategy="backward",
            check_sortedness=False,
        )
        rows = rows.filter(pl.col("__session") == pl.col("session")).drop("__session")
    return rows.select("symbol", "session", "known_session", "forward_return", *features).sort("session", "symbol")


def _sources(features: Sequence[str], frames: Sequence[pl.LazyFrame]) -> list[tuple[pl.LazyFrame, list[str]]]:
    """Each frame that brings something, with the features taken from it."""
    left = list(features)
    sources = []
    for frame in frames:
        held = set(frame.collect_schema().names()) - set(KEYS)
        names = [name for name in left if name in held]
        if names:
            sources.append((frame, names))
        left = [name for name in left if name not in held]
    if left or not features:
        raise TrainingFrameError(
            f"no column for {', '.join(left) or 'any feature: none was named'}. Materialize features/panel anew, or "
            "retrain with the features that it holds"
        )
    return sources


def _once(frame: pl.LazyFrame, what: str) -> pl.DataFrame:
    rows = frame.collect()
    twice = rows.filter(rows.select("symbol", "session").is_duplicated())
    if twice.height:
        symbol, session = twice.select("symbol", "session").sort("session", "symbol").row(0)
        raise TrainingFrameError(f"{symbol} {session}: more than one row in {what}; keep one")
    return rows
