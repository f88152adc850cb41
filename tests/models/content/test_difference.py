"""Parts for a page to draw: nothing of a text is lost or made up, whatever the texts and spans are."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from models.content.difference import MAX_WORDS, marked, words_changed
from models.content.kind import Violation

TEXTS = st.text(max_size=80) | st.lists(st.sampled_from(["a", "film", "from", " ", ".", "1995"]), max_size=30).map(
    "".join
)
SPANS = st.lists(st.tuples(st.integers(-5, 90), st.integers(-5, 90)), max_size=5)


@given(TEXTS, TEXTS)
def test_the_parts_of_a_comparison_are_both_texts(before: str, after: str) -> None:
    parts = words_changed(before, after)
    assert "".join(text for what, text in parts if what != "new") == before
    assert "".join(text for what, text in parts if what != "gone") == after
    assert all(text for _, text in parts)


def test_a_comparison_is_by_words() -> None:
    assert words_changed("A film from 1995.", "A comedy from 1995!") == [
        ("same", "A "), ("gone", "film"), ("new", "comedy"), ("same", " from 1995"), ("gone", "."), ("new", "!"),
    ]  # fmt: skip
    assert words_changed("same", "same") == [("same", "same")]


def test_very_long_texts_are_compared_whole() -> None:
    long = "a " * MAX_WORDS
    assert words_changed(long, long + "b") == [("gone", long), ("new", long + "b")]


@given(TEXTS, SPANS)
def test_the_parts_of_a_marked_text_are_the_text(text: str, spans: list[tuple[int, int]]) -> None:
    found = [Violation(span, "claim", "reason", "rule") for span in spans]
    assert "".join(part for part, _ in marked(text, found)) == text


def test_each_part_has_the_violations_that_hold_it() -> None:
    one, two = Violation((2, 8), "b c", "r", "x"), Violation((5, 11), "c d", "r", "y")
    assert marked("a bcd efg hi", [one, two]) == [
        ("a ", []), ("bcd", [one]), (" ef", [one, two]), ("g h", [two]), ("i", []),
    ]  # fmt: skip
