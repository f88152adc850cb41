"""What a request may filter by: attributes, kinds of interaction that count as seen, items hidden for good or for once."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

import httpx
import msgspec
import pytest
import sqlalchemy as sa

from features.interactions import Interactions
from models.index import VectorIndex
from serving.expression import parse
from serving.query import Ask
from serving.service import Service
from tests.serving.test_bad_input import problem
from tests.serving.world import ITEMS, World, eventually, ids, item
from tests.streams import view

PATH = "/v1/users/u1/recommendations"
LISTS = ("/v1/items/popular", "/v1/items/trending", "/v1/items/latest", "/v1/items/i3/similar")


@pytest.fixture
def priced(full_world: World) -> World:
    """The full world with prices (item n costs n) and brands, but for i39, of which nothing is known."""
    brands = ("a", "b", "c")
    full_world.change(
        *(item(n, attributes={"price": n, "brand": brands[n % 3], "sale": n % 5 == 0}) for n in range(ITEMS - 1))
    )
    return full_world


def test_a_filter_narrows_every_list_and_leaves_it_full(priced: World) -> None:
    cheap = 'price < 30 and brand in ["a", "b"] and category == "even"'
    expected = {f"i{n}" for n in range(30) if n % 3 < 2 and n % 2 == 0}
    with priced.served() as client:
        for user in ("u1", "never-heard-of"):
            path = f"/v1/users/{user}/recommendations"
            every = client.get(path, params={"filter": cheap, "exclude_seen": False, "limit": 100}).json()
            assert set(ids(every)) == expected
        for path in LISTS:
            assert set(ids(client.get(path, params={"filter": cheap, "limit": 100}).json())) == expected - {"i3"}
        posted = client.post("/v1/recommendations", json={"filter": cheap, "history": [{"item": "i3"}], "limit": 4})
        assert len(ids(posted.json())) == 4
        assert set(ids(posted.json())) <= expected
        missing = client.get(PATH, params={"filter": "price == null", "exclude_seen": False}).json()
        assert ids(missing) == ["i39"]
        assert ids(client.get(PATH, params={"filter": "price < 0"}).json()) == []


def test_a_filter_follows_what_it_filters_by(priced: World) -> None:
    with priced.served() as client:
        wanted = {"filter": "price == 1000"}
        assert ids(client.get(PATH, params=wanted).json()) == []
        priced.change(item(20, attributes={"price": 1000}))
        eventually(lambda: ids(client.get(PATH, params=wanted).json()) == ["i20"])


WRONG = ("price <", "price < 20 and", "__import__('os')", "x" * 2001, "(" * 25 + "a" + ")" * 25, "")


def test_a_filter_that_cannot_be_read_is_refused_everywhere(client: httpx.Client) -> None:
    for wrong in WRONG:
        for path in (PATH, *LISTS):
            assert "filter" in str(problem(client.get(path, params={"filter": wrong}), 400))
        assert "filter" in str(problem(client.post("/v1/recommendations", json={"filter": wrong}), 400))
        boost = {"boosts": [{"filter": wrong, "factor": 2}]}
        assert "filter" in str(problem(client.post("/v1/recommendations", json=boost), 400))


def test_the_place_of_a_mistake_is_in_the_answer(client: httpx.Client) -> None:
    detail = problem(client.get(PATH, params={"filter": "price < 20 an brand == 'a'"}), 400)["detail"]
    assert detail == "filter, character 12: expected `and`, `or` or the end, found `an`"


def test_only_the_kinds_that_count_as_seen_hide_an_item(full_world: World) -> None:
    full_world.writer.write([view(99_001, "u1", "i20", "purchase"), view(99_002, "u1", "i21", "cart")])
    with full_world.served() as client:

        def left_out(**parameters: object) -> set[str]:
            answer = client.get(PATH, params={"limit": 100, **parameters}).json()  # type: ignore[arg-type]
            return {f"i{n}" for n in range(ITEMS)} - set(ids(answer))

        viewed = {f"i{n}" for n in range(3, 15)}
        assert left_out() == viewed | {"i20", "i21"}
        assert left_out(seen_kinds="purchase,cart") == {"i20", "i21"}
        assert left_out(seen_kinds="purchase") == {"i20"}
        assert left_out(seen_kinds="like") == set()
        assert left_out(seen_kinds="purchase", exclude_seen=False) == set()
        body = {"user": "u1", "seen_kinds": ["purchase"], "limit": 100, "history": [{"item": "i0", "kind": "purchase"}]}
        shown = ids(client.post("/v1/recommendations", json=body).json())
        assert {f"i{n}" for n in range(ITEMS)} - set(shown) == {"i0", "i20"}
        problem(client.get(PATH, params={"seen_kinds": "Purchase"}), 400)


def test_what_a_request_hides_is_hidden_from_that_answer_alone(client: httpx.Client) -> None:
    body = {"user": "u1", "limit": 5}
    first = ids(client.post("/v1/recommendations", json=body).json())
    second = ids(client.post("/v1/recommendations", json={**body, "hide": [*first[:2], "unheard-of"]}).json())
    assert not set(first[:2]) & set(second)
    assert len(second) == 5
    assert ids(client.post("/v1/recommendations", json=body).json()) == first


def test_what_someone_ever_hid_stays_hidden_however_much_they_did_since(full_world: World) -> None:
    settings = msgspec.structs.replace(full_world.settings, history_events=5)
    said_no = [view(1, "u1", "i30", "hide"), view(2, "u1", "i31", "dislike"), view(3, "u1", "i32", "rating", -1.0)]
    full_world.writer.write(said_no)  # long before the walk from i3 to i14
    with full_world.served(settings=settings) as client:
        every = {"limit": 100, "exclude_seen": False}
        shown = set(ids(client.get(PATH, params=every).json()))
        assert shown == {f"i{n}" for n in range(ITEMS)} - {"i30", "i31", "i32"}
        assert ids(client.get(PATH, params={**every, "exclude_seen": True, "seen_kinds": "view"}).json())
        bought_long_ago = {f"i{n}" for n in range(3, 15)}
        old = set(ids(client.get(PATH, params={"limit": 100, "seen_kinds": "view"}).json()))
        assert old == {f"i{n}" for n in range(ITEMS)} - bought_long_ago - {"i30", "i31", "i32"}


N = 20_000
MANY_ITEMS = sa.text("""
INSERT INTO items (item_id, attributes, changed_at, changed_key, txn)
SELECT 'i' || n, jsonb_build_object('rare', n % 100 = 0), now(), gen_random_uuid(), pg_current_xact_id()::text::bigint
FROM generate_series(0, :n - 1) AS n
""")


def test_a_filter_that_leaves_one_item_in_a_hundred_leaves_every_list_full(world: World) -> None:
    with world.store.database.begin() as connection:  # as ingest writes them, but all in one statement
        connection.execute(MANY_ITEMS, {"n": N})
    rows = [(f"u{n // 20}", f"i{n}", float(n)) for n in range(N)]  # each walks past 20 items of their own
    world.writer.write([view(100_000 + n, "u1", f"i{20 + n}") for n in range(20)])
    data = Interactions.from_columns(*(list(column) for column in zip(*rows, strict=True)))
    for name in ("als", "transitions", "popularity"):
        world.publish(name, data)
    service = Service(world.settings, world.store, world.registry)
    service.models.refresh()
    service.catalogue.refresh()
    service.catalogue.refresh_counts()
    loaded = service.models.served
    als = loaded["als"]
    inverted = replace(als, index=VectorIndex.build(als.model.item_vectors(), "ivf"))  # type: ignore[attr-defined]
    for live in (
        {"als": als},
        {"als": inverted},
        {"transitions": loaded["transitions"]},
        {"popularity": loaded["popularity"]},
        {},
    ):
        service.models.served = MappingProxyType(live)
        for user in ("u1", "stranger"):
            ask = Ask(user, 100, filter=parse("rare"), exclude_seen=False, logged=False)
            answer = service.pipeline.recommend(ask)
            assert len(answer.items) == 100
            assert all(int(one.item[1:]) % 100 == 0 for one in answer.items)
            if "als" in live and user == "u1":
                assert {one.source for one in answer.items} == {"als"}  # it searched inside the filter
    service.stop()
