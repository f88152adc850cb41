"""The house's own list: no kind says a word of it, by a model or by the template, and an item keeps its name."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.content import CONTENT_KINDS
from models.content.banned import banned, list_hash, objections, said
from models.content.kind import ItemFacts, Style
from models.content.writer import write
from tests.models.content.test_limits import CASES, IDS, LAMP, text_of
from tests.models.content.test_writer import Scripted


def test_a_word_is_found_whole_in_any_case_and_says_where_and_why() -> None:
    (one,) = banned("A Best\u00a0Price lamp, bestpriced.", LAMP, ("best price",))
    assert (one.span, one.rule) == ((2, 12), "banned")
    assert "HEADWATER_CONTENT_BANNED" in one.reason
    assert banned("A cheaper, cheapish lamp.", LAMP, ("cheap",)) == []
    assert [one.claim for one in banned("Cheap. Cheap!", LAMP, ("cheap", "c++"))] == ["Cheap", "Cheap"]
    assert len(banned("Teach yourself C++.", None, ("c++",))) == 1


def test_an_item_is_called_by_its_name_all_the_same() -> None:
    thrills = ItemFacts.of("c", "Cheap Thrills (2013)", ["Comedy"], {"type": "film"})
    assert banned("Cheap Thrills (2013) is a comedy film.", thrills, ("cheap",)) == []
    assert [one.span for one in banned("Cheap Thrills is a cheap comedy.", thrills, ("cheap",))] == [(19, 24)]


@pytest.mark.parametrize(("kind", "facts", "locale"), CASES, ids=IDS)
def test_neither_a_model_nor_a_template_says_what_the_house_bans(kind: str, facts: Any, locale: str) -> None:
    text = text_of(kind, facts, locale)
    kind_asked = CONTENT_KINDS[kind]
    plain = Style(locale)
    (written,) = write(kind_asked, [facts], None, plain)
    words = tuple(word.strip('.,:()"').lower() for word in text.split() if word.strip('.,:()"').isalpha())
    style = replace(plain, banned=words)
    if kind == "label":
        assert objections(kind_asked, text, facts, style) == [], "a label is told the house alone"
        return
    found = objections(kind_asked, text, facts, style)
    assert {one.rule for one in found} <= {"banned"}
    (now,) = write(kind_asked, [facts], None, style)
    assert now.text == ("" if found else written.text)
    assert (now.status, now.banned_hash) == ("rejected" if found else "verified", list_hash(words))


def test_a_model_that_says_one_is_asked_again_with_the_word_named() -> None:
    style = Style("en", banned=("white",))
    kind = CONTENT_KINDS["description"]
    says = ("Copper Lamp is a white lights product.", "Copper Lamp is a lights product.")
    model = Scripted(lambda name, time: says[time - 1])
    (written,) = write(kind, [LAMP], model, style)
    assert (written.text, written.origin, written.attempts) == (says[1], "model", 2)
    assert "banned" in [one.rule for one in written.violations]
    assert '"white"' in model.calls[1][0][0].messages[0].content


ASCII = st.characters(max_codepoint=127)  # a letter beyond may be another one in another case


@given(st.lists(st.text(ASCII, min_size=1, max_size=12), max_size=5), st.text(ASCII, max_size=60))
def test_no_list_is_a_pattern_and_what_is_found_stands_in_the_text(words: list[str], text: str) -> None:
    asked = tuple(" ".join(word.split()) for word in words if word.strip())
    for one in said(text, (), asked):
        assert " ".join(one.group().split()).lower() in {word.lower() for word in asked}
