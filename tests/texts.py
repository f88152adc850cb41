"""A small deterministic text model for tests of the flow of texts: it says what its notes say, in a sentence."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from core.errors import TextModelUnavailable
from core.events import Event, ItemChanged
from jobs.context import JobContext
from jobs.text_model import TextModel
from models.text.generator import Generation, Limits, Prompt
from tests.streams import event

TOKENS = 7  # of every text that the scribe writes


class Scribe:
    """Turns the last note of a prompt ("Fargo | a crime film | 1996") into a sentence that is true of it.

    `away` makes it unavailable; `asked` counts the prompts; `seconds` is how long it takes for each call.
    """

    def __init__(self, name: str = "scribe@1", seconds: float = 0.0) -> None:
        self.name, self.seconds, self.away = name, seconds, False
        self.asked, self.calls, self.in_order = 0, 0, []  # type: ignore[var-annotated]
        self.free = threading.Event()
        self.free.set()

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        if self.away:
            raise TextModelUnavailable("the scribe is out")
        self.asked, self.calls = self.asked + len(prompts), self.calls + 1
        time.sleep(self.seconds)
        self.free.wait()
        return [Generation(self._sentence(prompt.messages[-1].content), TOKENS, "stop") for prompt in prompts]

    def _sentence(self, note: str) -> str:
        name, what, *year = note.split(" | ")
        self.in_order.append(name)
        return f"{name} is {what} from {year[0]}." if year else f"{name} is {what}."


class Parrot(Scribe):
    """A model that says one sentence about whatever it is asked."""

    def __init__(self, says: str) -> None:
        super().__init__("parrot@1")
        self.says = says

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        return [Generation(self.says, 5, "stop") for _ in super().generate(prompts, limits, seed)]


def text_model(scribe: Scribe) -> TextModel:
    """As a worker has it."""
    return TextModel(lambda: scribe)


def text_of(context: JobContext, item: str) -> tuple[str, str, bool]:
    """The stored description, who wrote it, and whether it is stale."""
    found = context.store.contents.content(item, "description", "en")
    assert found is not None
    content, stale = found
    return content.text, content.origin, stale


def changes(context: JobContext, item: str) -> int:
    """How often it was written."""
    return len(context.store.reviews.history(item, "description", "en"))


def film(number: int, item: str, title: str, year: int = 1995, minutes: float | None = None) -> Event:
    """Event `number`: this is what the catalogue says of a film now."""
    facts = {"year": year, "type": "film"}
    return event(number, ItemChanged(item=item, title=title, categories=("Comedy",), attributes=facts), minutes=minutes)
