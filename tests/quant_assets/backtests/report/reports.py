"""Made-up backtests, their evidence, and a reader of pages: what the tests of the report share."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser

import numpy as np
import polars as pl

from quant_assets.backtests import metrics
from quant_assets.backtests.engine import BacktestResult
from quant_assets.backtests.trades import statistics as trades
from quant_assets.backtests.verdict.assess import Evidence, Test
from quant_assets.backtests.verdict.caveats import Provenance
from quant_assets.evidence.bootstrap import Interval
from quant_assets.evidence.overfitting import pbo
from quant_assets.evidence.superiority import Superiority
from quant_assets.evidence.surface import surface
from quant_assets.evidence.trials import Counted
from resources.config import BacktestSettings

HOSTILE = "<script>alert('x')</script>"


def business_days(count: int, first: date = date(2005, 1, 3)) -> list[date]:
    days = (first + timedelta(number) for number in range(2 * count + 7))
    return [day for day in days if day.weekday() < 5][:count]


def a_result(sessions: int = 600, drift: float = 0.0005, every: int = 20, **of_fills: object) -> BacktestResult:
    """A made-up account that drifts and trades every so many sessions; `of_fills` overrides columns of its fills."""
    days = business_days(sessions)
    returns = np.random.default_rng(7).normal(drift, 0.01, sessions)
    wealth = 1_000_000 * np.cumprod(1 + returns)
    stamps = [datetime(day.year, day.month, day.day, 14, 30, tzinfo=UTC) for day in days]
    equity = pl.DataFrame(
        {
            "session": days, "ts": stamps, "cash": 0.1 * wealth, "positions_value": 0.9 * wealth, "equity": wealth,
            "gross_exposure": 0.9, "net_exposure": 0.9, "margin": 0.9 * wealth, "return": returns, "dividends": 0.0,
            "borrow_cost": 0.0, "funding": 0.5, "interest": 1.0,
        }
    )  # fmt: skip
    one_fill = {
        "symbol": "AAA", "side": "buy", "quantity": 100.0, "price": 50.02, "reference_price": 50.0, "spread_cost": 0.5,
        "slippage_cost": 1.5, "commission": 1.0, "reason": "open", "ambiguous": False,
    }  # fmt: skip
    traded = equity.with_row_index("place").filter(pl.col("place") % every == 0) if every else equity.clear()
    fills = traded.select(
        pl.format("o{}", pl.int_range(pl.len())).alias("order_id"),
        "ts",
        "session",
        *(pl.lit(value).alias(name) for name, value in (one_fill | of_fills).items()),
    )
    orders = fills.select("order_id", "ts", "symbol", "side", "quantity", "reason", filled="quantity").with_columns(
        type=pl.lit("market"), state=pl.lit("filled")
    )
    positions = equity.select(
        "session", symbol=pl.lit("AAA"), quantity=pl.lit(1.0), price="equity", market_value="equity"
    )
    figures = metrics.summary(equity.select("session", "return"), a_benchmark(sessions))
    return BacktestResult(
        equity, fills, positions, orders, figures | trades.statistics(equity, fills, positions, orders)
    )


def a_benchmark(sessions: int = 600) -> pl.DataFrame:
    returns = np.random.default_rng(8).normal(0.0002, 0.01, sessions)
    return pl.DataFrame({"session": business_days(sessions), "return": returns})


def a_provenance(**changes: object) -> Provenance:
    base = Provenance(
        strategy="moving_average_cross",
        parameters={"fast": 50, "slow": 200},
        config_name="sample",
        data_version="d41d8cd9",
        code_version="c0ffee",
        trials=1,
        settings=BacktestSettings(),
        symbols=["AAA", "BBB"],
        benchmark="equal-weighted universe",
        created_at=datetime(2024, 5, 1, 12, 0, tzinfo=UTC),
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def with_metrics(result: BacktestResult, **changes: float | None) -> BacktestResult:
    return replace(result, metrics=result.metrics | changes)


def bars_of(result: BacktestResult) -> pl.DataFrame:
    """A price that rises by a hundredth a session, for every symbol that was traded."""
    closes = result.equity.select("session", close=50.0 + pl.int_range(pl.len()) / 100)
    return result.fills.select(pl.col("symbol").unique(maintain_order=True)).join(closes, how="cross")


def a_test(name: str = "deflated_sharpe", passed: bool | None = False, **changes: object) -> Test:
    base = Test(name, passed, value=0.62, threshold=0.95, words="The chance is 62.0%.", essential=True)
    return replace(base, **changes)  # type: ignore[arg-type]


def an_evidence(**changes: object) -> Evidence:
    """Weak evidence with every part that the page can show."""
    noise = np.random.default_rng(3).normal(0, 0.01, (200, 20))
    pairs = [{"fast": fast, "slow": slow} for fast in (5, 10, 20) for slow in (50, 100)]
    sweep = pl.DataFrame([pair | {"sharpe_ratio": 0.1 * place} for place, pair in enumerate(pairs)])
    stressed = {"total_return": 0.5, "cagr": 0.03, "sharpe_ratio": 0.4, "max_drawdown": -0.2, "turnover": 2.0}
    rows = [
        {"times": 1.0 + place, "mean_return": 0.0002 - 0.00015 * place, **stressed, "costs": 1e4} for place in range(3)
    ]
    base = Evidence(
        proven=False,
        headline="Unproven: it fails the deflated Sharpe ratio. The chance is 62.0%.",
        tests=(
            a_test("minimum_track_record", True, value=400.0, threshold=600.0, words="400 of 600 sessions."),
            a_test(),
            a_test("point_in_time", False, value=0.0, threshold=1.0, words="Hindsight.", essential=False),
            a_test("ambiguous_fills", None, value=None, threshold=0.0, words="None was ambiguous."),
        ),
        trials=Counted(trials=431, with_result=425, sharpe_variance=0.001, families=7),
        intervals={"sharpe_ratio": Interval(-0.2, 1.1, 0.4, 2.5), "max_drawdown": Interval(-0.5, -0.1, -0.2, 2.5)},
        overfitting=pbo(noise, blocks=6),
        superiority=Superiority(0.31, 0.0, 0.22, 0.25, best=3, statistic=1.2, samples=1000, block=2.0),
        stress=pl.DataFrame(rows),
        surface=surface(sweep, ["fast", "slow"]),
        universe_point_in_time=False,
        ambiguous_share=0.0,
        other_path=None,
        lucky_sharpe=0.9,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


class Page(HTMLParser):
    """Collects elements, their attributes, text, and tags left open."""

    VOID = frozenset({"meta", "path", "br", "hr", "img", "link", "input"})

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.stack: list[str] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if self.stack and self.stack[-1] == tag:
            self.stack.pop()
        else:
            raise AssertionError(f"</{tag}> closes {self.stack[-3:]}")

    def handle_data(self, data: str) -> None:
        self.text += data if not self.stack or self.stack[-1] not in ("script", "style") else ""
