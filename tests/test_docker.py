"""The images and the compose file, as far as they can be checked where no Docker engine runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from core.settings import PREFIX, Settings, load_settings
from headwater.cli import app

ROOT = Path(__file__).parent.parent
COMPOSE = ROOT / "docker" / "compose.yaml"
SETTINGS_FILE = ROOT / "docker" / "headwater.toml"
BEYOND_SETTINGS = {"HEADWATER_CONFIG"}  # says where the settings are
ROLES = {"ingest", "serve", "schedule", "generate-worker"}
SECRETS = {"POSTGRES_PASSWORD": "p", "HEADWATER_SECRET": "s"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE.read_text())["services"])


@pytest.fixture(scope="module")
def stages() -> dict[str, list[str]]:
    """The instructions of each stage of the Dockerfile, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (ROOT / "docker" / "Dockerfile").read_text())
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        if start := re.fullmatch(r"FROM (\S+) AS (\S+)", line):
            found[start[2]] = [line]
        elif line and not line.startswith("#"):
            found[list(found)[-1]].append(line)
    return found


def of_headwater(services: dict[str, Any]) -> dict[str, Any]:
    return {name: one for name, one in services.items() if one["image"].startswith("headwater:")}


def test_compose_runs_every_role_on_a_kafka_and_a_postgres(services: dict[str, Any]) -> None:
    assert {"kafka", "postgres", "migrate"} | ROLES <= services.keys()
    assert services["ingest"]["deploy"]["replicas"] == 2


def test_every_command_in_compose_is_one_that_the_command_line_has(services: dict[str, Any]) -> None:
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    asked = {name: one["command"][0] for name, one in of_headwater(services).items()}
    assert set(asked.values()) <= set(commands)
    assert all(asked[role] == role for role in ROLES)


def test_every_headwater_variable_is_a_setting() -> None:
    known = {PREFIX + name.upper() for name in Settings.__struct_fields__} | BEYOND_SETTINGS
    for file in (COMPOSE, ROOT / "docker" / "Dockerfile"):
        named = set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", file.read_text()))
        assert named
        assert named <= known


def test_the_settings_file_and_the_variables_make_complete_settings(services: dict[str, Any]) -> None:
    given = {name: _filled(str(value)) for name, value in services["serve"]["environment"].items()}
    settings = load_settings({**given, "HEADWATER_CONFIG": str(SETTINGS_FILE)})
    assert tomllib.loads(SETTINGS_FILE.read_text()).keys() <= set(Settings.__struct_fields__)
    assert settings.database_url == "postgresql://headwater:p@postgres:5432/headwater"
    assert settings.kafka_bootstrap == "kafka:9092"
    assert settings.secret == "s"
    assert settings.keys_required


def test_no_secret_is_written_in_the_compose_file() -> None:
    for secret in SECRETS:
        uses = re.findall(rf"\$\{{{secret}[^}}]*\}}", COMPOSE.read_text())
        assert uses
        assert all(use.startswith(f"${{{secret}:?") for use in uses), "without it, compose must refuse to start"


def test_what_runs_on_is_watched_and_started_again(services: dict[str, Any], stages: dict[str, list[str]]) -> None:
    in_image = all(any(line.startswith("HEALTHCHECK") for line in stages[target]) for target in ("cpu", "cuda"))
    for name, one in services.items():
        if name == "migrate":
            assert one["restart"] == "no"
            continue
        assert one["restart"] == "unless-stopped", name
        assert "test" in one.get("healthcheck", {}) or (in_image and name == "serve"), name


def test_roles_start_only_on_a_migrated_database_and_a_ready_kafka(services: dict[str, Any]) -> None:
    for name, one in of_headwater(services).items():
        waits = one["depends_on"]
        assert waits.keys() <= services.keys()
        if name != "migrate":
            assert waits["migrate"]["condition"] == "service_completed_successfully"
            assert waits["kafka"]["condition"] == "service_healthy"


def test_every_volume_is_declared_and_every_port_is_on_loopback(services: dict[str, Any]) -> None:
    declared = yaml.safe_load(COMPOSE.read_text())["volumes"].keys()
    for one in services.values():
        named = {volume.split(":")[0] for volume in one.get("volumes", [])}
        assert {volume for volume in named if not volume.startswith(".")} <= declared
        assert all(port.startswith("127.0.0.1:") for port in one.get("ports", []))


def test_every_image_from_elsewhere_is_pinned(services: dict[str, Any], stages: dict[str, list[str]]) -> None:
    images = [one["image"] for name, one in services.items() if name not in of_headwater(services)]
    images += [lines[0].split()[1] for lines in stages.values() if lines[0].split()[1] not in stages]
    assert len(images) == 4
    for image in images:
        assert re.search(r":\d+", image), f"{image}: name a version"


def test_both_images_hold_every_package_and_what_it_is_installed_with(stages: dict[str, list[str]]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {name.removesuffix("*") for name in project["tool"]["setuptools"]["packages"]["find"]["include"]}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for target in ("cpu", "cuda"):
        lines = stages[f"packages-{target}"]
        copied = {word for line in lines if line.startswith("COPY") for word in line.split()[1:-1]}
        assert packages | {"pyproject.toml", "constraints.txt"} <= copied
        assert all(f"!{name}" in ignored for name in copied)
        assert any(f"COPY --from=packages-{target} " in line for line in stages[target])
        extras = set(re.findall(r'"\.\[(\w+)\]"', "\n".join(lines)))
        assert extras <= project["project"]["optional-dependencies"].keys()


def test_both_images_run_as_an_ordinary_user_through_the_command_line(stages: dict[str, list[str]]) -> None:
    assert list(stages)[-1] == "cpu", "the last stage is what a build without --target gives"
    for target in ("cpu", "cuda"):
        assert "USER 10001:10001" in stages[target]
        assert 'ENTRYPOINT ["headwater"]' in stages[target]


def test_docker_itself_accepts_the_compose_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("there is no `docker compose` here: install Docker's compose plugin to check the file with it")
    checked = subprocess.run(
        [docker, "compose", "-f", COMPOSE, "--profile", "gpu", "config", "--quiet"],
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", **SECRETS}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr


def _filled(value: str) -> str:
    return re.sub(r"\$\{(\w+):\?[^}]*\}", lambda found: SECRETS[found[1]], value)
