"""What makes an order acceptable, and how it enters the book: the same for whole arrays and a single order."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from resources.brokers.base import Order, Side, Sizing
from resources.brokers.brackets import STOP_LOSS, TAKE_PROFIT
from resources.errors import QuantError
from resources.exchange.layout import FOREVER, NOWHERE, ORDER, Floats, Integers, Records
from resources.exchange.terms import Listing
from resources.exchange.words import (
    FOK,
    GTC,
    GTD,
    IOC,
    KINDS,
    LIMIT,
    LIMIT_ON_CLOSE,
    LIMIT_ON_OPEN,
    MARKET_ON_CLOSE,
    MARKET_ON_OPEN,
    NOTIONAL,
    REPLACE,
    SIZINGS,
    STOP,
    STOP_LIMIT,
    SUBMIT,
    TARGET_WEIGHT,
    TIFS,
    TRAILING,
    TRAILING_PERCENT,
    UNITS,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

CHILDREN = ("", f":{TAKE_PROFIT}", f":{STOP_LOSS}")
"""What is added to an order's id for the orders of its bracket."""

PRICE_FIELDS = ("limit_price", "stop_price", "trail", "take_profit", "stop_loss")


class OrderError(QuantError):
    """An order that no exchange could take, or a request about an order that cannot be met."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Orders as parallel arrays. Words are indices of their tables in words.py, absent numbers NaN.

    `wanted` is the quantity in the unit of `sizing`, signed for targets; `side` +1 or -1, 0 where a target implies it.
    `take` and `loss` are prices, `take_fraction` and `loss_fraction` distances from the last close known. `submitted`
    and `expires` are microseconds (FOREVER: none).
    """

    action: Integers
    kind: Integers
    tif: Integers
    sizing: Integers
    side: Integers
    submitted: Integers
    expires: Integers
    wanted: Floats
    limit: Floats
    stop: Floats
    trail: Floats
    take: Floats
    loss: Floats
    take_fraction: Floats
    loss_fraction: Floats
    lot: Floats
    reduce: npt.NDArray[np.bool_]

    @classmethod
    def blank(cls, count: int) -> dict[str, npt.NDArray[np.generic]]:
        """Arrays of so many market orders without anything, to be filled in."""
        kinds = {field.name: field.type for field in fields(cls)}
        made: dict[str, npt.NDArray[np.generic]] = {
            name: np.full(count, np.nan) if kind == "Floats" else np.zeros(count, np.int64)
            for name, kind in kinds.items()
        }
        made["expires"] = np.full(count, FOREVER)
        made["lot"], made["reduce"] = np.ones(count), np.zeros(count, bool)
        return made


def first_fault(orders: Columns) -> tuple[int, str] | None:
    """Row and description (field, value, mend) of the first order that breaks a rule; None where all are well."""
    rules = [*_amounts(orders), *_prices(orders), *_lives(orders)]
    found = [(int(np.argmax(wrong)), field, values, mend) for wrong, field, values, mend in rules if wrong.any()]
    if not found:
        return None
    row, field, values, mend = min(found, key=lambda fault: fault[0])
    return row, f"{field} is {_shown(field, values[row])}; {mend}"


Rule = tuple[npt.NDArray[np.bool_], str, npt.NDArray[np.generic], str]


def _amounts(orders: Columns) -> list[Rule]:
    new, wanted = orders.action == SUBMIT, orders.wanted
    units, money = new & (orders.sizing == UNITS), new & (orders.sizing == NOTIONAL)
    lots = wanted / orders.lot
    given = ~np.isnan(wanted)
    positive = np.isfinite(wanted) & (wanted > 0)
    with np.errstate(invalid="ignore"):
        # A double holds 15 digits, so that many lots are whole or not only to so much of their number.
        whole = (np.round(lots) != 0) & (np.abs(lots - np.round(lots)) <= np.maximum(1e-9, 1e-12 * np.abs(lots)))
    changed = (orders.action == REPLACE) & given
    return [
        ((units | changed) & ~positive, "quantity", wanted, "it must be positive"),
        ((units | changed) & ~whole, "quantity", wanted, "it must be a multiple of the lot"),
        (money & ~positive, "notional", wanted, "it must be positive"),
        (new & (orders.sizing >= TARGET_WEIGHT) & ~np.isfinite(wanted), "target", wanted, "it must be a finite number"),
    ]


def _prices(orders: Columns) -> list[Rule]:
    new, kind = orders.action == SUBMIT, orders.kind
    limit, stop, trail = orders.limit, orders.stop, orders.trail
    limited = np.isin(kind, (LIMIT, STOP_LIMIT, LIMIT_ON_OPEN, LIMIT_ON_CLOSE))
    stopped, trailing = np.isin(kind, (STOP, STOP_LIMIT)), np.isin(kind, (TRAILING, TRAILING_PERCENT))
    with np.errstate(invalid="ignore"):
        take_is_worse = orders.side * orders.take <= orders.side * orders.loss
    rules: list[Rule] = [
        (new & limited & ~_positive(limit), "limit_price", limit, "a limit order needs a positive one"),
        (new & ~limited & ~np.isnan(limit), "limit_price", limit, "only limit orders have one"),
        (new & stopped & ~_positive(stop), "stop_price", stop, "a stop order needs a positive one"),
        (new & ~stopped & ~np.isnan(stop), "stop_price", stop, "only stop and stop_limit orders have one"),
        (new & trailing & ~_positive(trail), "trail", trail, "a trailing stop needs a positive one"),
        (new & ~trailing & ~np.isnan(trail), "trail", trail, "only trailing stops have one"),
        (
            new & (kind == TRAILING_PERCENT) & (orders.side < 0) & (trail >= 100),
            "trail",
            trail,
            "below 100 percent; 5.0 is 5 %",
        ),
        (new & (orders.side != 0) & take_is_worse, "take_profit", orders.take, "it must be beyond the stop_loss"),
        (new & (orders.loss_fraction >= 1), "stop_loss_fraction", orders.loss_fraction, "below 1; 0.05 is 5 %"),
    ]
    for name in ("take", "loss", "take_fraction", "loss_fraction"):
        values = getattr(orders, name)
        field = {"take": TAKE_PROFIT, "loss": STOP_LOSS}.get(name.split("_")[0], name) + name[len(name.split("_")[0]) :]
        rules.append((new & ~np.isnan(values) & ~_positive(values), field, values, "it must be positive"))
    for name, values in (("limit_price", limit), ("stop_price", stop), ("trail", trail)):
        changed = (orders.action == REPLACE) & ~np.isnan(values)
        rules.append((changed & ~_positive(values), name, values, "it must be positive"))
    for price, fraction, name in (
        (orders.take, orders.take_fraction, TAKE_PROFIT),
        (orders.loss, orders.loss_fraction, STOP_LOSS),
    ):
        rules.append(
            (new & ~np.isnan(price) & ~np.isnan(fraction), name, price, "give a price or a fraction, not both")
        )
    return rules


def _lives(orders: Columns) -> list[Rule]:
    new, kind, tif = orders.action == SUBMIT, orders.kind, orders.tif
    at_once = np.isin(tif, (IOC, FOK))
    waits = np.isin(kind, (STOP, STOP_LIMIT, TRAILING, TRAILING_PERCENT))
    auction = np.isin(kind, (MARKET_ON_OPEN, LIMIT_ON_OPEN, MARKET_ON_CLOSE, LIMIT_ON_CLOSE))
    dated = orders.expires != FOREVER
    return [
        (new & waits & at_once, "tif", tif, "a stop waits for its price: use day, gtc or gtd"),
        (
            new & auction & (at_once | (tif == GTD)),
            "tif",
            tif,
            "an auction order waits for its auction: use day or gtc",
        ),
        (new & (tif == GTD) & ~dated, "expire_at", orders.expires, "a gtd order needs one"),
        (new & (tif != GTD) & dated, "expire_at", orders.expires, "only gtd orders have one"),
        (new & dated & (orders.expires <= orders.submitted), "expire_at", orders.expires, "it must come after ts"),
    ]


def _positive(values: Floats) -> npt.NDArray[np.bool_]:
    return np.isfinite(values) & (values > 0)


def _shown(field: str, value: np.generic) -> str:
    if field == "tif":
        return TIFS[int(value)].value
    if field == "expire_at":
        return "missing" if value == FOREVER else str(np.datetime64(int(value), "us"))
    return "missing" if np.isnan(value) else f"{value:.10g}"


@dataclass(frozen=True, slots=True)
class Entries:
    """Orders as rows of a book: each followed by its bracket's children. `source` is the order that a row is of."""

    records: Records
    source: Integers
    child: npt.NDArray[np.int8]
    """By row, the number in CHILDREN of what is added to its id: 0 for the order itself."""


def entries(orders: Columns, symbol: Integers, eligible: Integers, first_row: int = 0) -> Entries:
    """The book's rows, in the order given, from row `first_row` on. Parents, OCO groups and names are left to fill in.

    A bracket's children are reduce-only, good till cancelled, and an OCO group whose number is the entry's row.
    """
    take = ~(np.isnan(orders.take) & np.isnan(orders.take_fraction))
    loss = ~(np.isnan(orders.loss) & np.isnan(orders.loss_fraction))
    count = 1 + take.astype(np.int64) + loss
    source = np.repeat(np.arange(count.size), count)
    own = np.cumsum(count) - count
    made = np.zeros(source.size, ORDER)
    made["symbol"], made["submitted"], made["eligible"] = symbol[source], orders.submitted[source], eligible[source]
    made["expires"] = FOREVER
    for name in ("parent", "group", "names", "reached"):
        made[name] = NOWHERE
    for name in ("limit", "stop", "trail", "anchor", "fraction"):
        made[name] = np.nan
    plain = source.size == own.size
    at = made if plain else made[own]
    at["kind"], at["tif"], at["sizing"], at["action"] = orders.kind, orders.tif, orders.sizing, orders.action
    at["side"], at["expires"], at["wanted"], at["reduce"] = orders.side, orders.expires, orders.wanted, orders.reduce
    at["limit"], at["stop"], at["trail"] = orders.limit, orders.stop, orders.trail
    counted = (orders.sizing == UNITS) | (orders.action != SUBMIT)
    at["quantity"] = np.where(counted, orders.wanted, 0.0)
    if not plain:
        made[own] = at
    child = np.zeros(source.size, np.int8)
    _children(made, own[take] + 1, own[take] + first_row, LIMIT, orders.take[take], orders.take_fraction[take])
    child[own[take] + 1] = CHILDREN.index(f":{TAKE_PROFIT}")
    second = own[loss] + 1 + take[loss]
    _children(made, second, own[loss] + first_row, STOP, orders.loss[loss], orders.loss_fraction[loss])
    child[second] = CHILDREN.index(f":{STOP_LOSS}")
    return Entries(made, source, child)


def _children(made: Records, rows: Integers, parents: Integers, kind: int, price: Floats, fraction: Floats) -> None:
    made["kind"][rows], made["tif"][rows] = kind, GTC
    made["parent"][rows] = made["group"][rows] = parents
    made["reduce"][rows] = made["follows"][rows] = 1
    made["fraction"][rows] = fraction
    # With a fraction, the price is worked out as 1.0 x (last close x ...) when the order is received.
    made["limit" if kind == LIMIT else "stop"][rows] = np.where(np.isnan(fraction), price, 1.0)


def columns_of(order: Order, listing: Listing) -> Columns:
    """A single order as Columns."""
    made = Columns.blank(1)
    made["kind"][0], made["tif"][0] = KINDS.index(order.type), TIFS.index(order.tif)
    made["sizing"][0] = SIZINGS.index(order.sizing)
    sign = 1 if order.side is Side.BUY else -1
    target = order.sizing in (Sizing.TARGET_WEIGHT, Sizing.TARGET_POSITION)
    made["side"][0], made["wanted"][0] = 0 if target else sign, order.quantity * (sign if target else 1)
    made["submitted"][0] = micros(order.submitted_at)
    made["expires"][0] = FOREVER if order.expire_at is None else micros(order.expire_at)
    numbers = {
        "limit": order.limit_price,
        "stop": order.stop_price,
        "trail": order.trail,
        "take": order.take_profit,
        "loss": order.stop_loss,
    }
    for name, value in numbers.items():
        made[name][0] = np.nan if value is None else value
    made["lot"][0], made["reduce"][0] = listing.lot, order.reduce_only
    return Columns(**made)  # type: ignore[arg-type]  # the arrays are of the fields' types by construction


def fault_of(order: Order, listing: Listing) -> str | None:
    """What is wrong with a single order, or None."""
    for field in ("submitted_at", "expire_at"):
        instant = getattr(order, field)
        if instant is not None and instant.tzinfo is None:
            return f"{field} is {instant}; give it a time zone"
    for field in PRICE_FIELDS:
        value = getattr(order, field)
        if value is not None and math.isnan(value):
            return f"{field} is nan; leave it out, or give a positive one"
    fault = first_fault(columns_of(order, listing))
    return fault[1] if fault else None


def micros(instant: datetime) -> int:
    """Microseconds since 1970 of an aware instant."""
    return (instant - _EPOCH) // timedelta(microseconds=1)
