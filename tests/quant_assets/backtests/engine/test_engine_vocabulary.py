"""What always holds when orders of every kind meet bars of any shape: several bars a session, splits, dividends.

The worlds are drawn from numbered seeds, so that a failure is found again under its number.
"""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import polars as pl
import pytest

from quant_assets.backtests import BacktestResult, run
from resources.brokers.base import TERMINAL, Order, OrderType, Side, Sizing, TimeInForce
from resources.config import BacktestSettings
from resources.exchange import Bar, Exchange, Listing
from resources.exchange.words import CORPORATE
from tests.quant_assets.backtests.worlds import sent
from tests.resources.exchange.cases import account, opens

SYMBOLS = ("X", "Y")
TICKS = {"X": 0.25, "Y": 0.0}
SESSIONS, BARS = 4, 3
LENGTH = timedelta(minutes=130)
"""Three bars fill the session of XNYS, 14:30 to 21:00 UTC in January."""
SEEDS = range(40)
FEW = range(15)

TYPES = tuple(OrderType)
AMOUNTS = ("quantity", "quantity", "quantity", "notional", "target_weight", "target_position")
INSTRUMENTS = pl.DataFrame(
    {"symbol": SYMBOLS, "tick": [TICKS[symbol] for symbol in SYMBOLS], "calendar": ["XNYS"] * len(SYMBOLS)}
)


def begins(number: int) -> datetime:
    """The start of bar `number`, counted over the sessions."""
    return opens(number // BARS) + number % BARS * LENGTH


@dataclass(frozen=True)
class World:
    bars: list[dict[str, Bar]]
    orders: list[dict[str, Any]]
    terms: BacktestSettings

    def frame(self, bars: int | None = None) -> pl.DataFrame:
        fields = ("open", "high", "low", "close", "volume", "split", "dividend")
        return pl.DataFrame(
            [
                {
                    "symbol": symbol,
                    "ts": begins(number),
                    "session": begins(number).date(),
                    "known_at": begins(number) + LENGTH,
                    **{name: getattr(bar, name) for name in fields},
                }
                for number, here in enumerate(self.bars[:bars])
                for symbol, bar in here.items()
            ]
        )

    def result(self, bars: int | None = None, shuffled: bool = False) -> BacktestResult:
        frame = self.frame(bars)
        if shuffled:
            frame = frame.sample(fraction=1, shuffle=True, seed=7)
        return run(frame, sent(*self.orders), self.terms, INSTRUMENTS)


def world(seed: int, splits: bool = True, fractions: bool = True) -> World:
    draw = random.Random(seed)
    bars = [{symbol: _bar(draw, number, splits) for symbol in SYMBOLS} for number in range(SESSIONS * BARS)]
    orders = sorted(_orders(draw, fractions), key=lambda row: row["ts"])
    terms = account(
        cash=draw.choice([2_000.0, 50_000.0, 1e6]),
        half_spread_bps=draw.choice([0, 30]),
        slippage={"name": "square_root"} if draw.random() < 0.3 else {"name": "fixed", "bps": draw.choice([0, 70])},
        commission_per_share=0.01,
        commission_minimum=1,
        borrow_bps_per_year=200,
        financing_bps_per_year=600,
        participation=draw.choice([0.1, 1.0]),
        max_gross=draw.choice([1.0, 3.0]),
        shrink_to_cash=draw.random() < 0.3,
        limit_touch_fills=draw.random() < 0.3,
        ambiguous=draw.choice(["worse", "better"]),
        latency_seconds=draw.choice([0, 0, 30]),
    )
    return World(bars, orders, terms)


def _price(draw: random.Random) -> float:
    return draw.randint(160, 240) / 4


def _bar(draw: random.Random, number: int, splits: bool) -> Bar:
    open, high, low, close = (_price(draw) for _ in range(4))
    first = number % BARS == 0
    return Bar(
        open,
        max(open, high, low, close),
        min(open, high, low, close),
        close,
        draw.choice([0.0, 300.0, 2000.0, 1e5]),
        split=draw.choice([2.0, 0.5]) if splits and first and number and draw.random() < 0.2 else 1.0,
        dividend=0.5 if first and draw.random() < 0.2 else 0.0,
        first=first,
        last=number % BARS == BARS - 1,
        ends=begins(number) + LENGTH,
    )


def _orders(draw: random.Random, fractions: bool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    groups: dict[str, datetime] = {}
    for number in range(draw.randint(8, 24)):
        when = begins(draw.randrange(SESSIONS * BARS)) + draw.choice([timedelta(0), LENGTH, timedelta(minutes=7)])
        row = _submission(draw, f"o{number}", when)
        if "quantity" in row:
            _bracket(draw, row, fractions)
        if draw.random() < 0.25:  # members of a group and a child with its parent are sent together
            group = draw.choice(["g1", "g2", "g3"])
            row["ts"] = groups.setdefault(group, row["ts"])
            row["oco_group"] = group
        elif rows and draw.random() < 0.2:
            parent = draw.choice(rows)
            row |= {"parent": parent["order_id"], "ts": parent["ts"], "symbol": parent["symbol"]}
        if row.get("expire_at") and row["expire_at"] <= row["ts"]:
            row["expire_at"] = row["ts"] + LENGTH
        rows.append(row)
    return rows + _requests(draw, rows)


def _submission(draw: random.Random, order_id: str, when: datetime) -> dict[str, Any]:
    kind, amount, side = draw.choice(TYPES), draw.choice(AMOUNTS), draw.choice(["buy", "sell"])
    row: dict[str, Any] = {"order_id": order_id, "ts": when, "symbol": draw.choice(SYMBOLS), "type": kind.value}
    row[amount] = {
        "quantity": float(draw.randint(1, 300)),
        "notional": float(draw.randint(100, 9000)),
        "target_weight": draw.choice([-0.5, 0.0, 0.4, 1.0]),
        "target_position": float(draw.choice([-200, 0, 50, 300])),
    }[amount]
    if not amount.startswith("target"):
        row["side"] = side
    if "limit" in kind:
        row["limit_price"] = _price(draw)
    if kind in (OrderType.STOP, OrderType.STOP_LIMIT):
        row["stop_price"] = _price(draw)
    if "trailing" in kind:
        row["trail"] = draw.choice([1.0, 2.5, 6.0])
    lives = ["day", "gtc"]
    if not kind.startswith(("market_on", "limit_on")):
        lives += ["gtd"] + ([] if "stop" in kind else ["ioc", "fok"])
    row["tif"] = draw.choice(lives)
    if row["tif"] == "gtd":
        row["expire_at"] = when + draw.choice([LENGTH / 2, LENGTH, timedelta(days=1)])
    row["reduce_only"] = draw.random() < 0.2
    return row


def _bracket(draw: random.Random, row: dict[str, Any], fractions: bool) -> None:
    up = row["side"] == "buy"
    if draw.random() < 0.25:
        row |= {"take_profit": 58.0 if up else 42.0, "stop_loss": 43.0 if up else 57.0}
    elif fractions and draw.random() < 0.2 and row["ts"] >= begins(1):
        row |= {"take_profit_fraction": 0.05, "stop_loss_fraction": 0.04}


def _requests(draw: random.Random, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    made = []
    for row in draw.sample(rows, k=min(5, len(rows))):
        later = row["ts"] + draw.choice([timedelta(0), LENGTH, timedelta(days=1)])
        request = {"order_id": row["order_id"], "symbol": row["symbol"], "ts": later, "action": "cancel"}
        if draw.random() < 0.6:
            request |= {"action": "replace", "quantity": 700.0}
            for name in ("limit_price", "stop_price", "trail"):
                if name in row:
                    request[name] = row[name] + 0.5
        made.append(request)
    return made


@cache
def played(seed: int) -> tuple[World, BacktestResult]:
    here = world(seed)
    return here, here.result()


def fills_of(here: World, result: BacktestResult) -> list[dict[str, Any]]:
    """The fills that orders are behind, each with its bar."""
    number = {begins(number): number for number in range(len(here.bars))}
    rows = result.fills.filter(~pl.col("reason").is_in(CORPORATE)).iter_rows(named=True)
    return [row | {"bar": here.bars[number[row["ts"]]][row["symbol"]]} for row in rows]


def sign(row: dict[str, Any]) -> int:
    return 1 if row["side"] == "buy" else -1


def splits_between(here: World, symbol: str, after: datetime, until: datetime) -> float:
    """New shares per old of the splits that touch an order sent at `after` and filled at `until`."""
    ratio = 1.0
    for number, bars in enumerate(here.bars):
        ratio *= bars[symbol].split if after <= begins(number) <= until else 1.0
    return ratio


# ---- the properties


def test_the_worlds_reach_every_word_of_the_vocabulary():
    fills = pl.concat([played(seed)[1].fills for seed in SEEDS])
    orders = pl.concat([played(seed)[1].orders for seed in SEEDS])
    filled = orders.filter(pl.col("filled") > 0)
    assert set(filled["type"]) == {kind.value for kind in OrderType}
    assert set(filled["tif"]) == {tif.value for tif in TimeInForce}
    assert {"open", "limit", "stop", "gap", "close", "cash_in_lieu"} <= set(fills["reason"])
    assert fills["order_id"].str.ends_with(":take_profit").any()
    assert fills["order_id"].str.ends_with(":stop_loss").any()
    assert {
        "oco: another order of its group filled",
        "reduce-only: no position is left to reduce",
        "gtd: its instant has come",
        "day order: the session is over",
        "the auction is over",
        "cancelled on request",
        "replaced by a later order",
    } <= set(orders["reason"])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_fill_lies_in_its_bar_and_costs_are_bounded(seed):
    for row in fills_of(*played(seed)):
        assert row["bar"].low <= row["reference_price"] <= row["bar"].high
        worse = sign(row) * (row["price"] - row["reference_price"])
        assert -1e-9 <= worse <= 0.10 * row["reference_price"] + TICKS[row["symbol"]] + 1e-9
        assert min(row["spread_cost"], row["slippage_cost"], row["commission"]) >= -1e-9
        assert worse * row["quantity"] == pytest.approx(row["spread_cost"] + row["slippage_cost"], abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_limit_is_never_violated_and_a_gapped_stop_is_never_better_than_the_open(seed):
    here, result = played(seed)
    known = {row["order_id"]: row for row in here.orders if "type" in row}
    replaced = {row["order_id"] for row in here.orders if row.get("action") == "replace"}
    for row in fills_of(here, result):
        entry, _, child = row["order_id"].partition(":")
        wanted = known[entry]
        limit = wanted.get("take_profit") if child == "take_profit" else None if child else wanted.get("limit_price")
        if limit is not None and entry not in replaced:
            ratio = splits_between(here, row["symbol"], wanted["ts"], row["ts"])
            assert sign(row) * row["price"] <= sign(row) * limit / ratio + 1e-9
        kind = {"": wanted["type"], "take_profit": "limit", "stop_loss": "stop"}[child]
        if kind in ("stop", "trailing_stop", "trailing_stop_percent"):
            assert sign(row) * row["reference_price"] >= sign(row) * row["bar"].open - 1e-9


@pytest.mark.parametrize("seed", FEW)
def test_quantity_is_conserved_and_volume_is_not_exceeded(seed):
    here = world(seed, splits=False)
    result = here.result()
    filled: dict[str, float] = defaultdict(float)
    taken: dict[tuple[datetime, str], float] = defaultdict(float)
    for row in fills_of(here, result):
        filled[row["order_id"]] += row["quantity"]
        taken[row["ts"], row["symbol"]] += row["quantity"]
        assert taken[row["ts"], row["symbol"]] <= here.terms.participation * row["bar"].volume + 1e-6
    whole = {row["order_id"]: row.get("reduce_only") for row in here.orders if "type" in row}
    for row in result.orders.iter_rows(named=True):
        assert row["state"] in ("filled", "cancelled", "rejected", "expired")
        assert row["filled"] == filled[row["order_id"]] <= row["quantity"] + 1e-9
        if row["quantity"]:  # none was worked out for targets that are met, or that nothing could be sized for
            assert (row["state"] == "filled") == (row["filled"] == row["quantity"])
        if row["tif"] == "fok" and not whole[row["order_id"]]:
            assert row["filled"] in (0, row["quantity"])


@pytest.mark.parametrize("seed", SEEDS)
def test_cash_and_positions_are_equity_by_an_independent_ledger(seed):
    here, result = played(seed)
    cash, held = here.terms.cash, dict.fromkeys(SYMBOLS, 0.0)
    fills = result.fills.partition_by("ts", as_dict=True)
    for number, row in enumerate(result.equity.iter_rows(named=True)):
        bars = here.bars[number]
        held = {symbol: held[symbol] * bars[symbol].split for symbol in SYMBOLS}
        done = list(fills[(row["ts"],)].iter_rows(named=True)) if (row["ts"],) in fills else []
        paid = dict(held)
        for fill in done:
            held[fill["symbol"]] += sign(fill) * fill["quantity"]
            paid[fill["symbol"]] += sign(fill) * fill["quantity"] if fill["reason"] == "cash_in_lieu" else 0.0
            cash -= sign(fill) * fill["quantity"] * fill["price"] + fill["commission"]
        dividends = sum(paid[symbol] * bars[symbol].dividend for symbol in SYMBOLS)
        assert row["dividends"] == pytest.approx(dividends, abs=1e-6)
        cash += row["dividends"] - row["borrow_cost"] - row["funding"] - row["interest"]
        value = sum(held[symbol] * bars[symbol].close for symbol in SYMBOLS)
        scale = max(1.0, abs(cash), abs(value))
        assert row["cash"] == pytest.approx(cash, abs=1e-9 * scale)
        assert row["positions_value"] == pytest.approx(value, abs=1e-9 * scale)
        assert row["equity"] == pytest.approx(cash + value, abs=1e-9 * scale)


@pytest.mark.parametrize("seed", SEEDS)
def test_oco_siblings_never_both_fill(seed):
    here, result = played(seed)
    group = {row["order_id"]: row["oco_group"] for row in here.orders if row.get("oco_group")}
    winners: dict[str, set[str]] = defaultdict(set)
    for order_id in result.fills["order_id"]:
        entry, _, child = order_id.partition(":")
        name = f"exits of {entry}" if child in ("take_profit", "stop_loss") else group.get(order_id)
        if name:
            winners[name].add(order_id)
    assert all(len(orders) == 1 for orders in winners.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_reduce_only_never_increases_or_flips_a_position(seed):
    here, result = played(seed)
    reducing = {row["order_id"] for row in here.orders if row.get("reduce_only")}
    held = dict.fromkeys(SYMBOLS, 0.0)
    fills = result.fills.partition_by("ts", as_dict=True)
    for number, bars in enumerate(here.bars):
        held = {symbol: held[symbol] * bars[symbol].split for symbol in SYMBOLS}
        for row in fills[(begins(number),)].iter_rows(named=True) if (begins(number),) in fills else []:
            before = held[row["symbol"]]
            if row["order_id"] in reducing or row["order_id"].endswith((":take_profit", ":stop_loss")):
                assert before * sign(row) < 0
                assert row["quantity"] <= abs(before) + 1e-9
            held[row["symbol"]] = before + sign(row) * row["quantity"]


@pytest.mark.parametrize("seed", FEW)
def test_cutting_the_history_anywhere_leaves_the_fills_before_the_cut_as_they_were(seed):
    here, whole = played(seed)
    for cut in range(1, SESSIONS * BARS):
        last = begins(cut - 1)
        part = here.result(cut)
        for name in ("fills", "equity", "positions"):
            assert getattr(part, name).filter(pl.col("ts") <= last).rows() == (
                getattr(whole, name).filter(pl.col("ts") <= last).rows()
            ), (name, cut)


@pytest.mark.parametrize("seed", FEW)
def test_the_same_input_gives_the_same_bytes(seed):
    here, first = played(seed)
    assert digest(here.result(shuffled=True)) == digest(first)


def digest(result: BacktestResult) -> str:
    found = hashlib.sha256()
    for name in ("equity", "fills", "positions", "orders"):
        found.update(getattr(result, name).serialize())
    found.update(repr(result.metrics).encode())
    return found.hexdigest()


def test_another_process_gives_the_same_bytes():
    code = "from tests.quant_assets.backtests.engine.test_engine_vocabulary import *\n"
    code += "print(*(digest(played(seed)[1]) for seed in range(4)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [digest(played(seed)[1]) for seed in range(4)]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_exchange_driven_bar_by_bar_fills_as_the_backtest_does(seed):
    here = world(seed, fractions=False)
    result = here.result()
    exchange, done = live(here)
    columns = (
        "order_id", "ts", "side", "quantity", "price", "reference_price", "spread_cost", "slippage_cost", "commission",
        "reason", "ambiguous", "realised",
    )  # fmt: skip
    assert result.fills.select(columns).rows() == [tuple(getattr(fill, name) for name in columns) for fill in done]
    last = result.equity.row(-1, named=True)
    assert (last["cash"], last["equity"], last["margin"]) == (exchange.cash, exchange.equity, exchange.margin)
    ended = {row["order_id"]: row for row in result.orders.iter_rows(named=True)}
    for status in exchange.orders():
        row = ended[status.order.id]
        assert (status.filled, status.order.limit_price) == (row["filled"], row["limit_price"])
        assert status.state in (row["state"], "accepted", "partially_filled", "held")


def live(here: World) -> tuple[Exchange, list[Any]]:
    exchange = Exchange(here.terms, {symbol: Listing(tick=TICKS[symbol], calendar="XNYS") for symbol in SYMBOLS})
    waiting, done = list(here.orders), []
    for number, bars in enumerate(here.bars):
        while waiting and waiting[0]["ts"] <= begins(number):
            tell(exchange, waiting.pop(0))
        done += exchange.on_bar(begins(number), bars)
    return exchange, done


def tell(exchange: Exchange, row: dict[str, Any]) -> None:
    changes = {name: row[name] for name in ("quantity", "limit_price", "stop_price", "trail") if name in row}
    if row.get("action") == "cancel":
        exchange.cancel(row["order_id"], at=row["ts"])
    elif row.get("action") == "replace":
        # A backtest, which cannot be asked beforehand, rejects a request about an order that has ended.
        if exchange.status(row["order_id"]).state not in TERMINAL:
            exchange.replace(row["order_id"], **changes, at=row["ts"])
    else:
        exchange.submit(_order(row))


def _order(row: dict[str, Any]) -> Order:
    [(sizing, amount)] = [(name, row[name]) for name in dict.fromkeys(AMOUNTS) if name in row]
    plain = Order(
        id=row["order_id"],
        symbol=row["symbol"],
        side=Side(row.get("side", "buy" if amount >= 0 else "sell")),
        quantity=abs(amount),
        type=OrderType(row["type"]),
        tif=TimeInForce(row["tif"]),
        submitted_at=row["ts"],
        sizing=Sizing.UNITS if sizing == "quantity" else Sizing(sizing),
    )
    names = (
        "limit_price", "stop_price", "trail", "expire_at", "reduce_only", "take_profit", "stop_loss", "oco_group",
        "parent",
    )  # fmt: skip
    return replace(plain, **{name: row[name] for name in names if name in row})
