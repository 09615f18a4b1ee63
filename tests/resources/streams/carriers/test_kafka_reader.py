"""What holds of a reader whatever becomes of the messages of a partition: lost, stored again, or sent too late."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from resources.streams.base import Event, Lost, MarketEvent, Trade
from resources.streams.carriers.kafka_client import Topic
from resources.streams.carriers.kafka_reader import Place, Reader
from resources.streams.carriers.progress import line_of
from resources.streams.carriers.wire import Message
from resources.streams.clock import SystemClock

KEPT, LOST, TWICE, AGAIN_AT_THE_END = range(4)
FATES = st.sampled_from([KEPT, KEPT, KEPT, LOST, TWICE, AGAIN_AT_THE_END])

PUBLISHED = st.lists(st.tuples(st.sampled_from("AB"), st.integers(1, 3), st.integers(0, 2)), max_size=6)
"""Messages of a session: their symbol, how many trades, and how far they are apart (0: of the same instant)."""

SESSIONS = st.lists(PUBLISHED, min_size=1, max_size=3)


def log_of(sessions: Sequence[Sequence[tuple[str, int, int]]]) -> list[Message]:
    """What the publishers of a partition send, each after the other; no two trades are the same."""
    sent: list[Message] = []
    ts, number_of_trade = 10, 0
    for session, messages in enumerate(sessions, 1):
        sent.append(Message(session, 0, 0, ts + 1, 1, ()))
        newest = 0
        for number, (symbol, count, apart) in enumerate(messages, 1):
            rows: list[Event] = []
            for _ in range(count):
                ts, number_of_trade = ts + apart, number_of_trade + 1
                rows.append(Trade(symbol, ts, 1.0, 1.0, trade_id=str(number_of_trade)))
            sent.append(Message(session, number, newest, ts + 1, 1, rows))
            newest = ts
    return sent


def known(sent: Sequence[Message], fates: Sequence[int]) -> list[tuple[Message, int]]:
    """Those behind which something came of their session: of the others nobody can know that they are missing."""
    last = {message.session: message.number for message, fate in zip(sent, fates, strict=True) if fate != LOST}
    return [(m, fate) for m, fate in zip(sent, fates, strict=True) if m.number <= last.get(m.session, -1)]


def reader() -> Reader:
    """One that stands at the beginning of a topic of one partition."""
    made = Reader(Topic(), None, SystemClock(), Counter())
    made._partitions, made._places = 1, {0: Place(0)}
    return made


@given(SESSIONS, st.data())
def test_each_event_is_told_once_in_order_or_lies_in_what_is_told_as_lost(
    sessions: list[list[tuple[str, int, int]]], data: st.DataObject
) -> None:
    sent, at = log_of(sessions), reader()
    fates = [KEPT, *data.draw(st.lists(FATES, min_size=len(sent) - 1, max_size=len(sent) - 1))]
    again = [message for message, fate in zip(sent, fates, strict=True) if fate == AGAIN_AT_THE_END]
    arrived = [
        message for message, fate in zip(sent, fates, strict=True) for _ in range([1, 0, 2, 1][fate])
    ] + again  # fmt: skip
    told: list[Event] = []
    for message in arrived:
        at._add(0, message, told)

    trades = [event for event in told if isinstance(event, Trade)]
    kept = {event for message, fate in zip(sent, fates, strict=True) if fate != LOST for event in message.events}
    assert len(trades) == len(set(trades))
    assert set(trades) == kept
    for symbol in "AB":
        mine = [int(trade.trade_id) for trade in trades if trade.symbol == symbol]
        assert mine == sorted(mine)

    lost = [event for event in told if isinstance(event, Lost)]
    for message, fate in known(sent, fates):
        for event in message.events if fate == LOST else ():
            line = line_of(event)
            if any(line_of(one) == line for one in told):  # of a line that is never heard of nobody can tell
                assert any(line_of(gap) == line and gap.ts <= event.ts <= gap.until for gap in lost), event


@given(SESSIONS, st.data())
def test_a_repair_brings_exactly_what_is_missing_whenever_it_comes(
    sessions: list[list[tuple[str, int, int]]], data: st.DataObject
) -> None:
    """The provider has all trades; each gap is repaired at some later moment, between messages."""
    sent, at = log_of(sessions), reader()
    fates = [KEPT, *data.draw(st.lists(FATES, min_size=len(sent) - 1, max_size=len(sent) - 1))]
    everything = [event for message in sent for event in message.events if isinstance(event, Trade)]
    told: list[Event] = []
    repaired: list[MarketEvent] = []
    for message, fate in zip(sent, fates, strict=True):
        for _ in range([1, 0, 2, 1][fate]):
            at._add(0, message, told)
        while at.found and data.draw(st.booleans()):
            gap = at.found.pop(0)
            repaired += [row for row in everything if row.symbol == gap.line.symbol and at.lacks(gap, row)]
            at.done(gap)
    for gap in at.found:
        repaired += [row for row in everything if row.symbol == gap.line.symbol and at.lacks(gap, row)]
        at.done(gap)
    trades = [*(event for event in told if isinstance(event, Trade)), *repaired]
    assert len(trades) == len(set(trades))  # none twice, be it from the log, by repair or from both
    heard = {line_of(event) for event in told}
    owed = {event for message, _ in known(sent, fates) for event in message.events if line_of(event) in heard}
    assert owed <= set(trades)
