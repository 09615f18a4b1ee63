"""Frames whose keys lie in the same memory have the same beginnings; all others are looked at."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl
import pytest

from quant_assets.strategies import keys
from quant_assets.strategies.keys import Keys, beginnings

DAYS = pl.datetime_range(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 3, tzinfo=UTC), "1d", eager=True)


def frame(*symbols: str | None) -> pl.DataFrame:
    return pl.concat([pl.DataFrame({"symbol": [name] * 3, "ts": DAYS}) for name in symbols])


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (frame("A", "BRK.B"), [True, False, False, True, False, False]),
        (frame("A").clear(), []),
        (frame("B", "A"), None),  # not by symbol
        (frame("A", "B").sort("ts"), None),  # a symbol in several places
        (frame("A").reverse(), None),  # not by time
    ],
)
def test_beginnings_of_what_is_sorted(rows: pl.DataFrame, expected: list[bool] | None) -> None:
    for found in (beginnings(rows), Keys(rows).beginnings(rows)):
        assert (None if found is None else found.tolist()) == expected


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Heights of the frames that were looked at."""
    seen: list[int] = []
    look = keys.beginnings
    monkeypatch.setattr(keys, "beginnings", lambda rows: (seen.append(rows.height), look(rows))[1])
    return seen


def test_a_frame_made_of_the_rows_is_not_looked_at_again(looks: list[int]) -> None:
    rows = pl.concat([frame("A"), frame("B")], rechunk=False)
    known = Keys(rows)
    made = rows.lazy().select("symbol", "ts", weight=pl.lit(0.5)).collect()
    cut = pl.concat([made[:2], made[2:]], rechunk=False)  # neighbouring pieces, as polars' threads leave them
    for each in (made, cut, rows.with_columns(other=1)):
        assert known.beginnings(each).tolist() == beginnings(rows).tolist()  # type: ignore[union-attr]
    assert looks == [6]


@pytest.mark.parametrize(
    "other",
    [
        lambda rows: rows.with_columns(symbol=pl.lit("A")),
        lambda rows: rows.with_columns(ts=pl.col("ts").reverse()),
        lambda rows: rows.filter(pl.col("symbol") == "A"),
        lambda rows: rows.head(5),
        lambda rows: rows.tail(5),
        lambda rows: frame("A", "B"),
        lambda rows: rows.with_columns(symbol=pl.lit(None, pl.String)),
    ],
)
def test_any_other_frame_is_looked_at(other: object, looks: list[int]) -> None:
    rows = frame("A", "B")
    known, changed = Keys(rows), other(rows)  # type: ignore[operator]
    found, expected = known.beginnings(changed), beginnings(changed)
    assert (None if found is None else found.tolist()) == (None if expected is None else expected.tolist())
    assert looks == [6, changed.height]
