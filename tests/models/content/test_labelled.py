"""The checker on texts labelled before it was written for them: nothing wrong passes, and most of what is right does."""

from __future__ import annotations

import pytest

from bench.content_checks import FRESH, LANGUAGES, baseline, checked, label_report, labelled, labels, score
from models.content.label import LABEL, TextFacts

ROWS = labelled()
TEXTS = labels()


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_wrong_text_is_refused_and_most_right_ones_pass(language: str) -> None:
    rows = [one for one in ROWS if one.language == language]
    assert len(rows) >= 150
    assert [one.text for one in rows if not one.good and not checked(one)] == []
    assert score(rows, checked).recall >= 0.8
    assert score([one for one in rows if one.part == FRESH], checked).recall >= 0.65


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_catches_more_than_numbers_and_capitals_do(language: str) -> None:
    rows = [one for one in ROWS if one.language == language]
    assert score(rows, baseline).catch < 0.8 < score(rows, checked).catch


@pytest.mark.parametrize("language", LANGUAGES)
def test_reviews_are_labelled_as_people_label_them(language: str) -> None:
    rows = [row for row in TEXTS if row[0] == language]
    assert len(rows) >= 70
    said = [(LABEL.fallback(TextFacts(text, language)), flag, sentiment) for _, text, flag, sentiment in rows]
    felt = [got.endswith(sentiment) for got, _, sentiment in said if sentiment != "-"]
    flagged = [flag in got.split(",")[0].split() for got, flag, _ in said if flag != "ok"]
    wronged = [got for got, flag, _ in said if flag == "ok" and not got.startswith("ok")]
    assert sum(felt) >= 0.9 * len(felt)
    assert sum(flagged) >= 0.9 * len(flagged)
    assert len(wronged) <= 1
    assert len(list(label_report(rows))) == 4
