"""Small pictures for the metadata of assets: PNG bytes, about 700 x 320 pixels, all with the same look.

Matplotlib is imported inside the functions and used without pyplot, so that importing this module costs nothing and
several runs in one process share no state.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, QUIET, GRID = "#1c2330", "#6a7382", "#e4e7ec"
BLUE, GREY, RED = "#2463c7", "#8b93a1", "#c2452d"
PALETTE = (BLUE, "#d97706", "#0e8f69", "#a8408c", "#6d5bd0", RED, "#0a8296", "#7c6f00")
MOST_LINES = len(PALETTE)
WIDTH, HEIGHT, DPI = 7.0, 3.2, 100
COLOURS = 96
"""Colours kept in the file: a picture lies in the event log, so a third of the bytes is worth a few shades."""


def canvas(
    heights: tuple[float, ...] = (1.0,), height: float = HEIGHT, share_x: bool = True, columns: int = 1
) -> tuple[Figure, list[Axes]]:
    """An empty figure with one axis for each relative height, top to bottom; `height` in inches of 100 pixels.

    With `columns`, so many axes beside one another in each row, each with a scale of its own.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, height), dpi=DPI, facecolor="white", layout="constrained")
    grid = figure.subplots(
        len(heights), columns, sharex=share_x and columns == 1, squeeze=False, height_ratios=list(heights)
    )
    axes = [axis for row in grid for axis in row]
    for axis in axes:
        axis.grid(True, axis="y", color=GRID, linewidth=0.8)
        axis.set_axisbelow(True)
        axis.tick_params(colors=QUIET, labelsize=8, length=0)
        for name, spine in axis.spines.items():
            spine.set_visible(name == "bottom")
            spine.set_color(GRID)
    return figure, axes


def png(figure: Figure) -> bytes:
    """The figure as a PNG with a small palette."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    sheet = FigureCanvasAgg(figure)
    sheet.draw()
    picture = Image.fromarray(np.asarray(sheet.buffer_rgba())).convert("RGB")
    file = io.BytesIO()
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(file, format="PNG", optimize=True)
    return file.getvalue()


def title(axis: Axes, text: str, note: str = "") -> None:
    """A heading at the left, and a quieter note after it."""
    axis.set_title(text, loc="left", fontsize=9.5, color=INK, fontweight="bold")
    if note:
        axis.set_title(note, loc="right", fontsize=8, color=QUIET)


def price_picture(bars: pl.LazyFrame | pl.DataFrame) -> bytes:
    """Growth of one unit since each symbol's first bar, on a log axis.

    Takes symbol, session and adj_close (or, for raw bars, ts and close). Up to eight symbols get a line each; more
    are shown as their median with the band of the middle four fifths.
    """
    names = bars.lazy().collect_schema().names()
    price = "adj_close" if "adj_close" in names else "close"
    session = pl.col("session") if "session" in names else pl.col("ts").dt.date()
    frame = bars.lazy().select("symbol", session=session, price=price).sort("symbol", "session").collect()
    if frame.is_empty():
        return empty_picture("No prices in these partitions")
    grown = frame.with_columns(growth=pl.col("price") / pl.col("price").first().over("symbol"))
    figure, (axis,) = canvas()
    symbols = grown["symbol"].unique().sort().to_list()
    if len(symbols) <= MOST_LINES:
        _lines(axis, grown, symbols)
    else:
        _band(axis, grown)
    log_axis(axis)
    date_axis(axis)
    what = "Adjusted close" if price == "adj_close" else "Close, not adjusted"
    title(axis, f"{what}, first bar = 1", f"{_count(len(symbols), 'symbol')}, {_span(grown['session'])}")
    return png(figure)


def coverage_picture(frame: pl.LazyFrame | pl.DataFrame) -> bytes:
    """How many rows each symbol has in each month, against the month's fullest symbol.

    Takes symbol and session (or ts). Up to 40 symbols get a row each; more are shown as the count of symbols with
    rows in each month.
    """
    names = frame.lazy().collect_schema().names()
    session = pl.col("session") if "session" in names else pl.col("ts").dt.date()
    rows = frame.lazy().group_by("symbol", month=session.dt.truncate("1mo")).len().collect()
    if rows.is_empty():
        return empty_picture("No rows in these partitions")
    months = pl.DataFrame({"month": pl.date_range(rows["month"].min(), rows["month"].max(), "1mo", eager=True)})  # type: ignore[arg-type]
    symbols = rows["symbol"].unique().sort().to_list()
    if len(symbols) <= 40:
        return _coverage_rows(rows, symbols, months)
    counts = months.join(rows.group_by("month").agg(held=pl.len()), on="month", how="left").fill_null(0)
    figure, (axis,) = canvas()
    axis.fill_between(
        counts["month"].to_numpy(), counts["held"].to_numpy(), step="post", color=BLUE, alpha=0.25, linewidth=0
    )
    axis.step(counts["month"].to_numpy(), counts["held"].to_numpy(), where="post", color=BLUE, linewidth=1.4)
    axis.set_ylim(bottom=0)
    date_axis(axis)
    title(axis, "Symbols with rows, each month", f"{_count(len(symbols), 'symbol')}, {_span(rows['month'])}")
    return png(figure)


def feature_picture(frame: pl.LazyFrame | pl.DataFrame) -> bytes:
    """Each feature's spread (5th to 95th percentile, box at the quartiles) in robust units, and its share of nulls.

    Takes a feature frame; every Float64 column but prices counts as a feature. The unit is the feature's own
    interquartile range around its median, so a long whisker is a heavy tail. Taller with many features.
    """
    keys = {"close", "adj_close", "open", "high", "low", "volume"}
    held = frame.lazy()
    features = [name for name, dtype in held.collect_schema().items() if dtype == pl.Float64 and name not in keys]
    if not features:
        return empty_picture("No features in these partitions")
    quantiles = (0.05, 0.25, 0.5, 0.75, 0.95)
    row = held.select(
        *(pl.col(name).fill_nan(None).quantile(q).alias(f"{name}|{q}") for name in features for q in quantiles),
        *(pl.col(name).is_null().mean().alias(f"{name}|nulls") for name in features),
        rows=pl.len(),
    ).collect()
    if row["rows"][0] == 0:
        return empty_picture("No rows in these partitions")
    figure, (axis,) = canvas(height=max(HEIGHT, 0.15 * len(features) + 0.7))
    spreads = [_standardised([row[f"{name}|{q}"][0] for q in quantiles]) for name in features]
    # The widest whisker sets the axis, as long as it leaves the other boxes readable.
    reach = min(max((abs(value) for spread in spreads for value in spread), default=1.0) * 1.05, 6.0)
    for place, (name, spread) in enumerate(zip(features, spreads, strict=True)):
        _box(axis, place, spread, reach, row[f"{name}|nulls"][0])
    axis.set_yticks(range(len(features)), features, fontsize=7, color=INK)
    axis.invert_yaxis()
    axis.grid(False, axis="y")
    axis.grid(True, axis="x", color=GRID, linewidth=0.8)
    axis.axvline(0, color=GREY, linewidth=0.8)
    axis.set_xlim(-reach, reach)
    axis.text(
        1.06, -0.9, "null", fontsize=7, color=QUIET, ha="right", va="center", transform=axis.get_yaxis_transform()
    )
    title(axis, "Spread of each feature, in interquartile ranges", f"{row['rows'][0]:,} rows")
    return png(figure)


def health_picture(found: pl.DataFrame, shown: int = 12) -> bytes:
    """The features with most nulls after their warm-up, and beside them those that moved most.

    Takes feature, null_share, psi and by_chance (null where they are not known). The mark on a feature's drift (its
    population stability index) is where it would have become another: 0.25 more than chance alone may make of it.
    An index beyond 3 is cut there, and written out.
    """
    nulls = found.drop_nulls("null_share").sort("null_share", "feature", descending=[True, False]).head(shown)
    beyond = pl.col("psi") - pl.col("by_chance")
    moved = found.drop_nulls("psi").sort(beyond, "feature", descending=[True, False]).head(shown)
    if nulls.is_empty() and moved.is_empty():
        return empty_picture("No rows with their look-back behind them")
    figure, axes = canvas((1.0,), height=max(HEIGHT, 0.2 * max(nulls.height, moved.height) + 0.8), columns=2)
    _ranking(axes[0], nulls["feature"].to_list(), nulls["null_share"].to_list(), [0.05] * nulls.height, "{:.1%}")
    title(axes[0], "Nulls after the warm-up")
    bounds = (moved["by_chance"] + 0.25).to_list()
    _ranking(axes[1], moved["feature"].to_list(), moved["psi"].to_list(), bounds, "{:.2f}", most=3.0)
    if moved.is_empty():
        axes[1].text(0.5, 0.5, "no trailing year here", ha="center", color=QUIET, transform=axes[1].transAxes)
    title(axes[1], "Drift", "mark: another distribution")
    return png(figure)


def _ranking(
    axis: Axes, names: list[str], values: list[float], bounds: list[float], form: str, most: float = math.inf
) -> None:
    """A bar and its value for each name, the first at the top, with a mark at its bound; red from there on."""
    cut = [min(value, most) for value in values]
    colours = [RED if value >= bound else BLUE for value, bound in zip(values, bounds, strict=True)]
    axis.barh(range(len(cut)), cut, height=0.65, color=colours)
    marks = [min(bound, most) for bound in bounds]
    axis.vlines(marks, [place - 0.4 for place in range(len(marks))], [place + 0.4 for place in range(len(marks))], INK)
    for place, value in enumerate(values):
        axis.annotate(
            form.format(value), (cut[place], place), xytext=(4, 0), textcoords="offset points", fontsize=7,
            color=QUIET, va="center",
        )  # fmt: skip
    axis.set_yticks(range(len(names)), names, fontsize=7, color=INK)
    axis.set_xlim(0, max([0.01, *cut, *marks]) * 1.2)
    axis.invert_yaxis()
    axis.grid(False, axis="y")
    axis.grid(True, axis="x", color=GRID, linewidth=0.8)


def ic_picture(scores: pl.LazyFrame | pl.DataFrame) -> bytes:
    """Information coefficient of each fold or session, with its mean.

    Takes ic (rank correlation of scores and what came) and a Date column session, known_session or cutoff; rows
    without ic are left out. More than 60 points are averaged by month, then by year.
    """
    names = scores.lazy().collect_schema().names()
    when = next(name for name in ("session", "known_session", "cutoff") if name in names)
    points = scores.lazy().select(day=when, ic=pl.col("ic").fill_nan(None)).drop_nulls().sort("day").collect()
    if points.is_empty():
        return empty_picture("No information coefficients yet")
    grouped, unit = points.group_by("day").agg(pl.col("ic").mean()).sort("day"), when.replace("known_", "")
    for step, unit_name in (("1mo", "month"), ("1y", "year")):
        if grouped.height > 60:
            grouped, unit = (
                points.group_by(pl.col("day").dt.truncate(step)).agg(pl.col("ic").mean()).sort("day"),
                unit_name,
            )
    mean, spread = float(np.mean(points["ic"].to_numpy())), float(np.std(points["ic"].to_numpy()))
    figure, (axis,) = canvas()
    values = grouped["ic"].to_numpy()
    axis.bar(np.arange(len(values)), values, width=0.7, color=[BLUE if value >= 0 else RED for value in values])
    axis.axhline(0, color=GREY, linewidth=0.8)
    axis.axhline(mean, color=INK, linewidth=1, linestyle=(0, (4, 3)))
    step_size = max(1, -(-len(values) // 8))
    form = {"month": "%Y-%m", "year": "%Y"}.get(unit, "%Y-%m-%d")
    axis.set_xticks(range(0, len(values), step_size), [day.strftime(form) for day in grouped["day"]][::step_size])
    title(
        axis,
        f"Information coefficient by {unit}: mean {mean:+.3f}",
        f"{_count(points.height, 'point')}, standard deviation {spread:.3f}",
    )
    return png(figure)


def empty_picture(message: str) -> bytes:
    """A picture that says why there is nothing to draw."""
    figure, (axis,) = canvas(height=1.2)
    axis.set_axis_off()
    axis.text(0.5, 0.5, message, ha="center", va="center", fontsize=10, color=QUIET, transform=axis.transAxes)
    return png(figure)


def _lines(axis: Axes, grown: pl.DataFrame, symbols: list[str]) -> None:
    ends = []
    for colour, symbol in zip(PALETTE, symbols, strict=False):
        own = grown.filter(pl.col("symbol") == symbol)
        axis.plot(own["session"].to_numpy(), own["growth"].to_numpy(), color=colour, linewidth=1.2)
        ends.append((own["session"][-1], own["growth"][-1], symbol, colour))
    last = max(day for day, *_ in ends)
    # Names stand at the lines' ends instead of in a legend, apart from each other on the log axis.
    low, high = np.log(grown["growth"].min()), np.log(grown["growth"].max())  # type: ignore[arg-type]
    gap = max(high - low, 0.05) * 0.065
    height = -np.inf
    for _, growth, symbol, colour in sorted(ends, key=lambda end: end[1]):
        height = max(height + gap, np.log(growth))
        axis.annotate(
            f"{symbol} {growth:.2f}", (last, float(np.exp(height))), xytext=(5, 0), textcoords="offset points",
            color=colour, fontsize=8, va="center", annotation_clip=False,
        )  # fmt: skip


def _band(axis: Axes, grown: pl.DataFrame) -> None:
    growth = pl.col("growth")
    band = (
        grown.group_by("session")
        .agg(low=growth.quantile(0.1), middle=growth.median(), high=growth.quantile(0.9))
        .sort("session")
    )
    days = band["session"].to_numpy()
    axis.fill_between(days, band["low"].to_numpy(), band["high"].to_numpy(), color=BLUE, alpha=0.15, linewidth=0)
    axis.plot(days, band["middle"].to_numpy(), color=BLUE, linewidth=1.4)
    axis.text(
        0.01, 0.95, "median, and the middle four fifths", transform=axis.transAxes, fontsize=8, color=QUIET, va="top"
    )


def _coverage_rows(rows: pl.DataFrame, symbols: list[str], months: pl.DataFrame) -> bytes:
    full = rows.group_by("month").agg(full=pl.col("len").max())
    grid = (
        months.join(pl.DataFrame({"symbol": symbols}), how="cross")
        .join(rows, on=["symbol", "month"], how="left")
        .join(full, on="month", how="left")
        .with_columns(share=(pl.col("len") / pl.col("full")).fill_null(0.0))
        .sort("symbol", "month")
    )
    shares = grid["share"].to_numpy().reshape(len(symbols), months.height)
    figure, (axis,) = canvas(height=max(HEIGHT, 0.13 * len(symbols) + 0.7))
    axis.grid(False)
    from matplotlib.colors import LinearSegmentedColormap

    shades = LinearSegmentedColormap.from_list("coverage", ["#f3f4f6", "#bcd0f2", BLUE])
    axis.imshow(shares, aspect="auto", cmap=shades, vmin=0, vmax=1, interpolation="nearest")
    axis.set_yticks(range(len(symbols)), symbols, fontsize=8 if len(symbols) <= 20 else 6, color=INK)
    axis.hlines(np.arange(1, len(symbols)) - 0.5, -0.5, months.height - 0.5, color="white", linewidth=1.5)
    step = max(1, -(-months.height // 8))
    labels = [day.strftime("%Y-%m") for day in months["month"]]
    axis.set_xticks(range(0, months.height, step), labels[::step])
    title(axis, "Rows held, each symbol and month", f"{_count(len(symbols), 'symbol')}, {rows['len'].sum():,} rows")
    return png(figure)


def _standardised(quantiles: list[float | None]) -> list[float]:
    """The five quantiles in interquartile ranges around the median; nothing where the feature has no value."""
    values = [value for value in quantiles if value is not None]
    if len(values) < 5:
        return []
    unit = (values[3] - values[1]) or 1.0
    return [(value - values[2]) / unit for value in values]


def _box(axis: Axes, place: int, spread: list[float], reach: float, nulls: float) -> None:
    if spread:
        low, q1, _, q3, high = spread
        axis.hlines(place, max(low, -reach), min(high, reach), color=BLUE, linewidth=1)
        axis.barh(place, q3 - q1, left=q1, height=0.6, color="#a9c3ee", edgecolor=BLUE, linewidth=0.8)
    axis.text(
        1.06, place, f"{nulls:.0%}", fontsize=7, color=RED if nulls > 0.2 else QUIET, ha="right", va="center",
        transform=axis.get_yaxis_transform(),
    )  # fmt: skip


def log_axis(axis: Axes) -> None:
    """A log scale with round labels."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axis.set_yscale("log")
    low, high = axis.get_ylim()
    axis.yaxis.set_major_locator(
        MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]) if high / low < 10 else LogLocator(subs=(1, 2, 5), numticks=12)
    )
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.minorticks_off()


def short(value: float) -> str:
    """A number as short text for an axis: 0.5, 1,000, 20k, 1.5M."""
    for unit, suffix, least in ((1e9, "B", 1e9), (1e6, "M", 1e6), (1e3, "k", 1e4)):
        if abs(value) >= least:
            return f"{value / unit:.4g}{suffix}"
    return f"{value:,.10g}"


def date_axis(axis: Axes) -> None:
    """A time axis with short labels."""
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=4, maxticks=9)
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=False))
    axis.margins(x=0.01)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _span(days: pl.Series) -> str:
    return f"{days.min()!s} to {days.max()!s}"
