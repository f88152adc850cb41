"""What was live when Postgres last answered, on disk: a server that starts while Postgres is away serves from it.

The live versions and the catalogue, because without the latter nobody could say what must not be shown (DESIGN I3). One file,
replaced as a whole; its last line is the checksum of the others. Nothing in it is about users.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

import msgspec

from core.settings import Settings
from core.store.versions import ModelVersion
from serving.catalogue import LiveCatalogue, View
from serving.items import Lines
from serving.live import LiveModels

log = logging.getLogger(__name__)

SAVE_EVERY_S = 15.0
READ_AT_ONCE_BYTES = 4_000_000
LARGEST_SHARE = 0.02  # of the time that saving may take


@dataclass(frozen=True)
class Known:
    """The live version of each name, and the catalogue's items."""

    versions: Mapping[str, ModelVersion]
    items: Lines


class LastKnown:
    """Saves what a server serves, and gives it back to one that cannot ask Postgres."""

    def __init__(self, settings: Settings, catalogue: LiveCatalogue, models: LiveModels) -> None:
        self._file = settings.home / "cache" / settings.namespace / "last-known.jsonl"
        self._catalogue, self._models = catalogue, models
        self._saved: tuple[object, object] | None = None  # an array and a mapping that change with every change
        self._rest_until = 0.0

    def save(self, at_once: bool = False) -> None:
        """Write it down, where Postgres has said something new and, but for `at_once`, not so often that it costs."""
        view, served = self._catalogue.view, self._models.served
        same = self._saved is not None and self._saved[0] is view.shown and self._saved[1] is served
        if not self._catalogue.loaded or same or (time.monotonic() < self._rest_until and not at_once):
            return
        began = time.monotonic()
        try:
            self._write({name: one.version for name, one in served.items()}, view)
        except OSError as error:
            log.warning("what is live cannot be saved at %s: %s", self._file, error)
        self._saved = view.shown, served
        self._rest_until = time.monotonic() + (time.monotonic() - began) / LARGEST_SHARE

    def _write(self, versions: Mapping[str, ModelVersion], view: View) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with NamedTemporaryFile(dir=self._file.parent, prefix="last-known-", delete=False) as draft:
            try:
                for part in _lines(versions, view):
                    digest.update(part)
                    draft.write(part)
                draft.write(digest.hexdigest().encode())
                draft.close()
                os.replace(draft.name, self._file)
            except BaseException:
                Path(draft.name).unlink(missing_ok=True)
                raise

    def restore(self) -> None:
        """Serve what was known last, where there is such a thing; Postgres, once it answers, replaces all of it."""
        known = read(self._file)
        if known is None:
            return
        self._catalogue.restore(known.items)
        self._models.take(known.versions)
        log.warning(
            "Postgres is away: %d models and %d items serve as last known", len(known.versions), len(known.items)
        )


def read(file: Path) -> Known | None:
    """What `file` holds; None where it is missing or not whole."""
    try:
        raw = file.read_bytes()
        body, digest = raw[:-64], raw[-64:]
        if hashlib.sha256(body).hexdigest().encode() != digest:
            log.warning("%s is damaged and not used", file)
            return None
        head, _, rest = body.partition(b"\n")
        versions = msgspec.json.decode(head, type=dict[str, ModelVersion])
        items = Lines()
        for part in _parts(rest):
            items.take(part)
        return Known(versions, items)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("%s cannot be read and is not used: %s", file, error)
        return None


def _parts(lines: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(lines):
        end = lines.find(b"\n", at + READ_AT_ONCE_BYTES) + 1 or len(lines)
        yield lines[at:end]
        at = end


def _lines(versions: Mapping[str, ModelVersion], view: View) -> Iterator[bytes]:
    yield msgspec.json.encode(versions) + b"\n"
    yield from view.items.raw()
