"""What the user's files and lists say of instruments: names, classes, the usual for the rest, chains, actions."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.errors import BarSchemaError, ConfigError, NoDataError, NotOfferedError, QuantError, UnknownSymbolError
from resources.market_data import Files
from resources.market_data.base import ACTION_SCHEMA, INSTRUMENT_SCHEMA
from resources.market_data.files.names import FACTS, named
from resources.market_data.ib.translate import parse

MON, TUE = date(2014, 6, 9), date(2014, 6, 10)
JUN, JUL = date(2014, 6, 21), date(2014, 7, 19)


def bar(symbol: str, day: date = MON, **columns: Any) -> dict[str, Any]:
    return {"symbol": symbol, "date": day, "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0, **columns}


def folder(path: Path, *bars: dict[str, Any], name: str = "bars.parquet") -> Path:
    frame = pl.DataFrame(bars, schema_overrides={"expiry": pl.Date} if any("expiry" in each for each in bars) else {})
    frame.write_parquet(path / name) if name.endswith("parquet") else frame.write_csv(path / name)
    return path


def option(strike: float, right: str, expiry: date = JUN, day: date = MON, **more: Any) -> dict[str, Any]:
    return bar("AAPL", day, asset_class="option", expiry=expiry, strike=strike, right=right, **more)


# Names: what the columns say, and the name and class that follow

NAMES: dict[str, tuple[dict[str, Any], str, str | None]] = {
    "a share": ({"symbol": "BRK.B", "asset_class": "equity"}, "BRK.B", "equity"),
    "no class": ({"symbol": "AAPL"}, "AAPL", None),
    "a call": (
        {"symbol": "AAPL", "asset_class": "option", "expiry": date(2014, 6, 6), "strike": 490.0, "right": "call"},
        "AAPL140606C00490000",
        "option",
    ),
    "a put whose class is told by its columns": (
        {"symbol": "SPY", "expiry": date(2015, 1, 17), "strike": 92.5, "right": "P"},
        "SPY150117P00092500",
        "option",
    ),
    "an option by its own name": (
        {"symbol": "AAPL140606C00490000", "asset_class": "option"},
        "AAPL140606C00490000",
        "option",
    ),
    "a future by month": ({"symbol": "ES", "asset_class": "future", "contract": "201312"}, "ES.201312", "future"),
    "a future whose class is told by its column": ({"symbol": "ES", "contract": "20131220"}, "ES.20131220", "future"),
    "a future by its last day": (
        {"symbol": "ES", "asset_class": "future", "expiry": date(2013, 12, 20)},
        "ES.20131220",
        "future",
    ),
    "a future by its own name": ({"symbol": "ES.201312", "asset_class": "future"}, "ES.201312", "future"),
    "a perpetual": ({"symbol": "BTCUSDT", "asset_class": "cryptofuture"}, "BTCUSDT.P", "future"),
    "a dated future of coins": (
        {"symbol": "BTCUSDT", "asset_class": "cryptofuture", "expiry": date(2024, 6, 28)},
        "BTCUSDT.240628",
        "future",
    ),
    "coins": ({"symbol": "BTCUSDT", "asset_class": "Crypto", "venue": "binance"}, "BTCUSDT", "crypto"),
    "a pair": ({"symbol": "EURUSD", "asset_class": "forex"}, "EURUSD", "forex"),
    "an index": ({"symbol": "SPX", "asset_class": "index"}, "SPX", "index"),
}


@pytest.mark.parametrize(("columns", "name", "kind"), NAMES.values(), ids=NAMES)
def test_columns_make_the_name(columns: dict[str, Any], name: str, kind: str | None) -> None:
    found = named(pl.DataFrame([columns], schema=FACTS), "bars.parquet").filter("plain")
    assert found.select("name", "asset_class").rows() == [(name, kind)]


@given(
    st.from_regex(r"[A-Z]{1,5}", fullmatch=True), st.dates(date(2000, 1, 1), date(2068, 12, 31)),
    st.integers(1, 99_999_999), st.sampled_from(["call", "put"]),
)  # fmt: skip
def test_an_options_name_says_all_of_it(root: str, expiry: date, thousandths: int, right: str) -> None:
    facts = {"symbol": root, "asset_class": "option", "expiry": expiry, "strike": thousandths / 1000, "right": right}
    name = named(pl.DataFrame([facts], schema=FACTS), "bars.parquet")["name"][0]
    assert name == f"{root}{expiry:%y%m%d}{right[0].upper()}{thousandths:08d}"
    assert parse(name).fields["localSymbol"] == f"{root:<6}{name[len(root) :]}"  # Interactive Brokers' adapter knows it


BAD_NAMES: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown class": ({"asset_class": "cfd"}, "A: asset_class is cfd; it must be one of equity, option, future"),
    "an option without a strike": (
        {"asset_class": "option", "expiry": JUN, "right": "call"},
        "A: strike is None; an option needs expiry, strike",
    ),
    "an option without an expiry": ({"strike": 1.0, "right": "put"}, "A: expiry is None; an option needs expiry"),
    "another right": ({"expiry": JUN, "strike": 1.0, "right": "both"}, "A: right is both; it must be call or put"),
    "a strike below zero": (
        {"expiry": JUN, "strike": -1.0, "right": "put"},
        r"A: strike is -1\.0; it must be in thous",
    ),
    "a strike too fine": (
        {"expiry": JUN, "strike": 1.0005, "right": "put"},
        r"A: strike is 1\.0005; it must be in thous",
    ),
    "a share with a contract": (
        {"asset_class": "equity", "contract": "201312"},
        "A: contract is 201312; only a future",
    ),
    "a share with a strike": (
        {"asset_class": "equity", "strike": 5.0},
        r"A: strike is 5\.0; only an option has a strike",
    ),
    "a contract in words": (
        {"asset_class": "future", "contract": "Dec 13"},
        "A: contract is Dec 13; it must be a month",
    ),
}


@pytest.mark.parametrize(("columns", "says"), BAD_NAMES.values(), ids=BAD_NAMES)
def test_columns_that_make_no_instrument_are_refused(columns: dict[str, Any], says: str) -> None:
    with pytest.raises(BarSchemaError, match=says):
        named(pl.DataFrame([{"symbol": "A", **columns}], schema=FACTS), "bars.parquet")


def test_a_symbol_at_several_venues_is_called_by_its_venue_too(tmp_path: Path) -> None:
    folder(
        tmp_path, bar("EURUSD", asset_class="forex", venue="fxcm"), bar("EURUSD", asset_class="forex", venue="oanda"),
        bar("GBPUSD", asset_class="forex", venue="oanda"), bar("SPY", asset_class="equity", venue=None),
    )  # fmt: skip
    files = Files(tmp_path)
    assert files.symbols() == ["EURUSD.FXCM", "EURUSD.OANDA", "GBPUSD", "SPY"]
    frame = files.bars(["EURUSD.OANDA", "GBPUSD.OANDA"], MON, MON).collect()
    assert frame["symbol"].to_list() == ["EURUSD.OANDA", "GBPUSD.OANDA"]
    assert files.instruments(["GBPUSD.OANDA"])["pip"].to_list() == [0.0001]
    with pytest.raises(
        UnknownSymbolError, match=r"files has no EURUSD; it has EURUSD\.FXCM, EURUSD\.OANDA, GBPUSD, SPY"
    ):
        files.bars(["EURUSD"], MON, MON)


def test_a_symbol_of_two_classes_is_refused(tmp_path: Path) -> None:
    folder(tmp_path, bar("BTC", asset_class="crypto"), bar("BTC", asset_class="equity"))
    with pytest.raises(BarSchemaError, match="BTC: asset_class is crypto and equity in different rows"):
        Files(tmp_path).bars(["BTC"], MON, MON)


# What the bars alone say

ALONE: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a share": (bar("A"), {"asset_class": "equity", "currency": "USD", "tick": 0.01, "lot": 1.0, "multiplier": 1.0}),
    "an option": (
        option(490.0, "call"),
        {
            "symbol": "AAPL140621C00490000",
            "underlying": "AAPL",
            "multiplier": 100.0,
            "expiry": JUN,
            "strike": 490.0,
            "right": "call",
            "listed": MON,
            "calendar": "XNYS",
            "currency": "USD",
        },
    ),
    "an option by its own name": (
        bar("AAPL140621P00492500", asset_class="option"),
        {"underlying": "AAPL", "expiry": JUN, "strike": 492.5, "right": "put", "multiplier": 100.0},
    ),
    "a future by month": (
        bar("ES", contract=201406, asset_class="future", venue="cme"),
        {
            "symbol": "ES.201406",
            "underlying": "ES",
            "expiry": None,
            "multiplier": None,
            "perpetual": False,
            "calendar": "CMES",
            "listed": MON,
        },
    ),
    "a future by its last day": (bar("ES", expiry=JUN, asset_class="future"), {"symbol": "ES.20140621", "expiry": JUN}),
    "a perpetual": (
        bar("BTCUSDT", asset_class="cryptofuture"),
        {"symbol": "BTCUSDT.P", "perpetual": True, "calendar": "24/7"},
    ),
    "coins": (
        bar("ETHBTC", asset_class="crypto"),
        {"underlying": "ETH", "currency": "BTC", "calendar": "24/7", "tick": None, "pip": None, "listed": None},
    ),
    "yen": (
        bar("USDJPY", asset_class="forex"),
        {"currency": "JPY", "pip": 0.01, "multiplier": 1.0, "calendar": "FX"},
    ),
    "a pair with a dot": (bar("EUR.USD", asset_class="forex"), {"currency": "USD", "pip": 0.0001}),
}


@pytest.mark.parametrize(("row", "expected"), ALONE.values(), ids=ALONE)
def test_bars_alone_say_the_usual(tmp_path: Path, row: dict[str, Any], expected: dict[str, Any]) -> None:
    files = Files(folder(tmp_path, row))
    frame = files.instruments(files.symbols())
    assert frame.schema == INSTRUMENT_SCHEMA
    assert frame.select(*expected).row(0, named=True) == expected


# A list of instruments

LIST = {
    "symbol": "ES.201406",
    "asset_class": "future",
    "multiplier": 50.0,
    "expiry": "2014-06-20",
    "currency": "USD",
    "tick": 0.25,
    "underlying": "SPX",
    "calendar": "CMES",
}


@pytest.mark.parametrize("name", ["list.csv", "list.parquet"])
def test_a_list_says_more_than_the_bars(tmp_path: Path, name: str) -> None:
    frame = pl.DataFrame([LIST]).with_columns(pl.col("expiry").str.to_date())
    frame.write_csv(tmp_path / name) if name.endswith("csv") else frame.write_parquet(tmp_path / name)
    folder(tmp_path, bar("ES", contract="201406"), bar("SPY"))  # the list lies among the bars, and is none
    files = Files(tmp_path, instruments=tmp_path / name)
    rows = files.instruments(["ES.201406", "SPY"])
    assert rows.select("symbol", "asset_class", "multiplier", "expiry", "underlying", "tick").rows() == [
        ("ES.201406", "future", 50.0, date(2014, 6, 20), "SPX", 0.25), ("SPY", "equity", 1.0, None, None, 0.01),
    ]  # fmt: skip
    assert files.bars(["ES.201406"], MON, MON).collect()["ts"].to_list() == [datetime(2014, 6, 8, 22, tzinfo=UTC)]
    assert (
        files.futures("ES", MON)["symbol"].to_list() == files.futures("SPX", MON)["symbol"].to_list() == ["ES.201406"]
    )


def test_a_list_alone_makes_plain_symbols_of_any_class(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("symbol,asset_class\nBTCUSD,crypto\nEURUSD,forex\n")
    folder(tmp_path, bar("BTCUSD", date(2014, 6, 8)), bar("EURUSD"))
    files = Files(tmp_path, instruments=tmp_path / "list.csv")
    assert files.bars(["BTCUSD", "EURUSD"], date(2014, 6, 8), MON).collect()["symbol"].to_list() == ["BTCUSD", "EURUSD"]


def test_a_change_of_the_list_is_seen(tmp_path: Path) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text("symbol,lot\nA,10\n")
    files = Files(folder(tmp_path, bar("A")), instruments=listed)
    before = files.fingerprint()
    assert files.instruments(["A"])["lot"].to_list() == [10.0]
    listed.write_text("symbol,lot\nA,100\n")
    assert files.instruments(["A"])["lot"].to_list() == [100.0]
    assert files.fingerprint() != before


BAD_LISTS: dict[str, tuple[str, str]] = {
    "an unknown column": ("symbol,isin\nA,US1\n", r"list\.csv: unknown columns \['isin'\]; the columns of instruments"),
    "no symbol column": ("name\nA\n", r"list\.csv: missing columns \['symbol'\]"),
    "no symbol": ("symbol,lot\n,1\n", r"list\.csv: a row has no symbol"),
    "a symbol twice": ("symbol\nA\nA\n", r"list\.csv: A stands there twice"),
    "text for a number": ("symbol,lot\nA,many\n", "A: lot is 'many', which is no Float64"),
    "text for a date": ("symbol,listed\nA,09/06/2014\n", "A: listed is '09/06/2014', which is no Date"),
    "text for yes": ("symbol,perpetual\nA,perhaps\n", "A: perpetual is 'perhaps', which is no Boolean"),
    "an unknown class": ("symbol,asset_class\nA,bond\n", "A: asset_class is bond, .*one of equity, option"),
    "an option in name only": (
        "symbol,asset_class\nA,option\n",
        "A: expiry is None, of asset class option; an option needs",
    ),
    "an option without underlying": (
        "symbol,asset_class,expiry,strike,right\nA,option,2014-06-21,5,call\n",
        "A: underlying is None, .*an option needs",
    ),
    "another right": (
        "symbol,asset_class,expiry,strike,right,underlying\nA,option,2014-06-21,5,C,B\n",
        "A: right is C, .*call or put",
    ),
    "a future without an end": ("symbol,asset_class\nA,future\n", "A: expiry is None, .*an expiry, or perpetual true"),
    "a perpetual with an end": (
        "symbol,asset_class,expiry,perpetual\nA,future,2014-06-20,true\n",
        "A: perpetual is True, .*only a future without",
    ),
    "a share with an end": ("symbol,expiry\nA,2014-06-20\n", "A: expiry is 2014-06-20, .*only an option or a future"),
    "a share with a strike": ("symbol,strike\nA,5\n", r"A: strike is 5\.0, of asset class equity; only an option"),
    "a perpetual share": ("symbol,perpetual\nA,true\n", "A: perpetual is True, of asset class equity"),
    "no multiplier at all": ("symbol,multiplier\nA,0\n", r"A: multiplier is 0\.0, .*a positive number"),
    "a tick below zero": ("symbol,tick\nA,-0.01\n", r"A: tick is -0\.01, .*a positive number"),
    "a pair that is none": ("symbol,asset_class\nA,forex\n", "A: currency is None, .*a forex pair is named as EURUSD"),
    "a share with a pip": ("symbol,pip\nA,0.0001\n", r"A: pip is 0\.0001, of asset class equity; forex has a pip"),
    "a currency in words": ("symbol,currency\nA,dollar\n", "A: currency is dollar, .*a code such as USD"),
    "an unknown calendar": ("symbol,calendar\nA,MARS\n", "A: calendar is MARS, .*an exchange calendar such as"),
    "delisted before listed": (
        "symbol,listed,delisted\nA,2014-01-02,2013-01-02\n",
        "A: delisted is 2013-01-02, .*before listed",
    ),
}


@pytest.mark.parametrize(("text", "says"), BAD_LISTS.values(), ids=BAD_LISTS)
def test_a_list_that_makes_no_sense_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "list.csv").write_text(text)
    files = Files(folder(tmp_path, bar("A")), instruments=tmp_path / "list.csv")
    with pytest.raises(BarSchemaError, match=says):
        files.instruments(["A"])


def test_types_of_a_parquet_list_are_checked(tmp_path: Path) -> None:
    pl.DataFrame({"symbol": ["A"], "listed": ["2014-06-09"]}).write_parquet(tmp_path / "list.parquet")
    files = Files(folder(tmp_path, bar("A")), instruments=tmp_path / "list.parquet")
    with pytest.raises(BarSchemaError, match=r"list\.parquet: column listed is String; it must be Date"):
        files.instruments(["A"])


@pytest.mark.parametrize("setting", ["instruments", "actions"])
def test_a_missing_file_is_named(tmp_path: Path, setting: str) -> None:
    given: dict[str, Any] = {setting: tmp_path / "none.csv"}
    files = Files(folder(tmp_path, bar("A")), **given)
    with pytest.raises(
        ConfigError, match=rf"provider\.{setting}: .*none\.csv is not a file; for example {setting}: data/"
    ):
        files.instruments(["A"]) if setting == "instruments" else files.corporate_actions(["A"], MON, TUE)


# Chains

CHAIN = (
    option(490.0, "put"),
    option(490.0, "call"),
    option(480.0, "call"),
    option(500.0, "call", JUL),
    option(510.0, "call", JUL, day=TUE),
    option(470.0, "call", MON),
    bar("AAPL", asset_class="equity"),
)
CHAINS: dict[str, tuple[date, list[tuple[float, str]]]] = {
    "the first day": (MON, [(470.0, "call"), (480.0, "call"), (490.0, "call"), (490.0, "put"), (500.0, "call")]),
    "one has expired and one is new": (
        TUE,
        [(480.0, "call"), (490.0, "call"), (490.0, "put"), (500.0, "call"), (510.0, "call")],
    ),
    "the last day of one": (JUN, [(480.0, "call"), (490.0, "call"), (490.0, "put"), (500.0, "call"), (510.0, "call")]),
    "the day after": (date(2014, 6, 22), [(500.0, "call"), (510.0, "call")]),
}


@pytest.mark.parametrize(("on", "expected"), CHAINS.values(), ids=CHAINS)
def test_a_chain_is_what_is_listed_and_not_expired(tmp_path: Path, on: date, expected: list[tuple[float, str]]) -> None:
    chain = Files(folder(tmp_path, *CHAIN)).option_chain("AAPL", on)
    assert chain.schema == INSTRUMENT_SCHEMA
    assert chain.select("strike", "right").rows() == expected


def test_no_chain_is_an_error(tmp_path: Path) -> None:
    files = Files(folder(tmp_path, *CHAIN))
    with pytest.raises(
        NoDataError, match="files has no options of AAPL listed on 2015-01-02; those it has expire from 2014"
    ):
        files.option_chain("AAPL", date(2015, 1, 2))
    with pytest.raises(NoDataError, match="files has no options of IBM listed on"):
        files.option_chain("IBM", MON)


def test_options_of_a_list_are_listed_when_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(
        "symbol,asset_class,listed,delisted\nAAPL140621C00490000,option,2014-01-02,\nAAPL140719C00490000,option,,2014-06-09\n"
    )
    files = Files(folder(tmp_path, bar("AAPL")), instruments=tmp_path / "list.csv")
    assert files.option_chain("AAPL", date(2014, 6, 9))["expiry"].to_list() == [JUN, JUL]
    assert files.option_chain("AAPL", date(2014, 6, 10))["expiry"].to_list() == [JUN]
    assert files.option_chain("AAPL", date(2014, 1, 1))["expiry"].to_list() == [JUL]


def test_futures_are_told_by_expiry_and_only_with_one(tmp_path: Path) -> None:
    rows = [bar("ES", asset_class="future", expiry=JUN), bar("ES", asset_class="future", expiry=JUL), bar("ES")]
    perpetual = bar("ES", asset_class="cryptofuture", expiry=None)
    files = Files(folder(tmp_path, *[{"asset_class": None, "expiry": None, **row} for row in [*rows, perpetual]]))
    assert files.futures("ES", MON)["symbol"].to_list() == ["ES.20140621", "ES.20140719"]
    assert files.futures("ES", date(2014, 6, 22))["symbol"].to_list() == ["ES.20140719"]
    with pytest.raises(NoDataError, match="files has no futures of NQ listed on 2014-06-09"):
        files.futures("NQ", MON)
    folder(tmp_path, bar("ES", contract="201409"), name="more.parquet")
    with pytest.raises(NotOfferedError, match=r"ES\.201409 has no expiry. Give a list .* as provider\.instruments"):
        files.futures("ES", MON)


# Splits and dividends of a file of their own

LONG = "symbol,date,kind,value\nA,2014-06-09,split,7\nA,2014-06-10,dividend,0.47\nB,2014-06-09,split,2\n"
WIDE = (
    "symbol,venue,date,last_cum_date,action,split_ratio,dividend,reference_close\n"
    "A,usa,2014-06-09,2014-06-06,split,7,,645.57\nA,usa,2014-06-10,2014-06-09,dividend,,0.47,94.25\n"
    "B,usa,2014-06-09,2014-06-06,split,2,,1\n"
)


@pytest.mark.parametrize("text", [LONG, WIDE], ids=["kind and value", "a column for each"])
def test_actions_come_from_their_file_instead_of_the_bars(tmp_path: Path, text: str) -> None:
    (tmp_path / "actions.csv").write_text(text)
    folder(tmp_path, bar("A", split=3.0, dividend=1.0))
    frame = Files(tmp_path, actions=tmp_path / "actions.csv").corporate_actions(["A"], MON, TUE).collect()
    assert frame.schema == ACTION_SCHEMA
    assert frame.select("symbol", pl.col("ts").dt.date(), "kind", "value").rows() == [
        ("A", MON, "split", 7.0), ("A", TUE, "dividend", 0.47),
    ]  # fmt: skip


BAD_ACTIONS: dict[str, tuple[str, type[QuantError], str]] = {
    "another kind": (
        "symbol,date,kind,value\nA,2014-06-09,spinoff,1\n",
        BarSchemaError,
        "A 2014-06-09: kind is spinoff; it must",
    ),
    "another action": (
        "symbol,date,action,split_ratio,dividend\nA,2014-06-09,merger,1,\n",
        BarSchemaError,
        "A 2014-06-09: action is merger",
    ),
    "a split without a ratio": (
        "symbol,date,action,split_ratio,dividend\nA,2014-06-09,split,,1\n",
        BarSchemaError,
        "A 2014-06-09: split is None; it must",
    ),
    "the same twice": (
        "symbol,date,kind,value\n" + "A,2014-06-09,dividend,1\n" * 2,
        BarSchemaError,
        "A 2014-06-09: more than one dividend",
    ),
    "a Saturday": (
        "symbol,date,kind,value\nA,2014-06-07,split,2\n",
        BarSchemaError,
        "A 2014-06-07: date is not a session of XNYS",
    ),
    "a column too many": ("symbol,date,kind,value,note\n", BarSchemaError, r"actions\.csv: unknown columns \['note'\]"),
    "text for a value": (
        "symbol,date,kind,value\nA,2014-06-09,split,two\n",
        BarSchemaError,
        "A 2014-06-09: value is 'two', which is no Float64",
    ),
}


@pytest.mark.parametrize(("text", "error", "says"), BAD_ACTIONS.values(), ids=BAD_ACTIONS)
def test_wrong_actions_are_refused(tmp_path: Path, text: str, error: type[QuantError], says: str) -> None:
    (tmp_path / "actions.csv").write_text(text)
    files = Files(folder(tmp_path, bar("A")), actions=tmp_path / "actions.csv")
    with pytest.raises(error, match=says):
        files.corporate_actions(["A"], date(2014, 6, 2), date(2014, 6, 30))


@pytest.mark.parametrize(("given", "kept"), [("XNYS", "FX"), ("24/5", "24/5"), ("FX", "FX"), ("24/7", "FX")])
def test_forex_keeps_a_calendar_of_the_forex_week(tmp_path: Path, given: str, kept: str) -> None:
    files = Files(folder(tmp_path, bar("EURUSD", asset_class="forex")), calendar=given)
    assert files.instruments(["EURUSD"])["calendar"].to_list() == [kept]
