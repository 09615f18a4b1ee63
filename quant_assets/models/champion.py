"""Which model serves from each training cut-off on: the newest, unless its held-out folds look clearly worse."""

from __future__ import annotations

import polars as pl

CHAMPIONS = pl.Schema(
    {
        "cutoff": pl.Date,
        "champion_cutoff": pl.Date,
        "promoted": pl.Boolean,
        "challenger_ic": pl.Float64,
        "champion_ic": pl.Float64,
        "reason": pl.String,
    }
)
"""One row a cut-off: the model that serves from it on, whether that is the one just trained, and why.

champion_ic is that of the champion met (null at the first cut-off), not of the one chosen.
"""


def champions(scores: pl.DataFrame, tolerance: float = 0.02, max_age: int = 3) -> pl.DataFrame:
    """Walk the cut-offs in order and let each new model challenge the champion; CHAMPIONS, by cut-off.

    scores: cutoff and ic, one row a fold (FOLD_SCORES). A model's figure is the mean over its folds. The
    challenger takes over when there is no champion, when the champion has served `max_age` cut-offs (a lucky
    figure must not rule for ever), or unless its figure is missing or below the champion's by more than
    `tolerance`. Newer data is the better bet by default: the two figures come from different years, and the
    standard error of a mean information coefficient is about as large as the tolerance.

    A row depends only on cut-offs up to its own, whose scores used labels known before them, so what served
    on a past date can be replayed.

    Raises ValueError for a negative tolerance or a max_age below 1.

    Example: `champions(pl.concat(model.fold_scores() for model in models))["champion_cutoff"]`
    """
    if tolerance < 0 or max_age < 1:
        raise ValueError(f"tolerance must be 0 or more and max_age 1 or more; got {tolerance} and {max_age}")
    means = scores.group_by("cutoff").agg(ic=pl.col("ic").fill_nan(None).mean()).sort("cutoff")
    rows: list[dict[str, object]] = []
    champion, champion_ic, age = None, None, 0
    for cutoff, ic in means.iter_rows():
        if champion is None:
            promoted, reason = True, "first model"
        elif age >= max_age:
            promoted, reason = True, f"the champion has served {age} cut-offs"
        else:
            promoted, reason = _judge(ic, champion_ic, tolerance)
        rows.append(
            {
                "cutoff": cutoff,
                "champion_cutoff": cutoff if promoted else champion,
                "promoted": promoted,
                "challenger_ic": ic,
                "champion_ic": champion_ic,
                "reason": reason,
            }
        )
        if promoted:
            champion, champion_ic, age = cutoff, ic, 0
        age += 1
    return pl.DataFrame(rows, schema=CHAMPIONS)


def _judge(ic: float | None, champion_ic: float | None, tolerance: float) -> tuple[bool, str]:
    """Whether the challenger takes over by its figures, and why."""
    if ic is None:
        return False, "the challenger has no validation IC"
    if champion_ic is None:
        return True, "the champion has no validation IC"
    if ic < champion_ic - tolerance:
        return False, f"IC {ic:.4f} is worse than the champion's {champion_ic:.4f} by more than {tolerance:g}"
    return True, f"IC {ic:.4f} is not worse than the champion's {champion_ic:.4f} by more than {tolerance:g}"
