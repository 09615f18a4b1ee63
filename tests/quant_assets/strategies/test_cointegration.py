"""The regression, its test and the positions of a spread, against least squares, simulation and tables."""

from __future__ import annotations

import numpy as np
import pytest

from quant_assets.strategies.cointegration import closest, critical, engle_granger, spread_positions


def walks(seed: int, sessions: int, pairs: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.01, (sessions, pairs)).cumsum(axis=0)


def test_the_fit_is_that_of_least_squares() -> None:
    a, b = walks(1, 200, 3), walks(2, 200, 3)
    fit = engle_granger(a, b)
    for pair in range(3):
        design = np.column_stack([b[:, pair], np.ones(200)])
        (slope, constant), *_ = np.linalg.lstsq(design, a[:, pair], rcond=None)
        rest = a[:, pair] - design @ (slope, constant)
        change = np.diff(rest)
        regressors = np.column_stack([rest[1:-1], change[:-1]])
        factors, (squares,), *_ = np.linalg.lstsq(regressors, change[1:], rcond=None)
        error = np.sqrt(squares / (len(change) - 1 - 2) * np.linalg.inv(regressors.T @ regressors)[0, 0])
        assert (fit.slope[pair], fit.constant[pair]) == pytest.approx((slope, constant))
        assert fit.deviation[pair] == pytest.approx(rest.std())
        assert fit.t[pair] == pytest.approx(factors[0] / error)


@pytest.mark.parametrize(("level", "share"), [("1%", 0.01), ("5%", 0.05), ("10%", 0.10)])
def test_unrelated_walks_pass_as_often_as_the_level_says(level: str, share: float) -> None:
    fit = engle_granger(walks(3, 250, 6000), walks(4, 250, 6000))
    # Three standard errors of a share of 6000, and what one lag more than needed costs in size.
    assert (fit.t < critical(level, 250)).mean() == pytest.approx(share, abs=3 * np.sqrt(share / 6000) + 0.1 * share)


def test_what_is_tied_together_passes_and_what_stands_still_does_not() -> None:
    b = walks(5, 250, 1)
    noise = np.random.default_rng(6).normal(0, 0.01, (250, 1))
    tied, still = engle_granger(0.5 + 1.5 * b + noise, b), engle_granger(b, np.ones((250, 1)))
    assert tied.t[0] < critical("1%", 250)
    assert tied.slope[0] == pytest.approx(1.5, abs=0.05)
    assert not still.t[0] < critical("10%", 250)


def test_critical_values_are_those_of_mackinnon() -> None:
    # Table 2 of MacKinnon (2010), two variables with a constant: asymptotic values.
    assert [round(critical(level, 10**9), 2) for level in ("1%", "5%", "10%")] == [-3.90, -3.34, -3.04]
    assert critical("5%", 100) == pytest.approx(-3.33613 - 0.061101 - 0.0006823)


def test_the_closest_paths_come_first_wherever_they_start() -> None:
    path = walks(7, 50, 1)[:, 0]
    logs = np.column_stack([path, path * 3 + 1, 5 + path + 1e-3, path[::-1]])
    assert closest(logs, 2)[0] == (0, 2)
    assert len(closest(logs, 100)) == 6


POSITIONS = [  # what, z by session, position by session; entry 2, leave 0.5, stop 4
    ("narrow", [0, 1.9, -1.9], [0, 0, 0]),
    ("dear is sold, and bought back near the mean", [2.0, 1.0, 0.6, 0.5, 0.4], [-1, -1, -1, 0, 0]),
    ("cheap is bought, and sold near the mean", [-2.5, -0.6, -0.5], [1, 1, 0]),
    ("crosses the mean at once", [-2.5, 1.0], [1, 0]),
    ("crosses to the other side: out, then in", [-2.5, 2.5, 2.5], [1, 0, -1]),
    ("opened again", [2.1, 0.1, 2.1], [-1, 0, -1]),
    ("broken, and never again", [2.1, 4.0, 2.1, 2.1], [-1, 0, 0, 0]),
    ("broken before it was opened", [4.5, 2.1], [0, 0]),
    ("unknown changes nothing", [2.1, np.nan, 1.0], [-1, -1, -1]),
]


@pytest.mark.parametrize(("what", "z", "expected"), POSITIONS, ids=[case[0] for case in POSITIONS])
def test_positions_of_a_spread(what: str, z: list[float], expected: list[int]) -> None:
    assert spread_positions(np.array(z), enter=2.0, leave=0.5, stop=4.0).tolist() == expected
