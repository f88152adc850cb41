"""Faults of the consumers themselves: killed, frozen, replaced, come and gone. The ledger judges.

SIGKILL strikes at points that are held open for it, and at random ones. The negative controls at the end take the fence
away, or an event: the same ledger must then complain, or it would prove nothing.
"""

from __future__ import annotations

import runpy
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import Fenced
from core.events import decode
from core.store.events import Advance, Coordinates, EventStore, Received
from tests.ingest.proxy import Proxy

if TYPE_CHECKING:
    from tests.ingest.world import World

StartMember = Callable[..., "subprocess.Popen[str]"]
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


def wait_for_line(member: subprocess.Popen[str], line: str = "appending") -> None:
    """Wait until a member with the fault `say` is about to write, or whatever else it says."""
    assert member.stdout is not None
    assert member.stdout.readline() == f"{line}\n"


# Killed where it hurts


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    """A proxy before this test's database."""
    with Proxy.before(database_url) as one:
        yield one


@pytest.fixture
def far_world(worlds: Callable[..., World], proxy: Proxy, database_url: str) -> World:
    """A world whose members reach Postgres through the proxy, and have something to do."""
    world = worlds(database_url=proxy.url(database_url), judge_url=database_url, ingest_batch_events=200)
    world.publish(world.mixture(500))
    world.publish_garbage(*[b"bad"] * 10)
    return world


@contextmanager
def successor_settles(world: World, start_member: StartMember) -> Iterator[None]:
    """After the block another member starts, finishes the work, and the ledger agrees."""
    yield
    start_member(world)
    world.wait_until_settled()
    assert world.troubles() == [], f"seed {world.seed}"


def test_killed_after_the_poll(far_world: World, start_member: StartMember) -> None:
    with successor_settles(far_world, start_member):
        member = start_member(far_world, "stop-at-poll")
        wait_for_line(member, "polled")
        member.kill()
        assert far_world.reached() == 0


def test_killed_in_the_middle_of_the_insert(far_world: World, start_member: StartMember) -> None:
    # Rows are written before counts. When the lock goes, the statement goes on, and nobody will commit it.
    with successor_settles(far_world, start_member), far_world.locked("item_counts", "SHARE"):
        member = start_member(far_world)
        far_world.wait_until(lambda: far_world.number(WAITING) > 0, 30)
        member.kill()


@pytest.mark.parametrize("delivered", [False, True], ids=["and-the-message-is-lost", "and-the-message-arrives"])
def test_killed_while_its_commit_is_on_the_way(
    far_world: World, proxy: Proxy, start_member: StartMember, delivered: bool
) -> None:
    with successor_settles(far_world, start_member):
        member = start_member(far_world, "say")
        wait_for_line(member)
        proxy.stop_commit("request")
        assert proxy.stopped.wait(30)
        member.kill()
        member.wait()
        assert far_world.reached() == 0
        proxy.go_on(deliver=delivered)
        if delivered:
            far_world.wait_until(lambda: far_world.reached() > 0, 30)


def test_killed_before_it_hears_that_its_commit_was_executed(
    far_world: World, proxy: Proxy, start_member: StartMember
) -> None:
    with successor_settles(far_world, start_member):
        member = start_member(far_world, "say")
        wait_for_line(member)
        proxy.stop_commit("answer")
        assert proxy.stopped.wait(30)
        assert far_world.reached() > 0
        member.kill()
        proxy.go_on(deliver=False)


def test_killed_at_a_random_moment(worlds: Callable[..., World], start_member: StartMember) -> None:
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


# Come and gone


@pytest.mark.slow_fault
def test_members_come_and_go_and_are_killed_while_another_tenants_table_is_locked_for_a_minute(
    worlds: Callable[..., World], start_member: StartMember
) -> None:
    # Two faults at once, so that the minute is waited for only once.
    world, locked = worlds(ingest_batch_events=200), worlds()
    locked.publish(locked.interactions(500))
    until = time.monotonic() + 60
    with locked.consumer():
        with locked.locked("event_keys"):
            members = come_and_go(world, start_member)
            for _ in range(4):
                world.publish(world.mixture(1500))
                world.publish_garbage(*[b"bad"] * 10)
                time.sleep(world.random.uniform(0.5, 3))
                members.pop(world.random.randrange(len(members))).kill()
                members.append(start_member(world))
            world.wait_until_settled(120)
            time.sleep(max(0.0, until - time.monotonic()))
            assert locked.rows() == 0
        locked.wait_until_settled()
    assert world.troubles() == [], f"seed {world.seed}"
    assert locked.troubles() == [], f"seed {world.seed}"
    assert locked.number("SELECT max(epoch) FROM consumer_offsets") == 1, "waiting costs no membership"
    for member in members:
        member.terminate()
        assert member.wait(15) in (0, -signal.SIGTERM), "each left in order, or had not begun"


def come_and_go(world: World, start_member: StartMember) -> list[subprocess.Popen[str]]:
    """Two to four members; every two seconds one more, or one less. Returns those that are left."""
    members = [start_member(world), start_member(world)]
    for _ in range(8):
        world.publish(world.mixture(1000))
        time.sleep(2)
        if len(members) > 3 or (len(members) > 2 and world.random.random() < 0.5):
            members.pop(world.random.randrange(len(members))).terminate()
        else:
            members.append(start_member(world))
    return members


# Frozen


def forget_identities(world: World) -> None:
    """Let the database take any event any number of times: the fence alone has to hold."""
    world.execute("ALTER TABLE event_keys DROP CONSTRAINT event_keys_pkey")


def awake_after_being_replaced(world: World, start_member: StartMember, *faults: str) -> subprocess.Popen[str]:
    """A member is frozen just before it writes, another reads everything, then the first one wakes up and writes."""
    forget_identities(world)
    world.publish(world.interactions(300))
    zombie = start_member(world, "say", *faults)
    wait_for_line(zombie)
    zombie.send_signal(signal.SIGSTOP)
    start_member(world, *faults)
    world.wait_until_settled()
    zombie.send_signal(signal.SIGCONT)
    return zombie


@pytest.mark.slow_fault
def test_a_frozen_member_that_wakes_up_changes_nothing(world: World, start_member: StartMember) -> None:
    zombie = awake_after_being_replaced(world, start_member)
    time.sleep(3)  # nothing can be waited for: what must not happen gets its time
    assert zombie.poll() is None, "it did not crash either"
    assert world.troubles() == [], f"seed {world.seed}"


@pytest.mark.slow_fault
def test_without_the_fence_the_ledger_reports_what_a_frozen_member_doubles(
    world: World, start_member: StartMember
) -> None:
    awake_after_being_replaced(world, start_member, "no-fence")
    # The negative control: a ledger that sees no difference proves nothing.
    world.wait_until(lambda: any("times: e" in trouble for trouble in world.troubles()), 15)


# The same without processes and without waiting: an owner, a new owner, and the first one's late write.


@pytest.fixture
def faults() -> dict[str, Any]:
    """The faults that a member can have, for this process."""
    return runpy.run_path(str(Path(__file__).with_name("member.py")))


def write_late(world: World) -> None:
    """The first owner writes its batch after the second one has written the same."""
    forget_identities(world)
    raw = [message.value for message in world.interactions(20)]
    world.ledger.enter(raw)
    batch = [Received(decode(one), Coordinates("t", "id", 0, offset), len(one)) for offset, one in enumerate(raw)]
    first = world.store.events.claim("t", "id", 0)
    second = world.store.events.claim("t", "id", 0)
    world.store.events.append(batch, [], [Advance(second, 20)])
    world.store.events.append(batch[:10], [], [Advance(first, 10)])


def test_the_late_write_of_a_former_owner_is_refused(world: World) -> None:
    with pytest.raises(Fenced):
        write_late(world)
    assert world.troubles() == []
    assert world.reached() == 20


def test_without_the_fence_the_ledger_reports_the_late_write(
    world: World, faults: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EventStore, "_advance", faults["advance_unfenced"])
    write_late(world)
    assert sum("2 times: e" in trouble for trouble in world.troubles()) == 10
    assert world.reached() == 10, "and the offset went back"


# The ledger, judged in turn: whatever is taken away, added or changed behind the consumer's back, it has to say so.


def test_the_ledger_notices_whatever_is_wrong(world: World) -> None:
    world.publish(world.mixture(200))
    world.publish_garbage(b"bad", b"worse")
    with world.consumer():
        world.wait_until_settled()
    assert world.troubles() == []
    damage = {
        "lost: ": "DELETE FROM events WHERE id = (SELECT min(id) FROM events)",
        "invented: ": "UPDATE events SET id = 'x' WHERE id = (SELECT min(id) FROM events)",
        "altered: ": "UPDATE events SET time = time + interval '1 us' WHERE id = (SELECT min(id) FROM events)",
        "2 times: ": "INSERT INTO events SELECT * FROM events WHERE id = (SELECT min(id) FROM events)",
        "item_counts: ": "UPDATE item_counts SET events = events + 1 WHERE item_id = (SELECT min(item_id) FROM item_counts)",
        "keys for ": "DELETE FROM event_keys WHERE key = (SELECT key FROM event_keys LIMIT 1)",
        "1 dead letters": "DELETE FROM dead_letters WHERE number = (SELECT min(number) FROM dead_letters)",
        "not those messages": "UPDATE dead_letters SET payload_sha256 = 'x' WHERE payload_sha256 <> 'x'",
        "not the newest: item": "UPDATE items SET title = 'x', removed = false WHERE item_id = (SELECT min(item_id) FROM items)",
        "not the newest: user": "DELETE FROM users WHERE user_id = (SELECT min(user_id) FROM users)",
    }
    for sign, statement in damage.items():
        world.execute("BEGIN")
        world.execute(statement)
        assert any(sign in trouble for trouble in world.troubles()), sign
        world.execute("ROLLBACK")
    assert world.troubles() == []
