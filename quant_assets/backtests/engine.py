"""Backtests: orders over cleaned bars, on the simulated exchange that paper trading uses too."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from quant_assets.backtests import metrics as measures
from quant_assets.backtests import trades
from quant_assets.backtests.inputs import Book, History, book, history
from quant_assets.backtests.tables import Recorder, tables
from resources.config import BacktestSettings
from resources.exchange.layout import (
    AT_TARGET,
    BEFORE_START,
    CANCELLED,
    CLOSE,
    DELISTED,
    EQUITY,
    FILLED,
    HISTORY_OVER,
    NO_PRICE,
    REJECTED,
    REPLACED,
    SPLIT,
    Floats,
    Integers,
)
from resources.exchange.terms import Listing, terms
from resources.exchange.venue import Venue


@dataclass(frozen=True, slots=True)
class BacktestResult:
    """What became of the account, the orders and the positions. Money in account currency.

    equity     a row a session: session, ts, cash, positions_value, equity, gross_exposure and net_exposure (as
               multiples of equity, null where that is not positive), return, dividends, borrow_cost, interest
    fills      order_id, ts, session, symbol, side, quantity, price (after costs), reference_price (before costs),
               spread_cost, slippage_cost, commission, reason, ambiguous; ids such as `delisting:XYZ:2009-06-01`
               where a corporate action and no order is behind it
    positions  session, symbol, quantity, price, market_value at each close, of what is held
    orders     order_id, ts, symbol, side, quantity, type, state, filled, reason; quantities as restated by splits,
               those of target weights as sized; every order has ended (at the end of history by cancellation)
    metrics    metrics.summary of the returns, and trades.statistics
    """

    equity: pl.DataFrame
    fills: pl.DataFrame
    positions: pl.DataFrame
    orders: pl.DataFrame
    metrics: dict[str, float | None]


def run(
    bars: pl.LazyFrame | pl.DataFrame,
    orders: pl.LazyFrame | pl.DataFrame,
    config: BacktestSettings | None = None,
    instruments: pl.DataFrame | None = None,
    benchmark: pl.DataFrame | None = None,
) -> BacktestResult:
    """Trade the orders on the bars, by the rules in resources/exchange/__init__.py.

    `bars`: cleaned daily bars of one calendar; raw prices are traded, splits and dividends applied as they come.
    `orders`: ts (aware, the instant of submission) and symbol, with side and quantity, or with target_weight (a
    fraction of equity, negative to be short); optional order_id, type (market), limit_price, stop_price, tif (gtc).
    `instruments` (symbol, lot, tick): without it, lots of one share and continuous prices. `benchmark` (session,
    return) adds the comparison to the metrics.

    A target weight is sized once, with what was known when it was submitted: equity and price of the last close,
    whole lots towards zero. It is not shrunk and no part of equity is held back for costs. Instead `max_gross`
    lets a fill take the account a little (5%) above its equity, because an open above the close that it was
    sized with would otherwise reject the last buys of every fully invested rebalance; the overdraft pays
    interest until the next rebalance. Sales come before purchases at the open. A target replaces what still rests of
    the symbol's target before it, and leaves orders with a quantity alone. A symbol without a row in a session
    after its last one is delisted in that session.

    The same input gives the same result, and cutting the history leaves everything before the cut as it was.

    Raises BarSchemaError and OrderError, naming row, symbol and field, on input that cannot be traded, and
    IdentityError if cash and positions ever fail to add up to equity.

    Example: `run(cleaned, orders, BacktestSettings(cash=100_000)).equity`
    """
    settings = config or BacktestSettings()
    past = history(bars)
    listings = _listings(past.symbols, instruments)
    pending = book(orders, past, listings, settings.latency_seconds)
    recorder = Simulation(settings, past, listings, pending).run()
    frames = tables(recorder, past, pending, settings)
    returns = frames["equity"].select("session", "return")
    figures = measures.summary(returns, benchmark)
    figures |= trades.statistics(frames["equity"], frames["fills"], frames["positions"], frames["orders"])
    return BacktestResult(**frames, metrics=figures)


def _listings(symbols: list[str], instruments: pl.DataFrame | None) -> list[Listing]:
    if instruments is None:
        return [Listing()] * len(symbols)
    known = {
        row["symbol"]: Listing(lot=row["lot"] or 1.0, tick=row["tick"] or 0.0)
        for row in instruments.select("symbol", "lot", "tick").iter_rows(named=True)
    }
    return [known.get(symbol, Listing()) for symbol in symbols]


class Simulation:
    """Hands the venue each session's orders and bars, and sizes target weights."""

    def __init__(self, settings: BacktestSettings, past: History, listings: list[Listing], pending: Book) -> None:
        self.past = past
        self.pending = pending
        self.venue = Venue(terms(settings), settings.cash, listings, pending.records)
        self.start = past.first_traded(settings.start)
        self.gone = past.last < self.start
        self.leaving: dict[int, list[int]] = {}
        for symbol, last in enumerate(past.last.tolist()):
            self.leaving.setdefault(last + 1, []).append(symbol)
        self.resting = np.full(len(past.symbols), -1, np.int64)
        if self.start:
            self._remember_prices()

    def _remember_prices(self) -> None:
        """The last close of each symbol before the first session traded."""
        closes = self.past.bars[: self.start, :, CLOSE]
        seen = ~np.isnan(closes)
        back = np.argmax(seen[::-1], axis=0)
        price = closes[self.start - 1 - back, np.arange(closes.shape[1])]
        self.venue.desk.mark[:] = np.where(seen.any(axis=0), price, np.nan)

    def run(self) -> Recorder:
        past, venue = self.past, self.venue
        recorder = Recorder(sessions=len(past.sessions), symbols=len(past.symbols), start=self.start)
        submitted = self.pending.records["submitted"]
        # Orders that come before a session opens, and, of those, orders that come before the last close.
        until_open = np.searchsorted(submitted, past.opens, side="right")
        until_close = np.searchsorted(submitted, past.closes, side="left")
        taken = self._skip()
        prices, equity = venue.desk.mark.copy(), float(venue.desk.account[EQUITY])
        for number in range(self.start, len(past.sessions)):
            if number > self.start:  # submitted while the session before was open, knowing the close before that
                early = max(int(until_close[number - 1]), taken)
                self._take(taken, early, prices, equity)
                taken = early
            prices, equity = venue.desk.mark.copy(), float(venue.desk.account[EQUITY])
            due = max(int(until_open[number]), taken)
            self._take(taken, due, prices, equity)
            taken = due
            bars = past.bars[number]
            self._delist(number, recorder)
            recorder.fills(number, venue.session(int(past.opens[number]), bars))
            prices = prices / np.where(np.isnan(bars[:, SPLIT]), 1.0, bars[:, SPLIT])
            recorder.close(number, venue.desk)
        late = np.arange(taken, len(submitted))
        venue.activate(late)
        venue.end(np.concatenate([venue.open_rows(), late]), CANCELLED, HISTORY_OVER)
        return recorder

    def _skip(self) -> int:
        """Cancel the orders that were eligible before the first session traded; how many those are."""
        if not self.start:
            return 0
        early = int(np.searchsorted(self.pending.records["eligible"], self.past.opens[self.start - 1], side="right"))
        rows = np.arange(early)
        self.pending.records["state"][rows] = CANCELLED
        self.pending.records["reason"][rows] = BEFORE_START
        return early

    def _delist(self, number: int, recorder: Recorder) -> None:
        for symbol in self.leaving.get(number, ()):
            recorder.fills(number, self.venue.delist(symbol))
            self.gone[symbol] = True

    def _take(self, first: int, end: int, prices: Floats, equity: float) -> None:
        """Accept orders `first` to `end`, sizing targets with the prices and equity known when they were submitted."""
        if first == end:
            return
        book = self.pending.records
        rows = np.arange(first, end)
        gone = self.gone[book["symbol"][rows]]
        self._close(rows[gone], REJECTED, DELISTED)
        targeted = ~np.isnan(self.pending.weight[rows])
        sized = self._size(rows[targeted & ~gone], prices, equity)
        plain = rows[~targeted & ~gone]
        self.venue.activate(np.sort(np.concatenate([plain, sized])))

    def _size(self, rows: Integers, prices: Floats, equity: float) -> Integers:
        """Give target orders their side and quantity; returns those that have something to trade."""
        if not rows.size:
            return rows
        book, desk = self.pending.records, self.venue.desk
        newest = np.unique(book["symbol"][rows][::-1], return_index=True)[1]
        kept = np.sort(rows.size - 1 - newest)
        self._close(np.delete(rows, kept), CANCELLED, REPLACED)
        rows = rows[kept]
        symbols = book["symbol"][rows]
        before = self.resting[symbols]
        self.venue.end(before[before >= 0], CANCELLED, REPLACED)
        lots = target_lots(self.pending.weight[rows], equity, prices[symbols], desk.lot[symbols])
        change = lots * desk.lot[symbols] - desk.position[symbols]
        book["quantity"][rows] = np.abs(np.nan_to_num(change))
        book["side"][rows] = np.sign(np.nan_to_num(change))
        self._close(rows[np.isnan(change)], REJECTED, NO_PRICE)
        self._close(rows[change == 0], FILLED, AT_TARGET)
        traded = ~np.isnan(change) & (change != 0)
        self.resting[symbols] = np.where(traded, rows, -1)
        to_trade: Integers = rows[traded]
        return to_trade

    def _close(self, rows: Integers, state: int, reason: int) -> None:
        self.pending.records["state"][rows] = state
        self.pending.records["reason"][rows] = reason


def target_lots(weight: Floats, equity: float, price: Floats, lot: Floats) -> Floats:
    """Signed number of whole lots, towards zero, that come to `weight` x equity at `price`; NaN without a price."""
    # The tolerance keeps an exact multiple that binary division puts a hair below it.
    exact = weight * max(equity, 0.0) / (price * lot)
    return np.sign(exact) * np.floor(np.abs(exact) + 1e-9)
