"""A training run that was killed goes on where it was: on the same data, from the models' own checkpoints."""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import msgspec

from core.errors import ArtifactCorrupt, HeadwaterError, NotFound, Unavailable
from features.snapshot import Noted, Snapshot, take_snapshot
from jobs.context import JobContext
from models import RECOMMENDERS

log = logging.getLogger(__name__)

FILE = "snapshot.json"
STALE_S = 2 * 86_400.0  # what has happened since is worth more than the work that is left


@dataclass(frozen=True)
class Run:
    """What a run learns from, and the folder of its checkpoints (None: no model of it keeps any)."""

    snapshot: Snapshot
    checkpoints: Path | None = None


@contextmanager
def running(context: JobContext, names: Sequence[str], seed: int, until: datetime | None) -> Iterator[Run]:
    """The run of these models: begun anew, or gone on with when one of the same names, seed and `until` was cut off.

    Its checkpoints are removed at the end, and where the fault is in what was asked; a kill, a crash or something that was away
    leaves them. They lie under HEADWATER_HOME: another machine begins anew, as does a second run beside the first, which keeps
    none. Raises what take_snapshot does.
    """
    if not any(keeps_checkpoints(name) for name in names):
        yield Run(take_snapshot(context.store.events, context.artifacts, context.reporter))
        return
    asked = f"{sorted(names)} {seed} {until} {context.store.events.lineage()}"
    settings = context.settings
    digest = hashlib.sha256(asked.encode()).hexdigest()[:16]
    folder = settings.home / "training" / settings.namespace / digest
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f"{digest}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield Run(take_snapshot(context.store.events, context.artifacts, context.reporter))
            return
        snapshot = _left(folder, context) or _begun(folder, context)
        try:
            yield Run(snapshot, folder)
        except HeadwaterError as error:
            if not isinstance(error, Unavailable):
                shutil.rmtree(folder, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def keeps_checkpoints(name: str) -> bool:
    """Whether a model's `fit` takes a folder of `checkpoints` that it writes and goes on from."""
    return "checkpoints" in inspect.signature(RECOMMENDERS[name].fit).parameters


def _begun(folder: Path, context: JobContext) -> Snapshot:
    """A new snapshot, noted in an otherwise empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    snapshot = take_snapshot(context.store.events, context.artifacts, context.reporter)
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(msgspec.json.encode(Noted.of(snapshot)))
    return snapshot


def _left(folder: Path, context: JobContext) -> Snapshot | None:
    """The snapshot of a run that was cut off; None where there is none to go on with."""
    noted = folder / FILE
    try:
        if time.time() - noted.stat().st_mtime > STALE_S:
            return None
        written = msgspec.json.decode(noted.read_bytes(), type=Noted)
        if context.store.events.erased_hashes(written.until_txn):
            raise NotFound("a user was erased meanwhile")  # DESIGN I7
        snapshot = written.open(context.artifacts)
    except (FileNotFoundError, msgspec.DecodeError, NotFound, ArtifactCorrupt) as error:
        if noted.exists():
            log.warning("the training run that was cut off begins anew: %s", error)
        return None
    log.info("going on with the training run that was cut off, on %d interactions", snapshot.rows)
    return snapshot
