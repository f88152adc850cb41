"""`headwater content list|show|diff|approve|edit|reject`, as a person uses them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from core.errors import HeadwaterError, InvalidRequest, NotFound, TextChanged, TextRefused
from core.events import ItemChanged
from core.settings import Settings
from core.store import Store, open_store
from core.store.contents import Content
from headwater.commands.content import app
from tests.headwater.test_cli import headwater
from tests.streams import EPOCH, Writer, event

Command = Callable[..., str]
TEXT = "Arrival is a sci-fi film from 2016."
FILM = ItemChanged(item="i1", title="Arrival", categories=("Sci-Fi",), attributes={"year": 2016, "type": "film"})


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    with open_store(settings) as one:
        Writer(one).write([event(0, FILM, minutes=0)])
        refused = [{"claim": "\x1b[31m[bold]8 Oscars", "reason": "is in no fact"}]
        written = Content("i1", "description", "en", TEXT, "verified", "model", "m1", "h", EPOCH, "p", 2, refused)
        one.contents.save([written], who="headwater worker 1")
        yield one


@pytest.fixture
def command(settings: Settings, store: Store) -> Command:
    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, list(arguments), obj=settings)
        if isinstance(result.exception, HeadwaterError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return " ".join(result.output.split())

    return run


def document(text: str) -> Any:
    return json.loads(text)


def test_texts_are_listed_shown_edited_compared_and_rejected(command: Command, store: Store) -> None:
    assert TEXT in command("list", "--status", "verified", "--kind", "description", "--locale", "en")
    assert "no text is so" in command("list", "--status", "approved")
    assert "approved, version 2" in command("approve", "i1", "--version", "1", "--who", "Ann")
    assert "edited, version 3" in command(
        "edit", "i1", "--text", "Arrival is a 2016 sci-fi film.", "--reason", "shorter"
    )
    assert "{+2016 +}" in command("diff", "i1")
    assert command("diff", "i1", "--from", "1", "--to", "2") == TEXT
    assert command("diff", "i1", "--to", "1") == f"{{+{TEXT}+}}"
    assert "rejected, version 4" in command("reject", "i1", "--reason", "dull")
    shown = command("show", "i1")
    for word in (
        "rejected, version 4",
        "Ann: approve, version 2",
        "(command line): edit",
        "headwater worker 1: write",
        "dull",
    ):
        assert word in shown
    assert [one.action for one in store.reviews.history("i1", "description", "en")] == [
        "reject", "edit", "approve", "write",
    ]  # fmt: skip


def test_json_says_the_same_to_machines(command: Command) -> None:
    (one,) = document(command("list", "--json"))
    assert (one["status"], one["title"], one["content"]["text"]) == ("verified", "Arrival", TEXT)
    shown = document(command("show", "i1", "--json"))
    assert (shown["status"], shown["stale"], shown["violations"]) == ("verified", False, [])
    assert [change["who"] for change in shown["history"]] == ["headwater worker 1"]
    assert document(command("diff", "i1", "--json"))["parts"] == [{"what": "new", "text": TEXT}]


def test_what_a_model_said_cannot_steer_the_terminal(command: Command) -> None:
    shown = command("show", "i1")
    assert "\x1b" not in shown
    assert "[bold]8 Oscars" in shown


def test_what_the_checker_objects_to_needs_insistence_and_a_reason(command: Command) -> None:
    wrong = ("edit", "i1", "--text", "Arrival won 8 Oscars.")
    with pytest.raises(TextRefused, match="8"):
        command(*wrong)
    with pytest.raises(InvalidRequest, match="reason"):
        command(*wrong, "--anyway")
    assert "edited" in command(*wrong, "--anyway", "--reason", "it did")
    assert "the checker objects" in command("show", "i1")


def test_a_decision_on_another_version_or_on_nothing_is_refused(command: Command) -> None:
    with pytest.raises(TextChanged, match="read it again"):
        command("approve", "i1", "--version", "7")
    for arguments in (
        ("approve", "i1", "--kind", "headline"),
        ("show", "i9"),
        ("diff", "i1", "--to", "7"),
        ("diff", "i9"),
    ):
        with pytest.raises(NotFound):
            command(*arguments)
    with pytest.raises(InvalidRequest, match="stale"):
        command("list", "--status", "good")
    assert "template says" in command("show", "i1", "--kind", "headline")


def test_the_first_text_of_an_item_or_of_a_pair_is_a_persons(command: Command, store: Store) -> None:
    assert "edited, version 1" in command(
        "edit", "i1", "--kind", "headline", "--text", "Arrival (2016)", "--who", "Ann"
    )
    assert "Ann: edit, version 1" in command("show", "i1", "--kind", "headline")
    pair = ("edit", "i1", "--kind", "because", "--carrier", "i1", "--event", "purchase")
    with pytest.raises(TextRefused, match="won"):
        command(*pair, "--text", "You won Arrival")
    assert "edited, version 1" in command(*pair, "--text", "You bought Arrival")
    (text,) = store.contents.written_since("because", 0)
    assert (text.about, text.text, text.status) == ({"item": "i1", "event": "purchase"}, "You bought Arrival", "edited")
    with pytest.raises(NotFound, match="i9"):
        command("edit", "i1", "--kind", "because", "--carrier", "i9", "--text", "You looked at it")


def test_the_command_line_says_in_one_message_what_the_checker_found(settings: Settings, store: Store) -> None:
    answer = headwater("content", "edit", "i1", "--text", "Arrival won 8 Oscars.", settings=settings)
    assert answer.returncode == 1
    assert "'8" in answer.stderr
    assert "publish it anyway" in " ".join(answer.stderr.split())
    assert "Traceback" not in answer.stderr
