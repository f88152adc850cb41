"""The documents say what is there: settings, metrics, commands, routes, files, and examples that work."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer.main
from kafka import KafkaConsumer
from prometheus_client import Counter, Gauge, Histogram

from core import telemetry
from core.bus import ensure_topic
from core.events import Interaction, decode
from core.settings import PREFIX, Settings
from headwater.cli import app
from serving.routes import API, OPERATIONS

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
OPERATIONS_PAGE = (ROOT / "docs" / "operations.md").read_text()
# Read at the entry point beside the settings, or by the tests.
BEYOND_SETTINGS = {"HEADWATER_CONFIG", "HEADWATER_LOG_LEVEL", "HEADWATER_TEST_DATABASE_URL", "HEADWATER_TEST_KAFKA"}

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())


def rows(first_cell: str) -> dict[str, list[str]]:
    """The rows of the tables of docs/operations.md whose first cell is code like `first_cell`: name -> the other cells."""
    found = re.findall(rf"^\| `({first_cell}\w+)` \|(.+)\|$", OPERATIONS_PAGE, re.MULTILINE)
    return {name: [cell.strip() for cell in cells.split(" |")] for name, cells in found if cells.count("|") == 1}


def shown(value: object) -> str:
    plain = msgspec.to_builtins(value, enc_hook=str)
    return "none" if value is None else f"`{plain if isinstance(plain, str) else msgspec.json.encode(plain).decode()}`"


def metrics() -> dict[str, list[str]]:
    declared = [one for one in vars(telemetry).values() if isinstance(one, Counter | Gauge | Histogram)]
    return {
        next(iter(one.describe())).name + ("_total" if isinstance(one, Counter) else ""): list(one._labelnames)
        for one in declared
    }


def code(text: str) -> str:
    """Everything in fences (but what programs print), in indented blocks and in backticks, a line each."""
    fenced = [block for kind, block in re.findall(r"^```(\w+)\n(.*?)^```", text, re.M | re.S) if kind != "console"]
    indented = re.findall(r"^ {4}\S.*$", text, re.MULTILINE)
    return "\n".join([*fenced, *indented, *re.findall(r"`([^`\n]+)`", text)])


def test_every_setting_is_described_with_its_default() -> None:
    described = {name: cells[0] for name, cells in rows(PREFIX).items()}
    assert described == {PREFIX + name.upper(): shown(getattr(Settings(), name)) for name in Settings.__struct_fields__}


def test_every_metric_is_described_with_its_labels() -> None:
    described = {name: re.findall(r"`(\w+)`", cells[0]) for name, cells in rows("headwater_").items()}
    assert described == metrics()


@documents
def test_no_document_names_a_setting_or_metric_that_is_not_there(document: Path) -> None:
    text = document.read_text()
    known = {PREFIX + name.upper() for name in Settings.__struct_fields__} | BEYOND_SETTINGS
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]\b", text)) <= known
    assert set(re.findall(r"\bheadwater_[a-z_]+\b", text)) <= metrics().keys()


@documents
def test_every_command_in_a_document_exists_with_its_options(document: Path) -> None:
    for line in code(document.read_text()).splitlines():
        for called in re.findall(r"(?:^|[\s/])headwater ((?:[a-z]|--)[^|;&#()]*)", line):
            words = shlex.split(called.replace("'", "").replace('"', ""))
            command: Any = typer.main.get_command(app)
            while hasattr(command, "commands") and words and not words[0].startswith("-"):
                assert words[0] in command.commands, f"headwater {called}"
                command = command.commands[words.pop(0)]
            options = {option for one in command.params for option in (*one.opts, *one.secondary_opts)} | {"--help"}
            assert {word.split("=")[0] for word in words if word.startswith("--")} <= options, f"headwater {called}"


@documents
def test_every_make_target_in_a_document_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in code(document.read_text()).splitlines():
        for called in re.findall(r"(?:^|;\s*|\s{2})make ([a-z][^#;]*)", line):
            assert {word for word in shlex.split(called) if "=" not in word} <= targets, f"make {called}"


@documents
def test_every_route_in_a_document_exists(document: Path) -> None:
    templates = [f"/v1{path}" for route in API.routes for path in [route.path.removeprefix("/v1")]]
    templates += [path for handler in OPERATIONS for path in handler.paths]
    known = [re.compile(re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(path))) for path in templates]
    for path in re.findall(r"(/v1/[\w/{}.-]+)", document.read_text()):
        assert any(pattern.fullmatch(path.rstrip("./")) for pattern in known), path


@documents
def test_every_link_and_picture_of_a_document_leads_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_every_path_in_the_tree_of_the_readme_exists() -> None:
    tree = re.search(r"^```text\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert tree is not None
    parents: list[str] = []
    for line in tree[1].splitlines():
        found = re.match(r"( *)([\w./-]+)", line)
        if found and not line.startswith(" " * 12):
            depth = len(found[1]) // 2
            parents = [*parents[:depth], found[2]]
            assert (ROOT / Path(*parents)).exists(), line


@documents
def test_every_test_named_in_a_document_exists(document: Path) -> None:
    tests = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)\(", file.read_text())
    }
    files = {file.stem for file in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"\btest_\w+", document.read_text())) - files <= tests


def test_every_excerpt_of_the_ingest_page_is_in_the_product() -> None:
    page = (ROOT / "docs" / "ingest.md").read_text()
    excerpts = re.findall(r"^`([\w/]+\.py)`:\n\n```\w+\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(excerpts) == len(re.findall(r"^```(?:python|sql)", page, re.MULTILINE)) > 8
    for file, excerpt in excerpts:
        assert excerpt in (ROOT / file).read_text(), f"{file} no longer reads:\n{excerpt}"


def test_every_event_that_the_readme_sends_by_curl_is_a_valid_one() -> None:
    bodies = re.findall(r"/v1/events.*?-d '(\{.*?\})'", (ROOT / "README.md").read_text(), re.DOTALL)
    assert bodies
    for body in bodies:
        complete = {"specversion": "1.0", "id": "e", "source": "/s", "time": "2026-01-01T00:00:00Z", **json.loads(body)}
        decode(json.dumps(complete).encode())


def test_the_producer_in_the_readme_publishes_a_valid_event(kafka_bootstrap: str, topic: str) -> None:
    block = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    program = block[1].replace("localhost:9094", kafka_bootstrap).replace("headwater.events", topic)
    assert kafka_bootstrap in program
    assert topic in program
    ensure_topic(kafka_bootstrap, topic, 1)
    made: dict[str, object] = {}
    exec(program, made)
    made["producer"].close()  # type: ignore[attr-defined]
    consumer = KafkaConsumer(
        topic, bootstrap_servers=kafka_bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=20_000
    )
    try:
        message = next(consumer)
    finally:
        consumer.close()
    assert message.key == b"u1"
    body = decode(message.value, message.headers).body
    assert isinstance(body, Interaction)
    assert (body.user, body.item) == ("u1", "i3")
