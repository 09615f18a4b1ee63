"""A topic of a Kafka cluster, and how its clients are made: settings, secrets, errors."""

from __future__ import annotations

import importlib.util
import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from resources.errors import ConfigError, MissingSecretError, QuantError

LOG = logging.getLogger(__name__)

STEP = 0.2
"""So often, in seconds, one who waits for a broker looks whether he still should."""

Security = Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"]
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
Compression = Literal["none", "lz4", "zstd"]

USER, PASSWORD = "KAFKA_USERNAME", "KAFKA_PASSWORD"


class CarrierError(QuantError):
    """Kafka cannot be reached, refuses, or no longer takes this publisher's events; the message says which."""


@dataclass(frozen=True, slots=True)
class Topic:
    """Where events are kept. The topic is made by whoever runs the cluster; its partitions must not change in use.

    servers: "host:port" of one or more brokers, by commas. security, mechanism: with sasl_* name and password are
    KAFKA_USERNAME and KAFKA_PASSWORD of the environment. ca_file: of the certificate that signed the brokers'.
    compression: of what is sent. connect: seconds within which a broker must answer at first. outage: seconds for
    which a publisher waits for its events to be stored, before it gives up.

    Raises ConfigError.
    """

    servers: str = "localhost:9092"
    name: str = "market"
    security: Security = "plaintext"
    mechanism: Mechanism = "SCRAM-SHA-512"
    ca_file: str = ""
    compression: Compression = "lz4"
    connect: float = 10.0
    outage: float = 600.0

    def __post_init__(self) -> None:
        for field in ("servers", "name"):
            if not getattr(self, field).strip():
                raise ConfigError(f"Topic.{field} is empty; give it a value, such as {_example(field)!r}")
        for field in ("connect", "outage"):
            if not 0 < getattr(self, field) <= 86_400:
                raise ConfigError(f"Topic.{field} is {getattr(self, field)}; it must be above 0 and at most 86400 s")
        for field, allowed in (("security", Security), ("mechanism", Mechanism), ("compression", Compression)):
            if getattr(self, field) not in get_args(allowed):
                choices = ", ".join(get_args(allowed))
                raise ConfigError(f"Topic.{field} is {getattr(self, field)!r}; it is one of {choices}")


def _example(field: str) -> str:
    return str(Topic.__dataclass_fields__[field].default)


class Trouble:
    """What librdkafka says went wrong with the brokers, until it is taken. Called from a client's own thread."""

    def __init__(self) -> None:
        self.last = ""
        self.down = ""
        self.denied = ""

    def __call__(self, error: Any) -> None:
        from confluent_kafka import KafkaError

        if error.code() == KafkaError._ALL_BROKERS_DOWN:
            self.down = error.str()
            self.last = self.last or self.down  # another error says why
            return
        self.last = error.str()
        if error.code() in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED):
            self.denied = self.last


def options(topic: Topic, trouble: Trouble) -> dict[str, Any]:
    """What both kinds of client need. Raises ConfigError where there is no such ca_file, MissingSecretError, and
    CarrierError where the client is not installed."""
    if importlib.util.find_spec("confluent_kafka") is None:
        raise CarrierError("Kafka needs the package confluent-kafka; install it: pip install 'quant-assets[kafka]'")
    made: dict[str, Any] = {
        "bootstrap.servers": topic.servers,
        "security.protocol": topic.security,
        "error_cb": trouble,
        "logger": LOG,
        "log_level": 2,  # it logs each failure to connect; `trouble` hears of them, and we log what matters
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 500,
    }
    if topic.ca_file:
        if not Path(topic.ca_file).is_file():
            raise ConfigError(f"Topic.ca_file is {topic.ca_file!r}, and there is no such file")
        made["ssl.ca.location"] = topic.ca_file
    if topic.security.startswith("sasl"):
        missing = [name for name in (USER, PASSWORD) if not os.environ.get(name)]
        if missing:
            raise MissingSecretError(f"Kafka with {topic.security} needs {' and '.join(missing)} in the environment")
        made["sasl.mechanism"] = topic.mechanism
        made["sasl.username"], made["sasl.password"] = os.environ[USER], os.environ[PASSWORD]
    return made


def partitions(client: Any, topic: Topic, trouble: Trouble) -> int:
    """How many partitions the topic has. Raises CarrierError where no broker answers, or the topic is not there."""
    from confluent_kafka import KafkaException

    began = time.monotonic()
    while True:
        left = topic.connect - (time.monotonic() - began)
        if left <= 0 or trouble.denied:
            raise unreachable(topic, trouble, topic.connect)
        try:
            about = client.list_topics(topic.name, timeout=min(left, STEP)).topics[topic.name]
        except KafkaException as error:
            client.poll(0)  # else the brokers' own errors are not told
            trouble.last = trouble.last or error.args[0].str()
            continue
        if about.partitions and about.error is None:
            return len(about.partitions)
        raise CarrierError(
            f"Kafka at {topic.servers} has no topic {topic.name!r} ({about.error}); make it: "
            f"kafka-topics.sh --create --topic {topic.name} --partitions 8 --bootstrap-server {topic.servers}"
        )


def unreachable(topic: Topic, trouble: Trouble, seconds: float) -> CarrierError:
    """No broker answered for so long."""
    if trouble.denied:
        return CarrierError(
            f"Kafka at {topic.servers} refuses {USER} or {PASSWORD}: {trouble.denied}; mend them in the environment"
        )
    return CarrierError(
        f"no Kafka broker at {topic.servers} answered within {seconds:g} s ({trouble.last or 'no reason was told'}); "
        f"start it, or mend Topic.servers"
    )
