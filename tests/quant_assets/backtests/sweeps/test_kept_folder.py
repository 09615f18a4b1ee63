"""A kept sweep never answers for another one, and never with less than was kept."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.backtests import sweep
from quant_assets.backtests.sweeps import SweepError, store
from tests.conftest import PROJECT
from tests.quant_assets.backtests.sweeps.world import SETTINGS, Cross, averages, market

BARS = market()
FEATURES = averages(BARS)
DAYS = BARS["known_at"].unique().sort()
WEIGHT = 0.25


def bought(day: int, weight: float) -> pl.DataFrame:
    return pl.DataFrame({"ts": [DAYS[day]], "symbol": ["S0"], "target_weight": [weight]})


def closing(weight: float) -> Callable[[int], pl.DataFrame]:
    return lambda day: bought(day, weight)


def naming(day: int) -> pl.DataFrame:
    return bought(day, WEIGHT)


class Buyer:
    def __init__(self, weight: float) -> None:
        self.weight = weight

    def orders(self, day: int) -> pl.DataFrame:
        return bought(day, self.weight)

    def __call__(self, day: int) -> pl.DataFrame:
        return bought(day, self.weight)


def with_default(weight: float) -> Callable[..., pl.DataFrame]:
    def made(day: int, held: float = weight) -> pl.DataFrame:
        return bought(day, held)

    return made


MADE: dict[str, Callable[[float], Any]] = {
    "closure": closing,
    "default": with_default,
    "bound method": lambda weight: Buyer(weight).orders,
    "callable object": Buyer,
    "partial": lambda weight: functools.partial(bought, weight=weight),
    "global": lambda _: naming,
}


def swept(maker: Any, folder: Path | None = None, **options: Any) -> Any:
    given = {"grid": {"day": [3, 5, 8, 13, 21]}, "batch": 2} | options
    return sweep(BARS, maker, config=SETTINGS, folder=folder, trials=None, progress=False, **given)


@pytest.mark.parametrize("make", MADE.values(), ids=MADE)
def test_another_strategy_is_not_answered_with_what_was_kept(
    make: Callable[[float], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for weight in (0.25, 0.5, 0.25):
        monkeypatch.setitem(globals(), "WEIGHT", weight)
        kept, fresh = swept(make(weight), tmp_path), swept(make(weight))
        assert kept.results.equals(fresh.results)
        assert kept.results["total_return"][0] == pytest.approx(kept.backtest(0).metrics["total_return"])
        found.append(kept)
    assert found[0].folder == found[2].folder != found[1].folder
    assert not found[0].results.equals(found[1].results), "all alike would prove nothing"


OTHER_PROCESS = """
import sys
from pathlib import Path
from tests.quant_assets.backtests.sweeps.test_kept_folder import MADE, swept
print([swept(make(0.25), Path(sys.argv[1])).folder.name for make in MADE.values()])
"""


def test_another_process_goes_on_with_the_same_folder(tmp_path: Path) -> None:
    names = [swept(make(0.25), tmp_path).folder.name for make in MADE.values()]
    told = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS, str(tmp_path)],
        cwd=PROJECT, env={**os.environ, "PYTHONHASHSEED": "7"}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert told.strip() == str(names)
    assert len(list(tmp_path.glob("sweep-*"))) == len(MADE)


def test_a_strategy_without_an_identity_is_refused_where_it_would_be_kept(tmp_path: Path) -> None:
    lock = threading.Lock()

    def maker(day: int) -> pl.DataFrame:
        with lock:
            return bought(day, 0.25)

    assert swept(maker).results.height == 5
    with pytest.raises(SweepError, match=r"folder: .*closes over lock: _thread.lock has no state"):
        swept(maker, tmp_path)
    assert list(tmp_path.iterdir()) == []


def damage(folder: Path, what: str) -> None:
    batches, returns = sorted(folder.glob("batch-*.parquet")), folder / "returns.f32"
    if what == "no returns":
        returns.unlink()
    elif what == "empty returns":
        returns.write_bytes(b"")
    elif what == "a batch between":
        batches[1].unlink()
    elif what == "the first batch":
        batches[0].unlink()
    else:
        batches[0].write_bytes(b"PAR1")


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("no returns", "returns.f32 is missing"),
        ("empty returns", "returns.f32 is missing or has another size"),
        ("a batch between", "batches of the runs from 2 to 4 are missing"),
        ("the first batch", "batches of the runs from 0 to 2 are missing"),
        ("a batch cut short", "batch-000000000-000000002.parquet: cannot be read"),
    ],
)
def test_what_was_lost_is_told_and_nothing_is_made_of_the_rest(tmp_path: Path, what: str, words: str) -> None:
    whole = swept(closing(0.25), tmp_path)
    damage(whole.folder, what)
    with pytest.raises(SweepError, match=words):
        swept(closing(0.25), tmp_path)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SweepError, match=r"folder .*file/sweep-\w+: .*Not a directory"):
        swept(Cross, tmp_path / "file", grid={"fast": [2]}, features=FEATURES)


def test_a_full_disk_is_told_and_the_sweep_goes_on_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store.os, "fsync", full)
        with pytest.raises(SweepError, match="No space left on device; make room there"):
            swept(closing(0.25), tmp_path)
    assert swept(closing(0.25), tmp_path).results.equals(swept(closing(0.25)).results)
