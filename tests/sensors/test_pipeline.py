"""What follows a finished run: the model where one is due, the session, the month's reports."""

from __future__ import annotations

from datetime import date

import dagster as dg
import pytest

from quant_assets import jobs
from quant_assets.definitions import defs
from quant_assets.partitions import SETTINGS, SYMBOLS
from sensors.pipeline import cutoff_of, pipeline

CHAMPION = dg.AssetKey(["models", "champion"])


def after(
    job: dg.JobDefinition | str, session: str | None, fitted: list[str]
) -> tuple[list[dg.RunRequest], str | None]:
    """What the sensor asks for, and why it skips, when a run of `job` for `session` has succeeded."""
    with dg.DagsterInstance.ephemeral() as instance:
        for cutoff in fitted:
            instance.report_runless_asset_event(dg.AssetMaterialization(CHAMPION, partition=cutoff))
        run = instance.create_run_for_job(
            defs.resolve_job_def(job if isinstance(job, str) else job.name),
            tags={jobs.SESSION_TAG: session} if session else {},
        )
        event = dg.DagsterEvent("PIPELINE_SUCCESS", job_name=run.job_name)
        with dg.build_run_status_sensor_context("pipeline", event, instance, run) as context:
            answers = list(pipeline(context))
    requests = [answer for answer in answers if isinstance(answer, dg.RunRequest) and answer.job_name != "alternative"]
    reasons = [answer.skip_message for answer in answers if isinstance(answer, dg.SkipReason)]
    return requests, reasons[0] if reasons else None


def test_history_leads_to_the_session() -> None:
    [request], _ = after("history", "2011-09-15", fitted=["2011-07-01"])
    assert (request.job_name, request.partition_key) == ("session", "2011-09-15")
    assert request.tags == {jobs.SESSION_TAG: "2011-09-15"}


def test_history_leads_to_the_records_that_nothing_waits_for_of_the_same_range() -> None:
    ends = {
        "dagster/asset_partition_range_start": "2011|AAPL",
        "dagster/asset_partition_range_end": "2011|MSFT",
    }
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions(SYMBOLS, ["AAPL", "IBM", "MSFT"])
        run = instance.create_run_for_job(
            defs.resolve_job_def("history"), tags={jobs.SESSION_TAG: "2011-09-15", **ends}
        )
        event = dg.DagsterEvent("PIPELINE_SUCCESS", job_name=run.job_name)
        with dg.build_run_status_sensor_context("pipeline", event, instance, run) as context:
            answers = [answer for answer in pipeline(context) if isinstance(answer, dg.RunRequest)]
    [records] = [answer for answer in answers if answer.job_name == "alternative"]
    assert records.tags == ends, "without the session's tag: nothing follows it"
    assert records.run_key == "2011-09-15 alternative"


def test_history_leads_to_the_model_where_its_cut_off_is_reached_and_not_fitted() -> None:
    [request], _ = after("history", "2012-01-03", fitted=["2011-07-01"])
    assert (request.job_name, request.partition_key) == ("models", "2012-01-01")
    assert request.tags == {jobs.SESSION_TAG: "2012-01-03"}


def test_the_model_leads_to_the_session() -> None:
    [request], _ = after("models", "2012-01-03", fitted=["2011-07-01", "2012-01-01"])
    assert (request.job_name, request.partition_key) == ("session", "2012-01-03")


def test_before_the_first_cut_off_no_model_is_due() -> None:
    assert cutoff_of(date(2011, 6, 30)) is None
    [request], _ = after("history", "2011-06-30", fitted=[])
    assert request.job_name == "session"


CUTOFFS = [("2011-07-01", "2011-07-01"), ("2011-12-30", "2011-07-01"), ("2012-01-03", "2012-01-01")]


@pytest.mark.parametrize(("session", "cutoff"), CUTOFFS)
def test_the_cut_off_in_force(session: str, cutoff: str) -> None:
    assert cutoff_of(date.fromisoformat(session)) == cutoff


MONTH_ENDS = ["2010-06-30", "2010-12-31", "2011-04-29", "2012-02-29", "2012-03-30"]


@pytest.mark.parametrize("session", MONTH_ENDS)
def test_the_months_last_session_leads_to_a_report_of_each_strategy(session: str) -> None:
    requests, _ = after("session", session, fitted=["2011-07-01"])
    assert [request.job_name for request in requests] == ["reports"] * len(SETTINGS.strategies)
    assert [str(request.partition_key) for request in requests] == [
        f"{session[:7]}|{strategy.name}" for strategy in SETTINGS.strategies
    ]
    assert len({request.run_key for request in requests}) == len(requests)


@pytest.mark.parametrize("session", ["2010-06-29", "2011-04-28", "2012-02-28"])
def test_other_sessions_lead_to_none(session: str) -> None:
    requests, reason = after("session", session, fitted=["2011-07-01"])
    assert requests == []
    assert reason == f"{session} is not the last session of its month"


def test_runs_that_were_not_started_for_a_session_lead_nowhere() -> None:
    requests, reason = after("history", None, fitted=[])
    assert requests == []
    assert reason == "the run was not started for a session"


def test_every_request_has_a_key_of_its_own() -> None:
    """A run key never starts twice: the session after a model and that after a second history run must differ."""
    [first], _ = after("history", "2011-09-15", fitted=["2011-07-01"])
    [again], _ = after("history", "2011-09-15", fitted=["2011-07-01"])
    assert first.run_key != again.run_key


def test_each_answer_names_a_job_the_sensor_may_start() -> None:
    names = {target.job_name for target in pipeline.targets}
    assert names == {"models", "session", "reports", "alternative"}
