"""The one tree of errors. Each says whether trying again can help and which HTTP status it becomes.

A message is written for the person who reads it: what is wrong, then what to do. A stack trace is never the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar


class HeadwaterError(Exception):
    """Root of every error Headwater raises on purpose.

    `code` is a stable machine-readable word, `http_status` what the API answers, `retriable` whether the same
    call may succeed later, `retry_after_s` how long to wait when it may, `errors` every part at fault.
    """

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    retriable: ClassVar[bool] = False
    retry_after_s: int | None = None
    errors: Sequence[dict[str, Any]] = ()


class ConfigurationError(HeadwaterError):
    """A setting is missing, malformed or contradicts another."""

    code = "configuration"


class InvalidRequest(HeadwaterError):
    """The caller's request cannot be understood or breaks a limit."""

    code = "invalid_request"
    http_status = 400


class InvalidEvent(InvalidRequest):
    """An event is refused. `reason` is one stable word for metrics and dead letters; `detail` is for people."""

    code = "invalid_event"

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Unauthorized(HeadwaterError):
    """No key, or a key that is unknown or revoked."""

    code = "unauthorized"
    http_status = 401


class Forbidden(HeadwaterError):
    """The key is good but lacks the scope."""

    code = "forbidden"
    http_status = 403


class RateLimited(HeadwaterError):
    """A key asks more often than it may."""

    code = "rate_limited"
    http_status = 429
    retriable = True

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(f"{message}: try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


class NotFound(HeadwaterError):
    """The named thing does not exist."""

    code = "not_found"
    http_status = 404


class Conflict(HeadwaterError):
    """The state does not allow it: a version that is already live, nothing to roll back to."""

    code = "conflict"
    http_status = 409


class GateRefused(Conflict):
    """A trained model may not go live; the message carries the figures (DESIGN I5)."""

    code = "gate_refused"


class TextChanged(Conflict):
    """A person decided on a text that was changed while they looked at it; `errors` are the changes since, newest first."""

    code = "text_changed"

    def __init__(self, message: str, changes: Sequence[dict[str, Any]]) -> None:
        super().__init__(message)
        self.errors = changes


class TextRefused(InvalidRequest):
    """The checker found in a person's text what no fact supports; `errors` name each place with its reason."""

    code = "text_refused"

    def __init__(self, message: str, violations: Sequence[dict[str, Any]]) -> None:
        super().__init__(message)
        self.errors = violations


class Fenced(HeadwaterError):
    """Another consumer owns the partition now; what this one wrote was rolled back (DESIGN I1)."""

    code = "fenced"
    http_status = 409


class TooManyDeadLetters(HeadwaterError):
    """More of the stream is bad than the configured share allows; the consumer halts rather than empty the topic."""

    code = "too_many_dead_letters"


class ArtifactCorrupt(HeadwaterError):
    """A file is missing, truncated, or its checksum differs from the manifest. Nothing of it was loaded."""

    code = "artifact_corrupt"


class Unavailable(HeadwaterError):
    """Something Headwater needs does not answer. Trying again may help."""

    code = "unavailable"
    http_status = 503
    retriable = True
    retry_after_s = 1


class DatabaseUnavailable(Unavailable):
    """Postgres does not answer."""

    code = "database_unavailable"


class BrokerUnavailable(Unavailable):
    """The Kafka broker does not answer or did not acknowledge."""

    code = "broker_unavailable"


class TextModelUnavailable(Unavailable):
    """The text model cannot be loaded or its endpoint does not answer."""

    code = "text_model_unavailable"


class DownloadFailed(Unavailable):
    """A file could not be fetched, or what came is not what was asked for."""

    code = "download_failed"
