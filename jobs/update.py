"""Transitions brought up to date: what came since the live version was trained is added to its counts, every minute or so.

Nothing is trained, and of what was counted only the stretches around new interactions are read again: see docs/adr/0014.
"""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from core.errors import ArtifactCorrupt, NotFound
from core.registry import base_of
from core.store.versions import ModelVersion
from features.snapshot import Snapshot
from features.stretches import Stretches, read_stretches
from jobs.context import JobContext
from jobs.gate import fault
from models.step_counts import StepCounts
from models.transitions import Transitions, TransitionsConfig

COUNTS = "counts/transitions"


class _About(msgspec.Struct, frozen=True):
    """What counts were made of: interactions of transactions below `until_txn` of a database, weighted so."""

    until_txn: int
    lineage: str
    kind_weights: dict[str, float]


def keep_counts(version: ModelVersion, counts: StepCounts, snapshot: Snapshot, context: JobContext) -> None:
    """Store the counts of a version that goes live, to begin from; those of versions that nothing returns to are deleted."""
    about = _About(snapshot.until_txn, context.store.events.lineage(), context.settings.kind_weights)
    live = context.registry.live().get(version.name)
    with tempfile.TemporaryDirectory(prefix="headwater-counts-") as folder:
        counts.save(Path(folder))
        context.artifacts.publish(_path(version.version), Path(folder), msgspec.to_builtins(about))
    stay = {_path(version.version), _path(base_of(live)) if live is not None else ""}
    for name in context.artifacts.list(COUNTS):
        if f"{COUNTS}/{name}" not in stay:
            context.artifacts.delete(f"{COUNTS}/{name}")


def update_transitions(context: JobContext) -> str:
    """Publish the live transitions with what has happened since; says what was done, or why nothing was.

    Counts, configuration and verdict are those of the version that was trained, the base; the new version's metrics name it.
    A version that somebody rolled back to stays as it is. Raises DatabaseUnavailable, Unavailable.
    """
    versions = context.registry.versions(Transitions.name, limit=100)
    live = next((one for one in versions if one.state == "live"), None)
    if live is None:
        return "no transitions are live"
    if any(one.version > live.version and one.state == "retired" for one in versions):
        return f"v{live.version} was rolled back to: it stays until the next training"
    begun = _begin(live, context)
    if isinstance(begun, str):
        return begun
    folder, about = begun
    until_txn = context.store.events.horizon()
    config = msgspec.convert(live.config, TransitionsConfig)
    stretches = read_stretches(context.store.tails, about.until_txn, until_txn, config.window, about.kind_weights)
    if stretches is None or stretches.fresh == live.metrics.get("update", {}).get("events", 0):
        return f"nothing has happened since v{live.version}"
    model = _with(StepCounts.load(folder), stretches, config, live)
    return _publish(model, live, stretches, until_txn, context)


def _begin(live: ModelVersion, context: JobContext) -> tuple[Path, _About] | str:
    """The folder of the base's counts and what they were made of, or why they cannot be begun from."""
    base = base_of(live)
    try:
        folder, manifest = context.artifacts.fetch(_path(base))
        about = msgspec.convert(manifest.about, _About)
    except (NotFound, ArtifactCorrupt, msgspec.ValidationError) as error:
        return f"there are no counts of v{base} to begin from, until the next training ({error})"
    if (about.lineage, about.kind_weights) != (context.store.events.lineage(), context.settings.kind_weights):
        return f"the counts of v{base} are of another database or other weights, until the next training"
    return folder, about


def _with(counts: StepCounts, stretches: Stretches, config: TransitionsConfig, live: ModelVersion) -> Transitions:
    before = StepCounts.of(stretches.before, config.window, config.distance_power)
    after = StepCounts.of(stretches.after, config.window, config.distance_power)
    until_s = live.trained_until.timestamp() if live.trained_until is not None else 0.0
    return Transitions.of_counts(counts.changed(before, after), config, max(until_s, stretches.newest_us / 1e6))


def _publish(model: Transitions, live: ModelVersion, stretches: Stretches, until_txn: int, context: JobContext) -> str:
    base = base_of(live)
    update = {"base": base, "events": stretches.fresh, "until_txn": until_txn}
    metrics: dict[str, Any] = {**live.metrics, "update": update}
    with tempfile.TemporaryDirectory(prefix="headwater-model-") as folder:
        model.save(Path(folder))
        version = context.registry.publish(
            model.name, Path(folder), trained_until=datetime.fromtimestamp(model.trained_until_s, UTC),
            snapshot=f"{live.snapshot.split(' ')[0]} and below transaction {until_txn}", config=live.config, metrics=metrics,
        )  # fmt: skip
    wrong = fault(model, stretches.after)
    said = f"v{base} brought up to date with {stretches.fresh:,} newer interactions"
    if wrong is None:
        context.registry.promote(version.name, version.version, f"{said}; judged as v{base}: {_verdict(live)}")
    else:
        context.registry.refuse(version.name, version.version, f"{said}: {wrong}")
    context.registry.prune(version.name, context.settings.keep_versions)
    return f"v{version.version}: {said}" if wrong is None else f"v{version.version} is refused: {wrong}"


def _verdict(live: ModelVersion) -> str:
    """What the gate said of the base, which an update repeats."""
    return live.verdict.split(": ", 1)[-1] if "update" in live.metrics else live.verdict


def _path(version: int) -> str:
    return f"{COUNTS}/{version:05d}"
