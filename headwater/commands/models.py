"""`headwater train | evaluate | promote | rollback`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from core.progress import Terminal
from headwater.terminal import Json, console, opened, print_json
from jobs.train import METRICS, Trained, evaluate_own
from jobs.train import train as train_models
from models import RECOMMENDERS
from models.evaluation import evaluate as evaluate_on
from models.evaluation import table
from models.protocols import read_protocol, split_folder

NAMES = ", ".join(RECOMMENDERS)


def train(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Models to train: {NAMES}. All when none is named.")
    ] = None,
    until: Annotated[datetime | None, typer.Option(help="Leave out what happened from this time (UTC) on.")] = None,
    seed: Annotated[int, typer.Option(help="The same data and seed give the same model.")] = 0,
    json: Json = False,
) -> None:
    """Train models on what has been ingested; those that pass the gate go live.

    snapshot -> fit -> evaluate on a time split -> gate -> publish. A running server picks the new version up by itself.
    """
    with opened(ctx.obj) as context:
        moment = until.replace(tzinfo=UTC) if until is not None and until.tzinfo is None else until
        trained = train_models(names or list(RECOMMENDERS), context, seed=seed, until=moment)
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


def evaluate(
    ctx: typer.Context,
    data: Annotated[
        Path | None, typer.Option(help="A folder with interactions.csv.gz and protocol.toml.", file_okay=False)
    ] = None,
    models: Annotated[str, typer.Option(help=f"Comma-separated: {NAMES}.")] = ",".join(RECOMMENDERS),
    seed: int = 0,
    json: Json = False,
) -> None:
    """How good are the models? On the project's own events by time, or on a data set with published figures.

    Full ranking over every item, ties against the model, 95% bootstrap intervals. Models are fitted on the training
    part only; nothing is published.
    """
    names = [name.strip() for name in models.split(",") if name.strip()]
    unknown = [name for name in names if name not in RECOMMENDERS]
    if unknown or not names:
        raise typer.BadParameter(f"choose from {NAMES}", param_hint="--models")
    published: tuple[dict[str, object], ...] = ()
    if data is None:
        with opened(ctx.obj) as context:
            rows = evaluate_own(names, context, seed)
        metrics: tuple[str, ...] = METRICS
    else:
        protocol = read_protocol(data)
        metrics, published = protocol.metrics, protocol.published
        rows = evaluate_on(
            {name: RECOMMENDERS[name].fit for name in names}, split_folder(data), metrics, seed, Terminal()
        )
    if json:
        print_json({"metrics": metrics, "models": [row.as_json() for row in rows], "published": published})
    else:
        console.print(table(rows, published))


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
