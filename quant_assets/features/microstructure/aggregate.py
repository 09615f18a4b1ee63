"""What one symbol's ticks tell about its bars, as compiled loops over arrays.

Instants are int64 microseconds, in order. A bar holds the ticks with start <= instant < end, and what stood at its
start; nothing at or after its end is looked at. NaN where there is nothing to tell.
"""

from __future__ import annotations

import math

import numpy as np

from quant_assets.features.kernels import loop

_loop = loop(error_model="numpy")


@_loop
def middles(bid: np.ndarray, ask: np.ndarray) -> np.ndarray:
    """Middle of each quote; NaN where a side has no price or they are crossed."""
    out = np.full(bid.size, np.nan)
    for k in range(bid.size):
        if 0.0 < bid[k] <= ask[k]:
            out[k] = (bid[k] + ask[k]) / 2.0
    return out


@_loop
def standing(at: np.ndarray, quoted: np.ndarray, middle: np.ndarray, stale: int) -> np.ndarray:
    """The middle that stood at each of these instants (in order): of the last quote at or before, not older than
    `stale`."""
    out = np.full(at.size, np.nan)
    last = -1
    for k in range(at.size):
        while last + 1 < quoted.size and quoted[last + 1] <= at[k]:
            last += 1
        if last >= 0 and at[k] - quoted[last] <= stale:
            out[k] = middle[last]
    return out


@_loop
def signs(t: np.ndarray, price: np.ndarray, side: np.ndarray, middle: np.ndarray, stale: int) -> np.ndarray:
    """1 where the buyer started the trade, -1 where the seller did, 0 where nothing tells.

    The taker's side where it is told (1, -1); else the quote rule: above or below the middle; else, at the middle or
    without one, the tick rule: above or below the last trade at another price, if that is not older than `stale`.
    """
    out = np.zeros(t.size)
    other = -1
    for k in range(t.size):
        if k and price[k] != price[k - 1]:
            other = k - 1
        if side[k] != 0.0:
            out[k] = side[k]
        elif price[k] > middle[k]:
            out[k] = 1.0
        elif price[k] < middle[k]:
            out[k] = -1.0
        elif other >= 0 and t[k] - t[other] <= stale:
            out[k] = 1.0 if price[k] > price[other] else -1.0
    return out


@_loop
def of_trades(
    start: np.ndarray,
    end: np.ndarray,
    t: np.ndarray,
    price: np.ndarray,
    size: np.ndarray,
    sign: np.ndarray,
    middle: np.ndarray,
    out: np.ndarray,
) -> None:
    """Rows of `out`: imbalance, count, gap of the last price to the VWAP, effective spread."""
    for i in range(start.size):
        net = signed = worth = whole = cost = covered = 0.0
        first, last = np.searchsorted(t, start[i]), np.searchsorted(t, end[i])
        for k in range(first, last):
            net += sign[k] * size[k]
            signed += abs(sign[k]) * size[k]
            whole += size[k]
            worth += price[k] * size[k]
            if not math.isnan(middle[k]):
                cost += 2.0 * abs(price[k] - middle[k]) / middle[k] * size[k]
                covered += size[k]
        if last > first:
            out[0, i] = net / signed
            out[1, i] = last - first
            out[2, i] = math.log(price[last - 1] * whole / worth)
            out[3, i] = cost / covered


@_loop
def realised(
    start: np.ndarray,
    end: np.ndarray,
    t: np.ndarray,
    price: np.ndarray,
    size: np.ndarray,
    sign: np.ndarray,
    middle: np.ndarray,
    later: np.ndarray,
    delay: int,
) -> np.ndarray:
    """Mean of 2 side (price - later middle) / middle over the trades whose delay ended within the bar, by size.

    Only trades that lie in a bar themselves, that are signed, and that have both middles count.
    """
    out = np.full(start.size, np.nan)
    inside = np.zeros(t.size)
    for i in range(start.size):
        inside[np.searchsorted(t, start[i]) : np.searchsorted(t, end[i])] = 1.0
    for i in range(start.size):
        paid = weight = 0.0
        for k in range(np.searchsorted(t, start[i] - delay), np.searchsorted(t, end[i] - delay)):
            value = 2.0 * sign[k] * (price[k] - later[k]) / middle[k]
            if inside[k] and sign[k] != 0.0 and not math.isnan(value):
                paid += value * size[k]
                weight += size[k]
        out[i] = paid / weight
    return out


@_loop
def order_flow(bid: np.ndarray, ask: np.ndarray, bid_size: np.ndarray, ask_size: np.ndarray, k: int) -> float:
    """What quote k added to the bid and took from the ask, less the opposite (Cont, Kukanov and Stoikov's e_n)."""
    flow = 0.0
    if bid[k] >= bid[k - 1]:
        flow += bid_size[k]
    if bid[k] <= bid[k - 1]:
        flow -= bid_size[k - 1]
    if ask[k] <= ask[k - 1]:
        flow -= ask_size[k]
    if ask[k] >= ask[k - 1]:
        flow += ask_size[k - 1]
    return flow


@_loop
def of_quotes(
    start: np.ndarray,
    end: np.ndarray,
    t: np.ndarray,
    bid: np.ndarray,
    ask: np.ndarray,
    bid_size: np.ndarray,
    ask_size: np.ndarray,
    middle: np.ndarray,
    stale: int,
    out: np.ndarray,
) -> None:
    """Rows of `out`: quoted spread, imbalance of sizes, net over gross order flow, gross flow over mean size.

    Means are weighted by how long a quote stood: until the next one, the bar's end, or `stale` after it was given.
    """
    for i in range(start.size):
        spread = lasted = imbalance = depth = sized = net = gross = 0.0
        k = max(0, np.searchsorted(t, start[i], side="right") - 1)
        while k < t.size and t[k] < end[i]:
            until = min(end[i], t[k] + stale)
            if k + 1 < t.size:
                until = min(until, t[k + 1])
            held = until - max(t[k], start[i])
            both = bid_size[k] + ask_size[k]
            if held > 0 and not math.isnan(middle[k]):
                spread += held * (ask[k] - bid[k]) / middle[k]
                lasted += held
                if both > 0.0:
                    imbalance += held * (bid_size[k] - ask_size[k]) / both
                    depth += held * both / 2.0
                    sized += held
            if t[k] >= start[i] and k > 0 and t[k] - t[k - 1] <= stale:
                flow = order_flow(bid, ask, bid_size, ask_size, k)
                if not math.isnan(flow) and not math.isnan(middle[k]) and not math.isnan(middle[k - 1]):
                    net += flow
                    gross += abs(flow)
            k += 1
        out[0, i] = spread / lasted
        out[1, i] = imbalance / sized
        out[2, i] = net / gross
        if gross > 0.0:
            out[3, i] = gross / (depth / sized)


@_loop
def set_level(prices: np.ndarray, sizes: np.ndarray, count: int, price: float, size: float) -> int:
    """Give the level of a side (prices in order) its size, none if that is zero; how many levels there are now.

    The arrays must have room for one more.
    """
    at = np.searchsorted(prices[:count], price)
    if at < count and prices[at] == price:
        if size > 0.0:
            sizes[at] = size
            return count
        prices[at : count - 1] = prices[at + 1 : count].copy()
        sizes[at : count - 1] = sizes[at + 1 : count].copy()
        return count - 1
    if not size > 0.0:
        return count
    prices[at + 1 : count + 1] = prices[at:count].copy()
    sizes[at + 1 : count + 1] = sizes[at:count].copy()
    prices[at], sizes[at] = price, size
    return count + 1


@_loop
def books(
    message: np.ndarray, fresh: np.ndarray, bids: np.ndarray, price: np.ndarray, size: np.ndarray, levels: int
) -> np.ndarray:
    """After each message (a run of equal numbers): imbalance of sizes and worth of the best levels of both sides.

    float64[2, rows], filled on the last row of each message. A message whose rows are `fresh` begins the book anew;
    before the first such message, and where the book is crossed or a side is empty, there is nothing to tell.
    """
    out = np.full((2, message.size), np.nan)
    room = message.size + 1
    prices, sizes, count = np.empty((2, room)), np.empty((2, room)), np.zeros(2, dtype=np.int64)
    known = False
    for k in range(message.size):
        if fresh[k] and (k == 0 or message[k] != message[k - 1]):
            count[:] = 0
            known = True
        side = 0 if bids[k] else 1
        # Asks are kept as negative prices, so that the best of both sides is the last.
        ranked = price[k] if bids[k] else -price[k]
        count[side] = set_level(prices[side], sizes[side], count[side], ranked, size[k])
        ends = k + 1 == message.size or message[k + 1] != message[k]
        if not (known and ends and count[0] and count[1]) or prices[0, count[0] - 1] >= -prices[1, count[1] - 1]:
            continue
        held = np.zeros(2)
        worth = 0.0
        for each in range(2):
            for n in range(count[each] - 1, max(-1, count[each] - 1 - levels), -1):
                held[each] += sizes[each, n]
                worth += abs(prices[each, n]) * sizes[each, n]
        out[0, k] = (held[0] - held[1]) / (held[0] + held[1])
        out[1, k] = worth
    return out


@_loop
def time_weighted(
    start: np.ndarray, end: np.ndarray, t: np.ndarray, values: np.ndarray, stale: int, out: np.ndarray
) -> None:
    """Mean of each row of `values` over the bar, weighted by how long it stood, as in `of_quotes`."""
    for i in range(start.size):
        for row in range(values.shape[0]):
            total = lasted = 0.0
            k = max(0, np.searchsorted(t, start[i], side="right") - 1)
            while k < t.size and t[k] < end[i]:
                until = min(end[i], t[k] + stale)
                if k + 1 < t.size:
                    until = min(until, t[k + 1])
                held = until - max(t[k], start[i])
                if held > 0 and not math.isnan(values[row, k]):
                    total += held * values[row, k]
                    lasted += held
                k += 1
            out[row, i] = total / lasted
