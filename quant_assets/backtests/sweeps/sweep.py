"""Sweeps: one strategy with many parameters over one market, in bounded memory, on all cores or on a cluster."""

from __future__ import annotations

import fcntl
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from quant_assets.backtests.engine import BacktestResult
from quant_assets.backtests.market.bar_frames import Frame
from quant_assets.backtests.market.history import History
from quant_assets.backtests.sweeps.executors import Answer, Executor, ray_cluster, threads
from quant_assets.backtests.sweeps.grid import (
    Candidate,
    Failure,
    Grid,
    Maker,
    SweepError,
    candidates,
    name_of,
    parameter_sets,
)
from quant_assets.backtests.sweeps.identity import identity
from quant_assets.backtests.sweeps.preparing import prepared
from quant_assets.backtests.sweeps.runs import FIGURES, Prepared, Ran
from quant_assets.backtests.sweeps.store import RUN, Store, on_disk
from quant_assets.evidence.excess import earned_by_cash, over_cash, sharpe
from resources.config import BacktestSettings

if TYPE_CHECKING:
    from quant_assets.evidence.trials import Trials, World

EXECUTORS: dict[str, Callable[[Prepared, int | None], AbstractContextManager[Executor]]] = {
    "local": threads,
    "ray": ray_cluster,
}

SECONDS = 5.0
"""About how long a batch takes where nobody says how large it is: what a kill can cost."""

LARGEST = 512
"""Runs of a batch at most: their returns are in memory until they are written."""


@dataclass(frozen=True)
class SweepResult:
    """What became of every parameter set.

    results     a row a run, in the grid's order: run (its number there), its parameters, and the figures of
                runs.FIGURES; sharpe is a period's and sharpe_ratio a year's. With a benchmark beta, alpha,
                information_ratio and tracking_error too
    failed      the parameter sets that gave no result: run, parameters, stage (`parameters`: refused by the strategy;
                `run`: refused by the exchange) and reason
    sessions    the periods of every run's returns
    family      what the trials were recorded under
    plans       ids of the plans that this call put on record, a batch each; empty where trials were not given
    folder      where all of it lies
    """

    results: pl.DataFrame
    failed: pl.DataFrame
    sessions: pl.Series
    family: str
    plans: tuple[str, ...]
    folder: Path
    _store: Store = field(repr=False)
    _shared: Prepared = field(repr=False)
    _candidates: dict[int, Candidate] = field(repr=False)
    _kept: Any = field(repr=False)  # a temporary folder is gone with the result
    _recorded: bool = field(repr=False)

    @property
    def returns(self) -> npt.NDArray[np.float32]:
        """(sessions, runs) float32 of the runs in `results`, in its order: a view of the file on the disk.

        Slice before computing: `result.returns[:, :100]` reads a hundred runs.
        """
        every = self._store.returns()
        numbers = self.results[RUN].to_numpy()
        return every if numbers.size == self._store.runs else every[:, numbers]

    def backtest(self, run: int) -> BacktestResult:
        """The whole backtest of a run, by its number, with all frames. Raises SweepError for a number without one."""
        if run not in self._candidates:
            raise SweepError(f"run {run}: not one that was made; the numbers are those of results and of failed")
        return replace(self._shared.backtest(self._candidates[run]), on_record=self._recorded)


def sweep(
    bars: Frame | History,
    strategy: Maker,
    grid: Grid,
    config: BacktestSettings | None = None,
    executor: Literal["local", "ray"] = "local",
    *,
    features: Frame | None = None,
    instruments: Frame | None = None,
    benchmark: Frame | None = None,
    intrabar: Frame | None = None,
    rates: Frame | None = None,
    trials: Trials | Literal["installation"] | None = "installation",
    family: str | None = None,
    chosen: Mapping[str, object] | None = None,
    folder: Path | str | None = None,
    workers: int | None = None,
    batch: int | None = None,
    progress: bool = True,
) -> SweepResult:
    """Backtest a strategy with every parameter set of a grid: what `run` would say of each, as a frame.

    `bars`, `config`, `instruments`, `benchmark`, `intrabar` and `rates` as in `run`, which refuses the same of them;
    prepared once, also where `bars` is a History.
    `strategy`: a Strategy class, or a function of the parameters that gives a Strategy, or a frame of orders.
    `grid`: values by parameter (every combination), or a list or frame of parameter sets. Sets that the strategy or the
    exchange refuses, or whose code raises any error, are in `failed`, with the reason, and the others run.
    `features`: symbol, ts, tradable and what the strategies read, a row a bar; without it, the union of what they read
    is computed once from the bars, which must then be cleaned (adjusted) ones or need no adjustment.
    `trials` (evidence.trials): every batch is put on record, under `family`, before it runs, so that a kill cannot
    lose it, and with its results afterwards: in MLflow of the installation that QUANT_CONFIG names, where no other is
    given. With None nothing is recorded: whoever then looks at the best run has tried more than any count shows.
    `chosen`: what else was chosen and is no parameter (the settings of a model), so that other choices count as other
    trials.
    `folder`: results are kept there, under a name that changes with bars, features, the strategy's code, grid, config
    and exchange. The same call after a kill goes on where the last batch ended, and after the end it reads what is
    there. Without it they are in a temporary folder, gone with the result.
    `workers`: cores used, all by default. `batch`: runs that are recorded and kept together, about five seconds' worth
    by default; a kill costs one batch at most. Neither changes a result.

    Memory holds the market, the features and one batch, however many runs there are.

    Raises SweepError on a grid, features or a folder that cannot be used, or when every set fails; BarSchemaError as
    `run` does; TrialError and TrackingError where trials cannot be recorded.

    Example: `sweep(cleaned, MovingAverageCross, {"fast": [10, 20], "slow": [100, 200]}).results`
    """
    settings = config or BacktestSettings()
    if executor not in EXECUTORS:
        raise SweepError(f"executor is {executor!r}; use one of {list(EXECUTORS)}")
    for name, count in (("workers", workers), ("batch", batch)):
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
            raise SweepError(f"{name} is {count!r}; it must be a whole number, 1 or more, or left out")
    if trials is not None and trials != "installation" and not hasattr(trials, "plan"):
        raise SweepError(
            f"trials is {trials!r}; give evidence.trials.Trials, or None to record nothing, or leave it out"
        )
    if family is not None and not family:
        raise SweepError("family is empty; name what the trials are counted under, or leave it out")
    if trials is not None and family is None and name_of(strategy) == "lambda":
        raise SweepError(
            "strategy: a lambda has no name, under which its trials could be told from another's; give family=, or "
            "trials=None to record nothing"
        )
    sets = parameter_sets(grid)
    found, refused = candidates(strategy, sets)
    if not found:
        raise SweepError(f"every one of {len(sets)} parameter sets is refused; set 0: {refused[0].reason}")
    shared = prepared(bars, strategy, found, settings, features, instruments, benchmark, intrabar, rates)
    with _held(folder, lambda: identity(shared, sets)) as (place, kept):
        store = Store.opened(place, sets, shared.sessions, benchmark is not None)
        record = _Record(_on_record(trials), family or name_of(strategy), shared, str(place.name), chosen or {})
        answers = {failure.number: failure for failure in refused} | {one.number: one for one in found}
        with EXECUTORS[executor](shared, workers) as working:
            _work(store, [answers[number] for number in range(len(sets))], working, record, batch, progress)
        results, failed = store.results()
    if results.is_empty():
        raise SweepError(f"every one of {len(sets)} runs failed; run {failed[RUN][0]}: {failed['reason'][0]}")
    sessions = pl.Series("session", shared.sessions).cast(pl.Date)
    made = {one.number: one for one in found}
    plans, recorded = tuple(record.plans), record.trials is not None
    return SweepResult(results, failed, sessions, record.family, plans, place, store, shared, made, kept, recorded)


@contextmanager
def _held(folder: Path | str | None, name: Callable[[], str]) -> Iterator[tuple[Path, Any]]:
    """The sweep's own folder, locked; and what must be kept alive for it to stay."""
    if folder is None:
        with on_disk(Path(tempfile.gettempdir())):
            temporary = tempfile.TemporaryDirectory(prefix="sweep-", ignore_cleanup_errors=True)
        yield Path(temporary.name), temporary
        return
    place = Path(folder) / f"sweep-{name()}"
    with on_disk(place):
        place.mkdir(parents=True, exist_ok=True)
        opened = (place / "lock").open("a")
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise SweepError(f"{place}: another process is working on this sweep; wait for it, or end it") from error
        yield place, None


def _work(
    store: Store,
    every: Sequence[Candidate | Failure],
    executor: Executor,
    record: _Record,
    batch: int | None,
    progress: bool,
) -> None:
    """Work the batches that are not on the disk yet, one after the other."""
    from tqdm import tqdm

    first = store.done
    record.read_back(store, [one for one in every[:first] if isinstance(one, Candidate)])
    size = batch or min(4 * executor.workers, LARGEST)
    with tqdm(total=len(every), initial=first, unit="run", desc=record.family, disable=not progress) as bar:
        while first < len(every):
            began, part = time.monotonic(), every[first : first + size]
            todo = [one for one in part if isinstance(one, Candidate)]
            plan = record.planned(todo)
            ran: dict[int, Answer] = {one.number: one for one in part if isinstance(one, Failure)}
            for answer in executor.answers(todo):
                number = answer.candidate.number if isinstance(answer, Ran) else answer.number
                ran[number] = answer
                bar.update()
            record.ended(plan, [answer for answer in ran.values() if isinstance(answer, Ran)])
            store.add(first, [ran[first + place] for place in range(len(part))])
            bar.update(len(part) - len(todo))
            first += len(part)
            if batch is None:
                size = max(min(int(len(part) * SECONDS / (time.monotonic() - began)), LARGEST), executor.workers)


def _on_record(trials: Trials | Literal["installation"] | None) -> Trials | None:
    if trials != "installation":
        return trials
    from quant_assets.evidence.trials import Trials
    from resources.config import load

    return Trials.of(load())


class _Record:
    """The trials of a sweep, as evidence.trials takes them; nothing where there is no record to put them on."""

    def __init__(
        self, trials: Trials | None, family: str, shared: Prepared, origin: str, chosen: Mapping[str, object]
    ) -> None:
        self.trials, self.family, self.origin, self.chosen = trials, family, origin, chosen
        self.plans: list[str] = []
        self._shared = shared
        self._cash = earned_by_cash(shared.sessions, shared.settings.cash_yield_bps_per_year)

    @cached_property
    def _world(self) -> World:
        from quant_assets.evidence.trials import World

        return World.of(self._shared.past, self._shared.settings, self._shared.maker)

    def planned(self, batch: Sequence[Candidate]) -> str | None:
        """Put a batch on record before it runs."""
        if self.trials is None or not batch:
            return None
        texts = [self._text(candidate) for candidate in batch]
        self.plans.append(self.trials.plan(self.family, texts, origin=self.origin, symbols=self._world.symbols))
        return self.plans[-1]

    def ended(self, plan: str | None, ran: Sequence[Ran]) -> None:
        """Put a batch's results on record, with the Sharpe ratio of what was earned beyond cash."""
        if self.trials is None or plan is None or not ran:
            return
        rows = [
            {"configuration": self._text(one.candidate), **one.figures, **self._beyond_cash(one.returns)} for one in ran
        ]
        self.trials.results(plan, pl.DataFrame(rows, infer_schema_length=None))

    def read_back(self, store: Store, done: Sequence[Candidate]) -> None:
        """Put on record what is read from the folder and is not on this record: somebody looks at it now."""
        if self.trials is None or not done:
            return
        texts = {self._text(one): one for one in done}
        lacking = [texts[text] for text in self.trials.lacking(self.family, list(texts))]
        if not lacking:
            return
        plan, (results, _), returns = self.planned(lacking), store.results(), store.returns()
        figures = {row[RUN]: {name: row[name] for name in FIGURES} for row in results.iter_rows(named=True)}
        ran = [Ran(one, figures[one.number], returns[:, one.number]) for one in lacking if one.number in figures]
        self.ended(plan, ran)

    def _beyond_cash(self, returns: npt.NDArray[np.float32]) -> dict[str, float | None]:
        if not self._cash.any():
            return {}
        known = np.isfinite(returns)
        return {"sharpe": sharpe(over_cash(returns[known].astype(np.float64), self._cash[known]))}

    def _text(self, candidate: Candidate) -> str:
        made = candidate.strategy
        # As a report tells them: with the parameters that the grid leaves alone.
        parameters = candidate.parameters if made is None else made.model_dump()
        return self._world.text({**parameters, **self.chosen})
