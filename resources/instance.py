"""Where this installation's Dagster keeps its state, and the environment every process needs for it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from resources.config import PROJECT, Settings
from resources.errors import ConfigError, QuantError

if TYPE_CHECKING:
    from dagster import DagsterInstance


class BusyError(QuantError):
    """Another program is at work on the installation's home."""


_HELD: ContextVar[frozenset[Path]] = ContextVar("homes held", default=frozenset())


@contextmanager
def in_turn(settings: Settings, lock: str) -> Iterator[None]:
    """Wait until no other program, nor another run of this one, is in here by the same name. Meant for moments.

    The system lets go of the lock when the process ends, however it does.
    """
    with _opened(settings, settings.home.resolve() / f"{lock}.lock") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:  # a file system without locks
            raise _unusable(settings, error) from error
        yield


@contextmanager
def at_work(settings: Settings, who: str, lock: str = "at_work") -> Iterator[None]:
    """Keep every other program that asks for the same from working on this home; inside it may be asked for again.

    The system lets go of the lock when the process ends, however it does; locks of other names do not concern each
    other. Raises BusyError naming who has it.

    Example: `with at_work(load(), "make demo"): launch.everything()`
    """
    path = settings.home.resolve() / f"{lock}.lock"
    if path in _HELD.get():
        yield
        return
    with _opened(settings, path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise BusyError(
                f"{file.read().strip() or 'another program'} is at work on {settings.home}. Wait until it has ended, "
                "or give this one a home of its own: QUANT_HOME=/path/to/folder"
            ) from error
        except OSError as error:  # a file system without locks
            raise _unusable(settings, error) from error
        file.truncate(0)
        file.write(f"{who} (process {os.getpid()})")
        file.flush()
        token = _HELD.set(_HELD.get() | {path})
        try:
            yield
        finally:
            _HELD.reset(token)


def _opened(settings: Settings, path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        raise _unusable(settings, error) from error


def _unusable(settings: Settings, error: OSError) -> ConfigError:
    return ConfigError(
        f"QUANT_HOME: {settings.home} cannot be used ({error.strerror}). Set QUANT_HOME to a folder that can be "
        f"written, or unset it for {PROJECT / '.quant' / settings.name}"
    )


def prepare(settings: Settings) -> Path:
    """Make DAGSTER_HOME of an installation, and set the environment that Dagster's processes read.

    One planned event a range instead of one a partition, and batches of 1,000 events: measured at 84 s against
    2.4 s for 5,000 partitions.

    Raises ConfigError where the home cannot be made or written.
    """
    home = (settings.home / "dagster").resolve()
    try:
        home.mkdir(parents=True, exist_ok=True)
        _put(home / "dagster.yaml", (PROJECT / "configs" / "dagster.yaml").read_bytes())
    except OSError as error:
        raise _unusable(settings, error) from error
    os.environ["DAGSTER_HOME"] = str(home)
    os.environ.setdefault("DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS", "1")
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")
    os.environ.setdefault("DAGSTER_DISABLE_TELEMETRY", "1")
    return home


def _put(path: Path, content: bytes) -> None:
    """Write a file that other processes may read at any moment: they see the old content or the new, never a part."""
    if path.is_file() and path.read_bytes() == content:
        return
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    scratch.write_bytes(content)
    scratch.replace(path)


def instance(settings: Settings) -> DagsterInstance:
    """The installation's Dagster instance."""
    from dagster import DagsterInstance

    return DagsterInstance.from_config(str(prepare(settings)))
