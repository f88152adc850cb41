"""Every stage of a list has its time and its candidates in the metrics, of a known share of requests."""

from __future__ import annotations

import re

import httpx
import pytest

from serving import stages

COUNTED = {"history", "sources", "merge", "filters", "rank", "diversify", "backfill", "explore", "explain"}
STAGES = COUNTED | {"allowed", "slate"}


def measured(client: httpx.Client, what: str) -> dict[str, float]:
    """By stage, a figure of the metrics."""
    found = re.findall(rf'^headwater_stage_{what}{{stage="(\w+)"}} (\S+)$', client.get("/metrics").text, re.MULTILINE)
    return {stage: float(value) for stage, value in found}


def test_stages_are_timed_and_their_candidates_counted(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "SAMPLE", 1)
    before, asked = measured(client, "seconds_count"), 5
    for number in range(asked):
        history = [{"item": f"i{number}", "kind": "view"}]
        client.post("/v1/recommendations", json={"history": history, "limit": 5}).raise_for_status()
    after = measured(client, "seconds_count")
    assert after.keys() == STAGES
    assert {stage: count - before.get(stage, 0) for stage, count in after.items()} == dict.fromkeys(STAGES, asked)
    assert measured(client, "candidates_count").keys() == COUNTED
    seconds, candidates = measured(client, "seconds_sum"), measured(client, "candidates_sum")
    assert all(value > 0 for value in seconds.values())
    assert candidates["sources"] >= candidates["filters"] >= candidates["explain"] >= 5 * asked


def test_one_request_in_so_many_is_observed() -> None:
    counted = 500 * stages.SAMPLE
    observed = sum(type(stages.clock(0.0)) is stages.Clock for _ in range(counted))
    assert 350 < observed < 650  # six times its standard deviation
