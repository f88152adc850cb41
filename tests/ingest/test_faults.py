"""Faults of Postgres and of the way to it, injected for real, with the ledger as judge.

Every message is one row or one dead letter, never two, never none. test_faults_*.py do the same to the broker, to the
members, and to the machine. Those marked slow_fault run in `make test-faults`.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headwater.postgres import EmbeddedPostgres
from tests.ingest.proxy import Proxy, database_address

if TYPE_CHECKING:
    from tests.ingest.world import World

ACTIVE = (
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid() AND state <> 'idle'"
)


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    """A proxy before this test's database."""
    with Proxy.before(database_url) as one:
        yield one


@pytest.fixture
def far_world(worlds: Callable[..., World], proxy: Proxy, database_url: str) -> World:
    """A world whose consumers reach Postgres through the proxy; the ledger does not."""
    return worlds(database_url=proxy.url(database_url), judge_url=database_url, ingest_batch_events=50)


def test_a_connection_terminated_in_mid_batch_loses_and_doubles_nothing(worlds: Callable[..., World]) -> None:
    world = worlds(ingest_batch_events=40)
    world.publish(world.interactions(2000))
    cuts = 0
    with world.consumer():
        while world.reached() < 2000 and cuts < 6:
            cuts += world.number(ACTIVE)
            time.sleep(world.random.uniform(0, 0.1))
        world.wait_until_settled()
    assert cuts > 0
    assert world.troubles() == [], f"seed {world.seed}"


def test_a_commit_whose_answer_is_lost_counts_once(far_world: World, proxy: Proxy) -> None:
    world = far_world
    world.publish(world.mixture(1000))
    world.publish_garbage(*[b"bad"] * 20)
    with world.consumer():
        for _ in range(4):
            proxy.lose_next_commit()
            world.wait_until(lambda: not proxy.losing or world.reached() >= 1020, 30)
        world.wait_until_settled()
    assert proxy.commits_lost >= 2
    assert world.troubles() == [], f"seed {world.seed}"


def test_connections_that_are_reset_lose_and_double_nothing(far_world: World, proxy: Proxy) -> None:
    world = far_world
    world.publish(world.mixture(1500))
    with world.consumer():
        for _ in range(5):
            reached = world.reached()
            world.wait_until(lambda before=reached: world.reached() > before or world.reached() >= 1500, 30)  # type: ignore[misc]
            proxy.cut()
            time.sleep(world.random.uniform(0, 0.3))
        world.wait_until_settled()
    assert proxy.connections_cut > 0
    assert world.troubles() == [], f"seed {world.seed}"


def test_connections_that_fall_silent_and_are_reset_later_lose_and_double_nothing(
    far_world: World, proxy: Proxy
) -> None:
    # Nothing passes, not even the end of a connection; what waits in between may or may not have been committed.
    world = far_world
    world.publish(world.mixture(1500))
    with world.consumer():
        world.wait_until(lambda: world.reached() > 0, 30)
        proxy.silent.set()
        time.sleep(2.5)
        assert world.reached() < 1500
        proxy.cut()
        proxy.silent.clear()
        world.wait_until_settled()
    assert world.troubles() == [], f"seed {world.seed}"


@pytest.mark.slow_fault
def test_a_slow_connection_is_only_slow(far_world: World, proxy: Proxy) -> None:
    world = far_world
    proxy.delay_s, proxy.bytes_per_s = 0.02, 100_000
    world.publish(world.mixture(250))
    with world.consumer():
        world.wait_until_settled(90)
    assert world.troubles() == [], f"seed {world.seed}"
    assert world.number("SELECT max(epoch) FROM consumer_offsets") == 1, "nobody took over meanwhile"


@pytest.mark.slow_fault
def test_a_locked_table_is_waited_for_and_a_stop_does_not_wait_with_it(world: World) -> None:
    world.publish(world.interactions(100))
    with world.locked("events"):
        with world.consumer():
            time.sleep(2)
        assert world.reports == []
    with world.consumer():
        world.wait_until_settled()
    assert world.troubles() == []


@pytest.mark.slow_fault
def test_postgres_stopped_at_once_and_started_again(worlds: Callable[..., World], home: Path) -> None:
    server = EmbeddedPostgres(home)
    try:
        url = server.start()
        with Proxy.before(url) as proxy:  # at its next start it will listen at another port
            world = worlds(database_url=proxy.url(url), ingest_batch_events=100)
            world.publish(world.mixture(1500))
            with world.consumer():
                world.wait_until(lambda: len(world.reports) > 2, 30)
                assert server.pid is not None
                os.kill(server.pid, signal.SIGQUIT)  # an immediate shutdown: recovery comes with the next start
                world.publish(world.interactions(300))
                time.sleep(1)
                server.stop()
                proxy.lead_to(database_address(server.start()))
                world.meet_the_judge_again()
                world.wait_until_settled()
            assert world.troubles() == [], f"seed {world.seed}"
    finally:
        server.stop()
