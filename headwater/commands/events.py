"""`headwater events`: publish a file, look at dead letters (of requests too), publish them again, rebuild from the topic."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from core.bus import Bus, Message
from core.errors import InvalidEvent, InvalidRequest
from core.events import decode, partition_key
from core.progress import Terminal
from core.settings import Settings
from headwater.services import attach
from headwater.terminal import Json, console, opened, print_json, print_table

app = typer.Typer(help="Publish events; look at those that were refused.", no_args_is_help=True)
dead = typer.Typer(help="Dead letters: messages that were refused, with the reason.", no_args_is_help=True)
app.add_typer(dead, name="dead")


@app.command()
def publish(
    ctx: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="CloudEvents, one JSON object a line (see README).", exists=True, dir_okay=False)
    ],
    rate: Annotated[float | None, typer.Option(min=0.1, help="Events per second at most.")] = None,
    check: Annotated[bool, typer.Option(help="Refuse the file when any line is not a valid event.")] = True,
) -> None:
    """Publish a file of events to Kafka, with progress. Publishing it twice changes nothing: (source, id) is the identity."""
    settings: Settings = ctx.obj
    total = sum(1 for _ in _lines(file, check, settings))
    attached = attach(settings)
    assert attached.kafka_bootstrap is not None
    with Bus(attached.kafka_bootstrap, settings.topic) as bus:
        sent = bus.publish_all(_lines(file, check, settings), total, Terminal(), rate)
    console.print(f"{sent:,} events acknowledged by the broker")


def _lines(file: Path, check: bool, settings: Settings) -> Iterator[Message]:
    with file.open("rb") as stream:
        for number, line in enumerate(stream, 1):
            line = line.strip()
            if not line:
                continue
            key = b""
            try:
                key = partition_key(
                    decode(line, max_bytes=settings.event_max_bytes, max_future_s=settings.event_max_future_s).body
                )
            except InvalidEvent as error:
                if check:
                    raise InvalidRequest(
                        f"{file}, line {number}: {error} (--no-check publishes it all the same)"
                    ) from error
            yield Message(key, line)


@app.command()
def replay(
    ctx: typer.Context,
    start: Annotated[str, typer.Option("--from", help="A time (2026-08-22T10:00:00Z) or an offset.")],
) -> None:
    """Have the topic read again from a time or an offset, to rebuild what was lost. What is stored stays as it is."""
    from ingest.replay import replay_topic  # kafka-python: most commands do without

    with opened(ctx.obj, progress=False) as context:
        rewound = replay_topic(context.settings, context.store, _start(start))
    for one in rewound:
        console.print(f"partition {one.partition}: {one.start:,} (it was at {one.reached:,})", markup=False)
    console.print(
        "running consumers go on from there within seconds" if rewound else "nothing to read again from there"
    )


def _start(text: str) -> datetime | int:
    if text.isdigit():
        return int(text)
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            "expected a time such as 2026-08-22T10:00:00Z or an offset", param_hint="--from"
        ) from None


@dead.command("list")
def dead_list(
    ctx: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20,
    reason: Annotated[str | None, typer.Option(help="Only this reason.")] = None,
    json: Json = False,
) -> None:
    """The newest dead letters."""
    with opened(ctx.obj, progress=False) as context:
        letters = context.store.dead_letters.list(limit, reason)
        counts = context.store.dead_letters.counts()
    if json:
        print_json({"counts": counts, "dead_letters": [_shown(letter) for letter in letters]})
        return
    rows = [
        (one.number, f"{one.topic}[{one.partition}]@{one.offset}", one.reason, one.detail[:80], one.payload_bytes)
        for one in letters
    ]
    print_table(("number", "from", "reason", "detail", "bytes"), rows, "no dead letters")
    if counts:
        console.print("in all: " + ", ".join(f"{count:,} {reason}" for reason, count in counts.items()))


@dead.command("show")
def dead_show(ctx: typer.Context, number: int) -> None:
    """One dead letter, its payload included."""
    with opened(ctx.obj, progress=False) as context:
        print_json(_shown(context.store.dead_letters.show(number)))


@dead.command("replay")
def dead_replay(
    ctx: typer.Context,
    reason: Annotated[str | None, typer.Option(help="Only this reason.")] = None,
    limit: Annotated[int, typer.Option(min=1)] = 1000,
) -> None:
    """Publish dead letters again, after what made them bad was mended. Each is replayed once."""
    from ingest.dead_letters import replay as replay_dead

    with opened(ctx.obj) as context:
        settings, letters = context.settings, context.store.dead_letters.list(limit, reason, replayable=True)
        assert settings.kafka_bootstrap is not None
        requests = [letter for letter in letters if letter.topic == settings.requests_topic]
        events = [letter for letter in letters if letter.topic != settings.requests_topic]
        replayed = 0
        for topic, found in ((settings.topic, events), (settings.requests_topic, requests)):
            if found:
                with Bus(settings.kafka_bootstrap, topic) as bus:
                    replayed += replay_dead(context.store, bus, found)
    console.print(f"{replayed:,} dead letters published again")


def _shown(letter: object) -> dict[str, object]:
    fields = {name: getattr(letter, name) for name in letter.__dataclass_fields__}  # type: ignore[attr-defined]
    payload = fields["payload"]
    return {**fields, "payload": None if payload is None else payload.decode(errors="backslashreplace")}
