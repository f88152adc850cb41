"""RecTools' SASRec, run by bench/train.py with another Python: that of an environment which has it, and none of ours.

    python rectools_sasrec.py IN.npz OUT_FOLDER SETTINGS_JSON EPOCH...

IN.npz holds user, item and position of each interaction (int64) and the `asked` users. After each of the given epochs the lists
of those users, without what they have, go to OUT_FOLDER/<epoch>.npy, (users, k) int64, -1 for none, and a line of JSON
with the epoch and the CPU seconds of training so far to standard output.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel


def main() -> None:
    """See the module."""
    given, out, settings = np.load(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    epochs = sorted(map(int, sys.argv[4:]))
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(int(settings.pop("threads")))
    k = settings.pop("k")
    torch.manual_seed(settings.pop("seed"))
    table = pd.DataFrame({
        Columns.User: given["user"], Columns.Item: given["item"], Columns.Weight: 1,
        Columns.Datetime: pd.to_datetime(given["position"], unit="s"),
    })  # fmt: skip
    dataset = Dataset.construct(table)
    model = SASRecModel(epochs=1, recommend_torch_device="cpu", **settings)
    cpu_s, done = 0.0, 0
    for epoch in epochs:
        began = time.process_time()
        model.fit_partial(dataset, min_epochs=epoch - done, max_epochs=epoch - done)
        cpu_s, done = cpu_s + time.process_time() - began, epoch
        found = model.recommend(given["asked"], dataset, k=k, filter_viewed=True)
        lists = np.full((len(given["asked"]), k), -1, np.int64)
        row = pd.Series(range(len(lists)), index=given["asked"])[found[Columns.User]].to_numpy()
        lists[row, found[Columns.Rank].to_numpy() - 1] = found[Columns.Item]
        np.save(out / f"{epoch}.npy", lists)
        print(json.dumps({"epoch": epoch, "cpu_s": cpu_s}), flush=True)


if __name__ == "__main__":
    main()
