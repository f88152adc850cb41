"""Artifacts: directories of plain files with a manifest of checksums, written last and renamed into place.

Any fsspec URL can hold them (a folder, s3://, gs://, ...). Nothing is ever unpickled; a file is used only after its
bytes have been checked against the manifest.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import msgspec
from fsspec.core import url_to_fs

from core.errors import ArtifactCorrupt, Conflict, NotFound, Unavailable

MANIFEST = "manifest.json"
CHUNK_BYTES = 1 << 20


class FileEntry(msgspec.Struct, frozen=True):
    """Size and checksum of one file."""

    bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What an artifact holds, and what its maker wanted remembered in `about`."""

    created_at: datetime
    files: dict[str, FileEntry]
    about: dict[str, Any] = {}


class ArtifactStore:
    """Publishes and fetches artifacts under one URL. `cache` keeps verified local copies of remote ones."""

    def __init__(self, url: str, cache: Path) -> None:
        self.url = url
        self._cache = cache
        self._fs, self._root = url_to_fs(url)
        self._local = isinstance(self._fs, fsspec.get_filesystem_class("file"))

    def publish(self, path: str, local: Path, about: dict[str, Any]) -> Manifest:
        """Copy the files of `local` to `path`. Readers see all of it or nothing.

        Raises Conflict when `path` exists, Unavailable when it cannot be written (a full disk, for one).
        """
        final, draft = self._at(path), self._at(f"{path}.draft-{uuid.uuid4().hex[:12]}")
        names = sorted(str(file.relative_to(local)) for file in local.rglob("*") if file.is_file())
        manifest = Manifest(datetime.now(UTC), {name: _entry(local / name) for name in names}, about)
        try:
            if self._fs.exists(f"{final}/{MANIFEST}"):
                raise Conflict(f"artifact {path} exists already")
            for name in names:
                self._fs.makedirs(f"{draft}/{name}".rsplit("/", 1)[0], exist_ok=True)
                self._fs.put_file(str(local / name), f"{draft}/{name}")
            self._fs.makedirs(draft, exist_ok=True)
            self._fs.pipe_file(f"{draft}/{MANIFEST}", msgspec.json.format(msgspec.json.encode(manifest)))
            self._fs.mv(draft, final, recursive=True)
        except OSError as error:
            if self._fs.exists(draft):
                self._fs.rm(draft, recursive=True)
            raise Unavailable(f"cannot write artifact {path} to {self.url}: {error.strerror or error}") from error
        return manifest

    def manifest(self, path: str) -> Manifest:
        """The manifest at `path`. Raises NotFound, ArtifactCorrupt."""
        try:
            raw = self._fs.cat_file(f"{self._at(path)}/{MANIFEST}")
        except FileNotFoundError:
            raise NotFound(f"there is no artifact {path} in {self.url}") from None
        try:
            return msgspec.json.decode(raw, type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ArtifactCorrupt(f"{path}/{MANIFEST} cannot be read: {error}") from None

    def fetch(self, path: str) -> tuple[Path, Manifest]:
        """A local directory with the verified files of `path`. Raises NotFound, ArtifactCorrupt."""
        manifest = self.manifest(path)
        if self._local:
            local = Path(self._at(path))
        else:
            local = self._cache / path
            if not (local / MANIFEST).exists():
                shutil.rmtree(local, ignore_errors=True)
                local.parent.mkdir(parents=True, exist_ok=True)
                self._fs.get(self._at(path), str(local), recursive=True)
        verify(local, manifest)
        return local, manifest

    def list(self, prefix: str) -> list[str]:
        """Names of the finished artifacts directly under `prefix`, sorted."""
        try:
            found = self._fs.ls(self._at(prefix), detail=False, refresh=True)
        except FileNotFoundError:
            return []
        names = (str(one).rstrip("/").rsplit("/", 1)[1] for one in found)
        return sorted(name for name in names if self._fs.exists(f"{self._at(prefix)}/{name}/{MANIFEST}"))

    def delete(self, path: str) -> None:
        """Remove an artifact; absent ones are fine."""
        if self._fs.exists(self._at(path)):
            self._fs.rm(self._at(path), recursive=True)
        shutil.rmtree(self._cache / path, ignore_errors=True)

    def _at(self, path: str) -> str:
        if ".." in path.split("/") or path.startswith("/"):
            raise NotFound(f"{path!r} is not the name of an artifact")
        return f"{self._root}/{path}"


def verify(local: Path, manifest: Manifest) -> None:
    """Check every file's size and sha256. Raises ArtifactCorrupt naming the first that differs."""
    for name, expected in manifest.files.items():
        file = local / name
        if not file.is_file():
            raise ArtifactCorrupt(f"{file} is missing")
        if file.stat().st_size != expected.bytes or _entry(file) != expected:
            raise ArtifactCorrupt(f"{file} is not the file its manifest describes: train or publish it again")


def _entry(file: Path) -> FileEntry:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return FileEntry(file.stat().st_size, digest.hexdigest())
