"""What portfolios are built from: returns that can be trusted to have a mean and a covariance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from resources.errors import QuantError

Floats = npt.NDArray[np.float64]
Returns = pl.DataFrame | npt.NDArray[np.float64]
"""One row a period, one column a name: a frame (columns session and ts are left out), or an array of two dimensions."""

CovarianceMethod = Literal["sample", "ledoit_wolf"]

KEYS = ("session", "ts")

SINGULAR = 1e-12
"""Share of the largest eigenvalue below which the smallest is nothing beside rounding."""


class PortfolioError(QuantError):
    """A portfolio cannot be built: returns that say too little, or bounds that no weights keep."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Returns that were checked: `values` is periods x names."""

    names: tuple[str, ...]
    values: Floats

    @property
    def mean(self) -> Floats:
        """By name, a period."""
        mean: Floats = self.values.mean(axis=0)
        return mean

    def weights(self, values: Floats) -> dict[str, float]:
        """Numbers by name."""
        return dict(zip(self.names, values.tolist(), strict=True))


def sample(returns: Returns, least: int = 2) -> Sample:
    """The returns, checked. `least` is how many periods are needed.

    Raises PortfolioError naming the name and the period of a return that is no number or below -100%, a name that never
    moves, a column that holds no numbers, or how many periods there are and are needed.
    """
    names, values = _numbers(returns)
    if not names:
        raise PortfolioError("returns: no names; give one column a name")
    wrong = ~(np.isfinite(values) & (values >= -1.0))
    if wrong.any():
        row, column = (int(place) for place in np.argwhere(wrong)[0])
        raise PortfolioError(
            f"returns of {names[column]}, row {row}: {values[row, column]} is no simple return; leave the name out, or "
            "begin where all of them have returns"
        )
    if values.shape[0] < least:
        raise PortfolioError(
            f"returns: {values.shape[0]} periods of {len(names)} names, and {least} are needed; give a longer history "
            "or fewer names"
        )
    still = [name for name, moves in zip(names, np.ptp(values, axis=0) > 0.0, strict=True) if not moves]
    if still:
        raise PortfolioError(
            f"returns of {', '.join(still)}: they never change, so there is no risk to weigh; leave out"
        )
    return Sample(names, values)


def _numbers(returns: Returns) -> tuple[tuple[str, ...], Floats]:
    if isinstance(returns, np.ndarray):
        if returns.ndim != 2 or returns.dtype.kind not in "fiu":
            raise PortfolioError(f"returns: an array of shape {returns.shape}; give numbers, periods x names")
        return tuple(str(number) for number in range(returns.shape[1])), returns.astype(np.float64)
    if not isinstance(returns, pl.DataFrame):
        raise PortfolioError(f"returns: a {type(returns).__name__}; give a polars DataFrame or a numpy array")
    frame = returns.drop(KEYS, strict=False)
    other = [name for name, kind in frame.schema.items() if not kind.is_numeric()]
    if other:
        raise PortfolioError(
            f"returns: column {other[0]} is {frame.schema[other[0]]}; give one column of numbers a name"
        )
    values = frame.select(pl.all().cast(pl.Float64).fill_null(np.nan)).to_numpy()
    return tuple(frame.columns), np.ascontiguousarray(values)


def check_method(method: str) -> None:
    """Raise PortfolioError on a covariance that is not known."""
    if method not in ("sample", "ledoit_wolf"):
        raise PortfolioError(f"covariance: {method!r} is not known; use sample or ledoit_wolf")


def with_covariance(returns: Returns, method: CovarianceMethod = "sample") -> tuple[Sample, Floats]:
    """The returns, checked, and their covariance a period: of the sample (n - 1), or shrunk.

    A sample covariance needs more periods than names, or some portfolio seems to have no risk at all.

    Raises PortfolioError as `sample` does, and where names only repeat each other.

    Source: Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices".
    """
    check_method(method)
    if method == "ledoit_wolf":
        from sklearn.covariance import ledoit_wolf

        held = sample(returns)
        return held, np.asarray(ledoit_wolf(held.values)[0])
    held = sample(returns, least=len(_numbers(returns)[0]) + 1)
    covariance = np.atleast_2d(np.cov(held.values, rowvar=False))
    correlation = covariance / np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    values, vectors = np.linalg.eigh(correlation)
    if values[0] <= SINGULAR * values[-1]:
        alike = [name for name, part in zip(held.names, vectors[:, 0], strict=True) if abs(part) > 1e-6]
        raise PortfolioError(
            f"returns of {', '.join(alike)}: some repeat the others, so that their covariance is singular; leave one "
            "out, or use covariance ledoit_wolf"
        )
    return held, covariance
