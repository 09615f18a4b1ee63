"""What every measure works on: periodic returns made ready once, alone or beside a benchmark.

A measure is written as a function of a `Sample` (or a `Pair`) and decorated with `metric` (or `relative`). The
decorator lets it take returns in any form, keeps numpy quiet about divisions by zero, and lists it for `summary`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Concatenate, ParamSpec

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]
Returns = pl.DataFrame | pl.Series | Floats | Sequence[float | None]
P = ParamSpec("P")

ROUNDING = 1e-14
"""Returns are ratios around one, which a double holds to 1e-16: what differs by less than this is alike, and a ratio
over the rest that is left would be one of rounding."""

NO_VARIANCE = 1e-30
"""Variance of a benchmark below which there is no beta."""


@dataclass(frozen=True)
class Sample:
    """Returns of consecutive periods. Quantities that several measures need are computed once."""

    values: Floats
    """The finite ones, in order."""

    periods: int
    """How many there are with the missing ones: the time that passed."""

    @staticmethod
    def of(returns: Returns | Sample) -> Sample:
        """Returns in any form: frame with a column return, Series, array or list; null, NaN and infinite are missing.

        Raises ValueError unless they are one-dimensional.
        """
        if isinstance(returns, Sample):
            return returns
        every = floats(returns)
        return Sample(every[np.isfinite(every)], every.size)

    def over(self, rate: float) -> Sample:
        """The returns less a rate a period."""
        return Sample(self.values - rate, self.periods) if rate else self

    @property
    def size(self) -> int:
        return int(self.values.size)

    @cached_property
    def mean(self) -> float:
        return float(self.values.mean()) if self.size else math.nan

    @cached_property
    def deviation(self) -> float:
        """Sample standard deviation a period (ddof 1); exactly 0 where the returns are all alike but for ROUNDING."""
        if self.size < 2:
            return math.nan
        return float(self.values.std(ddof=1)) if self.values.max() - self.values.min() > ROUNDING else 0.0

    @cached_property
    def wealth(self) -> Floats:
        """Growth of one unit, beginning with that unit."""
        return np.concatenate([[1.0], np.cumprod(1.0 + self.values)])

    @cached_property
    def drawdown(self) -> Floats:
        """How far below the peak so far, at the end of each period, as a fraction (zero or negative)."""
        peak = np.maximum.accumulate(self.wealth)
        return ((self.wealth - peak) / peak)[1:]

    @cached_property
    def episodes(self) -> npt.NDArray[np.int64]:
        """A row a drawdown: its first period below the peak and the first one at or above it again, or the end."""
        under = np.concatenate([[False], self.drawdown < 0, [False]])
        return np.flatnonzero(np.diff(under.astype(np.int8))).reshape(-1, 2)

    @cached_property
    def depths(self) -> Floats:
        """The lowest point of each drawdown."""
        if not self.episodes.size:
            return np.empty(0)
        return np.minimum.reduceat(self.drawdown, self.episodes[:, 0])

    @cached_property
    def skewness(self) -> float:
        return self._moment(3)

    @cached_property
    def kurtosis(self) -> float:
        """Not in excess: 3 for a normal distribution."""
        return self._moment(4)

    def _moment(self, order: int) -> float:
        """Standardised central moment of the population; NaN for fewer observations than its order."""
        if self.size < order or not self.deviation > 0:
            return math.nan
        centred = self.values - self.mean
        square = centred * centred
        return float((square * (centred if order == 3 else square)).mean() / square.mean() ** (order / 2))


@dataclass(frozen=True)
class Pair:
    """A strategy and its benchmark over the periods that both have."""

    own: Sample
    other: Sample

    @staticmethod
    def of(returns: Returns, benchmark: Returns) -> Pair:
        """Arrays of the same length; or frames with session and return, joined on the session.

        Raises ValueError if the lengths differ and there are no sessions to join on.
        """
        own, other = aligned(returns, benchmark)
        both = np.isfinite(own) & np.isfinite(other)
        size = int(both.sum())
        return Pair(Sample(own[both], size), Sample(other[both], size))

    @cached_property
    def active(self) -> Sample:
        """The strategy's returns less the benchmark's."""
        return Sample(self.own.values - self.other.values, self.own.periods)

    @cached_property
    def beta(self) -> float:
        """A constant risk-free rate leaves it as it is."""
        if self.own.size < 2:
            return math.nan
        centred = self.other.values - self.other.mean
        variance = float((centred * centred).mean())
        return float((centred * self.own.values).mean()) / variance if variance >= NO_VARIANCE else math.nan

    @cached_property
    def residual(self) -> Sample:
        """What beta times the benchmark leaves of the strategy's returns."""
        return Sample(self.own.values - self.beta * self.other.values, self.own.periods)

    def where(self, chosen: npt.NDArray[np.bool_]) -> Pair:
        """Some of the periods."""
        size = int(chosen.sum())
        return Pair(Sample(self.own.values[chosen], size), Sample(self.other.values[chosen], size))

    @cached_property
    def rising(self) -> Pair:
        """The periods in which the benchmark rose."""
        return self.where(self.other.values > 0)

    @cached_property
    def falling(self) -> Pair:
        """The periods in which the benchmark fell."""
        return self.where(self.other.values < 0)


METRICS: dict[str, Callable[..., float]] = {}
"""Measures of a strategy alone by name, as functions of a Sample."""

RELATIVE: dict[str, Callable[..., float]] = {}
"""Measures against a benchmark by name, as functions of a Pair."""


def metric(function: Callable[Concatenate[Sample, P], float]) -> Callable[Concatenate[Returns | Sample, P], float]:
    """A measure of returns in any form. NaN or infinite where it is not defined; `summary` makes None of both."""
    METRICS[function.__name__] = function

    @functools.wraps(function)
    def measured(returns: Returns | Sample, *args: P.args, **options: P.kwargs) -> float:
        with np.errstate(all="ignore"):
            return float(function(Sample.of(returns), *args, **options))

    return measured


def relative(function: Callable[Concatenate[Pair, P], float]) -> Callable[Concatenate[Returns, Returns, P], float]:
    """A measure of returns against those of a benchmark, in any form."""
    RELATIVE[function.__name__] = function

    @functools.wraps(function)
    def measured(returns: Returns, benchmark: Returns, *args: P.args, **options: P.kwargs) -> float:
        with np.errstate(all="ignore"):
            return float(function(Pair.of(returns, benchmark), *args, **options))

    return measured


def floats(values: Returns) -> Floats:
    """float64 with NaN for null; of a frame, its column return. Raises ValueError unless one-dimensional."""
    if isinstance(values, pl.DataFrame):
        values = values["return"]
    if isinstance(values, pl.Series):
        return values.cast(pl.Float64).fill_null(np.nan).to_numpy().astype(float)
    array = np.asarray(values, dtype=float)
    if array.ndim != 1:
        raise ValueError(f"returns have {array.ndim} dimensions; give one series of them, such as a column")
    return array


def aligned(returns: Returns, benchmark: Returns) -> tuple[Floats, Floats]:
    """Both as arrays of one length, missing values as NaN.

    Raises ValueError if their lengths differ, or a session is there twice.
    """
    if isinstance(returns, pl.DataFrame) and isinstance(benchmark, pl.DataFrame):
        for name, frame in (("returns", returns), ("benchmark", benchmark)):
            twice = frame.filter(pl.col("session").is_duplicated())
            if twice.height:
                raise ValueError(f"{name}: session {twice['session'][0]} is there twice; keep one row a session")
        other = benchmark.select("session", pl.col("return").alias("other"))
        joined = returns.select("session", "return").join(other, on="session", how="left", maintain_order="left")
        return floats(joined["return"]), floats(joined["other"])
    own, theirs = floats(returns), floats(benchmark)
    if own.size != theirs.size:
        raise ValueError(f"{own.size} returns and {theirs.size} of the benchmark; give the same periods, or sessions")
    return own, theirs


def tail_of(cutoff: float) -> float:
    """The share of periods in a tail. Raises ValueError unless it lies between 0 and 1."""
    if not 0.0 < cutoff < 1.0:
        raise ValueError(f"cutoff is {cutoff}; it is the share of the periods in the tail: above 0, below 1, say 0.05")
    return cutoff


def over(numerator: float, denominator: float) -> float:
    """A division that is infinite by zero, and NaN where both are zero."""
    if denominator == 0:
        return math.nan if numerator == 0 or math.isnan(numerator) else math.copysign(math.inf, numerator)
    return numerator / denominator


def average(values: Floats) -> float:
    """The mean; NaN of nothing."""
    return float(values.mean()) if values.size else math.nan


def longest(flags: npt.NDArray[np.bool_]) -> int:
    """Length of the longest run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))
