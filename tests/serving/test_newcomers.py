"""New items reach those who chose their like as soon as the catalogue has them, and nobody else; and they go as fast."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from random import Random
from typing import Any

import httpx
import pytest

from core.events import ItemChanged
from core.store.catalogue import Item
from features.interactions import Interactions
from models.text_vectors import Rarity
from serving.catalogue import View, _changed, _empty, _grown
from serving.newcomers import Vectors
from tests.serving.world import World, eventually, ids, ingesting
from tests.streams import view

CAMPING = ("tent", "stove", "lantern", "sleeping bag", "backpack", "hammock", "compass", "trekking poles")
BAKING = ("cake tin", "rolling pin", "whisk", "pastry brush", "bread knife", "piping bag", "mixer", "scale")
TENT = {"title": "Featherlight camping tent", "categories": ["camping"]}
WITHIN_S = 30.0  # far beyond what is promised: whether it happens, not how fast


def catalogue() -> list[ItemChanged]:
    """Items c0 to c23 for campers, b0 to b23 for bakers, and others that nobody has touched."""
    shelves = (("c", "camping", CAMPING), ("b", "baking", BAKING))
    others = [ItemChanged(item=f"other{n}", title=f"Thing {n}", categories=(f"sort {n % 10}",)) for n in range(60)]
    return others + [
        ItemChanged(item=f"{letter}{n}", title=f"{maker} {category} {name}", categories=(category,))
        for letter, category, names in shelves
        for n, (name, maker) in enumerate(
            zip(names * 3, (maker for maker in ("Alder", "Birch", "Cedar") for _ in names), strict=True)
        )
    ]


def steps() -> list[tuple[str, str]]:
    """What ten campers and ten bakers viewed, one after the other: eight items each, of their own kind."""
    return [
        (f"{group}{user}", f"{letter}{(user * 2 + step) % 24}")
        for group, letter in (("camper", "c"), ("baker", "b"))
        for user in range(10)
        for step in range(8)
    ]


@pytest.fixture
def shop(world: World) -> World:
    """A world of two groups with nothing in common, and the blend that was trained on them."""
    world.change(*catalogue())
    views = [view(1000 + n, user, item) for n, (user, item) in enumerate(steps())]
    world.writer.write(views)
    users, items = zip(*steps(), strict=True)
    data = Interactions.from_columns(list(users), list(items), [one.time.timestamp() for one in views])
    for name in ("popularity", "blend"):
        world.publish(name, data)
    return world


@pytest.fixture
def live(shop: World) -> Iterator[httpx.Client]:
    """A client of the whole system: server, broker, consumer, Postgres."""
    with ingesting(shop), shop.served() as client:
        yield client


def line(client: httpx.Client, user: str, item: str) -> dict[str, Any] | None:
    """What a user's list of ten says of an item; None where it is not in it."""
    answer = client.get(f"/v1/users/{user}/recommendations").json()
    return next((one for one in answer["items"] if one["item"] == item), None)


def test_a_new_item_reaches_those_who_chose_its_like_and_nobody_else(live: httpx.Client) -> None:
    assert line(live, "camper1", "new") is None
    live.put("/v1/items/new", json=TENT).raise_for_status()
    eventually(lambda: line(live, "camper1", "new") is not None, WITHIN_S)
    shown = line(live, "camper1", "new")
    assert shown is not None
    assert shown["source"] == "text"
    assert set(shown["reason"]["because"]) <= {f"c{n}" for n in range(2, 10)}
    assert shown["reason"]["text"].startswith("Because you looked at ")
    assert len(ids(live.get("/v1/users/camper1/recommendations").json())) == 10
    bakers = live.get("/v1/users/baker1/recommendations").json()
    assert bakers["fallback"] is None
    assert "new" not in ids(bakers)


def test_it_reaches_a_user_first_seen_now_and_a_session_of_nobody_known(live: httpx.Client) -> None:
    live.put("/v1/items/new", json=TENT).raise_for_status()
    eventually(lambda: line(live, "camper1", "new") is not None, WITHIN_S)

    def session(item: str) -> dict[str, Any]:
        return dict(live.post("/v1/recommendations", json={"history": [{"item": item}]}).json())

    assert "new" in ids(session("c0"))
    assert "new" not in [one["item"] for one in session("b0")["items"] if one["source"] == "text"]
    done = {"type": "interaction.view", "data": {"user": "first-seen", "item": "c0"}}
    live.post("/v1/events", json=done).raise_for_status()
    eventually(lambda: (line(live, "first-seen", "new") or {}).get("source") == "text", WITHIN_S)


def test_what_was_done_with_a_new_item_alone_finds_its_like_of_the_known(live: httpx.Client) -> None:
    live.put("/v1/items/new", json=TENT).raise_for_status()
    eventually(lambda: line(live, "camper1", "new") is not None, WITHIN_S)
    done = {"type": "interaction.view", "data": {"user": "only-new", "item": "new"}}
    live.post("/v1/events", json=done).raise_for_status()
    live.put("/v1/items/newer", json={"title": "Camping tent peg", "categories": ["camping"]}).raise_for_status()
    eventually(lambda: (line(live, "only-new", "newer") or {}).get("source") == "text", WITHIN_S)
    answer = live.get("/v1/users/only-new/recommendations").json()
    assert answer["fallback"] == "item-item"
    assert "new" not in ids(answer)
    by_text = [one["item"] for one in answer["items"] if one["source"] == "text"]
    assert {"c0", "newer"} <= set(by_text)  # the other tents, old and new
    assert not any(item.startswith("b") for item in by_text)


def test_new_items_have_their_share_of_a_full_list_and_no_more(live: httpx.Client) -> None:
    live.put("/v1/items/sundial", json={"title": "Granite sundial, plinth and obelisk: no camping"}).raise_for_status()
    for number in range(3):
        live.put(f"/v1/items/new{number}", json=TENT).raise_for_status()

    def by_text(limit: int) -> list[tuple[int, str]]:
        answer = live.get("/v1/users/camper1/recommendations", params={"limit": limit}).json()
        return [(place, one["item"]) for place, one in enumerate(answer["items"]) if one["source"] == "text"]

    eventually(lambda: {"new0", "new1", "new2"} <= {item for _, item in by_text(60)}, WITHIN_S)
    assert [place for place, _ in by_text(10)] == [4]
    assert [place for place, _ in by_text(5)] == [2]
    assert by_text(4) == []
    assert "sundial" not in [item for _, item in by_text(60)]  # one word in common is too little
    scores = [one["score"] for one in live.get("/v1/users/camper1/recommendations").json()["items"]]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("gone", ["removed", "unavailable", "hidden"])
def test_a_new_item_that_is_taken_away_is_gone(live: httpx.Client, gone: str) -> None:
    live.put("/v1/items/new", json=TENT).raise_for_status()
    eventually(lambda: line(live, "camper1", "new") is not None, WITHIN_S)
    if gone == "removed":
        live.delete("/v1/items/new").raise_for_status()
    else:
        state = {"available": False} if gone == "unavailable" else {"hidden": True}
        live.put("/v1/items/new", json={**TENT, **state}).raise_for_status()
    eventually(lambda: line(live, "camper1", "new") is None, WITHIN_S)
    live.put("/v1/items/new", json=TENT).raise_for_status()
    eventually(lambda: line(live, "camper1", "new") is not None, WITHIN_S)


NOW = datetime(2026, 5, 4, tzinfo=UTC)


def item(name: str, title: str) -> Item:
    """An item that may be shown."""
    return Item(name, True, False, False, None, None, NOW, (), title, "", {}, "en")


def holding(titles: dict[str, str]) -> View:
    """A catalogue of its own with these items."""
    return _changed(*_grown(_empty(), list(titles)), [item(*one) for one in titles.items()])


def test_text_vectors_are_those_of_the_items_as_they_are_now_in_no_more_room_than_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("serving.newcomers.KEPT_VECTORS", 6)
    titles = {f"i{n}": f"camping {name}" for n, name in enumerate(CAMPING)}
    rarity = Rarity.of([*titles.values(), "a peg", "a rope"])
    vectors, chance, view = Vectors(rarity), Random(1), holding(titles)
    for step in range(200):
        if step % 4 == 1:
            changed = f"i{chance.randrange(len(titles) + 1)}"  # maybe one more
            titles[changed] = f"camping {chance.choice(BAKING)}"
            view = _changed(*_grown(view, [changed]), [item(changed, titles[changed])])
        if step % 50 == 49:
            view = holding(titles)  # all of it read anew
        rows = [chance.randrange(len(view)) for _ in range(chance.randint(0, 4))]
        texts = vectors.texts(view, rows)
        for at, row in enumerate(rows):
            expected = rarity.vector(titles[f"i{row}"])
            assert [part.tolist() for part in texts.vector(at)] == [part.tolist() for part in expected]
    assert len(vectors.kept(view).texts.sizes) == 6
