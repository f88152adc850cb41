"""How good is the checker of generated texts? Precision and recall on labelled texts, per language, kind and rule.

    python -m bench.content_checks [--mistakes] [--json]

The texts (tests/models/content/labelled) were written as a language model would write them, right ones and subtly wrong ones,
before the checker was extended from one kind and one language. A hash of each text puts it into the tuned or the held-out
half; `--mistakes` prints those of the tuned half, the only ones that may be looked at while the checker is changed. A second
set, "fresh", was written after it, about other items and with its weak sides in mind. The baseline is
the check that comes to mind first: numbers and capitalised words that the facts do not hold.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.content import CONTENT_KINDS
from models.content.answer import QuestionFacts
from models.content.because import BecauseFacts
from models.content.kind import Facts, ItemFacts, ItemsFacts, Style
from models.content.moderation import flags
from models.content.review_summary import ReviewFacts
from models.content.sentiment import feeling

FOLDER = Path(__file__).parent.parent / "tests" / "models" / "content" / "labelled"
LANGUAGES = ("en", "de")
HALVES = ("tuned", "held-out")
FRESH = "fresh"


@dataclass(frozen=True)
class Labelled:
    """A text about facts, whether it may be published, and why not."""

    language: str
    kind: str
    facts: Facts
    text: str
    good: bool
    rule: str
    fresh: bool  # written after the checker, about other items

    @property
    def part(self) -> str:
        """The half of the first set that it belongs to, or the second set."""
        return FRESH if self.fresh else HALVES[hashlib.sha256(self.text.encode()).digest()[0] % 2]


@dataclass(frozen=True)
class Score:
    """Of wrong texts: `caught` of `wrong`; of right ones: `passed` of `right`."""

    caught: int
    wrong: int
    passed: int
    right: int

    @property
    def precision(self) -> float:
        """Of what is published, the share that is right."""
        published = self.passed + self.wrong - self.caught
        return self.passed / published if published else 1.0

    @property
    def recall(self) -> float:
        """Of what is right, the share that is published."""
        return self.passed / self.right if self.right else 1.0

    @property
    def catch(self) -> float:
        """Of what is wrong, the share that is caught."""
        return self.caught / self.wrong if self.wrong else 1.0


Checker = Callable[[Labelled], list[str]]


def labelled() -> list[Labelled]:
    """Every labelled text of both languages."""
    world = json.loads((FOLDER / "facts.json").read_text(encoding="utf-8"))
    items = {name: _item(name, row) for name, row in world["items"].items()}
    return [one for language in LANGUAGES for fresh in (False, True) for one in _read(language, fresh, world, items)]


def _item(name: str, row: dict[str, Any]) -> ItemFacts:
    return ItemFacts.of(
        name, row["title"], row["categories"], row.get("attributes", {}), row.get("description", ""), row.get("locale", "en")
    )  # fmt: skip


def _read(language: str, fresh: bool, world: dict[str, Any], items: dict[str, ItemFacts]) -> Iterator[Labelled]:
    kind, facts = "", None
    for line in (FOLDER / f"{'fresh_' * fresh}{language}.txt").read_text(encoding="utf-8").splitlines():
        mark, _, rest = line.partition(" ")
        if mark == "#":
            kind, name = rest.split()
            facts = _facts(kind, name, language, world, items)
        elif mark == "+" and facts is not None:
            yield Labelled(language, kind, facts, rest, True, "", fresh)
        elif mark == "-" and facts is not None:
            rule, _, text = rest.partition(" | ")
            yield Labelled(language, kind, facts, text, False, rule, fresh)


def _facts(kind: str, name: str, language: str, world: dict[str, Any], items: dict[str, ItemFacts]) -> Facts:
    if kind in ("email_subject", "push_text"):
        return ItemsFacts(tuple(items[one] for one in world["slates"][name]), language, name)
    if kind == "theme":
        return ItemsFacts(tuple(items[one] for one in world["slates"][name]), language, name)
    if kind == "because":
        row = world["because"][name]
        history = tuple((items[one], event) for one, event in row["history"])
        return BecauseFacts(items[row["item"]], history, row["source"], language)
    if kind == "review_summary":
        row = world["reviews"][name]
        return ReviewFacts(items[row["item"]], tuple(row["reviews"]), language)
    if kind == "answer":
        row = world["questions"][name]
        return QuestionFacts(items[row["item"]], row["question"])
    return items[name]


def checked(one: Labelled) -> list[str]:
    """The rules that the product's checker finds broken."""
    return [v.rule for v in CONTENT_KINDS[one.kind].check(one.text, one.facts, Style(one.language))]


def baseline(one: Labelled) -> list[str]:
    """Numbers and capitalised words, not at the start of a sentence, that stand nowhere in the facts."""
    known = set(re.findall(r"\w+", repr(one.facts).lower()))
    found = ["number" for number in re.findall(r"\d+", one.text) if number not in known]
    inner = re.findall(r"(?<![.!?:]\s)(?<!^)\b[A-ZÄÖÜ]\w+", one.text)
    return found + ["name" for word in inner if word.lower() not in known]


def score(rows: Iterable[Labelled], checker: Checker) -> Score:
    """What a checker makes of labelled texts."""
    caught = wrong = passed = right = 0
    for one in rows:
        flagged = bool(checker(one))
        right, passed = right + one.good, passed + (one.good and not flagged)
        wrong, caught = wrong + (not one.good), caught + (not one.good and flagged)
    return Score(caught, wrong, passed, right)


def report(rows: list[Labelled]) -> Iterator[tuple[str, Score]]:
    """(what, score) of every slice worth a line."""
    for language in LANGUAGES:
        for half in (*HALVES, FRESH):
            some = [one for one in rows if (one.language, one.part) == (language, half)]
            yield f"{language} {half}", score(some, checked)
            yield f"{language} {half}, baseline", score(some, baseline)
    for language in LANGUAGES:
        for kind in dict.fromkeys(one.kind for one in rows):
            yield (
                f"{language} {kind}",
                score([one for one in rows if (one.language, one.kind) == (language, kind)], checked),
            )
    for language in LANGUAGES:
        for rule in sorted({one.rule for one in rows if one.rule}):
            yield (
                f"{language} rule {rule}",
                score([one for one in rows if (one.language, one.rule) == (language, rule)], checked),
            )


def labels() -> list[tuple[str, str, str, str]]:
    """(language, text, flag or "ok", sentiment) of the labelled incoming texts."""
    found = []
    for language in LANGUAGES:
        for line in (FOLDER / f"labels_{language}.txt").read_text(encoding="utf-8").splitlines():
            flag, sentiment, text = line.split(" | ", 2)
            found.append((language, text, flag, sentiment))
    return found


def label_report(rows: list[tuple[str, str, str, str]]) -> Iterator[str]:
    """Accuracy of sentiment and moderation, per language and half."""
    for language in LANGUAGES:
        for half_ix, half in enumerate(HALVES):
            some = [
                row for row in rows if row[0] == language and hashlib.sha256(row[1].encode()).digest()[0] % 2 == half_ix
            ]
            felt = sum(
                feeling(text, language).sentiment == sentiment for _, text, _, sentiment in some if sentiment != "-"
            )
            asked = sum(sentiment != "-" for *_, sentiment in some)
            bad = [(text, flag) for _, text, flag, _ in some if flag != "ok"]
            good = [text for _, text, flag, _ in some if flag == "ok"]
            caught = sum(flag in flags(text) for text, flag in bad)
            wronged = sum(bool(flags(text)) for text in good)
            yield (
                f"{language} {half}: sentiment {felt}/{asked} right; moderation {caught}/{len(bad)} flagged as labelled, "
                f"{wronged}/{len(good)} harmless ones flagged"
            )


def main() -> None:
    """Print the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mistakes", action="store_true", help="print the mistakes of the tuned half")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    asked = parser.parse_args()
    rows = labelled()
    if asked.json:
        found = {
            what: {"caught": s.caught, "wrong": s.wrong, "passed": s.passed, "right": s.right}
            for what, s in report(rows)
        }
        print(json.dumps({"checks": found, "labels": list(label_report(labels()))}, indent=1))
        return
    print(f"{len(rows)} texts\n{'':34}{'precision':>10}{'recall':>8}{'wrong caught':>16}{'right passed':>16}")
    for what, s in report(rows):
        caught, passed = f"{s.caught}/{s.wrong}", f"{s.passed}/{s.right}"
        print(f"{what:34}{s.precision:10.3f}{s.recall:8.3f}{caught:>16}{passed:>16}")
    print(*label_report(labels()), sep="\n")
    if asked.mistakes:
        for one in rows:
            rules = checked(one)
            if one.part == HALVES[0] and bool(rules) == one.good:
                print(
                    "REFUSED" if one.good else "PASSED ", one.language, one.kind, "|", one.text, "|", rules or one.rule
                )
        for language, text, flag, sentiment in labels():
            if hashlib.sha256(text.encode()).digest()[0] % 2 == 0:
                felt, flagged = feeling(text, language), flags(text)
                if (sentiment not in ("-", felt.sentiment)) or (flag not in flagged if flag != "ok" else flagged):
                    print(
                        "LABEL",
                        language,
                        "|",
                        text,
                        "|",
                        flag,
                        sentiment,
                        "->",
                        list(flagged),
                        felt.sentiment,
                        felt.words,
                    )


if __name__ == "__main__":
    main()
