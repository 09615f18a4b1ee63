"""Raw market data from a provider, a group of symbols at a time, checked before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date

import polars as pl

from resources.errors import NoDataError
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA, Provider, check_bars


def bars(
    provider: Provider,
    groups: Sequence[Sequence[str]],
    start: date,
    end: date,
    timeframe: str,
    progress: Callable[[str], None],
) -> Iterator[pl.LazyFrame]:
    """Bars of each group of symbols between two sessions, both included, in BAR_SCHEMA.

    A group without a single row yields an empty frame: a listing may begin later. An unknown symbol, a
    refusal or a broken answer is the provider's error. Raises BarSchemaError on rows that are not market data.
    """
    yield from _fetch(
        groups,
        lambda group: check_bars(provider.bars(group, start, end, timeframe), provider.name),
        BAR_SCHEMA,
        progress,
    )


def corporate_actions(
    provider: Provider, groups: Sequence[Sequence[str]], start: date, end: date, progress: Callable[[str], None]
) -> Iterator[pl.LazyFrame]:
    """Splits and dividends of each group of symbols between two sessions, in ACTION_SCHEMA."""
    yield from _fetch(groups, lambda group: provider.corporate_actions(group, start, end), ACTION_SCHEMA, progress)


def _fetch(
    groups: Sequence[Sequence[str]],
    ask: Callable[[Sequence[str]], pl.LazyFrame],
    schema: pl.Schema,
    progress: Callable[[str], None],
) -> Iterator[pl.LazyFrame]:
    for number, group in enumerate(groups, 1):
        try:
            frame = ask(group)
        except NoDataError as error:
            progress(f"no rows: {error}")
            frame = pl.LazyFrame(schema=schema)
        yield frame
        progress(f"{number}/{len(groups)} groups of symbols fetched, up to {group[-1]}")
