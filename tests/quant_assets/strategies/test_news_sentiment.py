"""Which names the news-sentiment rule holds: well spoken of, by enough articles, and no more than its places."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest

from quant_assets.strategies.news_sentiment import NewsSentiment

MONDAY = date(2024, 3, 4)
WEEK = timedelta(days=7)


def panel(tones: dict[str, tuple[float | None, int]], session: date = MONDAY) -> pl.DataFrame:
    """Three sessions from a Monday's before on; on the second the names have these tones and numbers of articles."""
    rows = []
    for day, known in ((session - timedelta(days=3), False), (session, True), (session + timedelta(days=1), False)):
        for symbol, (tone, articles) in tones.items():
            at = datetime(day.year, day.month, day.day, 14, 30, tzinfo=UTC)
            rows.append(
                {
                    "symbol": symbol, "ts": at, "session": day, "known_at": at + timedelta(hours=6.5), "tradable": True,
                    "news_sentiment_7d": tone if known else None,
                    "news_count_7d": math.log(1 + articles) if known else 0.0,
                }
            )  # fmt: skip
    return pl.DataFrame(rows, schema_overrides={"news_sentiment_7d": pl.Float64})


def held(strategy: NewsSentiment, tones: dict[str, tuple[float | None, int]]) -> dict[str, float]:
    intents = strategy.intents(panel(tones).lazy()).filter(pl.col("session") == MONDAY).collect()
    return {row["symbol"]: row["target_weight"] for row in intents.iter_rows(named=True) if row["target_weight"]}


TONES: dict[str, tuple[float | None, int]] = {
    "A": (0.9, 1), "B": (0.5, 4), "C": (0.1, 9), "D": (-0.2, 9), "E": (None, 0), "F": (0.0, 3),
}  # fmt: skip
CASES = [
    ("the best of those spoken well of", {"hold": 2}, {"A": 0.5, "B": 0.5}),
    ("places that nobody fills stay cash", {"hold": 5}, {"A": 0.2, "B": 0.2, "C": 0.2}),
    ("enough articles", {"hold": 2, "news": 2}, {"B": 0.5, "C": 0.5}),
    ("a floor under the tone", {"hold": 2, "above": 0.3}, {"A": 0.5, "B": 0.5}),
    ("a floor below zero", {"hold": 5, "news": 3, "above": -0.5}, {"B": 0.2, "C": 0.2, "F": 0.2, "D": 0.2}),
    ("nobody", {"hold": 2, "news": 20}, {}),
]


@pytest.mark.parametrize(("parameters", "weights"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_who_is_held(parameters: dict[str, float], weights: dict[str, float]) -> None:
    assert held(NewsSentiment(**parameters), TONES) == pytest.approx(weights)  # type: ignore[arg-type]


def test_a_weeks_choice_stands_until_the_next() -> None:
    """On Tuesday nothing is known of anybody any more, and Monday's names are still wanted, with their reason."""
    intents = NewsSentiment(hold=2).intents(panel(TONES).lazy()).collect()
    tuesday = intents.filter(pl.col("session") == MONDAY + timedelta(days=1), pl.col("target_weight") > 0)
    assert tuesday.select("symbol", "reason").rows() == [
        ("A", "1 articles in 7 days, mean sentiment 0.9 on 2024-03-04"),
        ("B", "4 articles in 7 days, mean sentiment 0.5 on 2024-03-04"),
    ]
