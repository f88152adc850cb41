"""Data sets as events: every event is accepted by the decoder, and bad CSV is refused with its line."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import DownloadFailed, InvalidRequest
from core.events import Event, Interaction, ItemChanged, decode
from core.progress import Silent
from headwater.fetch import fetch_movielens
from headwater.movielens import LICENCE, Dataset, clean_title, movielens_100k, read_csv

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def movielens_events(movielens: Dataset) -> list[Event]:
    return events(movielens)


@pytest.fixture(scope="module")
def movielens() -> Dataset:
    try:
        return movielens_100k(fetch_movielens(REPOSITORY / ".headwater", Silent()))
    except DownloadFailed as error:
        pytest.skip(f"MovieLens-100K is not here and cannot be fetched: {error}")


def events(dataset: Dataset) -> list[Event]:
    return [decode(message.value) for message in dataset.read()]


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_movielens_is_1682_items_then_100000_ratings_in_time_order(
    movielens: Dataset, movielens_events: list[Event]
) -> None:
    read = movielens_events
    assert (movielens.users, movielens.items, movielens.interactions) == (943, 1682, 100_000)
    assert len(read) == movielens.events == len({event.key for event in read})
    items, ratings = read[:1682], read[1682:]
    assert {event.type for event in items} == {"item.changed"}
    assert {event.type for event in ratings} == {"interaction.rating"}
    times = [event.time for event in ratings]
    assert times == sorted(times)
    assert max(event.time for event in items) < times[0]
    bodies = [event.body for event in ratings if isinstance(event.body, Interaction)]
    assert {body.value for body in bodies} == {1.0, 2.0, 3.0, 4.0, 5.0}
    assert {event.source for event in read} == {"/movielens/100k"}


def test_movies_have_the_titles_years_and_genres_people_know(movielens_events: list[Event]) -> None:
    movies = {event.body.item: event.body for event in movielens_events if isinstance(event.body, ItemChanged)}
    assert movies["1"].title == "Toy Story"
    assert movies["1"].categories == ("Animation", "Children's", "Comedy")
    assert movies["1"].attributes == {"type": "film", "year": 1995}
    assert movies["12"].title == "The Usual Suspects"
    assert movies["113"].title == "The Horseman on the Roof (Le Hussard sur le toit)"
    assert movies["1412"].title == "Land Before Time III: The Time of the Great Giving"
    assert movies["1412"].attributes == {"type": "film", "year": 1995}
    assert (movies["267"].title, movies["267"].attributes, movies["267"].categories) == (
        "Unknown",
        {"type": "film"},
        (),
    )
    assert all(1920 < movie.attributes["year"] < 1999 for item, movie in movies.items() if item != "267")
    assert all(movie.available and movie.locale == "en" and movie.title for movie in movies.values())


def test_reading_twice_gives_the_same_messages(movielens: Dataset) -> None:
    assert list(movielens.read()) == list(movielens.read())


def test_the_licence_is_named() -> None:
    assert "GroupLens" in LICENCE
    assert "not to be redistributed or used commercially" in LICENCE


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ("Enfer, L'", "L'Enfer"),
        ("Good, The Bad and The Ugly, The", "The Good, The Bad and The Ugly"),
        ("Godfather: Part II, The", "The Godfather: Part II"),
        (
            "Double vie de Véronique, La (Double Life of Veronique, The)",
            "La Double vie de Véronique (The Double Life of Veronique)",
        ),
        ("To Have, or Not", "To Have, or Not"),
        ("Paris, France", "Paris, France"),
        ("Seven (Se7en)", "Seven (Se7en)"),
    ],
)
def test_a_title_is_turned_as_people_say_it(stored: str, said: str) -> None:
    assert clean_title(stored) == said


def test_a_csv_file_becomes_events_with_its_items_first(tmp_path: Path) -> None:
    path = write(
        tmp_path / "shop.csv",
        "\ufeffuser,item,timestamp,kind,value\nu1,i1,1700000000,purchase,9.5\n\nu2,i1,2023-11-14T00:00:00Z,,\n"
        "u1,i 2,2023-11-15 12:00:00+02:00,view,\n",
    )
    dataset = read_csv(path)
    assert (dataset.name, dataset.users, dataset.items, dataset.interactions) == ("shop.csv", 2, 2, 3)
    read = events(dataset)
    assert [event.type for event in read] == [
        "item.changed", "item.changed", "interaction.purchase", "interaction.view", "interaction.view",
    ]  # fmt: skip
    assert read[0].body == ItemChanged(item="i1", title="i1")
    assert read[0].time == datetime(2023, 11, 14, tzinfo=UTC)  # its first interaction, whatever the order of lines
    assert read[2].body == Interaction(user="u1", item="i1", value=9.5, kind="purchase")
    assert read[4].time == datetime(2023, 11, 15, 10, tzinfo=UTC)
    assert list(dataset.read()) == list(dataset.read())


def test_a_file_with_values_and_no_kinds_holds_ratings(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", "user,item,value,timestamp\nu1,i1,4,1700000000.5\n")
    assert events(read_csv(path))[1].body == Interaction(user="u1", item="i1", value=4.0, kind="rating")


def test_lines_added_at_the_end_leave_the_ids_of_the_others(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "user,item,timestamp\nu1,i1,1700000000\nu1,i1,1700000000\n")
    before = {event.key for event in events(read_csv(path))}
    write(path, path.read_text() + "u2,i2,1700000001\n")
    after = {event.key for event in events(read_csv(path))}
    assert len(before) == 3  # two equal lines are two events
    assert before < after


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"line 1: expected the header user,item,timestamp\[,kind\]\[,value\], found nothing"),
        ("u1,i1,1700000000\n", "line 1: expected the header"),
        ("user,item,timestamp,price\nu,i,1,2\n", "line 1: expected the header"),
        ("user,item,timestamp\n", "no rows"),
        ("user,item,timestamp\nu,i,1\n,i,1\n", "line 3: user is empty"),
        ("user,item,timestamp\nu,NaN,1\n", "line 2: item is empty"),
        ("user,item,timestamp\nu,i\n", "line 2: 2 fields where the header has 3"),
        ("user,item,timestamp\nu,i,yesterday\n", "line 2: timestamp 'yesterday' is neither"),
        ("user,item,timestamp\nu,i,\n", "line 2: timestamp '' is neither"),
        ("user,item,timestamp\nu,i,nan\n", "line 2: timestamp 'nan' is not a time"),
        ("user,item,timestamp\nu,i,1700000000000\n", "line 2: .*looks like milliseconds"),
        ("user,item,timestamp\nu,i,2999-01-01\n", "line 2: .*in the future"),
        ("user,item,timestamp,value\nu,i,1,inf\n", "line 2: value 'inf' is not finite"),
        ("user,item,timestamp,value\nu,i,1,much\n", "line 2: value 'much' is not a number"),
        ("user,item,timestamp,kind\nu,i,1,Some Thing\n", "line 2: kind 'Some Thing'"),
        (f"user,item,timestamp\n{'u' * 300},i,1\n", "line 2: user 'u+'... is too long"),
        ('user,item,timestamp\nu,"i"x,1\n', "line 2: "),
    ],
)
def test_bad_csv_is_refused_with_its_line_and_reason(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read_csv(write(tmp_path / "bad.csv", text))


def test_a_file_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"none\.csv cannot be read: No such file"):
        read_csv(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"user,item,timestamp\n\xff\xfe,i,1\n")
    with pytest.raises(InvalidRequest, match="not UTF-8"):
        read_csv(tmp_path / "binary.csv")


IDS = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Z"]), min_size=1, max_size=40
).filter(lambda text: text.lower() not in ("nan", "null", "none"))  # fmt: skip
TIMES = st.datetimes(min_value=datetime(1900, 1, 2), max_value=datetime(2026, 1, 1)).map(
    lambda time: time.replace(tzinfo=UTC)
)
VALUES = st.none() | st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(IDS, IDS, TIMES, st.sampled_from(["view", "purchase"]), VALUES), min_size=1, max_size=8))
def test_whatever_a_good_file_says_arrives_as_it_was(
    tmp_path: Path, rows: list[tuple[str, str, datetime, str, float | None]]
) -> None:
    path = tmp_path / "any.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "timestamp", "kind", "value"])
        writer.writerows([u, i, t.isoformat(), k, "" if v is None else repr(v)] for u, i, t, k, v in rows)
    read = events(read_csv(path))
    assert len({event.key for event in read}) == len(read)
    assert [
        (event.body.user, event.body.item, event.time, event.body.kind, event.body.value)
        for event in read
        if isinstance(event.body, Interaction)
    ] == rows
    assert {event.body.item for event in read if isinstance(event.body, ItemChanged)} == {row[1] for row in rows}
