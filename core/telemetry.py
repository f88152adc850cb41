"""Every metric, declared once with its meaning, and the set-up of logs. Nothing personal is ever a label or a log field."""

from __future__ import annotations

import json
import logging
import sys

from prometheus_client import Counter, Gauge, Histogram

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
MODEL_VERSION = Gauge("headwater_model_version", "Version being served, by model", ["model"])
MODEL_AGE_SECONDS = Gauge("headwater_model_age_seconds", "Age of the newest event the served model has seen", ["model"])
MODEL_REFUSED = Counter("headwater_model_refused_total", "Model versions that could not be loaded, by model", ["model"])
CATALOGUE_AGE_SECONDS = Gauge(
    "headwater_catalogue_age_seconds", "Time since the served catalogue last matched Postgres"
)
SLATES_LOST = Counter("headwater_slates_lost_total", "Slates that could not be published; the answer was given anyway")

# Jobs
JOB_RUNS = Counter("headwater_job_runs_total", "Finished jobs, by name and outcome", ["job", "outcome"])
JOB_SECONDS = Histogram(
    "headwater_job_seconds", "Time of one job", ["job"], buckets=(1, 5, 15, 60, 300, 900, 3600, 14400)
)

# Text
TEXTS = Counter("headwater_texts_total", "Texts written, by kind and outcome", ["kind", "outcome"])
TEXT_TOKENS = Counter("headwater_text_tokens_total", "Tokens generated", ["provider"])


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": self.formatTime(record),
            "level": record.levelname.lower(),
            "log": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line)


def set_up_logs(level: str = "INFO") -> None:
    """Log to stderr: plain lines on a terminal, one JSON object a line elsewhere."""
    handler = logging.StreamHandler(sys.stderr)
    plain = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s  %(message)s", datefmt="%H:%M:%S")
    handler.setFormatter(plain if sys.stderr.isatty() else _JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    logging.getLogger("kafka").setLevel(logging.WARNING)
    # It warns whenever the machine is busy, which is no fault of anyone's; httpx reports every request.
    logging.getLogger("kafka.net.selector").setLevel(logging.ERROR)
    logging.getLogger("httpx").setLevel(logging.WARNING)
