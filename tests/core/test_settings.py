"""Settings: defaults, then the file, then the environment; a mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import ConfigurationError
from core.settings import DEFAULT_KIND_WEIGHTS, Settings, load_settings


def test_nothing_set_gives_the_defaults() -> None:
    assert load_settings({"PATH": "/bin", "HEADWATER_PORT": "", "HEADWATER_TEST_KAFKA": "x"}) == Settings()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "headwater.toml"
    file.write_text('port = 1\nnamespace = "shop"\n[kind_weights]\nview = 0.5\n')
    settings = load_settings({"HEADWATER_CONFIG": str(file), "HEADWATER_PORT": "2", "HEADWATER_REQUIRE_KEYS": "true"})
    assert (settings.port, settings.namespace, settings.require_keys) == (2, "shop", True)
    assert settings.kind_weights == {"view": 0.5}
    assert settings.topic == "shop.events"


def test_tables_can_be_given_as_json() -> None:
    assert load_settings({"HEADWATER_KIND_WEIGHTS": '{"buy": 3}'}).kind_weights == {"buy": 3.0}


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "x"), ("PORT", "70000"), ("NAMESPACE", "Shop-1"), ("NAMESPACE", "a" * 41), ("DEVICE", "tpu"),
        ("KIND_WEIGHTS", "view=1"), ("KIND_WEIGHTS", "[1]"), ("DEAD_LETTER_MAX_SHARE", "0"), ("INGEST_BATCH_EVENTS", "0"),
        ("TRAIN_CRON", "hourly"), ("UPDATE_CRON", "* * *"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(variable: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=variable.lower() + "|" + variable):
        load_settings({f"HEADWATER_{variable}": value})


@pytest.mark.parametrize("content", ["port = ", "prot = 1", 'port = "x"'])
def test_a_mistake_in_the_file_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(content)
    with pytest.raises(ConfigurationError, match="settings"):
        load_settings({}, file)
    with pytest.raises(ConfigurationError, match="absent"):
        load_settings({}, tmp_path / "absent.toml")


def test_settings_survive_being_passed_to_a_process() -> None:
    settings = Settings(
        namespace="shop", port=0, secret='s"\\', require_keys=False, kind_weights={**DEFAULT_KIND_WEIGHTS, "x": -1.5},
        dead_letter_max_share=0.25, home=Path("/tmp/a b"),
    )  # fmt: skip
    assert load_settings(settings.environ()) == settings


def test_keys_are_required_where_strangers_can_call() -> None:
    assert not Settings().keys_required
    assert Settings(host="0.0.0.0").keys_required
    assert not Settings(host="0.0.0.0", require_keys=False).keys_required


def test_artifacts_are_apart_for_each_namespace(tmp_path: Path) -> None:
    assert Settings(home=tmp_path, namespace="a").artifacts_url == f"{tmp_path}/artifacts/a"
    assert Settings(artifacts="s3://bucket/x/", namespace="b").artifacts_url == "s3://bucket/x/b"
