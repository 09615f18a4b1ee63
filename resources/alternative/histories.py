"""The history of one record: the versions that a log holds of it, and those that an answer adds. Pure.

A log lies in partitions, and a record whose event time changes moves from one to another. Its history is one all the
same: what is news is judged against its newest version, in whichever partition that lies. The partition that it left is
told of it by a withdrawal, a microsecond before the version in the next one, so that each partition is right by itself
and the newest of all of them is what the record is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

PLACE = "__place"
"""The field of a row that names its partition."""

TICK = timedelta(microseconds=1)

Row = dict[str, Any]
"""A version: its record (source, record_id, symbol), PLACE, ts, known_at, fetched_at, state, content, and more."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A source was asked for what takes place in [start, end), and had answered at `at`."""

    start: datetime
    end: datetime
    at: datetime

    @classmethod
    def for_everything(cls, at: datetime) -> Asking:
        """An asking of which no more is known than that it took place."""
        return cls(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), at)

    def covers(self, ts: datetime) -> bool:
        """Whether what takes place at this instant was asked for."""
        return self.start <= ts < self.end


Askings = Mapping[str, Sequence[Asking]]
"""The askings of a source by partition."""


def remembered_with(before: Iterable[Asking], new: Asking) -> tuple[Asking, ...]:
    """The askings that still say something, oldest first: of a window that was asked again later, the later one."""
    kept = [each for each in before if not (new.start <= each.start and each.end <= new.end and each.at <= new.at)]
    return tuple(sorted([*kept, new], key=lambda each: each.at))


def additions(held: Sequence[Row], answer: Sequence[Row], askings: Askings) -> list[Row]:
    """The versions that an answer adds to those held of one record; all are in the order of known_at.

    All of it is of every partition, as far as it is known. Who writes only some partitions leaves the additions to the
    others out: they are found again, the same, from an answer or from what lies in the partitions that were written.

    The last row of an answer is what the source says now. Earlier ones are its history: one from before the newest
    version held tells nothing, unless the record was nowhere at its time and its partition was not asked since.
    """
    told = {each["content"] for each in held}
    past = [row for row in answer[:-1] if held and row["known_at"] <= held[-1]["known_at"]]
    history = _departed(_filled(held, [row for row in past if row["content"] not in told], askings))
    for row in answer[len(past) :]:
        if not (history and _repeats(row, history[-1], told, row is answer[-1])):
            version = _version(row, history, _asked(row, held[-1:], askings))
            history += _departed([*history[-1:], version])[len(history[-1:]) :]
    before = {id(each) for each in held}
    return [each for each in history if id(each) not in before]


def _departed(versions: Sequence[Row]) -> list[Row]:
    """The versions, and before each one that moved the word of it in the partition that the record left."""
    told = list(versions[:1])
    for left, arrived in pairwise(versions):
        known_at = arrived["known_at"] - TICK
        # Versions that were written without each other may leave no room; the later one counts all the same.
        if _leaves(left, arrived) and left["known_at"] < known_at:
            # As far from its fetch as the version that it goes with: whether a stamp was believed is told by that.
            times = {"known_at": known_at, "fetched_at": arrived["fetched_at"] - TICK}
            told.append({**left, **times, "state": "withdrawn", "content": f"{arrived['content']} moved"})
        told.append(arrived)
    return told


def _leaves(left: Row, arrived: Row) -> bool:
    """Whether the later version takes the record out of a partition that has it."""
    return bool(left[PLACE] != arrived[PLACE] and left["state"] != "withdrawn")


def _filled(held: Sequence[Row], past: Sequence[Row], askings: Askings) -> list[Row]:
    """The versions held, with those rows of their past that fall where the record was nowhere and nothing was asked."""
    history = list(held)
    for row in past:
        before = [each for each in history if each["known_at"] <= row["known_at"]]
        after = history[len(before) :]
        version = _version(row, before, None)
        last = [each for each in held if each["known_at"] <= row["known_at"]][-1:]
        nowhere = all(each["state"] == "withdrawn" and each[PLACE] != row[PLACE] for each in last)
        asked = any(each.covers(row["ts"]) and row["known_at"] <= each.at for each in askings.get(row[PLACE], ()))
        room = all(each[PLACE] != row[PLACE] and version["known_at"] + TICK < each["known_at"] for each in after[:1])
        again = any(each["content"] == row["content"] for each in before[-1:])
        if nowhere and room and not asked and not again:
            history = [*before, version, *after]
    return history


def _repeats(row: Row, newest: Row, told: set[str], last: bool) -> bool:
    """Whether a row says what the newest version says, or, being stale, what an earlier one said.

    The last row of an answer is stale where its stamp is earlier than that of the newest version; else it is a return
    to what was said before. A version whose stamp was not believed is known since its fetch: what it was stamped nobody
    knows any more.
    """
    if row["content"] == newest["content"]:
        return True
    if row["content"] not in told:
        return False
    if not last:
        return bool(row["known_at"] <= newest["known_at"])
    # One that moved is known a tick after its stamp.
    return bool(row["known_at"] + TICK < newest["known_at"] < newest["fetched_at"])


def _asked(row: Row, last: Sequence[Row], askings: Askings) -> datetime | None:
    """When the source was asked last for what a row changes; None where it never was.

    That is what the row's partition says of its time, and where the newest version held stands, that one's.
    """
    stands = [each for each in last if each[PLACE] == row[PLACE] or each["state"] != "withdrawn"]
    asked = [each.at for spot in (row, *stands) for each in askings.get(spot[PLACE], ()) if each.covers(spot["ts"])]
    return max([*asked, *(each["fetched_at"] for each in stands)], default=None)


def _version(row: Row, history: Sequence[Row], asked: datetime | None) -> Row:
    """A row as the version after those of a history, known when it is stamped, but not before it was there."""
    known_at = row["known_at"]
    if asked is not None and known_at <= asked:
        known_at = max(row["fetched_at"], asked + TICK)
    for newest in history[-1:]:
        known_at = max(known_at, newest["known_at"] + TICK) + (TICK if _leaves(newest, row) else timedelta())
    again = any(each[PLACE] == row[PLACE] for each in history)
    state = row["state"] if row["state"] == "withdrawn" else "corrected" if again else "new"
    return {**row, "known_at": known_at, "fetched_at": max(row["fetched_at"], known_at), "state": state}
