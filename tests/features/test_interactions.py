"""Interactions: the same arrays from the same events, whatever their order; ids and rows; cuts that leak nothing."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import InvalidRequest, NotFound
from features import interactions
from features.interactions import IdTable, Interactions, union_of

ROW = st.tuples(
    st.sampled_from(["ann", "bob", "çem", ""]),
    st.sampled_from(["x", "y", "z", "10", "9"]),
    st.sampled_from([0.0, 1.0, 2.0, 2.5]),
    st.sampled_from(["view", "purchase", "dislike"]),
)


def build(rows: list[tuple[str, str, float, str]], keys: np.ndarray | None = None) -> Interactions:
    users, items, times, kinds = ([row[i] for row in rows] for i in range(4))
    return Interactions.from_columns(users, items, times, kinds, keys=keys)


def same(a: Interactions, b: Interactions) -> bool:
    fields = dataclasses.fields(Interactions)
    return all(np.array_equal(getattr(a, field.name), getattr(b, field.name)) for field in fields)


@given(st.lists(ROW, max_size=20), st.randoms(use_true_random=False))
def test_shuffled_events_give_identical_arrays(rows, random):
    shuffled = random.sample(rows, len(rows))
    assert same(build(rows), build(shuffled))
    keys = {
        id(row): number for number, row in enumerate(rows)
    }  # equal rows may be one object: their key is then the same
    keyed = build(rows, np.array([keys[id(row)] for row in rows], int))
    assert same(keyed, build(shuffled, np.array([keys[id(row)] for row in shuffled], int)))


@given(st.lists(ROW, min_size=1, max_size=20))
def test_histories_are_sorted_and_weighted_and_every_event_is_there(rows):
    data = build(rows)
    found = zip(data.user_ids[data.user_ix], data.item_ids[data.item_ix], data.time_s, strict=True)
    assert sorted(found) == sorted(row[:3] for row in rows)
    assert np.all(np.diff(data.user_ix) >= 0)
    for user in range(data.n_users):
        assert np.all(np.diff(data.time_s[data.indptr[user] : data.indptr[user + 1]]) >= 0)
    weights = {"view": 1.0, "purchase": 3.0, "dislike": -1.0}
    assert all(weights[data.kinds[k]] == w for k, w in zip(data.kind_ix, data.weight, strict=True))


@given(st.lists(ROW, max_size=20), st.sampled_from([0.0, 1.0, 2.25, 9.0]))
def test_before_a_cut_is_what_would_have_been_built_then(rows, cut_s):
    earlier = build([row for row in rows if row[2] < cut_s])
    cut = build(rows).before(cut_s)
    assert np.array_equal(cut.user_ids, earlier.user_ids)
    assert np.array_equal(cut.item_ids, earlier.item_ids)
    assert np.array_equal(cut.item_ix, earlier.item_ix)
    assert np.array_equal(cut.weight, earlier.weight)


def test_matrix_sums_positive_weights_and_sequences_leave_dislikes_out():
    data = build([("a", "x", 1, "view"), ("a", "x", 2, "purchase"), ("a", "y", 3, "dislike"), ("b", "y", 1, "view")])
    assert data.matrix().toarray().tolist() == [[4, 0], [0, 1]]
    assert data.matrix().dtype == np.float32
    indptr, items, times = data.sequences()
    assert (indptr.tolist(), items.tolist(), times.tolist()) == ([0, 2, 3], [0, 0, 1], [1, 2, 1])
    assert data.n_items == 2


def test_ids_become_rows_and_unknown_ids_minus_one():
    data = build([("b", "y", 1, "view"), ("a", "x", 1, "view")])
    assert [data.user_row(u) for u in ("a", "b", "c")] == [0, 1, -1]
    assert [data.item_row(i) for i in ("x", "y", "z")] == [0, 1, -1]
    assert IdTable(data.item_ids).rows(["y", "nope", "x"]).tolist() == [1, -1, 0]


def test_a_kind_without_a_weight_counts_one_and_a_negative_value_is_no_interest():
    kinds, values = ["zoom", "rating", "rating"], [np.nan, 5.0, -1.0]
    data = Interactions.from_columns(["a"] * 3, ["x", "y", "z"], [1, 2, 3], kinds, values)
    assert data.weight.tolist() == [1, 1, -1]
    assert Interactions.from_columns(["a"], ["x"], [1], ["zoom"], kind_weights={"zoom": 7.0}).weight.tolist() == [7]


def test_nothing_at_all_is_an_empty_table():
    empty = Interactions.from_columns([], [], [])
    assert (len(empty), empty.n_users, empty.n_items, empty.matrix().shape) == (0, 0, 0, (0, 0))
    assert len(empty.before(5.0)) == 0


@pytest.mark.parametrize(
    ("users", "items", "times", "message"),
    [
        (["a"], ["x", "y"], [1.0], "differ in length"),
        (["a"], ["x"], [np.nan], "finite"),
        (["a", None], ["x", "y"], [1.0, 2.0], "lack a user"),
    ],
)
def test_bad_columns_are_refused_with_what_is_wrong(users, items, times, message):
    with pytest.raises(InvalidRequest, match=message):
        Interactions.from_columns(users, items, times)


def segment(path: Path, rows: list[tuple[str, str, str, float | None, int, bytes]]) -> None:
    schema = pa.schema(
        [
            ("user", pa.string()), ("item", pa.string()), ("kind", pa.string()), ("value", pa.float64()),
            ("time", pa.timestamp("us", tz="UTC")), ("key", pa.binary(16)),
        ]
    )  # fmt: skip
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[]] * 6
    path.parent.mkdir(parents=True, exist_ok=True)
    pa.parquet.write_table(pa.table(columns, schema=schema), path)


def test_snapshot_segments_are_read_in_any_order_and_an_event_in_two_of_them_counts_once(tmp_path):
    at = int(datetime(2026, 8, 22, tzinfo=UTC).timestamp() * 1e6)
    rows = [("u", f"i{n % 7}", "view", None, at + (n // 3) * 500_000, bytes([n]) * 16) for n in range(30)]
    segment(tmp_path / "one" / "day=1" / "a.parquet", rows[:20])
    segment(tmp_path / "one" / "b.parquet", rows[15:])
    segment(tmp_path / "one" / "c.parquet", [])
    segment(tmp_path / "two.parquet", rows[::-1])
    folder, single = Interactions.from_parquet(tmp_path / "one"), Interactions.from_parquet([tmp_path / "two.parquet"])
    assert len(folder) == 30
    assert same(folder, single)
    assert folder.time_s[0] == at / 1e6
    assert folder.time_s[3] == at / 1e6 + 0.5
    assert folder.item_ids[folder.item_ix].tolist() == [row[1] for row in rows]  # ties in the order of their keys


def test_a_folder_without_segments_is_empty(tmp_path):
    assert len(Interactions.from_parquet(tmp_path)) == 0


def test_a_data_folder_is_read_and_a_missing_one_is_named(tmp_path):
    import gzip

    with gzip.open(tmp_path / "interactions.csv.gz", "wt") as file:
        file.write("user,item,timestamp,kind,value\n7,42,5.5,rating,3\n7,007,5.5,view,\n")
    data = Interactions.from_folder(tmp_path)
    assert data.item_ids[data.item_ix].tolist() == ["42", "007"]  # lines break the tie, and ids stay texts
    assert data.time_s.tolist() == [5.5, 5.5]
    with pytest.raises(NotFound, match=r"interactions\.csv\.gz"):
        Interactions.from_folder(tmp_path / "nowhere")


@given(st.lists(st.sets(st.sampled_from("abcdefgh"), max_size=6), min_size=1, max_size=4), st.booleans())
def test_the_union_of_tables_is_ascending_and_one_of_them_where_that_holds_all(sets, shuffled):
    tables = [np.array(sorted(one, reverse=shuffled), np.object_) for one in sets]
    found = union_of(tables)
    assert found.tolist() == sorted(set().union(*sets))
    if not shuffled and max(sets, key=len) >= set().union(*sets):
        assert any(found is table for table in tables)


def test_many_ids_are_looked_up_a_few_at_a_time_all_the_same(monkeypatch):
    monkeypatch.setattr(interactions, "AT_ONCE", 3)
    table = IdTable(np.array([f"i{n}" for n in range(10)], np.object_))
    wanted = [f"i{n}" for n in (9, 11, 0, 3, 3, 10, 7)]
    assert table.rows(wanted).tolist() == [9, -1, 0, 3, 3, -1, 7]
    assert [table.row(one) for one in wanted] == table.rows(np.array(wanted, np.object_)).tolist()
