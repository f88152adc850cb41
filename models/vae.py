"""A variational autoencoder: a history becomes a point of a latent space, from which every item is given a likelihood.

Mult-VAE (Liang et al. 2018, "Variational autoencoders for collaborative filtering") with, of RecVAE (Shenbin et al. 2020,
"RecVAE: a new variational autoencoder for top-N recommendations with implicit feedback"), a divergence that weighs more the
more there is to explain, an encoder with residuals, and a decoder of one layer, whose rows are therefore the items' vectors: an
inner product ranks as the model does, the item's bias being one more dimension. Its composite prior and its turns of
encoder and decoder are left out.

`autoencode` gives back the whole history, as the papers do; `next` predicts the few interactions that follow a random cut,
from a history in which each one counts less the further back it lies. Nothing here needs torch once it is trained.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from scipy import sparse

from core.errors import ArtifactCorrupt
from core.progress import Reporter, Silent
from features.interactions import Interactions
from models.neighbours import lengths, most_alike
from models.recommender import (
    Mask,
    Ranked,
    UserBatch,
    check_shape,
    load_model,
    positives_to_learn_from,
    save_model,
    strongest_terms,
    top_k,
)

USERS_AT_ONCE = 512
UNTRAINED = 10.0  # how far, in log-odds, an item that nobody wanted stands below all others


@dataclass(frozen=True)
class VAEConfig:
    """The network, what it is trained to predict, and how."""

    objective: Literal["autoencode", "next"] = "next"
    dimensions: int = 128  # of the latent space
    hidden: int = 256  # width of the encoder
    layers: Annotated[int, Meta(ge=0, le=100)] = 1  # of the encoder, after the sum of the history's items
    history: int = 200  # newest interactions that are read
    recency: float = 0.9  # next: each interaction back in the history counts this much less
    read_recency: float = 0.9  # autoencode: as `recency`, but only when asked, not in training
    ahead: int = 5  # next: interactions after the cut that are targets
    ahead_power: float = 1.0  # next: the n-th of them counts n ** -ahead_power
    cuts_a_user: int = 16  # next: of each history, in an epoch
    beta: float = 0.005  # weight of the divergence, for each target
    dropout: float = 0.3  # share of the history that training leaves out
    epochs: int = 30
    batch: int = 256  # histories in a step
    learning_rate: float = 2e-3  # falls to zero over the epochs
    full_items: int = 8_000  # softmax over all items up to here
    negatives: int = 2_000  # beyond: uniform ones, shared by a batch
    checkpoint_s: float = 60.0  # how often a run that was given a folder for it writes where it is
    device: Literal["auto", "cpu", "cuda"] = "auto"  # where it is trained


@dataclass(frozen=True)
class VAE:
    """`arrays` by name, all float32.

    The encoder's: `embed.weight` (n_items, hidden), `layers.N.weight` (hidden, hidden) and `.bias`, `mean.weight` (dimensions,
    hidden) and `.bias`. The decoder's: `decode.weight` (n_items, dimensions), `bias.weight` (n_items, 1).
    """

    name: ClassVar[str] = "vae"
    config_type: ClassVar[type[VAEConfig]] = VAEConfig

    config: VAEConfig
    item_ids: NDArray[np.object_]
    trained_until_s: float
    arrays: dict[str, NDArray[np.float32]]

    @classmethod
    def fit(
        cls,
        data: Interactions,
        config: VAEConfig | None = None,
        seed: int = 0,
        reporter: Reporter | None = None,
        checkpoints: Path | None = None,
        watch: Callable[[int, Self], None] | None = None,
    ) -> Self:
        """Train. With a folder for `checkpoints`, a run of the same data, config and seed goes on where it was cut off.

        `watch` is shown the model after each epoch, with the number of epochs done. Raises ConfigurationError for device cuda
        without a GPU.
        """
        from models.sequence_checkpoint import Checkpoints  # these import torch, which serving does without
        from models.vae_training import train

        config = config or VAEConfig()
        kept = positives_to_learn_from(data)
        run = None
        if checkpoints is not None:
            run = Checkpoints(checkpoints, _made_by(kept, config, seed), config.checkpoint_s)

        seen = None if watch is None else lambda epochs, arrays: watch(epochs, cls._of(arrays, kept, config))
        return cls._of(train(kept, config, seed, run, seen, reporter or Silent()), kept, config)

    @classmethod
    def _of(cls, arrays: dict[str, NDArray[np.float32]], data: Interactions, config: VAEConfig) -> Self:
        """The model of what was learned from `data`."""
        never = np.bincount(data.item_ix, minlength=data.n_items) == 0
        arrays["decode.weight"][never] = 0
        arrays["bias.weight"][never] = arrays["bias.weight"][~never].min() - UNTRAINED
        return cls(config, data.item_ids, float(data.time_s.max()), arrays)

    def item_vectors(self) -> NDArray[np.float32]:
        """(n_items, dimensions + 1) float32: the decoder's rows, and the items' biases as the last dimension."""
        return self._vectors

    def encode(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, dimensions + 1) float32: the mean of the latent vector and a 1; all zeros where the history is empty."""
        found = np.ones((len(users), self.config.dimensions + 1), np.float32)
        for at in range(0, len(users), USERS_AT_ONCE):
            found[at : at + USERS_AT_ONCE, :-1] = self._latent(self._read(users[at : at + USERS_AT_ONCE]))
        found[np.diff(users.indptr) == 0] = 0
        return found

    def scores(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, n_items) float32 log-likelihoods but for a constant of each user, -inf where the history is empty."""
        scores = self.encode(users) @ self._vectors.T
        scores[np.diff(users.indptr) == 0] = -np.inf
        return scores

    def recommend(self, users: UserBatch, k: int, exclude: Mask | None = None) -> Ranked:
        """See models.recommender.Recommender."""
        return top_k(self.scores(users), k, exclude)

    def similar(self, item_ix: NDArray[np.int32], k: int, exclude: Mask | None = None) -> Ranked:
        """By the cosine of the decoder's rows."""
        return most_alike(self.arrays["decode.weight"], self._lengths, item_ix, k, exclude)

    def because(self, users: UserBatch, item_ix: NDArray[np.int32], limit: int = 3) -> NDArray[np.int32]:
        """The items of the history that, each alone, make the item likelier than it is without any history.

        The encoder is not linear, so there are no shares of a score to name.
        """
        batch, k = item_ix.shape
        read = users.newest(self.config.history)
        alone, which = np.unique(read.items, return_inverse=True)
        n = len(self.item_ids)
        one_each = sparse.csr_matrix(
            (np.ones(len(alone), np.float32), alone, np.arange(len(alone) + 1)), shape=(len(alone), n)
        )
        moved = self._latent(one_each) - self._latent(sparse.csr_matrix((1, n), dtype=np.float32))
        # each item of the history with each recommended item of its user
        pair = np.repeat(np.arange(len(read.items)), k)
        asked = item_ix[read.owner].ravel()
        above = self.arrays["decode.weight"][np.maximum(asked, 0)] - self._centre
        lift = np.einsum("pd,pd->p", moved[which[pair]], above)
        slot = read.owner[pair] * k + np.tile(np.arange(k), len(read.items))
        named = strongest_terms(slot, read.items[pair], np.where(asked >= 0, lift, 0), (batch * k, n), limit)
        return named.reshape(batch, k, limit)

    def save(self, folder: Path) -> None:
        """See models.recommender.Recommender."""
        save_model(folder, self, self.arrays)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """See models.recommender.Recommender."""
        saved = load_model(folder, cls.name, ("embed.weight", "decode.weight", "bias.weight"))
        config, n, arrays = saved.config_as(VAEConfig), len(saved.item_ids), saved.arrays
        hidden, dimensions = config.hidden, config.dimensions
        shapes = {
            "embed.weight": (n, hidden), "decode.weight": (n, dimensions), "bias.weight": (n, 1),
            "mean.weight": (dimensions, hidden), "mean.bias": (dimensions,),
        }  # fmt: skip
        for at in range(config.layers):
            shapes |= {f"layers.{at}.weight": (hidden, hidden), f"layers.{at}.bias": (hidden,)}
        if arrays.keys() != shapes.keys():
            raise ArtifactCorrupt(
                f"{folder}: the arrays are not those of its configuration; train and publish it again"
            )
        for name, shape in shapes.items():
            check_shape(folder, arrays[name], *shape)
        return cls(config, saved.item_ids, saved.trained_until_s, arrays)

    @cached_property
    def _vectors(self) -> NDArray[np.float32]:
        return np.hstack([self.arrays["decode.weight"], self.arrays["bias.weight"]])

    @cached_property
    def _centre(self) -> NDArray[np.float32]:
        """(dimensions,) float32: the mean of the decoder's rows."""
        centre: NDArray[np.float32] = self.arrays["decode.weight"].mean(axis=0)
        return centre

    @cached_property
    def _lengths(self) -> NDArray[np.float32]:
        """(n_items,) float32."""
        return lengths(self.arrays["decode.weight"])

    def _read(self, users: UserBatch) -> sparse.csr_matrix:
        """(B, n_items) float32 csr: what the encoder is given of each history, rows of length 1."""
        read, config = users.newest(self.config.history), self.config
        recency = config.recency if config.objective == "next" else config.read_recency
        weights = of_length_one(read.weights * recency**read.age, read.owner, len(read))
        shape = (len(read), len(self.item_ids))
        return sparse.csr_matrix((weights, read.items, read.indptr), shape=shape)

    def _latent(self, histories: sparse.csr_matrix) -> NDArray[np.float32]:
        """(B, dimensions) float32: the mean of the latent vector of each row (B, n_items)."""
        arrays = self.arrays
        state = histories @ arrays["embed.weight"]  # (B, hidden)
        for at in range(self.config.layers):
            state = state + silu(normalised(state) @ arrays[f"layers.{at}.weight"].T + arrays[f"layers.{at}.bias"])
        latent: NDArray[np.float32] = normalised(state) @ arrays["mean.weight"].T + arrays["mean.bias"]
        return latent


def _made_by(data: Interactions, config: VAEConfig, seed: int) -> str:
    """A hash of all that a training run depends on."""
    digest = hashlib.sha256(msgspec.json.encode([config, seed, data.item_ids.tolist()]))
    for array in (data.user_ix, data.item_ix, data.time_s, data.weight):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def of_length_one(weights: NDArray[Any], owner: NDArray[np.int64], n: int) -> NDArray[np.float32]:
    """`weights` (m,), entry i of set `owner`[i] out of n, scaled so that the squares of each set add up to 1; float32."""
    length = np.sqrt(np.bincount(owner, np.square(weights, dtype=np.float64), n))
    return (weights / np.maximum(length, 1e-12)[owner]).astype(np.float32)


def normalised(state: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of mean 0 and variance 1: torch's layer_norm without weights."""
    centred = state - state.mean(axis=1, keepdims=True)
    found: NDArray[np.float32] = centred / np.sqrt(np.square(centred).mean(axis=1, keepdims=True) + np.float32(1e-5))
    return found


def silu(state: NDArray[np.float32]) -> NDArray[np.float32]:
    """x / (1 + e^-x), without overflow."""
    found: NDArray[np.float32] = state * (0.5 + 0.5 * np.tanh(0.5 * state))
    return found
