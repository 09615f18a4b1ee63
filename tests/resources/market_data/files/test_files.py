"""The user's own files: what is read, what is left out, and the one error that each kind of bad input gives."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from resources.config import ExcludedRow
from resources.errors import BarSchemaError, ConfigError, NoDataError, QuantError, UnknownSymbolError
from resources.market_data import Files
from resources.market_data.base import ACTION_SCHEMA, BAR_SCHEMA, INSTRUMENT_SCHEMA

MON, TUE, WED = date(2014, 6, 9), date(2014, 6, 10), date(2014, 6, 11)
NAN = float("nan")
HEADER = "symbol,date,open,high,low,close,volume\n"


def bar(symbol: str | None, day: date | None, close: float | None = 10.0, **more: Any) -> dict[str, Any]:
    return {"symbol": symbol, "date": day, "open": 10.0, "high": 12.0, "low": 9.0, "close": close, "volume": 100} | more


def table(*bars: dict[str, Any]) -> pl.DataFrame:
    return pl.DataFrame(bars, schema_overrides={"date": pl.Date, "close": pl.Float64})


GOOD = table(bar("A", MON), bar("A", TUE, 11.0), bar("B", TUE))


def parquet(folder: Path, frame: pl.DataFrame, name: str = "bars.parquet") -> Path:
    frame.write_parquet(folder / name)
    return folder


def keys(files: Files, *symbols: str, start: date = MON, end: date = WED) -> list[tuple[str, date]]:
    frame = files.bars(symbols, start, end).collect()
    return frame.select("symbol", pl.col("ts").dt.date()).rows()


@pytest.mark.parametrize("name", ["bars.parquet", "bars.csv", "BARS.CSV"])
def test_a_file_and_its_folder_read_alike(tmp_path: Path, name: str) -> None:
    write = GOOD.write_parquet if name.endswith("parquet") else GOOD.write_csv
    write(tmp_path / name)
    for path in (tmp_path, tmp_path / name):
        frame = Files(path).bars(["B", "A"], MON, WED).collect()
        assert frame.schema == BAR_SCHEMA
        assert frame.select("symbol", "ts", "close", "volume", "provider").rows() == [
            ("A", datetime(2014, 6, 9, 13, 30, tzinfo=UTC), 10.0, 100.0, "files"),
            ("A", datetime(2014, 6, 10, 13, 30, tzinfo=UTC), 11.0, 100.0, "files"),
            ("B", datetime(2014, 6, 10, 13, 30, tzinfo=UTC), 10.0, 100.0, "files"),
        ]


def test_files_of_different_columns_types_and_formats_are_read_as_one(tmp_path: Path) -> None:
    parquet(tmp_path, GOOD, "1.parquet")
    parquet(tmp_path, table(bar("C", MON, split=2.0, adjusted_close=5.0)).cast({"symbol": pl.Categorical}), "2.parquet")
    parquet(tmp_path, table(bar("A", WED)).cast({"open": pl.Int32, "volume": pl.Float32}), "3.parquet")
    (tmp_path / "4.csv").write_text(HEADER + "D,2014-06-09,10,12,9,11,1e3\n")
    (tmp_path / "notes.txt").write_text("not bars")
    files = Files(tmp_path)
    assert files.symbols() == ["A", "B", "C", "D"]
    assert keys(files, "A", "C", "D") == [("A", MON), ("A", TUE), ("A", WED), ("C", MON), ("D", MON)]


def test_a_symbol_may_be_spread_over_files_in_any_order(tmp_path: Path) -> None:
    parquet(tmp_path, table(bar("A", WED)), "1.parquet")
    parquet(tmp_path, table(bar("A", MON), bar("A", TUE)), "2.parquet")
    assert keys(Files(tmp_path), "A") == [("A", MON), ("A", TUE), ("A", WED)]


def test_interleaved_symbols_are_sorted(tmp_path: Path) -> None:
    frame = table(bar("B", MON), bar("A", MON), bar("B", TUE), bar("A", TUE))
    assert keys(Files(parquet(tmp_path, frame)), "A", "B") == [("A", MON), ("A", TUE), ("B", MON), ("B", TUE)]


@pytest.mark.parametrize("name", ["again.parquet", "again.csv"])
def test_bars_as_the_platform_writes_them_read_back(tmp_path: Path, name: str) -> None:
    def clock() -> datetime:
        return datetime(2020, 1, 1, tzinfo=UTC)

    first = Files(parquet(tmp_path, GOOD), clock=clock).bars(["A", "B"], MON, WED).collect()
    write = first.write_parquet if name.endswith("parquet") else first.write_csv
    write(tmp_path / name)
    assert Files(tmp_path / name, clock=clock).bars(["A", "B"], MON, WED).collect().equals(first)


def test_only_the_range_and_symbols_asked_for_are_judged(tmp_path: Path) -> None:
    frame = table(bar("A", MON), bar("A", TUE, -1.0), bar("B", MON, NAN))
    assert keys(Files(parquet(tmp_path, frame)), "A", end=MON) == [("A", MON)]


def test_a_file_that_comes_later_is_seen(tmp_path: Path) -> None:
    files = Files(parquet(tmp_path, GOOD))
    assert files.symbols() == ["A", "B"]
    parquet(tmp_path, table(bar("C", MON)), "more.parquet")
    assert files.symbols() == ["A", "B", "C"]
    assert keys(files, "C") == [("C", MON)]


# Excluded rows


def test_excluded_rows_are_left_out_and_a_symbol_of_nothing_else_is_not_held(tmp_path: Path) -> None:
    frame = table(bar("A", MON), bar("A", TUE, -1.0), bar("B", None, None), bar("B", None, None))
    exclude = [
        ExcludedRow(symbol="A", session=TUE, reason="wrong price"),
        ExcludedRow(symbol="B", reason="empty rows"),
    ]
    files = Files(parquet(tmp_path, frame), exclude)
    assert files.symbols() == ["A"]
    assert keys(files, "A") == [("A", MON)]
    with pytest.raises(UnknownSymbolError, match="files has no B; it has A"):
        files.bars(["B"], MON, WED)


def test_rows_with_a_time_are_excluded_by_their_session(tmp_path: Path) -> None:
    frame = table(bar("A", MON), bar("A", TUE)).with_columns(
        ts=pl.col("date").cast(pl.Datetime("us", "UTC")) + pl.duration(hours=13, minutes=30)
    )
    exclude = [ExcludedRow(symbol="A", session=TUE, reason="wrong price")]
    assert keys(Files(parquet(tmp_path, frame.drop("date")), exclude), "A") == [("A", MON)]


# Bad input


def csv(text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "bars.csv").write_text(text)
        return folder

    return write


def frame(*bars: dict[str, Any]) -> Callable[[Path], Path]:
    return lambda folder: parquet(folder, table(*bars))


def made(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Path], Path]:
    return lambda folder: parquet(folder, change(GOOD))


def not_parquet(folder: Path) -> Path:
    (folder / "bars.parquet").write_bytes(b"symbol,date\n")
    return folder


def cut_parquet(folder: Path) -> Path:
    whole = parquet(folder, GOOD) / "bars.parquet"
    whole.write_bytes(whole.read_bytes()[:-20])
    return folder


def damaged_parquet(folder: Path) -> Path:
    """Whole at both ends, so that only reading the rows finds it out."""
    parquet(folder, table(bar("C", MON)), "another.parquet")
    whole = parquet(folder, GOOD) / "bars.parquet"
    content = bytearray(whole.read_bytes())
    content[8 : len(content) // 3] = b"\xff" * (len(content) // 3 - 8)
    whole.write_bytes(bytes(content))
    return folder


def stamped(hour: int, zone: str | None = "UTC") -> Callable[[Path], Path]:
    def change(good: pl.DataFrame) -> pl.DataFrame:
        when = pl.col("date").cast(pl.Datetime("us")) + pl.duration(hours=hour, minutes=30)
        return good.with_columns(ts=when.dt.replace_time_zone(zone)).drop("date")

    return made(change)


BAD: dict[str, tuple[Callable[[Path], Path], type[QuantError], str]] = {
    "NaN price": (frame(bar("A", MON, NAN)), BarSchemaError, "A 2014-06-09: close is nan.*cleaning.exclude"),
    "missing price": (frame(bar("A", MON, None)), BarSchemaError, "A 2014-06-09: close is None"),
    "negative price": (frame(bar("A", MON, -1.0)), BarSchemaError, r"A 2014-06-09: close is -1\.0"),
    "negative volume": (frame(bar("A", MON, volume=-5)), BarSchemaError, r"A 2014-06-09: volume is -5\.0"),
    "high below close": (frame(bar("A", MON, 13.0)), BarSchemaError, r"A 2014-06-09: high is 12\.0"),
    "a row twice": (frame(bar("A", MON), bar("A", MON)), BarSchemaError, "A 2014-06-09: more than one row"),
    "rows out of order": (
        frame(bar("A", TUE), bar("B", TUE), bar("A", MON)),
        BarSchemaError,
        r"A 2014-06-09: date comes after 2014-06-10 \(bars\.parquet\).*Sort the file by symbol and date",
    ),
    "a holiday": (frame(bar("A", date(2014, 7, 4))), BarSchemaError, "A 2014-07-04: date is not a session of XNYS"),
    "no date": (frame(bar("A", MON), bar("A", None)), BarSchemaError, r"A: a row has no date \(bars\.parquet\)"),
    "no symbol": (frame(bar("A", MON), bar(None, MON)), BarSchemaError, r"bars\.parquet: a row has no symbol"),
    "missing columns": (made(lambda f: f.drop("low", "date")), BarSchemaError, r"missing columns \['date', 'low'\]"),
    "extra columns": (made(lambda f: f.with_columns(vwap=1.0)), BarSchemaError, r"unknown columns \['vwap'\]"),
    "text for prices": (
        made(lambda f: f.cast({"open": pl.String})),
        BarSchemaError,
        "column open is String; it must be",
    ),
    "a time for a date": (
        made(lambda f: f.cast({"date": pl.Datetime})),
        BarSchemaError,
        "column date is Datetime.*Date",
    ),
    "a naive time": (stamped(13, None), BarSchemaError, "column ts is Datetime.*it must be.*UTC"),
    "a time that is no open": (
        stamped(15),
        BarSchemaError,
        r"A 2014-06-09: ts is .* 15:30.*must be the session's open, .* 13:30.*a column date instead",
    ),
    "not Parquet": (not_parquet, BarSchemaError, r"bars\.parquet: not readable as Parquet"),
    "cut Parquet": (cut_parquet, BarSchemaError, r"bars\.parquet: not readable as Parquet"),
    "damaged Parquet": (damaged_parquet, BarSchemaError, r"^bars\.parquet: not readable as Parquet"),
    "empty folder": (lambda folder: folder, ConfigError, r"provider\.path: no \.parquet or \.csv file in"),
    "no folder": (lambda folder: folder / "none", ConfigError, r"provider\.path: .*none does not exist"),
    "a file of another kind": (
        lambda folder: parquet(folder, GOOD, "bars.json") / "bars.json",
        ConfigError,
        "no .parquet",
    ),
    "CSV without rows": (csv(HEADER), UnknownSymbolError, "files has no A"),
    "empty CSV": (csv(""), BarSchemaError, r"bars\.csv: not readable as CSV"),
    "CSV text for a price": (
        csv(HEADER + "A,2014-06-09,10,12,9,11,1\nA,2014-06-10,10,12,9,n/a,1\n"),
        BarSchemaError,
        r"A 2014-06-10: close is 'n/a', which is no Float64 \(bars\.csv\)",
    ),
    "CSV date of another form": (
        csv(HEADER + "A,06/09/2014,10,12,9,11,1\n"),
        BarSchemaError,
        "A 06/09/2014: date is '06/09/2014', which is no Date",
    ),
    "CSV price left empty": (csv(HEADER + "A,2014-06-09,10,12,,11,1\n"), BarSchemaError, "A 2014-06-09: low is None"),
    "CSV of another width": (csv(HEADER + "A,2014-06-09,10,12,9,11,1,7,8\n"), BarSchemaError, "not readable as CSV"),
    "CSV without header": (csv("A,2014-06-09,10,12,9,11,1\n"), BarSchemaError, "missing columns"),
}


@pytest.mark.parametrize(("write", "error", "says"), BAD.values(), ids=BAD)
def test_bad_input_gives_one_clear_error(
    tmp_path: Path, write: Callable[[Path], Path], error: type[QuantError], says: str
) -> None:
    with pytest.raises(error, match=says):
        Files(write(tmp_path)).bars(["A"], MON, date(2014, 7, 31)).collect()


def test_no_rows_at_all_is_an_error_and_one_symbol_with_rows_is_enough(tmp_path: Path) -> None:
    files = Files(parquet(tmp_path, GOOD))
    assert keys(files, "A", "B", end=MON) == [("A", MON)]
    with pytest.raises(NoDataError, match="files has no rows of B from 2014-06-09 to 2014-06-09"):
        files.bars(["B"], MON, MON)


# Actions and instruments


def test_splits_and_dividends_are_actions_on_their_ex_dates(tmp_path: Path) -> None:
    frame = table(
        bar("A", MON, split=7.0, dividend=0.47),
        bar("A", TUE, split=1.0, dividend=0.0),
        bar("B", MON, split=None, dividend=0.1),
    )
    actions = Files(parquet(tmp_path, frame)).corporate_actions(["B", "A"], MON, WED).collect()
    assert actions.schema == ACTION_SCHEMA
    opened = datetime(2014, 6, 9, 13, 30, tzinfo=UTC)
    assert actions.select("symbol", "ts", "kind", "value", "known_at").rows() == [
        ("A", opened, "dividend", 0.47, opened),
        ("A", opened, "split", 7.0, opened),
        ("B", opened, "dividend", 0.1, opened),
    ]


def test_files_without_such_columns_have_no_actions(tmp_path: Path) -> None:
    assert Files(parquet(tmp_path, GOOD)).corporate_actions(["A"], MON, WED).collect().is_empty()


@pytest.mark.parametrize(("field", "value"), [("split", 0.0), ("split", NAN), ("dividend", -0.1), ("dividend", NAN)])
def test_a_wrong_action_is_refused(tmp_path: Path, field: str, value: float) -> None:
    frame = table(bar("A", MON, split=1.0, dividend=0.0) | {field: value})
    with pytest.raises(BarSchemaError, match=f"A 2014-06-09: {field} is {value}; it must be a positive number"):
        Files(parquet(tmp_path, frame)).corporate_actions(["A"], MON, WED)


def test_instruments_take_their_sector_from_the_list(tmp_path: Path) -> None:
    (tmp_path / "sectors.csv").write_text('Symbol,Name,Sector\nA,"Alpha, Inc.",Energy\n')
    files = Files(parquet(tmp_path, GOOD), sectors=tmp_path / "sectors.csv")  # in the folder of the bars, and no bars
    frame = files.instruments(["B", "A"])
    assert frame.schema == INSTRUMENT_SCHEMA
    assert frame.select("symbol", "calendar", "sector").rows() == [("A", "XNYS", "Energy"), ("B", "XNYS", None)]


@pytest.mark.parametrize(
    ("text", "says"), [(None, "cannot be read"), ("Ticker,Sector\nA,Energy\n", "columns Symbol and")]
)
def test_a_bad_list_of_sectors_is_refused(tmp_path: Path, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / "sectors.csv").write_text(text)
    with pytest.raises(ConfigError, match=rf"provider\.sectors: .*{says}"):
        Files(parquet(tmp_path, GOOD), sectors=tmp_path / "sectors.csv").instruments(["A"])


# Real data


def test_the_sp500_file_is_read_with_its_two_empty_rows_excluded(shared_data: Path) -> None:
    exclude = [ExcludedRow(symbol="BF.B", reason="two rows hold nothing")]
    files = Files(shared_data / "sp500_daily.parquet", exclude, shared_data / "sp500_sectors.csv")
    symbols = files.symbols()
    assert len(symbols) == 504
    assert "BF.B" not in symbols
    some = ["AAPL", "BRK.B", "VTRS"]
    frame = files.bars(some, date(1999, 11, 1), date(2021, 4, 21)).collect()
    assert frame.group_by("symbol").len().sort("symbol").rows() == [("AAPL", 5402), ("BRK.B", 5402), ("VTRS", 107)]
    actions = files.corporate_actions(some, date(1999, 11, 1), date(2021, 4, 21)).filter(kind="split").collect()
    # The file has seven for one as 7.000007: as the source gave it.
    assert actions.select("symbol", pl.col("ts").dt.date(), pl.col("value").round(4)).rows() == [
        ("AAPL", date(2000, 6, 21), 2.0), ("AAPL", date(2005, 2, 28), 2.0), ("AAPL", date(2014, 6, 9), 7.0),
        ("AAPL", date(2020, 8, 31), 4.0), ("BRK.B", date(2010, 1, 21), 50.0),
    ]  # fmt: skip
    assert files.instruments(some)["sector"].null_count() == 0


def test_the_sp500_file_without_the_exclusion_is_refused(shared_data: Path) -> None:
    with pytest.raises(BarSchemaError, match=r"BF\.B: a row has no date \(sp500_daily\.parquet\).*cleaning\.exclude"):
        Files(shared_data / "sp500_daily.parquet").bars(["BF.B"], MON, WED)
