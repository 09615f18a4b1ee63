"""Commands for the warehouse of the installation that QUANT_CONFIG names.

python -m resources.warehouse list                       tables that its catalog answers about
python -m resources.warehouse load [TABLE ...] [--dates 2024-03-01 ...]
                                                         bring ClickHouse to the state of the lake
"""

from __future__ import annotations

import argparse
import sys

from resources.catalog import QUOTES, TRADES
from resources.config import load as load_settings
from resources.errors import ConfigError, QuantError
from resources.lake import Lake
from resources.warehouse.choose import open_catalog
from resources.warehouse.clickhouse import ClickHouse
from resources.warehouse.loading import load


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 1 where it fails, with one line that says why."""
    parser = argparse.ArgumentParser(
        prog="python -m resources.warehouse", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    loading = commands.add_parser("load")
    loading.add_argument("tables", nargs="*", default=[TRADES, QUOTES], metavar="TABLE")
    loading.add_argument("--dates", nargs="+", help="date keys of the lake; all by default")
    options = parser.parse_args(arguments)
    try:
        settings = load_settings()
        lake = Lake(settings.lake_url)
        if options.command == "load" and settings.warehouse.engine != "clickhouse":
            raise ConfigError("warehouse.engine: duckdb reads the lake itself; load is for engine: clickhouse")
        with open_catalog(settings.warehouse, lake) as catalog:
            if isinstance(catalog, ClickHouse) and options.command == "load":
                for table in options.tables:
                    done = load(lake, catalog, table, dates=options.dates, say=print)
                    print(
                        f"{table}: {done.dates} dates, {done.partitions} partitions, {done.rows:,} rows loaded"
                        + (f"; {done.removed} partitions are not in the lake, and were removed" if done.removed else "")
                    )
                return 0
            for table in catalog.tables():
                print(table)
    except QuantError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
