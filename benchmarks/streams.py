"""How fast events come through the gateway: rate, latency and memory, beside what the client gives by itself.

    python benchmarks/streams.py [--part rate|latency|memory|bars|kafka|job] [--events 400000] [--long 2000000]

A server in a process of its own speaks Alpaca's data stream (msgpack, quotes of 20 symbols, so many rows a message)
as fast as it is taken, or at a given rate. Rates are per second of this process's CPU time, so that they hold on a
machine with other work; the wall-clock rate stands beside them. Client: alpaca-py's own StockDataStream with a handler
that counts, raw and as its models. Latency: from the moment the server sends to the moment the subscriber has the
event (both processes, kernel and wait for a core included); from the socket (frame received) to the subscriber; and the
same in this process's CPU time, without the wait for a core that other work has.

Kafka: librdkafka's own brokers in a process of their own, one topic with four partitions; so many quotes a publication,
each of which waits until it is stored. Beside it the client by itself: a message of 65 bytes for each event, of which
nothing is encoded, stored one by one or read. CPU time is of the whole process, the client's threads included.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

SYMBOLS = [f"S{number:02d}" for number in range(20)]
ROWS = (1, 10, 100)
RATE = 10_000
"""Events a second of the latency part: a fifth of the rate that is asked for."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=list(PARTS), help="one part alone; all by default")
    parser.add_argument("--events", type=int, default=400_000, help="of each measurement of rate")
    parser.add_argument("--long", type=int, default=2_000_000, help="of the measurement of memory")
    parser.add_argument("--serve", choices=["alpaca", "kafka"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run({"alpaca": serve, "kafka": serve_kafka}[options.serve]())
        return
    os.environ.update(ALPACA_API_KEY="key", ALPACA_SECRET_KEY="secret")
    for name in [options.part] if options.part else PARTS:
        PARTS[name](options)


# --- the parts


def rate(options: Any) -> None:
    print(f"\nRate, {options.events:,} quotes over loopback{'':12}{'events/s of CPU':>18}{'events/s of wall':>18}")
    with server() as address:
        for rows in ROWS:
            url = f"{address}/v2/iex?rows={rows}&events={options.events}"
            for what, work in (
                ("gateway to subscriber", gateway(url, options.events)),
                ("alpaca-py, raw", client(url, options.events, raw=True)),
                ("alpaca-py, models", client(url, options.events, raw=False)),
            ):
                wall, cpu = time.perf_counter(), time.process_time()
                asyncio.run(work)
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                name = f"{what}, {rows} a message"
                print(f"  {name:46}{options.events / cpu:>18,.0f}{options.events / wall:>18,.0f}", flush=True)


def latency(options: Any) -> None:
    load = f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    print(f"\nLatency at {RATE:,} events/s, us ({load}){'':6}{'p50':>9}{'p90':>9}{'p99':>9}{'p99.9':>9}{'max':>9}")
    events = min(options.events, 50_000)
    with server() as address:
        for rows in ROWS[:2]:
            url = f"{address}/v2/iex?rows={rows}&events={events}&rate={RATE}"
            wall: list[tuple[int, int]] = []
            own: list[tuple[int, int]] = []
            asyncio.run(gateway(url, events, seen=wall))
            asyncio.run(gateway(url, events, seen=own, clock=CpuClock()))
            for what, took in (
                ("sent to subscriber", sorted(total for total, _ in wall)),
                ("socket to subscriber", sorted(part for _, part in wall)),
                ("socket to subscriber, of CPU", sorted(part for _, part in own)),
            ):
                figures = "".join(f"{took[int(len(took) * part)]:>9,}" for part in (0.5, 0.9, 0.99, 0.999))
                print(f"  {what + f', {rows} a message':51}{figures}{took[-1]:>9,}", flush=True)


def memory(options: Any) -> None:
    print(f"\nMemory over {options.long:,} events, 100 a message{'':6}{'MiB':>10}")
    marks: list[tuple[int, float]] = []
    with server() as address:
        asyncio.run(gateway(f"{address}/v2/iex?rows=100&events={options.long}", options.long, marks=marks))
    for events, mebibytes in marks:
        print(f"  after {events:>12,}{mebibytes:>30,.1f}")


def bars(options: Any) -> None:
    from resources.streams.aggregation import BarMaker
    from resources.streams.base import Trade

    start = 1_700_000_000_000_000
    trades = [
        Trade(SYMBOLS[at % 20], start + at * 2_000, 100 + at % 7 * 0.01, 1.0, sequence=at + 1)
        for at in range(options.events)
    ]
    maker, cpu, told = BarMaker("1m"), time.process_time(), 0
    for at in range(0, len(trades), 100):
        told += len(maker.add(trades[at : at + 100]))
    cpu = time.process_time() - cpu
    print(
        f"\nBars of 1m from {options.events:,} trades, {told} bars{'':14}{options.events / cpu:>18,.0f} trades/s of CPU"
    )


def kafka(options: Any) -> None:
    print(f"\nKafka, quotes over loopback{'':31}{'events/s of CPU':>18}{'events/s of wall':>18}")
    with server("kafka") as address:
        from confluent_kafka import Producer

        maker = Producer({"bootstrap.servers": address})
        for rows in (10, 100, 1000):
            for name in ("quotes", "both"):
                maker.list_topics(f"{name}-{rows}", timeout=10)  # these brokers make a topic that a producer asks about
            events = min(options.events, 100_000 if rows == 10 else 300_000)  # the brokers keep 5 MB a partition
            for what, work in (
                ("publish", publish(address, f"quotes-{rows}", events, rows)),
                ("read", read(address, f"quotes-{rows}", events)),
                ("both at once", both(address, f"both-{rows}", events, rows)),
            ):
                wall, cpu = time.perf_counter(), time.process_time()
                asyncio.run(work)
                say(f"{what}, {rows} a publication", events, wall, cpu)
        events = min(options.events, 200_000)
        for what, alone in (("producer", produce), ("consumer", consume)):
            wall, cpu = time.perf_counter(), time.process_time()
            alone(address, events)
            say(f"confluent-kafka, {what} alone", events, wall, cpu)


def job(options: Any) -> None:
    from streams_job import job as an_hour

    an_hour(options)


def say(what: str, events: int, wall: float, cpu: float) -> None:
    """A line of the table; from when on, by both clocks."""
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(f"  {what:56}{events / cpu:>18,.0f}{events / wall:>18,.0f}", flush=True)


PARTS = {"rate": rate, "latency": latency, "memory": memory, "bars": bars, "kafka": kafka, "job": job}


# --- who takes


class CpuClock:
    """This process's CPU time: what it would take with a core of its own."""

    def now(self) -> int:
        return time.process_time_ns() // 1000

    async def wait(self, seconds: float) -> None:
        raise NotImplementedError("it stamps, and nobody waits by it")


async def gateway(
    url: str,
    events: int,
    *,
    seen: list[tuple[int, int]] | None = None,
    marks: list[tuple[int, float]] | None = None,
    clock: CpuClock | None = None,
) -> None:
    from resources.streams.base import Line, Lost, Quote
    from resources.streams.gateway import Gateway
    from resources.streams.sources.alpaca import AlpacaStream

    gc.collect()
    gc.freeze()  # as a long-running job should: else all that is imported is looked through now and then, for 0.1 s
    count, now, step = 0, time.time_ns, max(1, events // 8)
    stamped = now if clock is None else time.process_time_ns
    async with Gateway(AlpacaStream("iex", url=url, clock=clock), queue=events) as running:
        batches = running.events()
        await running.subscribe([Line(symbol, "quote") for symbol in SYMBOLS])
        async for batch in batches:
            if seen is None:
                count += len(batch.events)
            else:
                at, own = now() // 1000, stamped() // 1000
                rows = [event for event in batch.events if type(event) is Quote]
                seen += [(at - event.ts, own - event.received) for event in rows]
                count += len(rows)
            if marks is not None and count // step > len(marks):
                marks.append((count, resident()))
            if count >= events:
                break
        await batches.aclose()
    lost = [event for event in batch.events if isinstance(event, Lost)]
    assert not lost, lost
    assert running.counts["delivered"] == events, running.counts


async def client(url: str, events: int, *, raw: bool) -> None:
    from alpaca.data.live import StockDataStream

    stream = StockDataStream("key", "secret", raw_data=raw, url_override=url)
    count, over = 0, asyncio.Event()

    async def handler(_: Any) -> None:
        nonlocal count
        count += 1
        if count == events:
            over.set()

    stream.subscribe_quotes(handler, *SYMBOLS)
    running = asyncio.create_task(stream._run_forever())
    await over.wait()
    running.cancel()
    await asyncio.wait([running])
    await stream.close()


async def publish(address: str, topic: str, events: int, rows: int) -> None:
    from resources.streams.base import Quote
    from resources.streams.carriers.kafka import Kafka
    from resources.streams.carriers.kafka_client import Topic

    carrier, start = Kafka(Topic(address, topic)), time.time_ns() // 1000
    for at in range(0, events, rows):
        await carrier.publish(
            [
                Quote(SYMBOLS[number % 20], start + number, 100.25, 1.0, 100.27, 2.0, number, start + number)
                for number in range(at, min(at + rows, events))
            ]
        )
    await carrier.close()
    assert carrier.counts == {"stored": events}, carrier.counts


async def read(address: str, topic: str, events: int) -> None:
    """Each event must come once, in order of its symbol."""
    from resources.streams.base import Quote
    from resources.streams.carriers.kafka import Kafka
    from resources.streams.carriers.kafka_client import Topic

    carrier, count, last = Kafka(Topic(address, topic)), 0, dict.fromkeys(SYMBOLS, -1)
    batches = carrier.subscribe(since="earliest")
    while count < events:
        batch = await anext(batches)
        count += len(batch.events)
        for event in batch.events:
            assert isinstance(event, Quote), event
            assert event.sequence > last[event.symbol], event
            last[event.symbol] = event.sequence
    await batches.aclose()
    assert count == events, (count, events)
    await carrier.close()


async def both(address: str, topic: str, events: int, rows: int) -> None:
    await asyncio.gather(read(address, topic, events), publish(address, topic, events, rows))


def produce(address: str, events: int) -> None:
    from confluent_kafka import Producer

    options = {"enable.idempotence": True, "compression.type": "lz4", "delivery.report.only.error": True}
    producer = Producer({"bootstrap.servers": address, **options})
    data = b"x" * 65
    for number in range(events):
        while True:
            try:
                producer.produce("alone", data, key=SYMBOLS[number % 20])
                break
            except BufferError:
                producer.poll(0.01)
    assert producer.flush(60) == 0


def consume(address: str, events: int) -> None:
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": address, "group.id": "none", "auto.offset.reset": "error"})
    consumer.assign([TopicPartition("alone", partition, 0) for partition in range(4)])
    count = 0
    while count < events:
        for message in consumer.consume(500, 0.1):
            assert message.error() is None, message.error()
            count += 1
    consumer.close()


def resident() -> float:
    """MiB that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


# --- who gives


@contextmanager
def server(kind: str = "alpaca") -> Iterator[str]:
    """The address of a server in a process of its own."""
    command = [sys.executable, __file__, "--serve", kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


async def serve() -> None:
    from urllib.parse import parse_qsl, urlsplit

    import msgpack
    from websockets.asyncio.server import serve as listen

    async def handle(connection: Any) -> None:
        await connection.send(msgpack.packb([{"T": "success", "msg": "connected"}]))
        await connection.recv()
        await connection.send(msgpack.packb([{"T": "success", "msg": "authenticated"}]))
        await connection.recv()
        await connection.send(msgpack.packb([{"T": "subscription", "quotes": SYMBOLS}]))
        asked = {name: int(text) for name, text in parse_qsl(urlsplit(connection.request.path).query)}
        rows, events, a_second = asked["rows"], asked["events"], asked.get("rate", 0)
        began, pack = time.perf_counter(), packer()
        for at in range(0, events, rows):
            if a_second and (ahead := began + at / a_second - time.perf_counter()) > 0:
                await asyncio.sleep(ahead)
            await connection.send(pack(at, min(rows, events - at)))
        await connection.wait_closed()

    async with listen(handle, "127.0.0.1", 0, compression=None, ping_interval=None) as made:
        print(f"ws://127.0.0.1:{made.sockets[0].getsockname()[1]}", flush=True)
        await asyncio.Future()


async def serve_kafka() -> None:
    from confluent_kafka import Producer

    brokers = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "", "log_level": 0})
    (broker,) = brokers.list_topics(timeout=10).brokers.values()
    print(f"{broker.host}:{broker.port}", flush=True)
    await asyncio.Future()


def packer() -> Any:
    """A function that writes a message of `count` quotes from number `first` on, stamped with the time."""
    import msgpack

    ends = []
    for symbol in SYMBOLS:
        row = {"T": "q", "S": symbol, "bx": "V", "bp": 100.25, "ax": "V", "ap": 100.27, "as": 200, "c": ["R"],
               "z": "C", "bs": 0, "t": 0}  # fmt: skip
        # What changes is written by hand: the size, and the stamp of nanoseconds and seconds.
        ends.append(msgpack.packb(row)[: -len(b"\xa2bs\x00\xa1t\x00")])
    end = struct.Struct(">3scI2scbQ").pack

    def pack(first: int, count: int) -> bytes:
        now = time.time_ns()
        stamp = (now % 10**9) << 34 | now // 10**9
        rows = [
            ends[at % 20] + end(b"\xa2bs", b"\xce", at, b"\xa1t", b"\xd7", -1, stamp)
            for at in range(first, first + count)
        ]
        return b"\xdc" + struct.pack(">H", count) + b"".join(rows)

    return pack


if __name__ == "__main__":
    main()
