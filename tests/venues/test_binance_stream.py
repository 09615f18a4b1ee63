"""Binance's market streams on loopback, with python-binance's own sockets: what they give, and what they lose.

What python-binance does not do by itself is stated here by tests whose names say so; a gateway must make up for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.venues.binance_sockets import (
    MINUTE,
    NOW,
    SECOND,
    TRADES,
    Desk,
    after_errors,
    nothing_more,
    opened,
    take,
    until_error,
)
from tests.venues.market import Bar, Fault, Quote


@pytest.fixture
def desk() -> Iterator[Desk]:
    with opened() as desk:
        yield desk


# market streams


def test_a_raw_stream_gives_exactly_the_log_and_the_markets_trades(desk: Desk) -> None:
    async def scenario(at: Desk) -> None:
        socket = await at.listen((await at.sockets()).trade_socket("BTCUSDT"), TRADES)
        await at.advance(7)
        await at.advance(3)
        got = await take(socket, 10)
        assert got == at.streams.told(TRADES)
        assert await nothing_more(socket)
        rows = at.market.trades["BTCUSDT"][:10]
        assert [(each["t"], float(each["p"]), float(each["q"])) for each in got] == [
            (row.trade_id, row.price, row.size) for row in rows
        ]
        assert [each["T"] for each in got] == [int(row.ts.timestamp() * 1000) for row in rows]
        assert [each["m"] for each in got] == [row.side == "sell" for row in rows]

    desk.run(scenario)


def test_a_combined_stream_names_each_and_keeps_the_order_of_time(desk: Desk) -> None:
    names = [TRADES, "ethusdt@aggTrade", "btcusdt@bookTicker", "btcusdt@kline_1m"]

    async def scenario(at: Desk) -> None:
        socket = await at.listen((await at.sockets(max_queue_size=500)).multiplex_socket(names), *names)
        await at.advance(60)
        told = [{"stream": one.topic, "data": one.content} for one in at.streams.log if one.topic in names]
        assert await take(socket, len(told)) == told
        assert {one["stream"] for one in told} == set(names)
        assert [one.copies for one in at.streams.log if one.topic not in names].count(0) > 0

    desk.run(scenario)


def test_a_book_ticker_is_the_markets_quote_and_has_no_time(desk: Desk) -> None:
    async def scenario(at: Desk) -> None:
        socket = await at.listen((await at.sockets()).symbol_book_ticker_socket("BTCUSDT"), "btcusdt@bookTicker")
        await at.advance(4)
        got = await take(socket, 4)
        quotes = [Quote(NOW, *(float(each[name]) for name in "bBaA")) for each in got]
        assert quotes == [row._replace(ts=NOW) for row in at.market.quotes["BTCUSDT"][:4]]
        assert not {"e", "E", "T"} & set(got[0])

    desk.run(scenario)


def test_a_candle_is_told_as_it_begins_still_being_built_and_when_it_is_over(desk: Desk) -> None:
    async def scenario(at: Desk) -> None:
        socket = await at.listen((await at.sockets()).kline_socket("BTCUSDT", "1m"), "btcusdt@kline_1m")
        for _ in range(12):
            await at.advance(10)
        candles = [each["k"] for each in await take(socket, 4)]
        assert await nothing_more(socket)
        assert [(candle["x"], candle["t"]) for candle in candles] == [
            (over, int((NOW + begun * MINUTE).timestamp() * 1000))
            for over, begun in ((True, 0), (False, 1), (True, 1), (False, 2))
        ]
        bars = at.market.bars["BTCUSDT", "1m"]
        final = [Bar(NOW, *(float(candle[name]) for name in "ohlcv")) for candle in candles if candle["x"]]
        assert final == [bar._replace(ts=NOW) for bar in bars[:2]]
        built = candles[1]
        assert {built[name] for name in "ohlc"} == {f"{bars[1].open:.8f}"}

    desk.run(scenario)


def test_a_stream_that_does_not_exist_connects_and_says_nothing(desk: Desk) -> None:
    async def scenario(at: Desk) -> None:
        sockets = await at.sockets()
        socket = await at.listen(sockets.multiplex_socket(["BTCUSDT@trade"]), "BTCUSDT@trade")  # names are in small
        await at.advance(5)
        assert await nothing_more(socket)
        with pytest.raises(Exception, match="404"):  # and futures are not on this venue
            await sockets.futures_multiplex_socket(["btcusdt@aggTrade"]).connect()

    desk.run(scenario)


def test_the_venues_clock_is_in_each_event_also_where_it_is_ahead(desk: Desk) -> None:
    async def scenario(at: Desk) -> None:
        socket = await at.listen((await at.sockets()).trade_socket("BTCUSDT"), TRADES)
        at.market.clock.skew_seconds = 30.0
        await at.advance(1)
        got = await take(socket, 31)
        assert {each["E"] for each in got} == {int((NOW + 34 * SECOND).timestamp() * 1000)}
        assert got[-1]["T"] > at.market.clock.truth.timestamp() * 1000  # of the future, by a true clock

    desk.run(scenario)


# faults, and what python-binance makes of them


@pytest.mark.parametrize("fault", [Fault("dropped"), Fault("closed")], ids=lambda fault: fault.kind)
def test_events_during_a_reconnect_are_lost_and_errors_stand_in_their_place(desk: Desk, fault: Fault) -> None:
    async def scenario(at: Desk) -> None:
        socket = await at.listen((await at.sockets()).trade_socket("BTCUSDT"), TRADES)
        at.fault(f"ws /ws/{TRADES}", fault, skip=1)
        at.streams.shut = True
        for _ in range(3):
            await at.advance(1)
        at.streams.shut = False
        await at.listening(TRADES)
        await at.advance(1)
        assert (await take(socket, 1))[0]["t"] == 1
        kinds, next_one = await after_errors(socket)
        assert next_one["t"] == 4
        end = "ConnectionClosedError" if fault.kind == "dropped" else "ConnectionClosedOK"
        assert kinds in ([end, "BinanceWebsocketClosed"], ["BinanceWebsocketClosed"])  # as it happens
        assert [one["t"] for one in at.streams.lost() if one.get("e") == "trade" and one["s"] == "BTCUSDT"] == [2, 3]
        missed = await at.client.get_aggregate_trades(symbol="BTCUSDT", fromId=2)
        assert [one["a"] for one in missed] == [2, 3, 4]  # REST has them, and none that is still to come

    desk.run(scenario)


def test_after_four_reconnects_in_vain_it_gives_up(desk: Desk) -> None:
    from binance.exceptions import ReadLoopClosed

    async def scenario(at: Desk) -> None:
        socket = await at.listen((await at.sockets()).trade_socket("BTCUSDT"), TRADES)
        at.fault("connect /ws", Fault("status", status=503), times=None)
        await at.strike(Fault("dropped"))
        await until_error(socket, "BinanceWebsocketUnableToConnect")
        with pytest.raises(ReadLoopClosed):
            await take(socket, 1)
        assert len(at.market.faults.fired) == 4  # of MAX_RECONNECTS = 5

    desk.run(scenario)


def test_closing_during_a_reconnect_does_not_end(desk: Desk) -> None:
    async def scenario(at: Desk) -> None:
        socket = await at.listen((await at.sockets()).trade_socket("BTCUSDT"), TRADES)
        at.streams.shut = True
        await at.strike(Fault("dropped"))
        await until_error(socket, "BinanceWebsocketClosed")
        closing = asyncio.create_task(socket.close())
        await asyncio.sleep(0.05)
        at.streams.shut = False
        await at.listening(TRADES)  # it has forgotten that it was to close
        await at.advance(1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(closing, 0.3)
        assert (await take(socket, 1))[0]["t"] == 1

    desk.run(scenario)


def test_a_silent_stream_is_not_noticed_within_its_own_time(desk: Desk) -> None:
    async def scenario(at: Desk) -> None:
        socket = await at.listen((await at.sockets()).trade_socket("BTCUSDT"), TRADES)
        at.fault("ws", Fault("silent"))
        await at.advance(5)
        assert await nothing_more(socket)
        assert socket.ws.ping_interval == 20  # and another 20 until an answer is given up
        assert at.streams.connected == 1

    desk.run(scenario)


def test_a_silent_stream_is_noticed_with_quick_pings(desk: Desk) -> None:
    async def scenario(at: Desk) -> None:
        sockets = await at.sockets()
        sockets.ws_kwargs = {"ping_interval": 0.05, "ping_timeout": 0.1}
        socket = await at.listen(sockets.trade_socket("BTCUSDT"), TRADES)
        at.fault(f"ws /ws/{TRADES}", Fault("silent"))
        await at.advance(1)
        await at.until(lambda: at.streams.connected > 1, "another connection")
        await at.listening(TRADES)
        await at.advance(1)
        kinds, next_one = await after_errors(socket)
        assert next_one["t"] == 2
        assert kinds

    desk.run(scenario)


def test_a_burst_beyond_the_queue_kills_the_socket_with_all_that_waited_and_the_error(desk: Desk) -> None:
    from binance.exceptions import ReadLoopClosed

    async def scenario(at: Desk) -> None:
        socket = await at.listen((await at.sockets()).trade_socket("BTCUSDT"), TRADES)
        at.fault("ws", Fault("burst", count=900))
        await at.advance(1)
        await _ended(socket)
        with pytest.raises(ReadLoopClosed):
            await socket.recv()
        assert socket._queue.qsize() == 101  # a hundred trades and the error, which nobody is given
        assert at.streams.log[0].copies == 900

    desk.run(scenario)


def test_a_queue_that_is_large_enough_keeps_a_burst(desk: Desk) -> None:
    async def scenario(at: Desk) -> None:
        sockets = await at.sockets(max_queue_size=10_000)
        socket = await at.listen(sockets.trade_socket("BTCUSDT"), TRADES)
        at.fault("ws", Fault("burst", count=900))
        await at.advance(2)
        assert [each["t"] for each in await take(socket, 1800)] == [1] * 900 + [2] * 900

    desk.run(scenario)


@pytest.mark.parametrize(("kind", "ids"), [("duplicated", [1, 1, 2, 2, 3, 3]), ("reordered", [3, 2, 1])])
def test_doubles_and_disorder_are_handed_on_as_they_come(desk: Desk, kind: str, ids: list[int]) -> None:
    async def scenario(at: Desk) -> None:
        socket = await at.listen((await at.sockets()).trade_socket("BTCUSDT"), TRADES)
        at.fault("ws", Fault(kind))
        await at.advance(3)
        assert [each["t"] for each in await take(socket, len(ids))] == ids

    desk.run(scenario)


async def _ended(socket: Any) -> None:
    """Wait for the end of its reading."""
    for _ in range(500):
        if socket._handle_read_loop is None:
            return
        await asyncio.sleep(0.01)
    raise TimeoutError("the socket still reads")
