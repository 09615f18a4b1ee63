"""Binance's stream of an account's events over ws-api on loopback, with python-binance's own socket.

What python-binance does not do by itself is stated here by tests whose names say so; a gateway must make up for each.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.venues.binance_sockets import NOW, SECOND, Desk, nothing_more, opened, take
from tests.venues.binance_stream import SECRET, USER, WS_API
from tests.venues.market import Fault


@pytest.fixture
def desk() -> Iterator[Desk]:
    with opened() as desk:
        yield desk


def subscribed(at: Desk) -> int:
    """How often a client has subscribed to the account's events."""
    return sum("userDataStream.subscribe.signature" in str(message) for _, message in at.streams.heard)


def test_an_accounts_events_come_over_a_signed_subscription(desk: Desk) -> None:
    async def scenario(at: Desk) -> None:
        socket = await at.listen((await at.sockets()).user_socket(), USER)
        await at.filled(1, 2)
        got = await take(socket, 2)
        assert [each["c"] for each in got] == ["ours-1", "ours-2"]
        assert got == at.streams.told(USER)
        assert got[0]["E"] == int((NOW + 3 * SECOND).timestamp() * 1000)
        (path, message), *_ = at.streams.heard
        asked = json.loads(message)
        assert path == WS_API
        assert SECRET not in str(message)
        assert set(asked["params"]) == {"apiKey", "timestamp", "signature"}

    desk.run(scenario)


@pytest.mark.parametrize(
    ("keys", "skew", "code"),
    [
        ({"secret": "another"}, 0.0, -1022),
        ({"key": "another"}, 0.0, -2015),
        ({}, -60.0, -1021),  # the stamp lies ahead of the venue's clock
        ({}, 60.0, -1021),  # or too far back
    ],
)
def test_keys_signatures_and_clocks_are_checked(desk: Desk, keys: dict[str, str], skew: float, code: int) -> None:
    from binance.exceptions import BinanceAPIException

    async def scenario(at: Desk) -> None:
        sockets = await at.sockets(**keys)
        at.market.clock.skew_seconds = skew
        with pytest.raises(BinanceAPIException, match=str(code)):
            await sockets.user_socket().connect()
        assert not at.streams.told(USER)

    desk.run(scenario)


def test_a_skew_that_was_there_from_the_beginning_does_no_harm(desk: Desk) -> None:
    desk.market.clock.skew_seconds = 3600.0

    async def scenario(at: Desk) -> None:
        socket = await at.listen((await at.sockets()).user_socket(), USER)  # the client sets its clock as it is made
        await at.filled(1)
        assert (await take(socket, 1))[0]["c"] == "ours-1"

    desk.run(scenario)


@pytest.mark.parametrize("fault", [Fault("dropped"), Fault("closed")], ids=lambda fault: fault.kind)
def test_after_a_drop_of_ws_api_it_reconnects_but_does_not_subscribe_again(desk: Desk, fault: Fault) -> None:
    async def scenario(at: Desk) -> None:
        socket = await at.listen((await at.sockets()).user_socket(), USER)
        at.fault(USER, fault, skip=1)
        await at.filled(1, 2)
        assert (await take(socket, 1))[0]["c"] == "ours-1"
        await at.until(lambda: at.streams.connected == 2 and len(at.streams._live()) == 1, "another connection")
        await at.filled(3)
        assert subscribed(at) == 1
        await asyncio.sleep(0.05)
        waiting = [socket._queue.get_nowait() for _ in range(socket._queue.qsize())]
        assert {each["e"] for each in waiting} == {"error"}  # of the drop; that the stream is dead it does not say
        assert [each["c"] for each in at.streams.lost() if each.get("c")] == ["ours-2", "ours-3"]

        await at.listen(socket, USER)  # what a gateway must do: connect() again
        await at.filled(4)
        assert (await take(socket, 1))[0]["c"] == "ours-4"
        assert subscribed(at) == 2

    desk.run(scenario)


def test_a_silent_ws_api_is_not_noticed_until_something_is_asked(desk: Desk) -> None:
    from binance.exceptions import BinanceWebsocketUnableToConnect

    async def scenario(at: Desk) -> None:
        socket = await at.listen((await at.sockets()).user_socket(), USER)
        at.fault(USER, Fault("silent"))
        await at.filled(1)
        assert await nothing_more(socket)
        at.client.ws_api.TIMEOUT = 0.1  # of ten seconds
        with pytest.raises(BinanceWebsocketUnableToConnect, match="Request timed out"):
            await at.client.ws_ping()
        assert at.streams.connected == 1  # and it does not connect again even then

    desk.run(scenario)


@pytest.mark.parametrize(
    ("fault", "numbers"),
    [
        (Fault("duplicated"), [1, 1]),
        (Fault("burst", count=900), [1] * 900),  # the account's queue has no bound
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_events_of_the_account_may_come_more_than_once(desk: Desk, fault: Fault, numbers: list[int]) -> None:
    async def scenario(at: Desk) -> None:
        socket = await at.listen((await at.sockets()).user_socket(), USER)
        at.fault(USER, fault)
        await at.filled(1)
        got = await take(socket, len(numbers))
        assert [each["c"] for each in got] == [f"ours-{number}" for number in numbers]

    desk.run(scenario)


def test_ws_api_has_one_subscription_a_connection_and_refuses_what_it_does_not_know(desk: Desk) -> None:
    from binance.exceptions import BinanceAPIException

    async def scenario(at: Desk) -> None:
        sockets = await at.sockets()
        socket = await at.listen(sockets.user_socket(), USER)
        assert await at.client.ws_ping() == {}
        assert await at.client.ws_get_time() == {"serverTime": int((NOW + 3 * SECOND).timestamp() * 1000)}
        ask: Callable[..., Awaitable[Any]] = at.client._ws_api_request
        for code, method, signed in (
            (-2035, "userDataStream.subscribe.signature", True),
            (-1102, "userDataStream.subscribe.signature", False),
            (-1020, "dance", False),
        ):
            with pytest.raises(BinanceAPIException, match=str(code)):
                await ask(method, signed, {})
        await socket._unsubscribe_from_user_data_stream()
        with pytest.raises(BinanceAPIException, match="-2036"):
            await ask("userDataStream.unsubscribe", False, {})
        await at.filled(1)
        assert await nothing_more(socket)
        await at.listen(socket, USER)
        assert socket._subscription_id == 1

    desk.run(scenario)
