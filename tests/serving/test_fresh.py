"""Freshness: what happened a moment ago is in the next answer, with no training in between."""

from __future__ import annotations

import time
from functools import partial

import httpx

from tests.serving.world import eventually, ids

VIEW = {"type": "interaction.view", "data": {"user": "new", "item": "i20"}}


def test_an_unseen_users_first_view_changes_their_recommendations_within_two_seconds(stream: httpx.Client) -> None:
    before = stream.get("/v1/users/new/recommendations").json()
    assert before["fallback"] == "popular"
    answer = stream.post("/v1/events", json=VIEW)
    acknowledged = time.monotonic()
    assert answer.status_code == 202
    eventually(lambda: stream.get("/v1/users/new/recommendations").json()["fallback"] is None, within_s=2)
    after = stream.get("/v1/users/new/recommendations").json()
    assert time.monotonic() - acknowledged < 2
    assert "i21" in ids(after)[:3]
    assert "i20" not in ids(after)
    assert after["items"][0]["reason"]["because"] == ["i20"]


def test_each_further_view_moves_the_list_on(stream: httpx.Client) -> None:
    path = "/v1/users/walker/recommendations"

    def knows(seen: int) -> bool:
        shown = ids(stream.get(path, params={"limit": 100}).json())
        return f"i{seen}" not in shown and f"i{seen + 1}" in shown[:3]

    for seen in (20, 21, 30):
        event = {"type": "interaction.view", "data": {"user": "walker", "item": f"i{seen}"}}
        stream.post("/v1/events", json=event).raise_for_status()
        eventually(partial(knows, seen), within_s=2)
