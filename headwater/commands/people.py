"""`headwater users` and `headwater keys`."""

from __future__ import annotations

import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from core.bus import Bus, Message
from core.events import UserErased, encode, partition_key
from core.settings import Settings
from core.store.keys import SCOPES, Key
from features.export import FORMATS, everything_of, write_export
from headwater.services import attach
from headwater.terminal import Json, console, opened, print_json, print_table

users = typer.Typer(help="What is known of a user; forgetting one.", no_args_is_help=True)
keys = typer.Typer(
    help="""API keys: who may call the API.

    Where the API listens on loopback only, no key is asked for (HEADWATER_REQUIRE_KEYS=true asks there, too).""",
    no_args_is_help=True,
)

OPENS = {
    "events:write": "publish events; set and remove items and users",
    "recs:read": "ask for recommendations, items, users",
    "content:read": "read texts about items",
    "content:write": "have texts written",
    "admin": "everything, and alone: models, jobs, exports, the console",
}
assert tuple(OPENS) == SCOPES


@users.command()
def erase(
    ctx: typer.Context, user: str, yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False
) -> None:
    """Forget a user for good: rows, histories, dead letters, snapshots. A replay cannot bring them back.

    The id is burnt: later events of it are refused. Kafka keeps what it has until its own retention ends.
    """
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
def export(
    ctx: typer.Context,
    user: str,
    out: Annotated[
        Path | None,
        typer.Option(help="Write to this file: a table of events as .parquet or .csv, everything as .json."),
    ] = None,
) -> None:
    """Everything stored about a user: attributes, dead letters, and every event, of detached months too.

    Without --out it is printed as JSON.

    A .parquet or .csv file opens in pandas: pandas.read_parquet("u1.parquet").
    """
    if out is not None and out.suffix not in FORMATS:
        raise typer.BadParameter(f"the name must end with {', '.join(FORMATS)}", param_hint="--out")
    with opened(ctx.obj, progress=False) as context:
        document = everything_of(context.store, user)
    if out is None:
        print_json(document)
        return
    write_export(document, out)
    console.print(f"{len(document['events']):,} events of {user!r} are in {out}", markup=False)


@keys.command()
def create(
    ctx: typer.Context,
    scope: Annotated[list[str], typer.Option(help=f"What it may do, repeated for several: {', '.join(SCOPES)}.")],
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    rate: Annotated[
        float | None, typer.Option(help="Requests/s, to one server; 0: any number. By default the server's setting.")
    ] = None,
    burst: Annotated[int | None, typer.Option(help="Requests at once. By default twice the rate.")] = None,
) -> None:
    """Make a key. It is shown this once, alone on standard output; only its hash is kept.

    A scope opens, and nothing else does:

    \b
    events:write   publish events; set and remove items and users
    recs:read      ask for recommendations, items, users
    content:read   read texts about items
    content:write  have texts written
    admin          everything, and alone: models, jobs, exports, the console

    \b
    headwater keys create --scope events:write --scope recs:read --label shop --rate 200
    """
    with opened(ctx.obj, progress=False) as context:
        key = context.store.keys.create(scope, label, requests_per_s=rate, burst=burst)
    print(key)
    sys.stdout.flush()
    hint = "keep it: it is not shown again. Send it as `Authorization: Bearer KEY`; end it with"
    print(f"{hint} `headwater keys revoke {key.split('_')[1]}`", file=sys.stderr)


@keys.command("list")
def list_keys(ctx: typer.Context, json: Json = False) -> None:
    """Every key ever made, without its secret: id, scopes, limit, label, and whether it still works."""
    with opened(ctx.obj, progress=False) as context:
        found = context.store.keys.list()
    if json:
        print_json([{**_shown(one), "scopes": sorted(one.scopes)} for one in found])
        return
    rows = [
        (one.key_id, " ".join(sorted(one.scopes)), _limit(one), one.label, f"{one.created_at:%Y-%m-%d %H:%M}", _state(one))
        for one in found
    ]  # fmt: skip
    print_table(("id", "scopes", "limit", "label", "made", "state"), rows, "no keys: `headwater keys create`")


@keys.command()
def revoke(
    ctx: typer.Context,
    key_id: Annotated[str, typer.Argument(help="The id inside the key, hw_<id>_...; `headwater keys list` shows it.")],
) -> None:
    """Make a key useless, within five seconds on every server."""
    with opened(ctx.obj, progress=False) as context:
        context.store.keys.revoke(key_id)
    console.print(f"key {key_id} is revoked; servers notice within five seconds")


def _shown(key: Key) -> dict[str, object]:
    return {
        "id": key.key_id, "label": key.label, "requests_per_s": key.requests_per_s, "burst": key.burst,
        "created_at": key.created_at, "revoked_at": key.revoked_at,
    }  # fmt: skip


def _limit(key: Key) -> str:
    if key.requests_per_s is None:
        return "default"
    return f"{key.requests_per_s:g}/s" if key.requests_per_s else "none"


def _state(key: Key) -> str:
    return "works" if key.revoked_at is None else f"revoked {key.revoked_at:%Y-%m-%d %H:%M}"
