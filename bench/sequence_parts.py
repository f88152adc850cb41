"""What each part of the sequence recommender brings: `python -m bench.sequence_parts FOLDER...`

The model as configured, then with one part changed at a time, on the validation split alone; the test is never read. Two
seeds show what is chance. Writes docs/benchmarks/sequence-parts.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence as Listed
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from models.evaluation import evaluate
from models.protocols import read_protocol, split_folder
from models.sequence import Sequence, SequenceConfig
from models.sequence_start import MOST_ITEMS

_PLAIN = SequenceConfig(length=50, epochs=12, batch_tokens=1600, dropout=0.3, negatives=512, ahead=3)
PLAIN = {"beauty-seq": replace(_PLAIN, time_buckets=0), "ml-100k": _PLAIN}
PARTS: dict[str, dict[str, object]] = {
    "another seed": {},
    "item vectors begin at random": {},
    "the next interaction alone is a target": {"ahead": 1},
    "no dropout": {"dropout": 0.0},
    "no blocks: the last item alone speaks": {"blocks": 0},
    "one block": {"blocks": 1},
    "64 negatives": {"negatives": 64},
    "2,048 negatives": {"negatives": 2048},
    "no clock": {"time_buckets": 0},
}


def rows(folder: Path, config: SequenceConfig) -> list[list[str]]:
    """One row of the table for the whole model and for each part."""
    split, protocol = split_folder(folder, "validation"), read_protocol(folder)
    found: list[list[str]] = []
    for label, change in {"as it is": {}, **PARTS}.items():
        tried = replace(config, **change)
        if change and tried == config:
            continue
        begins = 0 if label == "item vectors begin at random" else MOST_ITEMS
        with patch("models.sequence_start.MOST_ITEMS", begins):
            began_s = time.process_time()
            model = Sequence.fit(split.train, tried, seed=int(label == "another seed"))
            spent_s = time.process_time() - began_s
        row = evaluate({"sequence": model}, split, protocol.metrics)[0]
        figures = [f"{row.metrics[metric]:.4f}" for metric in protocol.metrics]
        found.append([folder.name, label, f"{spent_s:,.0f}", *figures])
        print(" | ".join(found[-1]), flush=True)
    return found


def main(argv: Listed[str] | None = None) -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folders", type=Path, nargs="+", help=f"data folders: {', '.join(PLAIN)}")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"), help="where the page goes")
    given = parser.parse_args(argv)
    table = [["data", "model", "CPU s", "hr@10", "ndcg@10"], ["---"] * 5]
    for folder in given.folders:
        if folder.name not in PLAIN:
            parser.error(f"no configuration for {folder.name}; there is one for {', '.join(PLAIN)}")
        table += rows(folder, PLAIN[folder.name])
    page = [
        "# What the parts of the sequence recommender bring", "",
        "On validation, 64 dimensions, 12 epochs, one core; one part changed at a time. The row with another seed says what is "
        "chance.",
        "", *("| " + " | ".join(row) + " |" for row in table), "",
        f"Made by `python -m bench.sequence_parts {' '.join(f'DATA/{folder.name}' for folder in given.folders)}`.",
    ]  # fmt: skip
    (given.out / "sequence-parts.md").write_text("\n".join(page) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
