"""What the report tells in rows: tiles, metrics, costs and their stress, the last fills, where it comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from quant_assets.backtests.glossary import KNOWN, SAME, Group, shown
from quant_assets.backtests.verdict import caveats as honesty

if TYPE_CHECKING:
    from quant_assets.backtests.engine import BacktestResult
    from quant_assets.backtests.verdict.assess import Evidence
    from quant_assets.backtests.verdict.caveats import Provenance
    from resources.config import BacktestSettings

LAST_TRADES = 25

STRESSED = ("total_return", "cagr", "sharpe_ratio", "max_drawdown", "turnover", "costs")
"""Figures of the stress that the page shows, as the glossary calls them."""


@dataclass(frozen=True, slots=True)
class Tile:
    name: str
    value: str
    beside: str


def tiles(result: BacktestResult, evidence: Evidence | None = None) -> list[Tile]:
    """The six figures that are looked at first. The interval is that of the evidence, where there is one."""
    metrics = result.metrics
    drawn = evidence.intervals.get("sharpe_ratio") if evidence else None
    low, high = (drawn.low, drawn.high) if drawn else (metrics.get("sharpe_low"), metrics.get("sharpe_high"))

    def text(key: str) -> str:
        return shown(key, metrics.get(key))

    versus = (
        f"benchmark {text('benchmark_cagr')}" if metrics.get("benchmark_cagr") is not None else "a year, compounded"
    )
    return [
        Tile("Return a year", text("cagr"), versus),
        Tile("Sharpe ratio", text("sharpe"), f"95%: {shown('sharpe_low', low)} to {shown('sharpe_high', high)}"),
        Tile("Volatility", text("volatility"), "a year"),
        Tile("Max drawdown", text("max_drawdown"), "below the peak"),
        Tile("Turnover", text("turnover"), "equity, a year"),
        Tile("Fills", f"{result.fills.height:,}", f"{int(result.fills['ambiguous'].sum()):,} ambiguous"),
    ]


def columns(groups: Sequence[Group]) -> list[list[Group]]:
    """The groups in order, broken into the two columns whose lengths are nearest."""
    lengths = [len(group.rows) + 2 for group in groups]
    cut = min(range(len(groups) + 1), key=lambda place: abs(sum(lengths[:place]) - sum(lengths[place:])))
    return [list(groups[:cut]), list(groups[cut:])]


@dataclass(frozen=True, slots=True)
class Cost:
    """One bar of the cost breakdown; `width` in per cent of the largest."""

    name: str
    amount: str
    beside: str
    width: float


def costs(result: BacktestResult) -> list[Cost]:
    """Each cost in account currency and as a share of all that was paid; carrying is left out where there was none.

    What was earned, as interest may be, is no cost: it has its amount, and neither share nor bar.
    """
    parts = {
        name: value
        for name, value in honesty.costs(result).items()
        if value or name not in ("Borrowing", "Funding", "Interest")
    }
    paid = [value for value in parts.values() if value > 0]
    total, largest = sum(paid) or 1.0, max(paid, default=1.0)
    return [
        Cost(name, f"{-value:,.0f}", "earned", 0.0)
        if value < 0
        else Cost(name, f"{value:,.0f}", f"{value / total:.0%}", round(100 * value / largest, 1))
        for name, value in parts.items()
    ]


def cost_note(result: BacktestResult) -> str:
    """One paragraph on what trading and carrying took."""
    parts, metrics = honesty.costs(result).values(), result.metrics
    paid, earned = sum(value for value in parts if value > 0), -sum(value for value in parts if value < 0)
    drag = metrics.get("cost_drag")
    if earned:
        more = "" if drag is None or drag >= 0 else " (more was earned than paid)"
        told = f"{paid:,.0f} paid and {earned:,.0f} earned: {shown('cost_drag', drag)} of equity a year{more}."
    else:
        told = f"{paid:,.0f} in all, {shown('cost_drag', drag)} of equity a year."
    traded = shown("costs_bps", metrics.get("costs_bps"))
    return f"{told} Trading cost {traded} of what was traded. Already taken off every figure above."


@dataclass(frozen=True, slots=True)
class Table:
    """Text in rows under headings; `good` says whether a row's mean return is above zero, None if unknown."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    good: tuple[bool | None, ...]


def stress(frame: pl.DataFrame | None) -> Table | None:
    """The result with costs multiplied: `frame` as evidence.stress makes it, a row for each multiple."""
    if frame is None or frame.is_empty():
        return None
    multiples = frame.to_dicts()
    return Table(
        headings=("Costs", *(KNOWN[SAME.get(name, name)].name for name in STRESSED)),
        rows=tuple((f"{row['times']:g}x", *(shown(name, row[name]) for name in STRESSED)) for row in multiples),
        good=tuple(None if row["mean_return"] is None else row["mean_return"] > 0 for row in multiples),
    )


def trades(result: BacktestResult) -> list[dict[str, str]]:
    """The latest fills as text, newest first."""
    last = result.fills.sort("ts", "order_id").tail(LAST_TRADES).reverse()
    return [
        {
            "session": str(fill["session"]),
            "symbol": str(fill["symbol"]),
            "side": str(fill["side"]).lower(),
            "quantity": f"{abs(fill['quantity']):,.10g}",
            "reference": _amount(fill["reference_price"], 2),
            "price": _amount(fill["price"], 4),
            "value": _amount(abs(fill["quantity"] * fill["price"]) * fill.get("multiplier", 1.0), 0),
            "costs": _amount(fill["spread_cost"] + fill["slippage_cost"] + fill["commission"], 2),
            "reason": str(fill["reason"]) + (" (ambiguous)" if fill["ambiguous"] else ""),
        }
        for fill in last.iter_rows(named=True)
    ]


def _amount(value: float, digits: int) -> str:
    """With so many decimals; of what is smaller than 1, as many as four digits need that say something."""
    if 0 < abs(value) < 1:
        digits = max(digits, 3 - math.floor(math.log10(abs(value))))
        whole, _, decimals = f"{value:.{digits}f}".partition(".")
        return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"
    return f"{value:,.{digits}f}"


def trades_note(result: BacktestResult) -> str:
    """Which of the fills are listed."""
    total = result.fills.height
    if not total:
        return "No order was filled."
    return (
        f"The latest {LAST_TRADES} of {total:,} fills, newest first."
        if total > LAST_TRADES
        else "Every fill, newest first."
    )


def subtitle(sessions: Sequence[date], provenance: Provenance) -> str:
    """When, on how many symbols, with which parameters."""
    span = f"{sessions[0]} to {sessions[-1]}, {len(sessions):,} sessions" if sessions else "no sessions"
    count = len(provenance.symbols)
    return (
        f"Backtest, {span}. {count:,} symbol{'' if count == 1 else 's'}; "
        f"{_parameters(provenance.parameters) or 'default parameters'}."
    )


def _parameters(parameters: Mapping[str, object], between: str = " ") -> str:
    return ", ".join(f"{name}{between}{value}" for name, value in parameters.items())


def limits(settings: BacktestSettings) -> list[str]:
    """The pre-trade limits that were in force, as an assumption; nothing where there were none."""
    if settings.limits is None:
        return []
    bounds = [
        f"{name} {value:g}" for name, value in settings.limits.model_dump().items() if isinstance(value, int | float)
    ]
    return [f"Orders that would break a pre-trade limit were refused before they were sent: {', '.join(bounds)}."]


def facts(result: BacktestResult, provenance: Provenance) -> list[tuple[str, str]]:
    """What it would take to make this report again."""
    symbols = list(provenance.symbols)
    listed = ", ".join(symbols[:20]) + (f" and {len(symbols) - 20:,} more" if len(symbols) > 20 else "")
    return [
        ("Strategy", provenance.strategy),
        ("Parameters", _parameters(provenance.parameters, " = ") or "defaults"),
        ("Configuration", provenance.config_name),
        ("Symbols", listed),
        ("Benchmark", provenance.benchmark),
        ("Trials on record", f"{provenance.trials:,}"),
        ("Data version", provenance.data_version),
        ("Code version", provenance.code_version),
        ("Model version", provenance.model_version or "no model"),
        ("Orders", f"{result.orders.height:,}"),
        ("Made", provenance.created_at.strftime("%Y-%m-%d %H:%M %Z")),
    ]
