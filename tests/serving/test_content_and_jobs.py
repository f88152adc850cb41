"""Texts about items, at once and honest about their origin; and jobs, through the real schedule."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any

import httpx
import msgspec
import pytest

from core.store.contents import Content
from core.store.reviews import Decision
from jobs.context import job_context
from jobs.schedule import Schedule
from models.content import CONTENT_KINDS
from models.content.about import OF_ITEM, FromStore, facts_about
from models.content.kind import Style, facts_hash
from models.content.prompting import prompt_hash
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


def read(client: httpx.Client, item_id: str = "i1", **params: str) -> dict[str, Any]:
    answer: dict[str, Any] = client.get(f"/v1/items/{item_id}/content", params=params).raise_for_status().json()
    return answer


REVIEWS = ["Heats evenly, I love it.", "The handle broke after a week. Disappointed."]
SUMMARY = '2 reviews: 1 positive, 1 negative. "Heats evenly, I love it." "The handle broke after a week."'


def test_every_kind_of_text_about_an_item_is_answered_by_its_template_where_nothing_is_stored(films: World) -> None:
    box = item(3, title="Box", attributes={"items": ["i1", "i2", "unheard-of", 7]})
    films.change(item(1, **{**FILM, "attributes": {**FILM["attributes"], "reviews": REVIEWS}}), box)  # type: ignore[dict-item]
    with films.served() as client:
        assert read(client, kind="headline")["text"] == "Arrival: sci-fi (2016)"
        assert read(client, kind="review_summary")["text"] == SUMMARY
        assert read(client, item_id="i2", kind="review_summary")["text"] == "No reviews"
        assert read(client, item_id="i3", kind="theme")["text"] == "Sci-fi films from 2016"
        german = {"kind": "translation", "locale": "de"}
        assert read(client, of="headline", **german)["text"] == "Arrival: Science-Fiction (2016)"
        assert read(client, of="description", **german)["kind"] == "translation_description"
        for params, status in (
            ({"kind": "theme"}, 404), ({"kind": "translation"}, 400), ({"kind": "headline", "of": "headline"}, 400),
            ({"kind": "translation", "of": "theme"}, 400), ({"kind": "answer"}, 400), ({"kind": "because"}, 400),
        ):  # fmt: skip
            problem(client.get("/v1/items/i1/content", params=params), status)
        assert "reviews" not in read(client)["text"], "what people wrote is no fact of its own"


def test_what_is_stored_of_each_kind_is_answered_while_it_is_true(films: World) -> None:
    wise = {"reviews": REVIEWS, "year": 2016, "type": "film"}
    films.change(item(1, **{**FILM, "attributes": wise}), item(3, title="Box", attributes={"items": ["i1", "i2"]}))
    stored = {
        ("i1", "review_summary", "en"): '2 reviews: 1 positive, 1 negative. "The handle broke after a week."',
        ("i3", "theme", "en"): "Sci-fi films",
        ("i1", "translation_description", "de"): "Arrival ist ein Science-Fiction-Film aus dem Jahr 2016.",
        ("i1", "headline", "en"): "Arrival",
    }  # fmt: skip
    around = FromStore(films.store)
    for (about, kind, locale), text in stored.items():
        one = films.store.catalogue.item(about)
        assert one is not None
        facts = facts_about(kind, one, locale, around)
        assert OF_ITEM[kind].check(text, facts, Style(locale)) == [], (kind, text)
        content = Content(
            about, kind, locale, text, "verified", "model", "m@1", facts_hash(facts), one.changed_at,
            prompt_hash(OF_ITEM[kind], Style(locale)), 1, [],
        )  # fmt: skip
        assert films.store.contents.save([content]) == 1
    with films.served() as client:

        def now(about: str, kind: str, locale: str) -> tuple[str, bool]:
            of = (
                {"kind": "translation", "of": kind.partition("_")[2]}
                if kind.startswith("translation")
                else {"kind": kind}
            )
            answer = read(client, item_id=about, locale=locale, **of)
            return answer["text"], answer["stale"]

        assert {key: now(*key) for key in stored} == {key: (text, False) for key, text in stored.items()}
        films.change(item(2, **{**FILM, "categories": ("Drama",)}))  # the collection itself is as it was
        eventually(lambda: now("i3", "theme", "en") == ("Films from 2016", True))
        films.store.reviews.decide("i1", "headline", "en", Decision("reject", "ann", 1, note="dull"))
        assert now("i1", "headline", "en") == ("Arrival: sci-fi (2016)", False)
        films.change(item(1, **{**FILM, "attributes": {**wise, "reviews": REVIEWS[:1]}}))
        eventually(lambda: now("i1", "review_summary", "en")[1])
        assert now("i1", "review_summary", "en")[0] == '1 review: 1 positive. "Heats evenly, I love it."'
        client.post(
            "/v1/items/i1/content/edit", json={"version": 0, "text": "Arrival is a 2016 sci-fi film."}
        ).raise_for_status()
        text, stale = now("i1", "translation_description", "de")
        assert (text, stale) == ("Arrival (2016) ist ein Film der Kategorie Science-Fiction.", True), (
            "its source is another"
        )


def test_a_text_of_another_style_is_shown_and_said_to_be_stale_until_it_is_written_anew(films: World) -> None:
    with films.served(generator=Says(GOOD)) as client:
        client.post("/v1/content", json={"item": "i1"}).raise_for_status()
        assert read(client)["stale"] is False
    settings = msgspec.structs.replace(films.settings, content_tone="warm")
    with films.served(generator=Says(GOOD), settings=settings) as client:
        assert (read(client)["text"], read(client)["stale"]) == (GOOD, True)
        client.post("/v1/content", json={"item": "i1"}).raise_for_status()
        assert (read(client)["text"], read(client)["stale"]) == (GOOD, False)
