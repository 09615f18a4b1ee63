"""Every statistic goes through every proof, and asks for no more bars than it needs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quant_assets.features.definition import FeatureSet
from quant_assets.features.proofs import PROOFS, example_bars, honest_lookback
from quant_assets.features.statistical import STATISTICAL

BARS = example_bars()


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.__name__)
def test_every_statistic_stands(proof):
    assert [f"{name}: {what}" for name, what in proof(STATISTICAL, BARS)] == []


def test_look_backs_are_no_longer_than_needed():
    one_less = FeatureSet("one less", tuple(replace(each, lookback=each.lookback - 1) for each in STATISTICAL))
    assert {name for name, _ in honest_lookback(one_less, BARS)} == set(STATISTICAL.names)


def test_look_backs_are_long_enough_on_another_path():
    assert [*honest_lookback(STATISTICAL, example_bars(2, sessions=400, symbols=("WILD", "CALM")))] == []
