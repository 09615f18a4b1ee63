"""Costs stressed: every assumed cost so many times, nothing else changed."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest
from pydantic import Field

from quant_assets.backtests import BacktestResult, history, run
from quant_assets.backtests.verdict.stress import scaled, stress
from quant_assets.evidence.inputs import EvidenceError
from resources.config import BacktestSettings
from resources.exchange import Bar
from resources.exchange.models.base import CHARGED, PRICE, QUANTITY, Commission
from resources.exchange.models.carrying import Borrow
from tests.quant_assets.backtests.worlds import cleaned, closes

SETTINGS = BacktestSettings(
    cash=10_000_000,
    spread={"name": "fixed", "half_bps": 0},
    slippage="none",
    commission="none",
    borrow={"name": "fixed", "bps_per_year": 0},
    financing_bps_per_year=0,
)

BARS = cleaned({"AAA": [Bar(100, 101, 99, 100, volume=1e6)] * 12, "BBB": [Bar(50, 51, 49, 50, volume=1e5)] * 12})
TRADES = pl.DataFrame(
    {
        "ts": [closes(0), closes(0), closes(3), closes(3)],
        "symbol": ["AAA", "BBB"] * 2,
        "side": ["buy", "sell", "sell", "buy"],
        "quantity": [2_000.0, 30_000.0, 2_000.0, 30_000.0],  # the second takes three sessions, so three fills
    }
)


class Jump(Commission):
    """A user's own: 3 a unit beyond the first 100 of the order, each fill by itself added to what was charged."""

    name: ClassVar[str] = "jump"

    each: float = Field(default=3.0, ge=0)

    @staticmethod
    def cost(p: Any, x: Any) -> float:
        return float(x[CHARGED] + p[0] * max(x[QUANTITY] - 100.0, 0.0) * (0.5 if x[PRICE] < 75.0 else 1.0))


class Steep(Borrow):
    name: ClassVar[str] = "steep"

    def rate(self, symbol: str) -> float:
        return 0.05 if symbol == "BBB" else 0.01


def costs(result: BacktestResult) -> dict[str, float]:
    of_fills = {name: float(result.fills[name].sum()) for name in ("spread_cost", "slippage_cost", "commission")}
    return of_fills | {name: float(result.equity[name].sum()) for name in ("borrow_cost", "interest")}


MODELS = [
    {"spread": {"name": "fixed", "half_bps": 3}},
    {"spread": {"name": "quoted", "half_bps": 3}},
    {"slippage": {"name": "fixed", "bps": 4}},
    {"slippage": {"name": "volume_share", "impact": 0.1}},
    {"slippage": {"name": "square_root", "coefficient": 0.5}},
    {"commission": {"name": "per_share", "per_share": 0.01, "minimum": 5}},
    {"commission": {"name": "per_share", "per_share": 1e-6, "minimum": 5}},
    {"commission": {"name": "per_order", "amount": 7}},
    {"commission": {"name": "per_contract", "per_contract": 0.5, "minimum": 2}},
    {"commission": {"name": "bps", "bps": 5}},
    {"commission": {"name": "maker_taker", "maker_bps": 1, "taker_bps": 5}},
    {"commission": {"name": "tiered", "by": "units", "rates": [0.01, 0.002], "limits": [10_000], "minimum": 1}},
    {"commission": "alpaca"},
    {"commission": "alpaca_crypto"},
    {"commission": "ib_fixed"},
    {"commission": "ib_tiered"},
    {"commission": "ib_options"},
    {"commission": "binance_futures"},
    {"commission": Jump()},
    {"borrow": {"name": "fixed", "bps_per_year": 500}},
    {"borrow": {"name": "by_symbol", "rates": {"BBB": 800}}},
    {"borrow": Steep()},
    {"by_class": {"crypto": {"commission": "binance_spot", "spread": {"name": "fixed", "half_bps": 20}}}},
]


@pytest.mark.parametrize("given", MODELS, ids=lambda given: str(given)[:60])
def test_every_cost_grows_as_often(given: dict[str, Any]) -> None:
    past = history(
        BARS.with_columns(bid=pl.col("close") * 0.999, ask=pl.col("close") * 1.001),
        pl.DataFrame({"symbol": ["AAA", "BBB"], "asset_class": ["crypto", "equity"]}),
    )
    base = BacktestSettings.model_validate({**SETTINGS.model_dump(), **given})
    once, twice = (costs(run(past, TRADES, scaled(base, times))) for times in (1.0, 2.0))
    assert sum(once.values()) > 0
    # Spreads move the prices that commissions are taken of: a trace beyond twice.
    assert twice == pytest.approx({name: 2 * value for name, value in once.items()}, rel=3e-3, abs=1e-6)


def test_rebates_and_funding_stay_as_they_are() -> None:
    given = BacktestSettings(
        commission={"name": "maker_taker", "maker_bps": -1, "taker_bps": 4},  # type: ignore[arg-type]
        funding={"name": "fixed", "bps_per_8h": 1},  # type: ignore[arg-type]
    )
    dearer = scaled(given, 3)
    assert (dearer.commission.maker_bps, dearer.commission.taker_bps) == (-1, 12)  # type: ignore[attr-defined]
    assert dearer.funding == given.funding
    assert (dearer.financing_bps_per_year, dearer.cash_yield_bps_per_year) == (1800, 0)


def test_once_the_costs_are_the_costs() -> None:
    assert scaled(SETTINGS, 1) is SETTINGS


@pytest.mark.parametrize("times", [-1.0, math.inf, math.nan])
def test_what_is_no_number_of_times_is_refused(times: float) -> None:
    with pytest.raises(EvidenceError, match="costs cannot be"):
        scaled(SETTINGS, times)


def test_the_table_says_what_is_left() -> None:
    past = history(BARS)
    settings = SETTINGS.model_copy(update={"slippage": BacktestSettings().slippage})
    known = run(past, TRADES, settings)
    found = stress(past, TRADES, settings, times=(0, 1, 2, 3), known=known)
    assert found["times"].to_list() == [0.0, 1.0, 2.0, 3.0]
    assert found["costs"].diff().drop_nulls().to_numpy() == pytest.approx(costs(known)["slippage_cost"], rel=1e-3)
    assert found["total_return"].is_sorted(descending=True)
    assert found["total_return"][1] == known.metrics["total_return"]
    returns = run(past, TRADES, scaled(settings, 3)).equity["return"].to_numpy()
    assert found["mean_return"][3] == pytest.approx(np.mean(returns))
    assert found["fills"].to_list() == [8.0] * 4
