"""Exploration: what is logged as an item's probability is how often it is really there."""

from __future__ import annotations

from collections import Counter
from functools import partial

import httpx
import numpy as np
import pytest

import serving.pipeline
from serving.catalogue import NO_ROWS
from serving.exploration import CERTAIN, EXPLORATION, NEWEST, NEXT_BEST, explore
from serving.expression import parse
from serving.query import Ask, Candidates, Pin
from serving.service import Service
from tests.serving.world import ITEMS

ROUNDS = 800


def test_nothing_is_left_to_chance_unless_asked_for(client: httpx.Client) -> None:
    path = "/v1/users/u1/recommendations"
    first, second = client.get(path).json()["items"], client.get(path, params={"exploration": 0}).json()["items"]
    assert first == second
    assert {one["propensity"] for one in first} == {1.0}
    drawn = client.get(path, params={"exploration": 0.5, "limit": 6}).json()["items"]
    assert [one["source"] for one in drawn].count("exploration") == 3
    pool = ITEMS - 12 - 6  # all but what u1 has seen and the list itself
    assert {one["propensity"] for one in drawn} == {0.5, round(0.5 / pool, 6)}
    assert all(one["reason"]["because"] == [] for one in drawn if one["source"] == "exploration")


@pytest.mark.parametrize(
    ("user", "share", "limit", "wanted", "pins"),
    [
        ("u1", 0.1, 4, None, ()),  # less than one place
        ("stranger", 0.5, 5, None, ()),  # two and a half
        ("stranger", 1.0, 3, None, ()),  # all
        ("stranger", 0.4, 5, None, (Pin("i30", 2), Pin("i31", 5))),  # a share of what is not pinned
        (
            "u1",
            0.8,
            5,
            'title in ["Item 20", "Item 21", "Item 22", "Item 23", "Item 24", "Item 25", "Item 26"]',
            (),
        ),  # of a pool of 2
        ("u1", 0.8, 5, 'title in ["Item 20", "Item 21", "Item 22"]', ()),  # of nothing
    ],
)
def test_the_propensity_of_an_item_is_how_often_it_is_there(
    service: Service, monkeypatch: pytest.MonkeyPatch, user: str, share: float, limit: int, wanted: str | None,
    pins: tuple[Pin, ...],
) -> None:  # fmt: skip
    monkeypatch.setattr(serving.pipeline, "explore", partial(explore, rng=np.random.default_rng(7)))
    past = service.histories.read(user)
    monkeypatch.setattr(service.histories, "read", lambda _: past)
    ask = Ask(
        user, limit, exploration=share, pins=pins, filter=parse(wanted) if wanted else None, explain=False, logged=False
    )
    seen: Counter[tuple[int, str]] = Counter()
    said: dict[tuple[int, str], float] = {}
    for _ in range(ROUNDS):
        items = service.pipeline.recommend(ask).items
        assert len({one.item for one in items}) == len(items)
        for place, one in enumerate(items):
            seen[place, one.item] += 1
            assert (
                said.setdefault((place, one.item), one.propensity) == one.propensity
            )  # it does not depend on the draw
    for key, propensity in said.items():
        deviation = (propensity * (1 - propensity) / ROUNDS) ** 0.5
        assert abs(seen[key] / ROUNDS - propensity) <= 5 * deviation + 1e-9, key
    for place in range(limit if len(items) == limit else len(items)):
        told = sum(propensity for (at, _), propensity in said.items() if at == place)
        assert told <= 1 + 1e-4
        assert told > 0.97  # what is missing was never drawn


def test_the_pool_holds_the_next_best_and_the_newest(service: Service) -> None:
    query = service.pipeline.query(Ask("u1", 5, exploration=0.4), service.histories.read("u1"))
    allowed = np.ones(len(query.view), bool)
    best = serving.pipeline.backfill(query, allowed, Candidates.of("", NO_ROWS, np.zeros(0, np.float32)), ITEMS)
    shown, chance = explore(query, allowed, best[:20], best[:5], np.random.default_rng(1))
    assert chance.share == 0.4
    assert chance.pool == ITEMS - 5 <= NEXT_BEST + NEWEST
    assert [shown.sources[one] for one in shown.source].count(EXPLORATION) == 2
    assert explore(query, allowed, best, best[:0])[1] is CERTAIN
