"""The report: honest first, self-contained, escaped, small, and right in its figures."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser

import numpy as np
import polars as pl
import pytest

from quant_assets.backtests import metrics, report, trades
from quant_assets.backtests.engine import BacktestResult
from quant_assets.backtests.glossary import DASH, GROUPS, KNOWN, SAME, metric_groups, shown
from quant_assets.backtests.honesty import Provenance, assumptions, caveats, costs, lucky_sharpe, verdict
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


@pytest.fixture(scope="module")
def html() -> str:
    return report.page(a_result(), a_benchmark(), a_provenance())


def test_the_page_is_well_formed(html: str) -> None:
    page = Page(html)
    assert page.stack == []
    assert {"svg", "table", "figure", "script"} <= {tag for tag, _ in page.elements}


def test_nothing_is_fetched(html: str) -> None:
    page = Page(html)
    assert "://" not in html
    assert "@import" not in html
    assert "url(" not in html
    fetching = {"src", "href", "srcset", "data", "action", "poster"}
    assert [(tag, given) for tag, given in page.elements if fetching & set(given)] == []
    assert not {"link", "iframe", "img", "object", "embed", "base"} & {tag for tag, _ in page.elements}
    policy = next(
        given["content"] for _, given in page.elements if given.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_caveats_come_before_any_figure(html: str) -> None:
    first = html.index("The universe was chosen with hindsight")
    assert first < html.index('class="tile"')
    assert first < html.index("<svg")


def test_everything_given_is_escaped() -> None:
    result = a_result(symbol=HOSTILE, reason=HOSTILE, side=HOSTILE)
    given = a_provenance(
        strategy=HOSTILE, parameters={HOSTILE: HOSTILE}, config_name=HOSTILE, data_version=HOSTILE,
        code_version=HOSTILE, symbols=[HOSTILE], benchmark=HOSTILE, model_version=HOSTILE,
    )  # fmt: skip
    result = replace(result, metrics=result.metrics | {HOSTILE: 1.0})
    page = report.page(result, a_benchmark(), given)
    assert HOSTILE not in page
    assert page.count("&lt;script&gt;") >= 10
    assert [tag for tag, _ in Page(page).elements].count("script") == 2


def test_the_values_under_the_pointer_are_those_of_the_result(html: str) -> None:
    result = a_result()
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert data["sessions"] == [str(day) for day in result.equity["session"]]
    benchmark, equity, benchmark_under, under = data["charts"]["equity"]
    assert equity["values"] == [round(value) for value in result.equity["equity"]]
    assert benchmark["values"][-1] == pytest.approx(1_000_000 * (1 + a_benchmark()["return"]).product(), rel=1e-6)
    assert min(under["values"]) == pytest.approx(result.metrics["max_drawdown"], abs=1e-4)
    assert min(benchmark_under["values"]) == pytest.approx(result.metrics["benchmark_max_drawdown"], abs=1e-4)
    assert data["charts"]["rolling"][0]["values"][:251] == [None] * 251
    last_year = result.equity["return"][-252:].to_numpy()
    expected = last_year.mean() / last_year.std(ddof=1) * 252**0.5
    assert data["charts"]["rolling"][0]["values"][-1] == pytest.approx(expected, abs=0.01)


def test_the_start_counts_as_a_peak() -> None:
    falling = a_result(300, drift=-0.05)
    found = re.search(r'id="data">(.*?)</script>', report.page(falling, a_benchmark(300), a_provenance()), re.DOTALL)
    assert found is not None
    under = json.loads(found[1])["charts"]["equity"][3]["values"]
    assert under[0] == pytest.approx(falling.equity["return"][0], abs=1e-4)


def test_monthly_returns_compound_to_the_year(html: str) -> None:
    result = a_result()
    of_year = result.equity.filter(pl.col("session").dt.year() == 2006)
    expected = ((1 + of_year["return"]).product() - 1) * 100
    row = re.search(r'<th scope="row">2006</th>(.*?)</tr>', html, re.DOTALL)
    assert row is not None
    cells = [float(cell) for cell in re.findall(r">(-?[\d.]+)</td>", row[1])]
    assert len(cells) == 13
    assert cells[-1] == pytest.approx(expected, abs=0.051)
    months = of_year.group_by(pl.col("session").dt.month()).agg((pl.col("return") + 1).product() - 1).sort("session")
    assert cells[:12] == pytest.approx((months["return"] * 100).to_list(), abs=0.051)


def test_the_latest_trades_come_first(html: str) -> None:
    text = Page(html).text
    assert "The latest 25 of 30 fills, newest first." in text
    listed = re.findall(r"\d{4}-\d\d-\d\d", text[text.index("newest first") : text.index("What this backtest assumes")])
    expected = a_result().fills["session"].to_list()[::-1][:25]
    assert listed == [str(day) for day in expected]


def test_twenty_years_stay_small() -> None:
    page = report.page(
        a_result(5_040, every=2), a_benchmark(5_040), a_provenance(symbols=[f"S{n}" for n in range(500)])
    )
    assert len(page.encode()) < 1_200_000


@pytest.mark.parametrize("sessions", [1, 2, 30, 252, 253])
def test_a_short_history_makes_a_page_too(sessions: int) -> None:
    page = Page(report.page(a_result(sessions), a_benchmark(sessions), a_provenance()))
    assert page.stack == []
    assert ("The history is shorter than" in page.text) == (sessions <= 252)
    assert "There is little evidence" in page.text


def test_an_account_that_never_trades_makes_a_page_and_a_picture() -> None:
    result = a_result(300, every=0)
    flat = replace(result, equity=result.equity.with_columns(pl.lit(0.0).alias("return"), equity=pl.lit(1e6)))
    flat = replace(flat, metrics=metrics.summary(flat.equity.select("session", "return"), a_benchmark(300)))
    text = Page(report.page(flat, a_benchmark(300), a_provenance())).text
    assert "No order was filled." in text
    assert "Too little happened to say anything about this strategy." in text
    assert report.picture(flat, a_benchmark(300)).startswith(b"\x89PNG")


def test_a_benchmark_that_lacks_sessions_counts_as_unchanged() -> None:
    page = report.page(a_result(300), a_benchmark(300).head(100), a_provenance())
    found = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    benchmark = json.loads(found[1])["charts"]["equity"][0]["values"]
    assert benchmark[99] == benchmark[-1] != 1_000_000


def test_the_picture_is_a_small_png() -> None:
    png = report.picture(a_result(5_040), a_benchmark(5_040).lazy())
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert (int.from_bytes(png[16:20]), int.from_bytes(png[20:24])) == (700, 380)
    assert len(png) < 60_000


VERDICTS = [  # Sharpe with its interval, trials: what is said, and its tone
    ((0.7, 0.1, 1.3), 1, "above zero on this history. Read on", "warn"),
    ((0.7, -0.1, 1.5), 1, "zero is inside", "bad"),
    ((0.7, 0.0, 1.4), 1, "zero is inside", "bad"),
    ((-0.7, -1.3, -0.1), 1, "lost money, and not by chance alone", "bad"),
    ((0.7, 0.1, 1.3), 1000, "the best of 1000 worthless trials would be expected to show 1.00", "bad"),
    ((0.7, 0.1, 1.3), 5, "above zero on this history. Read on", "warn"),
    ((None, None, None), 1, "Too little happened", "bad"),
]


@pytest.mark.parametrize(("sharpe", "trials", "says", "tone"), VERDICTS)
def test_verdict(sharpe: tuple[float | None, ...], trials: int, says: str, tone: str) -> None:
    result = with_metrics(a_result(30), **dict(zip(("sharpe", "sharpe_low", "sharpe_high"), sharpe, strict=True)))
    found = verdict(result, a_provenance(trials=trials))
    assert says in found.text
    assert found.tone == tone


def test_the_lucky_sharpe_is_the_expected_best_of_as_many_normal_draws() -> None:
    draws = np.random.default_rng(1).normal(0, 0.3, (4_000, 50)).max(axis=1).mean()
    assert lucky_sharpe(50, -0.3 * 1.96, 0.3 * 1.96) == pytest.approx(draws, rel=0.03)
    assert lucky_sharpe(1, -1, 1) == 0.0


CAVEATS = [  # provenance, metrics, fills: a sentence that must be there, one that must not
    ({"symbols": ["AAA", "BBB"]}, {}, {}, "chosen with hindsight (AAA, BBB)", "follows its members"),
    ({"symbols": [f"S{n}" for n in range(9)]}, {}, {}, "S4, S5 and 3 more", "S6"),
    ({"point_in_time": True}, {}, {}, "follows its members through time (2 symbols", "hindsight"),
    ({"trials": 1}, {}, {}, "One configuration is on record.", "without any skill"),
    ({"trials": 40}, {}, {}, "40 configurations are on record, and this is one of them. The best", "One"),
    ({}, {"probabilistic_sharpe": 0.9}, {}, "90.0%, below the customary 95%", "above the customary"),
    ({}, {"probabilistic_sharpe": 0.97}, {}, "97.0%, above the customary 95%", "below the customary"),
    ({}, {"probabilistic_sharpe": 1.0}, {}, ">99.9%, above", "100.0%"),
    ({}, {"cagr": 0.05, "benchmark_cagr": 0.08}, {}, "universe) did better: 8.0% a year against 5.0%", "!"),
    ({}, {"cagr": 0.09, "benchmark_cagr": 0.08}, {}, "hindsight", "did better"),
    ({}, {"cost_drag": 0.0123}, {}, "They took 1.23% of equity a year", "!"),
    ({}, {}, {"ambiguous": True}, "100.0% of the fills (30 of 30) hung on the unknown path", "No fill was ambiguous"),
    ({}, {}, {}, "No fill was ambiguous", "hung on the unknown path of prices inside a session; the worse"),
    ({}, {}, {}, "There is little evidence: 2.3 years and 30 fills.", "rejected"),
]  # fmt: skip


@pytest.mark.parametrize(("given", "figures", "of_fills", "present", "absent"), CAVEATS)
def test_caveats(
    given: dict[str, object], figures: dict[str, float], of_fills: dict[str, object], present: str, absent: str
) -> None:
    text = "\n".join(caveats(with_metrics(a_result(**of_fills), **figures), a_provenance(**given)))  # type: ignore[arg-type]
    assert present in text
    assert absent not in text


def test_rejected_orders_are_told() -> None:
    result = a_result()
    some = result.orders.with_columns(
        state=pl.when(pl.int_range(pl.len()) < 3).then(pl.lit("rejected")).otherwise("state")
    )
    assert "3 of 30 orders were rejected" in caveats(replace(result, orders=some), a_provenance())[-1]


def test_costs_add_up_fills_and_carry() -> None:
    assert costs(a_result(600)) == pytest.approx(
        {"Spread": 15.0, "Slippage": 45.0, "Commission": 30.0, "Borrowing": 0.0, "Funding": 300.0, "Interest": 600.0}
    )


def test_what_hangs_on_the_path_is_told_for_both_paths() -> None:
    result = with_metrics(a_result(ambiguous=True), total_return=0.101, sharpe_ratio=0.5)
    source = a_provenance(other_path={"total_return": 0.25, "sharpe_ratio": 0.75})
    (line,) = [line for line in caveats(result, source) if "unknown path" in line]
    assert line.endswith(
        "the worse path was taken. The result under the better path: 25.0% total return instead of 10.1%, "
        "0.75 Sharpe ratio instead of 0.50."
    )


ASSUMED = [
    ({"participation": 0.25}, "share 25% of a session's volume"),
    (
        {"spread": {"name": "fixed", "half_bps": 3.5}, "slippage": {"name": "fixed", "bps": 7}},
        "half a spread of 3.5 bps and slippage of 7 bps",
    ),
    ({"commission": {"name": "per_share", "per_share": 0.01, "minimum": 2}}, "0.01 a share, at least 2 an order"),
    (
        {"by_class": {"crypto": {"commission": "binance_futures", "margin": {"name": "leverage", "leverage": 5}}}},
        "For crypto instead: commission: 5 bps, 2 bps where an order rested; margin: 1/5 of its worth.",
    ),
    (
        {"borrow": {"name": "fixed", "bps_per_year": 75}, "financing_bps_per_year": 300},
        "Borrowed shares cost 75 bps a year, negative cash 300; cash earns nothing",
    ),
    ({"cash_yield_bps_per_year": 200}, "cash earns 200"),
    ({"max_gross": 2.0}, "gross exposure to 2 times equity; what goes beyond is rejected"),
    (
        {"margin": "reg_t"},
        "A position ties up 50% of its worth (equities; others the whole); a fill may bring that to 1.05",
    ),
    ({"shrink_to_cash": True}, "shrunk to what fits"),
    ({"limit_touch_fills": True}, "where it is touched"),
    ({"ambiguous": "better", "intrabar_timeframe": "5m"}, "the better one is taken, unless bars of 5m decide."),
    ({"latency": {"name": "fixed", "delay_seconds": 5}}, "eligible 5 seconds after"),
    ({"periods_per_year": 365}, "annualised with 365 sessions a year"),
    ({}, "annualised with as many sessions a year as the history has"),
]


@pytest.mark.parametrize(("settings", "says"), ASSUMED)
def test_assumptions_follow_the_settings(settings: dict[str, object], says: str) -> None:
    assert any(says in line for line in assumptions(a_provenance(settings=BacktestSettings(**settings))))


def test_only_a_model_speaks_of_out_of_sample_scores() -> None:
    assert any("out of sample" in line for line in assumptions(a_provenance(model_version="m1")))
    assert not any("out of sample" in line for line in assumptions(a_provenance()))


def test_every_metric_of_the_engine_is_explained_once() -> None:
    groups = metric_groups(a_result().metrics)
    assert [group.name for group in groups] == list(GROUPS), "a metric without an explanation falls into 'Other'"
    assert sum(len(group.rows) for group in groups) == len(a_result().metrics.keys() - SAME.keys()) == len(KNOWN)
    assert all(row.meaning.endswith(".") for group in groups for row in group.rows)


TEXTS = [
    ("cagr", 0.1234, "12.3%"),
    ("cagr", 0.0123, "1.23%"),
    ("cagr", -0.0000001, "0.00%"),
    ("ambiguous_share", 0.0, "0%"),
    ("sharpe", -0.001, "0.00"),
    ("turnover", 2.5, "2.50x"),
    ("fills", 12345.0, "12,345"),
    ("costs_bps", 3.14, "3.1 bps"),
    ("holding_sessions", 102.6, "103 sessions"),
    ("average_holding_days", 10.26, "10.3 days"),
    ("volatility", 0.123, "12.3%"),
    ("sharpe", None, DASH),
    ("sharpe", float("nan"), DASH),
    ("unheard_of", 1.5, "1.50"),
]


@pytest.mark.parametrize(("key", "value", "expected"), TEXTS)
def test_metrics_as_text(key: str, value: float | None, expected: str) -> None:
    assert shown(key, value) == expected
