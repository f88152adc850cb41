"""The schedule, kept in Postgres by procrastinate: each due job runs once however many schedulers there are.

Retries back off; a job whose worker died is found by its missing heartbeat and run again; every run is remembered.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import procrastinate
from procrastinate.connector import BaseConnector
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException

from core.errors import Conflict, DatabaseUnavailable, NotFound
from core.store.database import Database
from core.store.job_runs import JobRun
from core.telemetry import JOB_RUNS, JOB_SECONDS
from jobs.context import JobContext
from jobs.maintain import maintain
from jobs.train import train
from jobs.update import update_transitions

log = logging.getLogger(__name__)

RESCUE_EVERY_S = 30
UPDATES = "updates"  # the queue of what runs every minute: it has a worker of its own, and its successes are not kept
RETRY = procrastinate.RetryStrategy(max_attempts=5, exponential_wait=6)  # after 6, 36, 216, 1296 s


@dataclass(frozen=True)
class Job:
    """A job: what it does with the context and its arguments, the setting that says when, and who may run it."""

    run: Callable[..., object]
    cron_setting: str
    queue: str = "default"


def train_models(context: JobContext, models: Sequence[str] | None = None) -> str:
    """Train models, those of the setting train_models by default."""
    trained = train(list(models or context.settings.models_to_train), context)
    return "; ".join(f"{one.version.name} v{one.version.version} {one.version.state}" for one in trained)


def train_light_models(context: JobContext) -> str:
    """Train the models of the setting light_train_models."""
    return train_models(context, context.settings.light_train_models.split(","))


JOBS: dict[str, Job] = {
    "train": Job(train_models, "train_cron"),
    "train-light": Job(train_light_models, "light_train_cron"),
    "update": Job(update_transitions, "update_cron", queue=UPDATES),
    "maintain": Job(maintain, "maintain_cron"),
}


class Schedule:
    """The jobs of one namespace: run them when due, by hand, and say what ran."""

    def __init__(self, context: JobContext) -> None:
        self._context = context

    def history(self, limit: int = 50) -> Sequence[JobRun]:
        """Runs, newest first."""
        return self._context.store.job_runs.history(limit)

    def run_now(self, name: str, **arguments: Any) -> int:
        """Ask for a run as soon as a worker is free; returns its id. Raises NotFound, Conflict when one already waits."""
        if name not in JOBS:
            raise NotFound(f"there is no job {name!r}; choose from {', '.join(JOBS)}")
        try:
            with self._app(procrastinate.SyncPsycopgConnector).open() as app:
                return int(app.configure_task(name, queueing_lock=name).defer(**arguments))
        except AlreadyEnqueued as error:
            raise Conflict(f"job {name} is waiting to run already") from error
        except ConnectorException as error:
            raise DatabaseUnavailable(f"the schedule's database does not answer: {error}") from error

    async def run(self, stop: asyncio.Event | None = None) -> None:
        """Run due jobs until `stop` is set. Any number of these may run at once."""
        app = self._app()
        async with app.open_async():
            rescue = asyncio.create_task(self._rescue(app))
            # A training takes its time; what is to happen within a minute does not wait for it.
            names = {job.queue for job in JOBS.values()}
            shares = [sorted(share) for share in (names - {UPDATES}, names & {UPDATES}) if share]
            workers = [
                asyncio.create_task(app.run_worker_async(install_signal_handlers=False, concurrency=1, queues=share))
                for share in shares
            ]
            waiting = asyncio.create_task((stop or asyncio.Event()).wait())
            tasks = [rescue, *workers, waiting]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            for task in (*workers, rescue):
                if task.done() and not task.cancelled() and (error := task.exception()):
                    raise error

    async def run_due(self) -> None:
        """Run whatever waits now, then return: for tests and for a one-off catch-up."""
        app = self._app()
        async with app.open_async():
            await app.run_worker_async(install_signal_handlers=False, wait=False, concurrency=1)

    async def _rescue(self, app: procrastinate.App) -> None:
        """Give jobs whose worker died (no heartbeat for 30 s) to another; forget the minute's jobs that succeeded."""
        while True:
            for job in await app.job_manager.get_stalled_jobs():
                log.warning("job %s %s: its worker died; it runs again", job.id, job.task_name)
                await app.job_manager.retry_job(job)
            await app.job_manager.delete_old_jobs(nb_hours=0, queue=UPDATES)
            await asyncio.sleep(RESCUE_EVERY_S)

    def _connection(self) -> dict[str, Any]:
        database: Database = self._context.store.database
        url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        return {"conninfo": url, "kwargs": {"options": f"-csearch_path={database.namespace}"}}

    def _app(self, connector: Callable[..., BaseConnector] = procrastinate.PsycopgConnector) -> procrastinate.App:
        app = procrastinate.App(connector=connector(**self._connection()))
        for name, job in JOBS.items():
            # One at a time per job, in this namespace: `lock` holds runs apart, `queueing_lock` keeps them from piling up.
            task = app.task(name=name, queue=job.queue, retry=RETRY, lock=name, queueing_lock=name)(
                self._runner(name, job)
            )
            cron = getattr(self._context.settings, job.cron_setting)
            if cron != "off":
                app.periodic(cron=cron)(task)
        return app

    def _runner(self, name: str, job: Job) -> Callable[..., Any]:
        def run(timestamp: int | None = None, **arguments: Any) -> str:
            began = time.perf_counter()
            with _counted(name):
                done = job.run(self._context, **arguments)
            JOB_SECONDS.labels(name).observe(time.perf_counter() - began)
            log.info("job %s done in %.1f s: %s", name, time.perf_counter() - began, done)
            return str(done)

        return run


@contextlib.contextmanager
def _counted(name: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        JOB_RUNS.labels(name, "failed").inc()
        raise
    JOB_RUNS.labels(name, "succeeded").inc()
