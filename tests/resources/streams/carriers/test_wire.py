"""Events as bytes and back: nothing changes, and what is not ours is refused."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.streams.base import TYPES, Bar, Event, Lost, Quote, Repaired, Status, Trade
from resources.streams.carriers.wire import Message, WireError, decode, encode, partition_of

INSTANTS = st.integers(0, 2**63 - 1)
NUMBERS = st.floats(allow_nan=False)
MAYBE = st.none() | NUMBERS
LINES = st.sampled_from(["trade", "quote", "bar"])
ROWS: dict[type[Event], st.SearchStrategy[Any]] = {
    Trade: st.tuples(st.text(), INSTANTS, NUMBERS, NUMBERS, st.sampled_from(["", "buy"]), st.text(), INSTANTS),
    Quote: st.tuples(st.text(), INSTANTS, MAYBE, MAYBE, MAYBE, MAYBE, INSTANTS, INSTANTS, st.booleans()),
    Bar: st.tuples(st.text(), INSTANTS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS, st.text(), INSTANTS),
    Lost: st.tuples(st.text(), INSTANTS, LINES, INSTANTS, st.none() | INSTANTS, st.text()),
    Repaired: st.tuples(st.text(), INSTANTS, LINES, INSTANTS, INSTANTS, st.none() | INSTANTS, st.text()),
    Status: st.tuples(st.text(), INSTANTS, st.text(), st.text(), st.none() | LINES),
}
EVENTS = st.sampled_from(list(ROWS)).flatmap(lambda made: ROWS[made].map(lambda row: made(*row)))


@given(st.lists(EVENTS, max_size=5), st.tuples(INSTANTS, INSTANTS, INSTANTS, INSTANTS, st.integers(1, 1000)))
def test_a_message_comes_back_as_it_was(events: list[Event], head: tuple[int, int, int, int, int]) -> None:
    message = Message(*head, events)
    back = decode(encode(message), "")
    assert back == message
    assert [type(event) for event in back.events] == [type(event) for event in events]


def test_every_type_of_event_has_a_place() -> None:
    """A tag is a place in TYPES, and topics outlive this version: types are only ever added at the end."""
    assert [kind.__name__ for kind in TYPES] == ["Trade", "Quote", "Bar", "Lost", "Repaired", "Status"]


HEAD = (1, 0, 0, 0, 4)
FOREIGN = [  # what stands in the topic, and what is said of it
    pytest.param(None, "not a message of this project", id="nothing"),
    pytest.param(b'{"price": 1}', "not a message of this project", id="JSON"),
    pytest.param(msgpack.packb([1, 2, 3]), "not a message of this project", id="another list"),
    pytest.param(msgpack.packb((2, *HEAD, b"", ())), "its format is 2, this version reads 1", id="a later version"),
    pytest.param(msgpack.packb((1, *HEAD, b"\x09", (("A", 1),))), "not a message", id="an unknown type"),
    pytest.param(msgpack.packb((1, *HEAD, b"\x00", ())), "not a message", id="a row is missing"),
    pytest.param(msgpack.packb((1, *HEAD, b"\x00", (("A",),))), "not a message", id="a row is short"),
]


@pytest.mark.parametrize(("data", "said"), FOREIGN)
def test_what_is_not_ours_is_refused_with_its_place(data: bytes | None, said: str) -> None:
    with pytest.raises(WireError, match=f"topic 'x', partition 1, offset 7: .*{said}"):
        decode(data, "topic 'x', partition 1, offset 7")


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1])
def test_a_number_that_no_event_can_have_is_refused_by_its_name(number: int) -> None:
    with pytest.raises(WireError, match=f"B, trade of 7: sequence is {number}; whole numbers are from"):
        encode(Message(*HEAD, [Trade("A", 1, 2.0, 3.0), Trade("B", 7, 2.0, 3.0, sequence=number)]))


def test_a_field_that_an_older_version_lacks_has_its_default() -> None:
    short = msgpack.packb((1, *HEAD, b"\x00", (("A", 1, 2.0, 3.0),)))
    assert decode(short, "").events == [Trade("A", 1, 2.0, 3.0)]


@given(st.text(), st.integers(1, 100))
def test_symbols_are_divided_as_librdkafka_divides_keys(symbol: str, partitions: int) -> None:
    kafka = pytest.importorskip("confluent_kafka", reason="the kafka extra is not installed")
    at = partition_of(symbol, partitions)
    assert 0 <= at < partitions
    if symbol:  # an empty key is given any partition there
        assert at == kafka.consistent(symbol.encode(), partitions)


def test_what_concerns_all_is_in_the_partition_that_all_read() -> None:
    assert [partition_of("", count) for count in (1, 2, 7)] == [0, 0, 0]
