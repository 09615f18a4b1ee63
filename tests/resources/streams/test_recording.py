"""What is stored of a stream: each row once and in order, whenever the writer is killed and whoever reads meanwhile."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import fsspec.implementations.local
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.errors import LakeError
from resources.lake import Lake, Staging
from resources.streams import known
from resources.streams.base import Bar, Event, Line, Lost, Quote, Repaired, Status, Trade
from resources.streams.clock import SECOND
from resources.streams.recording import OPEN_SEGMENTS, SLACK, Recorder, open_gaps, recorded
from resources.streams.rows import ENDED
from resources.streams.watch import BAR_LAG

NOW = 1_709_910_000 * SECOND
"""2024-03-08 15:00 UTC."""
MIDNIGHT = NOW + 9 * 3600 * SECOND
A, B = Line("AAA", "trade"), Line("B/B", "trade")
QUOTES = Line("AAA", "quote")


def trade(line: Line, at: float, number: int = 0, repaired: bool = False) -> Trade:
    ts = NOW + int(at * SECOND)
    return Trade(line.symbol, ts, 10.0 + number, 1.0, "buy", str(number), number, received=ts, repaired=repaired)


def quote(at: float, bid: float | None = 1.0) -> Quote:
    return Quote("AAA", NOW + int(at * SECOND), bid, 1.0, 2.0, 1.0, received=NOW)


def recorder(lake: Lake) -> Recorder:
    return Recorder(lake, "test", now=lambda: NOW + 3600 * SECOND)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path / "lake"))


def numbers(lake: Lake, symbol: str = "AAA") -> list[int]:
    return recorded(lake, "trades", [symbol]).collect()["sequence"].to_list()


def stored(events: Sequence[Event]) -> list[tuple[object, ...]]:
    """Trades as they must stand: by symbol, time and number."""
    rows = [(event.symbol, event.ts, event.price, event.sequence) for event in events if isinstance(event, Trade)]
    return sorted(rows, key=lambda row: (row[0], row[1], row[3]))


def held(lake: Lake) -> list[tuple[object, ...]]:
    rows = recorded(lake, "trades").select("symbol", pl.col("ts").to_physical(), "price", "sequence")
    return rows.collect().rows()


def test_rows_are_those_of_the_events_in_the_providers_schema_and_readable_before_and_after_rotation(
    lake: Lake,
) -> None:
    writer = recorder(lake)
    events: list[Event] = [
        Trade("AAA", NOW, 10.0, 2.0, "", "", 0, "@I", NOW + 5),
        quote(1, bid=None),
        Bar("AAA", NOW, 1, 2, 0.5, 1.5, 9, "5m", 3, 0, True),
        Lost("AAA", NOW, "trade", NOW + 9, None, "disconnected"),
        Status("", NOW, "connected"),
    ]
    assert writer.store(events) == 5
    for _ in range(2):
        trades, quotes, bars, findings = (
            recorded(lake, name).collect() for name in ("trades", "quotes", "bars", "findings")
        )
        (row,) = trades.iter_rows(named=True)
        assert (row["side"], row["trade_id"], row["conditions"], row["provider"]) == (None, None, "@I", "test")
        assert (row["fetched_at"] - row["ts"]).total_seconds() == 5e-6
        assert row["known_at"] == row["ts"]
        assert quotes["bid"].to_list() == [None]
        (bar,) = bars.iter_rows(named=True)
        assert (bar["known_at"] - bar["ts"]).total_seconds() == 300
        assert findings.select("what", "detail").rows() == [("lost", "disconnected"), ("connected", "")]
        told = writer.rotate()
    assert not lake.partitions(OPEN_SEGMENTS)
    assert told == []
    assert lake.partitions(("streams", "trades")) == [{"symbol": "AAA", "date": "2024-03-08"}]
    assert lake.partitions(("streams", "findings")) == [{"date": "2024-03-08"}]


def test_what_is_repaired_finds_its_place_and_each_row_stands_once(lake: Lake) -> None:
    writer = recorder(lake)
    writer.store([trade(A, 1, 1), trade(A, 4, 4), trade(B, 1, 1)])
    writer.rotate()
    writer.store([trade(A, 2, 2, repaired=True), trade(A, 3, 3, repaired=True), trade(A, 4, 4)])
    assert numbers(lake) == [1, 2, 3, 4]
    assert [(part.table, part.symbols, part.rows) for part in writer.rotate()] == [("trades", 1, 4)]
    assert numbers(lake) == [1, 2, 3, 4]
    assert recorded(lake, "trades", ["AAA"]).collect()["repaired"].to_list() == [False, True, True, False]


def test_rows_of_one_instant_keep_the_order_of_their_numbers_else_of_their_coming(lake: Lake) -> None:
    writer = recorder(lake)
    writer.store([trade(A, 1, 3), trade(A, 1, 1, repaired=True), trade(A, 1, 2, repaired=True)])
    writer.store([quote(1, 5.0), quote(1, 3.0)])
    writer.store([quote(1, 4.0)])
    for _ in range(2):
        assert numbers(lake) == [1, 2, 3]
        assert recorded(lake, "quotes").collect()["bid"].to_list() == [5.0, 3.0, 4.0]
        writer.rotate()


def test_the_last_revision_of_a_bar_is_the_one_that_is_held(lake: Lake) -> None:
    writer = recorder(lake)
    for volume, complete in ((1.0, False), (2.0, False), (3.0, True)):
        writer.store([Bar("AAA", NOW, 1, 2, 0.5, 1.5, volume, complete=complete)])
        if volume == 2.0:
            writer.rotate()
    assert recorded(lake, "bars").select("volume", "complete").collect().rows() == [(3.0, True)]
    writer.rotate()
    assert recorded(lake, "bars").select("volume", "complete").collect().rows() == [(3.0, True)]


def test_days_are_those_of_utc_and_only_those_asked_for_are_read(lake: Lake) -> None:
    writer = recorder(lake)
    at = (MIDNIGHT - NOW) / SECOND
    writer.store([trade(A, at - 1e-6, 1), trade(A, at, 2)])
    writer.rotate()
    assert {part["date"] for part in lake.partitions(("streams", "trades"))} == {"2024-03-08", "2024-03-09"}
    assert recorded(lake, "trades", ["AAA"], ["2024-03-09"]).collect()["sequence"].to_list() == [2]
    assert recorded(lake, "trades", ["ZZZ"]).collect().is_empty()


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_a_number_that_the_lake_cannot_keep_is_refused_before_anything_is_stored(lake: Lake, number: int) -> None:
    with pytest.raises(
        LakeError, match=f"AAA, trades at {NOW}: sequence is {number}; the lake keeps numbers of 64 bits"
    ):
        recorder(lake).store([trade(B, 0, 1), trade(A, 0, 1)._replace(sequence=number)])
    assert recorded(lake, "trades").collect().is_empty()


# killed


class Killed(BaseException):
    """In place of a kill -9: nothing after it is done."""


@pytest.fixture
def kill(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int | None], None]]:
    """Kill the writer at its n-th operation on files from now on (None: let it live)."""
    left: list[int | None] = [None]

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **named: object) -> object:
            if left[0] is not None:
                if left[0] == 0:
                    raise Killed
                left[0] -= 1
            return real(*args, **named)

        return call

    monkeypatch.setattr(os, "replace", counted(os.replace))
    monkeypatch.setattr(os, "mkdir", counted(os.mkdir))
    monkeypatch.setattr(Lake, "_put", counted(Lake._put))
    local = fsspec.implementations.local.LocalFileSystem
    monkeypatch.setattr(local, "rm", counted(local.rm))
    monkeypatch.setattr(Staging, "discard", lambda self: None)  # who is killed does not tidy up
    yield lambda after: left.__setitem__(0, after)
    left[0] = None


VENUE = [trade(line, at, at) for at in range(1, 13) for line in (A, B)]
STREAM: list[Event] = [*VENUE[:8], Lost("AAA", NOW + 5 * SECOND, "trade", NOW + 7 * SECOND, 3, "sequence"),
                       *(one for one in VENUE[8:] if one.symbol == "B/B" or one.sequence > 7),
                       *(one._replace(repaired=True) for one in VENUE[8:14] if one.symbol == "AAA"),
                       Repaired("AAA", NOW + 5 * SECOND, "trade", NOW + 7 * SECOND, 3, 0)]  # fmt: skip


def write(lake: Lake, events: Sequence[Event], confirmed: list[Event]) -> None:
    """Store these seven at a time, rotating after each second time. `confirmed`: what was surely stored."""
    writer = recorder(lake)
    since = writer.resume([A, B], NOW)
    again = [one._replace(repaired=True) for one in VENUE if one.ts >= since.get(Line(one.symbol, "trade"), 2**62)]
    fresh = writer.new([*again, *events])
    for count, at in enumerate(range(0, len(fresh), 7)):
        writer.store(fresh[at : at + 7])
        confirmed += fresh[at : at + 7]
        if count % 2:
            writer.rotate()
    writer.rotate()


def test_a_writer_killed_at_any_operation_loses_and_doubles_nothing(
    tmp_path: Path, kill: Callable[[int | None], None]
) -> None:
    killed = 0
    for after in itertools.count():
        lake, confirmed = Lake(str(tmp_path / f"{after}")), list[Event]()
        kill(after)
        try:
            write(lake, STREAM, confirmed)
        except Killed:
            killed += 1
        kill(None)
        read = held(lake)
        assert set(stored(confirmed)) <= set(read)
        assert len(read) == len(set(read))
        if killed <= after:
            break
        # The next one asks REST for what happened since, and has the rest of the stream.
        write(lake, [], [])
        assert held(lake) == (stored(VENUE) if read else [])  # where nothing was stored it is a first start
    assert killed > 20


def test_a_reader_sees_what_is_confirmed_once_at_every_moment_of_a_rotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lake: Lake
) -> None:
    writer, looks = recorder(lake), 0
    writer.store(VENUE[:10])
    writer.rotate()
    writer.store(VENUE[6:16])
    writer.store(VENUE[16:])

    def watched(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **named: object) -> object:
            nonlocal looks
            looks += 1
            assert held(lake) == stored(VENUE)
            return real(*args, **named)

        return call

    local = fsspec.implementations.local.LocalFileSystem
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", watched(os.replace))
        patch.setattr(local, "rm", watched(local.rm))
        writer.rotate()
    assert looks >= 4
    assert held(lake) == stored(VENUE)


def test_what_a_killed_writer_left_half_done_is_removed_by_the_next(
    lake: Lake, kill: Callable[[int | None], None]
) -> None:
    recorder(lake).store(VENUE)
    kill(2)  # the folder and the file are made, and not given their name
    with pytest.raises(Killed):
        recorder(lake).store(VENUE)
    kill(None)
    base = Path(lake.folder(OPEN_SEGMENTS))
    assert len(list(base.iterdir())) == 2
    recorder(lake)
    assert len(list(base.iterdir())) == 1
    assert held(lake) == stored(VENUE)


def test_a_damaged_segment_is_named(lake: Lake) -> None:
    recorder(lake).store(VENUE)
    (segment,) = Path(lake.folder(OPEN_SEGMENTS)).iterdir()
    (segment / "part.parquet").write_bytes(b"PAR1 half a fi")
    with pytest.raises(LakeError, match=f"{segment.name}/part.parquet is not readable"):
        recorded(lake, "trades").collect()


# going on


def resumed(lake: Lake, *lines: Line, begins: int = NOW) -> dict[Line, float]:
    """From when on each is asked for, in seconds after NOW."""
    return {line: (at - NOW) / SECOND for line, at in recorder(lake).resume(lines, begins).items()}


def test_a_first_start_owes_nothing(lake: Lake) -> None:
    assert resumed(lake, A, QUOTES) == {}
    recorder(lake).store([trade(A, -3600, 1)])
    assert resumed(lake, A, QUOTES) == {}, "what is stored was before this began"


def test_a_line_is_asked_from_its_last_row_a_quiet_one_from_a_minute_before_the_newest(lake: Lake) -> None:
    recorder(lake).store([trade(A, 600, 1), trade(A, 590, 0), trade(B, 100, 1)])
    slack = SLACK / SECOND
    assert resumed(lake, A, B, QUOTES) == {A: 600 - slack, B: 540 - slack, QUOTES: 540 - slack}
    assert resumed(lake, A, B, begins=NOW + 599 * SECOND)[A] == 599


def test_bars_are_asked_for_from_so_much_earlier_as_they_come_late(lake: Lake) -> None:
    bars = Line("AAA", "bar")
    recorder(lake).store(
        [trade(A, 607, 1), Bar("AAA", NOW + 480 * SECOND, 1, 2, 0.5, 1, 9, received=NOW + 607 * SECOND)]
    )
    since = resumed(lake, A, bars)
    assert since[A] == 607 - SLACK / SECOND
    assert since[bars] == 547 - (SLACK + BAR_LAG) / SECOND


def test_who_was_connected_and_stored_no_row_is_followed_by_one_who_asks_for_what_came(lake: Lake) -> None:
    """Killed before its first rows were stored."""
    told = [Status("", NOW + at * SECOND, state) for at, state in enumerate(["disconnected", "connected"] * 2, 100)]
    recorder(lake).store(told[:1])
    assert resumed(lake, A, QUOTES) == {}, "nobody heard anything"
    recorder(lake).store(told)
    assert resumed(lake, A, QUOTES) == dict.fromkeys((A, QUOTES), 101 - SLACK / SECOND)
    assert resumed(lake, A, begins=NOW + 102 * SECOND) == {A: 102}
    assert resumed(lake, A, begins=NOW + 104 * SECOND) == {}
    recorder(lake).rotate()
    recorder(lake).store([Lost("AAA", NOW + 50 * SECOND, "trade", NOW + 60 * SECOND, None, "disconnected")])
    assert resumed(lake, A, QUOTES)[A] == 50, "and for gaps that nobody closed"


@pytest.mark.parametrize(
    ("closing", "since"),
    [
        (None, 200),
        (Repaired("AAA", NOW + 200 * SECOND, "trade", NOW + 300 * SECOND, 1, 0), 595),
        (Repaired("AAA", NOW + 200 * SECOND, "trade", NOW + 300 * SECOND, 1, 0, ENDED), 200),
        (Repaired("AAA", NOW + 200 * SECOND, "trade", NOW + 300 * SECOND, 1, 0, "REST refused"), 595),
    ],
    ids=["open", "repaired", "the gateway ended", "given up"],
)
def test_a_gap_that_nobody_closed_is_asked_for_again(lake: Lake, closing: Repaired | None, since: float) -> None:
    events: list[Event] = [Lost("AAA", NOW + 200 * SECOND, "trade", NOW + 300 * SECOND, 1, "sequence"), trade(A, 600)]
    recorder(lake).store([*events, *([closing] if closing else [])])
    assert resumed(lake, A)[A] == since


def test_what_was_stored_before_is_known_again_whenever_it_comes(lake: Lake) -> None:
    first = recorder(lake)
    first.store([trade(A, 100, 1), trade(A, 1800, 2), trade(A, 1801, 3), quote(1800, None)])
    again = recorder(lake)
    assert again.newest is None
    since = again.resume([A, B, QUOTES], NOW)[A]
    assert again.newest == NOW + 1801 * SECOND
    twice: list[Event] = [trade(A, 1801, 3, repaired=True), quote(1800, None), trade(A, 1801, 4), quote(1800, 1.0)]
    assert again.new(twice) == twice[2:]
    done = Repaired("AAA", since, "trade", NOW + 1900 * SECOND, 0, None)
    late: list[Event] = [trade(A, 100, 1), trade(A, 1801, 3), trade(A, 100, 5), trade(A, 2000, 1), trade(B, 100, 1)]
    assert again.new([done, *late]) == [done, *late[2:]], "what was asked for has come, and more may come twice"


def test_what_was_stored_before_a_first_start_is_known_too(lake: Lake) -> None:
    recorder(lake).store([trade(A, -3600, 1)])
    again = recorder(lake)
    assert again.resume([A], NOW) == {}
    events = [trade(A, -3600, 1), trade(A, -3600, 2), trade(A, 1, 3)]
    assert again.new(events) == events[1:]


def test_old_rows_are_read_again_where_there_are_too_many_to_keep(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known, "KEPT", 2)
    old = [trade(A, at, at) for at in range(0, 3600, 300)]
    recorder(lake).store([*old, trade(A, 9000, 1)])
    again = recorder(lake)
    again.resume([A], NOW)
    for _ in range(2):
        for one in old:
            late = one._replace(trade_id="late")
            assert again.new([one, late]) == [late]
    assert again._known._kept <= 2
    again.rotate()
    assert again.new(old) == []


def test_a_stamp_of_the_future_leaves_nothing_out_that_is_asked_for(lake: Lake) -> None:
    wild = trade(A, 86_400, 9)._replace(received=NOW + 600 * SECOND)
    recorder(lake).store([trade(A, 590, 1), wild, trade(B, 100, 1), quote(595)])
    slack = SLACK / SECOND
    assert resumed(lake, A, B) == {A: 600 - slack, B: 540 - slack}
    again = recorder(lake)
    again.resume([A, B], NOW)
    assert again.newest == NOW + 600 * SECOND
    assert again.new([wild, trade(A, 601, 2), trade(A, 90_000, 2)]) == [trade(A, 601, 2), trade(A, 90_000, 2)]


def test_who_begins_before_his_time_owes_what_is_from_then_on(lake: Lake) -> None:
    recorder(lake).store([trade(A, 3000, 1)])
    assert resumed(lake, A, begins=NOW + 7200 * SECOND) == {}, "nothing is stored since"
    recorder(lake).store([trade(A, 3598, 1)])
    assert resumed(lake, A, begins=NOW + 7200 * SECOND) == {A: 3600}


def test_a_clock_that_is_ahead_is_borne(lake: Lake) -> None:
    """Minutes ahead of ours: what is asked for begins no later than what was heard."""
    told = [trade(A, at + 300, at)._replace(received=NOW + at * SECOND) for at in range(1, 600)]
    recorder(lake).store(told)
    again = recorder(lake)
    assert again.resume([A], NOW)[A] == NOW + (599 - 5) * SECOND
    assert again.new(told) == []
    assert again.new([trade(A, 900, 600)]) == [trade(A, 900, 600)]


# gaps


GAP = Lost("AAA", NOW, "trade", NOW + 10, 2, "sequence")
BREAK = GAP._replace(events=None, reason="disconnected")
OTHER = GAP._replace(until=NOW + 20)
CASES: list[tuple[str, list[Event], list[str]]] = [
    ("nobody said more", [GAP], ["open"]),
    ("repaired", [GAP, Repaired("AAA", NOW, "trade", NOW + 10, 2, 0)], ["repaired"]),
    ("repaired as a part of more", [GAP, Repaired("AAA", NOW - 5, "trade", NOW + 99, 9, None)], ["repaired"]),
    ("given up", [GAP, Repaired("AAA", NOW, "trade", NOW + 10, 1, 1, "refused")], ["given up"]),
    ("it grew", [BREAK, BREAK._replace(until=NOW + 20), Repaired("AAA", NOW, "trade", NOW + 20, 2, 0)], ["repaired"]),
    ("it grew after", [BREAK, BREAK._replace(until=NOW + 20), Repaired("AAA", NOW, "trade", NOW + 10, 2, 0)], ["open"]),
    ("two of one instant", [GAP, OTHER, Repaired("AAA", NOW, "trade", NOW + 20, 2, 0)], ["open", "repaired"]),
    ("two of one instant, one given up", [OTHER, GAP, Repaired("AAA", NOW, "trade", NOW + 10, 1, 1, "refused"),
                                          Repaired("AAA", NOW, "trade", NOW + 20, 2, 0)], ["given up", "repaired"]),
    ("two that say the same", [GAP, GAP, Repaired("AAA", NOW, "trade", NOW + 10, 2, 0)], ["open"]),
    ("two that say the same, one given up", [GAP, GAP, Repaired("AAA", NOW, "trade", NOW + 10, 1, 1, "refused"),
                                             Repaired("AAA", NOW, "trade", NOW + 10, 2, 0)], ["given up"]),
    ("two that say the same, both repaired", [GAP, GAP, *2 * [Repaired("AAA", NOW, "trade", NOW + 10, 2, 0)]],
     ["repaired"]),
    ("two of one instant, and the next job asks for both", [
        GAP, OTHER, Repaired("AAA", NOW, "trade", NOW + 20, 2, 0), BREAK._replace(until=NOW + 99),
        Repaired("AAA", NOW, "trade", NOW + 99, 4, None)], ["repaired", "repaired", "repaired"]),
    ("a number at the beginning of a break", [
        GAP._replace(until=NOW), BREAK, Repaired("AAA", NOW, "trade", NOW + 10, 4, None)], ["open", "repaired"]),
    ("a number after a break", [
        BREAK, GAP._replace(ts=NOW + 10), Repaired("AAA", NOW, "trade", NOW + 10, 4, None)], ["repaired", "open"]),
    ("of another line", [GAP, Repaired("AAA", NOW, "quote", NOW + 10, 2, 0)], ["open"]),
    ("given up, then repaired", [GAP, Repaired("AAA", NOW, "trade", NOW + 10, 0, 2, ENDED),
                                 Repaired("AAA", NOW - 1, "trade", NOW + 11, 2, 0)], ["repaired"]),
    ("one in another, each for itself", [GAP._replace(ts=NOW - 5, until=NOW + 50), GAP,
                                         Repaired("AAA", NOW, "trade", NOW + 10, 2, 0),
                                         Repaired("AAA", NOW - 5, "trade", NOW + 50, 1, 2, "refused")],
     ["given up", "repaired"]),
    ("two", [GAP, GAP._replace(ts=NOW + 50, until=NOW + 60), Repaired("AAA", NOW, "trade", NOW + 10, 2, 0)],
     ["repaired", "open"]),
]  # fmt: skip


@pytest.mark.parametrize(("what", "events", "states"), CASES, ids=[case[0] for case in CASES])
def test_what_became_of_gaps(lake: Lake, what: str, events: list[Event], states: list[str]) -> None:
    recorder(lake).store(events)
    assert open_gaps(lake)["state"].to_list() == states


# whatever the order of flushes


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=8), st.lists(st.booleans(), min_size=8, max_size=8), st.randoms()
)
def test_the_lake_holds_the_same_however_it_was_cut(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], turns: list[bool], chance: object
) -> None:
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    writer, rest = recorder(lake), list(VENUE)
    chance.shuffle(rest)  # type: ignore[attr-defined]
    for cut, turn in zip(cuts, turns, strict=False):
        writer.store(rest[:cut])
        rest = rest[cut:]
        if turn:
            writer.rotate()
    writer.store(rest)
    assert held(lake) == stored(VENUE)
    writer.rotate()
    assert held(lake) == stored(VENUE)
