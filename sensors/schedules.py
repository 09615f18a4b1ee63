"""The run after each session's close."""

from datetime import UTC, date, datetime, timedelta

import dagster as dg

from quant_assets import jobs
from quant_assets.partitions import PARTITIONS, SETTINGS, SYMBOLS
from resources.calendars import last_closed_session, sessions

MINUTES_AFTER_CLOSE = 30

FRESH = timedelta(hours=20)
"""A session that closed longer ago than this was run by the tick of its own day."""

_USUAL = date(2025, 1, 1), date(2025, 12, 31)


def history_range(first: str, last: str, symbols: list[str]) -> dict[str, str]:
    """Run tags that make one range run over date keys `first` to `last` and all of `symbols` (in the store's order)."""
    return {
        "dagster/asset_partition_range_start": str(dg.MultiPartitionKey({"date": first, "symbol": symbols[0]})),
        "dagster/asset_partition_range_end": str(dg.MultiPartitionKey({"date": last, "symbol": symbols[-1]})),
    }


def ticks(calendar: str, timezone: str) -> str:
    """The cron, in the venue's zone, of MINUTES_AFTER_CLOSE after the usual close, on the days on which sessions close.

    Where the venue never closes, a session ends at midnight and the tick comes on the next day.
    """
    closes = sessions(calendar, *_USUAL)["close"].dt.convert_time_zone(timezone)
    at = closes.dt.time().mode(maintain_order=True)[0]
    usual = closes.filter(closes.dt.time() == at).dt.offset_by(f"{MINUTES_AFTER_CLOSE}m")
    days = sorted({day % 7 for day in usual.dt.weekday()})
    return f"{usual[0].minute} {usual[0].hour} * * {','.join(map(str, days)) if len(days) < 7 else '*'}"


def session_to_run(calendar: str, scheduled: datetime) -> date | None:
    """The session that closed before the tick and after the tick of the day before; None on holidays and weekends.

    Half days have long closed by then. `scheduled` is the tick's aware time: a late daemon still runs the session
    that the tick was meant for.
    """
    now = scheduled.astimezone(UTC)
    session = last_closed_session(calendar, now)
    closed = sessions(calendar, session, session)["close"][0]
    return session if closed > now - FRESH else None


@dg.schedule(
    name="after_close",
    job=jobs.history,
    cron_schedule=ticks(SETTINGS.calendar, PARTITIONS.timezone),
    execution_timezone=PARTITIONS.timezone,
    description="Half an hour after the close: fetch, clean and featurise the session, one range run for all symbols.",
)
def after_close(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    scheduled = context.scheduled_execution_time
    session = session_to_run(SETTINGS.calendar, scheduled)
    if session is None:
        return dg.SkipReason(f"{scheduled.date()} is not a session of {SETTINGS.calendar}: none has closed")
    if SETTINGS.dates.end is not None and session > SETTINGS.dates.end:
        return dg.SkipReason(f"the history of {SETTINGS.name} ends on {SETTINGS.dates.end} (dates.end)")
    symbols = list(context.instance.get_dynamic_partitions(SYMBOLS))
    if not symbols:
        return dg.SkipReason("no symbols yet: the universe sensor adds them")
    key = PARTITIONS.date_key(session)
    return dg.RunRequest(
        run_key=session.isoformat(), tags={**history_range(key, key, symbols), jobs.SESSION_TAG: session.isoformat()}
    )
