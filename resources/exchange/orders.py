"""What makes an order acceptable: one table of rules for whole arrays and for a single order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from resources.brokers.base import Order
from resources.errors import QuantError
from resources.exchange.layout import FOK, IOC, KINDS, LIMIT, STOP, STOP_LIMIT, TIFS, Floats, Integers
from resources.exchange.terms import Listing


class OrderError(QuantError):
    """An order that no exchange could take, or a request about an order that cannot be met."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Orders as parallel arrays: kind and tif are indices of KINDS and TIFS, absent prices are NaN."""

    kind: Integers
    tif: Integers
    quantity: Floats
    limit: Floats
    stop: Floats
    lot: Floats
    sized: npt.NDArray[np.bool_]
    """False where the quantity is still to be worked out from a target weight."""


def first_fault(orders: Columns) -> tuple[int, str] | None:
    """Row and description (field, value, mend) of the first order that breaks a rule; None where all are well."""
    quantity, limit, stop = orders.quantity, orders.limit, orders.stop
    limited = np.isin(orders.kind, (LIMIT, STOP_LIMIT))
    stopped = np.isin(orders.kind, (STOP, STOP_LIMIT))
    whole = np.abs(quantity / orders.lot - np.round(quantity / orders.lot)) <= 1e-9
    rules = [
        (orders.sized & ~(np.isfinite(quantity) & (quantity > 0)), "quantity", quantity, "it must be positive"),
        (orders.sized & ~whole, "quantity", quantity, "it must be a multiple of the lot"),
        (limited & ~(np.isfinite(limit) & (limit > 0)), "limit_price", limit, "a limit order needs a positive one"),
        (~limited & ~np.isnan(limit), "limit_price", limit, "only limit and stop_limit orders have one"),
        (stopped & ~(np.isfinite(stop) & (stop > 0)), "stop_price", stop, "a stop order needs a positive one"),
        (~stopped & ~np.isnan(stop), "stop_price", stop, "only stop and stop_limit orders have one"),
        (stopped & np.isin(orders.tif, (IOC, FOK)), "tif", orders.tif, "a stop waits for its price: use day or gtc"),
    ]
    found = [(int(np.argmax(wrong)), field, values, mend) for wrong, field, values, mend in rules if wrong.any()]
    if not found:
        return None
    row, field, values, mend = min(found, key=lambda fault: fault[0])
    value = "missing" if np.isnan(values[row]) else f"{values[row]:.10g}"
    if field == "tif":
        value = TIFS[int(values[row])].value
    return row, f"{field} is {value}; {mend}"


def fault_of(order: Order, listing: Listing) -> str | None:
    """What is wrong with a single order, or None."""
    if order.submitted_at.tzinfo is None:
        return f"submitted_at is {order.submitted_at}; give it a time zone"
    number = [np.nan if price is None else price for price in (order.limit_price, order.stop_price)]
    columns = Columns(
        kind=np.array([KINDS.index(order.type)]),
        tif=np.array([TIFS.index(order.tif)]),
        quantity=np.array([order.quantity], float),
        limit=np.array([number[0]], float),
        stop=np.array([number[1]], float),
        lot=np.array([listing.lot]),
        sized=np.array([True]),
    )
    fault = first_fault(columns)
    return fault[1] if fault else None
