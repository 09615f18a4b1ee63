"""Pre-trade limits as tables: each limit at its bound and just past it, and what always passes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.risk.limits import Resting, check, controlled, is_reducing, sectors_of, signed_quantity, uncovered
from resources.brokers.base import Order, OrderType, Side, TimeInForce
from resources.config import LimitSettings
from resources.exchange import Listing

NOW = datetime(2013, 2, 28, 21, 0, tzinfo=UTC)
PRICES = {"AAA": 10.0, "BBB": 20.0, "CCC": 50.0}
EQUITY = 10_000.0


SECTORS = {"AAA": "tech", "BBB": "tech"}


def order(symbol: str, units: float, number: int = 1, reduce_only: bool = False, group: str = "") -> Order:
    side = Side.SELL if units < 0 else Side.BUY
    kind, tif = OrderType.MARKET, TimeInForce.DAY
    return Order(f"o-{number}", symbol, side, abs(units), kind, tif, NOW, reduce_only=reduce_only, oco_group=group)


def at_a_price(symbol: str, units: float, number: int = 1) -> Order:
    return replace(order(symbol, units, number), type=OrderType.LIMIT, limit_price=PRICES[symbol])


def exit_at_a_price(symbol: str, units: float, number: int = 1) -> Order:
    return replace(at_a_price(symbol, units, number), reduce_only=True)


@dataclass(frozen=True)
class Case:
    name: str
    orders: list[Order]
    refused: dict[int, str]
    held: Mapping[str, float] = field(default_factory=dict)
    limits: LimitSettings = field(default_factory=LimitSettings)
    equity: float = EQUITY
    peak: float = EQUITY
    prices: Mapping[str, float] = field(default_factory=lambda: PRICES)
    sent: int = 0
    traded: float = 0.0
    controls: Mapping[str, float] | None = None
    resting: Mapping[str, Resting] | None = None


WIDE = {"gross": 10.0, "net": 10.0, "single_name": 10.0, "order_notional": 10.0}


def only(**bounds: float) -> LimitSettings:
    """Limits where nothing binds but what is named."""
    return LimitSettings.model_validate({**WIDE, **bounds})


CASES = [
    # single_name: 0.35 of 10,000 is 350 units at 10
    Case("single name at its bound", [order("AAA", 350)], {}),
    Case("single name past its bound", [order("AAA", 351)], {0: "order_notional"}),
    Case("single name counts what is held", [order("AAA", 151)], {0: "single_name"}, held={"AAA": 200}),
    Case("single name of a short", [order("AAA", -151)], {0: "single_name"}, held={"AAA": -200}),
    Case("one order too large", [order("AAA", 101)], {0: "order_notional"}, limits=only(order_notional=0.1)),
    # gross: 10,000
    Case("gross at its bound", [order("AAA", 500), order("BBB", -250)], {}, limits=only(gross=1.0)),
    Case("gross past its bound", [order("AAA", 500), order("BBB", -251)], {1: "gross"}, limits=only(gross=1.0)),
    Case("a refused order takes no room", [order("AAA", 1001), order("BBB", 1)], {0: "gross"}, limits=only(gross=1.0)),
    Case("net lets a hedge pass", [order("AAA", 500), order("BBB", -250)], {}, limits=only(net=0.5)),
    Case("net past its bound", [order("AAA", 501)], {0: "net"}, limits=only(net=0.5)),
    Case("net short past its bound", [order("AAA", -501)], {0: "net"}, limits=only(net=0.5)),
    # orders_per_session
    Case("last order allowed", [order("AAA", 1)], {}, sent=999),
    Case("one order too many", [order("AAA", 1)], {0: "orders_per_session"}, sent=1000),
    Case("the count runs inside a batch", [order("AAA", 1), order("BBB", 1)], {1: "orders_per_session"}, sent=999),
    # drawdown_stop: 25%
    Case("drawdown short of the stop", [order("AAA", 1)], {}, peak=13_333),
    Case("drawdown at the stop", [order("AAA", 1)], {0: "drawdown_stop"}, equity=7_500),
    Case("a short is new exposure too", [order("AAA", -1)], {0: "drawdown_stop"}, equity=7_500),
    # what reduces exposure always passes
    Case("drawdown lets a sale pass", [order("AAA", -100)], {}, held={"AAA": 100}, equity=5_000),
    Case("drawdown lets a cover pass", [order("AAA", 100)], {}, held={"AAA": -100}, equity=5_000),
    Case("drawdown refuses a flip", [order("AAA", -101)], {0: "drawdown_stop"}, held={"AAA": 100}, equity=5_000),
    Case("a sale larger than order_notional", [order("AAA", -900)], {}, held={"AAA": 900}),
    Case("a sale past the count", [order("AAA", -100)], {}, held={"AAA": 100}, sent=1000),
    Case("a sale that leaves gross too high", [order("AAA", -1)], {}, held={"AAA": 5000}),
    Case("a sale without a price", [order("AAA", -1)], {}, held={"AAA": 5}, prices={}),
    Case("a rotation sells before it buys", [order("BBB", 175), order("AAA", -1000)], {}, held={"AAA": 1000}),
    Case("a sale counts first", [order("BBB", 1), order("AAA", -1)], {0: "orders_per_session"}, {"AAA": 1}, sent=999),
    Case("the second sale of a position flips it", [order("AAA", -100, 1), order("AAA", -100, 2)], {1: "drawdown_stop"},
         held={"AAA": 100}, equity=5_000),
    Case("reduce-only is cut to what is held", [order("AAA", -900, reduce_only=True), order("BBB", 50)], {},
         held={"AAA": 100}, limits=only(gross=0.1)),
    Case("reduce-only without a position does nothing", [order("AAA", -900, reduce_only=True), order("BBB", 50)], {},
         limits=only(gross=0.1)),
    # sector: AAA and BBB are tech, CCC has none
    Case("sector at its bound", [order("AAA", 200), order("BBB", -100)], {}, limits=only(sector=0.4)),
    Case("sector past its bound", [order("AAA", 200), order("BBB", -101)], {1: "sector"}, limits=only(sector=0.4)),
    Case("sector counts what is held", [order("BBB", 101)], {0: "sector"}, {"AAA": 200}, only(sector=0.4)),
    Case("another sector has its own room", [order("AAA", 400), order("CCC", 80)], {}, limits=only(sector=0.4)),
    Case("no sector is one sector", [order("CCC", 60), order("DDD", 101)], {1: "sector"}, limits=only(sector=0.4),
         prices={**PRICES, "DDD": 10.0}),
    Case("a sale makes room in its sector", [order("BBB", 100), order("AAA", -200)], {}, {"AAA": 400},
         only(sector=0.4)),
    # turnover
    Case("turnover at its bound", [order("AAA", 200), order("BBB", -100)], {}, limits=only(turnover=0.4)),
    Case("turnover past its bound", [order("AAA", 200), order("BBB", -101)], {1: "turnover"},
         limits=only(turnover=0.4)),
    Case("turnover counts what was sent", [order("AAA", 101)], {0: "turnover"}, limits=only(turnover=0.4),
         traded=3_000),
    Case("turnover counts sales, and lets them pass", [order("AAA", -500), order("BBB", 1)], {1: "turnover"},
         {"AAA": 500}, only(turnover=0.5)),
    Case("turnover of a sale without a price", [order("ZZZ", -5), order("AAA", 500)], {}, {"ZZZ": 5},
         only(turnover=0.5)),
    # leverage: a unit of CCC controls 500
    Case("leverage at its bound", [order("AAA", 500), order("CCC", 10)], {}, limits=only(leverage=1.0),
         controls={"CCC": 500.0}),
    Case("leverage past its bound", [order("AAA", 500), order("CCC", -11)], {1: "leverage"}, limits=only(leverage=1.0),
         controls={"CCC": 500.0}),
    Case("leverage counts what is held", [order("AAA", 1)], {0: "leverage"}, {"CCC": -20}, only(leverage=1.0),
         controls={"CCC": 500.0}),
    Case("an option on what has no price", [order("CCC", 1)], {0: "leverage"}, limits=only(leverage=1.0),
         controls={"CCC": math.nan}),
    # what rests at the venue
    Case("what rests takes room", [order("AAA", 101)], {0: "gross"}, limits=only(gross=0.5),
         resting={"BBB": Resting(buys=200)}),
    Case("what rests in the same name", [order("AAA", 101)], {0: "single_name"}, limits=only(single_name=0.5),
         resting={"AAA": Resting(buys=400)}),
    Case("what rests on the other side takes none", [order("AAA", 500)], {}, limits=only(gross=0.5),
         resting={"AAA": Resting(sells=-500)}),
    Case("nor does it hedge", [order("AAA", 501)], {0: "net"}, limits=only(net=0.5),
         resting={"BBB": Resting(sells=-250)}),
    Case("what rests to sell counts short", [order("AAA", -101)], {0: "net"}, limits=only(net=0.5),
         resting={"BBB": Resting(sells=-200)}),
    Case("what rests without a price", [order("AAA", 1)], {0: "price"}, resting={"ZZZ": Resting(buys=1)}),
    Case("a sell beside a sell that rests", [order("AAA", -300)], {0: "drawdown_stop"}, held={"AAA": 300},
         peak=2 * EQUITY, resting={"AAA": Resting(sells=-1)}),
    Case("as much as is left", [order("AAA", -200)], {}, held={"AAA": 300}, peak=2 * EQUITY,
         resting={"AAA": Resting(buys=500, sells=-100)}),
    Case("a buy beside a buy that rests", [order("AAA", 300)], {0: "drawdown_stop"}, held={"AAA": -300},
         peak=2 * EQUITY, resting={"AAA": Resting(buys=1)}),
    Case("reduce-only beside a sell that rests", [order("AAA", -300, reduce_only=True)], {}, held={"AAA": 300},
         peak=2 * EQUITY, resting={"AAA": Resting(sells=-300)}),
    Case("a reversal may fill after an exit that rests", [order("AAA", 600)], {0: "single_name"}, held={"AAA": -300},
         limits=only(single_name=0.5), resting={"AAA": Resting(reducing_buys=300)}),
    Case("a reversal of a long too", [order("AAA", -600)], {0: "net"}, held={"AAA": 300}, limits=only(net=0.5),
         resting={"AAA": Resting(reducing_sells=-300)}),
    Case("at its bound whichever fills first", [order("AAA", 500)], {}, held={"AAA": -300},
         limits=only(single_name=0.5, net=0.5, gross=0.5), resting={"AAA": Resting(reducing_buys=300)}),
    Case("an exit of a part", [order("AAA", 500), order("BBB", 51)], {1: "gross"}, held={"AAA": -300},
         limits=only(gross=0.4), resting={"AAA": Resting(reducing_buys=100)}),
    Case("one sent beside an entry may end it before a plain sale", [order("AAA", 200),
         exit_at_a_price("AAA", -200, 2), at_a_price("AAA", -600, 3)], {2: "single_name"},
         limits=only(single_name=0.5)),
    Case("one that leaves a plain sale less to reduce", [order("AAA", -200, reduce_only=True)], {0: "single_name"},
         held={"AAA": 200}, limits=only(single_name=0.5), resting={"AAA": Resting(sells=-600)}),
    Case("and one that leaves it enough", [order("AAA", -200, reduce_only=True)], {}, held={"AAA": 200},
         limits=only(single_name=0.5), resting={"AAA": Resting(sells=-500)}),
    Case("one that may find more to reduce", [order("AAA", -300), order("AAA", 400, 2, reduce_only=True),
         order("AAA", 500, 3)], {2: "single_name"}, limits=only(single_name=0.3)),
    Case("one that may find less", [order("AAA", -400, reduce_only=True), order("AAA", -200, 2), order("AAA", 600, 3)],
         {2: "single_name"}, held={"AAA": 400}, limits=only(single_name=0.5)),
    Case("a short one too", [order("AAA", 400, reduce_only=True), order("AAA", 200, 2), order("AAA", -600, 3)],
         {2: "single_name"}, held={"AAA": -400}, limits=only(single_name=0.5)),
    Case("a sale whole beside an exit may turn the position", [order("AAA", -300), order("BBB", 101)], {1: "gross"},
         held={"AAA": 300}, limits=only(gross=0.5), resting={"AAA": Resting(reducing_sells=-300)}),
    Case("a reduce-only one does not", [order("AAA", -300, reduce_only=True), order("BBB", 250)], {},
         held={"AAA": 300}, limits=only(gross=0.5), resting={"AAA": Resting(reducing_sells=-300)}),
    Case("alternatives are one order", [order("AAA", -300, group="g"), order("AAA", -300, 2, group="g")], {},
         held={"AAA": 300}, peak=2 * EQUITY),
    Case("a larger alternative turns the position", [order("AAA", -300, group="g"), order("AAA", -301, 2, group="g")],
         {1: "drawdown_stop"}, held={"AAA": 300}, peak=2 * EQUITY),
    Case("groups are apart", [order("AAA", -300, group="g"), order("AAA", -300, 2, group="h")], {1: "drawdown_stop"},
         held={"AAA": 300}, peak=2 * EQUITY),
    # what cannot be judged is refused
    Case("no price", [order("ZZZ", 1)], {0: "price"}),
    Case("price not a number", [order("AAA", 1)], {0: "price"}, prices={"AAA": math.nan}),
    Case("price of zero", [order("AAA", 1)], {0: "price"}, prices={"AAA": 0.0}),
    Case("a holding without a price", [order("AAA", 1)], {0: "price"}, held={"ZZZ": 1}),
    Case("a holding without a price, on its way out", [order("AAA", 1), order("ZZZ", -1)], {}, held={"ZZZ": 1}),
    Case("no quantity", [order("AAA", 0)], {0: "quantity"}),
    Case("quantity not a number", [order("AAA", math.nan)], {0: "quantity"}),
    Case("no equity", [order("AAA", 1)], {0: "equity"}, equity=0.0),
    Case("equity not a number", [order("AAA", 1)], {0: "equity"}, equity=math.nan),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_limits(case: Case) -> None:
    decisions = check(
        case.orders,
        case.held,
        case.prices,
        equity=case.equity,
        peak_equity=case.peak,
        limits=case.limits,
        sent=case.sent,
        traded=case.traded,
        sectors=SECTORS,
        controls=case.controls,
        resting=case.resting,
    )
    assert [decision.order for decision in decisions] == case.orders
    assert {index: decision.limit for index, decision in enumerate(decisions) if not decision.accepted} == case.refused
    assert all((decision.reason == "") == decision.accepted for decision in decisions)


def test_a_refusal_names_limit_value_and_bound() -> None:
    (decision,) = check([order("AAA", 400)], {}, PRICES, equity=EQUITY, peak_equity=EQUITY, limits=LimitSettings())
    assert decision.reason == "limit order_notional: 0.4 exceeds 0.35"


def test_a_refusal_for_a_sector_names_it() -> None:
    for symbol, sector in (("AAA", "tech"), ("CCC", "no sector")):
        (decision,) = check(
            [order(symbol, 200)],
            {},
            PRICES,
            equity=EQUITY,
            peak_equity=EQUITY,
            limits=only(sector=0.1),
            sectors=SECTORS,
        )
        assert decision.reason == f"limit sector: {sector} {200 * PRICES[symbol] / EQUITY:g} exceeds 0.1"


def test_sectors_and_what_options_control_come_from_the_instruments() -> None:
    option = Listing(asset_class="option", right="call", underlying="AAA", strike=12.0, multiplier=100.0, sector="tech")
    listings = {"AAA": Listing(sector="tech"), "BBB": Listing(multiplier=50.0), "CALL": option}
    assert sectors_of(listings) == {"AAA": "tech", "CALL": "tech"}
    assert controlled(PRICES, listings) == {"CALL": 1_000.0}
    assert math.isnan(controlled({}, listings)["CALL"])


def taken_away(left: list[Order], limits: LimitSettings, **more: Any) -> tuple[str, str] | None:
    """What is said of leaving so much of 400 of AAA sold, which are held, and 200 of BBB bought beside it."""
    account = {"positions": {"AAA": 400.0}, "prices": PRICES, "equity": EQUITY, "limits": limits, **more}
    return uncovered([order("AAA", -400), order("BBB", 200, 2)], left, **account)


def test_what_makes_room_may_not_be_taken_away():
    limits = only(gross=0.5)
    assert taken_away([order("BBB", 200)], limits) == ("gross", "limit gross: 0.8 exceeds 0.5")
    assert taken_away([order("AAA", -300), order("BBB", 200)], limits) is None  # 1,000 and 4,000 of 10,000
    assert taken_away([order("AAA", -299), order("BBB", 200)], limits) == ("gross", "limit gross: 0.501 exceeds 0.5")
    assert taken_away([order("AAA", -400)], limits) is None
    assert taken_away([], limits) is None
    assert taken_away([order("BBB", 200)], only(sector=0.5), sectors=SECTORS) == (
        "sector", "limit sector: tech 0.8 exceeds 0.5",
    )  # fmt: skip


def test_what_leaves_the_account_no_further_beyond_a_bound_may():
    assert taken_away([], only(gross=0.3)) is None  # no further than it is
    assert taken_away([order("AAA", -400), order("BBB", 200)], only(gross=0.3)) is None  # than it comes to be
    assert taken_away([order("BBB", 200)], only(gross=0.3)) == ("gross", "limit gross: 0.8 exceeds 0.3")
    assert taken_away([order("BBB", 200)], only(), equity=0.0) == ("gross", "limit gross: inf exceeds 10")


units = st.floats(min_value=-2000, max_value=2000, allow_nan=False).map(lambda number: float(round(number)))
batches = st.lists(st.tuples(st.sampled_from(sorted(PRICES)), units), max_size=12)
holdings = st.dictionaries(st.sampled_from(sorted(PRICES)), units)
bounds = st.floats(min_value=0.05, max_value=2.0)
limit_settings = st.builds(
    LimitSettings, gross=bounds, net=bounds, single_name=bounds, order_notional=bounds,
    orders_per_session=st.integers(1, 8), drawdown_stop=st.floats(0.05, 1.0),
    sector=bounds, turnover=bounds, leverage=bounds,
)  # fmt: skip


def _as_judged(accepted: list[Order], held: Mapping[str, float]) -> list[Order]:
    """Those that reduce what is held when their turn comes, then the others."""
    book, first = dict(held), []
    for one in accepted:
        if is_reducing(one, book.get(one.symbol, 0.0)):
            book[one.symbol] += signed_quantity(one)
            first.append(one)
    return first + [one for one in accepted if one not in first]


@given(batch=batches, held=holdings, limits=limit_settings, equity=st.floats(1_000, 100_000), sent=st.integers(0, 8))
def test_accepted_orders_never_breach(
    batch: list[tuple[str, float]], held: dict[str, float], limits: LimitSettings, equity: float, sent: int
) -> None:
    """Replaying what was accepted, reducing orders first, no order but a reducing one ever leaves a limit breached."""
    orders = [order(symbol, number, index) for index, (symbol, number) in enumerate(batch)]
    decisions = check(
        orders, held, PRICES, equity=equity, peak_equity=100_000.0, limits=limits, sent=sent, sectors=SECTORS
    )
    traded = 0.0
    accepted = [decision.order for decision in decisions if decision.accepted]
    book = dict(held)
    for one in _as_judged(accepted, held):
        reducing = is_reducing(one, book.get(one.symbol, 0.0))
        book[one.symbol] = book.get(one.symbol, 0.0) + signed_quantity(one)
        sent += 1
        traded += one.quantity * PRICES[one.symbol] / equity
        if reducing:
            continue
        values = {symbol: number * PRICES[symbol] / equity for symbol, number in book.items()}
        slack = 1 + 1e-8
        assert 1 - equity / 100_000.0 < limits.drawdown_stop
        assert sent <= limits.orders_per_session
        assert one.quantity * PRICES[one.symbol] / equity <= limits.order_notional * slack
        assert abs(values[one.symbol]) <= limits.single_name * slack
        assert sum(map(abs, values.values())) <= limits.gross * slack
        assert abs(sum(values.values())) <= limits.net * slack
        assert sum(map(abs, values.values())) <= limits.leverage * slack
        assert traded <= limits.turnover * slack
        theirs = [abs(value) for name, value in values.items() if SECTORS.get(name) == SECTORS.get(one.symbol)]
        assert sum(theirs) <= limits.sector * slack


@given(batch=batches, held=holdings, limits=limit_settings)
def test_reducing_orders_always_pass(
    batch: list[tuple[str, float]], held: dict[str, float], limits: LimitSettings
) -> None:
    """In a batch of one, an order that reduces passes even with nothing left of the account."""
    for symbol, number in batch:
        one = order(symbol, number)
        (decision,) = check([one], held, PRICES, equity=1.0, peak_equity=1e9, limits=limits, sent=9_999)
        assert decision.accepted == is_reducing(one, held.get(symbol, 0.0))
