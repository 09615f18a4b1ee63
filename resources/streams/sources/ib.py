"""Interactive Brokers' streams, through ib_insync or ib_async: tick by tick, and bars of five seconds.

Of the library this uses the connection, contracts and requests. Its own handlers of ticks are replaced: they stamp a
tick with the time of its coming and drop IB's; and it neither connects again nor subscribes again.

What IB says and what it means:

- ticks are stamped with whole seconds and have no number, so that what is missing is known by time alone, and a trade
  that is told twice cannot be told from two that are alike. Both stand, as two: IB is not known to repeat itself, and
  to drop one of two true trades would be worse. `ib_alike` keeps the stream's and the history's apart;
- the order within a second is that of their coming; where a second was cut by a break, what was missed of it stands
  behind what was not;
- a gateway that has lost IB's servers (1100) ends all market data and says nothing more of it: that ends the
  connection here, as does its return (1101, 1102), and what was subscribed to is subscribed to again;
- tick by tick is allowed for a few symbols at once (three without a larger account's allowance): error 10190;
- bars of a minute are made of twelve bars of five seconds; a minute that was not seen whole is asked for when it is
  over. They are of trades in regular hours for stocks and options, of the midpoint for forex, like the provider's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from resources.errors import NotOfferedError, ProviderError
from resources.market_data.ib import translate
from resources.market_data.ib.connection import LOST, RESTORED, TAKEN, library
from resources.streams.base import Bar, Kind, Line, MarketEvent, Quote, Sequencing, StreamEndedError, Trade
from resources.streams.clock import SECOND, Clock, SystemClock
from resources.streams.sources.ib_alike import Alike

MINUTE, PIECES = 60, 12
"""Seconds of a minute, and the bars of five seconds that make it."""

TOO_MANY = 10190
SHOWS = {"trade": "AllLast", "quote": "BidAsk"}


@dataclass(slots=True)
class _Subscription:
    """A request for a line: its number, contract, and what tells its ticks apart. `pieces`: of a minute, by second."""

    line: Line
    contract: Any
    number: int
    alike: Alike = field(default_factory=Alike)
    bars: Any = None
    minute: int = -1
    pieces: dict[int, Any] = field(default_factory=dict)

    @property
    def midpoint(self) -> bool:
        return translate.parse(self.line.symbol).asset_class == "forex"


class IBStream:
    """Source of trades (AllLast), quotes (BidAsk) and minute bars of the symbols that `market_data.ib` knows.

    No keys: the gateway is logged in by a person. client_id: a number that no other program, not even the provider
    beside it, gives this gateway.
    """

    name = "ib"
    sequences: Mapping[Kind, Sequencing] = {}

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 4002,
        client_id: int = 18,
        *,
        connect_seconds: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        self._host, self._port, self._client_id, self._seconds = host, port, client_id, connect_seconds
        self._clock: Clock = SystemClock() if clock is None else clock
        self._ib: Any = None
        self._contracts: dict[str, Any] = {}
        self._reset()

    def _reset(self) -> None:
        self._held: dict[int, _Subscription] = {}
        self._events: list[MarketEvent] = []
        self._came = asyncio.Event()
        self._ended: ProviderError | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self._fresh: set[int] = set()  # requests that `change` is making
        self._refused: ProviderError | None = None

    async def connect(self, lines: Collection[Line]) -> None:
        self._reset()
        ib = library().IB()
        ib.RaiseRequestErrors = True
        ib.errorEvent += self._on_error
        ib.client.apiError += self._on_hang_up
        ib.wrapper.tickByTickAllLast = self._on_trade
        ib.wrapper.tickByTickBidAsk = self._on_quote
        self._ib = ib
        entry = asyncio.ensure_future(
            ib.connectAsync(self._host, self._port, self._client_id, timeout=self._seconds, readonly=True)
        )
        over = asyncio.ensure_future(self._came.wait())
        try:
            await asyncio.wait({entry, over}, return_when=asyncio.FIRST_COMPLETED)
            if self._ended is not None:
                raise self._ended
            await entry
        except (OSError, TimeoutError) as error:
            raise ProviderError(
                f"{self.name}: {self._host}:{self._port} cannot be reached ({error or 'no answer'}). Is Trader "
                "Workstation or IB Gateway running, logged in, and its API switched on? It is tried again."
            ) from error
        finally:
            over.cancel()
            entry.cancel()
            await asyncio.gather(entry, over, return_exceptions=True)
        await self.change(lines, ())

    async def change(self, add: Collection[Line], remove: Collection[Line]) -> None:
        """IB acknowledges no subscription: returns when it has answered to what was asked after them. A refusal that
        comes later ends the connection."""
        for line in add:
            _check(line)
        contracts = {line: await self._contract(line.symbol) for line in add}
        for line, contract in contracts.items():
            self._fresh.add(self._subscribe(line, contract))
        self._leave([number for number, held in self._held.items() if held.line in remove])
        try:
            await asyncio.wait_for(self._ib.reqCurrentTimeAsync(), self._seconds)
        except (ConnectionError, TimeoutError) as error:
            raise StreamEndedError(f"{self.name}: the gateway does not answer ({error})") from error
        fresh, self._fresh = self._fresh, set()
        refused, self._refused = self._refused, None
        if refused is not None:
            self._leave(fresh)
        over = refused or self._ended
        if over is not None:
            raise over

    async def receive(self) -> Sequence[MarketEvent]:
        if self._ib is None:
            raise StreamEndedError(f"{self.name}: there is no connection")
        await self._came.wait()
        if not self._events:
            assert self._ended is not None
            raise self._ended
        events, self._events = self._events, []
        if self._ended is None:
            self._came.clear()
        return events

    async def close(self) -> None:
        ib, self._ib = self._ib, None
        for task in self._asking:
            task.cancel()
        if ib is None:
            return
        ib.errorEvent -= self._on_error
        ib.client.apiError -= self._on_hang_up
        ib.disconnect()
        for _ in range(100):  # the transport closes on the loop's next rounds
            if not ib.client.conn.isConnected():
                break
            await asyncio.sleep(0.001)

    async def _contract(self, symbol: str) -> Any:
        if symbol not in self._contracts:
            asked = translate.parse(symbol)
            try:
                found = await asyncio.wait_for(
                    self._ib.reqContractDetailsAsync(library().Contract(**asked.fields)), self._seconds
                )
            except (ConnectionError, TimeoutError) as error:
                raise StreamEndedError(f"{self.name}: the gateway does not answer ({error})") from error
            except library().RequestError as error:
                raise translate.refusal(error.code, error.message, symbol) from error
            self._contracts[symbol] = translate.one(asked, found).contract
        return self._contracts[symbol]

    def _subscribe(self, line: Line, contract: Any) -> int:
        if line.kind == "bar":
            pair, hours = translate.parse(line.symbol).asset_class == "forex", contract.secType in ("STK", "OPT")
            bars = self._ib.reqRealTimeBars(contract, 5, "MIDPOINT" if pair else "TRADES", hours)
            held = _Subscription(line, contract, bars.reqId, bars=bars)
            bars.updateEvent += partial(self._on_piece, held)
        else:
            held = _Subscription(line, contract, self._ib.client.getReqId())
            self._ib.client.reqTickByTickData(held.number, contract, SHOWS[line.kind], 0, False)
        self._held[held.number] = held
        return held.number

    def _leave(self, numbers: Collection[int]) -> None:
        """Unsubscribe; of these nothing is told any more."""
        for number in numbers:
            held = self._held.pop(number)
            if held.bars is not None:
                self._ib.cancelRealTimeBars(held.bars)
            else:
                self._ib.client.cancelTickByTickData(number)

    # what the library calls

    def _tell(self, event: MarketEvent) -> None:
        self._events.append(event)
        self._came.set()

    def _end(self, error: ProviderError) -> None:
        if self._ended is None:
            self._ended = error
            self._came.set()

    def _on_trade(
        self, number: int, kind: int, time: int, price: float, size: float, attributes: Any, exchange: str, special: str
    ) -> None:
        held = self._held.get(number)
        if held is not None:
            told = held.alike.trade(time, (price, size))
            now = self._clock.now()
            self._tell(Trade(held.line.symbol, time * SECOND, price, size, "", told, 0, special, now))

    def _on_quote(
        self, number: int, time: int, bid: float, ask: float, bid_size: float, ask_size: float, attributes: Any
    ) -> None:
        held = self._held.get(number)
        if held is None or (bid <= 0 and ask <= 0):
            return
        row = (bid if bid > 0 else None, bid_size, ask if ask > 0 else None, ask_size)
        place = held.alike.quote(time, row)
        if place is not None:
            self._tell(Quote(held.line.symbol, time * SECOND, *row, place, self._clock.now()))

    def _on_piece(self, held: _Subscription, bars: Any, _: bool) -> None:
        """The next bar of five seconds."""
        piece = bars[-1]
        bars.clear()  # the library would keep them for ever
        second = int(piece.time.timestamp())
        minute = second - second % MINUTE
        if minute != held.minute:
            if held.minute >= 0 and len(held.pieces) < PIECES:
                self._ask(held, held.minute)
            held.minute, held.pieces = minute, {}
        held.pieces[second] = piece
        if len(held.pieces) == PIECES:
            self._tell(self._whole(held, [held.pieces[at] for at in sorted(held.pieces)]))

    def _whole(self, held: _Subscription, pieces: Sequence[Any]) -> Bar:
        volume = 0.0 if held.midpoint else float(sum(piece.volume for piece in pieces))
        high, low = max(piece.high for piece in pieces), min(piece.low for piece in pieces)
        prices = (pieces[0].open_, high, low, pieces[-1].close)
        return Bar(held.line.symbol, held.minute * SECOND, *prices, volume, received=self._clock.now())

    def _ask(self, held: _Subscription, minute: int) -> None:
        """Ask for a minute of which a part was not seen."""
        task = asyncio.ensure_future(self._history(held, minute))
        self._asking.add(task)
        task.add_done_callback(self._asked)

    async def _history(self, held: _Subscription, minute: int) -> None:
        hours = held.contract.secType in ("STK", "OPT")
        until, shows = datetime.fromtimestamp(minute + MINUTE, UTC), "MIDPOINT" if held.midpoint else "TRADES"
        answer = await self._ib.reqHistoricalDataAsync(
            held.contract, until, f"{MINUTE} S", "1 min", shows, hours, formatDate=2, timeout=self._seconds
        )
        for bar in answer:
            if int(bar.date.timestamp()) == minute:
                volume = 0.0 if held.midpoint else float(bar.volume)
                prices = (bar.open, bar.high, bar.low, bar.close)
                self._tell(Bar(held.line.symbol, minute * SECOND, *prices, volume, received=self._clock.now()))

    def _asked(self, task: asyncio.Task[None]) -> None:
        """A minute that cannot be had ends the connection: the gateway then takes it for missing, and repairs it."""
        self._asking.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self._end(
                StreamEndedError(f"{self.name}: a minute that was seen in part cannot be had: {task.exception()}")
            )

    def _on_error(self, number: int, code: int, text: str, *_: Any) -> None:
        if code in LOST:
            self._end(StreamEndedError(f"{self.name}: the gateway has lost Interactive Brokers' servers ({code})"))
        elif code in RESTORED:
            self._end(StreamEndedError(f"{self.name}: the gateway has found IB's servers again, without its streams"))
        elif code == TAKEN:
            self._end(ProviderError(f"{self.name}: {self._taken()} (326). It is tried again."))
        elif number in self._held and not 2100 <= code < 2200:
            refusal = _refusal(code, text, self._held[number].line)
            if number in self._fresh:
                self._refused = refusal
            else:
                self._end(refusal)

    def _on_hang_up(self, text: str) -> None:
        known = self._taken() if "already in use" in text else text
        self._end(StreamEndedError(f"{self.name}: {known}"))

    def _taken(self) -> str:
        return (
            f"the gateway at {self._host}:{self._port} may have a client with client_id {self._client_id} already; "
            "give provider.client_id another number (the stream takes the next one)"
        )


def _refusal(code: int, text: str, line: Line) -> ProviderError:
    if code == TOO_MANY:
        return NotOfferedError(
            f"ib: {line.symbol}: {text.rstrip('.')} ({code}). Follow fewer symbols, or one kind of each "
            "(streams.symbols, streams.kinds)."
        )
    return translate.refusal(code, text, line.symbol)


def _check(line: Line) -> None:
    if line.kind == "trade" and translate.parse(line.symbol).asset_class == "forex":
        raise NotOfferedError(f"ib has no trades of forex pairs ({line.symbol}); it has their quotes and bars")
