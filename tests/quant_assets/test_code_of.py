"""What a thing does decides its identity: never the same for another thing, and always the same for the same one."""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.code_identity import CodeError
from quant_assets.strategies import STRATEGIES
from quant_assets.strategies.donchian_breakout import DonchianBreakout
from quant_assets.versions import code_of
from tests.conftest import PROJECT

LEVEL = 1


def closing(value: Any) -> Callable[[], Any]:
    return lambda: value


def defaulting(value: Any) -> Callable[..., Any]:
    def made(held: Any = value) -> Any:
        return held

    return made


def keyword(value: Any) -> Callable[..., Any]:
    def made(*, held: Any = value) -> Any:
        return held

    return made


def through(value: Any) -> Callable[[], Any]:
    """A helper of a helper holds it."""
    inner = closing(value)
    return lambda: [inner()]


class Holder:
    def __init__(self, value: Any) -> None:
        self.value = value

    def method(self) -> Any:
        return self.value

    def __call__(self) -> Any:
        return self.value


class Remembering(Holder):
    @functools.cached_property
    def worked_out(self) -> int:
        return 1


def of_a_class(value: Any) -> type:
    class Made:
        held = value

    return Made


def strategy_with(value: Any) -> type:
    class Mine(DonchianBreakout):
        patience: int = value

    return Mine


HOLDS = {
    "closure": closing,
    "default": defaulting,
    "keyword default": keyword,
    "closure of a helper": through,
    "bound object": lambda value: Holder(value).method,
    "callable object": Holder,
    "partial": lambda value: functools.partial(closing, value),
    "partial by keyword": lambda value: functools.partial(closing, value=value),
    "partial of a partial": lambda value: functools.partial(functools.partial(closing), value),
    "wrapped": lambda value: functools.lru_cache(closing(value)),
    "class attribute": of_a_class,
    "list": lambda value: closing([{"deep": (value,)}]),
}
VALUES = [
    *(1, 2, 1.0, True, "1", None, b"1", float("nan"), -0.0, 0.0, (1,), [1], {1}, {"a": 1}, {"a": 2}, {"b": 1}, ...),
    *(np.array([1]), np.array([2]), np.array([1.0]), np.array([[1]]), np.float64(1.0), np.array(["a", None], object)),
    *(pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]}), pl.DataFrame({"b": [1]}), pl.DataFrame({"ingested_at": [1]})),
    *(pl.LazyFrame({"a": [1]}), pl.Series([1]), pl.Series([2]), pl.col("a"), pl.col("a") + 1, pl.Float64, pl.Float32),
    *(Path("a"), Path("b"), len, max, np.sin, np.cos, os.path, pl, Holder(1), Holder(2), Holder, int, str.upper),
    *(DonchianBreakout(entry=20), DonchianBreakout(entry=55), DonchianBreakout, list[int], int | str),
]


@pytest.mark.parametrize("hold", HOLDS.values(), ids=HOLDS)
def test_every_value_makes_another_thing(hold: Callable[[Any], Any]) -> None:
    found = [code_of(hold(value)) for value in VALUES]
    assert len(set(found)) == len(VALUES)
    assert [code_of(hold(value)) for value in VALUES] == found


def test_a_global_counts_by_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    def level() -> int:
        return LEVEL

    def calls() -> int:
        return level()

    before = code_of(level), code_of(calls)
    monkeypatch.setitem(globals(), "LEVEL", 2)
    assert {code_of(level), code_of(calls)}.isdisjoint(before)


def test_defaults_of_a_models_fields_count() -> None:
    assert code_of(strategy_with(5)) != code_of(strategy_with(120))
    assert code_of(strategy_with(5)) == code_of(strategy_with(5))


def test_words_names_and_what_is_only_remembered_do_not_count() -> None:
    def one(x: int) -> int:
        return x + 1

    def two(x: int) -> int:
        """With words."""
        # and a comment
        return x + 1

    assert code_of(one) == code_of(two)
    before, after = Remembering(1), Remembering(1)
    assert after.worked_out == 1
    assert code_of(before) == code_of(after)


def test_functions_that_call_each_other_come_to_an_end() -> None:
    def even(n: int) -> bool:
        return n == 0 or odd(n - 1)

    def odd(n: int) -> bool:
        return n != 0 and even(n - 1)

    assert code_of(even) == code_of(even)
    assert code_of(even) != code_of(odd)


def test_every_strategy_on_offer_has_an_identity_of_its_own() -> None:
    assert len({code_of(kind) for kind in STRATEGIES.values()}) == len(STRATEGIES)


@pytest.mark.parametrize(
    "value",
    [
        threading.Lock(),
        (n for n in range(3)),
        sys.stdout.buffer,
        pl.col("a").map_batches(lambda column: column),
        closing(threading.Lock()),
        [Holder(threading.Lock())],
    ],
    ids=["lock", "generator", "file", "function in an expression", "in a closure", "in an object"],
)
def test_what_has_no_state_is_refused_by_name(value: Any) -> None:
    with pytest.raises(CodeError, match=r"closes over value.*no identity"):
        code_of(closing(value))


# ---- modules

HELPER = "LIMIT = {limit}\n\ndef scaled(x):\n    return x * {scale}\n\ndef unused():\n    return 0\n"
STRATEGY = """
import my_helper
from typing import ClassVar
from quant_assets.strategies.donchian_breakout import DonchianBreakout

class Mine(DonchianBreakout):
    name: ClassVar = "mine"

    def intents(self, features):
        return my_helper.scaled(super().intents(features)) * {weight}

def maker(entry):
    return Mine(entry=entry)

def lazily(entry):
    from my_helper import scaled
    return scaled(entry)

def limited(entry):
    return my_helper.LIMIT
"""
WRITTEN = {"limit": 1, "scale": 1, "weight": 1}
numbers = itertools.count()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Writes a strategy's module and its helper's, of names of their own, and imports them if asked."""
    number = next(numbers)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = f"my_helper_{number}", f"my_strategy_{number}"

    def written(load: bool = True, **changes: int) -> Any:
        values = WRITTEN | changes
        texts = (text.replace("my_helper", names[0]) for text in (HELPER, STRATEGY))
        for name, text in zip(names, texts, strict=True):
            (tmp_path / f"{name}.py").write_text(text.format(**values))
            if load:
                importlib.invalidate_caches()
                importlib.reload(sys.modules[name]) if name in sys.modules else importlib.import_module(name)
        return sys.modules[names[1]]

    return written


@pytest.mark.parametrize("thing", ["Mine", "maker", "lazily", "limited"])
@pytest.mark.parametrize("load", [True, False], ids=["reloaded", "only on the disk"])
@pytest.mark.parametrize("change", [{"scale": 2}, {"limit": 2}], ids=str)
def test_an_edited_helper_makes_another_strategy(
    write: Callable[..., Any], thing: str, load: bool, change: dict[str, int]
) -> None:
    before = code_of(getattr(write(), thing))
    changed = code_of(getattr(write(load=load, **change), thing))
    assert changed != before
    assert code_of(getattr(write(), thing)) == before


@pytest.mark.parametrize("thing", ["Mine", "maker"])
def test_an_edited_module_makes_another_strategy(write: Callable[..., Any], thing: str) -> None:
    before = code_of(getattr(write(), thing))
    on_disk = code_of(getattr(write(load=False, weight=2), thing))
    reloaded = code_of(getattr(write(weight=2), thing))
    assert len({before, on_disk, reloaded}) == 3


def test_a_function_does_not_change_with_its_neighbours(write: Callable[..., Any]) -> None:
    before = code_of(write().limited)
    assert code_of(write(weight=2).limited) == before


OTHER_PROCESS = """
import functools, sys
from tests.quant_assets.test_code_of import HOLDS, VALUES, code_of
from quant_assets.strategies import STRATEGIES
names = {"one", "two", "three", "four"}
def known(x): return x in {"one", "two", "three", "four"} or x in names
print(code_of([hold(value) for hold in HOLDS.values() for value in VALUES]), code_of(known))
print([code_of(kind) for kind in STRATEGIES.values()])
"""


def test_the_same_in_every_process() -> None:
    told = {
        subprocess.run(
            [sys.executable, "-c", OTHER_PROCESS],
            cwd=PROJECT,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in (1, 2)
    }
    assert len(told) == 1
