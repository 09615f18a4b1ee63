"""Where questions about market data are answered: DuckDB over the lake's own files, or a ClickHouse server.

The password is never among these settings: it comes from CLICKHOUSE_PASSWORD in the environment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class WarehouseSettings(BaseModel):
    """The engine behind `resources.warehouse.choose.open_catalog`; the rest concerns ClickHouse alone."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    engine: Literal["duckdb", "clickhouse"] = Field(
        default="duckdb",
        description="duckdb reads the lake as it is; clickhouse holds a copy, brought up to date by `load`",
        examples=["clickhouse"],
    )
    host: str = Field(default="127.0.0.1", min_length=1, examples=["127.0.0.1"])
    port: int | None = Field(
        default=None, ge=1, le=65535, description="of HTTP: 8123, with tls 8443 by default", examples=[8123]
    )
    tls: bool = Field(default=False, description="encrypted; without it the password is readable", examples=[True])
    ca_file: Path | None = Field(
        default=None, description="certificates to trust instead of the system's", examples=["configs/ca.pem"]
    )
    database: str = Field(default="quant", pattern=r"^[a-z][a-z0-9_]{0,63}$", examples=["quant"])
    user: str = Field(default="default", min_length=1, examples=["default"])
    timeout_seconds: float = Field(default=300.0, ge=0.1, description="how long one answer may take", examples=[300])

    @property
    def address(self) -> str:
        """Where the server is, for example http://127.0.0.1:8123."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port or (8443 if self.tls else 8123)}"
