"""New symbols in the universe get their partitions and their whole history."""

from datetime import UTC, datetime

import dagster as dg

from quant_assets import jobs
from quant_assets.partitions import PARTITIONS, SETTINGS, SYMBOLS, check_size
from resources.calendars import last_closed_session
from resources.market_data import universe
from sensors.schedules import history_range


@dg.sensor(
    name="universe",
    jobs=[jobs.history, jobs.instruments, *([jobs.alternative] if jobs.HAS_ALTERNATIVE else [])],
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Watches the universe (its file, where the configuration names one); backfills new symbols in one run.",
)
def universe_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    held = list(context.instance.get_dynamic_partitions(SYMBOLS))
    wanted = universe(SETTINGS)
    new = [symbol for symbol in wanted if symbol not in set(held)]
    if not new:
        return dg.SkipReason(f"{len(held)} symbols, none new")
    now = datetime.now(UTC)
    check_size(SETTINGS, len(held) + len(new), now.date())
    first = PARTITIONS.date_key(SETTINGS.dates.start)
    last = PARTITIONS.date_key(SETTINGS.dates.end or last_closed_session(SETTINGS.calendar, now))
    # Added symbols stand last in the dynamic store, next to one another: one range covers exactly them.
    name = new[0] if len(new) == 1 else f"{new[0]}..{new[-1]} ({len(new)})"
    return dg.SensorResult(
        run_requests=[
            dg.RunRequest(job_name="instruments", run_key=f"instruments {name}"),
            *(
                dg.RunRequest(job_name=job, run_key=f"{job} {name}", tags=history_range(first, last, new))
                for job in ("history", *(["alternative"] if jobs.HAS_ALTERNATIVE else []))
            ),
        ],
        dynamic_partitions_requests=[dg.DynamicPartitionsDefinition(name=SYMBOLS).build_add_request(new)],
    )
