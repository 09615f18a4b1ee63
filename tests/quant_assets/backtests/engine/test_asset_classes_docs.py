"""docs/asset_classes.md runs from top to bottom, and the examples in the docstrings hold."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from types import ModuleType

import pytest

from quant_assets.backtests.market import carry, forex
from quant_assets.risk import options

PAGE = Path(__file__).parents[4] / "docs" / "asset_classes.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_every_block_of_the_page_runs_after_the_ones_before() -> None:
    world: dict[str, object] = {}
    for block in BLOCKS:
        exec(compile(block, str(PAGE), "exec"), world)
    assert len(BLOCKS) == 7


@pytest.mark.parametrize("module", [carry, forex, options], ids=lambda module: module.__name__)
def test_the_examples_in_docstrings_hold(module: ModuleType) -> None:
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0
