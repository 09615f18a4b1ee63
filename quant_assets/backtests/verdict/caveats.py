"""What a reader must know before believing a backtest, in plain words.

Whether it can be believed is decided in one place, assess.py: the verdict here is its headline, and its tests'
sentences are the first caveats. What is added is taken from the result's own numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from quant_assets.backtests.engine import by_session
from quant_assets.backtests.glossary import shown
from quant_assets.backtests.verdict.questions import Test, elsewhere, plain
from resources.config import BacktestSettings
from resources.exchange.models.latency import FixedLatency
from resources.exchange.models.margin import CashMargin

if TYPE_CHECKING:
    from quant_assets.backtests.engine import BacktestResult
    from quant_assets.backtests.verdict.assess import Evidence


MOST_OF_ONE_SESSION = 0.5
"""Share of the growth that all other sessions have, at most, where one of them is told to have made it."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a backtest comes from.

    `trials` is what its Sharpe ratio has to be deflated for, itself included (evidence.trials.Counted.tried).
    `point_in_time` says that the symbols were members of the universe as it was known on each day.
    `created_at` is an aware instant. `evidence` is what the tests found; without it nothing is proven.
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

    evidence: Evidence | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the history supports; tone is warn or bad, never good."""

    text: str
    tone: str


def verdict(result: BacktestResult, provenance: Provenance) -> Verdict:
    """The headline of the evidence."""
    evidence = provenance.evidence
    if evidence is not None:
        return Verdict(evidence.headline, "warn" if evidence.proven else "bad")
    if result.fills.is_empty():
        return Verdict("Unproven: no order was filled.", "bad")
    return Verdict("Unproven: this result was not put to any test.", "bad")


def caveats(result: BacktestResult, provenance: Provenance) -> list[str]:
    """The reasons to doubt this result, in plain sentences, the gravest first."""
    tests = plain(result, provenance.point_in_time) if provenance.evidence is None else provenance.evidence.tests
    told_below = ("point_in_time", "ambiguous_fills")
    doubts = [test for test in tests if test.passed is False and test.name not in told_below]
    lines = [
        *(test.words for test in doubts if test.essential),
        _one_session(result, provenance.settings.cash),
        _universe(provenance),
        _trials(provenance),
        *(test.words for test in doubts if not test.essential),
        _costs(result, provenance.settings),
        _ambiguous(result, provenance),
        _rejected(result),
        _not_judged(tests),
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
    if cost.cash_yield_bps_per_year:
        lines.append("Whether it is luck is asked of the returns in excess of what cash earns.")
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


def _one_session(result: BacktestResult, cash: float) -> str:
    """Whether a single session made most of what was earned: no test of all sessions says so."""
    daily = by_session(result.equity, cash).drop_nulls("return")
    if daily.is_empty() or daily["return"].min() <= -1:  # type: ignore[operator]
        return ""
    growth = daily["return"].log1p()
    best, whole = int(growth.arg_max() or 0), float(growth.sum())
    rest = whole - growth[best]
    if whole <= 0 or rest > MOST_OF_ONE_SESSION * whole:
        return ""
    return (
        f"Most of it is one session: without {daily['session'][best]}, which brought {daily['return'][best]:+.1%}, the "
        f"total return is {math.expm1(rest):+.1%} instead of {math.expm1(whole):+.1%}."
    )


def _universe(provenance: Provenance) -> str:
    count = len(provenance.symbols)
    if provenance.point_in_time:
        return f"The universe follows its members through time ({count:,} symbols in all)."
    shown_symbols = ", ".join(provenance.symbols[:6]) + (f" and {count - 6:,} more" if count > 6 else "")
    return (
        f"The universe was chosen with hindsight ({shown_symbols}). Companies that failed or were forgotten are "
        "missing, so strategy and benchmark both look better than they could have been at the time."
    )


def _trials(provenance: Provenance) -> str:
    if provenance.trials <= 1:
        return "One configuration is on record. What was tried outside these records is not counted against it."
    evidence = provenance.evidence
    lucky = None if evidence is None else evidence.lucky_sharpe
    # Where that test failed, its own words stand above and say so.
    beside = "" if evidence is None or not evidence.test("deflated_sharpe").passed else elsewhere(evidence.trials)
    best = (
        ""
        if lucky is None
        else f" The best of as many without any skill would be expected to show a Sharpe of {lucky:.2f}."
    )
    return f"{provenance.trials:,} configurations are on record, and this is one of them.{best}{beside}"


def _not_judged(tests: Sequence[Test]) -> str:
    names = [test.title for test in tests if test.passed is None]
    return f"Not judged: {', '.join(names)}." if names else ""


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
