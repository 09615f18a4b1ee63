"""What must hold for any history of intraday bars: no row knows the future, and every slot has one."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.cleaned import clean
from quant_assets.cleaned.sessions import by_session
from resources.calendars import session_date, sessions
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA, PRICES
from resources.market_data.timeframes import INTRADAY

FETCHED = datetime(2030, 1, 1, tzinfo=UTC)
VENUES = {"NY": "XNYS", "ES": "CMES", "BTC": "24/7", "FX": "FX"}
INSTRUMENTS = pl.DataFrame({"symbol": list(VENUES), "calendar": list(VENUES.values())})
# Around New York's changes of the clock in 2014, with a half day after the second.
SPANS = [(date(2014, 3, 5), date(2014, 3, 13)), (date(2014, 10, 29), date(2014, 11, 6)),
         (date(2014, 11, 25), date(2014, 12, 3))]  # fmt: skip
TIMEFRAMES = ("30m", "1h", "4h")


def history(seed: int) -> tuple[pl.DataFrame, pl.DataFrame, str]:
    """Bars with holes, strays, doubles and defects; splits and dividends; the timeframe."""
    chance = random.Random(seed)
    timeframe, (start, end) = chance.choice(TIMEFRAMES), chance.choice(SPANS)
    step = INTRADAY[timeframe]
    rows, acted = [], []
    for symbol in chance.sample(list(VENUES), 2):
        price, shift = 100.0, timedelta(minutes=chance.choice([0, 0, 30]))
        now = datetime(start.year, start.month, start.day, tzinfo=UTC) + shift
        opens = sessions(VENUES[symbol], start, end)["open"]
        while now.date() <= end:
            stray = chance.random() < 0.02
            price *= 1 + chance.gauss(0, 0.004) + (chance.random() < 0.01) * chance.choice([-0.5, 1.0])
            prices = [price * (1 + chance.uniform(-0.003, 0.003)) for _ in range(2)]
            bar = [prices[0], max(prices) * 1.001, min(prices) * 0.999, prices[1]]
            if chance.random() < 0.01:
                bar[chance.randrange(4)] *= chance.choice([-1.0, 0.0, 100.0, 0.5])
            if chance.random() < 0.85:
                stamp = now + timedelta(seconds=chance.choice([-1, 5, 700])) * stray
                rows.append((symbol, stamp, *bar, float(chance.randrange(4) * 100)))
            if chance.random() < 0.01 and rows:
                rows.append(rows[-1])
            now += step
        for opening in opens:
            if chance.random() < 0.15:
                acted.append((symbol, opening, *chance.choice([("split", 2.0), ("dividend", 1.0), ("split", 0.5)])))
    bars = pl.DataFrame(rows, schema=["symbol", "ts", *PRICES, "volume"], orient="row").with_columns(
        pl.col("ts").cast(BAR_SCHEMA["ts"]), provider=pl.lit("test"), fetched_at=pl.lit(FETCHED).cast(BAR_SCHEMA["ts"])
    )
    actions = pl.DataFrame(
        [(*row, "test", row[1], row[1]) for row in acted], schema=dict(ACTION_SCHEMA), orient="row"
    )  # fmt: skip
    return bars.with_columns(known_at=pl.col("ts") + step).select(BAR_SCHEMA.names()), actions, timeframe


@given(seed=st.integers(0, 10_000), share=st.floats(0.1, 0.95), unsaid=st.booleans())
@settings(max_examples=25, deadline=None)
def test_a_longer_history_never_changes_a_row(seed, share, unsaid):
    bars, actions, timeframe = history(seed)
    if unsaid:
        bars = bars.with_columns(known_at=pl.lit(None, BAR_SCHEMA["known_at"]))
    whole = clean(bars.lazy(), actions.lazy(), INSTRUMENTS, None, timeframe).bars.collect()
    cut = bars["ts"].min() + (bars["ts"].max() - bars["ts"].min()) * share
    before = [part.filter(pl.col("ts") <= cut).lazy() for part in (bars, actions)]
    head = clean(*before, INSTRUMENTS, None, timeframe).bars.collect()
    # A slot at the cut may have lost a bar that was stamped late in it.
    done = head.filter(pl.col("ts") + INTRADAY[timeframe] <= cut)
    assert done.height > 0
    again = whole.join(done.select("symbol", "ts"), on=["symbol", "ts"], how="semi", maintain_order="left")
    assert again.equals(done)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_every_slot_has_one_row_of_good_numbers(seed):
    bars, actions, timeframe = history(seed)
    frame = clean(bars.lazy(), actions.lazy(), INSTRUMENTS, None, timeframe).bars.collect()
    step = INTRADAY[timeframe]
    for part in frame.partition_by("symbol"):
        calendar = VENUES[part["symbol"][0]]
        held = sessions(calendar, part["session"].min(), part["session"].max())
        assert part["session"].unique(maintain_order=True).equals(held["session"])
        hours = held.select("session", opens="open", closes="close")
        placed = part.join(hours, on="session", maintain_order="left")
        assert (placed["ts"] + step > placed["opens"]).all()
        assert (placed["ts"] < placed["closes"]).all()
        assert (part["ts"].diff().drop_nulls() >= step).all()
        dated = placed.filter(pl.col("ts") >= pl.col("opens"))
        assert dated.select(session_date(pl.col("ts"), calendar)).to_series().equals(dated["session"])
    numbers = frame.select(pl.col(pl.Float64))
    assert numbers.null_count().sum_horizontal().item() == 0
    assert numbers.select(pl.all().is_finite().all()).row(0) == (True,) * numbers.width
    assert frame.select(pl.min_horizontal(*PRICES).min()).item() > 0
    assert (frame["known_at"] >= frame["ts"] + step).all()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_no_bar_leaves_without_a_word(seed):
    bars, actions, timeframe = history(seed)
    result = clean(bars.lazy(), actions.lazy(), INSTRUMENTS, None, timeframe)
    told = result.findings.group_by("rule").len()
    left_out = told.filter(pl.col("rule").is_in(["out_of_session", "duplicate", "half_built"]))["len"].sum()
    before = result.findings.filter((pl.col("rule") == "invalid_value") & pl.col("new").is_null())
    kept = result.bars.filter(~pl.col("flags").list.contains("missing_bar")).select(pl.len()).collect().item()
    assert kept + left_out + before.select("symbol", "ts").n_unique() == bars.height


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_sessions_hold_what_their_bars_hold(seed):
    bars, actions, timeframe = history(seed)
    frame = clean(bars.lazy(), actions.lazy(), INSTRUMENTS, None, timeframe).bars.collect()
    daily = by_session(frame.lazy()).collect()
    rows = {(row["symbol"], row["session"]): row for row in daily.iter_rows(named=True)}
    assert len(rows) == daily.height == frame.select("symbol", "session").n_unique()
    for (symbol, session), part in frame.group_by("symbol", "session"):
        row, flags = rows[symbol, session], sorted({flag for flags in part["flags"] for flag in flags})
        real = [bar for bar in part.iter_rows(named=True) if "missing_bar" not in bar["flags"]]
        assert row["flags"] == (flags if real else sorted({*flags, "missing_session"}))
        used = real or part.rows(named=True)
        for prefix in ("", "adj_"):
            assert row[prefix + "open"] == used[0][prefix + "open"]
            assert row[prefix + "high"] == max(bar[prefix + "high"] for bar in used)
            assert row[prefix + "low"] == min(bar[prefix + "low"] for bar in used)
            assert row[prefix + "close"] == used[-1][prefix + "close"]
            assert row[prefix + "volume"] == pytest.approx(part[prefix + "volume"].sum())
        assert (row["ts"], row["known_at"]) == (part["ts"].min(), part["known_at"].max())
        assert row["split"] == pytest.approx(part["split"].product())
        assert row["split_factor"] == part["split_factor"][-1]


def test_the_histories_hold_what_they_promise():
    found = set()
    for seed in range(30):
        bars, actions, timeframe = history(seed)
        found |= set(clean(bars.lazy(), actions.lazy(), INSTRUMENTS, None, timeframe).findings["rule"])
    promised = {"clock_error", "duplicate", "invalid_value", "missing_bar", "out_of_session", "split_unconfirmed"}
    assert found >= promised
