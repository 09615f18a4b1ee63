"""A training row holds what was known when its trade was decided, and can be built again bit for bit."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quant_assets.features.labels import forward_returns
from quant_assets.features.proofs import example_bars
from quant_assets.features.training import TrainingFrameError, training_frame

BARS = example_bars(sessions=120, symbols=("AAA", "BBB", "CCC"))
SESSIONS = BARS["session"].unique().sort()
HORIZON = 5
LABELS = forward_returns(BARS.lazy(), HORIZON).collect()
CUTOFF = SESSIONS[100]
KEYS = ["symbol", "session", "known_at"]
NOISE = np.random.default_rng(4)
FEATURES = BARS.select(
    *KEYS, one=pl.Series(NOISE.normal(size=BARS.height)), two=pl.Series(NOISE.normal(size=BARS.height))
)
NAMES = ["one", "two"]


def built(features: pl.DataFrame = FEATURES, labels: pl.DataFrame = LABELS, **how) -> pl.DataFrame:
    return training_frame(NAMES, [features.lazy()], labels.lazy(), CUTOFF, **how)


def test_each_row_has_the_features_of_its_own_session() -> None:
    frame = built()
    assert frame.columns == ["symbol", "session", "known_session", "forward_return", "one", "two"]
    expected = LABELS.filter(pl.col("known_session") < CUTOFF).join(
        FEATURES.with_columns(pl.col(NAMES).cast(pl.Float32)), on=["symbol", "session"]
    )
    assert frame.equals(expected.sort("session", "symbol").select(frame.columns))
    assert frame.height == LABELS.filter(pl.col("known_session") < CUTOFF).height > 250


def test_only_labels_known_before_the_cut_off() -> None:
    assert built()["known_session"].max() == SESSIONS[99]
    wild = pl.when(pl.col("known_session") >= CUTOFF).then(99.0).otherwise("forward_return").alias("forward_return")
    assert built(labels=LABELS.with_columns(wild)).equals(built())


def test_only_sessions_from_the_first_one_wanted() -> None:
    assert built(since=SESSIONS[40])["session"].min() == SESSIONS[40]
    assert built(since=SESSIONS[40]).equals(built().filter(pl.col("session") >= SESSIONS[40]))


def late(minutes: int) -> pl.DataFrame:
    """The features of which those of BBB in the 31st session are known so many minutes after its close."""
    mine = (pl.col("symbol") == "BBB") & (pl.col("session") == SESSIONS[30])
    shifted = pl.col("known_at") + timedelta(minutes=minutes)
    return FEATURES.with_columns(known_at=pl.when(mine).then(shifted).otherwise("known_at"))


def test_a_row_that_became_known_after_the_close_is_not_used_and_nor_is_an_older_one() -> None:
    lost = built().join(built(late(1)), on=["symbol", "session"], how="anti")
    assert lost.select("symbol", "session").rows() == [("BBB", SESSIONS[30])]
    assert built(late(1)).height == built().height - 1
    assert built(late(-1)).equals(built())
    assert built(late(0)).equals(built())


def test_features_come_from_several_tables_the_first_that_has_them() -> None:
    one, two = FEATURES.select(*KEYS, "one"), FEATURES.with_columns(one=pl.lit(9.0))
    assert training_frame(NAMES, [one.lazy(), two.lazy()], LABELS.lazy(), CUTOFF).equals(built())
    late_one = late(1).select(*KEYS, "one")
    assert training_frame(NAMES, [late_one.lazy(), two.lazy()], LABELS.lazy(), CUTOFF).equals(built(late(1)))


@given(st.randoms(use_true_random=False))
def test_it_is_built_again_bit_for_bit_from_partitions_in_any_order(random) -> None:
    def shuffled(frame: pl.DataFrame) -> pl.DataFrame:
        parts = frame.partition_by("symbol", "session")
        random.shuffle(parts)
        return pl.concat(parts)

    again = built(shuffled(FEATURES), shuffled(LABELS))
    assert again.equals(built())
    numbers = pl.selectors.numeric()
    assert again.select(numbers).to_numpy().tobytes() == built().select(numbers).to_numpy().tobytes()


def test_what_is_missing_or_stands_there_twice_is_named() -> None:
    with pytest.raises(TrainingFrameError, match="no column for three"):
        training_frame(["one", "three"], [FEATURES.lazy()], LABELS.lazy(), CUTOFF)
    with pytest.raises(TrainingFrameError, match="none was named"):
        training_frame([], [FEATURES.lazy()], LABELS.lazy(), CUTOFF)
    with pytest.raises(TrainingFrameError, match=f"AAA {SESSIONS[0]}: more than one row in frame 0 of the features"):
        built(pl.concat([FEATURES, FEATURES.head(1)]))
    with pytest.raises(TrainingFrameError, match="more than one row in the labels"):
        built(labels=pl.concat([LABELS, LABELS.head(1)]))


def test_a_label_that_is_no_number_is_left_out() -> None:
    spoilt = LABELS.with_columns(
        forward_return=pl.when(pl.col("symbol") == "CCC").then(float("nan")).otherwise("forward_return")
    )
    assert built(labels=spoilt)["symbol"].unique().sort().to_list() == ["AAA", "BBB"]


def test_a_record_of_a_weekend_belongs_to_no_session() -> None:
    """A frame that is not of sessions brings nothing, and leaves nothing in its place."""
    stray = FEATURES.head(1).with_columns(
        session=pl.lit(date(1999, 1, 2)),
        known_at=pl.lit(datetime(1999, 1, 2, tzinfo=UTC)).cast(FEATURES.schema["known_at"]),
    )
    assert built(pl.concat([FEATURES, stray])).equals(built())
