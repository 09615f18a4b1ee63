"""Who works the runs of a sweep: threads of this process, or the workers of a Ray cluster.

Threads and not processes, on one machine: polars and the exchange let go of Python's lock, so that threads work side by
side on one copy of the market, where each process would hold its own, and its own libraries.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Protocol

from quant_assets.backtests.sweeps.grid import Candidate, Failure, SweepError
from quant_assets.backtests.sweeps.runs import Prepared, Ran

Answer = Ran | Failure

TASK = 8
"""Runs that a Ray worker is sent at once: the way there and back costs a few milliseconds."""

AHEAD = 2
"""Tasks in flight for each core of the cluster: one that is worked on, one that waits beside it."""


class Executor(Protocol):
    """Works the runs of a batch."""

    workers: int

    def answers(self, batch: Sequence[Candidate]) -> Iterator[Answer]:
        """What became of each candidate, in their order. An error that is no Failure is raised."""


class Threads:
    """The cores of this machine."""

    def __init__(self, prepared: Prepared, workers: int, pool: ThreadPoolExecutor) -> None:
        self.prepared, self.workers, self._pool = prepared, workers, pool

    def answers(self, batch: Sequence[Candidate]) -> Iterator[Answer]:
        return self._pool.map(self.prepared.run, batch)


@contextmanager
def threads(prepared: Prepared, workers: int | None) -> Iterator[Executor]:
    """As many threads as this process may use cores, or as asked for."""
    count = workers or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))
    pool = ThreadPoolExecutor(count, thread_name_prefix="sweep")
    try:
        yield Threads(prepared, count, pool)
    finally:
        pool.shutdown(cancel_futures=True)


class Ray:
    """The cores of a Ray cluster. What the runs share is sent once, and copied once by each worker process."""

    def __init__(self, shared: Any, workers: int, work: Any) -> None:
        self.workers, self._shared, self._work = workers, shared, work

    def answers(self, batch: Sequence[Candidate]) -> Iterator[Answer]:
        import ray

        tasks = deque(list(batch[first : first + TASK]) for first in range(0, len(batch), TASK))
        flying: deque[Any] = deque()
        while tasks or flying:
            while tasks and len(flying) < AHEAD * self.workers:
                flying.append(self._work.remote(self._shared, tasks.popleft()))
            yield from ray.get(flying.popleft())


@contextmanager
def ray_cluster(prepared: Prepared, workers: int | None) -> Iterator[Executor]:
    """The cluster that this process is connected to; else that of RAY_ADDRESS; else one of this machine's cores.

    A cluster that is started here ends with the sweep, and a connection made here is closed. Raises SweepError without
    ray.
    """
    if importlib.util.find_spec("ray") is None:
        raise SweepError("executor is ray, which is not installed: pip install 'quant-assets[ray]'")
    connected = "ray" in sys.modules and sys.modules["ray"].is_initialized()
    if not connected:
        _connect(workers)

    import ray

    try:
        # A list, because an object of its own would be unpacked for every task.
        shared = [ray.put(prepared)]
        cores = max(int(ray.cluster_resources().get("CPU", 1)), 1)
        yield Ray(shared, min(cores, workers or cores), ray.remote(num_cpus=1, max_retries=3)(work))
    finally:
        if not connected:
            ray.shutdown()


ALONE = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported home
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's only switch to stay on this machine's loopback address
}
"""Environment of a cluster that is started for one sweep, where nobody set it otherwise."""


def _connect(workers: int | None) -> None:
    options = init_options(workers)

    import ray  # reads the environment

    ray.init(**options)


def init_options(workers: int | None) -> dict[str, Any]:
    """What `ray.init` is to be told for a sweep. Sets the environment of a cluster that is started here.

    To be called before ray is imported, which reads the environment.
    """
    # A worker has one core: polars would start a thread for each core of the machine in every one of them.
    environment = {"POLARS_MAX_THREADS": "1"}
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "warning"}
    if not os.environ.get("RAY_ADDRESS"):
        for name, value in ALONE.items():
            os.environ.setdefault(name, value)
        if "RAY_AUTH_TOKEN_PATH" not in os.environ:
            # Whoever connects must show a token. One for this cluster alone; Ray would write one into the home folder.
            os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
        environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
        options |= {"num_cpus": workers, "include_dashboard": False}
    return options | {"runtime_env": {"env_vars": environment}}


_HELD: dict[bytes, Prepared] = {}
"""In a worker of the cluster: the sweep that it works on, by the number of the object."""


def work(shared: list[Any], candidates: Sequence[Candidate]) -> list[Answer]:
    """A task, in a worker of the cluster."""
    import ray

    key = shared[0].binary()
    if key not in _HELD:
        _HELD.clear()
        _HELD[key] = _own(ray.get(shared[0]))
    return [_HELD[key].run(candidate) for candidate in candidates]


def _own(prepared: Prepared) -> Prepared:
    """With a market of this process's own: the object store's memory is read-only, which the exchange does not take."""
    past = prepared.past
    market = past.market._replace(**{name: value.copy() for name, value in past.market._asdict().items()})
    return replace(prepared, past=replace(past, market=market, session=past.session.copy(), first=past.first.copy()))
