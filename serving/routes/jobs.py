"""Jobs: what ran, and running one now."""

from __future__ import annotations

from litestar import get, post

from core.errors import Unavailable
from serving.problems import documented
from serving.routes.parameters import ADMIN, Limit, Name, Serving
from serving.service import Jobs, Service, run
from serving.shapes import JobRunAnswer, JobStarted

TAGS = ["jobs"]


@get("/jobs", opt=ADMIN, responses=documented(), tags=TAGS, summary="Runs of jobs, newest first")
async def list_jobs(service: Serving, limit: Limit = 50) -> list[JobRunAnswer]:
    """From the schedule, whichever process ran them."""
    runs = await run(service.threads.database, schedule(service).history, limit)
    return [
        JobRunAnswer(
            one.id, one.name, one.status, one.attempts, one.scheduled_at, one.started_at, one.finished_at
        )
        for one in runs
    ]  # fmt: skip


@post(
    "/jobs/{name:str}/run", status_code=202, opt=ADMIN, responses=documented(404, 409), tags=TAGS,
    summary="Run a job as soon as a worker is free",
)  # fmt: skip
async def run_job(service: Serving, name: Name) -> JobStarted:
    """409 when a run of it waits already."""
    return JobStarted(await run(service.threads.database, schedule(service).run_now, name), name)


def schedule(service: Service) -> Jobs:
    """The schedule. Raises Unavailable when this server was started without one."""
    if service.jobs is None:
        raise Unavailable("this server has no schedule: start it with `headwater up` or `headwater serve`")
    return service.jobs


ROUTES = [list_jobs, run_job]
