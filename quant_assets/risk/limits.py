"""Pre-trade limits: which of the orders about to be sent may be sent, and why the others may not.

Orders are judged in sequence against the account as it will stand once the market orders accepted before them
have filled at the given prices, and the others rest. Orders that only reduce exposure are judged first, because they
make the room that the others use (a rotation sells before it buys); they always pass, whatever the limits say. An order
only reduces if the position does not turn though all that rests on the order's side fills too: of several sells beside
one long position those reduce that together sell no more than it.

Every other order must leave the account within every limit, in fractions of equity unless said:

| limit              | value compared with its bound                                             |
|--------------------|---------------------------------------------------------------------------|
| quantity, price    | must be positive and finite, for the order and for every symbol held      |
| equity             | must be positive and finite                                               |
| drawdown_stop      | 1 - equity / highest equity so far; bites when the bound is reached       |
| orders_per_session | orders sent in this session, this one included (a count)                  |
| order_notional     | quantity * price of this order, as a replace would leave it               |
| turnover           | sum of quantity * price of the session's orders, this one included        |
| single_name        | abs(position * price) of its symbol, afterwards                           |
| sector             | sum of abs(position * price) in the symbol's sector, afterwards           |
| gross              | sum of abs(position * price), afterwards                                  |
| net                | abs(sum of position * price), afterwards                                  |
| leverage           | sum of abs(position * what a unit of it controls), afterwards             |

`price` is what a unit is worth in account currency: a contract's price times its multiplier. What a unit controls is
the same, but for an option, which controls as much of its underlying: a premium says little of what is at stake.

Orders that rest at the venue count as if they had filled, those of one side without those of the other, where that
takes the account nearer to a bound. Orders of one OCO group, of a symbol and a side, count as the largest of them.
A market order may fill before them or after: a reversal, or a plain sale of all that is held, beside a resting exit may
open as much again, and counts so. A reduce-only order never does, but it may leave plain ones of its side less to
reduce, so that they open more: then it is judged as they are.

A replace is given as an order of the units that it adds, and counts as one more that is sent. Only `order_notional`
looks at the whole that it makes, what has filled of it included. One that adds nothing is not judged, nor is a cancel:
neither is an order that is sent.

What makes room must not be taken away again: whoever cancels, shrinks or replaces market orders asks `uncovered`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from resources.brokers.base import Order, OrderType, Side
from resources.config import LimitSettings
from resources.exchange import Listing

ROUNDING = 1e-9
"""Relative slack: a position sized to exactly its bound is within it."""

AT_ONCE = (OrderType.MARKET, OrderType.MARKET_ON_OPEN)

NO_SECTOR = "no sector"
"""Names whose sector nobody knows are one sector: what is not known does not diversify."""


@dataclass(frozen=True, slots=True)
class Decision:
    """One order's verdict. `reason` is empty for an accepted order, else it names limit, value and bound."""

    order: Order
    accepted: bool
    limit: str = ""
    reason: str = ""
    worth: float = 0.0
    """What an accepted order trades, in account currency; nothing where it has no price."""


class Resting(NamedTuple):
    """Units of a symbol that orders at the venue may still buy (0 or more) and sell (0 or less).

    Those of reduce-only orders are apart: they may end a position and leave the others to open the opposite one. So are
    those of market orders sent beside them, which the position counts already: what rests may fill before or after.
    """

    buys: float = 0.0
    sells: float = 0.0
    reducing_buys: float = 0.0
    reducing_sells: float = 0.0
    bought: float = 0.0
    sold: float = 0.0
    reduced: float = 0.0
    """Signed units by which reduce-only market orders are counted to end the position."""

    def plus(self, units: float, reduce_only: bool) -> Resting:
        """With an order of so many signed units more."""
        buys, sells = max(units, 0.0), min(units, 0.0)
        if reduce_only:
            return self._replace(reducing_buys=self.reducing_buys + buys, reducing_sells=self.reducing_sells + sells)
        return self._replace(buys=self.buys + buys, sells=self.sells + sells)

    def filled(self, units: float) -> Resting:
        """Beside a market order of so many signed units."""
        return self._replace(bought=self.bought + max(units, 0.0), sold=self.sold + min(units, 0.0))

    def bounds(self, held: float) -> tuple[float, float]:
        """The least and the most that a position of `held` units may become, whatever fills first."""
        # Reduce-only orders may find the position as it is before the market orders of the other side, or of their own.
        ends_long = max(self.reducing_sells, min(self.sold - held, 0.0))
        ends_short = min(self.reducing_buys, max(self.bought - held, 0.0))
        # Those that are market orders themselves may come after others of their side, which leave them less to reduce.
        less_sold = min(max(-self.reduced, 0.0), -self.sold)
        less_bought = min(max(self.reduced, 0.0), self.bought)
        return held + ends_long + self.sells - less_bought, held + ends_short + self.buys + less_sold


def signed_quantity(order: Order) -> float:
    """Units that the order adds to its symbol's position: negative for a sell."""
    return order.quantity if order.side is Side.BUY else -order.quantity


def is_reducing(order: Order, held: float, resting: Resting | None = None) -> bool:
    """Whether the order, filled whole, brings a position of `held` units nearer to zero without crossing it.

    Neither may it be crossed with what else rests on the order's side. The venue sees to it that a reduce-only order
    does no more than that, whatever its quantity.
    """
    return order.quantity > 0 and (order.reduce_only or _reduces(signed_quantity(order), held, resting or Resting()))


def _reduces(units: float, held: float, resting: Resting) -> bool:
    left = held + units + (resting.buys if units > 0 else resting.sells)
    return units * held < 0 and left * held >= -ROUNDING * held * held


def sectors_of(listings: Mapping[str, Listing]) -> dict[str, str]:
    """The sector by symbol, of those that have one."""
    return {symbol: listing.sector for symbol, listing in listings.items() if listing.sector}


def controlled(prices: Mapping[str, float], listings: Mapping[str, Listing]) -> dict[str, float]:
    """What a unit of each option controls: a unit's price of its underlying, times the option's multiplier.

    `prices` are those of the market, before multipliers, in account currency. Without a price of the underlying it is
    NaN: such an option cannot be added to.
    """
    return {
        symbol: prices.get(listing.underlying, math.nan) * listing.multiplier
        for symbol, listing in listings.items()
        if listing.right
    }


def check(
    orders: Sequence[Order],
    positions: Mapping[str, float],
    prices: Mapping[str, float],
    *,
    equity: float,
    peak_equity: float,
    limits: LimitSettings,
    sent: int = 0,
    traded: float = 0.0,
    sectors: Mapping[str, str] | None = None,
    controls: Mapping[str, float] | None = None,
    resting: Mapping[str, Resting] | None = None,
    wholes: Mapping[int, float] | None = None,
) -> list[Decision]:
    """A decision for each order, in the order given.

    `positions` are units held by symbol, `prices` what a unit is worth by symbol, and `controls` what it controls where
    that is something else, in account currency. `peak_equity` is the highest equity so far. In this session, `sent`
    orders worth `traded` were already sent. `resting` are orders at the venue that may open or add to a position.
    `wholes` are units by place in `orders`: of an order that is what a replace adds to one, the quantity of that one.
    """
    book = _Book(
        held={**dict.fromkeys(resting or (), 0.0), **positions},
        prices=prices,
        equity=equity,
        peak_equity=peak_equity,
        limits=limits,
        sent=sent,
        traded=traded,
        sectors=sectors or {},
        controls=controls or {},
        resting=dict(resting or {}),
    )
    verdicts: dict[int, Decision] = {}
    for index, order in enumerate(orders):
        if book.reduces(order):
            verdicts[index] = book.accept(order)
    for index, order in enumerate(orders):
        if index not in verdicts:
            verdicts[index] = book.judge(order, (wholes or {}).get(index, order.quantity))
    return [verdicts[index] for index in range(len(orders))]


def uncovered(
    standing: Sequence[Order],
    left: Sequence[Order],
    positions: Mapping[str, float],
    prices: Mapping[str, float],
    *,
    equity: float,
    limits: LimitSettings,
    sectors: Mapping[str, str] | None = None,
    controls: Mapping[str, float] | None = None,
    resting: Mapping[str, Resting] | None = None,
) -> tuple[str, str] | None:
    """The limit by which market orders may not give way to what would be left of them, and why; None where they may.

    `standing` are on their way, `left` is what there is of them once some are cancelled, made smaller or replaced, and
    `resting` rests beside them. They may not where the account would then come to be beyond a limit on exposure, and
    further than it comes to be with them.
    """

    def measured(orders: Sequence[Order]) -> dict[tuple[str, str], float]:
        rests = dict(resting or {})
        account = (prices, equity, equity, limits, 0, 0.0, sectors or {}, controls or {})
        book = _Book({**dict.fromkeys(rests, 0.0), **positions}, *account, rests)
        for order in orders:
            book.accept(order)
        return book.measures()

    before = measured(standing)
    for (limit, name), amount in measured(left).items():
        bound = getattr(limits, limit)
        if bound is None:
            continue
        allowed = max(bound * max(equity, 0.0), before.get((limit, name), 0.0))
        if amount > allowed * (1 + ROUNDING):
            share = amount / equity if equity > 0 else math.inf
            where = f"{name} " if limit == "sector" else ""
            return limit, f"limit {limit}: {where}{share:.6g} exceeds {bound:.6g}"
    return None


class _Exposure(NamedTuple):
    """Amounts of account currency: of one symbol, or of many added up. `low` and `high` are net, by side resting."""

    gross: float = 0.0
    low: float = 0.0
    high: float = 0.0
    controlled: float = 0.0

    def plus(self, other: _Exposure, sign: float = 1.0) -> _Exposure:
        return _Exposure(*(mine + sign * its for mine, its in zip(self, other, strict=True)))


@dataclass(slots=True)
class _Book:
    """The account as it will stand once the orders accepted so far have filled."""

    held: dict[str, float]
    prices: Mapping[str, float]
    equity: float
    peak_equity: float
    limits: LimitSettings
    sent: int
    traded: float
    sectors: Mapping[str, str]
    controls: Mapping[str, float]
    resting: dict[str, Resting]
    whole: _Exposure = field(init=False)
    by_sector: dict[str, float] = field(init=False)
    groups: dict[tuple[str, str, Side], float] = field(default_factory=dict)
    """Signed units that a group of alternatives counts for so far, by group, symbol and side."""

    def __post_init__(self) -> None:
        self._add_up()

    def _add_up(self) -> None:
        self.whole, self.by_sector = _Exposure(), {}
        for symbol, units in self.held.items():
            exposure = self._exposure(symbol, units, self._resting(symbol))
            self.whole = self.whole.plus(exposure)
            sector = self._sector(symbol)
            self.by_sector[sector] = self.by_sector.get(sector, 0.0) + exposure.gross

    def _sector(self, symbol: str) -> str:
        return self.sectors.get(symbol) or NO_SECTOR

    def _resting(self, symbol: str) -> Resting:
        return self.resting.get(symbol, Resting())

    def _exposure(self, symbol: str, units: float, resting: Resting) -> _Exposure:
        """What so many units come to, and the orders that rest for the symbol."""
        low, high = resting.bounds(units)
        most = max(abs(low), abs(high), abs(units))
        if not most:
            return _Exposure()
        price = self.prices.get(symbol, math.nan)
        return _Exposure(most * price, low * price, high * price, most * abs(self.controls.get(symbol, price)))

    def reduces(self, order: Order) -> bool:
        """Whether the order only reduces, as the account will stand, or adds nothing to an alternative of it."""
        if order.reduce_only or not order.quantity > 0:
            # It may leave less of a position than the plain orders of its side were to reduce: they then open more.
            _, before, after = self._change(order)
            return is_reducing(order, 0.0) and not after.gross > before.gross * (1 + ROUNDING)
        units, held = self._units(order), self.held.get(order.symbol, 0.0)
        return units == 0.0 or _reduces(units, held, self._resting(order.symbol))

    def _units(self, order: Order) -> float:
        """Units that the order adds, beyond those of the alternatives that were accepted before it."""
        units = signed_quantity(order)
        before = abs(self.groups.get(_group(order), 0.0)) if order.oco_group else 0.0
        return math.copysign(max(abs(units) - before, 0.0), units) if before else units

    def _change(self, order: Order) -> tuple[float, _Exposure, _Exposure]:
        """Units that the order adds, and what the symbol's position comes to before and after."""
        held, units = self.held.get(order.symbol, 0.0), self._units(order)
        if order.reduce_only:
            units = math.copysign(min(abs(units), abs(held)), units) if units * held < 0 else 0.0
        resting = self._resting(order.symbol)
        before = self._exposure(order.symbol, held, resting)
        return units, before, self._exposure(order.symbol, *_then(order, units, held, resting))

    def accept(self, order: Order) -> Decision:
        units, before, after = self._change(order)
        held, resting = self.held.get(order.symbol, 0.0), self._resting(order.symbol)
        self.held[order.symbol], self.resting[order.symbol] = _then(order, units, held, resting)
        if order.oco_group:
            self.groups[_group(order)] = self.groups.get(_group(order), 0.0) + units
        self.sent += 1
        price = self.prices.get(order.symbol, math.nan)
        worth = abs(units) * price if math.isfinite(price) else 0.0
        self.traded += worth
        if math.isfinite(self.whole.controlled + self.whole.gross):
            self.whole = self.whole.plus(before, -1.0).plus(after)
            sector = self._sector(order.symbol)
            self.by_sector[sector] = self.by_sector.get(sector, 0.0) - before.gross + after.gross
        else:
            self._add_up()  # what had no price may be gone now
        return Decision(order, accepted=True, worth=worth)

    def measures(self) -> dict[tuple[str, str], float]:
        """Amounts that limits on exposure compare with their bounds, by limit and the name or sector that it is of."""
        most = max(abs(self.whole.low), abs(self.whole.high))
        whole = {("gross", ""): self.whole.gross, ("net", ""): most, ("leverage", ""): self.whole.controlled}
        sectors = {("sector", name): gross for name, gross in self.by_sector.items()}
        names = {
            ("single_name", name): self._exposure(name, units, self._resting(name)).gross
            for name, units in self.held.items()
        }
        return whole | sectors | names

    def judge(self, order: Order, whole: float) -> Decision:
        """A decision for an order that is `whole` units with what it is added to."""
        # Orders accepted meanwhile may have turned this one into a reducing one.
        if self.reduces(order):
            return self.accept(order)
        fault = self._unusable(order) or self._breach(order, whole)
        if fault is None:
            return self.accept(order)
        limit, why = fault
        return Decision(order, False, limit, f"limit {limit}: {why}")

    def _unusable(self, order: Order) -> tuple[str, str] | None:
        """What keeps the order from being judged at all."""
        price = self.prices.get(order.symbol, math.nan)
        if not _positive(order.quantity):
            return "quantity", f"{order.symbol} quantity is {order.quantity}; it must be a positive number"
        if not _positive(price):
            return "price", f"{order.symbol} has no usable price ({price})"
        if not _positive(self.equity):
            return "equity", f"equity is {self.equity}; only orders that reduce exposure pass"
        if not math.isfinite(self.whole.gross):
            unpriced = sorted(
                name
                for name, units in self.held.items()
                if not math.isfinite(self._exposure(name, units, self._resting(name)).gross)
            )
            return "price", f"{', '.join(unpriced)} held without a usable price, so exposure is unknown"
        return None

    def _breach(self, order: Order, quantity: float) -> tuple[str, str] | None:
        """The first limit that the account would breach with this order filled."""
        limits, equity = self.limits, self.equity
        drawdown = 1.0 - equity / max(self.peak_equity, equity)
        if drawdown >= limits.drawdown_stop * (1 - ROUNDING):
            return "drawdown_stop", f"drawdown {drawdown:.6g} has reached {limits.drawdown_stop:.6g}"
        units, before, after = self._change(order)
        whole, sector = self.whole.plus(before, -1.0).plus(after), self._sector(order.symbol)
        worth = abs(units) * self.prices[order.symbol]
        in_sector = self.by_sector.get(sector, 0.0) - before.gross + after.gross
        values: list[tuple[str, float, float | None]] = [
            ("orders_per_session", float(self.sent + 1), float(limits.orders_per_session)),
            ("order_notional", quantity * self.prices[order.symbol] / equity, limits.order_notional),
            ("turnover", (self.traded + worth) / equity, limits.turnover),
            ("single_name", after.gross / equity, limits.single_name),
            ("sector", in_sector / equity, limits.sector),
            ("gross", whole.gross / equity, limits.gross),
            ("net", max(abs(whole.low), abs(whole.high)) / equity, limits.net),
            ("leverage", whole.controlled / equity, limits.leverage),
        ]
        for limit, value, bound in values:
            # What is not a number is within no bound.
            if bound is not None and not value <= bound * (1 + ROUNDING):
                where = f"{sector} " if limit == "sector" else ""
                return limit, f"{where}{value:.6g} exceeds {bound:.6g}"
        return None


def _then(order: Order, units: float, held: float, resting: Resting) -> tuple[float, Resting]:
    """What is held and rests of a symbol once an order of so many units is at the venue.

    A market order fills; another may wait for its price, for longer than what is sent beside it, and makes no room. Nor
    does one of several alternatives, which may find that another has filled. The exits of an order may undo it.
    """
    if order.type in AT_ONCE and not order.oco_group:
        if order.reduce_only:
            # It may come after others that leave it more to reduce.
            beside = resting._replace(reduced=resting.reduced + units)
            return held + units, beside.plus(signed_quantity(order) - units, reduce_only=True)
        exits = order.take_profit is not None or order.stop_loss is not None
        beside = resting.filled(units)
        return held + units, beside.plus(-units, reduce_only=True) if exits else beside
    return held, resting.plus(signed_quantity(order) if order.reduce_only else units, order.reduce_only)


def _group(order: Order) -> tuple[str, str, Side]:
    return order.oco_group, order.symbol, order.side


def _positive(number: float) -> bool:
    return math.isfinite(number) and number > 0
