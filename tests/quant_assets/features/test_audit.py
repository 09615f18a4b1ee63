"""The proofs as a command for features and strategies of one's own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from quant_assets.features.audit import audit, main
from quant_assets.features.example import example_bars
from quant_assets.strategies import STRATEGIES
from resources.errors import ConfigError

MODULE = """
import polars as pl
from typing import ClassVar
from quant_assets.features import Across, Feature, FeatureSet
from quant_assets.strategies import Strategy
from quant_assets.strategies.base import to_intents


def tomorrow():
    return pl.col("adj_close").shift(-1) / pl.col("adj_close") - 1


def change(window):
    return pl.col("adj_close") / pl.col("adj_close").shift(window) - 1


PEEKS = Feature("peeks", "mine", "Return of tomorrow", tomorrow, lookback=0)
HONEST = Feature("honest", "mine", "Return over 5 bars", change, {"window": 5}, lookback=5)
SHORT = Feature("short", "mine", "Return over 5 bars", change, {"window": 5}, lookback=3)
BOTH = [HONEST, PEEKS]
SET = FeatureSet("mine", (HONEST,))
NUMBER = 7


def rare():
    next_ = pl.col("adj_close").shift(-1).over("symbol") / pl.col("adj_close") - 1
    return pl.when(pl.col("session").dt.day() == 9).then(next_).otherwise(0.0)


def to_close():
    return pl.col("adj_close").last().over("symbol", "session") / pl.col("adj_close") - 1


def broken():
    return pl.col("adj_close").str.to_uppercase().cast(pl.Float64)


RARE = Feature("rare", "mine", "Return of tomorrow, on the 9th", Across(rare, (), ("adj_close", "session")), lookback=0)
TO_CLOSE = Feature(
    "to_close", "mine", "Return until the session ends", Across(to_close, (), ("adj_close", "session")), lookback=0
)
BROKEN = Feature("broken", "mine", "Raises", broken, lookback=0)


class Rule(Strategy):
    name: ClassVar[str] = "rule"

    @property
    def required_features(self):
        return ("return_1",)

    @property
    def history(self):
        return 3

    def score(self):
        return pl.col("return_1")

    def intents(self, features):
        score = self.score()
        return to_intents(
            features.sort("symbol", "ts").with_columns(
                target_weight=pl.when(score > 0).then(0.1).otherwise(0.0), score=score,
                confidence=pl.lit(None), rebalance=pl.lit(True), reason=pl.lit("")
            )
        )


class Foresight(Rule):
    def score(self):
        return pl.col("return_1").shift(-1).over("symbol")


class Rarely(Rule):
    def score(self):
        held = pl.col("return_1")
        return pl.when(pl.col("session").dt.day() == 16).then(held.shift(-1).over("symbol")).otherwise(held)


class LongMemory(Rule):
    def score(self):
        return pl.col("return_1").rolling_mean(10, min_samples=1).over("symbol")
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop("mine", None)


CASES = {
    "PEEKS": (1, "peeks: sees the future"),
    "HONEST": (0, "mine:HONEST: stands"),
    "SHORT": (1, "short: CALM"),
    "BOTH": (1, "2 refuted"),
    "SET": (0, "mine:SET: stands"),
    "Rule": (0, "mine:Rule: stands (no_look_ahead, honest_history)"),
    "RARE": (1, "rare: sees the future"),
    "TO_CLOSE": (1, "to_close: sees the future"),
    "Rarely": (1, "Rarely: sees the future"),
    "Foresight": (1, "Foresight: sees the future"),
    "LongMemory": (1, "another intent from only its history of 3 sessions"),
}


@pytest.mark.parametrize(("name", "expected"), CASES.items())
def test_what_cheats_is_refuted_and_the_rest_stands(mine, capsys, name, expected):
    status, message = expected
    found = main([f"mine:{name}"])
    printed = capsys.readouterr().out
    if name == "BOTH":
        assert "REFUTED  peeks" in printed
        assert "REFUTED  honest" not in printed
    else:
        assert message in printed
    assert found == status


REFUSED = {
    "mine": "give MODULE:NAME",
    "nothing.here:X": "nothing.here cannot be imported",
    "mine:NOTHING": "mine has no NOTHING; it has .*PEEKS",
    "mine:BROKEN": "mine:BROKEN cannot be tried: ",
    "mine:NUMBER": "7 is no feature and no strategy",
}


@pytest.mark.parametrize(("target", "message"), REFUSED.items())
def test_what_cannot_be_tried_says_why(mine, capsys, target, message):
    assert main([target]) == 2
    import re

    assert re.search(message, capsys.readouterr().err)


def test_it_runs_as_a_command_on_ones_own_bars(mine):
    example_bars(sessions=200).write_parquet(mine / "bars.parquet")
    command = [sys.executable, "-m", "quant_assets.features.audit", "mine:PEEKS", "--bars", "bars.parquet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "peeks: sees the future" in done.stdout


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=list(STRATEGIES))
def test_every_strategy_on_offer_stands(strategy):
    assert audit(strategy) == []


def test_too_few_bars_are_an_error(mine):
    with pytest.raises(ConfigError, match="no feature and no strategy"):
        audit([])
