"""Yahoo's stream on loopback against yfinance's own clients: what they bring, and what they leave to their user.

The second half states how the clients misbehave, for the live feed that is to be built over them: it must notice a
loss by itself and make a new client.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Coroutine, Iterator
from datetime import timedelta
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from tests.venues.market import (
    Bar,
    Fault,
    Listing,
    Market,
    Quote,
    VenueClock,
    every,
    instant,
    seeded_quotes,
    seeded_trades,
)
from tests.venues.yahoo import float32
from tests.venues.yahoo_stream import YahooStream

NOON = instant(2024, 3, 11, 16)
SECOND = timedelta(seconds=1)
SOON = 5.0


@pytest.fixture
def stream() -> Iterator[YahooStream]:
    market = Market(VenueClock(NOON))
    market.add(
        Listing("AAPL", name="Apple Inc."), Listing("BTC-USD", "crypto", venue="CCC"),
        Listing("EURUSD=X", "forex", venue="CCY"),
    )  # fmt: skip
    stamps = every(NOON + SECOND, SECOND, 60)
    market.set_trades("AAPL", seeded_trades(1, stamps, price=170))
    market.set_trades("BTC-USD", seeded_trades(2, stamps, price=70_000, tick=0.5))
    market.set_quotes("AAPL", seeded_quotes(3, [stamp - SECOND / 2 for stamp in stamps], price=170))
    market.set_quotes("EURUSD=X", [Quote(stamp, 1.0901, 1e6, 1.0903, 1e6) for stamp in stamps])
    market.set_bars("AAPL", "1d", [Bar(instant(2024, 3, 8, 14, 30), 169.0, 173.7, 168.9, 160.0, 1e7)])
    with YahooStream(market) as stream:
        yield stream


class Reader:
    """yfinance's plain client, listening in a thread of its own."""

    def __init__(self, stream: YahooStream, *symbols: str, handler: Callable[[dict[str, Any]], None] | None = None):
        import yfinance

        self.heard: list[dict[str, Any]] = []
        self.client = yfinance.WebSocket(url=stream.url, verbose=False)
        self.client.subscribe(list(symbols))
        self.thread = threading.Thread(target=lambda: self.client.listen(handler or self.heard.append), daemon=True)
        self.thread.start()
        stream.until_listening(*symbols)


def until(condition: Callable[[], object]) -> None:
    async def wait() -> None:
        await _until(condition)

    asyncio.run(wait())


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():
            await asyncio.sleep(0.002)


def in_async_client(
    stream: YahooStream, work: Callable[[Any, list[dict[str, Any]], asyncio.Task[None]], Coroutine[Any, Any, None]]
) -> None:
    """Run `work(client, heard, listening)` with yfinance's AsyncWebSocket, which listens to AAPL."""
    import yfinance

    async def run() -> None:
        heard: list[dict[str, Any]] = []
        client = yfinance.AsyncWebSocket(url=stream.url, verbose=False)
        await client.subscribe("AAPL")
        listening = asyncio.create_task(client.listen(heard.append))
        await asyncio.to_thread(stream.until_listening, "AAPL")
        try:
            async with asyncio.timeout(SOON):
                await work(client, heard, listening)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    asyncio.run(run())


# What they bring


def test_a_message_says_what_the_market_says(stream: YahooStream) -> None:
    reader = Reader(stream, "AAPL", "BTC-USD", "EURUSD=X")
    stream.advance(20)
    until(lambda: len(reader.heard) == 60)
    for symbol in ("AAPL", "BTC-USD"):
        sold = stream.market.trades[symbol][:20]
        got = [each for each in reader.heard if each["id"] == symbol]
        assert [float32(each["price"]) for each in got] == [float32(trade.price) for trade in sold]
        assert [int(each["time"]) for each in got] == [round(trade.ts.timestamp() * 1000) for trade in sold]
        assert [int(each["last_size"]) for each in got] == [trade.size for trade in sold]
        assert int(got[-1]["day_volume"]) == sum(trade.size for trade in sold)
    apple = next(each for each in reader.heard if each["id"] == "AAPL")
    quote, price = stream.market.quotes["AAPL"][0], stream.market.trades["AAPL"][0].price
    assert (apple["currency"], apple["exchange"], apple["quote_type"], apple["market_hours"]) == ("USD", "NMS", 8, 1)
    assert (apple["bid"], apple["ask"], int(apple["bid_size"])) == (
        pytest.approx(quote.bid), pytest.approx(quote.ask), quote.bid_size,
    )  # fmt: skip
    assert apple["change_percent"] == pytest.approx((price / 160 - 1) * 100, rel=1e-5)
    assert {each["price"] for each in reader.heard if each["id"] == "EURUSD=X"} == {1.0902}
    assert [each["time"] for each in reader.heard] == sorted(each["time"] for each in reader.heard)


def test_the_async_client_hears_the_same_until_it_is_cancelled(stream: YahooStream) -> None:
    async def work(client: Any, heard: list[dict[str, Any]], listening: asyncio.Task[None]) -> None:
        await asyncio.to_thread(stream.advance, 30)
        await _until(lambda: len(heard) == 30)
        listening.cancel()
        await listening  # the client swallows the cancellation and closes
        await asyncio.to_thread(stream.until, lambda: not stream.peers, "the client's leaving")

    in_async_client(stream, work)
    assert {each["id"] for each in stream.lost()} == {"BTC-USD", "EURUSD=X"}  # which nobody had asked for


def test_who_unsubscribes_hears_no_more_and_unknown_symbols_are_met_with_silence(stream: YahooStream) -> None:
    reader = Reader(stream, "AAPL", "NOPE")
    stream.advance(1)
    until(lambda: len(reader.heard) == 1)
    reader.client.unsubscribe("AAPL")
    stream.until(lambda: all("AAPL" not in peer.topics for peer in stream.peers), "the end of the subscription")
    stream.advance(1)
    reader.client.subscribe("BTC-USD")
    stream.until_listening("BTC-USD")
    stream.advance(1)
    until(lambda: len(reader.heard) == 2)
    assert [each["id"] for each in reader.heard] == ["AAPL", "BTC-USD"]


def test_the_async_client_repeats_its_subscription_which_changes_nothing(stream: YahooStream) -> None:
    async def work(client: Any, heard: list[dict[str, Any]], listening: asyncio.Task[None]) -> None:
        client._heartbeat_task.cancel()
        client._subscription_interval = 0.01  # 15 seconds of Yahoo's
        client._heartbeat_task = asyncio.create_task(client._periodic_subscribe())
        await _until(lambda: len(stream.heard) >= 4)
        await asyncio.to_thread(stream.advance, 2)
        await _until(lambda: len(heard) >= 2)
        assert len(heard) == 2

    in_async_client(stream, work)
    assert {message for _, message in stream.heard} == {json.dumps({"subscribe": ["AAPL"]})}


# What they leave to their user


@pytest.mark.parametrize(
    ("fault", "places"),
    [
        (Fault("duplicated"), [0, 0, 1, 1, 2, 2]),
        (Fault("reordered"), [2, 1, 0]),
        (Fault("burst", count=300), [0] * 300 + [1] * 300 + [2] * 300),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_what_comes_twice_or_out_of_order_is_handed_on_as_it_comes(
    stream: YahooStream, fault: Fault, places: list[int]
) -> None:
    stream.market.faults.add("ws / AAPL", fault)
    reader = Reader(stream, "AAPL")
    stream.advance(3)
    until(lambda: len(reader.heard) == len(places))
    stamps = [round(trade.ts.timestamp() * 1000) for trade in stream.market.trades["AAPL"]]
    assert [int(each["time"]) for each in reader.heard] == [stamps[at] for at in places]


def test_an_error_in_the_handler_is_swallowed_and_its_message_lost(stream: YahooStream) -> None:
    heard = []

    def handler(message: dict[str, Any]) -> None:
        if not heard:
            heard.append("failed")
            raise ZeroDivisionError("a handler's mistake")
        heard.append(message["id"])

    reader = Reader(stream, "AAPL", handler=handler)
    stream.advance(2)
    until(lambda: len(heard) == 2)
    assert heard == ["failed", "AAPL"]
    assert reader.thread.is_alive()


def test_what_cannot_be_decoded_comes_as_a_message_without_a_price(stream: YahooStream) -> None:
    stream.undecodable = frozenset(["AAPL"])
    reader = Reader(stream, "AAPL")
    stream.advance(1)
    until(lambda: len(reader.heard) == 1)
    assert set(reader.heard[0]) == {"error", "raw_base64"}


@pytest.mark.parametrize("fault", [Fault("dropped"), Fault("closed"), Fault("closed", status=1012)])
def test_the_plain_client_returns_from_listening_without_an_error_when_the_connection_ends(
    stream: YahooStream, fault: Fault
) -> None:
    reader = Reader(stream, "AAPL")
    stream.strike(fault)
    reader.thread.join(SOON)
    assert not reader.thread.is_alive()  # `listen` is over, as if nothing were amiss
    stream.advance(2)
    assert (stream.connected, len(stream.lost()), reader.heard) == (1, 6, [])
    with pytest.raises(ConnectionClosed):  # the same client is of no use any more: it keeps its plug
        reader.client.subscribe("AAPL")


def test_the_async_client_never_connects_again_after_a_drop(
    stream: YahooStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    naps: list[float] = []
    really = asyncio.sleep

    async def nap(seconds: float, *rest: Any) -> None:
        if seconds == 3:
            naps.append(seconds)
        await really(0 if seconds == 3 else seconds, *rest)

    async def work(client: Any, heard: list[dict[str, Any]], listening: asyncio.Task[None]) -> None:
        monkeypatch.setattr(asyncio, "sleep", nap)
        await asyncio.to_thread(stream.strike, Fault("dropped"))
        await _until(lambda: len(naps) >= 5)  # "attempting to reconnect", every 3 seconds, over the plug that is gone
        await asyncio.to_thread(stream.advance, 2)
        assert heard == []
        assert not listening.done()  # and nobody is told

    in_async_client(stream, work)
    assert stream.connected == 1
    assert len(stream.lost()) == 6


class Counting:
    """The client's real connection, which lets itself be asked so many times, and counts what else ran meanwhile."""

    def __init__(self, plug: Any, most: int) -> None:
        self.plug, self.most, self.rounds = plug, most, 0
        self.others, self.ran = 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.plug, name)

    def __aiter__(self) -> Any:
        self.rounds += 1
        if self.rounds == 2:
            self.ran = self.others
        if self.rounds > self.most:
            raise asyncio.CancelledError  # the only way to stop it
        return self.plug.__aiter__()


def test_a_clean_close_makes_the_async_client_spin_and_stops_the_whole_event_loop(stream: YahooStream) -> None:
    import yfinance

    async def run() -> Counting:
        client = yfinance.AsyncWebSocket(url=stream.url, verbose=False)
        await client.subscribe("AAPL")
        client._ws = counting = Counting(client._ws, most=500)

        async def other() -> None:
            while True:
                counting.others += 1
                await asyncio.sleep(0)

        running = asyncio.create_task(other())
        await asyncio.to_thread(stream.until_listening, "AAPL")
        await asyncio.to_thread(stream.strike, Fault("closed"))
        async with asyncio.timeout(SOON):
            await client.listen(lambda message: None)
        assert counting.others - counting.ran <= 20  # those of the client's leaving, after the last round
        running.cancel()
        return counting

    counting = asyncio.run(run())
    assert counting.rounds == 501  # each found the connection closed, and began anew at once
    assert stream.connected == 1


def test_a_silent_stream_is_not_noticed(stream: YahooStream) -> None:
    reader = Reader(stream, "AAPL")
    stream.advance(1)
    until(lambda: len(reader.heard) == 1)
    stream.strike(Fault("silent"))
    stream.advance(5)
    reader.thread.join(0.05)
    assert reader.thread.is_alive()
    assert len(reader.heard) == 1
    assert len([each for each in stream.lost() if each["id"] == "AAPL"]) == 5  # only the age of the last message tells
