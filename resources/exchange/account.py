"""What happens to the account without an order: carrying costs, corporate actions, closes, expiries. Compiled.

Rules 14 (borrow, funding, interest) and 17 (splits, dividends, delistings), expiry and exercise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from resources.exchange.compiled import compiled, inlined
from resources.exchange.costs import SECONDS_PER_YEAR
from resources.exchange.families import rescale
from resources.exchange.filling import change_at, change_position, move_mark, record
from resources.exchange.layout import DUST, NOWHERE, Desk, Floats, Market, Records
from resources.exchange.requests import in_lots
from resources.exchange.terms import Terms
from resources.exchange.words import (
    ACCEPTED,
    ACTIVE,
    ASSIGNMENT,
    BORROW,
    CANCELLED,
    CARRIED,
    CARRIES,
    CASH,
    CASH_IN_LIEU,
    CLOSED,
    DELISTED,
    DIVIDENDS,
    EQUITY,
    EXERCISE,
    EXPIRY,
    FUNDING,
    HELD,
    INTEREST,
    LAST,
    MONTH,
    MONTH_NOTIONAL,
    MONTH_UNITS,
    NEXT_RATE,
    PARTIAL,
    QUOTE,
    SERIAL,
)

DAY = 86_400_000_000
EIGHT_HOURS = 8.0 * 3600.0
DECAY = 0.94
"""Of the variance of daily returns, for models that ask for volatility. Source: RiskMetrics (1996), daily data."""
IN_THE_MONEY = 0.01
"""Options worth more than this at expiry are exercised, as the Options Clearing Corporation does."""


@compiled
def earn(account: Floats, amount: float) -> None:
    """Pay an amount into the account, or out of it."""
    account[CASH] += amount
    account[EQUITY] += amount


@compiled
def month_of(now: int) -> int:
    """Months since March of year 0, of an instant.

    Source: Hinnant (2013), "chrono-Compatible Low-Level Date Algorithms".
    """
    days = now // DAY + 719_468
    of_era = days % 146_097
    years = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
    of_year = of_era - (365 * years + years // 4 - years // 100)
    return (days // 146_097 * 400 + years) * 12 + (5 * of_year + 2) // 153


@inlined
def new_day(terms: Terms, desk: Desk, now: int) -> None:
    """At the first step of each UTC day: borrow, funding and interest since the last (rule 14), and a new month."""
    tally, account = desk.tally, desk.account
    if tally[CARRIED] == NOWHERE:
        tally[CARRIED], tally[MONTH] = now, month_of(now)
    if now // DAY == tally[CARRIED] // DAY:
        return
    seconds = (now - tally[CARRIED]) / 1e6
    tally[CARRIED] = now
    month = month_of(now)
    if month != tally[MONTH]:
        tally[MONTH] = month
        account[MONTH_UNITS] = account[MONTH_NOTIONAL] = 0.0
    borrowed = funded = 0.0
    if tally[CARRIES] != 0:
        for number in range(desk.symbols.size):
            symbol = desk.symbols[number]
            if symbol.position != 0.0:
                worth = symbol.position * symbol.mark * symbol.factor
                if symbol.position < 0.0:
                    borrowed -= symbol.borrow * worth * seconds / SECONDS_PER_YEAR
                if symbol.funding != 0.0:
                    funded += symbol.funding * worth * seconds / EIGHT_HOURS
    rate = terms.interest if account[CASH] < 0.0 else terms.cash_yield
    interest = rate * account[CASH] * seconds / SECONDS_PER_YEAR
    # Counted as costs: positive is paid.
    account[BORROW] += borrowed
    account[FUNDING] += funded
    account[INTEREST] -= interest
    earn(account, interest - borrowed - funded)


@compiled
def split(desk: Desk, number: int, ratio: float, now: int) -> None:
    """Rule 17: rescale the position and what rests; what is no whole lot is paid out at the last price."""
    symbol = desk.symbols[number]
    symbol.mark /= ratio
    symbol.before /= ratio
    symbol.day_close /= ratio
    symbol.average /= ratio
    held = symbol.position * ratio
    whole = math.copysign(np.floor(abs(held) / symbol.lot + DUST) * symbol.lot, held)
    symbol.position = held
    if abs(held - whole) > DUST:
        desk.account[CASH] += (held - whole) * symbol.mark * symbol.factor if symbol.paid != 0 else 0.0
        done = record(desk.fills, desk.tally, NOWHERE, number, whole - held, symbol.mark)
        done.factor = symbol.factor
        done.reason = CASH_IN_LIEU
        done.realised = change_position(desk.tally, symbol, whole, whole - held, symbol.mark)
    symbol.position = whole
    for row in desk.active[: desk.tally[ACTIVE]]:
        order = desk.book[row]
        if order.symbol == number and order.submitted <= now and order.state in (ACCEPTED, PARTIAL, HELD):
            rescale(desk, row, ratio, symbol.lot)


@compiled
def take_actions(desk: Desk, number: int, extra: Any, price: float, now: int) -> None:
    """Splits, dividends and funding that take effect as a bar opens at `price`, on what was held before.

    Funding is a share of the worth at its own instant: venues take the mark price of then, which is nearest the open.
    """
    symbol = desk.symbols[number]
    if extra.split != 1.0:
        split(desk, number, extra.split, now)
    dividend = symbol.position * extra.dividend * symbol.factor
    funding = symbol.position * extra.funding * symbol.factor * price if symbol.position != 0.0 else 0.0
    desk.account[DIVIDENDS] += dividend
    desk.account[FUNDING] += funding
    earn(desk.account, dividend - funding)


@inlined
def close_rows(terms: Terms, desk: Desk, market: Market, first: int, end: int, now: int) -> int:
    """The bars of these rows that are over by `now`: their closes are known. How many are not over."""
    account, symbols, serial, rows = desk.account, desk.symbols, desk.tally[SERIAL], market.rows
    late, latest = 0, desk.tally[CLOSED]
    earned = settled = 0.0  # added up here: a sum in memory costs each bar the wait for the one before it
    for row in range(first, end):
        bar = rows[row]
        if bar.until > now:
            late += 1
            continue
        symbol, price = symbols[bar.symbol], bar.close
        change = change_at(symbol, price)
        earned += change
        settled += change if symbol.paid == 0 else 0.0
        if terms.volatility and bar.flags & LAST:
            change = math.log(price / symbol.day_close)
            symbol.day_close = price
            if math.isnan(symbol.variance):
                symbol.variance = change * change
            else:
                symbol.variance += (1.0 - DECAY) * (change * change - symbol.variance)
        symbol.mark, symbol.closed, symbol.due = price, bar.until, serial
        latest = max(latest, bar.until)
        if bar.flags & QUOTE:
            symbol.half = (bar.high - bar.low) / 2.0
        elif bar.extra != NOWHERE and not math.isnan(market.extras[bar.extra].half):
            symbol.half = market.extras[bar.extra].half
    desk.tally[CLOSED] = latest
    account[EQUITY] += earned
    account[CASH] += settled
    return late


@compiled
def take_rates(desk: Desk, rates: Records, now: int) -> None:
    """Conversion rates that are known by now; what is held in the currency is worth more or less."""
    while desk.tally[NEXT_RATE] < rates.size and rates[desk.tally[NEXT_RATE]].at <= now:
        known = rates[desk.tally[NEXT_RATE]]
        set_rate(desk, known.currency, known.rate)
        desk.tally[NEXT_RATE] += 1


@compiled
def rate_then(desk: Desk, rates: Records, symbol: Any, at: int) -> float:
    """The rate of a symbol's currency that was known at an instant, before or after the newest one taken."""
    row = desk.tally[NEXT_RATE]
    while row < rates.size and rates[row].at <= at:
        row += 1
    for earlier in range(row - 1, -1, -1):
        if rates[earlier].currency == symbol.currency and rates[earlier].at <= at:
            known: float = rates[earlier].rate
            return known
    return symbol.rate


@compiled
def revalue(account: Floats, symbol: Any, rate: float) -> None:
    """Let the rate of a symbol's currency change: what is paid in full is worth more or less."""
    factor = symbol.multiplier * rate
    if symbol.paid != 0 and symbol.position != 0.0 and factor != symbol.factor:
        account[EQUITY] += symbol.position * symbol.mark * (factor - symbol.factor)
    symbol.rate, symbol.factor = rate, factor


@compiled
def set_rate(desk: Desk, currency: int, rate: float) -> None:
    for number in range(desk.symbols.size):
        symbol = desk.symbols[number]
        if symbol.currency == currency:
            revalue(desk.account, symbol, rate)
            symbol.known = symbol.factor


@compiled
def value_at(desk: Desk, rates: Records, at: int) -> None:
    """Convert every symbol at the rates that were known at an instant."""
    for number in range(desk.symbols.size):
        symbol = desk.symbols[number]
        if symbol.currency != 0:
            revalue(desk.account, symbol, rate_then(desk, rates, symbol, at))


@compiled
def value_now(desk: Desk, rates: Records) -> None:
    """Convert every symbol at the newest rates taken."""
    if desk.tally[NEXT_RATE] > 0:
        value_at(desk, rates, rates[desk.tally[NEXT_RATE] - 1].at)


@compiled
def value_entries(desk: Desk, market: Market, before: int, at: int) -> None:
    """Convert the symbols whose bar began in an earlier step and is over by `at` at the rates known as it began.

    What fills inside a bar is converted at those, whenever it is told. Else the bars of another symbol would decide
    which rates there are by the time that it is.
    """
    for number in range(desk.symbols.size):
        symbol = desk.symbols[number]
        if symbol.currency != 0 and is_due(symbol, market.rows, before, at):
            revalue(desk.account, symbol, rate_then(desk, market.rates, symbol, symbol.opened))


@compiled
def is_due(symbol: Any, rows: Records, before: int, at: int) -> bool:
    """Whether a symbol's bar is among the rows before that one, has not been closed, and is over by `at`."""
    return bool(NOWHERE < symbol.row < before and symbol.closed < rows[symbol.row].until <= at)


@compiled
def value_leaving(desk: Desk, rates: Records, number: int, at: int) -> None:
    """Convert a symbol that leaves, and what an option of it delivers, at the rate known at that instant."""
    symbol = desk.symbols[number]
    if symbol.currency != 0:
        revalue(desk.account, symbol, rate_then(desk, rates, symbol, at))
    if symbol.right != 0 and desk.symbols[symbol.underlying].currency != 0:
        other = desk.symbols[symbol.underlying]
        revalue(desk.account, other, rate_then(desk, rates, other, at))


@compiled
def leave(desk: Desk, number: int, reason: int) -> None:
    """Rule 17 and expiry: a symbol's last price settles what is held of it, and what rests is cancelled.

    An option in the money is exercised or assigned: the underlying changes hands at the strike, as many units (shares,
    contracts) as come to the option's multiplier. What cannot be delivered, because the underlying is gone or no whole
    lot of it, is paid in cash at what it is worth.
    """
    symbol = desk.symbols[number]
    for row in desk.active[: desk.tally[ACTIVE]]:
        order = desk.book[row]
        if order.symbol == number and order.state in (ACCEPTED, PARTIAL, HELD):
            order.state, order.reason = CANCELLED, DELISTED
    symbol.gone = 1
    held, price = symbol.position, symbol.mark
    if held == 0.0:
        return
    if reason == EXPIRY and symbol.right != 0:
        other = desk.symbols[symbol.underlying]
        value = symbol.right * (other.mark - symbol.strike)
        price = 0.0
        if value > IN_THE_MONEY:
            reason = EXERCISE if held > 0.0 else ASSIGNMENT
            asked = held * symbol.multiplier * symbol.right / other.multiplier
            units = in_lots(asked, other.lot) if other.gone == 0 else 0.0
            if abs(units) >= DUST:
                deliver(desk, symbol.underlying, units, symbol.strike, reason)
            if abs(asked - units) >= DUST:
                price = value * (1.0 - units / asked)
        # What the option was worth leaves the account; the delivery brought what it is worth, and cash the rest.
        move_mark(desk.account, symbol, price)
    done = record(desk.fills, desk.tally, NOWHERE, number, -held, price)
    done.factor = symbol.factor
    desk.account[CASH] += held * price * symbol.factor if symbol.paid != 0 else 0.0
    done.realised = change_position(desk.tally, symbol, 0.0, -held, price)
    done.reason = reason


@compiled
def deliver(desk: Desk, number: int, units: float, price: float, reason: int) -> None:
    """Units of an underlying change hands at the strike of an option that is exercised or assigned."""
    symbol = desk.symbols[number]
    held = symbol.position
    after = held + units if abs(held + units) >= DUST else 0.0
    desk.account[CASH] -= units * (price - (0.0 if symbol.paid != 0 else symbol.mark)) * symbol.factor
    desk.account[EQUITY] -= units * (price - symbol.mark) * symbol.factor
    done = record(desk.fills, desk.tally, NOWHERE, number, units, price)
    done.factor = symbol.factor
    done.realised = change_position(desk.tally, symbol, after, units, price)
    done.reason = reason
