"""The sequence recommender: a causal transformer over the history, whose answer is a vector that an index can search.

The family of SASRec (Kang and McAuley 2018), HSTU (Zhai et al. 2024) and LiGR (Borisyuk et al. 2025): models.sequence_network
says what it is built of, models.sequence_training how it learns. A user is never looked up: the vector comes from the live
history. An item that nobody has touched yet has a vector from its text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from core.errors import ArtifactCorrupt, ConfigurationError
from core.progress import Reporter, Silent
from features.interactions import Interactions
from models.item_text import Texts, texts_of, tfidf
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

if TYPE_CHECKING:  # torch takes seconds to import, and only training and encoding need it
    from models.sequence_batches import Histories
    from models.sequence_network import Network

USERS_AT_ONCE = 128
FEW_USERS = 8
EXPLAINED = 20  # newest interactions that an answer is put down to
VECTORS = "item_vectors"


@dataclass(frozen=True)
class SequenceConfig:
    """What is built and how it learns. Defaults: what one core can train on a million interactions, by validation."""

    dimensions: int = 64
    blocks: Annotated[int, Meta(ge=0, le=100)] = 2
    heads: int = 2
    length: int = 128  # newest interactions that are read
    time_buckets: int = 32  # of times between interactions, each twice as wide as the one before; 0: there is no clock
    dropout: float = 0.0
    id_dropout: float = 0.2  # share of items that are known by their text alone, while it learns
    rarest: int = 2  # a word must be in this many texts
    epochs: int = 16
    batch_tokens: int = 3200  # interactions in a batch, padding included
    learning_rate: float = 2e-3
    weight_decay: float = 0.0
    negatives: int = 2048  # drawn for each batch; 0: all up to 50,000 items, 4,096 beyond
    ahead: int = 1  # interactions ahead that are targets
    checkpoint_s: float = 60.0  # how often a run that was given a folder for it writes where it is
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True)
class Sequence:
    """`vectors` (n_items, d) float32, of length 1, or 0 for what was neither met nor described; and the network's `weights`."""

    name: ClassVar[str] = "sequence"
    config_type: ClassVar[type[SequenceConfig]] = SequenceConfig
    reads_texts: ClassVar[bool] = True

    config: SequenceConfig
    item_ids: NDArray[np.object_]
    trained_until_s: float
    vectors: NDArray[np.float32]
    weights: dict[str, NDArray[np.float32]]

    @classmethod
    def fit(
        cls,
        data: Interactions,
        config: SequenceConfig | None = None,
        seed: int = 0,
        reporter: Reporter | None = None,
        texts: Texts | None = None,
        checkpoints: Path | None = None,
        watch: Callable[[int, Self], None] | None = None,
    ) -> Self:
        """Train. With a folder for `checkpoints`, a run of the same data, config, seed and texts goes on where it was cut off.

        `watch` is shown the model after each epoch, with the number of epochs done. Under `torchrun` every process calls this
        alike, and all of them return the same model. Raises ConfigurationError for device cuda without a GPU, or heads that do
        not divide the dimensions.
        """
        from models.sequence_batches import Histories
        from models.sequence_checkpoint import Checkpoints
        from models.sequence_training import trained

        config = config or SequenceConfig()
        if config.dimensions % config.heads:
            raise ConfigurationError(
                f"{config.heads} heads do not divide {config.dimensions} dimensions; choose others"
            )
        kept = positives_to_learn_from(data)
        ids = data.item_ids if not texts else np.array(sorted({*data.item_ids.tolist(), *texts}), dtype=np.object_)
        row_of = np.searchsorted(ids, data.item_ids)
        histories = Histories(kept.indptr, row_of[kept.item_ix], kept.time_s, kept.weight)
        words = None
        if texts:
            words = tfidf(texts_of(ids, texts), config.rarest)
            words.eliminate_zeros()  # the words that are too rare
        run = None
        if checkpoints is not None:
            run = Checkpoints(checkpoints, _made_by(ids, histories, words, config, seed), config.checkpoint_s)

        made = partial(cls, config, ids, float(kept.time_s.max()))
        seen = None if watch is None else lambda epochs, learned: watch(epochs, made(*learned))
        return made(*trained(histories, len(ids), words, config, seed, run, seen, reporter or Silent()))

    def item_vectors(self) -> NDArray[np.float32]:
        """(n_items, d) float32."""
        return self.vectors

    def encode(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, d) float32: the inner product with an item's vector is the logarithm of its odds, as far as they are learned."""
        read = users.newest(self.config.length)
        size = np.diff(read.indptr)
        found = np.zeros((len(users), self.vectors.shape[1]), np.float32)
        order = np.argsort(size, kind="stable")  # of like length together: little padding
        order = order[size[order] > 0]
        for at in range(0, len(order), USERS_AT_ONCE):
            asked = order[at : at + USERS_AT_ONCE]
            found[asked] = self._last_states(read, asked)
        return found

    def scores(self, users: UserBatch) -> NDArray[np.float32]:
        """(B, n_items) float32, -inf for an empty history and for items that have no vector."""
        scores = self.encode(users) @ self.vectors.T
        scores[np.diff(users.indptr) == 0] = -np.inf
        scores[:, self._mute] = -np.inf
        return scores

    def recommend(self, users: UserBatch, k: int, exclude: Mask | None = None) -> Ranked:
        """See models.recommender.Recommender."""
        return top_k(self.scores(users), k, exclude)

    def similar(self, item_ix: NDArray[np.int32], k: int, exclude: Mask | None = None) -> Ranked:
        """By the cosine of item vectors."""
        scores = self.vectors[item_ix] @ self.vectors.T
        scores[np.arange(len(item_ix)), item_ix] = -np.inf
        scores[:, self._mute] = -np.inf
        return top_k(scores, k, exclude)

    def because(self, users: UserBatch, item_ix: NDArray[np.int32], limit: int = 3) -> NDArray[np.int32]:
        """The items of the newest history without which the score would be lower, by how much; an only item is the reason."""
        parts = [slice(at, at + USERS_AT_ONCE) for at in range(0, len(users), USERS_AT_ONCE)]
        named = [self._because(users[part], item_ix[part], limit) for part in parts]
        return np.concatenate([*named, np.zeros((0, item_ix.shape[1], limit), np.int32)])

    def save(self, folder: Path) -> None:
        """See models.recommender.Recommender."""
        save_model(folder, self, {VECTORS: self.vectors, **self.weights})

    @classmethod
    def load(cls, folder: Path) -> Self:
        """See models.recommender.Recommender."""
        import torch

        saved = load_model(folder, cls.name, (VECTORS,))
        config, weights = saved.config_as(SequenceConfig), dict(saved.arrays)
        vectors = weights.pop(VECTORS)
        check_shape(folder, vectors, len(saved.item_ids), config.dimensions)
        with torch.device("meta"):  # shapes alone: a forged configuration cannot fill the memory
            expected = cls(config, saved.item_ids, saved.trained_until_s, vectors, {})._blank.state_dict()
        if expected.keys() != weights.keys():
            raise ArtifactCorrupt(f"{folder}: the weights are not those of its model.json; train and publish it again")
        for name, array in weights.items():
            check_shape(folder, array, *expected[name].shape)
        return cls(config, saved.item_ids, saved.trained_until_s, vectors, weights)

    @property
    def _blank(self) -> Network:
        """A network of the configured shape, untrained."""
        from models.sequence_network import Network

        return Network(self.config)

    @cached_property
    def _network(self) -> Network:
        import torch

        network = self._blank
        network.load_state_dict({name: torch.from_numpy(array) for name, array in self.weights.items()})
        return network.eval()

    @cached_property
    def _mute(self) -> Mask:
        """(n_items,) bool: what has no vector."""
        return np.asarray(~self.vectors.any(axis=1))

    def _last_states(self, read: UserBatch, asked: NDArray[np.int64]) -> NDArray[np.float32]:
        """(b, d) float32 of the users `asked` (b,), positions in `read`, none of them without a history."""
        import torch

        start, size = read.indptr[asked], np.diff(read.indptr)[asked]
        place = np.arange(size.max())
        inside = place < size[:, None]
        at = np.where(inside, start[:, None] + place, start[:, None])
        times = np.where(inside, read.times_s[at], read.now_s[asked, None])
        times = np.concatenate([times, read.now_s[asked, None]], axis=1)
        with torch.inference_mode(), _threads(len(asked)):
            history = torch.from_numpy(self.vectors[read.items[at]])
            states = self._network(history, torch.from_numpy(times) if self.config.time_buckets else None)
            found: NDArray[np.float32] = states[torch.arange(len(asked)), torch.from_numpy(size - 1)].numpy()
        return found

    def _because(self, users: UserBatch, item_ix: NDArray[np.int32], limit: int) -> NDArray[np.int32]:
        read = users.newest(EXPLAINED)
        batch, k = item_ix.shape
        pair = np.unique(read.owner * len(self.item_ids) + read.items)  # each user with each item, once
        owner, left_out = np.divmod(pair, max(len(self.item_ids), 1))
        without = _leaving_out(read, owner, left_out)
        wanted = self.vectors[np.maximum(item_ix[owner], 0)]  # (pairs, k, d)
        lost = np.einsum("pd,pkd->pk", self.encode(read)[owner] - self.encode(without), wanted)
        lost[np.diff(without.indptr) == 0] = 1.0
        lost[item_ix[owner] < 0] = 0.0
        slot = np.repeat(owner * k, k) + np.tile(np.arange(k), len(owner))
        item = np.repeat(left_out, k).astype(np.int32)
        shape = (batch * k, len(self.item_ids))
        return strongest_terms(slot, item, lost.ravel().astype(np.float32), shape, limit).reshape(batch, k, limit)


@contextmanager
def _threads(users: int) -> Iterator[None]:
    """Inside, torch works on one thread for the few users of a request: several would mostly wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1 if users < FEW_USERS else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _made_by(ids: NDArray[np.object_], data: Histories, words: Any, config: SequenceConfig, seed: int) -> str:
    """A hash of all that a training run depends on."""
    parts = [config, seed, ids.tolist()]
    digest = hashlib.sha256(msgspec.json.encode(parts))
    arrays = [*vars(data).values(), *([words.indptr, words.indices, words.data] if words is not None else [])]
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _leaving_out(read: UserBatch, owner: NDArray[np.int64], item: NDArray[np.int64]) -> UserBatch:
    """(p,) histories: that of user `owner`[p] of `read` without `item`[p]."""
    size = np.diff(read.indptr)[owner]
    indptr = np.concatenate([[0], np.cumsum(size)]).astype(np.int64)
    at = np.arange(indptr[-1]) + np.repeat(read.indptr[owner] - indptr[:-1], size)
    whole = UserBatch(read.rows[owner], indptr, read.items[at], read.times_s[at], read.weights[at], read.now_s[owner])
    return whole.where(whole.items != item[whole.owner])
