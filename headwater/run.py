"""The roles, one function each: what `headwater ingest | serve | schedule | generate-worker` run until they are stopped."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, contextmanager, suppress
from threading import Event, Thread

import typer
from prometheus_client import start_http_server

from core.errors import Conflict, DatabaseUnavailable
from core.settings import Settings
from core.store import Store, open_store
from core.tracing import exporting
from headwater.services import attach
from ingest.consumer import BatchReport, run_consumer
from jobs.context import job_context
from jobs.schedule import Schedule

log = logging.getLogger(__name__)

STOP_S = 9.0  # longer than a lock is waited for and a group left, shorter than who stops us usually waits


def ingest(ctx: typer.Context) -> None:
    """Consume events from Kafka into Postgres, exactly once in effect. Run as many as the topic has partitions."""
    with stopping() as stop, _role(ctx.obj, "ingest") as (settings, store):
        consuming: Future[None] = Future()

        def consume() -> None:
            try:
                run_consumer(settings, store, stop=stop, on_batch=_LagTold(store))
                consuming.set_result(None)
            except BaseException as error:  # noqa: BLE001 -- raised again below
                consuming.set_exception(error)
            stop.set()

        # In a thread, because a signal is heard only here, and not by a thread that waits for a Postgres that hangs.
        Thread(target=consume, name="ingest", daemon=True).start()
        stop.wait()
        if not wait([consuming], timeout=STOP_S).done:
            log.error("the batch under way is given up: Postgres does not answer. Whoever comes next reads it again")
            os._exit(75)  # EX_TEMPFAIL; the thread cannot be interrupted
        consuming.result()


def serve(ctx: typer.Context) -> None:
    """Answer recommendation requests, take events, show the console. Stateless: run any number behind a balancer."""
    from serving.server import (
        serve as serve_http,
    )  # after the arguments were understood: it loads the models' libraries

    settings = attach(ctx.obj)
    with open_store(settings, pool=32) as store, traced(settings, "serve"):
        serve_http(settings, store, Schedule(job_context(settings, store)))


def schedule(ctx: typer.Context) -> None:
    """Run jobs when they are due: train, generate, maintain. Any number may run; each due job runs once."""
    with _role(ctx.obj, "schedule") as (settings, store):
        jobs = Schedule(job_context(settings, store))
        with suppress(Conflict):  # it waits to run already
            jobs.run_now("maintain")  # a new system has its months before it has many events
        asyncio.run(_until_stopped(jobs))


def generate_worker(ctx: typer.Context) -> None:
    """Run only the jobs that write texts: for machines that have the text model's GPU."""
    with _role(ctx.obj, "generate-worker") as (settings, store):
        asyncio.run(_until_stopped(Schedule(job_context(settings, store)), queues=("generate",)))


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


async def _until_stopped(schedule: Schedule, queues: tuple[str, ...] | None = None) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await schedule.run(stop, queues)
