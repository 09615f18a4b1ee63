"""The embedded sample: daily bars of five US stocks, 2000-03-01 to 2013-03-01, offline (bokeh_sampledata.stocks).

The sample holds raw prices and volumes as traded, and an `adj_close`. It has no list of corporate actions, but
`adj_close / close` (the *factor*) is constant between two ex-dates and steps on each. The vendor's rule, found by
comparing its steps with the published dividends, reinvests a dividend at the close of its ex-date:

    factor after / factor before = s * (1 + D / C)

for a split of s new shares per old share, a cash dividend D per new share, and C the close of the ex-date. So the
steps are the actions, once rounding is told apart from them: `adj_close` has at least six decimals, so the true
factor of a day lies within

    [(adj_close - 1e-6) / close, (adj_close + 1e-6) / close]

and days belong to one segment as long as all their intervals have a factor in common. Where they have none,
rounding cannot explain it and a new segment begins: that day is an ex-date. Noise therefore makes no dividend, and
the threshold is not critical: the same 95 ex-dates come out for any half-width from 5e-7 to 1e-3. The smallest real
step is 0.1 %. The intervals leave a dividend uncertain by less than 0.00005, so it is given to four decimals.

A constant in `adj_close`, as the splits of 2014 leave, steps nowhere and so is no action.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from itertools import pairwise

import polars as pl

from resources.config import ExcludedRow
from resources.errors import BarSchemaError
from resources.market_data.base import (
    INSTRUMENT_SCHEMA,
    Clock,
    Partial,
    asked,
    daily_actions,
    daily_bars,
    exclude_rows,
    no_rows,
    utc_now,
)

SYMBOLS = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
CALENDAR = "XNYS"
SOURCE = "bokeh_sampledata.stocks"

ROUNDING = 1e-6
SPLITS = (1.5, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0, 0.5, 0.25, 0.2, 0.1)
"""Ratios taken for splits: a step is a split if what remains of it is nothing, or a dividend of up to REMAINDER."""
REMAINDER = 0.03

INSTRUMENTS = {  # venue, sector, listed (None: before the sample's time, and not part of it)
    "AAPL": ("XNAS", "Information Technology", None),
    "FB": ("XNAS", "Communication Services", date(2012, 5, 18)),
    "GOOG": ("XNAS", "Communication Services", date(2004, 8, 19)),
    "IBM": ("XNYS", "Information Technology", None),
    "MSFT": ("XNAS", "Information Technology", None),
}


class Sample(Partial):
    """Provider of the embedded sample. `exclude`: bars to leave out; corporate actions are derived from all of them.

    >>> from datetime import date
    >>> Sample().bars(["IBM"], date(2013, 2, 28), date(2013, 3, 1)).select("symbol", "close").collect().rows()
    [('IBM', 200.83), ('IBM', 202.91)]
    """

    name = "sample"
    offers = "daily bars, splits and instruments of five US shares"

    def __init__(self, exclude: Sequence[ExcludedRow] = (), *, clock: Clock = utc_now) -> None:
        self._exclude = tuple(exclude)
        self._clock = clock

    def symbols(self) -> list[str]:
        """All symbols held."""
        return list(SYMBOLS)

    def bars(self, symbols: Sequence[str], start: date, end: date, timeframe: str = "1d") -> pl.LazyFrame:
        """Raw bars in BAR_SCHEMA. Raises UnknownSymbolError, or NoDataError if no symbol has a row in the range."""
        names = asked(self.name, symbols, SYMBOLS, timeframe)
        rows = pl.concat(_prices(name) for name in names).drop("adj_close")
        rows = exclude_rows(rows.lazy().filter(pl.col("session").is_between(start, end)), self._exclude).collect()
        if rows.is_empty():
            raise no_rows(self.name, names, start, end, "2000-03-01 to 2013-03-01 (GOOG from 2004, FB from 2012)")
        return daily_bars(
            rows.lazy(), calendar=CALENDAR, start=start, end=end, provider=self.name, fetched_at=self._clock(),
            source=SOURCE,
        )  # fmt: skip

    def corporate_actions(self, symbols: Sequence[str], start: date, end: date) -> pl.LazyFrame:
        """Splits and dividends in ACTION_SCHEMA, derived from the sample's adjusted closes (see the module)."""
        names = asked(self.name, symbols, SYMBOLS)
        rows = pl.concat(derive_actions(name) for name in names).filter(pl.col("session").is_between(start, end))
        return daily_actions(
            rows.lazy(), calendar=CALENDAR, start=start, end=end, provider=self.name, fetched_at=self._clock(),
            source=SOURCE,
        )  # fmt: skip

    def instruments(self, symbols: Sequence[str]) -> pl.DataFrame:
        """One row a symbol in INSTRUMENT_SCHEMA."""
        rows = []
        for symbol in asked(self.name, symbols, SYMBOLS):
            venue, sector, listed = INSTRUMENTS[symbol]
            rows.append(
                {"symbol": symbol, "asset_class": "equity", "venue": venue, "calendar": CALENDAR, "currency": "USD",
                 "tick": 0.01, "lot": 1.0, "multiplier": 1.0, "sector": sector, "listed": listed}
            )  # fmt: skip
        return pl.DataFrame(rows, schema=INSTRUMENT_SCHEMA).sort("symbol")


@lru_cache(maxsize=len(SYMBOLS))
def _prices(symbol: str) -> pl.DataFrame:
    """Columns symbol, session, open, high, low, close, volume, adj_close, as the sample has them."""
    from bokeh_sampledata import stocks

    table = pl.DataFrame(getattr(stocks, symbol))
    return table.select(
        pl.lit(symbol).alias("symbol"),
        pl.col("date").str.to_date().alias("session"),
        pl.col("open", "high", "low", "close", "volume", "adj_close").cast(pl.Float64),
    )


@dataclass(frozen=True, slots=True)
class _Segment:
    """Days from one ex-date to the next: the first one, its close, and what all their factors have in common."""

    first: date
    close: float
    low: float
    high: float


def _segments(prices: pl.DataFrame) -> Iterator[_Segment]:
    current: _Segment | None = None
    for session, close, adjusted in prices.select("session", "close", "adj_close").iter_rows():
        low, high = (adjusted - ROUNDING) / close, (adjusted + ROUNDING) / close
        if current is None:
            current = _Segment(session, close, low, high)
        elif max(low, current.low) <= min(high, current.high):
            current = replace(current, low=max(low, current.low), high=min(high, current.high))
        else:
            yield current
            current = _Segment(session, close, low, high)
    if current is not None:
        yield current


@lru_cache(maxsize=len(SYMBOLS))
def derive_actions(symbol: str) -> pl.DataFrame:
    """Corporate actions of one symbol over the whole sample: symbol, session (ex-date), kind, value.

    Raises BarSchemaError if a step is neither a split nor a dividend: the sample is not
    what this module was written for.
    """
    rows: list[tuple[str, date, str, float]] = []
    segments = list(_segments(_prices(symbol)))
    for before, after in pairwise(segments):
        split, dividend = _explain(before, after)
        if split == 1.0 and dividend == 0.0:
            raise BarSchemaError(
                f"{symbol} {after.first}: adj_close steps by neither a split nor a dividend ({SOURCE}). "
                "Install the bokeh-sampledata that the constraints file names."
            )
        rows += [(symbol, after.first, "split", split)] * (split != 1.0)
        rows += [(symbol, after.first, "dividend", dividend)] * (dividend > 0.0)
    schema = {"symbol": pl.String, "session": pl.Date, "kind": pl.String, "value": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _explain(before: _Segment, after: _Segment) -> tuple[float, float]:
    """Split ratio (1.0 for none) and dividend (0.0 for none) that explain the step between two segments."""
    least, most = after.low / before.high, after.high / before.low  # of factor after / factor before
    split = next((ratio for ratio in SPLITS if most >= ratio and least < ratio * (1.0 + REMAINDER)), 1.0)
    if least <= split:
        return split, 0.0  # the split alone can be the whole step
    return split, round(after.close * ((least + most) / 2.0 / split - 1.0), 4)
