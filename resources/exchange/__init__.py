"""One simulated exchange, for history (backtests) and for a live feed (the paper broker).

The rules it keeps, by their numbers in the fill contract, and what it adds where the contract is silent:

 1  an order is eligible from the first bar that opens at or after its submission plus latency; market_on_close and
    limit_on_close fill at the close of a session's last bar, submitted before that bar opens
 2  it never uses a high or low of a bar that had opened before that
 3  market: the open; on quotes a buy meets the ask, a sell the bid
 4  limit: the open if that is at the limit or better, else the limit if the bar trades through it (or touches it,
    with limit_touch_fills); immediate orders (ioc, fok) have only the open. On ticks a limit that rests fills at its
    own price: when the opposite quote reaches it, or a trade goes through it; what is left of one that met its price
    on arrival goes on taking
 5  stop: the open if that is at the stop or beyond, else the stop; what volume leaves over is then a market order
 6  stop-limit: on its trigger bar only at an open that is both beyond the stop and within the limit; later a limit
 7  trailing stop: a stop at the level known at the bar's open, which then follows that bar's high or low; it begins at
    the open of its first bar, of a child at its parent's price. On quotes a sell follows the bid, a buy the ask
 8  children sleep until their parent fills; on the entry's bar they may use all of it after an entry at the open,
    nothing after one inside. A bracket's quantity is what its entry has filled; an exit that fills ends its entry
 9  any fill of an OCO order, a partial one too, cancels its siblings; of two exits inside one bar the worse one fills,
    flagged `ambiguous` (`ambiguous: better` takes the other path, to see what hangs on it)
10  all orders of a symbol share `participation` of the bar's volume; lots, and ticks rounded against the account
11  a bar without volume fills nothing
12  half the spread, and
13  slippage, on all but limits (none by volume on quotes, whose size is there at its price); commission at a maker's
    rate only for limits that rested
14  commission, borrow, funding and margin by models (models/); interest by calendar days, at the first step of a day
15  spread and slippage move a price by 10% at most, and never beyond a limit
16  day orders end with their session, gtd orders at their instant (inside a bar that outlasts it a limit does not fill,
    a stop does, flagged); auction orders end with their auction. Reduce-only orders are cancelled once there is nothing
    left to reduce
17  splits rescale positions and resting orders (fractions are paid out at the last price), dividends are credited or
    debited on the ex-date, delistings close at the last price and cancel what rests; futures are settled and options
    exercised, assigned or lapsed at their expiry
18  a fill that needs more margin is rejected if margin would exceed max_gross x equity, or shrunk to what fits with
    shrink_to_cash

At the open, fills that free the account come before fills that load it. Inside the bar, where the path is unknown,
loading comes before freeing, stops before limits; fills that compete for the bar's volume are flagged `ambiguous`.
Where bars of other symbols open before a bar ends, what lies inside it is known at its end: its fills pay, wake and
cancel from then on, and orders in it neither expire nor are cancelled before.

simulated.py   the interface for a live feed (bars.py)   venue.py      the arrays that backtests drive
step.py        the order of things in a step: start here
  requests.py  sized, held or booked                     pricing.py    when a price is reached, rules 3 to 7
  filling.py   how much, and what it changes             families.py   brackets, OCO, reduce-only
  account.py   carrying, corporate actions, expiry       inside.py     the path inside a bar, which nobody knows
  costs.py     calls the models of models/               settling.py   bars end each at its instant, symbols leave
                                                         closing.py    the auction, and orders that end
reaction.py    strategies that see their own fills       reacting.py   what they may ask and do
layout.py      records shared with numba                 words.py      words as numbers, and their names
orders.py      what makes an order acceptable            lifetimes.py  how long orders live
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resources.exchange.bars import Bar
    from resources.exchange.orders import OrderError
    from resources.exchange.simulated import Exchange, Execution
    from resources.exchange.terms import Listing
    from resources.exchange.venue import IdentityError

__all__ = ["Bar", "Exchange", "Execution", "IdentityError", "Listing", "OrderError"]

_HOME = {"Bar": "bars", "OrderError": "orders", "Listing": "terms", "IdentityError": "venue"}


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is: the configuration imports the cost models below, and the exchange it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME.get(name, 'simulated')}"), name)
