"""Trades on the price chart: what the page's script needs to draw any symbol with its fills."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.backtests.trades.statistics import CORPORATE, amount_of

MOST_POINTS = 700_000
"""Prices in a page, 2.7 bytes each: beyond them the lines get a price every few sessions."""

MOST_SESSIONS_A_POINT = 10
MOST_FILLS = 20_000
LEVELS = 65_534


@dataclass(frozen=True, slots=True)
class Market:
    """Data for the script, by name, and what the page says about it."""

    data: dict[str, Any]
    note: str


def market(
    bars: pl.LazyFrame | pl.DataFrame | None, fills: pl.DataFrame, positions: pl.DataFrame, sessions: Sequence[date]
) -> Market | None:
    """Prices of every symbol that was traded, its fills, and when it was held. None without bars or without fills.

    `bars`: symbol, session (or ts), close and, where prices are raw, split (new shares for an old one); the last close
    of a session counts. Prices and fills are restated for later splits, so that both lie on one line that ends at
    today's price.
    """
    if bars is None or fills.is_empty() or not sessions:
        return None
    calendar = pl.DataFrame({"session": sessions}, schema={"session": pl.Date}).with_row_index("at")
    by_worth = _by_worth(bars, fills)
    if not by_worth:
        return None
    step = min(max(-(-len(by_worth) * len(sessions) // MOST_POINTS), 1), MOST_SESSIONS_A_POINT)
    names = sorted(by_worth[: max(MOST_POINTS * step // len(sessions), 1)])
    numbers = pl.DataFrame({"symbol": names}).with_row_index("number")
    closes = _closes(bars, calendar, numbers)
    lines = closes.partition_by("number", as_dict=True)
    drawn = _placed(fills, calendar, numbers, closes)
    data = {
        "symbols": [_line(name, lines.get((number,), closes.clear()), step) for number, name in enumerate(names)],
        "fills": {name: drawn[name].to_list() for name in ("number", "at", "level", "price", "quantity", "ambiguous")},
        **_texts(drawn["reason"]),
        "held": _held(positions, calendar, numbers),
        "first": names.index(by_worth[0]),
    }
    return Market(data, _note(fills, names, step, drawn.height))


def _by_worth(bars: pl.LazyFrame | pl.DataFrame, fills: pl.DataFrame) -> list[str]:
    """Symbols that have prices and fills, those first of which most was traded."""
    worth = amount_of(fills).abs().sum()
    priced = bars.lazy().filter(pl.col("close") > 0, pl.col("close").is_finite()).select("symbol").unique().collect()
    return (
        fills.join(priced, on="symbol", how="semi")
        .group_by("symbol")
        .agg(worth.alias("worth"))
        .sort("worth", "symbol", descending=[True, False])["symbol"]
        .to_list()
    )


def _closes(bars: pl.LazyFrame | pl.DataFrame, calendar: pl.DataFrame, numbers: pl.DataFrame) -> pl.DataFrame:
    """number, at (of the session), close restated for later splits, and factor: restated over traded."""
    held = bars.lazy().collect_schema().names()
    session = pl.col("session") if "session" in held else pl.col("ts").dt.date()
    split = pl.col("split").fill_null(1.0) if "split" in held else pl.lit(1.0)
    moment = pl.col("ts") if "ts" in held else session
    return (
        bars.lazy()
        .select("symbol", "close", session=session, split=split, moment=moment)
        .sort("moment")
        .join(numbers.lazy(), on="symbol", maintain_order="left")
        .join(calendar.lazy(), on="session", maintain_order="left")
        .select("number", "at", "close", "split")
        .sort(_in_order(calendar), maintain_order=True)
        .with_columns(grown=pl.col("split").cum_prod().over("number"))
        .with_columns(factor=pl.col("grown") / pl.col("grown").last().over("number"))
        .filter(pl.col("close").is_finite(), pl.col("close") > 0)
        .filter(_last_of("number", "at"))
        .select("number", "at", "factor", close=pl.col("close") * pl.col("factor"))
        .collect()
    )


def _in_order(calendar: pl.DataFrame) -> pl.Expr:
    """By symbol and then session: one number, four times as quick to sort by as two columns."""
    return pl.col("number").cast(pl.Int64) * calendar.height + pl.col("at")


def _last_of(*columns: str) -> pl.Expr:
    """Whether the next row has another of these: of rows in their order, the last of each."""
    return pl.any_horizontal(pl.col(name) != pl.col(name).shift(-1) for name in columns).fill_null(True)


def _line(name: str, closes: pl.DataFrame, step: int) -> dict[str, Any]:
    """A symbol's prices as 16-bit levels of a log scale from `low` to `high`, base64; 0 where there is none."""
    at, close = closes["at"].to_numpy(), closes["close"].to_numpy()
    if not len(at):  # bars, but none in these sessions
        return {"name": name, "start": 0, "step": step, "low": 1.0, "high": 1.0, "levels": ""}
    first, last = int(at[0]), int(at[-1])
    full = np.full(last - first + 1, np.nan)
    full[at - first] = close
    low, high = float(close.min()), float(close.max())
    return {
        "name": name,
        "start": first,
        "step": step,
        "low": float(f"{low:.9g}"),
        "high": float(f"{high:.9g}"),
        "levels": _packed(full[::step], low, high),
    }


def _packed(prices: npt.NDArray[np.float64], low: float, high: float) -> str:
    span = np.log(high / low) or 1.0
    share = np.log(prices / low) / span
    levels = np.where(np.isnan(share), 0, 1 + np.round(LEVELS * np.nan_to_num(share)))
    return base64.b64encode(levels.astype("<u2").tobytes()).decode()


def _placed(fills: pl.DataFrame, calendar: pl.DataFrame, numbers: pl.DataFrame, closes: pl.DataFrame) -> pl.DataFrame:
    """The latest fills in the order of time: number, at, level (restated price), price, signed quantity, reason."""
    sign = pl.when(pl.col("side") == "sell").then(-1.0).otherwise(1.0)
    return (
        fills.join(numbers, on="symbol")
        .join(calendar, on="session")
        .sort("ts", maintain_order=True)
        .tail(MOST_FILLS)
        .sort("at", maintain_order=True)
        # A day without a price has the units of the day before: a split comes with a bar.
        .join_asof(closes.select("number", "at", "factor"), on="at", by="number", check_sortedness=False)
        .with_columns(pl.col("factor").fill_null(1.0))
        .filter(pl.col("price").is_finite())
        .select(
            "number",
            "at",
            level=(pl.col("price") * pl.col("factor")).round_sig_figs(6),
            price=pl.col("price").round_sig_figs(7),
            quantity=(pl.col("quantity").abs() * sign).round_sig_figs(9),
            ambiguous=pl.col("ambiguous").cast(pl.Int8),
            reason="reason",
        )
    )


def _texts(reasons: pl.Series) -> dict[str, list[Any]]:
    """Few words said often: each once, and its number for every fill."""
    words = reasons.unique().sort().to_list()
    places = {word: place for place, word in enumerate(words)}
    return {"reasons": words, "reason": [places[word] for word in reasons.to_list()]}


def _held(positions: pl.DataFrame, calendar: pl.DataFrame, numbers: pl.DataFrame) -> list[list[int]]:
    """Unbroken spells [number, first session, last session, 1 long or -1 short] of every symbol shown."""
    side = pl.col("quantity").sign().cast(pl.Int8).alias("side")
    begins = (pl.col("at").diff() != 1) | pl.any_horizontal(
        pl.col(name) != pl.col(name).shift() for name in ("number", "side")
    )
    found = (
        positions.lazy()
        .join(numbers.lazy(), on="symbol", maintain_order="left")
        .join(calendar.lazy(), on="session", maintain_order="left")
        .select("number", "at", side)
        .sort(_in_order(calendar), maintain_order=True)
        .filter(_last_of("number", "at"))
        .filter(pl.col("side") != 0)
        .group_by(begins.fill_null(True).cast(pl.Int32).cum_sum().alias("spell"), maintain_order=True)
        .agg(
            pl.col("number").first(), first=pl.col("at").first(), last=pl.col("at").last(), side=pl.col("side").first()
        )
        .select("number", "first", "last", "side")
        .collect()
    )
    return [list(row) for row in found.rows()]


def _note(fills: pl.DataFrame, names: Sequence[str], step: int, drawn: int) -> str:
    traded, by_order = fills["symbol"].n_unique(), fills.height
    lines = ["Closes on a log axis, restated for splits like the fills on them."]
    if len(names) < traded:
        lines.append(f"{len(names):,} of {traded:,} symbols have prices here.")
    if step > 1:
        lines.append(f"To keep the page small the line has a price every {step} sessions; the fills are exact.")
    if drawn < by_order:
        lines.append(f"{drawn:,} of {by_order:,} fills are drawn.")
    if fills["reason"].is_in(list(CORPORATE)).any():
        lines.append("Fills without an order, such as a delisting, are drawn too.")
    return " ".join(lines)
