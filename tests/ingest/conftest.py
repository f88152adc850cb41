"""What the tests of the ingest may ask for: worlds, members of the group, and the run's seed."""

from __future__ import annotations

import gc
import os
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis  # noqa: F401 -- before a consumer freezes what is loaded: hypothesis warns when it comes later
import msgspec
import pytest

from core.settings import Settings
from migrations.run import upgrade
from tests.ingest.world import World

SEED = int(os.environ.get("HEADWATER_TEST_SEED") or random.SystemRandom().randrange(2**32))
SEED_USED: list[str] = []


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """This run's seed, printed at its end; HEADWATER_TEST_SEED repeats it."""
    SEED_USED.append(request.node.nodeid)
    print(f"seed {SEED} (HEADWATER_TEST_SEED={SEED} repeats it)")
    return SEED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if SEED_USED:
        terminalreporter.write_line(f"{len(SEED_USED)} tests of the ingest ran with HEADWATER_TEST_SEED={SEED}")


@pytest.fixture
def quick_settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """Settings with the shortest session the broker takes: a join on the embedded one waits for half of it."""
    services = next(one for one in request.config.pluginmanager.get_plugins() if hasattr(one, "docker_answers"))
    embedded = services.backend("HEADWATER_TEST_KAFKA") == "embedded"
    return msgspec.structs.replace(settings, session_timeout_ms=2000 if embedded else 6000)


@pytest.fixture
def worlds(quick_settings: Settings, seed: int) -> Iterator[Callable[..., World]]:
    """Makes worlds: the first in the test's namespace, each further one in a namespace beside it."""
    made: list[World] = []

    def make(*, judge_url: str | None = None, **changes: Any) -> World:
        name = quick_settings.namespace + (f"_{len(made)}" if made else "")
        settings = msgspec.structs.replace(quick_settings, namespace=name, **changes)
        assert settings.database_url is not None
        if made or "database_url" in changes:
            upgrade(judge_url or settings.database_url, name)
        made.append(World(settings, seed, judge_url))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def sockets_collected() -> Iterator[None]:
    """Has the sockets of failed connections, which kafka-python 3.0.12 leaves to the garbage collector, collected here."""
    yield
    gc.collect()


@pytest.fixture
def world(worlds: Callable[..., World]) -> World:
    return worlds()


@pytest.fixture
def start_member() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts consumer processes of a world; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def start(world: World, *faults: str, **where: Any) -> subprocess.Popen[str]:
        started.append(world.process(*faults, **where))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.communicate()
