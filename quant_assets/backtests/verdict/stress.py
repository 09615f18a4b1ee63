"""What remains of a backtest when trading costs more than assumed: the same orders, every cost once, twice, thrice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.backtests import engine
from quant_assets.evidence.inputs import EvidenceError
from resources.config import BacktestSettings
from resources.config_backtest import ClassSettings
from resources.exchange.models.base import ACCRUED, CHARGED, FACTS, PARAMETERS, Commission, Model, Slippage, Spread
from resources.exchange.models.carrying import Borrow, BorrowBySymbol, FixedBorrow
from resources.exchange.models.commission import Bps, MakerTaker, NoCommission, PerContract, PerOrder, PerShare, Tiered
from resources.exchange.models.presets import Alpaca
from resources.exchange.models.slippage import FixedSlippage, NoSlippage, SquareRootSlippage, VolumeShareSlippage
from resources.exchange.models.spread import FixedSpread

if TYPE_CHECKING:
    from quant_assets.backtests.engine import BacktestResult
    from quant_assets.backtests.market.bar_frames import Frame
    from quant_assets.backtests.market.history import History
    from quant_assets.backtests.simulation.reactive import OnBar

TIMES = (1.0, 2.0, 3.0)

FIELDS: Mapping[type[Model], tuple[str, ...]] = {
    FixedSpread: ("half_bps",),
    NoSlippage: (),
    FixedSlippage: ("bps",),
    VolumeShareSlippage: ("impact",),
    SquareRootSlippage: ("coefficient",),
    NoCommission: (),
    PerShare: ("per_share", "minimum"),
    PerOrder: ("amount",),
    PerContract: ("per_contract", "minimum"),
    Bps: ("bps", "minimum"),
    MakerTaker: ("maker_bps", "taker_bps"),
    Tiered: ("rates", "minimum"),
    Alpaca: ("sec_per_million", "taf_per_share", "taf_maximum"),
}
"""Models, and what is derived from them, whose cost is in proportion to these fields taken together."""

LAST = PARAMETERS - 1
"""Place in a multiplied model's parameters of the number that it is multiplied by."""


def stress(
    past: History,
    orders: Frame | OnBar,
    settings: BacktestSettings,
    benchmark: pl.DataFrame | None = None,
    times: Sequence[float] = TIMES,
    *,
    known: BacktestResult | None = None,
    instruments: Frame | None = None,
) -> pl.DataFrame:
    """The backtest at so many times its costs, a row each: times, mean_return, total_return, cagr, sharpe_ratio,
    volatility, max_drawdown, turnover, costs and fills.

    mean_return is that of a session, costs are all costs of fills and of carrying in account currency. `known` is the
    result at once the costs, where it was run before. `instruments` as in `run`, to roll futures.

    Raises EvidenceError for a number of times that is negative.
    """
    rows = []
    for number in times:
        result = known if known is not None and number == 1 else None
        if result is None:
            result = engine.run(past, orders, scaled(settings, number), instruments=instruments, benchmark=benchmark)
        rows.append({"times": float(number), **_figures(result, settings)})
    return pl.DataFrame(rows, infer_schema_length=None)


def scaled(settings: BacktestSettings, times: float) -> BacktestSettings:
    """The settings with every cost that is assumed `times` as high: spread, slippage, commission, borrowed shares and
    the interest on negative cash, of the account and of each asset class.

    What the market itself said stays: the spread inside quotes that are traded as ticks, and funding, which is income
    as often as cost. So do rebates, which a dearer world would not double. Spread and slippage together still move a
    price by 10% at most (fills rule 15).

    Raises EvidenceError where `times` is negative.
    """
    if not 0 <= times < float("inf"):
        raise EvidenceError(f"costs cannot be {times} times as high; give a number such as 2")
    if times == 1:
        return settings
    changed: dict[str, Any] = {
        **_models(settings, times),
        "financing_bps_per_year": settings.financing_bps_per_year * times,
        "by_class": {name: own.model_copy(update=_models(own, times)) for name, own in settings.by_class.items()},
    }
    # Copied without validation: a bound on what is plausible is no bound on a stress.
    return settings.model_copy(update=changed)


def _models(of: BacktestSettings | ClassSettings, times: float) -> dict[str, Any]:
    own = {kind: getattr(of, kind) for kind in ("spread", "slippage", "commission")}
    found: dict[str, Any] = {kind: _model(model, times) for kind, model in own.items() if model is not None}
    return found | ({} if of.borrow is None else {"borrow": _borrow(of.borrow, times)})


def _model(model: Model, times: float) -> Model:
    fields = next((names for kind, names in FIELDS.items() if type(model).cost is kind.cost), None)
    if fields is not None:
        return model.model_copy(update={name: _times(getattr(model, name), times) for name in fields})
    if model.parameters[LAST] != 0.0:
        raise EvidenceError(
            f"{type(model).__name__} reads {PARAMETERS} parameters, and a stress needs the last; keep one in the module"
        )
    return _multiplied(type(model)).model_construct(inner=model, times=times)


def _times(value: Any, times: float) -> Any:
    """The value, or each of several, multiplied; a rebate stays what it is."""
    if isinstance(value, tuple):
        return tuple(_times(rate, times) for rate in value)
    return value * times if value > 0 else value


def _borrow(model: Borrow, times: float) -> Borrow:
    if isinstance(model, FixedBorrow):
        return model.model_copy(update={"bps_per_year": model.bps_per_year * times})
    if isinstance(model, BorrowBySymbol):
        rates = {symbol: rate * times for symbol, rate in model.rates.items()}
        return model.model_copy(update={"rates": rates, "default": model.default * times})
    return DearerBorrow(inner=model, times=times)


class DearerBorrow(Borrow):
    """Another model's rates, so many times."""

    inner: Borrow
    times: float

    def rate(self, symbol: str) -> float:
        """Fraction of the worth a year."""
        return self.inner.rate(symbol) * self.times

    def words(self) -> str:
        return f"{self.times:g} times {self.inner.words()}"


@cache
def _multiplied(kind: type[Model]) -> type[Any]:
    """A model whose cost is a multiple of what another kind says, for those that are more than their fields.

    Compiled once a process (half a second): quotes, brokers' fixed price lists, and models of the user's own.
    """
    family = next(one for one in (Spread, Slippage, Commission) if issubclass(kind, one))
    return type(
        f"Dearer{kind.__name__}",
        (family,),
        {
            "__module__": __name__,
            "__annotations__": {"inner": kind, "times": float},
            "reads_volatility": kind.reads_volatility,
            "cost": staticmethod(_multiple(kind.cost, family is Commission)),
            "parameters": property(_parameters),
            "words": lambda self: f"{self.times:g} times {self.inner.words()}",
        },
    )


def _parameters(dearer: Any) -> npt.NDArray[np.float64]:
    """Those of the model inside, and in the last place the number of times."""
    found = np.array(dearer.inner.parameters, float)
    found[LAST] = dearer.times
    return found


def _multiple(inner: Callable[[Any, Any], float], whole_order: bool) -> Callable[[Any, Any], float]:
    """The function of a multiplied model. A commission is that of the whole order: only what a fill adds grows."""
    import numba

    function = numba.njit(inner)

    def share(p: Any, x: Any) -> float:
        return function(p, x) * p[LAST]

    def commission(p: Any, x: Any) -> float:
        facts = np.empty(FACTS)
        for place in range(FACTS):
            facts[place] = x[place]
        if x[CHARGED] > 0.0 and p[LAST] > 0.0:  # what the order was charged before was multiplied too
            facts[CHARGED] = x[CHARGED] / p[LAST]
        added = function(p, facts) - facts[CHARGED]
        x[ACCRUED] = facts[ACCRUED]
        return x[CHARGED] + added * (p[LAST] if added > 0.0 else 1.0)

    chosen = commission if whole_order else share
    # Without a file, so that its machine code is not kept: numba would not see the inner function change.
    chosen.__code__ = chosen.__code__.replace(co_filename="<multiplied>")
    return chosen


def _figures(result: BacktestResult, settings: BacktestSettings) -> dict[str, float | None]:
    returns = engine.by_session(result.equity, settings.cash)["return"]
    of_fills = result.fills.select(pl.sum("spread_cost", "slippage_cost", "commission")).sum_horizontal()[0]
    carried = result.equity.select(pl.sum("borrow_cost", "interest")).sum_horizontal()[0]
    names = ("total_return", "cagr", "sharpe_ratio", "volatility", "max_drawdown", "turnover")
    mean = returns.mean()
    return {
        "mean_return": float(mean) if isinstance(mean, int | float) else None,
        **{name: result.metrics.get(name) for name in names},
        "costs": float(of_fills) + float(carried),
        "fills": float(result.fills.height),
    }
