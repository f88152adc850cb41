"""What every job is handed."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.artifacts import ArtifactStore
from core.progress import Reporter, Silent
from core.registry import Registry, open_artifacts
from core.settings import Settings
from core.store import Store


@dataclass(frozen=True)
class JobContext:
    """The settings, the store, the artifacts and the registry of one namespace, and where progress is shown."""

    settings: Settings
    store: Store
    artifacts: ArtifactStore
    registry: Registry
    reporter: Reporter = field(default_factory=Silent)


def job_context(settings: Settings, store: Store, reporter: Reporter | None = None) -> JobContext:
    """The context of the settings' namespace."""
    artifacts = open_artifacts(settings)
    return JobContext(settings, store, artifacts, Registry(store.versions, artifacts), reporter or Silent())
