"""The benchmark pages: validation chooses, the test is read once, and a run cut short goes on from what is kept."""

from __future__ import annotations

import pytest

from bench import tables
from bench.recipes import RECIPES, Recipe, Variant
from core.progress import Silent
from models.blend import Member, member_kinds
from tests.headwater.test_evaluate import folder

RECIPE = Recipe(
    (
        Variant("popularity", Member("popularity")),
        Variant("transitions", Member("transitions", {"recency": 0.01})),
        Variant("transitions", Member("transitions", {"history": 1, "window": 1})),
        Variant("content", Member("content"), True),
    ),
    {"blend": ("popularity", "transitions"), "blend with text": ("transitions", "content")},
    remarks="Nothing else was tried.",
)
ITEMS = "item,title\n" + "".join(f"i{n},thing {n % 3}\n" for n in range(10))


def test_a_page_holds_our_rows_the_published_ones_and_all_that_was_tried(tmp_path):
    text = tables.bench(folder(tmp_path, "given", ITEMS), RECIPE, Silent())
    lines = text.splitlines()
    assert lines[0] == f"# {tmp_path.name}"
    names = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert names.count("Someone (published)") == 1
    assert "transitions (picked)" in names
    tried = lines[lines.index("## Tried on validation") :]
    assert sum(line.startswith("| transitions ") for line in tried) == 2
    assert "Nothing else was tried." in tried
    assert any(line.startswith("- blend against transitions, hr@2:") for line in lines)
    assert any("users they were not learned from" in line for line in lines)
    assert "## Beyond accuracy (test)" in lines


def test_choosing_on_validation_does_not_read_the_test(tmp_path):
    data = folder(tmp_path, "given", ITEMS)
    (data / "test.csv.gz").unlink()
    text = tables.bench(data, RECIPE, Silent(), read_test=False)
    assert "| popularity |" in text
    assert "- blend:" in text


def test_kept_models_are_not_fitted_again_and_give_the_same_figures(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    data = folder(tmp_path / "data", "given", ITEMS)

    def rows(page: str) -> list[list[str]]:
        return [line.split("|")[1:9] for line in page.splitlines() if line.startswith("| ")]

    first = tables.bench(data, RECIPE, Silent(), kept=tmp_path / "kept")
    assert (tmp_path / "kept" / "data-test").is_dir()
    monkeypatch.setattr(tables, "fit_members", lambda *_: pytest.fail("fitted again"))
    assert rows(tables.bench(data, RECIPE, Silent(), kept=tmp_path / "kept")) == rows(first)


def test_every_recipe_names_models_and_blends_families_that_there_are():
    for name, recipe in RECIPES.items():
        families = {variant.family for variant in recipe.variants}
        assert {variant.member.name for variant in recipe.variants} <= member_kinds().keys(), name
        assert all(set(members) <= families for members in recipe.blends.values()), name
        assert "popularity" in families, name
