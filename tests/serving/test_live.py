"""The live swap: under load without a failed request, and never to a version that is not whole."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ArtifactCorrupt
from core.telemetry import MODEL_REFUSED
from features.interactions import Interactions
from models.recommender import UserBatch
from serving.catalogue import LiveCatalogue
from serving.live import LiveModels, _descending
from tests.serving.world import World, eventually, ids

PATH = "/v1/users/u1/recommendations"


def backwards() -> Interactions:
    """People who walk from n to n - 1: after i14 comes i13, and after i3 comes i2."""
    steps = [
        (f"b{user}", f"i{(user * 3 - step) % 40}", user * 100.0 + step) for user in range(30) for step in range(12)
    ]
    users, items, times = zip(*steps, strict=True)
    return Interactions.from_columns(list(users), list(items), list(times))


def test_twenty_swaps_under_load_fail_no_request_and_no_answer_mixes_versions(world: World) -> None:
    world.fill()
    world.train("transitions")
    world.publish("transitions", backwards(), promote=False)
    statuses: Counter[int] = Counter()
    answers: Counter[tuple[str, str]] = Counter()
    stop = threading.Event()
    with world.served() as client:

        def load() -> None:
            with httpx.Client(base_url=client.base_url, timeout=30) as mine:
                while not stop.is_set():
                    answer = mine.post("/v1/recommendations", json={"history": [{"item": "i20"}], "limit": 1})
                    statuses[answer.status_code] += 1
                    if answer.status_code == 200:
                        answers[answer.json()["model"]["transitions"], ids(answer.json())[0]] += 1

        callers = [threading.Thread(target=load) for _ in range(3)]
        for caller in callers:
            caller.start()
        for swap in range(20):
            version = 2 - swap % 2
            client.post("/v1/models/transitions/promote", json={"version": version}).raise_for_status()
            assert client.get("/readyz").json()["models"]["transitions"] == version
        stop.set()
        for caller in callers:
            caller.join()
    assert set(statuses) == {200}
    assert set(answers) == {("v1", "i21"), ("v2", "i19")}


@pytest.mark.parametrize("file", ["arrays.safetensors", "items.json", "model.json", "index.faiss"])
def test_a_corrupt_artifact_is_refused_and_the_one_before_serves_on(full_world: World, file: str) -> None:
    name = "als" if file == "index.faiss" else "transitions"
    second = full_world.publish(name, backwards())
    folder = Path(full_world.settings.artifacts_url) / second.path
    assert Path(full_world.registry.open(second)) == folder
    damaged = bytearray((folder / file).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    before = MODEL_REFUSED.labels(name)._value.get()
    with full_world.served() as client:
        eventually(lambda: client.get("/readyz").json()["models"][name] == 2)
        full_world.registry.rollback(name)
        eventually(lambda: client.get("/readyz").json()["models"][name] == 1)
        (folder / file).write_bytes(damaged)
        with pytest.raises(ArtifactCorrupt):
            full_world.registry.promote(name, 2, "by hand")  # the registry checks as well
        full_world.store.versions.promote(name, 2, "behind the registry's back")
        eventually(lambda: MODEL_REFUSED.labels(name)._value.get() == before + 1)
        answer = client.get(PATH)
        assert answer.status_code == 200
        assert answer.json()["model"][name] == "v1"
        assert "refused here" in client.get("/console").text
        assert client.post(f"/v1/models/{name}/promote", json={"version": 2}).status_code == 500
        models = {(one["name"], one["version"]): one for one in client.get("/v1/models").json()}
        assert models[name, 1]["serving"] is True
        assert models[name, 2]["serving"] is False
        assert MODEL_REFUSED.labels(name)._value.get() == before + 1  # not tried again every second
        client.post(f"/v1/models/{name}/promote", json={"version": 1}).raise_for_status()
        assert client.get(PATH).json()["model"][name] == "v1"


def test_a_missing_or_foreign_model_is_refused(full_world: World) -> None:
    catalogue = LiveCatalogue(full_world.store)
    models = LiveModels(full_world.registry, catalogue)
    models.refresh()
    assert set(models.served) == {"als", "popularity", "transitions"}
    second = full_world.publish("als", backwards())
    for found in (Path(full_world.settings.artifacts_url) / second.path).iterdir():
        found.unlink()
    models.refresh()
    assert models.served["als"].label == "v1"
    assert models.refused(second)
    folder = full_world.folder / "foreign"
    folder.mkdir()
    (folder / "file").write_bytes(b"x")
    foreign = full_world.registry.publish("unheard-of", folder, trained_until=None, snapshot="", config={}, metrics={})
    full_world.registry.promote("unheard-of", foreign.version, "")
    models.refresh()
    assert set(models.served) == {"als", "popularity", "transitions"}


def test_a_model_that_is_measured_better_counts_more(full_world: World) -> None:
    models = LiveModels(full_world.registry, LiveCatalogue(full_world.store))
    models.refresh()
    weights = {name: served.weight for name, served in models.served.items()}
    assert weights == {"als": 0.2, "transitions": 0.3, "popularity": 0.05}


def test_the_index_and_the_exact_search_find_the_same(full_world: World) -> None:
    models = LiveModels(full_world.registry, LiveCatalogue(full_world.store))
    models.refresh()
    als = models.served["als"]
    assert als.index is not None
    users = UserBatch.from_histories([(np.array([3], np.int32), np.zeros(1), np.ones(1, np.float32))])
    allowed = np.arange(len(als.items)) % 3 > 0
    exact = replace(als, index=None).recommend(users, 10, allowed)
    assert als.recommend(users, 10, allowed).tolist() == exact.tolist()
    assert len(exact) == 10


def test_versions_move_by_hand_within_what_the_gate_allows(full_world: World) -> None:
    second = full_world.publish("als", backwards(), promote=False)
    full_world.registry.refuse("als", second.version, "ndcg@10 0.01 is below popularity's 0.05")
    with full_world.served() as client:
        refused = client.post("/v1/models/als/promote", json={"version": 2})
        assert refused.status_code == 409
        assert "below popularity" in refused.json()["detail"]
        assert client.post("/v1/models/als/rollback").status_code == 409
        third = full_world.publish("als", backwards())
        eventually(lambda: client.get("/readyz").json()["models"]["als"] == third.version)
        assert client.post("/v1/models/als/rollback").json() == {"name": "als", "version": 1}
        eventually(lambda: client.get("/readyz").json()["models"]["als"] == 1)
        listed = client.get("/v1/models").json()
    states = {one["version"]: one["state"] for one in listed if one["name"] == "als"}
    assert states == {1: "live", 2: "refused", 3: "retired"}


@given(st.lists(st.sampled_from([0.0, -1.0, 0.5, 3.0, 1e-40, 1e30]) | st.floats(0, 1e6, width=32), max_size=30))
def test_an_order_of_counts_is_the_largest_first_and_of_equal_ones_the_first(counts: list[float]) -> None:
    found = np.array(counts, np.float32)
    wanted = sorted((row for row in range(len(found)) if found[row] > 0), key=lambda row: (-found[row], row))
    assert _descending(found).tolist() == wanted
