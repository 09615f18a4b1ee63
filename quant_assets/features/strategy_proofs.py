"""What every strategy must stand up to: it sees no later session, and its stated history is enough.

A strategy is known here by what it has, so that features need not know the room that builds on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl

from quant_assets.features import compute, panel
from quant_assets.features.example import example_bars, example_instruments
from quant_assets.features.groups import ALL
from quant_assets.features.proofs import PLACES, Refutation


@runtime_checkable
class Strategy(Protocol):
    """What a strategy has: quant_assets.strategies.base has the whole of it."""

    @property
    def required_features(self) -> tuple[str, ...]:
        """Columns that `intents` reads."""
        ...

    @property
    def history(self) -> int:
        """Sessions of features needed before the first one wanted."""
        ...

    def intents(self, features: pl.LazyFrame) -> pl.LazyFrame:
        """Target weights, a row a symbol and session."""
        ...


COMPARED = ("target_weight", "score", "confidence", "rebalance")


def prove_strategy(strategy: Strategy, bars: pl.DataFrame | None = None) -> list[Refutation]:
    """Put a strategy through the proofs; what is refuted, each at most once. Empty where it stands.

    `bars` are cleaned bars of several symbols (`example_bars` by default); the features it requires are computed from
    them, and predictions, where it needs them, made up.
    """
    known = [name for name in strategy.required_features if name in ALL.names]
    longest = ALL.pick(known).lookback + strategy.history
    held = bars if bars is not None else example_bars(sessions=longest + 300)
    features = example_features(strategy, held)
    found: dict[str, Refutation] = {}
    for proof in (no_look_ahead, honest_history):
        for what in proof(strategy, features, first=longest):
            found.setdefault(proof.__name__, Refutation(type(strategy).__name__, proof.__name__, what))
    return list(found.values())


def no_look_ahead(strategy: Strategy, features: pl.DataFrame, first: int) -> Iterator[str]:
    """Without the sessions after one, every intent up to it is the same; tried after each session."""
    whole = strategy.intents(features.lazy()).collect()
    for day in features["session"].unique().sort()[first:]:
        cut = strategy.intents(features.filter(pl.col("session") <= day).lazy()).collect()
        changed = _changed(whole.filter(pl.col("session") <= day), cut)
        if changed is not None:
            yield f"sees the future: {changed} is another intent without the sessions after {day}"


def honest_history(strategy: Strategy, features: pl.DataFrame, first: int) -> Iterator[str]:
    """From only `history` earlier sessions, the intents of a session are those of the whole history."""
    whole = strategy.intents(features.lazy()).collect()
    sessions = features["session"].unique().sort()
    for day in _days(features, first):
        place = int(sessions.search_sorted(day))
        window = features.filter(pl.col("session").is_between(sessions[max(0, place - strategy.history)], day))
        short = strategy.intents(window.lazy()).collect().filter(pl.col("session") == day)
        changed = _changed(whole.filter(pl.col("session") == day), short)
        if changed is not None:
            yield f"{changed} is another intent from only its history of {strategy.history} sessions"


def example_features(strategy: Strategy, bars: pl.DataFrame) -> pl.DataFrame:
    """The panel of the strategy's features over the bars; columns that no feature has are made up, seeded."""
    known = [name for name in strategy.required_features if name in ALL.names]
    instruments = example_instruments(bars["symbol"].unique().sort().to_list())
    rows = panel(compute(bars, known, instruments=instruments), bars.lazy()).collect().sort("symbol", "ts")
    random = np.random.default_rng(0)
    made_up = [name for name in strategy.required_features if name not in rows.columns]
    return rows.with_columns(pl.Series(name, random.uniform(0, 1, rows.height)) for name in made_up)


def _days(features: pl.DataFrame, first: int) -> list[date]:
    sessions = features["session"].unique().sort()
    return [
        sessions[int(place)] for place in np.linspace(min(first, sessions.len() - 2), sessions.len() - 2, PLACES + 2)
    ]


def _changed(one: pl.DataFrame, other: pl.DataFrame) -> str | None:
    """The first symbol and session whose intents differ."""
    keys = ["symbol", "session"]
    both = one.select(*keys, *COMPARED).join(
        other.select(*keys, *COMPARED), on=keys, how="full", suffix="_other", coalesce=True
    )
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_other")) for name in COMPARED)
    differ = both.filter(~same).sort("session", "symbol")
    return f"{differ['symbol'][0]} {differ['session'][0]}" if differ.height else None
