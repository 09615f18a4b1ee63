"""Records of texts brought to symbols: by the source's tags where it gives any, else by the names in the text.

One record that concerns several symbols becomes one record for each. Where a later version concerns a symbol no more
(a tag was taken off, a name was corrected), that symbol's record is withdrawn with it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import polars as pl

from resources.alternative.base import RECORD, Kind
from resources.alternative.entities import Found, Matcher

TEXTS: dict[Kind, tuple[str, ...]] = {"news": ("headline", "summary"), "social": ("text",)}
"""The kinds that have texts, and the columns that hold them."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """Records with a symbol each, and what became of the versions that had none.

    `by_tag` and `by_name` count versions that were mapped, `nowhere` those that name nothing of the universe;
    `ambiguous` counts, by name, how often it meant several symbols and so none.
    """

    records: pl.DataFrame
    by_tag: int
    by_name: int
    nowhere: int
    ambiguous: dict[str, int]


def mapped(
    kind: Kind, versions: pl.DataFrame, matcher: Matcher, universe: Collection[str], held: pl.DataFrame | None = None
) -> Mapped:
    """The versions for each symbol of the universe that they concern, in the same schema, sorted as `versions`.

    Names count as they were meant when the version became known. `held` are the records that the log has of these
    symbols: where a fetched version concerns one of them no more, it withdraws it. Versions that have a symbol keep it.
    """
    logged, rows = _held(held), list[dict[str, object]]()
    counts = {"tag": 0, "name": 0, "nowhere": 0}
    ambiguous: dict[str, int] = {}
    ordered = versions.sort("source", "record_id", "known_at", maintain_order=True)
    last = pl.struct("source", "record_id").is_last_distinct()
    before: dict[str, None] = {}
    record = None
    for row in ordered.with_columns(last.alias(_LAST)).iter_rows(named=True):
        if record != (record := (row["source"], row["record_id"])):
            before = {}
        if row.pop(_LAST):
            # What the log has stands against the newest version only: an earlier one knew nothing of later symbols.
            before |= logged.get(record, {})
        found, how = _found(kind, row, matcher)
        for name in found.ambiguous:
            ambiguous[name] = ambiguous.get(name, 0) + 1
        symbols = [symbol for symbol in found.symbols if symbol in universe]
        if row["state"] == "withdrawn":
            symbols = list(before) or symbols
        counts[how if symbols else "nowhere"] += 1
        rows += [{**row, "symbol": symbol} for symbol in symbols]
        gone = {"state": "withdrawn", "content": f"{row['content']} withdrawn"}
        rows += [{**row, **gone, "symbol": symbol} for symbol in before if symbol not in symbols]
        before |= dict.fromkeys(symbols)
    records = pl.DataFrame(rows, versions.schema).sort(*RECORD, "known_at", maintain_order=True)
    return Mapped(records, counts["tag"], counts["name"], counts["nowhere"], ambiguous)


_LAST = "__last"


def _held(held: pl.DataFrame | None) -> dict[tuple[str, str], dict[str, None]]:
    """The symbols of each record that the log has, whatever became of them: to withdraw twice changes nothing."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    if held is not None:
        for source, record, symbol in held.select("source", "record_id", "symbol").unique().sort(pl.all()).iter_rows():
            found.setdefault((source, record), {})[symbol] = None
    return found


def _found(kind: Kind, row: dict[str, object], matcher: Matcher) -> tuple[Found, str]:
    """The symbols of one version, and how they were found: by tag or by name."""
    if row["symbol"] is not None:
        return Found((str(row["symbol"]),)), "tag"
    tags, known_at = row["symbols_told"], row["known_at"]
    if tags:
        return matcher.of_tickers(tags, known_at), "tag"  # type: ignore[arg-type]
    text = ". ".join(str(row[name]) for name in TEXTS[kind] if row[name])
    return matcher.in_text(text, known_at), "name"  # type: ignore[arg-type]
