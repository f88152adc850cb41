"""The faults of bench/ingest_faults.py: what each does to the running system. Each injects and waits; the run mends."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg2

if TYPE_CHECKING:
    from bench.ingest_faults import Run

GARBAGE = (b"not an event", b"\x00\x01", b'{"data":NaN}', b"[" * 10_000)
TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid <> pg_backend_pid() AND application_name = 'headwater'"
)
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
LARGE = b'"' + b"x" * 10_000_000


class Faults:
    """Injects faults into one run."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def wait(self, least_s: float, most_s: float) -> None:
        """The fault lasts; now and then a member is killed meanwhile."""
        time.sleep(self._run.random.uniform(least_s, most_s))
        if self._run.random.random() < 0.2:
            self._run.replace(self._run.any_member())

    def kill(self) -> None:
        self._run.replace(self._run.any_member())

    def kill_after_poll(self) -> None:
        member = self._run.join("stop-at-poll")
        reader = threading.Thread(target=member.process.stdout.readline, daemon=True)  # type: ignore[union-attr]
        reader.start()
        reader.join(8)
        member.kill()
        self._run.members.remove(member)

    def kill_in_the_insert(self) -> None:
        with self._run.world.locked("item_counts", "SHARE"):
            wait_for(lambda: self._run.world.number(WAITING) > 0, 4)
            self._run.replace(self._run.any_member())

    def kill_at_commit(self, at: str, deliver: bool) -> None:
        member = self._run.any_member()
        member.proxy.stop_commit(at)
        member.proxy.stopped.wait(4)
        member.process.kill()
        member.process.wait()
        member.proxy.go_on(deliver=deliver)
        time.sleep(0.2)  # to be delivered before the proxy goes
        self._run.replace(member)

    def freeze(self) -> None:
        member = self._run.any_member()
        os.kill(member.process.pid, signal.SIGSTOP)
        time.sleep(self._run.random.uniform(2.5, 5))  # the session is over after 2 s
        os.kill(member.process.pid, signal.SIGCONT)

    def lose_commits(self) -> None:
        for member in self._run.members:
            member.proxy.lose_next_commit()
        self.wait(1, 2)

    def terminate_backends(self) -> None:
        for _ in range(3):
            self._run.world.ask(TERMINATE)
            time.sleep(self._run.random.uniform(0, 0.3))

    def stop_postgres(self) -> None:
        assert self._run.postgres.pid is not None
        os.kill(self._run.postgres.pid, signal.SIGQUIT)  # an immediate shutdown: recovery comes with the next start
        self.wait(0.5, 2)
        self._run.restart_postgres()

    def fill_disk(self) -> None:
        assert self._run.disk is not None
        self._run.disk.fill()
        with suppress(psycopg2.Error):
            for _ in range(self._run.random.choice([0, 3])):  # the write-ahead log, too: Postgres panics
                self._run.world.execute("SELECT pg_switch_wal(), pg_current_xact_id()")
        self.wait(2, 4)

    def lock_table(self) -> None:
        table = self._run.random.choice(["events", "event_keys", "item_counts", "consumer_offsets", "dead_letters"])
        with self._run.world.locked(table):
            self.wait(2, 8)

    def cut_postgres(self) -> None:
        for _ in range(3):
            for member in self._run.members:
                member.proxy.cut()
            time.sleep(self._run.random.uniform(0, 0.5))

    def silence_postgres(self) -> None:
        for member in self._run.members:
            member.proxy.silent.set()
        self.wait(1, 4)

    def slow_postgres(self) -> None:
        for member in self._run.members:
            member.proxy.delay_s, member.proxy.bytes_per_s = 0.02, 200_000
        self.wait(3, 5)

    def refuse_broker(self) -> None:
        self._run.broker.proxy.refusing.set()
        self._run.broker.proxy.cut()
        self.wait(1, 4)

    def silence_broker(self) -> None:
        self._run.broker.proxy.silent.set()
        self.wait(2, 5)

    def slow_broker(self) -> None:
        self._run.broker.proxy.delay_s, self._run.broker.proxy.bytes_per_s = 0.02, 1_000_000
        self.wait(3, 5)

    def freeze_broker(self) -> None:
        os.kill(self._run.broker.pid, signal.SIGSTOP)
        self.wait(2, 5)

    def come_or_go(self) -> None:
        for _ in range(3):
            if len(self._run.members) > 3 or (len(self._run.members) > 2 and self._run.random.random() < 0.5):
                member = self._run.any_member()
                self._run.members.remove(member)
                self._run.left.append(member)
                member.leave()
            else:
                self._run.join()
            time.sleep(2)

    def be_a_day_ahead(self) -> None:
        member = self._run.any_member()
        member.kill()
        self._run.members.remove(member)
        self._run.join(**self._run.clock)

    def burst_of_garbage(self) -> None:
        payloads = (*GARBAGE * 10, LARGE)
        self._run.publish_at_once(
            self._run.bad([payload + b"%d" % self._run.random.randrange(10**9) for payload in payloads])
        )

    def repeat_a_batch(self) -> None:
        with self._run.making:
            views = self._run.world.mixture(300)
        for _ in range(3):
            self._run.publish_at_once(views)

    def all(self) -> dict[str, Callable[[], None]]:
        """Name -> what injects it."""
        return {
            "kill -9 at a random moment": self.kill,
            "kill -9 after the poll": self.kill_after_poll,
            "kill -9 in the middle of the insert": self.kill_in_the_insert,
            "kill -9, its COMMIT lost on the way": lambda: self.kill_at_commit("request", False),
            "kill -9, its COMMIT still delivered": lambda: self.kill_at_commit("request", True),
            "kill -9, COMMIT done but not heard": lambda: self.kill_at_commit("answer", False),
            "SIGSTOP past the session, SIGCONT": self.freeze,
            "the COMMIT's answer lost": self.lose_commits,
            "pg_terminate_backend": self.terminate_backends,
            "Postgres stopped at once, restarted": self.stop_postgres,
            "disk full": self.fill_disk,
            "a table locked": self.lock_table,
            "connections to Postgres reset": self.cut_postgres,
            "connections to Postgres silent": self.silence_postgres,
            "connections to Postgres slow": self.slow_postgres,
            "broker out of reach": self.refuse_broker,
            "connections to the broker silent": self.silence_broker,
            "connections to the broker slow": self.slow_broker,
            "broker frozen": self.freeze_broker,
            "members coming and going": self.come_or_go,
            "a member whose clock is a day ahead": self.be_a_day_ahead,
            "a burst of garbage": self.burst_of_garbage,
            "a batch repeated at new offsets": self.repeat_a_batch,
        }


def wait_for(happened: Callable[[], bool], timeout_s: float) -> bool:
    """Whether it did in time."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if happened():
            return True
        time.sleep(0.05)
    return False
