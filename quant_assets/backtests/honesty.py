"""What a reader must know before believing a backtest, in plain words and taken from the result's own numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import NormalDist
from typing import Protocol

import polars as pl

from resources.config import BacktestSettings

EULER = 0.5772156649015329
SHORT_YEARS = 5
FEW_TRADES = 50


class Result(Protocol):
    """The part of a BacktestResult that a report reads."""

    @property
    def equity(self) -> pl.DataFrame: ...
    @property
    def fills(self) -> pl.DataFrame: ...
    @property
    def orders(self) -> pl.DataFrame: ...
    @property
    def metrics(self) -> Mapping[str, float | None]: ...


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a backtest comes from.

    `trials` counts the configurations known to have been tried before this one was shown, itself included.
    `point_in_time` says that the symbols were members of the universe as it was known on each day.
    `created_at` is an aware instant.
    """

    strategy: str
    parameters: Mapping[str, object]
    config_name: str
    data_version: str
    code_version: str
    trials: int
    settings: BacktestSettings
    symbols: Sequence[str]
    benchmark: str
    created_at: datetime
    point_in_time: bool = False
    model_version: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence on what the history supports; tone is good, warn or bad."""

    text: str
    tone: str


def verdict(result: Result, provenance: Provenance) -> Verdict:
    """Whether the Sharpe ratio is distinguishable from zero, and from the luck of the number of trials."""
    sharpe, low, high = (result.metrics.get(name) for name in ("sharpe", "sharpe_low", "sharpe_high"))
    if sharpe is None or low is None or high is None:
        return Verdict("Too little history to say anything about this strategy.", "bad")
    interval = f"Sharpe {sharpe:.2f}, 95% interval {low:.2f} to {high:.2f}"
    if high < 0:
        return Verdict(f"{interval}: the strategy lost money, and not by chance alone.", "bad")
    if low <= 0:
        return Verdict(
            f"{interval}: zero is inside, so this history does not show that the strategy earns anything.", "bad"
        )
    luck = lucky_sharpe(provenance.trials, sharpe, low, high)
    if sharpe <= luck:
        return Verdict(
            f"{interval}: above zero, but the best of {provenance.trials} worthless trials would be expected to show {luck:.2f}.",
            "bad",
        )
    return Verdict(f"{interval}: above zero on this history. Read on before believing it.", "warn")


def lucky_sharpe(trials: int, sharpe: float, low: float, high: float) -> float:
    """Annual Sharpe ratio that the best of `trials` independent strategies without skill is expected to show.

    Takes the ratio's standard error from its 95% interval. 0.0 for a single trial.

    Source: Bailey and Lopez de Prado (2014), "The Deflated Sharpe Ratio", equation 5.
    """
    if trials <= 1:
        return 0.0
    normal = NormalDist()
    error = (high - low) / (2 * normal.inv_cdf(0.975))
    best = (1 - EULER) * normal.inv_cdf(1 - 1 / trials) + EULER * normal.inv_cdf(1 - 1 / (trials * math.e))
    return max(error * best, 0.0)


def caveats(result: Result, provenance: Provenance) -> list[str]:
    """The reasons to doubt this result, the gravest first."""
    lines = [
        _universe(provenance),
        _trials(result, provenance),
        _probability(result),
        _versus_benchmark(result, provenance),
        _length(result),
        _costs(result, provenance.settings),
        _ambiguous(result),
        _rejected(result),
    ]
    return [line for line in lines if line]


def assumptions(provenance: Provenance) -> list[str]:
    """What the simulation takes for granted."""
    settings = provenance.settings
    lines = [
        "A signal is known at the session's close; its market order fills at the next session's open, never earlier.",
        f"All orders in a symbol share {settings.participation:.0%} of the session's volume; what does not fill that day expires.",
        f"Market orders pay half a spread of {settings.half_spread_bps:g} bps and slippage of {settings.slippage_bps:g} bps.",
        f"Commission is {settings.commission_per_share:g} a share, at least {settings.commission_minimum:g} an order.",
        f"Borrowing shares costs {settings.borrow_bps_per_year:g} bps a year; cash earns nothing.",
        "Dividends are paid in cash on the ex-date and splits rescale holdings; taxes are left out.",
        "A delisted holding is closed at its last price, which flatters a bankruptcy.",
        "Inside a bar, where two outcomes are possible, the worse one for the account is taken.",
        "Our own orders do not move the prices that come after them.",
        "Ratios are annualised with 252 sessions a year and a risk-free rate of zero.",
    ]
    if provenance.model_version:
        lines.insert(1, "Model scores are out of sample: every training window ends before the session that it scores.")
    return lines


def costs(result: Result) -> dict[str, float]:
    """Total of each cost in account currency."""
    names = {"Spread": "spread_cost", "Slippage": "slippage_cost", "Commission": "commission"}
    return {label: float(result.fills[column].sum()) for label, column in names.items()}


def _universe(provenance: Provenance) -> str:
    count = len(provenance.symbols)
    if provenance.point_in_time:
        return f"The universe follows its members through time ({count} symbols in all)."
    shown = ", ".join(provenance.symbols[:6]) + (f" and {count - 6} more" if count > 6 else "")
    return (
        f"The universe was chosen with hindsight: {shown}, names known to have survived and mostly to have done well. "
        "Strategy and benchmark both look better than they could have been at the time."
    )


def _trials(result: Result, provenance: Provenance) -> str:
    if provenance.trials <= 1:
        return "One configuration is on record. Anything tried outside these records is not counted, and would lower the odds."
    sharpe, low, high = (result.metrics.get(name) for name in ("sharpe", "sharpe_low", "sharpe_high"))
    luck = ""
    if sharpe is not None and low is not None and high is not None:
        luck = f" The best of that many without any skill would be expected to show a Sharpe of {lucky_sharpe(provenance.trials, sharpe, low, high):.2f}."
    return f"{provenance.trials} configurations are on record, and this is one of them.{luck}"


def _probability(result: Result) -> str:
    probability = result.metrics.get("probabilistic_sharpe")
    if probability is None:
        return ""
    judged = "more than" if probability > 0.95 else "less than"
    return (
        f"Probability that the true Sharpe is above zero, given skew and fat tails: {probability:.1%}, "
        f"{judged} the usual 95%. It takes the history as typical of the future."
    )


def _versus_benchmark(result: Result, provenance: Provenance) -> str:
    mine, other = (result.metrics.get(name) for name in ("cagr", "benchmark_cagr"))
    if mine is None or other is None or mine > other:
        return ""
    return f"Holding the benchmark ({provenance.benchmark}) did better: {other:.1%} a year against {mine:.1%}."


def _length(result: Result) -> str:
    sessions = result.equity["session"]
    years = (sessions[-1] - sessions[0]).days / 365.25 if len(sessions) > 1 else 0.0
    trades = result.fills.height
    if years >= SHORT_YEARS and trades >= FEW_TRADES:
        return ""
    return f"Little evidence: {years:.1f} years and {trades} fills."


def _costs(result: Result, settings: BacktestSettings) -> str:
    total = sum(costs(result).values())
    sessions = result.equity["session"]
    years = max((sessions[-1] - sessions[0]).days / 365.25, 1 / 252) if len(sessions) else 1.0
    average = result.equity["equity"].mean()
    yearly = total / years / float(average) if isinstance(average, float) and average > 0 else 0.0
    return (
        f"Costs are assumed, not measured: {settings.half_spread_bps:g} bps half-spread, {settings.slippage_bps:g} bps slippage, "
        f"{settings.commission_per_share:g} a share. They took {yearly:.2%} of equity a year; twice the costs would take about as much again."
    )


def _ambiguous(result: Result) -> str:
    count, total = int(result.fills["ambiguous"].sum()), result.fills.height
    if not total:
        return "No order was filled."
    if not count:
        return "No fill was ambiguous: none depended on the unknown path of prices inside a session."
    return f"{count / total:.1%} of the fills ({count} of {total}) depended on the unknown path inside a session; the worse path was taken."


def _rejected(result: Result) -> str:
    states = (
        result.orders["state"].cast(pl.String).str.to_lowercase()
        if result.orders.height
        else pl.Series([], dtype=pl.String)
    )
    rejected = int((states == "rejected").sum())
    return f"{rejected} of {len(states)} orders were rejected; see the orders for the reasons." if rejected else ""
