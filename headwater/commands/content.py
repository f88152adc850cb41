"""`headwater content`: write the catalogue's texts, and look at them."""

from __future__ import annotations

from typing import Annotated

import typer

from core.errors import NotFound
from headwater.terminal import Json, console, opened, print_json
from jobs.generate import generate
from models.content import ITEM_KINDS
from models.content.kind import Style
from models.content.writer import facts_of
from models.text import open_generator

app = typer.Typer(help="Texts about items, written from their facts and checked against them.", no_args_is_help=True)
KINDS = ", ".join(ITEM_KINDS)


@app.command()
def regenerate(
    ctx: typer.Context,
    kind: Annotated[str, typer.Option(help=f"One of: {KINDS}.")] = "description",
    stale: Annotated[bool, typer.Option("--stale", help="Only texts whose item changed since.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Texts at most.")] = 1000,
    locale: str = "en",
) -> None:
    """Write missing and stale texts, the most interacted-with items first. Interrupted, it goes on where it was.

    With no text model configured (HEADWATER_TEXT_MODEL or HEADWATER_TEXT_ENDPOINT) the template speaks.
    """
    with opened(ctx.obj) as context:
        configured = context.settings.text_model or context.settings.text_endpoint
        generator = open_generator(context.settings, context.reporter) if configured else None
        outcome = generate(kind, limit, generator, context, locale=locale, only_stale=stale)
    console.print(", ".join(f"{count:,} {what}" for what, count in outcome.items()) or "nothing to write")


@app.command()
def show(ctx: typer.Context, item: str, kind: str = "description", locale: str = "en", json: Json = False) -> None:
    """An item's text, where it came from, and what was refused on the way."""
    with opened(ctx.obj, progress=False) as context:
        found = context.store.contents.content(item, kind, locale)
        known = context.store.catalogue.item(item)
    if known is None:
        raise NotFound(f"there is no item {item!r}")
    if kind not in ITEM_KINDS:
        raise NotFound(f"there is no kind {kind!r} of texts about one item; choose from {KINDS}")
    if found is None:
        template = ITEM_KINDS[kind].fallback(facts_of(known), Style(locale))
        console.print(f"none written yet; the template says: {template}")
        return
    content, is_stale = found
    if json:
        print_json({"content": content, "stale": is_stale})
        return
    console.print(content.text)
    console.print(
        f"{content.status}{', stale' if is_stale else ''}; by {content.origin} {content.model}; {content.attempts} tries"
    )
    for refused in content.rejected:
        console.print(f"  refused: {refused.get('claim', '')} {refused.get('reason', refused.get('note', ''))}")
