"""One session's trading: plan once, send what is not yet at the venue, follow it until the close.

Everything here may be interrupted between any two lines and started again: the journal says what was decided,
the venue says what it did, and `reconcile` brings the two together before anything is sent.

- An order is recorded before it is sent, and sent under the id it was recorded with. One that was intended and
  whose fate is unknown is looked up at the venue by that id; it is sent (same id, same contents) only if the
  venue does not know it.
- States and fills come from the venue's numbered events, applied exactly once, in their order.
- The exits of an order's bracket are made by the venue, under ids known before (`<id>:take_profit`, `<id>:stop_loss`):
  the journal intends them with the order, never sends them, and expects their states and fills. They rest over
  sessions, only reduce, and end at the venue with the position, whoever closes it.
- A stop leaves resting orders at the venue: they were wanted, and as DAY orders they end with the session.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import polars as pl

from quant_assets.live.journal import Journal, LeaseLostError, Plan
from quant_assets.live.planning import Book, plan_session, resting_at
from resources.brokers.base import Account, Broker, Fill, OrderState, OrderStatus, Position, Side
from resources.config import LiveSettings
from resources.errors import QuantError
from resources.exchange import Listing

POLL_SECONDS = 0.25
"""Pause between two looks at the venue."""

_LOOKS = 3
"""Looks at the venue before a contradiction is one: an older attempt may move it between two questions."""

_SAME = 1e-6
"""Units nearer to each other than this are the same holding."""


class ReconciliationError(QuantError):
    """Journal and venue contradict each other: trading on would double or lose an order."""


class StoppedError(QuantError):
    """Trading was asked to stop before the session's end; the records are consistent."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What is traded: one strategy's signals, in which session, and what is known of prices by then."""

    session: date
    signals: pl.DataFrame
    prices: Mapping[str, float]
    """Raw close by symbol of the signals' session."""
    splits: Callable[[], Mapping[str, float]]
    """New units per old by symbol, of the splits that took effect at the session's open, once that is known."""
    listings: Mapping[str, Listing] = field(default_factory=dict)
    """Lot and multiplier by symbol."""


@dataclass(frozen=True, slots=True)
class Observation:
    """The session so far, as of the last event applied."""

    session: date
    account: Account
    positions: Sequence[Position]
    fills: Sequence[Fill]
    equity: Sequence[Account]


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the loop needs of the world. Tests pass a clock of their own, so that nothing sleeps."""

    now: Callable[[], datetime]
    """Wall clock, for the pace of heartbeats and observations."""
    sleep: Callable[[float], None]
    market_now: Callable[[], datetime]
    """The venue's clock: in a replay the time inside the replayed session."""
    ready: Callable[[], None]
    """Called when everything is sent: a replayed venue lets its clock run from here."""
    closed: Callable[[], bool]
    """Whether the venue has closed the session."""
    stop_reason: Callable[[], str | None]
    """Why to stop now; None to go on. Asked before every send and at every look at the venue."""
    heartbeat: Callable[[str], None]
    observe: Callable[[Observation], None]


@dataclass(frozen=True, slots=True)
class Summary:
    """What the session came to, over all attempts."""

    session: date
    planned: int
    sent: int
    refused: Mapping[str, str]
    unfilled: Mapping[str, str]
    """State and reason by order id of sent orders that did not fill whole."""
    fills: int
    equity: float


class Trader:
    """Trades one session. `journal` must hold the lease; `run` is called once."""

    def __init__(
        self, assignment: Assignment, broker: Broker, journal: Journal, settings: LiveSettings, hooks: Hooks
    ) -> None:
        self._task = assignment
        self._broker = broker
        self._journal = journal
        self._settings = settings
        self._hooks = hooks
        self._beaten: datetime | None = None
        self._observed: datetime | None = None
        self._seen: tuple[float, float, int] | None = None

    def run(self) -> Summary:
        """Trade until the venue closes the session.

        Raises StoppedError when asked to stop, LeaseLostError when another attempt took over (nothing is
        written or sent after it), ReconciliationError when journal and venue contradict each other. However it
        ends, but for a lost lease, what the venue did is applied and observed a last time.
        """
        leased = True
        try:
            self._reconcile()
            plan = self._journal.plan(self._task.session) or self._plan()
            self._send()
            self._hooks.ready()
            while not self._hooks.closed():
                self._pulse(f"{len(plan.orders)} orders planned")
                self._drain()
                self._hooks.sleep(POLL_SECONDS)
            self._reconcile()
        except LeaseLostError:
            leased = False
            raise
        finally:
            if leased:
                self._drain()
                self._observe()
        return self._summary(plan)

    # ---- the steps

    def _plan(self) -> Plan:
        """Decide the session's orders and record them, all in one transaction."""
        equity = self._broker.account().equity
        held = {position.symbol: position.quantity for position in self._broker.positions()}
        known = {position.symbol: position.last_price for position in self._broker.positions()} | dict(
            self._task.prices
        )
        peak = max(self._journal.peak_equity(), equity)
        book = Book(held, equity, peak, known, self._task.listings, resting_at(self._broker.orders()))
        plan = plan_session(
            self._task.signals, self._task.session, book, self._hooks.market_now(), self._settings.limits
        )
        self._journal.record_plan(plan)
        return plan

    def _send(self) -> None:
        """Send every order that was intended and that the venue does not know, under its recorded id."""
        at_venue = {status.order.id for status in self._broker.orders()}
        for status in self._journal.orders(self._task.session):
            if status.state is OrderState.INTENDED and status.order.id not in at_venue:
                self._pulse(f"sending {status.order.id}")
                self._journal.check_lease()
                self._journal.record_ack(self._broker.submit(status.order))
        self._drain()

    def _drain(self) -> None:
        """Apply everything that happened at the venue since the last event applied."""
        events = self._broker.events(after=self._journal.cursor())
        if events:
            self._journal.apply(events)

    def _pulse(self, doing: str) -> None:
        """Stop if asked to; else heartbeat and observe, where their time has come."""
        self._journal.check_lease()
        reason = self._hooks.stop_reason()
        if reason is not None:
            raise StoppedError(f"{self._task.session}: stopped ({reason})")
        now = self._hooks.now()
        if self._beaten is None or (now - self._beaten).total_seconds() >= self._settings.heartbeat_seconds:
            self._beaten = now
            self._hooks.heartbeat(doing)
        if self._observed is None or (now - self._observed).total_seconds() >= self._settings.observe_seconds:
            self._observe(only_news=True)

    def _observe(self, only_news: bool = False) -> None:
        """Record and report the session so far; with `only_news` not if nothing moved since the last time."""
        self._observed = self._hooks.now()
        account = self._broker.account()
        seen = (account.cash, account.equity, self._journal.cursor())
        if only_news and seen == self._seen:
            return
        self._seen = seen
        self._journal.record_equity(account)
        session = self._task.session
        observation = Observation(
            session, account, self._broker.positions(), self._journal.fills(session), self._journal.equity(session)
        )
        self._hooks.observe(observation)

    def _summary(self, plan: Plan) -> Summary:
        orders = self._journal.orders(self._task.session)
        sent = [status for status in orders if status.order.id not in plan.refused]
        unfilled = {
            status.order.id: f"{status.state}: {status.reason}"
            for status in sent
            if status.state is not OrderState.FILLED
        }
        fills = self._journal.fills(self._task.session)
        equity = self._broker.account().equity
        return Summary(self._task.session, len(orders), len(sent), plan.refused, unfilled, len(fills), equity)

    # ---- journal against venue

    def _reconcile(self) -> None:
        """Bring the journal up to date with the venue, or refuse to trade.

        Raises ReconciliationError naming what contradicts.
        """
        for _ in range(_LOOKS):
            self._drain()
            faults = self._faults()
            if not faults:
                return
        raise ReconciliationError(
            f"{self._task.session}: journal and venue disagree: {'; '.join(faults)}. Nothing more was sent. "
            "Compare the two files by hand, and trade again once they tell the same story."
        )

    def _faults(self) -> list[str]:
        """Everything in which the journal and the venue contradict each other."""
        session = self._task.session
        at_venue = {status.order.id: status for status in self._broker.orders()}
        faults = [
            f"the venue holds {name}, which the journal never intended"
            for name in at_venue
            if not self._journal.knows(name)
        ]
        plan = self._journal.plan(session)
        if plan is None:
            return faults
        told = [*self._journal.orders(session), *self._journal.exits(session), *self._journal.resting(session)]
        for status in told:
            if status.order.id not in plan.refused:
                faults += compare_order(status, at_venue.get(status.order.id))
        positions = {position.symbol: position.quantity for position in self._broker.positions()}
        fills = self._journal.fills_since_plan(session)
        return faults + compare_positions(plan.held, fills, positions, self._task.splits())


def compare_order(journal: OrderStatus, venue: OrderStatus | None) -> list[str]:
    """What contradicts between an order in the journal and the venue's word on it."""
    name = journal.order.id
    if venue is None:
        return (
            []
            if journal.state is OrderState.INTENDED
            else [f"{name} is {journal.state} in the journal, unknown to the venue"]
        )
    faults = []
    if journal.state != venue.state:
        faults.append(f"{name} is {journal.state} in the journal, {venue.state} at the venue")
    if abs(journal.filled - venue.filled) > _SAME:
        faults.append(f"{name} has {journal.filled:g} filled in the journal, {venue.filled:g} at the venue")
    return faults


def compare_positions(
    before: Mapping[str, float], fills: Sequence[Fill], now: Mapping[str, float], splits: Mapping[str, float]
) -> list[str]:
    """What contradicts between the holdings that the fills explain and the venue's holdings.

    A split multiplies what was held before; whether it took effect yet is the venue's to know, so both pass.
    """
    traded: dict[str, list[float]] = {}
    for fill in fills:
        traded.setdefault(fill.symbol, []).append(fill.quantity if fill.side is Side.BUY else -fill.quantity)
    faults = []
    for symbol in sorted({*before, *now, *traded}):
        held, venue = before.get(symbol, 0.0), now.get(symbol, 0.0)
        expected = [held * ratio + math.fsum(traded.get(symbol, [])) for ratio in {1.0, splits.get(symbol, 1.0)}]
        if all(abs(units - venue) > max(_SAME, 1e-9 * abs(venue)) for units in expected):
            faults.append(f"{symbol}: fills explain {expected[0]:g} units, the venue holds {venue:g}")
    return faults
