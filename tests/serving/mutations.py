"""Damaged and forged artifacts for test_mutated_artifacts.py: seeded, one a case, and what comes of loading each.

Run as a program it loads forged ones one after the other in a process whose memory is bounded, and prints a line each: a crash
of native code is then the end of that process, and the line that is missing says which case it was.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import signal
import struct
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from core.artifacts import ArtifactStore
from core.registry import Registry
from core.store import Store
from core.store.database import Database
from core.store.versions import ModelVersion
from models import RECOMMENDERS
from models.blend import BlendConfig, Member
from models.index import INDEX_FILE, VectorIndex
from models.item_text import fit_with_texts
from models.recommender import UserBatch, VectorRecommender
from serving.catalogue import LiveCatalogue
from serving.live import LiveModels, Served
from tests.models.test_contract import CONFIGS, TEXTS, checkerboard

EXTREMES: tuple[Any, ...] = (
    0,
    -1,
    1,
    3,
    2**31,
    2**63,
    10**30,
    1e308,
    -1e308,
    0.5,
    "",
    "x",
    None,
    True,
    [],
    {},
    [[]] * 9,
    "\0",
)
NAMES = tuple(sorted(RECOMMENDERS))
MOST_BYTES = 3 << 30  # what libraries take for themselves is most of it
MOST_S = 10


def train(folder: Path) -> None:
    """Save every registered model, with an index where it has vectors, into a folder of its name."""
    quick = {
        "vae": replace(CONFIGS["vae"], epochs=1), "sequence": replace(CONFIGS["sequence"], epochs=1),
        "blend": BlendConfig((Member("transitions"), Member("als", {"factors": 4}), Member("repeat")), (0.5, 0.3, 0.2)),
    }  # fmt: skip
    for name in NAMES:
        model = fit_with_texts(RECOMMENDERS[name], checkerboard(), {**CONFIGS, **quick}[name], texts=TEXTS)
        model.save(folder / name)
        if isinstance(model, VectorRecommender):
            kind = "ivf" if name == "bpr" else "flat"
            VectorIndex.build(np.repeat(model.item_vectors(), 4, 0)[: len(model.item_ids)], kind).save(
                folder / name / INDEX_FILE
            )


class Shelf:
    """An artifact store and the live models of a server that has nothing but these artifacts: no Postgres answers it."""

    def __init__(self, folder: Path) -> None:
        nobody = Store(Database("postgresql://nobody@127.0.0.1:1/nothing", "nothing"), "secret")
        self.artifacts = ArtifactStore(str(folder), folder / "cache")
        self.registry = Registry(nobody.versions, self.artifacts)
        self.models = LiveModels(self.registry, LiveCatalogue(nobody))
        self.folder = folder

    def put(self, name: str, number: int, source: Path) -> ModelVersion:
        """Publish `source` as a version of a model."""
        path = f"models/{name}/{number:05d}"
        self.artifacts.publish(path, source, {"name": name, "version": number})
        return ModelVersion(name, number, "live", path, None, "", "", {}, {}, "", datetime.now(UTC), None)

    def at(self, version: ModelVersion) -> Path:
        """Where its files are."""
        return self.folder / version.path


def damaged(rng: random.Random, raw: bytes) -> bytes:
    """The bytes with something happened to them: a flipped bit, a cut, a lost or doubled stretch, noise, another file."""
    if not raw:
        return b"x"
    at, bits = rng.randrange(len(raw)), bytearray(raw)
    what = rng.choice(("flip", "flip", "flip", "cut", "lost", "doubled", "noise", "empty", "longer"))
    if what == "flip":
        bits[at] ^= 1 << rng.randrange(8)
    elif what == "cut":
        del bits[at:]
    elif what == "lost":
        del bits[at : at + rng.randint(1, 64)]
    elif what == "doubled":
        bits[at:at] = bits[at : at + rng.randint(1, 64)]
    elif what == "noise":
        bits[at : at + 16] = rng.randbytes(16)
    elif what == "longer":
        bits += rng.randbytes(rng.randint(1, 100))
    else:
        bits.clear()
    return bytes(bits)


def forge(rng: random.Random, folder: Path) -> str:
    """Change something of a saved model so that it may still be read, or damage it; says what was done."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    file = rng.choice(files)
    ways: tuple[Callable[[random.Random, Path], str], ...] = (_bytes,)
    if file.name == "model.json":
        ways = (_config, _config, _config, _bytes)
    elif file.suffix == ".safetensors":
        ways = (_array, _array, _array, _header, _bytes)
    elif file.name == "items.json":
        ways = (_items, _bytes)
    elif file.name == INDEX_FILE:
        ways = (_number, _number, _bytes)
    return f"{file.relative_to(folder)}: {rng.choice(ways)(rng, file)}"


def _bytes(rng: random.Random, file: Path) -> str:
    file.write_bytes(damaged(rng, file.read_bytes()))
    return "damaged"


def _config(rng: random.Random, file: Path) -> str:
    about = json.loads(file.read_bytes())
    place = about["config"] if rng.random() < 0.9 else about
    if not place:
        place = about
    name, value = rng.choice(sorted(place)), rng.choice(EXTREMES)
    place[name] = value
    file.write_text(json.dumps(about))
    return f"{name} = {value!r:.40}"


def _items(rng: random.Random, file: Path) -> str:
    ids = json.loads(file.read_bytes())
    what = rng.choice(("twice", "less", "more", "none", "other", "long", "deep"))
    forged: Any = {
        "twice": [ids[0], *ids[:-1]], "less": ids[1:], "more": [*ids, "new"], "none": [], "other": [f"{one}x" for one in ids],
        "long": ["y" * 100_000, *ids[1:]],
    }.get(what)  # fmt: skip
    file.write_text("[" * 100_000 if what == "deep" else json.dumps(forged))
    return what


def _array(rng: random.Random, file: Path) -> str:
    arrays = load_file(file)
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    what = rng.choice(
        ("dtype", "shape", "gone", "extra", "nan", "huge", "negative", "index", "empty", "scalar", "wide")
    )
    flat = array.reshape(-1).copy()
    if what == "dtype":
        kind = rng.choice((np.float64, np.float16, np.int8, np.int64, np.uint64, np.int32, np.bool_, np.float32))
        arrays[name] = array.astype(kind)
        what = f"dtype {kind.__name__}"
    elif what == "shape":
        arrays[name] = array.reshape(-1) if array.ndim > 1 else array[None]
    elif what == "gone":
        del arrays[name]
    elif what == "extra":
        arrays["extra"] = array
    elif what in ("empty", "scalar"):
        arrays[name] = array[:0] if what == "empty" else np.zeros((), array.dtype)
    elif what == "wide":
        arrays[name] = np.concatenate([array, array])
    elif len(flat):
        at = rng.randrange(len(flat))
        worst = {"nan": np.nan, "huge": 3e38, "negative": -1, "index": 2**31 - 1}[what]
        with np.errstate(all="ignore"):
            flat[at] = worst if array.dtype.kind == "f" or not isinstance(worst, float) else 2**31 - 1
        arrays[name] = flat.reshape(array.shape)
    save_file({one: np.ascontiguousarray(value) for one, value in arrays.items()}, file)
    return f"{name} {what}"


def _header(rng: random.Random, file: Path) -> str:
    raw = file.read_bytes()
    what = rng.choice(("endless", "long", "deep", "offsets", "shape", "type"))
    size = struct.unpack("<Q", raw[:8])[0]
    header, rest = json.loads(raw[8 : 8 + size]), raw[8 + size :]
    name = rng.choice(sorted(set(header) - {"__metadata__"}))
    if what in ("endless", "long"):
        file.write_bytes(struct.pack("<Q", 2**63 if what == "endless" else 99_999_999) + raw[8:])
        return what
    if what == "deep":
        text = b'{"a":' * 100_000
    else:
        if what == "offsets":
            header[name]["data_offsets"] = rng.choice(([0, 2**62], [2**62, 0], [-1, 4], [4, 8]))
        elif what == "shape":
            header[name]["shape"] = rng.choice(([2**31, 2**31, 4], [2**40], [0], [1] * 1000))
        else:
            header[name]["dtype"] = rng.choice(("BF16", "F8_E4M3", "C64", "F4", "object", "U16"))
        text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + rest)
    return what


def _number(rng: random.Random, file: Path) -> str:
    raw = bytearray(file.read_bytes())
    at = rng.randrange(0, min(len(raw) - 8, 256))
    kind, values = rng.choice((("<i", (-1, 0, 2**31 - 1, 10**6)), ("<q", (-1, 0, 2**40, 2**62, 10**7))))
    value = rng.choice(values)
    struct.pack_into(kind, raw, at, value)
    file.write_bytes(raw)
    return f"{value} at {at}"


def ask(served: Served) -> None:
    """What requests ask of a model, for users with no, a short and a long history."""
    n = len(served.items)
    walks = [np.zeros(0, np.int32), np.array([n - 1], np.int32), np.arange(300, dtype=np.int32) % n]
    for walk in walks:
        times_s, weights = np.arange(len(walk)) * 1e6, np.ones(len(walk), np.float32)
        users = UserBatch.from_histories([(walk, times_s, weights)], [3e8])
        found = served.recommend(users, 10, np.ones(n, bool))
        assert len(set(found.tolist())) == len(found)
        scored, _ = served.model.recommend(users, 10)
        assert scored.max(initial=-1) < n
        served.model.because(users, scored, 3)
    served.model.similar(np.arange(n, dtype=np.int32), 10)


def main() -> None:
    """`folder seed first last`: forge and load these cases; a line of JSON each: case, what was done, what came of it."""
    folder, seed, first, last = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    shutil.rmtree(folder / f"forged-{first}", ignore_errors=True)
    shelf = Shelf(folder / f"forged-{first}")
    whole = {name: shelf.put(name, 0, folder / "trained" / name) for name in NAMES}
    shelf.models.take(whole)
    assert {name: served.version.version for name, served in shelf.models.served.items()} == dict.fromkeys(NAMES, 0)
    for number in range(first, last):
        rng = random.Random(f"{seed}-{number}")
        name = NAMES[number % len(NAMES)]
        source = folder / f"source-{first}"
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(folder / "trained" / name, source)
        print(json.dumps({"case": number, "model": name, "done": forge(rng, source)}), flush=True)
        version = shelf.put(name, number + 1, source)
        signal.alarm(MOST_S)
        shelf.models.take({**whole, name: version})
        signal.alarm(0)
        serves = shelf.models.served[name].version.version
        assert serves in (0, version.version)
        ask(shelf.models.served[name])
        shelf.models.take(whole)
        print(json.dumps({"case": number, "refused": serves == 0}), flush=True)


if __name__ == "__main__":
    main()
