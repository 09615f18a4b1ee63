"""The backtest report: one HTML page that opens anywhere without a network, and a small picture of the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import TYPE_CHECKING

import polars as pl

from quant_assets import plots as pictures
from quant_assets.backtests import honesty
from quant_assets.backtests.glossary import DASH, Group, metric_groups, shown, unsigned_zero
from quant_assets.backtests.honesty import Provenance, caveats, verdict
from quant_assets.backtests.plots import MONTHS, Chart, Panel, Series, Values, date_ticks, panel
from quant_assets.backtests.trades import CORPORATE

if TYPE_CHECKING:
    from jinja2 import Template

    from quant_assets.backtests.engine import BacktestResult

__all__ = ["Provenance", "caveats", "page", "picture", "verdict"]

YEAR = 252
LAST_TRADES = 25


def page(result: BacktestResult, benchmark: pl.LazyFrame | pl.DataFrame, provenance: Provenance) -> str:
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


def picture(result: BacktestResult, benchmark: pl.LazyFrame | pl.DataFrame) -> bytes:
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
    depth = shown("max_drawdown", float(frame["drawdown"].to_numpy().min()))
    span = f"{frame['session'][0]} to {frame['session'][-1]}, after costs"
    pictures.title(upper, f"Sharpe {shown('sharpe', result.metrics.get('sharpe'))}, max drawdown {depth}", span)
    return pictures.png(figure)


def _daily(result: BacktestResult, benchmark: pl.LazyFrame | pl.DataFrame) -> pl.DataFrame:
    """One row a session: equity, benchmark (grown from the same start), drawdowns, rolling figures, exposure."""
    by_order = result.fills.lazy().filter(~pl.col("reason").is_in(CORPORATE))
    traded = by_order.group_by("session").agg(traded=(pl.col("quantity") * pl.col("reference_price")).sum())
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
            turnover=(pl.col("traded") / equity).rolling_sum(YEAR) / 2,
        )
        .collect()
    )


def _start() -> pl.Expr:
    """Equity before the first session's return."""
    return pl.col("equity").first() / (1 + pl.col("return").first())


def _charts(frame: pl.DataFrame) -> dict[str, Chart]:
    """The charts by name; the rolling ones need a year of sessions."""
    dates = date_ticks(frame["session"].to_list())
    charts = [
        Chart(
            "equity",
            "Equity of strategy and benchmark on a log axis, and below it how far each stood under its peak",
            _equity_panels(frame),
            dates,
        ),
        Chart("exposure", "Gross and net exposure as shares of equity, and turnover", _exposure_panels(frame), dates),
    ]
    if frame.height > YEAR:
        label = "Rolling Sharpe ratio of the strategy, and rolling volatility of strategy and benchmark"
        charts.append(Chart("rolling", label, _rolling_panels(frame), dates))
    return {chart.name: chart for chart in charts}


def _equity_panels(frame: pl.DataFrame) -> tuple[Panel, ...]:
    under = [
        _line(frame, "Benchmark drawdown", "b", "benchmark_drawdown", percent=True),
        _line(frame, "Drawdown", "bad", "drawdown", percent=True, filled=True),
    ]
    grown = [_line(frame, "Benchmark", "b", "benchmark"), _line(frame, "Strategy", "a", "equity")]
    return panel("", grown, 300, log=True), panel("Drawdown", under, 130)


def _exposure_panels(frame: pl.DataFrame) -> tuple[Panel, ...]:
    exposure = [
        _line(frame, "Gross", "b", "gross_exposure", percent=True),
        _line(frame, "Net", "a", "net_exposure", percent=True, filled=True),
    ]
    held = panel("Exposure", exposure, 130)
    if frame.height <= YEAR:
        return (held,)
    return held, panel("Turnover", [_line(frame, "Turnover", "c", "turnover")], 110, note="times equity, a year")


def _rolling_panels(frame: pl.DataFrame) -> tuple[Panel, ...]:
    scatter = [
        _line(frame, "Benchmark volatility", "b", "benchmark_volatility", percent=True),
        _line(frame, "Volatility", "a", "rolling_volatility", percent=True),
    ]
    return panel("Sharpe ratio", [_line(frame, "Sharpe", "a", "rolling_sharpe")], 130), panel(
        "Volatility", scatter, 130
    )


def _line(
    frame: pl.DataFrame, label: str, tone: str, column: str, *, percent: bool = False, filled: bool = False
) -> Series:
    return Series(label, tone, frame[column].fill_nan(None).to_list(), percent, filled)


def _data(sessions: Sequence[date], charts: dict[str, Chart]) -> dict[str, object]:
    """The values under the pointer."""
    return {
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
        return DASH
    if series.percent:
        return unsigned_zero(f"{value * 100:.1f}") + "%"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}"


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
    return Cell(unsigned_zero(f"{value * 100:.1f}"), f"rgba({colour},{strength:.2f})")


@dataclass(frozen=True, slots=True)
class Tile:
    name: str
    value: str
    beside: str


def _tiles(result: BacktestResult) -> list[Tile]:
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
        Tile("Turnover", text("turnover"), "equity, a year"),
        Tile("Fills", f"{result.fills.height:,}", f"{int(result.fills['ambiguous'].sum()):,} ambiguous"),
    ]


@dataclass(frozen=True, slots=True)
class Cost:
    """One bar of the cost breakdown; `width` in per cent of the largest."""

    name: str
    amount: str
    beside: str
    width: float


def _costs(result: BacktestResult) -> list[Cost]:
    parts = {
        name: value for name, value in honesty.costs(result).items() if value or name not in ("Borrowing", "Interest")
    }
    total, largest = sum(parts.values()) or 1.0, max(parts.values()) or 1.0
    return [
        Cost(name, f"{value:,.0f}", f"{value / total:.0%}", round(100 * value / largest, 1))
        for name, value in parts.items()
    ]


def _cost_note(result: BacktestResult) -> str:
    total, metrics = sum(honesty.costs(result).values()), result.metrics
    return (
        f"{total:,.0f} in all, {shown('cost_drag', metrics.get('cost_drag'))} of equity a year. Trading cost "
        f"{shown('costs_bps', metrics.get('costs_bps'))} of what was traded. Already taken off every figure above."
    )


def _columns(groups: Sequence[Group]) -> list[list[Group]]:
    """The groups in order, broken into the two columns whose lengths are nearest."""
    lengths = [len(group.rows) + 2 for group in groups]
    cut = min(range(len(groups) + 1), key=lambda place: abs(sum(lengths[:place]) - sum(lengths[place:])))
    return [list(groups[:cut]), list(groups[cut:])]


def _trades(result: BacktestResult) -> list[dict[str, str]]:
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


def _trades_note(result: BacktestResult) -> str:
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


def _facts(result: BacktestResult, provenance: Provenance) -> list[tuple[str, str]]:
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
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment.get_template("page.html.j2")
