"""The bar: words for a log, a drawing on a terminal, silence elsewhere."""

from __future__ import annotations

import io
import re
import sys

import pytest

from resources.market_data import progress as module
from resources.market_data.progress import Progress


def test_the_line_says_how_far_how_many_and_how_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([100.0, 102.0])
    with Progress("bars", parts=4) as progress:
        monkeypatch.setattr(progress, "_began", 100.0)
        monkeypatch.setattr(module.time, "monotonic", lambda: next(now) + 2.0)
        progress.done(rows=600)
        assert str(progress) == "bars: 25% 1/4, 600 rows, 300 rows/s, 6 s left"


def test_before_the_first_part_nothing_is_foretold() -> None:
    with Progress("bars", parts=4) as progress:
        assert re.fullmatch(r"bars: 0% 0/4, 0 rows, 0 rows/s, 0 s left", str(progress))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "drawn"), [(Terminal(), True), (io.StringIO(), False)])
def test_a_bar_is_drawn_on_a_terminal_alone(stream: io.StringIO, drawn: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    with Progress("bars", parts=2) as progress:
        progress.done(rows=1)
        progress.done(rows=1)
    assert ("bars" in stream.getvalue()) is drawn
