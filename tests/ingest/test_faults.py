"""Faults, injected for real, with the ledger as judge. Every message is one row or one dead letter, never two, never none.

The negative controls at the end take the fence away: the same ledger must then complain, or it would prove nothing.
Those marked slow_fault run in `make test-faults`.
"""

from __future__ import annotations

import gc
import os
import runpy
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy.engine import make_url

from core.errors import Fenced
from core.events import decode
from core.store.events import Advance, Coordinates, EventStore, Received
from core.store.rows import RowWriter
from headwater.broker import EmbeddedBroker
from headwater.postgres import EmbeddedPostgres

if TYPE_CHECKING:
    from tests.ingest.conftest import World

# kafka-python 3.0.12 leaves the sockets of failed connections to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

StartMember = Callable[..., "subprocess.Popen[str]"]


def wait_for_line(member: subprocess.Popen[str]) -> None:
    """Wait until a member with the fault `say` is about to write."""
    assert member.stdout is not None
    assert member.stdout.readline() == "appending\n"


# Postgres


def test_a_connection_terminated_in_mid_batch_loses_and_doubles_nothing(worlds: Callable[..., World]) -> None:
    world = worlds(ingest_batch_events=40)
    world.publish(world.interactions(2000))
    cuts = 0
    with world.consumer():
        while world.reached() < 2000 and cuts < 6:
            cuts += world.number(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() "
                "AND pid <> pg_backend_pid() AND state <> 'idle'"
            )
            time.sleep(world.random.uniform(0, 0.1))
        world.wait_until_settled()
    assert cuts > 0
    assert world.troubles() == [], f"seed {world.seed}"


def test_a_commit_whose_answer_is_lost_counts_once(worlds: Callable[..., World], database_url: str) -> None:
    with Proxy(database_url) as proxy:
        world = worlds(database_url=proxy.url, ingest_batch_events=50)
        world.publish(world.mixture(1000))
        world.publish_garbage(*[b"bad"] * 20)
        with world.consumer():
            for _ in range(4):
                proxy.lose_next_commit.set()
                world.wait_until(lambda: not proxy.lose_next_commit.is_set() or world.reached() >= 1020, 30)
            world.wait_until_settled()
        assert proxy.lost >= 2
        assert world.troubles() == [], f"seed {world.seed}"


@pytest.mark.slow_fault
def test_a_locked_table_is_waited_for_and_a_stop_does_not_wait_with_it(world: World) -> None:
    world.publish(world.interactions(100))
    world.execute("BEGIN")
    world.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
    with world.consumer():
        threading.Event().wait(2)
    assert world.reports == []
    world.execute("COMMIT")
    with world.consumer():
        world.wait_until_settled()
    assert world.troubles() == []


@pytest.mark.slow_fault
def test_postgres_stopped_at_once_and_started_again(worlds: Callable[..., World], home: Path) -> None:
    server = EmbeddedPostgres(home)
    try:
        with Proxy(server.start()) as proxy:  # at its next start it will listen at another port
            world = worlds(database_url=proxy.url, ingest_batch_events=100)
            world.publish(world.mixture(1500))
            with world.consumer():
                world.wait_until(lambda: len(world.reports) > 2, 30)
                assert server.pid is not None
                os.kill(server.pid, signal.SIGQUIT)  # an immediate shutdown: recovery comes with the next start
                world.publish(world.interactions(300))
                time.sleep(1)
                server.stop()
                proxy.lead_to(server.start())
                world.meet_the_judge_again()
                world.wait_until_settled()
            assert world.troubles() == [], f"seed {world.seed}"
    finally:
        server.stop()


class Proxy:
    """A TCP proxy before Postgres that can swallow the answer to a COMMIT and hang up instead."""

    def __init__(self, url: str) -> None:
        self.lead_to(url)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = (
            make_url(url)
            .set(host="127.0.0.1", port=self._listener.getsockname()[1])
            .render_as_string(hide_password=False)
        )
        self.lose_next_commit = threading.Event()
        self.lost = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def lead_to(self, url: str) -> None:
        """Lead new connections to the server at `url`."""
        self._target = (make_url(url).host or "127.0.0.1", make_url(url).port or 5432)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._target)
            except OSError:
                shut(client)
                continue
            hang_up = threading.Event()
            for pump in (self._requests, self._answers):
                threading.Thread(target=pump, args=(client, server, hang_up), daemon=True).start()

    def _requests(self, client: socket.socket, server: socket.socket, hang_up: threading.Event) -> None:
        while data := receive(client):
            if b"COMMIT\0" in data and self.lose_next_commit.is_set():
                hang_up.set()
            send(server, data)
        shut(server)

    def _answers(self, client: socket.socket, server: socket.socket, hang_up: threading.Event) -> None:
        while data := receive(server):
            if hang_up.is_set():  # Postgres has answered, so it has committed; nobody will hear of it
                self.lost += 1
                self.lose_next_commit.clear()
                break
            send(client, data)
        shut(client)
        shut(server)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc: object) -> None:
        shut(self._listener)


def receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except OSError:
        return b""


def send(connection: socket.socket, data: bytes) -> None:
    try:
        connection.sendall(data)
    except OSError:
        shut(connection)


def shut(connection: socket.socket) -> None:
    """Close for good, also where another thread waits in recv()."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


# The broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """An embedded broker of the test's own, to be killed."""
    one = EmbeddedBroker(tmp_path / "broker")
    one.start()
    yield one
    one.stop()
    gc.collect()


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


# Members


def test_a_member_killed_at_a_random_moment_and_restarted(
    worlds: Callable[..., World], start_member: StartMember
) -> None:
    world = worlds(ingest_batch_events=200)
    world.publish(world.mixture(3000))
    world.publish_garbage(*[b"bad"] * 30)
    first = start_member(world, "say")
    for _ in range(world.random.randrange(1, 6)):
        wait_for_line(first)
    time.sleep(world.random.uniform(0, 0.4))
    first.kill()
    start_member(world)
    world.wait_until_settled()
    assert world.troubles() == [], f"seed {world.seed}"


@pytest.mark.slow_fault
def test_two_members_killed_again_and_again(worlds: Callable[..., World], start_member: StartMember) -> None:
    world = worlds(ingest_batch_events=100)
    members = [start_member(world), start_member(world)]
    for _ in range(6):
        world.publish(world.mixture(2000))
        world.publish_garbage(*[b"bad"] * 10)
        time.sleep(world.random.uniform(0.5, 4))
        victim = world.random.randrange(2)
        members[victim].kill()
        members[victim] = start_member(world)
    world.wait_until_settled(120)
    assert world.troubles() == [], f"seed {world.seed}"


@pytest.mark.slow_fault
def test_members_that_come_and_go_every_two_seconds(worlds: Callable[..., World], start_member: StartMember) -> None:
    world = worlds(ingest_batch_events=200)
    members = [start_member(world), start_member(world)]
    for _ in range(8):
        world.publish(world.mixture(1000))
        time.sleep(2)
        if len(members) > 2 or (len(members) == 2 and world.random.random() < 0.4):
            leaver = members.pop(world.random.randrange(len(members)))
            leaver.terminate()
        else:
            members.append(start_member(world))
    world.wait_until_settled(120)
    assert world.troubles() == [], f"seed {world.seed}"
    for member in members:
        member.terminate()
        assert member.wait(15) in (0, -signal.SIGTERM), "each left in order, or had not begun"


@pytest.mark.slow_fault
def test_a_table_locked_for_a_minute_costs_no_membership(world: World, start_member: StartMember) -> None:
    world.publish(world.interactions(500))
    world.execute("BEGIN")
    world.execute("LOCK TABLE event_keys IN ACCESS EXCLUSIVE MODE")
    with world.consumer():
        threading.Event().wait(60)
        world.execute("COMMIT")
        world.wait_until_settled()
    assert world.troubles() == []
    assert world.number("SELECT max(epoch) FROM consumer_offsets") == 1, "nobody took over meanwhile"


def awake_after_being_replaced(world: World, start_member: StartMember, *faults: str) -> subprocess.Popen[str]:
    """A member is frozen just before it writes, another reads everything, then the first one wakes up and writes."""
    world.publish(world.interactions(300))
    zombie = start_member(world, "say", *faults)
    wait_for_line(zombie)
    zombie.send_signal(signal.SIGSTOP)
    start_member(world, *faults)
    world.wait_until_settled()
    zombie.send_signal(signal.SIGCONT)
    time.sleep(3)  # nothing can be waited for: what must not happen gets its time
    return zombie


@pytest.mark.slow_fault
def test_a_frozen_member_that_wakes_up_changes_nothing(world: World, start_member: StartMember) -> None:
    # Without identities the fence alone has to hold.
    zombie = awake_after_being_replaced(world, start_member, "no-identity")
    assert zombie.poll() is None, "it did not crash either"
    assert doubled(world) == 0, f"seed {world.seed}"
    assert world.rows() == 300


@pytest.mark.slow_fault
def test_without_the_fence_the_ledger_reports_what_a_frozen_member_doubles(
    world: World, start_member: StartMember
) -> None:
    awake_after_being_replaced(world, start_member, "no-identity", "no-fence")
    assert doubled(world) > 0, "the negative control: a ledger that sees no difference proves nothing"
    assert any("times: e" in trouble for trouble in world.troubles())


def doubled(world: World) -> int:
    """Events that were inserted more than once."""
    return world.number("SELECT count(*) FROM (SELECT id FROM events GROUP BY id HAVING count(*) > 1) doubles")


# The same without processes and without waiting: an owner, a new owner, and the first one's late write.


@pytest.fixture
def faults() -> dict[str, Any]:
    """The faults that a member can have, for this process."""
    return runpy.run_path(str(Path(__file__).with_name("member.py")))


def write_late(world: World) -> None:
    """The first owner writes its batch after the second one has written the same."""
    raw = [message.value for message in world.interactions(20)]
    world.published.update(decode(one).id for one in raw)
    batch = [Received(decode(one), Coordinates("t", "id", 0, offset), len(one)) for offset, one in enumerate(raw)]
    first = world.store.events.claim("t", "id", 0)
    second = world.store.events.claim("t", "id", 0)
    world.store.events.append(batch, [], [Advance(second, 20)])
    world.store.events.append(batch[:10], [], [Advance(first, 10)])


def test_the_late_write_of_a_former_owner_is_refused(
    world: World, faults: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RowWriter, "insert", faults["insert_everything"])
    with pytest.raises(Fenced):
        write_late(world)
    assert doubled(world) == 0
    assert world.reached() == 20


def test_without_the_fence_the_ledger_reports_the_late_write(
    world: World, faults: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RowWriter, "insert", faults["insert_everything"])
    monkeypatch.setattr(EventStore, "_advance", faults["advance_unfenced"])
    write_late(world)
    assert sum("2 times: e" in trouble for trouble in world.troubles()) == 10
    assert world.reached() == 10, "and the offset went back"
