"""How the sequence recommender learns: the loss, and a loop that a kill does not set back.

Every position of every history predicts what comes next (SASRec, Kang and McAuley 2018, "Self-attentive sequential
recommendation") by a softmax over all items, or over uniform negatives shared by a batch, each standing for its share of the
catalogue (sampled softmax with logQ correction). That many negatives decide how good such a model is: Klenitskiy and Vasilev
2023, "Turning dross into gold loss"; Petrov and Macdonald 2023, "gSASRec". Items further `ahead` are targets that count less, and
less the further the run is: where people do several things in no particular order, any of them was as good an answer.

Under `torchrun` every process takes its share of each epoch's batches and gradients are averaged. What is random comes
from (seed, epoch, batch, process), so that a run resumed from a checkpoint ends with the very weights of one that never stopped.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from core.errors import ConfigurationError
from core.progress import Reporter
from models.sequence_batches import EMPTY, Batch, Histories, collate, grouped, windows
from models.sequence_checkpoint import Checkpoints, Reached
from models.sequence_network import Items, Network, Words
from models.sequence_start import start_vectors

if TYPE_CHECKING:
    from models.sequence import SequenceConfig

FULL_SOFTMAX_ITEMS = 50_000  # a softmax over more is sampled
SAMPLED_NEGATIVES = 4096
WARM_UP = 0.04  # share of the run
LEAST_RATE = 0.02  # of the learning rate, at both ends
CLIPPED_NORM = 1.0  # of the gradient
ITEMS_AT_ONCE = 65_536

Learned = tuple[NDArray[np.float32], dict[str, NDArray[np.float32]]]  # item vectors (n_items, d), the network by name
Watch = Callable[[int, Learned], None]


class Model(nn.Module):
    """Items and network together, as far as the loss of a batch."""

    def __init__(self, items: Items, network: Network, n_candidates: int) -> None:
        super().__init__()
        self.items, self.network, self.n_candidates = items, network, n_candidates

    def forward(self, batch: Batch) -> Tensor:
        """The mean loss of the batch's targets."""
        vectors = self.items(batch.rows)
        with torch.autocast("cuda", torch.bfloat16, enabled=vectors.is_cuda):
            found = self.network(F.embedding(batch.history, vectors), batch.time_s)
        states = found[batch.valid].float()  # (T, d)
        there = batch.targets != EMPTY
        targets = batch.targets.clamp(min=0)
        wanted = torch.stack([(states * F.embedding(one, vectors)).sum(1) for one in targets.unbind(1)], dim=1)
        against = states @ vectors[batch.negatives].T
        # a negative that is a target here does not speak against it
        column = torch.full((len(batch.rows),), EMPTY, device=states.device)
        column[batch.negatives] = torch.arange(len(batch.negatives), device=states.device)
        hit = column[targets]
        row, which = torch.nonzero((hit != EMPTY) & there, as_tuple=True)
        against.index_put_((row, hit[row, which]), against.new_tensor(-torch.inf))
        stood_for = self.n_candidates / len(batch.negatives)
        # scores are bounded by LONGEST, so that their exponentials can be summed as they are
        total = torch.log(stood_for * against.exp_().sum(1, keepdim=True) + wanted.exp())
        weight = there * batch.say * batch.importance[:, None]
        return ((total - wanted) * weight).sum() / weight.sum()


def trained(
    data: Histories,
    n_items: int,
    words: sparse.csr_matrix | None,
    config: SequenceConfig,
    seed: int,
    checkpoints: Checkpoints | None,
    watch: Watch | None,
    reporter: Reporter,
) -> Learned:
    """Learn from `data`, going on from the newest checkpoint where there is one.

    `words`, csr (n_items, n_words), are the weights of the words of each item; `watch` is told after each epoch how many are
    done, and what is learned. Raises ConfigurationError for a device that is not there.
    """
    device = chosen_device(config.device)
    epochs = config.epochs if (np.diff(data.indptr) > 1).any() else 0  # without a second interaction nothing is next
    own = [device] if device.type == "cuda" else []
    with _processes(device) as (rank, n_processes), torch.random.fork_rng(own):
        torch.manual_seed(seed)
        model = _model(data, n_items, words, config, seed).to(device)
        run = _Run(model, data, config, seed, device, rank, n_processes)
        began = run.reached = checkpoints.resume(model, run.optimiser) if checkpoints is not None else Reached()
        _agreed(began, n_processes)
        with reporter.task("sequence", epochs) as task:
            task.advance(run.reached.epoch)
            for epoch in range(run.reached.epoch, epochs):
                for share, note in run.batches_of(epoch):
                    task.advance(share, note)
                    if checkpoints is not None and rank == 0 and checkpoints.due():
                        checkpoints.write(run.reached, model, run.optimiser)
                if watch is not None and rank == 0:
                    watch(epoch + 1, _arrays(model, n_items))
        if checkpoints is not None and rank == 0 and run.reached != began:
            checkpoints.write(run.reached, model, run.optimiser)
        return _arrays(model, n_items)


def _model(data: Histories, n_items: int, words: sparse.csr_matrix | None, config: SequenceConfig, seed: int) -> Model:
    """The untrained model."""
    known = np.bincount(data.items, minlength=n_items) > 0
    start = start_vectors(data, n_items, config.dimensions, seed)
    described = None
    if words is not None:
        met = words.T @ (start * known[:, None])  # a word begins amid the items that are described by it
        met /= np.maximum(np.linalg.norm(met, axis=1, keepdims=True), 1e-9)
        indptr, indices = (torch.from_numpy(part.astype(np.int64)) for part in (words.indptr, words.indices))
        described = Words(indptr, indices, torch.from_numpy(words.data), torch.from_numpy(met.astype(np.float32)))
    items = Items(torch.from_numpy(start), torch.from_numpy(known), described, config.id_dropout)
    return Model(items, Network(config), int(known.sum()))


def _arrays(model: Model, n_items: int) -> Learned:
    """What `model` has learned so far, as arrays."""
    device = model.items.ids.device
    model.eval()
    with torch.inference_mode():
        starts = range(0, n_items, ITEMS_AT_ONCE)
        rows = [torch.arange(at, min(at + ITEMS_AT_ONCE, n_items), device=device) for at in starts]
        vectors = np.concatenate([model.items(part).cpu().numpy() for part in rows])
    model.train()
    return vectors, {name: tensor.cpu().numpy().copy() for name, tensor in model.network.state_dict().items()}


class _Run:
    """A run between two batches: what is trained on what, and how far it is."""

    def __init__(
        self, model: Model, data: Histories, config: SequenceConfig, seed: int, device: torch.device, rank: int, n: int
    ) -> None:
        self.data, self.config, self.seed = data, config, seed
        self.device, self.rank, self.n_processes = device, rank, n
        self.candidates = np.unique(data.items)
        everything = len(self.candidates) <= FULL_SOFTMAX_ITEMS
        drawn = config.negatives or (0 if everything else SAMPLED_NEGATIVES)
        self.negatives = drawn if drawn < len(self.candidates) else 0
        self.optimiser = _optimiser(model, config)
        if device.type == "cuda":
            model.network.compile(dynamic=True)
        self.stepper: nn.Module = DistributedDataParallel(model) if n > 1 else model
        self.reached = Reached()
        self.began_s, self.began_at = time.monotonic(), -1.0

    def batches_of(self, epoch: int) -> Iterator[tuple[float, str]]:
        """Train on what is left of an epoch: after each batch its share of the epoch, and how it goes."""
        config, plan = self.config, _plan(self.data, self.config, self.seed, epoch, self.n_processes)
        if self.began_at < 0:
            self.began_at = epoch + self.reached.batch / len(plan)
        for nth in range(self.reached.batch, len(plan)):
            rng = np.random.default_rng([self.seed, epoch, nth, self.rank])
            torch.manual_seed(int(rng.integers(1 << 31)))
            done = (epoch + nth / len(plan)) / config.epochs
            batch = collate(self.data, plan[nth][self.rank], config, self.candidates, self.negatives, rng, done)
            loss = _step(self.stepper, batch.to(self.device), self.optimiser, _rate(config, done))
            self.reached = Reached(epoch, nth + 1, self.reached.loss_sum + loss)
            left_s = self._left_s(epoch + (nth + 1) / len(plan))
            yield 1 / len(plan), f"loss {self.reached.loss_sum / (nth + 1):.4f}, {left_s:,.0f} s left"
        self.reached = Reached(epoch + 1)

    def _left_s(self, done: float) -> float:
        """Seconds to the end, at the pace since this run began."""
        return (time.monotonic() - self.began_s) / (done - self.began_at) * (self.config.epochs - done)


def chosen_device(name: str) -> torch.device:
    """auto, cpu or cuda, the latter the process's own GPU. Raises ConfigurationError for cuda where there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("device cuda: torch finds no GPU; use device auto or cpu")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


@contextmanager
def _processes(device: torch.device) -> Iterator[tuple[int, int]]:
    """The rank of this process and how many there are: those of torchrun, or one."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield 0, 1
        return
    ours = not dist.is_initialized()
    if ours:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield dist.get_rank(), dist.get_world_size()
    finally:
        if ours:
            dist.destroy_process_group()


def _agreed(reached: Reached, n_processes: int) -> None:
    """Raise ConfigurationError unless every process goes on from the same place."""
    if n_processes == 1:
        return
    every: list[Reached | None] = [None] * n_processes
    dist.all_gather_object(every, reached)
    if any(one != reached for one in every):
        raise ConfigurationError(
            "the processes found different checkpoints; keep them in a folder that all of them see"
        )


def _optimiser(model: Model, config: SequenceConfig) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019) that decays the matrices of the network only."""
    decayed = [one for one in model.network.parameters() if one.dim() == 2]
    others = [one for one in model.parameters() if all(one is not matrix for matrix in decayed)]
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98), fused=True)


def _plan(
    data: Histories, config: SequenceConfig, seed: int, epoch: int, n_processes: int
) -> list[list[NDArray[np.int64]]]:
    """The windows of each batch of an epoch, for each process; a last incomplete round is filled from the beginning."""
    rng = np.random.default_rng([seed, epoch])
    batches = grouped(windows(data.indptr, config.length, rng), config.batch_tokens, rng)
    rounds = -(-len(batches) // n_processes)
    return [[batches[(at * n_processes + rank) % len(batches)] for rank in range(n_processes)] for at in range(rounds)]


def _rate(config: SequenceConfig, done: float) -> float:
    """Warm up, then fall in a line to almost nothing."""
    return config.learning_rate * min(1.0, done / WARM_UP + LEAST_RATE) * max(LEAST_RATE, 1 - done)


def _step(stepper: nn.Module, batch: Batch, optimiser: torch.optim.Optimizer, rate: float) -> float:
    """One step of the optimiser; the loss before it."""
    for group in optimiser.param_groups:
        group["lr"] = rate
    loss = stepper(batch)
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(stepper.parameters(), CLIPPED_NORM)
    optimiser.step()
    return float(loss.detach())
