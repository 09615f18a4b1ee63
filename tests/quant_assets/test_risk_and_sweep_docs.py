"""docs/risk.md and docs/sweeps.md run from top to bottom and do what they say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from resources.config import LimitSettings

DOCS = Path(__file__).parents[2] / "docs"


def world_of(name: str) -> dict[str, object]:
    world: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(block, name, "exec"), world)
    return world


def test_sizes_portfolios_and_limits(capsys):
    world = world_of("risk.md")
    assert world["one"] == pytest.approx(0.1)
    assert sum(abs(weight) for weight in world["half"].values()) <= 1 + 1e-9
    for name in ("least", "tail"):
        weights = world[name]
        assert sum(weights.values()) == pytest.approx(1)
        assert weights["AAA"] + weights["BBB"] <= 0.6 + 1e-6
    assert sum(abs(world["held"][name] - weight) for name, weight in world["even"].items()) <= 0.3 + 1e-6
    assert world["result"].orders["state"].to_list() == ["rejected"]
    assert "limit single_name: 0.6 exceeds 0.5" in capsys.readouterr().out


def test_the_page_of_limits_names_them_all():
    text = (DOCS / "risk.md").read_text(encoding="utf-8")
    assert [name for name in LimitSettings.model_fields if f"`{name}`" not in text] == []


@pytest.mark.usefixtures("own_home")
def test_a_sweep():
    world = world_of("sweeps.md")
    found = world["found"]
    assert found.results.height == 6
    assert found.failed["stage"].to_list() == ["parameters"] * 3
    assert found.returns.shape[1] == 6
    assert world["whole"].metrics["sharpe_ratio"] == pytest.approx(found.results["sharpe_ratio"].max())
