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
from core.settings import Settings
from core.store import open_store
from core.store.content_requests import Settlement
from jobs import generate as generating
from jobs.context import JobContext, job_context
from jobs.generate import TextWriter, generate
from jobs.text_model import TextModel
from models.content.fit import Fits
from models.text.generator import Generation, Limits, Prompt
from tests.streams import Writer, event, view
from tests.texts import TOKENS, Parrot, Scribe, changes, film, text_model, text_of


@pytest.fixture
def context(settings: Settings) -> Iterator[JobContext]:
    with open_store(settings) as store:
        yield job_context(settings, store)


def test_a_true_text_is_kept_and_a_false_one_gives_way_to_the_template(context: JobContext) -> None:
    Writer(context.store).write([film(1, "a", "Clueless")])
    generate("description", 10, text_model(Scribe()), context)
    assert text_of(context, "a") == ("Clueless is a comedy film from 1995.", "model", False)
    Writer(context.store).write([film(2, "b", "Fargo", 1996)])
    generate("description", 10, text_model(Parrot("Fargo won seven Oscars in 1997.")), context)
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
    generate("description", 2, text_model(scribe), context)
    assert scribe.in_order == ["Film c", "Film b"]
    generate("description", 2, text_model(scribe), context)
    assert scribe.in_order == ["Film c", "Film b", "Film a"]


def test_a_templates_text_gives_way_once_there_is_a_model(context: JobContext) -> None:
    Writer(context.store).write([film(1, "a", "Clueless")])
    generate("description", 10, None, context)
    assert text_of(context, "a")[1] == "template"
    assert generate("description", 10, text_model(Scribe()), context) == {"model verified": 1}
    assert text_of(context, "a")[1] == "model"


def test_a_model_that_failed_is_not_asked_the_same_again(context: JobContext) -> None:
    writer, parrot = Writer(context.store), Parrot("It won seven Oscars.")
    writer.write([film(1, "a", "Clueless")])
    generate("description", 10, text_model(parrot), context)
    asked = parrot.asked
    assert asked == 3, "it was told what was wrong, and tried again"
    assert generate("description", 10, text_model(parrot), context) == {}
    writer.write([film(2, "a", "Clueless")])  # its facts are the same
    assert generate("description", 10, text_model(parrot), context) == {"unchanged": 1}
    assert parrot.asked == asked
    writer.write([film(3, "a", "Clueless", 1996)])
    generate("description", 10, text_model(parrot), context)
    assert parrot.asked == 2 * asked, "other facts are another question"
    assert generate("description", 10, text_model(Scribe("scribe@2")), context) == {"model verified": 1}, (
        "as is another model"
    )


def test_a_model_that_is_not_good_enough_for_a_kind_is_tried_on_its_probes_alone(
    context: JobContext, tmp_path: Path
) -> None:
    Writer(context.store).write([film(1, "a", "Clueless"), film(2, "b", "Fargo")])
    parrot, file = Parrot("It won seven Oscars."), tmp_path / "fits.json"
    generate("description", 1, text_model(parrot), context, fits=Fits(file))
    tried = parrot.asked
    assert generate("description", 9, text_model(parrot), context, fits=Fits(file)) == {"template verified": 1}
    assert parrot.asked == tried, "the verdict was kept"
    assert generate("description", 9, text_model(parrot), context, fits=Fits(file)) == {}, "and the items are settled"


def test_a_model_that_is_away_leaves_the_template_and_is_asked_once_it_is_back(
    context: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.text_model.REST_S", 0.0)
    Writer(context.store).write([film(1, "a", "Clueless")])
    scribe = Scribe()
    scribe.away = True
    assert generate("description", 10, text_model(scribe), context) == {"template verified": 1}
    scribe.away = False
    assert generate("description", 10, text_model(scribe), context) == {"model verified": 1}
    assert changes(context, "a") == 2


def test_a_model_that_did_not_answer_is_left_alone_for_a_while() -> None:
    scribe = Scribe()
    asked = text_model(scribe)
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
        generate("description", 100, text_model(first), few)
    assert generate("description", 100, text_model(second), few) == {"model verified": 18}
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

    writer = TextWriter(context, text_model(Scribe()), None)
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
