"""The stream job: one run follows the market's streams through one session's window and keeps them in the lake."""

import time
from contextlib import ExitStack
from datetime import UTC, datetime

import dagster as dg

from quant_assets.live.heartbeat import beat
from quant_assets.live.world import ATTEMPT_TAG, SESSION_TAG
from quant_assets.streams.assets import FINDINGS_KEY, PREFIX
from quant_assets.streams.gaps import NO_GAPS, judged
from quant_assets.streams.station import Station
from quant_assets.streams.windows import Window
from quant_assets.streams.world import STREAM_JOB, STREAM_TAG, StreamWorld
from resources.instance import BusyError
from resources.streams.recording import Rotated

STATUS_SECONDS = 1.0
"""How often the run looks at its own status."""

LOCK_SECONDS = 60.0
"""How long a run waits for the one before to let go of the lake: one that was declared dead, and is not."""

_CANCELLED = frozenset({dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED})


class StoppedError(Exception):
    """The run is to end before its window is over; the message says why."""


def stream_job(world: StreamWorld) -> dg.JobDefinition:
    """The job `market_streams`. No retries of any kind: the supervisor sensor alone decides on another attempt."""
    tags = {STREAM_TAG: "1", "dagster/max_retries": "0"}

    @dg.op(out=dg.Out(dg.Nothing))
    def follow_streams(context: dg.OpExecutionContext) -> None:
        """Follow the lines of the configuration until the window is over, and keep what they tell."""
        counts = follow(context, world)
        context.log.info(f"The window is over. Events: {counts}")

    @dg.job(
        name=STREAM_JOB,
        tags=tags,
        executor_def=dg.in_process_executor,
        description="Follows the market's streams and keeps trades, quotes, bars and findings in the lake. Terminating "
        "it ends it cleanly; the next run goes on where it was, and repairs what was missed meanwhile.",
    )
    def market_streams() -> None:
        follow_streams()

    return market_streams


def follow(context: dg.OpExecutionContext, world: StreamWorld) -> dict[str, int]:
    """Follow the window's streams to its end; what became of the events.

    Raises Failure where the run was declared dead or its session is over, DagsterExecutionInterruptedError where the
    user terminated it, and whatever ended the gateway or the recorder. What came by then is stored in any case.
    """
    window = world.window(datetime.now(UTC))
    asked = context.run.tags.get(SESSION_TAG)
    if asked is not None and asked != window.session.isoformat():
        raise dg.Failure(
            f"this run is for {asked}, and the session to follow is {window.session} by now", allow_retries=False
        )
    context.instance.add_run_tags(
        context.run.run_id,
        {SESSION_TAG: window.session.isoformat(), ATTEMPT_TAG: context.run.tags.get(ATTEMPT_TAG, "1")},
    )
    try:
        with ExitStack() as held:
            _alone(context, world, held)
            station, ended = Station(world.task(window), world.lake), False
            station.start()
            try:
                _watch(context, world, window, station)
                ended = True
            finally:  # the interrupt of a terminated run (a BaseException) comes by here, too
                try:
                    # Who is terminated by a person owes nothing more; who is declared dead, or goes down with its
                    # machine, leaves the rest of the session to the next.
                    station.stop(hurry=not ended, over=ended or _terminated(context))
                finally:
                    _tell(context, world, station)
            return dict(station.counts())
    except StoppedError as stopped:
        if _status(context) in _CANCELLED:
            # The words with which Dagster ends a terminated run as CANCELED, the user's wish, and not as a failure.
            raise dg.DagsterExecutionInterruptedError(str(stopped)) from stopped
        raise dg.Failure(str(stopped), allow_retries=False) from stopped


def _alone(context: dg.OpExecutionContext, world: StreamWorld, held: ExitStack) -> None:
    """Take the lock of the lake; waits for a run that is about to end."""
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            held.enter_context(world.alone(f"run {context.run.run_id[:8]}"))
            return
        except BusyError:
            _raise_if_stopped(context)
            if time.monotonic() > until:
                raise
            beat(context.instance, context.run, "waiting for another run to let go of the lake")
            time.sleep(STATUS_SECONDS)


def _watch(context: dg.OpExecutionContext, world: StreamWorld, window: Window, station: Station) -> None:
    """Look after the run until the station has ended or the window is over."""
    settings, beaten, observed = world.settings, 0.0, time.monotonic()
    while not station.wait(STATUS_SECONDS):
        if window.over(datetime.now(UTC)):
            return
        _raise_if_stopped(context)
        now = time.monotonic()
        if now - beaten >= settings.heartbeat_seconds:
            counts = station.counts()
            beat(context.instance, context.run, f"{counts['stored']} rows stored, {counts['missing']} gaps open")
            beaten = now
        if now - observed >= settings.observe_seconds:
            _observe(context, station)
            observed = now
        _tell(context, world, station)


def _raise_if_stopped(context: dg.OpExecutionContext) -> None:
    status = _status(context)
    if status is not dg.DagsterRunStatus.STARTED:
        raise StoppedError(f"the run is {status.value}")


def _status(context: dg.OpExecutionContext) -> dg.DagsterRunStatus:
    run = context.instance.get_run_by_id(context.run.run_id)
    return run.status if run is not None else dg.DagsterRunStatus.CANCELED


def _terminated(context: dg.OpExecutionContext) -> bool:
    """Whether somebody wants the run to end; False where the instance cannot say: what came is stored in any case."""
    try:
        return _status(context) in _CANCELLED
    except Exception:
        context.log.warning("The run's status cannot be read; what follows in its session is left to the next run.")
        return False


def _observe(context: dg.OpExecutionContext, station: Station) -> None:
    """One observation of what came and what is missing."""
    day = f"{datetime.now(UTC).date()}"
    metadata = {**station.counts(), "connected": station.connected}
    context.log_event(dg.AssetObservation(FINDINGS_KEY, partition=day, metadata=metadata))


def _tell(context: dg.OpExecutionContext, world: StreamWorld, station: Station) -> None:
    """Tell Dagster which partitions have got rows since the last time, and whether gaps are left."""
    told = False
    while not station.rotated.empty():
        for part in station.rotated.get():
            told = True
            context.log_event(_materialization(part))
    if told:
        verdict = judged(world.lake)
        evaluation = dg.AssetCheckEvaluation(
            asset_key=FINDINGS_KEY, check_name=NO_GAPS, passed=verdict.passed, metadata=dict(verdict.facts)
        )
        context.log_event(evaluation)  # type: ignore[arg-type]  # it takes any event of an asset


def _materialization(part: Rotated) -> dg.AssetMaterialization:
    metadata = {"dagster/partition_row_count": part.rows, "symbols": part.symbols}
    return dg.AssetMaterialization([PREFIX, part.table], partition=part.date, metadata=metadata)
