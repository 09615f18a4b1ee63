"""The run after each session's close."""

from datetime import UTC, date, datetime

import dagster as dg

from quant_assets import jobs
from quant_assets.partitions import PARTITIONS, SETTINGS, SYMBOLS
from resources.calendars import last_closed_session

MINUTES_AFTER_CLOSE = 30


def history_range(first: str, last: str, symbols: list[str]) -> dict[str, str]:
    """Run tags that make one range run over date keys `first` to `last` and all of `symbols` (in the store's order)."""
    return {
        "dagster/asset_partition_range_start": str(dg.MultiPartitionKey({"date": first, "symbol": symbols[0]})),
        "dagster/asset_partition_range_end": str(dg.MultiPartitionKey({"date": last, "symbol": symbols[-1]})),
    }


def session_to_run(calendar: str, scheduled: datetime) -> date | None:
    """The session that closed on the tick's own day at the venue; None on holidays and weekends.

    Half days have long closed by then. `scheduled` is the tick's aware time in the venue's zone: a late daemon
    still runs the session that the tick was meant for.
    """
    session = last_closed_session(calendar, scheduled.astimezone(UTC))
    return session if session == scheduled.date() else None


@dg.schedule(
    name="after_close",
    job=jobs.history,
    cron_schedule="30 16 * * 1-5",
    execution_timezone=PARTITIONS.timezone,
    description="Half an hour after the close: fetch, clean and featurise the session, one range run for all symbols.",
)
def after_close(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
    scheduled = context.scheduled_execution_time
    session = session_to_run(SETTINGS.calendar, scheduled)
    if session is None:
        return dg.SkipReason(f"{scheduled.date()} is not a session of {SETTINGS.calendar}")
    if SETTINGS.dates.end is not None and session > SETTINGS.dates.end:
        return dg.SkipReason(f"the history of {SETTINGS.name} ends on {SETTINGS.dates.end} (dates.end)")
    symbols = list(context.instance.get_dynamic_partitions(SYMBOLS))
    if not symbols:
        return dg.SkipReason("no symbols yet: the universe sensor adds them")
    key = PARTITIONS.date_key(session)
    return dg.RunRequest(
        run_key=session.isoformat(), tags={**history_range(key, key, symbols), jobs.SESSION_TAG: session.isoformat()}
    )
