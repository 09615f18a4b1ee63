"""What the cache calls current, and how it says that a session stands."""

from __future__ import annotations

import pytest

from resources.streams.base import Event, Kind, Lost, Repaired, Status
from resources.streams.standing import Session
from tests.resources.streams.caches import cache, quote, told, trade
from tests.resources.streams.gateways import played
from tests.venues.redis import RedisServer, is_installed

pytest.importorskip("redis", reason="the redis extra is not installed")
if not is_installed():
    pytest.skip("there is no redis-server on this machine", allow_module_level=True)


STANDS = [  # what was told, and how the session stands; then the quote's and the trade's being current
    pytest.param([[quote("A", 5)]], (True, True, ""), [], (True, True), id="an event says that all is well"),
    pytest.param([[quote("A", 5, repaired=True)]], (False, True, ""), [], (False, False), id="a repaired one does not"),
    pytest.param(
        [[quote("A", 5), Status("", 6, "disconnected", "it broke")]],
        (False, True, "it broke"), [], (False, False), id="disconnected",
    ),
    pytest.param(
        [[Status("", 6, "disconnected", "it broke")], [Status("", 6, "connected")]],
        (True, True, ""), [], (False, False), id="connected again: nobody knows what was missed",
    ),
    pytest.param(
        [[quote("A", 5), Status("", 6, "stale", "brokers are down")]],
        (True, False, "brokers are down"), [], (False, False), id="the carrier brings nothing",
    ),
    pytest.param(
        [[Status("", 5, "disconnected", "x"), Status("", 6, "stale", "y"), Status("", 7, "flowing", "z")]],
        (False, True, "z"), [], (False, False), id="the carrier is back, the venue is not",
    ),
    pytest.param(
        [[quote("A", 5), Status("A", 6, "stale", "", "quote")]],
        (True, True, ""), [], (True, True), id="a line that is quiet",
    ),
    pytest.param(
        [[trade("A", 5), Lost("A", 4, "quote", 9, None, "x")]],
        (True, True, ""), [Lost("A", 4, "quote", 9, None, "x")], (False, True), id="quotes are missing",
    ),
    pytest.param(
        [[trade("A", 5), Lost("A", 1, "quote", 4, None, "x")]],
        (True, True, ""), [Lost("A", 1, "quote", 4, None, "x")], (True, True), id="missing before the last one",
    ),
    pytest.param(
        [[trade("A", 5), Lost("A", 4, "trade", 7, None, "x"), Lost("A", 4, "trade", 9, None, "x")]],
        (True, True, ""), [Lost("A", 4, "trade", 9, None, "x")], (True, False), id="a gap that grows",
    ),
    pytest.param(
        [
            [trade("A", 5), Lost("A", 4, "trade", 9, None, "x"), Lost("B", 4, "trade", 9, None, "x")],
            [Repaired("A", 4, "trade", 9, 3, 0)],
        ],
        (True, True, ""), [Lost("B", 4, "trade", 9, None, "x")], (True, True), id="repaired",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("batches", "stands", "lost", "current"), STANDS)
@played
async def test_how_the_session_stands(
    server: RedisServer,
    batches: list[list[Event]],
    stands: tuple[bool, bool, str],
    lost: list[Lost],
    current: tuple[bool, bool],
) -> None:
    one = cache(server)
    await one.follow(told(*batches))
    session = await one.session()
    assert session is not None
    assert session[:8] == (1000, 1000, True, *stands, tuple(lost), {0: len(batches), 3: 7})
    assert (session.current(quote("A", 5)), session.current(trade("A", 5))) == current
    await one.close()


def given_up(until: int, *, kind: Kind = "quote", error: str = "REST refuses") -> Repaired:
    return Repaired("A", 4, kind, until, 0, None if error else 2, error)


LOST = Lost("A", 4, "quote", 9, None, "disconnected")
BROKEN = [Status("", 6, "disconnected"), Status("", 7, "connected")]
CURRENT = [  # what was told since the quote of 5 came, and whether that quote is still current
    pytest.param([], True, id="nothing else"),
    pytest.param([LOST], False, id="lost"),
    pytest.param([LOST, given_up(9)], False, id="given up"),
    pytest.param([LOST, given_up(9, error="")], False, id="not all was to be had"),
    pytest.param([LOST, given_up(9), trade("A", 20)], False, id="given up, another kind goes on"),
    pytest.param([LOST, given_up(9), quote("B", 20)], False, id="given up, another symbol goes on"),
    pytest.param([LOST, given_up(9), Repaired("A", 3, "quote", 9, 0, None)], True, id="repaired by the next gateway"),
    pytest.param([LOST, given_up(9), Repaired("A", 3, "quote", 8, 0, None)], False, id="repaired in part"),
    pytest.param([LOST, given_up(9, kind="trade")], False, id="of trades it is given up"),
    pytest.param([Lost("A", 1, "quote", 4, None, "x"), given_up(4)], True, id="what was given up came before"),
    pytest.param([LOST._replace(until=2**62)], False, id="a gap without an end"),
    pytest.param([LOST._replace(until=2**62), given_up(2**62)], False, id="a gap without an end is given up"),
    pytest.param(BROKEN, False, id="connected again, and of the line nothing was heard"),
    pytest.param([*BROKEN, quote("B", 20)], False, id="connected again, and of another line something was heard"),
    pytest.param([*BROKEN, LOST], False, id="connected again, and it is being repaired"),
    pytest.param([*BROKEN, LOST, Repaired("A", 4, "quote", 9, 0, None)], True, id="connected again and repaired"),
    pytest.param([LOST, Repaired("A", 4, "quote", 9, 0, None), *BROKEN], True, id="repaired, and only then connected"),
    pytest.param([Repaired("A", 4, "quote", 6, 0, None), *BROKEN], False, id="repaired up to before it was connected"),
    pytest.param([*BROKEN, LOST, given_up(9)], False, id="connected again and given up"),
    pytest.param([Status("", 6, "disconnected"), trade("A", 6)], False, id="the connection's last event comes after"),
    pytest.param([Status("", 6, "disconnected"), trade("A", 8)], False, id="a new connection's event comes before"),
]


@pytest.mark.parametrize(("then", "current"), CURRENT)
@played
async def test_a_quote_is_current_only_where_nothing_newer_can_have_been_missed(
    server: RedisServer, then: list[Event], current: bool
) -> None:
    one, newer = cache(server), quote("A", 30)
    await one.follow(told([quote("A", 5)], list(then)))
    session = await one.session()
    assert session is not None
    assert session.current(quote("A", 5)) == current
    again = cache(server, now=2000)  # it goes on, and hears nothing
    await again.follow(told(), after=session)
    later = await again.session()
    assert later is not None
    assert later.current(quote("A", 5)) == current
    if any(gap.until > 30 for gap in (*later.lost, *later.given_up)):
        newer = newer._replace(ts=2**62 + 1)
    third = cache(server, now=3000)
    await third.follow(told([newer]), after=later)
    last = await third.session()
    assert last is not None
    assert last.current(newer) or last.lost
    assert not any(gap.kind == "quote" for gap in last.given_up)
    for each in (one, again, third):
        await each.close()


@played
async def test_what_was_kept_before_anybody_followed_is_not_current(server: RedisServer) -> None:
    one = cache(server)
    await one.follow(told([quote("A", 5), quote("B", 5)]))
    other = cache(server, now=2000)  # and begins anew: nobody knows what was missed meanwhile
    await other.follow(told([quote("B", 50)]))
    session = await other.session()
    assert session is not None
    held = await other.quotes()
    assert {symbol: session.current(row) for symbol, row in held.items()} == {"A": False, "B": True}
    for each in (one, other):
        await each.close()


@played
async def test_what_is_told_too_late_is_not_current(server: RedisServer) -> None:
    """A follower that goes on from an old offset is told of old events at first."""
    now = 10**9
    one = cache(server, now=now, alive=5.0)
    for age, current in ((60, False), (4, True), (6, False)):
        row = quote("A", now - age * 10**6)
        await one.follow(told([row]), after=await one.session())
        session = await one.session()
        assert session is not None
        assert session.current(row) == current
        assert session.detail == ("" if current else "what is told is more than 5 s old")
    await one.follow(told([quote("A", now)]), after=session)
    for later, current in ((4, True), (6, False)):  # what the log holds of the time between is not read yet
        other = cache(server, now=now + later * 10**6, alive=5.0)
        await other.follow(told(), after=await one.session())
        session = await one.session()
        assert session is not None
        assert session.current(quote("A", now)) == current
        await other.close()
    await one.close()


def test_nothing_is_current_in_a_session_that_is_over() -> None:
    session = Session(1, 1, True, True, True, "", (), {})
    assert session.current(quote("A", 1))
    for gone in ("alive", "connected", "flowing"):
        assert not session._replace(**{gone: False}).current(quote("A", 1))
