"""A Kafka cluster for the tests of its carrier."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.venues.kafka import KafkaCluster


@pytest.fixture
def cluster() -> Iterator[KafkaCluster]:
    """One broker, with a topic "t" of three partitions."""
    with KafkaCluster() as made:
        made.create("t", 3)
        yield made
