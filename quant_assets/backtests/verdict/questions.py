"""The questions put to a backtest, each answered by one function: passed, failed or not judged, and a sentence why.

The sentences are for somebody who trades and has not read the papers; figures in them are a year's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import polars as pl

from quant_assets.evidence.bootstrap import Interval
from quant_assets.evidence.overfitting import Overfitting
from quant_assets.evidence.sharpe import (
    Moments,
    expected_maximum,
    minimum_track_record,
    probabilistic_sharpe,
    standard_error,
)
from quant_assets.evidence.superiority import Superiority
from quant_assets.evidence.trials import SETTLED

if TYPE_CHECKING:
    from quant_assets.backtests.engine import BacktestResult
    from quant_assets.backtests.verdict.judged import Beyond, Judged
    from quant_assets.evidence.surface import Surface
    from quant_assets.evidence.trials import Counted

CONFIDENCE = 0.95
BEYOND = 0.975
"""As an interval of 95% that leaves zero out: of strategies without skill in a rising market nothing else stops more
than these."""
STRESS_TIMES = 2.0
MOST_OVERFITTING, UNEASY_OVERFITTING = 0.5, 0.2
MOST_CHANCE = 0.05
LEAST_PLATEAU = 0.5
SHORT_YEARS, HOPELESS_YEARS = 5, 1
FEW_FILLS, HOPELESS_FILLS = 50, 30

UNRECORDED = (
    " This run is not on record itself: tries that were made as it was, without trial=, are not among those counted."
)

TITLES = {
    "survival": "the survival of the account",
    "deflated_sharpe": "the deflated Sharpe ratio",
    "minimum_track_record": "the minimum track record",
    "bootstrap_interval": "the bootstrap interval of the Sharpe ratio",
    "alpha": "skill beyond the benchmark",
    "cost_stress": "doubled costs",
    "ambiguous_fills": "both paths of ambiguous fills",
    "overfitting": "the probability of overfitting",
    "superiority": "superior predictive ability",
    "surface": "the stability of its parameters",
    "point_in_time": "the universe by membership in time",
    "sample": "the length of its history",
    "benchmark": "the comparison with the benchmark",
}
"""What each test is called in a sentence, in the order in which they are told."""


@dataclass(frozen=True, slots=True)
class Test:
    """One question put to a result. `words` is the answer, in whole sentences."""

    name: str
    passed: bool | None
    """None where it could not be judged."""

    value: float | None
    threshold: float | None
    words: str
    essential: bool = True

    __test__ = False  # for pytest, which would take a class of this name for its own

    @property
    def title(self) -> str:
        """What it is called in a sentence."""
        return TITLES[self.name]


def luck(held: Moments, trials: Counted) -> float:
    """The Sharpe ratio of one period that the best of all trials would be expected to show, were none worth anything.

    The trials of the family and one of each other family, scattered as the family's recorded results are; where fewer
    than two are known, as the estimate's own sampling error, and where fewer than ten and less than half of them are,
    at least as that: of trials without a result nobody knows that they resemble the others. A family of near copies
    scatters little; so the figure is never below what the family's record had reached before they were added, nor
    below that of independent families alone: to try more does not lower it, once ten results are known.

    Source: the False Strategy theorem, Bailey and Lopez de Prado (2014).
    """
    sampling = standard_error(held) ** 2
    scatter = sampling if trials.sharpe_variance is None else trials.sharpe_variance
    if 0 < trials.with_result < min(SETTLED, trials.trials / 2):
        scatter = max(scatter, sampling)
    alone = expected_maximum(max(trials.families, 1), sampling)
    return max(expected_maximum(trials.tried, scatter), trials.highest, alone)


def survival(equity: pl.DataFrame, lost: tuple[date, float] | None) -> Test:
    """Was there something left of the account all the time? One that was lost cannot be proven by what came before."""
    lowest = float(equity["equity"].min() or 0.0)  # type: ignore[arg-type]  # of numbers
    if lost is None:
        return Test("survival", True, lowest, 0.0, "The account was never lost.")
    session, left = lost
    words = (
        f"The account was lost on {session}: its equity was {left:,.0f}, and nothing that came before makes up for it."
    )
    return Test("survival", False, lowest, 0.0, words)


def deflated_sharpe(held: Moments | None, trials: Counted, of: Judged, excuse: str, on_record: bool = True) -> Test:
    """Is the Sharpe ratio more than the luck of having tried so often? Of runs that are not on record nobody knows."""
    if held is None:
        return _open("deflated_sharpe", CONFIDENCE, excuse)
    bar = luck(held, trials)
    value = probabilistic_sharpe(held, bar)
    tried = "a single trial" if trials.tried == 1 else f"the best of {trials.tried:,} trials without any skill"
    expected = f"{tried} would be expected to show {bar * math.sqrt(of.year):.2f}"
    words = (
        f"The Sharpe ratio{_over(of)} is {held.sharpe * math.sqrt(of.year):.2f} and {expected}: the chance that it is "
        f"more than luck is {chance(value)}, {'at least' if value >= CONFIDENCE else 'below'} the customary "
        f"{CONFIDENCE:.0%}.{'' if on_record else UNRECORDED}{elsewhere(trials)}"
    )
    return Test("deflated_sharpe", value >= CONFIDENCE, value, CONFIDENCE, words)


def track_record(held: Moments | None, of: Judged, excuse: str) -> Test:
    """Is the history long enough for a Sharpe ratio of this size?"""
    if held is None:
        return _open("minimum_track_record", None, excuse)
    needed = minimum_track_record(held, confidence=CONFIDENCE)
    has = f"the history has {held.periods / of.year:.1f}"
    if math.isinf(needed):
        words = (
            f"The Sharpe ratio{_over(of)} is not above zero: no history would be long enough to show that it is; {has} "
            "years."
        )
    else:
        words = (
            f"It takes {needed / of.year:.1f} years to show that a Sharpe ratio such as this is above zero; {has}"
            f"{'' if held.periods >= needed else ' only'}."
        )
    return Test("minimum_track_record", held.periods >= needed, needed, float(held.periods), words)


def bootstrap_interval(found: Mapping[str, Interval] | None, of: Judged, excuse: str) -> Test:
    """Does the Sharpe ratio stay above zero when the history is drawn again from its own blocks?"""
    if found is None:
        return _open("bootstrap_interval", 0.0, excuse)
    ratio = found["sharpe_ratio"]
    passed = ratio.low > 0
    span = f"{ratio.low:.2f} to {ratio.high:.2f}"
    meaning = (
        "zero is outside"
        if passed
        else "the strategy lost money, and not by chance alone"
        if ratio.high < 0
        else "zero is inside, so this history does not show that it earns anything"
    )
    words = f"The 95% interval of the Sharpe ratio{_over(of)}, by block bootstrap, is {span}: {meaning}."
    return Test("bootstrap_interval", passed, ratio.low, 0.0, words)


def alpha(beyond: Beyond | None, trials: Counted, of: Judged, against: str, excuse: str) -> Test:
    """Is there more to it than having been invested while the benchmark rose, or, `against` "cash", than cash?"""
    if beyond is None:
        return _open("alpha", BEYOND, excuse)
    held = beyond.held
    value = probabilistic_sharpe(held, luck(held, trials))
    ratio = f"the Sharpe ratio is {held.sharpe * math.sqrt(of.year):.2f}"
    begins = (
        f"It was compared with cash alone, so that a rise of the market counts as earned; {ratio}"
        if against == "cash"
        else f"It moves with {beyond.beta:.2f} times the benchmark; of what is left over, {ratio}"
    )
    hint = (
        " It moves with the benchmark of a neighbouring session more than with that of its own: are the sessions of "
        "the two the same?"
        if beyond.displaced
        else ""
    )
    words = (
        f"{begins}, and the chance that it is more than the luck of the trials is {chance(value)}, "
        f"{'at least' if value >= BEYOND else 'below'} {BEYOND:.1%}.{hint}"
    )
    return Test("alpha", value >= BEYOND, value, BEYOND, words)


def cost_stress(stress: pl.DataFrame | None, of: Judged) -> Test:
    """Does it still earn something, more than cash does, where trading costs twice as much as assumed?"""
    row = None if stress is None else stress.filter(pl.col("times") == STRESS_TIMES)
    mean = None if row is None or row.is_empty() else row["mean_return"][0]
    if mean is None:
        return _open("cost_stress", 0.0, "It was not run with doubled costs.")
    left = mean - float(of.cash.mean())
    does = ("still earns" if left > 0 else "loses") if not of.yields else "earns more" if left > 0 else "earns less"
    size = f"{abs(left) * of.year:.1%} a year{' than cash' if of.yields else ''} before compounding"
    return Test("cost_stress", left > 0, left * of.year, 0.0, f"With costs doubled it {does} {size}.")


def ambiguous_fills(result: BacktestResult, other: Mapping[str, float | None] | None, taken: str, of: Judged) -> Test:
    """Does it earn something, more than cash does, whichever way prices went inside the bars that leave two?"""
    count, total = int(result.fills["ambiguous"].sum()), result.fills.height
    if not count:
        return Test("ambiguous_fills", True, None, None, "No fill hung on the unknown path of prices inside a bar.")
    told = f"{count:,} of {total:,} fills hung on the unknown path of prices inside a bar"
    mine = result.metrics.get("total_return")
    theirs = None if other is None else other.get("total_return")
    if mine is None or theirs is None:
        return _open("ambiguous_fills", 0.0, f"{told}, and the other path was not run.")
    left = "better" if taken == "worse" else "worse"
    cash = f"; cash alone earned {of.cash_total:+.1%}" if of.yields else ""
    words = f"{told}; the account ends {mine:+.1%} by the {taken} path and {theirs:+.1%} by the {left} one{cash}."
    worst = min(mine, theirs) - of.cash_total
    return Test("ambiguous_fills", worst > 0, worst, 0.0, words)


def overfitting(found: Overfitting | None, excuse: str) -> Test:
    """Would the best trial of one half of the history have been above the median in the other half?"""
    if found is None:
        return _open("overfitting", MOST_OVERFITTING, excuse)
    value = found.probability
    judged = (
        "choosing among these parameters has no merit"
        if value >= MOST_OVERFITTING
        else "uneasily often"
        if value >= UNEASY_OVERFITTING
        else "seldom enough"
    )
    words = (
        f"In {value:.0%} of the ways to halve the history, the best of {found.trials:,} runs in one half came out "
        f"no better than the median in the other: {judged}."
    )
    return Test("overfitting", value < MOST_OVERFITTING, value, MOST_OVERFITTING, words)


def superior(found: Superiority | None, excuse: str) -> Test:
    """Is the best of a sweep's runs better than cash by more than the search explains?"""
    if found is None:
        return _open("superiority", MOST_CHANCE, excuse)
    value = found.spa_consistent
    words = (
        f"Were no run of the sweep better than cash, the best would look this good with a chance of {chance(value)} "
        "(Hansen's SPA)."
    )
    return Test("superiority", value < MOST_CHANCE, value, MOST_CHANCE, words)


def plain(result: BacktestResult, known: bool) -> tuple[Test, ...]:
    """The tests that need nothing but the result: universe, length, and the benchmark that it was run against."""
    return point_in_time(known), sample(result), benchmark(result)


def point_in_time(known: bool) -> Test:
    """Are names that failed or left still in the universe of their time?"""
    words = (
        "The universe follows its members through time."
        if known
        else "The universe was chosen with hindsight: companies that failed or were forgotten are missing from it."
    )
    return Test("point_in_time", known, float(known), 1.0, words, essential=False)


def stable(found: Surface | None, note: str | None = None) -> Test:
    """Do neighbouring parameters do nearly as well? `note` says why there is no surface, or what to know of it."""
    if found is None:
        without = note or "No sweep shows what neighbouring parameters would have done."
        return _open("surface", LEAST_PLATEAU, without, False)
    if found.plateau is None:
        return _open("surface", LEAST_PLATEAU, "The best run of the sweep has no neighbours to compare it with.", False)
    passed = found.plateau >= LEAST_PLATEAU
    words = (
        f"{found.plateau:.0%} of the {_many(found.neighbours)} half of the best one's figure: "
        f"{'a plateau' if passed else 'a lone peak'}.{f' {note}' if note else ''}"
    )
    return Test("surface", passed, found.plateau, LEAST_PLATEAU, words, essential=False)


def sample(result: BacktestResult) -> Test:
    """Are there years and fills enough? With very few of either nothing is proven, whatever the statistics say."""
    sessions, fills = result.equity["session"], result.fills.height
    years = (sessions[-1] - sessions[0]).days / 365.25 if len(sessions) > 1 else 0.0
    passed = years >= SHORT_YEARS and fills >= FEW_FILLS
    counted = f"{years:.1f} years and {fills:,} fill{'' if fills == 1 else 's'}."
    words = f"There are {counted}" if passed else f"There is little evidence: {counted}"
    hopeless = years < HOPELESS_YEARS or fills < HOPELESS_FILLS
    return Test("sample", passed, years, float(SHORT_YEARS), words, essential=hopeless)


def benchmark(result: BacktestResult, excuse: str = "") -> Test:
    """Did it earn more than holding the benchmark? `excuse` says why the benchmark itself cannot be used."""
    if excuse:
        return _open("benchmark", 0.0, excuse, False)
    mine, other = (result.metrics.get(name) for name in ("cagr", "benchmark_cagr"))
    if mine is None or other is None:
        return _open("benchmark", 0.0, "It was not compared with a benchmark.", False)
    did = "less" if mine > other else "better"
    words = f"Holding the benchmark did {did}: {other:.1%} a year against {mine:.1%}."
    return Test("benchmark", mine > other, mine - other, 0.0, words, essential=False)


def chance(value: float) -> str:
    """A probability as text, never rounded to certainty."""
    return ">99.9%" if value > 0.999 else "<0.1%" if value < 0.001 else f"{value:.1%}"


def _many(neighbours: int) -> str:
    return "one neighbouring run reaches" if neighbours == 1 else f"{neighbours} neighbouring runs reach"


def _over(of: Judged) -> str:
    """Where cash earns something, that a ratio is of what was earned beyond it."""
    return " in excess of cash" if of.yields else ""


def elsewhere(trials: Counted) -> str:
    """What was tried under other names: a family that is given another one would begin at a single trial."""
    said = ""
    if trials.also:
        named = ", ".join(trials.also)
        said += f" The trials of {named} are counted with it: the same configuration is on record under both names."
    if trials.elsewhere:
        many = f"{trials.elsewhere:,} trials" if trials.elsewhere > 1 else "1 trial"
        said += f" On the same symbols {many} of other families are on record, which count as one a family here."
    return said


def _open(name: str, threshold: float | None, excuse: str, essential: bool = True) -> Test:
    return Test(name, None, None, threshold, excuse, essential)
