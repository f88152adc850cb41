"""The rules of the house that a reader of one file cannot see (docs/adr/0010). Each rule is shown to be able to fail."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAX_LINES = 350

# What each room may import of the others. The front door sees all of them, and none sees it.
MAY_IMPORT = {
    "core": set[str](),
    "ingest": {"core"},
    "features": {"core"},
    "models": {"core", "features"},
    "serving": {"core", "features", "models"},
    "jobs": {"core", "features", "models"},
    "migrations": {"core"},
    "headwater": {"core", "ingest", "features", "models", "serving", "jobs", "migrations"},
}

# Libraries that live in one place, and what to do about it elsewhere.
HOMES = {
    "kafka": (
        ("core/bus.py", "ingest/kafka.py"),
        ("kafka",),
        "publish through core.bus.Bus, consume through ingest/kafka.py",
    ),
    "messages": (
        ("core/bus.py", "ingest/reader.py"),
        ("confluent_kafka",),
        "publish through core.bus.Bus, messages are read through ingest/reader.py",
    ),
    "database": (
        ("core/tables.py", "core/store/", "migrations/"),
        ("sqlalchemy", "psycopg", "psycopg2", "alembic"),
        "give the part of core/store that it belongs to a method, and call that",
    ),
    "schedule": (
        ("jobs/", "migrations/versions/"),
        ("procrastinate",),
        "add a job to jobs/schedule.py, or read its history through core/store/job_runs.py",
    ),
    "learning": (
        ("models/",),
        ("faiss", "torch", "transformers", "implicit"),
        "put it behind an interface of models/ and call that",
    ),
    "web": (("serving/",), ("litestar", "uvicorn", "starlette"), "put it into serving/"),
}
UNSAFE_FORMATS = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
CATCH_ALL = {"Exception", "BaseException"}


@dataclass(frozen=True)
class Source:
    """A file of the product: its path from the root, and its text."""

    path: str
    text: str

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(ast.parse(self.text)))

    @property
    def room(self) -> str:
        return self.path.split("/")[0]

    def imports(self) -> Iterator[tuple[int, str]]:
        """(line, top-level package) of every import, also those inside functions."""
        for node in self.nodes:
            if isinstance(node, ast.Import):
                yield from ((node.lineno, name.name.split(".")[0]) for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.lineno, node.module.split(".")[0]


Rule = Callable[[Source], Iterator[str]]


def one_way(source: Source) -> Iterator[str]:
    for line, package in source.imports():
        if package in MAY_IMPORT and package != source.room and package not in MAY_IMPORT[source.room]:
            may = ", ".join(sorted(MAY_IMPORT[source.room])) or "no other room"
            yield f"{source.path}:{line} imports {package}; {source.room} may import {may}. Move the code, or pass it a value"


def at_home(name: str) -> Rule:
    places, packages, instead = HOMES[name]

    def rule(source: Source) -> Iterator[str]:
        for line, package in source.imports():
            if package in packages and not source.path.startswith(places):
                yield f"{source.path}:{line} imports {package}, which belongs in {' and '.join(places)}: {instead}"

    return rule


def nothing_unpickled(source: Source) -> Iterator[str]:
    instead = "use safetensors, npy, Parquet or JSON"
    for line, package in source.imports():
        if package in UNSAFE_FORMATS:
            yield f"{source.path}:{line} imports {package}, which runs what it reads: {instead}"
    for node in source.nodes:
        if not isinstance(node, ast.Call):
            continue
        given = {one.arg: getattr(one.value, "value", None) for one in node.keywords}
        if given.get("allow_pickle", False) is not False:
            yield f"{source.path}:{node.lineno} allows pickle: {instead}"
        if ast.unparse(node.func) == "torch.load" and given.get("weights_only") is not True:
            yield f"{source.path}:{node.lineno} calls torch.load without weights_only=True: {instead}"


def nothing_swallowed(source: Source) -> Iterator[str]:
    for node in source.nodes:
        silent = False
        if isinstance(node, ast.ExceptHandler):
            caught = (
                {"Exception"}
                if node.type is None
                else {one.id for one in ast.walk(node.type) if isinstance(one, ast.Name)}
            )
            silent = bool(caught & CATCH_ALL) and all(
                isinstance(one, ast.Pass | ast.Continue | ast.Expr) and not _calls(one) for one in node.body
            )
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
            silent = any(isinstance(one, ast.Name) and one.id in CATCH_ALL for one in node.args)
        if silent:
            yield f"{source.path}:{node.lineno} hides every error: catch the one that is expected, log or count the rest"


def _calls(node: ast.AST) -> bool:
    return any(isinstance(one, ast.Call) for one in ast.walk(node))


def short(source: Source) -> Iterator[str]:
    lines = source.text.count("\n")
    if lines > MAX_LINES:
        yield f"{source.path} has {lines} lines; at most {MAX_LINES}: give a part of it a file of its own"


@cache
def product() -> list[Source]:
    files = sorted(path for room in MAY_IMPORT for path in (ROOT / room).rglob("*.py"))
    return [Source(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) for path in files]


def check(rule: Rule) -> None:
    complaints = [complaint for source in product() for complaint in rule(source)]
    assert not complaints, "\n" + "\n".join(complaints)


def test_every_room_exists_and_is_searched() -> None:
    assert {source.room for source in product()} == set(MAY_IMPORT)


def test_rooms_import_one_another_in_one_direction_only() -> None:
    check(one_way)


def test_the_kafka_clients_are_used_in_their_own_files_only() -> None:
    check(at_home("kafka"))
    check(at_home("messages"))


def test_sql_is_written_in_the_store_the_tables_and_the_migrations_only() -> None:
    check(at_home("database"))


def test_the_scheduling_library_is_known_to_the_jobs_only() -> None:
    check(at_home("schedule"))


def test_faiss_torch_and_the_trainers_are_known_to_the_models_only() -> None:
    check(at_home("learning"))


def test_the_web_framework_is_known_to_serving_only() -> None:
    check(at_home("web"))


def test_nothing_that_is_read_can_run_code() -> None:
    check(nothing_unpickled)


def test_no_error_is_swallowed_whole() -> None:
    check(nothing_swallowed)


def test_no_file_is_too_long_to_read_in_one_sitting() -> None:
    check(short)


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (one_way, "core/new.py", "from headwater.cli import main"),
        (one_way, "ingest/new.py", "def f():\n    import serving.live"),
        (one_way, "jobs/new.py", "import ingest.consumer"),
        (one_way, "features/new.py", "from models import RECOMMENDERS"),
        (one_way, "migrations/new.py", "from features import snapshot"),
        (at_home("kafka"), "serving/new.py", "from kafka import KafkaProducer"),
        (at_home("messages"), "ingest/kafka.py", "import confluent_kafka"),
        (at_home("database"), "serving/new.py", "import sqlalchemy as sa"),
        (at_home("database"), "core/registry.py", "import psycopg2.extras"),
        (at_home("schedule"), "serving/new.py", "import procrastinate"),
        (at_home("learning"), "serving/new.py", "import faiss"),
        (at_home("learning"), "jobs/new.py", "def f():\n    from torch import nn"),
        (at_home("web"), "headwater/new.py", "import uvicorn"),
        (nothing_unpickled, "models/new.py", "import pickle"),
        (nothing_unpickled, "models/new.py", "np.load(path, allow_pickle=True)"),
        (nothing_unpickled, "models/new.py", "torch.load(path)"),
        (nothing_unpickled, "models/new.py", "torch.load(path, weights_only=False)"),
        (nothing_swallowed, "core/new.py", "try:\n    f()\nexcept Exception:\n    pass"),
        (nothing_swallowed, "core/new.py", "try:\n    f()\nexcept:\n    ..."),
        (
            nothing_swallowed,
            "core/new.py",
            "for _ in x:\n    try:\n        f()\n    except (OSError, Exception):\n        continue",
        ),
        (nothing_swallowed, "core/new.py", "with contextlib.suppress(Exception):\n    f()"),
        (short, "core/new.py", "x = 1\n" * (MAX_LINES + 1)),
    ],
)
def test_a_file_that_breaks_the_rule_is_named(rule: Rule, path: str, text: str) -> None:
    complaints = list(rule(Source(path, text)))
    assert len(complaints) == 1
    assert complaints[0].startswith(path)


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (one_way, "headwater/new.py", "import ingest, serving, jobs, models, migrations"),
        (one_way, "serving/new.py", "from models.index import VectorIndex\nfrom serving.live import x\nimport json"),
        (at_home("kafka"), "ingest/kafka.py", "from kafka import KafkaConsumer"),
        (at_home("kafka"), "serving/new.py", "from ingest import kafka"),
        (nothing_unpickled, "models/new.py", "torch.load(path, weights_only=True)\nnp.load(path, allow_pickle=False)"),
        (nothing_swallowed, "core/new.py", "try:\n    f()\nexcept Exception:\n    log.exception('f')"),
        (nothing_swallowed, "core/new.py", "try:\n    f()\nexcept OSError:\n    pass"),
        (short, "core/new.py", "x = 1\n" * MAX_LINES),
    ],
)
def test_a_file_that_keeps_the_rule_is_left_alone(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(path, text))) == []
