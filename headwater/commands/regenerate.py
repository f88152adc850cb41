"""`headwater content regenerate` and `headwater content requests`: have texts written, here or by the workers."""

from __future__ import annotations

from typing import Annotated

import typer

from core.errors import NotFound
from headwater.terminal import Json, console, opened, print_json, print_table
from jobs.generate import TextWriter, generate
from jobs.text_model import configured_model
from models.content.about import OF_ITEM
from models.content.fit import Fits

KINDS = ", ".join(OF_ITEM)


def regenerate(
    ctx: typer.Context,
    kind: Annotated[str, typer.Option(help=f"One of: {KINDS}.")] = "description",
    stale: Annotated[
        bool, typer.Option("--stale", help="Only texts of an older state, prompt, style or model.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="Texts at most.")] = 1000,
    locale: Annotated[str | None, typer.Option(help="Language; by default HEADWATER_CONTENT_LOCALE.")] = None,
    queue: Annotated[bool, typer.Option("--queue", help="Leave the writing to `headwater generate-worker`.")] = False,
) -> None:
    """Write missing and stale texts, those of the newest and most viewed items first. Interrupted, it goes on where it was.

    With no text model configured (HEADWATER_TEXT_MODEL or HEADWATER_TEXT_ENDPOINT) the template speaks. A text that is true
    of its item, from the same facts, prompt and model, is not written again.
    """
    with opened(ctx.obj, progress=not queue) as context:
        settings = context.settings
        if kind not in OF_ITEM:
            raise NotFound(f"there is no kind {kind!r} of texts about one item; choose from {KINDS}")
        model = configured_model(settings, context.reporter)
        if queue:
            language = locale or settings.content_locale
            texts = [] if stale else [(kind, language)]
            wanted = TextWriter(context, None, None).wanted(texts, kind=kind, locale=language, only_stale=stale)
            asked = context.store.content_requests.request(context.store.content_requests.wanting(wanted, limit))
            console.print(f"{asked:,} texts requested; `headwater content requests` shows how far they are")
            return
        if model is not None and not model.open() and model.away is not None:
            raise model.away
        fits = Fits(settings.fits_file)
        outcome = generate(kind, limit, model, context, locale=locale, only_stale=stale, fits=fits)
    console.print(", ".join(f"{count:,} {what}" for what, count in outcome.items()) or "nothing to write")


def requests(ctx: typer.Context, json: Json = False) -> None:
    """Texts that are requested and not settled yet, and what the models wrote this hour."""
    with opened(ctx.obj, progress=False) as context:
        counts, budget = context.store.content_requests.counts(), context.settings.content_tokens_per_hour
    if json:
        print_json({"counts": counts, "tokens_per_hour": budget})
        return
    meanings = {
        "waiting": "to be published: more are in the topic than may be",
        "published": "in the topic, or being written",
        "later": "written by the template, waiting for the text model to answer",
        "dead": "refused: headwater events dead list",
    }
    rows = [(state, f"{counts.states[state]:,}", meaning) for state, meaning in meanings.items()]
    print_table(("requests", "count", "which"), rows, "")
    console.print(f"the oldest waits for {counts.oldest_s:,.0f} s")
    allowed = "any number" if budget is None else f"{budget:,}"
    console.print(f"{counts.tokens:,} tokens written this hour; {allowed} may be")
