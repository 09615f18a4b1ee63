"""Signs of life of a live run: engine events in the run's own log, 4 ms and 1 KB each, found again in 3 ms."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

HEARTBEAT = "heartbeat"
"""How a heartbeat's message begins. Other engine events (of the launcher, of run monitoring) are no sign of life."""

_LOOK_BACK = 10
"""Engine events looked through: between two heartbeats Dagster itself writes at most a few."""


def beat(instance: dg.DagsterInstance, run: dg.DagsterRun, doing: str) -> None:
    """Record that the run is alive and what it is doing."""
    instance.report_engine_event(f"{HEARTBEAT}: {doing}", run)


def last_beat(instance: dg.DagsterInstance, run_id: str) -> datetime | None:
    """When the run last gave a sign of life (UTC); None before its first."""
    page = instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.ENGINE_EVENT, limit=_LOOK_BACK, ascending=False
    )
    for record in page.records:
        entry = record.event_log_entry
        if (entry.get_dagster_event().message or "").startswith(HEARTBEAT):
            return datetime.fromtimestamp(entry.timestamp, UTC)
    return None
