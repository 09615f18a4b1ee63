"""Questions about a log of records that no single row answers."""

from __future__ import annotations

import polars as pl

from quant_assets.quality import FINDING_SCHEMA, Verdict
from resources.alternative.base import RECORD


def versions_in_order(log: pl.DataFrame) -> Verdict:
    """Whether the versions of each record follow one another: known later, saying something else, new only once.

    Two versions known at one instant would leave open which of them counted then. A record whose event time moved to
    another partition is withdrawn from the first and new in the next. In one partition it may be withdrawn twice by the
    same words: in between it stood in another. `log` is in the schema of any kind.
    """
    ordered = log.sort(*RECORD, "known_at", maintain_order=True)
    record = pl.struct(*RECORD)
    follows = record == record.shift()
    moved = (pl.col("state").shift() == "withdrawn") & (pl.col("ts") != pl.col("ts").shift())
    problems = {
        "known at the same instant as the version before it": follows
        & (pl.col("known_at") == pl.col("known_at").shift()),
        "says the same as the version before it": follows
        & (pl.col("content") == pl.col("content").shift())
        & (pl.col("state") != "withdrawn"),
        "is called new, and an earlier version is there": follows & (pl.col("state") == "new") & ~moved,
        "is called a correction, and nothing is there to correct": ~follows.fill_null(False)
        & (pl.col("state") == "corrected"),
    }
    flagged = ordered.with_columns(when.fill_null(False).alias(name) for name, when in problems.items())
    findings = pl.concat(
        flagged.filter(pl.col(name)).select(
            "symbol", session=pl.col("ts").dt.date(), field=pl.lit("version"), problem=pl.lit(name), value="record_id"
        )
        for name in problems
    ).match_to_schema(FINDING_SCHEMA)
    facts = {
        "versions": log.height,
        "records": log.select(RECORD).unique().height,
        "corrected": int((log["state"] == "corrected").sum()),
        "withdrawn": int((log["state"] == "withdrawn").sum()),
        "late by more than a day": int(((log["known_at"] - log["ts"]).dt.total_hours() > 24).sum()),
    }
    return Verdict(findings.is_empty(), facts, findings.sort("symbol", "session"))
