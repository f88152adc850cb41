"""Faults of the broker and of the way to it, injected for real, with the ledger as judge."""

from __future__ import annotations

import os
import signal
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headwater.broker import EmbeddedBroker
from ingest.consumer import Consumer
from tests.ingest.machine import ProxiedBroker

if TYPE_CHECKING:
    from tests.ingest.world import World

pytestmark = [
    pytest.mark.usefixtures("sockets_collected"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """An embedded broker of the test's own, to be killed: what it held is gone then."""
    one = EmbeddedBroker(tmp_path / "broker")
    one.start()
    yield one
    one.stop()


@pytest.fixture
def far_broker(tmp_path: Path) -> Iterator[ProxiedBroker]:
    """A broker behind a proxy: what breaks is the way to it, and its log stays."""
    with ProxiedBroker(tmp_path / "broker") as one:
        yield one


def test_a_broker_killed_and_restarted_empty_is_read_from_its_start(
    broker: EmbeddedBroker, worlds: Callable[..., World]
) -> None:
    world = worlds(kafka_bootstrap=f"127.0.0.1:{broker._port}")
    messages = world.interactions(200)
    world.publish(messages)
    with world.consumer():
        world.wait_until_settled()
        broker.restart()  # in memory only: the topic comes back empty, under another id
        world.disconnect()
        world.publish([*messages, *world.interactions(100)])
        world.wait_until_settled()
    assert world.troubles() == []
    assert world.number("SELECT count(DISTINCT topic_id) FROM consumer_offsets") == 2


def test_a_broker_that_is_not_there_yet_is_waited_for(broker: EmbeddedBroker, worlds: Callable[..., World]) -> None:
    world = worlds(kafka_bootstrap=f"127.0.0.1:{broker._port}")
    broker.kill()
    with world.consumer() as stop:
        stop.wait(1)
        assert not stop.is_set(), "it gave up"
        broker.restart()
        world.publish(world.interactions(50))
        world.wait_until_settled()
    assert world.troubles() == []


def test_a_broker_that_is_out_of_reach_for_a_while_is_read_on_where_it_was_left(
    far_broker: ProxiedBroker, worlds: Callable[..., World]
) -> None:
    world = worlds(kafka_bootstrap=far_broker.bootstrap, ingest_batch_events=50)
    world.publish(world.mixture(1500))
    with world.consumer():
        world.wait_until(lambda: world.reached() > 0, 30)
        far_broker.proxy.refusing.set()
        far_broker.proxy.cut()
        time.sleep(1.5)
        before = world.reached()
        far_broker.proxy.refusing.clear()
        world.publish(world.interactions(100))
        world.wait_until_settled()
    assert before < 1600
    assert far_broker.proxy.connections_cut > 0
    assert world.troubles() == [], f"seed {world.seed}"
    assert world.number("SELECT count(DISTINCT topic_id) FROM consumer_offsets") == 1, "nothing was read anew"


@pytest.mark.slow_fault
def test_connections_to_the_broker_that_fall_silent_are_given_up(
    far_broker: ProxiedBroker, worlds: Callable[..., World]
) -> None:
    world = worlds(kafka_bootstrap=far_broker.bootstrap, ingest_batch_events=50)
    world.publish(world.mixture(1500))
    with world.consumer():
        world.wait_until(lambda: world.reached() > 0, 30)
        far_broker.proxy.silent.set()
        time.sleep(4)  # twice the session: the group has given the member up, and could not tell it
        far_broker.proxy.cut()
        far_broker.proxy.silent.clear()
        world.publish(world.interactions(100))
        world.wait_until_settled()
    assert world.troubles() == [], f"seed {world.seed}"


@pytest.mark.slow_fault
def test_a_slow_way_to_the_broker_is_only_slow(far_broker: ProxiedBroker, worlds: Callable[..., World]) -> None:
    world = worlds(kafka_bootstrap=far_broker.bootstrap, ingest_batch_events=50)
    world.publish(world.mixture(300))
    far_broker.proxy.delay_s, far_broker.proxy.bytes_per_s = 0.1, 100_000
    with world.consumer():
        world.wait_until_settled()
    far_broker.proxy.delay_s = far_broker.proxy.bytes_per_s = 0
    assert world.troubles() == [], f"seed {world.seed}"


@pytest.mark.slow_fault
def test_a_frozen_broker_is_waited_for(far_broker: ProxiedBroker, worlds: Callable[..., World]) -> None:
    world = worlds(kafka_bootstrap=far_broker.bootstrap, ingest_batch_events=50)
    world.publish(world.mixture(1500))
    with world.consumer():
        world.wait_until(lambda: world.reached() > 0, 30)
        os.kill(far_broker.pid, signal.SIGSTOP)
        time.sleep(5)
        os.kill(far_broker.pid, signal.SIGCONT)
        world.publish(world.interactions(100))
        world.wait_until_settled()
    assert world.troubles() == [], f"seed {world.seed}"


def test_what_a_lost_membership_left_behind_is_collected_when_the_next_begins(world: World) -> None:
    # Sockets of failed connections are among it; a consumer that froze them would run out of descriptors one day.
    class Cycle:
        def __init__(self) -> None:
            self.itself = self

    consumer = Consumer(world.settings, world.store, lambda report: None)
    with consumer.join():
        gone = weakref.ref(Cycle())
    with consumer.join():
        assert gone() is None
