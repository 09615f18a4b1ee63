"""How long a gateway waits for what."""

from __future__ import annotations

from dataclasses import dataclass, field

from resources.streams.base import Kind


@dataclass(frozen=True, slots=True)
class Patience:
    """In seconds.

    silence: a connection on which nothing came for so long is dropped and made again; twice as long each time that
    this brought nothing, up to `longest_silence`. stale: a line that is quiet for so long, by kind, is told by Status.
    connect: for a connection or a subscription to be acknowledged. close: for the carrier to take the last events.
    reconnect: before the second try, doubled with each, up to `longest_reconnect`. slack, margin: see Watch.connected.
    repair_delay, repair_pauses: see Repairer.
    """

    silence: float = 30.0
    longest_silence: float = 600.0
    stale: dict[Kind, float] = field(default_factory=dict)
    connect: float = 30.0
    close: float = 30.0
    reconnect: float = 0.5
    longest_reconnect: float = 30.0
    slack: float = 1.0
    margin: float = 60.0
    repair_delay: float = 2.0
    repair_pauses: tuple[float, ...] = (2, 10, 30, 120, 600)
