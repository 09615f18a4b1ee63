"""From a session's signals to its orders: what to buy and sell so that holdings meet their targets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime

import polars as pl

from quant_assets.live.journal import Plan
from quant_assets.risk.limits import Resting, check, controlled, is_reducing, sectors_of, signed_quantity
from resources.brokers.base import TERMINAL, Order, OrderStatus, OrderType, Side, TimeInForce
from resources.config import LimitSettings
from resources.exchange import Listing

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
    listings: Mapping[str, Listing] = field(default_factory=dict)
    """Lot and multiplier by symbol; single shares where there is none."""
    resting: Mapping[str, Resting] = field(default_factory=dict)
    """By symbol, what orders that rest at the venue may still trade."""

    def listing(self, symbol: str) -> Listing:
        return self.listings.get(symbol, Listing())

    @property
    def worth(self) -> dict[str, float]:
        """What a unit is worth by symbol: its price, times the contract's multiplier."""
        return {symbol: price * self.listing(symbol).multiplier for symbol, price in self.prices.items()}


def order_id(session: date, strategy: str, symbol: str, sequence: int = 1) -> str:
    """The client order id: the same wish has the same id in every attempt, so no venue takes it twice."""
    return f"{session:%Y%m%d}-{strategy}-{symbol}-{sequence}"


def target_units(weight: float, equity: float, price: float, lot: float = 1.0) -> float:
    """Whole lots, rounded toward zero, that make `weight` of the equity."""
    wanted = abs(weight) * equity / price
    # A target of exactly n lots must not lose one to rounding in the division.
    lots = math.floor(wanted / lot * (1.0 + 1e-12))
    return math.copysign(lots * lot, weight) if lots else 0.0


def resting_at(venue: Iterable[OrderStatus]) -> dict[str, Resting]:
    """By symbol, what the venue's orders may still trade: of a group of alternatives the largest, on each side."""
    most: dict[tuple[str, str, Side, bool], float] = {}
    for status in venue:
        order = status.order
        if status.state not in TERMINAL:
            key = order.symbol, order.oco_group or order.id, order.side, order.reduce_only
            left = math.copysign(order.quantity - status.filled, signed_quantity(order))
            most[key] = max(most.get(key, 0.0), left, key=abs)
    found: dict[str, Resting] = {}
    for (symbol, _, _, reduces), units in most.items():
        found[symbol] = found.get(symbol, Resting()).plus(units, reduces)
    return found


def plan_session(
    signals: pl.DataFrame,
    session: date,
    book: Book,
    submitted_at: datetime,
    limits: LimitSettings,
) -> Plan:
    """One market order for each symbol whose holding should change, each passed or refused by the limits.

    `signals` are one strategy's rows of one session (columns symbol, session, strategy, target_weight and
    order_intent; optional take_profit_fraction and stop_loss_fraction). Symbols held that have no row are left alone:
    no signal is no wish. Orders that reduce exposure come first, so that their proceeds pay for the others; within
    that, symbols in order. An order to be flat only reduces: exits at the venue may have closed the position by then.

    A target with exits of its own is bought on its day and then held, whatever has become of it: flat may mean that
    its bracket has closed it. So a session that misses the entry misses the trade. The exits' prices are those
    fractions away from the last price known.

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
    for wish in _wishes(signals):
        units = 0.0 if wish.bracketed and wish.intent == "hold" else _units_to_trade(wish, book)
        if units == 0.0:
            continue
        side = Side.BUY if units > 0 else Side.SELL
        take_profit, stop_loss = _exits(wish, units, book)
        orders.append(
            Order(
                order_id(session, strategy, wish.symbol),
                wish.symbol,
                side,
                abs(units),
                OrderType.MARKET,
                TimeInForce.DAY,
                submitted_at,
                tag=strategy,
                reduce_only=wish.weight == 0.0,
                take_profit=take_profit,
                stop_loss=stop_loss,
            )
        )
    orders.sort(key=lambda order: not is_reducing(order, book.held.get(order.symbol, 0.0)))
    decisions = check(
        orders,
        book.held,
        book.worth,
        equity=book.equity,
        peak_equity=book.peak_equity,
        limits=limits,
        sectors=sectors_of(book.listings),
        controls=controlled(book.prices, book.listings),
        resting=book.resting,
    )
    refused = {decision.order.id: decision.reason for decision in decisions if not decision.accepted}
    return Plan(session, signals_session, dict(book.held), orders, refused)


@dataclass(frozen=True, slots=True)
class _Wish:
    """A row of the signals."""

    symbol: str
    weight: float
    intent: str
    take_profit: float | None
    stop_loss: float | None

    @property
    def bracketed(self) -> bool:
        """Whether the target has exits of its own."""
        return self.weight != 0.0 and (self.take_profit is not None or self.stop_loss is not None)


def _wishes(signals: pl.DataFrame) -> list[_Wish]:
    exits = ("take_profit_fraction", "stop_loss_fraction")
    lacking = [pl.lit(None, pl.Float64).alias(name) for name in exits if name not in signals.columns]
    rows = signals.with_columns(lacking).sort("symbol").select("symbol", "target_weight", "order_intent", *exits)
    return [_Wish(*row) for row in rows.iter_rows()]


def _exits(wish: _Wish, units: float, book: Book) -> tuple[float | None, float | None]:
    """Prices of take-profit and stop-loss of an order that opens or adds; none for one that only reduces."""
    side = math.copysign(1.0, wish.weight)
    price = book.prices.get(wish.symbol, math.nan)
    if not wish.bracketed or units * side < 0 or not math.isfinite(price):
        return None, None
    return (
        None if wish.take_profit is None else price * (1.0 + side * wish.take_profit),
        None if wish.stop_loss is None else price * (1.0 - side * wish.stop_loss),
    )


def _units_to_trade(wish: _Wish, book: Book) -> float:
    weight, held = wish.weight, book.held.get(wish.symbol, 0.0)
    price = book.prices.get(wish.symbol, math.nan)
    if not (math.isfinite(price) and price > 0):
        # Flat needs no price. Anything else can't be sized: one unit, which the limits refuse naming the price.
        return -held if weight == 0.0 else math.copysign(1.0, weight) if held == 0.0 else 0.0
    listing = book.listing(wish.symbol)
    worth = price * listing.multiplier
    target = target_units(weight, book.equity, worth, listing.lot) if book.equity > 0 else 0.0
    if wish.intent == "hold" and held * target > 0 and abs(held - target) <= HOLD_BAND * abs(target):
        return 0.0
    return target - held
