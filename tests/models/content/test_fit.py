from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from core.errors import TextModelUnavailable
from models.content import CONTENT_KINDS
from models.content.because import BecauseFacts
from models.content.description import DESCRIPTION
from models.content.fit import Fits, measure, of_shop
from models.content.kind import ItemsFacts, Style
from models.content.label import LABEL, PROBES, TextFacts
from models.content.prompting import SHOP, TRIED
from models.content.writer import write
from models.text.generator import Generation, Limits, Prompt


class Knows:
    """A text model that gets the first `good` probes of a description right, and says nonsense about the rest."""

    def __init__(self, good: int, name: str = "knows@1", at_retry: bool = False) -> None:
        self.name, self.good, self.at_retry = name, good, at_retry
        self.prompts = 0
        self.away = False

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        if self.away:
            raise TextModelUnavailable("text endpoint: no answer in time")
        self.prompts += len(prompts)
        known = {item.names[0]: DESCRIPTION.fallback(item) for item in TRIED[: self.good]}
        ready = not self.at_retry or limits.temperature > 0
        said = [known.get(prompt.messages[-1].content.split(" | ")[0]) if ready else None for prompt in prompts]
        return [Generation(text or "The best film ever made.", 9, "stop") for text in said]


def test_a_model_is_measured_at_first_try_and_after_a_retry() -> None:
    fit = measure(DESCRIPTION, Knows(5), Style("en"))
    assert (fit.probes, fit.first_try, fit.after_retry, fit.passed) == (8, 5, 5, True)
    late = measure(DESCRIPTION, Knows(8, at_retry=True), Style("en"))
    assert (late.first_try, late.after_retry, late.passed) == (0, 8, False)


@pytest.mark.parametrize(("good", "passed"), [(8, True), (5, True), (4, False), (0, False)])
def test_a_model_below_the_threshold_may_not_write_and_the_template_says_why(good: int, passed: bool) -> None:
    model = Knows(good)
    [written] = write(DESCRIPTION, [TRIED[0]], model, fits=Fits())
    if passed:
        assert (written.origin, written.note) == ("model", "")
    else:
        assert (written.origin, written.attempts) == ("template", 0)
        assert f"{good} of 8" in written.note
        assert "not good enough" in written.note


def test_a_verdict_is_kept_by_model_kind_language_and_prompt(tmp_path: Path) -> None:
    path = tmp_path / "state" / "fits.json"
    model = Knows(0)
    assert "not good enough" in Fits(path).refusal(DESCRIPTION, model, Style())
    asked = model.prompts
    again = Fits(path)
    assert "not good enough" in again.refusal(DESCRIPTION, model, Style())
    assert model.prompts == asked
    assert again.refusal(DESCRIPTION, Knows(8, "better@2"), Style()) == ""
    assert len(Fits(path).known) == 2
    assert "not good enough" in again.refusal(DESCRIPTION, model, Style("de"))
    assert model.prompts > asked


def test_a_model_that_is_away_gets_no_verdict() -> None:
    fits, model = Fits(), Knows(8)
    model.away = True
    assert "no answer in time" in fits.refusal(DESCRIPTION, model, Style())
    model.away = False
    assert fits.refusal(DESCRIPTION, model, Style()) == ""


class Labels(Knows):
    """Labels right, but for some."""

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        right = dict(PROBES[: self.good])
        return [Generation(right.get(prompt.messages[-1].content, "ok, mixed"), 4, "stop") for prompt in prompts]


def test_labels_must_be_right_and_not_only_well_formed() -> None:
    assert measure(LABEL, Labels(9), Style()).passed
    assert not measure(LABEL, Labels(8), Style()).passed


@pytest.mark.parametrize("locale", ["en", "de"])
@pytest.mark.parametrize("name", sorted(CONTENT_KINDS))
def test_every_kind_can_be_tried_and_its_own_template_would_pass(name: str, locale: str) -> None:
    kind, style = CONTENT_KINDS[name], Style(locale)
    probes = kind.probes(style)
    assert len(probes) >= 6
    for probe in probes:
        text = kind.fallback(probe.facts, style)
        assert kind.check(text, probe.facts, style) == []
        assert probe.answer in (None, text)
        if kind.writable(probe.facts, style) is None:
            prompt = kind.prompt(probe.facts, style)
            assert [message.role for message in prompt.messages][:1] == ["system"]
            assert prompt == kind.prompt(probe.facts, style)
    assert len(kind.prompt_hash) == 64


def test_what_several_processes_measured_at_once_is_all_kept(tmp_path: Path) -> None:
    path = tmp_path / "fits.json"
    first, second = Fits(path), Fits(path)  # each read the file before the other had written
    first.refusal(DESCRIPTION, Knows(8, "one@1"), Style())
    second.refusal(DESCRIPTION, Knows(0, "two@1"), Style())
    assert {fit.model for fit in Fits(path).known} == {"one@1", "two@1"}
    assert {fit.model for fit in second.known} == {"one@1", "two@1"}, "nor is measured again what another one measured"
    script = (
        "import sys; from pathlib import Path; from models.content.fit import Fit, Fits\n"
        "for n in range(20):\n"
        "    fits = Fits(Path(sys.argv[1])); fits._keep(Fit(f'{sys.argv[2]}@{n}', 'd', 'en', 'p', 1, 1, 1, False)); fits._save()"
    )
    ours = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    running = [subprocess.Popen([sys.executable, "-c", script, str(path), name], env=ours) for name in "ab"]
    assert [one.wait(60) for one in running] == [0, 0]
    assert len(Fits(path).known) == 42
    assert [one.name for one in tmp_path.iterdir() if one.name not in ("fits.json", "fits.json.lock")] == []


def test_a_shops_titles_are_a_trial_of_their_own() -> None:
    model = Knows(8)  # short names right, a shop's wrong
    work, thing = TRIED[0], SHOP[0]
    assert [of_shop(one) for one in (*TRIED, *SHOP)] == [False] * len(TRIED) + [True] * len(SHOP)
    written = write(DESCRIPTION, [work, thing, work], model, fits=Fits())
    assert [one.origin for one in written] == ["model", "template", "model"]
    assert "0 of 8" in written[1].note
    assert "a shop's titles" in written[1].note
    # Tried before the first text about such a thing, and not where there is none.
    plain = Knows(8, "plain@1")
    write(DESCRIPTION, [work], plain, fits=Fits())
    assert plain.prompts == len(TRIED) + 1
    assert of_shop(BecauseFacts(work, ((thing, "view"),)))
    assert of_shop(ItemsFacts((work, thing)))
    assert not of_shop(TextFacts("A Northline Heavy Duty Stapler, 40-Sheet Capacity, Black (NL-4401)"))


@pytest.mark.parametrize("name", sorted(set(CONTENT_KINDS) - {"label"}))
def test_every_kind_about_items_is_tried_on_a_shops_titles(name: str) -> None:
    probes = CONTENT_KINDS[name].probes(Style())
    writable = [probe for probe in probes if probe.shop and CONTENT_KINDS[name].writable(probe.facts, Style()) is None]
    assert len(writable) >= 6
    assert all(of_shop(probe.facts) == probe.shop for probe in probes)
