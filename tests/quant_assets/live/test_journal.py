"""The order journal: recorded before sent, applied once, written by one, whole after every crash."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from quant_assets.live.journal import TABLES, Journal, JournalError, LeaseLostError, OtherAccountError
from resources.brokers.base import Account, OrderState, OrderStateError, OrderStatus
from tests.quant_assets.live import journal_writer as writer

SESSION = date(2013, 3, 1)
NOW = datetime(2013, 3, 1, 14, 30, tzinfo=UTC)
PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    journal = Journal(tmp_path / "journal.sqlite")
    journal.take_lease(SESSION, 1, "run-1")
    yield journal
    journal.close()


def states(journal: Journal) -> dict[str, OrderState]:
    return {status.order.symbol: status.state for status in journal.orders(SESSION)}


def test_a_plan_comes_back_as_it_was_recorded(journal: Journal) -> None:
    plan = writer.plan(SESSION)
    journal.record_plan(plan)
    assert Journal(journal.path).plan(SESSION) == plan
    assert states(journal) == {**{f"S{n}": OrderState.INTENDED for n in range(4)}, "S4": OrderState.REJECTED}
    assert journal.plan(SESSION - timedelta(days=1)) is None


def test_a_session_is_planned_once(journal: Journal) -> None:
    journal.record_plan(writer.plan(SESSION))
    with pytest.raises(JournalError, match="2013-03-01: already planned"):
        journal.record_plan(writer.plan(SESSION))


def test_events_apply_exactly_once(journal: Journal) -> None:
    plan = writer.plan(SESSION)
    journal.record_plan(plan)
    told = writer.events(1, list(plan.orders[:4]))
    assert len(journal.apply(told[:5])) == 3
    assert journal.cursor() == 5
    assert len(journal.apply(told)) == 5, "the first three fills are known"
    assert journal.apply(told) == []
    assert len(journal.fills(SESSION)) == 8
    assert set(states(journal).values()) == {OrderState.FILLED, OrderState.REJECTED}


def test_a_fill_reported_again_under_another_number_is_not_applied_again(journal: Journal) -> None:
    plan = writer.plan(SESSION)
    journal.record_plan(plan)
    (_, fill), *_ = writer.events(1, [plan.orders[0]])
    assert journal.apply([(1, fill)]) == [fill]
    assert journal.apply([(9, fill)]) == []
    with pytest.raises(JournalError, match="reported twice with different contents"):
        journal.apply([(10, replace(fill, price=101.0))])
    assert journal.cursor() == 9, "the refused batch left nothing behind"


def test_an_acknowledgement_repeated_by_an_event_is_one_transition(journal: Journal) -> None:
    plan = writer.plan(SESSION)
    journal.record_plan(plan)
    accepted = OrderStatus(plan.orders[0], OrderState.ACCEPTED, 0.0)
    journal.record_ack(accepted)
    journal.apply([(1, accepted)])
    with sqlite3.connect(journal.path) as connection:
        assert connection.execute("SELECT count(*) FROM transitions WHERE state='accepted'").fetchone() == (1,)


def test_what_moved_on_before_the_acknowledgement_is_left_to_the_events(journal: Journal) -> None:
    """An order found filled when it is sent again: its events still come, from ACCEPTED on."""
    plan = writer.plan(SESSION)
    journal.record_plan(plan)
    one = plan.orders[0]
    journal.record_ack(OrderStatus(one, OrderState.FILLED, 10.0))
    assert states(journal)["S0"] is OrderState.INTENDED
    journal.apply([(1, OrderStatus(one, OrderState.ACCEPTED, 0.0)), (2, OrderStatus(one, OrderState.FILLED, 10.0))])
    assert states(journal)["S0"] is OrderState.FILLED


FORBIDDEN = [
    (OrderState.FILLED, OrderState.ACCEPTED),
    (OrderState.CANCELLED, OrderState.FILLED),
    (OrderState.REJECTED, OrderState.ACCEPTED),
    (OrderState.PARTIALLY_FILLED, OrderState.ACCEPTED),
]


@pytest.mark.parametrize(("before", "after"), FORBIDDEN)
def test_forbidden_transitions_are_refused(journal: Journal, before: OrderState, after: OrderState) -> None:
    plan = writer.plan(SESSION)
    journal.record_plan(plan)
    journal.apply([(1, OrderStatus(plan.orders[0], before, 10.0))])
    with pytest.raises(OrderStateError, match=rf"{plan.orders[0].id}: cannot go from {before} to {after}"):
        journal.apply([(2, OrderStatus(plan.orders[0], after, 0.0))])
    assert states(journal)["S0"] is before
    assert journal.cursor() == 1


def test_an_order_never_intended_is_refused(journal: Journal) -> None:
    with pytest.raises(JournalError, match="never intended"):
        journal.apply([(1, OrderStatus(writer.order(SESSION, 0), OrderState.ACCEPTED, 0.0))])


def test_peak_equity_is_over_all_sessions(journal: Journal) -> None:
    assert journal.peak_equity() == 0.0
    journal.record_equity(Account(NOW, 1.0, 120.0))
    journal.take_lease(SESSION + timedelta(days=3), 1, "run-9")
    journal.record_equity(Account(NOW, 1.0, 110.0))
    assert journal.peak_equity() == 120.0
    assert [account.equity for account in journal.equity(SESSION)] == [120.0]


@pytest.mark.parametrize("table", TABLES)
def test_nothing_is_ever_changed_or_deleted(journal: Journal, table: str) -> None:
    plan = writer.plan(SESSION)
    journal.record_plan(plan)
    journal.apply(writer.events(1, [plan.orders[0]]))
    journal.record_equity(Account(NOW, 1.0, 1.0))
    journal.bind("ours")
    change = {"held": "quantity=0", "account": "id='theirs'"}.get(table, "token=0")
    with sqlite3.connect(journal.path) as connection:
        for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET {change}"):
            with pytest.raises(sqlite3.IntegrityError, match=f"{table} is append-only"):
                connection.execute(statement)


# ---- the lease


def test_the_newest_lease_fences_the_older_one(journal: Journal) -> None:
    plan = writer.plan(SESSION)
    journal.record_plan(plan)
    newer = Journal(journal.path)
    newer.take_lease(SESSION, 2, "run-2")
    accepted = OrderStatus(plan.orders[0], OrderState.ACCEPTED, 0.0)
    for write in (
        journal.check_lease,
        lambda: journal.record_plan(writer.plan(SESSION + timedelta(days=1))),
        lambda: journal.record_ack(accepted),
        lambda: journal.apply([(1, accepted)]),
        lambda: journal.record_equity(Account(NOW, 1.0, 1.0)),
    ):
        with pytest.raises(LeaseLostError, match=r"lease 1 is lost: attempt 2 of 2013-03-01 \(run-2\) holds lease 2"):
            write()
    assert states(journal)["S0"] is OrderState.INTENDED
    assert journal.cursor() == 0
    newer.record_ack(accepted)
    assert states(journal)["S0"] is OrderState.ACCEPTED


def test_an_earlier_attempt_cannot_take_over(journal: Journal) -> None:
    journal.take_lease(SESSION, 3, "run-3")
    with pytest.raises(LeaseLostError, match=r"attempt 2 of 2013-03-01 comes too late: attempt 3 \(run-3\)"):
        Journal(journal.path).take_lease(SESSION, 2, "run-2")
    journal.check_lease()
    assert journal.last_attempt(SESSION) == 3
    assert journal.last_attempt(SESSION - timedelta(days=1)) == 0


def test_writing_needs_a_lease(tmp_path: Path) -> None:
    with pytest.raises(LeaseLostError, match="no lease taken"):
        Journal(tmp_path / "journal.sqlite").record_plan(writer.plan(SESSION))


def test_a_journal_belongs_to_one_account(journal: Journal) -> None:
    journal.bind("ours")
    journal.bind("ours")
    with pytest.raises(
        OtherAccountError, match=rf"account ours, .* is theirs.* whole folder {journal.path.parent} away"
    ):
        journal.bind("theirs")


def test_only_the_holder_of_the_lease_may_bind(journal: Journal) -> None:
    with pytest.raises(LeaseLostError):
        Journal(journal.path).bind("theirs")


def test_a_journal_begun_before_accounts_had_ids_takes_the_one_it_meets(journal: Journal) -> None:
    journal.close()
    with sqlite3.connect(journal.path) as connection:
        connection.execute("DROP TABLE account")
    older = Journal(journal.path)
    older.take_lease(SESSION, 2, "run-2")
    older.bind("ours")
    with pytest.raises(sqlite3.IntegrityError, match="account is append-only"):
        older._connection.execute("DELETE FROM account")


# ---- crashes


def check_invariants(path: Path) -> int:
    """Assert that a journal tells one whole story; returns how many transitions it holds."""
    connection = sqlite3.connect(path)

    def ask(query: str) -> list[tuple[object, ...]]:
        return connection.execute(query).fetchall()

    assert ask("PRAGMA integrity_check") == [("ok",)]
    planned = dict(ask("SELECT session, intents FROM plans"))
    assert dict(ask("SELECT session, count(*) FROM intents GROUP BY session")) == planned, "plans are whole or absent"
    assert ask("SELECT id FROM fills WHERE order_id NOT IN (SELECT id FROM intents)") == []
    assert ask("SELECT number FROM transitions WHERE order_id NOT IN (SELECT id FROM intents)") == []
    ((last, count),) = ask("SELECT coalesce(max(event), 0), count(*) FROM seen")
    assert last == count, "no event was skipped"
    (filled,) = ask("SELECT count(*), coalesce(sum(quantity), 0.0) FROM fills")
    assert filled[0] == (count + 1) // 2, "every event seen is there with its effect: fills are the odd ones"
    connection.close()
    journal = Journal(path)
    for session in planned:
        fills = journal.fills(date.fromisoformat(str(session)))
        for status in journal.orders(date.fromisoformat(str(session))):
            own = sum(fill.quantity for fill in fills if fill.order_id == status.order.id)
            # Batches of three cut between a fill and its state, so the state may be one fill behind, never ahead.
            assert status.filled <= own <= status.filled + 5.0
            assert own <= status.order.quantity
    journal.take_lease(date(2030, 1, 1), 1, "survivor")
    journal.record_plan(writer.plan(date(2030, 1, 1)))
    journal.close()
    return count


def start_writer(path: Path, sessions: int) -> subprocess.Popen[str]:
    """A writing process that has written so many sessions and goes on."""
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen(
        [sys.executable, writer.__file__, str(path)],
        stdout=subprocess.PIPE, text=True, cwd=PROJECT, env=environment,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for _ in range(sessions):
        assert process.stdout.readline() == "session\n"
    return process


def test_killed_writers_leave_a_whole_journal(tmp_path: Path) -> None:
    """kill -9 at random instants; each time the file opens, holds together, and can be written again."""
    pause = random.Random(7)
    reached = []
    for kill in range(6):
        path = tmp_path / f"journal-{kill}.sqlite"
        process = start_writer(path, sessions=kill % 3)
        time.sleep(pause.uniform(0.0, 0.02))
        process.kill()
        process.wait()
        reached.append(check_invariants(path))
    assert max(reached) > 0, "the writers did write"


def test_the_disk_as_a_power_cut_would_leave_it(tmp_path: Path) -> None:
    """The writer is frozen at random instants and its files copied as they lie, half-done transactions included."""
    pause = random.Random(11)
    path = tmp_path / "journal.sqlite"
    process = start_writer(path, sessions=1)
    interrupted, reached = 0, 0
    try:
        for cut in range(25):
            time.sleep(pause.uniform(0.0, 0.01))
            process.send_signal(signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)
            copy = tmp_path / f"cut-{cut}.sqlite"
            shutil.copy(path, copy)
            rollback = Path(f"{path}-journal")
            if rollback.exists():
                shutil.copy(rollback, f"{copy}-journal")
                interrupted += 1
            process.send_signal(signal.SIGCONT)
            reached = max(reached, check_invariants(copy))
    finally:
        process.kill()
        process.wait()
    assert interrupted > 0, "some cuts fell inside a transaction"
    assert reached > 0


def test_every_commit_is_synced(journal: Journal) -> None:
    """A rollback journal, synced with its folder: what a committed transaction needs to outlive a power cut."""
    connection = journal._connection
    assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
    assert connection.execute("PRAGMA synchronous").fetchone()[0] == 3
