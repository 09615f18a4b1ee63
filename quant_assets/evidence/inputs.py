"""Returns as the statistics take them: finite, one row a period, refused with a reason where they are not."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from resources.errors import QuantError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Values = Any
"""What numpy reads as numbers: an array, a list, a polars Series or, for trials, a polars frame of floats."""


ALIKE = 1e-9
"""Spread of returns, as a share of their size, that is rounding and no variation: that of an account which earns the
same interest every day, say."""


class EvidenceError(QuantError):
    """Returns or settings from which a statistic cannot be computed."""


def series(values: Values, name: str = "returns", least: int = 2) -> Floats:
    """Returns of one strategy, shape (periods,).

    Raises EvidenceError unless they are one-dimensional, finite and at least `least`.
    """
    found = _finite(np.ascontiguousarray(np.asarray(values, dtype=np.float64)), name)
    if found.ndim != 1:
        raise EvidenceError(f"{name} have the shape {found.shape}; give one return a period, in one dimension")
    if found.size < least:
        raise EvidenceError(f"{name} have {found.size} periods; at least {least} are needed")
    return found


def matrix(values: Values, name: str = "returns", least: int = 2) -> npt.NDArray[Any]:
    """Returns of many trials over the same periods, shape (periods, trials); of single precision where they came so.

    Raises EvidenceError unless they are two-dimensional, finite, with at least `least` periods and one trial.
    """
    found = np.asarray(values)
    found = _finite(found if found.dtype == np.float32 else found.astype(np.float64, copy=False), name)
    if found.ndim != 2 or not found.shape[1]:
        raise EvidenceError(f"{name} have the shape {found.shape}; give a row a period and a column a trial")
    if found.shape[0] < least:
        raise EvidenceError(f"{name} have {found.shape[0]} periods; at least {least} are needed")
    return found


def moving(values: npt.NDArray[Any], size: npt.NDArray[Any] | None = None) -> npt.NDArray[np.bool_]:
    """Whether returns vary by more than rounding along the first axis; against their own size, or another."""
    size = np.abs(values).max(axis=0) if size is None else size
    found: npt.NDArray[np.bool_] = np.asarray(np.ptp(values, axis=0) > ALIKE * size)
    return found


def whole(value: int, name: str, least: int) -> int:
    """A count among the settings. Raises EvidenceError below `least`, and for a part of one."""
    if not value >= least:
        raise EvidenceError(f"{name} is {value}; it must be at least {least}")
    if value != value // 1:
        raise EvidenceError(f"{name} is {value}; it must be a whole number")
    return value


def number(value: float, name: str) -> float:
    """A figure among the settings. Raises EvidenceError where it is not finite."""
    if not math.isfinite(value):
        raise EvidenceError(f"{name} is {value}; it must be a finite number")
    return value


def share(value: float, name: str) -> float:
    """A level among the settings. Raises EvidenceError unless it lies between 0 and 1."""
    if not 0.0 < value < 1.0:
        raise EvidenceError(f"{name} is {value}; it must lie between 0 and 1")
    return value


def known(names: Iterable[str], among: Iterable[str], name: str) -> None:
    """Raises EvidenceError where `names` has one that is not `among` them."""
    unknown = sorted(set(names) - set(among))
    if unknown:
        raise EvidenceError(f"{name}: {', '.join(unknown)} is not known; there are {', '.join(among)}")


def _finite(found: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    if not np.isfinite(found).all():
        place = ", ".join(map(str, np.argwhere(~np.isfinite(found))[0]))
        raise EvidenceError(
            f"{name}[{place}] is not a finite number; leave out the periods without a return, or fill them with 0.0 "
            "where nothing was held"
        )
    return found
