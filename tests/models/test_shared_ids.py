"""Models of the same items have one array of ids in memory, and one table from ids to rows, for as long as any of them lives."""

from __future__ import annotations

import gc
from pathlib import Path
from weakref import ref

import msgspec
import numpy as np
import pytest

from features.interactions import IdTable, Interactions
from models.popularity import Popularity
from models.shared_ids import shared_ids
from models.transitions import Transitions

IDS = [f"i{n}" for n in range(50)]
RAW = msgspec.json.encode(IDS)


def test_the_same_ids_are_one_array_and_others_another() -> None:
    ids, again, other = shared_ids(RAW), shared_ids(bytes(RAW)), shared_ids(msgspec.json.encode(IDS[:-1]))
    assert ids is again
    assert ids.tolist() == IDS
    assert other.tolist() == IDS[:-1]
    with pytest.raises(ValueError, match="read-only"):
        ids[0] = "another"


def test_an_id_that_is_there_twice_is_nothing_to_share() -> None:
    with pytest.raises(ValueError, match="twice"):
        shared_ids(b'["a","b","a"]')
    for bad in (b"", b"{}", b'["a", 1]', b'["a"'):
        with pytest.raises(msgspec.MsgspecError):
            shared_ids(bad)


def test_what_nobody_uses_any_more_is_gone() -> None:
    ids = shared_ids(msgspec.json.encode([*IDS, "last"]))
    gone = ref(ids)
    assert IdTable(ids).row("last") == 50
    del ids
    gc.collect()
    assert gone() is None


def test_tables_of_one_array_share_their_rows_and_those_of_equal_arrays_do_not_mix() -> None:
    ids, equal = np.array(IDS, np.object_), np.array(IDS, np.object_)
    one, other, third = IdTable(ids), IdTable(ids), IdTable(equal[::-1].copy())
    assert one._row_of is other._row_of
    assert one.row("i7") == other.row("i7") == 7
    assert third.row("i7") == 42
    assert one.rows(ids).tolist() == list(range(50))
    assert one.rows(equal[::-1]).tolist() == list(range(49, -1, -1))
    assert one.rows(["i3", "unknown"]).tolist() == [3, -1]


def test_models_that_were_saved_apart_share_when_loaded(tmp_path: Path) -> None:
    data = Interactions.from_columns(["u"] * 50, IDS, list(range(50)))
    Popularity.fit(data).save(tmp_path / "popularity")
    Transitions.fit(data).save(tmp_path / "transitions")
    popularity, transitions = Popularity.load(tmp_path / "popularity"), Transitions.load(tmp_path / "transitions")
    assert popularity.item_ids is transitions.item_ids
    assert popularity.item_ids.tolist() == sorted(IDS)
