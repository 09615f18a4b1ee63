"""The backtest report: one HTML page that opens anywhere without a network, and a small picture of the same."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any

import polars as pl

from quant_assets import plots as pictures
from quant_assets.backtests import honesty
from quant_assets.backtests.glossary import Group, metric_groups, shown
from quant_assets.backtests.honesty import Provenance, Result, caveats, verdict
from quant_assets.backtests.plots import MONTHS, Chart, Series, Values, date_ticks, panel

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["Provenance", "caveats", "page", "picture", "verdict"]

YEAR, QUARTER = 252, 63
LAST_TRADES = 25


def page(result: Result, benchmark: pl.LazyFrame | pl.DataFrame, provenance: Provenance) -> str:
    """The report as one self-contained HTML page, under 2 MB for twenty years of sessions.

    `benchmark` holds session and return (a fraction, per session); sessions it lacks count as unchanged.
    """
    frame = _daily(result, benchmark)
    charts = _charts(frame)
    sessions = frame["session"].to_list()
    settings = provenance.settings
    return _template().render(
        title=f"{provenance.strategy} on {provenance.config_name}",
        subtitle=_subtitle(sessions, provenance),
        verdict=verdict(result, provenance),
        caveats=caveats(result, provenance),
        tiles=_tiles(result),
        account=f"{settings.cash:,.0f}",
        charts={name: charts.get(name) for name in ("equity", "rolling", "exposure")},
        last_session=str(sessions[-1]) if sessions else "",
        latest=_latest,
        month_names=MONTHS,
        months=_months(frame),
        window=YEAR,
        costs=_costs(result),
        cost_note=_cost_note(result),
        metric_columns=_columns(metric_groups(result.metrics)),
        trades=_trades(result),
        trades_note=_trades_note(result),
        assumptions=honesty.assumptions(provenance),
        facts=_facts(result, provenance),
        data=_data(sessions, charts),
    )


def picture(result: Result, benchmark: pl.LazyFrame | pl.DataFrame) -> bytes:
    """Equity against the benchmark (log axis) over drawdown, as a PNG of about 700 x 380 pixels."""
    frame = _daily(result, benchmark)
    if frame.height < 2:
        return pictures.empty_picture("No sessions were traded")
    figure, (upper, lower) = pictures.canvas(heights=(2.6, 1.0), height=3.8)
    days = frame["session"].to_numpy()
    upper.plot(days, frame["benchmark"].to_numpy(), color=pictures.GREY, linewidth=1.1, label="benchmark")
    upper.plot(days, frame["equity"].to_numpy(), color=pictures.BLUE, linewidth=1.4, label="strategy")
    pictures.log_axis(upper)
    upper.legend(loc="upper left", fontsize=8, frameon=False, labelcolor="linecolor", handlelength=1.2)
    lower.fill_between(days, frame["drawdown"].to_numpy(), 0, color=pictures.RED, alpha=0.25, linewidth=0)
    lower.plot(days, frame["drawdown"].to_numpy(), color=pictures.RED, linewidth=0.8)
    lower.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    pictures.date_axis(lower)
    sharpe, depth = result.metrics.get("sharpe"), float(frame["drawdown"].to_numpy().min())
    heading = "Equity" if sharpe is None else f"Sharpe {sharpe:.2f}"
    pictures.title(
        upper, f"{heading}, max drawdown {shown('max_drawdown', depth)}", f"{frame['session'][0]} to {frame['session'][-1]}, after costs"
    )
    return pictures.png(figure)


def _daily(result: Result, benchmark: pl.LazyFrame | pl.DataFrame) -> pl.DataFrame:
    """One row a session: equity, benchmark (grown from the same start), drawdowns, rolling figures, exposure."""
    traded = result.fills.lazy().group_by("session").agg(traded=(pl.col("quantity").abs() * pl.col("price")).sum())
    other = benchmark.lazy().select("session", benchmark_return=pl.col("return"))
    equity, grown, own = pl.col("equity"), pl.col("benchmark"), pl.col("return")
    spread = own.rolling_std(YEAR)
    return (
        result.equity.lazy()
        .select("session", "equity", "return", "gross_exposure", "net_exposure")
        .sort("session")
        .join(other, on="session", how="left", maintain_order="left")
        .join(traded, on="session", how="left", maintain_order="left")
        .with_columns(pl.col("traded", "benchmark_return", "return").fill_nan(None).fill_null(0.0))
        .with_columns(benchmark=_start() * (1 + pl.col("benchmark_return")).cum_prod())
        .with_columns(
            drawdown=equity / pl.max_horizontal(equity.cum_max(), _start()) - 1,
            benchmark_drawdown=grown / pl.max_horizontal(grown.cum_max(), _start()) - 1,
            rolling_sharpe=pl.when(spread > 0).then(own.rolling_mean(YEAR) / spread * math.sqrt(YEAR)),
            rolling_volatility=spread * math.sqrt(YEAR),
            benchmark_volatility=pl.col("benchmark_return").rolling_std(YEAR) * math.sqrt(YEAR),
            turnover=(pl.col("traded") / equity).rolling_sum(QUARTER) / 2 * YEAR / QUARTER,
        )
        .collect()
    )


def _start() -> pl.Expr:
    """Equity before the first session's return."""
    return pl.col("equity").first() / (1 + pl.col("return").first())


def _charts(frame: pl.DataFrame) -> dict[str, Chart]:
    def line(label: str, tone: str, column: str, percent: bool = False, filled: bool = False) -> Series:
        return Series(label, tone, frame[column].fill_nan(None).to_list(), percent, filled)

    dates = date_ticks(frame["session"].to_list())
    charts = {
        "equity": Chart(
            "equity",
            "Equity of the strategy and of the benchmark on a log axis, and below it how far the strategy stood under its peak",
            (
                panel("", [line("Benchmark", "b", "benchmark"), line("Strategy", "a", "equity")], 300, log=True),
                panel(
                    "Drawdown",
                    [
                        line("Benchmark drawdown", "b", "benchmark_drawdown", True),
                        line("Drawdown", "bad", "drawdown", True, True),
                    ],
                    130,
                ),
            ),
            dates,
        ),
        "exposure": Chart(
            "exposure",
            "Gross and net exposure as shares of equity, and annualised turnover",
            (
                panel(
                    "Exposure",
                    [line("Gross", "b", "gross_exposure", True), line("Net", "a", "net_exposure", True, True)],
                    130,
                ),
                panel("Turnover a year", [line("Turnover", "c", "turnover")], 110, note="times equity"),
            ),
            dates,
        ),
    }
    if frame["rolling_volatility"].drop_nulls().len() > 1:
        charts["rolling"] = Chart(
            "rolling",
            "Rolling Sharpe ratio of the strategy, and rolling volatility of strategy and benchmark",
            (
                panel("Sharpe ratio", [line("Sharpe", "a", "rolling_sharpe")], 130),
                panel(
                    "Volatility",
                    [
                        line("Benchmark volatility", "b", "benchmark_volatility", True),
                        line("Volatility", "a", "rolling_volatility", True),
                    ],
                    130,
                ),
            ),
            dates,
        )
    return charts


def _data(sessions: Sequence[date], charts: dict[str, Chart]) -> Any:
    """The values under the pointer, as JSON that cannot close its script element."""
    from markupsafe import Markup

    content = {
        "sessions": [str(session) for session in sessions],
        "charts": {
            name: [
                {"percent": path.series.percent, "values": _rounded(path.series.values, path.series.percent)}
                for part in chart.panels
                for path in part.paths
            ]
            for name, chart in charts.items()
        },
    }
    return Markup(json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))


def _rounded(values: Values, percent: bool) -> list[float | int | None]:
    places = 4 if percent else 2
    return [
        None
        if value is None or not math.isfinite(value)
        else round(value)
        if abs(value) >= 1000
        else round(value, places)
        for value in values
    ]


def _latest(series: Series) -> str:
    value = series.values[-1] if series.values else None
    if value is None:
        return "–"  # noqa: RUF001
    if series.percent:
        return _plain(f"{value * 100:.1f}") + "%"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}"


def _plain(text: str) -> str:
    """Without the sign of a number that rounds to zero."""
    return text.removeprefix("-") if not text.strip("-0.") else text


@dataclass(frozen=True, slots=True)
class Cell:
    """One return of the heatmap: its text and, where there is one, its background."""

    text: str
    back: str


@dataclass(frozen=True, slots=True)
class Year:
    year: int
    cells: tuple[Cell, ...]
    total: Cell


def _months(frame: pl.DataFrame) -> list[Year]:
    growth = ((1 + pl.col("return")).product() - 1).alias("growth")
    session = pl.col("session").dt
    monthly = frame.group_by(year=session.year(), month=session.month()).agg(growth)
    yearly = dict(frame.group_by(year=session.year()).agg(growth).rows())
    found = {(year, month): value for year, month, value in monthly.rows()}
    # The shade follows the month against a large one of this history, so that one crash does not blank the rest.
    scale = float(monthly["growth"].abs().quantile(0.95) or 0.0) or 1.0
    return [
        Year(
            year,
            tuple(_cell(found.get((year, month)), scale) for month in range(1, 13)),
            _cell(yearly[year], 3 * scale),
        )
        for year in sorted(yearly)
    ]


def _cell(value: float | None, scale: float) -> Cell:
    if value is None:
        return Cell("", "")
    colour = "38,110,214" if value >= 0 else "214,84,44"
    strength = 0.08 + 0.42 * min(abs(value) / scale, 1.0)
    return Cell(_plain(f"{value * 100:.1f}"), f"rgba({colour},{strength:.2f})")


@dataclass(frozen=True, slots=True)
class Tile:
    name: str
    value: str
    beside: str


def _tiles(result: Result) -> list[Tile]:
    metrics = result.metrics

    def text(key: str) -> str:
        return shown(key, metrics.get(key))

    versus = (
        f"benchmark {text('benchmark_cagr')}" if metrics.get("benchmark_cagr") is not None else "a year, compounded"
    )
    return [
        Tile("Return a year", text("cagr"), versus),
        Tile("Sharpe ratio", text("sharpe"), f"95%: {text('sharpe_low')} to {text('sharpe_high')}"),
        Tile("Volatility", text("volatility"), "a year"),
        Tile("Max drawdown", text("max_drawdown"), "below the peak"),
        Tile("Turnover", text("turnover"), "of equity a year"),
        Tile("Fills", f"{result.fills.height:,}", f"{int(result.fills['ambiguous'].sum()):,} ambiguous"),
    ]


@dataclass(frozen=True, slots=True)
class Cost:
    name: str
    amount: str
    beside: str
    width: float


def _costs(result: Result) -> list[Cost]:
    parts = honesty.costs(result)
    total, largest = sum(parts.values()), max(parts.values())
    return [
        Cost(
            name,
            f"{value:,.0f}",
            f"{value / total:.0%}" if total else "",
            round(100 * value / largest, 1) if largest else 0.0,
        )
        for name, value in parts.items()
    ]


def _cost_note(result: Result) -> str:
    total = sum(honesty.costs(result).values())
    traded = float((result.fills["quantity"].abs() * result.fills["price"]).sum())
    rate = f", {total / traded * 1e4:.1f} bps of the {traded:,.0f} traded" if traded else ""
    return f"{total:,.0f} in all{rate}. Already taken off every figure above."


def _columns(groups: Sequence[Group]) -> list[list[Group]]:
    """Two columns of about the same number of rows, in order."""
    half, held = sum(len(group.rows) + 1 for group in groups) / 2, 0
    columns: list[list[Group]] = [[], []]
    for group in groups:
        columns[0 if held < half else 1].append(group)
        held += len(group.rows) + 1
    return columns


def _trades(result: Result) -> list[dict[str, str]]:
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


def _trades_note(result: Result) -> str:
    total = result.fills.height
    if not total:
        return "No order was filled."
    return (
        f"The latest {LAST_TRADES} of {total:,} fills, newest first."
        if total > LAST_TRADES
        else "Every fill, newest first."
    )


def _subtitle(sessions: Sequence[date], provenance: Provenance) -> str:
    span = f"{sessions[0]} to {sessions[-1]}, {len(sessions):,} sessions" if sessions else "no sessions"
    parameters = ", ".join(f"{name} {value}" for name, value in provenance.parameters.items())
    return f"Backtest, {span}. {len(provenance.symbols):,} symbols; {parameters or 'default parameters'}."


def _facts(result: Result, provenance: Provenance) -> list[tuple[str, str]]:
    symbols = list(provenance.symbols)
    listed = ", ".join(symbols[:20]) + (f" and {len(symbols) - 20:,} more" if len(symbols) > 20 else "")
    return [
        ("Strategy", provenance.strategy),
        ("Parameters", ", ".join(f"{name} = {value}" for name, value in provenance.parameters.items()) or "defaults"),
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


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("quant_assets.backtests", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("page.html.j2")
