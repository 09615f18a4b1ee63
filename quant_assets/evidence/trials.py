"""The record of trials: every configuration of a strategy family that was ever tried, counted by itself.

The more configurations are tried, the better the best of them looks by luck alone. What is counted by hand is
forgotten; so each backtest and sweep plans its configurations here before it simulates the first. A plan is one note
in MLflow (experiment `<installation>-trials`), on the disk before anything runs: a run that is killed has counted, and
its results are added to its plan when they are there.

What is one trial: a configuration's text, so the same text planned again, in another process or a year later, counts
once. `World.text` makes that text of the parameters and of what else was chosen: the strategy's code, costs, symbols,
the first session and the bars that follow it. The same parameters in other code, over other costs, on other bars or
from another start are another trial, because someone could choose between them. History that only grows at its end is
no choice and no other trial: of the bars only the first month counts.
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from quant_assets.evidence.configurations import (
    FIRST_ORDERS,
    Past,
    TrialError,
    World,
    configuration,
    digest,
    of_on_bar,
)
from quant_assets.evidence.excess import earned_by_cash, over_cash, sharpe
from quant_assets.evidence.inputs import whole
from quant_assets.evidence.sharpe import expected_maximum
from resources.config import BacktestSettings, Settings
from resources.ledger import TAG_LENGTH, Ledger, Note
from resources.tracking import Tracking

__all__ = ["Counted", "Trial", "TrialError", "Trials", "World", "configuration"]

KEY = 16
"""Hexadecimal digits by which a configuration is known: at a million of them, one chance in 37 million of a clash."""

FAMILY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/ -]{0,199}")
CONFIGURATIONS, RESULTS, TOLD, OPENS, SYMBOLS = "configurations", "results", "told", "opens_family", "symbols"

SETTLED = 10
"""Results from which on their scatter is taken to be that of all trials on record at the time."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What is on record of a family.

    `trials` distinct configurations, `with_result` of them with a Sharpe ratio, `sharpe_variance` of those ratios
    (a period's; None for fewer than two), `families` in all, this one included. `highest` is the largest Sharpe ratio
    that the best of the trials was ever expected to show by luck, as the record grew: near copies of a trial, added
    later, narrow the scatter and not this. `also` are names of other families that share a configuration with this one
    on the same symbols, which are it by another name: they are counted with it. `elsewhere` counts the trials of all
    further families on the same symbols.

    Raises EvidenceError for counts that are none.
    """

    trials: int
    with_result: int = 0
    sharpe_variance: float | None = None
    families: int = 1
    highest: float = 0.0
    elsewhere: int = 0
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (("trials", 0), ("with_result", 0), ("families", 1)):
            whole(getattr(self, name), name, least)

    @property
    def tried(self) -> int:
        """Trials that a Sharpe ratio has to be deflated for: to pick one family of several is a choice too."""
        return max(self.trials, 1) + max(self.families - 1, 0)


@dataclass(frozen=True, slots=True)
class Trials:
    """The record of an installation, shared by all its processes."""

    tracking: Tracking
    _ledger: Ledger = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_ledger", Ledger(self.tracking, f"{self.tracking.experiment}-trials"))

    @classmethod
    def of(cls, settings: Settings) -> Trials:
        """The record of an installation.

        Example: `Trials.of(load()).counted("moving_average_cross").trials`
        """
        return cls(Tracking.of(settings))

    def plan(self, family: str, configurations: Sequence[str], *, origin: str, symbols: str | None = None) -> str:
        """Put configurations on record before they are simulated, and return the plan's id.

        `origin` says who tries them (an asset's partition, a sweep's name), `symbols` on what (World.symbols). When
        this returns nothing can lose them any more. About 0.02 s, 10,000 configurations 0.1 s.

        Raises TrialError for a family without a usable name or no configurations, TrackingError without MLflow.
        """
        _check_family(family)
        distinct = dict.fromkeys(configurations)
        if not distinct or not all(isinstance(text, str) and text for text in distinct):
            raise TrialError(f"{family}: configurations must be texts, one or more; make them with configuration(...)")
        keys = "".join(_key(text) for text in distinct)
        tags = {"family": family, "origin": origin[:TAG_LENGTH], "trials": str(len(distinct))}
        tags |= _parts(CONFIGURATIONS, keys, TAG_LENGTH // KEY * KEY)
        if symbols is not None:
            tags[SYMBOLS] = symbols
        if not self._ledger.read(family=family, **{OPENS: "yes"}):
            tags[OPENS] = "yes"
        one = len(distinct) == 1
        told = {"configuration": next(iter(distinct))[:TAG_LENGTH]} if one else {}
        plan = self._ledger.write(f"{family}: {origin}", tags, told)
        if not one:
            texts = list(distinct)
            frame = pl.DataFrame({"configuration": texts, "key": [_key(text) for text in texts]})
            self._ledger.add(plan, {}, frames={CONFIGURATIONS: frame})
        return plan

    def results(self, plan: str, figures: pl.DataFrame) -> None:
        """Add results to a plan, in one go or batch by batch: all rows of a call, or an error and none.

        `figures` has configuration, sharpe (a period's, null or NaN where it is not defined), periods, and any other
        numbers, which are kept in MLflow to look at.

        Raises TrialError on missing columns, TrackingError for a plan that is not on record.
        """
        missing = {"configuration", "sharpe", "periods"} - set(figures.columns)
        if missing:
            raise TrialError(f"results: the figures lack {sorted(missing)}; they have {figures.columns}")
        known = figures.filter(pl.col("sharpe").is_finite().fill_null(False))
        if known["periods"].null_count():
            text = known.filter(pl.col("periods").is_null())["configuration"][0]
            raise TrialError(f"results: {text} has a Sharpe ratio and no periods; say over how many it was measured")
        lines = [
            f"{_key(text)} {sharpe:.9g} {int(periods)}"
            for text, sharpe, periods in known.select("configuration", "sharpe", "periods").iter_rows()
        ]
        # Named by what they say: parts of several batches do not meet, and the same batch again changes nothing.
        said = hashlib.sha256(chr(10).join(lines).encode()).hexdigest()[:8]
        name = f"{RESULTS}.{said}"
        tags = _lines(name, lines) | {f"{TOLD}.{said}": str(time.time_ns() // 1_000_000)}
        if figures.height == 1:
            row = figures.row(0, named=True)
            metrics = {name: float(value) for name, value in row.items() if _is_number(value)}
            self._ledger.add(plan, tags, metrics)
        else:
            self._ledger.add(plan, tags, frames={name: figures})

    def lacking(self, family: str, configurations: Sequence[str]) -> list[str]:
        """Those of the configurations that are not on record of a family yet."""
        _check_family(family)
        known = _keys(self._ledger.read(family=family))
        return [text for text in dict.fromkeys(configurations) if _key(text) not in known]

    def counted(self, family: str, beside: Iterable[str] = ()) -> Counted:
        """Distinct configurations of a family over all processes, sweeps and days, and how their results scatter.

        `beside` names families that are candidates too, though they may not be on record yet.

        Raises TrialError for a family without a usable name, TrackingError without MLflow.
        """
        _check_family(family)
        own = self._ledger.read(family=family)
        keys = _keys(own)
        universes = sorted({note.tags[SYMBOLS] for note in own if SYMBOLS in note.tags})
        others: dict[str, list[Note]] = {}
        for note in (note for symbols in universes for note in self._ledger.read(symbols=symbols)):
            if note.tags["family"] != family:
                others.setdefault(note.tags["family"], []).append(note)
        also = {name for name, notes in others.items() if not keys.isdisjoint(_keys(notes))}
        families = {note.tags["family"] for note in self._ledger.read(**{OPENS: "yes"})} | {family, *beside}
        counting = _Counting(len(families))
        notes = [*own, *(note for name in also for note in others[name])]
        events = (event for note in notes for event in _events(note))
        for _, planned, told in sorted(events, key=lambda event: event[0]):
            counting.add(planned, told)
        return Counted(
            trials=len(counting.keys),
            with_result=len(counting.sharpes),
            sharpe_variance=counting.variance,
            families=len(families),
            highest=counting.highest,
            elsewhere=sum(len(_keys(notes)) for name, notes in others.items() if name not in also),
            also=tuple(sorted(also)),
        )


@dataclass(slots=True)
class _Counting:
    """A family's record, one of so many, read in the order in which it was written."""

    families: int
    keys: set[str] = field(default_factory=set)
    sharpes: dict[str, float] = field(default_factory=dict)
    highest: float = 0.0
    _total: float = 0.0
    _squares: float = 0.0

    def add(self, planned: set[str], told: Sequence[str]) -> None:
        """Take a plan, or a batch of results; the last result of a configuration holds."""
        self.keys |= planned
        for key, ratio in (pair for text in told for pair in _sharpes(text)):
            before = self.sharpes.get(key)
            self._total += ratio - (before or 0.0)
            self._squares += ratio**2 - (before or 0.0) ** 2
            self.sharpes[key] = ratio
        self.keys |= self.sharpes.keys()
        scatter = self.variance
        if told and scatter is not None:
            known = len(self.sharpes)
            tried = len(self.keys) + self.families - 1 if known >= SETTLED else known
            self.highest = max(self.highest, expected_maximum(tried, scatter))

    @property
    def variance(self) -> float | None:
        """Of the ratios so far; None for fewer than two."""
        many = len(self.sharpes)
        return None if many < 2 else max(self._squares - self._total**2 / many, 0.0) / (many - 1)


@dataclass(frozen=True, slots=True)
class Trial:
    """What a plain backtest is a trial of: `run(bars, orders, config, trial=Trial(Trials.of(load()), "my_idea"))`.

    `parameters` name the configuration, and `code` is what makes orders of them: a strategy's class, or a function.
    Without code the first orders stand for it; without parameters all orders are the configuration. Of an OnBar both
    are known.
    """

    trials: Trials
    family: str
    parameters: Mapping[str, object] | None = None
    origin: str = "run"
    code: object = None

    def begin(self, orders: object, settings: BacktestSettings, past: Past) -> tuple[str, str]:
        """Put the backtest on record before it is simulated: its configuration, and the plan that `end` needs."""
        function = getattr(orders, "function", None)
        world = World.of(past, settings, self.code if self.code is not None else function)
        parameters = dict(self.parameters or {})
        if function is not None:
            parameters["on_bar"] = of_on_bar(orders, world)
        elif not isinstance(orders, pl.LazyFrame | pl.DataFrame):
            raise TrialError(
                f"trial: a {type(orders).__name__} has no text of its own; give a frame of orders or an OnBar"
            )
        elif self.parameters is None:
            parameters["orders"] = digest(orders)
        elif self.code is None:
            parameters["first_orders"] = digest(orders, FIRST_ORDERS)
        text = world.text(parameters)
        return text, self.trials.plan(self.family, [text], origin=self.origin, symbols=world.symbols)

    def end(
        self,
        begun: tuple[str, str],
        figures: Mapping[str, float | None],
        returns: pl.DataFrame,
        settings: BacktestSettings,
    ) -> None:
        """Add the result: `figures` are metrics to look at, `returns` (session, return) what the ratio is made of.

        The ratio is a session's and of returns in excess of cash, whatever the metrics have under the name of sharpe.
        """
        text, plan = begun
        known = returns.drop_nulls("return")
        cash = earned_by_cash(returns["session"].to_numpy(), settings.cash_yield_bps_per_year)
        earned = over_cash(known["return"].to_numpy(), cash[returns["return"].is_not_null().to_numpy()])
        row = {"configuration": text, "sharpe": sharpe(earned), "periods": returns.height}
        self.trials.results(plan, pl.DataFrame([dict(figures) | row]).cast({"sharpe": pl.Float64}))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_family(family: str) -> None:
    if not isinstance(family, str) or not FAMILY.fullmatch(family):
        raise TrialError(
            f"family {family!r}: letters, digits, spaces and _.:/- only, 200 at most; for example momentum"
        )


def _events(note: Note) -> Iterator[tuple[int, set[str], list[str]]]:
    """What a note adds to the record: when (milliseconds since 1970), the configurations planned, and results."""
    yield note.written, _keys([note]), []
    batches: dict[str, list[str]] = {}
    for name, text in sorted(note.tags.items()):
        if name.startswith(f"{RESULTS}."):
            batches.setdefault(name.split(".")[1], []).append(text)
    for said, texts in batches.items():
        yield int(note.tags.get(f"{TOLD}.{said}", note.written)), set(), texts


def _keys(notes: Iterable[Note]) -> set[str]:
    """The configurations that notes plan."""
    told = [text for note in notes for name, text in note.tags.items() if name.startswith(f"{CONFIGURATIONS}.")]
    return {text[first : first + KEY] for text in told for first in range(0, len(text), KEY)}


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:KEY]


def _parts(name: str, text: str, length: int) -> dict[str, str]:
    """The text as tags of at most `length` characters."""
    return {f"{name}.{first // length:04d}": text[first : first + length] for first in range(0, len(text), length)}


def _lines(name: str, lines: Sequence[str]) -> dict[str, str]:
    """Whole lines as tags."""
    fitting = TAG_LENGTH // 48
    return {
        f"{name}.{first // fitting:04d}": "\n".join(lines[first : first + fitting])
        for first in range(0, len(lines), fitting)
    }


def _sharpes(text: str) -> Iterator[tuple[str, float]]:
    for line in text.splitlines():
        key, sharpe, _ = line.split(" ")
        yield key, float(sharpe)
