"""Workers write what is wanted, each text once in effect, whatever happens to them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from core.bus import Message
from core.errors import ConfigurationError
from core.requests import TextRequest, encode_request
from core.settings import Settings
from core.store.reviews import Decision
from jobs.context import job_context
from jobs.generate import TextWriter
from jobs.requests import RequestWorker
from tests.headwater.test_cli import headwater
from tests.headwater.writers import Writers
from tests.texts import TOKENS, Scribe

ROOT = Path(__file__).parents[2]
WHEN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def quick(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """Settings with the shortest session the broker takes: a join on the embedded one waits for half of it."""
    services = next(one for one in request.config.pluginmanager.get_plugins() if hasattr(one, "docker_answers"))
    embedded = services.backend("HEADWATER_TEST_KAFKA") == "embedded"
    return msgspec.structs.replace(
        settings, session_timeout_ms=2000 if embedded else 6000, topic_partitions=2, content_batch_requests=4
    )


@pytest.fixture
def writers(quick: Settings) -> Iterator[Writers]:
    world = Writers(quick)
    yield world
    world.close()


def asked(item: str, kind: str = "description") -> Message:
    return encode_request(TextRequest(item=item, kind=kind, locale="en", why="asked", facts_at=WHEN))


def test_what_changes_is_written_soon_once_and_what_is_asked_twice_costs_nothing(writers: Writers) -> None:
    scribe = Scribe()
    with writers.working(scribe):
        writers.films(10)
        writers.eventually(lambda: writers.fresh() == 10)
        writers.films(3, 1996)
        writers.eventually(lambda: writers.fresh() == 10 and not writers.open())
        assert writers.changes() == {1: 7, 2: 3}
        reached = writers.number("SELECT sum(next_offset) FROM consumer_offsets WHERE topic LIKE '%content%'")
        writers.publish(*[asked(f"i{n}") for n in range(10)] * 2)
        query = "SELECT sum(next_offset) FROM consumer_offsets WHERE topic LIKE '%content%'"
        writers.eventually(lambda: writers.number(query) == reached + 20)
    assert scribe.asked == 13
    assert writers.changes() == {1: 7, 2: 3}
    assert writers.store.content_requests.spent()[0] in (0, 13 * TOKENS), "0: the hour turned"


def test_the_newest_and_most_viewed_of_what_waits_are_written_first(writers: Writers) -> None:
    scribe = Scribe()
    scribe.free.clear()
    alone = msgspec.structs.replace(writers.settings, topic_partitions=1)  # what waits in one partition is read at once
    with writers.working(scribe, alone):
        writers.films(1)
        writers.eventually(lambda: scribe.calls == 1)
        writers.films(12, first=1)
        writers.eventually(lambda: writers.number("SELECT count(*) FROM items") == 13)
        wanted = TextWriter(job_context(writers.settings, writers.store), None, None).wanted([("description", "en")])
        writers.store.content_requests.request(writers.store.content_requests.wanting(wanted, 99))
        scribe.free.set()
        writers.eventually(lambda: writers.fresh() == 13)
    assert scribe.in_order[0] == "Film 0"
    assert sorted(scribe.in_order[1:5]) == sorted(f"Film {n}" for n in (12, 11, 10, 9))


def test_a_bad_request_is_kept_shown_and_replayed_and_stops_nobody(writers: Writers, quick: Settings) -> None:
    writers.films(2)
    bad = [Message(b"x", b"garbage"), asked("unheard-of"), asked("i0", "limerick")]
    with writers.working(Scribe()):
        writers.publish(*bad)
        writers.eventually(lambda: writers.fresh() == 2 and sum(writers.store.dead_letters.counts().values()) == 3)
    assert writers.store.dead_letters.counts() == {"malformed": 1, "unknown_item": 1, "unknown_kind": 1}
    assert {one.topic for one in writers.store.dead_letters.list()} == {quick.requests_topic}
    writers.films(1, first=2)
    writers.events.write([])
    with writers.store.database.begin() as connection:  # the item that nobody knew is in the catalogue by now
        connection.exec_driver_sql("UPDATE items SET item_id = 'unheard-of' WHERE item_id = 'i2'")
    replayed = headwater("events", "dead", "replay", "--reason", "unknown_item", settings=quick)
    assert "1 dead letters published again" in replayed.stdout, replayed.stderr
    with writers.working(None, msgspec.structs.replace(quick, content_kinds="off")):
        writers.eventually(lambda: writers.fresh() == 3)


def test_a_text_of_a_person_is_left_to_people(writers: Writers) -> None:
    writers.films(2)
    with writers.working(Scribe()):
        writers.eventually(lambda: writers.fresh() == 2)
        writers.store.reviews.decide("i0", "description", "en", Decision("edit", "ann", 1, "Mine."))
        writers.films(2, 1996)
        writers.publish(asked("i0"))
        writers.eventually(lambda: writers.fresh() == 1 and not writers.open())
    found = writers.store.contents.content("i0", "description", "en")
    assert found is not None
    assert found[0].text == "Mine."


def test_while_the_model_is_away_the_template_speaks_and_the_text_stays_wanting(
    writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.text_model.REST_S", 0.0)
    scribe = Scribe()
    scribe.away = True
    writers.films(6)
    with writers.working(scribe):
        writers.eventually(lambda: writers.fresh() == 6)
        assert writers.number("SELECT count(*) FROM contents WHERE origin = 'template'") == 6
        writers.eventually(lambda: writers.store.content_requests.counts().states["later"] == 6)
        scribe.away = False
        writers.ask("UPDATE content_requests SET not_before = now() RETURNING item_id")
        writers.eventually(lambda: writers.number("SELECT count(*) FROM contents WHERE origin = 'model'") == 6)
    assert writers.changes() == {2: 6}
    assert writers.open() == 0


def test_a_worker_waits_while_the_tokens_of_the_hour_are_spent(
    writers: Writers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ingest.requests.LOOK_S", 0.1)
    writers.films(12)
    poor = msgspec.structs.replace(writers.settings, content_tokens_per_hour=4 * TOKENS)
    scribe = Scribe()
    with writers.working(scribe, poor):
        writers.eventually(lambda: scribe.asked >= 4)
        time.sleep(1.0)
        first = scribe.asked
        assert 4 <= first < 8, "the budget is looked at before each chunk, of four at most"
        writers.ask("UPDATE content_tokens SET hour = hour - interval '1 hour' RETURNING hour")
        writers.eventually(lambda: scribe.asked >= first + 4)


def test_one_text_that_cannot_be_written_stops_no_other(writers: Writers) -> None:
    class Stumbling(Scribe):
        def generate(self, prompts: Any, limits: Any, seed: int) -> Any:
            if any("Film 3" in one.messages[-1].content for one in prompts):
                raise RuntimeError("out of something")
            return super().generate(prompts, limits, seed)

    writers.films(8)
    with writers.working(Stumbling()):
        writers.eventually(lambda: writers.fresh() == 7 and not writers.open())
    (letter,) = writers.store.dead_letters.list()
    assert (letter.reason, letter.detail) == ("failed", "RuntimeError")
    assert writers.store.content_requests.counts().states["dead"] == 1


def test_without_a_model_templates_are_written(writers: Writers) -> None:
    writers.films(5)
    with writers.working(None):
        writers.eventually(lambda: writers.fresh() == 5 and not writers.open())
    assert writers.number("SELECT count(*) FROM contents WHERE origin = 'template'") == 5


def test_a_worker_that_joins_takes_its_share_and_no_text_is_written_twice(writers: Writers) -> None:
    writers.films(60)
    first, second = Scribe(seconds=0.2), Scribe(seconds=0.2)
    with writers.working(first):
        writers.eventually(lambda: first.calls >= 2)
        with writers.working(second):
            writers.eventually(lambda: second.calls >= 2 or not writers.open())
            writers.films(20, 1996)
            writers.eventually(lambda: writers.fresh() == 60 and not writers.open())
    assert first.calls > 0
    assert second.calls > 0
    changed = writers.changes()
    assert sum(changed.values()) == 60
    assert set(changed) <= {1, 2}
    assert changed.get(2, 0) <= 20, "only what changed has been written anew"


def test_the_reasons_that_are_shown_most_are_written_once_each_whatever_is_said_again(writers: Writers) -> None:
    class Reasoner(Scribe):
        def _sentence(self, note: str) -> str:
            return f"You looked at {note.split(' | ')[2]}"

    writers.films(4)
    shown = {(f"i{n}", "i0", "view", "en"): 9 for n in (1, 2, 3)} | {("i1", "i2", "view", "en"): 5}
    assert writers.store.content_requests.wish(shown, most=99) == 4
    chosen = msgspec.structs.replace(writers.settings, content_kinds="because")
    with writers.working(scribe := Reasoner(), chosen):
        writers.eventually(lambda: writers.number("SELECT count(*) FROM contents") == 4 and not writers.open())
        (first, *_) = writers.store.contents.written_since("because", 0)
        request = TextRequest(
            item=first.item, kind="because", locale="en", why="asked", facts_at=WHEN, about=first.about
        )
        reached = writers.number("SELECT sum(next_offset) FROM consumer_offsets WHERE topic LIKE '%content%'")
        writers.publish(*[encode_request(request)] * 3, asked("i1", "because"))
        query = "SELECT sum(next_offset) FROM consumer_offsets WHERE topic LIKE '%content%'"
        writers.eventually(lambda: writers.number(query) == reached + 4)
    assert scribe.asked == 4
    texts = writers.store.contents.written_since("because", 0)
    assert {(one.item, one.about["item"], one.text, one.version) for one in texts} == {
        (item, carrier, f"You looked at Film {carrier[1:]}", 1) for item, carrier, _, _ in shown
    }
    assert [one.reason for one in writers.store.dead_letters.list()] == ["unknown_kind"], "a reason is about two items"


def test_a_kind_that_is_not_about_an_item_is_refused_at_the_start(writers: Writers) -> None:
    context = job_context(msgspec.structs.replace(writers.settings, content_kinds="answer"), writers.store)
    with pytest.raises(ConfigurationError, match="HEADWATER_CONTENT_KINDS"):
        RequestWorker(context, TextWriter(context, None, None))


def test_the_role_writes_and_ends_in_order(writers: Writers) -> None:
    writers.films(3)
    command = [sys.executable, "-m", "headwater", "generate-worker"]
    environ = {**os.environ, **writers.settings.environ()}
    with subprocess.Popen(command, env=environ, cwd=ROOT, stderr=subprocess.PIPE, text=True) as role:
        try:
            writers.eventually(lambda: writers.fresh() == 3, 120)
            role.send_signal(signal.SIGTERM)
            assert role.stderr is not None
            said = role.stderr.read()
            assert role.wait(30) == 0, said
            assert "Traceback" not in said
        finally:
            role.kill()


def test_a_request_of_the_command_line_waits_for_a_worker_and_is_shown(writers: Writers, quick: Settings) -> None:
    writers.films(3)
    asked_for = headwater("content", "regenerate", "--queue", settings=quick)
    assert "3 texts requested" in asked_for.stdout, asked_for.stderr
    shown = json.loads(headwater("content", "requests", "--json", settings=quick).stdout)
    assert shown["counts"]["states"] == {"waiting": 3, "later": 0, "published": 0, "dead": 0}
    with writers.working(None, msgspec.structs.replace(quick, content_kinds="off")):
        writers.eventually(lambda: writers.fresh() == 3)
