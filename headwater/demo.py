"""The demo: the whole main job on real data, every step shown. Reads top to bottom as what happens."""

from __future__ import annotations

import contextlib
import socket
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

import httpx
import msgspec

from core.bus import Bus, ensure_topic
from core.errors import HeadwaterError, Unavailable
from core.progress import Reporter, Terminal
from core.settings import Settings
from core.store import Store, open_store
from core.store.history import History
from headwater.commands.models import print_trained
from headwater.fetch import fetch_movielens, fetch_smollm2
from headwater.movielens import Dataset, movielens_100k, read_csv
from headwater.process import free_port
from headwater.roles import running_roles
from headwater.services import running_services
from headwater.terminal import console
from jobs.context import JobContext, job_context
from jobs.generate import generate
from jobs.text_model import TextModel
from jobs.train import train
from migrations.run import upgrade
from models.content.fit import Fits
from models.text import open_generator
from models.text.local import convert_gguf

TEXTS = 6
SHOWN_EVENTS = 5
WELL_KNOWN_ITEMS = 10
INGEST_TIMEOUT_S = 300
READY_TIMEOUT_S = 60


def demo(settings: Settings, *, once: bool, data: Path | None) -> None:
    """Run the main job, print what came of it, and serve on until Ctrl-C, or not when `once`.

    A KeyboardInterrupt at any moment stops everything that was started, in order.
    """
    reporter = Terminal()
    began = time.monotonic()
    dataset = read_csv(data) if data is not None else None  # a mistake in the file shows before anything starts
    step("1/7  services")
    with running_services(settings, reporter) as settings:
        settings = _with_text_model(msgspec.structs.replace(settings, port=_port(settings)))
        prepare(settings)
        with open_store(settings) as store, running_roles(settings, ("ingest", "serve")):
            context = job_context(settings, store, reporter)
            step("2/7  data")
            dataset = dataset or movielens_100k(fetch_movielens(settings.home, reporter))
            say(
                f"{dataset.name}: {dataset.users:,} users, {dataset.items:,} items, {dataset.interactions:,} interactions"
            )
            say(f"licence: {dataset.licence}")
            step("3/7  events -> Kafka -> Postgres")
            publish_and_ingest(dataset, settings, store, reporter)
            step("4/7  snapshot, training, the gate")
            print_trained(train(settings.models_to_train, context))
            step("5/7  texts")
            write_texts(settings, context)
            step("6/7  serving")
            url = f"http://{settings.host}:{settings.port}"
            wait_until_ready(url, store, settings)
            step("7/7  what came of it")
            show(url, store)
            console.print(f"\n[bold]Ready in {time.monotonic() - began:.0f} s.[/] The console: [bold]{url}/console[/]")
            console.print(settings.keys_note)
            if not once:
                console.print("Ctrl-C stops everything; Postgres keeps its data, the embedded broker keeps nothing.")
                with running_roles(settings, ("schedule", "generate-worker")), contextlib.suppress(KeyboardInterrupt):
                    Event().wait()
                console.print("stopping")


def prepare(settings: Settings) -> None:
    """The schema at its newest revision, and the topic."""
    assert settings.database_url is not None
    assert settings.kafka_bootstrap is not None
    say(f"Postgres data in {settings.home.absolute()}; the broker keeps nothing on disk")
    say(f"schema {settings.namespace} at revision {upgrade(settings.database_url, settings.namespace)}")
    ensure_topic(settings.kafka_bootstrap, settings.topic, settings.topic_partitions)


def step(title: str) -> None:
    """A heading."""
    console.print(f"\n[bold]{title}[/]")


def say(line: str) -> None:
    """A line below a heading."""
    console.print(f"  {line}")


def publish_and_ingest(dataset: Dataset, settings: Settings, store: Store, reporter: Reporter) -> None:
    """Publish everything, then watch the ingest role write the rest of it. Raises Unavailable when it stands still."""
    assert settings.kafka_bootstrap is not None
    began = time.monotonic()
    before = _consumed(store, settings.topic)
    with Bus(settings.kafka_bootstrap, settings.topic) as bus:
        sent = bus.publish_all(dataset.read(), dataset.events, reporter)
    done, moved = 0, time.monotonic()
    with reporter.task("ingesting", sent) as task:
        while done < sent:
            time.sleep(0.2)
            now = _consumed(store, settings.topic) - before
            if now > done:
                moved = time.monotonic()
            elif time.monotonic() - moved > INGEST_TIMEOUT_S:
                raise Unavailable(
                    f"nothing was ingested for {INGEST_TIMEOUT_S} s: see {settings.home / 'logs' / 'ingest.log'}"
                )
            task.advance(now - done, f"{now / (time.monotonic() - began):,.0f} events/s, lag {sent - now:,}")
            done = now
    rate = sent / (time.monotonic() - began)
    totals = ", ".join(f"{count:,} {name}" for name, count in store.catalogue.totals().items() if name != "items_live")
    dead = sum(store.dead_letters.counts().values())
    say(f"{sent:,} events published and ingested at {rate:,.0f} events/s; stored: {totals}; dead letters: {dead:,}")


def write_texts(settings: Settings, context: JobContext) -> None:
    """Descriptions of the most interacted-with items, by the configured model or SmolLM2; the template where none can be had."""
    model = None
    try:
        if not settings.text_endpoint and settings.text_model == str(_model_folder(settings)):
            convert_gguf(fetch_smollm2(settings.home, context.reporter), _model_folder(settings), context.reporter)
        generator = open_generator(settings, context.reporter)
        model = TextModel(lambda: generator)
        say(f"text model: {generator.name}")
    except HeadwaterError as error:
        say(f"no text model, the template speaks instead: {error}")
    outcome = generate("description", TEXTS, model, context, fits=Fits(settings.fits_file))
    say(", ".join(f"{count} {what}" for what, count in outcome.items()) or "every item has its text already")


def wait_until_ready(url: str, store: Store, settings: Settings) -> None:
    """Wait until serving answers with every live model. Raises Unavailable when it does not."""
    wanted = {name: version.version for name, version in store.versions.live().items()}
    for _ in range(READY_TIMEOUT_S * 5):
        try:
            serving = httpx.get(f"{url}/readyz", timeout=2).json()
        except (httpx.HTTPError, ValueError):
            serving = {}
        if serving.get("models") == wanted:
            say(f"{url} serves " + ", ".join(f"{name} v{version}" for name, version in wanted.items()))
            return
        time.sleep(0.2)
    raise Unavailable(
        f"serving did not become ready within {READY_TIMEOUT_S} s: see {settings.home.absolute() / 'logs' / 'serve.log'}"
    )


def show(url: str, store: Store) -> None:
    """A user's history, ten recommendations with reasons, a text, and a stranger's first click changing the answer."""
    with httpx.Client(base_url=url, timeout=10) as client:
        user, history = _someone(store)
        titles = {item.item: item.title for item in store.catalogue.items([event.item for event in history.events])}
        console.print(f"\n  user [bold]{user}[/] has {len(history.seen):,} items; the newest:")
        for event in history.events:
            value = "" if event.value is None else f" {event.value:g}"
            say(f"   {event.time:%Y-%m-%d}  {event.kind}{value}  {titles.get(event.item, event.item)}")
        answer = client.get(f"/v1/users/{user}/recommendations", params={"limit": 10, "explain": True}).json()
        console.print(f"\n  ten recommendations for {user} ({answer['took_ms']:.1f} ms, models {answer['model']}):")
        _print_items(answer["items"], store)
        for text in store.contents.newest(1):
            console.print(
                f"\n  a text, {text.status}, by {text.model if text.origin == 'model' else 'the ' + text.origin}:"
            )
            say(f"   {text.text}")
        first_click(client, url, store, answer["items"])


def _someone(store: Store) -> tuple[str, History]:
    """One of the users seen last who has done enough to be known, and what they did."""
    found = [(user, store.history.history(user, SHOWN_EVENTS)) for user in store.history.recent_users(30)]
    if not found:
        return "nobody", History((), frozenset())
    return next((one for one in found if len(one[1].seen) >= WELL_KNOWN_ITEMS), found[0])


def first_click(client: httpx.Client, url: str, store: Store, items: list[dict[str, Any]]) -> None:
    """Publish the first event of a user who never existed and time how long the recommendations take to know it."""
    stranger = f"visitor-{uuid.uuid4().hex[:6]}"
    clicked = items[0]["item"] if items else "1"
    path = f"/v1/users/{stranger}/recommendations"
    before = client.get(path, params={"limit": 3}).json()
    event = {
        "specversion": "1.0", "id": str(uuid.uuid4()), "source": "/demo", "type": "interaction.view",
        "time": datetime.now(UTC).isoformat(), "data": {"user": stranger, "item": clicked},
    }  # fmt: skip
    began = time.monotonic()
    client.post("/v1/events", json=event).raise_for_status()
    after = before
    while time.monotonic() - began < 10 and [one["item"] for one in after["items"]] == [
        one["item"] for one in before["items"]
    ]:
        time.sleep(0.02)
        after = client.get(path, params={"limit": 3}).json()
    took_ms = 1000 * (time.monotonic() - began)
    console.print(f"\n  {stranger}, never seen before, gets what is popular ({before['fallback'] or 'personal'}):")
    _print_items(before["items"], store)
    console.print(
        f"  and {took_ms:.0f} ms after viewing item {clicked}, with no training ({after['fallback'] or 'personal'}):"
    )
    _print_items(after["items"], store)
    body = msgspec.json.encode({**event, "id": "try-1", "data": {"user": "you", "item": clicked}}).decode()
    console.print("\n  try it: publish an event, and see the recommendations change")
    console.print(
        f"  curl -s {url}/v1/events -H 'Content-Type: application/json' -d '{body}'; sleep 1; "
        f"curl -s '{url}/v1/users/you/recommendations?limit=3'",
        soft_wrap=True, markup=False,
    )  # fmt: skip


def _print_items(items: list[dict[str, Any]], store: Store) -> None:
    titles = {item.item: item.title for item in store.catalogue.items([one["item"] for one in items])}
    for place, one in enumerate(items, 1):
        console.print(
            f"   {place:>2}. {titles.get(one['item'], one['item'])}  [dim]{one['source']}: {one['reason']['text']}[/]"
        )


def _consumed(store: Store, topic: str) -> int:
    """Messages of the topic's every incarnation that have been written."""
    return sum(offset for name, _, _, offset in store.dead_letters.positions() if name == topic)


def _with_text_model(settings: Settings) -> Settings:
    """Settings that name the demo's own text model where no other is configured, so that every role knows it."""
    if settings.text_model or settings.text_endpoint:
        return settings
    return msgspec.structs.replace(settings, text_model=str(_model_folder(settings)))


def _model_folder(settings: Settings) -> Path:
    return settings.home.absolute() / "text-models" / "smollm2-135m-instruct"


def _port(settings: Settings) -> int:
    """The configured port, or a free one where that is taken: a demo should not fail for it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError:
            return free_port()
    return settings.port or free_port()
