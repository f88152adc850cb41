"""A generate-worker in a process of its own with a scribe for a text model, configured by HEADWATER_*; SIGTERM ends it."""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Sequence
from contextlib import closing

from core.settings import load_settings
from core.store import open_store
from core.telemetry import set_up_logs
from ingest.requests import run_requests
from jobs.context import job_context
from jobs.generate import TextWriter
from jobs.requests import RequestWorker
from jobs.text_model import TextModel
from models.text.generator import Generation, Limits, Prompt
from tests.texts import Scribe


class Slow(Scribe):
    """Takes its time, never the same: kills find it anywhere."""

    def generate(self, prompts: Sequence[Prompt], limits: Limits, seed: int) -> list[Generation]:
        self.seconds = random.uniform(0.0, 0.3)
        return super().generate(prompts, limits, seed)


if __name__ == "__main__":
    set_up_logs("WARNING")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = load_settings(os.environ)
    with open_store(settings) as store:
        context = job_context(settings, store)
        with closing(RequestWorker(context, TextWriter(context, TextModel(Slow), None))) as worker:
            run_requests(settings, store, worker, stop=stop)
