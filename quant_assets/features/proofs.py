"""What every feature must stand up to. A new catalogue entry is put through all of it by the tests, and anybody can
put features of their own through it: `python -m quant_assets.features.audit MODULE:NAME`, or

>>> from quant_assets.features.proofs import prove
>>> prove(my_features)  # doctest: +SKIP

A proof takes a set of features and bars, and yields what it refutes: the feature's name and what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from quant_assets.features.context import Context
from quant_assets.features.definition import Coarse, Feature, FeatureSet
from quant_assets.features.engine import evaluate
from quant_assets.features.example import BARS_A_DAY, example_bars, example_instruments
from quant_assets.features.plan import PRICES
from quant_assets.features.stream import Stream
from quant_assets.features.talib import TaLib

TOLERANCE = 1e-9
"""Relative to the value, or to the feature's usual size where it passes through zero."""

ROUNDING = 1e-6
"""The same for other units: what may be left of the last bits of prices in the difference of two of them."""

PLACES = 5
"""How many places in a history a proof looks at, beside the first and the last possible."""


@dataclass(frozen=True, slots=True)
class Refutation:
    """A feature that is not what its definition says."""

    feature: str
    proof: str
    what: str

    def __str__(self) -> str:
        return f"{self.feature}: {self.what} ({self.proof})"


Found = Iterator[tuple[str, str]]
Proof = Callable[[FeatureSet, pl.DataFrame], Found]


def prove(
    features: FeatureSet | Iterable[Feature], bars: pl.DataFrame | None = None, proofs: Iterable[Proof] | None = None
) -> list[Refutation]:
    """Put features through the proofs; what is refuted, each feature at most once a proof. Empty where all stand.

    `bars` are cleaned bars of several symbols over the same sessions, longer than the longest look-back; by default
    `example_bars` as long as that takes, of days and of half hours.
    """
    chosen = features if isinstance(features, FeatureSet) else FeatureSet("proven", tuple(features))
    held = bars if bars is not None else example_bars(sessions=max(700, chosen.lookback + 150))
    if held["ts"].n_unique() <= chosen.lookback + 1:
        raise ValueError(f"{held['ts'].n_unique()} bars are too few for a look-back of {chosen.lookback}; use more")
    found: dict[tuple[str, str], Refutation] = {}
    tried = [(proof, held) for proof in (PROOFS if proofs is None else proofs)]
    if bars is None and proofs is None:
        # Within a session there is more to see than from one to the next.
        sessions = max(700, chosen.lookback + 150)
        tried += [(proof, example_bars(sessions=sessions, a_day=BARS_A_DAY)) for proof in (no_look_ahead, streams)]
    for proof, given in tried:
        for name, what in proof(chosen, given):
            found.setdefault((name, proof.__name__), Refutation(name, proof.__name__, what))
    return list(found.values())


def no_look_ahead(features: FeatureSet, bars: pl.DataFrame) -> Found:
    """Without the bars after an instant, or with nonsense there, every value up to it is the same bit for bit.

    That is tried at some instants. What looks ahead on rare days only is found by `streams`, which feeds every bar
    before the next one exists, and here, bar by bar as well, where a feature has no streaming form.
    """
    held = values(features, bars)
    for instant in _cuts(features, bars):
        before = held.filter(pl.col("ts") <= instant)
        for what, other in (("removed", bars.filter(pl.col("ts") <= instant)), ("replaced", _nonsense(bars, instant))):
            again = values(features, other).filter(pl.col("ts") <= instant)
            for name in [] if before.equals(again) else features.names:
                changed = ~before[name].eq_missing(again[name])
                if changed.any():
                    symbol, ts, value = before.filter(changed).select("symbol", "ts", name).row(0)
                    yield name, f"sees the future: {symbol} {ts} is not {value} with bars after {instant} {what}"
    unstreamed = FeatureSet(features.name, tuple(each for each in features if each.streaming.startswith("none")))
    if len(unstreamed):
        yield from _one_by_one(unstreamed, bars, held)


def _one_by_one(features: FeatureSet, bars: pl.DataFrame, held: pl.DataFrame) -> Found:
    """What differs at an instant when it is the last one, with the bars before it that the longest look-back needs."""
    instants, sizes = bars["ts"].unique().sort(), usual_sizes(features, held)
    for place in range(instants.len()):
        first, last = instants[max(0, place - features.lookback)], instants[place]
        alone = values(features, bars.filter(pl.col("ts").is_between(first, last))).filter(pl.col("ts") == last)
        whole = held.join(alone.select("symbol", "ts"), on=["symbol", "ts"], how="semi")
        for name, symbol, short, full in _differences(features, alone, whole, sizes, TOLERANCE):
            yield name, f"sees the future: {symbol} is {full}, but {short} while no later bar is there"


def honest_lookback(features: FeatureSet, bars: pl.DataFrame) -> Found:
    """A value from only `lookback` earlier bars is the value from the whole history, and before them it is null.

    A feature of coarser bars may be known sooner, where fewer bars hold the coarse ones: then it is the same value.
    """
    held = values(features, bars)
    ranked = held.with_columns(place=pl.int_range(pl.len()).over("symbol"))
    for feature in features:
        early = ranked.filter((pl.col("place") < feature.lookback) & pl.col(feature.name).is_not_null())
        if early.height and not isinstance(feature.build, Coarse):
            yield feature.name, f"{early['symbol'][0]} has a value before its look-back of {feature.lookback} bars"
    instants, sizes = bars["ts"].unique().sort(), usual_sizes(features, held)
    for lookback in sorted({feature.lookback for feature in features}):
        some = FeatureSet(features.name, tuple(each for each in features if each.lookback == lookback))
        for place in _places(lookback, instants.len()):
            first, last = instants[place - lookback], instants[place]
            window = values(some, bars.filter(pl.col("ts").is_between(first, last))).filter(pl.col("ts") == last)
            whole = held.join(window.select("symbol", "ts"), on=["symbol", "ts"], how="semi")
            for name, symbol, short, full in _differences(some, window, whole, sizes, TOLERANCE):
                yield name, f"{symbol} {last} is {full}, but {short} from {lookback} earlier bars"


def isolated(features: FeatureSet, bars: pl.DataFrame) -> Found:
    """Each symbol has the same values alone as among others, in any order; unless the scope says universe."""
    some = FeatureSet(features.name, tuple(each for each in features if each.scope == "symbol"))
    held = values(some, bars)
    mixed = values(some, bars.sort("ts", pl.col("symbol").hash(), maintain_order=True))
    alone = pl.concat(
        [values(some, part) for part in bars.sort("symbol", "ts").partition_by("symbol", maintain_order=True)]
    )
    for name in some.names:
        if not held[name].eq_missing(mixed[name]).all():
            yield name, "depends on the order of the rows"
        if not held[name].eq_missing(alone[name]).all():
            yield name, "depends on the other symbols, and its scope does not say so"


def unit_free(features: FeatureSet, bars: pl.DataFrame) -> Found:
    """Prices in another currency, volume in another unit, and the last bit of each bar's prices change nothing.

    Adjusted prices carry the factor of all splits and dividends since the history began, and leave the last bit of a
    price to chance: what depends on either is another value where the history begins elsewhere. TA-Lib's candlestick
    patterns compare exactly, so that a tie may fall otherwise in another currency: they are tried with powers of two.
    """
    held = values(features, bars)
    sizes = usual_sizes(features, held)
    last_bit = pl.Series(1 + np.finfo(float).eps * np.random.default_rng(0).integers(-1, 2, bars.height))
    patterns = {each.name for each in features if isinstance(each.build, TaLib) and each.build.function[:3] == "CDL"}
    for price, volume in ((37.3, 1.0), (1.0, 1e-6), (0.011, 900.0), (2.0**-9, 1.0), (2.0**7, 2.0)):
        columns = [pl.col(name) * last_bit * price for name in PRICES] + [pl.col("adj_volume") * volume]
        tried = [each for each in features if each.name not in patterns or np.log2(price).is_integer()]
        some = FeatureSet(features.name, tuple(tried))
        again = values(some, bars.with_columns(columns))
        for name, symbol, other, one in _differences(some, again, held, sizes, ROUNDING):
            yield name, f"{symbol} is {one}; with prices x {price}, volume x {volume} {other}"


def within_bounds(features: FeatureSet, bars: pl.DataFrame) -> Found:
    """Every value is null or a finite number within the stated bounds, and there are some."""
    held = values(features, bars)
    for feature in features:
        known = held[feature.name].drop_nulls()
        if known.len() == 0:
            yield feature.name, "is null everywhere"
        elif not known.is_finite().all():
            yield feature.name, "is NaN or infinite somewhere"
        else:
            yield from _outside(feature, known, "the example")


def survives_bad_weather(features: FeatureSet, bars: pl.DataFrame) -> Found:
    """Constant prices, no volume, one row, huge and tiny prices and gaps give null or a value within the bounds.

    A bar whose prices are null is a gap: null itself, and unseen by the others.
    """
    one = pl.lit(1.0)
    weather = {
        "constant prices": bars.with_columns([(one * 42.1).alias(name) for name in PRICES]),
        "no volume": bars.with_columns(adj_volume=one * 0.0),
        "constant prices and volume": bars.with_columns(
            [(one * 42.1).alias(name) for name in PRICES], adj_volume=one * 100.0
        ),
        "one row": bars.group_by("symbol", maintain_order=True).head(1).select(bars.columns),
        "huge prices": bars.with_columns(pl.col(name) * 1e12 for name in PRICES),
        "tiny prices": bars.with_columns(pl.col(name) * 1e-12 for name in PRICES),
    }
    for what, other in weather.items():
        found = values(features, other)
        for feature in features:
            known = found[feature.name].drop_nulls()
            if known.len() and not known.is_finite().all():
                yield feature.name, f"is NaN or infinite with {what}"
            elif known.len():
                yield from _outside(feature, known, what)
    gone = pl.int_range(pl.len()).over("symbol") % 97 == 50
    holes = bars.with_columns(pl.when(~gone).then(pl.col(name)).alias(name) for name in PRICES)
    own = FeatureSet(features.name, tuple(each for each in features if each.scope == "symbol"))
    found, without = values(own, holes), values(own, bars.filter(~gone))
    there = found.join(without.select("symbol", "ts"), on=["symbol", "ts"], how="semi")
    gaps = found.join(without.select("symbol", "ts"), on=["symbol", "ts"], how="anti")
    for name in own.names:
        if gaps[name].null_count() != gaps.height:
            yield name, "has a value for a bar without prices"
        if not there[name].eq_missing(without[name]).all():
            yield name, "sees a bar without prices"


def streams(features: FeatureSet, bars: pl.DataFrame) -> Found:
    """Fed bar by bar from the first one on, every value is the batch's; features without a streaming form say why."""
    some = FeatureSet(features.name, tuple(each for each in features if not each.streaming.startswith("none")))
    held = values(some, bars)
    sizes = usual_sizes(some, held)
    stream = Stream(some, _context(bars))
    stream.start(bars.clear())
    rows = bars.sort("ts", "symbol")
    keys = rows.select("symbol", "ts")
    made = pl.DataFrame(
        [stream.update(row) for row in rows.iter_rows(named=True)], schema=dict.fromkeys(some.names, pl.Float64)
    )
    fed = pl.concat([keys, made], how="horizontal").sort("symbol", "ts")
    for name, symbol, live, batch in _differences(some, fed, held, sizes, TOLERANCE):
        yield name, f"{symbol} is {batch}, but {live} in a stream"


PROOFS: tuple[Proof, ...] = (
    no_look_ahead, honest_lookback, isolated, unit_free, within_bounds, survives_bad_weather, streams,
)  # fmt: skip


def values(features: FeatureSet, bars: pl.DataFrame) -> pl.DataFrame:
    """symbol, ts, session and the features."""
    return evaluate(features, bars.lazy(), _context(bars)).select("symbol", "ts", "session", *features.names).collect()


def usual_sizes(features: FeatureSet, held: pl.DataFrame) -> dict[str, float]:
    """Median absolute value of each: the yardstick for values near zero."""
    return {name: float(held[name].abs().median() or 0.0) for name in features.names}  # type: ignore[arg-type]


def _context(bars: pl.DataFrame) -> Context:
    return Context(example_instruments(bars["symbol"].unique().sort().to_list()))


def _differences(
    features: FeatureSet, one: pl.DataFrame, other: pl.DataFrame, sizes: dict[str, float], tolerance: float
) -> Iterator[tuple[str, str, float | None, float | None]]:
    """The first row of each feature in which two frames with the same rows differ."""
    if not len(features):
        return
    # All features at once: one after the other, a proof that looks at each bar spends most of its time here.
    column = pl.col(features.names)
    gone, missing = (frame.select(column.is_null()).to_numpy() for frame in (one, other))
    a, b = (frame.select(column.fill_null(0.0)).to_numpy() for frame in (one, other))
    size = np.maximum(np.maximum(np.abs(a), np.abs(b)), [sizes[name] for name in features.names])
    with np.errstate(invalid="ignore"):
        apart = np.where(gone | missing, 0.0, np.abs(a - b))
        wrong = (gone != missing) | ~(apart <= tolerance * size)
    for place in np.flatnonzero(wrong.any(axis=0)):
        name, at = features.names[place], int(np.argmax(wrong[:, place]))
        yield name, f"{one['symbol'][at]} {one['ts'][at]}", one[name][at], other[name][at]


def _outside(feature: Feature, known: pl.Series, what: str) -> Found:
    lower, upper = feature.bounds
    least, most = float(known.min()), float(known.max())  # type: ignore[arg-type]
    if least < lower or most > upper:
        yield feature.name, f"reaches from {least} to {most} with {what}, outside its bounds {lower} to {upper}"


def _places(first: int, end: int) -> list[int]:
    """A few places to look, from the first possible to the last."""
    return sorted({int(place) for place in np.linspace(first, end - 1, PLACES + 2)})


def _cuts(features: FeatureSet, bars: pl.DataFrame) -> list[datetime]:
    """Instants after which to cut: spread over the history, and some without trading, where a leak may hide."""
    instants = bars["ts"].unique().sort()
    spread = [instants[place] for place in _places(min(features.lookback, instants.len() - 2), instants.len() - 1)]
    unusual = bars.filter((pl.col("adj_volume") == 0) & pl.col("ts").is_between(spread[0], spread[-1]))
    return sorted({*spread, *unusual["ts"].unique().sort().tail(PLACES)})


def _nonsense(bars: pl.DataFrame, instant: datetime) -> pl.DataFrame:
    later = pl.col("ts") > instant
    random = np.random.default_rng(bars.height)
    level = pl.Series(random.lognormal(3, 2, bars.height))
    wild = {"adj_open": level, "adj_high": level * 3, "adj_low": level / 7, "adj_close": level / 2}
    return bars.with_columns(
        *[pl.when(later).then(prices).otherwise(pl.col(name)).alias(name) for name, prices in wild.items()],
        adj_volume=pl.when(later).then(pl.lit(0.0)).otherwise("adj_volume"),
    )
