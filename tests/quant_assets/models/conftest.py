"""A made-up market with a signal that the tests know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import polars as pl
import pytest

FEATURES = ("signal", "other", "third", "fourth")
HORIZON = 5


@dataclass(frozen=True)
class Market:
    """Panel and labels, a row a symbol and session; `features` names the panel's feature columns."""

    panel: pl.DataFrame
    labels: pl.DataFrame
    sessions: list[date]
    features: tuple[str, ...] = FEATURES


def weekdays(count: int) -> list[date]:
    days = (date(2003, 1, 1) + timedelta(days=offset) for offset in range(2 * count))
    return [day for day in days if day.weekday() < 5][:count]


def make_market(strength: float, symbols: int = 20, count: int = 420, seed: int = 1) -> Market:
    """`strength` is how much of the forward return the feature `signal` explains; 0.0 is noise alone."""
    rng = np.random.default_rng(seed)
    days = weekdays(count)
    names = [f"S{number:02d}" for number in range(symbols)]
    keys = pl.DataFrame({"session": days}).join(pl.DataFrame({"symbol": names}), how="cross")
    values = rng.normal(size=(keys.height, len(FEATURES)))
    values[rng.random(values.shape) < 0.02] = np.nan
    market_move = np.repeat(rng.normal(scale=0.03, size=count), symbols)
    noise = rng.normal(scale=0.02, size=keys.height)
    forward = market_move + noise + 0.02 * strength * np.nan_to_num(values[:, 0])

    def instants(hour: int) -> list[datetime]:
        return [datetime.combine(day, time(hour), UTC) for day in keys["session"]]

    stamped = keys.with_columns(
        ts=pl.Series(instants(14), dtype=pl.Datetime("us", "UTC")),
        known_at=pl.Series(instants(21), dtype=pl.Datetime("us", "UTC")),
    )
    columns = {name: pl.Series(values[:, number], nan_to_null=True) for number, name in enumerate(FEATURES)}
    panel = stamped.with_columns(tradable=pl.lit(True), **columns)
    later = dict(zip(days[:-HORIZON], days[HORIZON:], strict=True))
    labels = keys.with_columns(
        forward_return=pl.Series(forward),
        decided_at=stamped["known_at"],
        known_session=pl.col("session").replace_strict(later, default=None, return_dtype=pl.Date),
    ).drop_nulls("known_session")
    return Market(panel, labels, days)


@pytest.fixture(scope="session")
def make() -> Callable[..., Market]:
    return make_market


@pytest.fixture(scope="session")
def planted() -> Market:
    return make_market(strength=0.5)
