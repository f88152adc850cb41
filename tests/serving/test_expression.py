"""Filter expressions: what can be said, what it means for a whole catalogue at once, and how a mistake is named."""

from __future__ import annotations

import operator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import InvalidRequest
from core.store.catalogue import Item
from serving.catalogue import LiveCatalogue, View
from serving.columns import KEPT_COLUMNS, KEPT_MASKS, Columns
from serving.expression import Comparison, Expression, Field, Joined, Node, Not, parse
from serving.items import Items
from tests.serving.world import World, item

MAY = datetime(2026, 5, 1, tzinfo=UTC)
SHOES = {"price": 30, "brand": "a", "tags": ["run", "sale"], "on_sale": True, "size": {"eu": 42}, "empty": None}


def stored(name: str, attributes: dict[str, Any], **state: Any) -> Item:
    """An item as Postgres holds it."""
    fields = {
        "title": "", "description": "", "categories": (), "available": True, "hidden": False, "removed": False,
        "published_at": None, "expires_at": None, "locale": "en", "changed_at": MAY, **state,
    }  # fmt: skip
    return Item(item=name, attributes=attributes, **fields)


def view_of(*items: Item | None) -> View:
    """A view of these items, one a row."""
    held = Items(len(items))
    known = {row: one for row, one in enumerate(items) if one is not None}
    held.set(list(known), list(known.values()))
    return view_on(held)


def view_on(items: Items) -> View:
    """A view of them as they are now."""
    n, nothing = len(items), np.zeros(0)
    rows = np.zeros(0, np.int32)
    ids = [f"i{row}" for row in range(n)]
    row_of = {name: row for row, name in enumerate(ids)}
    return View(ids, row_of, items, np.ones(n, bool), rows, nothing, nothing, np.zeros(n), {}, rows)


def holds(text: str, one: Item | None) -> bool:
    return bool(Columns().mask(view_of(one), parse(text))[0])


@pytest.mark.parametrize(
    "text",
    [
        "price == 30", "price < 30.5", "30 >= price", "20 < price <= 30", "-1 < price", "price != 3e5", "price in [1, 30]",
        'brand == "a"', "brand in ['b', 'a']", 'brand not in ["c"]', 'brand < "b"', '"run" in tags', 'tags == "sale"',
        'tags in ["x", "run"]', '"walk" not in tags', 'tags != "walk"', "on_sale", "on_sale == true", "not (on_sale == false)",
        "size.eu == 42", 'attributes["price"] == 30', "empty == null", "missing == null", "price != null",
        'missing == 1 or brand == "a"', 'not missing and not (price < 20 or brand == "z")', "not missing == 1",
        'title == "Shoe \\"X\\""', 'category == "sport"', '"sport" in categories', 'categories != "toys"', 'locale == "de"',
        'published_at >= "2026-05-01"', 'published_at < "2026-05-01T02:00:01+02:00"', "expires_at == null",
        'locale in ["en", "de"]', 'published_at in ["2026-05-01T00:00:00Z"]', 'price == 30 or price == "30" and false == on_sale',
    ],
)  # fmt: skip
def test_what_is_true_of_a_shoe(text: str) -> None:
    shoe = stored("shoe", SHOES, title='Shoe "X"', categories=("sport", "x"), locale="de", published_at=MAY)
    assert holds(text, shoe)
    assert not holds(f"not ({text})", shoe)


@pytest.mark.parametrize(
    "text",
    [
        "missing < 1", "missing > 1", "missing == 1", "missing != 1", 'missing in ["a"]', 'missing not in ["a"]', "missing",
        "brand < 1", "brand != null and brand == 1", "price == true", "on_sale == 1", 'price == "30"', "size == 42",
        "price.eu == 1",         'price > "3"', "price in []", "empty != null", "size.us == 1", 'published_at > "2026-05-01"',
        'expires_at > "2020-01-01"', "brand", "price",
    ],
)  # fmt: skip
def test_what_is_not_true_of_a_shoe(text: str) -> None:
    assert not holds(text, stored("shoe", SHOES, published_at=MAY))


def test_of_an_item_that_the_catalogue_does_not_know_only_what_is_missing_is_true() -> None:
    for text in ("price < 20", 'title == ""', "category != 'a'", "locale != 'en'"):
        assert not holds(text, None)
    assert holds("price == null", None)
    assert holds("not price < 20", None)


@pytest.mark.parametrize(
    ("text", "at", "said"),
    [
        ("", 1, "found the end"), ("price <", 8, "found the end"), ("price = 3", 7, "use =="), ("a b", 3, "`and`, `or`"),
        ("(a == 1", 8, "`)`"), ("a == 1)", 7, "the end"), ('brand == "x', 10, "does not end"), ("1 < 2", 1, "two values"),
        ("a < b", 5, "two attributes"), ("brand in [1", 12, "`,` or `]`"), ("brand in 3", 10, "a list"),
        ("a in [null]", 7, "a list holds"),
        ("a < true", 5, "neither more nor less"), ("null < a", 1, "neither more nor less"),
        ('published_at < "soon"', 16, "a date"),
        ("published_at < 5", 16, "a date"), ("published_at == 99999-01-01", 17, "a date"), ("a; b", 2, "unexpected"),
        ("__import__('os')", 11, "`(`"),
        ("a[0]", 2, "`[`"), ("lambda: 1", 7, "unexpected"), ("a == 1 and", 11, "found the end"), ("not", 4, "found the end"),
        ("a not 3", 7, "`in`"), ('attributes[3] == 1', 12, "a name"), ("and == 1", 1, "`and`"), ('"a" in "b"', 5, "name"),
        ("a == 1 # c", 8, "unexpected"), ("3", 1, "a value on its own"), ("a == \ud800", 6, "unexpected"),
        ("a\0", 2, "unexpected"),
        ("(" * 30 + "a" + ")" * 30, 22, "deeper than 20"), ("not " * 30 + "a", 85, "deeper than 20"),
        (" or ".join(["a"] * 51), 251, "more than 50 comparisons"), (f"a in {list(range(201))}", None, "more than 200 values"),
        ("a" * 2001, None, "2001 characters"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place(text: str, at: int | None, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse(text)
    assert said in str(caught.value)
    if at is not None:
        assert str(caught.value).startswith(f"filter, character {at}:")


@given(st.text(max_size=60) | st.lists(st.sampled_from(
    ["a", "b.c", "and", "or", "not", "in", "(", ")", "[", "]", ",", "<", "==", "1", '"x"', "null", "attributes"]
)).map(" ".join))  # fmt: skip
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    with suppress(InvalidRequest):
        assert parse(text).text == text


NAMES = st.sampled_from(
    [Field(("price",), False), Field(("tag",), False), Field(("a", "b"), False), Field(("locale",), True)]
)
PLAIN = st.sampled_from([3.0, 2.0, True, False, "x", "y", "en"])
COMPARISONS = st.one_of(
    st.builds(
        Comparison, NAMES, st.sampled_from(["==", "!="]), st.lists(PLAIN, max_size=3).map(tuple) | st.just((None,))
    ),
    st.builds(Comparison, NAMES, st.sampled_from(["<", "<=", ">", ">="]), st.sampled_from([(2.0,), ("x",), ("en",)])),
)
NODES: st.SearchStrategy[Node] = st.recursive(
    COMPARISONS,
    lambda part: (
        st.builds(Not, part) | st.builds(Joined, st.lists(part, min_size=1, max_size=3).map(tuple), st.booleans())
    ),
    max_leaves=6,
)
VALUES = st.sampled_from(
    [None, -2, 3, 2.0, True, False, "x", "y", ["x", 3], [], float("nan"), 10**400, {"b": 1}, {"b": ["x", True]}]
)
ITEMS = st.none() | st.builds(
    stored,
    st.just("i"),
    st.dictionaries(st.sampled_from(["price", "tag", "a"]), VALUES),
    locale=st.sampled_from(["en", "x"]),
)


def truth(node: Node, one: Item | None) -> bool:
    """What an expression says of one item, by the definition."""
    if isinstance(node, Not):
        return not truth(node.part, one)
    if isinstance(node, Joined):
        return (all if node.every else any)(truth(part, one) for part in node.parts)
    value: Any = None if one is None else {"locale": one.locale} if node.field.built_in else one.attributes
    for part in node.field.path:
        value = value.get(part) if isinstance(value, dict) else None
    if node.values == (None,):
        return (value is None) == (node.operator == "==")
    if value is None:
        return False
    values = value if isinstance(value, list) else [value]
    compare = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}.get(node.operator, operator.eq)
    found = any(
        kind(left) and kind(left) == kind(right) and compare(left, right) for left in values for right in node.values
    )
    return found != (node.operator == "!=")


def kind(value: Any) -> str:
    """Only values of a kind compare."""
    if isinstance(value, bool | str):
        return type(value).__name__
    return "number" if isinstance(value, int | float) else ""


@settings(max_examples=100)
@given(
    nodes=st.lists(NODES, min_size=1, max_size=4),
    states=st.lists(st.lists(ITEMS, min_size=1, max_size=6), min_size=1, max_size=4),
)
def test_a_column_says_of_every_item_what_the_definition_says_however_the_catalogue_changes(
    nodes: list[Node], states: list[list[Item | None]]
) -> None:
    columns = Columns()
    items = Items()
    for state in states:  # some change, some are new
        items.grow(max(0, len(state) - len(items)))
        changed = {row: one for row, one in enumerate(state) if one is not None}
        items.set(list(changed), list(changed.values()))
        view, known = view_on(items), [items[row] for row in range(len(items))]
        for node in nodes:
            found = columns.mask(view, Expression(repr(node), node))
            assert found.tolist() == [truth(node, one) for one in known]


def test_masks_follow_the_catalogue_and_are_made_once_for_a_view(world: World) -> None:
    catalogue, columns, cheap = LiveCatalogue(world.store), Columns(), parse("price < 20")
    world.change(item(1, attributes={"price": 10}), item(2, attributes={"price": 30}), item(3))
    catalogue.refresh()
    first = columns.mask(catalogue.view, cheap)
    assert [catalogue.view.ids[row] for row in np.flatnonzero(first)] == ["i1"]
    assert columns.mask(catalogue.view, cheap) is first
    catalogue.rows_for(["only a model knows it"])
    assert columns.mask(catalogue.view, cheap).tolist() == [*first.tolist(), False]
    world.change(item(1, attributes={"price": 25}), item(2, attributes={"price": 5}), item(4, attributes={"price": 1}))
    catalogue.refresh()
    assert [catalogue.view.ids[row] for row in np.flatnonzero(columns.mask(catalogue.view, cheap))] == ["i2", "i4"]


def test_an_older_view_still_gets_its_answer() -> None:
    columns = Columns()
    old, new = view_of(stored("a", {"x": 1})), view_of(stored("a", {"x": 1}), stored("b", {"x": 1}))
    assert columns.mask(new, parse("x == 1")).tolist() == [True, True]
    assert columns.mask(old, parse("x == 1")).tolist() == [True]
    assert columns.mask(new, parse("x == 1")).tolist() == [True, True]


def test_what_is_kept_is_bounded_and_values_that_are_gone_are_forgotten() -> None:
    columns, items = Columns(), Items(1)
    for number in range(KEPT_MASKS + KEPT_COLUMNS):
        items.set([0], [stored("a", {f"x{number}": 1})])
        columns.mask(view_on(items), parse(f"x{number} == 1"))
    assert len(columns._masks) == KEPT_MASKS
    assert len(columns._columns) == KEPT_COLUMNS
    columns = Columns()
    for number in range(1200):
        items.set([0], [stored("a", {"stamp": f"at {number}"})])
        assert columns.mask(view_on(items), parse(f'stamp == "at {number}"')).all()
        assert all(len(column.vocabulary) <= 1010 for column in columns._columns.values())
