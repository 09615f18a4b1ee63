"""What one trial is: the text of everything that somebody could choose between, but not where its history ends."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import polars as pl

from resources.config import BacktestSettings
from resources.errors import QuantError
from resources.lake import content_version

BEGINNING = 21
"""Sessions from the first one traded on whose bars tell one set of data from another."""

FIRST_ORDERS = 100
"""Orders that tell one rule from another where its code is not given: history that grows leaves them alone."""


class TrialError(QuantError):
    """Something that cannot be put on the record of trials."""


class Past(Protocol):
    """What a trial has to know of the bars that it is run on: backtests.market.history.History."""

    @property
    def symbols(self) -> list[str]: ...

    @property
    def session(self) -> npt.NDArray[np.datetime64]: ...

    @property
    def market(self) -> Any: ...

    def first_traded(self, start: date | None) -> int: ...


@dataclass(frozen=True, slots=True)
class World:
    """What configurations are tried on and by what code, but not where history ends: made once, for many of them.

    One notion for `run`, `sweep` and the report, so that the same backtest counts once wherever it is run.
    """

    symbols: str
    """How many symbols, and a digest of their names."""
    until: int
    """Instant, in microseconds since 1970, at which the beginning of the data has ended."""
    _chosen: Mapping[str, Any]

    @classmethod
    def of(cls, past: Past, settings: BacktestSettings, code: object = None) -> World:
        """Of bars, settings and the code that makes the orders: a strategy's class, or a function.

        Raises TrialError for a value of the settings that has no text of its own.
        """
        from quant_assets.versions import code_of

        names = hashlib.blake2b("\n".join(past.symbols).encode(), digest_size=6).hexdigest()
        symbols = f"{len(past.symbols)} symbols {names}"
        first = past.first_traded(settings.start)
        days = past.session[first:]
        starts = np.flatnonzero(np.append(True, days[1:] != days[:-1]))
        last = first + (int(starts[BEGINNING]) if starts.size > BEGINNING else days.size)
        market = past.market
        rows = market.rows[market.start[first] : market.start[last]]
        opens = np.ascontiguousarray(market.opens[first:last])
        told = [np.ascontiguousarray(rows[name]) for name in ("symbol", "open", "high", "low", "close", "volume")]
        data = hashlib.blake2b(b"".join(part.tobytes() for part in (opens, *told)), digest_size=8).hexdigest()
        models = [type(model) for model in settings.models() if not type(model).__module__.startswith("resources.")]
        chosen = {
            "costs": settings,
            "symbols": symbols,
            "first_session": days[0],
            "data": data,
            "code": None if code is None else code_of(code),
            "models": [code_of(kind) for kind in models] or None,
        }
        plain = {name: _plain(value, "") for name, value in chosen.items() if value is not None}
        return cls(symbols, int(market.opens[last]) if last < market.opens.size else np.iinfo(np.int64).max, plain)

    def text(self, parameters: Mapping[str, object]) -> str:
        """The configuration of these parameters. Raises TrialError as `configuration` does."""
        return configuration(parameters, **self._chosen)


def configuration(parameters: Mapping[str, object], **more: object) -> str:
    """The identity of a trial: canonical JSON of the parameters and of what else was chosen.

    Keys are sorted; 20 and 20.0 are the same number, True is none; dates, paths and models of settings are taken as
    their text. Arguments that are None are left out.

    Raises TrialError for a number that is not finite, and for a value that has no text of its own.

    Example: `configuration({"fast": 20, "slow": 100}, costs=BacktestSettings())`
    """
    whole = {"parameters": parameters, **{name: value for name, value in more.items() if value is not None}}
    text = json.dumps(_plain(whole, ""), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise TrialError(f"configuration: {text[:80]!a} has half of a character, a lone surrogate; give whole ones")
    return text


def _plain(value: Any, where: str) -> Any:
    """The value in JSON's own types."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(name): _plain(inner, f"{where}.{name}") for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        plain = [_plain(inner, where) for inner in value]
        return sorted(plain, key=repr) if isinstance(value, set | frozenset) else plain
    if value is None or isinstance(value, bool | str):
        return value
    if hasattr(value, "tolist"):  # numbers of numpy's, one or many
        return _plain(value.tolist(), where)
    if hasattr(value, "to_list"):  # a Series of polars'
        return _plain(value.to_list(), where)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise TrialError(f"configuration{where}: {value} is no parameter; give a finite number")
        return int(value) if float(value).is_integer() and abs(value) < 2**53 else value
    text = str(value)
    if " at 0x" in text:
        raise TrialError(f"configuration{where}: {type(value).__name__} has no text of its own; give numbers or texts")
    return text


def digest(orders: pl.LazyFrame | pl.DataFrame, first: int | None = None) -> str:
    """The same for the same orders, in whatever order rows and columns stand; of the `first` so many by time only."""
    frame = orders.lazy().collect()
    names = sorted(frame.columns, key=lambda name: (name != "ts", name))
    found = frame.select(names).sort(names, nulls_last=True) if names else frame
    return content_version(found if first is None else found.head(first))


def of_on_bar(orders: Any, world: World) -> dict[str, object]:
    """What an OnBar is given besides its function; of its features those that the first bars see."""
    given = {"parameters": list(orders.parameters), "reads": list(orders.reads), "memory": orders.memory}
    if orders.features is None or not orders.reads:
        return given
    held = orders.features.lazy().select("ts", "symbol", *orders.reads)
    began = held.filter(pl.col("ts").cast(pl.Datetime("us", "UTC")).to_physical() < world.until)
    return given | {"features": content_version(began.collect().sort("ts", "symbol"))}
