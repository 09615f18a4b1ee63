"""Runs started by a program, in its own process: a partition, a range, what is missing, the whole graph.

    from quant_assets import launch
    launch.partition("features/panel", "2012-06-01")
    launch.history("2010", "2012", ["AAPL", "IBM"])
    launch.everything()

Each call returns when its run has ended and raises LaunchError, naming the run and the step, where it failed. The
runs stand in the same instance as those of the UI. Programs on other machines use dagster-graphql (docs/programs.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime

import dagster as dg

from quant_assets import jobs
from quant_assets.definitions import LAKE, defs
from quant_assets.freshness import INPUTS_TAG, MADE_FROM_TAG, TIER_TAG, Tier, made_from, work
from quant_assets.partitions import CUTOFFS, HISTORY, PARTITIONS, REPORTS, SESSIONS, SETTINGS, SYMBOLS, check_size
from resources.calendars import last_closed_session
from resources.calendars import sessions as sessions_between
from resources.errors import QuantError
from resources.instance import instance as open_instance
from resources.lake_io import partition_of
from resources.market_data import Files, create, universe
from sensors.schedules import history_range

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


class LaunchError(QuantError):
    """A run did not succeed."""


def partition(assets: str | Sequence[str], key: str | dict[str, str] | None = None) -> dg.ExecuteInProcessResult:
    """Materialize one partition of one or more assets that are partitioned alike; `key` None for those without."""
    with open_instance(SETTINGS) as instance:
        return _run(instance, assets, key=dg.MultiPartitionKey(key) if isinstance(key, dict) else key)


def sessions(assets: str | Sequence[str], first: str, last: str) -> dg.ExecuteInProcessResult:
    """Materialize a range of date partitions (sessions or training cut-offs), both ends included, as one run."""
    with open_instance(SETTINGS) as instance:
        return _run(instance, assets, tags={RANGE_START: first, RANGE_END: last})


def history(
    first: str, last: str, symbols: Sequence[str], assets: str | Sequence[str] | None = None
) -> dg.ExecuteInProcessResult:
    """Materialize date keys `first` to `last` of these symbols as one run: market data to features by default.

    The symbols must stand next to one another in the universe; a range has no gaps.
    """
    with open_instance(SETTINGS) as instance:
        register_symbols(instance)
        order = instance.get_dynamic_partitions(SYMBOLS)
        unknown = [symbol for symbol in symbols if symbol not in order]
        if unknown:
            raise LaunchError(f"symbols {unknown} are not in the universe; add them to universe in the configuration")
        places = sorted(order.index(symbol) for symbol in symbols)
        if places != list(range(places[0], places[-1] + 1)):
            raise LaunchError(f"symbols {list(symbols)} are not neighbours in the universe; launch them one by one")
        chosen = [order[place] for place in places]
        return _run(instance, assets or jobs.HISTORY_TIER, tags=history_range(first, last, chosen))


def register_symbols(instance: dg.DagsterInstance) -> list[str]:
    """Add the universe's symbols to the dynamic partitions where they are new; return all that there are."""
    held = set(instance.get_dynamic_partitions(SYMBOLS))
    new = [symbol for symbol in universe(SETTINGS) if symbol not in held]
    check_size(SETTINGS, len(held) + len(new), utc_now().date())
    if new:
        instance.add_dynamic_partitions(SYMBOLS, new)
    return list(instance.get_dynamic_partitions(SYMBOLS))


def everything(progress: Callable[[str], None] = print, refresh: bool = False) -> None:
    """Materialize the whole graph up to the last closed session, tier by tier, one range run each.

    A tier is left alone where all its partitions are there, made by the present code from the present inputs;
    where some are missing (a killed backfill, a new symbol), only the range that lacks them is run. `refresh`
    runs everything again.
    """
    with open_instance(SETTINGS) as instance:
        register_symbols(instance)
        graph = defs.resolve_asset_graph()
        for tier in tiers(instance):
            advance(instance, graph, tier, progress, refresh)


def advance(
    instance: dg.DagsterInstance,
    graph: dg.AssetGraph,
    tier: Tier,
    progress: Callable[[str], None],
    refresh: bool = False,
) -> None:
    """Run what a tier needs, and say so."""
    began = time.perf_counter()
    todo = work(instance, graph, tier, refresh, lambda asset, key: _stored(tier, asset, key))
    if todo is None:
        progress(f"  fresh   {tier.name}")
        return
    progress(f"  running {tier.name}: {todo.reason}")
    tags = {TIER_TAG: tier.name, INPUTS_TAG: todo.inputs}
    chosen = dg.AssetSelection.assets(*todo.assets)
    if tier.one_run:
        last = _run(instance, chosen, tags=tags | _range_tags(instance, tier, todo.keys))
    else:
        last = [_run(instance, chosen, key=key, tags=tags) for key in todo.keys][-1]
    instance.add_run_tags(last.run_id, {MADE_FROM_TAG: made_from(instance, graph, tier)})
    progress(f"          done in {time.perf_counter() - began:.1f} s")


def tiers(instance: dg.DagsterInstance) -> list[Tier]:
    """The graph's tiers in order, with every partition key up to the last closed session."""
    last = min(SETTINGS.dates.end or date.max, last_closed_session(SETTINGS.calendar, utc_now()))
    closes = sessions_between(SETTINGS.calendar, last, last)["close"][0]
    # What a fetch depends on. A folder of files tells when it changes; a service on the net does not.
    fingerprint = provider.fingerprint() if isinstance(provider := create(SETTINGS), Files) else ""
    source = f"{SETTINGS.provider} {SETTINGS.dates} {SETTINGS.cleaning.exclude} {fingerprint}"
    sessions_held = [key for key in SESSIONS.get_partition_keys() if key <= last.isoformat()]
    cutoffs = [key for key in CUTOFFS.get_partition_keys() if key <= last.isoformat()]
    reports = [
        str(dg.MultiPartitionKey({"as_of": last.strftime("%Y-%m"), "strategy": strategy.name}))
        for strategy in SETTINGS.strategies
    ]
    return [
        Tier("instruments", jobs.INSTRUMENTS, None, [], source=f"{source} {universe(SETTINGS)}"),
        Tier(
            "history",
            jobs.HISTORY_TIER,
            HISTORY,
            HISTORY.get_partition_keys(dynamic_partitions_store=instance),
            source=source,
            newest=(PARTITIONS.date_key(last), closes.timestamp()) if SETTINGS.dates.end is None else None,
        ),
        Tier("panel and labels", jobs.PANEL_TIER, SESSIONS, sessions_held),
        Tier("models", jobs.MODEL_TIER, CUTOFFS, cutoffs),
        Tier("predictions and signals", jobs.SIGNAL_TIER, SESSIONS, sessions_held),
        Tier("reports", jobs.REPORT_TIER, REPORTS, reports, one_run=False),
    ]


def _range_tags(instance: dg.DagsterInstance, tier: Tier, keys: Sequence[str]) -> dict[str, str]:
    """Tags of the smallest range that covers the keys."""
    if tier.partitions_def is None:
        return {}
    if not isinstance(tier.partitions_def, dg.MultiPartitionsDefinition):
        return {RANGE_START: min(keys), RANGE_END: max(keys)}
    asked = [tier.partitions_def.get_partition_key_from_str(key).keys_by_dimension for key in keys]
    ends: dict[str, dict[str, str]] = {"first": {}, "last": {}}
    for dimension in tier.partitions_def.partitions_defs:
        order = dimension.partitions_def.get_partition_keys(dynamic_partitions_store=instance)
        places = [order.index(key) for key in {key[dimension.name] for key in asked}]
        ends["first"][dimension.name], ends["last"][dimension.name] = order[min(places)], order[max(places)]
    return {RANGE_START: str(dg.MultiPartitionKey(ends["first"])), RANGE_END: str(dg.MultiPartitionKey(ends["last"]))}


def _run(
    instance: dg.DagsterInstance,
    assets: str | Sequence[str] | dg.AssetSelection,
    key: str | None = None,
    tags: dict[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    names = [assets] if isinstance(assets, str) else assets
    selection = names if isinstance(names, dg.AssetSelection) else dg.AssetSelection.assets(*names)
    graph = defs.resolve_asset_graph()
    keys = sorted(selection.resolve(graph), key=lambda found: found.to_user_string())
    job = defs.resolve_implicit_global_asset_job_def()
    return run_job(instance, job, keys, key, tags)


def run_job(
    instance: dg.DagsterInstance,
    job: dg.JobDefinition,
    assets: Sequence[dg.AssetKey] | None = None,
    key: str | None = None,
    tags: dict[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    """Run a job here and now. Its log stands in the instance; what went wrong comes as one error.

    Raises LaunchError naming the run, the step and the cause where it fails.
    """
    result = job.execute_in_process(
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        instance=instance,
        asset_selection=assets,
        partition_key=key,
        tags=tags or {},
        raise_on_error=False,
    )
    if not result.success:
        raise LaunchError(_failure(result))
    return result


def utc_now() -> datetime:
    return datetime.now(UTC)


def _stored(tier: Tier, asset: dg.AssetKey, key: str) -> str | None:
    partition = partition_of(tier.partitions_def, key) if key else {}
    return LAKE.stored_version(LAKE.path(asset.path, partition))


def _failure(result: dg.ExecuteInProcessResult) -> str:
    steps: dict[str, list[str]] = {}
    for event in result.all_events:
        if event.is_step_failure and event.step_failure_data.error is not None:
            error = event.step_failure_data.error
            # Below Dagster's own wrapping stands the error a user can act on; its causes are for the full log.
            while error.cause is not None and (error.cls_name or "").startswith("Dagster"):
                error = error.cause
            steps.setdefault(error.message.strip(), []).append(str(event.step_key))
    return f"run {result.run_id} failed. " + " | ".join(f"{', '.join(names)}: {text}" for text, names in steps.items())
