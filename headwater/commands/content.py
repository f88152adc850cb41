"""`headwater content`: write the catalogue's texts, look at them, decide on them."""

from __future__ import annotations

import typer

from headwater.commands import texts
from headwater.commands.emails import email
from headwater.commands.regenerate import regenerate, requests

app = typer.Typer(help="Texts about items, written from their facts and checked against them.", no_args_is_help=True)

app.command()(regenerate)
app.command()(requests)
app.command()(email)
app.command("list")(texts.list_texts)
for command in (texts.show, texts.diff, texts.approve, texts.edit, texts.reject):
    app.command()(command)
