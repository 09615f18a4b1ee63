"""Rule 14: an order that fills in parts pays for each part what that part costs, whatever happens in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from resources.brokers.base import Order
from resources.exchange import Bar, Exchange, Listing
from resources.exchange.models import base
from resources.exchange.models.choose import KINDS, create
from resources.exchange.models.commission import MakerTaker
from tests.resources.exchange.cases import account, flat, opens, order

TIERED = {"name": "tiered", "rates": [0.0035, 0.002, 0.0015], "limits": [300_000, 3_000_000]}
BY_WORTH = {"name": "tiered", "by": "notional", "rates": [10, 5], "limits": [1_000_000]}
LAST_OF_JANUARY = 23
"""The session whose next is the first of February."""


@dataclass(frozen=True)
class Parts:
    """Orders over bars of X and Y, and the commissions of their fills in account currency."""

    name: str
    commission: object
    orders: list[Order]
    bars: Sequence[Bar | dict[str, Bar]]
    expected: list[float]
    rates: list[float] = field(default_factory=list)
    """Where given, X is in another currency, and this its rate as each bar opens."""
    first: int = 0
    """The session of the first bar."""


def beside(volume: float) -> dict[str, Bar]:
    """A bar of X with so much volume, and one of Y."""
    return {"X": flat(10, volume), "Y": flat(10, 1e9)}


def split(ratio: float) -> list[Bar]:
    """500 shares trade, then there are so many new for each old."""
    return [flat(100, 500), flat(100 / ratio, split=ratio)]


PER_SHARE = {"name": "per_share", "per_share": 0.005}
SOLD = {"name": "alpaca", "sec_per_million": 0}
THOUSAND = [order(quantity=1000)]
OTHERS = [order(quantity=200_001), order(quantity=3_000_000, symbol="Y", at=opens(0))]
BEFORE_AND_AFTER = [beside(200_000), beside(0), beside(1e6)]

SPLITS = [
    Parts("7 for 1", PER_SHARE, THOUSAND, split(7), [2.5, 17.5]),
    Parts("1 for 10", PER_SHARE, THOUSAND, split(0.1), [2.5, 0.25]),
    Parts("the minimum is used up", {**PER_SHARE, "minimum": 10}, THOUSAND, split(7), [10, 10]),
    Parts("contracts", {"name": "per_contract", "per_contract": 0.01}, THOUSAND, split(7), [5, 35]),
    Parts("tiers", TIERED, THOUSAND, split(7), [1.75, 12.25]),
    Parts("tiers of a broker", "ib_tiered", THOUSAND, split(7), [500 * 0.0067, 3500 * 0.0067]),
    Parts("shares sold", SOLD, [order("sell", 1000)], split(7), [500 * 0.000166, 3500 * 0.000166]),
    Parts("worth", {"name": "bps", "bps": 10}, THOUSAND, split(7), [50, 50]),
]
THIRDS = [flat(100, 500)] * 3
MOVING = [1.0, 1.5, 0.8]
WHOLE = [order(quantity=1500)]
RATES = [
    Parts("a share", {"name": "per_share", "per_share": 0.01}, WHOLE, THIRDS, [5, 7.5, 4], MOVING),
    Parts("an order", {"name": "per_order", "amount": 1}, WHOLE, THIRDS, [1, 0, 0], MOVING),
    Parts("a minimum", {**PER_SHARE, "minimum": 6}, WHOLE, THIRDS, [6, 0, 1.5 * 0.8], MOVING),
    Parts("worth", {"name": "bps", "bps": 10}, WHOLE, THIRDS, [50, 75, 40], MOVING),
    Parts("tiers in account currency", BY_WORTH, [order(quantity=8000)], [flat(100)], [1000 + 300], [2.0]),
]
MONTHS = [
    Parts("others cross the tiers", TIERED, OTHERS, BEFORE_AND_AFTER, [700, 6050, 0.0015]),
    Parts("at a broker", "ib_tiered", OTHERS, BEFORE_AND_AFTER, [1340, 6050 + 9600, 0.0015 + 0.0032]),
    Parts(
        "a minimum is used up at the rates of then",
        {**TIERED, "minimum": 0.35},
        [order(quantity=180), order(quantity=300_000, symbol="Y", at=opens(0))],
        [beside(90), beside(0), beside(90)],
        [0.35, 299_910 * 0.0035 + 90 * 0.002, 90 * (0.0035 + 0.002) - 0.35],
    ),
    Parts(
        "a new month begins at the first tier",
        TIERED,
        [order(quantity=500_000)],
        [flat(10, 400_000), flat(10)],
        [300_000 * 0.0035 + 100_000 * 0.002, 350],
        first=LAST_OF_JANUARY,
    ),
    Parts(
        "its first day counts",
        TIERED,
        [order(quantity=300_000, at=opens(number - 1)) for number in range(3)],
        [flat(10)] * 3,
        [1050, 600, 600],
    ),
    Parts(
        "by worth too",
        "alpaca_crypto",
        [order(quantity=1000, at=opens(number - 1)) for number in range(2)],
        [flat(100)] * 2,
        [100_000 * 25e-4, 100_000 * 22e-4],
    ),
]
PREMIUMS = [
    Parts("each fill's own", "ib_options", [order(quantity=20)], [flat(0.10, 10), flat(0.03, 10)],
          [6.5 + 0.4685, 2.5 + 0.4685]),
]  # fmt: skip
CASES = {"split": SPLITS, "rate": RATES, "month": MONTHS, "premium": PREMIUMS}


@pytest.mark.parametrize(
    "case",
    [pytest.param(case, id=f"{kind}: {case.name}") for kind, cases in CASES.items() for case in cases],
)
def test_rule_14_commission_of_what_fills_in_parts(case: Parts) -> None:
    listings = {"X": Listing(currency="EUR")} if case.rates else {}
    exchange = Exchange(account(cash=1e12, commission=case.commission), listings)
    pending, charged = sorted(case.orders, key=lambda wanted: wanted.submitted_at), []
    for number, here in enumerate(case.bars):
        if case.rates:
            exchange.set_rate("EUR", case.rates[number])
        while pending and pending[0].submitted_at < opens(number):
            exchange.submit(pending.pop(0))
        bars = here if isinstance(here, dict) else {"X": here}
        charged += [fill.commission for fill in exchange.on_bar(opens(case.first + number), bars)]
    assert charged == pytest.approx(case.expected, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS["commission"][1], ids=lambda kind: kind.name)
def test_rule_14_no_fill_is_paid_for_but_by_a_rebate(kind: type[base.Commission]) -> None:
    """Whatever the month's volume, prices and splits are from one fill to the next."""
    model = create("commission", TIERED if kind.name == "tiered" else kind.name)
    assert isinstance(model, base.Commission)
    assert not (isinstance(model, MakerTaker) and min(model.maker_bps, model.taker_bps) < 0)
    random = np.random.default_rng(7)
    for _ in range(100):
        x = np.zeros(base.FACTS)
        x[[base.MULTIPLIER, base.SIDE]] = 1.0, random.choice([-1.0, 1.0])
        for _ in range(6):
            x[[base.PRICE, base.RATE]] = random.choice([0.03, 0.07, 5.0, 300.0]), random.uniform(0.5, 2.0)
            x[base.QUANTITY], x[base.MAKER] = np.ceil(10.0 ** random.uniform(0, 6)), random.choice([0.0, 1.0])
            x[[base.MONTH_UNITS, base.MONTH_NOTIONAL]] = random.choice([0.0, 1.0]) * 10.0 ** random.uniform(0, 9, 2)
            whole = model.cost(model.parameters, x)
            assert whole >= x[base.CHARGED]
            x[base.CHARGED] = whole
            x[base.ORDER_UNITS] = (x[base.ORDER_UNITS] + x[base.QUANTITY]) * random.choice([0.1, 1.0, 7.0])
            x[base.ORDER_NOTIONAL] += x[base.PRICE] * x[base.QUANTITY]
