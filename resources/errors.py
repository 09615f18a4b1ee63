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


class NotOfferedError(ProviderError):
    """The provider has no such data, or not at this timeframe; the message names what it does have."""


class AccessDeniedError(ProviderError):
    """The provider refused the keys, or the account may not see this data."""


class NoDataError(ProviderError):
    """The provider knows the symbol and holds no rows for the asked dates."""


class RateLimitedError(ProviderError):
    """The provider refused because of too many requests; `retry_after` seconds is what it asked for, if it did."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ProviderTimeoutError(ProviderError):
    """The provider did not answer in time."""


class BadAnswerError(ProviderError):
    """The provider answered with something that is not its documented format (an HTML page, cut JSON)."""
