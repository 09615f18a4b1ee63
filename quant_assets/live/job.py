"""The live job: one run trades one session, in one process, from before the open to the close."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime

import dagster as dg
import polars as pl

from quant_assets.live import frames
from quant_assets.live.heartbeat import beat
from quant_assets.live.journal import Journal
from quant_assets.live.sessions import Turn
from quant_assets.live.trader import Assignment, Hooks, Observation, StoppedError, Summary, Trader
from quant_assets.live.world import ATTEMPT_TAG, LIVE_JOB, LIVE_TAG, SESSION_TAG, Venue, World

POOL = "broker"
"""Concurrency pool of the one op that talks to the venue."""

STATUS_SECONDS = 1.0
"""How often the run looks at its own status."""

_CANCELLED = frozenset({dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED})


def live_job(world: World) -> dg.JobDefinition:
    """The job `live_trading`. No retries of any kind: the supervisor sensor alone decides on another attempt."""
    tags = {LIVE_TAG: "1", "dagster/max_retries": "0"}

    @dg.op(pool=POOL, out=dg.Out(dg.Nothing))
    def trade_session(context: dg.OpExecutionContext) -> None:
        """Plan the session's orders from its signals, send them, follow them to the close."""
        summary = trade(context, world)
        context.log.info(
            f"{summary.session}: {summary.sent} of {summary.planned} orders sent, {summary.fills} fills, "
            f"equity {summary.equity:,.2f}. Refused by limits: {dict(summary.refused) or 'none'}. "
            f"Not filled whole: {dict(summary.unfilled) or 'none'}."
        )

    @dg.job(
        name=LIVE_JOB,
        tags=tags,
        executor_def=dg.in_process_executor,
        description="Trades one session's signals at the broker. Started by the supervisor sensor; "
        "terminating it stops trading for the session, cleanly.",
    )
    def live_trading() -> None:
        trade_session()

    return live_trading


def trade(context: dg.OpExecutionContext, world: World) -> Summary:
    """Trade the run's session to its end.

    Raises Failure where the session's turn is over, or the supervisor declared this run dead and another goes on;
    DagsterExecutionInterruptedError where the user terminated the run.
    """
    turn = world.turn(datetime.now(UTC))
    asked = context.run.tags.get(SESSION_TAG)
    if asked is not None and asked != turn.session.isoformat():
        raise dg.Failure(
            f"this run is for {asked}, and the session to trade is {turn.session} by now", allow_retries=False
        )
    journal, venue = Journal(world.journal), world.venue()
    try:
        _take_over(context, journal, turn.session)
        journal.bind(venue.account_id())
        signals = world.signals(turn.signals)
        missing = _missing(world, turn, signals)
        if missing is not None:
            raise dg.Failure(missing, allow_retries=False)
        venue.begin(turn.session, turn.opens)  # its clock never goes back: only once there is something to trade
        prices, splits = _closes(world, turn.signals), lambda: _splits(world, turn.session)
        task = Assignment(turn.session, signals, prices, splits, world.listings())
        return Trader(task, venue, journal, world.settings, _hooks(context, world, turn, venue)).run()
    except StoppedError as stopped:
        if _status(context) in _CANCELLED:
            # The words with which Dagster ends a terminated run as CANCELED, the user's wish, and not as a failure.
            raise dg.DagsterExecutionInterruptedError(str(stopped)) from stopped
        raise dg.Failure(str(stopped), allow_retries=False) from stopped
    finally:
        journal.close()
        venue.close()


def _take_over(context: dg.OpExecutionContext, journal: Journal, session: date) -> None:
    """Take the journal's lease, unless this run was declared dead before it came here."""
    if _status(context) is not dg.DagsterRunStatus.STARTED:
        raise StoppedError(f"{session}: the run is {_status(context).value} before it began")
    tag = context.run.tags.get(ATTEMPT_TAG)
    # A run re-executed by hand carries its parent's tags: it is an attempt of its own.
    attempt = int(tag) if tag is not None and context.run.parent_run_id is None else journal.last_attempt(session) + 1
    journal.take_lease(session, attempt, context.run.run_id)
    context.instance.add_run_tags(context.run.run_id, {SESSION_TAG: session.isoformat(), ATTEMPT_TAG: str(attempt)})


def _missing(world: World, turn: Turn, signals: pl.DataFrame) -> str | None:
    """What the session cannot be traded without and how to mend it; None where all is there."""
    if signals.is_empty():
        name = f"signals of {world.settings.strategy} for {turn.signals}"
        if not world.bars(turn.signals).is_empty():
            return f"no {name}; materialize signals/daily"
        if turn.replay:
            mend = "Set dates.end to the last session that the data has"
        else:
            mend = "Materialize the session's history first, then signals/daily"
        return f"the {name} are empty: there are no bars of that session. {mend}"
    if turn.replay and world.bars(turn.session).is_empty():
        return (
            f"no bars of {turn.session}, the session to replay: the data ends before dates.end. "
            f"Set dates.end to the last session that the data has ({turn.signals} or earlier)"
        )
    return None


def _status(context: dg.OpExecutionContext) -> dg.DagsterRunStatus:
    run = context.instance.get_run_by_id(context.run.run_id)
    return run.status if run is not None else dg.DagsterRunStatus.CANCELED


def _hooks(context: dg.OpExecutionContext, world: World, turn: Turn, venue: Venue) -> Hooks:
    return Hooks(
        now=lambda: datetime.now(UTC),
        sleep=time.sleep,
        market_now=venue.now,
        ready=venue.ready,
        closed=venue.closed,
        stop_reason=_stop_reason(context, turn),
        heartbeat=lambda doing: beat(context.instance, context.run, doing),
        observe=lambda observation: _observe(context, world, observation),
    )


def _stop_reason(context: dg.OpExecutionContext, turn: Turn) -> Callable[[], str | None]:
    looked = -STATUS_SECONDS

    def reason() -> str | None:
        nonlocal looked
        if turn.over(datetime.now(UTC)):
            return "the next session's turn has begun, and this one's bar never came"
        if time.monotonic() - looked < STATUS_SECONDS:
            return None
        looked = time.monotonic()
        status = _status(context)
        return None if status is dg.DagsterRunStatus.STARTED else f"the run is {status.value}"

    return reason


def _closes(world: World, session: date) -> dict[str, float]:
    return dict(world.bars(session).select("symbol", "close").iter_rows())


def _splits(world: World, session: date) -> dict[str, float]:
    return dict(world.bars(session).filter(pl.col("split") != 1.0).select("symbol", "split").iter_rows())


def _observe(context: dg.OpExecutionContext, world: World, seen: Observation) -> None:
    """Write the three frames to the lake and tell Dagster about each."""
    account = seen.account
    tables = {
        "executions": frames.executions(seen.session, seen.fills),
        "positions": frames.positions(seen.session, seen.positions),
        "equity": frames.equity(seen.session, seen.equity),
    }
    for name, frame in tables.items():
        world.write(("live", name), seen.session, frame)
        metadata: dict[str, int | float | str] = {
            "dagster/partition_row_count": frame.height,
            "venue time": str(account.ts),
            "equity": account.equity,
        }
        context.log_event(dg.AssetObservation(["live", name], partition=seen.session.isoformat(), metadata=metadata))
