"""A Kafka cluster on loopback: librdkafka's own mock brokers, which speak the real protocol, with their controls.

The Python client has the brokers inside but not their controls; these are called in the library itself. The brokers
keep 5 MB and 100,000 batches of a partition. They do not look at the sequence numbers of an idempotent producer, so
that a batch that is sent again (since its acknowledgement was lost) is stored twice.
"""

from __future__ import annotations

import ctypes
import time
from types import TracebackType
from typing import Any, Self

PRODUCE, FETCH = 0, 1
"""Requests, by their number in Kafka's protocol."""

UNKNOWN_TOPIC, NOT_LEADER, MESSAGE_TOO_LARGE = 3, 6, 10
"""Errors, by theirs."""

MANY = 10_000
"""More requests than a test makes."""

_PRODUCER = 0  # of librdkafka's two kinds of client


class KafkaCluster:
    """Brokers that can be taken down, brought back, and made to let go of messages. A context manager."""

    def __init__(self, brokers: int = 1) -> None:
        self._count = brokers
        self._lib: Any = None
        self._client = self._cluster = ctypes.c_void_p()
        self.servers = ""

    def __enter__(self) -> Self:
        from confluent_kafka import cimpl

        self._lib = lib = ctypes.CDLL(cimpl.__file__)
        for made in (lib.rd_kafka_conf_new, lib.rd_kafka_new, lib.rd_kafka_mock_cluster_new):
            made.restype = ctypes.c_void_p
        lib.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
        lib.rd_kafka_mock_get_requests.restype = ctypes.POINTER(ctypes.c_void_p)
        lib.rd_kafka_mock_request_api_key.restype = ctypes.c_int16
        why = ctypes.create_string_buffer(512)
        options = ctypes.c_void_p(lib.rd_kafka_conf_new())
        lib.rd_kafka_conf_set(options, b"log_level", b"0", why, ctypes.c_size_t(len(why)))
        client = lib.rd_kafka_new(_PRODUCER, options, why, ctypes.c_size_t(len(why)))
        assert client, why.value
        self._client = ctypes.c_void_p(client)
        self._cluster = ctypes.c_void_p(lib.rd_kafka_mock_cluster_new(self._client, self._count))
        assert self._cluster
        self.servers = lib.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lib.rd_kafka_mock_cluster_destroy(self._cluster)
        self._lib.rd_kafka_destroy(self._client)

    def create(self, topic: str, partitions: int) -> None:
        self._done(self._lib.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1))

    def down(self) -> None:
        """All brokers go away: connections are cut, and none is taken."""
        for broker in range(1, self._count + 1):
            self._done(self._lib.rd_kafka_mock_broker_set_down(self._cluster, broker))

    def up(self) -> None:
        """They are back, with what they had."""
        for broker in range(1, self._count + 1):
            self._done(self._lib.rd_kafka_mock_broker_set_up(self._cluster, broker))

    def let_go(self, topic: str, partition: int, before: int) -> None:
        """Delete the messages before this offset, as retention does."""
        offset = ctypes.c_int64(before)
        self._done(self._lib.rd_kafka_mock_partition_delete_records(self._cluster, topic.encode(), partition, offset))

    def refuse(self, request: int, code: int, times: int) -> None:
        """Answer the next so many requests of this kind with an error; they do nothing.

        A kind that was once refused like this, or answered late, is no longer refused by `refuse_all`.
        """
        for _ in range(times):
            self._push(request, code, 0)

    def answer_late(self, request: int, milliseconds: int) -> None:
        """The next request of this kind is done at once, and answered so much later."""
        self._push(request, 0, milliseconds)

    def refuse_all(self, request: int, code: int) -> None:
        """Refuse requests of this kind until `take_again`; returns when one was."""
        codes = (ctypes.c_int * MANY)(*[code] * MANY)
        kind, count = ctypes.c_int16(request), ctypes.c_size_t(MANY)
        self._lib.rd_kafka_mock_push_request_errors_array(self._cluster, kind, count, codes)
        self._lib.rd_kafka_mock_start_request_tracking(self._cluster)
        while request not in self._asked():
            time.sleep(0.001)
        self._lib.rd_kafka_mock_stop_request_tracking(self._cluster)

    def take_again(self, request: int) -> None:
        self._lib.rd_kafka_mock_clear_request_errors(self._cluster, ctypes.c_int16(request))

    def _asked(self) -> list[int]:
        """The kinds of the requests that came since they are tracked."""
        count = ctypes.c_size_t()
        requests = self._lib.rd_kafka_mock_get_requests(self._cluster, ctypes.byref(count))
        kinds = [self._lib.rd_kafka_mock_request_api_key(ctypes.c_void_p(requests[at])) for at in range(count.value)]
        if requests:
            self._lib.rd_kafka_mock_request_destroy_array(requests, count)
        return kinds

    def refuse_topic(self, topic: str, code: int) -> None:
        self._lib.rd_kafka_mock_topic_set_error(self._cluster, topic.encode(), code)

    def _push(self, request: int, code: int, milliseconds: int) -> None:
        push = self._lib.rd_kafka_mock_broker_push_request_error_rtts
        for broker in range(1, self._count + 1):
            one, kind = ctypes.c_size_t(1), ctypes.c_int16(request)
            self._done(push(self._cluster, broker, kind, one, ctypes.c_int(code), ctypes.c_int(milliseconds)))

    @staticmethod
    def _done(code: int) -> None:
        assert code == 0, f"librdkafka answered {code}"
