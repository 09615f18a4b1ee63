"""Reference values of the measures, made by empyrical-reloaded; the table is kept, because it cannot be installed here.

empyrical-reloaded 0.7.1 wants peewee < 3.17.4 while yfinance is pinned with a newer one. To make the table anew, in an
environment of its own (pip install empyrical-reloaded==0.7.1 bottleneck numpy pandas scipy), from the project's root:

    python tests/quant_assets/backtests/metrics/empyrical_reference.py

The series are kept beside the values, so that no generator's version changes them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TABLE = Path(__file__).with_suffix(".json")
RATES = (0.0, 0.0002)
PERIODS = (252, 12)


def series() -> dict[str, list[float]]:
    """Returns by name, and under `benchmark` what they are held against (its beginning, for shorter ones)."""
    draw = np.random.default_rng(11)
    benchmark = np.round(draw.normal(0.0003, 0.01, 60), 6)
    normal = np.round(0.5 * benchmark + draw.normal(0.0005, 0.008, 60), 6)
    holes = normal.copy()
    holes[[3, 20, 21, 59]] = math.nan
    made = {
        "benchmark": benchmark,
        "normal": normal,
        "fat tails": np.round(draw.standard_t(3, 60) * 0.01, 6),
        "only gains": np.round(np.abs(draw.normal(0, 0.01, 60)), 6),
        "only losses": -np.round(np.abs(draw.normal(0, 0.01, 60)), 6),
        "ties": np.round(draw.normal(0, 0.01, 60), 2),
        "all zero": np.zeros(30),
        "all alike": np.full(30, 0.001),
        "lost": np.array([0.1, -1.0, 0.1]),
        "none": np.array([]),
        "one": np.array([0.01]),
        "two": np.array([0.01, -0.02]),
        "three": np.array([0.01, -0.02, 0.005]),
        "holes": holes,
    }
    return {name: values.tolist() for name, values in made.items()}


def measures(source: Any) -> dict[str, Callable[[Any, Any, float, float], float]]:
    """How each measure is asked of empyrical: returns, benchmark, risk-free rate, periods a year."""
    alone = ("cum_returns_final", "max_drawdown", "stability_of_timeseries", "tail_ratio")
    alone += ("value_at_risk", "conditional_value_at_risk")
    annual = ("annual_return", "cagr", "annual_volatility", "calmar_ratio")
    free = ("sharpe_ratio", "sortino_ratio", "downside_risk")
    paired = ("excess_sharpe", "capture", "up_capture", "down_capture", "up_down_capture")

    def of(name: str) -> Callable[..., Any]:
        return getattr(source, name)  # type: ignore[no-any-return]

    return {
        **{name: lambda r, b, rate, year, name=name: of(name)(r) for name in alone},
        **{name: lambda r, b, rate, year, name=name: of(name)(r, annualization=year) for name in annual},
        **{name: lambda r, b, rate, year, name=name: of(name)(r, rate, annualization=year) for name in free},
        **{name: lambda r, b, rate, year, name=name: of(name)(r, b) for name in paired},
        "omega_ratio": lambda r, b, rate, year: source.omega_ratio(r, rate, 0.02, annualization=year),
        "alpha": lambda r, b, rate, year: source.alpha(r, b, rate, annualization=year),
        "beta": lambda r, b, rate, year: source.beta(r, b, rate),
        "up_beta": lambda r, b, rate, year: source.up_alpha_beta(r, b)[1],
        "down_beta": lambda r, b, rate, year: source.down_alpha_beta(r, b)[1],
        "batting_average": lambda r, b, rate, year: source.batting_average(r, b)["batting average"],
        "beta_fragility_heuristic": lambda r, b, rate, year: source.beta_fragility_heuristic_aligned(r, b),
    }


def main() -> None:
    import empyrical

    made, values = series(), dict[str, dict[str, float]]()
    benchmark = np.array(made["benchmark"])
    with np.errstate(all="ignore"):
        for name, given in made.items():
            returns = np.array(given)
            for rate in RATES:
                for year in PERIODS:
                    values[f"{name}/{rate}/{year}"] = {
                        measure: float(ask(returns, benchmark[: returns.size], rate, year))
                        for measure, ask in measures(empyrical).items()
                    }
    parts = {"version": empyrical.__version__, **{f"series/{name}": given for name, given in made.items()}, **values}
    lines = [f"{json.dumps(name)}:{json.dumps(value, separators=(',', ':'))}" for name, value in parts.items()]
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n")  # a line a series, a line a case


if __name__ == "__main__":
    main()
