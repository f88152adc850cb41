"""How the variational autoencoder of models/vae.py is trained.

The loss of a history is the multinomial likelihood of its targets and a divergence from the prior, which weighs the more the
more there is to explain. Where the catalogue is large, the softmax runs over the targets of the batch, all of them, and a
uniform sample of the other items, each standing for its share of them: an unbiased estimate of its denominator.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from core.errors import ConfigurationError
from core.progress import Reporter
from features.interactions import Interactions
from models.sequence_checkpoint import Checkpoints, Reached
from models.vae import VAEConfig, of_length_one

Arrays = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Bags:
    """B weighted sets: set b is indptr[b]:indptr[b + 1] of `items` (m,) int64 and `weights` (m,) float32."""

    indptr: NDArray[np.int64]
    items: NDArray[np.int64]
    weights: NDArray[np.float32]

    @property
    def owner(self) -> NDArray[np.int64]:
        """(m,) int64: the set of each entry."""
        return np.repeat(np.arange(len(self.indptr) - 1), np.diff(self.indptr))

    @property
    def place(self) -> NDArray[np.int64]:
        """(m,) int64: the position of each entry in its set."""
        return np.arange(len(self.items)) - self.indptr[self.owner]


class Network(nn.Module):
    """Encoder and decoder. Its parameters are the arrays of models.vae.VAE, and `spread`, which only training needs."""

    def __init__(self, n_items: int, config: VAEConfig, sparse: bool, source: torch.Generator) -> None:
        super().__init__()
        hidden, dimensions = config.hidden, config.dimensions
        self.embed = nn.EmbeddingBag(n_items, hidden, mode="sum", sparse=sparse)
        self.decode = nn.Embedding(n_items, dimensions, sparse=sparse)
        self.bias = nn.Embedding(n_items, 1, sparse=sparse)
        self.layers = nn.ModuleList([nn.Linear(hidden, hidden) for _ in range(config.layers)])
        self.mean = nn.Linear(hidden, dimensions)
        self.spread = nn.Linear(hidden, dimensions)  # log variance
        with torch.no_grad():
            for name, one in self.named_parameters():
                flat = one.ndim == 1 or name == "bias.weight"
                one.copy_(torch.randn(one.shape, generator=source) * (0.0 if flat else one.shape[1] ** -0.5))

    def encode(self, history: Bags, device: torch.device) -> tuple[Tensor, Tensor]:
        """Mean and log variance, (B, dimensions) each, of the latent vector."""
        items, weights = torch.from_numpy(history.items).to(device), torch.from_numpy(history.weights).to(device)
        starts = torch.from_numpy(history.indptr[:-1]).to(device)
        state = self.embed(items, starts, per_sample_weights=weights)  # (B, hidden)
        for layer in self.layers:
            state = state + F.silu(layer(F.layer_norm(state, state.shape[1:])))
        state = F.layer_norm(state, state.shape[1:])
        return self.mean(state), self.spread(state)

    def arrays(self) -> Arrays:
        """What a trained model keeps."""
        kept = ((name, one) for name, one in self.named_parameters() if not name.startswith("spread"))
        return {name: one.detach().cpu().numpy().copy() for name, one in kept}


def train(
    data: Interactions,
    config: VAEConfig,
    seed: int,
    checkpoints: Checkpoints | None,
    watch: Callable[[int, Arrays], None] | None,
    reporter: Reporter,
) -> Arrays:
    """The arrays of models.vae.VAE, learned from `data`, all of it positive, from the newest checkpoint on where there is one.

    `watch` is told after each epoch how many are done, and what is learned. What is random comes from (seed, epoch, batch), so
    that a run that was cut off ends with the very arrays of one that was not.
    """
    run = _Run(data, config, seed)
    epochs = config.epochs if (config.objective == "autoencode" or (np.diff(data.indptr) > 1).any()) else 0
    if checkpoints is not None:
        run.reached = checkpoints.resume(run.network, run.optimisers[0])
    with reporter.task("vae", epochs) as task:
        task.advance(run.reached.epoch)
        for epoch in range(run.reached.epoch, epochs):
            for share, note in run.batches_of(epoch):
                task.advance(share, note)
                if checkpoints is not None and checkpoints.due():
                    checkpoints.write(run.reached, run.network, run.optimisers[0])
            if watch is not None:
                watch(epoch + 1, run.network.arrays())
    if checkpoints is not None and epochs:
        checkpoints.write(run.reached, run.network, run.optimisers[0])
    return run.network.arrays()


class _Run:
    """A run between two batches: what is trained on what, and how far it is."""

    def __init__(self, data: Interactions, config: VAEConfig, seed: int) -> None:
        self.data, self.config, self.seed = data, config, seed
        self.wanted = np.unique(data.item_ix).astype(np.int64)
        self.device = _device(config.device)
        sparse = len(self.wanted) > config.full_items
        self.network = Network(data.n_items, config, sparse, torch.Generator().manual_seed(seed)).to(self.device)
        self.optimisers = _optimisers(self.network, sparse)
        self.reached = Reached()

    def batches_of(self, epoch: int) -> Iterator[tuple[float, str]]:
        """Train on what is left of an epoch: after each batch its share of the epoch, and how it goes."""
        began_s, began_at = time.monotonic(), self.reached.batch
        plan = ends_of(self.data, self.config, np.random.default_rng([self.seed, epoch]))
        for nth in range(began_at, len(plan)):
            done = (epoch + nth / len(plan)) / self.config.epochs
            loss = self._step(plan[nth], np.random.default_rng([self.seed, epoch, nth]), done)
            self.reached = Reached(epoch, nth + 1, self.reached.loss_sum + loss)
            a_batch_s = (time.monotonic() - began_s) / (nth + 1 - began_at)
            left_s = a_batch_s * (len(plan) * (self.config.epochs - epoch) - nth - 1)
            yield 1 / len(plan), f"loss {self.reached.loss_sum / (nth + 1):.4f}, {left_s:,.0f} s left"
        self.reached = Reached(epoch + 1)

    def _step(self, ends: NDArray[np.int64], rng: np.random.Generator, done: float) -> float:
        """Learn from one batch when that share of the run is done; its loss."""
        history, targets = histories(self.data, ends, self.config, rng)
        rows, stood_for = candidates(targets, self.wanted, self.config, rng)
        noise = torch.Generator(self.device).manual_seed(int(rng.integers(1 << 31)))
        loss = _loss(self.network, history, targets, rows, stood_for, self.config.beta, noise)
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.config.learning_rate * (1 - done)
            optimiser.step()
        return float(loss.detach())


def ends_of(data: Interactions, config: VAEConfig, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Where histories end, as positions in `data`, drawn anew, in random order, in batches.

    For `autoencode` it is behind each user's last interaction; for `next` at up to `cuts_a_user` others than the first.
    """
    if config.objective == "autoencode":
        ends = data.indptr[1:][np.diff(data.indptr) > 0]
    else:
        shuffled = np.lexsort((rng.random(len(data)), data.user_ix))
        place = np.arange(len(data)) - data.indptr[data.user_ix]
        drawn = shuffled[place < config.cuts_a_user]
        ends = drawn[drawn > data.indptr[data.user_ix[drawn]]]
    ends = rng.permutation(ends)
    return [ends[at : at + config.batch] for at in range(0, len(ends), config.batch)]


def histories(
    data: Interactions, ends: NDArray[np.int64], config: VAEConfig, rng: np.random.Generator
) -> tuple[Bags, Bags]:
    """What the encoder is given, some of it dropped, and what it is to predict."""
    following = config.objective == "next"
    user = data.user_ix[ends if following else ends - 1]
    first, last = data.indptr[user], data.indptr[user + 1]
    history = _bags(data, np.maximum(first, ends - config.history), ends)
    if following:
        targets = _bags(data, ends, np.minimum(ends + config.ahead, last))
        falling = (1.0 + targets.place) ** -config.ahead_power
        age = np.diff(history.indptr)[history.owner] - 1 - history.place
        history = replace(history, weights=(history.weights * config.recency**age).astype(np.float32))
        targets = replace(targets, weights=(targets.weights * falling).astype(np.float32))
    else:
        targets = history
    return _dropped(history, config.dropout, rng), targets


def candidates(
    targets: Bags, wanted: NDArray[np.int64], config: VAEConfig, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The items (R,) int64 over which the softmax runs, ascending, and the log of how many items each stands for."""
    if len(wanted) <= config.full_items:
        return wanted, np.zeros(len(wanted), np.float32)
    own = np.unique(targets.items)
    others = np.unique(wanted[rng.integers(0, len(wanted), config.negatives)])
    others = np.setdiff1d(others, own, assume_unique=True)
    rows = np.concatenate([own, others])
    share = math.log(max(1, len(wanted) - len(own)) / max(1, len(others)))
    stood_for = np.concatenate([np.zeros(len(own)), np.full(len(others), share)])
    order = np.argsort(rows)
    return rows[order], stood_for[order].astype(np.float32)


def _loss(
    network: Network,
    history: Bags,
    targets: Bags,
    rows: NDArray[np.int64],
    stood_for: NDArray[np.float32],
    beta: float,
    noise: torch.Generator,
) -> Tensor:
    """What a unit of target weight costs on average: its surprise and its part of the divergence."""
    device = noise.device
    mean, log_variance = network.encode(history, device)
    drawn = torch.randn(mean.shape, generator=noise, device=device)
    latent = mean + drawn * torch.exp(0.5 * log_variance)  # (B, dimensions)
    at = torch.from_numpy(rows).to(device)
    logits = torch.addmm(network.bias(at).T, latent, network.decode(at).T)  # (B, R)
    total = (logits + torch.from_numpy(stood_for).to(device)).logsumexp(1)  # (B,) log of the denominator
    owner, weights = torch.from_numpy(targets.owner).to(device), torch.from_numpy(targets.weights).to(device)
    column = torch.from_numpy(np.searchsorted(rows, targets.items)).to(device)
    surprise = (weights * (total[owner] - logits[owner, column])).sum()
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1)  # (B,) from the standard normal
    return (surprise + beta * (weights * divergence[owner]).sum()) / weights.sum()


def _bags(data: Interactions, start: NDArray[np.int64], stop: NDArray[np.int64]) -> Bags:
    """The interactions start:stop of each set."""
    indptr = np.concatenate([[0], np.cumsum(stop - start)]).astype(np.int64)
    at = np.arange(indptr[-1]) + np.repeat(start - indptr[:-1], stop - start)
    return Bags(indptr, data.item_ix[at].astype(np.int64), data.weight[at])


def _dropped(bags: Bags, share: float, rng: np.random.Generator) -> Bags:
    """The sets without a random share of their entries, the weights of each then of length 1."""
    kept = rng.random(len(bags.items)) >= share
    owner = bags.owner[kept]
    n = len(bags.indptr) - 1
    indptr = np.searchsorted(owner, np.arange(n + 1)).astype(np.int64)
    return Bags(indptr, bags.items[kept], of_length_one(bags.weights[kept], owner, n))


def _optimisers(network: Network, sparse: bool) -> list[torch.optim.Optimizer]:
    """Adam; for tables whose gradients are sparse, its lazy form. All keep their moments in one place, that of the first."""
    tables = [network.embed.weight, network.decode.weight, network.bias.weight]
    others = [*network.layers.parameters(), *network.mean.parameters(), *network.spread.parameters()]
    if not sparse:
        return [torch.optim.Adam([*tables, *others])]
    lazy, plain = torch.optim.SparseAdam(tables), torch.optim.Adam(others)
    plain.state = lazy.state
    for table in tables:  # the library counts steps in a plain number, which a checkpoint cannot hold
        lazy.state[table] = {
            "step": torch.tensor(0.0), "exp_avg": torch.zeros_like(table), "exp_avg_sq": torch.zeros_like(table)
        }  # fmt: skip
    return [lazy, plain]


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("device cuda: torch finds no GPU; use device auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
