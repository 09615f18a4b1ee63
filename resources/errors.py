"""The errors a user meets. Each names who, where and what is wrong, and how to mend it."""

from __future__ import annotations


class QuantError(Exception):
    """Base of every error this project raises on purpose."""


class ConfigError(QuantError):
    """A configuration file names a field that is missing, unknown or out of bounds."""


class MissingSecretError(QuantError):
    """A key that a provider or broker needs is not in the environment."""


class BarSchemaError(QuantError):
    """Rows that are not market data: wrong columns, prices, order, keys or dates."""


class LakeError(QuantError):
    """The lake cannot read or write a partition."""


class ProviderError(QuantError):
    """A market-data provider did not give a usable answer."""


class UnknownSymbolError(ProviderError):
    """The provider does not know a symbol."""


class NoDataError(ProviderError):
    """The provider knows the symbol and holds no rows for the asked dates."""


class RateLimitedError(ProviderError):
    """The provider refused because of too many requests."""


class ProviderTimeoutError(ProviderError):
    """The provider did not answer in time."""


class BadAnswerError(ProviderError):
    """The provider answered with something that is not its documented format (an HTML page, cut JSON)."""
