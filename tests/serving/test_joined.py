"""A slate's token joins what was shown with what became of it, and users with those who did the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from core.events import Impression, Interaction
from core.store.slates import MOST_EVENTS
from serving.slate import SOURCE, sign
from tests.serving.test_bad_input import problem
from tests.serving.world import World, eventually, ids
from tests.streams import event, view

PATH = "/v1/users/u1/recommendations"


def test_a_click_with_the_token_joins_the_slate_that_it_came_from(stream: httpx.Client) -> None:
    asked = {"surface": "home", "exploration": 0.4, "limit": 5}
    answer = stream.get(PATH, params=asked).json()
    untouched = stream.get(PATH, params={"surface": "home", "limit": 5}).json()
    token, items = answer["slate"], answer["items"]
    events = [
        {"type": "impression", "data": {"user": "u1", "slate": token, "items": ids(answer)[:3]}},
        {"type": "interaction.click", "data": {"user": "u1", "item": items[1]["item"], "slate": token, "position": 2}},
        {
            "type": "interaction.purchase",
            "data": {"user": "u1", "item": items[1]["item"], "slate": token, "value": 9.5},
        },
        {"type": "interaction.click", "data": {"user": "u1", "item": items[2]["item"]}},  # from elsewhere
    ]
    for one in events:
        stream.post("/v1/events", json=one).raise_for_status()
    slate = f"/v1/slates/{token}"
    eventually(lambda: len(stream.get(slate).json().get("events", ())) == 3, within_s=20)
    found = stream.get(slate, params={"user": "u1"}).json()
    assert found == stream.get(slate).json()
    assert (found["slate"], found["user"], found["surface"], found["fallback"]) == (token, "u1", "home", None)
    assert found["model"] == answer["model"]
    shown = [(one["position"], one["item"], one["source"], one["propensity"]) for one in found["items"]]
    assert shown == [(place, one["item"], one["source"], one["propensity"]) for place, one in enumerate(items, 1)]
    assert len({one["propensity"] for one in items}) == 2
    later = {(one["type"], one["item"], one["value"], one["position"]) for one in found["events"]}
    clicked = items[1]["item"]
    assert later == {
        ("impression", None, None, None), ("interaction.click", clicked, None, 2), ("interaction.purchase", clicked, 9.5, None),
    }  # fmt: skip
    assert found["truncated"] is False
    problem(stream.get(slate, params={"user": "u2"}), 404)

    other = f"/v1/slates/{untouched['slate']}"
    eventually(lambda: stream.get(other).status_code == 200, within_s=20)
    assert stream.get(other).json()["events"] == []
    assert {one["propensity"] for one in stream.get(other).json()["items"]} == {1.0}

    rows = {(one["surface"], one["source"]): one for one in stream.get("/v1/slates").json()}
    assert {surface for surface, _ in rows} == {"home"}
    assert sum(one["shown"] for one in rows.values()) == 10
    assert sum(one["followed"] for one in rows.values()) == 1
    followed = rows["home", items[1]["source"]]
    assert followed["followed"] == 1
    assert followed["rate"] == round(1 / followed["shown"], 4)
    assert not any(one["followed"] for one in stream.get("/v1/slates", params={"kinds": "like"}).json())


def test_what_is_no_slate_of_ours_is_refused_or_not_found(client: httpx.Client, full_world: World) -> None:
    problem(client.get("/v1/slates/forged"), 400)
    problem(client.get(f"/v1/slates/{sign('another secret', datetime.now(UTC))}"), 400)
    problem(client.get(f"/v1/slates/{sign('test-secret', datetime.now(UTC))}"), 404)
    problem(client.get("/v1/slates", params={"days": 0}), 400)


def test_events_that_claim_to_be_a_slate_and_are_none_do_no_harm(full_world: World) -> None:
    now = datetime.now(UTC)
    token = sign("test-secret", now)
    minutes = (now - datetime(2026, 1, 1, tzinfo=UTC)) / timedelta(minutes=1)
    wrong: list[dict[str, object]] = [{}, {"sources": 3, "surface": "x"}, {"surface": 1, "sources": []}]
    full_world.writer.write(
        [
            event(n, Impression(slate=token, items=("i1",), user="u1", context=one), source=SOURCE, minutes=minutes)
            for n, one in enumerate(wrong)
        ]
    )
    with full_world.served() as client:
        problem(client.get(f"/v1/slates/{token}"), 404)
        assert [one["shown"] for one in client.get("/v1/slates").json()] == []


def test_a_slate_with_more_events_than_are_told_says_so(full_world: World) -> None:
    now = datetime.now(UTC)
    token = sign("test-secret", now)
    minutes = (now - datetime(2026, 1, 1, tzinfo=UTC)) / timedelta(minutes=1)
    own = Impression(slate=token, items=("i1",), context={"surface": "s", "sources": ["popular"], "models": {}})
    clicks = [
        event(n, Interaction(user="u1", item="i1", kind="click", slate=token), minutes=minutes + 1)
        for n in range(MOST_EVENTS + 5)
    ]
    full_world.writer.write([event(1, own, source=SOURCE, minutes=minutes), *clicks])
    with full_world.served() as client:
        found = client.get(f"/v1/slates/{token}").json()
    assert found["truncated"] is True
    assert len(found["events"]) == MOST_EVENTS - 1


def test_users_like_one_are_those_who_did_the_same(full_world: World) -> None:
    with full_world.served() as client:
        answer = client.get("/v1/users/u1/similar", params={"limit": 3}).json()
        # u1 walked from i3 to i14, u14 from i2, u28 from i4 and u15 from i5
        assert [one["user"] for one in answer["users"]] == ["u14", "u28", "u15"]
        best = answer["users"][0]
        assert best["score"] == round(11 / 13, 4)
        assert len(best["shared"]) == 10
        assert set(best["shared"]) <= {f"i{n}" for n in range(3, 14)}
        assert client.get("/v1/users/never-heard-of/similar").json()["users"] == []


def test_what_is_wanted_more_counts_more_and_what_was_refused_is_not_shared(world: World) -> None:
    world.writer.write(
        [
            view(1, "me", "a", "purchase"), view(2, "me", "b"), view(3, "me", "c", "dislike"),
            view(4, "buyer", "a", "purchase"), view(5, "viewer", "b"), view(6, "hater", "c", "dislike"),
            view(7, "rater", "a", "rating", -2.0), view(8, "both", "a"), view(9, "both", "b"),
        ]
    )  # fmt: skip
    weights = world.settings.kind_weights
    found = world.store.audience.like("me", 10, weights)
    assert [(one.user, round(one.score, 3), one.shared) for one in found] == [
        ("buyer", 0.75, ("a",)), ("both", 0.5, ("a", "b")), ("viewer", 0.25, ("b",)),
    ]  # fmt: skip
    assert world.store.audience.like("me", 1, weights) == found[:1]
    assert world.store.audience.like("hater", 10, weights) == []


def test_only_the_newest_pages_of_events_are_looked_at(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.store.audience.NEWEST_PAGES", 70)  # Postgres adds up to 64 at once
    world.writer.write([view(n, "old", f"i{n}") for n in range(12_000)])
    world.writer.write([view(13_000, "me", "i1"), view(13_001, "new", "i1")])
    found = world.store.audience.like("me", 10, {})
    assert [one.user for one in found] == ["new"]


def test_users_are_found_in_whatever_month_they_were_active(world: World) -> None:
    long_ago = -60 * 24 * 365 * 30  # minutes before 2026: no month holds it
    for user in ("me", "you"):
        world.writer.write(
            [
                event(n, Interaction(user=user, item=f"i{n}", kind="view"), minutes=minutes, source=user)
                for n, minutes in enumerate((long_ago, 0.0, 60 * 24 * 40))
            ]
        )
    (found,) = world.store.audience.like("me", 10, {})
    assert (found.user, found.score) == ("you", 1.0)
