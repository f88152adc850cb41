"""Items that stay lines of JSON until someone asks are the very items that were stored, whatever changes beside them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from core.store.catalogue import Item
from serving import items as held
from serving.items import Facts, Items, Lines

MOMENT = st.datetimes(datetime(1960, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
MOMENTS = st.none() | MOMENT
WORDS = st.sampled_from(["", "a", "b", 'say "\\n"', "line\nbreak", "\u2028 é 🏕"])


def item(name: str) -> st.SearchStrategy[Item]:
    """An item of this id."""
    return st.builds(
        Item, item=st.just(name), available=st.booleans(), hidden=st.booleans(), removed=st.booleans(),
        published_at=MOMENTS, expires_at=MOMENTS, changed_at=MOMENT,
        categories=st.lists(WORDS, max_size=3, unique=True).map(tuple), title=WORDS, description=WORDS,
        attributes=st.dictionaries(WORDS, st.none() | st.integers(-5, 5) | WORDS, max_size=2), locale=st.just("en"),
    )  # fmt: skip


CATALOGUES = st.integers(0, 12).flatmap(lambda n: st.tuples(*(item(f"i{number}") for number in range(n))))


def read(items: tuple[Item, ...], at_once: int) -> Lines:
    """The items as they come from Postgres, some at a time."""
    lines = Lines()
    for at in range(0, len(items), at_once):
        lines.take(msgspec.json.Encoder().encode_lines(items[at : at + at_once]))
    return lines


@settings(max_examples=40, phases=[Phase.reuse, Phase.generate])
@given(stored=CATALOGUES, at_once=st.integers(1, 5), data=st.data())
def test_lines_and_changes_are_the_items_that_were_stored(
    stored: tuple[Item, ...], at_once: int, data: st.DataObject
) -> None:
    n = len(stored) + 3  # some rows are known to models only
    rows = data.draw(st.permutations(range(n)))[: len(stored)]
    expected: list[Item | None] = [None] * n
    items = Items(n)
    items.fill(np.array(rows, np.int32), read(stored, at_once))
    for row, one in zip(rows, stored, strict=True):
        expected[row] = one
    for _ in range(data.draw(st.integers(0, 3))):
        if data.draw(st.booleans()):
            items.grow(2)
            expected += [None] * 2
        before, _ = items.changes, [items[row] for row in range(len(items))]  # what was asked for is kept
        changed = {row: data.draw(item(f"i{row}")) for row in data.draw(st.sets(st.integers(0, n - 1), max_size=4))}
        items.set(list(changed), list(changed.values()))
        for row, one in changed.items():
            expected[row] = one
        assert items.changed_since(before).tolist() == sorted(changed)
    asked = data.draw(st.lists(st.integers(0, len(expected) - 1), max_size=20))
    assert [items[row] for row in asked] == [expected[row] for row in asked]
    assert all(items[row] is items[row] for row in asked)
    assert len(items) == len(expected)
    every = list(items.every())
    assert dict(every) == {row: one for row, one in enumerate(expected) if one is not None}
    assert len(every) == len(dict(every))
    again = msgspec.json.Decoder(Item).decode_lines(b"".join(items.written().parts))
    assert sorted(again, key=repr) == sorted((one for one in expected if one is not None), key=repr)


@settings(max_examples=40, phases=[Phase.reuse, Phase.generate])
@given(stored=CATALOGUES, at_once=st.integers(1, 5))
def test_what_is_read_of_lines_is_what_the_items_say(stored: tuple[Item, ...], at_once: int) -> None:
    lines = read(stored, at_once)
    assert lines.ids == [one.item for one in stored]
    for facts in (lines.facts, Facts.of(stored)):
        assert facts.shown.tolist() == [one.available and not one.hidden and not one.removed for one in stored]
        seconds = [(one.published_at or one.changed_at).timestamp() for one in stored]
        assert facts.fresh_s.tolist() == [
            -np.inf if one.removed else second for one, second in zip(stored, seconds, strict=True)
        ]
        for found, otherwise, name in ((facts.from_s, -np.inf, "published_at"), (facts.until_s, np.inf, "expires_at")):
            moments = [getattr(one, name) for one in stored]
            assert found.tolist() == [moment.timestamp() if moment else otherwise for moment in moments]
    rows = np.arange(len(stored), dtype=np.int32)[::-1]
    members = {name: found.tolist() for name, found in lines.categories(rows).items()}
    assert members == {
        name: sorted(rows[at] for at, one in enumerate(stored) if name in one.categories)
        for name in {category for one in stored for category in one.categories}
    }


def test_what_is_kept_of_lines_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "KEPT_ITEMS", 2)
    now = datetime.now(UTC)
    stored = tuple(
        Item(f"i{n}", True, False, False, None, None, now + timedelta(n), (), "", "", {}, "en") for n in range(5)
    )
    items = Items(5)
    items.fill(np.arange(5, dtype=np.int32), read(stored, 2))
    assert [items[row] for row in range(5)] == list(stored)
    assert len(items._kept) <= 2


def test_lines_that_are_no_items_are_refused() -> None:
    for part in (b"{}\n", b'["i1", true]\n', b"\n", b"not json\n"):
        with pytest.raises(ValueError, match=r"Expected|Invalid|JSON|hold"):
            Lines().take(part)
