"""docs/report.md runs from top to bottom, and names the parts that a page has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from quant_assets.backtests.report.document import CONTENTS
from quant_assets.backtests.report.market import MOST_FILLS, MOST_POINTS, MOST_SESSIONS_A_POINT

DOCS = Path(__file__).parents[4] / "docs"
TEXT = (DOCS / "report.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("own_home")
def test_every_block_runs_and_makes_the_whole_page(capsys: pytest.CaptureFixture[str]) -> None:
    world: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(compile(block, "docs/report.md", "exec"), world)
    assert capsys.readouterr().out.startswith("Unproven: it fails")
    page = str(world["page"])
    assert [name for name in CONTENTS if f'id="{name}"' not in page] == []


def test_its_pictures_are_there_and_small() -> None:
    for name in re.findall(r"!\[.*?\]\((.*?)\)", TEXT):
        assert (DOCS / name).stat().st_size < 200_000


def test_it_gives_the_limits_of_a_page() -> None:
    assert f"more\nthan {MOST_POINTS:,} prices" in TEXT
    assert f"more than {MOST_FILLS:,} fills" in TEXT
    assert MOST_SESSIONS_A_POINT == 10
