"""What `run` refuses a sweep refuses in the same words, and what `run` takes beside the bars a sweep takes too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from quant_assets.backtests import history, run, sweep
from quant_assets.backtests.engine import by_session
from resources.config import BacktestSettings, LimitSettings
from resources.errors import QuantError
from tests.quant_assets.backtests.sweeps.world import SETTINGS, market

BARS = market()
DAYS = BARS["known_at"].unique().sort()
CONTRACTS = pl.DataFrame({"symbol": [f"S{n}" for n in range(4)], "asset_class": "future", "multiplier": 50.0})
FOREIGN = CONTRACTS.with_columns(asset_class=pl.lit("equity"), multiplier=1.0, currency=pl.lit("JPY"))
RATES = pl.DataFrame({"ts": [datetime(2020, 1, 1, tzinfo=UTC), DAYS[40]], "currency": "JPY", "rate": [0.01, 0.02]})
FINER = pl.concat(
    BARS.drop("known_at", "session").with_columns(pl.col("ts") + timedelta(hours=hour)) for hour in (0, 3)
)
LIMITED = SETTINGS.model_copy(update={"limits": LimitSettings(single_name=0.3, gross=0.6, order_notional=0.3)})


def sent(weight: float) -> pl.DataFrame:
    """A target of each symbol every ten days, and a limit order of it between."""
    targets = BARS.filter(pl.col("known_at").is_in(DAYS[5::10].to_list())).select(
        ts="known_at", symbol="symbol", target_weight=pl.lit(weight) * pl.int_range(pl.len()).over("symbol").mod(2)
    )
    resting = BARS.filter(pl.col("known_at").is_in(DAYS[8::10].to_list())).select(
        ts="known_at", symbol="symbol", side=pl.lit("sell"), quantity=pl.lit(200.0), type=pl.lit("limit"),
        limit_price=(pl.col("close") * 1.02).round(2),
    )  # fmt: skip
    return pl.concat([targets, resting], how="diagonal")


def both(bars: Any, settings: BacktestSettings, **more: Any) -> tuple[Any, Any]:
    """What run and a sweep of one set say, or the error that they raise."""

    def told(call: Any) -> Any:
        try:
            return call()
        except QuantError as error:
            return type(error), str(error)

    return (
        told(lambda: run(bars, sent(0.25), settings, **more)),
        told(lambda: sweep(bars, sent, {"weight": [0.25, 0.5]}, settings, trials=None, progress=False, **more)),
    )


REFUSED = {
    "a History and instruments": (history(BARS), SETTINGS, {"instruments": CONTRACTS}),
    "a History and rates": (history(BARS), SETTINGS, {"rates": RATES}),
    "a History and finer bars": (history(BARS), SETTINGS, {"intrabar": FINER}),
    "a History of another currency": (history(BARS), BacktestSettings(currency="EUR"), {}),
    "finer bars that are not given": (BARS, BacktestSettings(intrabar_timeframe="5m"), {}),
    "a currency without rates": (BARS, SETTINGS, {"instruments": FOREIGN}),
    "settings that are none": (BARS, {"cash": 5}, {}),
    "a benchmark without returns": (BARS, SETTINGS, {"benchmark": pl.DataFrame({"session": [1]})}),
}


@pytest.mark.parametrize(("bars", "settings", "more"), REFUSED.values(), ids=REFUSED)
def test_what_run_refuses_a_sweep_refuses(bars: Any, settings: Any, more: dict[str, Any]) -> None:
    alone, swept = both(bars, settings, **more)
    assert isinstance(alone, tuple), "it would prove nothing"
    assert swept == alone


TAKEN = {
    "instruments": (SETTINGS, {"instruments": CONTRACTS}),
    "rates": (SETTINGS, {"instruments": FOREIGN, "rates": RATES}),
    "finer bars": (SETTINGS, {"intrabar": FINER}),
    "a lazy benchmark": (
        SETTINGS,
        {"benchmark": BARS.select("session").unique().with_columns(**{"return": pl.lit(0.001)}).lazy()},
    ),
    "limits": (LIMITED, {}),
}
ALIKE = ("total_return", "sharpe_ratio", "turnover", "costs", "costs_bps", "fills", "orders", "orders_rejected")


@pytest.mark.parametrize(("settings", "more"), TAKEN.values(), ids=TAKEN)
def test_what_run_takes_a_sweep_takes(settings: BacktestSettings, more: dict[str, Any]) -> None:
    alone, swept = both(BARS, settings, **more)
    row = swept.results.row(0, named=True)
    for name in ALIKE:
        assert row[name] == pytest.approx(alone.metrics[name], rel=1e-9, abs=1e-12), name
    own = by_session(alone.equity, settings.cash)["return"].to_numpy()
    assert swept.returns[:, 0].tolist() == own.astype("float32").tolist()
    assert swept.backtest(0).orders.equals(alone.orders)


def test_limits_refuse_in_every_cell_what_they_refuse_alone() -> None:
    swept = sweep(BARS, sent, {"weight": [0.25, 0.5]}, LIMITED, trials=None, progress=False)
    for number, weight in enumerate((0.25, 0.5)):
        alone = run(BARS, sent(weight), LIMITED)
        assert swept.results["orders_rejected"][number] == alone.metrics["orders_rejected"] > 0
        why = swept.backtest(number).orders["reason"]
        assert why.to_list() == alone.orders["reason"].to_list()
        assert why.str.contains("limit ").any()
    free = sweep(BARS, sent, {"weight": [0.25, 0.5]}, SETTINGS, trials=None, progress=False)
    assert free.results["total_return"].to_list() != swept.results["total_return"].to_list()
