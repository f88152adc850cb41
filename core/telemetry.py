"""Every metric, declared once with its meaning, and the set-up of logs. Nothing personal is ever a label or a log field."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from contextvars import ContextVar
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from core import tracing
from core.errors import HeadwaterError

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

# Ingest
EVENTS_INSERTED = Counter("headwater_events_inserted_total", "Events written to Postgres, by family", ["family"])
EVENTS_DUPLICATE = Counter("headwater_events_duplicate_total", "Events refused because (source, id) was known")
EVENTS_LATE = Counter("headwater_events_late_total", "Events older than a day when they arrived")
DEAD_LETTERS = Counter("headwater_dead_letters_total", "Messages set aside, by reason", ["reason"])
BATCH_SECONDS = Histogram("headwater_ingest_batch_seconds", "Time of one ingest transaction", buckets=SECONDS)
BATCH_EVENTS = Histogram(
    "headwater_ingest_batch_events",
    "Messages in one ingest transaction",
    buckets=(1, 10, 100, 500, 1000, 2500, 5000, 10000),
)
LAG_MESSAGES = Gauge("headwater_consumer_lag_messages", "Messages behind the broker's end, by partition", ["partition"])
LAG_SECONDS = Gauge("headwater_consumer_lag_seconds", "Age of the newest message written, by partition", ["partition"])
SERVABLE_SECONDS = Histogram(
    "headwater_event_to_servable_seconds",
    "From the broker's timestamp to the commit that makes an event servable",
    buckets=SECONDS,
)
EVENTS_LOST = Counter("headwater_events_lost_total", "Messages that the broker's log dropped before they were read")
FENCED = Counter("headwater_fenced_batches_total", "Batches rolled back because another consumer owns the partition")

# Serving
REQUEST_SECONDS = Histogram(
    "headwater_request_seconds", "Time of one API request", ["route", "status"], buckets=SECONDS
)
FALLBACKS = Counter(
    "headwater_fallbacks_total", "Answers given from a lower step of the ladder, by label", ["fallback"]
)
STAGE_SECONDS = Histogram(
    "headwater_stage_seconds",
    "Time of one stage of a recommendation, of a sample of requests",
    ["stage"],
    buckets=(0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
)
STAGE_CANDIDATES = Histogram(
    "headwater_stage_candidates",
    "Candidates that come out of a stage, and so into the next, of a sample of requests",
    ["stage"],
    buckets=(0, 1, 5, 10, 20, 50, 100, 200, 500, 1000, 5000),
)
MODEL_VERSION = Gauge("headwater_model_version", "Version being served, by model", ["model"])
MODEL_AGE_SECONDS = Gauge("headwater_model_age_seconds", "Age of the newest event the served model has seen", ["model"])
MODEL_REFUSED = Counter("headwater_model_refused_total", "Model versions that could not be loaded, by model", ["model"])
CATALOGUE_AGE_SECONDS = Gauge(
    "headwater_catalogue_age_seconds", "Time since the served catalogue last matched Postgres"
)
RATE_LIMITED = Counter("headwater_rate_limited_total", "Requests refused because a key asks too often, by key", ["key"])
NEW_ITEMS = Gauge("headwater_new_items", "Items that may be shown and that no live model was trained on")
REFUSED = Counter("headwater_refused_total", "Requests refused because the server is full, by kind", ["kind"])
REQUESTS_RUNNING = Gauge("headwater_requests_running", "Requests being answered, by kind", ["kind"])
REQUESTS_WAITING = Gauge("headwater_requests_waiting", "Requests that wait for their turn, by kind", ["kind"])
CONNECTIONS_REFUSED = Counter("headwater_connections_refused_total", "Connections beyond the limit, or too slow")
SLATES_LOST = Counter("headwater_slates_lost_total", "Slates that could not be published; the answer was given anyway")

# Jobs
JOB_RUNS = Counter("headwater_job_runs_total", "Finished jobs, by name and outcome", ["job", "outcome"])
JOB_SECONDS = Histogram(
    "headwater_job_seconds", "Time of one job", ["job"], buckets=(1, 5, 15, 60, 300, 900, 3600, 14400)
)

# Text
TEXT_REQUESTS = Gauge("headwater_content_requests", "Requests for texts that are not settled, by state", ["state"])
TEXT_REQUESTS_AGE = Gauge("headwater_content_requests_age_seconds", "Age of the oldest request that waits for its turn")
TEXT_REQUESTS_LAG = Gauge(
    "headwater_content_lag_messages", "Messages behind the end of the requests' partition", ["partition"]
)
TEXT_REQUESTS_SETTLED = Counter("headwater_content_settled_total", "Requests settled, by outcome", ["outcome"])
TEXT_TOKENS_HOUR = Gauge("headwater_content_tokens_hour", "Tokens written in this hour by all workers")
TEXT_BUDGET_WAIT = Gauge(
    "headwater_content_budget_wait_seconds", "How long this worker waits until tokens may be written again"
)
TEXTS = Counter("headwater_texts_total", "Texts written, by kind and outcome", ["kind", "outcome"])
TEXT_TOKENS = Counter("headwater_text_tokens_total", "Tokens generated", ["provider"])


REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")  # of the request that is being answered here


def told(error: BaseException) -> str:
    """An exception for the log: what and where. Of messages only our own: others quote the values that they stumbled over."""
    parts = [f"{type(error).__name__}: {error}" if isinstance(error, HeadwaterError) else type(error).__name__]
    parts += [
        f'  File "{at.filename}", line {at.lineno}, in {at.name}' for at in traceback.extract_tb(error.__traceback__)
    ]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join([*parts, *(["because of", told(cause)] if cause is not None else [])])


class _Plain(logging.Formatter):
    def formatException(self, ei: Any) -> str:  # noqa: N802 -- logging's name
        return told(ei[1])


class _JsonLines(_Plain):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": self.formatTime(record),
            "level": record.levelname.lower(),
            "log": record.name,
            "message": record.getMessage(),
        }
        if request_id := REQUEST_ID.get():
            line["request"] = request_id
        if (trace := tracing.traceparent()) is not None:
            line["trace"] = trace.split("-")[1]
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up_logs(level: str = "INFO") -> None:
    """Log to stderr: plain lines on a terminal, one JSON object a line elsewhere."""
    handler = logging.StreamHandler(sys.stderr)
    plain = _Plain("%(asctime)s %(levelname)-7s %(name)s  %(message)s", datefmt="%H:%M:%S")
    handler.setFormatter(plain if sys.stderr.isatty() else _JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("kafka").setLevel(logging.WARNING)
    # It warns whenever the machine is busy, which is no fault of anyone's; httpx reports every request.
    logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)
    logging.getLogger("httpx").setLevel(logging.WARNING)
