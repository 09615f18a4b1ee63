"""Backtests: orders over bars or ticks, on the simulated exchange that paper trading uses too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.backtests import metrics as measures
from quant_assets.backtests.market.bar_frames import Frame
from quant_assets.backtests.market.futures import rolled
from quant_assets.backtests.market.history import History, history
from quant_assets.backtests.metrics import year
from quant_assets.backtests.metrics.sample import Floats
from quant_assets.backtests.simulation.book import book
from quant_assets.backtests.simulation.money import last_multipliers
from quant_assets.backtests.simulation.reactive import OnBar, book_of
from quant_assets.backtests.simulation.simulate import simulate
from quant_assets.backtests.simulation.tables import tables
from quant_assets.backtests.trades import statistics as trades
from resources.config import BacktestSettings
from resources.errors import ConfigError
from resources.exchange.layout import ORDER

if TYPE_CHECKING:
    from quant_assets.evidence.trials import Trial


@dataclass(frozen=True, slots=True)
class BacktestResult:
    """What became of the account, the orders and the positions. Money in account currency, bars by their start.

    equity     a row a step (a bar's start; of ticks, a minute): session, ts, cash, positions_value (of what is paid in
               full), equity, gross_exposure and net_exposure (as multiples of equity, null where that is not
               positive), margin, return (since the row before), dividends, borrow_cost, funding and interest (positive
               is paid)
    fills      order_id, ts, session, symbol, side, quantity, price (after costs), reference_price (before costs),
               spread_cost, slippage_cost, commission, reason, ambiguous, tag, realised (earned on the part of a
               position that the fill closed, before commission; of what is paid in full in a foreign currency, what it
               brought at the rate of the exit less what it cost at the rates of its entries), multiplier (account
               currency for one unit at a price of one: contract multiplier x the rate then), paid (whether the whole
               price changed hands); ids such as `delisting:XYZ:2009-06-01` where no order is behind it
    positions  session, ts, symbol, quantity, average_price, price (both in the instrument's currency), market_value,
               unrealised (as realised, were it closed at the price and the rate of then) at each step's end
    orders     order_id, ts, symbol, side, quantity, type, tif, limit_price, stop_price, trail, state, filled, reason,
               tag; as restated by splits, sized and replaced; a bracket's children are orders of their own, and every
               order has ended (at the end of history by cancellation)
    metrics    metrics.summary of the returns by session, and trades.statistics
    on_record  whether the run was put on the record of trials: by trial=, or as one of a sweep that was
    """

    equity: pl.DataFrame
    fills: pl.DataFrame
    positions: pl.DataFrame
    orders: pl.DataFrame
    metrics: dict[str, float | None]
    on_record: bool = False


def run(
    bars: Frame | History,
    orders: Frame | OnBar,
    config: BacktestSettings | None = None,
    instruments: Frame | None = None,
    benchmark: Frame | None = None,
    intrabar: Frame | None = None,
    rates: Frame | None = None,
    trial: Trial | None = None,
) -> BacktestResult:
    """Trade the orders on the bars, by the rules in resources/exchange/__init__.py.

    `bars`: ts (the START of the bar, aware), symbol, open, high, low, close, volume; optional split, dividend, bid and
    ask (the quote as the bar ends), funding, session, known_at; raw prices are traded, splits and dividends applied as
    they come. Quotes (ts, symbol, bid, ask) and trades (ts, symbol, price, size) are taken as they are: each is a step.
    A History, prepared once, serves many runs.
    `orders`: ts (the instant of submission: of a signal from a bar's close, the END of that bar) and symbol; one of
    quantity (units, with side buy or sell), notional (account currency, with side), target_weight (a fraction of
    equity, negative to be short) and target_position (units); optional order_id, type (market), limit_price,
    stop_price, trail, tif (gtc), expire_at, oco_group, parent, take_profit and stop_loss (prices, or distances in
    take_profit_fraction and stop_loss_fraction), reduce_only, tag, and action: cancel or replace an order_id. Instead
    of a frame: an OnBar, a compiled function that sees its own fills.
    `instruments` (as market_data/instruments): without it, shares in lots of one with continuous prices.
    `benchmark` (session, return) adds the comparison to the metrics. `intrabar`: finer bars that decide inside those
    they cover; a bar that they cover only in part stays as it is, and a warning says how many did. `rates` (ts,
    currency, rate): account currency for a unit of each foreign one. `trial` (evidence.trials) puts the backtest on the
    record of its family before anything is simulated, so that it counts.

    Amounts are sized once, with what was known when the order was submitted: equity and price of the last close,
    whole lots towards zero. A target is not shrunk and no part of equity is held back for costs. Instead `max_gross`
    lets a fill take the account a little (5%) above its equity, because an open above the close that it was
    sized with would otherwise reject the last buys of every fully invested rebalance; the overdraft pays
    interest until the next rebalance. Sales come before purchases at the open. A target replaces what still rests of
    the symbol's target before it, and leaves other orders alone. A symbol without bars for
    two sessions while others go on is delisted at the next open, if it is not back by then.

    The same input gives the same result, and cutting the history leaves everything before the cut as it was.

    Raises BarSchemaError and OrderError, naming row, symbol and field, on input that cannot be traded, and ConfigError
    on a benchmark that cannot be read, all before anything is simulated; IdentityError if cash and positions ever fail
    to add up to equity.

    Example: `run(cleaned, orders, BacktestSettings(cash=100_000)).equity`
    """
    settings = config or BacktestSettings()
    check_given(bars, settings, instruments, intrabar, rates)
    beside = checked_benchmark(benchmark)
    past = bars if isinstance(bars, History) else history(bars, instruments, settings.currency, intrabar, rates)
    check_limits(settings, past)
    if trial is not None:
        orders = orders if isinstance(orders, OnBar) else orders.lazy().collect()
        begun = trial.begin(orders, settings, past)
    if isinstance(orders, OnBar):
        outcome = simulate(settings, past, book_of(np.zeros(0, ORDER), orders.tag), orders.reaction(past, settings))
        pending = book_of(outcome.records, orders.tag)
    else:
        if settings.roll_sessions_before_expiry is not None and instruments is not None:
            orders = rolled(orders, instruments, past.sessions[-1], ahead=settings.roll_sessions_before_expiry)
        pending = book(orders, past, settings.latency)
        outcome = simulate(settings, past, pending)
    frames = tables(outcome, past, pending, settings)
    periods = settings.periods_per_year or sessions_a_year(past)
    returns = by_session(frames["equity"], settings.cash)
    figures = measures.summary(returns, beside, periods)
    figures |= trades.statistics(
        frames["equity"],
        frames["fills"],
        frames["positions"],
        frames["orders"],
        periods,
        bars=past.frame(),
        multipliers=last_multipliers(outcome, past),
    )
    if trial is not None:
        trial.end(begun, figures, returns, settings)
    return BacktestResult(**frames, metrics=figures, on_record=trial is not None)


def check_given(
    bars: Frame | History, settings: BacktestSettings, instruments: object, intrabar: object, rates: object
) -> None:
    """Refuse what would be ignored: a History is prepared with all of it."""
    if not isinstance(settings, BacktestSettings):
        raise ConfigError(f"config: a {type(settings).__name__}; give BacktestSettings(...), or leave it out")
    if isinstance(bars, History):
        given = {"instruments": instruments, "intrabar": intrabar, "rates": rates}
        named = [name for name, value in given.items() if value is not None]
        if settings.roll_sessions_before_expiry is not None:
            named = [name for name in named if name != "instruments"]
        if named:
            raise ConfigError(f"{named}: a History has its own; give them to history(), which prepares it")
        if settings.currency != bars.currency:
            raise ConfigError(f"currency is {settings.currency}, of the History {bars.currency}; prepare it with that")
    elif settings.intrabar_timeframe is not None and intrabar is None:
        raise ConfigError(
            f"intrabar_timeframe is {settings.intrabar_timeframe}, and no finer bars are given: intrabar="
        )


def check_limits(settings: BacktestSettings, past: History) -> None:
    """Refuse a limit of sectors where no instrument has one."""
    bound = None if settings.limits is None else settings.limits.sector
    if bound is not None and not any(listing.sector for listing in past.listings):
        raise ConfigError(
            f"limits.sector is {bound:g}, and no symbol has a sector: give instruments with a column "
            "sector, or leave the limit out"
        )


def checked_benchmark(benchmark: Frame | None) -> pl.DataFrame | None:
    """The benchmark's session and return. Raises ConfigError where they are missing, of another kind or there twice."""
    if benchmark is None:
        return None
    if not isinstance(benchmark, pl.LazyFrame | pl.DataFrame):
        raise ConfigError(f"benchmark: a {type(benchmark).__name__}; give a polars frame with session and return")
    schema = benchmark.lazy().collect_schema()
    missing = [name for name in ("session", "return") if name not in schema]
    if missing:
        raise ConfigError(f"benchmark: missing columns {missing}; give session (a Date) and return (a fraction)")
    if schema["session"] != pl.Date or not (schema["return"].is_numeric() or schema["return"] == pl.Null):
        raise ConfigError(
            f"benchmark: session is {schema['session']} and return {schema['return']}; give a Date and a number"
        )
    frame = benchmark.lazy().select("session", pl.col("return").cast(pl.Float64)).collect()
    twice = frame.filter(pl.col("session").is_duplicated())["session"]
    if len(twice):
        raise ConfigError(f"benchmark: session {twice[0]} is there twice; keep one row a session")
    return frame


def by_session(equity: pl.DataFrame, cash: float) -> pl.DataFrame:
    """The equity's returns by session (session, return): as `session_returns`, null where that has NaN."""
    rows = equity.group_by("session", maintain_order=True).agg(pl.len())
    found = session_returns(equity["equity"].to_numpy(), rows["len"].cast(pl.Int64).cum_sum().to_numpy() - 1, cash)
    return rows.select("session", pl.Series("return", found).fill_nan(None))


def session_returns(equity: Floats, last: npt.NDArray[np.intp], cash: float) -> Floats:
    """Each session's return, from the equity in its last row; `last` are the places of these rows.

    An account of which nothing is left in any row is over. Its last return leads to that row and is -100% or below;
    after it all are NaN, also where what it still holds should lift it above zero again: nobody would have lent it
    the money.
    """
    closing, alive = equity[last], last.size
    gone = equity <= 0.0
    if gone.any():
        first = int(gone.argmax())
        alive = int(np.searchsorted(last, first)) + 1
        closing[alive - 1] = equity[first]
    returns = np.full(last.size, np.nan)
    returns[:alive] = closing[:alive] / np.append(cash, closing)[:alive] - 1.0
    return returns


def sessions_a_year(past: History) -> float:
    """Sessions of a year of a history, from their spacing (metrics/year.py)."""
    return year.sessions_a_year(past.session)
