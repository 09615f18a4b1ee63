"""The page of all features: complete, offline, and the one in docs/ is today's."""

from __future__ import annotations

import html
import re
from pathlib import Path

import numpy as np
import pytest

from quant_assets.features import ALL
from quant_assets.features.page import picture, write_page

DOCS = Path(__file__).parents[3] / "docs" / "features.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    target = tmp_path_factory.mktemp("page") / "features.html"
    write_page(target)
    return target.read_text()


def without_pictures(text: str) -> str:
    """Pictures may differ in a last digit between machines."""
    return re.sub(r"<figure>.*?</figure>", "", text, flags=re.S)


@pytest.mark.xdist_group("features page")
def test_every_feature_is_on_it_with_formula_look_back_and_picture(page):
    entries = dict(re.findall(r'<article id="(.*?)">(.*?)</article>', page, flags=re.S))
    assert list(entries) == list(ALL.names)
    for feature in ALL:
        assert feature.formula, f"{feature.name}: the builder has no docstring to show"
        assert (
            html.escape(feature.formula, quote=True).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
            in entries[feature.name]
        )
        assert f"look-back {feature.lookback}<" in entries[feature.name]
    drawn = sum("<path" in text for text in entries.values())
    assert drawn > 0.8 * len(ALL)


@pytest.mark.xdist_group("features page")
def test_no_request_leaves_it(page):
    assert not re.search(r"""(src|href)=["'](?!#)""", page)
    assert "default-src 'none'" in page


@pytest.mark.xdist_group("features page")
def test_the_one_in_docs_is_todays(page):
    assert without_pictures(DOCS.read_text()) == without_pictures(page), (
        "make it anew: python -m quant_assets.features.page docs/features.html"
    )


def test_a_picture_breaks_where_there_is_no_value():
    path = picture(np.array([1.0, 2.0, np.nan, 1.5, 1.0]))["path"]
    assert path.count("M") == 2
    assert path.count("L") == 2


def test_zero_is_drawn_only_where_the_values_pass_it():
    assert picture(np.array([1.0, 2.0]))["zero"] == ""
    assert picture(np.array([-1.0, 1.0]))["zero"] == "22.0"
    assert picture(np.array([np.nan, 1.0])) is None
