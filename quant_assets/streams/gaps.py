"""Whether anything is missing of what the stream job followed. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl

from quant_assets.quality import FINDING_SCHEMA, Verdict
from resources.lake import Lake
from resources.streams.recording import open_gaps
from resources.streams.rows import REPAIRED

FINDINGS = ("streams", "findings")
NO_GAPS = "no_gaps_left"
DAYS_JUDGED = 7
DESCRIPTION = (
    f"Of the last {DAYS_JUDGED} days that findings are held of: each interval that was not delivered was repaired. "
    "What was given up or is open is named; market_data/trades of that day may have it."
)


def no_gaps_left(gaps: pl.DataFrame) -> Verdict:
    """Passes where every gap (rows.GAPS) was repaired; a finding for each that was not."""
    left = gaps.filter(pl.col("state") != REPAIRED)
    interval = pl.format("{} from {} until {}", "kind", *(pl.col(name).dt.to_string() for name in ("ts", "until")))
    findings = left.select(
        "symbol",
        session=pl.col("ts").dt.date(),
        field="kind",
        problem=pl.format("{}: {} ({})", "state", interval, pl.col("detail").fill_null("no reason")),
        value=pl.col("left").cast(pl.String),
    )
    states = dict(gaps.group_by("state").len().iter_rows())
    facts = {"gaps": gaps.height, **{name: states.get(name, 0) for name in (REPAIRED, "given up", "open")}}
    return Verdict(left.is_empty(), facts, findings.cast(dict(FINDING_SCHEMA)))  # type: ignore[arg-type]


def judged(lake: Lake) -> Verdict:
    """The verdict on the last days that findings are held of; a stamp of the future takes no other day's place."""
    today = datetime.now(UTC).date()
    held = sorted(date for date in {part["date"] for part in lake.partitions(FINDINGS)} if date <= f"{today}")
    return no_gaps_left(open_gaps(lake, {*held[-DAYS_JUDGED:], f"{today}", f"{today + timedelta(days=1)}"}))
