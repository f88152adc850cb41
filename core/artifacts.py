"""Artifacts: directories of plain files with a manifest of checksums, written last and renamed into place.

Any fsspec URL can hold them (a folder, s3://, gs://, ...). Nothing is ever unpickled; a file is used only after its
bytes have been checked against the manifest, and the manifest against itself.
"""

from __future__ import annotations

import hashlib
import shutil
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import fsspec
import msgspec
from fsspec.core import url_to_fs
from msgspec import Meta

from core.errors import ArtifactCorrupt, Conflict, NotFound, Unavailable

MANIFEST = "manifest.json"
DRAFT = ".draft-"  # in the name of what is being written, or was when its writer died
ABANDONED = timedelta(days=1)
MANIFEST_BYTES = 1 << 24  # longer ones are nothing of ours


class FileEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Size and checksum of one file."""

    bytes: Annotated[int, Meta(ge=0)]
    sha256: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an artifact holds, and what its maker wanted remembered in `about`. `sha256` is of all the rest, as `digest` says."""

    created_at: datetime
    files: dict[str, FileEntry]
    about: dict[str, Any] = {}
    sha256: str = ""  # those of earlier versions have none

    def digest(self) -> str:
        """The checksum of everything but itself, in the one form that the same values always have."""
        return hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(self, sha256=""))).hexdigest()


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
        final, draft = self._at(path), self._at(f"{path}{DRAFT}{uuid.uuid4().hex[:12]}")
        found = (str(file.relative_to(local)) for file in local.rglob("*") if file.is_file())
        names = sorted(name for name in found if name != MANIFEST)  # one that was fetched has its own
        manifest = Manifest(datetime.now(UTC), {name: _entry(local / name) for name in names}, about)
        manifest = msgspec.structs.replace(manifest, sha256=manifest.digest())
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
        """The manifest at `path`. Raises NotFound, ArtifactCorrupt, Unavailable."""
        try:
            raw: bytes = self._fs.cat_file(f"{self._at(path)}/{MANIFEST}", end=MANIFEST_BYTES + 1)
        except FileNotFoundError:
            raise NotFound(f"there is no artifact {path} in {self.url}") from None
        except OSError as error:
            raise Unavailable(f"cannot read artifact {path} of {self.url}: {error.strerror or error}") from error
        return _manifest(path, raw)

    def fetch(self, path: str) -> tuple[Path, Manifest]:
        """A local directory with the verified files of `path`. Raises NotFound, ArtifactCorrupt, Unavailable.

        What was fetched once is served from the cache while the store does not answer, and fetched again where it was damaged.
        """
        if self._local:
            local, manifest = Path(self._at(path)), self.manifest(path)
            verify(local, manifest)
            return local, manifest
        local = self._cache / path
        try:
            manifest = self.manifest(path)
        except Unavailable:
            if not (local / MANIFEST).exists():
                raise
            manifest = _manifest(path, (local / MANIFEST).read_bytes())
            verify(local, manifest)
            return local, manifest
        if (local / MANIFEST).exists():
            try:
                verify(local, manifest)
                return local, manifest
            except ArtifactCorrupt:
                shutil.rmtree(local, ignore_errors=True)
        self._download(path, local, manifest)
        return local, manifest

    def _download(self, path: str, local: Path, manifest: Manifest) -> None:
        """The files that the manifest names, and nothing else, verified before they are in place."""
        local.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self._cache, prefix="fetching-") as folder:
            draft = Path(folder) / "files"
            draft.mkdir()
            try:
                for name in manifest.files:
                    (draft / name).parent.mkdir(parents=True, exist_ok=True)
                    self._fs.get_file(f"{self._at(path)}/{name}", str(draft / name))
            except FileNotFoundError:
                raise ArtifactCorrupt(f"{path} lacks {name}: train or publish it again") from None
            except OSError as error:
                raise Unavailable(f"cannot read artifact {path} of {self.url}: {error.strerror or error}") from error
            verify(draft, manifest)
            (draft / MANIFEST).write_bytes(msgspec.json.encode(manifest))
            try:
                draft.rename(local)
            except OSError:  # another process was faster
                verify(local, manifest)

    def list(self, prefix: str) -> list[str]:
        """Names of the finished artifacts directly under `prefix`, sorted."""
        try:
            found = self._fs.ls(self._at(prefix), detail=False, refresh=True)
        except FileNotFoundError:
            return []
        names = (str(one).rstrip("/").rsplit("/", 1)[1] for one in found)
        names = (name for name in names if DRAFT not in name)
        return sorted(name for name in names if self._fs.exists(f"{self._at(prefix)}/{name}/{MANIFEST}"))

    def delete(self, path: str) -> None:
        """Remove an artifact; absent ones are fine."""
        if self._fs.exists(self._at(path)):
            self._fs.rm(self._at(path), recursive=True)
        shutil.rmtree(self._cache / path, ignore_errors=True)

    def tidy(self, prefix: str) -> None:
        """Remove what nobody can want under `prefix`: local copies of artifacts that are gone, and what was being written a
        day ago by someone who died at it."""
        there = set(self.list(prefix))
        for copy in self._cache.joinpath(prefix).glob("*"):
            if copy.name not in there:
                shutil.rmtree(copy, ignore_errors=True)
        for path in self._fs.glob(f"{self._at(prefix)}/*{DRAFT}*"):
            written = [self._fs.modified(one) for one in self._fs.find(path)]
            if not written or datetime.now(UTC) - max(written) > ABANDONED:
                self._fs.rm(path, recursive=True)

    def _at(self, path: str) -> str:
        if ".." in path.split("/") or path.startswith("/"):
            raise NotFound(f"{path!r} is not the name of an artifact")
        return f"{self._root}/{path}"


def _manifest(path: str, raw: bytes) -> Manifest:
    if len(raw) > MANIFEST_BYTES:
        raise ArtifactCorrupt(f"{path}/{MANIFEST} has more than {MANIFEST_BYTES} bytes, which no manifest has")
    try:
        manifest = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ArtifactCorrupt(f"{path}/{MANIFEST} cannot be read: {error}") from None
    if manifest.sha256 and manifest.sha256 != manifest.digest():
        raise ArtifactCorrupt(f"{path}/{MANIFEST} was changed: train or publish it again")
    for name in manifest.files:
        if name == MANIFEST or "\0" in name or "\\" in name or {"", ".", ".."} & set(name.split("/")):
            raise ArtifactCorrupt(f"{path}/{MANIFEST} names {name!r}, which is no file of an artifact")
    return manifest


def verify(local: Path, manifest: Manifest) -> None:
    """Check every file's size and sha256. Raises ArtifactCorrupt naming the first that differs, is too many, or is a link."""
    for found in sorted(local.rglob("*")):
        name = found.relative_to(local).as_posix()
        if found.is_symlink():
            raise ArtifactCorrupt(f"{found} is a link, and an artifact holds plain files only")
        if not found.is_dir() and name != MANIFEST and name not in manifest.files:
            raise ArtifactCorrupt(f"{found} is not in the manifest: remove it, or publish again")
    for name, expected in manifest.files.items():
        file = local / name
        if not file.is_file():
            raise ArtifactCorrupt(f"{file} is missing")
        if file.stat().st_size != expected.bytes or _entry(file) != expected:
            raise ArtifactCorrupt(f"{file} is not the file its manifest describes: train or publish it again")


def _entry(file: Path) -> FileEntry:
    with file.open("rb", buffering=0) as stream:
        digest = hashlib.file_digest(
            stream, hashlib.sha256
        )  # into one small buffer: memory that is new costs as much again
    return FileEntry(file.stat().st_size, digest.hexdigest())
