"""Where a server writes a text now: one at a time, within a deadline, by a model that was measured for the kind before.

The text model is opened when it is first asked for: a server that writes nothing does not hold one in memory.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from core.errors import HeadwaterError, TextModelUnavailable
from core.progress import Silent
from core.settings import Settings
from models.content.fit import Fits, of_shop
from models.content.kind import ContentKind, F, Style, Violation
from models.content.writer import Written, write
from models.text import open_generator
from models.text.generator import Generation, Limits, Prompt, TextGenerator
from serving.budget import Budget, Counted

log = logging.getLogger(__name__)

REST_S = 30.0  # how long a text model that could not be opened is left alone
NONE_CONFIGURED = "no text model is configured"

Hear = Callable[[str, dict[str, Any]], object]  # what happens while a text is written: its name, and what it says


def _unheard(name: str, said: dict[str, Any]) -> None:
    return


class Desk:
    """Writes texts in `pool`, which has one thread: whoever waits there when the deadline passes gets the template."""

    def __init__(
        self, settings: Settings, generator: TextGenerator | None, pool: ThreadPoolExecutor, budget: Budget
    ) -> None:
        self._settings, self._pool, self._budget = settings, pool, budget
        self._generator = None if generator is None else Counted(generator)
        self._fits = Fits(settings.fits_file)
        self._doing = ""  # what takes long and is not about one text
        self._away, self._away_until = "", 0.0

    async def write(
        self, kind: ContentKind[F], facts: F, style: Style, deadline_s: float, hear: Hear = _unheard
    ) -> tuple[Written, float]:
        """The model's text if it is verified within `deadline_s`, else the template's, whose note says why; and for how many
        seconds from now no model is asked, because the hour's tokens are spent (0: they are not).

        `hear` is told what happens, in the event loop: nothing of a text before it is verified (DESIGN I6). Cancelled, it ends
        the model's work between two tokens.
        """
        if self._generator is None and not (self._settings.text_model or self._settings.text_endpoint):
            return await asyncio.to_thread(template, kind, facts, style, NONE_CONFIGURED), 0.0
        loop, gone = asyncio.get_running_loop(), threading.Event()

        def told(name: str, said: dict[str, Any]) -> None:
            loop.call_soon_threadsafe(hear, name, said)

        work = partial(
            copy_context().run, self._work, kind, facts, style, _Waiting(gone, time.monotonic() + deadline_s, told)
        )
        writing = loop.run_in_executor(self._pool, work)
        try:
            return await asyncio.wait_for(asyncio.shield(writing), deadline_s)
        except TimeoutError:
            busy = f": {self._doing}; ask again later" if self._doing else ""
            note = f"no text was verified within {1000 * deadline_s:.0f} ms{busy}"
            return await asyncio.to_thread(template, kind, facts, style, note), 0.0
        finally:
            gone.set()
            if not writing.done():
                writing.cancel()
                writing.add_done_callback(_looked_at)

    def _work(self, kind: ContentKind[F], facts: F, style: Style, waiting: _Waiting) -> tuple[Written, float]:
        if waiting.over:
            return template(kind, facts, style, "nobody waits for it any longer"), 0.0
        if (refused := kind.writable(facts, style)) is not None:
            return template(kind, facts, style, refused), 0.0
        if (rest_s := self._budget.rest_s()) > 0:
            return template(kind, facts, style, f"the hour's tokens are spent: ask again in {rest_s:.0f} s"), rest_s
        try:
            return self._asked(kind, facts, style, waiting), 0.0
        finally:
            if self._generator is not None:
                self._budget.spend(self._generator.take_tokens())

    def _asked(self, kind: ContentKind[F], facts: F, style: Style, waiting: _Waiting) -> Written:
        try:
            generator = self._opened()
        except HeadwaterError as error:
            return template(kind, facts, style, f"the text model is unavailable: {error}")
        if refused := self._refusal(kind, generator, style, of_shop(facts)):
            return template(kind, facts, style, refused)
        return write(kind, [facts], _Bounded(generator, waiting), style, refused=waiting.refused)[0]

    def _opened(self) -> Counted:
        if self._generator is None:
            if time.monotonic() < self._away_until:
                raise TextModelUnavailable(self._away)
            self._doing = "the text model is being opened"
            try:
                self._generator = Counted(open_generator(self._settings, Silent()))
            except HeadwaterError as error:
                self._away, self._away_until = str(error), time.monotonic() + REST_S
                raise
            finally:
                self._doing = ""
        return self._generator

    def _refusal(self, kind: ContentKind[F], generator: TextGenerator, style: Style, shop: bool) -> str:
        """Why the model may not write this kind. The first question is measured, to its end: the verdict is for everyone."""
        self._doing = f"how well {generator.name} writes the kind {kind.name!r} is being measured"
        try:
            return self._fits.refusal(kind, generator, style, shop)
        except OSError as error:  # it is known all the same, until this process ends
            log.warning("what a model can write cannot be saved: %s", error)
            return self._fits.refusal(kind, generator, style, shop)
        finally:
            self._doing = ""


def template(kind: ContentKind[F], facts: F, style: Style, note: str) -> Written:
    """The template's text; `note` says why it speaks."""
    return replace(write(kind, [facts], None, style)[0], note=note)


@dataclass(frozen=True)
class _Waiting:
    """Whoever waits for a text: until when (of time.monotonic()), and how they hear of it."""

    gone: threading.Event
    until: float
    told: Callable[[str, dict[str, Any]], object]

    @property
    def over(self) -> bool:
        return self.gone.is_set() or time.monotonic() >= self.until

    def refused(self, item: str, attempt: int, violations: Sequence[Violation]) -> None:
        """Says which rules a draft broke and why, but nothing of the draft: it is not verified."""
        if not self.over:
            reasons = [{"rule": one.rule, "reason": one.reason} for one in violations]
            self.told("refused", {"attempt": attempt, "violations": reasons})


class _Bounded:
    """A generator that is asked only as long as somebody waits, and ends when the deadline passes."""

    def __init__(self, generator: TextGenerator, waiting: _Waiting) -> None:
        self.name = generator.name
        self._generator, self._waiting, self._attempt = generator, waiting, 0

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        if self._waiting.over:
            raise TextModelUnavailable("nobody waits for it any longer")
        self._attempt += 1
        self._waiting.told("asked", {"attempt": self._attempt, "model": self.name})
        bounded = replace(limits, deadline=self._waiting.until, gone=self._waiting.gone.is_set)
        found = self._generator.generate(prompts, bounded, seed)
        if any(one.finish_reason == "deadline" for one in found):
            raise TextModelUnavailable(
                "the deadline passed while it wrote"
            )  # what is cut off is no text, even where it is true
        return found


def _looked_at(done: asyncio.Future[tuple[Written, float]]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.error("a text that nobody waited for any longer failed", exc_info=error)
