"""Keys, scopes and limits: every route is closed unless it says otherwise."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from litestar.handlers import HTTPRouteHandler

from core.store.keys import SCOPES
from serving.access import PUBLIC
from serving.app import create_app
from tests.serving.test_bad_input import problem
from tests.serving.world import World, eventually

PATH = "/v1/users/u1/recommendations"
OPEN = {"/healthz", "/readyz", "/metrics"}
FILLED = {"{user_id}": "nobody", "{item_id}": "nothing", "{name}": "unheard-of", "{token}": "none"}
OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
VIEW = {"type": "interaction.view", "data": {"user": "k", "item": "i1"}}


@pytest.fixture
def locked(full_world: World) -> Iterator[httpx.Client]:
    """A client of a server that requires keys."""
    settings = msgspec.structs.replace(full_world.settings, require_keys=True)
    with full_world.served(settings=settings) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def routes(client: httpx.Client) -> list[tuple[str, str]]:
    """(method, path) of every route of the OpenAPI document, the open ones left out."""
    paths = client.get("/openapi.json").json()["paths"]
    return [(method.upper(), path) for path, methods in paths.items() for method in methods if path not in OPEN]


def ask(client: httpx.Client, method: str, path: str, key: str | None = None) -> httpx.Response:
    """Ask a route about something that does not exist: what it takes to get in is the question."""
    for name, value in FILLED.items():
        path = path.replace(name, value)
    body: Any = {} if method in ("POST", "PUT") else None
    return client.request(method, path, json=body, headers=bearer(key) if key else {})


def documented_scopes() -> dict[tuple[str, str], str]:
    """(method, path) -> scope, by the table in docs/operations.md."""
    table = OPERATIONS.read_text().split("### Which scope opens what")[1].split("###")[0].split("\n## ")[0]
    found = {}
    for line in table.splitlines():
        scope, _, opened = line.strip("| ").partition("|")
        for methods, path in re.findall(r"`([A-Z, ]+) (/[^`]+)`", opened):
            for method in methods.split(", "):
                found[method, path] = scope.strip(" `")
    return found


def test_every_documented_route_is_closed_to_strangers(locked: httpx.Client) -> None:
    tried = routes(locked)
    for method, path in tried:
        answer = ask(locked, method, path)
        assert problem(answer, 401)["code"] == "unauthorized", (method, path)
        assert answer.headers["www-authenticate"] == "Bearer"
        assert ask(locked, method, path, "hw_00000000_" + "A" * 43).status_code == 401
    assert len(tried) > 20
    for path in OPEN:
        assert locked.get(path).status_code == 200
    for path in ("/console", "/console/users/u1", "/console/items/i1", "/console/search?q=x"):
        answer = locked.get(path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Basic"  # so that a browser asks for the key


def test_every_route_opens_to_its_scope_and_to_no_other(full_world: World, locked: httpx.Client) -> None:
    expected = documented_scopes()
    keys = {scope: full_world.store.keys.create([scope]) for scope in SCOPES}
    for method, path in routes(locked):
        wanted = expected.pop((method, path), None)
        assert wanted in SCOPES, f"docs/operations.md names no scope for {method} {path}"
        for scope, key in keys.items():
            answer = ask(locked, method, path, key)
            if scope in (wanted, "admin"):
                assert answer.status_code not in (401, 403), (method, path, scope)
            else:
                assert wanted in problem(answer, 403)["detail"], (method, path, scope)
    assert expected == {}, "docs/operations.md names routes that there are not"
    for scope, key in keys.items():
        assert locked.get("/console", headers=bearer(key)).status_code == (200 if scope == "admin" else 403)


def test_every_route_names_a_scope_that_there_is(full_world: World) -> None:
    app = create_app(full_world.settings, full_world.store, full_world.registry)
    handlers = [one for route in app.routes for one in getattr(route, "route_handlers", [])]
    found = {(str(one), one.opt.get("scope")) for one in handlers if isinstance(one, HTTPRouteHandler)}
    assert {scope for _, scope in found if scope is not None} == {PUBLIC, *SCOPES}
    assert [name for name, scope in found if scope is None and "OPTIONS" not in name.upper()] == []
    app.state.service.threads.close()
    app.state.service.histories.close()


def test_a_key_is_taken_from_either_header_and_from_a_browser(full_world: World, locked: httpx.Client) -> None:
    key = full_world.store.keys.create(["recs:read"])
    assert locked.get(PATH, headers=bearer(key)).status_code == 200
    assert locked.get(PATH, headers={"X-API-Key": key}).status_code == 200
    admin = full_world.store.keys.create(["admin"])
    basic = base64.b64encode(f"me:{admin}".encode()).decode()
    assert locked.get("/console", headers={"Authorization": f"Basic {basic}"}).status_code == 200
    assert locked.get("/console", headers={"Authorization": "Basic !!"}).status_code == 401
    for wrong in ("hw_unheard_of", "Ключ", "x" * 5000):
        problem(locked.get(PATH, headers={b"Authorization": f"Bearer {wrong}".encode()}), 401)


def test_a_revoked_key_opens_nothing_within_five_seconds_however_often_it_is_used(
    full_world: World, locked: httpx.Client
) -> None:
    key, other = (full_world.store.keys.create(["recs:read"]) for _ in range(2))
    assert locked.get(PATH, headers=bearer(key)).status_code == 200
    assert locked.get(PATH, headers=bearer(other)).status_code == 200
    full_world.store.keys.revoke(key.split("_")[1])
    revoked = time.monotonic()
    eventually(lambda: locked.get(PATH, headers=bearer(key)).status_code == 401, within_s=5)
    assert time.monotonic() - revoked < 5
    assert locked.get(PATH, headers=bearer(other)).status_code == 200


def test_a_key_that_asks_more_often_than_it_may_is_told_when_to_come_back(
    full_world: World, locked: httpx.Client
) -> None:
    slow = full_world.store.keys.create(["recs:read"], requests_per_s=0.5, burst=3)
    free = full_world.store.keys.create(["recs:read"], requests_per_s=0)
    statuses = [locked.get(PATH, headers=bearer(slow)).status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    refused = locked.get(PATH, headers=bearer(slow))
    assert problem(refused, 429)["code"] == "rate_limited"
    assert problem(refused, 429)["retriable"] is True
    assert 1 <= int(refused.headers["retry-after"]) <= 2
    assert slow not in refused.text
    metrics = locked.get("/metrics").text
    assert f'headwater_rate_limited_total{{key="{slow.split("_")[1]}"}} 2.0' in metrics
    assert slow not in metrics
    assert {locked.get(PATH, headers=bearer(free)).status_code for _ in range(20)} == {200}, (
        "each key has its own limit"
    )
    eventually(lambda: locked.get(PATH, headers=bearer(slow)).status_code == 200)


def test_a_key_without_a_limit_of_its_own_has_the_servers(full_world: World) -> None:
    settings = msgspec.structs.replace(full_world.settings, require_keys=True, key_requests_per_s=0.1, key_burst=2)
    key = full_world.store.keys.create(["recs:read"])
    with full_world.served(settings=settings) as client:
        assert [client.get(PATH, headers=bearer(key)).status_code for _ in range(3)] == [200, 200, 429]
        assert client.post("/v1/events", json=VIEW, headers=bearer(key)).status_code == 403, "refused for what it is"


def test_on_loopback_no_key_is_needed_and_the_console_says_so(client: httpx.Client, full_world: World) -> None:
    assert client.get(PATH).status_code == 200
    assert "no API key is asked for" in client.get("/console").text
    settings = msgspec.structs.replace(full_world.settings, require_keys=True)
    admin = full_world.store.keys.create(["admin"])
    with full_world.served(settings=settings) as locked:
        assert "no API key is asked for" not in locked.get("/console", headers=bearer(admin)).text
    assert msgspec.structs.replace(settings, require_keys=None, host="0.0.0.0").keys_required
    assert not msgspec.structs.replace(settings, require_keys=None, host="127.0.0.1").keys_required


def test_without_keys_another_sites_page_changes_nothing(client: httpx.Client) -> None:
    assert client.post("/v1/events", json=VIEW, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.post("/v1/events", json=VIEW, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 202
