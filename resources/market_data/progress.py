"""A bar for what takes long: on a terminal by itself, and as a line of text for logs."""

from __future__ import annotations

import time

PATIENCE_SECONDS = 3.0
"""What is over sooner needs no bar."""


class Progress:
    """How far a download is: `parts` of it, and the rows that they brought.

    On a terminal a bar is drawn on the error stream; elsewhere nothing is. `str` is the same as one line.

    >>> with Progress("AAPL", parts=2) as progress:
    ...     progress.done(rows=390)
    ...     str(progress)[:20]
    'AAPL: 50% 1/2, 390 r'
    """

    def __init__(self, what: str, parts: int) -> None:
        from tqdm import tqdm

        self._bar = tqdm(total=parts, desc=what, unit="part", disable=None, delay=PATIENCE_SECONDS, leave=False)
        self._what, self._parts, self._done, self._rows = what, parts, 0, 0
        self._began = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def done(self, rows: int) -> None:
        """One more part has come, with so many rows."""
        self._done += 1
        self._rows += rows
        self._bar.set_postfix_str(f"{self._rows:,} rows", refresh=False)
        self._bar.update()

    def __str__(self) -> str:
        seconds = max(time.monotonic() - self._began, 1e-9)
        left = seconds / self._done * (self._parts - self._done) if self._done else 0.0
        return (
            f"{self._what}: {self._done / self._parts:.0%} {self._done}/{self._parts}, {self._rows:,} rows, "
            f"{self._rows / seconds:,.0f} rows/s, {left:.0f} s left"
        )
