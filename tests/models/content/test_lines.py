"""The kinds that are one line: headline, email_subject, push_text, theme and because."""

from __future__ import annotations

import pytest

from models.content import CONTENT_KINDS, ITEM_KINDS
from models.content.because import BECAUSE, BecauseFacts
from models.content.headline import HEADLINE
from models.content.kind import PLAIN, ItemFacts, ItemsFacts, Style
from models.content.slate import EMAIL_SUBJECT, PUSH_TEXT
from models.content.theme import THEME

ALIEN = ItemFacts.of("a", "Alien (1979)", ["Action", "Horror", "Sci-Fi"], {"type": "film"})
HEAT = ItemFacts.of("h", "Heat (1995)", ["Action", "Crime", "Thriller"], {"type": "film"})
SEVEN = ItemFacts.of("s", "Seven (1995)", ["Crime", "Thriller"], {"type": "film"})
PAN = ItemFacts.of("p", "Copper Pan", ["Pans"], {"type": "product", "brand": "Acme", "price": "49,90 €"})
POT = ItemFacts.of("t", "Copper Pot", ["Pots"], {"type": "product", "brand": "Acme"})
FILMS = ItemsFacts((ALIEN, HEAT))
GERMAN = Style("de")


def rules(kind: str, text: str, facts: object, style: Style = PLAIN) -> set[str]:
    return {violation.rule for violation in CONTENT_KINDS[kind].check(text, facts, style)}


def test_kinds_about_one_item_are_those_that_an_item_id_is_enough_for() -> None:
    assert set(ITEM_KINDS) == {"description", "headline"}
    assert all(kind.facts_type is ItemFacts for kind in ITEM_KINDS.values())
    assert {name for name, kind in CONTENT_KINDS.items() if kind.facts_type is ItemFacts} == set(ITEM_KINDS)
    assert all(kind.name == name for name, kind in CONTENT_KINDS.items())
    assert len(CONTENT_KINDS) == 10


@pytest.mark.parametrize(
    ("facts", "style", "text"),
    [
        (HEAT, Style(), "Heat: action, crime and thriller (1995)"),
        (HEAT, GERMAN, "Heat: Action, Krimi und Thriller (1995)"),
        (PAN, Style(), "Copper Pan by Acme: pans"),
        (PAN, GERMAN, "Copper Pan von Acme: Pfannen"),
        (HEAT, Style("fr"), "Heat: action, crime, thriller (1995)"),
        (ItemFacts.of("x", "", ["Drama"]), Style(), "Drama"),
        (ItemFacts.of("x", ""), Style(), "Part of this catalogue"),
        (ItemFacts.of("x", "", locale="fr"), Style(), "–"),
    ],
)
def test_a_headline_says_what_fits(facts: ItemFacts, style: Style, text: str) -> None:
    assert HEADLINE.fallback(facts, style) == text
    assert HEADLINE.check(text, facts, style) == []


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Heat: crime thriller, thriller", "form"),
        ("Heat: crime thriller: action", "form"),
        ("Heat: the best thriller", "superlative"),
        ("Heat: thriller from 1996", "number"),
        ("Heat: Krimi und Thriller aus dem Jahr 1995", "language"),
        ("A crime thriller", "title"),
        ("Heat: thriller with", "form"),
        ("Heat: " + "thriller " * 20, "form"),
    ],
)
def test_a_headline_is_refused_with_the_reason(text: str, rule: str) -> None:
    assert rule in rules("headline", text, HEAT)


def test_a_slate_is_named_in_a_subject_as_far_as_it_fits() -> None:
    assert EMAIL_SUBJECT.fallback(FILMS) == "For you: Alien and Heat"
    assert EMAIL_SUBJECT.fallback(FILMS, GERMAN) == "Für Sie: Alien und Heat"
    many = ItemsFacts(tuple(ItemFacts.of(str(n), f"A Rather Long Title Number {chr(65 + n)}") for n in range(6)))
    assert EMAIL_SUBJECT.fallback(many) == "For you: A Rather Long Title Number A and more"
    assert EMAIL_SUBJECT.fallback(ItemsFacts(())) == "Picked for you"
    assert PUSH_TEXT.fallback(FILMS, GERMAN) == "Für Sie: Alien (1979), Action, Horror und Science-Fiction"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Alien (1995) and Heat for you", "attribution"),
        ("Alien and Heat: crime films", "attribution"),
        ("Crime films for you: Alien and Heat", "attribution"),
        ("How about Alien? A crime film.", "attribution"),
        ("Three films for you: Alien and Heat", "number"),
        ("Two thrillers for you: Alien and Heat", "attribution"),
        ("Alien and Heat: 20% off", "price"),
        ("Alien, Heat and Casino", "name"),
        ("Last chance: Alien and Heat", "number"),
        ("Alien und Heat, ausgesucht für Sie und von uns", "language"),
    ],
)
def test_a_subject_gives_no_item_what_is_anothers(text: str, rule: str) -> None:
    assert rule in rules("email_subject", text, FILMS)


@pytest.mark.parametrize(
    "text", ["Two films for you: Alien and Heat", "Heat, a crime thriller, and Alien", "Action for you: Alien and Heat"]
)
def test_a_subject_may_say_what_is_true_of_its_items(text: str) -> None:
    assert EMAIL_SUBJECT.check(text, FILMS) == []


def test_a_theme_is_what_all_items_share() -> None:
    crime, acme = ItemsFacts((HEAT, SEVEN)), ItemsFacts((PAN, POT))
    assert THEME.fallback(crime) == "Crime and thriller films from 1995"
    assert THEME.fallback(crime, GERMAN) == "Krimi und Thriller aus dem Jahr 1995"
    assert THEME.fallback(ItemsFacts((ALIEN, HEAT))) == "Action films"
    assert THEME.fallback(acme) == "Products by Acme"
    assert THEME.fallback(ItemsFacts((ALIEN, PAN))) == "A selection"
    assert THEME.fallback(ItemsFacts(())) == "A selection"
    assert rules("theme", "Horror films", ItemsFacts((ALIEN, HEAT))) == {"attribution"}
    assert rules("theme", "Films of the 1990s", ItemsFacts((ALIEN, HEAT))) == {"attribution"}
    assert rules("theme", "Films of the 1990s", crime) == set()
    assert "superlative" in rules("theme", "The best crime films", crime)


@pytest.mark.parametrize(
    ("history", "source", "english", "german"),
    [
        (((ALIEN, "view"),), "als", "Because you looked at Alien", "Weil Sie Alien angesehen haben"),
        (((ALIEN, "purchase"), (SEVEN, "purchase")), "als", "Because you bought Alien and Seven",
         "Weil Sie Alien und Seven gekauft haben"),
        (((ALIEN, "like"), (SEVEN, "view")), "als", "Because you liked Alien", "Weil Sie Alien mögen"),
        (((ALIEN, "cart"),), "als", "Because of Alien in your cart", "Weil Sie Alien in den Warenkorb gelegt haben"),
        (((ALIEN, "some_event"),), "als", "Because of Alien", "Wegen Alien"),
        ((), "popular", "Popular right now", "Zurzeit beliebt"),
        ((), "trending", "Trending now", "Im Trend"),
        ((), "sequence", "Fits what you chose so far", "Passt zu Ihrer bisherigen Auswahl"),
    ],
)  # fmt: skip
def test_a_reason_is_what_the_user_did_or_how_it_was_found(
    history: tuple[tuple[ItemFacts, str], ...], source: str, english: str, german: str
) -> None:
    facts = BecauseFacts(HEAT, history, source)
    assert BECAUSE.fallback(facts) == english
    assert BECAUSE.fallback(facts, GERMAN) == german


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("Because you bought Seven", "verb"),
        ("Because you liked Seven", "verb"),
        ("Because you looked at Heat", "verb"),
        ("Seven often comes after Heat", "verb"),
        ("Heat is popular right now", "verb"),
        ("Because you looked at Seven, a horror film", "category"),
        ("Because you looked at Seven, an action film", "attribution"),
        ("Because you are 35 and looked at Seven", "number"),
        ("Your friends looked at Seven", "claim"),
    ],
)
def test_a_reason_claims_no_event_that_did_not_happen(text: str, rule: str) -> None:
    facts = BecauseFacts(HEAT, ((SEVEN, "view"),), "transitions")
    assert BECAUSE.check("Heat often comes after Seven", facts) == []
    assert BECAUSE.check("Because you looked at Seven, a crime thriller", facts) == []
    assert rule in rules("because", text, facts)


def test_a_price_may_stand_as_the_catalogue_writes_it_and_no_other_way() -> None:
    assert HEADLINE.check("Copper Pan by Acme, 49,90 €", PAN, GERMAN) != []  # "by" is English
    assert HEADLINE.check("Copper Pan von Acme für 49,90 €", PAN, Style("de")) == []
    assert {v.rule for v in HEADLINE.check("Copper Pan von Acme für 39,90 €", PAN, GERMAN)} == {"number", "price"}
    assert {v.rule for v in HEADLINE.check("Copper Pan von Acme für 49,90 $", PAN, GERMAN)} == {"price"}
