"""What an index is worth at a size: exact search beside cells (IVF), by the CPU time of a search, recall, building and memory.

    python bench/index.py [--items 10000,100000,1000000] [--page FILE]

exact     every vector is multiplied: what serving has up to models.index.EXACT_ROWS rows
cells     only the cells nearest to the query, as many as reach a recall of 0.95 at 100 on a sample: what it has beyond

As many 64-d vectors as there are items, in clusters, and 100 queries from the same clusters, one at a time on one thread; the
100 nearest of all, and of a random 1% of the items. CPU time, medians. A million takes about three minutes of a core.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import faiss
import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.pages import markdown  # noqa: E402 -- run as a script, from anywhere
from models.index import EXACT_ROWS, Kind, VectorIndex  # noqa: E402

DIMENSIONS = 64
FOUND = 100
NAMES = {"flat": "exact", "ivf": "cells"}
ABOUT = __doc__[__doc__.index("exact     every") :]


def search(n: int, kinds: tuple[Kind, ...] = ("flat", "auto"), queries: int = 100) -> dict[str, Any]:
    """Vectors in clusters, searched by indexes of these kinds: CPU time, recall, a filter of 1%, building and memory."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((max(10, n // 200), DIMENSIONS), np.float32)
    vectors, asked = (
        centres[rng.integers(0, len(centres), m)] + np.float32(0.7) * rng.standard_normal((m, DIMENSIONS), np.float32)
        for m in (n, queries)
    )
    narrow = np.zeros(n, bool)
    narrow[rng.choice(n, n // 100, replace=False)] = True
    found: dict[str, Any] = {}
    for kind in kinds:
        began = time.process_time()
        index = VectorIndex.build(vectors, kind)
        found[kind] = {
            "kind": type(index.index).__name__, "build_s": time.process_time() - began,
            "search_ms": _search_ms(index, asked, None), "narrow_ms": _search_ms(index, asked, narrow),
            "recall": index.recall(vectors, asked, FOUND), "memory_mb": faiss.serialize_index(index.index).nbytes / 1e6,
            "full": bool((index.search(asked, FOUND, narrow)[0] >= 0).all()) if n >= 100 * FOUND else None,
        }  # fmt: skip
    return found


def _search_ms(index: VectorIndex, asked: np.ndarray, allowed: np.ndarray | None) -> float:
    times = []
    for one in asked:
        began = time.thread_time()
        index.search(one[None], FOUND, allowed)
        times.append((time.thread_time() - began) * 1000)
    return statistics.median(times)


def page(found: dict[int, dict[str, Any]]) -> str:
    """The markdown of docs/benchmarks/index.md."""
    head = ["items", "index", "search, ms", "recall@100", "in a filter of 1%, ms", "lists full there", "build, s", "MB"]
    rows = [
        [
            f"{n:,}", NAMES[kind] + (" (chosen)" if (kind == "ivf") == (n > EXACT_ROWS) else ""),
            f"{one['search_ms']:.2f}", f"{one['recall']:.3f}", f"{one['narrow_ms']:.2f}", "yes" if one["full"] else "no",
            f"{one['build_s']:.1f}", f"{one['memory_mb']:,.0f}",
        ]
        for n, kinds in found.items() for kind, one in kinds.items()
    ]  # fmt: skip
    sizes = ",".join(map(str, found))
    made = f"on {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}."
    lines = ["# The vector index by size", "", "```", ABOUT.strip(), "```", "", *markdown([head, *rows]), ""]
    return "\n".join([*lines, f"Made by `python bench/index.py --items {sizes}` {made}", ""])


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default="10000,100000,1000000", help="numbers of vectors, with commas between")
    parser.add_argument("--page", type=Path, help="write the page there as well")
    given = parser.parse_args()
    found = {n: search(n, ("flat", "ivf")) for n in map(int, given.items.split(","))}
    print(page(found))
    if given.page:
        given.page.write_text(page(found))


if __name__ == "__main__":
    main()
