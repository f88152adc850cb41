"""Replay: have the topic read again from a time or an offset. Reading twice is harmless (DESIGN I1), so it is safe."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from core.errors import ConfigurationError, InvalidRequest
from core.settings import Settings
from core.store import Store
from ingest.kafka import offsets_from


@dataclass(frozen=True)
class Rewound:
    """A partition that will be read again from `start`; it had been read up to `reached`."""

    partition: int
    start: int
    reached: int


def replay_topic(settings: Settings, store: Store, start: datetime | int) -> list[Rewound]:
    """Set every partition back to the first message at or after `start`, a time or an offset.

    Consumers that run notice within seconds and go on from there; others do when they start. Partitions that hold
    nothing so late, or were never read that far, stay as they are. An offset that the log no longer holds means its
    oldest message. Raises InvalidRequest for a negative offset or a time without a zone, BrokerUnavailable,
    DatabaseUnavailable.
    """
    if settings.kafka_bootstrap is None:
        raise ConfigurationError("no Kafka to replay from: set HEADWATER_KAFKA_BOOTSTRAP, or run `headwater up`")
    if isinstance(start, datetime) and start.tzinfo is None:
        raise InvalidRequest(f"{start.isoformat()} has no time zone: write {start.isoformat()}Z")
    if isinstance(start, int) and start < 0:
        raise InvalidRequest(f"there is no offset {start}: the first one is 0")
    topic_id, offsets = offsets_from(settings.kafka_bootstrap, settings.topic, settings.topic_partitions, start)
    rewound = []
    for _, stored_id, partition, reached in store.dead_letters.positions():
        offset = offsets.get(partition)
        if stored_id == topic_id and offset is not None and offset < reached:
            store.events.rewind(settings.topic, topic_id, partition, offset)
            rewound.append(Rewound(partition, offset, reached))
    return sorted(rewound, key=lambda one: one.partition)
