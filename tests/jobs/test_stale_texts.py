"""Texts fall stale with what they were made of, by what and for whom, and are written anew once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest

from core.requests import TextRequest
from core.settings import Settings, Tone
from core.store import open_store
from core.store.content_requests import Settlement
from core.store.reviews import Decision
from jobs.context import JobContext, job_context
from jobs.generate import TextWriter, generate
from models.content.about import FromStore, stands
from tests.streams import Writer
from tests.texts import Parrot, Scribe, changes, film, text_model, text_of


@pytest.fixture
def context(settings: Settings) -> Iterator[JobContext]:
    with open_store(settings) as store:
        yield job_context(settings, store)


def styled(context: JobContext, tone: Tone) -> JobContext:
    """The same namespace in another style: its prompts are others."""
    return job_context(msgspec.structs.replace(context.settings, content_tone=tone), context.store)


def stale(context: JobContext, scribe: Scribe | None, rest_s: float = 0.0) -> list[tuple[str, str]]:
    """What is wanted of the texts that there are: item and why."""
    wanted = TextWriter(context, text_model(scribe) if scribe else None, None).wanted([], rest_s=rest_s)
    return [(one.item, one.why) for one in context.store.content_requests.wanting(wanted, 10)]


def test_a_text_is_stale_once_its_item_changed_and_written_anew(context: JobContext) -> None:
    writer = Writer(context.store)
    writer.write([film(1, "a", "Clueless")])
    generate("description", 10, None, context)
    writer.write([film(2, "a", "Clueless", 1996), film(3, "b", "Fargo")])
    assert text_of(context, "a")[2], "stale as soon as the event is in"
    assert generate("description", 10, None, context, only_stale=True) == {"template verified": 1}
    text, _, stale = text_of(context, "a")
    assert "1996" in text
    assert not stale
    assert context.store.contents.content("b", "description", "en") is None, "it was missing, not stale"


def test_a_change_that_leaves_the_facts_alone_costs_no_text(context: JobContext) -> None:
    writer, scribe = Writer(context.store), Scribe()
    writer.write([film(1, "a", "Clueless")])
    generate("description", 10, text_model(scribe), context)
    writer.write([film(2, "a", "Clueless")])
    assert generate("description", 10, text_model(scribe), context) == {"unchanged": 1}
    assert scribe.asked == 1
    assert not text_of(context, "a")[2]


def test_another_style_or_prompt_makes_a_text_stale_and_it_is_written_anew_once(context: JobContext) -> None:
    Writer(context.store).write([film(1, "a", "Clueless")])
    scribe, warm = Scribe(), styled(context, "warm")
    generate("description", 10, text_model(scribe), context)
    assert stale(context, scribe) == []
    assert stale(warm, scribe) == [("a", "prompt")]
    assert generate("description", 10, text_model(scribe), warm, only_stale=True) == {"model verified": 1}
    assert scribe.asked == 2
    assert stale(warm, scribe) == []
    assert generate("description", 10, text_model(scribe), warm) == {}
    generate("description", 10, None, context)
    assert stale(warm, None) == [("a", "prompt")], "a template's text has a style as well"


def test_another_model_makes_a_text_stale_and_is_asked_once_also_where_it_fails(context: JobContext) -> None:
    Writer(context.store).write([film(1, "a", "Clueless"), film(2, "b", "Fargo")])
    generate("description", 1, text_model(Scribe()), context)
    better, parrot = Scribe("scribe@2"), Parrot("It won seven Oscars.")
    assert stale(context, better) == [("b", "model")]
    assert generate("description", 10, text_model(better), context, only_stale=True) == {"model verified": 1}
    generate("description", 10, text_model(better), context)
    assert [one for one, _ in stale(context, parrot)] == ["b", "a"]
    assert generate("description", 10, text_model(parrot), context) == {"template verified": 2}
    asked = parrot.asked
    assert text_of(context, "a")[1] == text_of(context, "b")[1] == "model", (
        "what another wrote is still true, and stays"
    )
    assert generate("description", 10, text_model(parrot), context) == {}
    writer = TextWriter(context, text_model(parrot), None)
    requests = [TextRequest(item="a", kind="description", locale="en", why="asked", facts_at=datetime.now(UTC))]
    assert not writer.write(requests).texts, "nor when somebody asks for it"
    assert parrot.asked == asked


def test_a_true_text_of_an_older_prompt_stays_while_the_model_is_away(
    context: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.text_model.REST_S", 0.0)
    writer, scribe, warm = Writer(context.store), Scribe(), styled(context, "warm")
    writer.write([film(1, "a", "Clueless")])
    generate("description", 10, text_model(scribe), context)
    scribe.away = True
    assert generate("description", 10, text_model(scribe), warm) == {"unchanged": 1}
    assert text_of(context, "a")[:2] == ("Clueless is a comedy film from 1995.", "model")
    writer.write([film(2, "a", "Clueless", 1996)])
    assert generate("description", 10, text_model(scribe), warm) == {"template verified": 1}, (
        "what is not true any more goes"
    )
    scribe.away = False
    assert generate("description", 10, text_model(scribe), warm) == {"model verified": 1}


def test_workers_that_are_configured_differently_do_not_take_turns_with_a_text(context: JobContext) -> None:
    Writer(context.store).write([film(1, "a", "Clueless")])
    one, other, warm = Scribe("one@1"), Parrot("It won seven Oscars."), styled(context, "warm")
    generate("description", 10, text_model(one), context)
    assert stale(warm, other) == [("a", "prompt")]
    assert stale(warm, other, rest_s=600) == [], "it was written a moment ago"
    generate("description", 10, None, warm, only_stale=True)
    generate("description", 10, text_model(one), warm)
    assert stale(warm, Scribe("three@1")) == [("a", "model")]
    assert stale(warm, Scribe("three@1"), rest_s=600) == []
    with context.store.database.begin() as connection:
        connection.exec_driver_sql("UPDATE contents SET written_at = now() - interval '11 minutes'")
        connection.exec_driver_sql("UPDATE content_tries SET tried_at = now() - interval '11 minutes'")
    assert stale(context, one, rest_s=600) == [("a", "prompt")], "but it is not forgotten"


def test_a_translation_follows_the_text_that_it_translates(context: JobContext) -> None:
    Writer(context.store).write([film(1, "a", "Clueless")])
    generate("description", 10, text_model(Scribe()), context)
    generate("translation_description", 10, None, context, locale="de")
    around = FromStore(context.store)

    def stand() -> bool:
        (item,) = context.store.catalogue.items(["a"])
        found = context.store.contents.content("a", "translation_description", "de")
        assert found is not None
        return stands(*found, item, around)

    assert stand()
    context.store.reviews.decide("a", "description", "en", Decision("edit", "ann", 1, "Clueless is a 1995 film."))
    assert not stand(), "what it translates is not said any more"
    german = TextWriter(context, None, None).wanted([], kind="translation_description", locale="de")
    assert [one.why for one in context.store.content_requests.wanting(german, 10)] == ["changed"]
    assert generate("translation_description", 10, None, context, locale="de") == {"template verified": 1}
    assert stand()
    assert context.store.content_requests.wanting(german, 10) == []


class Reasoner(Scribe):
    """Says "You looked at Heat" of whatever somebody looked at."""

    def _sentence(self, note: str) -> str:
        return f"You looked at {note.split(' | ')[2]}" if "| view |" in note else super()._sentence(note)


def test_a_reason_is_written_by_a_model_or_not_at_all_and_the_same_is_never_asked_twice(context: JobContext) -> None:
    events, requests = Writer(context.store), context.store.content_requests
    events.write([film(1, "a", "Clueless"), film(2, "b", "Heat"), film(3, "c", "Fargo")])
    context = job_context(msgspec.structs.replace(context.settings, content_kinds="because"), context.store)
    assert context.settings.wanted_texts == []

    def write(scribe: Scribe | None) -> Settlement:
        writer, sent = TextWriter(context, None if scribe is None else text_model(scribe), None), list[TextRequest]()
        requests.publish(99, "t", sent.extend)
        requests.settle(came := writer.write(sent))
        return came

    requests.wish({("a", "b", "view", "en"): 9, ("c", "b", "view", "en"): 9}, most=99)
    assert write(None).texts == [], "the template's line is made when it is asked for"
    assert requests.counts().states["waiting"] == 0
    with context.store.database.begin() as connection:
        connection.exec_driver_sql("UPDATE content_tries SET tried_at = now() - interval '2 days'")
    requests.wish({("a", "b", "view", "en"): 9}, most=99)
    (text,) = write(scribe := Reasoner()).texts
    assert (text.text, text.origin, text.about) == ("You looked at Heat", "model", {"item": "b", "event": "view"})
    wanted = TextWriter(context, text_model(scribe), None).wanted([])
    assert requests.wanting(wanted, 9) == []
    events.write([film(4, "b", "Ronin")])
    (stale,) = requests.wanting(wanted, 9)
    assert (stale.item, stale.why, stale.key) == ("a", "changed", text.key), "the item that it names has changed"
    requests.request([stale])
    assert [one.text for one in write(scribe).texts] == ["You looked at Ronin"]
    asked = scribe.asked
    lying = Parrot("You won Heat")
    with context.store.database.begin() as connection:
        connection.exec_driver_sql("UPDATE content_tries SET tried_at = now() - interval '2 days'")
    for _ in range(2):
        requests.wish({("c", "b", "view", "en"): 9}, most=99)
        assert write(lying).texts == []
        with context.store.database.begin() as connection:
            connection.exec_driver_sql("UPDATE content_tries SET tried_at = now() - interval '2 days'")
    assert (lying.asked, scribe.asked) == (3, asked), "three tries, once"


def test_a_stored_reason_that_became_untrue_is_asked_for_once_and_again_where_what_is_asked_is_new(
    context: JobContext,
) -> None:
    events, requests = Writer(context.store), context.store.content_requests
    events.write([film(1, "a", "Clueless"), film(2, "b", "Heat")])
    settings = msgspec.structs.replace(context.settings, content_kinds="because")

    def sweep(scribe: Scribe | None, banned: str = "") -> None:
        housed = job_context(msgspec.structs.replace(settings, content_banned=banned), context.store)
        writer, sent = TextWriter(housed, None if scribe is None else text_model(scribe), None), list[TextRequest]()
        requests.request(requests.wanting(writer.wanted([]), 9))
        requests.publish(99, "t", sent.extend)
        requests.settle(writer.write(sent))

    requests.wish({("a", "b", "view", "en"): 9}, most=99)
    sweep(Reasoner())
    events.write([film(4, "b", "Ronin")])
    lying = Parrot("You won Heat")
    for _ in range(3):
        sweep(lying)
    assert lying.asked == 3, "three tries, once"
    events.write([film(5, "b", "Fargo")])
    sweep(None)
    sweep(lying)
    assert lying.asked == 6, "of other facts; that a worker without a model looked at them is no try"
    again = Reasoner("parrot@1")
    events.write([film(6, "b", "Alien")])
    sweep(again)
    assert again.asked == 1
    for _ in range(3):
        sweep(again, "looked at")
    assert again.asked == 1 + 3, "with another list of words, once"


def test_a_new_list_of_banned_words_costs_only_the_texts_that_say_one(context: JobContext) -> None:
    Writer(context.store).write([film(1, "a", "Clueless"), film(2, "b", "Comedy Hour", 1996)])
    generate("description", 10, text_model(scribe := Scribe()), context)
    assert scribe.asked == 2
    housed = job_context(msgspec.structs.replace(context.settings, content_banned="1995, best buy"), context.store)
    around, words = FromStore(context.store), housed.settings.banned_words
    (item,) = context.store.catalogue.items(["a"])
    stored = context.store.contents.content("a", "description", "en")
    assert stored is not None
    assert stands(*stored, item, around)
    assert not stands(*stored, item, around, words), "at once"
    writer = TextWriter(housed, text_model(scribe), None)
    found = context.store.content_requests.wanting(writer.wanted(housed.settings.wanted_texts), 10)
    assert {(one.item, one.why) for one in found} == {("a", "prompt"), ("b", "prompt")}
    came = writer.write(found)
    context.store.content_requests.settle(came)
    assert scribe.asked == 2 + 3, "the one that breaks it, three times: the model says it again"
    assert [one.text for one in came.listed] == ["Comedy Hour is a comedy film from 1996."], "as it was"
    (anew,) = came.texts
    assert "1995" not in anew.text
    assert any(one.get("rule") == "banned" and one["claim"] == "1995" for one in anew.rejected)
    assert changes(context, "b") == 1
    assert context.store.content_requests.wanting(writer.wanted(housed.settings.wanted_texts), 10) == []
