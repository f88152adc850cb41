"""Whoever asks for what lies in Postgres waits so long and no longer: one that hangs, or is busy, is a 503 that says so."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import httpx
import pytest
import sqlalchemy as sa

from core.errors import DatabaseUnavailable
from core.store.database import STATEMENT_S
from jobs.context import job_context
from jobs.schedule import Schedule
from serving.slate import sign
from tests.serving.proxy import Proxy
from tests.serving.test_away import away
from tests.serving.test_bad_input import problem
from tests.serving.world import World, eventually

__all__ = ["away"]

BUDGET_S = 0.5
NOTICED_S = 10.0  # far beyond the budget, and far below any timeout of a connection


@pytest.fixture(autouse=True)
def small_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.service.RECORD_S", BUDGET_S)
    monkeypatch.setattr("serving.service.REPORT_S", BUDGET_S)


def unavailable(answer: httpx.Response) -> str:
    document = problem(answer, 503)
    assert document["code"] == "database_unavailable"
    assert document["retriable"] is True
    return str(document["detail"])


def test_every_route_that_reads_postgres_gives_up_when_it_hangs_and_works_again_afterwards(
    full_world: World, away: tuple[Proxy, httpx.Client]
) -> None:
    proxy, client = away
    token = sign(str(full_world.settings.secret), datetime.now(UTC))
    paths = (
        "/v1/users/u1", "/v1/users/u1/export", "/v1/users/u1/export.parquet", "/v1/users/u1/similar", f"/v1/slates/{token}",
        "/v1/slates", "/v1/models", "/console", "/console/users/u1",
    )  # fmt: skip
    assert client.get("/v1/users/u1").status_code == 200
    proxy.hang()
    began = time.monotonic()
    with ThreadPoolExecutor(len(paths)) as callers:
        answers = list(callers.map(client.get, paths))
    assert time.monotonic() - began < NOTICED_S
    for path, answer in zip(paths, answers, strict=True):
        assert answer.status_code == 503, path
        if path.startswith("/v1"):
            assert "Postgres" in unavailable(answer)
    for path in ("/healthz", "/v1/items/i3", "/v1/users/u1/recommendations", "/v1/items/i3/content"):
        assert client.get(path).status_code == 200, path
    proxy.mend()
    eventually(lambda: client.get("/v1/users/u1").status_code == 200, within_s=20)
    eventually(lambda: client.get("/v1/slates").status_code == 200, within_s=20)


def test_jobs_are_asked_for_within_a_budget_too(full_world: World) -> None:
    class Hanging(Schedule):
        def history(self, limit: int = 50) -> list[object]:  # type: ignore[override]
            time.sleep(2 * BUDGET_S)
            return []

    with full_world.served(jobs=Hanging(job_context(full_world.settings, full_world.store))) as client:
        assert "took longer" in unavailable(client.get("/v1/jobs"))


def test_what_is_locked_is_waited_for_within_the_budget_and_then_let_go(full_world: World) -> None:
    with full_world.served() as client:
        assert client.get("/v1/users/u1").status_code == 200
        with full_world.store.database.begin() as locking:
            locking.execute(sa.text("LOCK TABLE users IN ACCESS EXCLUSIVE MODE"))
            unavailable(client.get("/v1/users/u1"))
            waits = sa.text(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%users%'"
            )
            # Postgres itself would end the wait for a lock, but only after 5 s.
            eventually(lambda: locking.execute(waits).scalar_one() == 0, within_s=3)
        eventually(lambda: client.get("/v1/users/u1").status_code == 200)


def test_a_statement_takes_no_longer_than_its_context_allows_and_others_as_long_as_ever(world: World) -> None:
    database = world.store.database
    sleep, setting = sa.text("SELECT pg_sleep(20)"), sa.text("SHOW statement_timeout")
    with database.read() as connection:
        usual = connection.execute(setting).scalar_one()
    token = STATEMENT_S.set(0.1)
    try:
        with pytest.raises(DatabaseUnavailable, match="timeout"), database.read() as connection:
            connection.execute(sleep)
        with pytest.raises(DatabaseUnavailable, match="timeout"), database.begin() as connection:
            connection.execute(sleep)
    finally:
        STATEMENT_S.reset(token)
    with database.read() as one, database.read() as other:  # both connections that were used before
        assert one.execute(setting).scalar_one() == other.execute(setting).scalar_one() == usual
