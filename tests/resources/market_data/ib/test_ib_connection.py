"""Where the Interactive Brokers provider runs: threads, loops, interruptions, and what it leaves behind: nothing."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest

from resources.errors import UnknownSymbolError
from tests.resources.market_data.ib.ib_desk import MONDAY, TUESDAY, Desk, desks, wait_until
from tests.venues.market import Fault


@pytest.fixture
def desk() -> Iterator[Callable[..., Desk]]:
    with desks() as open_desk:
        yield open_desk


def own_threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("ib-")]


@pytest.mark.parametrize("fails", [False, True])
def test_every_call_disconnects_and_leaves_no_thread(desk: Callable[..., Desk], fails: bool) -> None:
    at_desk = desk()
    ib = at_desk.ib()
    if fails:
        with pytest.raises(UnknownSymbolError, match="ib has no NOPE"):
            ib.bars(["NOPE"], MONDAY, TUESDAY)
    else:
        at_desk.minutes(ib)
    assert own_threads() == []
    assert wait_until(lambda: not at_desk.gateway.clients)


class Stopped(BaseException):
    """As Dagster's interruption of a run."""


def test_an_interrupted_download_disconnects(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    at_desk.market.faults.add("reqHistoricalData", Fault("silent"))

    def stop(*_: object) -> None:
        raise Stopped

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(Stopped):
            at_desk.minutes(at_desk.ib(timeout=60))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert own_threads() == []
    assert wait_until(lambda: not at_desk.gateway.clients)


def test_threads_share_one_connection_and_get_their_own_answers(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    ib = at_desk.ib()
    with ib, ThreadPoolExecutor(4) as pool:
        asked = [("AAPL", "1d"), ("BRK.B", "1d"), ("EUR.USD", "1h"), ("AAPL", "1m")] * 3
        frames = list(pool.map(lambda each: ib.bars([each[0]], MONDAY, TUESDAY, each[1]).collect(), asked))
        assert len(at_desk.gateway.clients) == 1
    for (symbol, timeframe), frame in zip(asked, frames, strict=True):
        assert frame["symbol"].unique().to_list() == [symbol]
        assert frame.height == {"1d": 2, "1h": 47, "1m": 780}[timeframe]
    assert own_threads() == []


def test_it_works_where_a_loop_is_already_running(desk: Callable[..., Desk]) -> None:
    at_desk = desk()

    async def notebook() -> pl.DataFrame:
        return at_desk.minutes()

    assert asyncio.run(notebook()).height == 780


def test_a_kept_connection_is_opened_once(desk: Callable[..., Desk]) -> None:
    at_desk = desk()
    with at_desk.ib() as ib:
        at_desk.minutes(ib)
        at_desk.minutes(ib)
    assert at_desk.count("reqPositions") == 1
    assert at_desk.count("reqContractDetails AAPL") == 1
