"""What every recommender must do, on data whose answer is known. A new model adds its line to CONFIGS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import ArtifactCorrupt, Conflict
from features.interactions import Interactions
from models import RECOMMENDERS
from models.als import ALSConfig
from models.blend import BlendConfig, Member
from models.bpr import BPRConfig
from models.content_similarity import ContentConfig
from models.graph import GraphConfig
from models.item_text import fit_with_texts
from models.linear import LinearConfig
from models.popularity import PopularityConfig
from models.recommender import Recommender, UserBatch, VectorRecommender, top_k
from models.repeat import RepeatConfig
from models.sequence import SequenceConfig
from models.transitions import TransitionsConfig
from models.vae import VAEConfig

CONFIGS: dict[str, Any] = {
    "popularity": PopularityConfig(),
    "transitions": TransitionsConfig(),
    "als": ALSConfig(factors=8, regularization=1.0),
    "bpr": BPRConfig(factors=8),
    "vae": VAEConfig("autoencode", dimensions=8, hidden=32, epochs=100, learning_rate=0.02),
    "linear": LinearConfig(regularization=1.0),
    "graph": GraphConfig(rank=4),
    "sequence": SequenceConfig(dimensions=16, length=16, epochs=40, batch_tokens=256, learning_rate=0.02),
    "content": ContentConfig(),
    "repeat": RepeatConfig(),
    "blend": BlendConfig((Member("transitions"), Member("linear")), (0.5, 0.5)),
}
PERSONAL = sorted(CONFIGS.keys() - {"popularity", "repeat"})  # `repeat` names only what the user has
N = 20
TEXTS = {f"i{i:02d}": "odd" if i % 2 else "even" for i in range(N)}  # for those that read them


def walk(user: int) -> list[int]:
    """A user walks the ring of items of one parity and stops just before item `user`, which is therefore the next one."""
    return [(user + 2 * step) % N for step in range(1, N // 2)]


def checkerboard() -> Interactions:
    """Every user likes the items of its own parity, all but the one of its own number."""
    pairs = [(user, item, time) for user in range(N) for time, item in enumerate(walk(user))]
    users, items, times = zip(*pairs, strict=True)
    return Interactions.from_columns([f"user-{u:02d}" for u in users], [f"i{i:02d}" for i in items], times)


def history(*items: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.array(items, np.int32), np.arange(len(items), dtype=float), np.ones(len(items), np.float32)


def batch(*walks: list[int]) -> UserBatch:
    return UserBatch.from_histories([history(*items) for items in walks])


def seen(*walks: list[int]) -> np.ndarray:
    mask = np.zeros((len(walks), N), bool)
    for row, items in enumerate(walks):
        mask[row, items] = True
    return mask


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def model(request: pytest.FixtureRequest) -> Recommender:
    return fit_with_texts(RECOMMENDERS[request.param], checkerboard(), CONFIGS[request.param], texts=TEXTS)


@pytest.fixture(scope="module", params=PERSONAL)
def personal(request: pytest.FixtureRequest) -> Recommender:
    return fit_with_texts(RECOMMENDERS[request.param], checkerboard(), CONFIGS[request.param], texts=TEXTS)


def test_every_registered_model_is_tested_here_and_keeps_the_contract(model):
    assert RECOMMENDERS.keys() == CONFIGS.keys()
    assert isinstance(model, Recommender)
    assert model.item_ids.tolist() == [f"i{i:02d}" for i in range(N)]
    assert model.trained_until_s == N // 2 - 2
    assert isinstance(model.config, model.config_type)


def test_an_artifact_names_items_and_no_user(model, tmp_path):
    """DESIGN I7: an erased user need not be looked for in models."""
    model.save(tmp_path / "model")
    saved = b"".join(file.read_bytes() for file in (tmp_path / "model").rglob("*") if file.is_file())
    encodings = ("utf-8", "utf-16-le", "utf-32-le")
    assert any("i00".encode(encoding) in saved for encoding in encodings), "names are found where there are any"
    assert not any("user-".encode(encoding) in saved for encoding in encodings)


def test_the_known_next_item_comes_first(personal):
    walks = [walk(user) for user in range(N)]
    found, _ = personal.recommend(batch(*walks), 1, seen(*walks))
    assert found[:, 0].tolist() == list(range(N))


def test_a_user_never_seen_in_training_gets_items_of_its_own_taste_from_a_short_live_history(personal):
    walks = [[4, 6], [5, 7]]
    found, _ = personal.recommend(batch(*walks), 3, seen(*walks))
    assert (found % 2 == [[0], [1]]).all()


def test_answers_have_the_shapes_types_and_order_of_the_contract(model):
    found, scores = model.recommend(batch(walk(3), [], [0]), 5)
    assert (found.shape, found.dtype, scores.shape, scores.dtype) == ((3, 5), np.int32, (3, 5), np.float32)
    assert np.all(scores[:, 1:] <= scores[:, :-1])
    every = model.scores(batch(walk(3), [], [0]))
    assert (every.shape, every.dtype) == ((3, N), np.float32)
    empty, _ = model.recommend(batch(), 5)
    assert empty.shape == (0, 5)
    assert model.scores(batch()).shape == (0, N)


def test_recommend_is_the_top_of_scores_with_ties_by_row(model):
    users = batch(walk(3), [], [0], [5, 5, 7], walk(8)[:4])
    found, scores = model.recommend(users, 7)
    expected, best = top_k(model.scores(users), 7)
    assert np.array_equal(found, expected)
    assert np.allclose(scores, best, rtol=1e-5)


def test_more_than_there_is_is_padded_and_nothing_comes_twice(model):
    found, scores = model.recommend(batch(walk(3), [1]), N + 15)
    assert (found[:, N:] == -1).all()
    assert np.array_equal(found == -1, scores == -np.inf)
    for row in found:
        assert len(set(row[row >= 0])) == np.count_nonzero(row >= 0) > 0


def test_what_is_excluded_is_never_returned_for_all_or_for_one(model):
    users = batch(walk(0), walk(1))
    even = np.arange(N) % 2 == 0
    found, _ = model.recommend(users, N, even)
    assert (found[found >= 0] % 2 == 1).all()
    found, _ = model.recommend(users, N, np.stack([even, ~even]))
    assert (found[0][found[0] >= 0] % 2 == 1).all()
    assert (found[1][found[1] >= 0] % 2 == 0).all()
    nothing, scores = model.recommend(users, 3, np.ones(N, bool))
    assert (nothing == -1).all()
    assert (scores == -np.inf).all()


def test_an_empty_history_gets_nothing_from_a_personal_model(personal):
    found, scores = personal.recommend(batch([], walk(2)), 4)
    assert (found[0] == -1).all()
    assert (scores[0] == -np.inf).all()
    assert (found[1] >= 0).all()
    assert (personal.scores(batch([])) == -np.inf).all()
    assert (personal.because(batch([]), np.array([[1, 2]], np.int32)) == -1).all()


def test_users_are_answered_alike_alone_and_in_a_batch(model):
    walks = [walk(3), [], [7, 9], walk(4)]
    together, scores = model.recommend(batch(*walks), 6)
    for row, items in enumerate(walks):
        alone, score = model.recommend(batch(items), 6)
        assert np.array_equal(alone[0], together[row])
        assert np.allclose(score[0], scores[row], rtol=1e-4)


def test_what_is_lent_is_not_changed(model):
    users, exclude = batch(walk(3), [7]), np.zeros(N, bool)
    copies = [array.copy() for array in vars(users).values()]
    found, _ = model.recommend(users, 5, exclude)
    model.because(users, found)
    model.similar(np.array([1], np.int32), 3, exclude)
    arrays = [users.rows, users.indptr, users.items, users.times_s, users.weights, users.now_s]
    assert all(np.array_equal(a, b) for a, b in zip(arrays, copies, strict=True))
    assert not exclude.any()


def test_the_same_seed_gives_the_same_model(model):
    again = fit_with_texts(type(model), checkerboard(), model.config, seed=0, texts=TEXTS)
    users = batch(walk(3), [7])
    assert np.array_equal(model.scores(users), again.scores(users))


def test_similar_items_share_the_taste_and_leave_the_item_itself_out(model):
    asked = np.array([4, 7], np.int32)
    found, scores = model.similar(asked, 3, np.arange(N) < 2)
    assert (found.shape, found.dtype, scores.dtype) == ((2, 3), np.int32, np.float32)
    assert not (found == asked[:, None]).any()
    if model.name in PERSONAL:
        assert (found % 2 == asked[:, None] % 2).all()
        assert (found >= 2).all()


def test_because_names_items_of_the_history_and_nothing_for_what_was_not_recommended(model):
    walks = [walk(3), [8, 8], []]
    users = batch(*walks)
    asked = np.array([[3, -1], [10, 6], [2, 4]], np.int32)
    named = model.because(users, asked, 2)
    assert (named.shape, named.dtype) == ((3, 2, 2), np.int32)
    assert (named[0, 1] == -1).all()
    assert (named[2] == -1).all()
    if model.name in PERSONAL:
        assert named[0, 0, 0] in walks[0]
        assert named[1].tolist() == [[8, -1], [8, -1]]  # met twice, named once
    else:
        assert (named == -1).all()


def test_inner_products_of_a_vector_model_are_its_scores(model):
    if not isinstance(model, VectorRecommender):
        assert not hasattr(model, "encode")
        return
    users = batch(walk(3), [7])
    vectors, queries = model.item_vectors(), model.encode(users)
    assert (vectors.dtype, queries.dtype) == (np.float32, np.float32)
    assert np.allclose(queries @ vectors.T, model.scores(users), atol=1e-5)
    assert (model.encode(batch([])) == 0).all()


def test_only_positive_interactions_are_learned_from(model):
    users = [f"user-{n % 5}" for n in range(20)]
    items = [f"{'bad' if n % 4 == 3 else 'good'}-{n % 4}" for n in range(20)]
    data = Interactions.from_columns(
        users, items, range(20), ["dislike" if "bad" in item else "like" for item in items]
    )
    fitted = type(model).fit(data, model.config)
    good = [data.item_row(f"good-{n}") for n in range(3)]
    found, _ = fitted.recommend(UserBatch.from_histories([history(good[0])]), 2, np.arange(data.n_items) == good[0])
    assert set(found[0]) <= {*good, -1}


def test_nothing_to_learn_from_is_refused_with_what_to_do(model):
    for data in (Interactions.from_columns([], [], []), Interactions.from_columns(["a"], ["x"], [1], ["dislike"])):
        with pytest.raises(Conflict, match="publish events"):
            type(model).fit(data, model.config)


def test_a_single_interaction_is_enough_to_fit(model):
    fitted = type(model).fit(Interactions.from_columns(["a"], ["x"], [1]), model.config)
    assert fitted.recommend(batch([0], []), 3)[0].shape == (2, 3)


def test_a_saved_model_comes_back_the_same(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = type(model).load(tmp_path / "model")
    users = batch(walk(3), [7], [])
    assert np.array_equal(loaded.scores(users), model.scores(users))
    assert np.array_equal(
        loaded.because(users, np.array([[3], [9], [1]], np.int32)),
        model.because(users, np.array([[3], [9], [1]], np.int32)),
    )
    assert loaded.item_ids.tolist() == model.item_ids.tolist()
    assert (loaded.config, loaded.trained_until_s) == (model.config, model.trained_until_s)


def test_no_user_is_written_with_a_model(model, tmp_path):
    model.save(tmp_path)
    assert not any(b"user-" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


FILES = ["model.json", "items.json", "arrays.safetensors"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("harm", ["missing", "truncated", "empty", "garbage"])
def test_a_harmed_file_is_refused_by_name_of_the_folder(model, tmp_path, name, harm):
    model.save(tmp_path)
    path: Path = tmp_path / name
    whole = path.read_bytes()
    if harm == "missing":
        path.unlink()
    else:
        path.write_bytes({"truncated": whole[: len(whole) // 2], "empty": b"", "garbage": b"\x07" * len(whole)}[harm])
    with pytest.raises(ArtifactCorrupt, match=tmp_path.name):
        type(model).load(tmp_path)


def test_files_that_do_not_belong_together_are_refused(model, tmp_path):
    model.save(tmp_path)
    (tmp_path / "items.json").write_text('["one"]')
    with pytest.raises(ArtifactCorrupt):
        type(model).load(tmp_path)
    other = next(kind for kind in RECOMMENDERS.values() if kind.name != model.name)
    with pytest.raises(ArtifactCorrupt, match=model.name):
        other.load(tmp_path)


def test_a_batch_from_histories_is_sorted_and_holds_only_known_wanted_items():
    items, times, weights = (
        np.array([5, -1, 3, 4], np.int32),
        np.array([3.0, 2, 1, 2]),
        np.array([1, 1, 2, -1], np.float32),
    )
    users = UserBatch.from_histories([(items, times, weights), history()])
    assert (users.items.tolist(), users.weights.tolist(), users.indptr.tolist()) == ([3, 5], [2, 1], [0, 2, 2])
    assert (users.now_s.tolist(), users.rows.tolist()) == ([3, 0], [-1, -1])


def test_a_batch_is_sliced_by_users_and_cut_to_the_newest():
    users = UserBatch.from_sequences(checkerboard())
    part = users[3:5]
    assert part.items.tolist() == walk(3) + walk(4)
    assert part.rows.tolist() == [3, 4]
    assert part.newest(2).items.tolist() == walk(3)[-2:] + walk(4)[-2:]
    assert part.age[:3].tolist() == [8, 7, 6]
    assert len(users[30:]) == 0


def test_top_k_orders_ties_by_column_also_at_the_edge_and_never_returns_nan():
    scores = np.array([[1, 2, 2, 2, np.nan, -np.inf]], np.float32)
    assert top_k(scores, 2)[0].tolist() == [[1, 2]]
    assert top_k(scores, 6)[0].tolist() == [[1, 2, 3, 0, -1, -1]]
    assert top_k(scores, 0)[0].shape == (1, 0)
    assert top_k(np.zeros((2, 0), np.float32), 3)[0].tolist() == [[-1] * 3] * 2
