"""Where the symbols begin in a frame that is sorted by symbol and time, found once for many frames of the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

Flags = npt.NDArray[np.bool_]

VIEW, INSTANT = 16, 8
"""Bytes of a row of text (a view of it, in Arrow's terms) and of a time."""


def beginnings(frame: pl.DataFrame) -> Flags | None:
    """Whether each row is the first of its symbol; None where the rows are not sorted by symbol and ts."""
    symbol, ts = frame["symbol"], frame["ts"].to_physical().to_numpy()
    new = np.ones(frame.height, bool)
    if frame.height:
        following = symbol.slice(1) != symbol.head(frame.height - 1)
        new[1:] = (following.fill_null(True) if following.null_count() else following).to_numpy()
    names = symbol.gather(pl.Series(np.flatnonzero(new).astype(np.uint32)))
    ascending = names.is_sorted() and names.n_unique() == len(names)
    return new if ascending and bool(new[1:][ts[1:] < ts[:-1]].all()) else None


class Keys:
    """The beginnings of a frame, for all whose symbol and ts are its own columns.

    A sweep looks at the same keys in each of its runs, and comparing a column of text is a sixth of a run. Columns are
    the same where they lie in the same memory: polars never writes to what it has handed out, and this object keeps
    hold of it.
    """

    def __init__(self, frame: pl.DataFrame) -> None:
        self._beginnings = beginnings(frame)
        self._held = frame["symbol"], frame["ts"]
        self._places = _places(frame)

    def beginnings(self, frame: pl.DataFrame) -> Flags | None:
        """As the function of that name."""
        same = self._places is not None and _places(frame) == self._places
        return self._beginnings if same else beginnings(frame)


def _places(frame: pl.DataFrame) -> list[list[int]] | None:
    """First and last address of each piece of symbol and ts; None where one has nulls, whose values are anything.

    Neighbours are one piece: polars cuts a column in as many as it has threads.
    """
    found: list[list[int]] = []
    for name, width in (("symbol", VIEW), ("ts", INSTANT)):
        if frame[name].null_count():
            return None
        for piece in frame[name].to_physical().get_chunks():
            array: Any = piece.to_arrow(compat_level=pl.CompatLevel.newest())
            first = array.buffers()[1].address + array.offset * width
            if found and found[-1][1] == first:
                found[-1][1] += len(piece) * width
            else:
                found.append([first, first + len(piece) * width])
    return found
