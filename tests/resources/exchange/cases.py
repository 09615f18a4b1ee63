"""Words for tables of cases: bars, orders, and an account without costs unless a case gives them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count

from resources.brokers.base import Order, OrderType, Side, TimeInForce
from resources.config import BacktestSettings
from resources.exchange import Bar, Exchange, Execution

MONDAY = datetime(2024, 1, 8, 14, 30, tzinfo=UTC)
"""The open of the first session; the sessions of the cases follow daily."""
SUNDAY = MONDAY - timedelta(hours=12)

_numbers = count(1)


def opens(number: int) -> datetime:
    """The open of session `number`, counted from 0."""
    return MONDAY + timedelta(days=number)


def account(
    cash: float = 1e9,
    *,
    half_spread_bps: float = 0,
    slippage_bps: float = 0,
    commission_per_share: float = 0,
    commission_minimum: float = 0,
    borrow_bps_per_year: float = 0,
    latency_seconds: float = 0,
    **terms: object,
) -> BacktestSettings:
    """An account without costs, that may take a bar's whole volume; `terms` are fields of BacktestSettings."""
    free: dict[str, object] = {
        "spread": {"name": "fixed", "half_bps": half_spread_bps},
        "slippage": {"name": "fixed", "bps": slippage_bps},
        "commission": {"name": "per_share", "per_share": commission_per_share, "minimum": commission_minimum},
        "borrow": {"name": "fixed", "bps_per_year": borrow_bps_per_year},
        "latency": {"name": "fixed", "delay_seconds": latency_seconds},
        "financing_bps_per_year": 0,
        "participation": 1,
        "max_gross": 1,
    }
    return BacktestSettings.model_validate({**free, "cash": cash, **terms})


def order(
    side: str = "buy",
    quantity: float = 100,
    *,
    limit: float | None = None,
    stop: float | None = None,
    tif: str = "gtc",
    symbol: str = "X",
    at: datetime = SUNDAY,
    id: str | None = None,
) -> Order:
    """An order whose type follows from the prices given."""
    kinds = {
        (False, False): OrderType.MARKET,
        (True, False): OrderType.LIMIT,
        (False, True): OrderType.STOP,
        (True, True): OrderType.STOP_LIMIT,
    }
    return Order(
        id=id or f"order-{next(_numbers)}",
        symbol=symbol,
        side=Side(side),
        quantity=quantity,
        type=kinds[limit is not None, stop is not None],
        tif=TimeInForce(tif),
        submitted_at=at,
        limit_price=limit,
        stop_price=stop,
    )


def bar(open: float, high: float, low: float, close: float, volume: float = 1e6, **actions: float) -> Bar:
    return Bar(open, high, low, close, volume, **actions)


def flat(price: float, volume: float = 1e6, **actions: float) -> Bar:
    return Bar(price, price, price, price, volume, **actions)


@dataclass(frozen=True)
class Case:
    """One order, the bars it meets, and the price (None: no fill) that it gets on the last of them."""

    name: str
    bars: list[Bar]
    order: Order
    at: float | None
    reason: str = ""


def one(name: str, ohlc: tuple[float, float, float, float], order: Order, at: float | None, reason: str = "") -> Case:
    """A case of a single bar."""
    return Case(name, [bar(*ohlc)], order, at, reason)


def trade(
    orders: list[Order], bars: list[Bar | dict[str, Bar]], settings: BacktestSettings | None = None
) -> list[Execution]:
    """Every execution of the orders over the bars (of symbol X, or by symbol)."""
    exchange = Exchange(settings or account())
    for one_order in orders:
        exchange.submit(one_order)
    return [done for number, here in enumerate(bars) for done in exchange.on_bar(opens(number), by_symbol(here))]


def by_symbol(bars: Bar | dict[str, Bar]) -> dict[str, Bar]:
    return bars if isinstance(bars, dict) else {"X": bars}
