"""Records come onto bars by the instant each was known: cases by hand, and against a replay in plain Python."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.features.alternative.attach import FLOWS, LEVELS, attach_records
from quant_assets.features.alternative.records import KINDS, RECORD_SCHEMA
from quant_assets.features.columns.records import EXTRAS
from resources.calendars import UTC_MICROS
from resources.errors import BarSchemaError, ConfigError

START = datetime(2024, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
BEGAN = dict.fromkeys(KINDS, START - 400 * DAY)


def day(number):
    return START + number * DAY


def bars(count=6, symbols=("A",), **columns):
    """A bar a day from midnight on, known at 20:00; close 100, volume 1,000."""
    stamps = pl.Series("ts", [day(i) for i in range(count)], UTC_MICROS)
    one = pl.DataFrame(stamps).with_columns(
        known_at=pl.col("ts") + timedelta(hours=20), close=pl.lit(100.0), volume=pl.lit(1000.0)
    )
    made = pl.concat([one.with_columns(symbol=pl.lit(symbol)) for symbol in symbols])
    return made.with_columns(pl.Series(name, values) for name, values in columns.items())


def records(*rows, field, symbol="A"):
    """(id, event day, known day, value), or with a symbol of its own."""
    rows = [(*row, symbol) if len(row) == 4 else row for row in rows]
    made = [(name, id, field, day(event), day(known), value) for id, event, known, value, name in rows]
    return pl.DataFrame(made, schema=dict(RECORD_SCHEMA), orient="row")


def earnings(*rows, **columns):
    """Times 100: the close is 100."""
    given = {"fundamentals": records(*rows, field="earnings_per_share")}
    found = attach_records(bars(**columns), given).collect()["alt_earnings"]
    return [None if value is None else round(100 * value, 9) for value in found]


LEVEL = [  # (id, event day, known day, value)
    ("known from its known_at on, not its event", [("q1", -90, 2, 5.0)], [None, None, 5, 5, 5, 5]),
    ("known after a bar's end counts for the next", [("q1", -90, 1.9, 5.0)], [None, None, 5, 5, 5, 5]),
    ("known exactly at a bar's end counts for it", [("q1", -90, 1 + 20 / 24, 5.0)], [None, 5, 5, 5, 5, 5]),
    ("a newer period", [("q1", -90, 0, 5.0), ("q2", 0, 3, 6.0)], [5, 5, 5, 6, 6, 6]),
    ("a correction, from its own known_at on", [("q1", -90, 0, 5.0), ("q1", -90, 3, 4.0)], [5, 5, 5, 4, 4, 4]),
    (
        "a late correction of an old period changes nothing",
        [("q1", -90, 0, 5.0), ("q2", 0, 2, 6.0), ("q1", -90, 4, 1.0)],
        [5, 5, 6, 6, 6, 6],
    ),
    ("an old period that arrives late neither", [("q2", 0, 2, 6.0), ("q1", -90, 4, 5.0)], [None, None, 6, 6, 6, 6]),
    ("taken back", [("q1", -90, 1, 5.0), ("q1", -90, 3, None)], [None, 5, 5, None, None, None]),
    (
        "taken back: what it was before is in force again, as corrected",
        [("q1", -90, 0, 5.0), ("q2", 0, 1, 6.0), ("q1", -90, 2, 4.0), ("q2", 0, 3, None)],
        [5, 6, 6, 4, 4, 4],
    ),
    (
        "taken back and said again",
        [("q1", -90, 0, 5.0), ("q1", -90, 2, None), ("q1", -90, 4, 7.0)],
        [5, 5, None, None, 7, 7],
    ),
    (
        "a correction of the event puts it behind another",
        [("q1", -90, 0, 5.0), ("q2", 0, 1, 6.0), ("q2", -180, 3, 6.0)],
        [5, 6, 6, 5, 5, 5],
    ),
    ("two of one period: the one said last", [("a", -90, 1, 5.0), ("b", -90, 3, 6.0)], [None, 5, 5, 6, 6, 6]),
]


@pytest.mark.parametrize(("rows", "wanted"), [case[1:] for case in LEVEL], ids=[case[0] for case in LEVEL])
def test_level(rows, wanted):
    assert earnings(*rows) == wanted
    assert earnings(*reversed(rows)) == wanted


def test_level_before_and_age():
    rows = records(("q1", -90, 0, 5.0), ("q2", 0, 2, 6.0), ("q1", -90, 4, 4.0), field="earnings_per_share")
    made = attach_records(bars(), {"fundamentals": rows}).collect()
    assert made["alt_earnings_before"].to_list() == [None, None, 0.05, 0.05, 0.04, 0.04]
    assert made["alt_earnings_age"].to_list() == pytest.approx([x + 20 / 24 for x in (0, 1, 0, 1, 2, 3)])


def test_amounts_per_share_follow_later_splits():
    """10 a share, then a split of 2 on day 2: 5 a new share at half the price; said anew after the split: 6."""
    split = {"close": [100.0, 100, 50, 50, 50, 50], "split_factor": [1.0, 1, 2, 2, 2, 2]}
    assert earnings(("q1", -90, 1, 10.0), **split) == [None, 10, 10, 10, 10, 10]
    assert earnings(("q1", -90, 1, 10.0), ("q2", 0, 3, 6.0), **split) == [None, 10, 10, 12, 12, 12]


def test_turnover_is_the_volume_over_the_shares_there_are():
    shares = {"fundamentals": records(("s", -9, 1, 5000.0), field="shares_outstanding")}
    plain = attach_records(bars(), shares).collect()["alt_turnover"]
    assert plain.to_list() == [None, 0.2, 0.2, 0.2, 0.2, 0.2]
    split = bars(split_factor=[1.0, 1, 2, 2, 2, 2], volume=[1000.0, 1000, 2000, 2000, 2000, 2000])
    assert attach_records(split, shares).collect()["alt_turnover"].to_list() == plain.to_list()


def news(*rows, count=6, **options):
    given = {"news": records(*rows, field="sentiment")}
    return attach_records(bars(count), given, **({"since": BEGAN} | options)).collect()


def test_flows_count_from_when_a_record_first_became_known():
    made = news(("a", -30, 1, 0.5), ("b", -300, 1.1, -0.1), ("c", 3, 3, 1.0), count=12)
    assert made["alt_news_1d"].to_list() == [0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert made["alt_news_7d"].to_list() == [0, 2, 2, 3, 3, 3, 3, 3, 1, 1, 0, 0]
    assert made["alt_news_mean_7d"][2:4].to_list() == pytest.approx([0.2, 1.4 / 3])
    assert made["alt_news_mean_7d"][11] is None


def test_a_correction_or_withdrawal_changes_a_flow_from_its_own_known_at_on_and_not_its_window():
    made = news(("a", 0, 1, 0.5), ("a", 0, 3, -0.5), ("b", 0, 1, 0.3), ("b", 0, 4, None), count=12)
    assert made["alt_news_7d"].to_list() == [0, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0]
    assert made["alt_news_mean_7d"][1:6].to_list() == pytest.approx([0.4, 0.4, -0.1, -0.5, -0.5])


def test_a_window_ends_at_its_very_instant():
    """Known on day 0 at 20:00: 7 days later to the microsecond it is over."""
    made = news(("a", 0, 20 / 24, 0.5), count=9)
    assert made["alt_news_7d"].to_list() == [1, 1, 1, 1, 1, 1, 1, 0, 0]


def test_a_flow_is_null_until_its_feed_is_as_old_as_the_window():
    young = news(("a", 0, 1, 0.5), count=10, since=None)
    assert young["alt_news_7d"].to_list() == [None] * 8 + [0, 0]
    other = {"news": records(("a", 0, 1, 0.5, "B"), field="sentiment")}
    alone = attach_records(bars(10), other).collect()
    assert alone["alt_news_7d"].to_list() == [None] * 8 + [0, 0]


def test_insider_trades_are_held_against_the_volume_of_their_window():
    given = {"insider": records(("a", 0, 0, 3000.0), ("b", 0, 95, -1000.0), field="shares")}
    made = attach_records(bars(100), given, since=BEGAN).collect()
    assert made["alt_insider_net_90d"][:90].null_count() == 90, "the bars do not reach back 90 days"
    assert made["alt_insider_net_90d"][90] == 0.0
    assert made["alt_insider_net_90d"][99] == pytest.approx(-1000 / 90_000)
    assert made["alt_insider_bought_90d"][50] == 1.0
    assert made["alt_insider_count_90d"].to_list() == [1.0] * 90 + [0.0] * 5 + [1.0] * 5
    split = bars(100, split_factor=[1.0] * 60 + [2.0] * 40, volume=[1000.0] * 60 + [2000.0] * 40)
    doubled = {"insider": given["insider"].with_columns(value=pl.when(id="b").then(-2000.0).otherwise("value"))}
    assert (
        attach_records(split, doubled, since=BEGAN).collect()["alt_insider_net_90d"].equals(made["alt_insider_net_90d"])
    )


# --- against a replay -------------------------------------------------------------------------------------------------


def replayed(bar, versions, field, began):
    """The columns of one bar from exactly the versions known when it ended."""
    kind = next(kind for kind, fields in KINDS.items() if field in fields and kind == versions.kind)
    seen, first = {}, {}
    for version in versions.rows:
        if version["symbol"] == bar["symbol"] and version["known_at"] <= bar["known_at"]:
            seen[version["id"]] = version
            first.setdefault(version["id"], version["known_at"])
    living = [version for version in seen.values() if version["value"] is not None]
    if (kind, field) in LEVELS:
        level = LEVELS[kind, field]
        ranked = sorted(living, key=lambda each: (each["event_time"], each["known_at"], each["id"]))[::-1]
        told = {"price": lambda x: x / bar["close"], "volume": lambda x: bar["volume"] / x, "": lambda x: x}[level.over]
        values = [told(version["value"]) for version in ranked[:2]] + [None, None]
        made = {level.value: values[0]}
        if level.before:
            made[level.before] = values[1]
        if level.age:
            made[level.age] = (bar["known_at"] - ranked[0]["known_at"]) / DAY if ranked else None
        return made
    made = {}
    for days, columns in FLOWS[kind, field].items():
        own = [each["value"] for each in living if first[each["id"]] > bar["known_at"] - days * DAY]
        found = {
            "count": len(own),
            "sum": math.fsum(own),
            "mean": math.fsum(own) / len(own) if own else None,
            "above": sum(value > 0 for value in own) / len(own) if own else None,
            "over_volume": math.fsum(own) / (1000.0 * days),
        }
        old = bar["known_at"] - days * DAY >= began
        made |= {columns[what]: value if old else None for what, value in found.items() if what in columns}
    return made


class Versions:
    def __init__(self, kind, frame):
        self.kind = kind
        self.rows = frame.sort("known_at", "id").rows(named=True)


HOURS = st.integers(0, 30 * 24).map(lambda hours: hours / 24)
DRAWN = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", "d", "e"]), st.integers(-5, 0), HOURS,
        st.one_of(st.none(), st.integers(-8, 8).map(lambda n: n / 8)), st.sampled_from(["A", "B"]),
    ),
    min_size=1, max_size=30, unique_by=lambda row: (row[0], row[2], row[4]),
)  # fmt: skip
REPLAYED = [("news", "sentiment"), ("social", "mentions"), ("sentiment", "score"), ("esg", "score"),
            ("fundamentals", "earnings_per_share")]  # fmt: skip


def positive(rows, field):
    """Values that the field may have."""
    return [(*row[:3], abs(row[3]) if row[3] and field == "mentions" else row[3], row[4]) for row in rows]


@pytest.mark.parametrize(("kind", "field"), REPLAYED)
@given(rows=DRAWN)
@settings(max_examples=60)
def test_every_bar_holds_what_a_replay_of_the_records_known_by_then_gives(kind, field, rows):
    scaled = positive(rows, field) if kind != "esg" else [(*row[:3], abs(row[3] or 0) + 1, row[4]) for row in rows]
    frame = records(*scaled, field=field)
    market = bars(40, ("A", "B"))
    made = attach_records(market, {kind: frame}).collect()
    versions, began = Versions(kind, frame), frame["known_at"].min()
    for bar in made.iter_rows(named=True):
        for name, value in replayed(bar, versions, field, began).items():
            assert bar[name] == (value if value is None else pytest.approx(value, rel=1e-12, abs=1e-12)), name


def everything(seed=1, count=3000, span=120):
    """Records of all kinds with corrections, withdrawals and late arrivals."""
    random = np.random.default_rng(seed)
    made = {}
    for kind, fields in KINDS.items():
        parts = []
        for name, field in fields.items():
            low, high = max(field.lower, -50.0), min(field.upper, 50.0)
            known = random.integers(0, span * 1440, count)
            part = pl.DataFrame(
                {
                    "symbol": random.choice(["A", "B", "C"], count),
                    "id": [f"{n}" for n in random.integers(0, count // 2, count)],
                    "field": name,
                    "event_time": [day(minutes / 1440 - lag) for minutes, lag in
                                   zip(known, random.exponential(30, count), strict=True)],
                    "known_at": [day(minutes / 1440) for minutes in known],
                    "value": np.where(random.random(count) < 0.1, np.nan, random.uniform(low + 1e-6, high, count)),
                }
            )  # fmt: skip
            parts.append(part.with_columns(pl.col("value").fill_nan(None)))
        whole = pl.concat(parts).cast(dict(RECORD_SCHEMA))
        made[kind] = whole.unique(["symbol", "id", "field", "known_at"], keep="first", maintain_order=True)
    return made


ALL = everything()
MARKET = bars(130, ("A", "B", "C"))


@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind, fields in KINDS.items() for field in fields])
def test_generated_records_are_replayed_too(kind, field):
    own = ALL[kind].filter(field=field)
    assert own.select(pl.struct("symbol", "id").is_duplicated().sum(), pl.col("value").null_count()).row(0) > (500, 100)
    made = attach_records(MARKET, {kind: own}).collect()
    versions, began = Versions(kind, own), own["known_at"].min()
    for bar in made[95::7].iter_rows(named=True):
        for name, value in replayed(bar, versions, field, began).items():
            assert bar[name] == (value if value is None else pytest.approx(value, rel=1e-12, abs=1e-12)), name


def test_every_column_is_made_and_within_its_bounds():
    made = attach_records(MARKET, ALL).collect()
    assert set(made.columns) - set(MARKET.columns) == set(EXTRAS)
    for name, extra in EXTRAS.items():
        values = made[name].drop_nulls()
        assert values.len() > 50
        assert values.is_finite().all()
        assert values.is_between(*extra.bounds).all()


@pytest.mark.parametrize("last", [10, 60, 110])
def test_without_the_records_known_later_every_bar_is_the_same(last):
    whole = attach_records(MARKET, ALL).collect()
    end = day(last) + timedelta(hours=20)
    past = {kind: rows.filter(pl.col("known_at") <= end) for kind, rows in ALL.items()}
    cut = attach_records(MARKET, past).collect()
    held = pl.col("known_at") <= end
    assert cut.filter(held).equals(whole.filter(held))
    assert not cut.equals(whole)


def test_event_dates_alone_change_nothing_but_the_order_of_periods():
    whole = attach_records(MARKET, ALL).collect()
    earlier = {kind: rows.with_columns(pl.col("event_time") - timedelta(days=1000)) for kind, rows in ALL.items()}
    assert attach_records(MARKET, earlier).collect().equals(whole)
    random = np.random.default_rng(2)
    shuffled = {
        kind: rows.with_columns(
            event_time=pl.col("known_at") - pl.duration(minutes=pl.Series(random.integers(0, 10**6, rows.height)))
        )
        for kind, rows in ALL.items()
        if kind in ("news", "social", "insider")
    }
    flows = [name for windows in FLOWS.values() for columns in windows.values() for name in columns.values()]
    assert attach_records(MARKET, shuffled).collect().select(flows).equals(whole.select(flows))


def test_the_order_of_rows_and_other_symbols_do_not_matter():
    whole = attach_records(MARKET, ALL, since=BEGAN).collect()
    mixed = {kind: rows.sample(fraction=1.0, shuffle=True, seed=3) for kind, rows in ALL.items()}
    assert attach_records(MARKET, mixed, since=BEGAN).collect().equals(whole)
    backwards = attach_records(MARKET.reverse(), ALL, since=BEGAN).collect()
    assert backwards.reverse().equals(whole)
    own = {kind: rows.filter(symbol="B") for kind, rows in ALL.items()}
    alone = attach_records(MARKET.filter(symbol="B"), own, since=BEGAN).collect()
    assert alone.equals(whole.filter(symbol="B"))


def test_nothing_given_and_no_bars():
    assert attach_records(MARKET, {}).collect().equals(MARKET)
    empty = attach_records(MARKET, {"news": ALL["news"].clear()}).collect()
    assert empty["alt_news_7d"].null_count() == empty.height
    assert attach_records(MARKET.clear(), ALL).collect().height == 0


def test_a_hundred_thousand_records_come_onto_as_many_bars_at_once():
    market = bars(1000, [f"S{n}" for n in range(100)])
    random = np.random.default_rng(4)
    known = pl.Series(random.integers(0, 1000 * 1440, 100_000))
    rows = pl.DataFrame(
        {
            "symbol": [f"S{n}" for n in random.integers(0, 100, 100_000)],
            "id": [str(n) for n in range(100_000)],
            "field": "sentiment",
            "value": random.uniform(-1, 1, 100_000),
        }
    )
    rows = rows.with_columns(known_at=pl.lit(START).dt.cast_time_unit("us") + pl.duration(minutes=known))
    given = {"news": rows.with_columns(event_time="known_at")}
    attach_records(MARKET, given)
    began = time.process_time()
    made = attach_records(market, given).collect()
    assert time.process_time() - began < 3, "a tenth of the speed that it has"
    assert made["alt_news_1d"].sum() == pytest.approx(100_000, rel=0.01)


# --- refused ----------------------------------------------------------------------------------------------------------

GOOD = records(("n7", 0, 2, 0.5), field="sentiment")
NAMED = r"news record n7 of A, known at 2024-01-03 00:00:00\+00:00 .*: "
BAD = [
    ("no known_at", GOOD.with_columns(known_at=pl.lit(None, UTC_MICROS)), "record n7 of A.*: known_at is missing"),
    ("known before its event", GOOD.with_columns(event_time=pl.lit(day(3))), NAMED + "known before its event"),
    ("without a zone", GOOD.with_columns(pl.col("known_at").dt.replace_time_zone(None)),
     r"record n7 of A.*: known_at is Datetime.* times are .*UTC"),
    ("of another zone", GOOD.with_columns(pl.col("event_time").dt.convert_time_zone("Europe/Paris")),
     NAMED + r"event_time is Datetime.*Paris"),
    ("unknown field", GOOD.with_columns(field=pl.lit("mood")), NAMED + "field is unknown; news has sentiment"),
    ("twice at one instant", pl.concat([GOOD, GOOD.with_columns(value=pl.lit(0.1))]), NAMED + "another version"),
    ("beyond its range", GOOD.with_columns(value=pl.lit(1.5)), NAMED + r"value must be a number from -1.0 to 1.0"),
    ("not a number", GOOD.with_columns(value=pl.lit(math.nan)), NAMED + "value must be a number"),
    ("no id", GOOD.with_columns(id=pl.lit(None, pl.String)), "record None of A.*: id is missing"),
    ("no event", GOOD.with_columns(event_time=pl.lit(None, UTC_MICROS)), NAMED + "event_time is missing"),
    ("no column", GOOD.drop("value"), "news records have no column value"),
]  # fmt: skip


@pytest.mark.parametrize(("rows", "message"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_bad_record_is_refused_by_name(rows, message):
    with pytest.raises(BarSchemaError, match=message):
        attach_records(bars(), {"news": rows})


def test_an_unknown_kind_is_refused_by_name():
    with pytest.raises(
        ConfigError, match=r"records of kind 'weather' are unknown \(first: A n7 2024-01-03.*news, social"
    ):
        attach_records(bars(), {"weather": GOOD})


def test_when_a_feed_began_is_told_for_a_kind_and_in_a_time_zone():
    with pytest.raises(ConfigError, match="since: 'weather' is no kind of record"):
        attach_records(bars(), {"news": GOOD}, since={"weather": START})
    with pytest.raises(ConfigError, match="since: news began at 2024-01-01 00:00:00, which has no time zone"):
        attach_records(bars(), {"news": GOOD}, since={"news": START.replace(tzinfo=None)})


def test_what_can_be_foreseen_may_be_known_before():
    ahead = records(("d", 5, 1, 2.0), field="dividends_per_share")
    made = attach_records(bars(), {"fundamentals": ahead}).collect()
    assert made["alt_dividends"].to_list() == [None, 0.02, 0.02, 0.02, 0.02, 0.02]


def test_bars_without_what_the_records_relate_to_are_refused():
    for missing in ("known_at", "close", "volume"):
        with pytest.raises(BarSchemaError, match=f"bars have no column {missing}"):
            attach_records(bars().drop(missing), {"fundamentals": ALL["fundamentals"]})
    with pytest.raises(BarSchemaError, match="bars: ts is Datetime"):
        attach_records(bars().with_columns(pl.col("ts").dt.replace_time_zone(None)), {"news": GOOD})
    with pytest.raises(BarSchemaError, match="has no symbol, ts or known_at"):
        attach_records(bars().with_columns(known_at=pl.lit(None, UTC_MICROS)), {"news": GOOD})
