"""The base of the stream fronts: the batch, the log, each kind of fault, the clock, as a plain client sees them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from websockets.exceptions import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidMessage,
    InvalidStatus,
)
from websockets.sync.client import ClientConnection, connect

from tests.venues.market import Fault, Listing, Market, Trade, VenueClock, disturbed, every, instant
from tests.venues.stream import Event, Peer, StreamVenue

NOW = instant(2024, 3, 8, 15)
SECOND = timedelta(seconds=1)


class Plain(StreamVenue):
    """A client says a topic and listens to it from then on; the answer is its name. Events are JSON, one a frame."""

    def serves(self, path: str) -> bool:
        return path == "/plain"

    async def hear(self, peer: Peer, message: str | bytes) -> None:
        if message == "break":
            raise ZeroDivisionError("a front's mistake")
        peer.topics[str(message)] = None
        await peer.say(str(message))

    def frames(self, peer: Peer, events: Sequence[Event]) -> list[str | bytes]:
        return [json.dumps(event.content) for event in events]

    def happened(self, after: datetime, until: datetime) -> list[tuple[datetime, Event]]:
        return [
            (row.ts, Event(symbol, {"id": row.trade_id}))
            for symbol, rows in self.market.trades.items()
            for row in rows
            if after < row.ts <= until
        ]


@pytest.fixture
def venue() -> Iterator[Plain]:
    market = Market(clock=VenueClock(NOW))
    market.add(Listing("A"), Listing("B"))
    with Plain(market) as venue:
        yield venue


def client(venue: StreamVenue, *topics: str, path: str = "/plain") -> ClientConnection:
    """A connection that listens to these."""
    plug = connect(venue.address + path, ping_interval=None, close_timeout=0.2, proxy=None)
    for topic in topics:
        plug.send(topic)
        assert plug.recv(5) == topic
    return plug


def numbers(topic: str, *ids: int) -> list[Event]:
    return [Event(topic, {"id": number}) for number in ids]


def heard(plug: ClientConnection, count: int) -> list[int]:
    return [json.loads(plug.recv(5))["id"] for _ in range(count)]


def nothing_more(plug: ClientConnection) -> bool:
    try:
        plug.recv(0.05)
    except TimeoutError:
        return True
    return False


def test_each_listener_is_told_its_topics_and_the_log_keeps_all(venue: Plain) -> None:
    with client(venue, "A") as first, client(venue, "A", "B") as second:
        venue.publish(*numbers("A", 1, 2), *numbers("B", 3), *numbers("C", 4))
        assert heard(first, 2) == [1, 2]
        assert heard(second, 3) == [1, 2, 3]
    assert [(one.topic, one.content["id"], one.copies) for one in venue.log] == [
        ("A", 1, 2),
        ("A", 2, 2),
        ("B", 3, 1),
        ("C", 4, 0),
    ]
    assert venue.told("A") == [{"id": 1}, {"id": 2}]
    assert venue.lost() == [{"id": 4}]
    assert venue.heard == [("/plain", "A"), ("/plain", "A"), ("/plain", "B")]


def test_events_before_and_after_a_connection_are_in_the_log_with_no_copy(venue: Plain) -> None:
    venue.publish(*numbers("A", 1))
    with client(venue, "A") as plug:
        venue.publish(*numbers("A", 2))
        assert heard(plug, 1) == [2]
    venue.until(lambda: not venue.peers, "the client's leaving")
    venue.publish(*numbers("A", 3))
    assert [one.copies for one in venue.log] == [0, 1, 0]


@pytest.mark.parametrize(
    ("fault", "through"),
    [
        (Fault("burst", count=300), [1] * 300 + [2] * 300),
        (Fault("duplicated"), [1, 1, 2, 2]),
        (Fault("reordered"), [2, 1]),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else "",
)
def test_a_fault_of_a_batch_and_then_it_is_over(venue: Plain, fault: Fault, through: list[int]) -> None:
    venue.market.faults.add("ws /plain A", fault)
    with client(venue, "A") as plug:
        venue.publish(*numbers("A", 1, 2))
        venue.publish(*numbers("A", 3))
        assert heard(plug, len(through) + 1) == [*through, 3]
    assert [one.copies for one in venue.log] == [through.count(1), through.count(2), 1]
    assert venue.market.faults.fired == [("ws /plain A", fault.kind)]


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        (Fault("dropped"), ConnectionClosedError, 1006),
        (Fault("closed"), ConnectionClosedOK, 1000),
        (Fault("closed", status=1012), ConnectionClosedError, 1012),  # the venue restarts
    ],
)
@pytest.mark.parametrize("struck", [False, True])
def test_a_connection_ends_and_the_next_one_is_good(
    venue: Plain, fault: Fault, error: type[ConnectionClosed], code: int, struck: bool
) -> None:
    with client(venue, "A") as plug:
        if struck:
            venue.strike(fault)
        else:
            venue.market.faults.add("A", fault)
        venue.publish(*numbers("A", 1, 2))
        with pytest.raises(error):
            plug.recv(5)
        assert (plug.protocol.close_code or 1006) == code
    assert venue.lost() == venue.told()
    with client(venue, "A") as plug:
        venue.publish(*numbers("A", 3))
        assert heard(plug, 1) == [3]
    assert venue.connected == 2


@pytest.mark.parametrize("struck", [False, True])
def test_a_silent_connection_stays_open_and_answers_nothing_not_even_a_ping(venue: Plain, struck: bool) -> None:
    with client(venue, "A") as plug, client(venue, "B") as other:
        assert plug.ping().wait(5)
        if struck:
            venue.strike(Fault("silent"))
        else:
            venue.market.faults.add("A", Fault("silent"))
        venue.publish(*numbers("A", 1))
        assert not plug.ping().wait(0.05)
        plug.send("B")
        venue.publish(*numbers("B", 2))
        assert nothing_more(plug)
        assert struck or heard(other, 1) == [2]
    assert [one.copies for one in venue.log] == [0, 0 if struck else 1]


def test_a_fault_hits_one_connection_where_it_counts_one(venue: Plain) -> None:
    venue.market.faults.add("ws /plain", Fault("dropped"), skip=1)
    with client(venue, "A") as first, client(venue, "A") as second:
        venue.publish(*numbers("A", 1))
        assert heard(first, 1) == [1]
        with pytest.raises(ConnectionClosedError):
            second.recv(5)
    assert venue.log[0].copies == 1


def test_a_client_can_be_kept_from_connecting(venue: Plain) -> None:
    venue.market.faults.add("connect /plain", Fault("status", status=503))
    venue.market.faults.add("connect /plain", Fault("dropped"))
    with pytest.raises(InvalidStatus, match="503"):
        client(venue)
    with pytest.raises((EOFError, OSError, InvalidMessage)):
        client(venue)
    with pytest.raises(InvalidStatus, match="404"):
        client(venue, path="/elsewhere")
    with client(venue):
        pass
    assert venue.connected == 1


def test_who_comes_while_it_is_shut_gets_in_when_it_opens(venue: Plain) -> None:
    venue.shut = True
    plugs: list[ClientConnection] = []
    coming = threading.Thread(target=lambda: plugs.append(client(venue, "A")))
    coming.start()
    venue.publish(*numbers("A", 1))
    assert venue.connected == 0
    venue.shut = False
    venue.until_listening("A")
    venue.publish(*numbers("A", 2))
    coming.join(5)
    with plugs[0] as plug:
        assert heard(plug, 1) == [2]
    assert venue.lost() == [{"id": 1}]


def test_the_clock_decides_what_is_told_and_when_also_where_it_is_ahead(venue: Plain) -> None:
    stamps = every(NOW, SECOND, 10)
    venue.market.set_trades("A", [Trade(ts, 1.0, 1.0, at) for at, ts in enumerate(stamps)])
    with client(venue, "A") as plug:
        venue.advance(2)
        assert heard(plug, 2) == [1, 2]  # the first had happened before the front was there
        venue.advance(0)
        venue.market.clock.skew_seconds = 3.0
        venue.advance(1)
        assert heard(plug, 4) == [3, 4, 5, 6]  # by the venue's clock it is six seconds later
        assert nothing_more(plug)
    assert {one.at for one in venue.log} == {NOW + 2 * SECOND, NOW + 6 * SECOND}


def test_what_happened_at_once_is_told_in_order_of_time(venue: Plain) -> None:
    for symbol, first in (("A", 0), ("B", 1)):
        stamps = every(NOW + (1 + first) * SECOND, 2 * SECOND, 3)
        venue.market.set_trades(symbol, [Trade(ts, 1.0, 1.0, 2 * at + first) for at, ts in enumerate(stamps)])
    venue.advance(10)
    assert [one["id"] for one in venue.told()] == [0, 1, 2, 3, 4, 5]


def test_events_of_many_threads_are_told_in_the_logs_order(venue: Plain) -> None:
    with client(venue, "A") as plug:

        def tell(first: int) -> None:
            for at in range(20):
                venue.publish(*numbers("A", first + at))

        threads = [threading.Thread(target=tell, args=(first,)) for first in (0, 100, 200)]
        for thread in threads:
            thread.start()
        told = heard(plug, 60)
        for thread in threads:
            thread.join(5)
    assert told == [one["id"] for one in venue.told("A")]
    assert sorted(told) == [first + at for first in (0, 100, 200) for at in range(20)]


def test_a_client_that_does_not_read_is_cut_off() -> None:
    with Plain(Market(), patience=0.1) as venue, client(venue, "A") as plug:
        big: dict[str, Any] = {"id": 1, "text": "x" * 100_000}
        venue.market.faults.add("A", Fault("burst", count=200))
        venue.publish(Event("A", big))
        venue.until(lambda: not venue.peers, "the cut")
        assert venue.lost() == [big]
        with pytest.raises(ConnectionClosedError):
            heard(plug, 200)


def test_a_fault_of_http_is_refused_and_a_fronts_mistake_is_raised_at_the_end(venue: Plain) -> None:
    venue.market.faults.add("A", Fault("html"))
    with client(venue, "A"), pytest.raises(ValueError, match="ws /plain A: a fault 'html' is not one of streams"):
        venue.publish(*numbers("A", 1))
    with client(venue, "A"), pytest.raises(ValueError, match="strike: a fault 'burst'"):
        venue.strike(Fault("burst"))
    with pytest.raises(ZeroDivisionError), Plain(Market()) as broken, client(broken) as plug:  # noqa: PT012
        plug.send("break")
        broken.until(lambda: not broken.peers and broken.connected, "the mistake")


def test_what_does_not_come_is_named(venue: Plain) -> None:
    with pytest.raises(TimeoutError, match=r"Plain: a listener of A, B did not come within 0\.01 s"):
        venue.until(lambda: False, "a listener of A, B", 0.01)


@pytest.mark.parametrize("kind", ["dropped", "closed", "silent"])
def test_a_fault_that_ends_a_connection_lets_nothing_through(kind: str) -> None:
    assert disturbed([1, 2], Fault(kind)) == []
