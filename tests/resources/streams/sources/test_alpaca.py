"""Alpaca's words in ours, where the loopback venue does not say them."""

from __future__ import annotations

import asyncio
from typing import Any

import msgpack
import pytest
import websockets

from resources.errors import AccessDeniedError, ConfigError, NotOfferedError, ProviderError, UnknownSymbolError
from resources.streams.base import Line
from resources.streams.sources.alpaca import SIZES_IN_SHARES, AlpacaStream, _check, _quote, _refusal
from tests.resources.streams.gateways import played


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


@played
async def test_rows_before_the_acknowledgement_come_first_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALPACA_API_KEY", "key")
    monkeypatch.setenv("ALPACA_SECRET_KEY", "secret")
    trade = {"T": "t", "S": "AAPL", "i": 1, "p": 10.0, "s": 1, "t": msgpack.Timestamp(1_704_722_400, 0), "c": []}
    accepted = {"T": "subscription", "trades": ["AAPL"], "quotes": [], "bars": []}

    async def venue(client: Any) -> None:
        for answer in ([{"T": "success", "msg": "connected"}], [{"T": "success", "msg": "authenticated"}]):
            await client.send(msgpack.packb(answer))
            await client.recv()
        await client.send(msgpack.packb([trade]))
        await client.send(msgpack.packb([accepted]))
        await client.wait_closed()

    async with websockets.serve(venue, "127.0.0.1", 0) as server:
        stream = AlpacaStream("iex", url=f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await asyncio.wait_for(stream.connect([Line("AAPL", "trade")]), 20)
        assert [event.symbol for event in await stream.receive()] == ["AAPL"]
        await stream.close()
