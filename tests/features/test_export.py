"""An export opens in pandas with the types that the values have, whatever the format, detached months included."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pytest

from core.errors import InvalidRequest
from core.events import Impression, Interaction, UserChanged
from core.settings import Settings
from core.store import Store, open_store
from core.store.events import Coordinates, DeadLetter
from features.export import everything_of, write_export
from tests.streams import Writer, event, view

MOMENT = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with open_store(settings) as opened:
        yield opened


@pytest.fixture
def file(store: Store, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The export of "007", whose events are in a detached month, an attached one and the default partition."""
    writer = Writer(store)
    shown = Impression(slate="s1.t.x", items=("i1", "i2"), user="007", context={"surface": "home"})
    clicked = Interaction(
        user="007", item="i,2\n", kind="click", slate="s1.t.x", position=2, session="s", context={"a": 'ü"'}
    )
    events = [
        view(1, "007", "0042", "rating", 4.5),
        event(2, shown, minutes=60 * 24 * 40),
        event(3, clicked, minutes=60 * 24 * 80),
    ]
    letter = DeadLetter(Coordinates("t", "t", 0, 9), "invalid", "no item", b'{"user":"007"}', 14, "sha")
    writer.write(
        [*events, event(4, UserChanged(user="007", attributes={"plan": "gold"})), view(5, "other", "i1")], [letter]
    )
    store.partitions.attach_ahead(1, MOMENT)
    assert store.partitions.detach_before(date(2026, 2, 1)) == ["events_2026_01"]
    out = tmp_path / f"user{request.param}"
    write_export(everything_of(store, "007"), out)
    return out


@pytest.mark.parametrize("file", [".parquet"], indirect=True)
def test_parquet_keeps_every_type(file: Path) -> None:
    frame = pd.read_parquet(file)
    assert len(frame) == 4
    assert str(frame["time"].dtype) == "datetime64[us, UTC]"
    assert frame["time"].iloc[0] == MOMENT
    assert frame["time"].is_monotonic_increasing
    assert frame["value"].dtype == "float64"
    assert str(frame["position"].dtype) == "Int32"
    assert frame["position"].tolist() == [pd.NA, pd.NA, pd.NA, 2]
    assert frame["item"].dtype == "str"
    assert frame["item"].iloc[[0, 3]].tolist() == ["0042", "i,2\n"]
    assert frame["type"].tolist() == ["interaction.rating", "user.changed", "impression", "interaction.click"]
    assert json.loads(frame["data"].iloc[2])["items"] == ["i1", "i2"]
    assert frame.attrs["user"] == "007"
    assert frame.attrs["attributes"] == {"plan": "gold"}
    assert [one["payload"] for one in frame.attrs["dead_letters"]] == ['{"user":"007"}']


@pytest.mark.parametrize("file", [".csv"], indirect=True)
def test_csv_opens_with_its_times_and_ids_once_pandas_is_told_of_them(file: Path) -> None:
    frame = pd.read_csv(file, parse_dates=["time"], dtype={"item": str, "position": "Int32"})
    assert isinstance(frame["time"].dtype, pd.DatetimeTZDtype)
    assert frame["time"].iloc[0] == MOMENT
    assert frame["item"].iloc[[0, 3]].tolist() == ["0042", "i,2\n"]
    assert frame["value"].dtype == "float64"
    assert frame["position"].tolist() == [pd.NA, pd.NA, pd.NA, 2]


@pytest.mark.parametrize("file", [".json"], indirect=True)
def test_json_holds_all_of_it(file: Path) -> None:
    document = json.loads(file.read_text())
    assert (document["user"], document["attributes"]) == ("007", {"plan": "gold"})
    assert [one["detail"] for one in document["dead_letters"]] == ["no item"]
    frame = pd.DataFrame(document["events"])
    frame["time"] = pd.to_datetime(frame["time"])
    assert frame["time"].iloc[0] == MOMENT
    assert frame["item"].iloc[0] == "0042"
    assert frame["position"].astype("Int32").iloc[3] == 2


def test_a_stranger_has_an_empty_table_of_the_same_types(store: Store, tmp_path: Path) -> None:
    write_export(everything_of(store, "nobody"), tmp_path / "nobody.parquet")
    frame = pd.read_parquet(tmp_path / "nobody.parquet")
    assert len(frame) == 0
    assert str(frame["time"].dtype) == "datetime64[us, UTC]"
    with pytest.raises(InvalidRequest, match=r"\.parquet"):
        write_export(everything_of(store, "nobody"), tmp_path / "nobody.xls")
