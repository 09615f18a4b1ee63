"""What cleaning looks for in bars shorter than a session, where a rule for daily bars would mislead.

A bar of a session's own hours follows the bar before at once; the first bar of a session follows a night. So each is
measured against its own kind. What daily rules become:

- missing_session: `missing_bar`, info: in a slot in which nobody traded there is nothing wrong. Where no slot of a
  session has a bar, missing_session on its last one: before that the session may still have had a trade.
- jump: scale of the moves within sessions, or of the moves over nights for a session's first bar; after slots without
  a bar, as much wider as a random walk would be.
- bad_print, bad_close: by the same scales; confirmed by the other symbols of the same slot, not of the session; a rush
  is measured against the last volumes traded.
- unapplied_split: on a session's first bar only, compared with the first bars of the sessions before.
- stale: a whole bar repeated, its volume too, with a price between high and low. Bars of one tick's range repeat one
  another honestly in a quiet hour, and so do several bars without a range.
- zero_volume: where the symbol has had volume before; quotes and indices have none.
- dividend_overdue, unit_error, and all rules about actions and single rows: as for sessions.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from quant_assets.cleaned.prints import excursions, mend_prints
from quant_assets.cleaned.rules import (
    JUMP_FLOOR,
    JUMP_MIN_BARS,
    JUMP_WINDOW,
    PRINT_SIGMAS,
    Check,
    checks,
    suspicions,
)
from resources.calendars import session_date
from resources.config import CleaningSettings

ENDS = ("open", "close")

MAD_TO_SIGMA = 1.4826  # of a normal distribution


def at_first_bars(actions: pl.DataFrame, instruments: pl.DataFrame, firsts: pl.DataFrame) -> pl.DataFrame:
    """Actions stamped at the first bar of their session, where it has one; others stay, to be placed at the next.

    `firsts` as `slots.first_bars` returns it.
    """
    calendars = instruments.select("symbol", "calendar").unique("symbol")
    named = actions.join(calendars, on="symbol", how="left", maintain_order="left")
    parts = [
        part.with_columns(session=session_date(pl.col("ts"), str(name)) if name is not None else pl.lit(None, pl.Date))
        for (name,), part in named.group_by("calendar", maintain_order=True)
    ]
    if not parts:
        return actions
    dated = pl.concat(parts).join(firsts.rename({"ts": "bar"}), on=["symbol", "session"], how="left")
    return dated.with_columns(ts=pl.coalesce("bar", "ts")).select(actions.columns)


def judge(adjusted: pl.DataFrame, settings: CleaningSettings) -> pl.DataFrame:
    """Adjusted rows with what `intraday_checks` reads, each from this row and the rows before it only.

    `traded` is the volume; `volume` itself stands for the last volume traded in slots without a bar, until `restored`.
    """
    missing = pl.col("missing")
    suspected = _scaled(suspicions(adjusted)).with_columns(
        traded="volume",
        volume=pl.when(~missing).then("volume").forward_fill(),
        had_volume=(pl.col("volume").cum_max().over("symbol") > 0),
    )
    # The cross-section of a print is its slot: `session` is what `excursions` groups by.
    by_slot = excursions(suspected.with_columns(session="ts", day="session"), PRINT_SIGMAS)
    return mend_prints(by_slot.with_columns(session="day").drop("day"), settings)


def restored(judged: pl.DataFrame) -> pl.DataFrame:
    return judged.with_columns(volume="traded")


def intraday_checks(settings: CleaningSettings) -> list[Check]:
    """The rules over adjusted rows, as this module's docstring says."""
    between = pl.any_horizontal((pl.col(name) > pl.col("low")) & (pl.col(name) < pl.col("high")) for name in ENDS)
    changed = {
        "missing_session": lambda check: replace(check, rule="missing_bar"),
        "stale": lambda check: replace(check, when=pl.col("copied") & between),
        "zero_volume": lambda check: replace(check, when=check.when & pl.col("had_volume")),
    }
    daily = checks(settings)
    lost = [
        replace(check, when=_session_is_over() & check.when.all().over("symbol", "session"))
        for check in daily
        if check.rule == "missing_session"
    ]
    return [*(changed.get(check.rule, lambda check: check)(check) for check in daily), *lost]


def _session_is_over() -> pl.Expr:
    """Whether a row is its session's last. A symbol's rows end with a bar, so a session without one is there whole."""
    ends = (pl.col("session") != pl.col("session").shift(-1)) | (pl.col("symbol") != pl.col("symbol").shift(-1))
    return ends.fill_null(True)


def _scaled(rows: pl.DataFrame) -> pl.DataFrame:
    """Scale and split_like by the kind of bar: within a session, or the first of one."""
    real = ~pl.col("missing")
    begins = (pl.col("session") != pl.col("session").shift()) | (pl.col("symbol") != pl.col("symbol").shift())
    placed = rows.with_columns(
        day=begins.fill_null(True).cum_sum(), last=pl.when(real).then(pl.int_range(pl.len())).forward_fill()
    ).with_row_index("row", 0)
    traded = placed.lazy().filter(real)
    opening = (pl.col("day") != pl.col("day").shift()).fill_null(True)
    kinds = traded.select("row", "symbol", "day", "move", opening=opening).collect()
    first = kinds.filter("opening").with_columns(steps=pl.col("day").diff())
    within = kinds.filter(~pl.col("opening")).join(
        placed.select("row", steps=pl.col("row").cast(pl.Int64) - pl.col("last").shift()), on="row", how="left"
    )
    scales = pl.concat([_scales(first), _scales(within)])
    split_like = suspicions(rows[first["row"]])["split_like"]
    found = first.filter(split_like)["row"]
    return (
        rows.drop("scale", "split_like")
        .with_row_index("row", 0)
        .join(scales, on="row", how="left", maintain_order="left")
        .with_columns(split_like=pl.col("row").is_in(found.implode()))
        .drop("row")
    )


def _scales(kind: pl.DataFrame) -> pl.DataFrame:
    """row, scale: robust deviation of the last moves of one kind before this one, for as many steps as this one took.

    kind: row, symbol, move, steps (since the last bar), in order.
    """
    per_step = pl.col("move").abs() / pl.col("steps").clip(lower_bound=1).sqrt()
    typical = per_step.shift().rolling_median(JUMP_WINDOW, min_samples=JUMP_MIN_BARS).over("symbol")
    scale = (typical * MAD_TO_SIGMA).clip(lower_bound=JUMP_FLOOR) * pl.col("steps").clip(lower_bound=1).sqrt()
    return kind.select("row", scale=scale)
