"""One simulated exchange, for history (backtests) and for a live feed (the paper broker).

The rules it keeps, by their numbers in the fill contract:

 1  an order is eligible from the first bar that opens at or after its submission plus latency
 2  it never uses a high or low of a bar that had opened before that
 3  market: the open
 4  limit: the open if that is at the limit or better, else the limit if the bar trades through it (or touches it,
    with limit_touch_fills); immediate orders (ioc, fok) have only the open
 5  stop: the open if that is at the stop or beyond, else the stop; what volume leaves over is then a market order
 6  stop-limit: on its trigger bar only at an open that is both beyond the stop and within the limit; later a limit
10  all orders of a symbol share `participation` of the bar's volume; lots, and ticks rounded against the account
11  a bar without volume fills nothing
12  half the spread, and
13  slippage in basis points, on all but limits that rested; the tick's rounding counts as slippage
14  commission a share with a minimum an order; borrow on shorts and interest on overdrafts by calendar days
15  spread and slippage move a price by 10% at most, and never beyond a limit
16  day orders end with their first session, gtc orders rest
17  splits rescale positions and resting orders (fractions are paid out at the last price), dividends are credited or
    debited on the ex-date, delistings close at the last price and cancel what rests
18  a fill that adds exposure is rejected if gross exposure would exceed max_gross x equity, or shrunk to what fits
    with shrink_to_cash

At the open, fills that free the account come before fills that load it. Inside the bar, where the path is unknown,
loading comes before freeing, stops before limits; fills that compete for the bar's volume are flagged `ambiguous`.

`simulated.Exchange` is the interface for a live feed, `venue.Venue` the arrays that backtests drive,
`session.trade_session` the compiled rules that both call.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resources.exchange.orders import OrderError
    from resources.exchange.simulated import Bar, Exchange, Execution
    from resources.exchange.terms import Listing
    from resources.exchange.venue import IdentityError

__all__ = ["Bar", "Exchange", "Execution", "IdentityError", "Listing", "OrderError"]

_HOME = {"OrderError": "orders", "Listing": "terms", "IdentityError": "venue"}


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is: the configuration imports the cost models below, and the exchange it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME.get(name, 'simulated')}"), name)
