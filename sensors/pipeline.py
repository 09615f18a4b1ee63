"""What follows when a tier has finished: history, then the model where one is due, then the session's signals."""

from datetime import date

import dagster as dg

from quant_assets import jobs
from quant_assets.partitions import CUTOFFS, SETTINGS
from resources.calendars import next_session


def cutoff_of(session: date) -> str | None:
    """The training cut-off in force on a session; None before the first one."""
    reached = [key for key in CUTOFFS.get_partition_keys() if date.fromisoformat(key) <= session]
    return reached[-1] if reached else None


RANGE = ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
"""Tags of a range run."""


@dg.run_status_sensor(
    name="pipeline",
    run_status=dg.DagsterRunStatus.SUCCESS,
    monitored_jobs=[jobs.history, jobs.models, jobs.session],
    request_jobs=[jobs.models, jobs.session, jobs.reports, *([jobs.alternative] if jobs.HAS_ALTERNATIVE else [])],
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=15,
    description="Runs that carry a session start its next tier: history, model if due, session, month-end reports.",
)
def pipeline(context: dg.RunStatusSensorContext):  # type: ignore[no-untyped-def]  # Dagster inspects a generator's annotations
    tag = context.dagster_run.tags.get(jobs.SESSION_TAG)
    if tag is None:
        yield dg.SkipReason("the run was not started for a session")
        return
    session, tags = date.fromisoformat(tag), {jobs.SESSION_TAG: tag}
    finished = context.dagster_run.job_name
    if finished == jobs.session.name:
        if next_session(SETTINGS.calendar, session).month == session.month:
            yield dg.SkipReason(f"{session} is not the last session of its month")
            return
        for strategy in SETTINGS.strategies:
            key = dg.MultiPartitionKey({"as_of": session.strftime("%Y-%m"), "strategy": strategy.name})
            yield dg.RunRequest(job_name=jobs.reports.name, partition_key=key, run_key=f"{tag} {key}")
        return
    if finished == jobs.history.name and jobs.HAS_ALTERNATIVE:
        ends = {name: tag for name, tag in context.dagster_run.tags.items() if name in RANGE}
        yield dg.RunRequest(job_name=jobs.alternative.name, run_key=f"{session} alternative", tags=ends)
    cutoff = cutoff_of(session)
    fitted = context.instance.get_materialized_partitions(dg.AssetKey(["models", "champion"]))
    if finished == jobs.history.name and cutoff is not None and cutoff not in fitted:
        yield dg.RunRequest(job_name=jobs.models.name, partition_key=cutoff, run_key=f"{tag} {cutoff}", tags=tags)
    else:
        yield dg.RunRequest(
            job_name=jobs.session.name, partition_key=tag, run_key=f"{tag} {context.dagster_run.run_id}", tags=tags
        )
