"""Keys and scopes: every route is closed unless it says otherwise."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import httpx
import msgspec
import pytest

from tests.serving.test_bad_input import problem
from tests.serving.world import World, eventually

PATH = "/v1/users/u1/recommendations"
OPEN = {"/healthz", "/readyz", "/metrics"}
FILLED = {"{user_id}": "u1", "{item_id}": "i1", "{name}": "als"}


@pytest.fixture
def locked(full_world: World) -> Iterator[httpx.Client]:
    """A client of a server that requires keys."""
    settings = msgspec.structs.replace(full_world.settings, require_keys=True)
    with full_world.served(settings=settings) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_every_documented_route_is_closed_to_strangers(locked: httpx.Client) -> None:
    document = locked.get("/openapi.json").json()
    tried = 0
    for path, methods in document["paths"].items():
        for method in methods:
            url = path
            for name, value in FILLED.items():
                url = url.replace(name, value)
            answer = locked.request(method, url, json={} if method in ("post", "put") else None)
            if path in OPEN:
                assert answer.status_code == 200
            else:
                assert problem(answer, 401)["code"] == "unauthorized"
                assert answer.headers["www-authenticate"] == "Bearer"
                tried += 1
    assert tried > 20
    for path in ("/console", "/console/users/u1", "/console/items/i1", "/console/search?q=x"):
        answer = locked.get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Basic"  # so that a browser asks for the key


def test_a_key_opens_what_its_scope_names_and_nothing_else(full_world: World, locked: httpx.Client) -> None:
    keys = {scope: full_world.store.keys.create([scope]) for scope in ("events", "read", "admin")}
    expected = {"events": (403, 202, 403), "read": (200, 403, 403), "admin": (200, 202, 200)}
    event = {"type": "interaction.view", "data": {"user": "k", "item": "i1"}}
    for scope, statuses in expected.items():
        for headers in (bearer(keys[scope]), {"X-API-Key": keys[scope]}):
            got = (
                locked.get(PATH, headers=headers).status_code,
                locked.post("/v1/events", json=event, headers=headers).status_code,
                locked.get("/v1/users/u1/export", headers=headers).status_code,
            )
            assert got == statuses, scope
    assert "events" in problem(locked.get(PATH, headers=bearer(keys["events"])), 403)["detail"]
    basic = base64.b64encode(f"me:{keys['admin']}".encode()).decode()
    assert locked.get("/console", headers={"Authorization": f"Basic {basic}"}).status_code == 200
    assert locked.get("/console", headers={"Authorization": "Basic !!"}).status_code == 401


def test_a_key_that_is_unknown_or_revoked_opens_nothing(full_world: World, locked: httpx.Client) -> None:
    for wrong in ("hw_unheard_of", "Ключ", "x" * 5000):
        answer = locked.get(PATH, headers={b"Authorization": f"Bearer {wrong}".encode()})
        problem(answer, 401)
    key = full_world.store.keys.create(["read"])
    assert locked.get(PATH, headers=bearer(key)).status_code == 200
    full_world.store.keys.revoke(key.split("_")[1])
    eventually(lambda: locked.get(PATH, headers=bearer(key)).status_code == 401, within_s=5)


def test_without_keys_another_sites_page_changes_nothing(client: httpx.Client) -> None:
    event = {"type": "interaction.view", "data": {"user": "k", "item": "i1"}}
    assert client.post("/v1/events", json=event, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.post("/v1/events", json=event, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 202
