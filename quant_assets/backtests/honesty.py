"""What a reader must know before believing a backtest, in plain words and taken from the result's own numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import NormalDist
from typing import TYPE_CHECKING

from quant_assets.backtests.glossary import shown
from resources.config import BacktestSettings
from resources.exchange.models.latency import FixedLatency
from resources.exchange.models.margin import CashMargin

if TYPE_CHECKING:
    from quant_assets.backtests.engine import BacktestResult

EULER = 0.5772156649015329
SHORT_YEARS = 5
FEW_FILLS = 50
LARGE_MOVE = 0.95
"""Probability from which a Sharpe ratio above zero is taken as shown."""


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
    other_path: Mapping[str, float | None] | None = None
    """The metrics of the same backtest by the other path through ambiguous bars."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One sentence on what the history supports; tone is warn or bad, never good."""

    text: str
    tone: str


def verdict(result: BacktestResult, provenance: Provenance) -> Verdict:
    """Whether the Sharpe ratio is distinguishable from zero, and from the luck of the number of trials."""
    found = _sharpe(result)
    if found is None:
        return Verdict("Too little happened to say anything about this strategy.", "bad")
    sharpe, low, high = found
    interval = f"Sharpe {sharpe:.2f}, 95% interval {low:.2f} to {high:.2f}"
    if high < 0:
        return Verdict(f"{interval}: the strategy lost money, and not by chance alone.", "bad")
    if low <= 0:
        return Verdict(f"{interval}: zero is inside, so this history does not show that it earns anything.", "bad")
    luck = lucky_sharpe(provenance.trials, low, high)
    if sharpe <= luck:
        trials = f"the best of {provenance.trials} worthless trials would be expected to show {luck:.2f}"
        return Verdict(f"{interval}: above zero, but {trials}.", "bad")
    return Verdict(f"{interval}: above zero on this history. Read on before believing it.", "warn")


def lucky_sharpe(trials: int, low: float, high: float) -> float:
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


def caveats(result: BacktestResult, provenance: Provenance) -> list[str]:
    """The reasons to doubt this result, in plain sentences, the gravest first."""
    lines = [
        _universe(provenance),
        _trials(result, provenance),
        _probability(result),
        _versus_benchmark(result, provenance),
        _length(result),
        _costs(result, provenance.settings),
        _ambiguous(result, provenance),
        _rejected(result),
    ]
    return [line for line in lines if line]


def assumptions(provenance: Provenance) -> list[str]:
    """What the simulation takes for granted."""
    cost = provenance.settings
    touched = "touched" if cost.limit_touch_fills else "traded through"
    sessions = f"{cost.periods_per_year:g}" if cost.periods_per_year else "as many"
    a_year = f"{sessions} sessions a year" + ("" if cost.periods_per_year else " as the history has")
    earns = f"earns {cost.cash_yield_bps_per_year:g}" if cost.cash_yield_bps_per_year else "earns nothing"
    lines = [
        "A signal is known at the session's close; its market order fills at the next session's open, never earlier.",
        "A target weight is sized with the last close; an overnight gap makes the holding miss it a little.",
        f"All orders in a symbol share {cost.participation:.0%} of a session's volume; the rest waits for the next.",
        f"Market orders pay {cost.spread.words()} and {cost.slippage.words()}; resting limits pay neither.",
        f"Commission: {cost.commission.words()}.",
        *_by_class(cost),
        _carried(cost),
        f"Borrowed shares cost {cost.borrow.words()}, negative cash {cost.financing_bps_per_year:g}; cash {earns}.",
        f"A limit fills where it is {touched}. Where two outcomes are possible inside a bar, the {cost.ambiguous} one "
        "is taken" + (f", unless bars of {cost.intrabar_timeframe} decide." if cost.intrabar_timeframe else "."),
        "Dividends are paid in cash on the ex-date and splits rescale holdings; taxes are left out.",
        "A delisted holding is closed at its last price, which flatters a bankruptcy.",
        "Orders do not move the prices that come after them.",
        f"Ratios are annualised with {a_year} and a risk-free rate of zero.",
    ]
    if cost.latency != FixedLatency():
        lines.insert(1, f"An order is eligible {cost.latency.words()} after it is sent.")
    if provenance.model_version:
        lines.insert(1, "Model scores are out of sample: every training window ends before the session that it scores.")
    return lines


def costs(result: BacktestResult) -> dict[str, float]:
    """Total of each cost in account currency."""
    of_fills = {"Spread": "spread_cost", "Slippage": "slippage_cost", "Commission": "commission"}
    carried = {"Borrowing": "borrow_cost", "Funding": "funding", "Interest": "interest"}
    return {
        **{label: float(result.fills[column].sum()) for label, column in of_fills.items()},
        **{label: float(result.equity[column].sum()) for label, column in carried.items()},
    }


def _by_class(cost: BacktestSettings) -> list[str]:
    """What differs for an asset class."""
    return [
        f"For {asset_class} instead: "
        + "; ".join(f"{kind}: {model.words()}" for kind, model in own if model is not None)
        + "."
        for asset_class, own in cost.by_class.items()
    ]


def _carried(cost: BacktestSettings) -> str:
    """How much the account may hold."""
    beyond = "shrunk to what fits" if cost.shrink_to_cash else "rejected"
    if cost.margin == CashMargin():
        return f"A fill may bring gross exposure to {cost.max_gross:g} times equity; what goes beyond is {beyond}."
    return (
        f"A position ties up {cost.margin.words()}; a fill may bring that to {cost.max_gross:g} times equity, and what "
        f"goes beyond is {beyond}. There are no margin calls."
    )


def _sharpe(result: BacktestResult) -> tuple[float, float, float] | None:
    """The annual ratio and its 95% interval, None where one of them is not defined."""
    ratio, low, high = (result.metrics.get(name) for name in ("sharpe", "sharpe_low", "sharpe_high"))
    return None if ratio is None or low is None or high is None else (ratio, low, high)


def _universe(provenance: Provenance) -> str:
    count = len(provenance.symbols)
    if provenance.point_in_time:
        return f"The universe follows its members through time ({count:,} symbols in all)."
    shown_symbols = ", ".join(provenance.symbols[:6]) + (f" and {count - 6:,} more" if count > 6 else "")
    return (
        f"The universe was chosen with hindsight ({shown_symbols}). Companies that failed or were forgotten are "
        "missing, so strategy and benchmark both look better than they could have been at the time."
    )


def _trials(result: BacktestResult, provenance: Provenance) -> str:
    if provenance.trials <= 1:
        return "One configuration is on record. What was tried outside these records is not counted against it."
    found = _sharpe(result)
    text = f"{provenance.trials:,} configurations are on record, and this is one of them."
    if found is None:
        return text
    luck = lucky_sharpe(provenance.trials, *found[1:])
    return f"{text} The best of as many without any skill would be expected to show a Sharpe of {luck:.2f}."


def _probability(result: BacktestResult) -> str:
    probability = result.metrics.get("probabilistic_sharpe")
    if probability is None:
        return ""
    judged = "above" if probability > LARGE_MOVE else "below"
    # Never rounded up to certainty.
    text = ">99.9%" if probability > 0.999 else f"{probability:.1%}"
    return (
        f"Probability that the true Sharpe is above zero, allowing for skew and fat tails: {text}, {judged} the "
        f"customary {LARGE_MOVE:.0%}. It takes this history to be typical of what comes."
    )


def _versus_benchmark(result: BacktestResult, provenance: Provenance) -> str:
    mine, other = (result.metrics.get(name) for name in ("cagr", "benchmark_cagr"))
    if mine is None or other is None or mine > other:
        return ""
    return f"Holding the benchmark ({provenance.benchmark}) did better: {other:.1%} a year against {mine:.1%}."


def _length(result: BacktestResult) -> str:
    sessions, fills = result.equity["session"], result.fills.height
    years = (sessions[-1] - sessions[0]).days / 365.25 if len(sessions) > 1 else 0.0
    if years >= SHORT_YEARS and fills >= FEW_FILLS:
        return ""
    return f"There is little evidence: {years:.1f} years and {fills:,} fill{'' if fills == 1 else 's'}."


def _costs(result: BacktestResult, assumed: BacktestSettings) -> str:
    drag = shown("cost_drag", result.metrics.get("cost_drag"))
    return (
        f"Costs are assumed, not measured: {assumed.spread.words()}, {assumed.slippage.words()}; commission: "
        f"{assumed.commission.words()}. They took {drag} of equity a year; were they twice as high, they would take "
        "about as much again."
    )


BY_PATH = {"total_return": "total return", "sharpe_ratio": "Sharpe ratio"}
"""The figures that are told for both paths, with their names in a sentence."""


def _ambiguous(result: BacktestResult, provenance: Provenance) -> str:
    count, total = int(result.fills["ambiguous"].sum()), result.fills.height
    if not total:
        return "No order was filled."
    if not count:
        return "No fill was ambiguous: none hung on the unknown path of prices inside a session."
    taken = provenance.settings.ambiguous
    line = (
        f"{count / total:.1%} of the fills ({count:,} of {total:,}) hung on the unknown path of prices inside a "
        f"session; the {taken} path was taken."
    )
    if provenance.other_path is None:
        return line
    other = "better" if taken == "worse" else "worse"
    told = [
        f"{shown(name, provenance.other_path.get(name))} {words} instead of {shown(name, result.metrics.get(name))}"
        for name, words in BY_PATH.items()
    ]
    return f"{line} The result under the {other} path: {', '.join(told)}."


def _rejected(result: BacktestResult) -> str:
    rejected = result.orders.filter(result.orders["state"] == "rejected").height
    if not rejected:
        return ""
    total = result.orders.height
    return f"{rejected:,} of {total:,} orders were rejected, so the strategy was not traded as it is written."
