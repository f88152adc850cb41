"""Artifacts: whole and checked, or not there at all."""

from __future__ import annotations

import os
import subprocess
import uuid
from pathlib import Path

import pytest

from core.artifacts import MANIFEST, ArtifactStore
from core.errors import ArtifactCorrupt, Conflict, NotFound, Unavailable


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory to publish."""
    directory = tmp_path / "source"
    (directory / "deep").mkdir(parents=True)
    (directory / "weights.npy").write_bytes(b"w" * 3_000_000)
    (directory / "deep" / "empty").write_bytes(b"")
    return directory


@pytest.fixture(params=["folder", "remote"])
def artifacts(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    """A store in a folder, and one behind a URL that files have to be fetched from."""
    url = str(tmp_path / "store") if request.param == "folder" else f"memory://{uuid.uuid4().hex}"
    return ArtifactStore(url, tmp_path / "cache")


def test_what_was_published_is_fetched_with_its_manifest(artifacts: ArtifactStore, source: Path) -> None:
    published = artifacts.publish("models/als/1", source, {"note": "ü"})
    local, manifest = artifacts.fetch("models/als/1")
    assert manifest == published
    assert manifest.about == {"note": "ü"}
    assert set(manifest.files) == {"weights.npy", "deep/empty"}
    assert (local / "weights.npy").read_bytes() == (source / "weights.npy").read_bytes()
    assert (local / "deep/empty").read_bytes() == b""
    assert artifacts.list("models/als") == ["1"]
    assert artifacts.list("nothing") == []


def test_a_name_is_published_once(artifacts: ArtifactStore, source: Path) -> None:
    artifacts.publish("a/1", source, {})
    with pytest.raises(Conflict):
        artifacts.publish("a/1", source, {})
    artifacts.delete("a/1")
    artifacts.delete("a/1")
    with pytest.raises(NotFound):
        artifacts.manifest("a/1")
    artifacts.publish("a/1", source, {"again": True})
    assert artifacts.fetch("a/1")[1].about == {"again": True}


@pytest.mark.parametrize("damage", ["changed", "cut", "missing", "manifest"])
def test_a_damaged_file_is_never_handed_out(tmp_path: Path, source: Path, damage: str) -> None:
    artifacts = ArtifactStore(str(tmp_path / "store"), tmp_path / "cache")
    artifacts.publish("a/1", source, {})
    file = tmp_path / "store/a/1/weights.npy"
    if damage == "changed":
        file.write_bytes(b"w" * 2_999_999 + b"x")
    elif damage == "cut":
        file.write_bytes(b"w")
    elif damage == "missing":
        file.unlink()
    else:
        (tmp_path / "store/a/1" / MANIFEST).write_text("{")
    with pytest.raises(ArtifactCorrupt):
        artifacts.fetch("a/1")


def test_a_half_written_artifact_is_not_listed(tmp_path: Path, source: Path) -> None:
    artifacts = ArtifactStore(str(tmp_path / "store"), tmp_path / "cache")
    artifacts.publish("a/1", source, {})
    (tmp_path / "store/a/2").mkdir()
    (tmp_path / "store/a/2/weights.npy").write_bytes(b"half")
    assert artifacts.list("a") == ["1"]
    with pytest.raises(NotFound):
        artifacts.fetch("a/2")


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path, source: Path) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")
    with pytest.raises(Unavailable, match="cannot write artifact a/1"):
        ArtifactStore(str(tmp_path / "store"), tmp_path / "cache").publish("a/1", source, {})


@pytest.mark.parametrize("path", ["../outside", "a/../../b", "/etc"])
def test_a_name_cannot_lead_outside(tmp_path: Path, path: str) -> None:
    with pytest.raises(NotFound):
        ArtifactStore(str(tmp_path), tmp_path / "cache").manifest(path)


def test_a_full_disk_is_called_by_its_name_and_leaves_nothing_behind(tmp_path: Path, source: Path) -> None:
    """A small file system of its own, where one may be mounted: an artifact of 3 MB meets 1 MB."""
    small = tmp_path / "small"
    small.mkdir()
    mounted = (
        os.geteuid() == 0
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", small], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        pytest.skip("no small file system can be mounted here: run as root where mount is allowed")
    try:
        artifacts = ArtifactStore(str(small), tmp_path / "cache")
        with pytest.raises(Unavailable, match="No space left on device"):
            artifacts.publish("models/als/1", source, {})
        assert artifacts.list("models/als") == []
        assert not list(small.rglob("*.npy")), "the half-written draft is gone"
    finally:
        subprocess.run(["umount", small], check=True)
