"""History and live feed obey the same rules, the same input gives the same result, and nothing knows the future."""

from __future__ import annotations

import polars as pl
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from quant_assets.backtests import BacktestResult, run
from resources.exchange import Exchange
from tests.quant_assets.backtests.worlds import cleaned, sent, target
from tests.resources.exchange.cases import account, flat, opens, order
from tests.resources.exchange.test_exchange_properties import SYMBOLS, World, bars, worlds

FEW = settings(max_examples=60, deadline=None)
TERMS = account(
    cash=20_000, half_spread_bps=20, commission_minimum=1, participation=0.1, max_gross=1.5, borrow_bps_per_year=100
)


def frames(world: World) -> tuple[pl.DataFrame, pl.DataFrame]:
    history = cleaned({symbol: [here[symbol] for here in world.sessions] for symbol in SYMBOLS})
    rows = [
        {
            "order_id": each.id,
            "ts": each.submitted_at,
            "symbol": each.symbol,
            "side": each.side.value,
            "quantity": float(each.quantity),
            "type": each.type.value,
            "tif": each.tif.value,
            "limit_price": each.limit_price,
            "stop_price": each.stop_price,
        }
        for each in world.orders
    ]
    return history, sent(*rows)


@FEW
@given(worlds(actions=True).filter(lambda world: world.orders))
def test_the_exchange_driven_bar_by_bar_fills_as_the_backtest_does(world):
    exchange, done = world.play()
    result = run(*frames(world), world.terms)
    assert result.fills.drop("session", "tag", "multiplier", "paid").rows() == [
        (
            fill.order_id, fill.ts, fill.symbol, fill.side.value, fill.quantity, fill.price, fill.reference_price,
            fill.spread_cost, fill.slippage_cost, fill.commission, fill.reason, fill.ambiguous, fill.realised,
        )
        for fills in done
        for fill in fills
    ]  # fmt: skip
    assert result.equity.select("cash", "equity").row(-1) == (exchange.cash, exchange.equity)
    filled = dict(result.orders.select("order_id", "filled").rows())
    assert {status.order.id: status.filled for status in exchange.orders()}.items() <= filled.items()


TARGETS = st.lists(
    st.tuples(
        st.sampled_from([opens(0), *range(7)]),
        st.sampled_from(SYMBOLS),
        st.sampled_from([-0.5, 0.0, 0.3, 0.6, 1.0]),
        st.sampled_from(["gtc", "day"]),
    ),
    min_size=1,
    max_size=12,
)
HISTORIES = st.lists(st.fixed_dictionaries({symbol: bars(actions=True) for symbol in SYMBOLS}), min_size=6, max_size=6)


def weighted(rows) -> pl.DataFrame:
    return sent(*(target(number, symbol, weight, tif=tif) for number, symbol, weight, tif in rows))


def until(result: BacktestResult, cut: int) -> list[list[tuple]]:
    last = opens(cut - 1).date()
    return [getattr(result, name).filter(pl.col("session") <= last).rows() for name in ("fills", "equity", "positions")]


@FEW
@given(HISTORIES, TARGETS, st.integers(1, 6), st.integers(2, 6))
def test_cutting_the_history_leaves_everything_before_as_it_was(history, rows, cut, delisted):
    symbols = {symbol: [here[symbol] for here in history] for symbol in SYMBOLS}
    symbols["Y"] = symbols["Y"][:delisted]
    assert_cut_alike(cleaned(symbols), rows, cut)


def assert_cut_alike(whole, rows, cut):
    part = whole.filter(pl.col("ts") <= opens(cut - 1))
    assert until(run(part, weighted(rows), TERMS), cut) == until(run(whole, weighted(rows), TERMS), cut)


@FEW
@given(HISTORIES, TARGETS, st.integers(1, 12), st.sets(st.integers(1, 11), max_size=9))
def test_cutting_the_history_in_a_gap_leaves_everything_before_as_it_was(history, rows, cut, lacking):
    symbols = {symbol: [here[symbol] for here in history * 2] for symbol in SYMBOLS}
    symbols["Y"] = [None if number in lacking else bar for number, bar in enumerate(symbols["Y"])]
    assert_cut_alike(cleaned(symbols), rows, cut)


@FEW
@given(HISTORIES, TARGETS)
def test_the_same_input_gives_the_same_bytes(history, rows):
    whole = cleaned({symbol: [here[symbol] for here in history] for symbol in SYMBOLS})
    first, second = (
        run(whole, weighted(rows), TERMS),
        run(whole.sample(fraction=1, shuffle=True, seed=1), weighted(rows), TERMS),
    )
    for name in ("equity", "fills", "positions", "orders"):
        assert getattr(first, name).serialize() == getattr(second, name).serialize()
    assert first.metrics == second.metrics


@FEW
@given(st.lists(st.fixed_dictionaries({symbol: bars() for symbol in SYMBOLS}), min_size=6, max_size=6), TARGETS)
def test_targets_are_plain_orders_once_they_are_sized(history, rows):
    """What the backtest made of its targets, given to the exchange as orders at the same instants, fills alike."""
    result = run(cleaned({symbol: [here[symbol] for here in history] for symbol in SYMBOLS}), weighted(rows), TERMS)
    # The exchange knows nothing of targets, so nobody would cancel those that are replaced.
    assume(not (result.orders["reason"] == "replaced by a later order").any())
    exchange = Exchange(TERMS)
    made = result.orders.filter(pl.col("quantity") > 0).with_columns(pl.col("order_id").cast(pl.Int64))
    waiting = [
        order(side, quantity, id=str(number), symbol=symbol, at=ts, tif=rows[number][3])
        for ts, number, symbol, side, quantity in made.sort("ts", "order_id")
        .select("ts", "order_id", "symbol", "side", "quantity")
        .iter_rows()
    ]
    done = []
    for number, here in enumerate(history):
        while waiting and waiting[0].submitted_at <= opens(number):
            exchange.submit(waiting.pop(0))
        done += [(fill.order_id, fill.ts, fill.quantity, fill.price) for fill in exchange.on_bar(opens(number), here)]
    assert result.fills.select("order_id", "ts", "quantity", "price").rows() == done


def test_targets_use_no_price_later_than_their_submission():
    calm = [flat(100), flat(100), flat(100), flat(100)]
    wild = [flat(100), flat(100), flat(180), flat(20)]
    sizes = [
        run(cleaned({"X": prices}), weighted([(1, "X", 0.5, "gtc")]), TERMS).orders["quantity"].to_list()
        for prices in (calm, wild)
    ]
    assert sizes == [[100], [100]]
