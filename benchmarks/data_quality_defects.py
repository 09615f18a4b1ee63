"""Defects for benchmarks/data_quality.py: each kind put at places of its own into bars and actions that are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import polars as pl

EACH = 300
"""Defects of a kind."""

BLOCK = 40
"""Rows of one symbol that a defect has for itself; it is put in their middle."""

OBSERVED = ("jump", "zero_volume", "action_before_history", "action_without_bar", "excluded", "action_moved")
"""Not defects: what a rule observes and leaves to the reader."""

VALUES = ["open", "high", "low", "close", "volume"]
ONE_HOUR = 3_600_000_000


@dataclass
class Injected:
    """Defective bars and actions, and where each defect should be found: kind, symbol, first and last ts, rules."""

    columns: dict[str, np.ndarray]
    extra: list[pl.DataFrame]
    gone: np.ndarray
    actions: pl.DataFrame
    scale: np.ndarray
    random: np.random.Generator
    truth: list[tuple[str, str, int, int, str]] = field(default_factory=list)

    def expect(self, kind: str, rules: str, at: int, until: int | None = None) -> None:
        ts = self.columns["slot"]
        last = at if until is None else until
        self.truth.append((kind, self.columns["symbol"][at], int(ts[at]), int(ts[last]), rules))


def places(bars: pl.DataFrame, random: np.random.Generator, avoid: pl.DataFrame) -> list[int]:
    """Shuffled rows, each in the middle of a block after 120 rows of its symbol, where the source has no findings."""
    ranks = bars.select(rank=pl.int_range(pl.len()).over("symbol"), size=pl.len().over("symbol"))
    middle = BLOCK // 2
    free = (
        (ranks["rank"] % BLOCK == middle) & (ranks["rank"] > 120) & (ranks["rank"] < ranks["size"] - BLOCK)
    ).to_numpy()
    noted = bars.select("symbol", "ts").join(avoid, on=["symbol", "ts"], how="left", maintain_order="left")["noted"]
    near = np.convolve(noted.is_not_null().to_numpy().astype(float), np.ones(BLOCK), mode="same") > 0
    found = np.flatnonzero(free & ~near)
    random.shuffle(found)
    return list(found)


def robust_scale(bars: pl.DataFrame, adjusted: pl.DataFrame) -> np.ndarray:
    """Standard deviation of each symbol's daily log returns in the 250 rows around, computed apart from the rules."""
    joined = bars.select("symbol", "ts").join(adjusted, on=["symbol", "ts"], how="left", maintain_order="left")
    move = pl.col("adj_close").log().diff().over("symbol")
    spread = (
        move.rolling_quantile(0.84, window_size=120, min_samples=60)
        - move.rolling_quantile(0.16, window_size=120, min_samples=60)
    ).over("symbol") / 2
    return joined.select(spread.fill_null(0.02).clip(0.005))["adj_close"].to_numpy()


def of_prices(into: Injected, take: Callable[[], int]) -> None:
    """Bad highs, lows, opens and closes: 15 to 60 standard deviations, at least 15 %."""
    o, h, lo, c = (into.columns[name] for name in VALUES[:4])
    random = into.random
    for n in range(EACH):
        i = take()
        size = np.exp(max(random.uniform(15, 60) * into.scale[i], 0.15))
        kind = ("high", "low", "open")[n % 3]
        if kind == "high":
            h[i] = max(o[i], c[i], c[i - 1]) * size
        elif kind == "low":
            lo[i] = min(o[i], c[i], c[i - 1]) / size
        elif random.random() < 0.5:
            o[i] = max(c[i], c[i - 1]) * size
            h[i] = max(h[i], o[i])
        else:
            o[i] = min(c[i], c[i - 1]) / size
            lo[i] = min(lo[i], o[i])
        into.expect(f"bad {kind}", "bad_print", i)
    for _ in range(EACH):
        i = take()
        size = np.exp(max(random.uniform(15, 60) * into.scale[i], 0.15))
        around = (o[i], c[i - 1], o[i + 1], c[i + 1])
        c[i] = max(around) * size if random.random() < 0.5 else min(around) / size
        h[i], lo[i] = max(h[i], c[i]), min(lo[i], c[i])
        into.expect("bad close", "bad_close", i + 1)


def of_bars(into: Injected, take: Callable[[], int]) -> None:
    """Stale repeats, unit errors, prices that are none, highs and lows that bound nothing."""
    o, h, lo, c = (into.columns[name] for name in VALUES[:4])
    random = into.random
    for _ in range(EACH):
        i = take()
        run = int(random.integers(1, 4))
        for name in VALUES:
            into.columns[name][i : i + run] = into.columns[name][i - 1]
        for k in range(run):
            into.expect("stale repeat", "stale", i + k)
    for _ in range(EACH):
        i, factor = take(), random.choice([100.0, 0.01])
        run = int(random.integers(1, 6))
        for name in VALUES[:4]:
            into.columns[name][i : i + run] *= factor
        for k in range(run):
            into.expect("unit 100x", "unit_error", i + k)
    for n in range(EACH):
        i = take()
        name = VALUES[int(random.integers(0, 4))]
        into.columns[name][i] = (0.0, -into.columns[name][i], np.nan)[n % 3]
        into.expect(("zero price", "negative price", "no number")[n % 3], "invalid_value", i)
    for n in range(EACH):
        i = take()
        if n % 2:
            h[i] = min(o[i], c[i]) * random.uniform(0.9, 0.999)
        else:
            lo[i] = max(o[i], c[i]) * random.uniform(1.001, 1.1)
        into.expect("bounds broken", "inconsistent", i)


def of_rows(into: Injected, bars: pl.DataFrame, take: Callable[[], int]) -> None:
    """Duplicates, missing sessions, wrong stamps, days off, half-built bars."""
    random, ts = into.random, into.columns["ts"]
    twice = [take() for _ in range(EACH)]
    rows = bars[twice]
    into.extra.append(rows[: EACH // 2])
    into.extra.append(rows[EACH // 2 :].with_columns(pl.col("close").clip(pl.col("low"), pl.col("high")) * 1.0001))
    for i in twice:
        into.expect("duplicate", "duplicate", i)
    for _ in range(EACH):
        i = take()
        into.gone[i] = True
        into.expect("missing session", "missing_session", i)
    for n in range(EACH):
        i = take()
        day = ts[i] - ts[i] % (24 * ONE_HOUR)
        ts[i] = (ts[i] + ONE_HOUR, ts[i] - ONE_HOUR, day, day + 5 * ONE_HOUR)[n % 4]
        into.expect("clock error", "clock_error", i)
    days = pl.from_epoch(pl.Series(into.columns["slot"]), "us")
    for _ in range(EACH):
        i = take()
        until_saturday = 6 - days[i].isoweekday()
        row = bars[i].with_columns(
            pl.col("ts") + timedelta(days=until_saturday), pl.col("known_at") + timedelta(days=until_saturday)
        )
        into.extra.append(row)
        stamp = int(row["ts"].dt.epoch("us")[0])
        into.truth.append(("day without session", into.columns["symbol"][i], stamp, stamp, "out_of_session"))
    symbols = into.columns["symbol"]
    lasts = np.flatnonzero(symbols[1:] != symbols[:-1])
    for i in random.choice(lasts, size=EACH, replace=False):
        into.columns["fetched_at"][i] = into.columns["known_at"][i] - 2 * ONE_HOUR
        into.expect("half-built last bar", "half_built", i)


def of_actions(into: Injected, applied: pl.DataFrame, take: Callable[[], int]) -> None:
    """Missed, doubled and invented splits; dividends lost, invented and 100 times too large."""
    random = into.random
    rescale_for_missed_splits(into, take)
    added, dropped = [], []
    real = applied.filter(pl.col("usual") & (pl.col("rank") > 120)).to_dicts()
    for n, row in enumerate(row for row in real if random.random() < 0.75):
        at, key = row["row"], {"symbol": row["symbol"], "kind": "split", "value": row["value"]}
        if n % 3 == 0:
            dropped.append({"symbol": row["symbol"], "kind": "split", "ts": row["ts"]})
            into.expect("split of the source lost", "unapplied_split dividend_unconfirmed dividend_exceeds_price", at)
        elif n % 3 == 1:
            added.append({**key, "ts": int(into.columns["slot"][at])})
            into.expect("split told twice", "action_duplicated", at)
        else:
            later = at + int(random.integers(1, 4))
            added.append({**key, "ts": int(into.columns["slot"][later])})
            into.expect("split told again later", "split_unconfirmed", later)
    for n in range(EACH):
        i = take()
        kind = ("split", "dividend")[n % 2]
        value = (
            random.choice([2.0, 3.0, 0.1, 1.5])
            if kind == "split"
            else into.columns["close"][i - 1] * random.uniform(0.15, 0.6)
        )
        added.append(
            {"symbol": into.columns["symbol"][i], "kind": kind, "value": value, "ts": int(into.columns["slot"][i])}
        )
        into.expect(f"invented {kind}", f"{kind}_unconfirmed", i)
    # One in eight of a symbol's dividends: a habit is five dividends long.
    phase = int(random.integers(8))
    spaced = pl.col("number") % 8 == phase
    for row in applied.filter(pl.col("regular") & spaced).sample(EACH, seed=int(random.integers(1 << 30))).to_dicts():
        dropped.append({"symbol": row["symbol"], "kind": "dividend", "ts": row["ts"]})
        stamp, following = row["ts"], row["following"]
        into.truth.append(("dividend lost", row["symbol"], to_us(stamp), to_us(following), "dividend_overdue"))
    kept = into.actions
    if dropped:
        kept = kept.join(
            pl.DataFrame(dropped, schema_overrides={"ts": kept.schema["ts"]}), on=["symbol", "kind", "ts"], how="anti"
        )
    fit = applied.filter(pl.col("share").is_between(0.001, 0.05) & (pl.col("number") % 8 == (phase + 1) % 8))
    hundred = fit.select("symbol", "kind", "ts", "row").sample(EACH, seed=int(random.integers(1 << 30)))
    for i in hundred["row"]:
        into.expect("dividend 100x", "dividend_unconfirmed dividend_exceeds_price", i)
    kept = kept.join(
        hundred.select("symbol", "kind", "ts", many=pl.lit(100.0)), on=["symbol", "kind", "ts"], how="left"
    )
    kept = kept.with_columns(pl.col("value") * pl.col("many").fill_null(1.0)).drop("many")
    new = pl.DataFrame(added).with_columns(pl.from_epoch("ts", "us").dt.replace_time_zone("UTC").alias("ts"))
    new = new.with_columns(provider=pl.lit("injected"), fetched_at=pl.lit(None), known_at="ts")
    into.actions = pl.concat([kept, new.select(kept.columns).cast(kept.schema)])


def rescale_for_missed_splits(into: Injected, take: Callable[[], int]) -> None:
    """Splits in the prices that no action tells: from their row to the symbol's last, prices and dividends rescaled."""
    random, symbols = into.random, into.columns["symbol"]
    log_factor = np.zeros(len(symbols))
    ends = np.append(np.flatnonzero(symbols[1:] != symbols[:-1]) + 1, len(symbols))
    for _ in range(EACH):
        i = take()
        ratio = random.choice(
            [1.5, 2.0, 3.0, 4.0, 5.0, 10.0, 0.2, 0.1], p=[0.2, 0.5, 0.1, 0.05, 0.05, 0.02, 0.04, 0.04]
        )
        log_factor[i : ends[np.searchsorted(ends, i, side="right")]] -= np.log(ratio)
        into.expect("split never told", "unapplied_split", i)
    factor = np.exp(log_factor)
    for name in VALUES[:4]:
        into.columns[name] *= factor
    into.columns["volume"] /= factor
    stamps = pl.DataFrame({"symbol": symbols, "ts": into.columns["slot"], "factor": factor}).with_columns(
        pl.from_epoch("ts", "us").dt.replace_time_zone("UTC").alias("ts")
    )
    dividends = pl.when(pl.col("kind") == "dividend").then(pl.col("factor").fill_null(1.0)).otherwise(1.0)
    into.actions = (
        into.actions.join(stamps, on=["symbol", "ts"], how="left")
        .with_columns(pl.col("value") * dividends)
        .drop("factor")
    )


def to_us(stamp: object) -> int:
    return int(pl.Series([stamp]).dt.epoch("us")[0])


def acted_on(bars: pl.DataFrame, actions: pl.DataFrame, findings: pl.DataFrame) -> pl.DataFrame:
    """The source's own actions that stand: where (row), how usual as a split, how regular as a dividend, what share."""
    indexed = bars.select(
        "symbol",
        "ts",
        row=pl.int_range(pl.len()),
        rank=pl.int_range(pl.len()).over("symbol"),
        before=pl.col("close").shift(),
    )
    refused = findings.filter(pl.col("rule").str.starts_with("split_") | pl.col("rule").str.starts_with("dividend_"))
    standing = (
        actions.join(refused, on=["symbol", "ts"], how="anti")
        .join(indexed, on=["symbol", "ts"])
        .sort("symbol", "kind", "ts")
    )
    gap = pl.col("ts").diff().dt.total_days().over("symbol", "kind")
    usual = pl.any_horizontal(
        (pl.col("value").log().abs() - np.log(ratio)).abs() < 1e-3 for ratio in (1.5, 2, 3, 4, 5, 7, 10, 20)
    )
    dividend = pl.col("kind") == "dividend"
    quarterly = gap.is_between(80, 101)
    return standing.with_columns(
        usual=~dividend & usual,
        share=pl.when(dividend).then(pl.col("value") / pl.col("before")),
        number=pl.int_range(pl.len()).over("symbol", "kind"),
        following=pl.col("ts").shift(-1).over("symbol", "kind"),
        # The five gaps before and the one after: whoever drops this one breaks a habit.
        regular=dividend
        & (quarterly.cast(pl.Int32).rolling_sum(5).over("symbol", "kind") == 5)
        & quarterly.shift(-1).over("symbol", "kind"),
    )


def inject(seed: int, bars: pl.DataFrame, actions: pl.DataFrame, base: tuple[pl.DataFrame, pl.DataFrame]) -> Injected:
    """Every kind of defect, in one copy of the source."""
    random = np.random.default_rng(seed)
    cleaned, findings = base
    noted = findings.filter(~pl.col("rule").is_in(OBSERVED)).select("symbol", "ts").unique().with_columns(noted=True)
    columns = {name: bars[name].to_numpy().copy() for name in VALUES}
    for name in ("ts", "known_at", "fetched_at"):
        columns[name] = bars[name].dt.epoch("us").to_numpy().copy()
    columns["slot"], columns["symbol"] = columns["ts"].copy(), bars["symbol"].to_numpy()
    into = Injected(columns, [], np.zeros(bars.height, bool), actions, robust_scale(bars, cleaned), random)
    free = places(bars, random, noted)
    take = lambda: int(free.pop())  # noqa: E731
    # Splits rescale everything behind them, so they come first.
    of_actions(into, acted_on(bars, actions, findings), take)
    of_prices(into, take)
    of_bars(into, take)
    rescaled = bars.with_columns(pl.Series(name, columns[name]) for name in VALUES)
    of_rows(into, rescaled, take)
    return into


def frame(into: Injected, bars: pl.DataFrame) -> pl.DataFrame:
    stamps = [
        pl.from_epoch(pl.Series(name, into.columns[name]), "us").dt.replace_time_zone("UTC")
        for name in ("ts", "known_at", "fetched_at")
    ]
    changed = bars.with_columns(*[pl.Series(name, into.columns[name]) for name in VALUES], *stamps)
    return pl.concat([changed.filter(~pl.Series(into.gone)), *into.extra])
