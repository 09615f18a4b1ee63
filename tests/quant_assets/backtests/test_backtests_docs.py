"""docs/backtests.md runs from top to bottom and does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from quant_assets.backtests.simulation import book as books
from resources.exchange.words import KINDS, TIFS

PAGE = (Path(__file__).parents[3] / "docs" / "backtests.md").read_text(encoding="utf-8")


def test_every_block_of_the_page_runs_after_the_ones_before(capsys):
    world: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(block, "docs/backtests.md", "exec"), world)
    fills = world["result"].fills
    assert fills.select("side", "quantity", "reason").rows() == [("buy", 50, "open"), ("sell", 50, "gap")]
    assert fills["price"].to_list() == pytest.approx([102 * 1.0003, 111])
    assert capsys.readouterr().out.count("2024-01-09") >= 2


def test_the_page_names_every_column_type_and_time_in_force():
    columns = {*books.FLOATS, *books.TEXTS, "ts", "expire_at", "reduce_only"}
    words = {*columns, *(kind.value for kind in KINDS), *(tif.value for tif in TIFS), *books.AUCTIONS}
    assert [word for word in sorted(words) if f"`{word}`" not in PAGE] == []
