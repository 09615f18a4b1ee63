"""The windows of Alpha158, and kernels that give all of them in one pass.

The windows end at the same bar, so that each holds the one before. A kernel goes back lag by lag for a block of bars at
once, adds each lag to every bar's sums, and takes the sums down when the lag reaches a window: 60 steps instead of the
125 of five passes, and the innermost loop runs over neighbouring bars, which the compiler turns into vector code. The
order of the sum of one bar is the same wherever the history begins, so its value is the same to the last bit.

Sums are of differences from the current bar: no mean is ever taken from a far larger square.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from quant_assets.features.kernels import FIRST, Function, Kernel, inner

WINDOWS = (5, 10, 20, 30, 60)
BLOCK = 512
"""Bars whose sums are in the fastest cache together."""

BEFORE = WINDOWS[-1]
"""NaN that kernels put before the first bar, so that every bar has one of each lag."""


@dataclass(frozen=True)
class Nested(Kernel):
    """A kernel that gives every window at once: the window that a feature names is in its output, not a parameter.

    Its one parameter is the first bar that is wanted: a stream wants the last only.
    """

    def vector(self, parameters: Mapping[str, float]) -> np.ndarray:
        """Every bar is wanted."""
        return np.zeros(1)


@inner
def padded(values):  # type: ignore[no-untyped-def]
    """The values after BEFORE times NaN."""
    out = np.empty(BEFORE + values.size)
    out[:BEFORE] = np.nan
    out[BEFORE:] = values
    return out


@inner
def block_of(x, p):  # type: ignore[no-untyped-def]
    """Bars that are done together: BLOCK, or as many as are wanted."""
    return max(1, min(BLOCK, x.shape[1] - int(p[0])))


def nested(inputs: Sequence[str], names: Sequence[str]) -> Callable[[Function], Nested]:
    """Make a kernel of a function with the outputs name_window, all windows of the first name first."""
    outputs = tuple(f"{name}_{window}" for name in names for window in WINDOWS)
    return lambda function: Nested(function, tuple(inputs), (FIRST,), outputs)
