"""The registry: publishing, promoting, rolling back, and never handing out a model that is damaged or another one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import ArtifactCorrupt, Conflict, NotFound
from core.registry import Registry, code_revision, open_registry
from core.settings import Settings
from core.store import open_store


@pytest.fixture
def registry(settings: Settings) -> Iterator[Registry]:
    with open_store(settings) as store:
        yield open_registry(settings, store)


def publish(registry: Registry, tmp_path: Path, name: str = "als", content: str = "x") -> int:
    directory = tmp_path / "trained"
    directory.mkdir(exist_ok=True)
    (directory / "model.npy").write_text(content)
    version = registry.publish(
        name, directory, trained_until=None, snapshot="s1", config={"factors": 8}, metrics={"hr@10": 0.1}
    )
    return version.version


def test_a_published_model_is_a_candidate_that_can_be_opened(registry: Registry, tmp_path: Path) -> None:
    number = publish(registry, tmp_path)
    (version,) = registry.versions("als")
    assert (version.version, version.state, version.config) == (number, "candidate", {"factors": 8})
    assert version.code_revision == code_revision() != ""
    assert (registry.open(version) / "model.npy").read_text() == "x"
    assert registry.live() == {}


def test_rolling_back_returns_to_the_version_before(registry: Registry, tmp_path: Path) -> None:
    for content in ("one", "two"):
        registry.promote("als", publish(registry, tmp_path, content=content), "better")
    assert registry.live()["als"].version == 2
    assert registry.rollback("als") == 1
    assert (registry.open(registry.live()["als"]) / "model.npy").read_text() == "one"
    with pytest.raises(NotFound):
        registry.promote("als", 9, "")
    with pytest.raises(Conflict):
        registry.rollback("ease")


def test_a_damaged_version_does_not_go_live(registry: Registry, settings: Settings, tmp_path: Path) -> None:
    registry.promote("als", publish(registry, tmp_path), "first")
    number = publish(registry, tmp_path)
    (version,) = [one for one in registry.versions("als") if one.version == number]
    (registry.open(version) / "model.npy").write_text("y")
    with pytest.raises(ArtifactCorrupt):
        registry.promote("als", number, "better")
    assert registry.live()["als"].version == 1


def test_a_directory_with_another_model_in_it_is_refused(registry: Registry, tmp_path: Path) -> None:
    publish(registry, tmp_path, "als")
    publish(registry, tmp_path, "ease")
    (als,), (ease,) = registry.versions("als"), registry.versions("ease")
    mixed = type(als)(**{**{name: getattr(als, name) for name in als.__dataclass_fields__}, "path": ease.path})
    with pytest.raises(ArtifactCorrupt, match="another model"):
        registry.open(mixed)


def test_a_refused_version_keeps_its_verdict(registry: Registry, tmp_path: Path) -> None:
    number = publish(registry, tmp_path)
    registry.refuse("als", number, "loses to popularity")
    (version,) = registry.versions("als")
    assert (version.state, version.verdict) == ("refused", "loses to popularity")
