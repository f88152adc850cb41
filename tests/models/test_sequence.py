"""The sequence recommender beyond the contract: what it may look at, what it learns from, and that a kill costs nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from features.interactions import Interactions
from models.index import VectorIndex
from models.recommender import UserBatch
from models.sequence import Sequence, SequenceConfig
from models.sequence_batches import EMPTY, Histories, collate, grouped, windows
from models.sequence_network import Items, Network
from models.sequence_start import start_vectors
from models.sequence_training import Model

ROOT = Path(__file__).parents[2]
SMALL = SequenceConfig(dimensions=16, length=16, epochs=40, batch_tokens=256, learning_rate=0.02, device="cpu")
SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=12)


def ring(n_users: int = 20, n_items: int = 20, steps: int = 9) -> Interactions:
    """Users walk a ring of items, a second a step."""
    rows = [(f"u{u:02d}", f"i{(u + step) % n_items:02d}", step) for u in range(n_users) for step in range(steps)]
    users, items, times = zip(*rows, strict=True)
    return Interactions.from_columns(users, items, times)


def asked(data: Interactions, *items: str, now_s: float | None = None) -> UserBatch:
    rows = np.array([data.item_row(item) for item in items], np.int32)
    one = (rows, np.arange(len(rows), dtype=float), np.ones(len(rows), np.float32))
    return UserBatch.from_histories([one], None if now_s is None else [now_s])


def numbered(sizes: list[int]) -> Histories:
    """Histories of such sizes in which no item comes twice."""
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    n = int(indptr[-1])
    return Histories(indptr, np.arange(n), np.arange(n, dtype=float), np.ones(n, np.float32))


@given(SIZES, st.integers(1, 15), st.integers(0, 5))
def test_every_interaction_but_the_first_of_a_user_is_the_target_of_one_window(sizes, length, seed):
    indptr = numbered(sizes).indptr
    runs = windows(indptr, length, np.random.default_rng(seed))
    targets = [at for start, stop in runs for at in range(start + 1, stop)]
    assert sorted(targets) == sorted(set(range(indptr[-1])) - set(indptr[:-1].tolist()))
    assert all(stop - start <= length + 1 for start, stop in runs)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    assert all(owner[start] == owner[stop - 1] for start, stop in runs)


@given(SIZES, st.integers(20, 200), st.integers(0, 5))
def test_batches_hold_every_window_once_and_no_more_than_they_may(sizes, tokens, seed):
    rng = np.random.default_rng(seed)
    runs = windows(numbered(sizes).indptr, 15, rng)
    batches = grouped(runs, tokens, rng)
    assert sorted(map(tuple, np.concatenate([runs[:0], *batches]).tolist())) == sorted(map(tuple, runs.tolist()))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * np.diff(batch).max() <= 1.5 * tokens


def test_a_batch_asks_each_input_for_what_came_next_and_a_step_further():
    data = numbered([5, 3])
    config = replace(SMALL, ahead=2, time_buckets=1)
    batch = collate(data, np.array([[0, 3], [5, 8]]), config, np.arange(8), 0, np.random.default_rng(0))
    items = batch.rows[batch.history]
    assert items[batch.valid].tolist() == [0, 1, 5, 6]
    wanted = [[int(batch.rows[t]) if t != EMPTY else None for t in row] for row in batch.targets]
    assert wanted == [[1, 2], [2, 3], [6, 7], [7, None]]  # beyond the window, never beyond the user
    assert batch.time_s is not None
    assert batch.time_s.tolist() == [[0, 1, 2], [5, 6, 7]]
    assert batch.say.tolist() == [1, 0.5]
    last = collate(data, np.array([[0, 3]]), config, np.arange(8), 0, np.random.default_rng(0), done=1.0)
    assert last.say.tolist() == [1, 0]  # at the end only what came next counts


def model_of(n_items: int, config: SequenceConfig) -> Model:
    torch.manual_seed(1)
    items = Items(torch.randn(n_items, config.dimensions), torch.ones(n_items, dtype=torch.bool), None, 0.0)
    return Model(items, Network(config), n_items).eval()


def test_with_every_item_as_a_negative_the_loss_is_the_cross_entropy_of_a_full_softmax():
    data, config = numbered([9, 6]), replace(SMALL, ahead=1, time_buckets=0)
    model = model_of(15, config)
    batch = collate(data, np.array([[0, 9], [9, 15]]), config, np.arange(15), 0, np.random.default_rng(0))
    vectors = model.items(torch.arange(15))
    logits = model.network(vectors[batch.rows[batch.history]], None)[batch.valid] @ vectors.T
    expected = torch.nn.functional.cross_entropy(logits, batch.rows[batch.targets[:, 0]])
    assert model(batch).item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_few_uniform_negatives_stand_for_all_of_them():
    data, config = numbered([9, 6]), replace(SMALL, ahead=1, time_buckets=0)
    model, runs = model_of(15, config), np.array([[0, 9], [9, 15]])
    model.network.log_scale.data.zero_()  # mild scores: few draws estimate their sum well
    with torch.inference_mode():
        full = model(collate(data, runs, config, np.arange(15), 0, np.random.default_rng(0))).item()
        drawn = [
            model(collate(data, runs, config, np.arange(15), 8, np.random.default_rng(n))).item() for n in range(50)
        ]
    assert np.mean(drawn) == pytest.approx(full, rel=0.02)


def test_what_comes_later_is_not_seen():
    torch.manual_seed(0)
    network = Network(replace(SMALL, length=12)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    history, times = torch.randn(1, 12, 16), torch.cumsum(torch.rand(1, 13, dtype=torch.float64) * 1000, 1)
    with torch.inference_mode():
        whole = network(history, times)
        changed = network(torch.cat([history[:, :6], torch.randn(1, 6, 16)], dim=1), times)
        assert torch.allclose(changed[:, :6], whole[:, :6], atol=1e-5)
        assert not torch.allclose(changed[:, 6:], whole[:, 6:], atol=1e-2)
    assert torch.allclose(whole.norm(dim=2), network.log_scale.exp(), rtol=1e-4)


def test_places_are_counted_from_the_one_that_looks_so_that_it_does_not_matter_where_a_history_is_cut():
    torch.manual_seed(0)
    network = Network(replace(SMALL, length=12, blocks=1)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    with torch.no_grad():
        network.blocks[0].by_place[:, 6:] = -1e4  # nothing further back than 5 counts
        history = torch.randn(1, 12, 16)
        whole, cut = network(history, None), network(history[:, 4:], None)
    assert torch.allclose(whole[:, -3:], cut[:, -3:], atol=1e-5)


def test_only_the_newest_of_a_long_history_count():
    data = ring()
    model = Sequence.fit(data, replace(SMALL, epochs=1))
    long, short = (
        asked(data, *["i05"] * 30, *[f"i{n:02d}" for n in range(16)]),
        asked(data, *[f"i{n:02d}" for n in range(16)]),
    )
    assert np.allclose(model.scores(long), model.scores(short), atol=1e-5)


def test_the_index_finds_what_the_model_ranks():
    data = ring()
    model = Sequence.fit(data, SMALL)
    users = UserBatch.from_sequences(data)
    found, scores = VectorIndex.build(model.item_vectors()).search(model.encode(users), 5)
    expected, best = model.recommend(users, 5)
    assert np.array_equal(found[:, 0], expected[:, 0])
    assert np.allclose(scores, best, atol=1e-4)


def test_an_item_that_nobody_has_touched_is_placed_by_its_text_and_one_without_text_nowhere():
    colours = ["red", "green", "blue", "black"]
    rng = np.random.default_rng(0)
    rows = [
        (f"u{u}", f"{colours[u % 4]}-{item}", t) for u in range(40) for t, item in enumerate(rng.permutation(8)[:6])
    ]
    users, items, times = zip(*rows, strict=True)
    data = Interactions.from_columns(
        [*users, "u0"], [*items, "silent"], [*times, 99], ["like"] * len(rows) + ["dislike"]
    )  # fmt: skip
    texts = {item: f"a {item.split('-')[0]} thing" for item in set(items)} | {"new": "a blue thing"}
    model = Sequence.fit(data, replace(SMALL, time_buckets=0), texts=texts)
    row = model.item_ids.tolist().index
    assert np.linalg.norm(model.item_vectors()[row("new")]) == pytest.approx(1, rel=1e-5)
    likened, _ = model.similar(np.array([row("new")], np.int32), 5)
    assert all(model.item_ids[one].startswith("blue") for one in likened[0])
    history = np.array([row("blue-1"), row("blue-2")], np.int32)
    user = UserBatch.from_histories([(history, np.arange(2.0), np.ones(2, np.float32))])
    scores = model.scores(user)[0]
    assert scores[row("new")] > max(scores[row(f"{colour}-1")] for colour in ("red", "green", "black"))
    assert scores[row("silent")] == -np.inf


def test_what_is_wanted_next_may_depend_on_how_long_ago_the_last_was():
    rows = []
    for user in range(40):  # soon after a comes b, a day after it comes c
        wait, then = ((30, "b"), (90_000, "c"))[user % 2]
        rows += [(f"u{user}", "a", 0.0), (f"u{user}", then, float(wait))]
    users, items, times = zip(*rows, strict=True)
    data = Interactions.from_columns(users, items, times)
    model = Sequence.fit(data, replace(SMALL, ahead=1))
    first = [
        model.recommend(asked(data, "a", now_s=now), 1, np.arange(3) == data.item_row("a"))[0][0, 0]
        for now in (20, 80_000)
    ]
    assert [data.item_ids[one] for one in first] == ["b", "c"]


def test_vectors_begin_near_those_they_are_met_with():
    items = np.concatenate([np.random.default_rng(u).permutation(10) + 10 * (u % 3) for u in range(60)])
    data = Histories(np.arange(0, 601, 10), items, np.arange(600.0), np.ones(600, np.float32))
    start = start_vectors(data, 30, 4, seed=0)
    alike = start @ start.T
    inside = np.arange(30)[:, None] // 10 == np.arange(30) // 10
    assert alike[inside].mean() > 0.5 > 0.2 > abs(alike[~inside].mean())


class Notes:
    """A reporter that keeps what is shown."""

    def __init__(self) -> None:
        self.done, self.notes, self.total = 0.0, list[str](), 0.0

    def task(self, label: str, total: float) -> Notes:
        self.total = total
        return self

    def __enter__(self) -> Notes:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def advance(self, steps: float = 1, note: str = "") -> None:
        self.done += steps
        self.notes.append(note)


def test_progress_shows_the_loss_falling_and_the_time_left():
    notes, seen = Notes(), []
    Sequence.fit(ring(), SMALL, reporter=notes, watch=lambda epochs, model: seen.append((epochs, model)))
    shown = [note for note in notes.notes if note]
    assert notes.done == pytest.approx(notes.total)
    assert all(note.startswith("loss ") and note.endswith(" s left") for note in shown)
    assert float(shown[-1].split()[1].rstrip(",")) < 0.5 * float(shown[0].split()[1].rstrip(","))
    assert [epochs for epochs, _ in seen] == list(range(1, SMALL.epochs + 1))
    assert isinstance(seen[0][1], Sequence)


def test_what_cannot_be_built_is_refused_with_what_to_do():
    with pytest.raises(ConfigurationError, match="heads"):
        Sequence.fit(ring(), replace(SMALL, heads=3))
    if not torch.cuda.is_available():
        with pytest.raises(ConfigurationError, match="auto or cpu"):
            Sequence.fit(ring(), replace(SMALL, device="cuda"))


def test_training_leaves_the_random_state_of_others_alone():
    before = torch.random.get_rng_state()
    Sequence.fit(ring(), replace(SMALL, epochs=1, dropout=0.1))
    assert torch.equal(before, torch.random.get_rng_state())


LONG = replace(SMALL, dropout=0.1, batch_tokens=64, epochs=40, checkpoint_s=0.0)  # a checkpoint after every batch
TRAIN = """
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from test_sequence import LONG, Sequence, ring
Sequence.fit(ring(), LONG, checkpoints=Path(sys.argv[3]))
"""


def weights(model: Sequence) -> dict[str, np.ndarray]:
    return {"vectors": model.vectors, **model.weights}


def same(one: Sequence, other: Sequence) -> bool:
    pairs = zip(weights(one).items(), weights(other).items(), strict=True)
    return all(a == b and np.array_equal(x, y) for (a, x), (b, y) in pairs)


def test_a_run_killed_and_started_again_ends_with_the_weights_of_one_that_never_stopped(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", TRAIN, str(ROOT), str(ROOT / "tests" / "models"), str(tmp_path)])
    deadline = time.monotonic() + 120
    while not any(int(path.parent.name.split("-")[1]) >= 2 for path in tmp_path.glob("*-*-???????/manifest.json")):
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    notes, whole = Notes(), Notes()
    resumed = Sequence.fit(ring(), LONG, reporter=notes, checkpoints=tmp_path)
    assert same(resumed, Sequence.fit(ring(), LONG, reporter=whole))
    assert len(notes.notes) < len(whole.notes)  # it did not begin anew
    again = Notes()
    assert same(resumed, Sequence.fit(ring(), LONG, reporter=again, checkpoints=tmp_path))
    assert len(again.notes) == 1  # nothing was left to do


def test_a_checkpoint_of_other_data_or_a_harmed_one_is_not_resumed(tmp_path):
    config = replace(LONG, epochs=2)
    Sequence.fit(ring(steps=8), config, checkpoints=tmp_path)
    fresh = Sequence.fit(ring(), config)
    assert same(Sequence.fit(ring(), config, checkpoints=tmp_path), fresh)
    (state,) = tmp_path.glob("*/*.safetensors")
    state.write_bytes(state.read_bytes()[:-9])
    assert same(Sequence.fit(ring(), config, checkpoints=tmp_path), fresh)


SHARED = """
import os
import sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from test_sequence import LONG, Sequence, ring
Sequence.fit(ring(), LONG).save(Path(sys.argv[3]) / os.environ["RANK"])
"""


def test_two_processes_under_torchrun_learn_one_model(tmp_path):
    script = tmp_path / "train.py"
    script.write_text(SHARED)
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script),
         str(ROOT), str(ROOT / "tests" / "models"), str(tmp_path)],
        check=True, timeout=200, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    first, second = (Sequence.load(tmp_path / rank) for rank in "01")
    assert same(first, second)
    users = UserBatch.from_sequences(ring())
    found, _ = first.recommend(users, 1)
    assert np.mean(found[:, 0] == (users.items[users.indptr[1:] - 1] + 1) % 20) > 0.9


def test_what_a_gpu_does_otherwise_half_precision_and_a_compiled_network_comes_to_about_the_same():
    torch.manual_seed(0)
    network = Network(SMALL).eval()
    history = torch.nn.functional.normalize(torch.randn(3, 9, 16), dim=2)
    times = torch.cumsum(torch.rand(3, 10, dtype=torch.float64) * 1000, 1)
    with torch.inference_mode():
        exact = network(history, times)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(history, times)
    assert torch.allclose(half.float(), exact, atol=0.05 * float(exact.abs().max()))
    network.compile(backend="eager", dynamic=True, fullgraph=True)  # what can be traced whole needs no compiler here
    assert torch.allclose(network(history, times), exact, atol=1e-5)


def test_models_are_imported_without_torch():
    code = "import sys, models.sequence; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
