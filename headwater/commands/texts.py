"""`headwater content list|show|diff|approve|edit|reject`: people and texts."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer
from rich.text import Text

from core.errors import NotFound
from core.requests import input_hash_of
from core.store.reviews import Action, Decision
from headwater.terminal import Json, console, opened, print_json, print_table
from models.content.about import BECAUSE, OF_ITEM, FromStore, because_of, facts_about
from models.content.difference import words_changed
from models.content.kind import house_style
from models.content.review import STATUSES, Given, decide, listed, standing

SHOWN_CHARS = 60  # of a text in a list

Item = Annotated[str, typer.Argument(help="The item's id.")]
Kind = Annotated[str, typer.Option(help="Kind of text.")]
Locale = Annotated[str | None, typer.Option(help="Language; by default HEADWATER_CONTENT_LOCALE.")]
Input = Annotated[str, typer.Option("--input", help="Of a text about more than its item: the hash that `list` shows.")]
Version = Annotated[
    int | None,
    typer.Option(help="The version that you saw; refused if it is another by now. None: what is stored now."),
]
Who = Annotated[str, typer.Option(help="Your name, for the history; by default the name that you are logged in with.")]
Reason = Annotated[str, typer.Option(help="Why, for the history.")]
Carrier = Annotated[str, typer.Option(help="Of a first text of the kind because: the item of the past that it names.")]
Event = Annotated[str, typer.Option(help="... and what was done with it, such as purchase.")]
Anyway = Annotated[bool, typer.Option("--anyway", help="Although the checker objects; needs a reason.")]


def list_texts(
    ctx: typer.Context,
    status: Annotated[
        str | None, typer.Option(help=f"One of: {', '.join(STATUSES)} (was good until its item changed).")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Only of this kind.")] = None,
    locale: Annotated[str | None, typer.Option(help="Only in this language.")] = None,
    search: Annotated[str, typer.Option(help="An item's id, or part of its title.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Texts at most.")] = 50,
    json: Json = False,
) -> None:
    """Texts by status, kind and language, the newest first."""
    with opened(ctx.obj, progress=False) as context:
        found, _ = listed(
            context.store,
            status=status,
            kind=kind,
            locale=locale,
            search=search,
            limit=limit,
            words=context.settings.banned_words,
        )
    if json:
        print_json([{"status": now, "title": one.title, "content": one.content} for one, now in found])
        return
    rows = [
        (
            _plain(one.content.item), one.content.kind, one.content.locale, now, one.content.version, one.content.origin,
            _plain(one.content.text[:SHOWN_CHARS]), one.content.input_hash,
        )
        for one, now in found
    ]  # fmt: skip
    print_table(("item", "kind", "language", "status", "version", "by", "text", "input"), rows, "no text is so")


def show(
    ctx: typer.Context,
    item: Item,
    kind: Kind = "description",
    locale: Locale = None,
    input_hash: Input = "",
    json: Json = False,
) -> None:
    """An item's text, how it stands against the facts of now, and everyone who changed it."""
    with opened(ctx.obj, progress=False) as context:
        key = (item, kind, locale or context.settings.content_locale, input_hash)
        known, found = context.store.catalogue.item(item), context.store.contents.content(*key)
        changes = context.store.reviews.history(*key)
        around = FromStore(context.store)
        now = standing(*found, known, around, context.settings.banned_words) if found is not None else None
        template = ""
        if known is not None and found is None and kind in OF_ITEM:
            facts = facts_about(kind, known, key[2], around)
            template = OF_ITEM[kind].fallback(facts, house_style(context.settings, key[2]))
    if found is None or now is None:
        if known is None:
            raise NotFound(f"there is no item {item!r}")
        if kind not in OF_ITEM:
            raise NotFound(f"there is no kind {kind!r} of texts about one item; choose from {', '.join(OF_ITEM)}")
        console.print(f"none written yet; the template says: {_plain(template)}", markup=False)
        return
    content = found[0]
    if json:
        document = {
            "content": content,
            "stale": now.status == "stale",
            "status": now.status,
            "violations": now.violations,
        }
        print_json({**document, "history": changes})
        return
    lines = [
        content.text,
        f"{now.status}, version {content.version}; by {content.origin} {content.model}; {content.attempts} tries",
    ]
    lines += [f"  the checker objects: {one.claim!r} {one.reason}" for one in now.violations]
    lines += [f"  refused: {one.get('claim', '')} {one.get('reason', one.get('note', ''))}" for one in content.rejected]
    lines += [
        f"  {one.at:%Y-%m-%d %H:%M} {one.who}: {one.action}, version {one.version} {one.status} {one.reason}".rstrip()
        for one in changes
    ]
    for line in lines:
        console.print(_plain(line), markup=False)


def diff(
    ctx: typer.Context,
    item: Item,
    kind: Kind = "description",
    locale: Locale = None,
    input_hash: Input = "",
    before: Annotated[int | None, typer.Option("--from", min=1, help="A version; by default the one before.")] = None,
    after: Annotated[int | None, typer.Option("--to", min=1, help="A version; by default the newest.")] = None,
    json: Json = False,
) -> None:
    """What changed between two versions of a text, word by word: [-gone-] and {+new+}."""
    with opened(ctx.obj, progress=False) as context:
        key = (item, kind, locale or context.settings.content_locale, input_hash)
        texts = {one.version: one.text for one in context.store.reviews.history(*key, limit=10_000)}
    if not texts:
        raise NotFound(f"no {kind} of item {item!r} is stored in {key[2]!r}")
    new = after if after is not None else max(texts)
    old = before if before is not None else new - 1
    for version in (new, *((old,) if old else ())):
        if version not in texts:
            raise NotFound(f"there is no version {version}; there are {min(texts)} to {max(texts)}")
    parts = words_changed(texts.get(old, ""), texts[new])
    if json:
        print_json({"from": old, "to": new, "parts": [{"what": what, "text": text} for what, text in parts]})
        return
    marks = {"same": ("{}", ""), "gone": ("[-{}-]", "red"), "new": ("{{+{}+}}", "green")}
    line = Text()
    for what, text in parts:
        line.append(marks[what][0].format(_plain(text)), marks[what][1])
    console.print(line)


def approve(
    ctx: typer.Context, item: Item, kind: Kind = "description", locale: Locale = None, input_hash: Input = "",
    version: Version = None, reason: Reason = "", anyway: Anyway = False, who: Who = "",
) -> None:  # fmt: skip
    """Approve a text: no machine overwrites it."""
    _decide(ctx, (item, kind, locale, input_hash), "approve", version, who, reason, anyway=anyway)


def edit(
    ctx: typer.Context, item: Item, text: Annotated[str, typer.Option(help="The text that is to be shown.")],
    kind: Kind = "description", locale: Locale = None, input_hash: Input = "",
    version: Version = None, reason: Reason = "", anyway: Anyway = False, who: Who = "", carrier: Carrier = "",
    event: Event = "view",
) -> None:  # fmt: skip
    """Replace a text by your own, or write the first. What the checker finds in it is published only with --anyway and a
    reason."""
    about = because_of(carrier, event) if kind == BECAUSE and carrier else {}
    key = (item, kind, locale, input_hash_of(about) or input_hash)
    _decide(ctx, key, "edit", version, who, reason, text, anyway, about)


def reject(
    ctx: typer.Context, item: Item, reason: Annotated[str, typer.Option(help="Why, for the history.")],
    kind: Kind = "description", locale: Locale = None, input_hash: Input = "", version: Version = None, who: Who = "",
) -> None:  # fmt: skip
    """Reject a text: the template speaks until another is written, and these words are not published again."""
    _decide(ctx, (item, kind, locale, input_hash), "reject", version, who, reason)


def _decide(
    ctx: typer.Context, about: tuple[str, str, str | None, str], action: Action, version: int | None, who: str, reason: str,
    text: str = "", anyway: bool = False, written_about: dict[str, str] | None = None,
) -> None:  # fmt: skip
    item, kind, asked, input_hash = about
    with opened(ctx.obj, progress=False) as context:
        locale = asked or context.settings.content_locale
        seen = version
        if seen is None:
            found = context.store.contents.content(item, kind, locale, input_hash)
            if found is None and action != "edit":
                raise NotFound(
                    f"no {kind} of item {item!r} is stored in {locale!r}: `headwater content regenerate` writes it"
                )
            seen = found[0].version if found is not None else 0
        decision = Decision(action, who or f"{_user()} (command line)", seen, text, reason, about=written_about or {})
        decided = decide(
            context.store, item, kind, locale, Given(decision, anyway, input_hash, context.settings.banned_words)
        )
    console.print(f"{decided.status}, version {decided.version}: {_plain(decided.text)}", markup=False)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "somebody"


def _plain(text: str) -> str:
    """Nothing in a text may steer the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
