"""The `headwater` command."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from core.errors import HeadwaterError
from core.progress import Terminal
from core.settings import load_settings
from core.telemetry import set_up_logs, told
from headwater.commands import content, evaluate, events, models, people
from headwater.roles import running_roles
from headwater.run import generate_worker, ingest, schedule, serve, stopping
from headwater.services import attach, running_services
from headwater.terminal import Json, console, months_of, opened, print_json, print_table, status_of

app = typer.Typer(
    name="headwater",
    help="Event-driven recommendations and checked content: Kafka in, fresh answers out.\n\n"
    "New here? `headwater demo` runs the whole system on real data. Settings are HEADWATER_* variables or a TOML "
    "file named by HEADWATER_CONFIG; with no database and no broker configured, embedded ones start under ./.headwater.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
RUN, MODELS, PEOPLE = "Run the system", "Models", "Data and people"


@app.callback()
def settings_for(ctx: typer.Context) -> None:
    """Read the settings once, here."""
    ctx.obj = load_settings(os.environ)


@app.command(rich_help_panel=RUN)
def demo(
    ctx: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Print the results and exit instead of serving on.")] = False,
    data: Annotated[
        Path | None, typer.Option(help="Your own CSV: user,item,timestamp[,kind][,value].", exists=True, dir_okay=False)
    ] = None,
) -> None:
    """The whole system on real data (MovieLens-100K, or yours), then a served page. Ctrl-C stops everything."""
    from headwater.demo import demo as run_demo

    for number in (signal.SIGINT, signal.SIGTERM):  # also where a shell started us in the background, ignoring SIGINT
        signal.signal(number, signal.default_int_handler)
    run_demo(ctx.obj, once=once, data=data)


@app.command(rich_help_panel=RUN)
def up(ctx: typer.Context) -> None:
    """All roles in one process tree, on the embedded or the configured services. Ctrl-C stops everything."""
    from migrations.run import upgrade  # Alembic: who serves does without

    with stopping() as stop, running_services(ctx.obj, Terminal()) as settings:
        assert settings.database_url is not None
        upgrade(settings.database_url, settings.namespace)
        with running_roles(settings):
            console.print(
                f"serving http://{settings.host}:{settings.port}/console; logs in {settings.home.absolute() / 'logs'}"
            )
            console.print(settings.keys_note)
            stop.wait()


for role in (ingest, serve, schedule, generate_worker):
    app.command(rich_help_panel=RUN)(role)


@app.command(rich_help_panel=RUN)
def migrate(ctx: typer.Context) -> None:
    """Bring the database to the current schema. Safe to run from several places at once."""
    from migrations.run import upgrade

    settings = attach(ctx.obj)
    assert settings.database_url is not None
    console.print(f"schema {settings.namespace} is at revision {upgrade(settings.database_url, settings.namespace)}")


@app.command(rich_help_panel=RUN)
def status(ctx: typer.Context, json: Json = False) -> None:
    """What runs: events and the months they are kept in, lag, texts, dead letters, models, jobs."""
    with opened(ctx.obj, progress=False) as context:
        document = status_of(context.store)
    if json:
        print_json(document)
        return
    print_table(
        ("what", "count"), [(name, f"{count:,}") for name, count in document["totals"].items()], "nothing ingested yet"
    )
    if (behind := document["messages_behind"]) is not None:
        console.print(f"consumers are {behind:,} messages behind")
    print_table(("months of events", "from", "to", "tables", "MB"), months_of(document["event_tables"]), "no tables")
    texts = document["text_requests"]
    open_texts = ", ".join(f"{count:,} {state}" for state, count in texts.states.items() if count) or "none"
    budget = ctx.obj.content_tokens_per_hour
    console.print(
        f"requests for texts: {open_texts}; the oldest waits for {texts.oldest_s:,.0f} s; {texts.tokens:,} tokens this hour"
        + (f" of {budget:,}" if budget else "")
    )
    letters = document["dead_letters"].items()
    print_table(("dead letters", "count"), [(reason, f"{count:,}") for reason, count in letters], "no dead letters")
    rows = [(one["name"], f"v{one['version']}", one["state"], one["verdict"][:90]) for one in document["models"]]
    print_table(("model", "version", "state", "verdict"), rows, "no models: `headwater train`")
    jobs = [(run.id, run.name, run.status, run.attempts, run.finished_at) for run in document["jobs"]]
    print_table(("job", "name", "status", "attempts", "finished"), jobs, "no jobs have run")


app.command(rich_help_panel=MODELS)(models.train)
app.command(rich_help_panel=MODELS)(evaluate.evaluate)
app.command(rich_help_panel=MODELS)(models.promote)
app.command(rich_help_panel=MODELS)(models.rollback)
app.add_typer(content.app, name="content", rich_help_panel=MODELS)
app.add_typer(events.app, name="events", rich_help_panel=PEOPLE)
app.add_typer(people.users, name="users", rich_help_panel=PEOPLE)
app.add_typer(people.keys, name="keys", rich_help_panel=PEOPLE)


def main() -> NoReturn:
    """Run the command line. What goes wrong is one clear message; a stack trace goes to a file."""
    role = len(sys.argv) > 1 and sys.argv[1] in ("ingest", "serve", "schedule", "generate-worker")
    set_up_logs(os.environ.get("HEADWATER_LOG_LEVEL", "INFO" if role else "WARNING"))
    try:
        app()
        sys.exit(0)
    except HeadwaterError as error:
        print(f"headwater: {error}", file=sys.stderr)
        sys.exit(75 if error.retriable else 1)  # 75: EX_TEMPFAIL, the same command may work later
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:  # noqa: BLE001 -- the last stop: kept whole in a file, told in a line
        # What a role says goes to a log, and so without the message, which may quote whatever it stumbled over.
        what = type(error).__name__ if role else f"{type(error).__name__}: {error}"
        print(f"headwater: unexpected {what}\nDetails are in {_keep(error, quoted=not role)}", file=sys.stderr)
        sys.exit(70)  # EX_SOFTWARE


def _keep(error: Exception, *, quoted: bool) -> Path:
    home = Path(os.environ.get("HEADWATER_HOME", ".headwater")).absolute()
    file = home / "logs" / f"crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(traceback.format_exception(error)) if quoted else told(error))
    return file
