"""Evidence: how much of a result is luck. Pure functions of returns; heavy libraries load with the first call.

    from quant_assets import evidence
    evidence.deflated_sharpe(evidence.moments(returns), trials=100, variance=0.002)
    evidence.pbo(returns_of_all_trials).probability

sharpe.py       probabilistic and deflated Sharpe ratio, minimum track record
overfitting.py  probability of backtest overfitting (CSCV)
superiority.py  White's reality check, Hansen's SPA
bootstrap.py    confidence intervals
splits.py       walk-forward and combinatorial purged cross-validation
excess.py       returns in excess of cash
trials.py       the record of everything that was tried; configurations.py: what one trial is

Sharpe ratios are of one period, not annualised. The page is docs/evidence.md.
"""

from __future__ import annotations

from quant_assets.evidence.bootstrap import Interval, block_length, intervals
from quant_assets.evidence.inputs import EvidenceError
from quant_assets.evidence.overfitting import Overfitting, pbo
from quant_assets.evidence.sharpe import (
    Moments,
    deflated_sharpe,
    expected_maximum,
    minimum_track_record,
    moments,
    probabilistic_sharpe,
    standard_error,
)
from quant_assets.evidence.splits import Combinations, Fold, combinatorial_purged, purged, spans, walk_forward
from quant_assets.evidence.superiority import Superiority, superiority

__all__ = [
    "Combinations",
    "EvidenceError",
    "Fold",
    "Interval",
    "Moments",
    "Overfitting",
    "Superiority",
    "block_length",
    "combinatorial_purged",
    "deflated_sharpe",
    "expected_maximum",
    "intervals",
    "minimum_track_record",
    "moments",
    "pbo",
    "probabilistic_sharpe",
    "purged",
    "spans",
    "standard_error",
    "superiority",
    "walk_forward",
]
