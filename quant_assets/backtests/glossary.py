"""The metrics of a backtest in plain words: what each is called, how it is written, and what it means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from quant_assets.backtests.metrics import SHORT

DASH = "–"  # noqa: RUF001


@dataclass(frozen=True, slots=True)
class Metric:
    """A name, a way of writing it (percent, ratio, times, count, sessions, days or bps) and what it means."""

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
        cum_returns_final | Total return | percent | Gain over the whole history, after costs.
        cagr | Return a year | percent | The steady yearly growth that would have come to the same end.
        expected_annual_return | Mean return a year | percent | The mean session times those of a year; not compounded.
        mean_return | Mean session | percent | Arithmetic mean return of a session.
        geometric_mean_return | Steady session | percent | The steady return of a session that comes to the same end.
        best | Best session | percent | The highest return of one session.
        worst | Worst session | percent | The lowest return of one session.
        hit_rate | Sessions that gained | percent | Of the sessions that were not flat, how many gained.
        average_gain | Average gain | percent | Mean return of the sessions that gained.
        average_loss | Average loss | percent | Mean return of the sessions that lost.
        payoff_ratio | Gain to loss | ratio | The average gain over the average loss; above 1, winners outweigh losers.
        gain_loss_ratio | Gains to losses | ratio | All gains over all losses.
        longest_winning_streak | Gains in a row | sessions | Most sessions in a row that gained.
        longest_losing_streak | Losses in a row | sessions | Most sessions in a row that lost.
        stability_of_timeseries | Stability | ratio | How straight the growth was on a log axis; 1 is a straight line.
    """),
    "Risk": _table("""
        annual_volatility | Volatility | percent | How much returns scatter in a year; two in three stay within it.
        downside_risk | Downside deviation | percent | Like volatility, counting losses alone.
        upside_risk | Upside deviation | percent | Like volatility, counting gains alone.
        mean_absolute_deviation | Mean deviation | percent | How far a session is from the mean one, on average.
        max_drawdown | Max drawdown | percent | The deepest fall from a peak to a later low.
        average_drawdown | Average drawdown | percent | How far below its peak the account stood on an average day.
        average_drawdown_depth | Average depth | percent | Mean of the lowest points of all drawdowns.
        current_drawdown | Drawdown at the end | percent | How far below its peak the account ended.
        conditional_drawdown_at_risk | Worst drawdowns | percent | Mean depth of the worst twentieth of the sessions.
        drawdown_count | Drawdowns | count | How often the account fell below a peak.
        average_drawdown_periods | Average under water | sessions | How long such a fall lasted on average.
        max_drawdown_periods | Longest under water | sessions | The longest wait from a peak until it was passed again.
        time_under_water | Time under water | percent | Share of the sessions that ended below the peak so far.
        ulcer_index | Ulcer index | percent | Depth and length of drawdowns in one number; lower is calmer.
        value_at_risk | One session in 20 loses more than | percent | Historical value at risk at 95%.
        conditional_value_at_risk | And then loses on average | percent | Mean of the worst twentieth of the sessions.
        value_at_risk_gaussian | The same from a bell curve | percent | Value at risk if returns were normal.
        conditional_value_at_risk_gaussian | And then on average | percent | Mean loss beyond it, if they were normal.
        value_at_risk_cornish_fisher | The same with skew and tails | percent | Value at risk after Cornish and Fisher.
        conditional_value_at_risk_cornish_fisher | And then on average | percent | The mean loss beyond that one.
        rachev_ratio | Rachev ratio | ratio | The mean of the best twentieth over that of the worst.
        skewness | Skew | ratio | Below zero, large losses are likelier than large gains.
        kurtosis | Excess kurtosis | ratio | Above zero, extreme sessions come more often than a bell curve says.
        tail_ratio | Tail ratio | ratio | A good session in 20 over a bad one in 20.
        autocorrelation | Autocorrelation | ratio | How far a return repeats the one before; stale prices show here.
    """),
    "Reward for risk": _table("""
        sharpe_ratio | Sharpe ratio | ratio | Mean return over volatility, a year, with a risk-free rate of zero.
        sharpe_low | Sharpe, 95% from | ratio | Lower end of what the true ratio may be, given this much history.
        sharpe_high | Sharpe, 95% to | ratio | Upper end of it.
        probabilistic_sharpe_ratio | Probability of a Sharpe above 0 | percent | Skew and fat tails counted, trials not.
        min_track_record_length | History needed | sessions | Sessions until a Sharpe above 0 is 95% sure.
        adjusted_sharpe_ratio | Adjusted Sharpe ratio | ratio | Sharpe with a penalty for skew to losses and fat tails.
        sortino_ratio | Sortino ratio | ratio | Like Sharpe, with downside deviation for volatility.
        calmar_ratio | Calmar ratio | ratio | Return a year over the max drawdown.
        omega_ratio | Omega ratio | ratio | All gains over all losses; 1 is break-even.
        martin_ratio | Return over ulcer index | ratio | Return a year for each unit of the ulcer index.
        pain_ratio | Pain ratio | ratio | Return a year over the average drawdown.
        sterling_ratio | Sterling ratio | ratio | Return a year over the average depth of the drawdowns.
        burke_ratio | Burke ratio | ratio | Return a year over the root of the sum of squared depths.
        recovery_factor | Recovery factor | ratio | Total return over the max drawdown.
        kappa_three_ratio | Kappa 3 | ratio | Mean session over a measure of losses that weighs large ones most.
        upside_potential_ratio | Upside potential | ratio | Mean gain over all sessions over the downside deviation.
        gain_to_pain_ratio | Gain to pain | ratio | Sum of returns over the sum of losses.
        common_sense_ratio | Common sense ratio | ratio | Gains to losses, times the tail ratio.
        kelly_leverage | Kelly leverage | ratio | Leverage that would have grown fastest, in hindsight; not advice.
    """),
    "Against the benchmark": _table("""
        benchmark_total_return | Benchmark, total return | percent | What holding the benchmark gained, without costs.
        benchmark_cagr | Benchmark, return a year | percent | The benchmark's steady yearly growth.
        benchmark_volatility | Benchmark, volatility | percent | How much the benchmark's returns scatter in a year.
        benchmark_sharpe | Benchmark, Sharpe ratio | ratio | The benchmark's mean return over its volatility.
        benchmark_max_drawdown | Benchmark, max drawdown | percent | The benchmark's deepest fall from a peak.
        alpha | Alpha a year | percent | Return left after what the exposure to the benchmark explains, compounded.
        jensen_alpha | Jensen's alpha | percent | The same, not compounded.
        beta | Beta | ratio | How far the strategy moves when the benchmark moves by 1.
        up_beta | Beta of rises | ratio | Beta over the sessions in which the benchmark rose.
        down_beta | Beta of falls | ratio | Beta over the sessions in which it fell.
        correlation | Correlation | ratio | How closely the two move together, from -1 to 1.
        r_squared | Explained | percent | Share of the variance that the benchmark explains.
        active_return | Active return | percent | Return a year less the benchmark's.
        residual_volatility | Residual volatility | percent | Volatility that the benchmark does not explain.
        batting_average | Batting average | percent | Share of the sessions that beat the benchmark.
        tracking_error | Tracking error | percent | Volatility of the difference to the benchmark.
        information_ratio | Information ratio | ratio | Mean difference to the benchmark over the tracking error.
        excess_sharpe | Information ratio a session | ratio | The same, not annualised.
        appraisal_ratio | Appraisal ratio | ratio | Jensen's alpha over the residual volatility.
        modigliani_ratio | M2 | percent | Mean return a year at the benchmark's volatility.
        treynor_ratio | Treynor ratio | ratio | Mean return a year for each unit of beta.
        capture | Capture | percent | Return a year over the benchmark's.
        up_capture | Up capture | percent | The same over the sessions in which the benchmark rose.
        down_capture | Down capture | percent | The same over those in which it fell; lower is better.
        up_down_capture | Up to down capture | ratio | Up capture over down capture.
        beta_fragility_heuristic | Fragility | percent | Below zero, large moves of the benchmark hurt more than help.
    """),
    "Trading": _table("""
        orders | Orders | count | Orders sent, those that found the target already met included.
        orders_rejected | Orders rejected | count | Orders that the account could not carry or that had no price.
        fills | Fills | count | Executions of orders; corporate actions left out.
        ambiguous_share | Ambiguous fills | percent | Fills that hung on the unknown path of prices inside a session.
        turnover | Turnover a year | times | Half of what was bought and sold in a year, over equity.
        amount_traded | Amount traded | count | Value of all fills, before costs.
        costs | Costs | count | Spread, slippage and commission in account currency.
        spread_cost | Spread | count | Half of the spread, paid by orders that do not rest.
        slippage_cost | Slippage | count | What prices moved by our own trading.
        commission | Commission | count | Paid to brokers and venues.
        costs_bps | Costs of trading | bps | Those costs over the amount traded.
        cost_drag | Costs a year | percent | All costs, borrowing, funding and interest in a year, over average equity.
        holdings | Holdings | count | Unbroken spells in which a symbol was held.
        holding_sessions | Average holding | sessions | How long such a spell lasted.
        participation | Share of the volume | percent | Of a bar's volume, how much a fill took, weighted by value.
        capacity | Capacity | count | Equity at which fills would take 1% of their bars' volume.
    """),
    "Trades": _table("""
        trades | Trades | count | Round trips from flat to flat of a symbol, closed ones.
        open_trades | Open trades | count | Those still open at the end; left out of the figures below.
        win_rate | Trades that won | percent | Of the closed trades, those with a profit after costs.
        profit_factor | Profit factor | ratio | All profits over all losses; 1 is break-even.
        expectancy | Average trade | count | Mean profit of a trade, in account currency.
        average_trade_return | Average trade, return | percent | Mean profit of a trade over the value of its entries.
        average_winning_trade | Average win | count | Mean profit of the trades that won.
        average_losing_trade | Average losing trade | count | Mean loss of the trades that lost.
        largest_winning_trade | Largest win | count | The best trade.
        largest_losing_trade | Largest loss | count | The worst trade.
        trade_payoff_ratio | Win to loss | ratio | The average win over the average loss.
        kelly_fraction | Kelly fraction | percent | Stake that would have grown fastest, in hindsight; not advice.
        sqn | System quality number | ratio | Average trade over its scatter, times the root of how many.
        winning_trades_in_a_row | Wins in a row | count | Most winning trades in a row, by exit.
        losing_trades_in_a_row | Losing trades in a row | count | Most losing trades in a row, by exit.
        average_holding_days | Average trade lasted | days | Calendar days from the first entry to the last exit.
        average_mae | Average worst moment | percent | How low a trade stood while open, over the value of its entries.
        average_mfe | Average best moment | percent | How high a trade stood while open.
    """),
    "Exposure and carry": _table("""
        gross_exposure | Average gross exposure | percent | Longs and shorts together, over equity.
        max_gross_exposure | Highest gross exposure | percent | The most that was held at the end of a session.
        net_exposure | Average net exposure | percent | Longs less shorts, over equity.
        time_in_market | Time in the market | percent | Share of the sessions that ended with a holding.
        average_positions | Average positions | ratio | How many symbols were held at a session's end.
        dividends | Dividends | count | Cash received, less what was owed on shorts.
        borrow_cost | Borrow cost | count | Paid for borrowing the shares sold short.
        funding | Funding | count | Paid on perpetual futures, less what was received.
        interest | Interest | count | Paid on negative cash.
    """),
    "Sample": _table("""
        observations | Sessions measured | count | Returns behind every figure.
        missing | Returns left out | count | Returns that were missing or not finite.
    """),
}
"""Known metrics by group, in the order shown. One that is not here is shown under its own key."""

KNOWN = {key: metric for group in GROUPS.values() for key, metric in group.items()}

SAME = {**SHORT, "annual_return": "cagr"}
"""Second names of metrics, and the name that they are shown under."""

_SUFFIX = {"times": "x", "sessions": " sessions", "days": " days", "bps": " bps"}


def shown(key: str, value: float | None) -> str:
    """The value of a metric as text; a dash where it is not defined."""
    if value is None or not math.isfinite(value):
        return DASH
    known = KNOWN.get(SAME.get(key, key))
    form = known.form if known else "ratio"
    if form == "percent":
        if value == 0:
            return "0%"
        return unsigned_zero(f"{value * 100:,.2f}" if abs(value) < 0.02 else f"{value * 100:,.1f}") + "%"
    digits = {"count": 0, "sessions": 0, "days": 1, "bps": 1}.get(form, 2)
    return unsigned_zero(f"{value:,.{digits}f}") + _SUFFIX.get(form, "")


def unsigned_zero(text: str) -> str:
    """The text without the sign of a number that rounds to zero."""
    return text if text.strip("-0.") else text.removeprefix("-")


def metric_groups(metrics: Mapping[str, float | None]) -> list[Group]:
    """Every metric of the result once, in the glossary's groups and order; the unknown ones last."""
    named = {SAME.get(key, key): value for key, value in metrics.items()}
    groups = [
        Group(
            name,
            tuple(Row(known.name, shown(key, named[key]), known.meaning) for key, known in of.items() if key in named),
        )
        for name, of in GROUPS.items()
    ]
    unknown = [key for key in named if key not in KNOWN]
    others = tuple(Row(key.replace("_", " ").capitalize(), shown(key, named[key]), "") for key in unknown)
    return [group for group in [*groups, Group("Other", others)] if group.rows]
