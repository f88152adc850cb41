"""The roles, one function each: what `headwater ingest | serve | schedule | generate-worker` run until they are stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from threading import Event, Thread
from typing import TYPE_CHECKING

import typer
from prometheus_client import start_http_server

from core.errors import Conflict, DatabaseUnavailable
from core.settings import Settings
from core.store import Store, open_store
from core.tracing import exporting
from headwater import importing
from headwater.services import attach
from jobs.context import job_context
from jobs.generate import TextWriter
from jobs.requests import RequestWorker
from jobs.schedule import Schedule
from jobs.text_model import configured_model
from models.content.fit import Fits

if TYPE_CHECKING:
    from ingest.consumer import BatchReport

log = logging.getLogger(__name__)

NICENESS = 10  # of who writes texts: answering and ingesting go first
STOP_S = 9.0  # longer than a lock is waited for and a group left, shorter than who stops us usually waits


def ingest(ctx: typer.Context) -> None:
    """Consume events from Kafka into Postgres, exactly once in effect. Run as many as the topic has partitions."""
    from ingest.consumer import run_consumer  # kafka-python: who serves does without

    with stopping() as stop, _role(ctx.obj, "ingest") as (settings, store):
        _until_done("ingest", lambda: run_consumer(settings, store, stop=stop, on_batch=_LagTold(store)), stop)


def serve(ctx: typer.Context) -> None:
    """Answer recommendation requests, take events, show the console. Stateless: run any number behind a balancer."""
    with importing():  # after the arguments were understood: it loads the models' libraries
        from serving.server import serve as serve_http

    settings = attach(ctx.obj)
    with open_store(settings, pool=32) as store, traced(settings, "serve"):
        serve_http(settings, store, Schedule(job_context(settings, store)))


def schedule(ctx: typer.Context) -> None:
    """Run jobs when they are due: train, update, maintain. Any number may run; each due job runs once."""
    with _role(ctx.obj, "schedule") as (settings, store):
        jobs = Schedule(job_context(settings, store))
        with suppress(Conflict):  # it waits to run already
            jobs.run_now("maintain")  # a new system has its months before it has many events
        asyncio.run(_until_stopped(jobs))


def generate_worker(ctx: typer.Context) -> None:
    """Write the catalogue's texts: those that are missing, outdated or asked for, the newest and most viewed items' first.

    Requests for texts travel through the topic <namespace>.content.requests; workers are a consumer group of it, so run as
    many as it has partitions, where the text model's GPU is. Each requested text is written once in effect, whoever is
    killed. HEADWATER_CONTENT_KINDS says which texts every item is to have, HEADWATER_CONTENT_TOKENS_PER_HOUR how much the
    text model may write. Without a text model, or while it is away, the template speaks. `headwater content requests` shows
    how far they are.
    """
    from ingest.requests import run_requests

    with stopping() as stop, _role(ctx.obj, "generate-worker") as (settings, store):
        os.nice(NICENESS)

        def work() -> None:
            context = job_context(settings, store)
            writer = TextWriter(context, configured_model(settings, context.reporter), Fits(settings.fits_file))
            with closing(RequestWorker(context, writer)) as worker:
                run_requests(settings, store, worker, stop=stop)

        _until_done("generate-worker", work, stop)


def _until_done(name: str, work: Callable[[], None], stop: Event) -> None:
    """Run `work`, which ends soon after `stop` is set; where it does not, give up what it is doing, which is harmless.

    In a thread, because a signal is heard only here, and not by a thread that waits for a Postgres that hangs.
    """
    working: Future[None] = Future()

    def run() -> None:
        try:
            work()
            working.set_result(None)
        except BaseException as error:  # noqa: BLE001 -- raised again below
            working.set_exception(error)
        stop.set()

    Thread(target=run, name=name, daemon=True).start()
    stop.wait()
    if not wait([working], timeout=STOP_S).done:
        log.error("%s does not end in time: its batch under way is given up. Whoever comes next reads it again", name)
        os._exit(75)  # EX_TEMPFAIL; the thread cannot be interrupted
    working.result()


class _LagTold:
    """Tells the store how far behind this consumer is: at once when it has caught up, else once a second at most."""

    def __init__(self, store: Store) -> None:
        self._store, self._name, self._told_at = store, f"{socket.gethostname()}-{os.getpid()}", 0.0

    def __call__(self, report: BatchReport) -> None:
        if report.lag and time.monotonic() - self._told_at < 1:
            return
        self._told_at = time.monotonic()
        try:
            self._store.lag.say(self._name, report.lag)
        except DatabaseUnavailable as error:
            log.warning("how far behind this consumer is could not be told: %s", error)


@contextmanager
def stopping() -> Iterator[Event]:
    """An event set by Ctrl-C or SIGTERM, so that everything is stopped in order; a second Ctrl-C interrupts at once."""
    stop = Event()

    def request(number: int, _: object) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _role(configured: Settings, name: str) -> Iterator[tuple[Settings, Store]]:
    settings = attach(configured)
    if settings.metrics_port:
        start_http_server(settings.metrics_port, settings.host)
    with open_store(settings) as store, traced(settings, name):
        yield settings, store


def traced(settings: Settings, role: str) -> AbstractContextManager[None]:
    """While a role runs, its traces go where the settings say, if anywhere."""
    where = {"service.namespace": settings.namespace, "service.instance.id": f"{socket.gethostname()}-{os.getpid()}"}
    return exporting(settings.traces_endpoint, settings.traces_share, **where, **{"headwater.role": role})


async def _until_stopped(schedule: Schedule) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await schedule.run(stop)
