"""Round trips: fills paired into trades, with their profit, costs and the worst and best moment while held."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.backtests.metrics.sample import Floats

Method = Literal["flat", "fifo"]

STAMP = pl.Datetime("us", "UTC")
ROUND_TRIPS: dict[str, pl.DataType | type[pl.DataType]] = {
    "symbol": pl.String,
    "side": pl.String,
    "entry_ts": STAMP,
    "exit_ts": STAMP,
    "quantity": pl.Float64,
    "entry_price": pl.Float64,
    "exit_price": pl.Float64,
    "pnl": pl.Float64,
    "return": pl.Float64,
    "costs": pl.Float64,
    "mae": pl.Float64,
    "mfe": pl.Float64,
    "bars": pl.Int64,
    "holding": pl.Duration("us"),
    "open": pl.Boolean,
}
"""Columns of `round_trips`."""

AT_THE_OPEN = ("open", "gap")
AT_THE_CLOSE = ("close", "delisting", "expiry", "exercise", "assignment")


def round_trips(
    fills: pl.DataFrame,
    bars: pl.DataFrame | None = None,
    multipliers: Mapping[str, float] | None = None,
    method: Method = "flat",
) -> pl.DataFrame:
    """A row a trade, in order of symbol and entry (ROUND_TRIPS names the columns).

    `method` "flat": from flat to flat of a symbol, one row however often the position was added to and reduced, with
    average prices; a fill that flips the position ends one trade and begins the next. "fifo": a row for each part of an
    entry that one exit closes, the oldest entry first. Both add up to the same profit (but for exchange rates: of
    futures, perpetuals and forex each part's change in price is taken at the rate of its own exit).

    quantity     units bought (long) or sold short (short) in the trade, and prices after spread and slippage, restated
                 for splits to the units of the exit
    pnl          after all costs of the fills, in account currency; without dividends, borrowing, funding and interest.
                 Of what is paid in full, what the exits brought at the rates of then less what the entries cost at the
                 rates of then: a gain of the currency is part of it. Of futures, perpetuals and forex, the change in
                 price at the rate of the exit
    return       pnl over the value of the entries, both in account currency
    costs        spread, slippage and commission
    mae, mfe     the worst and the best that pnl before commission stood at while the trade was open, over the value of
                 the entries, by prices alone (without changes of the exchange rate): mae is zero or negative, mfe zero
                 or positive. Counted is what was provably seen while held: fill prices, highs and lows of whole bars,
                 the open of the bar of an exit inside it, the close of the bar of an entry inside it
    bars, holding  bars from the entry's to the exit's, and the time between
    open         still open at the end: then exit_ts and exit_price are null and pnl is marked at the last close

    `fills` are those of a BacktestResult, which carry `multiplier` (account currency for one unit at a price of one as
    the fill took place: contract multiplier x exchange rate) and `paid`. `bars` (ts, symbol, open, high, low, close,
    optional split): without them mae, mfe, bars and the pnl of open trades are null, and no split is assumed.
    `multipliers`: account currency for one unit at a price of one as the bars end, at which open trades are marked
    (without it, at that of the symbol's last fill), and of every fill where fills carry none; else 1.

    Raises ValueError, naming the symbol, where a multiplier is not positive, or bars are given but none of a symbol.

    Example: `round_trips(result.fills, bars).filter(~pl.col("open"))["pnl"].sum()`
    """
    from quant_assets.backtests.trades import pairing

    if fills.is_empty():
        return pl.DataFrame(schema=ROUND_TRIPS)
    ready = _ready(fills, bars, multipliers)
    trips = np.empty(ready.ts.size * (2 if method == "fifo" else 1), pairing.TRIP)
    pair = pairing.first_in_first_out if method == "fifo" else pairing.flat_to_flat
    count = pair(
        ready.symbol, ready.quantity, ready.price, ready.multiplier, ready.paid, ready.costs, ready.commission,
        ready.at, ready.bar, ready.prices, ready.final, trips,
    )  # fmt: skip
    return _frame(ready, trips[:count], bars is not None)


@dataclass(frozen=True, slots=True)
class _Ready:
    """Fills as arrays, sorted by symbol and time, in units that no split changes."""

    names: pl.Series
    symbol: npt.NDArray[np.int64]
    ts: npt.NDArray[np.int64]
    quantity: Floats
    price: Floats
    costs: Floats
    commission: Floats
    multiplier: Floats
    """Account currency for one unit at a price of one, as each fill took place."""
    final_multiplier: Floats
    """And as the bars end, by symbol."""
    paid: npt.NDArray[np.bool_]
    factor: Floats
    """Product of splits up to the fill."""
    final_factor: Floats
    """And up to the last bar of its symbol."""
    at: npt.NDArray[np.int64]
    bar: npt.NDArray[np.int64]
    final: npt.NDArray[np.int64]
    prices: Floats
    """Open, high, low, close of each bar."""


def _ready(fills: pl.DataFrame, bars: pl.DataFrame | None, multipliers: Mapping[str, float] | None) -> _Ready:
    names = fills["symbol"].unique().sort()
    kind = pl.Enum(names)
    taken = fills.select(
        pl.col("symbol").cast(pl.String).cast(kind).to_physical().cast(pl.Int64).alias("code"),
        pl.col("ts").cast(STAMP).cast(pl.Int64),
        (pl.col("quantity") * pl.when(pl.col("side") == "buy").then(1.0).otherwise(-1.0)).alias("signed"),
        "price", "reference_price", "spread_cost", "slippage_cost", "commission",
        worth(fills, multipliers).alias("multiplier"),
        (pl.col("paid") if "paid" in fills.columns else pl.lit(True)).alias("paid"),
        *(pl.col("reason").is_in(reasons).alias(name) for name, reasons in
          (("opening", AT_THE_OPEN), ("closing", AT_THE_CLOSE))),
    )  # fmt: skip
    order = by_symbol(taken["code"].to_numpy(), taken["ts"].to_numpy())
    columns = {name: taken[name].to_numpy()[order] for name in taken.columns}
    located = _located(columns, names, bars)
    factor = located.pop("factor")
    commission, code = columns["commission"], columns["code"]
    last = columns["multiplier"][np.searchsorted(code, np.arange(len(names)), side="right") - 1]
    return _Ready(
        names=names,
        symbol=code,
        ts=columns["ts"],
        quantity=columns["signed"] / factor,
        price=columns["price"] * factor,
        costs=columns["spread_cost"] + columns["slippage_cost"] + commission,
        commission=commission,
        multiplier=columns["multiplier"],
        final_multiplier=np.array([(multipliers or {}).get(name, last[at]) for at, name in enumerate(names)], float),
        paid=columns["paid"],
        factor=factor,
        **located,
    )


def worth(fills: pl.DataFrame, multipliers: Mapping[str, float] | None = None) -> pl.Expr:
    """Account currency for one unit at a price of one, of each fill: its own, else its symbol's, else 1.

    Raises ValueError, naming the symbol, where a multiplier is not positive.
    """
    for name, value in (multipliers or {}).items():
        if not value > 0:
            raise ValueError(f"{name}: multiplier is {value}; it must be positive")
    if "multiplier" in fills.columns:
        return pl.col("multiplier")
    if not multipliers:
        return pl.lit(1.0)
    return pl.col("symbol").cast(pl.String).replace_strict(dict(multipliers), default=1.0, return_dtype=pl.Float64)


def _located(columns: dict[str, Any], names: pl.Series, bars: pl.DataFrame | None) -> dict[str, Any]:
    """Where each fill is in its symbol's bars, the product of splits until then, and the bars in unsplit units."""
    from quant_assets.backtests.trades import pairing

    count = columns["ts"].size
    if bars is None:
        nowhere = np.full(count, -1, np.int64)
        ones = np.ones(count)
        return {
            "factor": ones, "final_factor": ones, "at": np.zeros(count, np.int64), "bar": nowhere, "final": nowhere,
            "prices": np.empty((0, 4)),
        }  # fmt: skip
    code, ts, prices, factor = _bars(bars, names)
    ends = np.searchsorted(code, np.arange(len(names)), side="right") - 1
    for name in names.filter(pl.Series(np.diff(ends, prepend=-1) == 0)):
        raise ValueError(f"{name}: there are fills but no bars of it; give the bars that it was traded on")
    found = pairing.locate(columns["code"], columns["ts"], code, ts)
    opened = (columns["opening"] | (columns["reference_price"] == prices[found, 0])) & (columns["ts"] == ts[found])
    at = np.where(columns["closing"], pairing.AT_CLOSE, np.where(opened, pairing.AT_OPEN, pairing.INSIDE))
    return {
        "factor": np.where(found >= 0, factor[found], 1.0),
        "final_factor": factor[ends[columns["code"]]],
        "at": at,
        "bar": found,
        "final": ends[columns["code"]],
        "prices": prices * factor[:, None],
    }


def _bars(bars: pl.DataFrame, names: pl.Series) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Floats, Floats]:
    """Symbol, time and prices of the bars in order of both, and the product of splits up to each."""
    kind = pl.Enum(names)
    code = bars["symbol"].cast(pl.String).cast(kind, strict=False).to_physical().cast(pl.Int64)
    if code.null_count():
        bars, code = bars.filter(code.is_not_null()), code.drop_nulls()
    ts = bars["ts"].cast(STAMP).cast(pl.Int64)
    order = by_symbol(code.to_numpy(), ts.to_numpy())
    prices = np.empty((bars.height, 4))
    for column, name in enumerate(("open", "high", "low", "close")):
        prices[:, column] = bars[name].to_numpy()[order]
    codes = code.to_numpy()[order]
    factor = np.ones(bars.height)
    if "split" in bars.columns:
        split = bars["split"].fill_null(1.0).cast(pl.Float64).to_numpy()[order]
        if (split != 1).any():
            running = pl.DataFrame({"code": codes, "split": split}).select(pl.col("split").cum_prod().over("code"))
            factor = running["split"].to_numpy()
    return codes, ts.to_numpy()[order], prices, factor


def by_symbol(code: npt.NDArray[np.int64], ts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | slice:
    """An order by symbol, then time, then as they come."""
    in_time = np.diff(ts) >= 0
    if in_time.all():
        # A stable sort of small numbers takes a tenth of one by two columns.
        return np.argsort(code.astype(np.uint16) if code.max(initial=0) < 65_536 else code, kind="stable")
    steps = np.diff(code)
    if ((steps > 0) | ((steps == 0) & in_time)).all():
        return slice(None)
    return np.lexsort((ts, code))


def _frame(ready: _Ready, trips: npt.NDArray[Any], with_bars: bool) -> pl.DataFrame:
    entry, leaving = trips["entry"], trips["exit"]
    still = leaving < 0
    last = np.where(still, ready.final[entry], ready.bar[leaving])
    # An open trade is in the units of the last bar, and marked at its close.
    units = np.where(still, ready.final_factor[entry], ready.factor[leaving])
    mark = ready.prices[last, 3] if with_bars else np.full(entry.size, np.nan)
    with np.errstate(all="ignore"):
        value = np.abs(trips["entry_value"])
        pnl = trips["earned"] + np.where(still, _unrealised(ready, trips, mark), 0.0) - trips["commission"]
        frame = pl.DataFrame(
            {
                "symbol": ready.names.gather(ready.symbol[entry]),
                "side": pl.Series(["short", "long"]).gather((trips["side"] > 0).astype(np.uint32)),
                "entry_ts": ready.ts[entry],
                "exit_ts": ready.ts[leaving],
                "quantity": trips["entered"] * units,
                "entry_price": trips["entry_value"] / trips["entered"] / units,
                "exit_price": trips["exit_value"] / trips["exited"] / units,
                "pnl": pnl,
                "return": pnl / np.abs(trips["invested"]),
                "costs": trips["costs"],
                "mae": trips["worst"] / value,
                "mfe": trips["best"] / value,
                "bars": last - ready.bar[entry],
                "open": still,
            }
        )
    measured = pl.col("pnl", "return", "mae", "mfe")
    with_prices = pl.col("mae", "mfe", "bars")
    closed = pl.col("exit_ts", "exit_price")
    return (
        frame.with_columns(pl.col("entry_ts", "exit_ts").cast(STAMP), pl.when(measured.is_finite()).then(measured))
        .with_columns(pl.when(pl.lit(with_bars)).then(with_prices), pl.when(~pl.col("open")).then(closed))
        .with_columns(holding=pl.col("exit_ts") - pl.col("entry_ts"))
        .select(ROUND_TRIPS.keys())
    )


def _unrealised(ready: _Ready, trips: npt.NDArray[Any], mark: Floats) -> Floats:
    """What the open part of each trip has earned by the last close of its symbol, in account currency."""
    entry = trips["entry"]
    now = (trips["entered"] - trips["exited"]) * mark
    rate = ready.final_multiplier[ready.symbol[entry]]
    gain = np.where(ready.paid[entry], now * rate - trips["held"], (now - trips["held"]) * rate)
    return np.asarray(trips["side"] * gain, np.float64)
