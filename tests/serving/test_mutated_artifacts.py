"""Artifacts that were damaged, or made to deceive: refused, whatever they are, while the version before serves on."""

from __future__ import annotations

import json
import os
import pickle
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from core.artifacts import MANIFEST, MANIFEST_BYTES
from core.errors import ArtifactCorrupt
from core.store.versions import ModelVersion
from models.index import INDEX_FILE
from tests.serving.mutations import NAMES, Shelf, ask, damaged, train

ROOT = Path(__file__).parents[2]
SEED = 20261122
DAMAGES = 1000
WORKER_S = 180


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every registered model under `trained`."""
    folder = tmp_path_factory.mktemp("artifacts")
    train(folder / "trained")
    return folder


@pytest.fixture
def shelf(trained: Path, tmp_path: Path) -> Shelf:
    """Every model published and served, as version 0."""
    shelf = Shelf(tmp_path)
    shelf.models.take({name: shelf.put(name, 0, trained / "trained" / name) for name in NAMES})
    assert set(shelf.models.served) == set(NAMES)
    return shelf


def refused(shelf: Shelf, version: ModelVersion) -> bool:
    """Whether a server that is told to serve `version` serves on with the one before, and well."""
    live = {name: served.version for name, served in shelf.models.served.items()}
    shelf.models.take({**live, version.name: version})
    served = shelf.models.served[version.name]
    ask(served)
    return served.version.version == 0 and shelf.models.refused(version)


def test_a_thousand_damages_to_any_file_are_each_refused(shelf: Shelf, trained: Path) -> None:
    print(f"seed {SEED}")
    versions = [shelf.put(name, 1, trained / "trained" / name) for name in NAMES]
    files = [(one, file) for one in versions for file in sorted(shelf.at(one).rglob("*")) if file.is_file()]
    same = 0
    for number in range(DAMAGES):
        rng = random.Random(f"{SEED}-{number}")
        version, file = files[number % len(files)]
        whole = file.read_bytes()
        while (bad := damaged(rng, whole)) == whole:
            pass
        manifest = shelf.artifacts.manifest(version.path)
        file.write_bytes(bad)
        try:
            found = shelf.artifacts.fetch(shelf.registry.open(version) and version.path)[1]
        except ArtifactCorrupt:
            found = None
        file.write_bytes(whole)
        assert found is None or (file.name == MANIFEST and found == manifest), f"case {number}: {file}"
        same += found is not None  # white space between the values
    assert same < DAMAGES * 0.01
    shelf.registry.open(versions[0])


def test_a_damaged_version_of_every_model_leaves_the_one_before(shelf: Shelf, trained: Path) -> None:
    rng = random.Random(SEED)
    for name in NAMES:
        version = shelf.put(name, 1, trained / "trained" / name)
        file = rng.choice(sorted(file for file in shelf.at(version).rglob("*") if file.is_file()))
        raw = bytearray(file.read_bytes())
        raw[len(raw) // 2] ^= 4
        file.write_bytes(raw)
        assert refused(shelf, version), file


@pytest.mark.parametrize("cases", [110, pytest.param(400, marks=pytest.mark.slow_fault)])
def test_forged_files_with_right_checksums_are_refused_or_harmless(trained: Path, cases: int) -> None:
    print(f"seed {SEED}")
    command = [sys.executable, "-m", "tests.serving.mutations", trained, str(SEED), "0", str(cases)]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    ended = subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=WORKER_S, check=False
    )  # fmt: skip
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert ended.returncode == 0, f"ended by {ended.returncode} in {lines[-1:]}: {ended.stderr[-2000:]}"
    outcomes = Counter(line["refused"] for line in lines if "refused" in line)
    assert outcomes.total() == cases
    assert min(outcomes[True], outcomes[False]) > cases * 0.1  # neither all nor nothing passes
    surprises = [line for line in ended.stderr.splitlines() if line.startswith("Traceback")]
    assert not surprises, ended.stderr[-4000:]


class Payload:
    """Unpickled, it leaves a file behind."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.marker,)


def test_nothing_in_an_artifact_is_ever_executed(shelf: Shelf, trained: Path, tmp_path: Path) -> None:
    import torch

    marker = tmp_path / "executed"
    pickle.loads(pickle.dumps(Payload(marker)))
    assert marker.exists()
    marker.unlink()
    zipped = tmp_path / "zipped"
    torch.save(Payload(marker), zipped)
    number = 0
    for name in NAMES:
        for file in sorted(one for one in (trained / "trained" / name).rglob("*") if one.is_file()):
            for evil in (pickle.dumps(Payload(marker)), zipped.read_bytes()):
                number += 1
                source = tmp_path / f"source-{number}"
                _copy(trained / "trained" / name, source)
                (source / file.relative_to(trained / "trained" / name)).write_bytes(evil)
                version = shelf.put(name, number, source)
                shelf.registry.open(version)  # the checksums are right
                if file.name == INDEX_FILE:
                    shelf.models.take({**_live(shelf), name: version})
                    assert shelf.models.served[name].index is None  # every vector is searched instead
                    ask(shelf.models.served[name])
                    shelf.models.take({**_live(shelf), name: _first(version)})
                else:
                    assert refused(shelf, version), file
                assert not marker.exists(), file


FILE = "arrays.safetensors"


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/passwd", "a/../../outside", "", ".", "a//b", "a\\b", "a\0b", MANIFEST]
)
def test_a_manifest_that_names_files_elsewhere_is_refused(shelf: Shelf, name: str) -> None:
    (shelf.folder / "outside").write_bytes(b"x")
    version = _first(_live(shelf)["als"])
    manifest = shelf.artifacts.manifest(version.path)
    forged = msgspec.structs.replace(manifest, files={**manifest.files, name: manifest.files[FILE]})
    _write(shelf, version, msgspec.json.encode(msgspec.structs.replace(forged, sha256=forged.digest())))
    with pytest.raises(ArtifactCorrupt, match="names"):
        shelf.registry.open(version)


def test_a_link_is_refused_even_to_a_file_that_is_right(shelf: Shelf) -> None:
    version = _live(shelf)["als"]
    file = shelf.at(version) / FILE
    file.rename(shelf.folder / "elsewhere")
    file.symlink_to(shelf.folder / "elsewhere")
    with pytest.raises(ArtifactCorrupt, match="link"):
        shelf.registry.open(version)
    file.unlink()
    shelf.at(version).joinpath("folder").symlink_to(shelf.folder)
    with pytest.raises(ArtifactCorrupt, match="link"):
        shelf.registry.open(version)


def test_a_file_that_the_manifest_does_not_name_is_not_read(shelf: Shelf, trained: Path) -> None:
    version = shelf.put("transitions", 1, trained / "trained" / "transitions")
    (shelf.at(version) / INDEX_FILE).write_bytes((trained / "trained" / "als" / INDEX_FILE).read_bytes())
    with pytest.raises(ArtifactCorrupt, match="not in the manifest"):
        shelf.registry.open(version)
    assert refused(shelf, version)


@pytest.mark.parametrize("kind", ["deep", "long", "empty", "other", "unknown field", "changed"])
def test_a_manifest_that_is_none_is_refused(shelf: Shelf, kind: str) -> None:
    version = _live(shelf)["als"]
    plain = json.loads((shelf.at(version) / MANIFEST).read_bytes())
    forged = {
        "deep": b'{"about":' + b'{"a":' * 200_000,
        "long": b" " * MANIFEST_BYTES + json.dumps(plain).encode(),
        "empty": b"",
        "other": b"[]",
        "unknown field": json.dumps({**plain, "sha257": "x"}).encode(),
        "changed": json.dumps({**plain, "created_at": "2000-01-01T00:00:00Z"}).encode(),
    }[kind]
    _write(shelf, version, forged)
    with pytest.raises(ArtifactCorrupt):
        shelf.registry.open(version)


def _live(shelf: Shelf) -> dict[str, ModelVersion]:
    return {name: served.version for name, served in shelf.models.served.items()}


def _first(version: ModelVersion) -> ModelVersion:
    """Version 0 of the same model."""
    return ModelVersion(**{**vars(version), "version": 0, "path": f"models/{version.name}/00000"})


def _write(shelf: Shelf, version: ModelVersion, manifest: bytes) -> None:
    (shelf.at(version) / MANIFEST).write_bytes(manifest)


def _copy(source: Path, target: Path) -> None:
    for file in source.rglob("*"):
        if file.is_file():
            (target / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (target / file.relative_to(source)).write_bytes(file.read_bytes())
