"""People decide on texts over HTTP: what they are told, what is kept, and what a surface then gets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from core.events import ItemRemoved
from tests.serving.test_access import bearer
from tests.serving.test_bad_input import problem
from tests.serving.test_content_and_jobs import FILM, GOOD, Says
from tests.serving.world import World, eventually, item
from tests.streams import event

REVIEW, HISTORY, CONTENT = ("/v1/items/i1/content/" + name for name in ("review", "history", ""))
CONTENT = CONTENT.rstrip("/")
OWN = "Arrival is a 2016 sci-fi film."
WRONG = "Arrival won 8 Oscars."


@pytest.fixture
def films(world: World) -> World:
    world.change(item(1, **FILM), item(2, **FILM))
    return world


@pytest.fixture
def client(films: World) -> Iterator[httpx.Client]:
    """A client of a server on which i1 has a text by a model."""
    with films.served(generator=Says(GOOD)) as client:
        client.post("/v1/content", json={"item": "i1"}).raise_for_status()
        yield client


def decide(client: httpx.Client, action: str, version: int = 1, **more: Any) -> httpx.Response:
    return client.post(f"/v1/items/i1/content/{action}", json={"version": version, **more})


def shown(client: httpx.Client, status: str = "verified") -> tuple[str, str]:
    answer = client.get(CONTENT, params={"status": status}).json()
    return answer["text"], answer["status"]


def test_a_surface_that_asks_for_approved_texts_gets_only_what_a_person_let_pass(client: httpx.Client) -> None:
    assert shown(client) == (GOOD, "verified")
    text, status = shown(client, "approved")
    assert (text != GOOD, status) == (True, "verified"), "the template's"
    assert decide(client, "approve").json()["status"] == "approved"
    assert shown(client, "approved") == shown(client) == (GOOD, "approved")
    assert decide(client, "edit", 2, text=OWN).json()["version"] == 3
    assert shown(client, "approved") == shown(client) == (OWN, "edited")
    assert decide(client, "reject", 3, reason="dull").json()["status"] == "rejected"
    assert shown(client, "approved") == shown(client)
    assert shown(client)[0] not in (GOOD, OWN)
    assert problem(client.get(CONTENT, params={"status": "whatever"}), 400)["code"] == "invalid_request"


def test_a_machine_does_not_overwrite_a_person(client: httpx.Client) -> None:
    decide(client, "edit", text=OWN).raise_for_status()
    client.post("/v1/content", json={"item": "i1"}).raise_for_status()
    assert shown(client) == (OWN, "edited")


def test_an_edit_with_an_unsupported_claim_is_refused_with_span_and_reason_unless_the_person_insists(
    client: httpx.Client,
) -> None:
    refused = problem(decide(client, "edit", text=WRONG), 400)
    assert refused["code"] == "text_refused"
    spans = [WRONG[slice(*one["span"])] for one in refused["errors"]]
    assert "8" in " ".join(spans)
    assert all(one["reason"] and one["rule"] for one in refused["errors"])
    assert shown(client) == (GOOD, "verified")
    assert "reason" in problem(decide(client, "edit", text=WRONG, anyway=True), 400)["detail"]
    decide(client, "edit", text=WRONG, anyway=True, reason="the academy says so").raise_for_status()
    assert shown(client) == (WRONG, "edited")
    newest = client.get(HISTORY).json()["changes"][0]
    assert newest["reason"] == "the academy says so"
    assert newest["overruled"] == refused["errors"]
    assert client.get(REVIEW).json()["violations"] == refused["errors"], "and who looks again is told again"


@pytest.mark.parametrize(
    "hostile", ["<b>Arrival</b> is a film.", "See https://x.example for Arrival.", "Arrival.\u202eIgnore.", "A\u200bB"]
)
def test_what_could_hurt_where_it_is_shown_nobody_can_publish(client: httpx.Client, hostile: str) -> None:
    answer = problem(decide(client, "edit", text=hostile, anyway=True, reason="I may"), 400)
    assert "nobody" in answer["detail"]
    assert answer["errors"]
    assert shown(client) == (GOOD, "verified")


def test_a_persons_text_stands_while_it_is_true_and_gives_way_when_it_is_not(
    films: World, client: httpx.Client
) -> None:
    decide(client, "edit", text="Arrival is a sci-fi film.").raise_for_status()
    films.change(item(1, **{**FILM, "attributes": {"year": 2017, "type": "film"}}))
    eventually(lambda: client.get("/v1/items/i1").json()["attributes"]["year"] == 2017)
    assert shown(client) == ("Arrival is a sci-fi film.", "edited"), "the new facts support it as well"
    assert client.get(REVIEW).json()["status"] == "edited"
    films.change(item(1, **{**FILM, "categories": ("Drama",)}))
    eventually(lambda: client.get("/v1/items/i1").json()["categories"] == ["Drama"])
    answer = client.get(CONTENT).json()
    assert (answer["origin"], answer["stale"]) == ("template", True)
    assert "sci-fi" not in answer["text"].lower()
    assert shown(client, "approved")[1] == "verified"
    review = client.get(REVIEW).json()
    assert review["status"] == "stale"
    assert "sci-fi" in str(review["violations"])
    assert problem(decide(client, "approve", 2), 400)["code"] == "text_refused", "nor is it approved again unseen"
    listed = client.get("/v1/content", params={"status": "stale"}).json()["texts"]
    assert [(one["item"], one["status"], one["version"]) for one in listed] == [("i1", "stale", 2)]
    assert client.get("/v1/content", params={"status": "edited"}).json()["texts"] == []


def test_what_a_person_insisted_on_stands_until_the_facts_change(films: World, client: httpx.Client) -> None:
    decide(client, "edit", text=WRONG, anyway=True, reason="it did").raise_for_status()
    films.change(item(1, **FILM, available=False))
    eventually(lambda: client.get("/v1/items/i1").json()["available"] is False)
    assert shown(client) == (WRONG, "edited"), "of what a text may state nothing changed"
    films.change(item(1, **{**FILM, "title": "Departure"}))
    eventually(lambda: client.get("/v1/items/i1").json()["title"] == "Departure")
    assert client.get(CONTENT).json()["origin"] == "template"


def test_a_decision_on_another_version_is_told_what_changed(client: httpx.Client) -> None:
    decide(client, "edit", text=OWN).raise_for_status()
    conflict = problem(decide(client, "approve", 1), 409)
    assert conflict["code"] == "text_changed"
    assert [(one["version"], one["action"], one["text"]) for one in conflict["errors"]] == [(2, "edit", OWN)]
    assert shown(client) == (OWN, "edited")
    assert problem(decide(client, "reject", 9, reason="x"), 409)["code"] == "text_changed"


def test_every_change_names_who_made_it_by_the_name_of_their_key(films: World) -> None:
    settings = msgspec.structs.replace(films.settings, require_keys=True)
    ann = films.store.keys.create(["content:write", "content:read"], "Ann")
    unnamed = films.store.keys.create(["content:write"])
    with films.served(settings=settings, generator=Says(GOOD)) as client:
        client.post("/v1/content", json={"item": "i1"}, headers=bearer(ann)).raise_for_status()
        body = {"version": 1, "reason": "good"}
        client.post("/v1/items/i1/content/approve", json=body, headers=bearer(ann)).raise_for_status()
        body = {"version": 2, "reason": "no"}
        client.post("/v1/items/i1/content/reject", json=body, headers=bearer(unnamed)).raise_for_status()
        history = client.get(HISTORY, headers=bearer(ann))
        problem(client.get(HISTORY), 401)
    changes = history.json()["changes"]
    assert [(one["who"], one["action"], one["reason"]) for one in changes[:2]] == [
        (f"key {unnamed.split('_')[1]}", "reject", "no"), ("Ann", "approve", "good"),
    ]  # fmt: skip
    assert changes[2]["who"].startswith("headwater")
    assert (changes[0]["status_before"], changes[0]["status"]) == ("approved", "rejected")
    assert ann not in history.text
    assert unnamed not in history.text


def test_history_and_lists_come_in_pages(films: World) -> None:
    with films.served() as client:
        for name in ("i1", "i2"):
            for kind in ("description", "headline"):
                client.post("/v1/content", json={"item": name, "kind": kind}).raise_for_status()
        everything = client.get("/v1/content").json()
        assert (len(everything["texts"]), everything["next"]) == (4, None)
        seen, after = [], None
        while True:
            page = client.get("/v1/content", params={"limit": 1, **({"after": after} if after else {})}).json()
            seen += page["texts"]
            after = page["next"]
            if after is None:
                break
        assert seen == everything["texts"]
        of_two = client.get("/v1/content", params={"q": "i2", "kind": "headline", "status": "verified"}).json()
        assert [(one["item"], one["kind"], one["title"]) for one in of_two["texts"]] == [("i2", "headline", "Arrival")]
        assert client.get("/v1/content", params={"locale": "de"}).json()["texts"] == []
        for version in (1, 2, 3):
            decide(client, "approve", version).raise_for_status()
        first = client.get(HISTORY, params={"limit": 3}).json()
        rest = client.get(HISTORY, params={"limit": 3, "before": first["next"]}).json()
        assert [one["version"] for one in (*first["changes"], *rest["changes"])] == [4, 3, 2, 1]
        assert rest["next"] is None
        for wrong in ("xyz", "W10", "WyIyMDI2LTAxLTAxVDAwOjAwOjAwIiwiYSIsImIiLCJjIiwiIl0", "ü"):
            assert "next" in problem(client.get("/v1/content", params={"after": wrong}), 400)["detail"]


def test_what_is_not_there_is_said_to_be_missing(client: httpx.Client) -> None:
    for answer in (
        client.get(REVIEW, params={"kind": "theme"}), client.get(REVIEW, params={"kind": "answer"}),
        client.get("/v1/items/nothing/content/review"), client.get(HISTORY, params={"locale": "de"}),
        decide(client, "approve", kind="headline"), decide(client, "reject", kind="headline", reason="x"),
        client.post("/v1/items/nothing/content/approve", json={"version": 1}),
    ):  # fmt: skip
        problem(answer, 404)
    for action, body in (
        ("approve", {}), ("approve", {"version": 0}), ("edit", {"version": 1}), ("edit", {"version": 1, "text": " "}),
        ("edit", {"version": 1, "text": "x" * 2001}), ("reject", {"version": 1}), ("reject", {"version": 1, "reason": " "}),
        ("approve", {"version": 1, "kind": "unheard_of"}), ("approve", {"version": 1, "extra": 1}),
    ):  # fmt: skip
        problem(client.post(f"/v1/items/i1/content/{action}", json=body), 400)
    assert shown(client) == (GOOD, "verified")


def test_a_person_writes_the_first_text_where_none_is_stored(client: httpx.Client) -> None:
    about = {"kind": "headline"}
    review = client.get(REVIEW, params=about).json()
    assert (review["version"], review["status"], review["text"]) == (0, "none", "")
    assert (review["checked"], review["template"]) == (True, "Arrival: sci-fi (2016)")
    assert problem(decide(client, "edit", 0, text="Arrival, 8 Oscars", **about), 400)["code"] == "text_refused"
    written = decide(client, "edit", 0, text="Arrival (2016)", **about).json()
    assert (written["status"], written["version"], written["origin"]) == ("edited", 1, "person")
    answer = client.get(CONTENT, params={**about, "status": "approved"}).json()
    assert (answer["text"], answer["origin"]) == ("Arrival (2016)", "person")
    assert problem(decide(client, "edit", 0, text="Arrival", **about), 409)["code"] == "text_changed", (
        "it is not the first"
    )
    (change,) = client.get(HISTORY, params=about).json()["changes"]
    assert (change["action"], change["status_before"], change["text"]) == ("edit", None, "Arrival (2016)")
    for kind, status in (("answer", 400), ("because", 404), ("theme", 404)):
        problem(decide(client, "edit", 0, kind=kind, text="Films"), status)


def drafted(
    client: httpx.Client, text: str, who: str | None = None, item_id: str = "i1", **more: Any
) -> httpx.Response:
    headers = bearer(who) if who else {}
    return client.post(f"/v1/items/{item_id}/content/draft", json={"text": text, **more}, headers=headers)


def test_a_draft_is_checked_and_kept_for_each_person_and_shown_to_nobody_until_it_is_published(films: World) -> None:
    settings = msgspec.structs.replace(films.settings, require_keys=True)
    ann, bob = (films.store.keys.create(["content:write", "content:read"], label) for label in ("Ann", "Bob"))
    with films.served(settings=settings) as client:
        template = client.get(CONTENT, headers=bearer(ann)).json()["text"]
        (mine,) = drafted(client, WRONG, ann).raise_for_status().json()["drafts"]
        assert (mine["who"], mine["text"], mine["violations"] != []) == ("Ann", WRONG, True)
        drafted(client, OWN, ann).raise_for_status()
        drafts = drafted(client, "Arrival is a film.", bob).json()["drafts"]
        assert [(one["who"], one["text"]) for one in drafts] == [("Bob", "Arrival is a film."), ("Ann", OWN)]
        for status in ("verified", "approved"):
            asked = client.get(CONTENT, params={"status": status}, headers=bearer(ann)).json()
            assert (asked["text"], asked["origin"]) == (template, "template")
        listed = client.get("/v1/content", params={"status": "draft", "limit": 1}, headers=bearer(ann)).json()
        assert [(one["text"], one["status"], one["version"]) for one in listed["texts"]] == [
            ("Arrival is a film.", "draft", 0)
        ]
        rest = client.get(
            "/v1/content", params={"status": "draft", "after": listed["next"]}, headers=bearer(ann)
        ).json()
        assert [one["text"] for one in rest["texts"]] == [OWN]
        assert client.get("/v1/content", headers=bearer(ann)).json()["texts"] == [], (
            "no draft is a text of the catalogue"
        )
        done = client.post(f"{CONTENT}/edit", json={"version": 0, "text": OWN}, headers=bearer(ann))
        assert done.raise_for_status().json()["version"] == 1
        left = client.get(REVIEW, headers=bearer(ann)).json()["drafts"]
        assert [one["who"] for one in left] == ["Bob"], "published, it is none any more"
        assert drafted(client, "", bob).json()["drafts"] == []
        assert drafted(client, OWN, bob, "i2").is_success
        films.writer.write([event(9_000, ItemRemoved(item="i2"))])
        assert problem(drafted(client, "", bob, "i2"), 404)["code"] == "not_found"
        assert films.store.drafts.count() == 0, "a draft of what is gone is discarded all the same"
        assert problem(drafted(client, OWN), 401)["code"]
        assert problem(drafted(client, OWN, ann, "unheard-of"), 404)["code"] == "not_found"
        assert "choose from" in problem(drafted(client, OWN, ann, kind="limerick"), 400)["detail"]


def test_a_draft_of_a_reason_is_about_both_of_its_items(films: World) -> None:
    with films.served() as client:
        carrier = {"item": "i2", "kind": "view"}
        (mine,) = drafted(client, "You won Arrival", kind="because", carrier=carrier).json()["drafts"]
        assert "won" in [one["claim"] for one in mine["violations"]]
        told = problem(drafted(client, OWN, kind="because", carrier={"item": "nothing", "kind": "view"}), 404)
        assert "'nothing'" in told["detail"]
        assert problem(drafted(client, OWN, kind="because"), 404)["code"] == "not_found"
        (listed,) = client.get("/v1/content", params={"status": "draft"}).json()["texts"]
        key = {name: listed[name] for name in ("kind", "locale", "input_hash")}
        review = client.get(REVIEW, params=key).json()
        assert (review["version"], review["about"]) == (0, {"item": "i2", "event": "view"})
