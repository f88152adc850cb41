"""Texts are written for the items that want one, kept while they are true, and replaced when they are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from core.errors import NotFound
from core.events import ItemChanged, ItemRemoved
from core.progress import Task
from core.requests import TextRequest
from core.settings import Settings, Tone
from core.store import open_store
from core.store.content_requests import Settlement
from core.store.reviews import Decision
from jobs import generate as generating
from jobs.context import JobContext, job_context
from jobs.generate import TextWriter, generate
from jobs.text_model import TextModel
from models.content.about import FromStore, stands
from models.content.fit import Fits
from models.text.generator import Generation, Limits, Prompt
from tests.streams import Writer, event, view
from tests.texts import TOKENS, Scribe, film


class Parrot(Scribe):
    """A model that says one sentence about whatever it is asked."""

    def __init__(self, says: str) -> None:
        super().__init__("parrot@1")
        self.says = says

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        return [Generation(self.says, 5, "stop") for _ in super().generate(prompts, limits, seed)]


@pytest.fixture
def context(settings: Settings) -> Iterator[JobContext]:
    with open_store(settings) as store:
        yield job_context(settings, store)


def model(scribe: Scribe) -> TextModel:
    return TextModel(lambda: scribe)


def text_of(context: JobContext, item: str) -> tuple[str, str, bool]:
    found = context.store.contents.content(item, "description", "en")
    assert found is not None
    content, stale = found
    return content.text, content.origin, stale


def changes(context: JobContext, item: str) -> int:
    return len(context.store.reviews.history(item, "description", "en"))


def test_a_true_text_is_kept_and_a_false_one_gives_way_to_the_template(context: JobContext) -> None:
    Writer(context.store).write([film(1, "a", "Clueless")])
    generate("description", 10, model(Scribe()), context)
    assert text_of(context, "a") == ("Clueless is a comedy film from 1995.", "model", False)
    Writer(context.store).write([film(2, "b", "Fargo", 1996)])
    generate("description", 10, model(Parrot("Fargo won seven Oscars in 1997.")), context)
    text, origin, _ = text_of(context, "b")
    assert origin == "template"
    assert "Oscar" not in text
    assert "Fargo" in text
    content, _ = context.store.contents.content("b", "description", "en")  # type: ignore[misc]
    assert any("1997" in str(refused) for refused in content.rejected), "what was refused is kept, with the reason"


def test_the_newest_and_most_viewed_items_come_first(context: JobContext) -> None:
    films = [film(number, item, f"Film {item}") for number, item in enumerate("abc")]
    Writer(context.store).write([*films, *(view(10 + n, f"u{n}", "c") for n in range(3)), view(20, "u", "b")])
    scribe = Scribe()
    generate("description", 2, model(scribe), context)
    assert scribe.in_order == ["Film c", "Film b"]
    generate("description", 2, model(scribe), context)
    assert scribe.in_order == ["Film c", "Film b", "Film a"]


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
    generate("description", 10, model(scribe), context)
    writer.write([film(2, "a", "Clueless")])
    assert generate("description", 10, model(scribe), context) == {"unchanged": 1}
    assert scribe.asked == 1
    assert not text_of(context, "a")[2]


def test_a_templates_text_gives_way_once_there_is_a_model(context: JobContext) -> None:
    Writer(context.store).write([film(1, "a", "Clueless")])
    generate("description", 10, None, context)
    assert text_of(context, "a")[1] == "template"
    assert generate("description", 10, model(Scribe()), context) == {"model verified": 1}
    assert text_of(context, "a")[1] == "model"


def test_a_model_that_failed_is_not_asked_the_same_again(context: JobContext) -> None:
    writer, parrot = Writer(context.store), Parrot("It won seven Oscars.")
    writer.write([film(1, "a", "Clueless")])
    generate("description", 10, model(parrot), context)
    asked = parrot.asked
    assert asked == 3, "it was told what was wrong, and tried again"
    assert generate("description", 10, model(parrot), context) == {}
    writer.write([film(2, "a", "Clueless")])  # its facts are the same
    assert generate("description", 10, model(parrot), context) == {"unchanged": 1}
    assert parrot.asked == asked
    writer.write([film(3, "a", "Clueless", 1996)])
    generate("description", 10, model(parrot), context)
    assert parrot.asked == 2 * asked, "other facts are another question"
    assert generate("description", 10, model(Scribe("scribe@2")), context) == {"model verified": 1}, (
        "as is another model"
    )


def test_a_model_that_is_not_good_enough_for_a_kind_is_tried_on_its_probes_alone(
    context: JobContext, tmp_path: Path
) -> None:
    Writer(context.store).write([film(1, "a", "Clueless"), film(2, "b", "Fargo")])
    parrot, file = Parrot("It won seven Oscars."), tmp_path / "fits.json"
    generate("description", 1, model(parrot), context, fits=Fits(file))
    tried = parrot.asked
    assert generate("description", 9, model(parrot), context, fits=Fits(file)) == {"template verified": 1}
    assert parrot.asked == tried, "the verdict was kept"
    assert generate("description", 9, model(parrot), context, fits=Fits(file)) == {}, "and the items are settled"


def test_a_model_that_is_away_leaves_the_template_and_is_asked_once_it_is_back(
    context: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.text_model.REST_S", 0.0)
    Writer(context.store).write([film(1, "a", "Clueless")])
    scribe = Scribe()
    scribe.away = True
    assert generate("description", 10, model(scribe), context) == {"template verified": 1}
    scribe.away = False
    assert generate("description", 10, model(scribe), context) == {"model verified": 1}
    assert changes(context, "a") == 2


def styled(context: JobContext, tone: Tone) -> JobContext:
    """The same namespace in another style: its prompts are others."""
    return job_context(msgspec.structs.replace(context.settings, content_tone=tone), context.store)


def stale(context: JobContext, scribe: Scribe | None, rest_s: float = 0.0) -> list[tuple[str, str]]:
    """What is wanted of the texts that there are: item and why."""
    wanted = TextWriter(context, model(scribe) if scribe else None, None).wanted([], rest_s=rest_s)
    return [(one.item, one.why) for one in context.store.content_requests.wanting(wanted, 10)]


def test_another_style_or_prompt_makes_a_text_stale_and_it_is_written_anew_once(context: JobContext) -> None:
    Writer(context.store).write([film(1, "a", "Clueless")])
    scribe, warm = Scribe(), styled(context, "warm")
    generate("description", 10, model(scribe), context)
    assert stale(context, scribe) == []
    assert stale(warm, scribe) == [("a", "prompt")]
    assert generate("description", 10, model(scribe), warm, only_stale=True) == {"model verified": 1}
    assert scribe.asked == 2
    assert stale(warm, scribe) == []
    assert generate("description", 10, model(scribe), warm) == {}
    generate("description", 10, None, context)
    assert stale(warm, None) == [("a", "prompt")], "a template's text has a style as well"


def test_another_model_makes_a_text_stale_and_is_asked_once_also_where_it_fails(context: JobContext) -> None:
    Writer(context.store).write([film(1, "a", "Clueless"), film(2, "b", "Fargo")])
    generate("description", 1, model(Scribe()), context)
    better, parrot = Scribe("scribe@2"), Parrot("It won seven Oscars.")
    assert stale(context, better) == [("b", "model")]
    assert generate("description", 10, model(better), context, only_stale=True) == {"model verified": 1}
    generate("description", 10, model(better), context)
    assert [one for one, _ in stale(context, parrot)] == ["b", "a"]
    assert generate("description", 10, model(parrot), context) == {"template verified": 2}
    asked = parrot.asked
    assert text_of(context, "a")[1] == text_of(context, "b")[1] == "model", (
        "what another wrote is still true, and stays"
    )
    assert generate("description", 10, model(parrot), context) == {}
    writer = TextWriter(context, model(parrot), None)
    requests = [TextRequest(item="a", kind="description", locale="en", why="asked", facts_at=datetime.now(UTC))]
    assert not writer.write(requests).texts, "nor when somebody asks for it"
    assert parrot.asked == asked


def test_a_true_text_of_an_older_prompt_stays_while_the_model_is_away(
    context: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.text_model.REST_S", 0.0)
    writer, scribe, warm = Writer(context.store), Scribe(), styled(context, "warm")
    writer.write([film(1, "a", "Clueless")])
    generate("description", 10, model(scribe), context)
    scribe.away = True
    assert generate("description", 10, model(scribe), warm) == {"unchanged": 1}
    assert text_of(context, "a")[:2] == ("Clueless is a comedy film from 1995.", "model")
    writer.write([film(2, "a", "Clueless", 1996)])
    assert generate("description", 10, model(scribe), warm) == {"template verified": 1}, (
        "what is not true any more goes"
    )
    scribe.away = False
    assert generate("description", 10, model(scribe), warm) == {"model verified": 1}


def test_workers_that_are_configured_differently_do_not_take_turns_with_a_text(context: JobContext) -> None:
    Writer(context.store).write([film(1, "a", "Clueless")])
    one, other, warm = Scribe("one@1"), Parrot("It won seven Oscars."), styled(context, "warm")
    generate("description", 10, model(one), context)
    assert stale(warm, other) == [("a", "prompt")]
    assert stale(warm, other, rest_s=600) == [], "it was written a moment ago"
    generate("description", 10, None, warm, only_stale=True)
    generate("description", 10, model(one), warm)
    assert stale(warm, Scribe("three@1")) == [("a", "model")]
    assert stale(warm, Scribe("three@1"), rest_s=600) == []
    with context.store.database.begin() as connection:
        connection.exec_driver_sql("UPDATE contents SET written_at = now() - interval '11 minutes'")
        connection.exec_driver_sql("UPDATE content_tries SET tried_at = now() - interval '11 minutes'")
    assert stale(context, one, rest_s=600) == [("a", "prompt")], "but it is not forgotten"


def test_a_model_that_did_not_answer_is_left_alone_for_a_while() -> None:
    scribe = Scribe()
    asked = model(scribe)
    scribe.away = True
    for _ in range(2):
        with pytest.raises(Exception, match="out"):
            asked.generate([], Limits(), 0)
        scribe.away = False
    assert scribe.calls == 0
    assert asked.away is not None


def test_removed_items_get_no_text(context: JobContext) -> None:
    Writer(context.store).write([film(1, "a", "Clueless"), event(2, ItemRemoved(item="a"))])
    assert generate("description", 10, None, context) == {}


def test_an_unknown_kind_is_refused_by_name(context: JobContext) -> None:
    with pytest.raises(NotFound, match="description"):
        generate("limerick", 1, None, context)


def test_interrupted_it_goes_on_where_it_was_and_writes_no_text_twice(context: JobContext) -> None:
    Writer(context.store).write([film(n, f"i{n}", f"Film {n}") for n in range(30)])
    few = job_context(msgspec.structs.replace(context.settings, content_batch_requests=4), context.store)

    class Killed(Scribe):
        def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
            if self.asked >= 12:
                raise KeyboardInterrupt
            return super().generate(prompts, limits, seed)

    first, second = Killed(), Scribe()
    with pytest.raises(KeyboardInterrupt):
        generate("description", 100, model(first), few)
    assert generate("description", 100, model(second), few) == {"model verified": 18}
    assert sorted(first.in_order + second.in_order) == sorted(f"Film {n}" for n in range(30))
    assert [changes(context, f"i{n}") for n in range(30)] == [1] * 30


def test_tokens_are_counted_and_a_spent_budget_is_waited_for_visibly(
    context: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    Writer(context.store).write([film(n, f"i{n}", f"Film {n}") for n in range(4)])
    notes: list[str] = []

    class Reported(Task):
        def advance(self, steps: float = 1, note: str = "") -> None:
            notes.append(note)

    class Reporter:
        def task(self, label: str, total: float) -> Reporter:
            return self

        def __enter__(self) -> Reported:
            return Reported()

        def __exit__(self, *exc: object) -> None:
            return

    waited: list[float] = []

    def next_hour(seconds: float) -> None:
        waited.append(seconds)
        with context.store.database.begin() as connection:
            connection.exec_driver_sql("UPDATE content_tokens SET hour = hour - interval '1 hour'")

    monkeypatch.setattr(generating.time, "sleep", next_hour)
    settings = msgspec.structs.replace(context.settings, content_batch_requests=2, content_tokens_per_hour=2 * TOKENS)
    poor = job_context(settings, context.store, Reporter())
    scribe = Scribe()
    scribe.seconds = 0.0
    assert generate("description", 100, TextModel(lambda: scribe), poor) == {"model verified": 4}
    assert len([one for one in waited if one > 0]) == 1
    assert any("tokens are spent" in note for note in notes)
    assert generate("description", 100, None, poor) == {}, "templates cost nothing"


def test_requests_of_any_kind_and_language_are_sorted_out(context: JobContext) -> None:
    Writer(context.store).write([film(1, "a", "Clueless"), film(2, "gone", "Gone"), event(3, ItemRemoved(item="gone"))])
    (item,) = context.store.catalogue.items(["a"])

    def asked(item_id: str, kind: str, locale: str) -> TextRequest:
        return TextRequest(item=item_id, kind=kind, locale=locale, why="asked", facts_at=item.changed_at)

    writer = TextWriter(context, model(Scribe()), None)
    requests = [
        asked("a", "description", "en"), asked("a", "headline", "en"), asked("a", "description", "de"),
        asked("a", "limerick", "en"), asked("unheard-of", "description", "en"), asked("gone", "description", "en"),
    ]  # fmt: skip
    came: Settlement = writer.write(requests)
    assert {(one.key.item, one.key.kind, one.reason) for one in came.refused} == {
        ("a", "limerick", "unknown_kind"), ("unheard-of", "description", "unknown_item"),
    }  # fmt: skip
    assert {(one.kind, one.locale) for one in came.texts} == {
        ("description", "en"),
        ("headline", "en"),
        ("description", "de"),
    }
    assert len(came.done) == 4, "what is gone needs no text"


def test_texts_of_collections_reviews_and_translations_are_written_from_what_is_around_an_item(
    context: JobContext,
) -> None:
    facts = {"reviews": ["Heats evenly, I love it.", "The handle broke."], "type": "film", "year": 1995}
    box = ItemChanged(item="box", title="Box", attributes={"items": ["a", "b", "gone", 7]})
    Writer(context.store).write([
        event(1, ItemChanged(item="a", title="Clueless", categories=("Comedy",), attributes=facts)), film(2, "b", "Fargo"),
        event(3, box),
    ])  # fmt: skip
    settings = msgspec.structs.replace(
        context.settings, content_kinds="theme,review_summary,translation_description", content_locales="de"
    )
    german = job_context(settings, context.store)
    writer = TextWriter(german, None, None)
    found = context.store.content_requests.wanting(writer.wanted(settings.wanted_texts), 100)
    assert {(one.item, one.kind) for one in found} == {
        ("box", "theme"), ("a", "review_summary"), *((one, "translation_description") for one in ("a", "b", "box")),
    }, "a theme is wanted of collections alone, a summary where there are reviews"  # fmt: skip
    context.store.content_requests.settle(writer.write(found))

    def said(item: str, kind: str) -> str:
        stored = context.store.contents.content(item, kind, "de")
        assert stored is not None
        return stored[0].text

    assert said("box", "theme") == "Komödie aus dem Jahr 1995"
    assert said("a", "translation_description") == "Clueless (1995) ist ein Film der Kategorie Komödie."
    assert said("a", "review_summary").startswith("2 Bewertungen: 1 positiv, 1 negativ.")
    assert context.store.content_requests.wanting(writer.wanted(settings.wanted_texts), 100) == []
    empty = TextRequest(item="a", kind="theme", locale="de", why="asked", facts_at=datetime.now(UTC))
    assert [one.reason for one in writer.write([empty]).refused] == ["nothing_to_say"]


def test_a_translation_follows_the_text_that_it_translates(context: JobContext) -> None:
    Writer(context.store).write([film(1, "a", "Clueless")])
    generate("description", 10, model(Scribe()), context)
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
        writer, sent = TextWriter(context, None if scribe is None else model(scribe), None), list[TextRequest]()
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
    wanted = TextWriter(context, model(scribe), None).wanted([])
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
        writer, sent = TextWriter(housed, None if scribe is None else model(scribe), None), list[TextRequest]()
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
    generate("description", 10, model(scribe := Scribe()), context)
    assert scribe.asked == 2
    housed = job_context(msgspec.structs.replace(context.settings, content_banned="1995, best buy"), context.store)
    around, words = FromStore(context.store), housed.settings.banned_words
    (item,) = context.store.catalogue.items(["a"])
    stored = context.store.contents.content("a", "description", "en")
    assert stored is not None
    assert stands(*stored, item, around)
    assert not stands(*stored, item, around, words), "at once"
    writer = TextWriter(housed, model(scribe), None)
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
