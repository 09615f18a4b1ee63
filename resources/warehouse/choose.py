"""The catalog of an installation, over the engine that its configuration names."""

from __future__ import annotations

from resources.catalog import Catalog
from resources.config_warehouse import WarehouseSettings
from resources.lake import Lake


def open_catalog(settings: WarehouseSettings, lake: Lake) -> Catalog:
    """The catalog of an installation; close it, or use it in a `with`.

    Raises WarehouseUnavailableError or WarehouseAccessError where a server does not let one in, and ConfigError where
    the package for it is not installed.

    Example: `open_catalog(SETTINGS.warehouse, Lake(SETTINGS.lake_url))`
    """
    if settings.engine == "duckdb":
        from resources.warehouse.duckdb import DuckDB

        return DuckDB(lake)
    from resources.warehouse.clickhouse import ClickHouse

    return ClickHouse.connect(settings)
