"""A user's slate in a line: the kinds "email_subject" and "push_text".

The facts are the items of the slate and nothing else: nothing of the user, and no other user's data, can be in a text
because none is in the facts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property

from core.settings import Length
from models.content.description import listed
from models.content.facts import LANGUAGES, Form, check_items
from models.content.headline import note
from models.content.kind import PLAIN, ItemFacts, ItemsFacts, Probe, Style, Violation
from models.content.naming import labels_in
from models.content.prompting import INVENTED, SHOP, TRIED, few_shot, hash_of, told
from models.text.generator import Prompt

MAX_NOTED_ITEMS = 6
PHRASES = {
    "en": (
        "for you", "picked for you", "chosen for you", "selected for you", "you", "your", "your next", "next", "new picks",
        "picks", "new picks for you", "how about", "what about", "tonight", "today's picks", "more", "and more", "one more",
        "to", "try", "discover", "take a look at", "have a look at", "by", "like", "meet", "desk", "now", "also", "or",
        "up next", "ready when you are", "made of",
    ),
    "de": (
        "für sie", "für dich", "für sie ausgesucht", "für dich ausgesucht", "ausgesucht", "ihr", "ihre", "ihr nächster",
        "ihr nächstes", "ihre nächste", "nächster", "nächstes", "nächste", "wie wäre es mit", "wie wäre es heute mit",
        "wie wäre es", "heute abend", "mehr", "und mehr", "weitere", "bis", "entdecken", "entdecken sie", "neue vorschläge",
        "vorschläge", "vorschläge für sie", "oder", "wie", "sie", "ein weiterer", "ein weiteres", "eine weitere",
    ),
}  # fmt: skip
UNIVERSAL = {"en": "Picked for you", "de": "Für Sie ausgesucht"}
SUBJECT_FORM = Form(70, 2, prose=False, named=False, marks="?!", phrases=PHRASES, counted=True)
PUSH_FORM = Form(120, 2, prose=False, named=True, marks="?", phrases=PHRASES, counted=True)


class SlateLine:
    """One line about a slate; email_subject and push_text differ in length, wording and what they must name."""

    facts_type = ItemsFacts
    max_tokens = 48
    stop = ("\n",)

    def __init__(
        self, name: str, form: Form, system: dict[str, str], texts: Callable[[ItemsFacts, str, bool], Iterator[str]]
    ) -> None:  # fmt: skip
        self.name, self._form, self._system, self._texts = name, form, system, texts

    @cached_property
    def prompt_hash(self) -> str:
        """Hex sha256 over everything the prompt is built from."""
        return hash_of(self.name, self._system, [text for _, text in _examples(self, "en", "medium")])

    def probes(self, style: Style) -> list[Probe[ItemsFacts]]:
        """Slates of two and three invented items."""
        return [
            Probe(ItemsFacts(items[n : n + 2 + n % 2], "en", f"s{n}"), shop=shop)
            for items, shop in ((TRIED, False), (SHOP, True)) for n in range(6)
        ]  # fmt: skip

    def writable(self, facts: ItemsFacts, style: Style) -> str | None:
        """Why a model is not asked: no grammar of the language, or no item that can be shown."""
        if style.code(facts) not in LANGUAGES:
            return f"there is no grammar here for {style.locale or facts.locale!r}"
        return None if shown(facts) else "no item of the slate has a title that can be shown"

    def prompt(self, facts: ItemsFacts, style: Style, rejected: Sequence[Sequence[Violation]] = ()) -> Prompt:
        """The items' notes, one line each, with examples of lines about invented slates."""
        code = style.code(facts)
        return few_shot(
            told(self._system[code], style, code), _examples(self, code, style.length), _note(facts, code), rejected
        )

    def check(self, text: str, facts: ItemsFacts, style: Style = PLAIN) -> list[Violation]:
        """Every claim is true of the items it stands beside, every count is right (see facts.check_items)."""
        if text == UNIVERSAL.get(style.code(facts), "–"):
            return []
        return check_items(text, facts.items, self._form, style.locale or facts.locale)

    def fallback(self, facts: ItemsFacts, style: Style = PLAIN) -> str:
        """The names that fit, by the longest wording that passes the check."""
        code = style.code(facts)
        texts = [*self._texts(facts, code, style.length == "short"), UNIVERSAL.get(code, "–")]
        return next(text for text in texts if not self.check(text, facts, style))


@cache
def _examples(kind: SlateLine, code: str, length: Length) -> list[tuple[str, str]]:
    slates = (ItemsFacts(INVENTED[:3], code), ItemsFacts(INVENTED[1:3], code), ItemsFacts(INVENTED[2:], code))
    return [(_note(slate, code), kind.fallback(slate, Style(code, length=length))) for slate in slates]


def shown(facts: ItemsFacts) -> list[ItemFacts]:
    """The items that can be named."""
    return [item for item in facts.items if item.names]


def _note(facts: ItemsFacts, code: str) -> str:
    return " ; ".join(note(item, code) for item in shown(facts)[:MAX_NOTED_ITEMS])


def _subjects(facts: ItemsFacts, code: str, short: bool) -> Iterator[str]:
    """ "For you: Alien, Heat and The Usual Suspects"; with fewer names and a count of the rest until one fits."""
    names = [item.names[0] for item in shown(facts)]
    lead, joint, more = {"de": ("Für Sie", "und", "mehr")}.get(code, ("For you", "and", "more"))
    if code not in LANGUAGES:
        yield from (listed(names[:most], code) for most in range(len(names), 0, -1))
        return
    if names:
        if not short or len(names) == 1:
            yield f"{lead}: {listed(names, code)}"
        most_named = 1 if short else len(names) - 1
        yield from (f"{lead}: {', '.join(names[:most])} {joint} {more}" for most in range(most_named, 0, -1))
        yield f"{lead}: {names[0]}"
        yield names[0]


def _pushes(facts: ItemsFacts, code: str, short: bool) -> Iterator[str]:
    """ "For you: Alien (1979), action, horror and sci-fi": the first item that can be said so."""
    lead = {"de": "Für Sie: ", "en": "For you: "}.get(code, "")
    for item in shown(facts):
        labels, name = labels_in(item, code), item.names[0]
        dated = f"{name} ({item.year})" if item.year else name
        if not short:
            yield from (f"{lead}{dated}, {listed(labels[:most], code)}" for most in range(len(labels), 0, -1))
        yield from (f"{lead}{dated}", f"{lead}{name}", name)


_WRITE = {"en": "You write one {what} from notes about items, with their facts and nothing else.",
          "de": "Du schreibst aus Notizen zu Artikeln eine deutsche {what} mit ihren Angaben und sonst nichts."}  # fmt: skip
EMAIL_SUBJECT = SlateLine(
    "email_subject", SUBJECT_FORM,
    {"en": _WRITE["en"].format(what="subject line for an e-mail"), "de": _WRITE["de"].format(what="Betreffzeile")}, _subjects,
)  # fmt: skip
PUSH_TEXT = SlateLine(
    "push_text", PUSH_FORM,
    {"en": _WRITE["en"].format(what="short notification"), "de": _WRITE["de"].format(what="kurze Mitteilung")}, _pushes,
)  # fmt: skip
