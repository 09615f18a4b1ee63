"""The report: honest first, self-contained, escaped, small, and right in its figures."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import polars as pl
import pytest

from quant_assets import plots
from quant_assets.backtests import metrics, report
from quant_assets.backtests.engine import BacktestResult
from quant_assets.backtests.glossary import DASH, GROUPS, KNOWN, SAME, metric_groups, shown
from quant_assets.backtests.report import heatmaps
from quant_assets.backtests.report.daily import daily
from quant_assets.backtests.verdict.assess import Evidence
from resources.errors import ConfigError
from tests.quant_assets.backtests.report.reports import (
    HOSTILE,
    Page,
    a_benchmark,
    a_provenance,
    a_result,
    an_evidence,
    bars_of,
)


@pytest.fixture(scope="module")
def html() -> str:
    """A page with all that a page can have."""
    return report.page(a_result(), a_benchmark(), a_provenance(evidence=an_evidence()), bars_of(a_result()))


def test_the_page_is_well_formed(html: str) -> None:
    page = Page(html)
    assert page.stack == []
    assert {"svg", "table", "figure", "script"} <= {tag for tag, _ in page.elements}


def test_nothing_is_fetched(html: str) -> None:
    page = Page(html)
    assert "://" not in html
    assert "@import" not in html
    assert "url(" not in html
    fetching = {"src", "srcset", "data", "action", "poster"}
    assert [(tag, given) for tag, given in page.elements if fetching & set(given)] == []
    goals = {given["href"] for _, given in page.elements if "href" in given}
    assert goals <= {f"#{given['id']}" for _, given in page.elements if "id" in given}, "ways within the page"
    assert not {"link", "iframe", "img", "object", "embed", "base"} & {tag for tag, _ in page.elements}
    policy = next(
        given["content"] for _, given in page.elements if given.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_the_verdict_comes_first_and_the_caveats_before_any_figure(html: str) -> None:
    told = re.search(r'<div class="banner bad"[^>]*>\s*<strong>(.*?)</strong>(.*)', html)
    assert told is not None
    assert told[1] == "Unproven: it fails the deflated Sharpe ratio."
    assert told[2] == "<p>The chance is 62.0%.</p>"
    assert html.count("The chance is 62.0%.") == 2, "in the verdict and in the table of tests, not in a caveat"
    first = html.index("The universe was chosen with hindsight")
    assert html.index("<strong>") < first < html.index('class="tile"')
    assert first < html.index("<svg")


def test_a_long_verdict_is_told_whole_once() -> None:
    given = a_provenance(evidence=an_evidence(headline="Proven on this history: 6 tests. Not judged: 0.5 of one."))
    html = report.page(a_result(30), a_benchmark(30), given)
    assert "<strong>Proven on this history: 6 tests.</strong><p>Not judged: 0.5 of one.</p>" in html
    given = a_provenance(evidence=an_evidence(headline="Proven. One configuration is on record. What was tried outside "
                                                       "these records is not counted against it."))  # fmt: skip
    assert "<strong>Proven.</strong>\n" in report.page(a_result(30), a_benchmark(30), given), "a caveat says the rest"


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


def lost(result: BacktestResult) -> BacktestResult:
    """Equity of which nothing is left halfway, as the exchange would write it down."""
    gone = pl.int_range(pl.len()) >= pl.len() // 2
    return replace(
        result,
        equity=result.equity.with_columns(
            pl.when(gone).then(-5.0).otherwise("equity").alias("equity"),
            *(pl.when(~gone).then(name).alias(name) for name in ("gross_exposure", "net_exposure", "return")),
        ),
    )


def by_the_minute(result: BacktestResult) -> BacktestResult:
    """Two rows a session, the first with nothing held."""
    early = result.equity.with_columns(
        **{"return": pl.lit(0.0)}, ts=pl.col("ts").dt.offset_by("-1h"), equity=pl.lit(1.0), gross_exposure=pl.lit(0.0)
    )
    return replace(result, equity=pl.concat([early, result.equity]).sort("ts"))


ODD = {
    "lost": lost(a_result(300)),
    "lost at once": lost(a_result(1)),
    "no figures": replace(a_result(300), metrics=dict.fromkeys(a_result(30).metrics)),
    "figures that are no numbers": replace(a_result(300), metrics=dict.fromkeys(a_result(30).metrics, float("nan"))),
    "returns that are no numbers": replace(
        a_result(300), equity=a_result(300).equity.with_columns(pl.lit(float("nan")).alias("return"))
    ),
    "no sessions": replace(
        a_result(1, every=0), equity=a_result(1).equity.clear(), positions=a_result(1).positions.clear()
    ),
    "by the minute": by_the_minute(a_result(300)),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_results_make_a_page_and_a_picture(name: str) -> None:
    result = ODD[name]
    given = a_provenance(evidence=an_evidence())
    page = Page(report.page(result, a_benchmark(300), given, bars_of(result)))
    assert page.stack == []
    assert " nan" not in page.text.lower()
    assert report.picture(result, a_benchmark(300), given).startswith(b"\x89PNG")


def test_nothing_is_drawn_of_an_account_after_it_was_lost() -> None:
    """Though what it still holds lifts it above zero again."""
    whole = a_result(300).equity
    values = np.where(np.arange(300) == 150, -70_000.0, whole["equity"].to_numpy())
    before = pl.col("equity").shift(1, fill_value=100_000.0)
    change = pl.when(before.cum_min() > 0).then(pl.col("equity") / before - 1)
    equity = whole.with_columns(equity=pl.Series(values)).with_columns(change.alias("return"))
    result = replace(a_result(300), equity=equity)
    frame = daily(result.equity, result.fills, a_benchmark(300))
    assert frame["equity"].is_null().to_list() == frame["drawdown"].is_null().to_list() == [False] * 151 + [True] * 149
    assert frame["drawdown"].min() == pytest.approx(-70_000 / values[:150].max() - 1)
    assert frame["benchmark"].null_count() == 0
    months = [cell.text for year in heatmaps.months(frame) for cell in year.cells]
    drawn = (
        frame.group_by(frame["session"].dt.truncate("1mo")).agg(pl.col("return").is_not_null().any())["return"].sum()
    )
    assert sum(text != "" for text in months) == drawn < 10


@pytest.mark.parametrize("benchmark", [None, "cash"])
def test_a_result_without_a_benchmark_makes_a_page_and_a_picture(benchmark: Literal["cash"] | None) -> None:
    result = a_result(300)
    page = Page(report.page(result, benchmark, a_provenance(), bars_of(result)))
    assert page.stack == []
    assert "Benchmark drawdown" not in page.text
    assert " nan" not in page.text.lower()
    assert report.picture(result, benchmark).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("benchmark", "says"),
    [
        (pl.concat([a_benchmark(300), a_benchmark(1)]), "session .* is there twice"),
        (a_benchmark(300).drop("return"), "missing columns"),
        ("SPY", "a str; give a polars frame"),
    ],
    ids=["a session twice", "no return", "a name"],
)
def test_a_benchmark_that_cannot_be_read_is_refused(benchmark: Any, says: str) -> None:
    for made in (
        lambda: report.page(a_result(300), benchmark, a_provenance()),
        lambda: report.picture(a_result(300), benchmark),
    ):
        with pytest.raises(ConfigError, match=says):
            made()


def test_an_account_of_minutes_is_drawn_by_the_session() -> None:
    plain, finer = a_result(300), by_the_minute(a_result(300))
    pages = [report.page(result, a_benchmark(300), a_provenance()) for result in (plain, finer)]
    first, second = (json.loads(re.search(r'id="data">(.*?)</script>', page)[1]) for page in pages)  # type: ignore[index]
    assert first == second


def test_an_account_that_never_trades_makes_a_page_and_a_picture() -> None:
    result = a_result(300, every=0)
    flat = replace(result, equity=result.equity.with_columns(pl.lit(0.0).alias("return"), equity=pl.lit(1e6)))
    flat = replace(flat, metrics=metrics.summary(flat.equity.select("session", "return"), a_benchmark(300)))
    text = Page(report.page(flat, a_benchmark(300), a_provenance())).text
    assert "Unproven: no order was filled." in text
    assert report.picture(flat, a_benchmark(300)).startswith(b"\x89PNG")


def test_a_benchmark_that_lacks_sessions_counts_as_unchanged() -> None:
    page = report.page(a_result(300), a_benchmark(300).head(100), a_provenance())
    found = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    benchmark = json.loads(found[1])["charts"]["equity"][0]["values"]
    assert benchmark[99] == benchmark[-1] != 1_000_000


@pytest.mark.parametrize("proven", [True, False])
def test_the_picture_is_a_small_png(proven: bool) -> None:
    given = a_provenance(evidence=an_evidence(proven=proven))
    png = report.picture(a_result(5_040), a_benchmark(5_040).lazy(), given)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert (int.from_bytes(png[16:20]), int.from_bytes(png[20:24])) == (700, 380)
    assert len(png) < 60_000


@pytest.mark.parametrize(
    ("evidence", "says"),
    [
        (None, "Sharpe"),
        (an_evidence(proven=True), "PROVEN on this history. Sharpe"),
        (an_evidence(), "UNPROVEN. Sharpe"),
    ],
)
def test_the_picture_carries_the_verdict(evidence: Evidence | None, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []
    monkeypatch.setattr(plots, "title", lambda axis, text, note: titles.append(text))
    report.picture(a_result(300), a_benchmark(300), a_provenance(evidence=evidence))
    (title,) = titles
    assert title.startswith(says)


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
