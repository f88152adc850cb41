"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere, nothing when told so."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_LINE_EVERY_S = 5.0


class Task(Protocol):
    """One piece of long work being watched."""

    def advance(self, steps: float = 1, note: str = "") -> None:
        """Move on by `steps`; `note` (a rate, a loss) is shown beside the bar."""


class Reporter(Protocol):
    """Shows tasks. Pass one to anything that takes more than a second or two."""

    def task(self, label: str, total: float) -> AbstractContextManager[Task]:
        """A context manager that yields a Task of `total` steps."""


class _SilentTask:
    def advance(self, steps: float = 1, note: str = "") -> None:
        return


class Silent:
    """Shows nothing: tests and services that log instead."""

    @contextmanager
    def task(self, label: str, total: float) -> Iterator[Task]:
        yield _SilentTask()


class _BarTask:
    def __init__(self, progress: Progress, label: str, total: float) -> None:
        self._progress = progress
        self._id = progress.add_task(label, total=total, note="")

    def advance(self, steps: float = 1, note: str = "") -> None:
        self._progress.update(self._id, advance=steps, note=note)


class _LineTask:
    def __init__(self, stream: TextIO, label: str, total: float) -> None:
        self._stream, self._label, self._total = stream, label, total
        self._done, self._note = 0.0, ""
        self._start = self._last = time.monotonic()

    def advance(self, steps: float = 1, note: str = "") -> None:
        self._done += steps
        self._note = note or self._note
        if time.monotonic() - self._last >= PLAIN_LINE_EVERY_S:
            self._last = time.monotonic()
            self.line(f"{self._done:,.0f} of {self._total:,.0f} {self._note}")

    def finish(self) -> None:
        self.line(f"done in {time.monotonic() - self._start:.1f} s {self._note}")

    def line(self, text: str) -> None:
        print(f"  {self._label}: {text}".rstrip(), file=self._stream, flush=True)


class Terminal:
    """Bars when `stream` is a terminal, plain lines otherwise."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr

    @contextmanager
    def task(self, label: str, total: float) -> Iterator[Task]:
        if not self._stream.isatty():
            plain = _LineTask(self._stream, label, total)
            yield plain
            plain.finish()
            return
        columns = (
            TextColumn("  {task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
        )  # fmt: skip
        with Progress(*columns, console=Console(file=self._stream)) as progress:
            bar = _BarTask(progress, label, total)
            yield bar
            progress.update(bar._id, completed=total)
