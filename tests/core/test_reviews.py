"""Texts are approved, edited and rejected by people; every change is kept with who and when."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from core.errors import HeadwaterError, InvalidRequest, NotFound, TextChanged
from core.events import ItemChanged
from core.requests import TextKey
from core.settings import Settings
from core.store import Store, open_store
from core.store.content_requests import Settlement
from core.store.contents import Content
from core.store.reviews import Action, Decision
from tests.streams import EPOCH, Writer, event

WRITTEN = Content("i1", "description", "en", "A film.", "verified", "model", "m1", "h", EPOCH, "p", 1, [])
KEY = ("i1", "description", "en")


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with open_store(settings) as one:
        Writer(one).write([event(0, ItemChanged(item="i1", title="Toy Story"), minutes=0)])
        one.contents.save([WRITTEN])
        yield one


def decide(store: Store, action: Action, who: str = "ann", version: int = 1, **more: Any) -> Content:
    return store.reviews.decide(*KEY, Decision(action, who, version, **more))


def test_an_approved_text_is_not_overwritten_by_a_machine(store: Store) -> None:
    decide(store, "approve")
    assert store.contents.save([replace(WRITTEN, text="A fine film.", facts_at=EPOCH + timedelta(days=1))]) == 0
    (found,) = store.reviews.texts(status="approved")
    assert (found.content.text, found.title, found.outdated) == ("A film.", "Toy Story", False)


def test_a_rejected_text_may_be_written_again_but_not_in_the_same_words(store: Store) -> None:
    decide(store, "reject", note="dull")
    assert store.contents.save([WRITTEN]) == 1
    assert store.reviews.counts() == {"rejected": 1}, "a person's no outlives a model that says the same again"
    assert store.contents.save([replace(WRITTEN, text="An animation film.")]) == 1
    assert store.reviews.counts() == {"verified": 1}
    decide(store, "reject", version=3)
    assert store.contents.save([WRITTEN]) == 1
    assert store.reviews.counts() == {"rejected": 1}, "however many texts were rejected since"


def test_a_person_may_take_a_no_back(store: Store) -> None:
    decide(store, "reject")
    decide(store, "approve", version=2)
    assert store.reviews.counts() == {"approved": 1}


def test_an_edited_text_is_a_persons(store: Store) -> None:
    edited = decide(store, "edit", text=" A film about toys. ")
    assert (edited.text, edited.status, edited.origin, edited.model) == ("A film about toys.", "edited", "person", "")
    found = store.contents.content(*KEY)
    assert found is not None
    assert found[0] == edited


def test_a_decision_keeps_the_facts_it_was_taken_on(store: Store) -> None:
    later = EPOCH + timedelta(minutes=5)
    decide(store, "approve", facts_hash="new", facts_at=later)
    content, outdated = store.contents.content(*KEY)  # type: ignore[misc]
    assert (content.facts_hash, content.facts_at, outdated) == ("new", later, False)


def test_every_change_is_kept_with_who_and_when_newest_first(store: Store) -> None:
    before = datetime.now(UTC) - timedelta(minutes=1)
    wrong = [{"claim": "about", "reason": "is in no fact"}]
    decide(store, "edit", text="A film about toys.", note="it is", overruled=wrong)
    decide(store, "reject", "bob", 2, note="says too little")
    again = replace(WRITTEN, text="An animation film.", model="m2")
    store.contents.save([again], who="headwater worker 2")
    store.contents.save([again], who="headwater worker 2")  # nothing new: no line
    found = store.reviews.history(*KEY)
    assert [(one.who, one.action, one.version, one.status_before, one.status, one.model) for one in found] == [
        ("headwater worker 2", "write", 4, "rejected", "verified", "m2"), ("bob", "reject", 3, "edited", "rejected", ""),
        ("ann", "edit", 2, "verified", "edited", ""), ("headwater", "write", 1, None, "verified", "m1"),
    ]  # fmt: skip
    assert [(one.text_before, one.text) for one in found] == [
        ("A film about toys.", "An animation film."), ("A film about toys.", "A film about toys."),
        ("A film.", "A film about toys."), (None, "A film."),
    ]  # fmt: skip
    assert (found[1].reason, found[2].overruled) == ("says too little", wrong)
    assert all(before < one.at <= datetime.now(UTC) + timedelta(minutes=1) for one in found)
    assert store.reviews.history(*KEY, limit=2) == found[:2]
    assert store.reviews.history(*KEY, before=3) == found[2:]


def test_a_decision_on_what_has_changed_meanwhile_is_refused_and_told_what_changed(store: Store) -> None:
    store.contents.save([replace(WRITTEN, text="Another text.")], who="headwater worker 2")
    with pytest.raises(TextChanged, match="headwater worker 2 wrote it last: read it again") as refused:
        decide(store, "approve")
    (change,) = refused.value.errors
    assert (change["version"], change["text"], change["who"]) == (2, "Another text.", "headwater worker 2")
    assert store.reviews.counts() == {"verified": 1}


def test_of_two_who_decide_at_once_one_is_told_of_the_other(store: Store) -> None:
    outcomes: list[str] = []

    def attempt(who: str) -> None:
        try:
            outcomes.append(decide(store, "edit", who, text=f"By {who}.").text)
        except HeadwaterError as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=attempt, args=(f"p{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes)[1:] == ["text_changed"] * 5
    assert [one.version for one in store.reviews.history(*KEY)] == [2, 1]


def test_of_machines_that_write_a_text_at_once_one_is_the_first(store: Store) -> None:
    texts = [replace(WRITTEN, kind="headline", text=f"Text {n}") for n in range(6)]
    threads = [threading.Thread(target=store.contents.save, args=([text],)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.reviews.history("i1", "headline", "en")
    assert [one.version for one in found] == [6, 5, 4, 3, 2, 1]
    assert [one.text_before for one in found] == [*(one.text for one in found[1:]), None]


def test_nothing_cannot_be_approved_and_what_is_not_there_not_decided_on(store: Store) -> None:
    store.contents.save([replace(WRITTEN, text="", status="rejected")])
    with pytest.raises(InvalidRequest, match="nothing to approve"):
        decide(store, "approve", version=2)
    with pytest.raises(InvalidRequest, match="nothing to approve"):
        decide(store, "edit", version=2, text="  ")
    with pytest.raises(NotFound, match="headline"):
        store.reviews.decide("i1", "headline", "en", Decision("approve", "ann", 1))


def test_texts_about_more_than_the_item_are_kept_apart(store: Store) -> None:
    questions = [replace(WRITTEN, kind="answer", text=f"Answer {n}", input_hash=f"q{n}") for n in range(2)]
    assert store.contents.save(questions) == 2
    store.reviews.decide("i1", "answer", "en", Decision("approve", "ann", 1), "q1")
    for number, status in enumerate(("verified", "approved")):
        found = store.contents.content("i1", "answer", "en", f"q{number}")
        assert found is not None
        assert (found[0].text, found[0].status) == (f"Answer {number}", status)
    assert store.contents.content("i1", "answer", "en") is None
    assert [one.who for one in store.reviews.history("i1", "answer", "en", "q1")] == ["ann", "headwater"]


def test_lists_are_by_status_kind_locale_age_and_words_and_can_be_continued(store: Store) -> None:
    store.contents.save([replace(WRITTEN, kind="headline"), replace(WRITTEN, locale="de", text="Ein Film.")])
    Writer(store).write([event(1, ItemChanged(item="i1", title="Toy Story 2, 100% fun"), minutes=1)])
    true = [(TextKey("i1", "headline", "en"), EPOCH + timedelta(minutes=1))]
    store.content_requests.settle(Settlement(true=true))
    assert [one.content.kind for one in store.reviews.texts(outdated=False)] == ["headline"]
    assert [one.content.locale for one in store.reviews.texts(outdated=True, locale="de")] == ["de"]
    assert store.reviews.texts(status="approved") == []
    whole = store.reviews.texts()
    assert {one.content.kind + one.content.locale for one in whole} == {"descriptionen", "headlineen", "descriptionde"}
    assert whole[0] == store.reviews.texts(limit=1)[0]
    assert whole[1:] == store.reviews.texts(after=whole[0].place)
    assert whole[2:] == store.reviews.texts(after=whole[1].place)
    assert store.reviews.texts(search="TOY story") == store.reviews.texts(search="i1") == whole
    assert store.reviews.texts(search="100%") == whole
    assert store.reviews.texts(search="t%y") == []
