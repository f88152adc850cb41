"""`headwater train | promote | rollback`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from headwater.terminal import Json, console, opened, print_json
from jobs.train import Trained
from jobs.train import train as train_models
from models import RECOMMENDERS
from models.evaluation import table

NAMES = ", ".join(RECOMMENDERS)


def train(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(help=f"Models to train: {NAMES}. Without names: those of HEADWATER_TRAIN_MODELS."),
    ] = None,
    until: Annotated[datetime | None, typer.Option(help="Leave out what happened from this time (UTC) on.")] = None,
    seed: Annotated[int, typer.Option(help="The same data and seed give the same model.")] = 0,
    json: Json = False,
) -> None:
    """Train models on what has been ingested; those that pass the gate go live.

    snapshot -> fit -> evaluate on a time split -> gate -> publish. A running server picks the new version up by itself. Killed
    and run again, a model that keeps checkpoints goes on from the last one.
    """
    with opened(ctx.obj) as context:
        moment = until.replace(tzinfo=UTC) if until is not None and until.tzinfo is None else until
        trained = train_models(names or context.settings.models_to_train, context, seed=seed, until=moment)
    if json:
        print_json([_document(one) for one in trained])
    else:
        print_trained(trained)


def print_trained(trained: list[Trained]) -> None:
    """The evaluation table of a run, then what the gate said of each model."""
    rows = [one.row for one in trained if one.row is not None]
    if rows:
        console.print(table(rows))
    for one in trained:
        mark = "[green]live[/]" if one.version.state == "live" else f"[yellow]{one.version.state}[/]"
        console.print(
            f"{one.version.name} v{one.version.version} {mark}, trained in {one.fit_s:.1f} s: {one.verdict.reason}"
        )


def promote(ctx: typer.Context, name: str, version: int) -> None:
    """Make a version live by hand. Serving swaps within a second; its files are checked first."""
    with opened(ctx.obj, progress=False) as context:
        context.registry.promote(name, version, "promoted by hand")
    console.print(f"{name} v{version} is live")


def rollback(ctx: typer.Context, name: str) -> None:
    """Go back to the version that was live before."""
    with opened(ctx.obj, progress=False) as context:
        version = context.registry.rollback(name)
    console.print(f"{name} v{version} is live again")


def _document(one: Trained) -> dict[str, object]:
    return {
        "name": one.version.name, "version": one.version.version, "state": one.version.state, "verdict": one.verdict.reason,
        "fit_s": one.fit_s, "metrics": one.row.as_json() if one.row is not None else None,
    }  # fmt: skip
