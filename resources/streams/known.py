"""Which events were stored before: the newest of each line in memory, older ones read from the lake when one comes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from resources.streams.base import KIND_OF, Event, Line
from resources.streams.clock import SECOND
from resources.streams.track import identity

BLOCK = 600 * SECOND
"""Of older rows so many are read at once."""

KEPT = 1_000_000
"""Of older rows the identities of about so many are kept; about 100 bytes each."""


class Known:
    """The stored rows of some lines. `read`: the identities of a line's rows from one instant to another, excluded."""

    def __init__(self, read: Callable[[Line, int, int], set[int]]) -> None:
        self._read = read
        self._newest: dict[type[Event], dict[str, tuple[int, int, set[int]]]] = {kind: {} for kind in KIND_OF}
        self._older: OrderedDict[tuple[Line, int], set[int]] = OrderedDict()
        self._kept = 0

    def add(self, line: Line, since: int, until: int, seen: set[int]) -> None:
        """The identities of all rows of the line since then; none is later than `until`."""
        kind = next(kind for kind, name in KIND_OF.items() if name == line.kind)
        self._newest[kind][line.symbol] = since, until, seen

    def new(self, events: Sequence[Event]) -> list[Event]:
        """The events without those that are stored."""
        newest, told = self._newest, []
        for event in events:
            lines = newest.get(event.__class__)
            stored = lines.get(event[0]) if lines else None
            if stored is None or event[1] > stored[1] or not self._has(event, *stored):
                told.append(event)
        return told

    def _has(self, event: Event, since: int, _: int, seen: set[int]) -> bool:
        if event.ts < since:
            line = Line(event.symbol, KIND_OF[type(event)])  # type: ignore[index]  # of others no line is known
            seen = self._block(line, event.ts // BLOCK)
        return identity(event) in seen  # type: ignore[arg-type]

    def _block(self, line: Line, number: int) -> set[int]:
        """The identities of a line's rows of that stretch of time."""
        key = line, number
        if key in self._older:
            self._older.move_to_end(key)
            return self._older[key]
        found = self._older[key] = self._read(line, number * BLOCK, (number + 1) * BLOCK)
        self._kept += len(found)
        while self._kept > KEPT and len(self._older) > 1:
            _, gone = self._older.popitem(last=False)
            self._kept -= len(gone)
        return found
