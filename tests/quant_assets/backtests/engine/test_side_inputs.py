"""What is given beside bars and orders is refused before anything is simulated, with what is wrong with it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.backtests import OnBar, metrics, run
from resources.errors import BarSchemaError, ConfigError
from tests.quant_assets.backtests.worlds import cleaned, sent, sized
from tests.resources.exchange.cases import account, flat, opens

BARS = cleaned({"X": [flat(100)] * 4})
ORDERS = sent(sized(0, "X", "buy", 5))
RATES = pl.DataFrame({"ts": [opens(0)], "currency": ["EUR"], "rate": [1.1]})
EURO = pl.DataFrame({"symbol": ["X"], "currency": ["EUR"]})
BENCHMARK = BARS.select("session", pl.lit(0.01).alias("return"))
NAIVE = pl.col("ts").dt.replace_time_zone(None)


def listed(**columns: Any) -> dict[str, Any]:
    return {"instruments": pl.DataFrame({"symbol": ["X"]} | {name: [value] for name, value in columns.items()})}


def converted(rates: Any) -> dict[str, Any]:
    return {"instruments": EURO, "rates": rates}


def ticks(**columns: float) -> pl.DataFrame:
    rows = [{"ts": opens(0) + timedelta(seconds=n), "symbol": "X", "bid": 99.0, "ask": 100.0} for n in range(3)]
    return pl.DataFrame(rows).with_columns(**{name: pl.lit(value) for name, value in columns.items()})


NAN = float("nan")
REFUSED = [
    ("expiry with a time", listed(expiry=datetime(2024, 1, 20)), "column expiry is Datetime.*it must be a Date"),
    ("instruments as a dict", {"instruments": {"X": 1}}, "instruments: a dict; give a polars frame"),
    ("a currency in numbers", listed(currency=5), "column currency is Int64; it must be text"),
    ("a lot in words", listed(lot="one"), "column lot is String; it must be a number"),
    ("symbols in numbers", {"instruments": pl.DataFrame({"symbol": [1]})}, "column symbol is Int64; it must be text"),
    ("instruments that do not resolve", {"instruments": EURO.lazy().select("nothing")},
     "instruments: the lazy frame cannot be read"),
    ("rates as text", converted("x"), "rates: a str; give a polars frame"),
    ("a rate in words", converted(RATES.with_columns(rate=pl.lit("a"))), "currency and rate are String and String"),
    ("a rate of no time", converted(pl.concat([RATES, RATES.with_columns(ts=pl.lit(None, RATES["ts"].dtype))])),
     r"rates: a row \(None EUR 1.1\) without ts"),
    ("flags as text", {"bars": BARS.with_columns(flags=pl.lit("stale"))}, "column flags is String; it must be a list"),
    ("bars that do not resolve", {"bars": BARS.lazy().select("nothing")}, "bars: the lazy frame cannot be read"),
    ("a bid without an ask", {"bars": BARS.with_columns(bid=pl.lit(99.0))}, "a column bid and no ask; give both"),
    ("a size below zero", {"bars": ticks(bid_size=-500.0, ask_size=1.0)}, "bid_size is -500.0"),
    ("a size that is no number", {"bars": ticks(bid_size=NAN, ask_size=1.0)}, "bid_size is nan"),
    ("sessions that run backwards", {"bars": BARS.with_columns(pl.col("session").reverse())},
     "X 2024-01-09 .*: session is 2024-01-10, and 2024-01-11 of the bar before it; sessions must not run backwards"),
    ("known after the next open", {"bars": BARS.with_columns(known_at=pl.col("ts") + timedelta(hours=25))},
     r"X 2024-01-08 14:30.*known_at is 2024-01-09 15:30.*, after the symbol's next bar has opened \(2024-01-09 14:30"),
    ("a benchmark of other columns", {"benchmark": pl.DataFrame({"a": [1]})},
     r"missing columns \['session', 'return'\]"),
    ("a benchmark as text", {"benchmark": "SPY"}, "benchmark: a str; give a polars frame"),
    ("a benchmark by the second", {"benchmark": BENCHMARK.with_columns(pl.col("session").cast(pl.Datetime("us")))},
     "benchmark: session is Datetime"),
    ("a session twice", {"benchmark": pl.concat([BENCHMARK, BENCHMARK.head(1)])}, "session 2024-01-08 is there twice"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "given", "message"), REFUSED, ids=[case[0] for case in REFUSED])
def test_refused_before_the_simulation(name, given, message, monkeypatch):
    monkeypatch.setattr("quant_assets.backtests.engine.simulate", lambda *_: pytest.fail("it was simulated"))
    with pytest.raises((BarSchemaError, ConfigError), match=message):
        run(**{"bars": BARS, "orders": ORDERS, "config": account(), **given})


def nothing(view):
    """Sends no orders."""


FEATURES = BARS.select("ts", "symbol", x=pl.lit(1.0))
BAD_ON_BAR = [
    ("no function", OnBar(5), "function is 5; give a function"),  # type: ignore[arg-type]
    ("features in words", OnBar(nothing, FEATURES.with_columns(x=pl.lit("a")), ["x"]), "feature x is String"),
    ("features as a list", OnBar(nothing, [1], ["x"]), "features are a list; give a polars frame"),  # type: ignore[arg-type]
    ("naive features", OnBar(nothing, FEATURES.with_columns(NAIVE), ["x"]), "features' ts is Datetime.*as of the bars"),
]


@pytest.mark.parametrize(("name", "strategy", "message"), BAD_ON_BAR, ids=[case[0] for case in BAD_ON_BAR])
def test_an_on_bar_that_cannot_be_read_is_refused(name, strategy, message):
    with pytest.raises(ConfigError, match=message):
        run(BARS, strategy, account())


def test_a_lazy_benchmark_is_a_benchmark():
    held, lazy = (run(BARS, ORDERS, account(), benchmark=frame).metrics for frame in (BENCHMARK, BENCHMARK.lazy()))
    assert held == lazy
    assert held["benchmark_total_return"] == pytest.approx(1.01**4 - 1)
    with pytest.raises(ValueError, match="benchmark: session 2024-01-08 is there twice"):
        metrics.beta(BENCHMARK, pl.concat([BENCHMARK, BENCHMARK.head(1)]))


NOISE = np.random.default_rng(0).normal(0, 0.01, 500)
ROUNDED = [
    ("a tenth of it", 0.1 * NOISE, ("residual_volatility", "appraisal_ratio")),
    (
        "a constant more",
        NOISE + 0.01,
        ("tracking_error", "information_ratio", "residual_volatility", "appraisal_ratio"),
    ),
    ("the same", NOISE, ("tracking_error", "information_ratio", "residual_volatility", "appraisal_ratio")),
]


@pytest.mark.parametrize(("name", "returns", "empty"), ROUNDED, ids=[case[0] for case in ROUNDED])
def test_what_is_left_of_rounding_is_nothing(name, returns, empty):
    figures = metrics.summary(returns, NOISE)
    assert {measure: figures[measure] for measure in empty} == {
        measure: 0.0 if measure in ("tracking_error", "residual_volatility") else None for measure in empty
    }


def test_interest_of_every_day_has_no_sharpe_ratio():
    equity = 1e5 * 1.0001 ** np.arange(300)
    assert metrics.summary(equity[1:] / equity[:-1] - 1)["sharpe_ratio"] is None


TAILS = (
    "value_at_risk", "value_at_risk_gaussian", "value_at_risk_cornish_fisher", "conditional_value_at_risk",
    "conditional_value_at_risk_gaussian", "conditional_value_at_risk_cornish_fisher", "rachev_ratio",
    "conditional_drawdown_at_risk",
)  # fmt: skip


@pytest.mark.parametrize("cutoff", [0.0, 1.0, -0.1, 95, NAN])
@pytest.mark.parametrize("name", TAILS)
def test_a_tail_is_a_share(name, cutoff):
    with pytest.raises(ValueError, match=f"cutoff is {cutoff}; it is the share of the periods in the tail"):
        getattr(metrics, name)(NOISE, cutoff=cutoff)
