"""A long, shuffled run of faults against the ingest, judged by a ledger that shares no code with it.

    python bench/ingest_faults.py --minutes 5 --events 200000 [--seed S]

Events are published at an even pace, with garbage, repeats and erasures among them, to an embedded broker. Two to four
consumer processes write them into an embedded Postgres. Meanwhile one fault after another is injected for real: kill -9
at chosen and at random moments, frozen processes, cut, silent and slow connections, a full disk, locked tables, Postgres
stopped at once, members coming and going. In the end everything is mended, and

  1. what the broker acknowledged is compared with what it holds, and what it holds with the tables: every message is one
     row or one dead letter, item_counts and user_counts add up, the catalogue has the newest state, nothing of erased
     users is left;
  2. everything is read again from offset 0, as `headwater events replay --from 0` does, and compared once more.

Exit code 0 when both agree, 1 when anything is lost, doubled, invented or altered. The run prints its seed; --seed
repeats the order of faults and the events, though not the scheduler's part in it. Faults that this system does not allow
(a full disk needs to mount a tmpfs, a shifted clock needs cc) are left out, and the table says so.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgspec
import psycopg2
from sqlalchemy.engine import make_url

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from bench.ingest_injections import GARBAGE, Faults, wait_for  # noqa: E402
from bench.ingest_judgement import judge, verdict  # noqa: E402
from core.bus import Bus, Message, ensure_topic  # noqa: E402 -- run as a script, from anywhere
from core.errors import BrokerUnavailable, DatabaseUnavailable  # noqa: E402
from core.events import Interaction, UserErased  # noqa: E402
from core.progress import Terminal  # noqa: E402
from core.settings import Settings  # noqa: E402
from headwater.postgres import EmbeddedPostgres  # noqa: E402
from migrations.run import upgrade  # noqa: E402
from tests.ingest.machine import ProxiedBroker, SmallDisk, Unavailable, shifted_clock  # noqa: E402
from tests.ingest.proxy import Proxy, database_address  # noqa: E402
from tests.ingest.world import World  # noqa: E402

SERVER = {"max_wal_size": "256MB", "wal_recycle": "off"}
BATCH_EVENTS = 250  # of one publish
LEAVE_S = 60  # what is broken meanwhile may hold a leaver up


class Member:
    """A consumer in a process of its own, with its own way to Postgres."""

    def __init__(self, world: World, log: Path, *faults: str, **environ: str) -> None:
        url = str(world.settings.database_url)
        self.proxy, self.asked_at = Proxy.before(url), 0.0
        environ = {**environ, "HEADWATER_DATABASE_URL": self.proxy.url(url)}
        with log.open("ab") as stderr:
            self.process = world.process(*faults, environ=environ, stderr=stderr)

    def kill(self) -> None:
        """SIGKILL."""
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        self.proxy.close()

    def leave(self) -> None:
        """SIGTERM: it is to finish its batch, leave the group and end."""
        self.asked_at = time.monotonic()
        self.process.terminate()


class Run:
    """The services, the members, the publisher, and the faults."""

    def __init__(self, home: Path, events: int, minutes: float, seed: int, control: bool, stack: ExitStack) -> None:
        self.home, self.events, self.seconds = home, events, minutes * 60
        self.random = random.Random(seed)
        self.missing: dict[str, str] = {}
        self.disk = self._small_disk(stack)
        self.postgres = EmbeddedPostgres(home / "disk", SERVER)
        self.broker = stack.enter_context(ProxiedBroker(home / "broker"))
        settings = Settings(
            home=home, namespace="faults", database_url=self.postgres.start(), kafka_bootstrap=self.broker.bootstrap,
            secret="faults", session_timeout_ms=2000, ingest_batch_events=1000,
        )  # fmt: skip
        stack.callback(self.postgres.stop)
        upgrade(str(settings.database_url), settings.namespace)
        self.world = World(settings, seed)
        stack.callback(self.world.close)
        self.control = ["no-fence"] if control else []
        if control:
            self.world.execute("ALTER TABLE event_keys DROP CONSTRAINT event_keys_pkey")
        self.members: list[Member] = []
        stack.callback(lambda: [member.kill() for member in [*self.members, *self.left]])
        self.left: list[Member] = []
        self.crashes: list[str] = []
        self.injected: Counter[str] = Counter()
        self.clock = self._clock()
        self.acknowledged: Counter[str] = Counter()  # sha256 of each message -> how often the broker acknowledged it
        self.garbage: set[str] = set()
        self.refusals = 0  # publishes that the broker did not acknowledge, and that were repeated
        self.published = 0
        self.faults = {name: inject for name, inject in Faults(self).all().items() if name not in self.missing}
        self.making = threading.Lock()  # events are made in two threads, and their ids are counted

    def _small_disk(self, stack: ExitStack) -> SmallDisk | None:
        try:
            disk = SmallDisk(self.home / "disk", 700 + self.events // 500)
        except Unavailable as reason:
            self.missing["disk full"] = str(reason)
            return None
        stack.callback(disk.unmount)
        return disk

    def _clock(self) -> dict[str, str]:
        try:
            return shifted_clock(self.home / "clock", 86_400)
        except Unavailable as reason:
            self.missing["a member whose clock is a day ahead"] = str(reason)
            return {}

    # The stream

    def publish(self, stop: threading.Event) -> None:
        """Publish the events at an even pace, each until it is acknowledged."""
        ensure_topic(self.broker.bootstrap, self.world.settings.topic, self.world.settings.topic_partitions)
        pick, start, recent = random.Random(self.world.seed + 1), time.monotonic(), list[Message]()
        bus: Bus | None = None
        while self.published < self.events and not stop.is_set():
            with self.making:
                batch = self._batch(pick, recent)
            while not stop.is_set():
                try:
                    bus = bus or Bus(self.broker.bootstrap, self.world.settings.topic)
                    bus.publish(batch, timeout_s=20)
                    break
                except BrokerUnavailable:
                    self.refusals += 1
                    if bus is not None:
                        bus.close()
                    bus = None
                    time.sleep(0.5)
            else:
                break
            self.acknowledged.update(hashlib.sha256(message.value).hexdigest() for message in batch)
            recent = [*recent, *batch][-5000:]
            self.published += len(batch)
            behind_s = start + 0.85 * self.seconds * self.published / self.events - time.monotonic()
            stop.wait(max(0.0, behind_s))
        if bus is not None:
            bus.close()

    def _batch(self, pick: random.Random, recent: Sequence[Message]) -> list[Message]:
        world = self.world
        batch = world.interactions(BATCH_EVENTS // 2, users=2000, items=400) + world.mixture(BATCH_EVENTS // 4)
        batch += [world.event(Interaction(user=f"x{pick.randrange(40)}", item="i1", kind="view")) for _ in range(3)]
        if pick.random() < 0.1:
            batch.append(world.event(UserErased(user=f"x{pick.randrange(40)}")))
        batch += self.bad([pick.choice(GARBAGE) + b"%d" % pick.randrange(10**9) for _ in range(3)])
        if recent:
            batch += pick.sample(recent, min(len(recent), BATCH_EVENTS // 10))
        pick.shuffle(batch)
        return batch

    def bad(self, payloads: Sequence[bytes]) -> list[Message]:
        """Messages that must become dead letters: the judge is told."""
        self.garbage.update(hashlib.sha256(payload).hexdigest() for payload in payloads)
        return [Message(b"%d" % number, payload) for number, payload in enumerate(payloads)]

    def publish_at_once(self, messages: Sequence[Message]) -> None:
        """A burst beside the stream. One that is not acknowledged may be in the topic all the same."""
        with suppress(BrokerUnavailable), Bus(self.broker.bootstrap, self.world.settings.topic) as bus:
            bus.publish(messages, timeout_s=20)
            self.acknowledged.update(hashlib.sha256(message.value).hexdigest() for message in messages)

    # The members

    def join(self, *faults: str, **environ: str) -> Member:
        """One more member."""
        self.members.append(Member(self.world, self.home / "members.log", *self.control, *faults, **environ))
        return self.members[-1]

    def any_member(self) -> Member:
        return self.random.choice(self.members)

    def replace(self, member: Member) -> None:
        """Kill -9, and another one comes."""
        member.kill()
        self.members.remove(member)
        self.join()

    def tend(self) -> None:
        """Start Postgres where it died, see who crashed, and have two to four members."""
        if not self.postgres.alive():
            self.restart_postgres()
        for member in [one for one in self.members if one.process.poll() is not None]:
            self.crashes.append(f"a member ended by itself with {member.process.returncode}")
            self.members.remove(member)
        for member in list(self.left):
            if member.process.poll() is None and time.monotonic() - member.asked_at < LEAVE_S:
                continue
            if member.process.returncode not in (0, -signal.SIGTERM):
                self.crashes.append(f"a member that was asked to leave did so with {member.process.returncode}")
            member.kill()
            self.left.remove(member)
        while len(self.members) < 2:
            self.join()

    def restart_postgres(self) -> None:
        """Start it again, at another port, and lead everyone there."""
        self.postgres.stop()
        address = database_address(self.postgres.start())
        for member in [*self.members, *self.left]:
            member.proxy.lead_to(address)
        self.world.settings = _at(self.world.settings, address)
        self.world.judge_url = self.world.settings.database_url
        self.world.meet_the_judge_again()

    # Faults come and are mended

    def mend(self) -> None:
        """Whatever was broken works again, and what was held up is thrown away."""
        if self.disk is not None:
            self.disk.free()
        os.kill(self.broker.pid, signal.SIGCONT)
        for proxy in [self.broker.proxy, *(member.proxy for member in [*self.members, *self.left])]:
            proxy.refusing.clear()
            if proxy.silent.is_set():
                proxy.cut()
                proxy.silent.clear()
            proxy.delay_s = proxy.bytes_per_s = 0
            proxy.go_on(deliver=False)

    def rage(self) -> None:
        """Inject faults, shuffled decks of all of them, until the time is up and everything is published."""
        stop = threading.Event()
        publisher = threading.Thread(target=self.publish, args=(stop,))
        publisher.start()
        deck: list[tuple[str, Callable[[], None]]] = []
        began = told = time.monotonic()
        try:
            with Terminal().task("faults", self.seconds) as task:
                while time.monotonic() - began < self.seconds:
                    self.tend()
                    if not deck:
                        deck = list(self.faults.items())
                        self.random.shuffle(deck)
                    name, inject = deck.pop()
                    self._inject(name, inject)
                    time.sleep(self.random.uniform(0.2, 1.5))
                    note = f"{self.injected.total()} injected, {self.published:,} events published; last: {name}"
                    task.advance(time.monotonic() - told, note)
                    told = time.monotonic()
            publisher.join(300)
        finally:
            stop.set()
            publisher.join()

    def _inject(self, name: str, inject: Callable[[], None]) -> None:
        try:
            inject()
        except (psycopg2.Error, DatabaseUnavailable) as error:
            print(f"  {name}: {str(error).strip().splitlines()[0]}", file=sys.stderr)  # an earlier fault still works
        finally:
            self.mend()
        if not wait_for(self._judge_is_back, 60):
            raise DatabaseUnavailable(f"Postgres did not come back after: {name}")
        self.injected[name] += 1

    def _judge_is_back(self) -> bool:
        try:
            if not self.postgres.alive():
                self.restart_postgres()
            self.world.ask("SELECT 1")
        except psycopg2.InterfaceError:
            self.world.meet_the_judge_again()
            return False
        except (psycopg2.Error, DatabaseUnavailable):
            return False
        return True


def _at(settings: Settings, address: tuple[str, int]) -> Settings:
    url = make_url(str(settings.database_url)).set(port=address[1]).render_as_string(hide_password=False)
    return msgspec.structs.replace(settings, database_url=url)


@contextmanager
def running(events: int, minutes: float, seed: int, control: bool) -> Iterator[Run]:
    """The services and everything else, gone in the end."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headwater-faults-")))
        home.chmod(0o755)
        yield Run(home, events, minutes, seed, control, stack)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5, help="how long faults are injected (default 5)")
    parser.add_argument("--events", type=int, default=200_000, help="messages to publish meanwhile (default 200000)")
    parser.add_argument("--seed", type=int, help="repeat a run; by default a new one, printed")
    parser.add_argument(
        "--control", action="store_true", help="take the fence and the identities away: the ledger must then complain"
    )
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(2**32) if arguments.seed is None else arguments.seed
    print(f"seed {seed}; {arguments.events:,} messages, faults for {arguments.minutes:g} minutes", flush=True)
    with running(arguments.events, arguments.minutes, seed, arguments.control) as run:
        run.tend()
        run.rage()
        found = judge(run) + run.crashes
        names = run.faults
        print(f"\n{'fault':40} injected")
        for name in names:
            print(f"{name:40} {run.injected[name]:8}")
        for name, reason in run.missing.items():
            print(f"{name:40} not here: {reason}")
        print(f"{'all':40} {run.injected.total():8}   (publishes repeated because of them: {run.refusals})")
        for trouble in found[:20]:
            print(f"  {trouble}")
        print(f"verdict, seed {seed}: {verdict(found)}{' twice in a row' * (not found)}")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
