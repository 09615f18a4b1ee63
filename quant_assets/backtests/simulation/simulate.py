"""A backtest as arrays: a prepared history and a book of orders in, a log of the account and fills out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from quant_assets.backtests.market.history import History
from quant_assets.backtests.simulation.book import Book
from quant_assets.backtests.simulation.limited import Judge
from resources.config import BacktestSettings
from resources.exchange.layout import HOLDING, Log, Records
from resources.exchange.reaction import Reaction
from resources.exchange.venue import Venue
from resources.exchange.words import ACCOUNT_SLOTS, BEFORE_START, CANCELLED, CLOSED, HISTORY_OVER, LOGGED, TAKEN


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened: the account after each recorded step, every fill, and the book as the orders ended."""

    log: Log
    fills: Records
    records: Records
    refused: Mapping[str, str] = field(default_factory=dict)
    """By order id, why limits refused it."""


def simulate(settings: BacktestSettings, past: History, pending: Book, reaction: Reaction | None = None) -> Outcome:
    """Work a book of orders through a history, or what a strategy's reaction submits.

    The history serves again; the book is used up, and becomes the outcome's records. Where the settings have limits,
    orders are judged before they are sent.

    Raises IdentityError if cash and positions ever fail to add up to equity.
    """
    return trade(Venue(settings, past.symbols, past.listings, pending.records), past, pending, reaction)


def trade(
    venue: Venue, past: History, pending: Book, reaction: Reaction | None = None, holdings: bool = True
) -> Outcome:
    """`simulate` at a venue that has the history's symbols and the book. Without `holdings` the log has no `held`."""
    settings = venue.settings
    start = past.first_traded(settings.start)
    if start:
        _begin_late(venue, past, start)
    log = _log(past, start, holdings)
    refused: Mapping[str, str] = {}
    if settings.limits is None:
        venue.trade(past.market, log, start, reaction)
    else:
        refused = Judge(settings.limits, past, pending.ids, settings.cash).trade(venue, log, start)
    records = venue.desk.book[: venue.next_row]
    venue.end(np.append(venue.open_rows(), np.arange(venue.desk.tally[TAKEN], records.size)), CANCELLED, HISTORY_OVER)
    rows = int(venue.desk.tally[LOGGED])
    held = Log(
        log.step[:rows],
        log.account[:rows],
        log.held[:rows],
        log.factor[:rows],
    )
    return Outcome(held, venue.fills(), records, refused)


def _log(past: History, start: int, holdings: bool) -> Log:
    rows, symbols = int(past.market.recorded[start:].sum()), len(past.symbols)
    # In one currency it is always the multiplier.
    factor = np.zeros((rows if past.market.rates.size else 0, symbols))
    held = np.zeros((rows if holdings else 0, symbols), HOLDING)
    return Log(np.zeros(rows, np.int64), np.zeros((rows, ACCOUNT_SLOTS)), held, factor)


def _begin_late(venue: Venue, past: History, start: int) -> None:
    """Know the last prices from before the first step that is traded, and cancel the orders that came too early."""
    market, desk = past.market, venue.desk
    before = market.rows[: market.start[start]]
    before = before[before["until"] <= market.opens[start]]  # the closes that are known by then
    numbers, last = np.unique(before["symbol"][::-1], return_index=True)
    rows = before[before.size - 1 - last]
    for name in ("mark", "before", "day_close"):
        desk.symbols[name][numbers] = rows["close"]
    desk.symbols["closed"][numbers] = rows["until"]
    desk.tally[CLOSED] = rows["until"].max(initial=desk.tally[CLOSED])
    early = int(np.searchsorted(desk.book["eligible"], market.opens[start - 1], side="right"))
    desk.book["state"][:early] = CANCELLED
    desk.book["reason"][:early] = BEFORE_START
    desk.tally[TAKEN] = early
