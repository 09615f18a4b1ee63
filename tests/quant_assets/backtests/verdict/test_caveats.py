"""What is said before any figure: the evidence's own verdict, reasons to doubt, assumptions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from quant_assets.backtests.verdict.assess import assess
from quant_assets.backtests.verdict.caveats import assumptions, caveats, costs, verdict
from quant_assets.evidence.trials import Counted
from resources.config import BacktestSettings
from tests.quant_assets.backtests.report.reports import (
    a_benchmark,
    a_provenance,
    a_result,
    a_test,
    an_evidence,
    with_metrics,
)

# ---- the verdict


def test_the_verdict_is_the_headline_of_the_evidence() -> None:
    weak, strong = an_evidence(), an_evidence(proven=True, headline="Proven on this history: it passes all.")
    for evidence, tone in ((weak, "bad"), (strong, "warn")):
        found = verdict(a_result(), a_provenance(evidence=evidence))
        assert (found.text, found.tone) == (evidence.headline, tone)


def test_without_evidence_nothing_is_proven() -> None:
    assert verdict(a_result(), a_provenance()).text == "Unproven: this result was not put to any test."
    assert verdict(a_result(every=0), a_provenance()).text == "Unproven: no order was filled."


def test_a_real_assessment_is_told_whole() -> None:
    """A page's worth: every essential test that failed is a caveat of its own, before everything else."""
    result = a_result(ambiguous=True)
    evidence = assess(
        result, Counted(12, 12, 0.001, 3), settings=BacktestSettings(), benchmark=a_benchmark(), samples=200
    )
    lines = caveats(result, a_provenance(evidence=evidence, trials=evidence.trials.tried))
    failed = [test for test in evidence.tests if test.essential and test.passed is False]
    assert {"deflated_sharpe", "bootstrap_interval"} <= {test.name for test in failed}
    assert lines[: len(failed)] == [test.words for test in failed]
    assert len(lines) == len(set(lines))
    assert any(line.startswith("14 configurations are on record, and this is one of them. The best") for line in lines)
    assert lines[-1].startswith("Not judged: doubled costs, both paths of ambiguous fills, the probability of overfitt")


# ---- caveats

CAVEATS = [  # provenance, metrics, fills: a sentence that must be there, one that must not
    ({"symbols": ["AAA", "BBB"]}, {}, {}, "chosen with hindsight (AAA, BBB)", "follows its members"),
    ({"symbols": [f"S{n}" for n in range(9)]}, {}, {}, "S4, S5 and 3 more", "S6"),
    ({"point_in_time": True}, {}, {}, "follows its members through time (2 symbols", "hindsight"),
    ({"trials": 1}, {}, {}, "One configuration is on record.", "without any skill"),
    ({"trials": 40}, {}, {}, "40 configurations are on record, and this is one of them.", "One"),
    (
        {"trials": 40, "evidence": an_evidence()},
        {},
        {},
        "The best of as many without any skill would be expected to show a Sharpe of 0.90.",
        "One",
    ),
    ({}, {"cagr": 0.05, "benchmark_cagr": 0.08}, {}, "the benchmark did better: 8.0% a year against 5.0%", "!"),
    ({}, {"cagr": 0.09, "benchmark_cagr": 0.08}, {}, "hindsight", "did better"),
    ({}, {"cost_drag": 0.0123}, {}, "They took 1.23% of equity a year", "!"),
    ({}, {}, {"ambiguous": True}, "100.0% of the fills (30 of 30) hung on the unknown path", "No fill was ambiguous"),
    ({}, {}, {}, "No fill was ambiguous", "hung on the unknown path of prices inside a session; the worse"),
    ({}, {}, {}, "There is little evidence: 2.3 years and 30 fills.", "rejected"),
    ({"evidence": an_evidence()}, {}, {}, "The chance is 62.0%.", "400 of 600"),
    ({"evidence": an_evidence(tests=(a_test(passed=True),))}, {}, {}, "hindsight", "The chance is 62.0%."),
    ({"evidence": an_evidence()}, {}, {}, "Not judged: both paths of ambiguous fills.", "None was ambiguous"),
]


@pytest.mark.parametrize(("given", "figures", "of_fills", "present", "absent"), CAVEATS)
def test_caveats(
    given: dict[str, object], figures: dict[str, float], of_fills: dict[str, object], present: str, absent: str
) -> None:
    text = "\n".join(caveats(with_metrics(a_result(**of_fills), **figures), a_provenance(**given)))  # type: ignore[arg-type]
    assert present in text
    assert absent not in text


@pytest.mark.parametrize(
    ("returns", "says"),
    [
        (
            [-0.01, 0.3, 0.002],
            "Most of it is one session: without 2005-01-04, which brought +30.0%, the total return is -0.8% instead",
        ),
        ([0.01, 0.3, 0.002], "the total return is +1.2% instead of +31.6%."),
        ([0.01, 0.011, 0.012], None),
        ([-0.3, 0.2, 0.01], None),  # it lost
        ([0.5, -1.0, 0.0], None),
        ([0.0, 0.0, 0.0], None),
    ],
)
def test_what_one_session_made_is_told(returns: list[float], says: str | None) -> None:
    result = a_result(sessions=3, every=0)
    wealth = 1_000_000 * np.cumprod(1 + np.array(returns))
    equity = result.equity.with_columns(pl.Series("equity", wealth), pl.Series("return", returns))
    told = [line for line in caveats(replace(result, equity=equity), a_provenance()) if "one session" in line]
    assert len(told) == (says is not None)
    assert says is None or says in told[0]


def test_rejected_orders_are_told() -> None:
    result = a_result()
    some = result.orders.with_columns(
        state=pl.when(pl.int_range(pl.len()) < 3).then(pl.lit("rejected")).otherwise("state")
    )
    assert "3 of 30 orders were rejected" in "\n".join(caveats(replace(result, orders=some), a_provenance()))


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


# ---- assumptions

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
