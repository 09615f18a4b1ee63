"""News sentiment: hold the names of which the news of the last days speaks best."""

from __future__ import annotations

from typing import ClassVar

import polars as pl
from pydantic import Field

from quant_assets.strategies.base import Strategy, to_intents, universe, weekly


class NewsSentiment(Strategy):
    """Each week hold the `hold` names with the highest mean sentiment of 7 days' news, equally weighted.

    Only names with at least `news` articles in these days and a sentiment above `above` are held; weights are 1/`hold`
    each, so that what nobody speaks well of stays cash. Ranked on the first session of the week.

    Source: Tetlock, Saar-Tsechansky, Macskassy (2008), "More Than Words: Quantifying Language to Measure Firms'
    Fundamentals" (negative words in news forecast returns for a day or so; the rule itself is the plainest one).
    """

    name: ClassVar[str] = "news_sentiment"

    hold: int = Field(default=5, ge=1, description="how many names", examples=[5])
    news: int = Field(default=1, ge=1, description="articles of 7 days that a name needs", examples=[1])
    above: float = Field(default=0.0, ge=-1, lt=1, description="mean sentiment that a name needs", examples=[0.0])

    @property
    def required_features(self) -> tuple[str, ...]:
        return ("news_sentiment_7d", "news_count_7d")

    @property
    def history(self) -> int:
        return 7  # back to the first session of the week and one before it, in a market without weekends

    def intents(self, features: pl.LazyFrame) -> pl.LazyFrame:
        # The feature is the log of one more than the articles: back to a whole number.
        articles = (pl.col("news_count_7d").exp() - 1).round()
        tone = pl.col("news_sentiment_7d")
        frame = universe(self, features, weekly()).with_columns(score=tone, confidence=pl.lit(None, pl.Float64))
        spoken_of = ((articles >= self.news) & (tone > self.above)).fill_null(False)
        place = pl.when(spoken_of).then(tone).rank("ordinal", descending=True).over("session")
        ranked = frame.filter(pl.col("rebalance")).select(
            "symbol",
            "decided",
            target_weight=pl.when(place <= self.hold).then(1.0 / self.hold).otherwise(0.0),
            reason=pl.format(
                "{} articles in 7 days, mean sentiment {} on {}",
                articles.cast(pl.Int64).fill_null(0), tone.round(2).cast(pl.String).fill_null("unknown"),
                pl.col("session"),
            ),
        )  # fmt: skip
        return to_intents(
            frame.join(ranked, on=["symbol", "decided"], how="left").with_columns(
                pl.col("target_weight").fill_null(0.0),
                pl.col("reason").fill_null("not ranked at the last rebalance"),
            )
        )
