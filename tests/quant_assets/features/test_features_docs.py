"""docs/features.md: every block of code on the page runs, in order."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "features.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_every_block_runs_after_the_ones_before(tmp_path, monkeypatch, capsys):
    # In a file of its own: a feature's code version is that of its builder's source.
    module = tmp_path / "page.py"
    module.write_text("\n".join(BLOCKS), encoding="utf-8")
    exec(compile(module.read_text(), str(module), "exec"), {"__name__": "page"})
    assert "rsi_14" in capsys.readouterr().out
    assert len(BLOCKS) >= 5
