"""Strategies that must see their own fills: a function called after each step, which may submit orders for the next.

    def on_bar(view):                     # compiled by numba: plain loops and numbers
        for symbol in range(view.symbols.size):
            if fresh(view, symbol) and position(view, symbol) == 0.0 and feature(view, symbol, 0) > 0.0:
                order = submit(view, symbol, 1, 100.0)
                order.kind, order.limit = LIMIT, price(view, symbol) * 0.99

The functions that it calls are in `reacting.py`; what `submit` returns is an ORDER (layout.py) that may be changed
further. What it sees of a step are closed bars only: an order fills at the next open at the earliest (rule 1). It must
not raise, nor index beyond an array; beyond ROWS_A_SYMBOL orders a symbol and step, orders are dropped.

Importing this module does not load numba.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from resources.exchange.layout import ORDER, SYMBOL, Desk, Floats, Integers, Records


class View(NamedTuple):
    """What a reaction sees. Symbols are numbers, in the order of their names."""

    symbols: Records
    """SYMBOL rows: position, average, mark (the last price), …"""
    account: Floats
    book: Records
    tally: Integers
    features: Floats
    """rows of the market x features; `feature` finds the right one."""
    parameters: Floats
    memory: Floats
    """symbols x numbers of the strategy's own, kept from step to step, zero at first."""
    latency: int


@dataclass(frozen=True)
class Reaction:
    """A function of a View, the features that it reads (by row of the market) and its parameters."""

    function: Callable[[Any], None]
    features: Floats
    parameters: Floats
    memory: Floats
    latency: int = 0
    """Microseconds from submission to the instant from which an order is eligible."""

    @property
    def address(self) -> int:
        """Where the machine code is; compiled once a process and function."""
        return int(_compiled(self.function).address)

    def places(self, desk: Desk) -> Integers:
        """Where the arrays of a View are, and how long. They must outlive the call, as must this."""
        arrays = (desk.symbols, desk.account, desk.book, desk.tally, self.features, self.parameters, self.memory)
        numbers = [place for array in arrays for place in (array.ctypes.data, len(array))]
        width = self.features.shape[1], self.memory.shape[1]
        return np.array([*numbers, *width, self.latency], np.int64)


@cache
def _compiled(function: Callable[[Any], None]) -> Any:
    import numba
    from numba import types

    from resources.exchange.compiled import pointer

    react = numba.njit(error_model="numpy")(function)

    def call(places: Any) -> None:
        view = View(
            numba.carray(pointer(places[0]), (places[1],), SYMBOL),
            numba.carray(pointer(places[2]), (places[3],), np.float64),
            numba.carray(pointer(places[4]), (places[5],), ORDER),
            numba.carray(pointer(places[6]), (places[7],), np.int64),
            numba.carray(pointer(places[8]), (places[9], places[14]), np.float64),
            numba.carray(pointer(places[10]), (places[11],), np.float64),
            numba.carray(pointer(places[12]), (places[13], places[15]), np.float64),
            places[16],
        )
        react(view)

    return numba.cfunc(types.void(types.CPointer(types.int64)))(call)
