"""Where a bar stands in the calendar of its instrument. Counts are of sessions, unless they say days or minutes."""

from __future__ import annotations

import math

import numpy as np

from quant_assets.features.definition import UNBOUNDED, Feature
from quant_assets.features.kernels import Kernel


def as_it_is(x: np.ndarray, p: np.ndarray, out: np.ndarray) -> None:
    """By the instrument's exchange calendar, of the bar's session; quant_assets.features.columns.calendar has it."""
    out[0] = x[0]


_UNIT, _YEAR, _MANY = (0.0, 1.0), (0.0, 366.0), (0.0, math.inf)

_DATES = (  # name, description, bounds, source
    ("day_of_week", "Weekday of the session, from 0 (Monday) to 6", (0.0, 6.0), "French (1980), Stock Returns and the "
     "Weekend Effect"),
    ("day_of_week_sin", "Sine of the place in the week", (-1.0, 1.0), ""),
    ("day_of_week_cos", "Cosine of the place in the week", (-1.0, 1.0), ""),
    ("day_of_year_sin", "Sine of the place in the year", (-1.0, 1.0), ""),
    ("day_of_year_cos", "Cosine of the place in the year", (-1.0, 1.0), ""),
    ("day_of_month", "Day of the month, from 1", (1.0, 31.0), ""),
    ("week_of_year", "ISO week of the year", (1.0, 53.0), ""),
    ("month", "Month, from 1", (1.0, 12.0), "Rozeff and Kinney (1976), Capital Market Seasonality"),
    ("sessions_since_month_start", "Sessions of the month before this one; 0 on its first", (0.0, 30.0), ""),
    ("sessions_to_month_end", "Sessions left in the month after this one; 0 on its last", (0.0, 30.0),
     "Ariel (1987), A Monthly Effect in Stock Returns"),
    ("sessions_to_quarter_end", "Sessions left in the quarter after this one; 0 on its last", (0.0, 91.0), ""),
    ("sessions_to_year_end", "Sessions left in the year after this one; 0 on its last", (0.0, 365.0), ""),
    ("session_of_year", "Number of the session in its year, from 1", (1.0, 366.0), ""),
    ("turn_of_month", "Whether it is the last session of a month or one of the first three (1 or 0)", _UNIT,
     "Lakonishok and Smidt (1988), Are Seasonal Anomalies Real?"),
    ("sessions_since_holiday", "Sessions between the last holiday and this one; 0 right after it, null without any",
     _YEAR, ""),
    ("sessions_to_holiday", "Sessions between this one and the next holiday; 0 right before it, null without any",
     _YEAR, "Ariel (1990), High Stock Returns Before Holidays"),
    ("days_since_session", "Days since the session before: 1 in a week, 3 after a weekend", (1.0, 366.0), ""),
    ("days_to_session", "Days to the session after: 1 in a week, 3 before a weekend", (1.0, 366.0), ""),
    ("half_day", "Whether the session is shorter than 0.9 of its year's usual one (1 or 0)", _UNIT, ""),
    ("session_minutes", "Minutes from opening to close", (0.0, 1500.0), ""),
    ("days_to_expiry", "Days to the contract's last trading day; null without one and after it", _MANY, ""),
)  # fmt: skip

_CLOCK = (
    ("minutes_since_open", "Minutes from the opening to the start of the bar; below 0 before it", UNBOUNDED, ""),
    ("minutes_to_close", "Minutes from the start of the bar to the close; below 0 after it", UNBOUNDED, ""),
    ("session_fraction", "Part of the session that is over at the start of the bar; null outside", _UNIT, ""),
    ("first_bar", "Whether the session opens in this bar (1 or 0)", _UNIT, ""),
    ("last_bar", "Whether the session closes in this bar (1 or 0); null where its end is not known", _UNIT, ""),
)  # fmt: skip


def _all(rows: tuple[tuple[str, str, tuple[float, float], str], ...], family: str) -> tuple[Feature, ...]:
    # The close is read so that a bar without prices is a gap here too.
    return tuple(
        Feature(
            name,
            family,
            description,
            Kernel(as_it_is, (name, "adj_close")),
            lookback=0,
            bounds=bounds,
            source=source,
        )
        for name, description, bounds, source in rows
    )


CALENDAR = (*_all(_DATES, "calendar"), *_all(_CLOCK, "time_of_day"))
