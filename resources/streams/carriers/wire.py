"""Events as bytes, for a carrier between processes: a message holds events of one symbol, in their order.

A message is msgpack: what is said of the message itself, then the tag of each event (its place in `base.TYPES`), then
their fields as rows. A number of it runs within a session (one life of a publisher) and partition, from 0 on, so that a
reader sees what is missing, and what came twice.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from resources.errors import QuantError
from resources.streams.base import TYPES, Event

VERSION = 1
_TAGS = {kind: tag for tag, kind in enumerate(TYPES)}


class WireError(QuantError):
    """A message that this version cannot read; the message says where it lies and what it is."""


class Message(NamedTuple):
    """Events of one symbol, and what is said of them.

    session: when their publisher began, UTC microseconds; a later session is a larger number. number: of this message
    in its session and partition. newest: the latest `ts` of a trade, quote or bar that was published before it in the
    partition. published: when, UTC microseconds. partitions: among how many the symbols are divided.
    """

    session: int
    number: int
    newest: int
    published: int
    partitions: int
    events: Sequence[Event]


def encode(message: Message) -> bytes:
    """About 65 bytes an event where there are many. Raises WireError on a number that no event can have."""
    import msgpack

    events = message.events
    try:
        packed: bytes = msgpack.packb((VERSION, *message[:5], bytes([_TAGS[type(event)] for event in events]), events))
    except OverflowError as error:
        raise WireError(_too_large(events)) from error
    return packed


def _too_large(events: Sequence[Event]) -> str:
    """The first field that does not fit, and of what event."""
    return next(
        f"{event.symbol}, {type(event).__name__.lower()} of {event.ts}: {name} is {value}; whole numbers are from "
        "-2^63 to below 2^64; mend the source that gave it"
        for event in events
        for name, value in event._asdict().items()
        if isinstance(value, int) and not -(2**63) <= value < 2**64
    )


def decode(data: bytes | None, place: str) -> Message:
    """`encode`, backwards. Raises WireError, which names the place, where it is no such message."""
    import msgpack

    try:
        version, session, number, newest, published, partitions, tags, rows = msgpack.unpackb(
            data or b"", use_list=False
        )
        if version != VERSION:
            raise WireError(f"{place}: its format is {version!r}, this version reads {VERSION}; update what reads it")
        return Message(session, number, newest, published, partitions, _events(tags, rows))
    except (ValueError, TypeError, IndexError) as error:
        raise WireError(f"{place}: not a message of this project; give its events a topic of their own") from error


def _events(tags: bytes, rows: Sequence[Sequence[Any]]) -> list[Event]:
    return [TYPES[tag](*row) for tag, row in zip(tags, rows, strict=True)]


def partition_of(symbol: str, partitions: int) -> int:
    """Where a symbol's events go: the CRC-32 of its name, as librdkafka's own partitioner has it; "" goes to 0."""
    return zlib.crc32(symbol.encode()) % partitions
