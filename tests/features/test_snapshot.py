"""The snapshot holds every settled interaction once, adds only what is new, and forgets who was erased."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
from fsspec.core import url_to_fs

from core.artifacts import ArtifactStore
from core.events import ItemChanged, UserErased
from core.progress import Silent
from core.registry import open_artifacts
from core.settings import Settings
from core.store import Store, open_store
from features.interactions import Interactions
from features.snapshot import Snapshot, take_snapshot
from tests.streams import Writer, event, habits, view


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with open_store(settings) as opened:
        yield opened


@pytest.fixture
def artifacts(settings: Settings) -> ArtifactStore:
    return open_artifacts(settings)


def rows_of(snapshot: Snapshot) -> list[tuple[str, str, str, float | None]]:
    tables = [pq.read_table(file).to_pylist() for file in snapshot.files]
    return sorted((row["user"], row["item"], row["kind"], row["value"]) for rows in tables for row in rows)


def test_an_empty_database_gives_an_empty_snapshot(store: Store, artifacts: ArtifactStore) -> None:
    snapshot = take_snapshot(store.events, artifacts, Silent())
    assert (snapshot.files, snapshot.rows, snapshot.trained_until) == ((), 0, None)


def test_a_snapshot_holds_every_interaction_as_it_was_stored(store: Store, artifacts: ArtifactStore) -> None:
    awkward = [view(1, 'a"b,c\nd', "i\t1"), view(2, "NA", "null", "rating", 4.5), view(3, "ü", "é", "purchase", -2)]
    last = event(4, ItemChanged(item="i1", title="not an interaction"))
    Writer(store).write([*awkward, last])
    snapshot = take_snapshot(store.events, artifacts, Silent())
    assert rows_of(snapshot) == sorted(
        [('a"b,c\nd', "i\t1", "view", None), ("NA", "null", "rating", 4.5), ("ü", "é", "purchase", -2.0)]
    )
    assert snapshot.trained_until == awkward[-1].time
    keys = {row["key"] for row in pq.read_table(snapshot.files[0]).to_pylist()}
    assert keys == {one.key.bytes for one in awkward}


def test_an_increment_reads_only_what_came_since_the_last(store: Store, artifacts: ArtifactStore) -> None:
    writer = Writer(store)
    writer.write(habits(users=3, items=5, length=4))
    first = take_snapshot(store.events, artifacts, Silent())
    writer.write(habits(users=3, items=5, length=4))  # a repetition adds nothing
    again = take_snapshot(store.events, artifacts, Silent())
    assert again == first
    writer.write([view(1000, "late", "i1")])
    second = take_snapshot(store.events, artifacts, Silent())
    assert second.files[0] == first.files[0]
    assert [len(pq.read_table(file)) for file in second.files] == [12, 1]
    assert second.rows == 13


def test_a_slow_transaction_is_neither_missed_nor_read_twice(store: Store, artifacts: ArtifactStore) -> None:
    """The trap of sequence numbers: an earlier one that commits after the snapshot was taken."""
    holding, release = threading.Event(), threading.Event()

    def slow() -> None:
        with store.database.begin() as connection:
            connection.execute(
                sa.text(
                    "INSERT INTO events (key, source, id, type, time, user_id, item_id, txn) VALUES (gen_random_uuid(), "
                    "'/slow', '1', 'interaction.view', now(), 'slow', 'i1', pg_current_xact_id()::text::bigint)"
                )
            )
            holding.set()
            release.wait(30)

    thread = threading.Thread(target=slow)
    thread.start()
    assert holding.wait(30)
    Writer(store).write([view(1, "fast", "i1")])
    during = take_snapshot(store.events, artifacts, Silent())
    release.set()
    thread.join()
    after = take_snapshot(store.events, artifacts, Silent())
    assert [row[0] for row in rows_of(during)] in ([], ["fast"])
    assert [row[0] for row in rows_of(after)] == ["fast", "slow"]


def test_an_erased_user_leaves_every_segment(store: Store, artifacts: ArtifactStore) -> None:
    writer = Writer(store)
    writer.write([view(1, "ann", "i1"), view(2, "bob", "i1")])
    take_snapshot(store.events, artifacts, Silent())
    writer.write([view(3, "ann", "i2"), view(4, "cid", "i2")])
    before = take_snapshot(store.events, artifacts, Silent())
    writer.write([event(5, UserErased(user="ann"))])
    after = take_snapshot(store.events, artifacts, Silent())
    assert {row[0] for row in rows_of(after)} == {"bob", "cid"}
    assert after.rows == 2
    assert not before.files[0].exists(), "the segment with the erased user is deleted, not only replaced"
    assert after.name != before.name
    assert take_snapshot(store.events, artifacts, Silent()) == after


def test_a_writer_that_died_leaves_no_erased_user_behind(store: Store, settings: Settings, tmp_path: Path) -> None:
    """Killed between publishing the rewritten segment and deleting the old one, or while writing either."""
    artifacts = ArtifactStore(
        "memory://" + uuid4().hex, tmp_path / "cache"
    )  # remote, so that there are local copies as well
    writer = Writer(store)
    writer.write([view(1, "ann-x", "i1"), view(2, "bob", "i1")])
    (segment,) = take_snapshot(store.events, artifacts, Silent()).segments
    old = tmp_path / "old"
    shutil.copytree(artifacts.fetch(segment)[0], old)
    about = artifacts.manifest(segment).about
    (old / "manifest.json").unlink()
    writer.write([event(5, UserErased(user="ann-x"))])
    take_snapshot(store.events, artifacts, Silent())
    artifacts.publish(segment, old, about)
    fs, root = url_to_fs(artifacts.url)
    abandoned = f"{root}/{segment}.draft-0123"
    fs.pipe_file(f"{abandoned}/interactions.parquet", b"ann-x")
    fs.store[f"{abandoned}/interactions.parquet"].modified -= timedelta(days=2)
    under_way = f"{root}/{segment}.draft-4567"
    fs.pipe_file(f"{under_way}/interactions.parquet", b"somebody writes this now")
    (tmp_path / "cache" / segment).mkdir(parents=True, exist_ok=True)
    (tmp_path / "cache" / segment / "interactions.parquet").write_bytes(b"a copy made before")
    after = take_snapshot(store.events, artifacts, Silent())
    assert {row[0] for row in rows_of(after)} == {"bob"}
    assert not fs.exists(abandoned)
    assert fs.exists(under_way)
    assert not (tmp_path / "cache" / segment).exists()
    assert artifacts.list(segment.rpartition("/")[0]) == [one.rpartition("/")[2] for one in after.segments]


def test_interactions_read_the_segments(store: Store, artifacts: ArtifactStore) -> None:
    writer = Writer(store)
    writer.write(habits(users=4, items=6, length=5))
    take_snapshot(store.events, artifacts, Silent())
    writer.write(habits(users=4, items=6, length=5, first=100))
    data = Interactions.from_parquet(list(take_snapshot(store.events, artifacts, Silent()).files))
    assert (len(data), data.n_users, data.n_items) == (40, 4, 6)
