"""The report as one HTML page: its sections put together, and the template that lays them out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from quant_assets.backtests.glossary import metric_groups
from quant_assets.backtests.metrics.year import sessions_a_year
from quant_assets.backtests.report import evidence as evidences
from quant_assets.backtests.report import heatmaps, rows
from quant_assets.backtests.report.daily import Benchmark, charts, daily, latest, under_pointer, window_of
from quant_assets.backtests.report.geometry import MONTHS
from quant_assets.backtests.report.market import market
from quant_assets.backtests.verdict import caveats as honesty

if TYPE_CHECKING:
    from jinja2 import Template

    from quant_assets.backtests.engine import BacktestResult
    from quant_assets.backtests.verdict.assess import Evidence
    from quant_assets.backtests.verdict.caveats import Provenance

CONTENTS = {
    "equity": "Equity",
    "evidence": "Is it luck?",
    "surface": "Parameters",
    "months": "Months",
    "rolling": "Through time",
    "trades": "Trades",
    "exposure": "Exposure",
    "costs": "Costs",
    "metrics": "Metrics",
    "fills": "Last fills",
    "assumptions": "Assumptions",
    "facts": "Where from",
}


def page(
    result: BacktestResult,
    benchmark: Benchmark,
    provenance: Provenance,
    bars: pl.LazyFrame | pl.DataFrame | None = None,
) -> str:
    """The report as one self-contained HTML page, under 5 MB for twenty years of sessions and 5,000 fills.

    `benchmark` holds session and return (a fraction, per session); sessions it lacks count as unchanged; None or "cash"
    where there is none. `bars`
    (symbol, session or ts, close, optional split; as they were traded) are what the fills are drawn on; without them
    the page has no price chart. What `provenance.evidence` holds decides which parts on evidence there are.

    Example: `Path("report.html").write_text(report.page(result, benchmark, provenance, bars))`
    """
    year = provenance.settings.periods_per_year or sessions_a_year(result.equity["session"])
    frame = daily(result.equity, result.fills, benchmark, year)
    drawn = charts(frame, year)
    sessions = frame["session"].to_list()
    traded = market(bars, result.fills, result.positions, sessions)
    evidence = provenance.evidence
    verdict, caveats = honesty.verdict(result, provenance), _untold(honesty.caveats(result, provenance), evidence)
    shown = {
        "evidence": evidences.view(evidence),
        "surface": heatmaps.surface(evidence.surface) if evidence else None,
        "trades": traded,
    }
    return _template().render(
        title=f"{provenance.strategy} on {provenance.config_name}",
        subtitle=rows.subtitle(sessions, provenance),
        tone=verdict.tone,
        headline=_headline(verdict.text, caveats),
        caveats=caveats,
        contents=[(key, name) for key, name in CONTENTS.items() if shown.get(key, True)],
        tiles=rows.tiles(result, evidence),
        account=f"{provenance.settings.cash:,.0f}",
        charts={name: drawn.get(name) for name in ("equity", "rolling", "exposure")},
        last_session=str(sessions[-1]) if sessions else "",
        latest=latest,
        month_names=MONTHS,
        months=heatmaps.months(frame),
        window=window_of(year),
        evidence=shown["evidence"],
        surface=shown["surface"],
        market_note=traded.note if traded else "",
        costs=rows.costs(result),
        cost_note=rows.cost_note(result),
        stress=rows.stress(evidence.stress) if evidence else None,
        metric_columns=rows.columns(metric_groups(result.metrics)),
        trades=rows.trades(result),
        trades_note=rows.trades_note(result),
        assumptions=[*honesty.assumptions(provenance), *rows.limits(provenance.settings)],
        facts=rows.facts(result, provenance),
        data=under_pointer(sessions, drawn) | ({"market": traded.data} if traded else {}),
    )


def _untold(caveats: Sequence[str], evidence: Evidence | None) -> list[str]:
    """Without the sentences of the tests, which the table of tests tells."""
    told = {test.words for test in evidence.tests} if evidence else set()
    return [line for line in caveats if line not in told]


def _headline(text: str, caveats: Sequence[str]) -> tuple[str, str]:
    """The verdict's first sentence, and what follows where no caveat below it says the same."""
    first, dot, rest = text.partition(". ")
    return (first + dot.strip(), "" if rest in caveats else rest)


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("quant_assets.backtests.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment.get_template("page.html.j2")
