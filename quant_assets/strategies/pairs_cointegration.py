"""Statistical arbitrage: pairs whose prices have stayed together, traded when they come apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import polars as pl
from pydantic import Field, model_validator

from quant_assets.strategies.base import Strategy, absent, symbols_of, to_intents, told_of, universe
from quant_assets.strategies.cointegration import Floats, closest, critical, engle_granger, spread_positions
from quant_assets.strategies.windows import CLOSE

TRIED = 10
"""How many of the closest pairs are tested for each one wanted."""

PRESENT = 0.8
"""Share of the formation's sessions on which a name must have traded."""

_JUDGED = pl.Schema({"target_weight": pl.Float64(), "score": pl.Float64(), "reason": pl.String()})


_LEGS = pl.Schema(
    {
        "symbol": pl.String(),
        "number": pl.Int64(),
        "place": pl.Int64(),
        "weight": pl.Float64(),
        "score": pl.Float64(),
        "reason": pl.String(),
    }
)


@dataclass(frozen=True, slots=True)
class Prices:
    """Log prices (session, name), NaN where a name was not traded; the session's number is its row's."""

    logs: Floats
    names: list[str]

    def formed(self, day: int, count: int) -> tuple[Floats, list[int]]:
        """Log prices of the `count` sessions up to `day` on which at least half of its names trade; and whom to take.

        That is who trades on the first of them and on PRESENT of all; where one is not traded its price stands. Nobody
        where fewer than half of the sessions are left: of a market that has hardly begun.
        """
        window = self.logs[max(0, day - count + 1) : day + 1]
        traded = np.isfinite(window)
        # Of those that trade in it at all: names of later years must not count.
        kept = window[2 * traded.sum(axis=1) >= max(1, traded.any(axis=0).sum())]
        enough = 2 * len(kept) >= count and day + 1 >= count
        there = np.isfinite(kept)
        if not enough:
            return kept, []
        return _carried(kept), np.flatnonzero((there.mean(axis=0) >= PRESENT) & there[0]).tolist()


class PairsCointegration(Strategy):
    """Sell the dear and buy the cheap one of two cointegrated names when their spread is `enter` deviations wide.

    On the first session of each quarter the log prices of the last `formation` sessions are regressed on each other,
    and pairs are kept whose residual passes the Engle-Granger test at `significance` with a positive slope. `pairs`
    names them, for example "KO PEP, V MA"; where it is empty the closest of the universe are tried. The first `hold`
    that pass are traded. Until the next quarter the fitted spread is measured in standard deviations of the formation:
    opened at `enter`, closed at `leave`, given up for the quarter at `stop`. A pair takes 1/`hold` of equity gross,
    split 1 : slope between its legs; what is open when a quarter ends is closed unless the pair is found again.

    Source: Engle and Granger (1987), "Co-Integration and Error Correction", for the test; Gatev, Goetzmann and
    Rouwenhorst (2006), "Pairs Trading", for forming periods, closest pairs and two deviations.
    """

    name: ClassVar[str] = "pairs_cointegration"

    pairs: str = Field(default="", description="pairs, by commas; empty searches", examples=['"KO PEP, V MA"'])
    formation: int = Field(default=252, ge=20, le=2520, description="sessions that are fitted", examples=[252])
    significance: Literal["1%", "5%", "10%"] = Field(default="5%", description="of the test", examples=["5%"])
    enter: float = Field(default=2.0, gt=0, description="deviations at which a spread is opened", examples=[2.0])
    leave: float = Field(default=0.5, ge=0, description="deviations at which it is closed", examples=[0.5])
    stop: float = Field(default=4.0, gt=0, description="deviations at which it is given up", examples=[4.0])
    hold: int = Field(default=5, ge=1, description="most pairs, each 1/hold of equity", examples=[5])

    @model_validator(mode="after")
    def _ordered(self) -> PairsCointegration:
        if not self.leave < self.enter < self.stop:
            raise ValueError(
                f"leave {self.leave}, enter {self.enter} and stop {self.stop} must rise; for example 0.5, 2.0 and 4.0"
            )
        wrong = [pair for pair in symbols_of(self.pairs) if len(set(pair.split())) != 2]
        if wrong:
            raise ValueError(f"pairs {wrong[0]!r} is not two symbols; for example pairs: 'KO PEP, V MA'")
        return self

    @property
    def required_features(self) -> tuple[str, ...]:
        return (CLOSE,)

    @property
    def history(self) -> int:
        return self.formation + 93  # the formation before the first session of the quarter, in a market of all days

    def intents(self, features: pl.LazyFrame) -> pl.LazyFrame:
        quarter = pl.col("session").dt.truncate("1q")
        frame = universe(self, features, quarter).with_columns(confidence=pl.lit(None, pl.Float64))
        schema = pl.Schema({**frame.collect_schema(), **_JUDGED})
        # The pairs hang on all names and many sessions at once: no part of the frame can be judged alone.
        judged = frame.map_batches(
            self._judged, schema=schema, predicate_pushdown=False, projection_pushdown=False, slice_pushdown=False
        )
        named = [pair.split() for pair in symbols_of(self.pairs)]
        lost = absent(features, [name for pair in named for name in pair])
        unknown = told_of(self, lost, nothing_left=all(set(pair) & set(lost) for pair in named))
        return to_intents(judged.with_columns(rebalance=pl.lit(False), reason=pl.col("reason") + unknown))

    def _judged(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with _JUDGED: each name's weights of all its pairs, and the state of its first open one."""
        legs = pl.concat([pl.DataFrame(schema=_LEGS), *self._legs(frame)])
        own = (
            legs.sort("symbol", "number", pl.col("weight") == 0, "place")
            .group_by("symbol", "number", maintain_order=True)
            .agg(
                (pl.col("weight").sum() + 0.0).alias("target_weight"), pl.col("score").first(), pl.col("reason").first()
            )
        )
        return frame.join(own, on=["symbol", "number"], how="left", maintain_order="left").with_columns(
            pl.col("target_weight").fill_null(0.0), pl.col("reason").fill_null("in no pair formed this quarter")
        )

    def _legs(self, frame: pl.DataFrame) -> Iterator[pl.DataFrame]:
        """Both legs (_LEGS) of every pair, by the quarter in which it was formed."""
        formations = frame.filter("rebalance").select("number", "session").unique().sort("number")
        if formations.is_empty():
            return
        prices = _prices(frame)
        days = formations["number"].to_list()
        for day, session, end in zip(days, formations["session"], [*days[1:], len(prices.logs)], strict=True):
            window, whole = prices.formed(day, self.formation)
            pairs = self._candidates(window, whole, prices.names)
            if not pairs:
                continue
            left, right = (np.array(side) for side in zip(*pairs, strict=True))
            fit = engle_granger(window[:, left], window[:, right])
            passed = (fit.t < critical(self.significance, len(window))) & (fit.slope > 0)
            # The formation's last prices stand until a leg trades again.
            later = _carried(np.vstack([window[-1:], prices.logs[day:end]]))
            for place, found in enumerate(np.flatnonzero(passed)[: self.hold]):
                a, b, slope = int(left[found]), int(right[found]), float(fit.slope[found])
                spread = (later[:, a] - slope * later[:, b] - fit.constant[found])[1:]
                z = spread / fit.deviation[found]
                of = f"slope {slope:.2f}, t {fit.t[found]:.1f} on {session}"
                said = f"{prices.names[a]}/{prices.names[b]} {{}} deviations; {of}"
                position = spread_positions(z, self.enter, self.leave, self.stop)
                share = 1.0 / (self.hold * (1.0 + slope))
                for leg, sign, size in ((a, 1.0, share), (b, -1.0, share * slope)):
                    yield pl.DataFrame(
                        {
                            "number": np.arange(day, end),
                            "weight": sign * size * position,
                            "score": -sign * np.clip(spread, -1.0, 1.0),
                            "z": z,
                        }
                    ).select(
                        pl.lit(prices.names[leg]).alias("symbol"),
                        pl.col("number").cast(pl.Int64),
                        pl.lit(place, pl.Int64).alias("place"),
                        "weight",
                        "score",
                        pl.format(said, pl.col("z").round(1)).alias("reason"),
                    )

    def _candidates(self, window: Floats, whole: list[int], names: list[str]) -> list[tuple[int, int]]:
        """Columns of the pairs to test, the one preferred first."""
        if self.pairs:
            place = {names[column]: column for column in whole}
            named = [pair.split() for pair in symbols_of(self.pairs)]
            return [(place[a], place[b]) for a, b in named if a in place and b in place]
        near = closest(window[:, whole], TRIED * self.hold) if len(whole) > 1 else []
        return [(whole[a], whole[b]) for a, b in near]


def _prices(frame: pl.DataFrame) -> Prices:
    wide = frame.select("number", "symbol", pl.col(CLOSE).log()).pivot("symbol", index="number", values=CLOSE)
    names = sorted(wide.columns[1:])
    # Sessions on which nothing at all was traded have no row in the frame.
    rows = wide["number"].to_numpy()
    logs = np.full((rows.max() + 1, len(names)), np.nan)
    logs[rows] = wide.select(names).to_numpy()
    return Prices(logs, names)


def _carried(logs: Floats) -> Floats:
    """NaN filled with the value of the session before."""
    rows = np.where(np.isfinite(logs), np.arange(len(logs))[:, None], 0)
    return np.take_along_axis(logs, np.maximum.accumulate(rows, axis=0), axis=0)
