"""Which symbol a name meant on its day: whole words, the longest first, and nothing where it meant two."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.alternative.entities import (
    ENTITY_SCHEMA,
    Matcher,
    entities,
    from_instruments,
    read_names,
    short_form,
    while_listed,
    with_short_forms,
)
from resources.errors import ConfigError


def at(year: int, month: int = 1, day: int = 1) -> datetime:
    return datetime(year, month, day, tzinfo=UTC)


# Apple's name changed in January 2007. META was the ticker of an exchange-traded fund until January 2022, and is that
# of the company formerly called Facebook since June 2022.
ROWS = [
    ("Apple Computer Inc", "AAPL", "legal", None, at(2007, 1, 9), None),
    ("Apple Inc.", "AAPL", "legal", at(2007, 1, 9), None, at(2007, 1, 9)),
    ("International Business Machines Corp", "IBM", "legal", None, None, None),
    ("Big Blue", "IBM", "alias", None, None, None),
    ("AT&T Inc.", "T", "legal", None, None, None),
    ("3M Co", "MMM", "legal", None, None, None),
    ("Delta Air Lines, Inc.", "DAL", "legal", None, None, None),
    ("Delta", "DAL", "alias", None, None, None),
    ("Delta", "DLTA", "alias", None, None, None),
    ("Facebook", "META", "alias", None, at(2021, 10, 28), None),
    ("META", "METV", "ticker", None, at(2022, 1, 31), None),
    ("META", "META", "ticker", at(2022, 6, 9), None, None),
    ("FB", "META", "ticker", None, at(2022, 6, 9), None),
    ("IBM", "IBM", "ticker", None, None, None),
    ("BRK.B", "BRK.B", "ticker", None, None, None),
    ("T", "T", "ticker", None, None, None),
    ("C", "C", "alias", None, None, None),
    ("320193", "AAPL", "cik", None, None, None),
    ("Newco", "NEW", "alias", None, None, at(2020)),
]
TABLE = entities([with_short_forms(pl.DataFrame(ROWS, ENTITY_SCHEMA, orient="row"))])
MATCHER = Matcher(TABLE)

TEXTS = [
    ("whole words", "Shares of Apple rose", at(2010), ("AAPL",)),
    ("not within words", "Pineapple and Applebee's", at(2010), ()),
    ("without regard to case, but for the first letter", "APPLE rose, apple fell", at(2010), ("AAPL",)),
    ("a name in small letters is a word", "an apple a day", at(2010), ()),
    ("a possessive", "Apple's profits", at(2010), ("AAPL",)),
    ("the longest first", "Apple Computer Inc reports", at(2005), ("AAPL",)),
    ("a name before it held", "Apple reports", at(2005), ()),
    ("a former name in its time", "Apple Computer reports", at(2005), ("AAPL",)),
    ("a former name after its time", "Apple Computer, the museum", at(2005, 12, 31), ("AAPL",)),
    ("a name known only later", "Newco is founded", at(2019), ()),
    ("a name once it is known", "Newco is listed", at(2020), ("NEW",)),
    ("an alias", "Big Blue's mainframes", at(2010), ("IBM",)),
    ("signs inside a name", "AT&T buys 3M", at(2010), ("T", "MMM")),
    ("punctuation around and within", "(Delta Air Lines Inc): grounded", at(2010), ("DAL",)),
    ("a bare ticker is a word", "T is a letter and IBM a name", at(2010), ()),
    ("a cashtag", "$IBM and $T up", at(2010), ("IBM", "T")),
    ("a ticker in the style of the wires", "Berkshire (NYSE: BRK.B) and Big (NASDAQ:IBM)", at(2010), ("BRK.B", "IBM")),
    (
        "an exchange in any writing",
        "(Nasdaq: IBM) [NYSE American:\xa0T] (OTC Pink: BRK/B)",
        at(2010),
        ("IBM", "T", "BRK.B"),
    ),
    ("several tickers of an exchange", "(NYSE: IBM, BRK.B and T)", at(2010), ("IBM", "BRK.B", "T")),
    ("several exchanges", "(NYSE: T; Nasdaq: IBM)", at(2010), ("T", "IBM")),
    ("a ticker with more words behind it", 'IBM Corp. (NYSE: IBM, the "Company")', at(2010), ("IBM",)),
    ("a ticker of one letter in order", "$IBM rose with (NYSE: T) and $BRK.B", at(2010), ("IBM", "T", "BRK.B")),
    ("a word of one letter is no ticker", "(NYSE: T was lower) NYSE: T (plan T: T)", at(2010), ()),
    ("a word that begins like an exchange is none", "(arcade: T) (bats: are out)", at(2010), ()),
    ("a name of one letter is a word", "Vitamin C rose", at(2010), ()),
    ("a currency is no cashtag", "US$T and A$IBM", at(2010), ()),
    ("an amount is no cashtag", "$5 and $T5", at(2010), ()),
    ("a ticker before it changed hands", "$META", at(2021), ("METV",)),
    ("a ticker between two hands", "$META", at(2022, 3), ()),
    ("a ticker after it changed hands", "$META and $FB", at(2023), ("META",)),
    ("the number of the register is not searched", "320193 units", at(2010), ()),
    ("nothing", "", at(2010), ()),
]


@pytest.mark.parametrize(("text", "when", "symbols"), [case[1:] for case in TEXTS], ids=[case[0] for case in TEXTS])
def test_what_a_text_names(text: str, when: datetime, symbols: tuple[str, ...]) -> None:
    assert MATCHER.in_text(text, when).symbols == symbols


def test_a_name_of_two_symbols_is_none_and_is_counted() -> None:
    found = MATCHER.in_text("Delta and IBM's Big Blue", at(2010))
    assert (found.symbols, found.ambiguous) == (("IBM",), ("Delta",))
    # The longer name is of one alone.
    assert MATCHER.in_text("Delta Air Lines", at(2010)).ambiguous == ()


def test_a_sources_tags_by_their_day() -> None:
    assert MATCHER.of_tickers(["META", "brk-b", "XXX"], at(2021)).symbols == ("METV", "BRK.B")
    assert MATCHER.of_tickers(["META", "FB"], at(2023)).symbols == ("META",)


@given(st.permutations(ROWS), st.sampled_from([case[1] for case in TEXTS]), st.integers(1990, 2030))
def test_the_order_of_the_table_means_nothing(rows: list[tuple[object, ...]], text: str, year: int) -> None:
    table = with_short_forms(pl.DataFrame(rows, ENTITY_SCHEMA, orient="row"))
    assert Matcher(table).in_text(text, at(year)) == MATCHER.in_text(text, at(year))


SHORT = [
    ("Apple Inc.", "Apple"), ("Apple Computer Inc", "Apple Computer"), ("Coca-Cola Co", "Coca-Cola"),
    ("Procter & Gamble Co", "Procter & Gamble"), ("Alphabet Inc.", "Alphabet"),
    ("Berkshire Hathaway Inc /DE/", "Berkshire Hathaway"),
    ("Visa", None), ("X Corp", None), ("Trust Co", "Trust"), ("Goldman Sachs Group, Inc.", "Goldman Sachs"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "short"), SHORT)
def test_what_a_company_is_called_for_short(name: str, short: str | None) -> None:
    assert short_form(name) == short


def test_tickers_of_instruments_hold_until_their_delisting() -> None:
    instruments = pl.DataFrame({"symbol": ["A", "OLD"], "delisted": [None, date(2010, 6, 30)]})
    matcher = Matcher(entities([from_instruments(instruments)]))
    assert matcher.of_tickers(["OLD", "A"], at(2010, 6, 30)).symbols == ("OLD", "A")
    assert matcher.of_tickers(["OLD", "A"], at(2010, 7, 1)).symbols == ("A",)


def test_tickers_of_instruments_hold_from_their_listing_on() -> None:
    instruments = pl.DataFrame({"symbol": ["A", "NEW"], "listed": [None, date(2015, 1, 5)]})
    matcher = Matcher(entities([from_instruments(instruments)]))
    assert matcher.in_text("(NYSE: NEW) $A", at(2015, 1, 4)).symbols == ("A",)
    assert matcher.in_text("(NYSE: NEW) $A", at(2015, 1, 5)).symbols == ("NEW", "A")


def test_a_name_does_not_lead_to_another_companys_symbol() -> None:
    """GONE was delisted; AGAIN is the symbol of a company of 2015, and was another's until 2007."""
    instruments = pl.DataFrame(
        {"symbol": ["GONE", "AGAIN"], "listed": [None, date(2015, 1, 5)], "delisted": [date(2010, 6, 30), None]}
    )
    rows = [
        ("Gone Mills", "GONE", "legal", None, None, None),
        ("Again Mines", "AGAIN", "legal", None, at(2007), None),
        ("Again Motors", "AGAIN", "legal", None, None, None),
        ("Twice Sold", "AGAIN", "alias", at(2012), at(2020), None),
        ("Private Ltd", "ELSE", "alias", None, None, None),
    ]
    table = while_listed(pl.DataFrame(rows, ENTITY_SCHEMA, orient="row"), instruments)
    matcher = Matcher(entities([table]))
    text = "Gone Mills, Again Mines, Again Motors, Private Ltd"
    assert matcher.in_text(text, at(2006)).symbols == ("GONE", "ELSE")
    assert matcher.in_text(text, at(2012)).symbols == ("ELSE",)
    assert matcher.in_text(text, at(2016)).symbols == ("AGAIN", "ELSE")
    # A time of its own stands.
    assert [matcher.in_text("Twice Sold", at(year)).symbols for year in (2011, 2013, 2021)] == [(), ("AGAIN",), ()]


def test_a_users_own_names(tmp_path: Path) -> None:
    path = tmp_path / "names.csv"
    path.write_text(
        "name,symbol,valid_from,known_at\nSun Microsystems,JAVA,2007-08-27,\nThe Sun,SUN,,2012-01-01T00:00:00+00:00\n"
    )
    matcher = Matcher(entities([read_names(path)]))
    assert matcher.in_text("Sun Microsystems", at(2007)).symbols == ()
    assert matcher.in_text("Sun Microsystems", at(2008)).symbols == ("JAVA",)
    assert [matcher.in_text("The Sun", at(year)).symbols for year in (2011, 2012)] == [(), ("SUN",)]


BAD = [
    ("no symbol", "name\nApple\n", "has no column symbol"),
    ("an unknown column", "name,symbol,sector\nApple,AAPL,IT\n", "has a column sector"),
    ("a date that is none", "name,symbol,valid_from\nApple,AAPL,9 Jan 2007\n", "dates are written 2014-06-09"),
    ("an unknown kind", "name,symbol,kind\nApple,AAPL,nickname\n", "kind must be one of"),
    ("ends before it begins", "name,symbol,valid_from,valid_until\nA B,AB,2010-01-01,2009-01-01\n", "must be later"),
    ("a name without letters", "name,symbol\n??,AB\n", "a letter or a digit"),
    ("a row without a name", "name,symbol\n,AB\n", "name and symbol must both be there"),
]


@pytest.mark.parametrize(("text", "says"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_a_wrong_table_of_names_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "names.csv"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says):
        entities([read_names(path)])


def test_a_table_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_names(tmp_path / "none.csv")
