"""Evaluation: nothing of the future reaches a model, cold targets are misses, and known figures come out."""

from __future__ import annotations

import gzip
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from core.errors import InvalidRequest, NotFound
from features.interactions import Interactions
from models import RECOMMENDERS
from models.blend import Blend, BlendConfig, Member
from models.evaluation import evaluate, table
from models.metrics import MISS
from models.popularity import Popularity
from models.protocols import (
    given_split,
    held_out_share,
    leave_last_out,
    read_protocol,
    split_at,
    split_folder,
    time_split,
)
from models.transitions import Transitions

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
METRICS = ("hr@3", "ndcg@3")
FITS = {name: RECOMMENDERS[name].fit for name in ("popularity", "transitions", "repeat", "als")}
MIXED = partial(Blend.fit, config=BlendConfig((Member("transitions"), Member("repeat")), (0.5, 0.5)))

Columns = tuple[list[str], list[str], list[float]]


def data_set(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"the public data set {name} is not beside this checkout (../shared/data/{name})")
    return SHARED / name


def stream(seed: int = 0, n: int = 400) -> Columns:
    """Walks on a ring of 30 items by 20 users, one event a second."""
    rng = np.random.default_rng(seed)
    users = rng.integers(0, 20, n)
    at = rng.integers(0, 30, 20)
    items = []
    for user in users:
        at[user] = (at[user] + rng.choice([1, 1, 1, 2, 5])) % 30
        items.append(f"i{at[user]:02d}")
    return [f"u{user}" for user in users], items, [float(t) for t in range(n)]


def with_future(columns: Columns, from_s: float) -> Interactions:
    """The stream, and on top of it much that happens later: known users with known, new and popular items, and new users."""
    users, items, times = columns
    planted = [(f"u{n % 20}", items[n], from_s + n) for n in range(30)]
    planted += [(f"u{n % 20}", "i00-new", from_s + 100 + n) for n in range(200)]
    planted += [(f"a-new-user-{n}", "i07", from_s + 300 + n) for n in range(200)]
    more = [list(column) for column in zip(*planted, strict=True)]
    return Interactions.from_columns(users + more[0], items + more[1], times + more[2])


@pytest.mark.parametrize("mask_seen", [True, False])
def test_a_planted_future_changes_no_metric_of_a_time_split(mask_seen):
    columns = stream()
    plain, planted = Interactions.from_columns(*columns), with_future(columns, from_s=400)
    fits = {**FITS, "blend": MIXED}
    before = evaluate(fits, split_at(plain, 300, 400, mask_seen), METRICS)
    after = evaluate(fits, split_at(planted, 300, 400, mask_seen), METRICS)
    for one, other in zip(before, after, strict=True):
        assert (one.metrics, one.intervals, one.hits) == (other.metrics, other.intervals, other.hits)
        assert (one.lists, one.segments) == (other.lists, other.segments)
        assert np.array_equal(one.ranks[one.ranks < 30], other.ranks[other.ranks < 30])
    assert before[1].hits > before[0].hits > 0  # there was something to get wrong


def test_a_change_after_a_target_changes_nothing_of_it_within_the_same_split():
    users, items, times = stream()
    whole = split_at(Interactions.from_columns(users, items, times), 300)
    changed = [
        item if time < 350 else f"i{(int(item[1:]) + 11) % 30:02d}" for item, time in zip(items, times, strict=True)
    ]
    other = split_at(Interactions.from_columns(users, changed, times), 300)
    early = whole.now_s < 350
    for one, two in zip(evaluate(FITS, whole, METRICS), evaluate(FITS, other, METRICS), strict=True):
        assert np.array_equal(one.ranks[early], two.ranks[early])
    assert not np.array_equal(one.ranks, two.ranks)


def test_the_input_of_a_case_is_the_users_own_history_up_to_it_and_not_it():
    users, items = list("abaabc"), list("xyzxyz")
    split = split_at(Interactions.from_columns(users, items, range(6)), 3)
    rows, nobody = np.arange(3, dtype=np.int32), np.full(3, -1, np.int32)
    asked = split.users(slice(None), rows, nobody)
    histories = np.split(split.record.item_ids[asked.items], asked.indptr[1:-1])
    found = {float(now): list(past) for now, past in zip(split.now_s, histories, strict=True)}
    assert found == {3.0: ["x", "z"], 4.0: ["y"], 5.0: []}
    assert split.train.item_ids.tolist() == ["x", "y", "z"]


def test_a_fitted_model_that_has_seen_past_the_cut_is_refused_and_one_that_has_not_is_measured():
    data = Interactions.from_columns(*stream())
    split = split_at(data, 300)
    with pytest.raises(InvalidRequest, match="has seen"):
        evaluate({"leaking": Transitions.fit(data)}, split)
    with pytest.raises(InvalidRequest, match="has seen"):
        evaluate({"leaking": lambda _: Transitions.fit(data)}, split)
    fitted, function = evaluate({"honest": Transitions.fit(data.before(300)), "function": Transitions.fit}, split)
    assert np.array_equal(fitted.ranks, function.ranks)


def test_an_older_model_with_fewer_items_is_measured_by_the_ids_it_shares():
    data = Interactions.from_columns(*stream())
    old = Transitions.fit(data.before(60))
    row = evaluate({"old": old}, split_at(data, 300), METRICS)[0]
    unknown = ~np.isin(data.item_ids[split_at(data, 300).target_ix], old.item_ids)
    assert len(old.item_ids) < data.n_items
    assert np.array_equal(row.ranks == MISS, unknown)
    assert row.hits > 0


def test_cold_targets_are_misses_that_count_and_cold_users_are_reported():
    users = ["a", "a", "b", "a", "b", "c"]
    items = ["x", "y", "x", "new", "y", "x"]
    split = split_at(Interactions.from_columns(users, items, range(6)), 3)
    row = evaluate({"popularity": Popularity.fit}, split, ("hr@1", "hr@2"))[0]
    assert (row.targets, row.hits, row.metrics) == (3, 2, {"hr@1": pytest.approx(2 / 3), "hr@2": pytest.approx(2 / 3)})
    assert row.cold_item_share == pytest.approx(1 / 3)
    assert row.cold_user_share == pytest.approx(1 / 3)
    assert row.coverage == 1.0


def test_an_item_of_the_history_that_nobody_had_in_training_may_come_again_where_nothing_is_masked():
    users, items = list("aabbcaa"), [*"xyxyx", "new", "new"]
    split = split_at(Interactions.from_columns(users, items, range(7)), 5, mask_seen=False)
    fits = {"repeat": FITS["repeat"], "blend": MIXED, "transitions": FITS["transitions"]}
    repeat, blend, transitions = evaluate(fits, split, ("hr@1",))
    assert repeat.ranks.tolist()[1] == blend.ranks.tolist()[1] == 1  # had once, it is the newest of the history
    assert repeat.segments["cold items"].metrics["hr@1"] == 0.5  # the first time nobody could know
    assert transitions.ranks.tolist() == [MISS, MISS]
    assert repeat.coverage <= 1


def test_what_a_user_has_is_masked_but_never_the_target_itself():
    users, items = ["a", "b", "c", "a"], ["x", "x", "y", "x"]
    split = split_at(Interactions.from_columns(users, items, range(4)), 3)
    assert evaluate({"p": Popularity.fit}, split, ("hr@1",))[0].hits == 1  # the target is what the user had: it stays
    split = split_at(Interactions.from_columns(users, [*items[:3], "y"], range(4)), 3)
    assert evaluate({"p": Popularity.fit}, split, ("hr@1",))[0].hits == 1  # x, more popular, is masked
    split = split_at(Interactions.from_columns(users, [*items[:3], "y"], range(4)), 3, mask_seen=False)
    assert evaluate({"p": Popularity.fit}, split, ("hr@1",))[0].hits == 0


def test_leave_last_out_trains_on_neither_target_and_feeds_the_validation_item_at_test_time():
    data = Interactions.from_columns(["a"] * 4 + ["b"] * 2, list("wxyzxy"), [1, 2, 3, 4, 1, 2])
    test, validation = leave_last_out(data), leave_last_out(data, "validation")
    assert [data.item_ids[t] for t in (*test.target_ix, *validation.target_ix)] == ["z", "y"]
    assert test.train.item_ids.tolist() == ["w", "x", "y"]  # y through user b, who has too few to be tested
    assert len(test.train) == len(validation.train) == 4
    rows, users = np.arange(4, dtype=np.int32), np.arange(2, dtype=np.int32)
    assert test.users(slice(0, 1), rows, users).items.tolist() == [0, 1, 2]
    assert validation.users(slice(0, 1), rows, users).items.tolist() == [0, 1]


def test_a_given_split_averages_over_users_and_counts_targets_nobody_knows():
    data = Interactions.from_columns(["a", "a", "b", "c"], ["x", "y", "x", "z"], [0, 0, 0, 0])
    split = given_split(data, ["b", "a", "b"], ["y", "z", "unknown"])
    row = evaluate({"p": Popularity.fit}, split, ("recall@1", "recall@2"))[0]
    assert (row.cases, row.targets) == (2, 3)
    assert row.metrics == {"recall@1": 0.5, "recall@2": 0.75}  # y and z tie for b: neither is first
    with pytest.raises(InvalidRequest, match="nobody"):
        given_split(data, ["nobody"], ["x"])


def test_a_held_out_share_is_disjoint_from_what_is_trained_on():
    users, items = np.divmod(np.arange(200), 10)
    data = Interactions.from_columns(users.astype(str), items.astype(str), np.zeros(200))
    split = held_out_share(data, 0.2)
    assert (len(split.train), len(split.target_ix), len(split)) == (160, 40, 20)
    trained = set(zip(split.train.user_ix, split.train.item_ix, strict=True))
    case = np.repeat(split.user_ix, np.diff(split.target_indptr))
    assert not trained & set(zip(case, split.target_ix, strict=True))
    assert np.array_equal(held_out_share(data, 0.2).target_ix, split.target_ix)


def test_a_hold_out_drawn_by_popularity_holds_out_the_popular_more_often_and_as_much_of_everybody():
    """200 users have one item in common and nine that nobody else has."""
    users = np.repeat(np.arange(200), 10)
    items = np.where(np.arange(2000) % 10 == 0, "all", np.arange(2000).astype(str))
    data = Interactions.from_columns(users.astype(str), items, np.zeros(2000))
    held = {}
    for popularity in (0.0, 1.0):
        split = held_out_share(data, 0.2, popularity=popularity)
        assert set(np.diff(split.target_indptr)) == {2}
        held[popularity] = 200 - np.count_nonzero(split.train.item_ids[split.train.item_ix] == "all")
    assert 20 < held[0.0] < 60  # a fifth
    assert held[1.0] > 180


def test_data_too_small_to_split_is_refused_with_why():
    with pytest.raises(InvalidRequest, match="no interactions"):
        time_split(Interactions.from_columns([], [], []))
    with pytest.raises(InvalidRequest, match="both need some"):
        time_split(Interactions.from_columns(["a"], ["x"], [1]))
    with pytest.raises(InvalidRequest, match="at least 3"):
        leave_last_out(Interactions.from_columns(["a"], ["x"], [1]))


def test_rows_become_a_table_and_json_and_compare_pairwise():
    split = split_at(Interactions.from_columns(*stream()), 300)
    popularity, transitions = evaluate({name: FITS[name] for name in ("popularity", "transitions")}, split, METRICS)
    text = table([popularity, transitions], [{"method": "Someone", "hr@3": 0.5}])
    lines = text.splitlines()
    assert lines[0].split()[:2] == ["model", "hr@3"]
    assert lines[6].split()[:3] == ["model", "coverage", "novelty"]
    assert lines[8].split()[:2] == ["transitions", f"{transitions.coverage:.3f}"]
    assert f"{transitions.metrics['ndcg@3']:.4f}" in lines[2]
    assert lines[3].split() == ["Someone", "(published)", "0.5000"]
    assert "100 cases" in lines[4]
    plain = json.loads(json.dumps(transitions.as_json()))
    assert plain["metrics"] == transitions.metrics
    assert plain["peak_bytes"] > 10_000_000
    ahead = transitions.against(popularity, "ndcg@3")
    assert ahead.low > 0
    assert popularity.against(transitions, "ndcg@3").difference == pytest.approx(-ahead.difference)
    with pytest.raises(InvalidRequest, match="metric"):
        evaluate(FITS, split, ())


def folder(path: Path, protocol: str, test: str | None = None) -> Path:
    (path / "protocol.toml").write_text(protocol)
    lines = "".join(f"u{n % 4},i{n % 5},{n}\n" for n in range(40))
    with gzip.open(path / "interactions.csv.gz", "wt") as file:
        file.write("user,item,timestamp\n" + lines)
    if test:
        with gzip.open(path / "test.csv.gz", "wt") as file:
            file.write("user,item\n" + test)
    return path


def test_a_folder_is_split_as_its_protocol_says(tmp_path):
    metrics = 'metrics = ["hr@10"]\n'
    time = folder(tmp_path, f'split = "time"\nmask_seen = false\n{metrics}')
    assert [len(split_folder(time, stage)) for stage in ("validation", "test")] == [4, 4]
    assert not split_folder(time).mask_seen
    last = folder(tmp_path, f'split = "leave-last-out"\n{metrics}')
    assert len(split_folder(last)) == 4
    given = folder(tmp_path, f'split = "given"\n{metrics}[[published]]\nmethod = "x"\n"hr@10" = 0.5\n', "u0,i9\n")
    assert (len(split_folder(given)), len(split_folder(given, "validation"))) == (1, 4)
    assert read_protocol(given).published == ({"method": "x", "hr@10": 0.5},)


def test_a_folder_that_cannot_be_read_says_what_is_wrong(tmp_path):
    with pytest.raises(NotFound, match=r"protocol\.toml"):
        split_folder(tmp_path)
    with pytest.raises(InvalidRequest, match="split"):
        read_protocol(folder(tmp_path, 'split = "some"\nmetrics = []'))
    with pytest.raises(NotFound, match=r"test\.csv\.gz"):
        split_folder(folder(tmp_path, 'split = "given"\nmetrics = []'))


def test_popularity_on_gowalla_gives_the_published_figures():
    split = split_folder(data_set("gowalla"))
    row = evaluate({"popularity": Popularity.fit}, split, ("recall@20", "ndcg@20"))[0]
    assert row.metrics == pytest.approx({"recall@20": 0.0416, "ndcg@20": 0.0317}, abs=5e-5)


def test_personal_models_are_clearly_ahead_of_popularity_on_the_time_split_of_movielens():
    split = split_folder(data_set("ml-100k"))
    rows = {row.model: row for row in evaluate(FITS, split)}
    for name in ("transitions", "als"):
        for metric in ("hr@10", "ndcg@10"):
            assert rows[name].against(rows["popularity"], metric).low > 0.03
