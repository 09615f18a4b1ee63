"""What the UI shows beside an asset: previews, counts and pictures.

In a range run Dagster repeats common metadata on every partition's event, so pictures and previews are put on
the last partition only: the one that the asset's page shows.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import dagster as dg
import polars as pl
from dagster._core.definitions.metadata import normalize_metadata

from quant_assets.partitions import partition_keys
from resources.lake_io import Frames, add_partition_metadata

PREVIEW_ROWS = 8


def preview(frame: pl.DataFrame, rows: int = PREVIEW_ROWS) -> dg.MarkdownMetadataValue:
    """The last rows as a Markdown table."""
    tail = frame.tail(rows)
    header = "| " + " | ".join(tail.columns) + " |\n|" + "---|" * tail.width
    lines = ["| " + " | ".join(_cell(value) for value in row) + " |" for row in tail.iter_rows()]
    return dg.MetadataValue.md("\n".join([header, *lines]))


def picture(png: bytes, alt: str) -> dg.MarkdownMetadataValue:
    """A PNG inside the metadata itself."""
    return dg.MetadataValue.md(f"![{alt}](data:image/png;base64,{base64.b64encode(png).decode()})")


def columns(schema: Mapping[str, Any], descriptions: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Definition metadata with an asset's column schema."""
    told = descriptions or {}
    return {
        "dagster/column_schema": dg.TableSchema(
            columns=[dg.TableColumn(name, str(dtype), description=told.get(name)) for name, dtype in schema.items()]
        )
    }


def show(context: dg.AssetExecutionContext, metadata: Mapping[str, Any], asset: dg.AssetKey | None = None) -> None:
    """Attach metadata to the last partition of the run, or to the asset where it has no partitions.

    `asset` names the one that is meant where a step makes several.
    """
    key = asset or context.asset_key
    if not context.has_partition_key and not context.has_partition_key_range:
        context.add_asset_metadata(metadata, key)
        return
    normal = normalize_metadata(metadata)
    add_partition_metadata(
        context.op_execution_context._step_execution_context, key, {partition_keys(context)[-1]: normal}
    )


def watched(
    context: dg.AssetExecutionContext,
    frames: Iterable[pl.LazyFrame],
    describe: Callable[[pl.DataFrame, int], Mapping[str, Any]],
    written: Callable[[], None] | None = None,
    asset: dg.AssetKey | None = None,
    committing: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Frames:
    """Frames as they are made; at the end, the last one that held rows and the row count are described.

    `written` and `committing` are those of `Frames`; `asset` as in `show`.
    """

    def parts() -> Iterator[pl.DataFrame]:
        last, rows = None, 0
        for frame in frames:
            batch = frame.collect()
            rows += batch.height
            if batch.height or last is None:
                last = batch
            yield batch
        if last is not None:
            show(context, describe(last, rows), asset)

    return Frames(parts(), written, committing)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "" if value is None else str(value).replace("|", "\\|").removesuffix("+00:00")
