"""The quality page: wrong things first, every figure that of the data, one file that opens without a network."""

from __future__ import annotations

import base64
import html as html_text
import io
import json
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from quant_assets.cleaned import FINDING_SCHEMA, quality_grid
from quant_assets.cleaned.glossary import MEANINGS
from quant_assets.cleaned.quality_grid import Grid, count
from quant_assets.cleaned.quality_page import percent, quality_page
from quant_assets.cleaned.quality_pictures import COLOURS, quality_picture
from quant_assets.cleaned.rules import SEVERITY
from resources.calendars import sessions
from tests.quant_assets.backtests.report.test_report import HOSTILE, Page

DAYS = sessions("XNYS", date(2012, 1, 3), date(2012, 12, 31))["session"].to_list()
BARS_SCHEMA = {"symbol": pl.String, "session": pl.Date, "flags": pl.List(pl.String)}


def bars(held: dict[str, list[date]], missing: set[tuple[str, date]] = frozenset()) -> pl.LazyFrame:  # type: ignore[assignment]
    """Cleaned bars of each symbol in these sessions, flagged where the source had none."""
    rows = [
        {"symbol": symbol, "session": day, "flags": ["missing_session"] * ((symbol, day) in missing)}
        for symbol, days in held.items()
        for day in days
    ]
    return pl.LazyFrame(rows, schema=BARS_SCHEMA)


def found(*rows: tuple[str, str, date], old: float | None = 2.0, new: float | None = 1.0) -> pl.DataFrame:
    """Findings of rule, symbol and session, stamped at noon."""
    filled = [
        (
            rule,
            symbol,
            datetime(day.year, day.month, day.day, 17, tzinfo=UTC),
            "close",
            old,
            new,
            SEVERITY.get(rule, "info"),
        )
        for rule, symbol, day in rows
    ]
    return pl.DataFrame(filled, schema=FINDING_SCHEMA, orient="row")


NONE = FINDING_SCHEMA.to_frame()
TWO = bars({"AAA": DAYS, "BBB": DAYS[100:]}, {("BBB", DAYS[150]), ("BBB", DAYS[151])})
SOME = found(
    ("jump", "AAA", DAYS[10]), ("jump", "AAA", DAYS[11]), ("split_unconfirmed", "BBB", DAYS[120]),
    ("missing_session", "BBB", DAYS[150]), ("missing_session", "BBB", DAYS[151]),
)  # fmt: skip


def text(page: str) -> str:
    """What a reader sees: no scripts, no styles, no tags."""
    shown = re.sub(r"<(script|style).*?</\1>", "", page, flags=re.S)
    return " ".join(html_text.unescape(re.sub(r"<[^>]*>", " ", shown)).split())


def data_of(html: str) -> dict[str, Any]:
    [found_data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.S)
    return dict(json.loads(found_data))


def banner(html: str) -> tuple[str, str, list[str]]:
    """The banner's tone, its title and its lines."""
    [(tone, inner)] = re.findall(r'<div class="banner (\w+)">(.*?)</div>', html, re.S)
    [title] = re.findall(r"<strong>(.*?)</strong>", inner, re.S)
    return tone, title, re.findall(r"<li>(.*?)</li>", inner, re.S)


@pytest.fixture(scope="module")
def html() -> str:
    return quality_page(TWO, SOME, "XNYS", "Two stocks", note="made up")


# One file


def test_symbols_without_a_bar_are_named_first() -> None:
    tone, title, lines = banner(quality_page(TWO, SOME, "XNYS", "Two", without_bars=["ABSENT", "BTCUSD"]))
    assert tone == "bad"
    assert "2 symbols without a single bar: ABSENT, BTCUSD." in [title, *lines]


def test_the_page_is_well_formed(html: str) -> None:
    page = Page(html)
    assert page.stack == []
    assert {"canvas", "table", "figure", "script", "noscript"} <= {tag for tag, _ in page.elements}


def test_nothing_is_fetched(html: str) -> None:
    page = Page(html)
    assert "://" not in html
    assert "@import" not in html
    assert "url(" not in html
    assert not {"link", "iframe", "img", "object", "embed", "base"} & {tag for tag, _ in page.elements}
    assert [given for tag, given in page.elements if {"src", "href", "srcset", "action"} & set(given)] == []
    assert "default-src 'none'" in html


def test_everything_given_is_escaped() -> None:
    findings = found((HOSTILE, HOSTILE, DAYS[3]), ("split_unconfirmed", HOSTILE, DAYS[4]))
    hostile = findings.with_columns(field=pl.lit(HOSTILE))
    html = quality_page(bars({HOSTILE: DAYS}), hostile, "XNYS", HOSTILE, note=HOSTILE)
    assert HOSTILE not in html
    assert html.count("&lt;script&gt;") >= 6
    assert [tag for tag, _ in Page(html).elements].count("script") == 2


def test_the_order_of_the_rows_does_not_matter(html: str) -> None:
    shuffled = TWO.collect().sample(fraction=1.0, shuffle=True, seed=1).lazy()
    assert (
        quality_page(shuffled, SOME.sample(fraction=1.0, shuffle=True, seed=2), "XNYS", "Two stocks", note="made up")
        == html
    )


def test_505_symbols_of_250_months_stay_small() -> None:
    months = pl.date_range(date(2000, 1, 3), date(2020, 12, 3), "1mo", eager=True).to_list()
    symbols = pl.LazyFrame({"symbol": [f"S{number:03d}" for number in range(505)]})
    wide = bars({"A": months}).drop("symbol").join(symbols, how="cross")
    many = found(
        *[(rule, f"S{n:03d}", day) for n in range(0, 505, 2) for day in months[::10] for rule in ("jump", "stale")]
    )
    html = quality_page(wide, many, "XNYS", "Wide")
    data = data_of(html)
    assert (data["step"], len(data["periods"]), len(data["symbols"])) == ("month", 252, 505)
    assert len(html) < 2_000_000


# What is wrong comes first

STALE = found(*[("stale", "AAA", day) for day in DAYS[50:70]])
GAPS = bars({"AAA": DAYS, "BBB": DAYS[100:]}, {("BBB", day) for day in DAYS[150:153]})
HEADLINES = [
    # what                    bars                   findings   tone    title
    ("nothing wrong", bars({"AAA": DAYS}), NONE, "good", "No contradictions, and no rule has more findings than"),
    ("a note", bars({"AAA": DAYS}), found(("zero_volume", "AAA", DAYS[3])), "good", "No contradictions"),
    ("a doubt", bars({"AAA": DAYS}), found(("jump", "AAA", DAYS[3])), "warn", "No contradictions"),
    ("a contradiction", TWO, SOME, "bad", "1 contradiction in the source, in 1 symbol"),
    ("an unusual share", bars({"AAA": DAYS}), STALE, "bad", "stale is unusual: 20 findings, 8,000 in 100,000 rows"),
    ("gaps", GAPS, NONE, "bad", "Coverage is 99.25%: 3 sessions without a bar; worst is BBB with 98.00%."),
    ("few gaps", TWO, NONE, "warn", "No contradictions"),
    ("no bars", bars({}), NONE, "bad", "There is not a single cleaned bar to judge."),
]  # fmt: skip


@pytest.mark.parametrize(
    ("frame", "findings", "tone", "title"), [row[1:] for row in HEADLINES], ids=[row[0] for row in HEADLINES]
)
def test_the_banner_says_first_what_is_wrong(
    frame: pl.LazyFrame, findings: pl.DataFrame, tone: str, title: str
) -> None:
    page = quality_page(frame, findings, "XNYS", "A page")
    assert banner(page)[0] == tone
    assert banner(page)[1].startswith(title)
    assert page.index(title) < page.index('class="tiles"')


def test_all_that_is_wrong_is_in_the_banner(html: str) -> None:
    assert [line.split(":")[0] for line in banner(html)[2]] == [
        "Coverage is 99.50%", "4 doubts (severity warning) in 2 symbols"
    ]  # fmt: skip


def test_a_symbol_that_ends_early_is_named() -> None:
    page = quality_page(bars({"AAA": DAYS, "GONE": DAYS[:-6], "LATE": DAYS[:-5]}), NONE, "XNYS", "A page")
    [line] = [line for line in banner(page)[2] if "before the others" in line]
    assert line == f"1 symbol ends before the others, delisted or lost by the source: GONE ({DAYS[-7]})."


# Tables


def test_every_rule_is_explained_and_those_not_found_are_named() -> None:
    every = found(*[(rule, "AAA", DAYS[3]) for rule in SEVERITY])
    said = text(quality_page(bars({"AAA": DAYS}), every, "XNYS", "A page"))
    assert [rule for rule, sentence in MEANINGS.items() if sentence not in said] == []
    assert "Not found" not in said
    assert "Not found: duplicate, clock_error," in text(quality_page(TWO, SOME, "XNYS", "A page"))


TREATMENTS = [
    ("jump", 2.0, 2.0, "only flagged"),
    ("invalid_value", -1.0, 3.0, "changed"),
    ("missing_session", None, 3.0, "filled in"),
    ("duplicate", 3.0, None, "not used"),
    ("crossed", 3.0, 2.0, "only flagged"),  # new is the ask, to compare with
    ("dividend_overdue", None, 0.0, "only flagged"),
]


@pytest.mark.parametrize(("rule", "old", "new", "word"), TREATMENTS, ids=[row[0] for row in TREATMENTS])
def test_the_table_says_what_became_of_the_data(rule: str, old: float | None, new: float | None, word: str) -> None:
    page = quality_page(bars({"AAA": DAYS}), found((rule, "AAA", DAYS[3]), old=old, new=new), "XNYS", "A page")
    assert f'<td class="left">{word}</td>' in page


def test_several_treatments_of_one_rule_are_counted() -> None:
    both = pl.concat([found(("half_built", "AAA", DAYS[3]), new=None), found(("half_built", "AAA", DAYS[4]), new=2.0)])
    assert "1 not used, 1 only flagged" in quality_page(bars({"AAA": DAYS}), both, "XNYS", "A page")


def test_contradictions_are_listed_with_values_the_latest_first(html: str) -> None:
    early = found(("split_unconfirmed", "AAA", DAYS[1]), old=0.303582, new=None)
    page = text(quality_page(TWO, pl.concat([SOME, early]), "XNYS", "A page"))
    later = page.index(f"BBB {DAYS[120]} split_unconfirmed close 2 1")
    assert later < page.index(f"AAA {DAYS[1]} split_unconfirmed close 0.303582 –")  # noqa: RUF001
    assert "more are not shown" not in page


def test_a_long_list_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quant_assets.cleaned.quality_page.MOST_ERRORS", 2)
    many = found(*[("split_unconfirmed", "AAA", day) for day in DAYS[:5]])
    assert "3 more are not shown" in quality_page(bars({"AAA": DAYS}), many, "XNYS", "A page")


def test_the_worst_symbols_come_first_and_sound_ones_not_at_all() -> None:
    held = bars({"AAA": DAYS, "BBB": DAYS, "CCC": DAYS, "DDD": DAYS}, {("CCC", DAYS[5])})
    findings = found(("jump", "BBB", DAYS[4]), ("jump", "BBB", DAYS[5]), ("split_unconfirmed", "DDD", DAYS[3]))
    page = quality_page(held, findings, "XNYS", "A page")
    table = text(page).split("Worst symbols")[1].split("Contradictions in the source")[0]
    assert re.findall(r"\b(?:AAA|BBB|CCC|DDD)\b", table) == ["DDD", "BBB", "CCC"]
    assert [data_of(page)["symbols"][place] for place in data_of(page)["worst"]] == ["DDD", "BBB", "CCC", "AAA"]


def test_a_large_gap_is_worse_than_a_single_contradiction() -> None:
    held = bars({"AAA": DAYS, "BBB": DAYS}, {("BBB", day) for day in DAYS[50:90]})
    page = quality_page(held, found(("split_unconfirmed", "AAA", DAYS[3])), "XNYS", "A page")
    assert [data_of(page)["symbols"][place] for place in data_of(page)["worst"]] == ["BBB", "AAA"]


# What the maps draw


def unpacked(packed: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(packed), "<u2")


def test_the_maps_hold_the_counts_of_the_data(html: str) -> None:
    data = data_of(html)
    assert (data["step"], data["symbols"], data["periods"][0], len(data["periods"])) == (
        "month", ["AAA", "BBB"], "2012-01", 12,
    )  # fmt: skip
    assert sum(data["expected"]) == len(DAYS)
    held, missing = (unpacked(data[name]).reshape(2, 12) for name in ("held", "missing"))
    months = np.array([day.month - 1 for day in DAYS])
    assert held[0].tolist() == np.bincount(months, minlength=12).tolist()
    assert held[1].tolist() == np.bincount(months[100:], minlength=12).tolist()
    assert {(line, column): int(missing[line, column]) for line, column in zip(*np.nonzero(missing), strict=True)} == {
        (1, DAYS[150].month - 1): 2
    }
    marks = {
        (data["symbols"][line], data["periods"][column], data["rules"][rule]["name"]): number
        for line, column, rule, number in unpacked(data["marks"]).reshape(-1, 4).tolist()
    }
    assert marks == {
        ("AAA", "2012-01", "jump"): 2, ("BBB", f"{DAYS[120]:%Y-%m}", "split_unconfirmed"): 1,
        ("BBB", f"{DAYS[150]:%Y-%m}", "missing_session"): 2,
    }  # fmt: skip


def grid(frame: pl.LazyFrame, findings: pl.DataFrame = NONE) -> Grid:
    counted = count(frame, findings, "XNYS")
    assert counted is not None
    return counted


@pytest.mark.parametrize(
    ("first", "last", "step", "periods"),
    [
        (date(2012, 1, 3), date(2012, 1, 3), "day", ["2012-01-03"]),
        (date(2012, 1, 5), date(2012, 1, 10), "day", ["2012-01-05", "2012-01-06", "2012-01-09", "2012-01-10"]),
        (date(2011, 11, 1), date(2012, 3, 30), "month", ["2011-11", "2011-12", "2012-01", "2012-02", "2012-03"]),
    ],
)
def test_the_period_follows_the_length(first: date, last: date, step: str, periods: list[str]) -> None:
    counted = grid(bars({"AAA": [first, last] if first < last else [first]}))
    assert (counted.step, counted.labels) == (step, periods)


@pytest.mark.parametrize("limit", ["MOST_MONTHS", "MOST_CELLS", "MOST_MARKS"])
def test_too_much_for_a_small_page_makes_the_period_longer(limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frame, findings = bars({"AAA": DAYS, "BBB": DAYS}), found(("jump", "AAA", DAYS[3]), ("jump", "AAA", DAYS[200]))
    assert grid(frame, findings).step == "month"
    monkeypatch.setattr(quality_grid, limit, 1)
    assert grid(frame, findings).step == "year"


def test_findings_outside_the_dates_of_the_bars_are_counted_and_not_drawn() -> None:
    far = found(("clock_error", "AAA", date(1970, 1, 1)), ("action_without_bar", "AAA", date(2013, 5, 1)))
    counted = grid(TWO, pl.concat([SOME, far]))
    assert (counted.outside, counted.marks["count"].sum(), len(counted.periods)) == (2, 5, 12)
    page = text(quality_page(TWO, pl.concat([SOME, far]), "XNYS", "A page"))
    assert "2 findings lie outside the dates of the bars" in page
    assert "action_without_bar" in page


def test_a_finding_on_a_day_without_a_session_has_its_own_column_among_days() -> None:
    counted = grid(bars({"AAA": DAYS[:10]}), found(("out_of_session", "AAA", date(2012, 1, 7))))
    assert counted.step == "day"
    at = counted.labels.index("2012-01-07")
    assert (counted.expected[at], counted.marks["column"].to_list()) == (0, [at])


def test_a_symbol_without_bars_has_a_line() -> None:
    assert grid(bars({"AAA": DAYS}), found(("invalid_value", "ZZZ", DAYS[3]))).symbols == ["AAA", "ZZZ"]


def test_an_intraday_session_is_missing_where_all_its_slots_are() -> None:
    rows = [
        {"symbol": "AAA", "session": day, "flags": ["missing_bar"] * (number == 1 or slot == 2)}
        for number, day in enumerate(DAYS[:4])
        for slot in range(3)
    ]
    counted = grid(pl.LazyFrame(rows, schema=BARS_SCHEMA))
    assert counted.symbol_facts.select("rows", "sessions", "missing").row(0) == (12, 4, 1)
    assert counted.cells["missing"].to_list() == [0, 1, 0, 0]


def test_the_session_of_a_finding_is_that_of_the_exchange() -> None:
    late = found(("jump", "AAA", DAYS[3])).with_columns(ts=pl.lit(datetime(2012, 2, 1, 2, tzinfo=UTC)))
    assert grid(TWO, late).marks["column"].to_list() == [0]
    said = late.with_columns(session=pl.lit(date(2012, 5, 2)))
    assert grid(TWO, said).marks["column"].to_list() == [4]


@pytest.mark.parametrize(
    ("share", "said"),
    [(1, "100%"), (0, "0%"), (0.999999, "99.99%"), (0.5, "50.00%"), (0.12345, "12.35%"), (0.0004, "0.040%"),
     (4e-6, "0.00040%")],
)  # fmt: skip
def test_percent_never_rounds_to_all_or_nothing(share: float, said: str) -> None:
    assert percent(share) == said


# The picture


def colours(png: bytes) -> dict[str, int]:
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGB")
    return {"#{:02x}{:02x}{:02x}".format(*colour): number for number, colour in picture.getcolors(1 << 24) or []}


def test_the_picture_is_a_small_png_with_a_legend() -> None:
    png = quality_picture(TWO, SOME, "XNYS")
    assert png.startswith(b"\x89PNG")
    assert len(png) < 60_000
    assert set(COLOURS) <= set(colours(png))


def test_one_contradiction_among_many_symbols_is_seen() -> None:
    wide = bars({f"S{number:03d}": DAYS[::20] for number in range(400)})
    seen, unseen = (
        colours(quality_picture(wide, findings, "XNYS"))[COLOURS[5]]
        for findings in (found(("split_unconfirmed", "S217", DAYS[100])), NONE)
    )
    assert seen > unseen + 20


def test_no_bars_make_a_picture_that_says_so() -> None:
    assert quality_picture(bars({}), NONE, "XNYS").startswith(b"\x89PNG")


# In a browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium on this machine; install chromium to run the page's tests")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as player:
        browser = player.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def opened(browser: Any, html: str, tmp_path: Path) -> Iterator[Any]:
    """The page in a browser without a network; its scripts must not fail and must not ask for anything."""
    file = tmp_path / "quality.html"
    file.write_text(html)
    context = browser.new_context(viewport={"width": 1366, "height": 900}, offline=True, color_scheme="light")
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("request", lambda request: wrong.append(request.url) if request.url != file.as_uri() else None)
    page.goto(file.as_uri())
    yield page
    assert wrong == []
    context.close()


def test_the_browser_draws_tells_and_chooses(opened: Any) -> None:
    page = opened
    assert page.evaluate("document.documentElement.scrollWidth") == 1366
    assert page.evaluate("Number(document.documentElement.dataset.drawn)") < 10_000
    # Worst first: BBB with its contradiction in the first line, AAA with its jumps in the second.
    [box] = [page.locator("[data-heat=findings] .map").bounding_box()]
    column = (box["width"] - 66) / 12
    at = (box["x"] + 66 + (DAYS[120].month - 0.5) * column, box["y"] + 8)
    pixel = """([x, y]) => {
        const canvas = document.querySelector('[data-heat=findings] .map canvas'), box = canvas.getBoundingClientRect();
        return [...canvas.getContext('2d').getImageData(x - box.left, y - box.top, 1, 1).data].slice(0, 3);
    }"""
    assert page.evaluate(pixel, at) == [0xB0, 0x3F, 0xA0]  # --error1
    page.mouse.move(*at)
    told = page.locator(".tip").inner_text()
    assert told.startswith(f"BBB · {DAYS[120]:%Y-%m}")
    assert "split_unconfirmed: 1 (error)" in told
    page.mouse.move(box["x"] + 66 + 0.5 * column, box["y"] + 24)
    assert page.locator(".tip").inner_text().splitlines() == [
        "AAA · 2012-01", "20 of 20 sessions with a bar", "jump: 2 (warning)"
    ]  # fmt: skip
    page.select_option("#severity", "warning")
    page.mouse.move(*at)
    assert "split_unconfirmed" not in page.locator(".tip").inner_text()


def test_the_keyboard_goes_from_cell_to_cell_and_a_rule_of_the_table_to_its_map(opened: Any) -> None:
    page = opened
    said = page.locator("#coverage-said")
    page.locator("[data-heat=coverage]").focus()
    for _ in range(DAYS[150].month):
        page.keyboard.press("ArrowRight")
    expected = sum(day.month == DAYS[150].month for day in DAYS)
    assert said.inner_text().startswith(f"BBB · {DAYS[150]:%Y-%m} · {expected - 2} of {expected} sessions with a bar")
    page.keyboard.press("ArrowDown")
    assert said.inner_text().startswith("AAA")
    page.locator("#rules button", has_text="jump").click()
    # The symbols that have most of the rule come first.
    page.locator("[data-heat=findings]").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#findings-said").inner_text().startswith("AAA · 2012-01")
