"""Market data: the providers, and the one and the universe that a configuration names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from resources.config import Settings, check_symbols
from resources.errors import ConfigError
from resources.market_data.base import Provider
from resources.market_data.file_tables import SUFFIXES
from resources.market_data.files import Files
from resources.market_data.sample import Sample
from resources.market_data.synthetic import Synthetic
from resources.market_data.yahoo import Yahoo

__all__ = ["Files", "Provider", "Sample", "Synthetic", "Yahoo", "create", "universe"]


def create(settings: Settings) -> Provider:
    """The provider that the configuration names. Nothing is read or connected yet."""
    provider, exclude = settings.provider, settings.cleaning.exclude
    if provider.name == "sample":
        return Sample(exclude)
    if provider.name == "yahoo":
        return Yahoo(provider.timeout_seconds, exclude=exclude, calendar=settings.calendar)
    if provider.name == "synthetic":
        return Synthetic(provider.seed, exclude=exclude)
    if provider.path is None:
        raise ConfigError("provider.path: provider files needs it; for example path: data/bars")
    return Files(provider.path, exclude, provider.sectors, settings.calendar)


def universe(settings: Settings) -> list[str]:
    """The symbols of the configuration, in its order; all that the files hold for `symbols: all`.

    A universe file has one symbol a line; what follows a # is a comment.

    Raises ConfigError naming the file, the symbol and an example where the file is missing or empty, or where
    a symbol is malformed or stands there twice; for `symbols: all` too, since a symbol names partitions and folders.
    """
    asked = settings.universe
    if asked.file is not None:
        return _read_symbols(asked.file)
    if asked.symbols == "all":
        provider = create(settings)
        if not isinstance(provider, Files):
            raise ConfigError("universe.symbols: all works with provider files only; for example [AAPL, MSFT]")
        for symbol in provider.symbols():
            try:
                check_symbols([symbol])
            except ValueError as error:
                raise ConfigError(
                    f"provider.path: {_file_with(settings, symbol)}: {error}. Rename it there, or list the symbols "
                    "wanted under universe.symbols, for example [AAPL, MSFT]"
                ) from error
        return provider.symbols()
    return list(asked.symbols or [])


def _file_with(settings: Settings, symbol: str) -> Path | None:
    """The first of the provider's files that holds a symbol, the folder where none does by itself."""
    path = settings.provider.path
    for file in sorted(path.iterdir()) if path is not None and path.is_dir() else []:
        if file.suffix.lower() in SUFFIXES and file != settings.provider.sectors:
            part = Files(file, settings.cleaning.exclude, calendar=settings.calendar)
            if symbol in part.symbols():
                return file
    return path


def _read_symbols(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"universe.file: {path} cannot be read ({error}); for example configs/universe.txt with one symbol a line"
        ) from error
    symbols: Sequence[str] = [name for line in lines if (name := line.split("#")[0].strip())]
    if not symbols:
        raise ConfigError(f"universe.file: {path} has no symbol; put one on each line, for example AAPL")
    try:
        return check_symbols(symbols)
    except ValueError as error:
        raise ConfigError(f"universe.file: {path}: {error}") from error
