"""Expiry and exercise: what an option turns into when its underlying is a share, a contract, or gone."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from resources.exchange import Exchange, Listing
from tests.resources.exchange.cases import account, flat, opens, order

SHARE = Listing()
FUTURE = Listing(asset_class="future", multiplier=50)


def option(right: str, strike: float, multiplier: float) -> Listing:
    return Listing(asset_class="option", right=right, strike=strike, multiplier=multiplier, underlying="U")


@dataclass(frozen=True)
class Exercised:
    """Options bought or sold at what they are worth, their underlying at 100, and the end: what is held of the
    underlying, and the executions (symbol, side, quantity, price, reason). Nothing is gained or lost by it."""

    name: str
    underlying: Listing
    option: Listing
    side: str
    quantity: float
    held: float
    ends: list[tuple[str, str, float, float, str]]
    gone: bool = False


CALL, PUT = option("call", 90, 100), option("put", 110, 100)
ON_FUTURE, PUT_ON_FUTURE = option("call", 90, 50), option("put", 110, 50)
HALF = option("call", 90, 25)

CASES = [
    Exercised("call on shares", SHARE, CALL, "buy", 2, 200,
              [("U", "buy", 200, 90, "exercise"), ("O", "sell", 2, 0, "exercise")]),
    Exercised("short put on shares", SHARE, PUT, "sell", 1, 100,
              [("U", "buy", 100, 110, "assignment"), ("O", "buy", 1, 0, "assignment")]),
    Exercised("call on a future: one contract for one option", FUTURE, ON_FUTURE, "buy", 3, 3,
              [("U", "buy", 3, 90, "exercise"), ("O", "sell", 3, 0, "exercise")]),
    Exercised("short call on a future", FUTURE, ON_FUTURE, "sell", 1, -1,
              [("U", "sell", 1, 90, "assignment"), ("O", "buy", 1, 0, "assignment")]),
    Exercised("put on a future", FUTURE, PUT_ON_FUTURE, "buy", 1, -1,
              [("U", "sell", 1, 110, "exercise"), ("O", "sell", 1, 0, "exercise")]),
    Exercised("half of a contract is paid in cash", FUTURE, HALF, "buy", 3, 1,
              [("U", "buy", 1, 90, "exercise"), ("O", "sell", 3, 10 / 3, "exercise")]),
    Exercised("less than a contract, all of it", FUTURE, HALF, "buy", 1, 0, [("O", "sell", 1, 10, "exercise")]),
    Exercised("the share was delisted", SHARE, CALL, "buy", 2, 0, [("O", "sell", 2, 10, "exercise")], gone=True),
    Exercised("and the option was sold", SHARE, PUT, "sell", 2, 0, [("O", "buy", 2, 10, "assignment")], gone=True),
    Exercised("the future has expired", FUTURE, ON_FUTURE, "buy", 1, 0, [("O", "sell", 1, 10, "exercise")], gone=True),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_an_option_in_the_money_becomes_what_it_is_worth(case: Exercised) -> None:
    exchange = Exchange(account(cash=100_000, max_gross=10), {"U": case.underlying, "O": case.option})
    exchange.submit(order(case.side, case.quantity, symbol="O"))
    exchange.on_bar(opens(0), {"U": flat(100), "O": flat(10)})
    assert [position.symbol for position in exchange.positions()] == ["O"]
    if case.gone:
        exchange.delist("U", opens(1))
    done = exchange.expire("O", opens(1))
    assert [(fill.symbol, str(fill.side), fill.quantity, fill.reason) for fill in done] == [
        (symbol, side, quantity, reason) for symbol, side, quantity, _, reason in case.ends
    ]
    assert [fill.price for fill in done] == pytest.approx([end[3] for end in case.ends], rel=1e-12)
    assert [position.quantity for position in exchange.positions()] == ([case.held] if case.held else [])
    exchange.on_bar(opens(1), {"Z": flat(1)})  # where cash and positions are held against equity
    assert exchange.equity == pytest.approx(100_000, rel=1e-12)
