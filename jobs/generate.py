"""Writing the catalogue's texts: find items without a fresh one, write, check, store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from core.errors import NotFound
from core.store.catalogue import Item
from core.store.contents import Content
from jobs.context import JobContext
from models.content import ITEM_KINDS
from models.content.kind import ContentKind, ItemFacts, Style, facts_hash
from models.content.writer import as_content, facts_of, write
from models.text.generator import TextGenerator

CHUNK_ITEMS = 32  # texts are stored this often, so that a kill loses little


def generate(
    kind_name: str,
    limit: int,
    generator: TextGenerator | None,
    context: JobContext,
    *,
    locale: str = "en",
    only_stale: bool = False,
    items: Sequence[Item] | None = None,
) -> Counter[str]:
    """Write at most `limit` missing or stale texts of a kind, the most interacted-with items first, or those of `items`.

    Returns how many were written by origin and status ("model verified", "template verified", ...), and how many
    were found "unchanged". Killed and run again it goes on where it was. Raises NotFound for an unknown kind.
    """
    kind = ITEM_KINDS.get(kind_name)
    if kind is None:
        raise NotFound(f"there is no kind {kind_name!r} of texts about one item; choose from {', '.join(ITEM_KINDS)}")
    wanted = (
        list(items)
        if items is not None
        else context.store.contents.wanting(kind_name, locale, limit, only_stale=only_stale)
    )
    outcome: Counter[str] = Counter()
    with context.reporter.task(f"writing {kind_name} texts", max(1, len(wanted))) as task:
        for start in range(0, len(wanted), CHUNK_ITEMS):
            chunk = wanted[start : start + CHUNK_ITEMS]
            outcome += _write_chunk(kind, locale, chunk, generator, context)
            task.advance(len(chunk), ", ".join(f"{count} {what}" for what, count in outcome.items()))
    return outcome


def _write_chunk(
    kind: ContentKind[ItemFacts],
    locale: str,
    items: Sequence[Item],
    generator: TextGenerator | None,
    context: JobContext,
) -> Counter[str]:
    outcome: Counter[str] = Counter()
    changed: list[Item] = []
    for item in items:
        stored = context.store.contents.content(item.item, kind.name, locale)
        if stored is not None and _keep(stored[0], item, kind, generator):
            context.store.contents.still_true(item.item, kind.name, locale, item.changed_at)
            outcome["unchanged"] += 1
        else:
            changed.append(item)
    written = write(kind, [facts_of(item) for item in changed], generator, Style(locale))
    context.store.contents.save([as_content(text, item, locale) for text, item in zip(written, changed, strict=True)])
    outcome.update(f"{text.origin} {text.status}" for text in written)
    return outcome


def _keep(stored: Content, item: Item, kind: ContentKind[ItemFacts], generator: TextGenerator | None) -> bool:
    """Whether a text still says what its item says; a template's gives way once there is a model to ask."""
    same = (stored.facts_hash, stored.prompt_hash) == (facts_hash(facts_of(item)), kind.prompt_hash)
    return same and (stored.origin == "model" or generator is None)
