"""A connection to Trader Workstation or IB Gateway: opened, asked, lost, found again, and always closed.

ib_insync and its fork ib_async live on an asyncio loop, and their synchronous calls run the loop of the calling
thread. That fails in threads without a loop (Dagster's), and where one runs already (notebooks); between calls nobody
reads the socket. So the loop has a thread of its own for as long as a connection is in use, callers hand their requests
over to it, and threads may share one connection.

Three things that the libraries leave to their user: an error message is not an exception (162, and in ib_async 321);
a lost connection to IB's servers shows as an error message only (1100), while the socket stays open and requests
are never answered; and after a loss of the socket nothing connects again.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

from resources.errors import ProviderError, ProviderTimeoutError
from resources.market_data.ib.translate import refusal

LOST, RESTORED = (1100, 2110), (1101, 1102)
FARM_BROKEN, FARM_BACK = (2103, 2105, 2157), (2104, 2106, 2107, 2108, 2158)
TAKEN = 326
HARMLESS = (165, 366)  # progress of a query; cancelled what was over

RESTART = 20.0
"""Seconds to wait before asking again when the gateway or its way to IB is gone: it restarts every night."""


def library() -> ModuleType:
    """ib_async where it is installed, else ib_insync; what we use of them is the same."""
    try:
        import ib_async
    except ImportError:
        import ib_insync

        return ib_insync
    return ib_async


class GatewayGoneError(ProviderTimeoutError):
    """The gateway, or its way to IB, is gone for now. Another try connects again."""

    retry_after = RESTART


class Connection:
    """One connection to a gateway, open while somebody is inside `with connection:`; shared by threads.

    `connect_seconds`: how long the gateway may take to let us in; `answer_seconds`: how long an answer may take.
    """

    def __init__(self, host: str, port: int, client_id: int, connect_seconds: float, answer_seconds: float) -> None:
        self._host, self._port, self._client_id = host, port, client_id
        self._connect_seconds, self._answer_seconds = connect_seconds, answer_seconds
        self._lock = threading.Lock()
        self._users = 0
        self._ib: Any = None
        self._time: tuple[datetime, float] | None = None  # the gateway's when we came in, and our stopwatch then
        self._reset()

    def _reset(self) -> None:
        self._lost = ""  # what IB said when it lost its way to its servers
        self._farm = ""  # what it said of a broken data farm
        self._pending: dict[int, tuple[str, asyncio.Future[Any]]] = {}
        self._denied: asyncio.Future[str] | None = None

    def __repr__(self) -> str:
        return f"Connection({self._host}:{self._port}, client_id={self._client_id})"

    def __enter__(self) -> Connection:
        with self._lock:
            if self._users == 0:
                self._open()
            self._users += 1
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._close()

    def ask(self, symbol: str, request: Callable[[Any], Awaitable[Any]], cancel: str = "") -> Any:
        """The answer to `request(ib)`, which must send its request before it first waits.

        `cancel` is the client's method that takes an unanswered request back, by its number.

        Raises what `refusal` makes of IB's error message, ProviderTimeoutError if no answer comes in time,
        GatewayGoneError if the socket or IB's own connection is lost.
        """
        return self._run(self._ask(symbol, request, cancel))

    def now(self) -> datetime:
        """The gateway's time, which it tells in whole seconds."""
        if self._time is None:
            raise RuntimeError("the gateway's time is known inside `with connection:` only")
        theirs, then = self._time
        return theirs + timedelta(seconds=time.monotonic() - then)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _open(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._connecting = asyncio.Lock()
        self._thread = threading.Thread(target=self._serve, name=f"ib-{self._client_id}", daemon=True)
        self._thread.start()
        try:
            self._run(self._connect(again=False))
        except BaseException:
            self._close()
            raise

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)  # the libraries ask for the thread's loop, also while they are imported
        self._loop.run_forever()

    def _close(self) -> None:
        try:
            self._run(self._leave())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def _leave(self) -> None:
        """Hang up, and end what a caller who was interrupted has left behind."""
        await self._hang_up()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    async def _hang_up(self) -> None:
        ib, self._ib = self._ib, None
        if ib is None:
            return
        ib.disconnect()
        for _ in range(100):  # the transport closes on the loop's next rounds
            if not ib.client.conn.isConnected():
                break
            await asyncio.sleep(0.001)

    async def _connect(self, again: bool) -> None:
        await self._hang_up()
        self._reset()
        ib = library().IB()
        ib.RaiseRequestErrors = True
        ib.errorEvent += self._on_error
        ib.client.apiError += self._on_api_error
        self._denied = self._loop.create_future()
        # readonly: data needs no orders, and a gateway set to read-only refuses to list them
        entry = asyncio.ensure_future(
            ib.connectAsync(self._host, self._port, self._client_id, timeout=self._connect_seconds, readonly=True)
        )
        try:
            await asyncio.wait({entry, self._denied}, return_when=asyncio.FIRST_COMPLETED)
            if self._denied.done() and not (entry.done() and entry.exception() is None):
                raise self._gone_or(again, self._denied.result())
            await entry
            # Once a connection: the libraries keep one such request only, and a second loses the first's answer.
            theirs = await asyncio.wait_for(ib.reqCurrentTimeAsync(), self._connect_seconds)
            self._time = theirs.astimezone(UTC), time.monotonic()
            self._ib = ib
        except TimeoutError as error:
            raise self._gone_or(
                again, f"did not let us in within {self._connect_seconds:g} s", ProviderTimeoutError
            ) from error
        except OSError as error:
            raise self._gone_or(again, f"cannot be reached ({error})") from error
        finally:
            entry.cancel()
            await asyncio.gather(entry, return_exceptions=True)
            if self._ib is not ib:
                ib.disconnect()  # it may have let us in and failed after that

    def _gone_or(self, again: bool, what: str, kind: type[ProviderError] = ProviderError) -> ProviderError:
        """The error of a connection that did not come about; after a loss it may be mended by waiting."""
        where = f"Interactive Brokers at {self._host}:{self._port}"
        if again:
            return GatewayGoneError(f"{where} {what}, after a loss of the connection. Restart the gateway.")
        mend = (
            f"Is Trader Workstation or IB Gateway running, logged in, and its API switched on at this port "
            f"(provider.port)? Does another program use client_id {self._client_id}? Then give this one its own, "
            f"for example provider.client_id: {self._client_id + 1}."
        )
        return kind(f"{where} {what}. {mend}")

    async def _ask(self, symbol: str, request: Callable[[Any], Awaitable[Any]], cancel: str) -> Any:
        async with self._connecting:
            if self._ib is None or not self._ib.isConnected():
                await self._connect(again=True)
        if self._lost:
            raise self._without_servers(symbol)
        ib, number, refused = self._ib, -1, self._loop.create_future()

        async def send() -> Any:
            nonlocal number
            number = ib.client.getReqId() + 1  # the request takes the next one, before anybody else runs
            self._pending[number] = (symbol, refused)
            return await request(ib)

        task = asyncio.ensure_future(send())
        try:
            await asyncio.wait({task, refused}, timeout=self._answer_seconds, return_when=asyncio.FIRST_COMPLETED)
            if refused.done():
                return refused.result()
            if task.done():
                return task.result()
            if cancel and ib.isConnected():
                getattr(ib.client, cancel)(number)
            raise ProviderTimeoutError(
                f"{symbol}: Interactive Brokers did not answer within {self._answer_seconds:g} s"
                f"{f' ({self._farm})' if self._farm else ''}. Try later, or raise provider.timeout_seconds."
            )
        except ConnectionError as error:
            raise GatewayGoneError(
                f"{symbol}: the gateway at {self._host}:{self._port} hung up ({error}). It restarts every night; "
                "try later."
            ) from error
        finally:
            if self._pending.get(number) == (symbol, refused):  # after a reconnection it may be another's number
                del self._pending[number]
            refused.cancel()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _without_servers(self, symbol: str) -> GatewayGoneError:
        return GatewayGoneError(
            f"{symbol}: the gateway at {self._host}:{self._port} has lost Interactive Brokers' servers ({self._lost}). "
            "Try later, or look at the gateway's own connection."
        )

    def _on_error(self, number: int, code: int, text: str, *_: Any) -> None:
        if code in LOST:
            self._lost = f"{code}: {text}"
            for symbol, refused in self._pending.values():
                if not refused.done():  # whatever was asked will not be answered any more, not even after 1102
                    refused.set_exception(self._without_servers(symbol))
        elif code in RESTORED:
            self._lost = ""
        elif code in FARM_BROKEN:
            self._farm = text
        elif code in FARM_BACK:
            self._farm = ""
        elif code == TAKEN:
            self._deny(f"has a client with client_id {self._client_id} already (326)")
        elif number in self._pending and code not in HARMLESS and not 2100 <= code < 2200:
            symbol, refused = self._pending[number]
            if not refused.done():
                refused.set_exception(refusal(code, text, symbol))

    def _on_api_error(self, text: str) -> None:
        if "already in use" in text:  # hung up on before it let us in
            self._deny(f"hung up while we connected; client_id {self._client_id} may be in use")

    def _deny(self, what: str) -> None:
        if self._denied is not None and not self._denied.done():
            self._denied.set_result(what)
