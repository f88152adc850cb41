"""Texts about one item: what each kind of them states, taken from the catalogue, and whether a stored one is true today.

Some need more than the item's own fields: a theme the items of a collection, a translation the text that it translates, a
reason the item of the past that it names. `Around` gives these, from Postgres or from what a server holds in memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from core.errors import InvalidRequest, NotFound
from core.store import Store
from core.store.catalogue import Item
from core.store.contents import Content
from models.content import CONTENT_KINDS, ITEM_KINDS
from models.content.banned import banned, list_hash
from models.content.because import BecauseFacts
from models.content.kind import ContentKind, Facts, ItemsFacts, Style, facts_hash
from models.content.review_summary import REVIEW_SUMMARY, ReviewFacts
from models.content.theme import THEME
from models.content.translation import TRANSLATION, TranslationFacts
from models.content.writer import MEMBERS, REVIEWS, facts_of

SHOWN = ("verified", "approved", "edited")
BY_PEOPLE = ("approved", "edited")
BECAUSE = "because"
OF = "translation_"
MAX_REVIEWS, MAX_REVIEW_CHARS, MAX_MEMBERS = 50, 1000, 20  # as POST /v1/content takes them

# What an item's id and a language are enough to ask for, by the name that it is kept under.
OF_ITEM: dict[str, ContentKind[Any]] = {
    **ITEM_KINDS,
    "review_summary": REVIEW_SUMMARY,
    "theme": THEME,
    **{OF + name: TRANSLATION for name in ITEM_KINDS},
}
NEEDED = {"review_summary": REVIEWS, "theme": MEMBERS}  # an attribute, a list, without which there is nothing to write
ALONE = (*ITEM_KINDS, "review_summary")  # of these the item's own fields are all there is to know
CHECKED = (*OF_ITEM, BECAUSE)  # what a stored text of these is about is known: it can be checked at any time


class Around(Protocol):
    """What is around an item."""

    def item(self, item: str) -> Item | None:
        """Another item, as it is now."""

    def text(self, item: Item, kind: str) -> str:
        """The text that is shown of an item now, in the item's language: what a translation starts from."""


class FromStore:
    """Around an item, as Postgres has it. Raises DatabaseUnavailable."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def item(self, item: str) -> Item | None:
        """See Around."""
        return self._store.catalogue.item(item)

    def text(self, item: Item, kind: str) -> str:
        """See Around."""
        found = self._store.contents.content(item.item, kind, item.locale)
        return shown_or_template(found, item, kind, self)


def shown_or_template(found: tuple[Content, bool] | None, item: Item, kind: str, around: Around) -> str:
    """What is stored where that may be shown (`found` as ContentStore.content gives it), else what the template says."""
    if found is not None and stands(*found, item, around):
        return found[0].text
    return ITEM_KINDS[kind].fallback(facts_of(item), Style(item.locale))


def kind_of(name: str) -> ContentKind[Any]:
    """The kind of a stored text, by the name that it is kept under. Raises InvalidRequest naming those there are."""
    if name not in OF_ITEM and name not in CONTENT_KINDS:
        raise InvalidRequest(f"kind: {name!r} is not a kind of text; choose from {', '.join((*OF_ITEM, BECAUSE))}")
    return OF_ITEM[name] if name in OF_ITEM else CONTENT_KINDS[name]


def facts_about(
    name: str, item: Item, locale: str, around: Around, about: Mapping[str, str] | None = None
) -> Facts:  # fmt: skip
    """What a text of the kind `name` about an item may state now; `about` is as in Content.

    Raises NotFound where there is nothing to say: a theme of an item that is no collection, a reason for what is gone.
    """
    facts = facts_of(item)
    if name in ITEM_KINDS:
        return facts
    if name == REVIEW_SUMMARY.name:
        reviews = tuple(str(said)[:MAX_REVIEW_CHARS] for said in _listed(item, REVIEWS)[:MAX_REVIEWS])
        return ReviewFacts(facts, reviews, item.locale)
    if name == THEME.name:
        members = [_there(around, one) for one in _listed(item, MEMBERS)[:MAX_MEMBERS]]
        if not any(members):
            raise NotFound(
                f"item {item.item!r} is no collection: its attribute {MEMBERS!r} lists no items of the catalogue"
            )
        return ItemsFacts(tuple(facts_of(one) for one in members if one is not None), item.locale, item.item)
    if name == BECAUSE:
        carrier = _there(around, (about or {}).get("item"))
        if carrier is None:
            named = (about or {}).get("item")
            raise NotFound(f"the item {named!r} that a reason for {item.item!r} names is not in the catalogue")
        return reason_facts(item, carrier, str((about or {}).get("event")))
    of = name.removeprefix(OF)
    return TranslationFacts(of, facts, around.text(item, of), locale)


def because_of(carrier: str, event: str) -> dict[str, str]:
    """The `about` of a reason: the item of somebody's past that carried another, and what was done with it. Names nobody."""
    return {"item": carrier, "event": event}


def reason_facts(item: Item, carrier: Item, event: str) -> BecauseFacts:
    """What a stored reason may state. It does not know how an item was found: it is said whatever model found it."""
    return BecauseFacts(facts_of(item), ((facts_of(carrier), event),), "", item.locale)


def stands(
    text: Content, outdated: bool, item: Item | None, around: Around, words: tuple[str, ...] = ()
) -> bool:  # fmt: skip
    """Whether a stored text may be shown now (DESIGN I6): it says none of the `words` that the house banned since it was checked.

    One whose item changed stands while its facts are the same. A person's stands as long as the checker finds nothing in it
    that the new facts do not support; a machine's is written anew.
    """
    if text.status not in SHOWN or item is None or item.removed:
        return False
    if not outdated and not _unlisted(text, None, words) and (text.kind in ALONE or text.kind not in CHECKED):
        return True
    if text.kind not in CHECKED:
        return False
    try:
        facts = facts_about(text.kind, item, text.locale, around, text.about)
    except NotFound:
        return False
    return holds(text, facts, words)


def holds(text: Content, facts: Facts, words: tuple[str, ...] = ()) -> bool:
    """Whether a text that was good may be shown where these are the facts and the house's banned `words`."""
    if _unlisted(text, facts, words):
        return False
    if facts_hash(facts) == text.facts_hash:
        return True
    return text.status in BY_PEOPLE and not kind_of(text.kind).check(text.text, facts, Style(text.locale))


def _unlisted(text: Content, facts: Facts | None, words: tuple[str, ...]) -> bool:
    """Whether it was checked against another list than that of today, and says what is on that."""
    return text.banned_hash != list_hash(words) and bool(banned(text.text, facts, words))


def _there(around: Around, item: Any) -> Item | None:
    found = around.item(item) if isinstance(item, str) else None
    return None if found is None or found.removed or found.hidden else found


def _listed(item: Item, attribute: str) -> Sequence[Any]:
    given = item.attributes.get(attribute)
    return given if isinstance(given, list) else []
