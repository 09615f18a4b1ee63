"""The report as a small PNG, shown inline in the Dagster UI."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from quant_assets import plots
from quant_assets.backtests.glossary import shown
from quant_assets.backtests.report.daily import Benchmark, compared, daily

if TYPE_CHECKING:
    from quant_assets.backtests.engine import BacktestResult
    from quant_assets.backtests.verdict.caveats import Provenance


def picture(result: BacktestResult, benchmark: Benchmark, provenance: Provenance | None = None) -> bytes:
    """Equity against the benchmark, if there is one (log axis) over drawdown, as a PNG of about 700 x 380 pixels.

    With a `provenance` whose evidence is known, its heading begins with the verdict: Proven or Unproven.
    """
    frame = daily(result.equity, result.fills, benchmark)
    if frame.height < 2:
        return plots.empty_picture("No sessions were traded")
    figure, (upper, lower) = plots.canvas(heights=(2.6, 1.0), height=3.8)
    days = frame["session"].to_numpy()
    lines = [("equity", "strategy", plots.BLUE, 1.4)]
    if compared(frame):
        lines.insert(0, ("benchmark", "benchmark", plots.GREY, 1.1))
    for name, label, colour, width in lines:
        # A log axis has no place for an account that was lost.
        drawn = frame.select(pl.when(pl.col(name) > 0).then(name)).to_series().to_numpy()
        upper.plot(days, drawn, color=colour, linewidth=width, label=label)
    plots.log_axis(upper)
    upper.legend(loc="upper left", fontsize=8, frameon=False, labelcolor="linecolor", handlelength=1.2)
    lower.fill_between(days, frame["drawdown"].to_numpy(), 0, color=plots.RED, alpha=0.25, linewidth=0)
    lower.plot(days, frame["drawdown"].to_numpy(), color=plots.RED, linewidth=0.8)
    lower.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    plots.date_axis(lower)
    depth = shown("max_drawdown", float(np.nanmin(frame["drawdown"].to_numpy())))
    figures = f"Sharpe {shown('sharpe', result.metrics.get('sharpe'))}, max drawdown {depth}"
    span = f"{frame['session'][0]} to {frame['session'][-1]}, after costs"
    plots.title(upper, f"{_word(provenance)}{figures}", span)
    return plots.png(figure)


def _word(provenance: Provenance | None) -> str:
    evidence = provenance.evidence if provenance else None
    if evidence is None:
        return ""
    return "PROVEN on this history. " if evidence.proven else "UNPROVEN. "
