"""One user through everything, erased, and then looked for everywhere (DESIGN I7)."""

from __future__ import annotations

import io
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import sqlalchemy as sa
from kafka import KafkaConsumer
from safetensors.numpy import load_file

from core.bus import Bus, Message
from core.events import UserChanged, encode, partition_key
from core.progress import Silent
from core.store import Store
from features.export import everything_of, write_export
from features.snapshot import take_snapshot
from jobs.context import job_context
from jobs.train import train
from tests.serving.world import USERS, World, eventually, ingesting

GONE = "gone-person-4711"
PATH = f"/v1/users/{GONE}/recommendations"
OLD, RECENT = datetime(2026, 1, 20, tzinfo=UTC), datetime(2026, 3, 5, tzinfo=UTC)
STEPS = 12


def rows_naming(store: Store, name: str) -> dict[str, int]:
    """By table, of all there are in the database: rows in which the name occurs, as text, as bytes, or within JSON."""
    tables = sa.text(
        "SELECT schemaname || '.' || tablename FROM pg_tables WHERE schemaname !~ '^(pg_|information_schema)'"
    )
    found = "strpos(one::text, '{name}') > 0 OR strpos(one::text, encode('{name}', 'hex')) > 0"
    naming = f"SELECT count(*) FROM {{table}} AS one WHERE {found}"
    with store.database.begin() as connection:
        every = connection.execute(tables).scalars().all()
        assert len(every) > 15
        counts = {one: connection.execute(sa.text(naming.format(table=one, name=name))).scalar_one() for one in every}
    return {table.split(".")[1]: count for table, count in counts.items() if count}


def files_naming(folder: Path, name: str) -> list[str]:
    """Files in which the name occurs, in any encoding that arrays have, and within Parquet's compression."""
    spelled = [name.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-32-le")]
    found = []
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            content = file.read_bytes()
            if file.suffix == ".parquet":
                content += repr(pq.read_table(file).to_pydict()).encode()
            if any(one in content for one in spelled):
                found.append(str(file.relative_to(folder)))
    return found


def arrays(folder: Path) -> list[tuple[int, ...]]:
    """Shapes of all arrays in the artifacts."""
    plain = [np.load(file, allow_pickle=False).shape for file in folder.rglob("*.npy")]
    return plain + [one.shape for file in folder.rglob("*.safetensors") for one in load_file(file).values()]


def live(world: World, client: httpx.Client) -> None:
    """The user's whole life: attributes, old and new interactions, lists that were shown, messages that went wrong."""
    path = [f"i{n}" for n in range(0, 2 * STEPS, 2)]
    times = [OLD if n < 3 else RECENT for n in range(len(path))]
    events: list[dict[str, Any]] = [
        {"id": f"{GONE}-{n}", "type": "interaction.view", "time": at.isoformat(), "data": {"user": GONE, "item": one}}
        for n, (one, at) in enumerate(zip(path, times, strict=True))
    ]
    client.post("/v1/events", json=events).raise_for_status()
    client.put(f"/v1/users/{GONE}", json={"attributes": {"name": f"about {GONE}"}}).raise_for_status()
    assert world.settings.kafka_bootstrap is not None
    with Bus(world.settings.kafka_bootstrap, world.settings.topic) as bus:
        bus.publish([Message(b"k", f'{{"user":"{GONE}", cut'.encode())])
        bus.publish([Message(b"k", b"{}", (("ce_id", b"x"), ("ce_subject", GONE.encode())))])
    eventually(lambda: len(world.store.history.history(GONE, 50).events) == STEPS, within_s=30)
    assert client.get(PATH).json()["fallback"] is None
    assert client.get(f"/console/users/{GONE}").status_code == 200
    eventually(lambda: {"impression"} <= {one["type"] for one in world.store.history.export(GONE)}, within_s=30)
    eventually(lambda: sum(world.store.dead_letters.counts().values()) == 2, within_s=30)


def test_an_erased_user_is_found_nowhere_and_no_replay_brings_them_back(full_world: World, tmp_path: Path) -> None:
    world, artifacts = full_world, Path(full_world.settings.artifacts_url)
    context = job_context(world.settings, world.store)
    # two servers: the user is erased through one, and the other must hear of it
    with ingesting(world), world.served() as client, world.served() as other:
        live(world, client)
        assert other.get(PATH).json()["fallback"] is None
        world.store.partitions.attach_ahead(1, OLD)
        assert world.store.partitions.detach_before(date(2026, 2, 1)) == ["events_2026_01"]
        train(world.settings.models_to_train, context)
        assert {"events", "events_2026_01", "users", "user_counts", "dead_letters"} <= rows_naming(
            world.store, GONE
        ).keys()
        assert len(files_naming(artifacts, GONE)) == 1, "the snapshot, and none of the models"
        assert (USERS + 1) not in {size for shape in arrays(artifacts) for size in shape}, (
            "no model has a row for each user"
        )
        write_export(everything_of(world.store, GONE), tmp_path / "before.parquet")
        assert len(pd.read_parquet(tmp_path / "before.parquet")) >= STEPS + 2
        (tmp_path / "before.parquet").unlink()

        client.delete(f"/v1/users/{GONE}").raise_for_status()
        eventually(lambda: not rows_naming(world.store, GONE), within_s=30)
        with world.store.database.read() as connection:
            (hashed,) = connection.execute(sa.text("SELECT user_hash FROM erased_users")).scalars()
        assert bytes(hashed) == world.store.events.user_hash(GONE)

        take_snapshot(world.store.events, context.artifacts, Silent())
        assert files_naming(artifacts, GONE) == []
        exported = client.get(f"/v1/users/{GONE}/export").json()
        assert (exported["attributes"], exported["events"], exported["dead_letters"]) == (None, [], [])
        table = client.get(f"/v1/users/{GONE}/export.parquet")
        assert table.headers["content-type"] == "application/vnd.apache.parquet"
        assert len(pd.read_parquet(io.BytesIO(table.content))) == 0
        for server in (client, other):
            eventually(lambda server=server: server.get(PATH).json()["fallback"] == "popular")  # type: ignore[misc]

        replay_everything(world)
        assert rows_naming(world.store, GONE) == {}
        assert world.store.dead_letters.counts()["erased_user"] >= STEPS
        assert {one.payload for one in world.store.dead_letters.list()} == {None}
        train(["transitions"], context)
        assert files_naming(artifacts, GONE) == []
        assert files_naming(world.settings.home, GONE) == []


def replay_everything(world: World) -> None:
    """Publish all that the topic ever held once more, and wait until it has been ingested."""
    settings = world.settings
    assert settings.kafka_bootstrap is not None
    consumer = KafkaConsumer(
        settings.topic, bootstrap_servers=settings.kafka_bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=1000,
        metrics_enabled=False,
    )  # fmt: skip
    try:
        everything = [Message(one.key or b"", one.value, tuple(one.headers)) for one in consumer]
    finally:
        consumer.close()
    assert sum(GONE.encode() in one.value for one in everything) > STEPS
    with Bus(settings.kafka_bootstrap, settings.topic) as bus:
        bus.publish(everything)
        last = [UserChanged(user=f"last-{n}") for n in range(16)]  # enough to be in every partition
        bus.publish([Message(partition_key(one), encode(one, id=one.user, source="/t", time=RECENT)) for one in last])
    eventually(lambda: all(world.store.catalogue.user(one.user) is not None for one in last), within_s=60)
