"""The snapshot: interactions from Postgres as Parquet segments, each increment reading only what came since the last.

An increment is a range of transactions, not of sequence numbers or times: a slow writer can neither slip below a
sequence number already read nor date its event before one. Rows of transactions under the horizon are settled.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from core.artifacts import ArtifactStore
from core.progress import Reporter
from core.store.events import EventStore

SCHEMA = pa.schema(
    [
        ("key", pa.binary(16)),
        ("user", pa.string()),
        ("item", pa.string()),
        ("kind", pa.string()),
        ("value", pa.float64()),
        ("time", pa.timestamp("us", tz="UTC")),
    ]
)
FILE = "interactions.parquet"


class _About(msgspec.Struct, frozen=True):
    """What a segment's manifest remembers: its range of transactions, and up to where erasures have been applied."""

    from_txn: int
    to_txn: int
    erased_until_txn: int
    rows: int
    newest_us: int


@dataclass(frozen=True)
class Snapshot:
    """Verified local Parquet files with every settled interaction. `name` identifies exactly this state of the data.

    `segments` are the artifacts they are from; they hold what transactions below `until_txn` wrote.
    """

    name: str
    files: tuple[Path, ...]
    rows: int
    trained_until: datetime | None
    segments: tuple[str, ...]
    until_txn: int


class Noted(msgspec.Struct, frozen=True):
    """A snapshot without its files, to be written down and opened again."""

    name: str
    rows: int
    trained_until: datetime | None
    segments: tuple[str, ...]
    until_txn: int

    @classmethod
    def of(cls, snapshot: Snapshot) -> Noted:
        """What is to be written down of a snapshot."""
        return cls(snapshot.name, snapshot.rows, snapshot.trained_until, snapshot.segments, snapshot.until_txn)

    def open(self, artifacts: ArtifactStore) -> Snapshot:
        """The snapshot again. Raises NotFound where a segment was rewritten since (a user was erased), ArtifactCorrupt."""
        files = tuple(artifacts.fetch(one)[0] / FILE for one in self.segments)
        return Snapshot(self.name, files, self.rows, self.trained_until, self.segments, self.until_txn)


def take_snapshot(events: EventStore, artifacts: ArtifactStore, reporter: Reporter) -> Snapshot:
    """Bring the segments up to date and return them: new interactions appended, erased users taken out (DESIGN I7).

    Raises DatabaseUnavailable, Unavailable (the artifact store cannot be written), ArtifactCorrupt.
    """
    prefix = f"snapshots/{events.lineage()}"
    horizon = events.horizon()
    names = artifacts.list(prefix)
    newest = _newest_revisions(names)
    for name in set(names) - set(newest):  # someone died between rewriting a segment and deleting it
        artifacts.delete(f"{prefix}/{name}")
    segments = {name: _about(artifacts, f"{prefix}/{name}") for name in newest}
    with reporter.task("snapshot", len(segments) + 1) as task:
        for name, about in list(segments.items()):
            if (renamed := _erase(events, artifacts, prefix, name, about, horizon)) != name:
                segments = {renamed if one == name else one: kept for one, kept in segments.items()}
                segments[renamed] = _about(artifacts, f"{prefix}/{renamed}")
            task.advance()
        last = max((about.to_txn for about in segments.values()), default=0)
        fresh = f"{len(segments) + 1:06d}-1"
        added = _append(events, artifacts, f"{prefix}/{fresh}", last, horizon) if horizon > last else None
        if added is not None:
            segments[fresh] = added
        rows = sum(one.rows for one in segments.values())
        task.advance(note=f"{added.rows if added else 0:,} new of {rows:,} interactions")
    artifacts.tidy(prefix)
    newest_us = max((one.newest_us for one in segments.values() if one.rows), default=None)
    return Snapshot(
        name=f"{prefix}/{'+'.join(segments)}"
        if len(segments) < 4
        else f"{prefix}/{len(segments)}-to-{list(segments)[-1]}",
        files=tuple(artifacts.fetch(f"{prefix}/{one}")[0] / FILE for one in segments),
        rows=rows,
        trained_until=None if newest_us is None else datetime.fromtimestamp(newest_us / 1e6, UTC),
        segments=tuple(f"{prefix}/{one}" for one in segments),
        until_txn=max((about.to_txn for about in segments.values()), default=0),
    )


def _newest_revisions(names: Sequence[str]) -> list[str]:
    """Segment names are <number>-<revision>; a rewritten segment replaces its earlier revisions."""
    newest: dict[str, int] = {}
    for name in names:
        number, revision = name.split("-")
        newest[number] = max(newest.get(number, 0), int(revision))
    return [f"{number}-{revision}" for number, revision in sorted(newest.items())]


def _about(artifacts: ArtifactStore, path: str) -> _About:
    return msgspec.convert(artifacts.manifest(path).about, _About)


def _append(events: EventStore, artifacts: ArtifactStore, path: str, from_txn: int, to_txn: int) -> _About | None:
    """Write the interactions of [from_txn, to_txn) as a new segment; None when there are none."""
    with tempfile.TemporaryDirectory(prefix="headwater-snapshot-") as folder:
        raw, out = Path(folder) / "interactions.csv", Path(folder) / "segment"
        out.mkdir()
        with raw.open("wb") as stream:
            events.copy_interactions(from_txn, to_txn, stream)
        if raw.stat().st_size == 0:
            return None
        rows, newest_us = _write(out / FILE, _read(raw))
        about = _About(from_txn, to_txn, to_txn, rows, newest_us)
        artifacts.publish(path, out, msgspec.to_builtins(about))
    return about


def _erase(events: EventStore, artifacts: ArtifactStore, prefix: str, name: str, about: _About, horizon: int) -> str:
    """Rewrite a segment without users erased since it was written; returns the name that now holds it."""
    erased = events.erased_hashes(about.erased_until_txn)
    if not erased:
        return name
    file = artifacts.fetch(f"{prefix}/{name}")[0] / FILE
    users = pc.unique(pq.read_table(file, columns=["user"])["user"]).to_pylist()
    gone = pa.array([user for user in users if events.user_hash(user) in erased], pa.string())
    if not len(gone):
        return name
    number, revision = name.split("-")
    renamed = f"{number}-{int(revision) + 1}"
    with tempfile.TemporaryDirectory(prefix="headwater-snapshot-") as folder:
        batches = (
            batch.filter(pc.invert(pc.is_in(batch["user"], gone))) for batch in pq.ParquetFile(file).iter_batches()
        )
        rows, newest_us = _write(Path(folder) / FILE, batches)
        kept = _About(about.from_txn, about.to_txn, horizon, rows, newest_us)
        artifacts.publish(f"{prefix}/{renamed}", Path(folder), msgspec.to_builtins(kept))
    artifacts.delete(f"{prefix}/{name}")
    return renamed


def _read(raw: Path) -> Iterator[pa.RecordBatch]:
    """The store's CSV in batches of the schema, so that memory stays flat whatever the size."""
    names = ["key", "user", "item", "kind", "value", "time"]
    types = {
        "key": pa.string(),
        "user": pa.string(),
        "item": pa.string(),
        "kind": pa.string(),
        "value": pa.float64(),
        "time": pa.int64(),
    }
    with pyarrow.csv.open_csv(
        raw,
        read_options=pyarrow.csv.ReadOptions(column_names=names, block_size=8 << 20),
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types=types),
    ) as batches:
        for batch in batches:
            keys = pa.array([bytes.fromhex(key.replace("-", "")) for key in batch["key"].to_pylist()], pa.binary(16))
            times = batch["time"].cast(pa.timestamp("us", tz="UTC"))
            columns = [keys, batch["user"], batch["item"], batch["kind"], batch["value"], times]
            yield pa.record_batch(columns, schema=SCHEMA)


def _write(file: Path, batches: Iterator[pa.RecordBatch]) -> tuple[int, int]:
    """Write batches; returns the number of rows and the newest time in microseconds (0 when there are none)."""
    rows, newest_us = 0, 0
    with pq.ParquetWriter(file, SCHEMA, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
            if batch.num_rows:
                newest_us = max(newest_us, int(np.max(batch["time"].cast(pa.int64()).to_numpy())))
    return rows, newest_us
