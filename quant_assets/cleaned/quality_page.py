"""The quality page: what is wrong with the data, where and when, as one HTML file that opens without a network."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import polars as pl

from quant_assets.cleaned.glossary import TOLD_ONLY, meaning
from quant_assets.cleaned.quality_grid import Grid, count, dated
from quant_assets.cleaned.verdicts import LIMITS, allowed
from resources.calendars import sessions

if TYPE_CHECKING:
    from jinja2 import Template

SEVERITIES = ("error", "warning", "info")
"""From the worst on."""

MINIMUM_COVERAGE = 0.995
CONTRADICTION = 10
MOST_ERRORS = 300
MOST_SYMBOLS = 20
ENDS_EARLY = 5
"""Sessions before the last of all from which on a symbol's last bar is told as an early end."""

DASH = "–"  # noqa: RUF001


@dataclass(frozen=True)
class _Headline:
    """What is wrong, the worst first; the first line is the title of the banner."""

    tone: str
    lines: list[str]


def quality_page(
    bars: pl.LazyFrame,
    findings: pl.DataFrame,
    calendar: str,
    title: str,
    *,
    note: str = "",
    without_bars: Sequence[str] = (),
) -> str:
    """The page of cleaned bars and the findings about them.

    `bars` needs symbol, session and flags (CLEANED_SCHEMA), `findings` the columns of
    quant_assets.cleaned.FINDING_SCHEMA, with or without `session`; `calendar` names the sessions that are expected,
    `note` says where the data comes from; `without_bars` are the symbols asked for that have none at all. 505 symbols
    x 250 months weigh about 0.8 MB.

    Example: `Path("quality.html").write_text(quality_page(result.bars, result.findings, "XNYS", "My data"))`
    """
    findings = dated(findings, calendar)
    grid = count(bars, findings, calendar)
    facts = _symbol_facts(grid, findings)
    rules = _rules(findings, int(facts["rows"].sum()))
    errors = findings.filter(pl.col("severity") == "error").sort(
        "session", "symbol", "rule", descending=[True, *2 * [False]]
    )
    return _template().render(
        title=title,
        subtitle=_subtitle(grid, note),
        headline=_headline(grid, facts, findings, rules, calendar, without_bars),
        tiles=_tiles(grid, facts, findings),
        grid=grid,
        unit=grid.step if grid else "month",
        rules=rules,
        absent=[rule for rule in LIMITS if rule not in {row["rule"] for row in rules}],
        meaning=meaning,
        symbols=[_symbol(row) for row in facts.head(MOST_SYMBOLS).iter_rows(named=True) if _is_marked(row)],
        errors=[_error(row) for row in errors.head(MOST_ERRORS).iter_rows(named=True)],
        more_errors=max(0, errors.height - MOST_ERRORS),
        data=_data(grid, facts, rules) if grid else None,
    )


def percent(share: float) -> str:
    """A share as text that never says 100 % or 0 % of what is not: 99.99 %, 0.004 %."""
    if share in (0, 1):
        return f"{share:.0%}"
    if share > 0.5:
        return f"{math.floor(share * 10_000 + 1e-6) / 100:.2f}%"
    digits = 2 if share >= 0.001 else 2 - math.floor(math.log10(share * 100)) - 1
    return f"{share:.{min(digits, 6)}%}"


def _symbol_facts(grid: Grid | None, findings: pl.DataFrame) -> pl.DataFrame:
    """A row a symbol, the worst first: those with errors or large gaps, by how much there is for their rows.

    An error weighs as much as CONTRADICTION warnings or missing sessions.
    """
    # Ties by name, so that the same data makes the same page.
    often = findings.group_by("symbol", "rule").len().sort(-pl.col("len").cast(pl.Int64), "rule")
    most = often.group_by("symbol", maintain_order=True).agg(most=pl.col("rule").first())
    by_severity = [(pl.col("severity") == name).sum().alias(name) for name in SEVERITIES]
    counted = findings.group_by("symbol").agg(by_severity).join(most, on="symbol", nulls_equal=True)
    counts = dict.fromkeys(("rows", "sessions", "missing"), pl.UInt32)
    empty = pl.DataFrame(schema={"symbol": pl.String, **counts, "first": pl.Date, "last": pl.Date})
    held = grid.symbol_facts if grid else empty
    joined = held.join(counted, on="symbol", how="full", coalesce=True).with_columns(
        pl.col("rows", "sessions", "missing", *SEVERITIES).fill_null(0)
    )
    gaps = pl.col("missing") / pl.max_horizontal("sessions", 1)
    serious = (pl.col("error") > 0) | (gaps > 1 - MINIMUM_COVERAGE)
    weight = CONTRADICTION * pl.col("error") + pl.col("warning") + pl.col("missing")
    rate = weight / pl.max_horizontal("rows", 1)
    return joined.sort(serious, rate, pl.col("info"), "symbol", descending=[True, True, True, False])


def _rules(findings: pl.DataFrame, rows: int) -> list[dict[str, Any]]:
    """What the table of rules shows, the worst severity and the most findings first."""
    differ = ~pl.col("old").eq_missing(pl.col("new")) & ~pl.col("rule").is_in(TOLD_ONLY)
    counted = findings.group_by("rule", "severity").agg(
        count=pl.len(),
        symbols=pl.col("symbol").n_unique(),
        changed=(differ & pl.col("new").is_not_null() & pl.col("old").is_not_null()).sum(),
        filled=(differ & pl.col("old").is_null()).sum(),
        left_out=(differ & pl.col("new").is_null()).sum(),
    )
    order = pl.col("severity").replace_strict({name: place for place, name in enumerate(SEVERITIES)}, default=9)
    return [
        {
            **row,
            "share": _figure(1e5 * row["count"] / rows, 3) if rows else DASH,
            "usual": _figure(1e5 * LIMITS[row["rule"]].share) if row["rule"] in LIMITS else DASH,
            "why": LIMITS[row["rule"]].why if row["rule"] in LIMITS else "",
            "unusual": row["rule"] in LIMITS and row["count"] > allowed(LIMITS[row["rule"]].share, rows),
            "treatment": _treatment(row),
        }
        for row in counted.sort(order, -pl.col("count").cast(pl.Int64), "rule").iter_rows(named=True)
    ]


def _treatment(row: dict[str, Any]) -> str:
    """Whether the findings of a rule changed the data."""
    flagged = row["count"] - row["changed"] - row["filled"] - row["left_out"]
    parts = [(row["changed"], "changed"), (row["filled"], "filled in"), (row["left_out"], "not used")]
    parts += [(flagged, "only flagged")]
    said = [(number, word) for number, word in parts if number]
    return said[0][1] if len(said) == 1 else ", ".join(f"{number:,} {word}" for number, word in said)


def _headline(
    grid: Grid | None,
    facts: pl.DataFrame,
    findings: pl.DataFrame,
    rules: list[dict[str, Any]],
    calendar: str,
    without_bars: Sequence[str],
) -> _Headline:
    if grid is None:
        return _Headline("bad", ["There is not a single cleaned bar to judge."])
    bad: list[str] = []
    doubts: list[str] = []
    if without_bars:
        named = ", ".join(without_bars[:MOST_SYMBOLS]) + (" and more" if len(without_bars) > MOST_SYMBOLS else "")
        bad.append(f"{_many(len(without_bars), 'symbol')} without a single bar: {named}.")
    errors, warnings = (findings.filter(pl.col("severity") == name) for name in ("error", "warning"))
    if errors.height:
        where = _many(errors["symbol"].n_unique(), "symbol")
        bad.append(f"{_many(errors.height, 'contradiction')} in the source, in {where}: somebody should look at each.")
    bad += [
        f"{row['rule']} is unusual: {row['count']:,} findings, {row['share']} in 100,000 rows; usual is at most "
        f"{row['usual']}."
        for row in rules
        if row["unusual"]
    ]
    rows, expected, missing = (int(facts[name].sum()) for name in ("rows", "sessions", "missing"))
    if missing:
        gap = pl.col("missing") / pl.col("sessions")
        gaps = facts.filter(pl.col("missing") > 0).sort(gap, "symbol", descending=[True, False])
        worst = gaps.row(0, named=True)
        said = (
            f"Coverage is {percent(1 - missing / expected)}: {_many(missing, 'session')} without a bar; worst is "
            f"{worst['symbol']} with {percent(1 - worst['missing'] / worst['sessions'])}."
        )
        (bad if 1 - missing / expected < MINIMUM_COVERAGE else doubts).append(said)
    if warnings.height:
        where = _many(warnings["symbol"].n_unique(), "symbol")
        share = percent(warnings.height / max(rows, 1))
        doubts.append(f"{_many(warnings.height, 'doubt')} (severity warning) in {where}: {share} of the rows.")
    doubts += _early_ends(grid, facts, calendar)
    sound = [f"Every session between a symbol's first bar and its last has a bar: {expected:,} sessions."] * (
        missing == 0
    )
    calm = [] if bad else ["No contradictions, and no rule has more findings than usual."]
    tone = "bad" if bad else "warn" if warnings.height or missing else "good"
    return _Headline(tone, [*bad, *calm, *doubts, *sound])


def _early_ends(grid: Grid, facts: pl.DataFrame, calendar: str) -> list[str]:
    late = sessions(calendar, grid.first, grid.last)["session"]
    if len(late) <= ENDS_EARLY:
        return []
    ended = facts.filter(pl.col("last") < late[-1 - ENDS_EARLY]).sort("last", "symbol")
    if ended.is_empty():
        return []
    named = ", ".join(f"{symbol} ({last})" for symbol, last in ended.select("symbol", "last").head(5).iter_rows())
    more = f" and {ended.height - 5} more" if ended.height > 5 else ""
    end = "ends" if ended.height == 1 else "end"
    who = f"{_many(ended.height, 'symbol')} {end} before the others, delisted or lost by the source"
    return [f"{who}: {named}{more}."]


def _tiles(grid: Grid | None, facts: pl.DataFrame, findings: pl.DataFrame) -> list[tuple[str, str, str]]:
    rows, expected, missing = (int(facts[name].sum()) for name in ("rows", "sessions", "missing"))
    counts = dict(findings.group_by("severity").len().iter_rows())
    marked = findings.select(pl.struct("symbol", "session").n_unique()).item() if findings.height else 0
    return [
        ("Coverage", percent(1 - missing / expected) if expected else DASH, f"{missing:,} missing sessions"),
        ("Contradictions", f"{counts.get('error', 0):,}", "severity error"),
        ("Doubts", f"{counts.get('warning', 0):,}", "severity warning"),
        ("Notes", f"{counts.get('info', 0):,}", "severity info"),
        ("Rows", f"{rows:,}", f"{marked:,} with a finding"),
        (
            "Symbols",
            f"{facts.filter(pl.col('rows') > 0).height:,}",
            f"{len(grid.periods):,} {grid.step}s" if grid else "",
        ),
    ]


def _subtitle(grid: Grid | None, note: str) -> str:
    return " · ".join(part for part in (f"{grid.first} to {grid.last}" if grid else "", note) if part)


def _is_marked(row: dict[str, Any]) -> bool:
    return bool(row["error"] or row["warning"] or row["missing"] or not row["rows"])


def _symbol(row: dict[str, Any]) -> dict[str, Any]:
    covered = percent(1 - row["missing"] / row["sessions"]) if row["sessions"] else "no bars"
    return {
        **row,
        "coverage": covered,
        "most": row["most"] or DASH,
        "first": row["first"] or DASH,
        "last": row["last"] or DASH,
    }


def _error(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "old": _figure(row["old"]), "new": _figure(row["new"])}


def _figure(value: float | None, digits: int = 6) -> str:
    """A number with so many significant digits and commas, never as a power of ten where it is large."""
    if value is None:
        return DASH
    return f"{value:,.0f}" if abs(value) >= 10**digits else f"{value:,.{digits}g}"


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _data(grid: Grid, facts: pl.DataFrame, rules: list[dict[str, Any]]) -> dict[str, Any]:
    """What the page's script draws: counts as little-endian numbers in base64, symbols and rules by number."""
    places = {symbol: place for place, symbol in enumerate(grid.symbols)}
    wide, high = len(grid.periods), len(grid.symbols)
    flat = grid.cells["line"].cast(pl.Int64) * wide + grid.cells["column"]
    numbers = {row["rule"]: number for number, row in enumerate(rules)}
    kinds = grid.marks["rule"].replace_strict(numbers, return_dtype=pl.UInt32)
    marks = pl.DataFrame([grid.marks["line"], grid.marks["column"], kinds, grid.marks["count"]])
    return {
        "step": grid.step,
        "periods": grid.labels,
        "expected": list(grid.expected),
        "symbols": list(grid.symbols),
        "worst": [places[symbol] for symbol in facts["symbol"] if symbol in places],
        "rules": [{"name": row["rule"], "severity": row["severity"]} for row in rules],
        "held": _dense(flat, grid.cells["sessions"], wide * high),
        "missing": _dense(flat, grid.cells["missing"], wide * high),
        "marks": _packed(marks.to_numpy().ravel()),
    }


def _dense(at: pl.Series, values: pl.Series, size: int) -> str:
    import numpy as np

    full = np.zeros(size, np.uint16)
    full[at.to_numpy()] = values.to_numpy()
    return _packed(full)


def _packed(values: Any) -> str:
    """Unsigned 16-bit numbers, low byte first; what does not fit is the largest that does."""
    import numpy as np

    small = np.minimum(values, 65_535).astype("<u2")
    return base64.b64encode(small.tobytes()).decode()


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("quant_assets.cleaned", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment.get_template("quality_page.html.j2")
