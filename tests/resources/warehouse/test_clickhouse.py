"""The way to a ClickHouse server: addresses, passwords, TLS, and what a user is told when it is shut."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from resources.catalog import CatalogError, UnknownTableError, WarehouseAccessError, WarehouseUnavailableError
from resources.config_warehouse import WarehouseSettings
from resources.errors import ConfigError, QuantError
from resources.lake import Lake
from resources.warehouse.choose import open_catalog
from resources.warehouse.clickhouse import ClickHouse
from resources.warehouse.loading import load
from tests.resources.warehouse import worlds
from tests.resources.warehouse.conftest import Front

RIGHT = "right horse"  # of the front's user quant


def test_the_configured_engine_is_opened(front: Front, tmp_path: Path) -> None:
    with open_catalog(front.settings(), Lake(str(tmp_path))) as catalog:
        assert isinstance(catalog, ClickHouse)
        assert catalog.tables() == []


def test_a_password_comes_from_the_environment(front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLICKHOUSE_PASSWORD", RIGHT)
    with ClickHouse.connect(front.settings(user="quant")) as catalog:
        assert catalog.sql("SELECT 1 AS one")["one"].to_list() == [1]
        assert RIGHT not in f"{catalog!r} {vars(catalog)}"


@pytest.mark.parametrize("password", [None, "wrong horse"])
def test_a_wrong_password_is_told_and_not_shown(
    front: Front, monkeypatch: pytest.MonkeyPatch, password: str | None
) -> None:
    monkeypatch.delenv("CLICKHOUSE_PASSWORD", raising=False)
    if password is not None:
        monkeypatch.setenv("CLICKHOUSE_PASSWORD", password)
    with pytest.raises(WarehouseAccessError, match=r"refuses user 'quant': .*CLICKHOUSE_PASSWORD in the env") as error:
        ClickHouse.connect(front.settings(user="quant"))
    assert "horse" not in str(error.value)


def test_no_server_is_told() -> None:
    pytest.importorskip("clickhouse_connect")
    settings = WarehouseSettings(engine="clickhouse", port=9)
    with pytest.raises(WarehouseUnavailableError, match=r"http://127\.0\.0\.1:9 did not answer: .*Connection refused"):
        ClickHouse.connect(settings)


def test_an_error_of_the_server_is_told_in_one_line(warehouse: ClickHouse) -> None:
    with pytest.raises(UnknownTableError, match=r"has no table 'market_data/none' in database .*it has none\. Load it"):
        warehouse.rows("market_data/none", ["A"])
    with pytest.raises(UnknownTableError, match="Unknown table expression identifier 'none'"):
        warehouse.sql("SELECT * FROM none")
    with pytest.raises(CatalogError, match="Syntax error") as error:
        warehouse.sql("SELECT FROM WHERE")
    assert "\n" not in str(error.value)


def test_many_symbols_go_in_one_question(warehouse: ClickHouse, tmp_path: Path) -> None:
    """Their names are longer than an address may be; the client sends a form."""
    names = [f"SYMBOL{number:04}.LONG" for number in range(700)]
    lake = Lake(str(tmp_path))
    rows = [(name, worlds.MONDAY, 100.0, 1.0, None) for name in names]
    worlds.write(lake, "market_data/trades", worlds.of_trades(rows))
    load(lake, warehouse, "market_data/trades")
    assert warehouse.rows("market_data/trades", names, columns=["symbol"])["symbol"].to_list() == names


# --- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 signed by itself, and its key."""
    x509 = pytest.importorskip("cryptography.x509")
    import ipaddress

    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "127.0.0.1")])
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("certificate")
    paths = folder / "certificate.pem", folder / "key.pem"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(*form))
    return paths


def test_over_tls_to_a_certificate_that_one_trusts(
    front: Front, certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    with Front(tmp_path / "tls", *certificate) as secure:
        with ClickHouse.connect(secure.settings(tls=True, ca_file=certificate[0])) as catalog:
            assert catalog.where == f"ClickHouse at https://127.0.0.1:{secure.port}"
            assert catalog.sql("SELECT 1 AS one")["one"].to_list() == [1]
        with pytest.raises(WarehouseUnavailableError, match="certificate verify failed"):
            ClickHouse.connect(secure.settings(tls=True))
        with pytest.raises(WarehouseUnavailableError, match="did not answer"):
            ClickHouse.connect(secure.settings())
    with pytest.raises(WarehouseUnavailableError, match="did not answer"):
        ClickHouse.connect(front.settings(tls=True))


@pytest.mark.parametrize(
    ("settings", "address"),
    [
        ({}, "http://127.0.0.1:8123"),
        ({"tls": True}, "https://127.0.0.1:8443"),
        ({"port": 9000}, "http://127.0.0.1:9000"),
    ],
)
def test_addresses(settings: dict[str, object], address: str) -> None:
    assert WarehouseSettings.model_validate(settings).address == address


# --- in this process


EMBEDDED = """
import sys
from resources.lake import Lake
from resources.warehouse.clickhouse import ClickHouse
from resources.warehouse.loading import load
lake = Lake(sys.argv[1])
with ClickHouse.embedded(sys.argv[2], threads=1) as catalog:
    print(load(lake, catalog, "market_data/trades").rows)
with ClickHouse.embedded(sys.argv[2]) as catalog:
    print(load(lake, catalog, "market_data/trades").rows, catalog.rows("market_data/trades", ["A"])["price"].to_list())
"""


def test_the_engine_in_this_process_keeps_its_tables(front: Front, tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"))
    worlds.write(lake, "market_data/trades", worlds.of_trades([("A", worlds.MONDAY, 100.0, 1.0, None)]))
    command = [sys.executable, "-c", EMBEDDED, str(tmp_path / "lake"), str(tmp_path / "engine")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])
    assert done.stdout.splitlines() == ["1", "0 [100.0]"], done.stderr


WRITES = [
    "CREATE TABLE a (x Int8) ENGINE = Memory",
    "CREATE OR REPLACE TABLE market_data_trades (x Int8) ENGINE = Memory",
    "CREATE VIEW a AS SELECT 1 AS x",
    "CREATE TEMPORARY TABLE a (x Int8)",
    "CREATE DATABASE a",
    "CREATE FUNCTION a AS (x) -> x",
    "CREATE TABLE a (x Int8) ENGINE = File(CSV, 'OUT/engine.csv')",
    "DROP TABLE market_data_trades",
    "DROP TABLE IF EXISTS market_data_trades SYNC",
    "DROP DATABASE quant",
    "TRUNCATE TABLE market_data_trades",
    "DETACH TABLE market_data_trades",
    "RENAME TABLE market_data_trades TO a",
    "OPTIMIZE TABLE market_data_trades FINAL",
    "DELETE FROM market_data_trades WHERE 1",
    "ALTER TABLE market_data_trades DELETE WHERE 1",
    "ALTER TABLE market_data_trades ADD COLUMN a Int8",
    "ALTER TABLE market_data_trades DROP PARTITION '2024-03'",
    "INSERT INTO market_data_trades SELECT * FROM market_data_trades",
    "WITH a AS (SELECT * FROM market_data_trades) INSERT INTO market_data_trades SELECT * FROM a",
    "INSERT INTO FUNCTION file('OUT/function.csv', 'CSV', 'x Int8') SELECT 1",
    "INSERT INTO TABLE FUNCTION file('OUT/function.csv', 'CSV', 'x Int8') SELECT 1",
    "INSERT INTO FUNCTION url('http://127.0.0.1:9/', 'CSV', 'x Int8') SELECT 1",
    "INSERT INTO FUNCTION s3('http://127.0.0.1:9/bucket/a.csv', 'CSV', 'x Int8') SELECT 1",
    "INSERT INTO FUNCTION remote('127.0.0.1', 'quant', 'market_data_trades') SELECT * FROM market_data_trades",
    "SELECT 1 INTO OUTFILE 'OUT/select.csv'",
    "SELECT 1 /* ' */ INTO -- '\nOUTFILE 'OUT/comment.csv'",
    "WITH a AS (SELECT 1) SELECT * FROM a INTO OUTFILE 'OUT/with.csv' TRUNCATE",
    "EXPLAIN SELECT 1 INTO OUTFILE 'OUT/explain.csv'",
    "DESCRIBE TABLE market_data_trades INTO OUTFILE 'OUT/describe.csv' AND STDOUT",
    "SHOW TABLES INTO OUTFILE 'OUT/show.csv'",
    "SELECT $$'$$ INTO OUTFILE 'OUT/dollar.csv' --'",
    "SELECT 1) INTO OUTFILE 'OUT/bracket.csv'; SELECT (1",
    "SELECT 1; SELECT 2 INTO OUTFILE 'OUT/second.csv'",
    "SELECT 1; DROP TABLE market_data_trades",
    "SET readonly = 0; DROP TABLE market_data_trades",
    "SET readonly = 0",
    "SET readonly = DEFAULT",
    "SELECT 1 SETTINGS readonly = 0",
    "DROP TABLE market_data_trades SETTINGS readonly = 0",
    "INSERT INTO market_data_trades SETTINGS readonly = 0 SELECT * FROM market_data_trades",
    "EXECUTE IMMEDIATE 'DROP TABLE market_data_trades'",
    "DROP TABLE market_data_trades PARALLEL WITH DROP TABLE market_data_trades",
    "BACKUP TABLE market_data_trades TO File('OUT/backup')",
    "SYSTEM STOP MERGES market_data_trades",
    "!touch OUT/shell",
]

ENGINE_ALONE = """
import json, sys
from resources.errors import QuantError
from resources.lake import Lake
from resources.warehouse.clickhouse import ClickHouse
from resources.warehouse.loading import load
with ClickHouse.embedded(sys.argv[2]) as catalog:
    load(Lake(sys.argv[1]), catalog, "market_data/trades")
    for text in json.loads(sys.stdin.read()):
        try:
            catalog._sql(text, [])
            print("did", text)
        except QuantError as error:
            assert "\\n" not in str(error), error
    load(Lake(sys.argv[1]), catalog, "market_data/trades")
    # Were the reader not one of its own, the engine would keep to reading.
    catalog.command("CREATE TABLE after (x Int8) ENGINE = Memory")
    print(catalog.tables(), catalog.rows("market_data/trades", ["A"])["price"].to_list())
"""


def test_the_engine_in_this_process_refuses_to_write_by_itself(front: Front, tmp_path: Path) -> None:
    """Whatever our own look at a question lets through. INTO OUTFILE, which chDB writes, it finds itself."""
    lake = Lake(str(tmp_path / "lake"))
    worlds.write(lake, "market_data/trades", worlds.of_trades([("A", worlds.MONDAY, 100.0, 1.0, None)]))
    out = tmp_path / "out"
    out.mkdir()
    command = [sys.executable, "-c", ENGINE_ALONE, str(tmp_path / "lake"), str(tmp_path / "engine")]
    texts = json.dumps([text.replace("OUT", str(out)).replace(f"{out}FILE", "OUTFILE") for text in WRITES])
    done = subprocess.run(
        command, input=texts, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3]
    )
    assert done.stdout.splitlines() == ["['market_data/trades'] [100.0]"], done.stderr
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("text", [text for text in WRITES if "OUT" not in text and "FUNCTION" not in text])
def test_a_server_refuses_to_write_by_itself(asked: ClickHouse, text: str) -> None:
    with pytest.raises(QuantError):
        asked._sql(text, [])
    assert asked.rows("market_data/trades", ["A"]).height == 1


@pytest.fixture(scope="module")
def asked(front: Front, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """One trade."""
    lake = Lake(str(tmp_path_factory.mktemp("lake")))
    worlds.write(lake, "market_data/trades", worlds.of_trades([("A", worlds.MONDAY, 100.0, 1.0, None)]))
    with ClickHouse.connect(front.settings(database="asked")) as catalog:
        load(lake, catalog, "market_data/trades")
        yield catalog
        catalog.command("DROP DATABASE asked SYNC")


def test_a_user_that_may_only_read_asks_and_does_not_load(front: Front, asked: ClickHouse, tmp_path: Path) -> None:
    lake, refused = Lake(str(tmp_path)), r"refuses user 'reader': .*Cannot execute query in readonly mode"
    worlds.write(lake, "market_data/trades", worlds.of_trades([("A", worlds.MONDAY, 200.0, 1.0, None)]))
    with ClickHouse.connect(front.settings(user="reader", database="asked")) as catalog:
        assert catalog.rows("market_data/trades", ["A"])["price"].to_list() == [100.0]
        assert catalog.sql("SELECT max(price) AS price FROM market_data_trades")["price"].to_list() == [100.0]
        with pytest.raises(WarehouseAccessError, match=refused):
            load(lake, catalog, "market_data/trades")
    with pytest.raises(WarehouseAccessError, match=refused):
        ClickHouse.connect(front.settings(user="reader", database="not_there"))


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "clickhouse_connect", None)
    with pytest.raises(ConfigError, match=r"clickhouse-connect is not installed; pip install 'qua"):
        ClickHouse.connect(WarehouseSettings(engine="clickhouse"))


OUTSIDE = [
    "SELECT file('/etc/hostname')",
    "SELECT * FROM view(SELECT `file`('/etc/hostname') AS a)",
    "SELECT FILE ('/etc/hostname')",
    "DESCRIBE url('http://127.0.0.1:9/leak', 'CSVWithNames')",
    "describe /* a */ TABLE file('/etc/hostname')",
    "DESCRIBE TABLE executable('ls', 'TSV')",
]


@pytest.mark.parametrize("text", OUTSIDE)
def test_what_reaches_outside_as_a_value_or_to_be_described_is_refused(asked: ClickHouse, text: str) -> None:
    with pytest.raises(QuantError, match="reach outside"):
        asked.sql(text)


MAKES_FILES = [
    "SELECT * FROM sqlite('OUT/a.db', 't')",
    "SELECT * FROM `sqlite` /* a */ ('OUT/b.db', 't')",
    "SELECT * FROM view(SELECT * FROM sqlite('OUT/c.db', 't'))",
    "EXPLAIN SELECT * FROM sqlite('OUT/d.db', 't')",
    "SELECT * FROM (EXPLAIN SELECT * FROM sqlite('OUT/e.db', 't'))",
    "WITH a AS (SELECT * FROM \"sqlite\"('OUT/f.db', 't')) SELECT * FROM a",
    "SELECT 1 WHERE EXISTS (SELECT * FROM sqlite('OUT/g.db', 't'))",
]

REFUSING = """
import json, sys
from resources.errors import QuantError
from resources.warehouse.clickhouse import ClickHouse
with ClickHouse.embedded(sys.argv[1]) as catalog:
    for text in json.loads(sys.stdin.read()):
        try:
            catalog.sql(text)
        except QuantError as error:
            print(error)
"""


def test_a_table_function_that_makes_a_file_before_it_is_refused_is_not_asked(front: Front, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    texts = [text.replace("OUT", str(out)) for text in MAKES_FILES]
    done = subprocess.run(
        [sys.executable, "-c", REFUSING, str(tmp_path / "engine")], input=json.dumps(texts), capture_output=True,
        text=True, check=False, cwd=Path(__file__).parents[3],
    )  # fmt: skip
    told = "sql: sqlite() may reach outside; ask the lake's tables"
    assert done.stdout.splitlines() == [told] * len(texts), done.stderr
    assert list(out.iterdir()) == []


@pytest.mark.parametrize("name", ["url", "s3", "mysql", "python", "hdfs", "loop", "dictionary", "executable", "MYSQL"])
def test_a_table_function_that_is_not_known_to_be_harmless_is_refused(asked: ClickHouse, name: str) -> None:
    with pytest.raises(QuantError, match=rf"{name}\(\) may reach outside"):
        asked.sql(f"SELECT * FROM {name}('a', 'b')")


HARMLESS = {
    "SELECT count() AS rows FROM numbers(3)": 3,
    "SELECT sum(a) AS rows FROM VALUES('a Int64', 1, 2)": 3,
    "SELECT * FROM view(SELECT 3 AS rows)": 3,
    "SELECT 3 AS rows WHERE format('{}', 'sqlite(1)') IN ('sqlite(1)')": 3,
    "SELECT count() AS rows FROM generate_series(1, 3)": 3,
}


@pytest.mark.parametrize("text", HARMLESS)
def test_a_table_function_that_makes_its_rows_itself_is_asked(asked: ClickHouse, text: str) -> None:
    assert asked.sql(text)["rows"].to_list() == [HARMLESS[text]]


def test_a_column_may_be_called_as_a_function_that_is_refused(asked: ClickHouse) -> None:
    assert asked.sql("SELECT 1 AS file, 'file(' AS said, profile FROM (SELECT 2 AS profile)").rows() == [
        (1, "file(", 2)
    ]


@pytest.mark.parametrize("text", ["SELECT 1, 1", "WITH 1 AS b SELECT b, b"])
def test_two_columns_of_one_name_are_refused_by_that_name(asked: ClickHouse, text: str) -> None:
    with pytest.raises(QuantError, match=r"two columns of the answer are called [1ab]; name one of them AS"):
        asked.sql(text)
