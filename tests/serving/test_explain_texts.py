"""Stored reasons: said in place of the template's line while they are true, to whoever did what they say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from core.events import Interaction
from serving.explain_texts import FEWEST_LISTS, Shown
from tests.serving.test_bad_input import problem
from tests.serving.test_content_and_jobs import Says
from tests.serving.world import World, eventually, item
from tests.streams import event

OWN = "You looked at Item 12"  # u1 walked on from there


@pytest.fixture
def client(world: World) -> Iterator[httpx.Client]:
    world.fill()
    world.train("transitions")
    with world.served(generator=Says(OWN)) as client:
        yield client


def reasons(client: httpx.Client, user: str = "u1", **params: Any) -> dict[str, dict[str, Any]]:
    """What is said of each item that a user is recommended."""
    answer = client.get(f"/v1/users/{user}/recommendations", params={"exclude_seen": False, **params}).json()
    return {one["item"]: one["reason"] for one in answer["items"]}


def carried_by(found: dict[str, dict[str, Any]], carrier: str) -> str:
    """An item that is there because of `carrier` before all."""
    return next(one for one, reason in found.items() if reason["because"][:1] == [carrier])


def edit(client: httpx.Client, about: str, text: str, version: int = 0, **more: Any) -> httpx.Response:
    body = {"kind": "because", "carrier": {"item": "i12", "kind": "view"}, "version": version, "text": text, **more}
    return client.post(f"/v1/items/{about}/content/edit", json=body)


def test_what_a_person_wrote_for_a_pair_of_items_is_said_to_whoever_it_is_true_of(
    world: World, client: httpx.Client
) -> None:
    before = reasons(client)
    about = carried_by(before, "i12")
    assert "won" in problem(edit(client, about, "You won Item 12"), 400)["detail"], "checked as any text is"
    assert edit(client, about, OWN).raise_for_status().json()["input_hash"]
    eventually(lambda: reasons(client)[about]["text"] == OWN)
    after = reasons(client)
    assert after[about]["because"] == before[about]["because"]
    others = (before.keys() & after.keys()) - {about}  # items of one score may change places as they age together
    assert len(others) > 5
    assert {one: after[one] for one in others} == {one: before[one] for one in others}
    assert reasons(client, locale="de")[about]["text"].startswith("Weil Sie "), "a text is in one language"
    walk = [Interaction(user="new", item="i12", kind="view"), Interaction(user="buyer", item="i12", kind="purchase")]
    world.writer.write([event(70_000 + n, one) for n, one in enumerate(walk)])
    eventually(lambda: about in reasons(client, "new") and about in reasons(client, "buyer"))
    assert reasons(client, "new")[about]["text"] == OWN
    assert reasons(client, "buyer")[about]["text"] == "Because you bought Item 12", "who bought it did not look at it"


def test_a_stored_reason_falls_silent_once_an_item_is_another_and_once_it_is_rejected(
    world: World, client: httpx.Client
) -> None:
    about = carried_by(reasons(client), "i12")
    made = edit(client, about, OWN).json()
    eventually(lambda: reasons(client)[about]["text"] == OWN)
    world.change(item(12, title="Thing"))
    eventually(lambda: reasons(client)[about]["text"].startswith("Because you looked at Thing"))
    key = {"kind": "because", "input_hash": made["input_hash"]}
    review = client.get(f"/v1/items/{about}/content/review", params=key).json()
    assert (review["status"], review["checked"], review["about"]) == ("stale", True, {"item": "i12", "event": "view"})
    assert review["template"] == "Because you looked at Thing"
    edit(client, about, "You looked at Thing", version=1, input_hash=made["input_hash"]).raise_for_status()
    eventually(lambda: reasons(client)[about]["text"] == "You looked at Thing")
    client.post(f"/v1/items/{about}/content/reject", json={**key, "version": 2, "reason": "dull"}).raise_for_status()
    eventually(lambda: reasons(client)[about]["text"].startswith("Because you looked at Thing"))


def test_what_a_model_writes_of_a_pair_is_kept_for_everyone_and_what_is_about_one_caller_is_not(
    client: httpx.Client,
) -> None:
    about = carried_by(reasons(client), "i12")

    def write(*history: str, **more: Any) -> dict[str, Any]:
        body = {"kind": "because", "item": about, "history": [{"item": one, "kind": "view"} for one in history], **more}
        answer: dict[str, Any] = client.post("/v1/content", json=body).json()
        return answer

    assert not write("i12", "i11")["stored"]
    assert not write("i12", style={"tone": "warm"})["stored"]
    answer = write("i12")
    assert (answer["text"], answer["origin"], answer["stored"]) == (OWN, "model", True)
    eventually(lambda: reasons(client)[about]["text"] == OWN)
    assert not write("i11")["stored"], "what it says is not true of that pair, and a template is not kept"


def test_the_reasons_that_lists_show_most_are_asked_of_the_workers_and_name_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.fill()
    world.train("transitions")
    monkeypatch.setattr("serving.service.WISH_EVERY_S", 0.1)
    settings = msgspec.structs.replace(world.settings, content_kinds="because")

    def wanted() -> dict[tuple[str, str, str], str]:
        query = "SELECT item_id, about ->> 'item', about ->> 'event', state, about::text FROM content_requests"
        with world.store.database.begin() as connection:
            return {(row[0], row[1], row[2]): str(row[4]) for row in connection.exec_driver_sql(query)}

    with world.served(settings=settings) as client:
        for limit in range(6, 10):
            about = carried_by(reasons(client, limit=limit), "i12")
        assert wanted() == {}, "four lists are too few"
        for limit in range(10, 16):
            reasons(client, limit=limit)
        eventually(lambda: (about, "i12", "view") in wanted())
        assert all('"u1"' not in told for told in wanted().values())
        edit(client, about, OWN).raise_for_status()
        eventually(lambda: reasons(client)[about]["text"] == OWN)
        with world.store.database.begin() as connection:
            connection.exec_driver_sql("DELETE FROM content_requests")
        for limit in range(16, 30):
            reasons(client, limit=limit)
        eventually(lambda: bool(wanted()))
        assert (about, "i12", "view") not in wanted(), "somebody has written it"


def test_of_too_many_reasons_the_rarest_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.explain_texts.COUNTED_PAIRS", 4)
    shown, pairs = Shown(), [(f"i{n}", "i0", "view", "en") for n in range(5)]
    for _ in range(FEWEST_LISTS):
        shown.count(pairs[:2])
    for _ in range(FEWEST_LISTS):
        shown.count(pairs[2:3])
    shown.count(pairs)
    for _ in range(FEWEST_LISTS):
        shown.count(pairs[4:])
    assert shown.take() == dict.fromkeys(pairs[:3], FEWEST_LISTS + 1), "the fifth found no room"
    assert shown.take() == {}, "counted anew"
    shown = Shown()
    for places in (4, 4, 4, 2):  # none in as many lists as it takes
        shown.count(pairs[:places])
    assert shown.take() == {}
    for _ in range(2):
        shown.count(pairs[:4])
    assert shown.take().keys() == set(pairs[:2]), "the rarer half of what was there was forgotten, a minute later"


def test_a_stored_reason_that_says_a_word_the_house_bans_is_not_said(world: World) -> None:
    world.fill()
    world.train("transitions")
    with world.served() as client:
        about = carried_by(reasons(client), "i12")
        edit(client, about, OWN).raise_for_status()
        eventually(lambda: reasons(client)[about]["text"] == OWN)
    settings = msgspec.structs.replace(world.settings, content_banned="Looked  At, item")
    with world.served(settings=settings) as client:
        refused = problem(edit(client, about, OWN, version=1), 400)
        assert "on the house's list" in refused["detail"]
        assert [one["claim"] for one in refused["errors"]] == ["looked at"], "its name is its name"
        assert reasons(client)[about]["text"].startswith("Because of Item 12")
        assert edit(client, about, OWN, version=1, anyway=True, reason="the editor wants it").is_success
        eventually(lambda: reasons(client)[about]["text"] == OWN)
