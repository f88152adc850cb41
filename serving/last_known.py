"""What was live when Postgres last answered, on disk: a server that starts while Postgres is away serves from it, and one that
finds the same Postgres as before begins with it and reads only what has changed.

The live versions and the catalogue, because without the latter nobody could say what must not be shown (DESIGN I3). One file,
replaced as a whole; it ends with the checksum of all that comes before. Nothing in it is about users.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile
from threading import Lock
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.settings import Settings
from core.store.catalogue import LINE
from core.store.catalogue_copies import Position
from core.store.versions import ModelVersion
from features.interactions import AT_ONCE
from serving.catalogue import Copy, LiveCatalogue, View
from serving.items import Facts, Lines, Written
from serving.live import LiveModels

log = logging.getLogger(__name__)

Block = bytes | memoryview

SAVE_EVERY_S = 15.0
LINES_AT_ONCE_BYTES = 1 << 26
RETRY_S = 60.0  # after a disk was full
LARGEST_SHARE = 0.02  # of the time that saving may take
DIGEST_BYTES = 64
HEAD_BYTES = 1 << 24  # longer ones are nothing of ours
# Of n lines: their lengths, and the facts of items; `at` are lines whose time is bounded; `members` those of each category.
COLUMNS = {
    "lengths": np.int64, "shown": np.bool_, "fresh_s": np.float64, "at": np.int32, "from_s": np.float64,
    "until_s": np.float64, "sizes": np.int64, "members": np.int32,
}  # fmt: skip
# Of the whole file: another release may read other columns. The number goes up with what neither LINE nor COLUMNS tells.
FORMAT = hashlib.sha256(f"1 {LINE} {[*COLUMNS]}".encode()).hexdigest()


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line of the file: FORMAT, and `bytes` of each block after it: JSON lists of ids and categories, COLUMNS; then
    lines."""

    format: str
    versions: dict[str, ModelVersion]
    position: Position | None
    bytes: dict[str, int]


@dataclass(frozen=True)
class Known:
    """The live version of each name, and the catalogue."""

    versions: Mapping[str, ModelVersion]
    copy: Copy


class LastKnown:
    """Saves what a server serves, and gives it back to one that starts."""

    def __init__(self, settings: Settings, catalogue: LiveCatalogue, models: LiveModels) -> None:
        self._file = settings.home / "cache" / settings.namespace / "last-known"
        self._catalogue, self._models = catalogue, models
        self._known: Known | None = None  # what was read of the file, until Postgres has answered
        self._reading = Lock()
        self._unusable: tuple[int, int] | None = None  # the file that was looked at in vain
        self._mark, self._gone = "", ""  # of the copy in the file, and of one that is no more
        self._saved: tuple[object, dict[str, int]] | None = (
            None  # an array that changes with every change, and versions
        )
        self._placed = False  # whether what was saved says where it stands
        self._versions: dict[str, int] = {}  # in the file that was read
        self._rest_until = 0.0
        catalogue.copy, catalogue.drop_copy = self.copy, self._drop

    def save(self, at_once: bool = False) -> None:
        """Write it down, where Postgres has said something new and, but for `at_once`, not so often that it costs."""
        # Their numbers alone: to remember the models themselves would keep those of the last save in memory.
        versions = {name: one.version for name, one in self._models.served.items()}
        numbers = {name: one.version for name, one in versions.items()}
        if self._saved is None and self._catalogue.copied is not None:  # the file as it is
            self._saved, self._placed = (self._catalogue.copied, self._versions), True
        same = self._saved is not None and self._saved[0] is self._catalogue.view.shown and self._saved[1] == numbers
        same = same and (self._placed or not self._catalogue.placeable)
        if not self._catalogue.loaded or same or (time.monotonic() < self._rest_until and not at_once):
            return
        self._drop()
        began = time.monotonic()
        view, written, position = self._catalogue.kept(self._gone)
        blocks = _blocks(view, written)
        sizes = {name: memoryview(block).nbytes for name, block in blocks.items()}
        head = Head(FORMAT, versions, position, sizes)
        try:
            self._write([msgspec.json.encode(head) + b"\n", *blocks.values(), *written.parts])
            self._gone, self._mark = self._mark, position.mark if position else ""
            self._saved, self._placed = (view.shown, numbers), position is not None
            rest_s = (time.monotonic() - began) / LARGEST_SHARE
        except OSError as error:
            self._gone, rest_s = position.mark if position else self._gone, RETRY_S
            log.warning("what is live cannot be saved at %s: %s", self._file, error)
        self._rest_until = time.monotonic() + rest_s

    def _write(self, parts: Sequence[Block]) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with NamedTemporaryFile(dir=self._file.parent, prefix="last-known-", delete=False) as draft:
            try:
                for part in parts:
                    digest.update(part)
                    draft.write(part)
                draft.write(digest.hexdigest().encode())
                draft.close()
                os.replace(draft.name, self._file)
                self._file.with_name("last-known.jsonl").unlink(missing_ok=True)  # of releases before 0026
            except BaseException:
                Path(draft.name).unlink(missing_ok=True)
                raise

    def copy(self) -> Copy | None:
        """The catalogue as it was known last, where there is such a thing."""
        with self._reading:
            if self._known is None and (file := _which(self._file)) != self._unusable:
                self._known = read(self._file)
                self._unusable = None if self._known else file
                if self._known and self._known.copy.position:
                    self._mark = self._known.copy.position.mark
                    self._versions = {name: one.version for name, one in self._known.versions.items()}
            return self._known.copy if self._known else None

    def _drop(self) -> None:
        with self._reading:
            self._known = None

    def restore(self) -> None:
        """Serve what was known last, where there is such a thing; Postgres, once it answers, replaces all of it."""
        copy, known = self.copy(), self._known
        if copy is None or known is None:
            return
        self._catalogue.restore(copy.lines)
        self._models.take(known.versions)
        log.warning(
            "Postgres is away: %d models and %d items serve as last known", len(known.versions), len(copy.lines)
        )


def _which(file: Path) -> tuple[int, int] | None:
    """What tells one state of a file from the next; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def read(file: Path) -> Known | None:
    """What `file` holds; None where it is missing or not whole."""
    try:
        with file.open("rb") as opened:
            digest, left = hashlib.sha256(), os.fstat(opened.fileno()).st_size - DIGEST_BYTES
            raw = opened.readline(HEAD_BYTES)
            digest.update(raw)
            head = msgspec.json.decode(raw, type=Head)
            if head.format != FORMAT:
                log.info("%s is of another release and not used", file)
                return None

            def block(n_bytes: int) -> bytes:
                found = opened.read(n_bytes) if 0 <= n_bytes <= left else b""
                digest.update(found)
                return found

            blocks = {name: block(size) for name, size in head.bytes.items()}
            lengths = np.frombuffer(blocks["lengths"], np.int64)
            parts = [block(int(some.sum())) for some in _at_once(lengths)]
            if digest.hexdigest().encode() != opened.read():
                log.warning("%s is damaged and not used", file)
                return None
            return Known(head.versions, Copy(_lines(blocks, lengths, parts), head.position))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError) as error:
        log.warning("%s cannot be read and is not used: %s", file, error)
        return None


def _at_once(lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The lengths of lines that are read at once."""
    number = (np.cumsum(lengths) - lengths) // LINES_AT_ONCE_BYTES
    return np.split(lengths, np.flatnonzero(np.diff(number)) + 1) if len(lengths) else []


def _blocks(view: View, written: Written) -> dict[str, Block]:
    """What is known of the items beside their lines, by name."""
    rows, line_of = written.rows, np.full(len(view), -1, np.int32)
    line_of[rows] = np.arange(len(rows), dtype=np.int32)
    categories = view.categories
    columns = {
        "lengths": written.lengths, "shown": view.shown[rows], "fresh_s": view.fresh_s[rows], "at": line_of[view.timed],
        "from_s": view.from_s, "until_s": view.until_s, "sizes": [len(one) for one in categories.values()],
        "members": line_of[np.concatenate([np.zeros(0, np.int32), *categories.values()])],
    }  # fmt: skip
    some = [rows[at : at + AT_ONCE].tolist() for at in range(0, len(rows), AT_ONCE)]
    ids = [msgspec.json.encode(list(map(view.ids.__getitem__, part)))[1:-1] for part in some]
    return {
        "ids": b"[" + b",".join(ids) + b"]", "categories": msgspec.json.encode(list(categories)),
        **{name: np.ascontiguousarray(columns[name], kind).data for name, kind in COLUMNS.items()},
    }  # fmt: skip


def _lines(blocks: Mapping[str, bytes], lengths: NDArray[np.int64], parts: list[bytes]) -> Lines:
    ids = msgspec.json.decode(blocks["ids"], type=list[str])
    names = msgspec.json.decode(blocks["categories"], type=list[str])
    found: dict[str, NDArray[Any]] = {name: np.frombuffer(blocks[name], kind) for name, kind in COLUMNS.items()}
    from_s, until_s = np.full(len(ids), -np.inf), np.full(len(ids), np.inf)
    from_s[found["at"]], until_s[found["at"]] = found["from_s"], found["until_s"]
    facts = Facts(found["shown"], found["fresh_s"], from_s, until_s)
    members = dict(zip(names, np.split(found["members"], np.cumsum(found["sizes"])[:-1]), strict=True)) if names else {}
    return Lines.of(ids, parts, [np.cumsum(some) - some for some in _at_once(lengths)], facts, members)
