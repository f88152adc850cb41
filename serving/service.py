"""Everything a running server holds: made once by create_app, started and stopped with it, handed to every route."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, ParamSpec, Protocol, TypeVar

from core.bus import Bus
from core.errors import ConfigurationError
from core.registry import Registry
from core.settings import Settings
from core.store import Store
from models.content.kind import house_style
from models.text.generator import TextGenerator
from serving.access import Access, Default
from serving.admission import Door
from serving.background import Repeating
from serving.budget import Budget
from serving.catalogue import COUNTS_EVERY_S, REFRESH_EVERY_S, LiveCatalogue
from serving.desk import Desk
from serving.explain_texts import REFRESH_EVERY_S as SAID_EVERY_S
from serving.explain_texts import WISH_EVERY_S, ExplainTexts, Shown
from serving.histories import ERASED_EVERY_S, Histories
from serving.last_known import SAVE_EVERY_S, LastKnown
from serving.live import POLL_EVERY_S, LiveModels
from serving.newcomers import SHELVED_EVERY_S, Newcomers
from serving.patience import RECORD_S, REPORT_S, Bounded, Patience
from serving.pipeline import Pipeline
from serving.publisher import Publisher
from serving.pulse import PULSE_EVERY_S, Pulse
from serving.questions import Questions
from serving.slate import Slates
from serving.surfaces import Surfaces
from serving.turns import Turns

START_S = 10.0  # how long a start waits for a silent Postgres, and then for what else there is to serve
WATCHED_EVERY_S = 0.1
STOP_S = 3.0  # how long a stop waits for what repeats

P = ParamSpec("P")
T = TypeVar("T")


class JobRun(Protocol):
    """One run of a job, as the schedule remembers it."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def attempts(self) -> int: ...
    @property
    def scheduled_at(self) -> datetime | None: ...
    @property
    def started_at(self) -> datetime | None: ...
    @property
    def finished_at(self) -> datetime | None: ...


class Jobs(Protocol):
    """The schedule, as far as the API speaks with it."""

    def history(self, limit: int = 50) -> Sequence[JobRun]:
        """Runs, newest first."""

    def run_now(self, name: str, **arguments: Any) -> int:
        """Ask for a run; returns its id. Raises NotFound for an unknown job, Conflict when one waits already."""


@dataclass(frozen=True)
class Threads:
    """Separate pools for what can hang, so that one thing that is away does not hold up the others. `reports` are the calls that
    Postgres may take its time for; `content` reads with patience of its own, and does without."""

    pipeline: Turns
    database: Bounded
    reports: Bounded
    content: ThreadPoolExecutor
    broker: ThreadPoolExecutor
    text: ThreadPoolExecutor

    def close(self) -> None:
        """Let nothing new begin; do not wait for what hangs."""
        bounded = (self.database.threads, self.reports.threads)
        for pool in (self.pipeline, *bounded, self.content, self.broker, self.text):
            pool.shutdown(wait=False, cancel_futures=True)


async def run(pool: ThreadPoolExecutor | Bounded | Turns, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking call in a pool, in the caller's context: its logs carry the request's id, its spans are the request's.

    Raises DatabaseUnavailable when it takes longer than the pool's budget.
    """
    if isinstance(pool, Bounded | Turns):
        return await pool.run(call, *args, **kwargs)
    within = partial(copy_context().run, call, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(pool, within)


class Service:
    """The parts of one server. `jobs` and `generator` may be absent: then those routes say so."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        registry: Registry,
        bus: Bus | None = None,
        jobs: Jobs | None = None,
        generator: TextGenerator | None = None,
    ) -> None:
        if settings.secret is None:
            raise ConfigurationError("no secret: set HEADWATER_SECRET to a long random text; it signs slate tokens")
        self.settings, self.store, self.registry = settings, store, registry
        self.jobs = jobs
        self.access = Access(
            store.keys, settings.keys_required, Default(settings.key_requests_per_s, settings.key_burst)
        )
        self.publisher = Publisher(settings, bus)
        self.catalogue = LiveCatalogue(store)
        self.models = LiveModels(registry, self.catalogue)
        self.newcomers = Newcomers(self.catalogue, self.models, settings.new_item_share, settings.new_item_likeness)
        self.histories = Histories(store, settings.history_events)
        self.slates = Slates(self.publisher, settings.secret)
        self.surfaces = Surfaces(settings.surfaces)
        self.questions = Questions()
        wished = Shown() if settings.reasons_wanted else None
        self.explain_texts = ExplainTexts(store, settings.banned_words, wished)
        self.pipeline = Pipeline(
            self.catalogue, self.models, self.newcomers, self.histories, self.slates, settings.kind_weights,
            self.explain_texts, style=house_style(settings),
        )  # fmt: skip
        self.pulse = Pulse(store.catalogue)
        self.texts = Patience("texts")
        self.last_known = LastKnown(settings, self.catalogue, self.models)
        self.door = Door(settings)
        self.threads = Threads(
            Turns(2, "pipeline"), Bounded("database", 16, RECORD_S), Bounded("reports", 4, REPORT_S),
            ThreadPoolExecutor(4, "content"), ThreadPoolExecutor(16, "broker"), ThreadPoolExecutor(1, "text"),
        )  # fmt: skip
        budget = Budget(store.content_requests, self.texts, settings.content_tokens_per_hour)
        self.desk = Desk(settings, generator, self.threads.text, budget)
        wishes = Repeating("wishes", partial(self.explain_texts.wish, settings.content_reasons), WISH_EVERY_S)
        self._repeating = (
            Repeating("catalogue", self.catalogue.refresh, REFRESH_EVERY_S),
            Repeating("counts", self.catalogue.refresh_counts, COUNTS_EVERY_S),
            Repeating("reasons", self.explain_texts.refresh, SAID_EVERY_S),
            *([wishes] if settings.reasons_wanted else []),
            Repeating("models", self.models.refresh, POLL_EVERY_S),
            Repeating("new items", self.newcomers.refresh, SHELVED_EVERY_S),
            Repeating("erasures", self.histories.forget_erased, ERASED_EVERY_S),
            Repeating("pulse", self.pulse.beat, PULSE_EVERY_S),
            Repeating("last known", self.last_known.save, SAVE_EVERY_S),
        )

    def start(self) -> None:
        """Read what there is to serve, as far as it can be had, and keep it fresh from here on."""
        for repeating in self._repeating:
            repeating.start()
        catalogue, *others = self._repeating
        # Millions of items may take longer than that: who reads them is not to be overtaken by what was known last.
        while not catalogue.wait(WATCHED_EVERY_S) and self.catalogue.silent_s < START_S:
            continue
        deadline = time.monotonic() + START_S - self.catalogue.silent_s
        for repeating in others:
            repeating.wait(max(0.0, deadline - time.monotonic()))
        if not self.catalogue.loaded:
            self.last_known.restore()
        self.slates.start()

    def stop(self) -> None:
        """Stop in reverse order; slates that wait are published first."""
        for repeating in self._repeating:
            repeating.end()
        self.slates.stop()
        deadline = time.monotonic() + STOP_S
        for repeating in reversed(self._repeating):
            repeating.stop(max(0.0, deadline - time.monotonic()))
        self.last_known.save(at_once=True)
        self.threads.close()
        self.histories.close()
        self.texts.close()
        self.publisher.close()
