"""Texts are written for the items that want one, kept while they are true, and replaced when they are not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from core.errors import NotFound
from core.events import ItemChanged, ItemRemoved
from core.settings import Settings
from core.store import open_store
from jobs.context import JobContext, job_context
from jobs.generate import generate
from models.text.generator import Generation, Limits, Prompt
from tests.streams import Writer, event, view


class Parrot:
    """A model that says one sentence about whatever it is asked."""

    name = "parrot@1"

    def __init__(self, says: str) -> None:
        self.says, self.asked = says, 0

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        self.asked += len(prompts)
        return [Generation(self.says, 5, "stop") for _ in prompts]


@pytest.fixture
def context(settings: Settings) -> Iterator[JobContext]:
    with open_store(settings) as store:
        yield job_context(settings, store)


def film(number: int, item: str, title: str, year: int = 1995) -> object:
    return event(number, ItemChanged(item=item, title=title, categories=("Comedy",), attributes={"year": year}))


def text_of(context: JobContext, item: str) -> tuple[str, str, bool]:
    found = context.store.contents.content(item, "description", "en")
    assert found is not None
    content, stale = found
    return content.text, content.origin, stale


def test_a_true_text_is_kept_and_a_false_one_gives_way_to_the_template(context: JobContext) -> None:
    Writer(context.store).write([film(1, "a", "Clueless")])  # type: ignore[list-item]
    generate("description", 10, Parrot("Clueless is a comedy title from 1995."), context)
    assert text_of(context, "a") == ("Clueless is a comedy title from 1995.", "model", False)
    Writer(context.store).write([film(2, "b", "Fargo", 1996)])  # type: ignore[list-item]
    generate("description", 10, Parrot("Fargo won seven Oscars in 1997."), context)
    text, origin, _ = text_of(context, "b")
    assert origin == "template"
    assert "Oscar" not in text
    assert "Fargo" in text
    content, _ = context.store.contents.content("b", "description", "en")  # type: ignore[misc]
    assert any("1997" in str(refused) for refused in content.rejected), "what was refused is kept, with the reason"


def test_the_most_interacted_with_items_come_first(context: JobContext) -> None:
    films = [film(number, item, f"Film {item}") for number, item in enumerate("abc")]
    Writer(context.store).write([*films, *(view(10 + n, f"u{n}", "c") for n in range(3)), view(20, "u", "b")])  # type: ignore[list-item]
    assert [item.item for item in context.store.contents.wanting("description", "en", 2)] == ["c", "b"]
    generate("description", 2, None, context)
    assert [item.item for item in context.store.contents.wanting("description", "en", 9)] == ["a"]


def test_a_text_is_stale_once_its_item_changed_and_written_anew(context: JobContext) -> None:
    writer = Writer(context.store)
    writer.write([film(1, "a", "Clueless")])  # type: ignore[list-item]
    generate("description", 10, None, context)
    writer.write([film(2, "a", "Clueless", 1996)])  # type: ignore[list-item]
    assert text_of(context, "a")[2], "stale as soon as the event is in"
    assert sum(generate("description", 10, None, context).values()) == 1
    text, _, stale = text_of(context, "a")
    assert "1996" in text
    assert not stale


def test_a_change_that_leaves_the_facts_alone_costs_no_text(context: JobContext) -> None:
    writer, parrot = Writer(context.store), Parrot("Clueless is a comedy title from 1995.")
    writer.write([film(1, "a", "Clueless")])  # type: ignore[list-item]
    generate("description", 10, parrot, context)
    writer.write([film(2, "a", "Clueless")])  # type: ignore[list-item]
    assert generate("description", 10, parrot, context) == {"unchanged": 1}
    assert parrot.asked == 1
    assert not text_of(context, "a")[2]


def test_a_templates_text_gives_way_once_there_is_a_model(context: JobContext) -> None:
    Writer(context.store).write([film(1, "a", "Clueless")])  # type: ignore[list-item]
    generate("description", 10, None, context)
    (item,) = context.store.catalogue.items(["a"])
    generate("description", 10, Parrot("Clueless is a comedy title from 1995."), context, items=[item])
    assert text_of(context, "a")[1] == "model"


def test_removed_items_get_no_text(context: JobContext) -> None:
    Writer(context.store).write([film(1, "a", "Clueless"), event(2, ItemRemoved(item="a"))])  # type: ignore[list-item]
    assert generate("description", 10, None, context) == {}


def test_an_unknown_kind_is_refused_by_name(context: JobContext) -> None:
    with pytest.raises(NotFound, match="description"):
        generate("limerick", 1, None, context)
