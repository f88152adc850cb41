"""The autoencoder: what it predicts, that serving computes what training did, and that a sampled softmax is an honest one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from core.errors import ArtifactCorrupt, ConfigurationError
from features.interactions import Interactions
from models import vae_training
from models.recommender import UserBatch, load_model, save_model
from models.vae import VAE, VAEConfig
from models.vae_training import Bags

N = 12
CONFIG = VAEConfig(dimensions=8, hidden=24, epochs=40, batch=32, learning_rate=0.03, ahead=1, recency=0.3, dropout=0.0)


def rings() -> Interactions:
    """Everybody walks the ring of items one step at a time, from somewhere; item 12 is had by nobody but for a dislike."""
    rows = [(f"u{u:02d}", f"i{(u + step) % N:02d}", step, "view") for u in range(48) for step in range(7)]
    users, items, times, kinds = zip(*rows, ("u00", "i12", 99, "dislike"), strict=True)
    return Interactions.from_columns(users, items, times, kinds)


@pytest.fixture(scope="module")
def model() -> VAE:
    return VAE.fit(rings(), CONFIG)


def asking(*walks: list[int]) -> UserBatch:
    return UserBatch.from_histories([(walk, np.arange(len(walk)), np.ones(len(walk))) for walk in walks])


@pytest.mark.parametrize("full_items", [100, 0], ids=["full softmax", "sampled softmax"])
def test_it_learns_what_comes_next(full_items):
    learned = VAE.fit(rings(), replace(CONFIG, full_items=full_items, negatives=4))
    walks = [[(start + step) % N for step in range(4)] for start in range(N)]
    found, _ = learned.recommend(asking(*walks), 1)
    assert found[:, 0].tolist() == [(walk[-1] + 1) % N for walk in walks]


def test_an_autoencoder_gives_back_what_belongs_together_whatever_the_order():
    rng = np.random.default_rng(1)
    pairs = [(f"u{u:02d}", f"i{10 * (u % 2) + i:02d}") for u in range(40) for i in rng.permutation(10)[:7]]
    users, items = zip(*pairs, strict=True)
    config = replace(CONFIG, objective="autoencode", read_recency=1.0, dropout=0.5)
    learned = VAE.fit(Interactions.from_columns(users, items, range(len(users))), config)
    forth, back = learned.scores(asking([2, 5, 9], [9, 5, 2]))
    assert np.allclose(forth, back, atol=1e-5)
    assert forth[:10].min() > forth[10:].max()


def test_serving_computes_what_the_network_of_training_does(monkeypatch):
    kept = []

    class Watched(vae_training.Network):
        def __init__(self, *args: object) -> None:
            super().__init__(*args)
            kept.append(self)

    monkeypatch.setattr(vae_training, "Network", Watched)
    learned = VAE.fit(rings(), replace(CONFIG, layers=2, epochs=2))
    users = asking([3, 4, 5], [1], [7, 7, 8, 9])
    read = learned._read(users)
    history = Bags(read.indptr.astype(np.int64), read.indices.astype(np.int64), read.data)
    with torch.no_grad():
        mean, _ = kept[0].encode(history, torch.device("cpu"))
        logits = mean @ kept[0].decode.weight.T + kept[0].bias.weight.T
    assert np.allclose(learned.encode(users)[:, :-1], mean.numpy(), atol=1e-5)
    assert np.allclose(learned.scores(users)[:, :N], logits.numpy()[:, :N], atol=1e-4)


def test_the_denominator_of_a_sampled_softmax_is_right_on_average():
    rng = np.random.default_rng(3)
    wanted = np.sort(rng.choice(5000, 3000, replace=False)).astype(np.int64)
    scores = rng.normal(size=5000)
    targets = Bags(np.array([0, 3, 5]), rng.choice(wanted, 5, replace=False), np.ones(5, np.float32))
    config = VAEConfig(full_items=100, negatives=400)
    sums = []
    for _ in range(400):
        rows, stood_for = vae_training.candidates(targets, wanted, config, rng)
        assert np.array_equal(rows, np.unique(rows))
        assert np.isin(targets.items, rows[stood_for == 0]).all()
        assert np.isin(rows, wanted).all()
        sums.append(np.exp(scores[rows] + stood_for).sum())
    assert np.mean(sums) == pytest.approx(np.exp(scores[wanted]).sum(), rel=0.02)


def test_the_loss_is_the_surprise_of_the_targets_and_what_beta_asks_for_the_divergence():
    config = VAEConfig(dimensions=3, hidden=5)
    network = vae_training.Network(6, config, False, torch.Generator().manual_seed(1))
    with torch.no_grad():
        network.spread.bias.fill_(-60.0)  # next to no noise, and a divergence that is known
        network.spread.weight.zero_()
    history = Bags(np.array([0, 1, 3]), np.array([2, 0, 4]), np.array([1, 0.6, 0.8], np.float32))
    targets = Bags(np.array([0, 2, 3]), np.array([1, 5, 3]), np.array([1, 0.5, 1], np.float32))
    rows = (np.arange(6), np.zeros(6, np.float32))
    found = vae_training._loss(network, history, targets, *rows, 0.25, torch.Generator()).item()
    mean = network.encode(history, torch.device("cpu"))[0].detach().numpy()
    logits = mean @ network.decode.weight.detach().numpy().T
    surprise = np.log(np.exp(logits).sum(axis=1, keepdims=True)) - logits
    divergence = 0.5 * (mean**2 + np.exp(-60) - 1 + 60).sum(axis=1)
    cost = surprise[0, 1] + 0.5 * surprise[0, 5] + surprise[1, 3] + 0.25 * (1.5 * divergence[0] + divergence[1])
    assert found == pytest.approx(cost / 2.5, rel=1e-5)


def test_targets_follow_the_cut_and_histories_end_before_it_each_user_at_most_so_often():
    data, rng = rings().positives(), np.random.default_rng(4)
    config = replace(CONFIG, cuts_a_user=4, history=3, ahead=2, ahead_power=1.0, recency=0.5)
    ends = np.concatenate(vae_training.ends_of(data, config, rng))
    assert len(set(ends.tolist())) == len(ends) == 48 * 4 - np.count_nonzero(np.bincount(data.user_ix[ends]) == 3)
    history, targets = vae_training.histories(data, ends, config, rng)
    for at, end in enumerate(ends):
        first, last = data.indptr[data.user_ix[end]], data.indptr[data.user_ix[end] + 1]
        given = slice(history.indptr[at], history.indptr[at + 1])
        asked = slice(targets.indptr[at], targets.indptr[at + 1])
        assert history.items[given].tolist() == data.item_ix[max(first, end - 3) : end].tolist()
        fading = 0.5 ** np.arange(given.stop - given.start)[::-1]
        assert np.allclose(history.weights[given], fading / np.linalg.norm(fading))
        assert targets.items[asked].tolist() == data.item_ix[end : min(end + 2, last)].tolist()
        assert targets.weights[asked].tolist() == [1, 0.5][: asked.stop - asked.start]


def test_dropping_leaves_about_the_share_and_weights_of_length_one():
    rng = np.random.default_rng(5)
    bags = Bags(np.arange(0, 4001, 40), rng.integers(0, 9, 4000), rng.uniform(1, 2, 4000).astype(np.float32))
    kept = vae_training._dropped(bags, 0.75, rng)
    assert 800 < len(kept.items) < 1200
    assert np.allclose(np.bincount(kept.owner, kept.weights**2, 100), 1, atol=1e-5)


def test_what_alone_makes_an_item_likelier_is_named_for_it(model):
    named = model.because(asking([1, 5, 9]), np.array([[2, 6, 10]], np.int32), 1)
    assert named[0, :, 0].tolist() == [1, 5, 9]


def test_an_item_that_nobody_wanted_stands_below_all_others_for_everyone(model):
    scores = model.scores(asking([1], [5, 6], [9, 10, 11]))
    assert (scores[:, N:] < scores[:, :N]).all()


def test_users_with_one_interaction_each_leave_nothing_to_predict_but_a_model(model):
    lonely = Interactions.from_columns(["a", "b", "c"], ["x", "x", "y"], [1, 2, 3])
    learned = VAE.fit(lonely, CONFIG)
    assert np.isfinite(learned.scores(asking([0]))).all()


def test_the_same_seed_gives_the_same_model_whatever_else_draws_numbers_and_another_gives_another():
    config = replace(CONFIG, epochs=1)
    one = VAE.fit(rings(), config)
    torch.rand(3)
    again, other = VAE.fit(rings(), config), VAE.fit(rings(), config, seed=1)
    assert np.array_equal(one.arrays["decode.weight"], again.arrays["decode.weight"])
    assert not np.array_equal(one.arrays["decode.weight"], other.arrays["decode.weight"])


def test_arrays_of_another_configuration_are_refused(model, tmp_path):
    model.save(tmp_path)
    arrays = load_model(tmp_path, "vae", ()).arrays
    save_model(tmp_path, model, {name: array for name, array in arrays.items() if name != "layers.0.bias"})
    with pytest.raises(ArtifactCorrupt, match="configuration"):
        VAE.load(tmp_path)
    save_model(tmp_path, model, {**arrays, "mean.weight": arrays["mean.weight"][:-1]})
    with pytest.raises(ArtifactCorrupt, match="fit"):
        VAE.load(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU, so asking for one is no error")
def test_asking_for_a_gpu_that_is_not_there_says_what_to_do():
    with pytest.raises(ConfigurationError, match="device auto or cpu"):
        VAE.fit(rings(), VAEConfig(device="cuda"))


class Watch:
    """A reporter that remembers, and at a number of advances pulls the plug."""

    def __init__(self, plug_at: int | None = None) -> None:
        self.steps, self.notes, self.plug_at = 0.0, list[str](), plug_at

    def advance(self, steps: float = 1, note: str = "") -> None:
        self.steps += steps
        self.notes.append(note)
        if len(self.notes) == self.plug_at:
            raise KeyboardInterrupt

    @contextmanager
    def task(self, label: str, total: float) -> Iterator[Watch]:
        self.total = total
        yield self


def test_progress_is_reported_in_epochs_with_the_loss_and_the_time_left():
    watch = Watch()
    VAE.fit(rings(), replace(CONFIG, epochs=20), reporter=watch)
    assert watch.total == 20
    assert watch.steps == pytest.approx(20)
    losses = [float(note.split(",")[0].removeprefix("loss ")) for note in watch.notes if note]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert watch.notes[-1].endswith(", 0 s left")


@pytest.mark.parametrize("full_items", [100, 0], ids=["full softmax", "sampled softmax"])
def test_a_run_that_was_cut_off_ends_as_one_that_was_not(tmp_path, full_items):
    config = replace(CONFIG, epochs=3, full_items=full_items, negatives=4, dropout=0.4, checkpoint_s=0.0)
    whole = VAE.fit(rings(), config)
    cut = Watch(plug_at=17)
    with pytest.raises(KeyboardInterrupt):
        VAE.fit(rings(), config, reporter=cut, checkpoints=tmp_path)
    rest = Watch()
    found = VAE.fit(rings(), config, reporter=rest, checkpoints=tmp_path)
    assert 5 < len(rest.notes) < 20
    for name, array in whole.arrays.items():
        assert np.array_equal(found.arrays[name], array), name


def test_a_checkpoint_of_other_data_or_another_seed_is_not_gone_on_from(tmp_path):
    config = replace(CONFIG, epochs=1)
    VAE.fit(rings(), config, checkpoints=tmp_path)
    fresh, found = VAE.fit(rings(), config, seed=1), VAE.fit(rings(), config, seed=1, checkpoints=tmp_path)
    assert np.array_equal(found.arrays["mean.weight"], fresh.arrays["mean.weight"])


def test_a_watcher_sees_the_model_after_each_epoch():
    seen: list[tuple[int, np.ndarray]] = []
    last = VAE.fit(
        rings(), replace(CONFIG, epochs=3), watch=lambda done, model: seen.append((done, model.scores(asking([4]))))
    )
    assert [done for done, _ in seen] == [1, 2, 3]
    assert np.array_equal(seen[-1][1], last.scores(asking([4])))
    assert not np.array_equal(seen[0][1], seen[1][1])
