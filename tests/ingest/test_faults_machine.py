"""Faults of the machine, where the system allows them: a full disk, an unplugged cable, a clock that is a day off."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg2
import pytest

from core.bus import Bus
from core.errors import DatabaseUnavailable
from core.events import Interaction
from headwater.postgres import EmbeddedPostgres
from ingest.dead_letters import replay
from tests.ingest.machine import Link, ProxiedBroker, SmallDisk, Unavailable, shifted_clock
from tests.ingest.proxy import Proxy, database_address

if TYPE_CHECKING:
    from tests.ingest.world import World

pytestmark = [
    pytest.mark.usefixtures("sockets_collected"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

StartMember = Callable[..., "subprocess.Popen[str]"]
DAY_S = 86_400


@pytest.fixture
def small_disk() -> Iterator[Callable[[Path, int], SmallDisk]]:
    """Mounts file systems of so many megabytes."""
    mounted: list[SmallDisk] = []

    def mount(place: Path, megabytes: int) -> SmallDisk:
        try:
            mounted.append(SmallDisk(place, megabytes))
        except Unavailable as reason:
            pytest.skip(str(reason))
        return mounted[-1]

    yield mount
    for disk in mounted:
        disk.unmount()


@pytest.fixture
def link() -> Iterator[Link]:
    """A network namespace at the other end of a cable."""
    try:
        one = Link()
    except Unavailable as reason:
        pytest.skip(str(reason))
    yield one
    one.remove()


def test_a_full_disk_is_waited_for(
    worlds: Callable[..., World], home: Path, initialised_home: Path, small_disk: Callable[[Path, int], SmallDisk]
) -> None:
    disk = small_disk(home, 160)
    subprocess.run(["cp", "-a", f"{initialised_home}/.", home], check=True)  # keeps the owner
    server = EmbeddedPostgres(home)
    try:
        world = worlds(database_url=server.start(), ingest_batch_events=500)
        world.publish(world.mixture(1000))
        with world.consumer():
            world.wait_until_settled()
            world.execute("CHECKPOINT")
            disk.fill()
            world.publish(world.mixture(6000))
            world.publish_garbage(*[b"bad"] * 20)
            time.sleep(3)
            stuck = world.reached()
            disk.free()
            world.wait_until_settled()
        assert stuck < 7020, "there was no room for them"
        assert world.troubles() == [], f"seed {world.seed}"
        world.close()
    finally:
        server.stop()


@pytest.mark.slow_fault
def test_a_full_disk_under_the_write_ahead_log_stops_postgres_and_loses_nothing(
    worlds: Callable[..., World], used_home: Path, small_disk: Callable[[Path, int], SmallDisk]
) -> None:
    # Postgres panics, and cannot recover before there is room again; then whoever runs it starts it.
    wal = (used_home / "postgres").resolve() / "data" / "pg_wal"
    kept = wal.rename(wal.with_name("pg_wal.before"))
    disk = small_disk(wal, 80)
    subprocess.run(["cp", "-a", f"{kept}/.", wal], check=True)
    server = EmbeddedPostgres(used_home)
    try:
        url = server.start()
        with Proxy.before(url) as proxy:  # at its next start it will listen at another port
            world = worlds(database_url=proxy.url(url), ingest_batch_events=500)
            world.publish(world.mixture(1000))
            with world.consumer():
                world.wait_until_settled()
                disk.fill()
                world.publish(world.mixture(1000))
                with suppress(psycopg2.Error):
                    for _ in range(10):  # the log moves on to files there is no room for
                        world.execute("SELECT pg_switch_wal()")
                        world.execute("CREATE TABLE IF NOT EXISTS filler (); DROP TABLE filler")
                world.wait_until(lambda: not server.alive(), 30)
                server.stop()
                with pytest.raises(DatabaseUnavailable, match="disk is full"):
                    server.start()
                disk.free()
                proxy.lead_to(database_address(server.start()))
                world.meet_the_judge_again()
                world.wait_until_settled()
            assert world.troubles() == [], f"seed {world.seed}"
            world.close()
    finally:
        server.stop()


@pytest.mark.slow_fault
def test_a_member_whose_cable_is_unplugged_is_replaced_and_is_no_danger_when_it_comes_back(
    worlds: Callable[..., World], database_url: str, tmp_path: Path, start_member: StartMember, link: Link
) -> None:
    # Half-open connections: packets vanish in both directions, and neither end is told.
    with (
        ProxiedBroker(tmp_path / "broker", link.address, patience_s=3) as broker,
        Proxy(database_address(database_url), link.address, patience_s=3) as proxy,
    ):
        addresses = {"database_url": proxy.url(database_url), "kafka_bootstrap": broker.bootstrap}
        world = worlds(**addresses, judge_url=database_url, ingest_batch_events=100)
        world.publish(world.mixture(1000))
        far = start_member(world, inside=link.inside)
        world.wait_until(lambda: world.reached() > 0, 30)
        with world.locked("item_counts", "SHARE"):  # so that it is unplugged within a transaction
            world.publish(world.mixture(1000))
            time.sleep(0.5)
            link.unplug()
        assert not link.reaches(broker.proxy.address)
        assert world.reached() < 2000
        with world.consumer():
            world.wait_until_settled()
            link.plug_in()
            assert link.reaches(broker.proxy.address)
            world.publish(world.interactions(100))
            world.wait_until_settled()
            time.sleep(3)  # what must not happen gets its time
        assert far.poll() is None, "it did not crash"
        assert world.troubles() == [], f"seed {world.seed}"


# A clock


@pytest.fixture
def clock(tmp_path: Path) -> Callable[[int], dict[str, str]]:
    """Environments in which the time of day is so many seconds later."""

    def by(seconds: int) -> dict[str, str]:
        try:
            return shifted_clock(tmp_path / "clock", seconds)
        except Unavailable as reason:
            pytest.skip(str(reason))

    return by


def test_a_consumer_whose_clock_is_a_day_ahead_writes_the_same(
    world: World, start_member: StartMember, clock: Callable[[int], dict[str, str]]
) -> None:
    world.publish(world.mixture(300))
    start_member(world, environ=clock(DAY_S))
    world.wait_until_settled()
    assert world.troubles() == [], f"seed {world.seed}"


def test_what_a_consumer_whose_clock_is_a_day_behind_takes_for_the_future_can_be_replayed(
    worlds: Callable[..., World], start_member: StartMember, clock: Callable[[int], dict[str, str]]
) -> None:
    world = worlds(dead_letter_max_share=1)
    messages = world.interactions(50)
    world.publish(messages)
    member = start_member(world, environ=clock(-DAY_S - 7200))
    world.wait_until_settled()
    member.kill()
    assert world.store.dead_letters.counts() == {"from_the_future": 50}
    with Bus(str(world.settings.kafka_bootstrap), world.settings.topic) as bus:
        assert replay(world.store, bus, world.store.dead_letters.list(replayable=True)) == 50
    with world.consumer():
        world.wait_until(lambda: world.reached() == 100, 30)
    world.ledger.enter_garbage([message.value for message in messages])  # they are that, too
    assert world.troubles() == [], f"seed {world.seed}"


def test_events_dated_a_day_early_or_late_are_taken_and_those_too_far_ahead_are_not(world: World) -> None:
    now, views = datetime.now(UTC), []
    for hours in (-24 * 400, -25, -24, 0, 23):
        views.append(world.event(Interaction(user="u", item="i", kind="view"), time=now + timedelta(hours=hours)))
    world.publish(views)
    early = [
        world.event(Interaction(user="u", item="i", kind="view"), time=now + timedelta(hours=hours)).value
        for hours in (25, 24 * 400)
    ]
    world.publish_garbage(*early)
    with world.consumer():
        world.wait_until_settled()
    assert world.troubles() == []
    assert world.store.dead_letters.counts() == {"from_the_future": 2}
