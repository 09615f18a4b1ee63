"""Runs started by a program, in its own process: a partition, a range, what is missing, the whole graph.

    from quant_assets import launch
    launch.partition("features/panel", "2012-06-01")
    launch.history("2010", "2012", ["AAPL", "IBM"])
    launch.sweep("moving_average_cross")
    launch.everything()

Each call returns when its run has ended and raises LaunchError, naming the run and the step, where it failed; or,
before a run is made, naming the argument where it asks for what there is not. The runs stand in the same instance as
those of the UI. Programs on other machines use dagster-graphql (docs/programs.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from quant_assets import jobs
from quant_assets.definitions import LAKE, defs
from quant_assets.freshness import INPUTS_TAG, MADE_FROM_TAG, TIER_TAG, Tier, made_from, work
from quant_assets.partitions import CUTOFFS, HISTORY, PARTITIONS, REPORTS, SESSIONS, SETTINGS, SYMBOLS, check_size
from resources.calendars import last_closed_session
from resources.calendars import sessions as sessions_between
from resources.errors import QuantError
from resources.instance import at_work
from resources.instance import instance as open_instance
from resources.lake_io import partition_of
from resources.market_data import Files, create, universe
from sensors.schedules import history_range

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


class LaunchError(QuantError):
    """A run did not succeed, or was not started because an argument names what there is not."""


def partition(assets: str | Sequence[str], key: str | dict[str, str] | None = None) -> dg.ExecuteInProcessResult:
    """Materialize one partition of one or more assets that are partitioned alike; `key` None for those without."""
    with open_instance(SETTINGS) as instance:
        keys, cut = _chosen(assets)
        _check_key(instance, keys, cut, key)
        return _run(instance, keys, key=dg.MultiPartitionKey(key) if isinstance(key, dict) else key)


def sessions(assets: str | Sequence[str], first: str, last: str) -> dg.ExecuteInProcessResult:
    """Materialize a range of date partitions (sessions or training cut-offs), both ends included, as one run."""
    with open_instance(SETTINGS) as instance:
        keys, cut = _chosen(assets)
        if cut is None:
            raise LaunchError(
                f"assets: {_named(keys)} has no partitions; for example launch.partition('{_named(keys)}')"
            )
        if isinstance(cut, dg.MultiPartitionsDefinition):
            other = "launch.history" if cut == HISTORY else "launch.partition"
            raise LaunchError(f"assets: {_named(keys)} is partitioned by {_dimensions(cut)}; use {other}")
        _check_range(_named(keys), cut.get_partition_keys(dynamic_partitions_store=instance), first, last)
        return _run(instance, keys, tags={RANGE_START: first, RANGE_END: last})


def history(
    first: str, last: str, symbols: str | Sequence[str], assets: str | Sequence[str] | None = None
) -> dg.ExecuteInProcessResult:
    """Materialize date keys `first` to `last` of these symbols as one run: market data to features by default.

    The symbols must stand next to one another in the universe; a range has no gaps.
    """
    with open_instance(SETTINGS) as instance:
        keys, cut = _chosen(jobs.HISTORY_TIER if assets is None else assets)
        if cut != HISTORY:
            raise LaunchError(
                f"assets: {_named(keys)} is not partitioned by {_dimensions(HISTORY)}; use launch.sessions or "
                "launch.partition"
            )
        _check_range("the history", HISTORY.get_partitions_def_for_dimension("date").get_partition_keys(), first, last)
        register_symbols(instance)
        order = list(instance.get_dynamic_partitions(SYMBOLS))
        names = [symbols] if isinstance(symbols, str) else list(symbols)
        if not names:
            raise LaunchError(f"symbols: none named; there are {_some(order)}; for example ['{order[0]}']")
        unknown = [symbol for symbol in names if symbol not in order]
        if unknown:
            raise LaunchError(f"symbols {unknown} are not in the universe; add them to universe in the configuration")
        places = sorted({order.index(symbol) for symbol in names})
        if places != list(range(places[0], places[-1] + 1)):
            raise LaunchError(f"symbols {names} are not neighbours in the universe; launch them one by one")
        chosen = [order[place] for place in places]
        return _run(instance, keys, tags=history_range(first, last, chosen))


def sweep(strategy: str, as_of: str | None = None) -> dg.ExecuteInProcessResult:
    """Sweep a strategy's grid as of a month, that of the last closed session by default, and make its report anew."""
    grids = {configured.name: configured.grid for configured in SETTINGS.strategies}
    if strategy not in grids:
        raise LaunchError(f"strategy: {strategy!r} is not configured; there are {', '.join(grids)}")
    if grids[strategy] is None:
        having = ", ".join(name for name, grid in grids.items() if grid) or "none"
        raise LaunchError(
            f"strategy: {strategy} has no grid in the configuration (strategies), of those that have one there are: "
            f"{having}; give it one, for example grid: {{fast: [20, 50], slow: [100, 200]}}"
        )
    key = {"as_of": as_of or f"{last_session():%Y-%m}", "strategy": strategy}
    return partition(["backtests/sweep", "backtests/report"], key)


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

    Raises BusyError where another program does the same on this home.
    """
    with at_work(SETTINGS, "launch.everything"), open_instance(SETTINGS) as instance:
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
    chosen = sorted(todo.assets, key=lambda found: found.to_user_string())
    if tier.one_run:
        last = _run(instance, chosen, tags=tags | _range_tags(instance, tier, todo.keys))
    else:
        last = [_run(instance, chosen, key=key, tags=tags) for key in todo.keys][-1]
    instance.add_run_tags(last.run_id, {MADE_FROM_TAG: made_from(instance, graph, tier)})
    progress(f"          done in {time.perf_counter() - began:.1f} s")


def tiers(instance: dg.DagsterInstance) -> list[Tier]:
    """The graph's tiers in order, with every partition key up to the last closed session."""
    last = last_session()
    closes = sessions_between(SETTINGS.calendar, last, last)["close"][0]
    # What a fetch depends on. A folder of files tells when it changes; a service on the net does not.
    fingerprint = ""
    if SETTINGS.provider.name == "files" and isinstance(provider := create(SETTINGS), Files):
        fingerprint = provider.fingerprint()
    source = f"{SETTINGS.provider} {SETTINGS.dates} {SETTINGS.cleaning.exclude} {fingerprint}"
    spoken, others = (_sources(of_texts) for of_texts in (True, False))
    sessions_held = [key for key in SESSIONS.get_partition_keys() if key <= last.isoformat()]
    cutoffs = [key for key in CUTOFFS.get_partition_keys() if key <= last.isoformat()]
    reports = {
        strategy.name: str(dg.MultiPartitionKey({"as_of": last.strftime("%Y-%m"), "strategy": strategy.name}))
        for strategy in SETTINGS.strategies
    }
    swept = [
        reports[strategy.name] for strategy in SETTINGS.strategies if strategy.grid and SETTINGS.sweep.with_everything
    ]
    history: dict[str, Any] = {
        "partitions_def": HISTORY,
        "keys": HISTORY.get_partition_keys(dynamic_partitions_store=instance),
        "newest": (PARTITIONS.date_key(last), closes.timestamp()) if SETTINGS.dates.end is None else None,
    }
    return [
        Tier("instruments", jobs.INSTRUMENTS, None, [], source=f"{source} {universe(SETTINGS)}{spoken}"),
        Tier("history", jobs.HISTORY_TIER, **history, source=f"{source}{spoken}"),
        *(
            [Tier("alternative data", jobs.ALTERNATIVE_TIER, **history, source=f"{source}{others}")]
            if jobs.HAS_ALTERNATIVE
            else []
        ),
        Tier("quality page", jobs.QUALITY, None, []),
        Tier("panel and labels", jobs.PANEL_TIER, SESSIONS, sessions_held),
        Tier("models", jobs.MODEL_TIER, CUTOFFS, cutoffs),
        Tier("predictions and signals", jobs.SIGNAL_TIER, SESSIONS, sessions_held),
        *([Tier("sweeps", jobs.SWEEP_TIER, REPORTS, swept, one_run=False)] if swept else []),
        Tier("reports", jobs.REPORT_TIER, REPORTS, list(reports.values()), one_run=False),
    ]


def _sources(of_texts: bool) -> str:
    """The configured sources of records with texts, or of those without, as text that changes with them."""
    found = [
        source
        for source in SETTINGS.alternative.sources
        if any((kind in jobs.SPOKEN) is of_texts for kind in source.has)
    ]
    named = f" {SETTINGS.alternative.entities}" if of_texts and found else ""
    return f" {found}{named}" if found else ""


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
    assets: Sequence[dg.AssetKey],
    key: str | None = None,
    tags: dict[str, str] | None = None,
) -> dg.ExecuteInProcessResult:
    return run_job(instance, defs.resolve_implicit_global_asset_job_def(), assets, key, tags)


def _chosen(
    assets: str | Sequence[str] | dg.AssetSelection,
) -> tuple[list[dg.AssetKey], dg.PartitionsDefinition | None]:
    """The assets asked for, in order, and how they are partitioned. Raises LaunchError where they are not as one."""
    graph = defs.resolve_asset_graph()
    there = {found.to_user_string(): found for found in graph.materializable_asset_keys}
    if isinstance(assets, dg.AssetSelection):
        names = [found.to_user_string() for found in assets.resolve(graph)]
    else:
        names = [assets] if isinstance(assets, str) else list(assets)
    if not names:
        raise LaunchError(f"assets: none named; there are {', '.join(sorted(there))}; for example 'features/panel'")
    for name in names:
        if name not in there:
            raise LaunchError(
                f"assets: no asset {name!r}; there are {', '.join(sorted(there))}; for example 'features/panel'"
            )
    first = next((name for name in names if graph.get(there[name]).partitions_def is not None), names[0])
    cut = graph.get(there[first]).partitions_def
    for name in names:
        if graph.get(there[name]).partitions_def not in (None, cut):
            raise LaunchError(f"assets: {first} and {name} are partitioned differently; launch them one by one")
    return [there[name] for name in sorted(set(names))], cut


def _check_key(
    instance: dg.DagsterInstance,
    assets: Sequence[dg.AssetKey],
    cut: dg.PartitionsDefinition | None,
    key: str | dict[str, str] | None,
) -> None:
    """Raise LaunchError, with what there is and an example, where the assets have no such partition."""
    if cut is None:
        if key is not None:
            raise LaunchError(f"key: {_named(assets)} has no partitions; leave it out")
        return
    if cut == HISTORY:
        register_symbols(instance)
    if isinstance(cut, dg.MultiPartitionsDefinition):
        there = {
            dimension.name: dimension.partitions_def.get_partition_keys(dynamic_partitions_store=instance)
            for dimension in cut.partitions_defs
        }
        # A key as plain text has its parts in the order of the dimensions, as Dagster writes it.
        asked = key if isinstance(key, dict) else dict(zip(there, str(key).split("|"), strict=False))
        found = asked.keys() == there.keys() and all(asked[name] in keys for name, keys in there.items())
        found = found and (isinstance(key, dict) or str(key).count("|") == len(there) - 1)
        held = "; ".join(f"{name} {_some(keys)}" for name, keys in there.items())
        example: object = {name: keys[-1] for name, keys in there.items() if keys}
    else:
        one = cut.get_partition_keys(dynamic_partitions_store=instance)
        found, held, example = key in one if isinstance(key, str) else False, _some(one), one[-1]
    if key is None:
        raise LaunchError(f"key: {_named(assets)} has partitions {held}; name one, for example {example!r}")
    if not found:
        raise LaunchError(
            f"key: {key!r} is no partition of {_named(assets)}; there are {held}; for example {example!r}"
        )


def _check_range(whose: str, there: Sequence[str], first: str, last: str) -> None:
    """Raise LaunchError where an end of the range is not `there`, or the ends stand the wrong way round."""
    for argument, key in (("first", first), ("last", last)):
        if key not in there:
            raise LaunchError(
                f"{argument}: {key!r} is no partition of {whose}; there are {_some(there)}; for example {there[-1]!r}"
            )
    if there.index(first) > there.index(last):
        raise LaunchError(f"first: {first} is later than last {last}; swap them: first {last!r}, last {first!r}")


def _named(assets: Sequence[dg.AssetKey]) -> str:
    return ", ".join(asset.to_user_string() for asset in assets)


def _dimensions(cut: dg.MultiPartitionsDefinition) -> str:
    return " and ".join(dimension.name for dimension in cut.partitions_defs)


def _some(keys: Sequence[str]) -> str:
    """Dates from first to last, names in full where they are few."""
    if not keys:
        return "none"
    if keys[0][0].isdigit() and keys[0][:4].isdigit():
        return keys[0] if len(keys) == 1 else f"{keys[0]} to {keys[-1]}"
    return ", ".join(keys[:10]) + (f" and {len(keys) - 10} more" if len(keys) > 10 else "")


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


def last_session() -> date:
    """The last session that this configuration holds: closed by now, and not after `dates.end`."""
    return min(SETTINGS.dates.end or date.max, last_closed_session(SETTINGS.calendar, utc_now()))


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
    told = [f"{', '.join(names)}: {text}" for text, names in steps.items()]
    return f"run {result.run_id} failed. " + " | ".join([*told, *_broken_checks(result)])


def _broken_checks(result: dg.ExecuteInProcessResult) -> list[str]:
    """Of each check that failed with an error: the expectations that are broken, with examples and reasons."""
    told = []
    for event in result.all_events:
        if event.event_type is not dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            continue
        evaluation = event.asset_check_evaluation_data
        if evaluation.passed or evaluation.severity is not dg.AssetCheckSeverity.ERROR:
            continue
        lines = str(getattr(evaluation.metadata.get("result"), "value", "")).splitlines()
        broken = [line.strip("| ").removeprefix("**error** | ") for line in lines if line.startswith("| **error**")]
        if broken:
            whose = evaluation.asset_key.to_user_string()
            told.append(f"{whose}: " + "; ".join(broken[:3]))
    return list(dict.fromkeys(told))
