"""Order, duplicates and gaps of a line: what is handed on of a message, by each of the three ways of numbering."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.streams.base import Bar, Event, Kind, Line, Lost, MarketEvent, Quote, Repaired, Sequencing, Status, Trade
from resources.streams.clock import SECOND
from resources.streams.track import REMEMBERED
from resources.streams.watch import Watch

NOW = 1_000 * SECOND
LINE = Line("A", "trade")


def trade(ts: int, number: int = 0, price: float = 1.0, symbol: str = "A") -> Trade:
    return Trade(symbol, ts, price, 1.0, trade_id=str(number), sequence=number)


def watching(sequencing: Sequencing | None = None, *lines: Line) -> Watch:
    watch = Watch({"trade": sequencing, "quote": sequencing} if sequencing else {})  # type: ignore[dict-item]
    watch.add(lines or [LINE], 0)
    return watch


def shown(events: list[Event]) -> list[Any]:
    """Trades by number (negative: marked repaired), gaps by interval and count."""
    rows: list[Any] = []
    for event in events:
        if isinstance(event, Trade):
            rows.append(-event.sequence if event.repaired else event.sequence)
        elif isinstance(event, Lost):
            rows.append((event.ts, event.until, event.events))
        else:
            rows.append(event.state)  # type: ignore[union-attr]
    return rows


BY_TIME = [  # messages as (time, number), and what is handed on
    ("in order", [[(1, 1)], [(2, 2), (3, 3)]], [1, 2, 3]),
    ("twice in a message", [[(1, 1), (1, 1), (2, 2)]], [1, 2]),
    ("twice, a message later", [[(1, 1), (2, 2)], [(1, 1), (2, 2), (3, 3)]], [1, 2, 3]),
    ("backwards in a message", [[(3, 3), (2, 2), (1, 1)]], [1, 2, 3]),
    ("of one instant, in order of their numbers", [[(1, 2), (1, 1)], [(1, 4)], [(1, 3)]], [1, 2, 4, 3]),
    ("late", [[(1, 1)], [(3, 3)], [(2, 2)], [(4, 4)]], [1, 3, -2, 4]),
    ("late, and again", [[(1, 1)], [(3, 3)], [(2, 2)], [(2, 2)]], [1, 3, -2]),
    ("numbers say nothing of what is missing", [[(1, 1)], [(9, 9)]], [1, 9]),
]
BY_NUMBER: list[tuple[str, list[Any], list[Any]]] = [
    ("in order", [[(1, 1)], [(2, 2), (3, 3)]], [1, 2, 3]),
    ("begins anywhere", [[(1, 70)], [(2, 71)]], [70, 71]),
    ("twice", [[(1, 1), (1, 1)], [(1, 1), (2, 2)]], [1, 2]),
    ("a hole", [[(1, 1)], [(5, 5)], [(6, 6)]], [1, (1, 5, 3), 5, 6]),
    ("a hole that fills itself", [[(1, 1)], [(4, 4)], [(3, 3)], [(2, 2)], [(3, 3)]], [1, (1, 4, 2), 4, -3, -2]),
    ("backwards in a message", [[(3, 3), (2, 2), (1, 1)]], [1, 2, 3]),
    ("times of one instant", [[(1, 2), (1, 1), (1, 3)]], [1, 2, 3]),
    (
        "the first message overtook",
        [[(5, 5)], [(4, 4)], [(2, 2)], [(4, 4)], [(3, 3)], [(2, 2)], [(6, 6)]],
        [5, (4, 5, 1), -4, (2, 5, 2), -2, -3, 6],
    ),
    ("counted anew much later", [[(1, 70)], [(200 * SECOND, 1)], [(201 * SECOND, 2)]], [70, 1, 2]),
]
RISING = [
    ("in order, by leaps", [[(1, 5)], [(2, 9)]], [5, 9]),
    ("twice, at another time", [[(1, 5)], [(2, 5)], [(3, 9)]], [5, 9]),
    ("late", [[(1, 5)], [(2, 9)], [(3, 7)], [(4, 7)]], [5, 9, -7]),
]
CASES = [
    (sequencing, *case)
    for sequencing, cases in ((None, BY_TIME), ("consecutive", BY_NUMBER), ("rising", RISING))
    for case in cases
]


@pytest.mark.parametrize(
    ("sequencing", "messages", "told"), [(c[0], c[2], c[3]) for c in CASES], ids=[f"{c[0]}: {c[1]}" for c in CASES]
)
def test_what_is_handed_on(sequencing: Sequencing | None, messages: list[Any], told: list[Any]) -> None:
    watch = watching(sequencing)
    got: list[Event] = []
    for message in messages:
        got += watch.admit([trade(*row) for row in message], NOW, 1000)
    assert shown(got) == told


def test_lines_are_judged_apart() -> None:
    watch = watching("consecutive", Line("A", "trade"), Line("B", "trade"), Line("A", "quote"))
    quote = Quote("A", 1, 1.0, 1.0, 2.0, 1.0, 40)
    got = watch.admit([trade(1, 1), quote, trade(1, 7, symbol="B"), trade(2, 2), trade(2, 8, symbol="B")], NOW, 99)
    assert len(got) == 5
    assert watch.admit([trade(3, 3, symbol="C")], NOW, 99) == []
    assert (watch.counts["delivered"], watch.counts["unasked"]) == (5, 1)


def test_a_duplicate_is_known_among_very_many_and_one_too_old_to_tell_is_reported() -> None:
    watch = watching()
    for ts in range(1, 3 * REMEMBERED):
        watch.admit([trade(ts)], NOW, 10)
    assert watch.admit([trade(2 * REMEMBERED)], NOW, 10) == []
    lost, given_up = watch.admit([trade(5)], NOW, 10)
    assert isinstance(lost, Lost)
    assert isinstance(given_up, Repaired)
    assert lost[:5] == ("A", 5, "trade", 5, 1)
    assert given_up[:6] == ("A", 5, "trade", 5, 0, 1)
    assert watch.counts["forgotten"] == 1


@pytest.mark.parametrize("sequencing", [None, "consecutive"])
def test_what_finds_no_room_is_one_gap_a_line_and_no_more(sequencing: Sequencing | None) -> None:
    watch = watching(sequencing, Line("A", "trade"), Line("B", "trade"))
    rows = [trade(at, at, symbol=symbol) for at in range(1, 11) for symbol in "AB"]
    assert len(watch.admit(rows, NOW, 8)) == 8
    assert watch.admit(rows, NOW, 0) == []  # twice: nothing more is missing for it
    gaps = watch.drained()
    assert [(gap.symbol, *row) for gap, row in zip(gaps, shown(gaps), strict=True)] == [
        ("A", 5, 10, 6),
        ("B", 5, 10, 6),
    ]
    assert shown(watch.admit([trade(11, 11)], NOW, 8)) == [11]
    (gap, _) = watch.found
    back = [row for row in rows if row.symbol == "A" and watch.lacks(gap, row)]
    assert [row.sequence for row in back] == [5, 6, 7, 8, 9, 10]
    assert not [row for row in rows if watch.lacks(gap, row)]  # each once
    assert gap.left() == 0
    assert watch.admit(rows[:20:2], NOW, 99) == []  # and they are duplicates from now on


def test_a_gap_ends_with_the_first_event_of_its_line_that_finds_room() -> None:
    watch = watching()
    watch.admit([trade(1), trade(2), trade(3)], NOW, 1)
    assert shown(watch.admit([trade(4, 4)], NOW, 5)) == [4, (2, 3, 2)]
    assert watch.drained() == []


def test_a_lost_connection_leaves_a_gap_from_the_last_event_on() -> None:
    watch = watching(None, Line("A", "trade"), Line("B", "trade"))
    watch.admit([trade(NOW - 100 * SECOND), trade(NOW - SECOND, symbol="B")], NOW, 9)
    gaps = watch.connected(NOW + 30 * SECOND, slack=SECOND, margin=60 * SECOND)
    assert [(gap.symbol, gap.ts, gap.until) for gap in gaps if isinstance(gap, Lost)] == [
        ("A", NOW - 61 * SECOND, NOW + 31 * SECOND),  # not all the time that it was quiet
        ("B", NOW - SECOND, NOW + 31 * SECOND),
    ]


def test_a_stamp_of_the_future_hides_nothing_that_another_line_misses() -> None:
    watch = watching(None, LINE, Line("B", "trade"))
    watch.admit([trade(NOW)], NOW, 10)
    watch.admit([trade(NOW + 300 * SECOND, symbol="B")], NOW, 10)
    lost = [one for one in watch.connected(NOW + 50 * SECOND, 0, 0) if one.symbol == "A"]  # type: ignore[union-attr]
    assert [(one.ts, one.until >= NOW + 50 * SECOND) for one in lost] == [(NOW, True)]  # type: ignore[union-attr]


def test_a_bar_may_begin_long_before_it_is_missed() -> None:
    watch = Watch()
    watch.add([LINE, Line("A", "bar")], 0)
    watch.admit([Bar("A", NOW - 180 * SECOND, 1, 1, 1, 1, 1), trade(NOW)], NOW, 9)
    gaps = watch.connected(NOW + SECOND, slack=SECOND, margin=0)
    assert [gap.ts for gap in gaps if isinstance(gap, Lost) and gap.kind == "bar"] == [NOW - 120 * SECOND]


def test_a_line_that_never_spoke_misses_what_came_since_its_subscription_by_the_venues_clock() -> None:
    watch = watching(None, Line("A", "trade"), Line("B", "trade"))
    watch.add([Line("C", "trade")], NOW)
    watch.admit([trade(NOW - 45 * SECOND)], NOW, 9)  # the venue is 45 seconds behind
    gaps = watch.connected(NOW + SECOND, slack=SECOND, margin=60 * SECOND)
    assert [gap.ts for gap in gaps if gap.symbol == "C"] == [NOW - 46 * SECOND]


@pytest.mark.parametrize(("ahead", "until"), [(45, 76), (-45, 31)])
def test_a_gap_ends_by_the_venues_clock_where_that_is_ahead(ahead: int, until: int) -> None:
    watch = watching()
    watch.admit([trade(NOW + ahead * SECOND)], NOW, 9)
    (gap,) = watch.connected(NOW + 30 * SECOND, slack=SECOND, margin=60 * SECOND)
    assert isinstance(gap, Lost)
    assert NOW + (until - 4) * SECOND <= gap.until <= NOW + until * SECOND


@pytest.mark.parametrize("repaired", [False, True])
def test_the_first_event_after_a_break_may_show_that_more_was_missed(repaired: bool) -> None:
    watch = watching()
    watch.admit([trade(NOW)], NOW, 9)
    watch.connected(NOW + 10 * SECOND, slack=SECOND, margin=0)
    (gap,) = watch.found
    if repaired:
        watch.done(gap)
    told = watch.admit([trade(NOW + 52 * SECOND, 1)], NOW + 12 * SECOND, 9)  # 40 seconds ahead of us
    since = NOW + 11 * SECOND if repaired else NOW
    assert shown(told) == [(since, NOW + 51 * SECOND, None), 1]
    assert shown(watch.admit([trade(NOW + 53 * SECOND, 2)], NOW + 12 * SECOND, 9)) == [2]


def test_a_second_break_before_any_number_is_the_same_gap_grown() -> None:
    watch = watching("consecutive")
    watch.admit([trade(NOW, 5)], NOW, 9)
    first = watch.connected(NOW + 10 * SECOND, slack=0, margin=0)
    second = watch.connected(NOW + 20 * SECOND, slack=0, margin=0)
    assert [row[0] for row in shown(first + second)] == [NOW, NOW]
    (gap,) = watch.found
    assert shown(watch.admit([trade(NOW + 21 * SECOND, 9)], NOW + 21 * SECOND, 9)) == [
        (NOW, NOW + 21 * SECOND, 3), 9
    ]  # fmt: skip
    assert (gap.first, gap.last, gap.events) == (6, 8, 3)
    assert [row for row in range(4, 12) if watch.lacks(gap, trade(NOW + SECOND, row))] == [6, 7, 8]


def test_rest_before_the_stream_and_the_stream_before_rest_tell_each_event_once() -> None:
    watch = watching()
    watch.admit([trade(NOW)], NOW, 9)
    watch.connected(NOW + 10 * SECOND, slack=5 * SECOND, margin=0)
    (gap,) = watch.found
    rows = [trade(NOW + at * SECOND) for at in range(15)]
    assert len(watch.admit(rows[9:11], NOW + 10 * SECOND, 9)) == 2  # the stream has told these
    assert [at for at, row in enumerate(rows) if watch.lacks(gap, row)] == [*range(1, 9), *range(11, 15)]
    watch.done(gap)
    assert watch.admit(rows, NOW, 99) == []  # and REST those
    assert len(watch.admit([trade(NOW + 15 * SECOND)], NOW, 9)) == 1


def test_what_rest_told_ahead_of_the_stream_stays_known_though_it_had_not_all() -> None:
    watch = watching()
    watch.admit([trade(NOW)], NOW, 9)
    watch.connected(NOW + 10, slack=0, margin=0)
    (gap,) = watch.found
    rows = [trade(NOW + at, at) for at in range(1, 7)]
    assert [watch.lacks(gap, row) for row in rows if row.sequence != 3] == [True] * 5
    watch.done(gap)
    told = [event for row in rows for event in watch.admit([row], NOW + 10, 9)]
    assert shown(told) == [3]


def test_silence_of_a_line_is_told_once_and_so_is_its_end() -> None:
    watch = watching()
    limits: dict[Kind, int] = {"trade": 5 * SECOND}
    assert watch.silent(5 * SECOND, limits) == []
    (stale,) = watch.silent(6 * SECOND, limits)
    assert isinstance(stale, Status)
    assert (stale.state, stale.kind, stale.detail) == ("stale", "trade", "nothing for 6 s")
    assert watch.silent(7 * SECOND, limits) == []
    assert shown(watch.admit([trade(1, 1)], 8 * SECOND, 9)) == ["flowing", 1]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(0, 25), min_size=1, max_size=40),
    st.lists(st.integers(0, 6), min_size=1, max_size=40),
    st.sampled_from([None, "consecutive"]),
)
def test_nothing_is_told_twice_and_nothing_is_missing_without_a_word(
    order: list[int], rooms: list[int], sequencing: Sequencing | None
) -> None:
    """Any order, any repetition, any room: what came is delivered once, or within the count of a gap that was told;
    and after REST has given all, everything was told exactly once."""
    watch = watching(sequencing)
    got: list[MarketEvent] = []
    came: set[int] = set()
    for at, number in enumerate(order):
        came.add(number + 1)
        told = watch.admit([trade(number + 1, number + 1)], NOW, rooms[at % len(rooms)])
        got += [event for event in told if isinstance(event, Trade)]
    watch.drained()
    numbers = [event.sequence for event in got]
    assert len(numbers) == len(set(numbers))
    live = [event.ts for event in got if not event.repaired]
    assert live == sorted(live)
    everything = [trade(number, number) for number in range(1, 27)]
    for gap in watch.found:
        for row in everything:
            if gap.since <= row.ts <= gap.closed() and watch.lacks(gap, row):
                numbers.append(row.sequence)
    assert len(numbers) == len(set(numbers))
    first = order[0] + 1 if sequencing else 0
    assert {number for number in came if number >= first} <= set(numbers)


def test_however_much_the_stream_told_meanwhile_rest_does_not_tell_it_again() -> None:
    watch = watching()
    watch.admit([trade(NOW)], NOW, 9)
    count = 4 * REMEMBERED
    watch.connected(NOW + 10 * SECOND, slack=count, margin=0)
    (gap,) = watch.found
    rows = [trade(NOW + 10 * SECOND + at) for at in range(count)]
    for row in rows[::2]:
        watch.admit([row], NOW + 10 * SECOND, 9)
    assert [row for row in rows if watch.lacks(gap, row)] == rows[1::2]


@pytest.mark.parametrize("went_on", [False, True])
def test_two_gaps_that_overlap_tell_each_event_once(went_on: bool) -> None:
    watch = watching()
    watch.admit([trade(NOW)], NOW, 9)
    for seconds in (10, 20):
        watch.connected(NOW + seconds * SECOND, slack=SECOND, margin=0)
    first, second = watch.found
    if went_on:
        watch.admit([trade(NOW + 60 * SECOND)], NOW + 60 * SECOND, 9)
    rows = [trade(NOW + 1 + at) for at in range(3 * REMEMBERED)] + [trade(NOW + 15 * SECOND)]
    told = [row for row in rows if watch.lacks(first, row)]
    watch.done(first)
    assert told == rows[:-1]
    assert [row for row in rows if watch.lacks(second, row)] == rows[-1:]


def test_what_rest_told_is_known_again_after_the_stream_has_gone_on() -> None:
    watch = watching()
    watch.admit([trade(NOW)], NOW, 9)
    watch.connected(NOW + 10 * SECOND, slack=0, margin=0)
    (gap,) = watch.found
    missed = [trade(NOW + at * SECOND, at) for at in (8, 9)]
    assert all(watch.lacks(gap, row) for row in missed)
    watch.done(gap)
    assert shown(watch.admit([trade(NOW + 11 * SECOND, 11)], NOW + 11 * SECOND, 9)) == [11]
    assert watch.admit(missed, NOW + 12 * SECOND, 9) == []
    for at in range(REMEMBERED):
        watch.admit([trade(NOW + 12 * SECOND + at)], NOW + 13 * SECOND, 9)
    assert watch.admit(missed, NOW + 13 * SECOND, 9) == []


def test_what_came_late_is_not_told_again_by_rest() -> None:
    watch = watching()
    watch.admit([trade(NOW)], NOW, 9)
    watch.connected(NOW + 10 * SECOND, slack=0, margin=0)
    (gap,) = watch.found
    for at in range(REMEMBERED + 100):
        watch.admit([trade(NOW + 11 * SECOND + at)], NOW + 12 * SECOND, 9)
    late = trade(NOW + 5 * SECOND, 5)
    assert shown(watch.admit([late], NOW + 12 * SECOND, 9)) == [-5]
    assert not watch.lacks(gap, late)


WILD = [
    ("a year", 365 * 86_400, ["misdated"]),
    ("five minutes", 300, ["delivered"]),
]


@pytest.mark.parametrize("sequencing", [None, "consecutive", "rising"])
@pytest.mark.parametrize(("ahead", "what"), [case[1:] for case in WILD], ids=[case[0] for case in WILD])
def test_one_stamp_of_the_future_does_not_end_its_line(
    sequencing: Sequencing | None, ahead: int, what: list[str]
) -> None:
    watch = watching(sequencing)
    events = 5 * REMEMBERED
    got: list[Event] = []
    for number in range(1, events + 1):
        now = NOW + number * 1000
        ts = now + ahead * SECOND if number == 100 else now
        got += watch.admit([trade(ts, number)], now, 9)
    rows = [event.sequence for event in got if isinstance(event, Trade)]
    assert sorted(rows) == [number for number in range(1, events + 1) if number != 100 or what == ["delivered"]]
    assert watch.counts["forgotten"] == 0
    assert watch.counts[what[0]]
    if what == ["misdated"]:
        assert watch.counts["late"] == 0
        first = next(event for event in got if isinstance(event, Lost))
        assert (first.ts, first.until, first.events) == (NOW + 100_000 + ahead * SECOND,) * 2 + (1,)
        (gap,) = watch.found  # under its right stamp it may be had over REST
        assert watch.lacks(gap, trade(NOW + 100_000, 100))
        assert not watch.lacks(gap, trade(NOW + 101_000, 101))


@pytest.mark.parametrize("sequencing", [None, "consecutive", "rising"])
def test_a_stamp_of_the_future_before_a_break_hides_nothing(sequencing: Sequencing | None) -> None:
    watch = watching(sequencing)
    for number in (1, 2):
        watch.admit([trade(NOW + number * SECOND, number)], NOW + number * SECOND, 9)
    watch.admit([trade(NOW + 300 * SECOND, 3)], NOW + 3 * SECOND, 9)
    (lost,) = watch.connected(NOW + 9 * SECOND, slack=SECOND, margin=60 * SECOND)
    (gap,) = watch.found
    assert isinstance(lost, Lost)
    assert lost.ts <= NOW + 3 * SECOND < NOW + 9 * SECOND < lost.until
    rows = [trade(NOW + number * SECOND, number) for number in (1, 2, 4, 5, 6)]
    assert [row.sequence for row in rows if watch.lacks(gap, row)] == [4, 5, 6]


def test_a_message_of_such_stamps_alone_is_heard_and_told_once() -> None:
    watch = watching()
    wild = trade(NOW + 86_400 * SECOND, 1)
    assert shown(watch.admit([wild], NOW, 9)[:1]) == [(wild.ts, wild.ts, 1)]
    assert watch.admit([wild], NOW, 9) == []
    assert (watch.heard, watch.counts["duplicates"]) == (NOW, 1)
    assert shown(watch.admit([trade(NOW, 2)], NOW, 9)) == [2]


SINCE = [  # what REST gives, whether the stream tells its first before that, and how many are left
    ("all, before the stream", [5, 6, 7, 8], False, 0),
    ("all, after it", [5, 6, 7, 8], True, 0),
    ("one in the middle is missing", [5, 6, 8], False, 1),
    ("one in the middle is missing, after it", [5, 6, 8], True, 1),
    ("the last are missing, after it", [5, 6], True, 2),
    ("in disorder", [8, 5, 7], False, 1),
]


@pytest.mark.parametrize(("given_", "first", "left"), [case[1:] for case in SINCE], ids=[case[0] for case in SINCE])
def test_a_numbered_line_that_goes_on_after_another_counts_what_rest_gives(
    given_: list[int], first: bool, left: int
) -> None:
    watch = watching("consecutive")
    (lost,) = watch.owe([LINE], NOW, NOW + 8 * SECOND, SECOND)
    assert shown([lost]) == [(NOW, NOW + 9 * SECOND, None)]
    (gap,) = watch.found
    if first:
        watch.admit([trade(NOW + 9 * SECOND, 9)], NOW + 9 * SECOND, 9)
    assert [row for row in given_ if watch.lacks(gap, trade(NOW + row * SECOND, row))] == given_
    assert gap.left() == left
    if not first:
        assert shown(watch.admit([trade(NOW + 9 * SECOND, 9)], NOW + 9 * SECOND, 9)) == [9]
        assert gap.left() == left
    assert watch.admit([trade(NOW - SECOND, 3)], NOW + 9 * SECOND, 9) == []  # of before `since`
    missing = sorted({5, 6, 7, 8} - set(given_))
    late = [watch.admit([trade(NOW + row * SECOND, row)], NOW + 9 * SECOND, 9) for row in missing]
    assert [shown(told) for told in late] == [[-row] for row in missing]
    assert gap.left() == 0


def test_what_a_numbered_line_told_before_it_was_asked_since_when_hides_nothing() -> None:
    watch = watching("consecutive")
    watch.admit([trade(NOW + 8 * SECOND, 8), trade(NOW + 9 * SECOND, 9)], NOW + 9 * SECOND, 9)
    watch.owe([LINE], NOW, NOW + 9 * SECOND, SECOND)
    (gap,) = watch.found
    assert [row for row in range(1, 12) if watch.lacks(gap, trade(NOW + row * SECOND, row))] == [*range(1, 8)]


@pytest.mark.parametrize("sequencing", [None, "consecutive", "rising"])
def test_of_a_venue_whose_clock_is_ahead_the_first_event_tells_what_is_owed(sequencing: Sequencing | None) -> None:
    watch = watching(sequencing)
    watch.owe([LINE], NOW, NOW + 5 * SECOND, SECOND)
    told = watch.admit([trade(NOW + 50 * SECOND, 50)], NOW + 6 * SECOND, 9)
    assert [(event.ts, event.until) for event in told if isinstance(event, Lost)] == [(NOW, NOW + 50 * SECOND)]


def test_a_rising_number_that_rest_told_first_is_not_told_again() -> None:
    watch = watching("rising")
    watch.admit([trade(NOW, 5)], NOW, 9)
    watch.connected(NOW + 10 * SECOND, slack=0, margin=0)
    (gap,) = watch.found
    assert watch.lacks(gap, trade(NOW + 9 * SECOND, 9))
    assert shown(watch.admit([trade(NOW + 9 * SECOND, 9), trade(NOW + 9 * SECOND, 12)], NOW + 10 * SECOND, 9)) == [12]


def test_a_rising_number_that_came_late_makes_no_duplicate_new() -> None:
    watch = watching("rising")
    for number in [10, *range(12, 2 * REMEMBERED + 200)]:
        watch.admit([trade(NOW + number, number)], NOW, 9)
        if number == REMEMBERED + 500:
            watch.admit([trade(NOW + number, 11)], NOW, 9)
    told = watch.admit([trade(NOW, 12)], NOW, 9)
    assert not [event for event in told if isinstance(event, Trade)]


def test_what_finds_no_room_though_the_first_event_overtook_it_is_missing() -> None:
    watch = watching("consecutive")
    watch.admit([trade(NOW, 5)], NOW, 9)
    assert shown(watch.admit([trade(NOW - 1, 4)], NOW, 0)) == [(NOW - 1, NOW, 1)]
    (gap,) = watch.found
    assert gap.left() == 1
    assert watch.lacks(gap, trade(NOW - 1, 4))
    assert watch.admit([trade(NOW - 1, 4)], NOW, 9) == []


def test_a_number_of_before_the_subscription_is_not_missing() -> None:
    watch = Watch({"trade": "consecutive"})
    watch.add([LINE], NOW)
    watch.admit([trade(NOW, 5)], NOW, 9)
    assert watch.admit([trade(NOW - 60 * SECOND, 1)], NOW, 9) == []
    assert watch.found == []


@pytest.mark.parametrize("heard", [0, -3600], ids=["nothing was heard", "another line was heard long ago"])
def test_a_break_before_the_first_live_event_misses_what_came_since_rest_told(heard: int) -> None:
    watch = watching("consecutive", Line("B", "trade"))
    if heard:
        watch.admit([trade(NOW + heard * SECOND, 1, symbol="B")], NOW + heard * SECOND, 9)
    watch.remove([Line("B", "trade")])
    watch.add([LINE], NOW)
    watch.owe([LINE], NOW - 30 * SECOND, NOW, SECOND)
    (gap,), watch.found = watch.found, []
    assert watch.lacks(gap, trade(NOW - 2 * SECOND, 7))
    watch.done(gap)
    (lost,) = watch.connected(NOW + 10 * SECOND, SECOND, 0)
    assert shown([lost]) == [(NOW - 2 * SECOND, NOW + 11 * SECOND, None)]
