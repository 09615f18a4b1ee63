"""What is nothing beside rounding, and how long an average remembers."""

from __future__ import annotations

import math

NOTHING = 1e-9
"""A denominator below this fraction of its natural size is rounding, not information."""

PRECISION = 1e-12
"""What may be left of the bars before the look-back in a recursive average, as a fraction of the price."""


def settle(alpha: float) -> int:
    """Bars until an exponential average with weight `alpha` has forgotten its start, to PRECISION.

    Its memory of a bar shrinks by (1 - alpha) every bar; Wilder's averages have alpha 1/n, others 2/(n + 1).
    """
    return math.ceil(math.log(PRECISION) / math.log1p(-alpha))
