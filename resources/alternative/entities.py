"""From names to symbols, point in time: which instrument a name in a text, or a source's ticker, meant on its day.

A name matches whole words, the longest one first, whatever the case of its letters, but only where its first letter is
a capital or a digit ("Apple pie" is read as Apple, "apple pie" is not: a name that is also a word of the language is
best left to the sources' own tags). Tickers match in a text only where they are marked as such: $IBM, (NYSE: IBM);
names of a single letter never do. A name that means several symbols on its day maps to none, and is counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol, runtime_checkable

import polars as pl

from resources.calendars import UTC_MICROS
from resources.errors import ConfigError

ENTITY_SCHEMA = pl.Schema(
    {
        "name": pl.String(),
        "symbol": pl.String(),
        "kind": pl.String(),
        "valid_from": UTC_MICROS,
        "valid_until": UTC_MICROS,
        "known_at": UTC_MICROS,
    }
)
"""A name of a symbol from `valid_from` until `valid_until` (excluded; null: unbounded), known from `known_at` on (null:
always). kind is legal (a company's name in its register), alias (what it is called for short), ticker
or cik (the SEC's number)."""

NAME_KINDS = ("legal", "alias", "ticker", "cik")

SUFFIXES = (
    *("inc", "incorporated", "corp", "corporation", "co", "company", "ltd", "limited", "llc", "lp", "plc", "sa", "se"),
    *("ag", "nv", "ab", "asa", "oyj", "spa", "kgaa", "gmbh", "holding", "holdings", "group", "trust"),
)
"""What a company's name may end with and a headline leaves out."""

_WORD = re.compile(r"[^\W_]+(?:&[^\W_]+)*")
_CASHTAG = re.compile(r"(?<![\w$])\$([A-Za-z]{1,6}(?:[.-][A-Za-z]{1,2})?)\b")
_BRACKETED = re.compile(r"[(\[]([^()\[\]]{4,200})[)\]]")
_EXCHANGE = re.compile(
    r"\b(?:(?:nasdaq|nyse)[\w -]{0,24}|amex|arca|bats|cboe|otc(?:qb|qx|bb|mkts| pink| markets)?)\s*:", re.IGNORECASE
)
_LISTED = re.compile(r"[A-Z]{1,6}(?:[./-][A-Z]{1,2})?")
_NEXT = re.compile(r"[,;&]|\band\b")


@runtime_checkable
class Named(Protocol):
    """A source that also knows what companies are called."""

    def names(self, symbols: Sequence[str]) -> pl.DataFrame:
        """Names of these symbols in ENTITY_SCHEMA."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """What a text or a list of tickers names: `symbols` in order, and the names that mean several on that day."""

    symbols: tuple[str, ...]
    ambiguous: tuple[str, ...] = ()


def entities(parts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    """One table of names, each row once, sorted. Raises ConfigError on a row that cannot be one, naming it."""
    frames = [
        ENTITY_SCHEMA.to_frame(),
        *(part.select(ENTITY_SCHEMA.names()).cast(ENTITY_SCHEMA) for part in parts),
    ]
    table = pl.concat(frames).unique().sort("kind", "name", "symbol", "valid_from", nulls_last=False)
    for bad, what in (
        (pl.any_horizontal(pl.col("name", "symbol").is_null()), "name and symbol must both be there"),
        (~pl.col("kind").is_in(NAME_KINDS).fill_null(False), f"kind must be one of {', '.join(NAME_KINDS)}"),
        (pl.col("valid_until") <= pl.col("valid_from"), "valid_until must be later than valid_from"),
        (~pl.col("name").fill_null("").str.contains(r"[\pL\pN]"), "a name needs a letter or a digit"),
    ):
        wrong = table.filter(bad).head(1)
        if wrong.height:
            row = wrong.row(0, named=True)
            raise ConfigError(f"entities: {row['name']!r} of {row['symbol']!r}: {what}")
    return table


def from_instruments(instruments: pl.DataFrame) -> pl.DataFrame:
    """The tickers of a table of instruments, from their listing to their delisting, in ENTITY_SCHEMA.

    `instruments` need symbol; where listed or delisted (Date) is missing or null that end is open.
    """
    return instruments.select(
        name="symbol",
        symbol="symbol",
        kind=pl.lit("ticker"),
        valid_from=_midnight(instruments, "listed"),
        valid_until=_midnight(instruments, "delisted").dt.offset_by("1d"),
        known_at=pl.lit(None, UTC_MICROS),
    )


def while_listed(names: pl.DataFrame, instruments: pl.DataFrame) -> pl.DataFrame:
    """The names (ENTITY_SCHEMA), each open end closed by the listing of its symbol; none where no time is left.

    A symbol is given anew: the name of a company that is gone must not lead to whoever has its symbol today.
    """
    listed = from_instruments(instruments).select("symbol", first="valid_from", last="valid_until")
    bounded = names.join(listed, on="symbol", how="left", maintain_order="left").with_columns(
        pl.coalesce("valid_from", "first"), pl.coalesce("valid_until", "last")
    )
    left = (pl.col("valid_from") < pl.col("valid_until")).fill_null(True)
    return bounded.filter(left).select(ENTITY_SCHEMA.names())


def _midnight(instruments: pl.DataFrame, name: str) -> pl.Expr:
    """The beginning of a day, in UTC; null where the column is not there."""
    day = pl.col(name) if name in instruments.columns else pl.lit(None)
    return day.cast(pl.Date).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")


def with_short_forms(names: pl.DataFrame) -> pl.DataFrame:
    """The names, and what each legal one is called for short, as an alias of the same time."""
    legal = names.filter(pl.col("kind") == "legal")
    short = legal.with_columns(
        pl.Series("name", [short_form(name) for name in legal["name"]], dtype=pl.String), kind=pl.lit("alias")
    )
    return pl.concat([names, short.filter(pl.col("name").is_not_null())])


def read_names(path: Path) -> pl.DataFrame:
    """A user's own names: a CSV with name and symbol; kind (alias by default) and the times may be left out.

    Raises ConfigError naming the file and what is wrong with it.
    """
    try:
        rows = pl.read_csv(path, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ConfigError(f"alternative.entities: {path} cannot be read: {error}") from error
    unknown = [name for name in rows.columns if name not in ENTITY_SCHEMA]
    missing = [name for name in ("name", "symbol") if name not in rows.columns]
    if unknown or missing:
        told = f"has no column {missing[0]}" if missing else f"has a column {unknown[0]}"
        raise ConfigError(f"alternative.entities: {path} {told}; its columns are {', '.join(ENTITY_SCHEMA)}")
    full = rows.with_columns(pl.lit(None, pl.String).alias(name) for name in ENTITY_SCHEMA if name not in rows.columns)
    try:
        return full.select(
            "name",
            "symbol",
            pl.col("kind").fill_null("alias"),
            pl.col("valid_from", "valid_until")
            .str.to_date("%Y-%m-%d")
            .cast(pl.Datetime("us"))
            .dt.replace_time_zone("UTC"),
            pl.col("known_at").str.to_datetime(time_unit="us", time_zone="UTC"),
        )
    except pl.exceptions.PolarsError as error:
        raise ConfigError(
            f"alternative.entities: {path}: dates are written 2014-06-09, instants 2014-06-09T14:30:00+00:00 ({error})"
        ) from error


def short_form(name: str) -> str | None:
    """A company's name without Inc., Corp. and the like; None where nothing, or nothing but a letter, would be left."""
    words = re.sub(r"/[A-Z]{2,3}/?$", "", name).split()
    while len(words) > 1 and _plain(words[-1]) in (*SUFFIXES, "the", "and", "de", ""):
        words.pop()
    short = " ".join(words).strip(" ,.&")
    return short if len(short) > 1 and short != name else None


class Matcher:
    """Finds symbols by the names of a table (ENTITY_SCHEMA).

    >>> Matcher(table).in_text("Apple Computer and IBM", datetime(2006, 1, 3, tzinfo=UTC)).symbols  # doctest: +SKIP
    ('AAPL',)
    """

    def __init__(self, table: pl.DataFrame) -> None:
        self._tickers: dict[str, list[_Meaning]] = {}
        self._names: dict[str, dict[tuple[str, ...], list[_Meaning]]] = {}
        for name, symbol, kind, first, until, known_at in table.select(ENTITY_SCHEMA.names()).iter_rows():
            meaning = _Meaning(symbol, first, until, known_at)
            if kind == "ticker":
                self._tickers.setdefault(_ticker(name), []).append(meaning)
            elif kind != "cik":
                words = tuple(word.casefold() for word in _WORD.findall(name))
                if len("".join(words)) > 1:
                    self._names.setdefault(words[0], {}).setdefault(words, []).append(meaning)
        self._longest = {
            first: sorted({len(words) for words in names}, reverse=True) for first, names in self._names.items()
        }

    def of_tickers(self, tickers: Iterable[str], at: datetime) -> Found:
        """What a source's own tags meant at an instant. Tags that the table does not have mean nothing here."""
        found, ambiguous = dict[str, None](), dict[str, None]()
        for ticker in tickers:
            _take(ticker, self._tickers.get(_ticker(ticker), []), at, found, ambiguous)
        return Found(tuple(found), tuple(ambiguous))

    def in_text(self, text: str, at: datetime) -> Found:
        """The symbols that a text names at an instant: its marked tickers, then names from left to right."""
        marked = self.of_tickers(_marked(text), at)
        found, ambiguous = dict.fromkeys(marked.symbols), dict.fromkeys(marked.ambiguous)
        words = _WORD.findall(text)
        place = 0
        while place < len(words):
            place += self._match(words, place, at, found, ambiguous)
        return Found(tuple(found), tuple(ambiguous))

    def _match(
        self, words: Sequence[str], place: int, at: datetime, found: dict[str, None], ambiguous: dict[str, None]
    ) -> int:
        """Take the longest name that begins at a place; how many words it has, 1 where none does."""
        first = words[place].casefold()
        if words[place][0].islower():
            return 1
        for length in self._longest.get(first, []):
            name = tuple(word.casefold() for word in words[place : place + length])
            meanings = self._names[first].get(name, [])
            if any(meaning.holds(at) for meaning in meanings):
                _take(" ".join(words[place : place + length]), meanings, at, found, ambiguous)
                return length
        return 1


@dataclass(frozen=True, slots=True)
class _Meaning:
    symbol: str
    valid_from: datetime | None
    valid_until: datetime | None
    known_at: datetime | None

    def holds(self, at: datetime) -> bool:
        begun = self.valid_from is None or self.valid_from <= at
        known = self.known_at is None or self.known_at <= at
        return begun and known and (self.valid_until is None or at < self.valid_until)


def _take(
    name: str, meanings: Iterable[_Meaning], at: datetime, found: dict[str, None], ambiguous: dict[str, None]
) -> None:
    symbols = {meaning.symbol for meaning in meanings if meaning.holds(at)}
    if len(symbols) == 1:
        found[symbols.pop()] = None
    elif symbols:
        ambiguous[name] = None


def _marked(text: str) -> list[str]:
    """The tickers that a text marks as such: $IBM, (NYSE: IBM), [Nasdaq: GOOG, GOOGL], (NYSE: T; NASDAQ: A)."""
    found = [(each.start(), each[1]) for each in _CASHTAG.finditer(text)]
    for bracket in _BRACKETED.finditer(text):
        for told in _EXCHANGE.split(bracket[1])[1:]:
            for part in _NEXT.split(told):
                if not _LISTED.fullmatch(part.strip()):
                    break
                found.append((bracket.start(), part.strip()))
    return [ticker for _, ticker in sorted(found, key=lambda each: each[0])]


def _plain(word: str) -> str:
    return re.sub(r"[^\w]", "", word).casefold()


def _ticker(text: str) -> str:
    """BRK.B, BRK-B and BRK/B are one."""
    return text.strip().upper().replace("-", ".").replace("/", ".").lstrip("$")
