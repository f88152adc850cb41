"""What bench/ingest_faults.py is judged by: what the broker acknowledged, what it holds and what the tables say, compared."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.progress import Terminal
from core.store import open_store
from ingest.replay import replay_topic
from tests.ingest.ledger import Ledger, read_log
from tests.ingest.world import World

if TYPE_CHECKING:
    from bench.ingest_faults import Run

SETTLE_S = 180


def judge(run: Run) -> list[str]:
    """Both comparisons, and the digests of both: what is wrong, nothing where all is well."""
    settings = run.world.settings
    log = read_log(run.broker.bootstrap, settings.topic, settings.topic_partitions)
    held = Counter(hashlib.sha256(one.value).hexdigest() for one in log)
    lost = sum(count - held[sha256] for sha256, count in run.acknowledged.items() if held[sha256] < count)
    found = [f"the broker acknowledged {lost} messages that it does not hold"] * bool(lost)
    ledger = Ledger()
    bad = [one for one in log if hashlib.sha256(one.value).hexdigest() in run.garbage]
    ledger.enter_garbage([one.value for one in bad])
    ledger.enter(one.value for one in log if hashlib.sha256(one.value).hexdigest() not in run.garbage)
    places = {(one.partition, one.offset) for one in bad}
    digests = []
    for name in ("after the faults", "after reading everything again"):
        found += _settle(run, len(log)) + _compare(run.world, ledger, places)
        digests.append(run.world.digest())
        rows, letters = run.world.rows(), run.world.dead()
        print(f"{name:32} {len(log):,} messages: {rows:,} rows, {letters:,} dead letters; {verdict(found)}")
        if len(digests) == 1:
            with open_store(settings) as store:
                replayed = replay_topic(settings, store, 0)
            print(f"{'':32} replay from offset 0 of {sum(one.reached for one in replayed):,} messages")
    return found + ["the tables are not the same the second time"] * (digests[0] != digests[1])


def verdict(found: Sequence[str]) -> str:
    """In a few words."""
    return "ledger = tables" if not found else f"{len(found)} differences"


def _settle(run: Run, wanted: int) -> list[str]:
    """Wait until the offsets have passed every message."""
    with Terminal().task("until everything is read", wanted) as task:
        told, end = 0, time.monotonic() + SETTLE_S
        while time.monotonic() < end:
            run.tend()
            reached = run.world.reached()
            task.advance(reached - told)
            told = reached
            if reached == wanted:
                return []
            time.sleep(0.2)
    return [f"the offsets stand at {run.world.reached():,}, the topic holds {wanted:,} messages"]


def _compare(world: World, ledger: Ledger, places: set[tuple[int, int]]) -> list[str]:
    with world._judge.cursor() as cursor:
        found = ledger.judge(cursor)
    stored = world.ask("SELECT partition, \"offset\" FROM dead_letters WHERE reason <> 'erased_user'")
    wrong = places.symmetric_difference({(int(partition), int(offset)) for partition, offset in stored})
    return found + [f"{len(wrong)} dead letters are not at the places of the bad messages"] * bool(wrong)
