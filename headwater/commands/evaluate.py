"""`headwater evaluate`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from core.progress import Reporter, Terminal
from headwater.terminal import Json, console, opened, print_json
from jobs.fitting import Fitting, standing_in_for
from jobs.train import METRICS, evaluate_own
from models import RECOMMENDERS
from models.blend import Blend, BlendConfig, Validation
from models.evaluation import Row, table
from models.evaluation import evaluate as evaluate_on
from models.item_features import ItemFeatures
from models.metrics import parse
from models.protocols import Protocol, Stage, read_protocol, split_folder

NAMES = ", ".join(RECOMMENDERS)
LEARNS_BY: dict[str, Validation] = {"time": "time", "leave-last-out": "leave-last-out", "given": "held-out"}


def evaluate(
    ctx: typer.Context,
    data: Annotated[
        Path | None, typer.Option(help="A folder with interactions.csv.gz and protocol.toml.", file_okay=False)
    ] = None,
    models: Annotated[str, typer.Option(help=f"Comma-separated: {NAMES}. All that can answer, if not given.")] = "",
    stage: Annotated[Stage, typer.Option(help="With --data: choose on validation, read the test once.")] = "test",
    seed: int = 0,
    json: Json = False,
) -> None:
    """How good are the models? On the project's own events by time, or on a data set with published figures.

    Full ranking over every item, ties against the model, 95% bootstrap intervals; then what the lists are made of, and cold
    users and items apart. Models are fitted on the training part only; nothing is published. On a data set the blend holds
    whatever is evaluated beside it; on the project's own events what it would serve with.
    """
    names = [name.strip() for name in models.split(",") if name.strip()]
    unknown = [name for name in names if name not in RECOMMENDERS]
    if unknown:
        raise typer.BadParameter(f"choose from {NAMES}", param_hint="--models")
    published: tuple[dict[str, Any], ...] = ()
    silent: dict[str, str] = {}
    if data is None:
        with opened(ctx.obj) as context:
            rows = evaluate_own(names or list(RECOMMENDERS), context, seed)
        metrics: tuple[str, ...] = METRICS
    else:
        protocol = read_protocol(data)
        metrics, published = protocol.metrics, protocol.published if stage == "test" else ()
        features = ItemFeatures.from_folder(data)
        if not names:
            silent = left_out(protocol, features)
            names = [name for name in RECOMMENDERS if name not in silent]
        rows = on_folder(data, features, protocol, names, stage, seed, Terminal())
    if json:
        print_json({"metrics": metrics, "models": [row.as_json() for row in rows], "published": published,
                    "left_out": silent})  # fmt: skip
    else:
        console.print(table(rows, published), markup=False)
        for name, why in silent.items():
            console.print(f"{name} is left out: {why}", markup=False)


def left_out(protocol: Protocol, features: ItemFeatures) -> dict[str, str]:
    """The models that can name nothing on this data, by name, and why."""
    found = {}
    if protocol.mask_seen:
        found["repeat"] = "it names what a user has, and that is masked here"
    if not features.texts:
        found["content"] = "the items have no text"
    return found


def on_folder(
    folder: Path,
    features: ItemFeatures,
    protocol: Protocol,
    names: list[str],
    stage: Stage,
    seed: int,
    reporter: Reporter,
) -> list[Row]:
    """Evaluate models, as they come, on a data folder; item texts are those known before the split's cut."""
    split = split_folder(folder, stage)
    features = features.as_of(split.cut_s)
    fitting = Fitting(reporter, lambda: features.texts, seed, shared=set(names) if Blend.name in names else set())
    fits = {name: partial(fitting.fit, name, _config(name, names, protocol), texts_of_all=True) for name in names}
    return evaluate_on(fits, split, protocol.metrics, seed, reporter, features)


def _config(name: str, names: list[str], protocol: Protocol) -> Any:
    """A model's own configuration; a blend holds the others of `names` too, and learns its weights as the protocol asks."""
    kind = RECOMMENDERS[name].config_type
    if kind is not BlendConfig:
        return kind()
    cutoff = parse(protocol.metrics[-1])[1]
    config = BlendConfig(validation=LEARNS_BY[protocol.split], mask_seen=protocol.mask_seen, cutoff=cutoff)
    return standing_in_for(names, config)
