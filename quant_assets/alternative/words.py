"""A short list of words by which company news is good or bad: this project's own, free to use, no more than a start.

It was written for this project from everyday financial English. Others have made better lists with care (Loughran and
McDonald's, sentiment.py) and sell licences for commercial use.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_GOOD = """
accelerate accelerated accelerates achieve achieved achieves approval approved approves beat beats beating boost
boosted boosts breakthrough exceed exceeded exceeds expand expanded expands gain gained gains growth improve
improved improvement improves increase increased increases outperform outperformed outperforms profit profitable
profits raise raised raises rally rallied rallies rebound rebounded rebounds record recover recovered recovers
recovery rise rises robust rose strength strengthened strong stronger succeed succeeded success successful surge
surged surges surpass surpassed surpasses top topped tops upbeat upgrade upgraded upgrades win wins won
"""
_BAD = """
abandon abandoned bankrupt bankruptcy breach charge charges closure closures cut cuts decline declined declines
default defaults deficit delay delayed delays delist delisted disappoint disappointed disappointing disappoints
downgrade downgraded downgrades drop dropped drops fail failed fails failure fall fallen falls fell fine fined fines
fraud halted impairment investigated investigation investigations lawsuit lawsuits layoff layoffs litigation lose
loses loss losses lost miss missed misses penalty penalties plunge plunged plunges probe recall recalled recalls
resign resigned resigns shortfall shrink shrinks shrank slump slumped slumps sue sued suspend suspended tumble
tumbled tumbles underperform underperformed warn warned warning warns weak weaker weakness writedown
"""
GOOD, BAD = frozenset(_GOOD.split()), frozenset(_BAD.split())
WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")


class FinanceWords:
    """Good less bad words, over both; 0 without any. Words are compared whole; a count knows no negation."""

    version = "finance_words 1"

    def score(self, texts: Sequence[str]) -> list[float]:
        return [polarity([tone(word) for word in WORD.findall(text.lower())]) for text in texts]


def tone(word: str) -> int:
    """What a word counts: 1, -1, or 0 for any other."""
    return (word in GOOD) - (word in BAD)


def polarity(tones: Sequence[int]) -> float:
    """Positive less negative words, over both; 0 without any.

    Source: Godbole, Srinivasaiah, Skiena (2007), "Large-Scale Sentiment Analysis for News and Blogs".
    """
    positive, negative = tones.count(1), tones.count(-1)
    return (positive - negative) / (positive + negative) if positive + negative else 0.0
