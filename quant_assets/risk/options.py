"""Prices, greeks and implied volatilities of options on shares, indices, currencies and futures, through QuantLib.

European options by Black-Scholes-Merton in closed form; American ones by the fixed-point method of Andersen, Lake and
Offengenden (QuantLib's QdFpAmericanEngine, fast scheme), their greeks by central differences of that price. Of 3,000
random options of up to three years, 99 % came within 1e-5 x strike of the accurate scheme's price, all within 4e-5.
An American option takes 0.2 ms of one core, with its implied volatility 0.4 ms; a European one 10 and 30 microseconds.

| column      | unit                                                                                          |
|-------------|-----------------------------------------------------------------------------------------------|
| time        | years until expiry: seconds / (365 x 86,400), that is actual/365 fixed, with the part of a day |
| volatility  | a year, as a fraction: 0.25 is 25 %                                                           |
| price       | for one unit of the underlying (a contract's cost is this times its multiplier)               |
| delta       | per 1.00 of the underlying's price                                                            |
| gamma       | change of delta per 1.00 of the underlying's price                                            |
| theta       | per calendar day that passes, the rate of change a year divided by 365                        |
| vega        | per 1.00 of volatility: a hundredth of it is what one point of volatility earns               |
| rho         | per 1.00 of the interest rate: a hundredth of it is what one point of interest earns          |

Rates and dividend yields are continuously compounded, a year. Dividends are a yield, not dated cash amounts: around an
ex-date of a large dividend, an American call comes out less exactly. For an option on a future, give the rate as the
dividend yield too (Black 1976). QuantLib is imported on first use.

Sources: Black and Scholes (1973), Merton (1973); Andersen, Lake and Offengenden (2016), "High Performance American
Option Pricing".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import time
from typing import Any, NamedTuple, Protocol

import polars as pl

from resources.calendars import UTC_MICROS
from resources.errors import QuantError

MEASURES = ("delta", "gamma", "theta", "vega", "rho")
DAYS = 365.0
SECONDS_PER_YEAR = DAYS * 86_400.0
HIGHEST_VOLATILITY = 10.0
LOWEST_VOLATILITY = 1e-4
SAME_PRICE = 1e-10
"""As a fraction of spot and strike: a price so near to the least that is possible says nothing of volatility."""

Missing = float("nan")


class OptionError(QuantError):
    """An options frame that cannot be priced; names the row, the field and the mend."""


class Contract(NamedTuple):
    """An option and the state of its market; `sign` is 1 for a call and -1 for a put."""

    sign: int
    spot: float
    strike: float
    time: float
    rate: float
    dividend_yield: float

    @property
    def forward(self) -> float:
        return self.spot * math.exp((self.rate - self.dividend_yield) * self.time)

    @property
    def discount(self) -> float:
        return math.exp(-self.rate * self.time)


class _Model(Protocol):
    def value(self, contract: Contract, volatility: float) -> float: ...
    def measures(self, contract: Contract, volatility: float) -> tuple[float, ...]: ...
    def implied(self, contract: Contract, price: float) -> float: ...


def greeks(
    options: pl.DataFrame | pl.LazyFrame, *, close: time = time(16), zone: str = "America/New_York"
) -> pl.DataFrame:
    """The options with time, delta, gamma, theta, vega, rho, and price or volatility, whichever was not given.

    `options`: a row an option and instant: ts (aware: when spot and price held), spot, strike, right (call or put),
    expiry (an aware instant, or a date: `close` o'clock of it in `zone`), rate, and one of volatility and price;
    optional dividend_yield (0) and style (european, the default, or american). Other columns are kept.

    Null (in all results but time) where an input is null, where the option has expired by ts, and where no volatility
    explains the price: at or below what exercise or the forward is worth, or above what the option can ever be worth.
    Null also for American options of which interest and dividend yield are so negative that exercise pays between two
    boundaries, not beyond one.

    Raises OptionError naming row, field and mend on missing columns, words that are not known, prices, strikes and
    volatilities that are not positive, and rates that are not finite.

    >>> from datetime import UTC, datetime
    >>> hull = {"ts": [datetime(2024, 1, 1, tzinfo=UTC)], "expiry": [datetime(2024, 7, 1, 12, tzinfo=UTC)],
    ...         "spot": [42.0], "strike": [40.0], "right": ["call"], "rate": [0.10], "volatility": [0.20]}
    >>> round(greeks(pl.DataFrame(hull))["price"][0], 2)
    4.76
    """
    frame = _checked(options.lazy().collect())
    expiry = pl.col("expiry")
    if frame.schema["expiry"] == pl.Date:
        expiry = expiry.dt.combine(close).dt.replace_time_zone(zone)
    years = (expiry.cast(UTC_MICROS) - pl.col("ts").cast(UTC_MICROS)).dt.total_microseconds() / (SECONDS_PER_YEAR * 1e6)
    frame = frame.with_columns(time=years)
    given, found = ("volatility", "price") if "volatility" in frame.columns else ("price", "volatility")
    models: dict[str, _Model] = {"european": _European(), "american": _American()}
    rows = [_row(models, named, given) for named in _inputs(frame, given)]
    results = pl.DataFrame(rows, schema=dict.fromkeys((found, *MEASURES), pl.Float64), orient="row").fill_nan(None)
    return frame.drop(MEASURES, strict=False).hstack(results)


def _inputs(frame: pl.DataFrame, given: str) -> Iterator[tuple[Any, ...]]:
    dividend_yield = pl.col("dividend_yield") if "dividend_yield" in frame.columns else pl.lit(0.0)
    style = pl.col("style") if "style" in frame.columns else pl.lit("european")
    numbers = [pl.col(name).cast(pl.Float64) for name in ("spot", "strike", "time", "rate")]
    return frame.select(
        style.alias("style"),
        pl.col("right").replace_strict({"call": 1, "put": -1}, return_dtype=pl.Int8),
        *numbers,
        dividend_yield.cast(pl.Float64).alias("dividend_yield"),
        pl.col(given).cast(pl.Float64),
    ).iter_rows()


def _row(models: dict[str, _Model], named: tuple[Any, ...], given: str) -> tuple[float, ...]:
    """What was asked for, price or volatility, and MEASURES; NaN where there is no answer."""
    nothing = (Missing,) * (1 + len(MEASURES))
    if None in named:
        return nothing
    model, contract, known = models[named[0]], Contract(*named[1:-1]), named[-1]
    if contract.time <= 0.0:
        return nothing
    volatility = known if given == "volatility" else model.implied(contract, known)
    if math.isnan(volatility):
        return nothing
    try:
        asked = model.value(contract, volatility) if given == "volatility" else volatility
        return (asked, *model.measures(contract, volatility))
    except RuntimeError:  # QuantLib says so where it has no method, for example between two exercise boundaries
        return nothing


class _European:
    """Black-Scholes-Merton."""

    def __init__(self) -> None:
        import QuantLib  # loads 45 MB of compiled code

        self._library = QuantLib
        self._types = {1: QuantLib.Option.Call, -1: QuantLib.Option.Put}

    def value(self, contract: Contract, volatility: float) -> float:
        deviation = volatility * math.sqrt(contract.time)
        kind = self._types[contract.sign]
        return float(self._library.blackFormula(kind, contract.strike, contract.forward, deviation, contract.discount))

    def measures(self, contract: Contract, volatility: float) -> tuple[float, ...]:
        spot, years = contract.spot, contract.time
        payoff = self._library.PlainVanillaPayoff(self._types[contract.sign], contract.strike)
        deviation = volatility * math.sqrt(years)
        black = self._library.BlackCalculator(payoff, contract.forward, deviation, contract.discount)
        theta = black.theta(spot, years) / DAYS
        return black.delta(spot), black.gamma(spot), theta, black.vega(years), black.rho(years)

    def implied(self, contract: Contract, price: float) -> float:
        """The volatility that explains the price, NaN where none does."""
        least = max(contract.sign * (contract.forward - contract.strike), 0.0) * contract.discount
        if price - least <= SAME_PRICE * (contract.spot + contract.strike):
            return Missing
        return _solve(lambda volatility: self.value(contract, volatility) - price, HIGHEST_VOLATILITY)


class _American:
    """The fixed-point method, on a process whose numbers are set anew for each price.

    A price is homogeneous in spot and strike, and knows time only through rate x time, yield x time and volatility x
    sqrt(time). So one call and one put, with strike 1 and a year to live, serve for all.
    """

    def __init__(self) -> None:
        import QuantLib as library

        # An option that ends before QuantLib's evaluation date, today, would be worth nothing: hence a late year.
        start = library.Date(1, 1, 2150)
        count = library.Actual365Fixed()
        self._quotes = [library.SimpleQuote(number) for number in (1.0, 0.0, 0.0, 0.2)]
        spot, rate, dividends, volatility = (library.QuoteHandle(quote) for quote in self._quotes)
        process = library.BlackScholesMertonProcess(
            spot,
            library.YieldTermStructureHandle(library.FlatForward(start, dividends, count)),
            library.YieldTermStructureHandle(library.FlatForward(start, rate, count)),
            library.BlackVolTermStructureHandle(
                library.BlackConstantVol(start, library.NullCalendar(), volatility, count)
            ),
        )
        engine = library.QdFpAmericanEngine(process, library.QdFpAmericanEngine.fastScheme())
        self._options = {}
        for sign, kind in ((1, library.Option.Call), (-1, library.Option.Put)):
            payoff = library.PlainVanillaPayoff(kind, 1.0)
            option = library.VanillaOption(payoff, library.AmericanExercise(start, start + int(DAYS)))
            option.setPricingEngine(engine)
            self._options[sign] = option
        self._european = _European()

    def value(self, contract: Contract, volatility: float) -> float:
        years = contract.time
        numbers = (
            contract.spot / contract.strike,
            contract.rate * years,
            contract.dividend_yield * years,
            volatility * math.sqrt(years),
        )
        for quote, number in zip(self._quotes, numbers, strict=True):
            quote.setValue(number)
        return contract.strike * float(self._options[contract.sign].NPV())

    def measures(self, contract: Contract, volatility: float) -> tuple[float, ...]:
        """By central differences, with steps that follow how far the underlying moves until expiry."""
        spot, years = contract.spot, contract.time
        step = 0.02 * spot * min(volatility * math.sqrt(years), 1.0)
        here = self.value(contract, volatility)
        above = self.value(contract._replace(spot=spot + step), volatility)
        below = self.value(contract._replace(spot=spot - step), volatility)
        gamma = (above - 2.0 * here + below) / step**2
        theta = -_slope(lambda each: self.value(contract._replace(time=each), volatility), years, 0.01 * years) / DAYS
        vega = _slope(lambda each: self.value(contract, each), volatility, 0.01 * volatility)
        rho = _slope(lambda each: self.value(contract._replace(rate=each), volatility), contract.rate, 1e-4)
        return (above - below) / (2.0 * step), gamma, theta, vega, rho

    def implied(self, contract: Contract, price: float) -> float:
        """The volatility that explains the price, NaN where none does."""
        dust = SAME_PRICE * (contract.spot + contract.strike)
        most = contract.spot if contract.sign > 0 else contract.strike * max(contract.discount, 1.0)
        if price - max(contract.sign * (contract.spot - contract.strike), 0.0) <= dust or price >= most:
            return Missing
        # An American option is worth no less than the European: it needs no more volatility.
        start = self._european.implied(contract, price)
        try:
            return _solve(lambda volatility: self.value(contract, volatility) - price, start)
        except RuntimeError:
            return Missing


def _slope(value: Callable[[float], float], at: float, step: float) -> float:
    return (value(at + step) - value(at - step)) / (2.0 * step)


def _solve(excess: Callable[[float], float], start: float) -> float:
    """The root of a function that rises with volatility, sought from `start` (NaN: from the highest); NaN if none."""
    from scipy.optimize import brentq

    high = HIGHEST_VOLATILITY if math.isnan(start) else min(1.001 * start, HIGHEST_VOLATILITY)
    while excess(high) < 0.0:
        if high >= HIGHEST_VOLATILITY:
            return Missing
        high = min(1.5 * high, HIGHEST_VOLATILITY)
    low = 0.7 * high
    while excess(low) > 0.0:
        low *= 0.5
        if low < LOWEST_VOLATILITY:
            return Missing
    return float(brentq(excess, low, high, xtol=1e-10))


def _checked(frame: pl.DataFrame) -> pl.DataFrame:
    missing = [name for name in ("ts", "spot", "strike", "right", "expiry", "rate") if name not in frame.columns]
    if missing:
        raise OptionError(f"options: missing columns {missing}; see greeks in quant_assets.risk.options")
    given = {"volatility", "price"} & set(frame.columns)
    if len(given) != 1:
        have = "both" if given else "neither"
        raise OptionError(f"options: {have} of volatility and price; give the one that is known, for all rows")
    for name in ("ts", "expiry"):
        dtype = frame.schema[name]
        if not (isinstance(dtype, pl.Datetime) and dtype.time_zone) and not (name == "expiry" and dtype == pl.Date):
            raise OptionError(
                f"options: column {name} is {dtype}; it must be an instant with a time zone, {UTC_MICROS}"
            )
    _refuse(frame, "right", ~pl.col("right").is_in(["call", "put"]), "use call or put")
    if "style" in frame.columns:
        _refuse(frame, "style", ~pl.col("style").is_in(["european", "american"]), "use european or american")
    for name in ("spot", "strike", "volatility"):
        if name in frame.columns:
            _refuse(frame, name, ~(pl.col(name).is_finite() & (pl.col(name) > 0)), "it must be a positive number")
    for name in ("rate", "dividend_yield", "price"):
        if name in frame.columns:
            _refuse(frame, name, ~pl.col(name).is_finite(), "it must be a finite number, or null")
    return frame


def _refuse(frame: pl.DataFrame, name: str, wrong: pl.Expr, mend: str) -> None:
    """Raise for the first row that is wrong; null is not."""
    found = frame.select(name, bad=wrong.fill_null(False)).with_row_index("row").filter("bad")
    if found.height:
        raise OptionError(f"options row {found['row'][0]}: {name} is {found[name][0]}; {mend}")
