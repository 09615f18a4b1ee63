"""From a session's signals to its orders: what to buy and sell so that holdings meet their targets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from quant_assets.live.journal import Plan
from quant_assets.risk.limits import check, is_reducing
from resources.brokers.base import Order, OrderType, Side, TimeInForce
from resources.config import LimitSettings

HOLD_BAND = 0.25
"""A `hold` leaves a position alone while it is within this share of its target; further away it is caught up
(a first session, or an order that thin volume left unfilled). Drift alone is never traded."""


@dataclass(frozen=True, slots=True)
class Book:
    """The account when the session is planned. Units by symbol; money in account currency."""

    held: Mapping[str, float]
    equity: float
    peak_equity: float
    prices: Mapping[str, float]
    """Last price known by symbol: the raw close of the session that the signals are from."""


def order_id(session: date, strategy: str, symbol: str, sequence: int = 1) -> str:
    """The client order id: the same wish has the same id in every attempt, so no venue takes it twice."""
    return f"{session:%Y%m%d}-{strategy}-{symbol}-{sequence}"


def target_units(weight: float, equity: float, price: float, lot: float = 1.0) -> float:
    """Whole lots, rounded toward zero, that make `weight` of the equity."""
    wanted = abs(weight) * equity / price
    # A target of exactly n lots must not lose one to rounding in the division.
    lots = math.floor(wanted / lot * (1.0 + 1e-12))
    return math.copysign(lots * lot, weight) if lots else 0.0


def plan_session(
    signals: pl.DataFrame,
    session: date,
    book: Book,
    submitted_at: datetime,
    limits: LimitSettings,
) -> Plan:
    """One market order for each symbol whose holding should change, each passed or refused by the limits.

    `signals` are one strategy's rows of one session (columns symbol, session, strategy, target_weight and
    order_intent). Symbols held that have no row are left alone: no signal is no wish. Orders that reduce
    exposure come first, so that their proceeds pay for the others; within that, symbols in order.

    Raises ValueError where the rows are not of one session and one strategy, name a symbol twice, or have a
    weight that is no number.
    """
    if signals.select("session", "strategy").n_unique() != 1 or signals["symbol"].n_unique() != signals.height:
        raise ValueError("signals to trade must be one row a symbol, of one session and one strategy")
    unclear = signals.filter(~pl.col("target_weight").is_finite().fill_null(False))["symbol"].to_list()
    if unclear:
        raise ValueError(
            f"{unclear} {signals['session'][0]}: target_weight is not a number; materialize signals/daily again"
        )
    strategy, signals_session = signals["strategy"][0], signals["session"][0]
    orders: list[Order] = []
    for symbol, weight, wish in signals.sort("symbol").select("symbol", "target_weight", "order_intent").iter_rows():
        units = _units_to_trade(symbol, weight, wish, book)
        if units == 0.0:
            continue
        side = Side.BUY if units > 0 else Side.SELL
        name = order_id(session, strategy, symbol)
        orders.append(
            Order(name, symbol, side, abs(units), OrderType.MARKET, TimeInForce.DAY, submitted_at, tag=strategy)
        )
    orders.sort(key=lambda order: not is_reducing(order, book.held.get(order.symbol, 0.0)))
    decisions = check(orders, book.held, book.prices, equity=book.equity, peak_equity=book.peak_equity, limits=limits)
    refused = {decision.order.id: decision.reason for decision in decisions if not decision.accepted}
    return Plan(session, signals_session, dict(book.held), orders, refused)


def _units_to_trade(symbol: str, weight: float, wish: str, book: Book) -> float:
    held = book.held.get(symbol, 0.0)
    price = book.prices.get(symbol, math.nan)
    if not (math.isfinite(price) and price > 0):
        # Flat needs no price. Anything else can't be sized: one unit, which the limits refuse naming the price.
        return -held if weight == 0.0 else math.copysign(1.0, weight) if held == 0.0 else 0.0
    target = target_units(weight, book.equity, price) if book.equity > 0 else 0.0
    if wish == "hold" and held * target > 0 and abs(held - target) <= HOLD_BAND * abs(target):
        return 0.0
    return target - held
