"""Keeps the stream job alive through each session's window, as the live supervisor keeps live trading alive.

What is judged, and how, is sensors/supervisor.py's. The sensor runs by itself where the configuration says
`streams.keep_alive`; else it is there, stopped, to be switched on in the UI, and the job is launched by hand.
"""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from quant_assets.streams.world import STREAM_JOB, StreamWorld
from sensors.supervisor import Act, Kept, attempt, look


def stream_supervisor(world: StreamWorld, job: dg.JobDefinition, every: int = 15) -> dg.SensorDefinition:
    """The sensor that starts `job` and starts it again; looks every so many seconds."""
    status = dg.DefaultSensorStatus.RUNNING if world.settings.keep_alive else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name="stream_supervisor",
        job=job,
        minimum_interval_seconds=every,
        default_status=status,
        description="Keeps one run of the stream job alive for the session; judges by run status and heartbeat.",
    )
    def keeper(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        return tick(context.instance, world, datetime.now(UTC))

    return keeper


def tick(instance: dg.DagsterInstance, world: StreamWorld, now: datetime) -> dg.RunRequest | dg.SkipReason:
    """One look at the runs, marking the dead ones; the run to start, or why there is none."""
    window = world.window(now)
    if window.waits(now):
        return dg.SkipReason(f"the streams of {window.session} are followed from {window.begins:%Y-%m-%d %H:%M} UTC on")
    verdict = look(instance, window.session, now, kept(world, endless=window.replay))
    return dg.SkipReason(verdict.why) if verdict.act is Act.WAIT else attempt(instance, window.session, verdict)


def kept(world: StreamWorld, *, endless: bool = False) -> Kept:
    """The stream job, as it is kept alive: it trades nothing, so it is tried as long as its window lasts."""
    return Kept(STREAM_JOB, world.settings.heartbeat_seconds, "it", "over", tireless=not endless)
