"""The catalogue in memory is what Postgres says, whatever changed in whatever order, at every moment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.json import encode

from core.events import ItemRemoved
from core.store.catalogue import TXN
from serving.catalogue import LiveCatalogue, _empty, _grown
from tests.serving.world import World, item
from tests.streams import event


def shown(catalogue: LiveCatalogue, moment: datetime | None = None) -> set[str]:
    """Ids of what may be served."""
    view = catalogue.view
    return {view.ids[row] for row in np.flatnonzero(view.servable(moment or datetime.now(UTC)))}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_refreshing_step_by_step_ends_where_reading_everything_does(world: World, data: st.DataObject) -> None:
    catalogue = LiveCatalogue(world.store)
    moments = [None, *(datetime.now(UTC) + timedelta(days=days) for days in (-1, 1, 2))]
    for _ in range(data.draw(st.integers(1, 4))):
        for number in data.draw(st.lists(st.integers(0, 6), max_size=6)):
            world.number += 1
            categories = tuple(sorted(data.draw(st.sets(st.sampled_from("abc")))))
            times = {
                "published_at": data.draw(st.sampled_from(moments)),
                "expires_at": data.draw(st.sampled_from(moments)),
            }
            changed = item(number, categories=categories, hidden=data.draw(st.booleans()), **times)
            body = data.draw(st.sampled_from([changed, changed, ItemRemoved(item=f"i{number}")]))
            world.writer.write([event(world.number, body, source="/catalogue")])
        catalogue.refresh()
    fresh = LiveCatalogue(world.store)
    fresh.refresh()
    stored = {one.item: one for one in world.store.catalogue.items([f"i{n}" for n in range(7)])}
    for hours in (0, 25, 49, 1):
        moment = datetime.now(UTC) + timedelta(hours=hours)
        expected = {name for name, one in stored.items() if one.servable(moment)}
        assert shown(catalogue, moment) == shown(fresh, moment) == expected
    for one in (catalogue, fresh):
        view = one.view
        members = {name: {view.ids[row] for row in rows} for name, rows in view.categories.items()}
        expected = {name: {i for i, state in stored.items() if name in state.categories} for name in "abc"}
        assert members == {name: found for name, found in expected.items() if found}
        newest = [view.ids[row] for row in view.newest]
        assert set(newest) == {name for name, state in stored.items() if not state.removed}


def test_what_python_takes_for_equal_is_a_change_all_the_same(world: World) -> None:
    catalogue = LiveCatalogue(world.store)
    world.change(item(1, attributes={"on_sale": 1}))
    for value in ("true", "1", "1.5", "false", "0", '{"a": [0]}', '{"a": [false]}'):
        with world.store.database.begin() as connection:  # all else stays as it is, the time of the change too
            changed = f"UPDATE items SET attributes = CAST(:attributes AS jsonb), txn = {TXN} WHERE item_id = 'i1'"
            connection.execute(sa.text(changed), {"attributes": f'{{"on_sale": {value}}}'})
        catalogue.refresh()
        known = catalogue.view.items[catalogue.view.row("i1")]
        assert known is not None
        assert encode(known.attributes["on_sale"]).decode() == value.replace(" ", "")


texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["\\", "\\n", "a\tb\nc\r", '"\\"', "\\\\.", "\u2028 é 🏕"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(-1e9, 1e9) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)


@settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.reuse, Phase.generate],  # every try writes: shrinking takes minutes
)  # fmt: skip
@given(
    title=texts,
    categories=st.lists(texts.filter(bool), max_size=3, unique=True),
    attributes=st.dictionaries(texts, values),
)
def test_what_is_read_in_bulk_is_what_is_stored(
    world: World, title: str, categories: list[str], attributes: dict[str, Any]
) -> None:
    times = {
        "published_at": datetime(1969, 7, 20, 20, 17, 40, 1, UTC),
        "expires_at": datetime(9999, 12, 31, tzinfo=UTC),
    }
    world.change(item(1, title=title, categories=tuple(categories), attributes=attributes), item(2, **times))
    assert sorted(world.store.catalogue.changed_since(0), key=lambda one: one.item) == world.store.catalogue.items(
        ["i1", "i2"]
    )


def test_a_view_in_use_does_not_change_under_its_reader(world: World) -> None:
    catalogue = LiveCatalogue(world.store)
    world.change(item(1), item(2))
    catalogue.refresh()
    before = catalogue.view
    world.change(item(1, hidden=True), item(3))
    catalogue.refresh()
    assert len(before) == 2
    assert before.row("i3") == -1
    assert before.servable(datetime.now(UTC)).all()
    assert shown(catalogue) == {"i2", "i3"}


def test_items_that_only_a_model_knows_may_be_served_until_the_catalogue_objects(world: World) -> None:
    catalogue = LiveCatalogue(world.store)
    rows = catalogue.rows_for(["i1", "i2", "elsewhere"])
    assert rows.tolist() == [0, 1, 2]
    assert shown(catalogue) == {"i1", "i2", "elsewhere"}
    world.change(item(2, available=False))
    catalogue.refresh()
    assert shown(catalogue) == {"i1", "elsewhere"}
    assert catalogue.rows_for(["elsewhere", "i2"]).tolist() == [2, 1]  # a row is for life
    assert catalogue.view.title(2) == "elsewhere"
    assert catalogue.view.newest.tolist() == [1]


def test_counts_order_what_no_model_has_seen(full_world: World) -> None:
    catalogue = LiveCatalogue(full_world.store)
    catalogue.refresh_counts()
    best = catalogue.view.ids[catalogue.view.counted[0]]
    assert best == full_world.store.catalogue.popular(1)[0][0]


def test_a_row_that_can_be_found_is_the_items_for_life() -> None:
    found: list[dict[str, int]] = []  # by who reads meanwhile

    class Read(dict[str, int]):
        def update(self, *more: Any) -> None:
            found.append(dict(self))
            super().update(*more)

    view = replace(_empty(), row_of=Read())
    for part in (["a", "b"], ["x", "a", "y", "b", "y", "z"], ["z"], ["q", "z", "q"]):
        view, rows = _grown(view, part)
        assert [view.ids[row] for row in rows] == part
    assert len(found) == 3
    assert all(one.items() <= view.row_of.items() for one in found)
