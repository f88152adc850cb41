"""Settings: read once, at the entry point, from `HEADWATER_*` variables and an optional TOML file (DESIGN I9)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from croniter import croniter
from msgspec import Meta

from core.errors import ConfigurationError

NAMESPACE = re.compile(r"[a-z][a-z0-9_]{0,39}")
PREFIX = "HEADWATER_"
OTEL_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"  # as OpenTelemetry's own specification calls it
TABLES = {"kind_weights": '{"view": 1.0}', "surfaces": '{"home": {"limit": 20}}'}  # JSON in the environment; an example
REASONS = "because"  # the kind of texts that are about a pair of items, not about each item
NAMES = "^[a-z0-9_-]+(,[a-z0-9_-]+)*$"  # comma-separated
LOCALES = "^[A-Za-z0-9_-]{1,35}(,[A-Za-z0-9_-]{1,35})*$"

# How much an interaction says that the user wants the item. Zero and below: not a sign of interest.
DEFAULT_KIND_WEIGHTS = {
    "view": 1.0, "click": 1.0, "play": 1.0, "cart": 2.0, "purchase": 3.0, "like": 2.0, "rating": 1.0,
    "dislike": -1.0, "hide": -1.0,
}  # fmt: skip

Tone = Literal["neutral", "warm", "formal"]
Length = Literal["short", "medium", "long"]
LOCALE = "^[A-Za-z]{1,8}([-_][A-Za-z0-9]{1,8})*$"
Locale = Annotated[str, Meta(max_length=35, pattern=LOCALE)]
Positive = Annotated[int, Meta(ge=1)]
Port = Annotated[int, Meta(ge=0, le=65535)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting, its default, and (in the comment) what it does. Environment name: HEADWATER_ + upper case."""

    home: Path = Path(".headwater")  # embedded services, downloads and local artifacts live here
    namespace: str = "headwater"  # one tenant: Postgres schema, topic prefix and artifact prefix
    database_url: str | None = None  # postgresql://...; None starts the embedded Postgres
    kafka_bootstrap: str | None = None  # host:port[,host:port]; None starts the embedded broker
    artifacts: str | None = None  # any fsspec URL; None is <home>/artifacts
    device: Annotated[str, Meta(pattern="^(auto|cpu|cuda)$")] = "auto"  # where neural models train and run
    text_model: str | None = None  # directory of a transformers model, or the model name at text_endpoint
    text_endpoint: str | None = None  # base URL of an OpenAI-compatible server; None runs the model in process
    text_api_key: str | None = None  # secret for text_endpoint
    host: str = "127.0.0.1"  # where the API listens
    port: Port = 8080  # 0 takes a free one
    metrics_port: Port = 0  # where the roles but serve show /metrics (`up`: this port, and 2 and 3 above); 0: nowhere
    max_running: Positive | None = None  # requests for lists answered at once; None: 4 for each core, at least 16
    max_waiting: Positive = 64  # requests of a kind that wait for their turn; more are refused
    max_wait_ms: Positive = 250  # longest wait of a request for lists; then it is refused
    max_connections: Positive = 4096  # of clients to the API; more are refused
    drain_grace_s: Annotated[float, Meta(ge=0, le=10)] = 1.0  # from a SIGTERM on: not ready, still answering everyone
    require_keys: bool | None = None  # None: keys are required unless the API listens on loopback only
    secret: str | None = None  # keys the hashes of erased users and signs slate tokens; None: made once, kept in home
    key_requests_per_s: Annotated[float, Meta(ge=0)] = 1000.0  # of a key that has no limit of its own; 0: none
    key_burst: Positive = 2000  # requests such a key may save up
    traces_endpoint: str | None = None  # OTLP/HTTP collector; None: OTEL_EXPORTER_OTLP_ENDPOINT, without it no traces
    traces_share: Annotated[float, Meta(ge=0, le=1)] = 1.0  # kept of the traces that begin here
    topic_partitions: Positive = 4  # of <namespace>.events, when Headwater creates it
    ingest_batch_events: Positive = 5000  # most events in one transaction
    ingest_poll_ms: Positive = 50  # how long a poll waits for more when there is nothing
    event_max_bytes: Positive = 1_000_000  # larger messages are dead letters
    event_max_future_s: Positive = 86_400  # events dated further ahead are dead letters
    dead_letter_payload_bytes: Positive = 65_536  # payload kept with a dead letter; more is cut, size and hash stay
    dead_letter_window_events: Positive = 10_000  # the consumer halts when, within this many events ...
    dead_letter_max_share: Annotated[float, Meta(gt=0, le=1)] = 0.5  # ... more than this share was bad
    session_timeout_ms: Positive = 6000  # Kafka group session; the embedded broker makes a join wait half of it
    new_item_share: Annotated[float, Meta(ge=0, le=1)] = (
        0.1  # of a list's places for items no model was trained on; 0: none
    )
    new_item_likeness: Annotated[float, Meta(gt=0, le=1)] = 0.25  # least cosine of their text with what the user chose
    history_events: Positive = 200  # newest events of a user that models see
    kind_weights: dict[str, float] = msgspec.field(
        default_factory=DEFAULT_KIND_WEIGHTS.copy
    )  # weight of each interaction kind; TOML table or JSON
    surfaces: dict[str, dict[str, Any]] = {}  # what the lists of a surface are like; TOML table or JSON
    # Crontab lines in UTC; "off" is never.
    train_cron: str = "0 3 * * *"  # when train_models are retrained
    light_train_cron: str = "15 * * * *"  # when light_train_models are
    update_cron: str = "* * * * *"  # when live transitions are brought up to date with new events
    train_models: Annotated[str, Meta(pattern=NAMES)] = (
        "popularity,transitions,als,blend"  # trained where none is named
    )
    light_train_models: Annotated[str, Meta(pattern=NAMES)] = "popularity,transitions"  # the cheap ones
    keep_versions: Positive = 10  # newest versions of a model whose files stay, beside the live one and the one before
    maintain_cron: str = "30 2 * * *"  # when months of events are attached ahead, and old ones detached
    retention_months: Positive | None = None  # months of events that stay attached beside this one; None: all
    retention_grace_months: Annotated[int, Meta(ge=0)] | None = None  # months until a detached one goes; None: stays
    content_kinds: Annotated[str, Meta(pattern=NAMES)] = "description"  # texts that every item is to have; "off": none
    content_locales: Annotated[str, Meta(pattern=LOCALES)] | None = (
        None  # languages that they are wanted in; None: content_locale
    )
    content_requests_ahead: Positive = 256  # requests for texts in the topic, at most: what comes later waits for them
    content_batch_requests: Positive = 32  # requests that one worker has written at once, and settles together
    content_tokens_per_hour: Positive | None = (
        None  # that text models may write, all workers together; None: any number
    )
    content_locale: Locale = "en"  # language of texts where none is asked for, and of reasons
    content_tone: Tone = "neutral"  # neutral, warm or formal: told to the text model; templates have no tone
    content_length: Length = "medium"  # short, medium or long: told to the text model, and kept by templates
    content_banned: Annotated[str, Meta(max_length=20_000)] | None = None  # words that no text may say, by comma
    content_reasons: Positive = 10_000  # reasons about pairs that workers ask a model for, in all (kind "because")
    content_deadline_ms: Positive = 10_000  # of POST /v1/content where none is given; then the template answers
    content_max_deadline_ms: Positive = 60_000  # longest deadline that it takes

    @property
    def models_to_train(self) -> tuple[str, ...]:
        """Names of the models trained on the schedule, by the demo, and by `headwater train` without names."""
        return tuple(self.train_models.split(","))

    @property
    def topic(self) -> str:
        """The namespace's event topic."""
        return f"{self.namespace}.events"

    @property
    def requests_topic(self) -> str:
        """The namespace's topic of requests for texts."""
        return f"{self.namespace}.content.requests"

    @property
    def wanted_texts(self) -> list[tuple[str, str]]:
        """(kind, language) of the texts that every item is to have."""
        kinds = [] if self.content_kinds == "off" else self.content_kinds.split(",")
        kinds = [kind for kind in kinds if kind != REASONS]
        return [(kind, locale) for kind in kinds for locale in (self.content_locales or self.content_locale).split(",")]

    @property
    def reasons_wanted(self) -> bool:
        """Whether workers are to write reasons, of the pairs that recommendations show most."""
        return REASONS in self.content_kinds.split(",")

    @property
    def banned_words(self) -> tuple[str, ...]:
        """Words and claims that no text may say."""
        return tuple(word for part in (self.content_banned or "").split(",") if (word := " ".join(part.split())))

    @property
    def fits_file(self) -> Path:
        """Where this machine keeps which kinds of text each model may write (models/content/fit.py)."""
        return self.home / "text-models" / "fits.json"

    @property
    def artifacts_url(self) -> str:
        """Where artifacts go, the namespace's prefix included."""
        return f"{(self.artifacts or str(self.home.absolute() / 'artifacts')).rstrip('/')}/{self.namespace}"

    def environ(self) -> dict[str, str]:
        """These settings as HEADWATER_* variables, for a process of ours that is to have the same."""
        plain = {name: value for name, value in msgspec.to_builtins(self, enc_hook=str).items() if value is not None}
        text = {
            name: value if isinstance(value, str) else msgspec.json.encode(value).decode()
            for name, value in plain.items()
        }
        return {PREFIX + name.upper(): value for name, value in {**text, "home": str(self.home.absolute())}.items()}

    @property
    def keys_required(self) -> bool:
        """Whether API calls need a key: as set, else whenever someone off this machine could call."""
        if self.require_keys is not None:
            return self.require_keys
        return self.host not in ("127.0.0.1", "::1", "localhost")

    @property
    def keys_note(self) -> str:
        """For whoever starts a server: whether callers need a key, and why."""
        if self.keys_required:
            return "callers need an API key: `headwater keys create`"
        if self.require_keys is None:
            return f"no API key is asked for: only this machine reaches {self.host} (HEADWATER_REQUIRE_KEYS=true asks)"
        return "no API key is asked for (HEADWATER_REQUIRE_KEYS=false): whoever reaches the server may do everything"


def load_settings(environ: Mapping[str, str], toml_file: Path | None = None) -> Settings:
    """Read settings: defaults, then the TOML file (`toml_file`, or HEADWATER_CONFIG), then the environment.

    Raises ConfigurationError naming the setting and what is wrong with it.
    """
    values: dict[str, Any] = {}
    path = toml_file or (Path(environ["HEADWATER_CONFIG"]) if environ.get("HEADWATER_CONFIG") else None)
    if path is not None:
        try:
            values.update(tomllib.loads(path.read_text()))
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"settings file {path}: {error}") from error
    if environ.get(OTEL_ENDPOINT):
        values.setdefault("traces_endpoint", environ[OTEL_ENDPOINT])
    names = set(Settings.__struct_fields__)
    for variable, text in environ.items():
        name = variable.removeprefix(PREFIX).lower()
        if variable.startswith(PREFIX) and name in names and text != "":
            values[name] = _parse_table(variable, text, TABLES[name]) if name in TABLES else text
    try:
        settings = msgspec.convert(values, Settings, strict=False, dec_hook=lambda kind, value: kind(value))  # Path
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"settings: {error} (environment HEADWATER_*, or the TOML file)") from error
    for name in names:
        if name.endswith("_cron") and (line := getattr(settings, name)) != "off" and not croniter.is_valid(line):
            raise ConfigurationError(
                f'{PREFIX}{name.upper()}={line!r}: use a crontab line such as "0 3 * * *", or "off"'
            )
    if not NAMESPACE.fullmatch(settings.namespace):
        raise ConfigurationError(
            f"HEADWATER_NAMESPACE={settings.namespace!r}: use a lower-case letter, then letters, digits or _, 40 at most"
        )
    return settings


def _parse_table(variable: str, text: str, example: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{variable}: expected a JSON object such as {example} ({error})") from error
