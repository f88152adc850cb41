"""Does training on 20 million interactions of a million items fit in 16 GB? A generated stream, peak memory and time.

    python -m bench.train_memory                       # all, each in a process of its own that may not have more
    python -m bench.train_memory --models transitions --interactions 2000000 --items 100000
    python -m bench.train_memory --models sequence --share 0.02   # so much of an epoch, everything at its full size
    python -m bench.train_memory --models sequence --config '{"dimensions": 32, "blocks": 1, "length": 64, "negatives": 256}'
    python -m bench.train_memory --models update      # the live transitions brought up to date with the newest minute of it

The stream is written as snapshot segments are; each process reads it (features/interactions.py) and fits one model. The models
are as configured by default but for ALS_ITERATIONS and EPOCHS, for time: neither changes what memory is needed.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.progress import Terminal
from features.interactions import Interactions
from features.snapshot import SCHEMA
from models import RECOMMENDERS
from models.step_counts import StepCounts
from models.transitions import Transitions, TransitionsConfig

LIMIT_BYTES = 16 << 30
MODELS = ("transitions", "als", "sequence")
SEGMENTS = 20
FASTER = {"iterations": 1, "epochs": 1}  # fields of configurations
POPULARITY_POWER = 0.8  # of the rank of an item, how much less often it is chosen
FOLLOWED = 0.4  # share of steps that go to one of the few items that tend to follow
FOLLOWERS = 8
MINUTE_EVENTS = 60_000  # at 1,000 a second


def generate(folder: Path, interactions: int, items: int, users: int, seed: int = 0) -> None:
    """Write segments: users of very different activity choose popular items, or what tends to follow the one before."""
    rng = np.random.default_rng(seed)
    chance = np.arange(1, items + 1) ** -POPULARITY_POWER
    edges = np.cumsum(chance) / chance.sum()
    followers = np.searchsorted(edges, rng.random((items, FOLLOWERS)))
    active = np.cumsum(rng.pareto(1.5, users) + 0.5)
    item = np.searchsorted(edges, rng.random(users))  # what each user did last
    for number in range(SEGMENTS):
        n = interactions // SEGMENTS
        user = np.searchsorted(active / active[-1], rng.random(n)).clip(max=users - 1)
        chosen = np.searchsorted(edges, rng.random(n)).clip(max=items - 1)
        led = rng.random(n) < FOLLOWED
        chosen[led] = followers[item[user[led]], rng.integers(0, FOLLOWERS, int(led.sum()))].clip(max=items - 1)
        item[user] = chosen
        time_us = 1_700_000_000_000_000 + (number * n + np.arange(n)) * 100_000
        columns = [
            pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), n, [None, pa.py_buffer(rng.bytes(16 * n))]),
            pa.array(np.char.add("u", user.astype(str))),
            pa.array(np.char.add("i", chosen.astype(str))),
            pa.array(["view"]).take(pa.array(np.zeros(n, np.int32))),
            pa.nulls(n, pa.float64()),
            pa.array(time_us, pa.timestamp("us", tz="UTC")),
        ]
        pq.write_table(pa.table(columns, schema=SCHEMA), folder / f"{number:06d}.parquet", compression="zstd")


class Enough(Exception):
    """The share of an epoch that was asked for is done."""


@dataclass
class Stopping:
    """Reports like Terminal and raises Enough when a share of the (one) epoch is done; notes what it cost in CPU seconds."""

    share: float
    done: float = 0.0
    began_s: float = 0.0
    cpu_s: float = 0.0

    @contextmanager
    def task(self, label: str, total: float) -> Iterator[Stopping]:
        """The task of training, which is told of shares of an epoch."""
        self.began_s = time.process_time()
        yield self

    def advance(self, steps: float = 1, note: str = "") -> None:
        """After each batch."""
        self.done += steps
        self.cpu_s = time.process_time() - self.began_s
        print(f"{self.done:.4f} of an epoch in {self.cpu_s:.0f} CPU s, {note}", file=sys.stderr, flush=True)
        if self.done >= self.share:
            raise Enough


def measure(model: str, folder: Path, share: float, changes: dict[str, Any]) -> dict[str, object]:
    """Read the stream, fit one model or `share` of its epoch; in this very process, which must do nothing else."""
    kind = RECOMMENDERS[model]
    config = kind.config_type(**changes)
    known = {field.name for field in fields(config)}
    config = replace(config, **{name: value for name, value in FASTER.items() if name in known})
    began, cpu = time.perf_counter(), time.process_time()
    data = Interactions.from_parquet(folder)
    read_s, read_cpu_s, read_bytes = time.perf_counter() - began, time.process_time() - cpu, _peak_bytes()
    began, cpu = time.perf_counter(), time.process_time()
    part: dict[str, object] = {}
    if share < 1:
        stopping = Stopping(share)
        try:
            kind.fit(data, config, reporter=stopping)
        except Enough:
            whole_s = stopping.cpu_s / stopping.done
            part = {
                "share": round(stopping.done, 4),
                "share_cpu_s": round(stopping.cpu_s, 1),
                "epoch_cpu_s": round(whole_s),
            }
    else:
        kind.fit(data, config, reporter=Terminal())
    return {
        "model": model, "interactions": len(data), "items": data.n_items, "users": data.n_users,
        "read_s": round(read_s, 1), "read_cpu_s": round(read_cpu_s, 1), "read_peak_gb": round(read_bytes / 1e9, 2),
        "fit_s": round(time.perf_counter() - began, 1), "fit_cpu_s": round(time.process_time() - cpu, 1),
        "peak_gb": round(_peak_bytes() / 1e9, 2), **part,
    }  # fmt: skip


def measure_update(folder: Path) -> dict[str, object]:
    """What jobs/update.py does between reading the newest stretches and publishing, for a minute of the stream."""
    config = TransitionsConfig()
    data = Interactions.from_parquet(folder)
    cut_s = float(np.partition(data.time_s, -MINUTE_EVENTS)[-MINUTE_EVENTS])
    after = _stretches(data, cut_s, config.window)
    before = after.before(cut_s)
    with tempfile.TemporaryDirectory(prefix="headwater-counts-") as counts, tempfile.TemporaryDirectory() as model:
        StepCounts.of(data.before(cut_s), config.window, config.distance_power, Terminal()).save(Path(counts))
        of_data, of_stretches = len(data), len(after)
        del data
        marks = [time.process_time()]
        kept = StepCounts.load(Path(counts))
        marks.append(time.process_time())
        parts = [StepCounts.of(part, config.window, config.distance_power) for part in (before, after)]
        changed = kept.changed(*parts)
        marks.append(time.process_time())
        found = Transitions.of_counts(changed, config, float(after.time_s.max()))
        marks.append(time.process_time())
        found.save(Path(model))
        marks.append(time.process_time())
    steps = dict(zip(("load_cpu_s", "add_cpu_s", "model_cpu_s", "save_cpu_s"), np.diff(marks).round(1), strict=True))
    return {
        "model": "update", "interactions": of_data, "events": MINUTE_EVENTS, "read_again": of_stretches,
        "steps": int(changed.steps.nnz), **steps, "cpu_s": round(marks[-1] - marks[0], 1),
        "peak_gb": round(_peak_bytes() / 1e9, 2),
    }  # fmt: skip


def _stretches(data: Interactions, cut_s: float, window: int) -> Interactions:
    """The histories with events from `cut_s` on, from `window` interactions before the first of these."""
    fresh = np.flatnonzero(data.time_s >= cut_s)
    users, first = np.unique(data.user_ix[fresh], return_index=True)
    edges = np.zeros(len(data) + 1, np.int64)
    np.add.at(edges, np.maximum(data.indptr[users], fresh[first] - window), 1)
    np.add.at(edges, data.indptr[users + 1], -1)
    return data.keep(np.cumsum(edges[:-1]) > 0)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))


def main() -> None:
    """Generate, then measure each model in a process of its own under the limit; one JSON line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--interactions", type=int, default=20_000_000)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the stream is, or is to be, kept")
    parser.add_argument("--share", type=float, default=1.0, help="of the epoch of a model that learns in epochs")
    parser.add_argument("--config", type=json.loads, default={}, help="what is not the model's default, as JSON")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        update = asked.models == "update"
        found = (
            measure_update(asked.folder) if update else measure(asked.models, asked.folder, asked.share, asked.config)
        )
        print(json.dumps(found), flush=True)
        return
    with tempfile.TemporaryDirectory(prefix="headwater-stream-") as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not any(folder.glob("*.parquet")):
            generate(folder, asked.interactions, asked.items, asked.users)
        for model in asked.models.split(","):
            command = [sys.executable, "-m", "bench.train_memory", "--measure", "--models", model, "--folder", folder]
            command += ["--share", str(asked.share), "--config", json.dumps(asked.config)]
            if subprocess.run(command, preexec_fn=_limited).returncode:
                print(
                    json.dumps({"model": model, "failed": f"within {LIMIT_BYTES >> 30} GiB of address space"}),
                    flush=True,
                )


if __name__ == "__main__":
    main()
