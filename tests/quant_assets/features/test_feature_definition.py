"""The registry: names, look-backs, versions, and what compute promises."""

from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest

from quant_assets.features import ALL, GROUPS, Feature, FeatureSet, catalog, compute
from quant_assets.features.example import example_bars
from resources.errors import BarSchemaError, ConfigError

BARS = example_bars(sessions=400)
CLOSE = pl.col("adj_close")


def mean_distance(window: int) -> pl.Expr:
    """Close over its mean."""
    return CLOSE / CLOSE.rolling_mean(window) - 1


FEATURE = Feature("distance", "test", "", mean_distance, {"window": 20}, lookback=19)


def version_of(source: str, **changes: object) -> str:
    """Code version of a feature whose builder is `build` in a module of this source."""
    return replace(FEATURE, build=built(source), **changes).code_version


def built(source: str):
    import importlib.util
    import linecache
    import sys

    name, file = "a_users_module", f"<{abs(hash(source))}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader=None))
    module.__file__ = file
    sys.modules[name] = module
    exec(compile(source, file, "exec"), module.__dict__)
    return module.build


SOURCE = '''
import polars as pl

WINDOW = 20
NAME = pl.col("adj_close")

def mean(window):
    """The mean."""
    return NAME.rolling_mean(window)

def unrelated():
    return 1

def build(window):
    return NAME / mean(window + WINDOW)
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("NAME / mean", "NAME * mean"),
        ("rolling_mean", "rolling_median"),
        ("WINDOW = 20", "WINDOW = 21"),
        ('pl.col("adj_close")', 'pl.col("adj_open")'),
    ],
    ids=["builder", "helper", "constant", "column"],
)
def test_code_version_follows_the_definition(old, new):
    assert old in SOURCE
    assert version_of(SOURCE) != version_of(SOURCE.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return 1", "return 2"),
        ("The mean.", "Another sentence."),
        ("return NAME /", "# why\n    return  NAME /"),
    ],
    ids=["unrelated function", "docstring", "comment and layout"],
)
def test_code_version_ignores_what_does_not_matter(old, new):
    assert old in SOURCE
    assert version_of(SOURCE) == version_of(SOURCE.replace(old, new))


@pytest.mark.parametrize("change", [{"parameters": {"window": 21}}, {"lookback": 30}, {"name": "other"}])
def test_code_version_follows_the_parameters(change):
    assert replace(FEATURE, **change).code_version != FEATURE.code_version


def test_code_version_ignores_prose():
    assert replace(FEATURE, description="reworded", source="a book").code_version == FEATURE.code_version


def test_code_version_of_a_set_follows_its_features_and_not_their_order():
    other = replace(FEATURE, name="other")
    both = FeatureSet("set", (FEATURE, other))
    assert both.code_version == FeatureSet("set", (other, FEATURE)).code_version
    assert both.code_version != FeatureSet("set", (FEATURE,)).code_version
    assert both.code_version != FeatureSet("set", (FEATURE, replace(other, lookback=25))).code_version


@pytest.mark.parametrize("build", [lambda window: CLOSE, int])
def test_a_builder_without_source_is_refused(build):
    with pytest.raises(TypeError, match="distance: build must be a function with a name"):
        replace(FEATURE, build=build)


def test_a_name_twice_is_refused():
    with pytest.raises(ValueError, match=r"\['distance'\] defined more than once"):
        FeatureSet("set", (FEATURE, FEATURE))


def test_look_back_of_a_set_is_its_longest():
    assert FeatureSet("set", (FEATURE, replace(FEATURE, name="long", lookback=70))).lookback == 70


def test_catalogue_lists_everything_once():
    listed = catalog()
    assert listed["name"].to_list() == list(ALL.names)
    assert listed["name"].is_unique().all()
    assert listed["group"].unique(maintain_order=True).to_list() == [
        name for name, group in GROUPS.items() if len(group)
    ]
    row = listed.row(by_predicate=pl.col("name") == "adx_14", named=True)
    assert row["inputs"] == ["adj_close", "adj_high", "adj_low"]
    assert (row["group"], row["family"]) == ("technical", "trend")
    assert "14" in row["parameters"]
    assert (row["lower"], row["upper"]) == (0.0, 100.0)


@pytest.mark.parametrize("feature", list(ALL), ids=lambda feature: feature.name)
def test_every_entry_says_what_it_is(feature):
    assert feature.description[:1].isupper()
    assert feature.family
    assert feature.inputs
    assert feature.lookback >= 0
    assert feature.bounds[0] < feature.bounds[1]
    assert feature.streaming in {"compiled", "expression"} or feature.streaming.startswith("none: ")


def test_unknown_name_names_its_neighbours():
    with pytest.raises(ConfigError, match=r"'rsi_15' is unknown; did you mean rsi_14"):
        compute(BARS.lazy(), ["rsi_15"])
    with pytest.raises(ConfigError, match=r"catalog\(\) lists them all"):
        compute(BARS.lazy(), ["xyzzy"])


def test_compute_gives_the_asked_columns_for_every_row():
    result = compute(BARS.lazy(), ["rsi_14", "return_1", "rsi_14"])
    assert result.collect_schema() == result.collect().schema
    frame = result.collect()
    assert frame.columns == ["symbol", "ts", "session", "known_at", "rsi_14", "return_1"]
    assert frame.select("symbol", "ts").equals(BARS.select("symbol", "ts").sort("symbol", "ts"))


def test_a_filter_on_the_result_does_not_cut_the_history():
    day = BARS["session"].max()
    late = pl.col("session") == day
    lazy = compute(BARS.lazy(), ["return_252"]).filter(late).collect()
    assert lazy.equals(compute(BARS.lazy(), ["return_252"]).collect().filter(late))
    assert lazy["return_252"].null_count() == 0


def test_order_of_the_symbols_does_not_matter():
    by_time = BARS.sort("ts", pl.col("symbol").hash())
    assert compute(by_time, ["rsi_2"]).collect().equals(compute(BARS, ["rsi_2"]).collect())


PLAIN = BARS.select("symbol", "ts", "open", "high", "low", "close", "volume")


def test_plain_bars_count_as_adjusted():
    plain = compute(PLAIN, ["rsi_14", "volume_zscore_63"]).collect()
    assert plain.columns == ["symbol", "ts", "rsi_14", "volume_zscore_63"]
    whole = compute(BARS, ["rsi_14", "volume_zscore_63"]).collect()
    assert plain.equals(whole.select(plain.columns))


def spoiled(bars: pl.DataFrame, column: str, value: float) -> pl.DataFrame:
    return bars.with_columns(pl.when(pl.int_range(pl.len()) == 5).then(value).otherwise(column).alias(column))


REFUSED = {
    "missing column": (lambda bars: bars.drop("close"), "bars have no column close; they have symbol, ts"),
    "no symbol column": (lambda bars: bars.drop("symbol"), "bars have no column symbol"),
    "duplicate key": (lambda bars: pl.concat([bars, bars.head(1)]), "CALM 2010-01-04 .* more than one row"),
    "duplicate beside": (lambda bars: pl.concat([bars.head(1), bars]), "CALM 2010-01-04 .* more than one row"),
    "back in time": (lambda bars: pl.concat([bars[1:2], bars[:1], bars[2:]]), "CALM 2010-01-04 .* out of order"),
    "reversed": (lambda bars: bars.reverse(), "out of order; sort by ts"),
    "text for prices": (lambda bars: bars.cast({"close": pl.String}), "column close is String; it must"),
    "text for instants": (lambda bars: bars.cast({"ts": pl.String}), "column ts is String; it must"),
    "negative price": (lambda bars: spoiled(bars, "close", -5.0), "CALM 2010-01-11 .* close is -5.0; it must be above"),
    "price of zero": (lambda bars: spoiled(bars, "close", 0.0), "close is 0.0; it must be above zero"),
    "infinite price": (lambda bars: spoiled(bars, "close", float("inf")), "close is inf; it must be above zero"),
    "no instant": (lambda bars: bars.with_columns(ts=pl.when(pl.int_range(pl.len()) != 5).then("ts")), "no ts"),
}


@pytest.mark.parametrize(("spoil", "message"), REFUSED.values(), ids=list(REFUSED))
def test_bars_that_cannot_be_read_are_refused(spoil, message):
    with pytest.raises(BarSchemaError, match=message):
        compute(spoil(PLAIN), ["rsi_14"]).collect()


def test_only_what_is_asked_for_is_computed():
    calls = []

    def counted(window: int) -> pl.Expr:
        return pl.map_batches([CLOSE], lambda columns: calls.append(1) or columns[0], return_dtype=pl.Float64)

    features = FeatureSet("test", (replace(FEATURE, name="other"), replace(FEATURE, name="counted", build=counted)))
    assert compute(BARS, features).select("other").collect().height == BARS.height
    assert calls == []
    assert compute(BARS, features).select("counted").collect().height == BARS.height
    assert calls


def test_head_takes_no_more_rows_than_asked():
    assert compute(BARS, ["rsi_2"]).head(7).collect().equals(compute(BARS, ["rsi_2"]).collect().head(7))


def test_streaming_and_memory_engines_agree():
    lazy = compute(BARS, ["rsi_2", "adx_14"])
    assert lazy.collect(engine="streaming").sort("symbol", "ts").equals(lazy.collect())


def no_number(value: float) -> pl.Expr:
    return pl.when(CLOSE.mean() < CLOSE).then(value).otherwise(CLOSE)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_finite_number_is_null(value):
    feature = Feature("odd", "test", "", no_number, {"value": value}, lookback=0)
    result = compute(BARS.lazy(), FeatureSet("test", (feature,))).collect()["odd"]
    assert 0 < result.null_count() < result.len()
    assert result.drop_nulls().is_finite().all()


def constant(value: float) -> pl.Expr:
    return CLOSE * 0 + value


@pytest.mark.parametrize(("value", "kept"), [(1 + 1e-13, 1.0), (-1e-13, 0.0), (0.5, 0.5), (1.01, 1.01), (-0.01, -0.01)])
def test_rounding_is_put_on_the_bound_and_mistakes_are_not_hidden(value, kept):
    feature = Feature("share", "test", "", constant, {"value": value}, lookback=0, bounds=(0.0, 1.0))
    assert compute(BARS.head(3).lazy(), FeatureSet("test", (feature,))).collect()["share"].to_list() == [kept] * 3


def test_no_bars_give_no_rows_and_one_bar_gives_what_it_alone_knows():
    assert compute(BARS.clear()).collect().shape == (0, 4 + len(ALL))
    one = compute(BARS.head(1)).collect().select(ALL.names).row(0, named=True)
    known = [name for name, value in one.items() if value is not None]
    assert "intraday_return" in known
    assert all(feature.lookback == 0 for feature in ALL if feature.name in known)
