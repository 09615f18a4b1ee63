"""Coverage and findings counted by symbol and period: what the quality page and its picture both draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import cast

import polars as pl

from resources.calendars import session_date, sessions

MOST_DAYS = 70
MOST_MONTHS = 300
MOST_CELLS = 400_000
MOST_MARKS = 150_000
"""Up to so many sessions a period is a day, up to so many months it is a month, else a year; and a year, too, where
months would make more cells, or more cells with findings: a page must stay small."""

STEPS = {"day": "1d", "month": "1mo", "year": "1y"}
FORMATS = {"day": "%Y-%m-%d", "month": "%Y-%m", "year": "%Y"}


@dataclass(frozen=True)
class Grid:
    """Counts by symbol and period; symbols by name, periods by time.

    `cells` has a row for each symbol and period with cleaned rows: line and column (numbers of the symbol and of the
    period), sessions, missing (of them without a bar in the source). `marks`: line, column, rule, severity, count.
    `expected` is how many sessions the calendar has in each period, within the dates of the bars. `outside` counts
    the findings at dates that are not among those of the bars. `symbol_facts` has a row a symbol: symbol, rows,
    sessions, missing, first, last (Date).
    """

    step: str
    first: date
    last: date
    periods: Sequence[date]
    expected: Sequence[int]
    symbols: Sequence[str]
    cells: pl.DataFrame
    marks: pl.DataFrame
    outside: int
    symbol_facts: pl.DataFrame

    @property
    def labels(self) -> list[str]:
        """The periods as text: 2013-03-01, 2013-03 or 2013."""
        return [period.strftime(FORMATS[self.step]) for period in self.periods]


def dated(findings: pl.DataFrame, calendar: str) -> pl.DataFrame:
    """The findings with `session`: the exchange's date of ts, unless they have one."""
    if "session" in findings.columns:
        return findings
    return findings.with_columns(session=session_date(pl.col("ts"), calendar))


def count(bars: pl.LazyFrame, findings: pl.DataFrame, calendar: str) -> Grid | None:
    """The grid of cleaned bars (symbol, session, flags) and the findings about them; None without a single bar.

    The period is chosen so that the grid can be drawn: see MOST_DAYS.
    """
    # Intraday bars have a row for each slot: a session is missing where none of its slots has a bar.
    missing = pl.col("flags").list.contains("missing_session") | pl.col("flags").list.contains("missing_bar")
    daily = bars.group_by("symbol", "session").agg(rows=pl.len(), missing=missing.all()).collect()
    if daily.is_empty():
        return None
    symbol_facts = (
        daily.group_by("symbol")
        .agg(
            pl.col("rows").sum(),
            sessions=pl.len(),
            missing=pl.col("missing").sum(),
            first=pl.col("session").min(),
            last=pl.col("session").max(),
        )
        .sort("symbol")
    )
    first, last = cast(date, daily["session"].min()), cast(date, daily["session"].max())
    days = sessions(calendar, first, last)["session"]
    told = dated(findings, calendar)
    inside = told.filter(pl.col("session").is_between(first, last))
    symbols = pl.concat([symbol_facts["symbol"], inside["symbol"]]).unique().drop_nulls().sort()
    step = _step(len(days), first, last, inside, len(symbols))
    # A finding may lie on a day that is no session, such as a Saturday: with days for periods it has its own column.
    moments = pl.concat([days, daily["session"].unique(), inside["session"].unique()])
    periods = moments.dt.truncate(STEPS[step]).unique().sort()
    held = daily.group_by("symbol", period=pl.col("session").dt.truncate(STEPS[step])).agg(
        sessions=pl.len(), missing=pl.col("missing").sum()
    )
    marked = inside.group_by("symbol", "rule", "severity", period=pl.col("session").dt.truncate(STEPS[step])).len(
        "count"
    )
    expected = days.dt.truncate(STEPS[step]).to_frame("period").group_by("period").len()
    return Grid(
        step=step,
        first=first,
        last=last,
        periods=periods.to_list(),
        expected=periods.to_frame("period").join(expected, on="period", how="left", maintain_order="left")["len"]
        .fill_null(0).to_list(),
        symbols=symbols.to_list(),
        cells=_numbered(held, symbols, periods).select("line", "column", "sessions", "missing"),
        marks=_numbered(marked, symbols, periods).select("line", "column", "rule", "severity", "count"),
        outside=findings.height - inside.height,
        symbol_facts=symbol_facts,
    )  # fmt: skip


def _step(days: int, first: date, last: date, findings: pl.DataFrame, symbols: int) -> str:
    if days <= MOST_DAYS and days * symbols <= MOST_CELLS:
        return "day"
    months = (last.year - first.year) * 12 + last.month - first.month + 1
    marks = findings.select(pl.struct("symbol", "rule", pl.col("session").dt.truncate("1mo")).n_unique()).item()
    fits = months <= MOST_MONTHS and months * symbols <= MOST_CELLS and marks <= MOST_MARKS
    return "month" if fits else "year"


def _numbered(counts: pl.DataFrame, symbols: pl.Series, periods: pl.Series) -> pl.DataFrame:
    """The counts with the numbers of their symbol and period, in that order."""
    lines = pl.DataFrame({"symbol": symbols}).with_row_index("line")
    columns = pl.DataFrame({"period": periods}).with_row_index("column")
    return counts.join(lines, on="symbol").join(columns, on="period").sort("line", "column")
