"""Orders on a root, `ES`, as orders on its contracts, with the rolls from one to the next. Pure.

A strategy reads the continuous series of a root and writes its targets on the root. Only contracts trade: each target
goes to the contract that is held in the session in which the order first can fill, and when a contract is left, what
the target has put into it is closed and opened again in the next one, at the open of the same session.

Which contract is held when is the notion of `resources.market_data.continuous`: a contract is left `ahead` sessions
before its last. The continuous series changes contract at the close of that session; orders sent at that close fill at
the next open, so a roll here pays the night's difference between the two contracts, as a trader would.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from itertools import pairwise

import polars as pl

from resources.calendars import UTC_MICROS, sessions
from resources.errors import QuantError
from resources.market_data.continuous import Held, held

ROLL = "roll"
"""The tag of the orders that a roll adds."""
LONGEST = timedelta(days=400)
"""Sessions are asked for so far beyond the end: a contract that ends later is held until the end anyway."""
TARGETS = ("target_weight", "target_position")
FOLLOWED = frozenset({"market", "market_on_open", "market_on_close"})
EXITS = ("take_profit", "stop_loss", "take_profit_fraction", "stop_loss_fraction", "oco_group", "parent", "reduce_only")

Frame = pl.DataFrame | pl.LazyFrame


class RollError(QuantError):
    """Orders on a root that cannot be rolled; names the row, the field and the mend."""


def rolled(
    orders: Frame, instruments: Frame, end: date, *, calendar: str | None = None, ahead: int = 5
) -> pl.DataFrame:
    """The orders, those on a root turned into orders on its contracts, and the orders of each roll.

    `orders` as `run` takes them. Those whose symbol is the `underlying` of futures, and no instrument itself, are on a
    root: market orders (also on open and on close) with target_weight or target_position, because what is to be rolled
    must be known without knowing the fills. All other orders pass unchanged. `instruments`: symbol, asset_class,
    underlying and expiry (the last trading day). `end` is the last session of the bars; `calendar` the contracts', by
    default the one that the instruments name.

    A target goes to the contract of the session that its ts lies in, and at a close or later to the next session's.
    A roll is two orders with the tag `roll`, sent at the close of the last session in the old contract: to 0 in the
    old one, and to the last target in the new one (a weight is sized anew then, so it stays the weight). Where a target
    of its own is sent between that close and the next open, the roll only closes the old contract.

    Sorted by ts; at one ts, what closes a contract comes first. Where orders have ids, those of a roll are
    `roll:<contract>:<last session in the old one>:<close or open>`.

    Raises RollError on orders on a root that are not such targets, contracts without a calendar, and `ahead` below 0,
    and NoDataError where no contract lasts until `end`.
    """
    if ahead < 0:
        raise RollError(f"ahead is {ahead}; a contract is left 0 or more sessions before its last, for example 5")
    book = orders.lazy().collect()
    table = instruments.lazy().collect()
    futures = table.filter(asset_class="future").drop_nulls("expiry")
    roots = set(futures["underlying"].drop_nulls()) - set(table["symbol"])
    on_root = pl.col("symbol").is_in(list(roots))
    pieces = [book.filter(~on_root)]
    for (root,), mine in book.filter(on_root).group_by("symbol", maintain_order=True):
        _check(mine, str(root))
        contracts = futures.filter(underlying=root)
        venue = calendar or _calendar(contracts, str(root))
        dated = contracts.select("symbol", "expiry").rows()
        pieces.append(_on_contracts(mine.sort("ts", maintain_order=True), dated, end, venue, ahead))
    together = pl.concat(pieces, how="diagonal_relaxed")
    if not roots or "tag" not in together.columns:
        return together.sort("ts", maintain_order=True)
    zero = pl.any_horizontal([pl.col(name).eq_missing(0.0) for name in TARGETS if name in together.columns] or [False])
    closes = pl.col("tag").eq_missing(ROLL) & zero
    return together.sort("ts", ~closes, maintain_order=True)


def with_margin(instruments: Frame, margins: Frame, on: date, column: str = "initial") -> pl.DataFrame:
    """The instruments with margin_per_unit: what a contract's root needed on a date, null where none is known.

    `margins`: symbol (the root), date (from which it holds) and `column`, money in the contract's currency.
    One amount holds for the whole backtest; `on` is best its first session, to know nothing of the future.
    """
    valid = margins.lazy().filter(pl.col("date") <= on).sort("date").group_by("symbol").last()
    need = valid.select(underlying="symbol", margin_per_unit=pl.col(column).cast(pl.Float64))
    joined = instruments.lazy().join(need, on="underlying", how="left", maintain_order="left")
    future = pl.col("asset_class") == "future"
    return joined.with_columns(margin_per_unit=pl.when(future).then("margin_per_unit")).collect()


def _on_contracts(
    mine: pl.DataFrame, contracts: Sequence[tuple[str, date]], end: date, calendar: str, ahead: int
) -> pl.DataFrame:
    """The targets on a root, by ts, on the contracts of their sessions, and the rolls between them."""
    begin = mine["ts"].min().date() - timedelta(days=15)  # type: ignore[union-attr]
    last = min(max(expiry for _, expiry in contracts), end + LONGEST)
    days = sessions(calendar, begin, max(last, end))
    sent_in = mine.select(close=pl.col("ts").cast(UTC_MICROS)).join_asof(
        days.select("session", "close"), on="close", strategy="forward", allow_exact_matches=False
    )["session"].fill_null(end).clip(upper_bound=end)  # fmt: skip
    parts = held(contracts, days["session"].to_list(), sent_in[0], end, ahead)
    symbol = [next(part.symbol for part in parts if session <= part.last) for session in sent_in]
    pieces = [mine.with_columns(symbol=pl.Series(symbol, dtype=pl.String))]
    hours = {session: (opens, closes) for session, opens, closes in days.select("session", "open", "close").rows()}
    for old, new in pairwise(parts):
        closes, opens = hours[old.last][1], hours[new.first][0]
        target = mine.filter(sent_in <= old.last).tail(1)
        renewed = not mine.filter(pl.col("ts").is_between(closes, opens)).is_empty()
        pieces.append(_roll(target, old, new, closes, renewed))
    return pl.concat(pieces, how="diagonal_relaxed")


def _calendar(contracts: pl.DataFrame, root: str) -> str:
    named = contracts["calendar"].drop_nulls().unique().to_list() if "calendar" in contracts.columns else []
    if len(named) != 1:
        raise RollError(f"{root}: its contracts name {named or 'no calendar'}; give calendar, for example CMES")
    return str(named[0])


def _roll(target: pl.DataFrame, old: Held, new: Held, at: datetime, renewed: bool) -> pl.DataFrame:
    """To 0 in the old contract, and to the target in the new one where no order of its own does that."""
    name = next(name for name in TARGETS if name in target.columns and target[name][0] is not None)
    if target[name][0] == 0.0:
        return target.clear()
    plain = {field: pl.lit(word) for field, word in (("type", "market"), ("tif", "gtc")) if field in target.columns}
    base = target.with_columns(ts=pl.lit(at, dtype=target.schema["ts"]), tag=pl.lit(ROLL), **plain)
    close = base.with_columns(pl.lit(0.0).alias(name), symbol=pl.lit(old.symbol), order_id=_id(old, old, "close"))
    opening = base.with_columns(symbol=pl.lit(new.symbol), order_id=_id(new, old, "open"))
    both = pl.concat([close] if renewed else [close, opening])
    return both if "order_id" in target.columns else both.drop("order_id")


def _id(part: Held, old: Held, what: str) -> pl.Expr:
    return pl.lit(f"{ROLL}:{part.symbol}:{old.last}:{what}")


def _check(mine: pl.DataFrame, root: str) -> None:
    targets = [name for name in TARGETS if name in mine.columns]
    given = pl.sum_horizontal([pl.col(name).is_not_null().cast(pl.Int8) for name in targets] or [pl.lit(0)])
    unknown = mine.filter(given != 1)
    if unknown.height:
        raise RollError(
            f"{root} {unknown['ts'][0]}: an order on a root needs target_weight or target_position; "
            "with other amounts what is held at a roll depends on the fills. Name a contract instead"
        )
    if "type" in mine.columns:
        other = mine.filter(~pl.col("type").is_in(FOLLOWED))
        if other.height:
            raise RollError(
                f"{root} {other['ts'][0]}: type is {other['type'][0]}; on a root use one of {sorted(FOLLOWED)}, "
                "or name a contract"
            )
    for name in (*EXITS, "action"):
        if name in mine.columns:
            plain = pl.col(name).is_null() | pl.col(name).cast(pl.String).is_in(["submit", "false"])
            other = mine.filter(~plain)
            if other.height:
                raise RollError(
                    f"{root} {other['ts'][0]}: {name} is {other[name][0]}; on a root what rests could not be rolled. "
                    "Leave it out, or name a contract"
                )
