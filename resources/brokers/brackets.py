"""The exits of an order: what its take_profit and stop_loss become at the venue, known before it answers."""

from __future__ import annotations

from resources.brokers.base import Order, OrderType, Side, TimeInForce

TAKE_PROFIT, STOP_LOSS = "take_profit", "stop_loss"
"""What the ids of the exits end with, after the order's own id and a colon."""


def exits_of(order: Order) -> list[Order]:
    """The orders that the venue makes of an order's take_profit and stop_loss, under the ids that it gives them.

    They leave what the order fills, rest until then and over sessions, only reduce, and cancel each other.

    Example: `[exit.id for exit in exits_of(order)]` is `["o1:take_profit", "o1:stop_loss"]`.
    """
    prices = {TAKE_PROFIT: order.take_profit, STOP_LOSS: order.stop_loss}
    return [
        Order(
            id=f"{order.id}:{kind}",
            symbol=order.symbol,
            side=Side.SELL if order.side is Side.BUY else Side.BUY,
            quantity=order.quantity,
            type=OrderType.LIMIT if kind == TAKE_PROFIT else OrderType.STOP,
            tif=TimeInForce.GTC,
            submitted_at=order.submitted_at,
            limit_price=price if kind == TAKE_PROFIT else None,
            stop_price=price if kind == STOP_LOSS else None,
            tag=order.tag,
            reduce_only=True,
            oco_group=f"{order.id}:exits",
            parent=order.id,
        )
        for kind, price in prices.items()
        if price is not None
    ]
