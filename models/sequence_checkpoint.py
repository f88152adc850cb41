"""Checkpoints of a training run: safetensors under a manifest of checksums, the newest whole one counting."""

from __future__ import annotations

import logging
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.artifacts import ArtifactStore
from core.errors import ArtifactCorrupt

FILE = "state.safetensors"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what Adam keeps of each parameter

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reached:
    """How far a run is: `batch` batches of `epoch` are done, and their losses sum to `loss_sum`."""

    epoch: int = 0
    batch: int = 0
    loss_sum: float = 0.0


@dataclass
class Checkpoints:
    """Those of one run in `folder`; `run` says by what it was made (data, config, seed), and others' are not resumed."""

    folder: Path
    run: str
    every_s: float = 60.0
    _last_s: float = field(default_factory=time.monotonic)

    def due(self) -> bool:
        """Whether the last one was written long enough ago."""
        return time.monotonic() - self._last_s >= self.every_s

    def write(self, reached: Reached, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Write where the run is, then drop all that were there before. Raises Unavailable when it cannot be written."""
        tensors: dict[str, Tensor] = dict(model.named_parameters())
        for name, parameter in model.named_parameters():
            tensors |= {f"{moment}:{name}": optimiser.state[parameter][moment] for moment in MOMENTS}
        before, now = self._store.list("."), f"{self._prefix}{reached.epoch:04d}-{reached.batch:07d}"
        if now in before:  # a harmed one, for a whole one would have been gone on from
            self._store.delete(now)
        with tempfile.TemporaryDirectory(prefix="headwater-checkpoint-") as draft:
            save_file({name: one.detach().cpu().contiguous() for name, one in tensors.items()}, Path(draft) / FILE)
            about = {"run": self.run, "epoch": reached.epoch, "batch": reached.batch, "loss_sum": reached.loss_sum}
            self._store.publish(now, Path(draft), about)
        for name in set(before) - {now}:
            self._store.delete(name)
        self._last_s = time.monotonic()

    def resume(self, model: nn.Module, optimiser: torch.optim.Optimizer) -> Reached:
        """Put the newest whole checkpoint of this run into `model` and `optimiser`; the beginning where there is none."""
        for name in reversed([one for one in self._store.list(".") if one.startswith(self._prefix)]):
            try:
                folder, manifest = self._store.fetch(name)
                _restore(load_file(folder / FILE), model, optimiser)
            except (ArtifactCorrupt, OSError, SafetensorError) as error:
                log.warning("checkpoint %s is of no use, trying the one before: %s", name, error)
                continue
            about = manifest.about
            return Reached(int(about["epoch"]), int(about["batch"]), float(about["loss_sum"]))
        return Reached()

    @property
    def _prefix(self) -> str:
        return f"{self.run[:16]}-"

    @property
    def _store(self) -> ArtifactStore:
        self.folder.mkdir(parents=True, exist_ok=True)
        return ArtifactStore(str(self.folder), self.folder)


def _restore(found: dict[str, Tensor], model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Weights and moments from what `write` saved, all or none. Raises ArtifactCorrupt when one is missing."""
    names = [name for name, _ in model.named_parameters()]
    if (
        missing := {f"{moment}:{name}" for name in names for moment in MOMENTS} - found.keys()
        or set(names) - found.keys()
    ):
        raise ArtifactCorrupt(f"it lacks {sorted(missing)[0]}")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(found[name])
            optimiser.state[parameter] = {m: found[f"{m}:{name}"].to(parameter.device) for m in MOMENTS}
