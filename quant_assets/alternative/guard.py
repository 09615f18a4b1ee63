"""A log is written by the run that read it last: another one's versions would be overwritten, and cannot be had again.

Two runs may be at work on a partition at once (one on a schedule, one by hand). The first to end wins; the other is
refused when it is about to write, and asks anew when it is run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from quant_assets.alternative.fetch import Asked
from quant_assets.partitions import SETTINGS
from resources.alternative.base import Kind
from resources.errors import LakeError
from resources.instance import in_turn
from resources.lake import Lake


class Guard:
    """What a run of a kind's asset read, and what it was told of the askings before.

    `asked` tells the askings for partitions that are there, as they are remembered at the time.
    """

    def __init__(self, kind: Kind, lake: Lake, asked: Callable[[Sequence[dict[str, str]]], Asked]) -> None:
        self._kind, self._lake, self._remember = kind, lake, asked
        self._read: list[tuple[dict[str, str], str | None]] = []
        self._asked: list[tuple[list[dict[str, str]], Asked]] = []

    def reading(self, partitions: list[dict[str, str]]) -> None:
        """These partitions, there or not, are about to be read."""
        self._read += [(partition, self._stored(partition)) for partition in partitions]

    def remembered(self, there: list[dict[str, str]]) -> Asked:
        """The askings for partitions that are there."""
        asked = self._remember(there)
        self._asked.append((there, asked))
        return asked

    @contextmanager
    def committing(self) -> Iterator[None]:
        """No other run of the kind's asset on this home replaces a log meanwhile, and none has since it was read.

        Raises LakeError naming the first partition of which another run wrote the log, or asked the sources.
        """
        with in_turn(SETTINGS, f"alternative_{self._kind}"):
            for partition, version in self._read:
                if self._stored(partition) != version:
                    raise self._overtaken(partition)
            for there, asked in self._asked:
                now = self._remember(there)
                for partition in there:
                    key = partition["date"], partition["symbol"]
                    if now.get(key) != asked.get(key):
                        raise self._overtaken(partition)
            yield

    def _stored(self, partition: dict[str, str]) -> str | None:
        return self._lake.stored_version(self._lake.path(("alternative", self._kind), partition))

    def _overtaken(self, partition: dict[str, str]) -> LakeError:
        return LakeError(
            f"alternative/{self._kind}: another run fetched {partition['symbol']} of {partition['date']} while this "
            "one was under way; nothing was written, so that its versions are kept. Run it again"
        )
