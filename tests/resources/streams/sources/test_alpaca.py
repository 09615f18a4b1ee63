"""Alpaca's words in ours, where the loopback venue does not say them."""

from __future__ import annotations

from typing import Any

import pytest

from resources.errors import AccessDeniedError, ConfigError, NotOfferedError, ProviderError, UnknownSymbolError
from resources.streams.base import Line
from resources.streams.sources.alpaca import SIZES_IN_SHARES, AlpacaStream, _check, _quote, _refusal


def said(**more: Any) -> dict[str, Any]:
    row = {"T": "q", "S": "AAPL", "t": SIZES_IN_SHARES * 1000, "bp": 1.5, "bs": 3, "ap": 1.6, "as": 4}
    return row | more


@pytest.mark.parametrize(
    ("row", "crypto", "sides"),
    [
        (said(), False, (1.5, 3.0, 1.6, 4.0)),
        (said(t=SIZES_IN_SHARES * 1000 - 1), False, (1.5, 300.0, 1.6, 400.0)),  # in round lots before that day
        (said(t=SIZES_IN_SHARES * 1000 - 1), True, (1.5, 3.0, 1.6, 4.0)),
        (said(bp=0, bs=0), False, (None, 0.0, 1.6, 4.0)),
        (said(ap=0), False, (1.5, 3.0, None, 4.0)),
    ],
)
def test_quotes(row: dict[str, Any], crypto: bool, sides: tuple[float | None, ...]) -> None:
    (quote,) = _quote(row, crypto, 7)
    assert quote[2:6] == sides
    assert (quote.ts, quote.received) == (row["t"] // 1000, 7)


def test_a_quote_without_sides_is_none() -> None:
    assert _quote(said(bp=0, ap=0), False, 7) == ()


def test_what_is_not_in_the_acknowledgement_is_unknown() -> None:
    lines = [Line("AAPL", "trade"), Line("AAPL", "quote"), Line("NOPE", "quote")]
    with pytest.raises(UnknownSymbolError, match="alpaca does not stream NOPE"):
        _check({"T": "subscription", "trades": ["AAPL"], "quotes": ["AAPL"]}, lines)


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        ("auth failed", 0, AccessDeniedError),
        ("insufficient subscription", 409, AccessDeniedError),
        ("symbol limit exceeded", 405, NotOfferedError),
        ("connection limit exceeded", 406, ProviderError),
    ],
)
def test_refusals(words: str, code: int, error: type[ProviderError]) -> None:
    assert type(_refusal("alpaca iex", words, code)) is error


def test_an_unknown_feed_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"streams\.feed"):
        AlpacaStream("otc")
