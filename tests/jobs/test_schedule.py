"""Jobs run once however many schedulers there are, are tried again when they fail, and are remembered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest

from core.errors import Conflict, NotFound
from core.settings import Settings
from core.store import open_store
from jobs.context import JobContext, job_context
from jobs.schedule import JOBS, UPDATES, Job, Schedule
from tests.streams import Writer, habits


@pytest.fixture
def context(settings: Settings) -> Iterator[JobContext]:
    with open_store(settings) as store:
        yield job_context(settings, store)


def test_a_manual_run_does_the_work_and_is_remembered(context: JobContext) -> None:
    Writer(context.store).write(habits(users=20, items=10, length=10))
    schedule = Schedule(context)
    number = schedule.run_now("train", models=["popularity"])
    asyncio.run(schedule.run_due())
    (run,) = [one for one in schedule.history() if one.id == number]
    assert (run.name, run.status, run.attempts) == ("train", "succeeded", 1)
    assert run.started_at is not None
    assert run.finished_at is not None
    assert run.finished_at >= run.started_at
    assert "popularity" in context.registry.live()


def test_a_job_that_waits_already_is_not_queued_twice(context: JobContext) -> None:
    schedule = Schedule(context)
    schedule.run_now("maintain")
    with pytest.raises(Conflict, match="waiting"):
        schedule.run_now("maintain")


def test_a_failing_job_waits_to_be_tried_again(context: JobContext) -> None:
    """There are no events to train on yet."""
    schedule = Schedule(context)
    number = schedule.run_now("train")
    asyncio.run(schedule.run_due())
    (run,) = [one for one in schedule.history() if one.id == number]
    assert (run.status, run.attempts) == ("todo", 1)
    assert run.scheduled_at is not None
    assert run.finished_at is not None
    assert run.scheduled_at > run.finished_at


def test_an_unknown_job_is_refused_by_name(context: JobContext) -> None:
    with pytest.raises(NotFound, match="maintain"):
        Schedule(context).run_now("conquer")


def test_two_schedulers_run_each_due_tick_once(context: JobContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both know the same cron line, due every second; each tick leaves one run."""
    ran: list[int] = []
    monkeypatch.setitem(JOBS, "tick", Job(lambda _context: ran.append(1), "train_cron"))
    for name in [name for name in JOBS if name != "tick"]:
        monkeypatch.delitem(JOBS, name)
    every_second = type(context)(
        Settings(**{**{n: getattr(context.settings, n) for n in Settings.__struct_fields__}, "train_cron": "* * * * * *"}),
        context.store, context.artifacts, context.registry,
    )  # fmt: skip

    async def both() -> None:
        stop = asyncio.Event()
        runs = [asyncio.create_task(Schedule(every_second).run(stop)) for _ in range(2)]
        for _ in range(300):
            await asyncio.sleep(0.1)
            if len(ran) >= 3:
                break
        stop.set()
        await asyncio.gather(*runs)

    asyncio.run(both())
    ticks = [one.args["timestamp"] for one in Schedule(context).history()]
    assert len(ticks) >= 2
    assert len(ticks) == len(set(ticks)), "a tick was queued twice"
    assert len(ran) <= len(ticks)


def test_a_job_whose_worker_died_runs_again(context: JobContext) -> None:
    schedule = Schedule(context)
    number = schedule.run_now("maintain")
    with context.store.database.begin() as connection:
        # What a kill -9 leaves behind: a job in `doing` whose worker has stopped its heartbeat.
        from sqlalchemy import text

        worker = connection.execute(
            text(
                "INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '5 minutes') RETURNING id"
            )
        ).scalar_one()
        connection.execute(
            text("UPDATE procrastinate_jobs SET status = 'doing', attempts = 1, worker_id = :worker WHERE id = :job"),
            {"worker": worker, "job": number},
        )

    async def rescue() -> None:
        stop = asyncio.Event()
        run = asyncio.create_task(schedule.run(stop))
        for _ in range(100):
            await asyncio.sleep(0.1)
            if any(one.id == number and one.status == "succeeded" for one in schedule.history()):
                break
        stop.set()
        await run

    asyncio.run(rescue())
    (run,) = [one for one in schedule.history() if one.id == number]
    assert run.status == "succeeded"


def test_a_training_that_takes_its_time_does_not_hold_up_the_updates_whose_successes_leave_no_trace(
    context: JobContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    training, updated = threading.Event(), threading.Event()

    def train_slowly(_context: JobContext) -> bool:
        training.set()
        return updated.wait(60)

    monkeypatch.setitem(JOBS, "train", Job(train_slowly, "train_cron"))
    monkeypatch.setitem(JOBS, "update", Job(lambda _context: updated.set(), "update_cron", queue=UPDATES))
    monkeypatch.setattr("jobs.schedule.RESCUE_EVERY_S", 0.1)
    for name in JOBS.keys() - {"train", "update"}:
        monkeypatch.delitem(JOBS, name)
    schedule = Schedule(_switched_off(context, "train_cron", "update_cron"))
    schedule.run_now("train")

    async def both() -> None:
        stop = asyncio.Event()
        run = asyncio.create_task(schedule.run(stop))
        assert await asyncio.to_thread(training.wait, 30)
        schedule.run_now("update")
        assert await asyncio.to_thread(updated.wait, 30)
        for _ in range(100):
            await asyncio.sleep(0.1)
            if [(one.name, one.status) for one in schedule.history()] == [("train", "succeeded")]:
                break
        stop.set()
        await run

    asyncio.run(both())
    assert [(one.name, one.status) for one in schedule.history()] == [("train", "succeeded")]


def test_a_job_that_is_off_is_never_due(context: JobContext) -> None:
    due = Schedule(_switched_off(context, "train_cron"))._app().periodic_registry.periodic_tasks
    assert {name for name, _ in due} == JOBS.keys() - {"train"}


def _switched_off(context: JobContext, *crons: str) -> JobContext:
    return replace(context, settings=msgspec.structs.replace(context.settings, **dict.fromkeys(crons, "off")))


def test_the_light_training_is_of_the_models_that_the_settings_name(context: JobContext) -> None:
    Writer(context.store).write(habits(users=20, items=10, length=10))
    schedule = Schedule(context)
    schedule.run_now("train-light")
    schedule.run_now("update")
    asyncio.run(schedule.run_due())
    assert {one.name for one in context.registry.versions()} == {"popularity", "transitions"}
    assert {one.status for one in schedule.history()} == {"succeeded"}
