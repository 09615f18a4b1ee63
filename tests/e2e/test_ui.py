"""The web UI as a person sees it, in headless Chromium: lineage, an asset with its plot, its checks, a run, a click.

With QUANT_SCREENSHOTS set, what is seen is written to docs/images/.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from quant_assets.definitions import defs
from resources.config import PROJECT
from tests.e2e.conftest import Platform
from tests.e2e.processes import wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.xdist_group("installation")]

FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
GROUPS = ("market_data", "alternative", "cleaned", "features", "models", "signals", "backtests")

ON_DEMAND = (
    *("market_data/quotes", "market_data/trades", "cleaned/tick_bars"),
    *("features/alpha158", "features/microstructure", "features/temporal", "features/cross_section"),
)
"""Nothing makes these but a person."""

# Materialized assets have a green frame; a node or two may be grey while the newest symbol is missing from them.
GREEN = """wanted => [...document.querySelectorAll('svg foreignObject')].filter(node =>
    [...node.querySelectorAll('*')].some(part => {
        const [r, g, b] = getComputedStyle(part).borderTopColor.match(/\\d+/g).map(Number);
        return g > r + 60 && g > b + 30;
    })).length >= wanted"""
# The zoom controls lie over the graph's corner.
HIDE_CONTROLS = """() => document.querySelectorAll('button').forEach(button => {
    const box = button.getBoundingClientRect();
    if (box.right > innerWidth - 40 && box.top > 150) button.parentElement.parentElement.style.visibility = 'hidden';
})"""


@pytest.fixture(scope="module")
def browser_page(platform: Platform) -> Iterator[Page]:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium on this machine; install chromium to run the UI's tests")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as player:
        browser = player.chromium.launch(executable_path=path, args=FLAGS)
        context = browser.new_context(
            viewport={"width": 1600, "height": 900}, device_scale_factor=2, base_url=platform.dagster.url
        )
        # The invitation that Dagster shows a new visitor lies over the page.
        context.add_init_script("localStorage.setItem('communityNux', '\"1\"')")
        context.set_default_timeout(60_000)
        yield context.new_page()
        browser.close()


@pytest.fixture
def page(browser_page: Page) -> Iterator[Page]:
    errors: list[str] = []
    browser_page.on("pageerror", lambda error: errors.append(str(error)))
    yield browser_page
    assert errors == [], "the page's own scripts fail"


def picture(page: Page, name: str, **options: Any) -> None:
    """Keep what is seen; the test is about what the page says."""
    page.evaluate("() => document.fonts.ready")
    image = page.screenshot(**options)
    assert len(image) > 20_000, "an empty page"
    if os.environ.get("QUANT_SCREENSHOTS"):
        folder = PROJECT / "docs" / "images"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.png").write_bytes(image)


def test_lineage_shows_the_whole_graph(page: Page) -> None:
    page.set_viewport_size({"width": 2000, "height": 1900})
    expanded = ",".join(f"global@global:{group}" for group in GROUPS)
    page.goto(f"/asset-groups?expanded={expanded}")
    nodes = page.locator("svg foreignObject")
    for key in defs.resolve_asset_graph().materializable_asset_keys:
        nodes.filter(has_text=re.compile(rf"\b{key.path[-1]}\b")).first.wait_for()
    for group in GROUPS:
        nodes.filter(has_text=group).first.wait_for()
    page.mouse.move(5, 5)
    page.wait_for_function(GREEN, arg=len(defs.resolve_asset_graph().materializable_asset_keys) - 2 - len(ON_DEMAND))
    page.evaluate(HIDE_CONTROLS)
    # The graph alone, a margin around it: this is the picture in the README.
    boxes = [box for box in (node.bounding_box() for node in nodes.all()) if box is not None]
    left, top = min(box["x"] for box in boxes) - 25, min(box["y"] for box in boxes) - 25
    right = max(box["x"] + box["width"] for box in boxes) + 25
    bottom = max(box["y"] + box["height"] for box in boxes) + 25
    picture(page, "lineage", clip={"x": left, "y": top, "width": right - left, "height": bottom - top})


def test_an_assets_page_shows_its_plot(page: Page) -> None:
    page.set_viewport_size({"width": 1600, "height": 900})
    page.goto("/assets/backtests/report")
    page.get_by_text("A strategy's history on the simulated exchange").first.wait_for()
    page.get_by_text("[Show Markdown]").first.click()
    plot = page.locator("img[alt^='equity of']")
    plot.wait_for()
    page.wait_for_function("() => document.querySelector(\"img[alt^='equity of']\").naturalWidth > 300")
    picture(page, "asset")
    page.get_by_role("button", name="Close").click()


def test_a_checks_page_shows_what_was_checked(page: Page) -> None:
    page.goto("/assets/cleaned/bars?view=checks")
    page.get_by_text("cleaned_bars_expectations").first.click()
    page.get_by_text("Evaluation result").first.wait_for()
    page.get_by_text(re.compile("^Passed$")).first.wait_for()
    assert page.get_by_text("Not evaluated").count() == 0
    picture(page, "checks")


def test_a_runs_page_shows_its_steps(page: Page, platform: Platform) -> None:
    run = next(
        run for run in platform.dagster.runs(statuses=["SUCCESS"]) if run["jobName"] in ("history", "__ASSET_JOB")
    )
    page.goto(f"/runs/{run['runId']}")
    page.get_by_text(re.compile("^Success$")).first.wait_for()
    page.get_by_text("RUN_SUCCESS").first.wait_for()
    picture(page, "run")


def test_an_asset_is_materialized_by_clicking(page: Page, platform: Platform) -> None:
    before = {run["runId"] for run in platform.dagster.runs()}
    page.goto("/assets/market_data/instruments")
    page.get_by_text(re.compile("^Materialize$")).first.click()
    page.get_by_text(re.compile("Launched run")).first.wait_for()
    [started] = [run["runId"] for run in platform.dagster.runs() if run["runId"] not in before]
    assert platform.dagster.finished(started) == "SUCCESS"
    page.goto(f"/runs/{started}")
    page.get_by_text(re.compile("^Success$")).first.wait_for()
    page.get_by_text("ASSET_MATERIALIZATION").first.wait_for()


def test_a_partition_is_materialized_by_clicking(page: Page, platform: Platform) -> None:
    """The newest session, which the dialog chooses by itself, in the dialog for partitions."""
    before = platform.dagster.materializations("features/panel").get("2012-03-30", 0)
    page.goto("/assets/features/panel")
    page.get_by_text("Materialize…").first.click()
    page.get_by_text(re.compile("^Latest$")).first.click()
    page.get_by_text(re.compile("^Launch (backfill|1 run)")).first.click()
    page.get_by_text(re.compile("Launched|Created backfill")).first.wait_for()
    wait_for(
        lambda: platform.dagster.materializations("features/panel").get("2012-03-30", 0) == before + 1, "the partition"
    )
