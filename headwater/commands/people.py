"""`headwater users` and `headwater keys`."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated

import typer

from core.bus import Bus, Message
from core.events import UserErased, encode, partition_key
from core.settings import Settings
from core.store.keys import SCOPES
from headwater.services import attach
from headwater.terminal import console, opened, print_json

users = typer.Typer(help="What is known of a user; forgetting one.", no_args_is_help=True)
keys = typer.Typer(help="API keys.", no_args_is_help=True)


@users.command()
def erase(
    ctx: typer.Context, user: str, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Forget a user for good: rows, histories, dead letters, snapshots. A replay cannot bring them back."""
    if not yes:
        typer.confirm(f"Erase everything about {user!r}? This cannot be undone", abort=True)
    settings: Settings = attach(ctx.obj)
    assert settings.kafka_bootstrap is not None
    body = UserErased(user=user)
    event = encode(body, id=str(uuid.uuid4()), source="/headwater/cli", time=datetime.now(UTC))
    with Bus(settings.kafka_bootstrap, settings.topic) as bus:
        bus.publish([Message(partition_key(body), event)])
    console.print(
        "the erasure is published; it takes effect as soon as it is ingested, in snapshots at the next training"
    )


@users.command()
def export(ctx: typer.Context, user: str) -> None:
    """Everything stored about a user, as JSON."""
    with opened(ctx.obj, progress=False) as context:
        attributes, events = context.store.catalogue.user(user), context.store.history.export(user)
        print_json({"user": user, "attributes": attributes, "events": events})


@keys.command()
def create(
    ctx: typer.Context,
    scope: Annotated[list[str], typer.Option(help=f"What it may do: {', '.join(SCOPES)}. Repeat for several.")],
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
) -> None:
    """Make a key. It is shown this once; only its hash is kept."""
    with opened(ctx.obj, progress=False) as context:
        print(context.store.keys.create(scope, label))


@keys.command()
def revoke(
    ctx: typer.Context, key_id: Annotated[str, typer.Argument(help="The id inside the key: hw_<id>_...")]
) -> None:
    """Make a key useless."""
    with opened(ctx.obj, progress=False) as context:
        context.store.keys.revoke(key_id)
    console.print(f"key {key_id} is revoked")
