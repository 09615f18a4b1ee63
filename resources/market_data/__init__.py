"""Market data: the providers, and the one and the universe that a configuration names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from resources.config import Settings, check_symbols
from resources.config_providers import (
    AlpacaSettings,
    BinanceSettings,
    FilesSettings,
    InteractiveBrokersSettings,
    SampleSettings,
    SyntheticSettings,
    YahooSettings,
)
from resources.errors import ConfigError
from resources.market_data.alpaca import Alpaca
from resources.market_data.base import Provider
from resources.market_data.binance import Binance
from resources.market_data.files import Files
from resources.market_data.files.tables import SUFFIXES
from resources.market_data.ib import InteractiveBrokers
from resources.market_data.sample import Sample
from resources.market_data.synthetic import Synthetic
from resources.market_data.yahoo import Yahoo

__all__ = [
    "Alpaca",
    "Binance",
    "Files",
    "InteractiveBrokers",
    "Provider",
    "Sample",
    "Synthetic",
    "Yahoo",
    "create",
    "universe",
]

SHARES, ALWAYS = "XNYS", "24/7"
"""The calendar of Alpaca's shares where the installation's own is that of its crypto."""


def create(settings: Settings) -> Provider:
    """The provider that the configuration names. Nothing is read or connected yet.

    Raises MissingSecretError where its keys are not in the environment.
    """
    provider, exclude = settings.provider, settings.cleaning.exclude
    match provider:
        case SampleSettings():
            return Sample(exclude)
        case SyntheticSettings():
            return Synthetic(provider.seed, exclude=exclude)
        case YahooSettings():
            return Yahoo(provider.timeout_seconds, exclude=exclude, calendar=settings.calendar)
        case AlpacaSettings():
            return Alpaca(
                provider.feed,
                provider.paper,
                exclude=exclude,
                calendar=SHARES if settings.calendar == ALWAYS else settings.calendar,
                delay_minutes=provider.delay_minutes,
                requests_per_minute=provider.requests_per_minute,
                timeout_seconds=provider.timeout_seconds,
            )
        case BinanceSettings():
            return Binance(provider.timeout_seconds, exclude=exclude)
        case InteractiveBrokersSettings():
            return InteractiveBrokers(
                provider.host,
                provider.port,
                provider.client_id,
                timeout_seconds=provider.timeout_seconds,
                exclude=exclude,
            )
        case FilesSettings():
            return _files(provider, settings)


def _files(provider: FilesSettings, settings: Settings) -> Files:
    return Files(
        provider.path,
        settings.cleaning.exclude,
        provider.sectors,
        settings.calendar,
        instruments=provider.instruments,
        quotes=provider.quotes,
        trades=provider.trades,
        actions=provider.actions,
    )


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
        if not isinstance(settings.provider, FilesSettings):
            raise ConfigError("universe.symbols: all works with provider files only; for example [AAPL, MSFT]")
        provider = _files(settings.provider, settings)
        for symbol in provider.symbols():
            try:
                check_symbols([symbol])
            except ValueError as error:
                raise ConfigError(
                    f"provider.path: {_file_with(settings.provider, settings, symbol)}: {error}. Rename it there, or "
                    "list the symbols wanted under universe.symbols, for example [AAPL, MSFT]"
                ) from error
        return provider.symbols()
    return list(asked.symbols or [])


def _file_with(provider: FilesSettings, settings: Settings, symbol: str) -> Path:
    """The first of the provider's files that holds a symbol, the folder where none does by itself."""
    for file in sorted(provider.path.iterdir()) if provider.path.is_dir() else []:
        others = (provider.sectors, provider.instruments, provider.actions, provider.quotes, provider.trades)
        if file.suffix.lower() in SUFFIXES and file not in others:
            part = Files(file, settings.cleaning.exclude, calendar=settings.calendar)
            if symbol in part.symbols():
                return file
    return provider.path


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
