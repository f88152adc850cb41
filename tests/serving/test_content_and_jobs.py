"""Texts about items, at once and honest about their origin; and jobs, through the real schedule."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product

import httpx
import pytest

from jobs.context import job_context
from jobs.schedule import Schedule
from models.content import CONTENT_KINDS, ITEM_KINDS
from models.content.kind import Style
from models.text.generator import Generation, Limits, Prompt
from tests.serving.test_bad_input import problem
from tests.serving.world import World, eventually, item

FILM = {"title": "Arrival", "categories": ("Sci-Fi",), "attributes": {"year": 2016, "type": "film"}}
GOOD = "Arrival is a sci-fi film from 2016."


class Says:
    """A text model that writes every kind's trial texts well, and says the same about everything else."""

    name = "parrot"

    def __init__(self, text: str) -> None:
        self.text = text

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        said = trial_texts()
        return [Generation(said.get(asked(prompt), self.text), 9, "stop") for prompt in prompts]


def asked(prompt: Prompt) -> tuple[str, str]:
    """What tells prompts apart, whatever the style: the kind's instruction and the note."""
    return prompt.messages[0].content[:60], prompt.messages[-1].content


@cache
def trial_texts() -> dict[tuple[str, str], str]:
    """What a good model answers to the trials of every kind in English and German (see models/content/fit.py)."""
    known = {}
    for locale, kind in product(("en", "de"), CONTENT_KINDS.values()):
        for probe in kind.probes(Style(locale)):
            if kind.writable(probe.facts, Style(locale)) is None:
                known[asked(kind.prompt(probe.facts, Style(locale)))] = probe.answer or kind.fallback(
                    probe.facts, Style(locale)
                )
    return known


@pytest.fixture
def films(world: World) -> World:
    world.change(item(1, **FILM), item(2, **FILM))
    return world


def test_an_item_without_a_text_is_described_by_the_template(films: World) -> None:
    with films.served() as client:
        text = client.get("/v1/items/i1/content").json()
        written = client.post("/v1/content", json={"item": "i1"}).json()
        assert (
            "description" in problem(client.get("/v1/items/i1/content", params={"kind": "unheard-of"}), 400)["detail"]
        )
        assert (
            "description"
            in problem(client.post("/v1/content", json={"item": "i1", "kind": "unheard-of"}), 400)["detail"]
        )
    assert (text["origin"], text["status"], text["stale"]) == ("template", "verified", False)
    assert "Arrival" in text["text"]
    assert "2016" in text["text"]
    assert written["text"] == text["text"]


def test_a_text_written_now_is_checked_stored_and_gives_way_when_its_item_changes(films: World) -> None:
    with films.served(generator=Says(GOOD)) as client:
        written = client.post("/v1/content", json={"item": "i1"}).json()
        assert (written["text"], written["origin"], written["model"]) == (GOOD, "model", "parrot")
        assert client.get("/v1/items/i1/content").json()["text"] == GOOD
        films.change(item(1, **{**FILM, "title": "Departure"}))
        eventually(lambda: client.get("/v1/items/i1").json()["title"] == "Departure")
        after = client.get("/v1/items/i1/content").json()
    assert after["stale"] is True
    assert after["origin"] == "template"
    assert "Departure" in after["text"]


def test_a_text_that_claims_what_it_cannot_know_is_never_shown(films: World) -> None:
    with films.served(generator=Says("Arrival won 8 Oscars and stars Amy Adams.")) as client:
        written = client.post("/v1/content", json={"item": "i1"}).json()
        assert written["origin"] == "template"
        assert "Oscars" not in client.get("/v1/items/i1/content").text
        assert "Oscars" not in client.get("/console/items/i1").text


def test_jobs_are_listed_and_run_through_the_schedule(films: World) -> None:
    schedule = Schedule(job_context(films.settings, films.store))
    with films.served(jobs=schedule) as client:
        assert client.get("/v1/jobs").json() == []
        started = client.post("/v1/jobs/maintain/run")
        assert started.status_code == 202
        assert started.json()["name"] == "maintain"
        (maintain,) = client.get("/v1/jobs").json()
        assert (maintain["id"], maintain["name"], maintain["status"]) == (started.json()["id"], "maintain", "todo")
        assert problem(client.post("/v1/jobs/maintain/run"), 409)["code"] == "conflict"
        assert "maintain" in problem(client.post("/v1/jobs/unheard-of/run"), 404)["detail"]
        problem(client.get("/v1/jobs", params={"limit": 0}), 400)
        assert "maintain" in client.get("/console").text


def test_a_server_without_a_schedule_says_so(client: httpx.Client) -> None:
    assert "headwater" in problem(client.get("/v1/jobs"), 503)["detail"]
    problem(client.post("/v1/jobs/train/run"), 503)
    assert "without a schedule" in client.get("/console").text


def test_every_kind_of_text_has_a_template(films: World) -> None:
    with films.served() as client:
        for kind in ITEM_KINDS:
            assert client.get("/v1/items/i1/content", params={"kind": kind}).json()["text"]
