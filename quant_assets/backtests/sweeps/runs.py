"""One run of a sweep: a parameter set in, figures and returns by session out, and nothing that they do not need."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.backtests import metrics
from quant_assets.backtests.engine import BacktestResult, run, session_returns, sessions_a_year
from quant_assets.backtests.market.futures import rolled
from quant_assets.backtests.market.history import History
from quant_assets.backtests.metrics.sample import Sample
from quant_assets.backtests.simulation.book import Book, book
from quant_assets.backtests.simulation.simulate import Outcome, trade
from quant_assets.backtests.sweeps.grid import Candidate, Failure, Maker, SweepError, reason
from resources.config import BacktestSettings
from resources.exchange.layout import NOWHERE
from resources.exchange.venue import Venue
from resources.exchange.words import EQUITY, GROSS, REJECTED, SUBMIT

if TYPE_CHECKING:
    from quant_assets.strategies.keys import Keys

Floats = npt.NDArray[np.float64]

FIGURES = pl.Schema(
    {"sharpe": pl.Float64(), "periods": pl.Int64(), "lost": pl.Boolean()}
    | dict.fromkeys(
        ("sharpe_ratio", "total_return", "cagr", "volatility", "max_drawdown", "skew", "kurtosis", "turnover"),
        pl.Float64(),
    )
    | dict.fromkeys(("fills", "orders", "orders_rejected"), pl.Int64())
    | dict.fromkeys(("costs", "costs_bps", "ambiguous_share", "max_gross_exposure"), pl.Float64())
)
"""The figures of every run: `sharpe` is a period's and `sharpe_ratio` a year's; see docs/metrics.md for each.

`lost` says that nothing was left of the account at some time: its figures are those up to then, over fewer `periods`.
"""

BESIDE = dict.fromkeys(("beta", "alpha", "information_ratio", "tracking_error"), pl.Float64())
"""What a benchmark adds."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A run that came to its end."""

    candidate: Candidate
    figures: dict[str, float | None]
    returns: npt.NDArray[np.float32]
    """By session, NaN where the account had nothing left."""


@dataclass(frozen=True)
class Prepared:
    """What every run of a sweep shares: made once, never written to."""

    past: History
    settings: BacktestSettings
    maker: Maker
    features: pl.DataFrame | None = None
    benchmark: pl.DataFrame | None = None
    instruments: pl.DataFrame | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Without what was worked out from them: a venue knows addresses in this process's memory.
        return {each.name: getattr(self, each.name) for each in fields(self)}

    @cached_property
    def recorded(self) -> npt.NDArray[np.datetime64]:
        """The session of each row of a run's log."""
        start = self.past.first_traded(self.settings.start)
        rows: npt.NDArray[np.datetime64] = self.past.session[start:][self.past.market.recorded[start:]]
        return rows

    @cached_property
    def last(self) -> npt.NDArray[np.intp]:
        """The last row of each session in a run's log."""
        return np.append(np.flatnonzero(self.recorded[1:] != self.recorded[:-1]), self.recorded.size - 1)

    @cached_property
    def sessions(self) -> npt.NDArray[np.datetime64]:
        """Those that are traded: the periods of every run's returns."""
        return self.recorded[self.last]

    @cached_property
    def year(self) -> float:
        """Sessions of a year."""
        return self.settings.periods_per_year or sessions_a_year(self.past)

    @cached_property
    def venue(self) -> Venue:
        """Where every run trades, with its symbols and no orders yet."""
        return Venue(self.settings, self.past.symbols, self.past.listings)

    @cached_property
    def keys(self) -> Keys | None:
        """Of the features, whose rows most strategies answer with."""
        from quant_assets.strategies.keys import Keys

        return None if self.features is None else Keys(self.features)

    @cached_property
    def warms_up(self) -> bool:
        """Whether features begin before the bars, so that rules are warm by then: nothing is traded there."""
        first: Any = None if self.features is None else self.features["session"].min()
        return first is not None and np.datetime64(first) < self.past.session[0]

    @cached_property
    def beside(self) -> Floats | None:
        """The benchmark's return of each session, NaN where it has none."""
        if self.benchmark is None:
            return None
        wanted = pl.DataFrame({"session": pl.Series(self.sessions).cast(pl.Date)})
        found = wanted.join(self.benchmark, on="session", how="left", maintain_order="left")["return"]
        return found.cast(pl.Float64).fill_null(np.nan).to_numpy()

    @cached_property
    def turn(self) -> Lock:
        """Held by the run that works in Python. Else its lock changes hands at every call into polars or numpy, and
        each change is a wait: of two threads that took an eighth of the time."""
        return Lock()

    def run(self, candidate: Candidate) -> Ran | Failure:
        """Trade a parameter set. What goes wrong in it is a Failure, whatever it is, and the others run."""
        try:
            said = self._said(candidate)
            with self.turn:
                pending = book(self._orders(candidate, said), self.past, self.settings.latency)
                venue = self.venue.of(pending.records)
            outcome = trade(venue, self.past, pending, holdings=False)
        except Exception as error:  # the strategy's code is the user's: its error may be any
            return Failure(candidate.number, candidate.parameters, "run", reason(error))
        with self.turn:
            return self._measured(candidate, outcome, pending)

    def _said(self, candidate: Candidate) -> pl.DataFrame:
        """What the user's code makes of a parameter set: the intents of a strategy, else orders."""
        if candidate.strategy is None:
            orders: Any = self.maker(**candidate.parameters)
            if not isinstance(orders, pl.LazyFrame | pl.DataFrame):
                raise SweepError(
                    f"the strategy gives a {type(orders).__name__}; a frame of orders is needed, as for others"
                )
            return orders.lazy().collect()
        from quant_assets.strategies.orders import read

        assert self.features is not None, "features are prepared for every sweep of strategies"
        wanted = candidate.strategy.intents(self.features.lazy())
        if self.warms_up:
            wanted = wanted.filter(pl.col("session") >= pl.lit(self.past.session[0]).cast(pl.Date))
        return read(wanted).collect()

    def _orders(self, candidate: Candidate, said: pl.DataFrame) -> pl.DataFrame:
        """What is sent to the exchange of it."""
        from quant_assets.strategies.orders import sent

        # Not orders(), whose Python would run inside polars and keep its threads from the other runs.
        orders = said if candidate.strategy is None else sent(said, keys=self.keys)
        ahead = self.settings.roll_sessions_before_expiry
        if ahead is not None and self.instruments is not None:
            return rolled(orders, self.instruments, self.past.sessions[-1], ahead=ahead)
        return orders

    def backtest(self, candidate: Candidate) -> BacktestResult:
        """The whole result of a parameter set, with its frames."""
        # Rolled already, if at all, so that nothing is left to roll.
        settings = self.settings.model_copy(update={"roll_sessions_before_expiry": None})
        return run(self.past, self._orders(candidate, self._said(candidate)), settings, benchmark=self.benchmark)

    def _measured(self, candidate: Candidate, outcome: Outcome, pending: Book) -> Ran:
        equity = outcome.log.account[:, EQUITY]
        returns = session_returns(equity, self.last, self.settings.cash)
        figures = self._returned(returns) | self._traded(outcome, pending, equity[self.last])
        finite = {name: float(value) if np.isfinite(value) else None for name, value in figures.items()}
        return Ran(candidate, finite | {"lost": bool((equity <= 0.0).any())}, returns.astype(np.float32))

    def _returned(self, returns: Floats) -> dict[str, float]:
        sample, year = Sample.of(returns), self.year
        figures = {
            "sharpe": metrics.sharpe_ratio(sample, periods_per_year=1.0),
            "periods": sample.size,
            "sharpe_ratio": metrics.sharpe_ratio(sample, periods_per_year=year),
            "total_return": metrics.cum_returns_final(sample),
            "cagr": metrics.cagr(sample, year),
            "volatility": metrics.annual_volatility(sample, year),
            "max_drawdown": metrics.max_drawdown(sample),
            "skew": metrics.skewness(sample),
            "kurtosis": metrics.kurtosis(sample),
        }
        if self.beside is None:
            return figures
        # A Pair is made anew by each measure; its arrays are a few thousand numbers.
        return figures | {
            "beta": metrics.beta(returns, self.beside),
            "alpha": metrics.alpha(returns, self.beside, periods_per_year=year),
            "information_ratio": metrics.information_ratio(returns, self.beside, periods_per_year=year),
            "tracking_error": metrics.tracking_error(returns, self.beside, periods_per_year=year),
        }

    def _traded(self, outcome: Outcome, pending: Book, equity: Floats) -> dict[str, float]:
        """What was traded and what it cost, as trades.statistics measures it."""
        done = outcome.fills[outcome.fills["order"] != NOWHERE]
        amount = done["quantity"] * done["reference"] * done["factor"]
        closing = equity[np.searchsorted(self.sessions, self.past.session[done["step"]])]
        solvent = closing > 0
        costs, traded = float(sum(done[name].sum() for name in ("spread", "slippage", "commission"))), amount.sum()
        gross, worth = outcome.log.account[:, GROSS], outcome.log.account[:, EQUITY]
        asked = outcome.records["action"] == SUBMIT
        return {
            "turnover": (amount[solvent] / closing[solvent]).sum() / 2 / (equity.size / self.year),
            "fills": done.size,
            "orders": (pending.origin == np.arange(pending.origin.size)).sum(),
            "orders_rejected": (asked & (outcome.records["state"] == REJECTED)).sum(),
            "costs": costs,
            "costs_bps": costs / traded * 1e4 if traded else np.nan,
            "ambiguous_share": (done["ambiguous"] != 0).mean() if done.size else np.nan,
            "max_gross_exposure": (gross[worth > 0] / worth[worth > 0]).max(initial=0.0),
        }
