"""The report in a real browser: without a network, in wide and narrow windows, by mouse and by keyboard."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.backtests import report
from tests.quant_assets.backtests.report.reports import (
    HOSTILE,
    a_benchmark,
    a_provenance,
    a_result,
    an_evidence,
    with_metrics,
)

pytestmark = pytest.mark.browser

SESSIONS = 600
SYMBOLS = ("AAA", HOSTILE)
OPEN_WIDE = 1400


def a_page() -> str:
    """Two symbols traded in turn, of which one has a name that a careless page would run; AAA split 4 for 1."""
    result = a_result(SESSIONS, every=20)
    odd = pl.int_range(pl.len()) % 2 == 1
    fills = result.fills.with_columns(
        symbol=pl.when(odd).then(pl.lit(HOSTILE)).otherwise(pl.lit("AAA")),
        side=pl.when(pl.int_range(pl.len()) % 4 < 2).then(pl.lit("buy")).otherwise(pl.lit("sell")),
        ambiguous=pl.int_range(pl.len()) % 6 == 0,
        quantity=pl.when(odd).then(10.0).otherwise(1234.0),
    )
    days = result.equity["session"].to_list()
    bars = pl.concat(
        pl.DataFrame({"session": days, "symbol": name, "close": [50.0 + at / 10 for at in range(SESSIONS)]})
        for name in SYMBOLS
    )
    given = a_provenance(evidence=an_evidence(), symbols=SYMBOLS)
    return report.page(type(result)(result.equity, fills, result.positions, result.orders, result.metrics),
                       a_benchmark(SESSIONS), given, bars)  # fmt: skip


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


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(a_page())
    return path


@pytest.fixture
def opened(browser: Any, file: Path) -> Iterator[Callable[..., Any]]:
    """Open the page without a network; its scripts must not fail, say anything, or ask for anything."""
    wrong: list[str] = []
    contexts = []

    def opening(width: int = OPEN_WIDE, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("request", lambda request: wrong.append(request.url) if request.url != file.as_uri() else None)
        page.goto(file.as_uri())
        return page

    yield opening
    assert wrong == []
    for context in contexts:
        context.close()


CLIPPED = """() => [...document.querySelectorAll(
    "h1, h2, h3, p, li, strong, b, dd, dt, label, .tile div, .legend span, .rule span")]
  .filter(one => one.offsetParent && !one.closest(".scroll, .tip > span"))
  .filter(one => one.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
  .map(one => one.textContent)"""


@pytest.mark.parametrize("width", [OPEN_WIDE, 820, 390, 320])
def test_nothing_sticks_out(opened: Callable[..., Any], width: int) -> None:
    page = opened(width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(CLIPPED) == []


def test_the_mouse_tells_the_values_of_a_session(opened: Callable[..., Any]) -> None:
    page = opened()
    chart = page.locator("[data-chart=equity]")
    before = chart.locator(".legend").inner_text()
    box = chart.locator(".area").first.bounding_box()
    page.mouse.move(box["x"] + 0.5, box["y"] + 50)
    assert chart.locator("[data-day]").inner_text() == "2005-01-03"
    assert chart.locator(".legend").inner_text() != before
    page.mouse.move(0, 0)
    assert chart.locator(".legend").inner_text() == before


def test_the_keyboard_reaches_every_chart_and_moves_along_it(opened: Callable[..., Any]) -> None:
    page = opened()
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.dataset.chart || ''"))
    assert {"equity", "rolling", "exposure", "market", "symbol", "span", "before", "after"} <= reached
    chart = page.locator("[data-chart=equity]")
    chart.focus()
    page.keyboard.press("ArrowLeft")
    days = a_result(SESSIONS).equity["session"].to_list()
    assert chart.locator("[data-day]").inner_text() == str(days[-2])


def test_the_reader_chooses_a_symbol_and_a_year(opened: Callable[..., Any]) -> None:
    page = opened()
    said = page.locator("#told")
    assert page.locator("#symbol option").all_inner_texts() == [f"{HOSTILE} (15 fills)", "AAA (15 fills)"]
    assert page.locator("#chosen").inner_text() == "AAA", "of which most was traded"
    assert said.inner_text().startswith("15 fills from 2005-01-03 to")
    line = page.locator("#market .line").get_attribute("d")
    page.select_option("#symbol", label=f"{HOSTILE} (15 fills)")
    assert page.locator("#chosen").inner_text() == HOSTILE
    page.select_option("#span", "2006")
    assert said.inner_text().startswith("7 fills from 2006-01-02 to 2006-12-29.")
    assert page.locator("#market .line").get_attribute("d") != line
    assert page.locator("#market .dates span").all_inner_texts()[:2] == ["Feb", "Mar"]


def test_the_reader_goes_from_fill_to_fill(opened: Callable[..., Any]) -> None:
    page = opened()
    said, days = page.locator("#told"), a_result(SESSIONS).equity["session"].to_list()
    page.click("#after")
    assert said.inner_text() == f"{days[0]} · close 50 · bought 1,234 at 50.02 (open, ambiguous)"
    page.click("#after")
    assert said.inner_text() == f"{days[40]} · close 54 · sold 1,234 at 50.02 (open)"
    page.click("#before")
    page.click("#before")
    assert said.inner_text() == "There is no earlier fill."
    page.select_option("#span", "2005")
    page.locator("#market").focus()
    page.keyboard.press("ArrowLeft")
    last_of_2005 = max(day for day in days if day < date(2006, 1, 1))
    assert said.inner_text().startswith(f"{last_of_2005} · close")
    page.click("#after")
    assert page.locator("#span").input_value() == "2006", "the next fill lies in the next year"


def test_buys_sales_and_ambiguous_fills_have_shapes_of_their_own(opened: Callable[..., Any]) -> None:
    page = opened()
    marks = page.evaluate("""[...document.querySelectorAll("#market .mark")].map(one =>
        [one.getAttribute("class"), one.getAttribute("d").split("M").length - 1])""")
    assert dict(marks) == {"mark up": 5, "mark down": 5, "mark up hollow": 3, "mark down hollow": 2}


def test_the_dark_page_is_dark_and_the_printed_one_is_light(opened: Callable[..., Any]) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    page = opened(color_scheme="dark")
    assert page.evaluate(background) == "rgb(15, 20, 27)"
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate(background) == "rgb(255, 255, 255)"
    assert page.locator("nav").is_hidden()
    assert page.locator("#before").is_hidden()
    assert page.locator("#market .line").is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")


CONTRAST = """() => {
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r / 255, g / 255, b / 255]
    .map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, place) => sum + c * [.2126, .7152, .0722][place], 0);
  const behind = one => {
    const layers = [];
    for (let at = one; at; at = at.parentElement) layers.push(parts(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((under, [r, g, b, a = 1]) =>
      under.map((c, k) => c * (1 - a) + [r, g, b][k] * a), [255, 255, 255]);
  };
  const poor = [];
  for (const one of document.querySelectorAll("main *")) {
    const text = [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim());
    if (!text || !one.offsetParent || one.closest("option, noscript")) continue;
    const [a, b] = [light(parts(getComputedStyle(one).color)), light(behind(one))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) poor.push([one.className, one.textContent.slice(0, 40), ratio]);
  }
  return poor;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_against_what_is_behind_it(opened: Callable[..., Any], scheme: str) -> None:
    assert opened(color_scheme=scheme).evaluate(CONTRAST) == []


def test_long_texts_and_large_figures_stay_inside_a_narrow_window(browser: Any, tmp_path: Path) -> None:
    given = a_provenance(
        strategy="s" * 300, parameters={"p" * 300: "v" * 300}, config_name="c" * 300, symbols=["N" * 300],
        benchmark="b" * 300, data_version="d" * 300, evidence=an_evidence(headline=f"Unproven: {'h' * 300}. More."),
    )  # fmt: skip
    result = with_metrics(a_result(SESSIONS), cagr=23_804_482_636.238, volatility=23_804_482_636.238)
    path = tmp_path / "long.html"
    path.write_text(report.page(result, a_benchmark(SESSIONS), given), encoding="utf-8")
    for width in (400, 1200):
        context = browser.new_context(viewport={"width": width, "height": 900}, offline=True)
        opened = context.new_page()
        opened.goto(path.as_uri())
        assert opened.evaluate("document.documentElement.scrollWidth") <= width
        wide = "[...document.querySelectorAll('.tile')].filter(tile => tile.scrollWidth > tile.clientWidth).length"
        assert opened.evaluate(wide) == 0
        opened.screenshot(path=str(tmp_path / f"{width}.png"), full_page=True)
        context.close()
