"""`headwater content email`: a line for each user of a segment, from the serving pipeline, on real services."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer
from typer.testing import CliRunner, Result

from core.errors import InvalidRequest
from core.events import UserErased
from core.store.contents import Content
from headwater import emails
from headwater.cli import app
from headwater.emails import Emails, Lines, read_segment
from jobs.context import job_context
from models.content.slate import EMAIL_SUBJECT
from models.content.writer import as_content, facts_of, write
from serving.service import Service
from tests.serving.test_content_and_jobs import Says
from tests.serving.world import World, eventually, full_world, ingesting, world
from tests.streams import event

__all__ = ["full_world", "world"]

KNOWN = [f"u{number}" for number in range(12)]


def email(world: World, segment: Path, *arguments: str) -> Result:
    """The command, within this process."""
    called = ["content", "email", "--segment", str(segment), *arguments]
    result = CliRunner().invoke(app, called, env=world.settings.environ())
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def segment(world: World, users: list[str], name: str = "users.txt") -> Path:
    file = world.folder.parent / name
    file.write_text("\n".join([*(["mail,user"] if name.endswith(".csv") else []), *users]) + "\n")
    return file


def test_every_user_gets_a_line_of_their_own_whose_slate_later_events_can_join(full_world: World) -> None:
    file = segment(full_world, [*KNOWN, "never-heard-of"])
    with ingesting(full_world):
        result = email(full_world, file, "--limit", "4")
        made = lines(result.stdout)
        assert [one["user"] for one in made] == [*KNOWN, "never-heard-of"]
        assert f"{len(made)} e-mails in" in result.stderr
        assert "users/s" in result.stderr
        service = Service(full_world.settings, full_world.store, full_world.registry)
        service.models.refresh()
        for one in made:
            others = [user for user in (*KNOWN, "never-heard-of") if user != one["user"]]
            assert not {f'"{user}"' for user in others} & set(json.dumps(one).replace(",", " ").split()), one
            assert len(one["items"]) == 4
            assert one["subject"].startswith("For you: Item ")
            assert one["written_by"] == {"subject": "template", "push": "template"}
            for shown in one["items"]:
                assert shown["title"] in shown["headline"]
                assert shown["title"] in shown["description"]
                assert shown["because"]
            seen = {view.item for view in full_world.store.history.history(one["user"], 500).events}
            assert not seen & {shown["item"] for shown in one["items"]}
        assert made[0]["fallback"] is None
        assert made[0]["items"][0]["because"].startswith("Because ")
        assert (made[-1]["fallback"], made[-1]["items"][0]["because"]) == ("popular", "Popular right now")
        eventually(lambda: len(published(full_world)) == len(made), within_s=30)
    assert {(one["user"], one["slate"]) for one in published(full_world)} == {
        (one["user"], one["slate"]) for one in made
    }
    service.stop()


def published(world: World) -> list[dict[str, Any]]:
    """The impressions in the topic."""
    consumer = KafkaConsumer(
        world.settings.topic, bootstrap_servers=world.settings.kafka_bootstrap, auto_offset_reset="earliest",
        consumer_timeout_ms=3000,
    )  # fmt: skip
    try:
        bodies = [json.loads(message.value) for message in consumer]
    finally:
        consumer.close()
    assert {one["data"]["context"]["surface"] for one in bodies} <= {"email"}
    return [one["data"] for one in bodies if one["type"] == "impression"]


def test_an_interrupted_run_goes_on_where_it_was_and_writes_nobody_twice(
    full_world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(emails, "BATCH_USERS", 5)
    out = tmp_path / "out.jsonl"
    context = job_context(full_world.settings, full_world.store)
    first = Emails(context, 3)
    first.open()
    file = Lines(out, first.erased)
    made, _ = next(first.run(KNOWN, file.users))  # then it is killed
    file.write(made)
    first.close()
    with out.open("ab") as stream:
        stream.write(b'{"user":"u5","subject":"For y')
    told = json.loads(email(full_world, segment(full_world, KNOWN), "--out", str(out), "--limit", "3", "--json").stdout)
    assert (told["written"], told["already"], told["erased"]) == (7, 5, 0)
    assert told["users_per_s"] > 0
    assert [one["user"] for one in lines(out.read_text())] == KNOWN
    kept = out.read_bytes()
    again = json.loads(email(full_world, segment(full_world, KNOWN), "--out", str(out), "--json").stdout)
    assert (again["written"], out.read_bytes()) == (0, kept)


def test_an_erased_user_gets_no_line_and_loses_the_one_that_was_written(full_world: World, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    file = segment(full_world, ["who@x,u1", "who@y,u2", "who@z,u3", "who@z,u3"], "users.csv")
    email(full_world, file, "--out", str(out))
    assert [one["user"] for one in lines(out.read_text())] == ["u1", "u2", "u3"]
    full_world.writer.write([event(90_000, UserErased(user="u2"))])
    told = json.loads(email(full_world, file, "--out", str(out), "--json").stdout)
    assert (told["written"], told["already"], told["erased"]) == (0, 2, 1)
    assert "u2" not in out.read_text()
    assert [one["user"] for one in lines(out.read_text())] == ["u1", "u3"]


def test_texts_come_from_storage_and_lines_from_a_model_that_can_write_them(full_world: World) -> None:
    described = full_world.store.catalogue.items([f"i{number}" for number in range(40)])
    stored: list[Content] = []
    for one in described:
        text = as_content(write_template(one), one, "en")
        stored.append(
            Content(
                **{
                    **{name: getattr(text, name) for name in text.__dataclass_fields__},
                    "text": f"Stored of {one.title}.",
                }
            )
        )
    full_world.store.contents.save(stored)
    context = job_context(full_world.settings, full_world.store)
    for says, of_model in (("Up next for you", True), ("Win 500 euros now at http://x.example", False)):
        maker = Emails(context, 3, generator=Says(says))
        maker.open()
        [(made, outcome)] = list(maker.run(["u1", "u4"], set()))
        maker.close()
        assert outcome.written == 2
        for one in made:
            assert (one.subject == says, one.written_by["subject"] == "parrot") == (of_model, of_model)
            assert "500" not in one.subject + one.push
            assert all(item.description == f"Stored of {item.title}." for item in one.items)


def test_a_mail_whose_subject_would_say_a_banned_word_is_left_out_and_counted(
    full_world: World, tmp_path: Path
) -> None:
    out, file = tmp_path / "out.jsonl", segment(full_world, ["u1", "u4"])
    banned = full_world.settings.environ() | {"HEADWATER_CONTENT_BANNED": "for you"}
    called = ["content", "email", "--segment", str(file), "--out", str(out)]
    result = CliRunner().invoke(app, called, env=banned)
    assert "2 left out: subject or notification would say a word of HEADWATER_CONTENT_BANNED" in result.stderr
    assert out.read_text() == ""


def write_template(item: Any) -> Any:
    from models.content.description import DESCRIPTION

    return write(DESCRIPTION, [facts_of(item)], None)[0]


def test_a_segment_is_read_as_it_is_and_what_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "s.csv"
    file.write_text('﻿user,mail\n"a,b",x\n c ,y\na,z\n,z\n"a,b",x\n', encoding="utf-8")
    assert read_segment(file) == ["a,b", "c", "a"]
    file.write_text("id,mail\na,b\n")
    with pytest.raises(InvalidRequest, match="column named user"):
        read_segment(file)
    plain = tmp_path / "s.txt"
    plain.write_text("a,b\r\n\n c\nc\n")
    assert read_segment(plain) == ["a,b", "c"]
    plain.write_text("x" * 257)
    with pytest.raises(InvalidRequest, match="user 1"):
        read_segment(plain)


def test_a_file_that_holds_something_else_is_left_as_it_is(full_world: World, tmp_path: Path) -> None:
    out = tmp_path / "notes.txt"
    out.write_text("my notes\n")
    result = CliRunner().invoke(
        app, ["content", "email", "--segment", str(segment(full_world, ["u1"])), "--out", str(out)],
        env=full_world.settings.environ(),
    )  # fmt: skip
    assert "no e-mail" in str(result.exception)
    assert out.read_text() == "my notes\n"
    refused = CliRunner().invoke(
        app, ["content", "email", "--segment", str(out), "--json"], env=full_world.settings.environ()
    )
    assert refused.exit_code == 2
    assert EMAIL_SUBJECT.name == "email_subject"
