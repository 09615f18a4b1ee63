"""The metrics of a backtest in plain words: what each is called, how it is written, and what it means."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

DASH = "–"  # noqa: RUF001


@dataclass(frozen=True, slots=True)
class Metric:
    """A name, a way of writing (percent, ratio, count, money or days) and an explanation."""

    name: str
    form: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    value: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Group:
    name: str
    rows: tuple[Row, ...]


GROUPS: dict[str, dict[str, Metric]] = {
    "Return": {
        "total_return": Metric("Total return", "percent", "Gain over the whole history, after costs."),
        "cagr": Metric("Return a year", "percent", "The steady yearly growth that would give the same end value."),
    },
}
"""Known metrics by group, in the order shown. One that is not here is shown under its own key."""

KNOWN = {key: metric for group in GROUPS.values() for key, metric in group.items()}


def shown(key: str, value: float | None) -> str:
    """The value of a metric as text; a dash where it is not defined."""
    if value is None or not math.isfinite(value):
        return DASH
    form = KNOWN[key].form if key in KNOWN else "ratio"
    if form == "percent":
        return f"{value * 100:,.1f}%" if abs(value) >= 0.001 or value == 0 else f"{value * 100:.3f}%"
    if form == "money":
        return f"{value:,.0f}"
    if form == "count":
        return f"{value:,.0f}"
    if form == "days":
        return f"{value:,.0f} days"
    return f"{value:,.2f}"


def metric_groups(metrics: Mapping[str, float | None]) -> list[Group]:
    """Every metric of the result, in the glossary's groups and order; the unknown ones last."""
    groups = [
        Group(
            name,
            tuple(
                Row(metric.name, shown(key, metrics[key]), metric.meaning)
                for key, metric in known.items()
                if key in metrics
            ),
        )
        for name, known in GROUPS.items()
    ]
    others = tuple(
        Row(key.replace("_", " ").capitalize(), shown(key, value), "")
        for key, value in metrics.items()
        if key not in KNOWN
    )
    return [group for group in [*groups, Group("Other", others)] if group.rows]
