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
        promoted, reason = _judge(ic, champion is None, champion_ic, age, tolerance, max_age)
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


def _judge(
    ic: float | None, first: bool, champion_ic: float | None, age: int, tolerance: float, max_age: int
) -> tuple[bool, str]:
    """Whether the challenger takes over, and why."""
    if first:
        return True, "first model"
    if age >= max_age:
        return True, f"the champion has served {age} cut-offs"
    if ic is None:
        return False, "the challenger has no validation IC"
    if champion_ic is None:
        return True, "the champion has no validation IC"
    if ic < champion_ic - tolerance:
        return False, f"IC {ic:.4f} is worse than the champion's {champion_ic:.4f} by more than {tolerance:g}"
    return True, f"IC {ic:.4f} is not worse than the champion's {champion_ic:.4f} by more than {tolerance:g}"


def serving(chosen: pl.DataFrame, sessions: pl.DataFrame) -> pl.DataFrame:
    """The champion of each session: `sessions` (session) with cutoff, the champion_cutoff that scores it.

    A session is served by what was decided at the latest cut-off that is not after it; sessions before the
    first cut-off have no model and are left out.

    Example: `serving(champions(scores), pl.DataFrame({"session": [date(2005, 1, 3)]}))`
    """
    return (
        sessions.select("session")
        .sort("session")
        .join_asof(chosen.sort("cutoff"), left_on="session", right_on="cutoff", strategy="backward")
        .select("session", cutoff="champion_cutoff")
        .drop_nulls("cutoff")
    )
