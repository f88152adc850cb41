"""Campaigns and surfaces: boosts, pins, and what lists are like where a request does not say."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec
import pytest

from core.errors import ConfigurationError
from core.settings import load_settings
from serving.surfaces import Surfaces
from serving.wishes import Wishes
from tests.serving.test_bad_input import problem
from tests.serving.world import ITEMS, World, ids, item

U1 = {"user": "u1", "limit": 5}  # who walked from i3 to i14


@pytest.fixture
def branded(full_world: World) -> World:
    """The full world; i35 and i36 are of brand x."""
    full_world.change(*(item(n, attributes={"brand": "x" if n in (35, 36) else "y"}) for n in range(ITEMS)))
    return full_world


def asked(client: httpx.Client, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/recommendations", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_boost_lifts_what_its_filter_names_for_whoever_asks(branded: World) -> None:
    boosts = [{"filter": 'brand == "x"', "factor": 50}]
    with branded.served() as client:
        for body in (
            U1,
            {"user": "never-heard-of", "limit": 5},
            {"limit": 5},
            {"history": [{"item": "i3"}], "limit": 5},
        ):
            plain, lifted = asked(client, **body), asked(client, **body, boosts=boosts)
            assert not {"i35", "i36"} & set(ids(plain))
            assert set(ids(lifted)[:2]) == {"i35", "i36"}
            assert ids(lifted)[2:] == ids(plain)[:3]  # the rest keeps its order
            assert lifted["fallback"] == plain["fallback"]
            assert all(0 <= one["score"] <= 1 for one in lifted["items"])


def test_a_boost_below_one_sinks_what_it_names(branded: World) -> None:
    with branded.served() as client:
        best = ids(asked(client, **U1))[0]
        branded_y = asked(client, **U1, boosts=[{"filter": f'title == "Item {best[1:]}"', "factor": 0.01}])
        assert best not in ids(branded_y)


def test_boosts_multiply(branded: World) -> None:
    halves = [{"filter": 'brand == "x"', "factor": 50}, {"filter": 'brand == "x"', "factor": 0.02}]
    with branded.served() as client:
        assert ids(asked(client, **U1, boosts=halves)) == ids(asked(client, **U1))


def test_a_pin_stands_at_its_place_and_the_others_keep_their_order(full_world: World) -> None:
    pins = [{"item": "i30", "position": 1}, {"item": "i31", "position": 4}]
    with full_world.served() as client:
        plain, pinned = ids(asked(client, **U1)), asked(client, **U1, pins=pins)
        assert ids(pinned) == ["i30", *plain[:2], "i31", plain[2]]
        assert [one["source"] for one in pinned["items"]].count("pinned") == 2
        assert pinned["items"][0]["reason"] == {"because": [], "text": "Featured"}
        assert pinned["fallback"] is None
        moved = ids(asked(client, **U1, pins=[{"item": plain[0], "position": 3}]))  # one that would have been there
        assert moved == [*plain[1:3], plain[0], *plain[3:]]
        stranger = ids(asked(client, limit=3, pins=[{"item": "i30", "position": 3}]))
        assert stranger[2] == "i30"


def test_a_pin_that_may_not_be_shown_or_has_no_place_is_left_out(full_world: World) -> None:
    full_world.change(item(30, hidden=True), item(31, available=False))
    with full_world.served() as client:
        plain = ids(asked(client, **U1))
        for name, position in (("i30", 1), ("i31", 1), ("i5", 1), ("unheard-of", 1), ("i20", 6)):  # i5 was seen
            pins = [{"item": name, "position": position}]
            assert ids(asked(client, **U1, pins=pins)) == plain
        assert ids(asked(client, **U1, pins=[{"item": "i5", "position": 1}], exclude_seen=False))[0] == "i5"
        assert ids(asked(client, **U1, pins=[{"item": "i32", "position": 1}], hide=["i32"])) == plain
        odd = asked(client, **U1, pins=[{"item": "i32", "position": 1}], category="odd")
        assert "i32" not in ids(odd)
        short = asked(client, limit=5, pins=[{"item": "i32", "position": 5}], filter='title in ["Item 1", "Item 32"]')
        assert ids(short) == ["i1", "i32"]


OUT_OF_RANGE: tuple[dict[str, Any], ...] = (
    {"pins": [{"item": "i1", "position": 1}, {"item": "i1", "position": 2}]}, {"pins": [{"item": "i1", "position": 0}]},
    {"pins": [{"item": "i1", "position": 1}, {"item": "i2", "position": 1}]}, {"pins": [{"item": "i1"}]},
    {"boosts": [{"filter": "a", "factor": 0}]}, {"boosts": [{"filter": "a", "factor": 101}]}, {"boosts": [{"filter": "a"}]},
    {"boosts": [{"filter": "a", "factor": 1}] * 21}, {"exploration": 1.1}, {"hide": ["x"] * 501}, {"seen_kinds": ["A"]},
)  # fmt: skip


def test_campaigns_out_of_range_are_refused(client: httpx.Client) -> None:
    for body in OUT_OF_RANGE:
        problem(client.post("/v1/recommendations", json=body), 400)


def test_a_surface_says_what_a_request_does_not(branded: World) -> None:
    home = {
        "limit": 3, "filter": 'brand == "y"', "pins": [{"item": "i30", "position": 1}], "seen_kinds": ["purchase"],
        "boosts": [{"filter": 'title == "Item 4"', "factor": 100}], "explain": False,
    }  # fmt: skip
    settings = msgspec.structs.replace(branded.settings, surfaces={"home": home, "bare": {"exclude_seen": False}})
    with branded.served(settings=settings) as client:
        path = "/v1/users/u1/recommendations"
        answer = client.get(path, params={"surface": "home"}).json()
        assert ids(answer)[:2] == ["i30", "i4"]
        assert len(ids(answer)) == 3
        assert answer["items"][0]["reason"] is None
        assert ids(asked(client, user="u1", surface="home")) == ids(answer)
        wider = client.get(path, params={"surface": "home", "limit": 30, "filter": 'brand == "x"'}).json()
        assert set(ids(wider)) == {"i35", "i36"}  # the surface's pin is not of that brand
        own = asked(client, user="u1", surface="home", pins=[], boosts=[], seen_kinds=[], explain=True)
        assert "i30" not in ids(own)[:1]
        assert "i4" not in ids(own)
        assert own["items"][0]["reason"]
        assert len(ids(client.get(path, params={"surface": "bare", "limit": 100}).json())) == ITEMS
        other = client.get(path, params={"surface": "elsewhere"}).json()
        assert len(ids(other)) == 10


def test_surfaces_are_read_from_the_environment() -> None:
    settings = load_settings({"HEADWATER_SURFACES": '{"home": {"diversity": 0.5, "exploration": 0.1}}'})
    ask = Surfaces(settings.surfaces).ask("home", Wishes(exploration=0.0), user="u1")
    assert (ask.surface, ask.user, ask.diversity, ask.exploration, ask.limit) == ("home", "u1", 0.5, 0.0, 10)
    assert load_settings(settings.environ()).surfaces == settings.surfaces


@pytest.mark.parametrize(
    "home",
    [
        {"limit": 0},
        {"limits": 3},
        {"filter": "price <"},
        {"pins": [{"item": "a", "position": 1}] * 2},
        {"diversity": "much"},
    ],
)
def test_a_mistake_in_a_surface_is_named_at_the_start(home: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="HEADWATER_SURFACES, surface 'home'"):
        Surfaces({"home": home})
