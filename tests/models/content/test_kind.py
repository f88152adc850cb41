from __future__ import annotations

import subprocess
import sys

import pytest

from models.content import CONTENT_KINDS
from models.content.kind import ItemFacts, facts_hash


def test_equal_facts_have_equal_hashes_whatever_the_order_of_attributes() -> None:
    one = ItemFacts.of("1", "Toy Story", ["Comedy"], {"year": 1995, "type": "film"})
    two = ItemFacts.of("1", "Toy Story", ["Comedy"], {"type": "film", "year": 1995})
    assert facts_hash(one) == facts_hash(two)
    assert one.year == 1995  # reading a derived value changes nothing
    assert facts_hash(one) == facts_hash(two)


@pytest.mark.parametrize("process_seed", ["1", "2"])
def test_the_hash_is_the_same_in_any_process(process_seed: str) -> None:
    code = (
        "from models.content.kind import ItemFacts, facts_hash;"
        "print(facts_hash(ItemFacts.of('1', 'Toy Story (1995)', ['Comedy', 'Drama'], {'b': 1, 'a': 'x'}, 'Text.', 'en')))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": process_seed}
    )
    here = ItemFacts.of("1", "Toy Story (1995)", ["Comedy", "Drama"], {"a": "x", "b": 1}, "Text.", "en")
    assert run.stdout.strip() == facts_hash(here)


@pytest.mark.parametrize(
    "changed",
    [
        ItemFacts.of("2", "Toy Story", ["Comedy"], {"year": 1995}),
        ItemFacts.of("1", "Toy Story 2", ["Comedy"], {"year": 1995}),
        ItemFacts.of("1", "Toy Story", ["Drama"], {"year": 1995}),
        ItemFacts.of("1", "Toy Story", ["Comedy"], {"year": 1996}),
        ItemFacts.of("1", "Toy Story", ["Comedy"], {"year": 1995}, "A film."),
        ItemFacts.of("1", "Toy Story", ["Comedy"], {"year": 1995}, "", "fr"),
    ],
)
def test_any_changed_fact_changes_the_hash(changed: ItemFacts) -> None:
    assert facts_hash(changed) != facts_hash(ItemFacts.of("1", "Toy Story", ["Comedy"], {"year": 1995}))


def test_facts_keep_scalars_and_lists_and_leave_out_what_is_nested() -> None:
    facts = ItemFacts.of(
        "1", "Pan", (), {"price": 5, "tags": ["a", 2, None], "on": True, "deep": {"x": 1}, "none": None}
    )
    assert dict(facts.attributes) == {"price": 5, "tags": "a, 2"}


@pytest.mark.parametrize(
    ("title", "attributes", "year"),
    [
        ("Toy Story (1995)", {}, 1995),
        ("Toy Story", {"year": 1995}, 1995),
        ("Toy Story", {"year": "1995"}, 1995),
        ("Toy Story (1995)", {"year": 1996}, 1996),
        ("2001: A Space Odyssey (1968)", {}, 1968),
        ("1984", {}, None),
        ("Toy Story", {"year": 95}, None),
        ("Toy Story (V)", {"year": "soon"}, None),
    ],
)
def test_the_year_comes_from_the_attribute_or_the_brackets(
    title: str, attributes: dict[str, object], year: int
) -> None:
    assert ItemFacts.of("1", title, (), attributes).year == year


@pytest.mark.parametrize(
    ("stated", "noun"),
    [
        ("film", "film"),
        (" Book ", "book"),
        ("", "title"),
        ("a film", "title"),
        ("<b>", "title"),
        ("best", "title"),
        ("not", "title"),
        (7, "title"),
    ],
)
def test_what_an_item_is_called_is_one_plain_word(stated: object, noun: str) -> None:
    assert ItemFacts.of("1", "X", (), {"type": stated}).noun == noun


def test_every_kind_is_found_by_its_own_name() -> None:
    assert "description" in CONTENT_KINDS
    assert all(kind.name == name for name, kind in CONTENT_KINDS.items())
