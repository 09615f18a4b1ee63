"""What the report tells in rows: tiles, metrics, costs and their stress, the last fills, where it comes from."""

from __future__ import annotations

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
    """Each cost in account currency and as a share of all; carrying is left out where there was none."""
    parts = {
        name: value
        for name, value in honesty.costs(result).items()
        if value or name not in ("Borrowing", "Funding", "Interest")
    }
    total, largest = sum(parts.values()) or 1.0, max(map(abs, parts.values())) or 1.0
    return [
        Cost(name, f"{value:,.0f}", f"{value / total:.0%}", round(100 * max(value, 0.0) / largest, 1))
        for name, value in parts.items()
    ]


def cost_note(result: BacktestResult) -> str:
    """One paragraph on what trading and carrying took."""
    total, metrics = sum(honesty.costs(result).values()), result.metrics
    return (
        f"{total:,.0f} in all, {shown('cost_drag', metrics.get('cost_drag'))} of equity a year. Trading cost "
        f"{shown('costs_bps', metrics.get('costs_bps'))} of what was traded. Already taken off every figure above."
    )


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
            "reference": f"{fill['reference_price']:,.2f}",
            "price": f"{fill['price']:,.4f}",
            "value": f"{abs(fill['quantity'] * fill['price']):,.0f}",
            "costs": f"{fill['spread_cost'] + fill['slippage_cost'] + fill['commission']:,.2f}",
            "reason": str(fill["reason"]) + (" (ambiguous)" if fill["ambiguous"] else ""),
        }
        for fill in last.iter_rows(named=True)
    ]


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
    return (
        f"Backtest, {span}. {len(provenance.symbols):,} symbols; "
        f"{_parameters(provenance.parameters) or 'default parameters'}."
    )


def _parameters(parameters: Mapping[str, object], between: str = " ") -> str:
    return ", ".join(f"{name}{between}{value}" for name, value in parameters.items())


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
