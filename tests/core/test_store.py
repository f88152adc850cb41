"""The rest of the store on a real Postgres: the catalogue, histories, texts, models, keys; and what is said when it is away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from itertools import permutations
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from core.errors import (
    ConfigurationError,
    Conflict,
    DatabaseUnavailable,
    InvalidRequest,
    NotFound,
)
from core.events import (
    ItemChanged,
    ItemRemoved,
    UserChanged,
)
from core.settings import Settings
from core.store import Store, open_store
from core.store.contents import Content
from core.store.versions import ModelVersion
from tests.stored import NOW, append, ask, ask_admin, received, view


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with open_store(settings) as one:
        yield one


# The catalogue


def test_the_newest_change_wins_in_any_order(store: Store) -> None:
    changes = [
        received("c1", ItemChanged(item="i1", title="old"), ago_s=30),
        received("c2", ItemRemoved(item="i1"), ago_s=20),
        received("c3", ItemChanged(item="i1", title="tie a"), ago_s=10),
        received("c4", ItemChanged(item="i1", title="tie b"), ago_s=10),
    ]
    titles = set()
    for order in permutations(changes):
        for change in order:
            append(store, change)
        item = store.catalogue.item("i1")
        assert item is not None
        titles.add((item.title, item.removed))
        ask_admin(store, "TRUNCATE items, events, event_keys")
    assert len(titles) == 1
    assert titles.pop()[0] in ("tie a", "tie b")


def test_an_older_change_cannot_bring_a_removed_item_back(store: Store) -> None:
    append(store, received("c1", ItemRemoved(item="i1"), ago_s=10))
    append(store, received("c2", ItemChanged(item="i1", title="older"), ago_s=20))
    item = store.catalogue.item("i1")
    assert item is not None
    assert item.removed
    assert not item.servable(NOW)
    append(store, received("c3", ItemChanged(item="i1", title="newer")))
    item = store.catalogue.item("i1")
    assert item is not None
    assert item.servable(NOW)


def test_an_item_is_servable_only_when_everything_allows_it() -> None:
    store_free = ItemChanged(item="i", published_at=NOW, expires_at=NOW + timedelta(hours=1))
    from core.store.catalogue import Item

    def item(**changes: Any) -> Item:
        values = {
            "item": "i", "title": "", "description": "", "categories": (), "attributes": {}, "available": True, "hidden": False,
            "removed": False, "published_at": store_free.published_at, "expires_at": store_free.expires_at, "locale": "en",
            "changed_at": NOW, **changes,
        }  # fmt: skip
        return Item(**values)

    assert item().servable(NOW)
    for change in (
        {"available": False},
        {"hidden": True},
        {"removed": True},
        {"expires_at": NOW},
        {"published_at": NOW + timedelta(1)},
    ):
        assert not item(**change).servable(NOW), change


def test_the_catalogue_answers_what_serving_asks(store: Store) -> None:
    append(
        store,
        received("c1", ItemChanged(item="a", published_at=NOW - timedelta(days=2))),
        received("c2", ItemChanged(item="b", published_at=NOW - timedelta(days=1), attributes={"n": 1.5})),
        received("c3", UserChanged(user="u1", attributes={"x": [1]})),
        view("e1", item="a"), view("e2", item="a"), view("e3", item="b"),
    )  # fmt: skip
    assert [one.item for one in store.catalogue.latest(5)] == ["b", "a"]
    assert store.catalogue.popular(5) == [("a", 2), ("b", 1)]
    assert store.catalogue.user("u1") == {"x": [1]}
    assert store.catalogue.user("nobody") is None
    assert {one.item for one in store.catalogue.items(["a", "b", "zz"])} == {"a", "b"}
    assert store.catalogue.totals() == {"interaction.view": 3, "items": 2, "items_live": 2}
    horizon = store.events.horizon()
    assert store.catalogue.changed_since(horizon) == []
    append(store, received("c4", ItemChanged(item="a", title="new")))
    assert [one.title for one in store.catalogue.changed_since(horizon)] == ["new"]


# Histories


def test_a_history_is_newest_first_and_knows_everything_seen(store: Store) -> None:
    append(store, *[view(f"e{number}", item=f"i{number}", ago_s=number) for number in range(10)])
    history = store.history.history("u1", 3)
    assert [event.item for event in history.events] == ["i0", "i1", "i2"]
    assert history.seen == {f"i{number}" for number in range(10)}
    assert store.history.history("nobody", 3) == type(history)((), frozenset())
    assert [row["id"] for row in store.history.export("u1")] == [f"e{number}" for number in range(9, -1, -1)]
    append(store, view("z", "u2"))
    assert store.history.recent_users(5) == ["u2", "u1"] or store.history.recent_users(5) == ["u1", "u2"]


# Texts, models, keys


def content(text: str, status: str = "verified", ago_s: float = 0) -> Content:
    return Content(
        "i1", "description", "en", text, status, "model", "m", "h", NOW - timedelta(seconds=ago_s), "p", 1, []
    )


def test_a_machine_never_overwrites_a_person_nor_newer_facts(store: Store) -> None:
    append(store, received("c1", ItemChanged(item="i1"), ago_s=10))
    assert store.contents.save([content("first", ago_s=10)]) == 1
    assert store.contents.save([content("older", ago_s=20)]) == 0
    assert store.contents.save([content("by hand", "edited", ago_s=5)]) == 1
    assert store.contents.save([content("machine")]) == 0
    found = store.contents.content("i1", "description", "en")
    assert found is not None
    assert found[0].text == "by hand"


def test_a_text_is_stale_once_its_item_changed(store: Store) -> None:
    append(store, received("c1", ItemChanged(item="i1"), ago_s=10))
    store.contents.save([content("text", ago_s=10)])
    append(store, received("c2", ItemChanged(item="i1", title="new")))
    found = store.contents.content("i1", "description", "en")
    assert found is not None
    assert found[1]


def test_one_version_of_a_model_is_live(store: Store) -> None:
    def version(number: int) -> ModelVersion:
        return ModelVersion(
            "als", number, "candidate", f"p{number}", NOW, "s", "c", {"k": 1}, {"hr": 0.1}, "", NOW, None
        )

    for number in (1, 2):
        assert store.versions.reserve("als") == number
        store.versions.add(version(number))
        store.versions.promote("als", number, "better")
    with pytest.raises(Conflict):
        store.versions.add(version(2))
    assert store.versions.live()["als"].version == 2
    assert {one.version: one.state for one in store.versions.versions("als")} == {1: "retired", 2: "live"}
    assert store.versions.before_live("als") == 1
    with pytest.raises(NotFound):
        store.versions.promote("als", 9, "")
    with pytest.raises(Conflict):
        store.versions.before_live("ease")


def test_a_key_is_good_until_revoked(store: Store) -> None:
    key = store.keys.create(["recs:read", "events:write"])
    found = store.keys.find(key)
    assert found is not None
    assert found.scopes == {"recs:read", "events:write"}
    assert store.keys.find(key + "x") is None
    assert key not in repr(ask(store, "SELECT * FROM api_keys"))
    store.keys.revoke(key.split("_")[1])
    assert store.keys.find(key) is None
    with pytest.raises(NotFound):
        store.keys.revoke(key.split("_")[1])
    for scopes in ([], ["root"]):
        with pytest.raises(InvalidRequest):
            store.keys.create(scopes)


# Errors


def test_a_missing_postgres_is_unavailable_not_a_stack_trace(settings: Settings) -> None:
    gone = msgspec.structs.replace(settings, database_url="postgresql://nobody:pw-secret@127.0.0.1:1/x")
    with open_store(gone) as store, pytest.raises(DatabaseUnavailable, match=r"127\.0\.0\.1:1/x") as caught:
        store.catalogue.item("i1")
    assert "pw-secret" not in str(caught.value)


def test_a_connection_that_is_cut_is_unavailable_even_in_copy_and_then_replaced(store: Store) -> None:
    def copy_while_cut() -> None:
        with store.database.begin() as connection:
            (pid,) = connection.execute(sa.text("SELECT pg_backend_pid()")).one()
            ask_admin(store, f"SELECT pg_terminate_backend({pid})")
            connection.connection.cursor().copy_expert("COPY events FROM STDIN", BytesIO(b""))

    with pytest.raises(DatabaseUnavailable):
        copy_while_cut()
    assert append(store, view("e1")) == {"interaction": 1}


def test_tables_that_are_missing_ask_for_a_migration(settings: Settings) -> None:
    other = msgspec.structs.replace(settings, namespace="never_migrated")
    with open_store(other) as store:
        for use in (lambda: store.catalogue.item("i1"), lambda: append(store, view("e1"))):
            with pytest.raises(ConfigurationError, match="headwater migrate"):
                use()


def test_a_store_needs_an_address_and_a_secret(settings: Settings) -> None:
    for missing in ({"database_url": None}, {"secret": None}, {"database_url": "mysql://x/y"}, {"database_url": "::"}):
        with pytest.raises(ConfigurationError):
            open_store(msgspec.structs.replace(settings, **missing))
