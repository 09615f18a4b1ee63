"""A websocket server on loopback that tells a market's events and carries out the faults of its plan.

    class Front(StreamVenue):
        async def hear(self, peer, message): ...  # what a client says: it fills `peer.topics`
        def frames(self, peer, events): ...       # how the venue writes events

    with Front(market) as front:
        client = Client(url_override=f"{front.address}/stream")
        front.until_listening("trades.AAPL")
        front.advance(60)                         # the clock moves on, and what happened meanwhile is told
        front.publish(Event("trade_updates", {...}))  # or an event of the test's own
        front.log                                 # all that was told, and how many copies of each went out

The market's clock decides what has happened: rows stamped later than it are still to come. What a front tells at
once is a batch. Before a batch goes out on a connection the plan of faults is asked for "ws PATH TOPICS", and for
"connect PATH" when a client comes (`status`: that answer, `dropped`: none); `strike` does it to all connections at
once, and while a front is `shut` nobody gets in. An event told while nobody listens is in the log with no copy: a
stream has no memory, whoever was away must ask over REST.

The server has a thread of its own, so a test may be a plain function (until it has a client with an event loop of
its own: then the calls that wait go to `asyncio.to_thread`).
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Self
from urllib.parse import unquote, urlsplit

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.venues.market import STREAM_FAULTS, Fault, Market, disturbed

PATIENCE_SECONDS = 5.0

_quiet = logging.getLogger("tests.venues.stream")
_quiet.setLevel(logging.CRITICAL)  # connections that break are what this is for


class Event(NamedTuple):
    """What the venue says to those who listen to `topic`, in its own words."""

    topic: str
    content: dict[str, Any]


class Told(NamedTuple):
    """An event of the log, and how many copies of it went out on all connections; 0: nobody has it."""

    topic: str
    content: dict[str, Any]
    at: datetime  # by the venue's clock
    copies: int


@dataclass(eq=False)
class Peer:
    """A client's connection. `topics`: what it listens to, with what the front keeps for it. `over`: it gets nothing
    any more."""

    connection: ServerConnection
    path: str
    query: str
    topics: dict[str, Any] = field(default_factory=dict)
    admitted: bool = False
    over: bool = False

    async def say(self, *frames: str | bytes) -> None:
        """Send, unless the connection has gone silent or is gone."""
        for frame in frames:
            if not self.over:
                await self.connection.send(frame)


class StreamVenue:
    """A front over websockets, a context manager. A client that takes nothing for `patience` seconds is cut off."""

    def __init__(self, market: Market, *, patience: float = PATIENCE_SECONDS) -> None:
        self.market = market
        self.patience = patience
        self.log: list[Told] = []
        self.peers: list[Peer] = []
        self.connected = 0  # connections since the beginning
        self.shut = False  # whether who connects must wait at the door
        self.heard: list[tuple[str, str | bytes]] = []  # paths, and what clients said there
        self._failures: list[Exception] = []
        self._told_until = market.clock.now()
        self._changed = threading.Condition()
        self._ready = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)

    @property
    def address(self) -> str:
        return f"ws://127.0.0.1:{self._port}"

    # what a front says for itself

    def serves(self, path: str) -> bool:
        """Whether there is anything at this path; a client of another is answered 404."""
        raise NotImplementedError

    async def welcome(self, peer: Peer) -> None:
        """What a client is told before it has said anything."""

    async def hear(self, peer: Peer, message: str | bytes) -> None:
        """What a client says."""
        raise NotImplementedError

    def wants(self, peer: Peer, event: Event) -> bool:
        return event.topic in peer.topics

    def frames(self, peer: Peer, events: Sequence[Event]) -> list[str | bytes]:
        """The batch as the venue writes it to this client."""
        raise NotImplementedError

    def happened(self, after: datetime, until: datetime) -> list[tuple[datetime, Event]]:
        """The market's events later than `after` and no later than `until`, in any order."""
        raise NotImplementedError

    # what a test does

    def advance(self, seconds: float) -> None:
        """Move the market's clock, and tell in one batch what happened since this front told anything."""
        self.market.clock.advance(seconds)
        since, self._told_until = self._told_until, self.market.clock.now()
        found = sorted(self.happened(since, self._told_until), key=lambda moment: moment[0])
        self.publish(*(event for _, event in found))

    def publish(self, *events: Event) -> None:
        """Tell these, as one batch, to who listens; returns when they are on their way. From any thread."""
        self._do(self._publish(events))

    def strike(self, fault: Fault) -> None:
        """Do this to all connections now: dropped, closed or silent."""
        self._do(self._strike(list(self.peers), fault))

    def told(self, topic: str = "") -> list[dict[str, Any]]:
        """What was said of a topic, in order, whether anybody listened or not."""
        return [one.content for one in self.log if topic in ("", one.topic)]

    def lost(self) -> list[dict[str, Any]]:
        """What nobody was sent."""
        return [one.content for one in self.log if not one.copies]

    def until(self, ready: Callable[[], object], what: str, seconds: float = 10.0) -> None:
        """Wait for something about the connections; raises TimeoutError that says `what` did not come."""
        with self._changed:
            if not self._changed.wait_for(ready, seconds):
                raise TimeoutError(f"{type(self).__name__}: {what} did not come within {seconds:g} s")

    def until_listening(self, *topics: str, count: int = 1) -> None:
        """Wait until as many connections as `count` listen to each of these."""
        self.until(
            lambda: all(sum(topic in peer.topics for peer in self._live()) >= count for topic in topics),
            f"a listener of {', '.join(topics)}",
        )

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(10):
            raise TimeoutError(f"{type(self).__name__} did not start")
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        if self._failures and kind is None:
            raise self._failures[0]

    # the thread of the server

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def _live(self) -> list[Peer]:
        return [peer for peer in self.peers if not peer.over]

    async def _serve(self) -> None:
        self._loop, self._stop, self._turn = asyncio.get_running_loop(), asyncio.Event(), asyncio.Lock()
        served = serve(
            self._handle, sock=self._socket, process_request=self._admit, ping_interval=None, compression=None,
            close_timeout=0.5, logger=_quiet,
        )  # fmt: skip
        async with served:
            self._ready.set()
            await self._stop.wait()
            for peer in self.peers:
                peer.connection.transport.abort()

    async def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        path = unquote(urlsplit(request.path).path)
        while self.shut and not self._stop.is_set():
            await asyncio.sleep(0.01)
        fault = self.market.faults.take(f"connect {path}")
        if fault is not None and fault.kind == "status":
            return connection.respond(fault.status, fault.body)
        if fault is not None and fault.kind == "dropped":
            connection.transport.abort()
        elif fault is not None:
            self._failures.append(ValueError(f"connect {path}: a fault {fault.kind!r} is not one of connecting"))
        return None if self.serves(path) else connection.respond(404, f"nothing at {path}")

    async def _handle(self, connection: ServerConnection) -> None:
        assert connection.request is not None
        parts = urlsplit(connection.request.path)
        peer = Peer(connection, unquote(parts.path), unquote(parts.query))
        self.peers.append(peer)
        self.connected += 1
        try:
            await self.welcome(peer)
            self._note()
            async for message in connection:
                self.heard.append((peer.path, message))
                await self.hear(peer, message)
                self._note()
        except ConnectionClosed:
            pass
        except Exception as error:
            self._failures.append(error)  # a front's own, to be seen where the test ends
        finally:
            peer.over = True
            self.peers.remove(peer)
            self._note()

    async def _publish(self, events: Sequence[Event]) -> None:
        async with self._turn:
            copies: Counter[int] = Counter()
            for peer in self._live():
                wanted = [at for at, event in enumerate(events) if self.wants(peer, event)]
                if wanted:
                    copies.update(await self._send(peer, events, wanted))
            now = self.market.clock.now()
            self.log += [Told(*event, now, copies[at]) for at, event in enumerate(events)]
        self._note()

    async def _send(self, peer: Peer, events: Sequence[Event], wanted: list[int]) -> list[int]:
        """Send those wanted, by their place in the batch, as a fault lets them through; the places that were sent."""
        what = f"ws {peer.path} {' '.join(dict.fromkeys(events[at].topic for at in wanted))}"
        fault = self.market.faults.take(what)
        if fault is not None and fault.kind not in STREAM_FAULTS:
            raise ValueError(f"{what}: a fault {fault.kind!r} is not one of streams; there are {STREAM_FAULTS}")
        if fault is not None and fault.kind in ("dropped", "closed", "silent"):
            await self._strike([peer], fault)
        through = disturbed(wanted, fault)
        if not through:
            return []
        try:
            await asyncio.wait_for(peer.say(*self.frames(peer, [events[at] for at in through])), self.patience)
        except ConnectionClosed:
            return []
        except TimeoutError:
            await self._strike([peer], Fault("dropped"))
            return []
        return through

    async def _strike(self, peers: Sequence[Peer], fault: Fault) -> None:
        for peer in peers:
            peer.over = True
            if fault.kind == "dropped":
                peer.connection.transport.abort()
            elif fault.kind == "closed":
                await peer.connection.close(fault.status or 1000)
            elif fault.kind == "silent":
                peer.connection.transport.pause_reading()  # so it answers no ping either
            else:
                raise ValueError(f"strike: a fault {fault.kind!r} does not end a connection")
        self._note()

    def _note(self) -> None:
        with self._changed:
            self._changed.notify_all()
