"""Workers are killed, suspended, and cut off from what they need: every request takes effect exactly once."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from core.settings import Settings
from headwater.broker import EmbeddedBroker
from headwater.postgres import EmbeddedPostgres
from migrations.run import upgrade
from tests.headwater.test_generate_worker import quick  # noqa: F401 -- a fixture
from tests.headwater.writers import Writers
from tests.ingest.proxy import Proxy, database_address
from tests.texts import Scribe

pytestmark = pytest.mark.slow_fault
FILMS = 80
ROOT = Path(__file__).parents[2]


@pytest.fixture
def writers(quick: Settings) -> Iterator[Writers]:  # noqa: F811
    world = Writers(quick)
    yield world
    world.close()


@pytest.fixture
def collected() -> Iterator[None]:
    """Has the sockets of failed connections, which kafka-python 3.0.12 leaves to the garbage collector, collected here."""
    yield
    gc.collect()


def settled(writers: Writers) -> bool:
    return writers.fresh() == FILMS and not writers.open()


def test_workers_killed_at_random_moments_write_every_text_once_for_each_state_of_its_item(writers: Writers) -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    pick = random.Random(seed)
    writers.films(FILMS)
    running = [writers.process() for _ in range(2)]
    for kill in range(5):
        time.sleep(pick.uniform(1.0, 4.0))
        victim = pick.randrange(2)
        running[victim].kill()
        running[victim].wait()
        running[victim] = writers.process()
        if kill == 2:
            writers.eventually(lambda: settled(writers), 120)
            assert writers.changes() == {1: FILMS}
            writers.films(FILMS, 1996)
    writers.eventually(lambda: settled(writers), 120)
    assert writers.changes() == {2: FILMS}
    assert writers.store.dead_letters.counts() == {}
    for process in running:
        process.send_signal(signal.SIGTERM)
    ended = {process.wait(20) for process in running}
    assert ended <= {0, -signal.SIGTERM}, "the latter where it had only just begun"


def test_a_command_that_is_killed_and_run_again_writes_no_text_twice(writers: Writers) -> None:
    writers.films(150)
    one_by_one = msgspec.structs.replace(writers.settings, content_batch_requests=1)
    command = [sys.executable, "-m", "headwater", "content", "regenerate"]
    for _ in range(2):
        written = writers.fresh()
        process = subprocess.Popen(command, env={**os.environ, **one_by_one.environ()}, cwd=ROOT)
        writers.eventually(lambda: writers.fresh() > written, 90)  # noqa: B023
        process.kill()
        process.wait()
    assert 1 < writers.fresh() < 150
    subprocess.run(command, env={**os.environ, **one_by_one.environ()}, cwd=ROOT, check=True)
    assert writers.fresh() == 150
    assert writers.changes() == {1: 150}


def test_a_suspended_worker_that_wakes_up_writes_nothing_twice(writers: Writers) -> None:
    writers.films(FILMS)
    first = writers.process()
    writers.eventually(lambda: 0 < writers.fresh() < FILMS, 60)
    first.send_signal(signal.SIGSTOP)
    second = writers.process()
    writers.eventually(lambda: settled(writers), 90)
    writers.films(FILMS // 2, 1996)
    first.send_signal(signal.SIGCONT)
    writers.eventually(lambda: settled(writers), 60)
    time.sleep(2)
    assert writers.changes() == {1: FILMS // 2, 2: FILMS // 2}
    assert second.poll() is None


def test_postgres_stopped_at_once_and_started_again(quick: Settings, used_home: Path) -> None:  # noqa: F811
    server = EmbeddedPostgres(used_home)
    try:
        url = server.start()
        upgrade(url, quick.namespace)
        with Proxy.before(url) as proxy:  # at its next start it will listen at another port
            writers = Writers(msgspec.structs.replace(quick, database_url=proxy.url(url)))
            writers.films(FILMS)
            with writers.working(Scribe(seconds=0.3)):
                writers.eventually(lambda: 0 < writers.fresh() < FILMS, 60)
                assert server.pid is not None
                os.kill(server.pid, signal.SIGQUIT)  # an immediate shutdown: recovery comes with the next start
                time.sleep(1)
                server.stop()
                proxy.lead_to(database_address(server.start()))
                writers.eventually(lambda: settled(writers), 90)
            assert writers.changes() == {1: FILMS}
            writers.close()
    finally:
        server.stop()


@pytest.mark.usefixtures("collected")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_broker_that_comes_back_empty_is_told_again_what_is_not_settled(quick: Settings, tmp_path: Path) -> None:  # noqa: F811
    broker = EmbeddedBroker(tmp_path / "broker")
    try:
        writers = Writers(msgspec.structs.replace(quick, kafka_bootstrap=broker.start()))
        writers.films(FILMS)
        with writers.working(Scribe(seconds=0.3)):
            writers.eventually(lambda: 0 < writers.fresh() < FILMS, 60)
            broker.kill()
            time.sleep(2)
            broker.restart()
            writers.eventually(lambda: settled(writers), 100)
        assert writers.changes() == {1: FILMS}
        assert writers.number("SELECT count(DISTINCT topic_id) FROM consumer_offsets WHERE topic LIKE '%content%'") == 2
        writers.close()
    finally:
        broker.stop()
