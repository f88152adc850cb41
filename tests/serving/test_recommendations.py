"""What users are recommended: known ones, unknown ones, sessions, histories in the request; and what they are never shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from core.events import ItemRemoved
from models import RECOMMENDERS
from tests.serving.world import ITEMS, World, eventually, ids, item
from tests.streams import event, view

PATH = "/v1/users/u1/recommendations"  # u1 walked from i3 to i14


def test_a_known_user_gets_a_personal_list_that_names_its_sources_and_reasons(client: httpx.Client) -> None:
    answer = client.get(PATH, params={"limit": 5}).json()
    assert answer["items"][0]["item"] == "i15"  # everyone who was at i14 went there next
    assert answer["fallback"] is None
    assert answer["user"] == "u1"
    assert answer["model"] == {"als": "v1", "transitions": "v1"}
    assert answer["slate"].startswith("s1.")
    assert answer["took_ms"] > 0
    scores = [one["score"] for one in answer["items"]]
    assert scores == sorted(scores, reverse=True)
    walked = {f"i{n}" for n in range(3, 15)}
    for one in answer["items"]:
        assert one["source"] in ("als", "transitions")
        assert set(one["reason"]["because"]) <= walked
        assert one["reason"]["text"].startswith("Because you looked at Item ")
        assert one["item"] not in walked


def test_an_unknown_user_gets_what_is_popular_and_is_told_so(client: httpx.Client) -> None:
    answer = client.get("/v1/users/never-heard-of/recommendations").json()
    assert len(answer["items"]) == 10
    assert answer["fallback"] == "popular"
    assert {one["source"] for one in answer["items"]} == {"popular"}
    assert answer["items"][0]["reason"] == {"because": [], "text": "Popular right now"}


def test_a_session_without_a_user_is_answered_from_what_it_did(client: httpx.Client) -> None:
    body = {"session": "s1", "history": [{"item": "i20"}], "limit": 3}
    answer = client.post("/v1/recommendations", json=body).json()
    assert answer["user"] is None
    assert answer["fallback"] is None
    assert "i21" in ids(answer)
    assert "i20" not in ids(answer)
    assert all(one["reason"]["because"] == ["i20"] for one in answer["items"] if one["source"] == "transitions")


def test_what_came_with_the_request_counts_on_top_of_what_is_stored(client: httpx.Client) -> None:
    body = {"user": "u1", "history": [{"item": "i30", "kind": "purchase"}], "limit": 3}
    answer = client.post("/v1/recommendations", json=body).json()
    assert "i31" in ids(answer)
    assert "i31" not in ids(client.get(PATH, params={"limit": 3}).json())


def test_nobody_in_particular_gets_what_is_popular(client: httpx.Client) -> None:
    assert client.post("/v1/recommendations", json={}).json()["fallback"] == "popular"


@pytest.mark.parametrize("user", ["u1", "never-heard-of"])
def test_a_narrow_category_still_fills_the_list(client: httpx.Client, user: str) -> None:
    path = f"/v1/users/{user}/recommendations"
    odd = ids(client.get(path, params={"category": "odd", "limit": 10}).json())
    assert len(odd) == 10
    assert all(int(one[1:]) % 2 for one in odd)
    rare = client.get(path, params={"category": "rare", "exclude_seen": False}).json()
    assert ids(rare) == ["i7"]
    assert ids(client.get(path, params={"category": "unheard-of"}).json()) == []


def test_everything_can_be_asked_for_and_nothing_comes_twice(client: httpx.Client) -> None:
    every = ids(client.get(PATH, params={"limit": 100, "exclude_seen": False}).json())
    assert sorted(every) == sorted(f"i{n}" for n in range(ITEMS))
    unseen = ids(client.get(PATH, params={"limit": 100}).json())
    assert sorted(unseen) == sorted({f"i{n}" for n in range(ITEMS)} - {f"i{n}" for n in range(3, 15)})


def test_reasons_are_left_out_when_they_are_not_wanted(client: httpx.Client) -> None:
    assert all(one["reason"] is None for one in client.get(PATH, params={"explain": False}).json()["items"])


def test_diversity_mixes_the_categories(full_world: World) -> None:
    # u1's neighbourhood is made one category, but for an item further away
    full_world.change(*(item(n, categories=("near",)) for n in range(15, 25)), item(26, categories=("far",)))
    with full_world.served() as client:
        plain = ids(client.get(PATH, params={"limit": 3}).json())
        mixed = ids(client.get(PATH, params={"limit": 3, "diversity": 0.9}).json())
    assert {int(one[1:]) for one in plain} <= set(range(15, 25))
    assert mixed[0] == plain[0]
    assert not {int(one[1:]) for one in mixed} <= set(range(15, 25))


def test_what_leaves_the_catalogue_leaves_the_lists_within_a_second(full_world: World) -> None:
    now = datetime.now(UTC)
    with full_world.served() as client:

        def shown() -> set[str]:
            lists = [client.get(PATH, params={"limit": 100, "exclude_seen": False})]
            lists += [
                client.get(f"/v1/items/{kind}", params={"limit": 100}) for kind in ("popular", "trending", "latest")
            ]
            lists += [
                client.get("/v1/items/i20/similar", params={"limit": 100}),
                client.get("/v1/users/x/recommendations"),
            ]
            return {one for answer in lists for one in ids(answer.json())}

        assert {"i15", "i16", "i17", "i18", "i19"} <= shown()
        full_world.change(
            item(15, hidden=True), item(16, available=False), item(17, published_at=now + timedelta(days=1)),
            item(18, expires_at=now - timedelta(days=1)),
        )  # fmt: skip
        full_world.writer.write([event(9_000, ItemRemoved(item="i19"), source="/catalogue")])
        eventually(lambda: not shown() & {"i15", "i16", "i17", "i18", "i19"}, within_s=1.5)
        assert client.get("/v1/items/i19").status_code == 404
        full_world.change(item(15))
        eventually(lambda: "i15" in shown(), within_s=1.5)


def test_an_item_expires_at_its_very_moment(full_world: World) -> None:
    with full_world.served() as client:
        moment = datetime.now(UTC) + timedelta(seconds=1.2)
        full_world.change(item(15, expires_at=moment), item(16, published_at=moment))
        eventually(lambda: "i16" not in ids(client.get(PATH).json()), within_s=1.0)
        assert ids(client.get(PATH).json())[0] == "i15"
        eventually(lambda: datetime.now(UTC) >= moment)
        after = ids(client.get(PATH).json())
    assert "i15" not in after
    assert "i16" in after


def test_what_a_user_said_no_to_is_never_shown_to_them(full_world: World) -> None:
    full_world.writer.write([view(99_001, "u1", "i15", "dislike"), view(99_002, "u1", "i16", "rating", -1.0)])
    with full_world.served() as client:
        mine = ids(client.get(PATH, params={"limit": 100, "exclude_seen": False}).json())
        others = ids(client.get("/v1/users/u2/recommendations", params={"limit": 100, "exclude_seen": False}).json())
        hidden = {"user": "u2", "history": [{"item": "i20", "kind": "hide"}], "limit": 100, "exclude_seen": False}
        assert "i20" not in ids(client.post("/v1/recommendations", json=hidden).json())
    assert not {"i15", "i16"} & set(mine)
    assert {"i15", "i16"} <= set(others)


def test_items_that_only_interactions_know_are_recommended_too(world: World) -> None:
    world.writer.write([view(n, f"u{n % 5}", f"i{n % 7}") for n in range(40)])
    world.train()
    with world.served() as client:
        answer = client.get("/v1/users/u30/recommendations", params={"limit": 3, "exclude_seen": False}).json()
        assert len(answer["items"]) == 3
        assert client.get("/v1/items/i3/similar").json()["items"]
        assert client.get("/v1/items/i3").status_code == 404  # the catalogue has nothing to say of it


@pytest.mark.parametrize(
    ("live", "known", "stranger"),
    [
        (["als", "popularity"], None, "popular"),
        (["transitions", "popularity"], "item-item", "popular"),
        (["popularity"], "popular", "popular"),
        ([], "popular", "popular"),  # by Postgres' own counts
    ],
)
def test_the_ladder_is_labelled_step_by_step(world: World, live: list[str], known: str | None, stranger: str) -> None:
    world.fill()
    if live:
        world.train(*live)
    with world.served() as client:
        for user, label in (("u1", known), ("x", stranger)):
            answer = client.get(f"/v1/users/{user}/recommendations").json()
            assert answer["fallback"] == label
            assert len(answer["items"]) == 10
            assert set(answer["model"]) <= set(live)


def test_a_catalogue_nobody_has_touched_is_served_by_age_and_called_static(world: World) -> None:
    world.change(*(item(n) for n in range(5)))
    with world.served() as client:
        answer = client.get(PATH, params={"limit": 3}).json()
        assert client.get("/readyz").status_code == 200
    assert answer["fallback"] == "static"
    assert ids(answer) == ["i4", "i3", "i2"]
    assert answer["items"][0]["reason"]["text"] == "New"


def test_an_empty_house_answers_with_an_empty_list_and_is_not_ready(world: World) -> None:
    with world.served() as client:
        assert client.get("/healthz").json() == {"status": "ok"}
        assert client.get("/readyz").status_code == 503
        answer = client.get(PATH).json()
    assert answer["items"] == []
    assert answer["fallback"] == "static"


def test_rank_orders_what_it_is_given_and_names_what_may_not_be_shown(full_world: World) -> None:
    full_world.change(item(16, hidden=True))
    with full_world.served() as client:
        given = ["i30", "unheard-of", "i16", "i15", "i17", "i15"]
        answer = client.post("/v1/rank", json={"user": "u1", "items": given}).json()
        stranger = client.post("/v1/rank", json={"items": given}).json()
    assert ids(answer)[:2] == ["i15", "i17"]
    assert sorted(ids(answer)) == ["i15", "i17", "i30", "unheard-of"]
    assert ids(answer)[-1] == "unheard-of"
    assert answer["left_out"] == ["i16"]
    assert answer["fallback"] is None
    assert stranger["fallback"] == "popular"
    assert sorted(ids(stranger)) == sorted(ids(answer))


def test_similar_items_are_those_that_follow(client: httpx.Client) -> None:
    answer = client.get("/v1/items/i20/similar", params={"limit": 4}).json()
    assert "i21" in ids(answer)
    assert "i20" not in ids(answer)
    assert answer["fallback"] is None
    assert all(one["reason"]["because"] == ["i20"] for one in answer["items"])
    even = client.get("/v1/items/i20/similar", params={"limit": 5, "category": "even"}).json()
    assert all(int(one[1:]) % 2 == 0 for one in ids(even))
    assert client.get("/v1/items/unheard-of/similar").status_code == 404


def test_a_new_item_is_similar_to_its_own_category_first(full_world: World) -> None:
    full_world.change(item(99, categories=("rare",)))
    with full_world.served() as client:
        answer = client.get("/v1/items/i99/similar", params={"limit": 3}).json()
    assert ids(answer)[0] == "i7"
    assert answer["fallback"] == "popular"


def test_popular_trending_and_latest_are_the_same_for_everyone(client: httpx.Client) -> None:
    for kind, source in (("popular", "popular"), ("trending", "trending"), ("latest", "latest")):
        answer = client.get(f"/v1/items/{kind}", params={"limit": 4, "category": "even"}).json()
        assert len(answer["items"]) == 4
        assert all(int(one[1:]) % 2 == 0 for one in ids(answer))
        assert {one["source"] for one in answer["items"]} == {source}
        assert answer["fallback"] is None
    assert ids(client.get("/v1/items/latest", params={"limit": 2}).json()) == ["i39", "i38"]


def test_every_registered_model_can_be_served(world: World) -> None:
    world.fill()
    for name in RECOMMENDERS:
        world.train(name)
    with world.served() as client:
        assert set(client.get("/readyz").json()["models"]) == set(RECOMMENDERS)
        assert client.get(PATH).status_code == 200
