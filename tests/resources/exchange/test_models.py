"""The cost models: each formula against figures worked out by hand, or published by whom it imitates."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from resources.exchange.models import base
from resources.exchange.models.base import Commission, Model
from resources.exchange.models.choose import KINDS, create

Facts = np.ndarray[Any, Any]

TIERED = {"name": "tiered", "rates": [0.0035, 0.002, 0.0015], "limits": [300_000, 3_000_000]}
BY_NOTIONAL = {"name": "tiered", "by": "notional", "rates": [10, 5], "limits": [1_000_000]}
OF_FILLS = [(kind, model) for kind in ("spread", "slippage", "commission") for model in KINDS[kind][1]]


def facts(**given: float) -> Facts:
    """The facts of a fill: 100 units at 50.0 in a bar of 10,000, a buy that took, the first of its order and month."""
    x = np.zeros(base.FACTS)
    x[[base.PRICE, base.QUANTITY, base.VOLUME, base.MULTIPLIER, base.SIDE]] = 50.0, 100.0, 10_000.0, 1.0, 1.0
    x[base.RATE] = 1.0
    x[[base.VOLATILITY, base.QUOTED]] = math.nan
    for name, value in given.items():
        x[getattr(base, name.upper())] = value
    return x


def model(kind: str, given: object) -> Model:
    found = create(kind, given)
    assert isinstance(found, Model)
    return found


def cost(kind: str, given: object, **of_fill: float) -> float:
    chosen = model(kind, given)
    return chosen.cost(chosen.parameters, facts(**of_fill))


SHARES = [  # spread and slippage: model, facts, share of the price
    ("spread", {"name": "fixed", "half_bps": 3}, {}, 3e-4),
    ("spread", "quoted", {"quoted": 0.02}, 0.02 / 50),
    ("spread", "quoted", {"quoted": 0.0}, 0.0),
    ("spread", "quoted", {"quoted": 0.02, "price": -40.0}, 0.02 / 40),
    ("spread", {"name": "quoted", "half_bps": 4}, {}, 4e-4),
    ("spread", {"name": "quoted", "half_bps": 4}, {"quoted": 0.02, "price": 0.0}, 4e-4),
    ("slippage", "none", {}, 0.0),
    ("slippage", {"name": "fixed", "bps": 7}, {}, 7e-4),
    ("slippage", "volume_share", {"quantity": 1_000.0}, 0.001),  # a tenth of the volume: 0.1 x 0.1²
    ("slippage", "volume_share", {"quantity": 250.0}, 0.1 * 0.025**2),  # zipline's default share, 2.5%
    ("slippage", "volume_share", {"volume": 0.0}, 0.0),
    ("slippage", "volume_share", {"volume": math.nan}, 0.0),
    ("slippage", "square_root", {"volatility": 0.03}, 0.03 * 0.1),  # a hundredth of the volume: a tenth of a day's move
    ("slippage", "square_root", {}, 0.02 * 0.1),
    ("slippage", {"name": "square_root", "coefficient": 0.5, "volatility": 0.04}, {"quantity": 400.0}, 0.004),
    ("slippage", "square_root", {"volume": 0.0}, 0.0),
]


@pytest.mark.parametrize(("kind", "given", "of_fill", "expected"), SHARES)
def test_spread_and_slippage(kind: str, given: object, of_fill: dict[str, float], expected: float) -> None:
    assert cost(kind, given, **of_fill) == pytest.approx(expected, rel=1e-12)


PER_SHARE = {"name": "per_share", "per_share": 0.005, "minimum": 1.0}
CONTRACT = {"name": "per_contract", "per_contract": 2.25, "minimum": 5.0}
SOLD = {"side": -1.0}
REST = {"maker": 1.0}

AMOUNTS = [  # commission, facts, amount
    ("none", {}, 0.0),
    (PER_SHARE, {"quantity": 1_000.0}, 5.0),
    (PER_SHARE, {"quantity": 10.0}, 1.0),
    (
        PER_SHARE,
        {"quantity": 100.0, "order_units": 900.0, "order_notional": 45_000.0, "charged": 4.5, "accrued": 4.5},
        5.0,
    ),
    (PER_SHARE, {"quantity": 100.0, "order_units": 9.0, "order_notional": 450.0, "charged": 1.0, "accrued": 0.9}, 1.4),
    (PER_SHARE, {"quantity": 1.0, "price": 0.4}, 0.4),  # never more than what was traded
    ({"name": "per_order", "amount": 7.0}, {"order_units": 50.0, "charged": 7.0}, 7.0),
    (CONTRACT, {"quantity": 2.0, "multiplier": 50.0}, 5.0),
    (CONTRACT, {"quantity": 4.0, "multiplier": 50.0}, 9.0),
    ({"name": "bps", "bps": 20}, {"quantity": 2.0, "multiplier": 50.0}, 10.0),
    ({"name": "bps", "bps": 20}, {"quantity": 2.0, "price": -50.0, "multiplier": 50.0}, 10.0),
    ({"name": "bps", "bps": 20, "minimum": 30}, {}, 30.0),
    ({"name": "maker_taker", "maker_bps": -1, "taker_bps": 5}, {}, 2.5),
    ({"name": "maker_taker", "maker_bps": -1, "taker_bps": 5}, REST, -0.5),
    # What an order took at once stays charged as such when its rest makes the market.
    ({"name": "maker_taker", "maker_bps": 0, "taker_bps": 5}, {**REST, "order_units": 100.0, "charged": 2.5}, 2.5),
    (TIERED, {"quantity": 1_000.0}, 3.5),
    (TIERED, {"quantity": 1_000.0, "month_units": 299_500.0}, 0.5 * 3.5 + 0.5 * 2.0),
    (TIERED, {"quantity": 4e6}, 300_000 * 0.0035 + 2_700_000 * 0.002 + 1_000_000 * 0.0015),
    (TIERED, {"quantity": 1_000.0, "month_units": 5e6}, 1.5),
    ({**TIERED, "minimum": 2.0}, {"quantity": 100.0}, 2.0),
    (BY_NOTIONAL, {}, 5.0),
    (BY_NOTIONAL, {"month_notional": 997_500.0}, 2.5 + 1.25),
    (BY_NOTIONAL, {"month_notional": 3e6}, 2.5),
    # Alpaca's own example: 100 shares at 100 USD, SEC fee of 8 USD a million, TAF of 166 USD a million shares (2021).
    ({"name": "alpaca", "sec_per_million": 8.0}, {"price": 100.0, **SOLD}, 0.08 + 0.0166),
    ("alpaca", {"price": 100.0}, 0.0),
    ("alpaca", {"price": 1.0, "quantity": 100_000.0, **SOLD}, 2.78 + 8.30),
    # The first three of its eight tiers: 0.15% and 0.25%, 0.12% and 0.22%, 0.10% and 0.20%.
    ("alpaca_crypto", {}, 12.5),
    ("alpaca_crypto", REST, 7.5),
    ("alpaca_crypto", {"month_notional": 100_000.0}, 11.0),
    ("alpaca_crypto", {"month_notional": 700_000.0, **REST}, 5.0),
    ("alpaca_crypto", {"month_notional": 5e9, **REST}, 0.0),
    ("alpaca_crypto", {"month_notional": 5e9}, 5.0),
    # Interactive Brokers' own examples for stocks, fixed: 100 and 1,000 shares at 25 USD, 1,000 at 0.25.
    ("ib_fixed", {"price": 25.0}, 1.0),
    ("ib_fixed", {"price": 25.0, "quantity": 1_000.0}, 5.0),
    ("ib_fixed", {"price": 0.25, "quantity": 1_000.0}, 2.5),
    # The same, tiered: 0.35, 3.50 and 2.50, and the exchange's 0.003 and the clearing's 0.0002 a share.
    ("ib_tiered", {"price": 25.0}, 0.35 + 0.32),
    ("ib_tiered", {"price": 25.0, "quantity": 1_000.0}, 3.5 + 3.2),
    ("ib_tiered", {"price": 0.25, "quantity": 1_000.0}, 2.5 + 3.2),
    ("ib_tiered", {"quantity": 400_000.0}, 300_000 * 0.0035 + 100_000 * 0.002 + 1_280),
    ("ib_tiered", {"quantity": 1_000.0, "month_units": 2e8}, 0.5 + 3.2),
    ("ib_futures", {"quantity": 3.0, "multiplier": 50.0}, 6.75),
    # Interactive Brokers' own examples for options (below 10,000 contracts a month), without fees of others.
    ({"name": "ib_options", "fees_per_contract": 0}, {"price": 2.0, "quantity": 1.0, "multiplier": 100.0}, 1.0),
    ({"name": "ib_options", "fees_per_contract": 0}, {"price": 5.0, "quantity": 2.0, "multiplier": 100.0}, 1.3),
    ({"name": "ib_options", "fees_per_contract": 0}, {"price": 0.075, "quantity": 3.0, "multiplier": 100.0}, 1.5),
    ({"name": "ib_options", "fees_per_contract": 0}, {"price": 0.03, "quantity": 5.0, "multiplier": 100.0}, 1.25),
    ({"name": "ib_options", "fees_per_contract": 0}, {"price": 0.1, "quantity": 10.0, "multiplier": 100.0}, 6.5),
    ("ib_options", {"price": 2.0, "quantity": 10.0, "multiplier": 100.0}, 6.5 + 0.4685),
    # For currencies: 100,000 cost the minimum, a billion costs 20,000.
    ("ib_forex", {"price": 1.25, "quantity": 80_000.0}, 2.0),
    ("ib_forex", {"price": 1.25, "quantity": 8e8}, 20_000.0),
    ("binance_spot", {}, 5.0),
    ("binance_spot", REST, 5.0),
    ("binance_futures", {}, 2.5),
    ("binance_futures", REST, 1.0),
]


@pytest.mark.parametrize(("given", "of_fill", "expected"), AMOUNTS)
def test_commission(given: object, of_fill: dict[str, float], expected: float) -> None:
    assert cost("commission", given, **of_fill) == pytest.approx(expected, rel=1e-9)


def priced(kind: type[Model]) -> Model:
    """A model of the class with its defaults, or with tiers where it has none."""
    return model("commission", TIERED if kind.name == "tiered" else kind.name)


@pytest.mark.parametrize("kind", KINDS["commission"][1], ids=lambda kind: kind.name)
@pytest.mark.parametrize("month", [0.0, 299_000.0])
def test_an_order_costs_the_same_in_pieces_as_at_once(kind: type[Commission], month: float) -> None:
    chosen = priced(kind)
    whole = {"side": -1.0, "month_units": month, "month_notional": 50 * month}
    charged = accrued = done = 0.0
    for quantity in (1.0, 1_499.0, 500.0):
        so_far = {"order_units": done, "order_notional": 50 * done, "charged": charged, "accrued": accrued}
        month_now = {"month_units": month + done, "month_notional": 50 * (month + done)}
        x = facts(**{**whole, **so_far, **month_now, "quantity": quantity})
        charged, accrued = chosen.cost(chosen.parameters, x), x[base.ACCRUED]
        done += quantity
    assert charged == pytest.approx(chosen.cost(chosen.parameters, facts(**whole, quantity=done)), rel=1e-12, abs=1e-12)


def test_compiled_models_say_what_the_plain_ones_say() -> None:
    import numba

    from resources.exchange.compiled import call_model

    @numba.njit
    def call(address: int, p: Facts, x: Facts) -> float:
        return call_model(address, p.ctypes.data, x.ctypes.data)  # type: ignore[call-arg]

    for kind, of in OF_FILLS:
        chosen = model(kind, TIERED if of.name == "tiered" else of.name)
        for x in (facts(), facts(quoted=0.03, volatility=0.01, maker=1.0, side=-1.0, month_units=4e5, charged=0.3)):
            mine, theirs = x.copy(), x.copy()
            assert call(chosen.address, chosen.parameters, mine) == chosen.cost(chosen.parameters, theirs), of.name
            assert mine.tolist() == pytest.approx(theirs.tolist(), rel=0, abs=0, nan_ok=True), of.name


@pytest.mark.parametrize(("kind", "of"), OF_FILLS)
def test_models_that_ignore_volatility_say_so(kind: str, of: type[Model]) -> None:
    chosen = model(kind, TIERED if of.name == "tiered" else of.name)
    calm, wild = (chosen.cost(chosen.parameters, facts(volatility=value)) for value in (0.001, 0.1))
    assert chosen.reads_volatility == (calm != wild)


# ---- models that are no function of a fill


BORROWED = [
    ({"name": "fixed", "bps_per_year": 30}, 0.003),
    ({"name": "by_symbol", "rates": {"GME": 8_000}, "default": 40}, 0.8),
    ({"name": "by_symbol", "rates": {"AMC": 8_000}, "default": 40}, 0.004),
]


@pytest.mark.parametrize(("given", "rate"), BORROWED)
def test_borrow(given: object, rate: float) -> None:
    assert create("borrow", given).rate("GME") == pytest.approx(rate)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("given", "rate", "column"), [("none", 0, False), ("column", 0, True), ("fixed", 1e-4, False)])
def test_funding(given: str, rate: float, column: bool) -> None:
    funding: Any = create("funding", given)
    assert (funding.per_8h("BTCUSDT.P"), funding.reads_column) == (pytest.approx(rate), column)


ES = {"name": "futures", "per_contract": {"ES": 15_000.0, "ESM24": 16_000.0}, "share": 0.08}

NEEDS = [  # margin, symbol, asset class: rate long, rate short, amount a unit
    ("cash", "AAPL", "equity", (1.0, 1.0, 0.0)),
    ("cash", "SPY240119P00400000", "option", (1.0, 8.0, 0.0)),
    ("reg_t", "AAPL", "equity", (0.5, 0.5, 0.0)),
    ("reg_t", "BTCUSD", "crypto", (1.0, 1.0, 0.0)),
    ("reg_t", "SPY240119P00400000", "option", (1.0, 8.0, 0.0)),
    (ES, "ESH24", "future", (0.0, 0.0, 15_000.0)),
    (ES, "ESM24", "future", (0.0, 0.0, 16_000.0)),
    (ES, "ES", "future", (0.0, 0.0, 15_000.0)),
    (ES, "MESH4", "future", (0.08, 0.08, 0.0)),
    ({"name": "leverage", "leverage": 4}, "EUR.USD", "forex", (0.25, 0.25, 0.0)),
    ({"name": "leverage", "leverage": 4}, "SPY240119P00400000", "option", (0.25, 8.0, 0.0)),
    ({"name": "option_short", "premiums": 10}, "SPY240119P00400000", "option", (1.0, 10.0, 0.0)),
]


@pytest.mark.parametrize(("given", "symbol", "asset_class", "expected"), NEEDS)
def test_margin(given: object, symbol: str, asset_class: str, expected: tuple[float, float, float]) -> None:
    margin: Any = create("margin", given)
    assert margin.requirement(symbol, asset_class) == pytest.approx(expected)


def test_eight_premiums_are_what_the_exchanges_ask_at_the_money() -> None:
    # Black-Scholes at the money, one month, 25% volatility, no interest: premium 2 N(sd / 2) - 1 of the underlying.
    premium = math.erf(0.25 * math.sqrt(1 / 12) / 2 / math.sqrt(2))
    assert create("margin", "option_short").premiums == pytest.approx((premium + 0.20) / premium, rel=0.02)  # type: ignore[attr-defined]


def test_latency_is_the_same_for_the_same_order() -> None:
    fixed: Any = create("latency", {"name": "fixed", "delay_seconds": 0.25})
    assert fixed.seconds(["a", "b"]).tolist() == [0.25, 0.25]
    jitter: Any = create("latency", {"name": "jitter", "delay_seconds": 1.0, "jitter_seconds": 0.5})
    ids = [f"order-{number}" for number in range(2_000)]
    drawn = jitter.seconds(ids)
    assert (drawn[:3] == jitter.seconds(ids[:3])).all()
    assert 1.0 <= drawn.min() < 1.01
    assert 1.49 < drawn.max() < 1.5
    assert drawn.mean() == pytest.approx(1.25, abs=0.01)  # three standard errors: 0.5 / √12 / √2000 x 3
    assert jitter.seconds([]).size == 0
