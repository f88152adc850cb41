"""The model registry: artifacts hold the files, Postgres holds which version is what."""

from __future__ import annotations

import contextlib
import math
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any

from core.artifacts import ArtifactStore
from core.errors import ArtifactCorrupt, Conflict, GateRefused
from core.settings import Settings
from core.store import Store
from core.store.versions import ModelVersion, VersionStore

UPDATES_KEPT = 3  # newest versions that only brought another up to date: a server may still be loading the one before


class Registry:
    """Publishes trained models, moves them between candidate, live, retired and refused, and hands out their files."""

    def __init__(self, versions: VersionStore, artifacts: ArtifactStore) -> None:
        self._versions = versions
        self._artifacts = artifacts
        self.versions = versions.versions
        self.live = versions.live
        self.refuse = versions.refuse

    def publish(
        self,
        name: str,
        local: Path,
        *,
        trained_until: datetime | None,
        snapshot: str,
        config: dict[str, Any],
        metrics: dict[str, Any],
    ) -> ModelVersion:
        """Store a trained model's directory and record it as a candidate. Figures that are not finite become null."""
        number, metrics = self._versions.reserve(name), _finite(metrics)
        path = f"models/{name}/{number:05d}"
        about = {"name": name, "version": number, "snapshot": snapshot, "config": config, "metrics": metrics}
        self._artifacts.publish(path, local, about)
        version = ModelVersion(
            name, number, "candidate", path, trained_until, snapshot, code_revision(), config, metrics, "",
            datetime.now(UTC), None,
        )  # fmt: skip
        self._versions.add(version)
        return version

    def promote(self, name: str, version: int, verdict: str) -> None:
        """Make a version live after checking that its files are whole.

        Raises NotFound, ArtifactCorrupt, and GateRefused for a version that did not pass the gate (DESIGN I5).
        """
        found = self._versions.version(name, version)
        if found.state == "refused":
            raise GateRefused(f"{name} v{version} did not pass the gate: {found.verdict}")
        self.open(found)
        self._versions.promote(name, version, verdict)

    def rollback(self, name: str) -> int:
        """Make the version before the live one live again and return its number. Raises Conflict, ArtifactCorrupt."""
        version = self._versions.before_live(name)
        self.promote(name, version, "rolled back to by hand")
        return version

    def prune(self, name: str, keep: int) -> list[int]:
        """Forget versions and delete their files, but for the newest `keep` that were trained, the newest few updates, the live
        one and the one that a rollback returns to. Returns the numbers of those gone.
        """
        versions = self._versions.versions(name, limit=100_000)
        updates = [one.version for one in versions if is_update(one)]
        trained = [one.version for one in versions if not is_update(one)]
        stay = {*trained[:keep], *updates[:UPDATES_KEPT]}
        stay |= {base_of(one) for one in versions if one.state == "live"}
        with contextlib.suppress(Conflict):  # there is nothing to roll back to
            stay.add(self._versions.before_live(name))
        gone = [one for one in versions if one.version not in stay and self._versions.forget(name, one.version)]
        for one in gone:
            self._artifacts.delete(one.path)
        return [one.version for one in gone]

    def open(self, version: ModelVersion) -> Path:
        """The version's verified local directory. Raises NotFound, ArtifactCorrupt."""
        local, manifest = self._artifacts.fetch(version.path)
        if (manifest.about.get("name"), manifest.about.get("version")) != (version.name, version.version):
            raise ArtifactCorrupt(f"{version.path} holds another model than {version.name} v{version.version}")
        return local


def is_update(version: ModelVersion) -> bool:
    """Whether a version only brought an earlier one up to date: it was not trained, and not judged on its own."""
    return "update" in version.metrics


def base_of(version: ModelVersion) -> int:
    """The version that was trained: another one for an update."""
    return int(version.metrics["update"]["base"]) if is_update(version) else version.version


def _finite(value: Any) -> Any:
    """The same plain value with None for what is not finite, which JSON cannot hold."""
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def open_artifacts(settings: Settings) -> ArtifactStore:
    """The settings' artifact store."""
    return ArtifactStore(settings.artifacts_url, settings.home / "cache" / settings.namespace)


def open_registry(settings: Settings, store: Store) -> Registry:
    """The registry of the settings' namespace."""
    return Registry(store.versions, open_artifacts(settings))


@cache
def code_revision() -> str:
    """The git commit this runs from, marked when files were changed since; outside a checkout the package's version."""
    root = Path(__file__).parent.parent
    try:
        describe = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        return subprocess.run(describe, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return package_version("headwater")
