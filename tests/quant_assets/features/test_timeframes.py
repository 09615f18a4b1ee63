"""Features of coarser bars: which bars those are, when each is known, and every proof on intraday sessions.

The sessions are New York's of autumn and winter 2023: a clock change (5 November), half days (24 November, 3 July has
its own test), holidays.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import polars as pl
import pytest

from quant_assets.features import compute, stream
from quant_assets.features.context import Context
from quant_assets.features.definition import Across, Feature, FeatureSet, coarse
from quant_assets.features.engine import evaluate
from quant_assets.features.groups import ALL
from quant_assets.features.kernels import kernel
from quant_assets.features.proofs import PROOFS
from quant_assets.features.stream import Stream
from quant_assets.features.timeframes import coarsened, timeframe
from resources.calendars import UTC_MICROS, sessions
from resources.errors import ConfigError

CLOSE, VOLUME = pl.col("adj_close"), pl.col("adj_volume")


STEP = timedelta(minutes=30)
NEW_YORK = ZoneInfo("America/New_York")


def intraday(first, last, step=STEP, symbols=("AAA", "BBB", "CCC"), calendar="XNYS", whole=False):
    """Bars of the calendar's sessions. AAA has all; BBB lists late, lacks some and stops for days, unless `whole`."""
    random = np.random.default_rng(1)
    starts, days = [], []
    for day, opened, closed in sessions(calendar, first, last).iter_rows():
        count = -((opened - closed) // step)
        starts += [opened + i * step for i in range(count)]
        days += [day] * count
    parts = []
    for place, symbol in enumerate(symbols):
        close = 50 * np.exp(np.cumsum(random.normal(0, 0.003, len(starts))))
        close = np.round(close, 2 if place < 2 else 0)
        opened = np.round(close * np.exp(random.normal(0, 0.001, len(starts))), 2)
        bars = {
            "adj_open": opened,
            "adj_high": np.round(np.maximum(opened, close) * 1.001, 2),
            "adj_low": np.round(np.minimum(opened, close) * 0.999, 2),
            "adj_close": close,
            "adj_volume": np.round(random.lognormal(8, 1, len(starts))),
        }
        frame = pl.DataFrame({"symbol": [symbol] * len(starts), "ts": starts, "session": days, **bars})
        frame = frame.with_columns(pl.col("ts").cast(UTC_MICROS)).with_columns(known_at=pl.col("ts") + step)
        if place == 1:
            at = pl.int_range(pl.len())
            there = ~at.is_between(600, 660) & pl.Series(random.random(len(starts)) > 0.03)
            frame = frame.filter((at > 40) & (there | whole))
        parts.append(frame)
    return pl.concat(parts)


BARS, WHOLE = (intraday(date(2023, 9, 25), date(2024, 2, 9), whole=whole) for whole in (False, True))


@kernel(inputs=["adj_open", "adj_high", "adj_low", "adj_close", "adj_volume"], outputs=["shape", "growth"])
def anatomy(x, p, out):
    """Something of all five columns: where the close lies in the bar; growth of the volume."""
    for i in range(1, x.shape[1]):
        if x[1, i] > x[2, i]:
            out[0, i] = (x[3, i] - x[0, i]) / (x[1, i] - x[2, i])
        if x[4, i - 1] > 0:
            out[1, i] = x[4, i] / x[4, i - 1]


def mean_distance(window: int) -> pl.Expr:
    """Close over its mean."""
    return CLOSE / CLOSE.rolling_mean(window) - 1


def traded() -> pl.Expr:
    """Whether there was volume."""
    return (VOLUME > 0).cast(pl.Float64)


SHAPE = Feature("shape", "test", "", anatomy, lookback=1, output="shape", bounds=(-1.0, 1.0))
GROWTH = Feature("growth", "test", "", anatomy, lookback=1, output="growth")
MEAN = Feature("mean_5", "test", "", mean_distance, {"window": 5}, lookback=4)
TRADED = Feature("traded", "test", "", traded, lookback=0, bounds=(0.0, 1.0))
PICKED = ALL.pick(["williams_r_14", "volatility_5", "yang_zhang_10", "return_1"])
EVERY = FeatureSet(
    "coarse",
    (
        *(coarse(each, "1h", minutes=30, hours=6.5) for each in (SHAPE, GROWTH, MEAN, TRADED, *PICKED)),
        *(coarse(each, "45m", minutes=30, hours=6.5) for each in (SHAPE, MEAN)),
        *(coarse(each, "4h", minutes=30, hours=6.5) for each in (GROWTH, MEAN)),
        *(coarse(each, "1d", minutes=30, hours=6.5) for each in (SHAPE, GROWTH, MEAN, *PICKED)),
        *(coarse(each, "1w", minutes=30, hours=6.5) for each in (SHAPE, GROWTH, TRADED)),
        *(coarse(each, "1mo", minutes=30, hours=6.5) for each in (SHAPE, TRADED)),
        *PICKED.pick(["return_1"]),
    ),
)


@pytest.mark.parametrize("proof", PROOFS, ids=lambda proof: proof.__name__)
def test_features_of_coarser_bars_stand(proof):
    assert [f"{name}: {what}" for name, what in proof(EVERY, WHOLE)] == []


def computed(bars, features=EVERY, context=None):
    return evaluate(features, bars.lazy(), context).collect()


def same(one, other, tolerance=0.0):
    """Whether two frames of the same rows have the same values."""
    for name in EVERY.names:
        a, b = one[name], other[name]
        assert a.is_null().equals(b.is_null()), name
        assert ((a - b).abs().fill_null(0.0) <= tolerance * (1 + a.abs().fill_null(0.0))).all(), name


def test_no_bar_of_the_future_is_seen_at_any_instant():
    held = computed(BARS)
    for now in BARS["known_at"].unique().sort().gather_every(61, offset=7):
        past = BARS.filter(pl.col("known_at") <= now)
        same(computed(past), held.join(past, on=["symbol", "ts"], how="semi", maintain_order="left"))


def test_from_any_start_a_value_is_missing_or_the_same():
    held = computed(BARS)
    for start in BARS["ts"].unique().sort().gather_every(97, offset=5):
        later = BARS.filter(pl.col("ts") >= start)
        found = computed(later)
        whole = held.join(later, on=["symbol", "ts"], how="semi", maintain_order="left")
        known = [pl.when(found[name].is_not_null()).then(whole[name]).alias(name) for name in EVERY.names]
        same(found, pl.select(known), 1e-9)


@pytest.mark.parametrize("before", [0, 1, 9, 300, 1000])
def test_a_stream_from_any_start_has_the_batchs_values(before):
    bars = BARS.filter(pl.col("session") < date(2024, 1, 3)) if before == 1000 else BARS.head(0)
    bars = bars if bars.height else BARS.filter(pl.col("session") < date(2023, 11, 8))
    instants = bars["ts"].unique().sort()
    first = instants[before] if before < instants.len() else instants[-20]
    live = Stream(EVERY)
    live.start(bars.filter(pl.col("ts") < first))
    rows = bars.filter(pl.col("ts") >= first).sort("ts", "symbol")
    fed = pl.DataFrame(
        [live.update(row) for row in rows.iter_rows(named=True)], schema=dict.fromkeys(EVERY.names, float)
    )
    fed = rows.select("symbol", "ts").hstack(fed).sort("symbol", "ts")
    same(fed, computed(bars).filter(pl.col("ts") >= first), 1e-9)


def closes(frame, timeframe_):
    """Close and end of pandas' bars of one symbol: of its local clock, from 9:30 on."""
    table = frame.to_pandas().set_index("known_at")
    table.index = table.index.tz_convert(NEW_YORK)
    found = []
    for _, day in table.groupby("session"):
        made = day["adj_close"].resample(timeframe_, origin=day.index[0] - STEP, closed="right", label="right").last()
        made.index = [min(end, day.index[-1]) for end in made.index]
        found.append(made.dropna())
    return pd.concat(found)


@pytest.mark.parametrize(("name", "pandas_name"), [("1h", "60min"), ("4h", "240min"), ("1d", "1D")])
def test_steps_of_a_session_are_those_of_pandas_on_the_exchanges_clock(name, pandas_name):
    """Through the clock change of 5 November and the half day of 24 November, whose last bars are short."""
    bars = BARS.filter(symbol="AAA")
    expected = closes(bars, pandas_name)
    returns = (expected / expected.shift() - 1).to_frame("expected").reset_index(names="end")
    found = computed(bars, FeatureSet("one", (coarse(ALL.pick(["return_1"]).features[0], name),)))
    known = found.to_pandas()
    known["known_at"] = known["known_at"].dt.tz_convert(NEW_YORK).astype(returns["end"].dtype)
    joined = pd.merge_asof(known, returns, left_on="known_at", right_on="end")
    later = joined[joined["session"] > pd.Timestamp(bars["session"].unique().sort()[2])]
    assert len(later) > 1000
    np.testing.assert_allclose(later[f"return_1@{name}"], later["expected"], rtol=1e-12)


def ends(bars, name, context=None):
    """When each coarse bar closes."""
    dated = "session" in bars.columns
    return coarsened(bars, ["adj_close"], timeframe(name), context or Context(), dated).bars["known_at"].to_list()


def at(*parts, zone=NEW_YORK):
    return datetime(*parts, tzinfo=zone).astimezone(UTC)


def test_a_half_day_ends_early_and_so_do_its_bars():
    bars = intraday(date(2024, 7, 2), date(2024, 7, 5), symbols=("AAA",))
    assert ends(bars, "1d") == [at(2024, 7, 3, 13), at(2024, 7, 5, 16)]
    assert ends(bars, "1h")[:4] == [at(2024, 7, 3, *clock) for clock in ((10, 30), (11, 30), (12, 30), (13, 0))]


def first_seen(bars, feature_name):
    """known_at of the first bar with each new value of the feature."""
    found = compute(bars, [feature_name]).collect().drop_nulls(feature_name)
    return found.filter(pl.col(feature_name).rle_id().diff().fill_null(1) > 0)["known_at"].to_list()


def daily(first, last, calendar="XNYS"):
    held = sessions(calendar, first, last)
    level = np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.02, held.height)))
    return pl.DataFrame(
        {"symbol": "AAA", "ts": held["open"], "session": held["session"], "known_at": held["close"]}
    ).with_columns(*[pl.Series(name, level) for name in ("open", "high", "low", "close")], volume=pl.lit(1.0))


def test_a_week_ends_with_its_last_session():
    """Good Friday 2024 (29 March) is no session: the week ended on Thursday's close."""
    seen = first_seen(daily(date(2024, 3, 4), date(2024, 4, 12)), "return_1@1w")
    assert seen == [at(2024, 3, 22, 16), at(2024, 3, 28, 16), at(2024, 4, 5, 16), at(2024, 4, 12, 16)]


def test_a_week_over_new_year_is_one_week():
    seen = first_seen(daily(date(2024, 12, 16), date(2025, 1, 11)), "return_1@1w")
    assert seen == [at(2025, 1, 3, 16), at(2025, 1, 10, 16)]


def test_a_closure_that_nobody_planned_ends_no_week_beforehand():
    """Friday 11 June 2004, mourning for President Reagan: on Thursday's close the week seemed to have a day left."""
    seen = first_seen(daily(date(2004, 5, 17), date(2004, 6, 25)), "return_1@1w")
    assert seen == [at(2004, 6, 4, 16), at(2004, 6, 14, 16), at(2004, 6, 18, 16), at(2004, 6, 25, 16)]


def test_a_month_ends_with_its_last_session():
    seen = first_seen(daily(date(2024, 1, 2), date(2024, 6, 3)), "return_1@1mo")
    assert seen == [at(2024, 3, 28, 16), at(2024, 4, 30, 16), at(2024, 5, 31, 16)]


def test_a_session_that_the_calendar_lacks_is_closed_when_its_successor_has_begun():
    """Bars of day and night on New York's calendar, which has no Saturday 6 and Sunday 7 January 2024."""
    bars = intraday(date(2024, 1, 4), date(2024, 1, 8), timedelta(hours=1), symbols=("AAA",), calendar="24/7")
    made = coarsened(bars, ["adj_close"], timeframe("1d"), Context(), True)
    changes = bars.with_columns(seen=made.seen).filter(pl.col("seen").diff() != 0)
    assert changes["seen"].to_list() == [0, 1, 2, 3]
    assert changes["ts"].to_list() == [
        datetime(2024, 1, 5, 20, tzinfo=UTC),  # the bar that ends with Friday's close
        datetime(2024, 1, 7, 0, tzinfo=UTC),
        datetime(2024, 1, 8, 0, tzinfo=UTC),
        datetime(2024, 1, 8, 20, tzinfo=UTC),
    ]
    whole = coarsened(bars, ["adj_close"], timeframe("1d"), Context(calendar="24/7"), True)
    assert whole.bars["known_at"].dt.date().to_list() == [date(2024, 1, day) for day in (6, 7, 8, 9)]


def test_what_is_traded_after_hours_is_no_part_of_the_day():
    hours = intraday(date(2024, 1, 8), date(2024, 1, 12), symbols=("AAA",))
    late = (
        hours.group_by("session", maintain_order=True)
        .last()
        .with_columns(ts=pl.col("ts") + 2 * STEP, known_at=pl.col("known_at") + 2 * STEP, adj_close=pl.lit(1e6))
    )
    both = pl.concat([hours, late.select(hours.columns)]).sort("ts")
    names = ["return_1@1d", "volatility_5@1h"]
    plain, with_late = (compute(each, names[:1]).collect() for each in (hours, both))
    regular = with_late.join(hours, on="ts", how="semi")
    assert regular["return_1@1d"].equals(plain["return_1@1d"])
    assert compute(both, ["return_1@1h"]).collect()["return_1@1h"].max() > 1000


def test_a_bar_known_late_delays_the_coarse_bar_it_is_part_of():
    bars = intraday(date(2024, 1, 8), date(2024, 1, 10), symbols=("AAA",))
    moved = bars.with_row_index("i").with_columns(
        known_at=pl.when(pl.col("i") == 14).then(at(2024, 1, 9, 12)).otherwise("known_at")
    )
    seen = first_seen(moved, "intraday_return@1h")
    assert first_seen(bars, "intraday_return@1h")[:2] == [at(2024, 1, 9, 10, 30), at(2024, 1, 9, 11, 30)]
    assert seen[0] == at(2024, 1, 9, 12)
    live = stream(["intraday_return@1h"], moved.head(0))
    fed = [live.update(row)["intraday_return@1h"] for row in moved.iter_rows(named=True)]
    assert fed == compute(moved, ["intraday_return@1h"]).collect()["intraday_return@1h"].to_list()


def streamed(bars, features, before=0):
    """The features of a stream, symbol by symbol in order, after so many bars of history."""
    live = Stream(features)
    live.start(bars.head(before))
    return pl.DataFrame([live.update(row) for row in bars.slice(before).iter_rows(named=True)])


def test_a_delayed_feed_sees_no_coarse_bar_before_its_last_part():
    """Three quarters of an hour late: the first half of an hour is known after the hour's end."""
    bars = intraday(date(2024, 1, 8), date(2024, 1, 11), symbols=("AAA",))
    late = bars.with_columns(known_at=pl.col("known_at") + timedelta(minutes=45))
    one = PICKED.pick(["return_1"])
    features = FeatureSet("one", tuple(coarse(*one, name) for name in ("1h", "1d")))
    held = computed(late, features)
    for count in range(1, late.height + 1):
        assert computed(late.head(count), features).equals(held.head(count))
    assert streamed(late, features).equals(held.select(features.names))


def test_a_calendar_that_is_not_the_bars_own_moves_no_session_back():
    """Days in UTC on the calendar of foreign exchange, whose sessions open before the bars' last day is over."""
    bars = intraday(date(2024, 1, 8), date(2024, 1, 12), timedelta(hours=1), symbols=("AAA",), calendar="24/7")
    forex = Context(calendar="FX")
    made = coarsened(bars, ["adj_close"], timeframe("5h"), forex, True).bars
    assert made["ts"].dt.hour().unique().sort().to_list() == [0, 5, 10, 15, 20, 22]
    assert made["ts"].is_sorted()
    features = FeatureSet("one", (coarse(*PICKED.pick(["return_1"]), "5h"),))
    live = Stream(features, forex)
    live.start(bars.head(50))
    fed = [live.update(row)["return_1@5h"] for row in bars.slice(50).iter_rows(named=True)]
    assert fed == computed(bars, features, forex)["return_1@5h"][50:].to_list()


def test_bars_without_session_and_known_at_have_days_in_utc_and_are_known_at_their_start():
    starts = pl.datetime_range(
        datetime(2024, 3, 9), datetime(2024, 3, 12), "1h", closed="left", time_zone="UTC", eager=True
    )
    level = np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.02, starts.len())))
    plain = pl.DataFrame({"symbol": "BTC", "ts": starts, **dict.fromkeys(("open", "high", "low", "close"), level)})
    plain = plain.with_columns(volume=pl.lit(1.0))
    found = compute(plain, ["intraday_return@1d", "return_1@4h"]).collect()
    days = found.drop_nulls("intraday_return@1d")
    assert days["ts"][0] == datetime(2024, 3, 11, tzinfo=UTC)
    assert days["intraday_return@1d"][0] == pytest.approx(level[47] / level[24] - 1)
    fours = found.drop_nulls("return_1@4h")
    assert fours["ts"][0].time() == time(8)
    assert fours["return_1@4h"][0] == pytest.approx(level[31] / level[27] - 1)
    told = plain.with_columns(known_at=pl.col("ts") + timedelta(hours=1))
    assert compute(told, ["intraday_return@1d"]).collect().drop_nulls("intraday_return@1d")["ts"][0].time() == time(23)


def test_hours_start_with_the_session_although_its_first_bar_is_missing():
    bars = intraday(date(2024, 1, 8), date(2024, 1, 9), symbols=("AAA",))
    later = bars.filter(~((pl.col("session") == date(2024, 1, 9)) & (pl.col("ts").dt.time() == time(14, 30))))
    assert ends(later, "1h") == ends(bars, "1h")
    features = FeatureSet("one", (coarse(*ALL.pick(["intraday_return"]), "1h"),))
    assert streamed(later, features).equals(computed(later, features).select(features.names))


def rank() -> pl.Expr:
    """Rank of the return among the symbols of the instant."""
    return (pl.col("return_1").rank() / pl.col("return_1").count()).over("ts")


def test_features_across_symbols_have_coarser_bars_too_and_wait_for_all_symbols():
    across = Feature("rank", "test", "", Across(rank, of=(*PICKED.pick(["return_1"]),)), lookback=1, bounds=(0.0, 1.0))
    both = FeatureSet("across", (coarse(across, "1d"), coarse(PICKED.features[3], "1d")))
    held = computed(BARS, both)
    assert held["rank@1d"].drop_nulls().n_unique() >= 3
    for now in BARS["known_at"].unique().sort().gather_every(171, offset=90):
        past = BARS.filter(pl.col("known_at") <= now)
        assert computed(past, both).equals(held.join(past, on=["symbol", "ts"], how="semi", maintain_order="left"))
    last = (pl.col("symbol") == "CCC") & (pl.col("ts") == at(2023, 11, 14, 15, 30))
    late = BARS.with_columns(known_at=pl.when(last).then(at(2023, 11, 15, 12)).otherwise("known_at"))
    changed = computed(late, both).with_columns(was=held["rank@1d"]).filter(pl.col("rank@1d") != pl.col("was"))
    waits = changed.filter(symbol="AAA")["known_at"]
    assert (waits.min(), waits.max()) == (at(2023, 11, 14, 16), at(2023, 11, 15, 11, 30))
    with pytest.raises(ConfigError, match="has no streaming form"):
        Stream(both)


def test_names_at_a_timeframe_are_features_like_others():
    found = compute(BARS, ["rsi_2@1h", "rsi_2", "rsi_2@1d"]).collect()
    assert found.columns == ["symbol", "ts", "session", "known_at", "rsi_2@1h", "rsi_2", "rsi_2@1d"]
    feature = ALL.pick(["rsi_2@1h"]).features[0]
    assert (feature.bounds, feature.scope, feature.streaming) == (
        (0.0, 100.0),
        "symbol",
        ALL.pick(["rsi_2"]).features[0].streaming,
    )
    assert feature.code_version != ALL.pick(["rsi_2@1d"]).features[0].code_version


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rsi_2@7x", "timeframe '7x' is unknown; use minutes or hours"),
        ("rsi_2@24h", "timeframe '24h' is unknown"),
        ("rsi_2@0m", "timeframe '0m' is unknown"),
        ("rsi_2@", "timeframe '' is unknown"),
        ("rsj_2@1h", "feature 'rsj_2' is unknown; did you mean"),
        ("rsi_2@1h@1d", "'rsi_2@1h' is one of coarser bars already"),
    ],
)
def test_names_that_mean_nothing_are_refused(name, message):
    with pytest.raises(ConfigError, match=message):
        compute(BARS, [name])


@pytest.mark.parametrize(
    ("bars", "name", "size"),
    [
        (BARS, "30m", "30 minutes"),
        (BARS, "15m", "30 minutes"),
        (daily(date(2024, 1, 2), date(2024, 2, 2)), "1d", "one a session"),
        (daily(date(2024, 1, 2), date(2024, 2, 2)), "1h", "one a session"),
        (daily(date(2024, 1, 2), date(2024, 2, 2)).gather_every(5), "1w", "longer than a session"),
    ],
    ids=["same", "finer", "daily", "hours of days", "weekly"],
)
def test_a_timeframe_that_is_not_coarser_is_refused(bars, name, size):
    with pytest.raises(ConfigError, match=f"'{name}' is not coarser than the bars, {size}"):
        compute(bars, [f"return_1@{name}"]).collect()
    with pytest.raises(ConfigError, match="not coarser"):
        stream([f"return_1@{name}"], bars)


@pytest.mark.parametrize("bars", [BARS.head(0), BARS.head(1)], ids=["none", "one"])
def test_too_few_bars_have_no_values(bars):
    found = computed(bars)
    assert found.height == bars.height
    assert found.select(
        each for each in EVERY.names if "@" in each
    ).null_count().sum_horizontal().sum() == bars.height * (len(EVERY) - 1)
