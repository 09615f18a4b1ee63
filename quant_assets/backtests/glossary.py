"""The metrics of a backtest in plain words: what each is called, how it is written, and what it means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

DASH = "–"  # noqa: RUF001


@dataclass(frozen=True, slots=True)
class Metric:
    """A name, a way of writing it (percent, ratio, times, count, sessions or bps) and what it means."""

    name: str
    form: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the metrics table."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Group:
    name: str
    rows: tuple[Row, ...]


def _table(lines: str) -> dict[str, Metric]:
    """Metrics from lines of `key | name | form | meaning`."""
    parts = [[part.strip() for part in line.split("|")] for line in lines.strip().splitlines()]
    return {key: Metric(name, form, meaning) for key, name, form, meaning in parts}


GROUPS: dict[str, dict[str, Metric]] = {
    "Return": _table("""
        total_return | Total return | percent | Gain over the whole history, after costs.
        cagr | Return a year | percent | The steady yearly growth that would have come to the same end.
        best | Best session | percent | The highest return of one session.
        worst | Worst session | percent | The lowest return of one session.
        hit_rate | Sessions that gained | percent | Of the sessions that were not flat, how many gained.
        average_gain | Average gain | percent | Mean return of the sessions that gained.
        average_loss | Average loss | percent | Mean return of the sessions that lost.
        payoff | Gain to loss | ratio | The average gain over the average loss; above 1, winners outweigh losers.
    """),
    "Risk": _table("""
        volatility | Volatility | percent | How much returns scatter in a year; about two years in three stay within it.
        downside_deviation | Downside deviation | percent | Like volatility, counting losses alone.
        max_drawdown | Max drawdown | percent | The deepest fall from a peak to a later low.
        average_drawdown | Average drawdown | percent | How far below its peak the account stood on an average day.
        max_drawdown_periods | Longest under water | sessions | The longest wait from a peak until it was passed again.
        time_under_water | Time under water | percent | Share of the sessions that ended below the peak so far.
        ulcer_index | Ulcer index | percent | Depth and length of drawdowns in one number; lower is calmer.
        var_95 | One session in 20 loses more than | percent | Historical value at risk at 95%.
        cvar_95 | And then loses on average | percent | The mean of the worst twentieth of the sessions.
        skew | Skew | ratio | Below zero, large losses are likelier than large gains.
        kurtosis | Excess kurtosis | ratio | Above zero, extreme sessions come more often than a bell curve says.
        tail_ratio | Tail ratio | ratio | A good session in 20 over a bad one in 20.
        autocorrelation | Autocorrelation | ratio | How far a return repeats the one before; stale prices show here.
    """),
    "Reward for risk": _table("""
        sharpe | Sharpe ratio | ratio | Mean return over volatility, a year, with a risk-free rate of zero.
        sharpe_low | Sharpe, 95% from | ratio | Lower end of what the true ratio may be, given this much history.
        sharpe_high | Sharpe, 95% to | ratio | Upper end of it.
        probabilistic_sharpe | Probability of a Sharpe above 0 | percent | Skew and fat tails counted, trials not.
        min_track_record_length | History needed | sessions | Sessions until a Sharpe above 0 is 95% sure.
        sortino | Sortino ratio | ratio | Like Sharpe, with downside deviation for volatility.
        calmar | Calmar ratio | ratio | Return a year over the max drawdown.
        omega | Omega ratio | ratio | All gains over all losses; 1 is break-even.
        ulcer_performance | Return over ulcer index | ratio | Return a year for each unit of the ulcer index.
    """),
    "Against the benchmark": _table("""
        benchmark_total_return | Benchmark, total return | percent | What holding the benchmark gained, without costs.
        benchmark_cagr | Benchmark, return a year | percent | The benchmark's steady yearly growth.
        benchmark_volatility | Benchmark, volatility | percent | How much the benchmark's returns scatter in a year.
        benchmark_sharpe | Benchmark, Sharpe ratio | ratio | The benchmark's mean return over its volatility.
        benchmark_max_drawdown | Benchmark, max drawdown | percent | The benchmark's deepest fall from a peak.
        alpha | Alpha a year | percent | Return left after what the exposure to the benchmark explains.
        beta | Beta | ratio | How far the strategy moves when the benchmark moves by 1.
        correlation | Correlation | ratio | How closely the two move together, from -1 to 1.
        tracking_error | Tracking error | percent | Volatility of the difference to the benchmark.
        information_ratio | Information ratio | ratio | Mean difference to the benchmark over the tracking error.
        treynor | Treynor ratio | ratio | Mean return a year for each unit of beta.
        up_capture | Up capture | percent | Share of the benchmark's rises that the strategy took part in.
        down_capture | Down capture | percent | Share of its falls that the strategy took part in; lower is better.
    """),
    "Trading": _table("""
        orders | Orders | count | Orders sent, those that found the target already met included.
        orders_rejected | Orders rejected | count | Orders that the account could not carry or that had no price.
        fills | Fills | count | Executions of orders; corporate actions left out.
        ambiguous_share | Ambiguous fills | percent | Fills that hung on the unknown path of prices inside a session.
        turnover | Turnover a year | times | Half of what was bought and sold in a year, over equity.
        amount_traded | Amount traded | count | Value of all fills, before costs.
        costs | Costs | count | Spread, slippage and commission in account currency.
        costs_bps | Costs of trading | bps | Those costs over the amount traded.
        cost_drag | Costs a year | percent | All costs, borrowing and interest in a year, over average equity.
        holdings | Holdings | count | Unbroken spells in which a symbol was held.
        holding_sessions | Average holding | sessions | How long such a spell lasted.
    """),
    "Exposure and carry": _table("""
        gross_exposure | Average gross exposure | percent | Longs and shorts together, over equity.
        net_exposure | Average net exposure | percent | Longs less shorts, over equity.
        time_in_market | Time in the market | percent | Share of the sessions that ended with a holding.
        average_positions | Average positions | ratio | How many symbols were held at a session's end.
        dividends | Dividends | count | Cash received, less what was owed on shorts.
        borrow_cost | Borrow cost | count | Paid for borrowing the shares sold short.
        interest | Interest | count | Paid on negative cash.
    """),
    "Sample": _table("""
        observations | Sessions measured | count | Returns behind every figure.
        missing | Returns left out | count | Returns that were missing or not finite.
    """),
}
"""Known metrics by group, in the order shown. One that is not here is shown under its own key."""

KNOWN = {key: metric for group in GROUPS.values() for key, metric in group.items()}

_SUFFIX = {"times": "x", "sessions": " sessions", "bps": " bps"}


def shown(key: str, value: float | None) -> str:
    """The value of a metric as text; a dash where it is not defined."""
    if value is None or not math.isfinite(value):
        return DASH
    form = KNOWN[key].form if key in KNOWN else "ratio"
    if form == "percent":
        if value == 0:
            return "0%"
        return unsigned_zero(f"{value * 100:,.2f}" if abs(value) < 0.02 else f"{value * 100:,.1f}") + "%"
    digits = {"count": 0, "sessions": 0, "bps": 1}.get(form, 2)
    return unsigned_zero(f"{value:,.{digits}f}") + _SUFFIX.get(form, "")


def unsigned_zero(text: str) -> str:
    """The text without the sign of a number that rounds to zero."""
    return text if text.strip("-0.") else text.removeprefix("-")


def metric_groups(metrics: Mapping[str, float | None]) -> list[Group]:
    """Every metric of the result, in the glossary's groups and order; the unknown ones last."""
    groups = [
        Group(
            name,
            tuple(
                Row(known.name, shown(key, metrics[key]), known.meaning) for key, known in of.items() if key in metrics
            ),
        )
        for name, of in GROUPS.items()
    ]
    unknown = [key for key in metrics if key not in KNOWN]
    others = tuple(Row(key.replace("_", " ").capitalize(), shown(key, metrics[key]), "") for key in unknown)
    return [group for group in [*groups, Group("Other", others)] if group.rows]
