"""Bad input gets a clear word: what is wrong, where, and what would be right. Never a stack trace, never a 500."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import httpx

RECOMMENDATIONS = "/v1/users/u1/recommendations"


def problem(response: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document of an answer, its form checked."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("application/problem+json")
    document: dict[str, Any] = response.json()
    assert document["status"] == status
    assert document["detail"]
    assert document["title"]
    assert document["code"]
    assert "Traceback" not in response.text
    assert 'File "' not in response.text
    return document


def test_a_value_outside_its_range_is_named_with_the_range(client: httpx.Client) -> None:
    for limit in ("0", "10000", "-1", "x", "1.5", ""):
        for path in (RECOMMENDATIONS, "/v1/items/popular", "/v1/items/i3/similar"):
            detail = problem(client.get(path, params={"limit": limit}), 400)["detail"]
            assert "limit" in detail
            assert "from 1 to 100" in detail
    assert "from 0 to 1" in problem(client.get(RECOMMENDATIONS, params={"diversity": "2"}), 400)["detail"]
    assert "exclude_seen" in problem(client.get(RECOMMENDATIONS, params={"exclude_seen": "perhaps"}), 400)["detail"]
    both = problem(client.get(RECOMMENDATIONS, params={"limit": 0, "diversity": 2}), 400)
    assert {one["name"] for one in both["errors"]} == {"limit", "diversity"}


def test_a_parameter_that_would_be_ignored_is_refused(client: httpx.Client) -> None:
    detail = problem(client.get(RECOMMENDATIONS, params={"sort": "price"}), 400)["detail"]
    assert detail.startswith("sort:")
    assert "category" in detail


def test_a_parameter_given_twice_is_refused_rather_than_one_of_its_values_taken(client: httpx.Client) -> None:
    for query in ("limit=1&limit=2", "limit=3&limit=3", "surface=home&limit=3&surface=cart"):
        detail = problem(client.get(f"{RECOMMENDATIONS}?{query}"), 400)["detail"]
        assert detail.startswith(query[: query.index("=")])
        assert "more than once" in detail
    assert len(client.get(f"{RECOMMENDATIONS}?limit=3&surface=home").json()["items"]) == 3


def test_ids_that_cannot_be_stored_are_refused(client: httpx.Client) -> None:
    for bad in ("%00", "a%00b", "x" * 257):
        for path in (
            f"/v1/users/{bad}/recommendations",
            f"/v1/users/{bad}",
            f"/v1/items/{bad}",
            f"/v1/items/{bad}/content",
        ):
            assert "id" in problem(client.get(path), 400)["detail"]
    problem(client.get(RECOMMENDATIONS, params={"category": "\0"}), 400)


def test_ids_of_any_script_are_welcome(client: httpx.Client) -> None:
    for user in (
        "Ольга",
        "用户",
        "a b+c&d=e?f#g",
        "'; DROP TABLE events; --",
        "../../etc/passwd",
        "<script>",
    ):
        path = f"/v1/users/{quote(user, safe='')}/recommendations"
        assert client.get(path).status_code in (200, 404)  # a slash is no part of a path segment
        assert client.post("/v1/recommendations", json={"user": user}).json()["user"] == user


def test_what_does_not_exist_is_not_found(client: httpx.Client) -> None:
    assert "unheard-of" in problem(client.get("/v1/items/unheard-of"), 404)["detail"]
    problem(client.get("/v1/items/unheard-of/content"), 404)
    problem(client.get("/v1/users/unheard-of"), 404)
    problem(client.post("/v1/content", json={"item": "unheard-of"}), 404)
    problem(client.post("/v1/models/unheard-of/promote", json={"version": 1}), 404)
    problem(client.post("/v1/models/als/promote", json={"version": 2**40}), 400)
    problem(client.post("/v1/content/regenerate", json={"kind": "unheard-of"}), 400)
    assert "/openapi.json" in problem(client.get("/v1/unheard-of"), 404)["detail"]
    problem(client.put("/v1/recommendations", json={}), 405)


BODIES = [
    (b"{", "truncated"),
    (b"", "required"),
    (b"\xff\xfe", "malformed"),
    (b"null", "null"),
    (b"[1]", "body"),
    (b'"x"', "body"),
    (b'{"limit": 0}', "limit"),
    (b'{"limit": "ten"}', "limit"),
    (b'{"history": [{"item": "i1"}, {"item": 2}]}', "history[1].item"),
    (b'{"history": [{"item": "i1", "kind": "No Such Kind"}]}', "history[0].kind"),
    (b'{"history": [{"item": "i1", "time": "yesterday"}]}', "history[0].time"),
    (b'{"history": [{"item": "i1", "time": "2026-01-01T00:00:00"}]}', "history[0].time"),
    (b'{"unheard_of": 1}', "unheard_of"),
    (b'{"user": ""}', "user"),
    (b'{"user": "a\\u0000b"}', "user"),
    (b'{"context": {"a": "\\u0000"}}', "NUL"),
    (b'{"context": {"a": ' + b"[" * 20 + b"]" * 20 + b"}}", "nested"),
    (b'{"context": {"a": ' + b"[" * 5000 + b"]" * 5000 + b"}}", "nested"),
]


def test_a_body_that_is_not_what_the_route_takes_is_explained(client: httpx.Client) -> None:
    for body, said in BODIES:
        response = client.post("/v1/recommendations", content=body, headers={"content-type": "application/json"})
        assert said in problem(response, 400)["detail"], body[:60]


def test_a_body_without_end_is_cut_off(client: httpx.Client) -> None:
    huge = b'{"context": {"x": "' + b"y" * 2_000_000 + b'"}}'
    problem(client.post("/v1/recommendations", content=huge), 413)
    problem(client.post("/v1/rank", json={"items": [f"i{n}" for n in range(501)]}), 400)
    problem(client.post("/v1/rank", json={"items": []}), 400)


def test_every_answer_carries_a_request_id_that_cannot_be_abused(client: httpx.Client) -> None:
    assert client.get("/healthz", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert len(client.get("/healthz").headers["x-request-id"]) == 16
    assert client.get("/healthz", headers={"X-Request-Id": "a b{}"}).headers["x-request-id"] != "a b{}"


def test_the_documentation_names_every_route_and_what_it_answers(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    paths = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert paths >= {
        ("post", "/v1/events"), ("get", "/v1/users/{user_id}/recommendations"), ("post", "/v1/recommendations"),
        ("post", "/v1/rank"), ("get", "/v1/items/{item_id}/similar"), ("get", "/v1/items/popular"),
        ("get", "/v1/items/trending"), ("get", "/v1/items/latest"), ("put", "/v1/items/{item_id}"),
        ("get", "/v1/items/{item_id}"), ("delete", "/v1/items/{item_id}"), ("put", "/v1/users/{user_id}"),
        ("get", "/v1/users/{user_id}"), ("delete", "/v1/users/{user_id}"), ("get", "/v1/users/{user_id}/export"),
        ("get", "/v1/items/{item_id}/content"), ("post", "/v1/content"), ("post", "/v1/content/regenerate"),
        ("get", "/v1/models"), ("post", "/v1/models/{name}/promote"), ("post", "/v1/models/{name}/rollback"),
        ("get", "/v1/jobs"), ("post", "/v1/jobs/{name}/run"), ("get", "/healthz"), ("get", "/readyz"), ("get", "/metrics"),
    }  # fmt: skip
    limit = next(
        one
        for one in document["paths"]["/v1/users/{user_id}/recommendations"]["get"]["parameters"]
        if one["name"] == "limit"
    )
    assert (limit["schema"]["minimum"], limit["schema"]["maximum"]) == (1, 100)
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert operation["summary"], path
            if path.startswith("/v1/"):
                assert "application/problem+json" in operation["responses"]["400"]["content"]


def test_metrics_count_requests_by_route_and_never_by_user(client: httpx.Client) -> None:
    client.get("/v1/users/someone-private/recommendations")
    text = client.get("/metrics").text
    assert 'headwater_request_seconds_count{route="/v1/users/{user_id}/recommendations",status="200"}' in text
    assert 'headwater_fallbacks_total{fallback="popular"}' in text
    assert 'headwater_model_version{model="als"} 1.0' in text
    assert "someone-private" not in text


DEEP = "[" * 60 + "]" * 60
BEYOND_LIMITS = [
    ("POST", "/v1/recommendations", {"history": [{"item": "i1"}] * 501}, "history"),
    ("POST", "/v1/rank", {"items": ["i1"], "history": [{"item": "i1"}] * 501}, "history"),
    ("POST", "/v1/recommendations", {"limit": 101}, "limit"),
    ("POST", "/v1/recommendations", {"diversity": 1.01}, "diversity"),
    ("POST", "/v1/recommendations", {"category": "c" * 257}, "category"),
    ("POST", "/v1/recommendations", {"surface": "s" * 65}, "surface"),
    ("POST", "/v1/recommendations", {"session": "s" * 257}, "session"),
    ("POST", "/v1/events", [{"type": "interaction.view", "data": {"user": "u1", "item": "i1"}}] * 501, "500"),
    ("POST", "/v1/events", [], "500"),
    (
        "POST",
        "/v1/events",
        {"type": "interaction.view", "data": {"user": "u1", "item": "i1", "context": DEEP}},
        "nested",
    ),
    ("PUT", "/v1/items/i1", {"attributes": {"a": DEEP}}, "nested"),
    ("PUT", "/v1/users/u1", {"attributes": {"a": DEEP}}, "nested"),
    ("POST", "/v1/content/regenerate", {"limit": 100_001}, "limit"),
]


def test_what_is_beyond_a_limit_is_refused_by_name(client: httpx.Client) -> None:
    for method, path, body, said in BEYOND_LIMITS:
        content = json.dumps(body).replace(f'"{DEEP}"', DEEP)
        answer = client.request(method, path, content=content, headers={"content-type": "application/json"})
        assert said in problem(answer, 400)["detail"], (path, answer.text)
    for path in ("/v1/items/popular", "/v1/items/i1/similar", RECOMMENDATIONS, "/v1/jobs"):
        assert "limit" in problem(client.get(path, params={"limit": 101}), 400)["detail"]
    assert "surface" in problem(client.get(RECOMMENDATIONS, params={"surface": "s" * 65}), 400)["detail"]
    assert "category" in problem(client.get(RECOMMENDATIONS, params={"category": "c" * 257}), 400)["detail"]
    for path in ("/v1/items/i1", "/v1/users/u1"):
        problem(client.put(path, content=b'{"attributes": {"a": "' + b"x" * 1_000_000 + b'"}}'), 413)
    problem(client.post("/v1/events", content=b"[" + b" " * 8_000_000 + b"]"), 413)
