"""The models of latent factors beside each other: `python -m bench.factors FOLDER...` writes docs/benchmarks/factors-<data>.md.

As bench/tables.py does it: validation picks a variant of each, the test is read once. What was tried before, and how the variants
here were found, is in docs/benchmarks/factors.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.recipes import Recipe, Variant
from bench.tables import bench
from core.progress import Silent, Terminal
from models.blend import Member


def _one(family: str, **config: Any) -> Variant:
    return Variant(family, Member(family, config))


_PLACES = {"history": 2000, "recency": 1.0}

RECIPES = {
    "ml-1m-seq": Recipe(
        (
            _one("popularity"),
            _one("als", factors=128, regularization=20.0, frequency_power=0.0),
            _one("als", factors=128, regularization=20.0),
            _one("als", factors=256, regularization=20.0),
            _one("bpr", iterations=60, regularization=0.003),
            _one("vae", epochs=10),
        ),
        {},
    ),
    "gowalla": Recipe(
        (
            _one("popularity"),
            _one("als", **_PLACES, factors=256, alpha=40.0, regularization=100.0, frequency_power=0.0),
            _one("als", **_PLACES, factors=256, alpha=40.0, regularization=100.0),
            _one("bpr", **_PLACES, iterations=100, regularization=0.003),
            _one(
                "vae", objective="autoencode", history=2000, read_recency=1.0, epochs=20, batch=128, dropout=0.5,
                negatives=2000,
            ),
        ),
        {},
        cases=8_000,
    ),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folders", nargs="+", type=Path, help=f"data folders: {', '.join(RECIPES)}")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="where the pages go")
    parser.add_argument("--kept", type=Path, help="keep fitted models here, and take them from here")
    parser.add_argument("--progress", action="store_true", help="show progress of each step")
    given = parser.parse_args(argv)
    for folder in given.folders:
        if folder.name not in RECIPES:
            parser.error(f"there is no recipe for {folder.name}; known are {', '.join(RECIPES)}")
        text = bench(folder, RECIPES[folder.name], Terminal() if given.progress else Silent(), kept=given.kept)
        (given.out / f"factors-{folder.name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
