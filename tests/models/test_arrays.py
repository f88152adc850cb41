"""Arrays that are read are what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import load_file, save_file

from models import arrays as reading

KINDS = st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.uint8, np.int16])
ARRAYS = arrays.arrays(KINDS, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=7), elements=st.just(1))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from("abc"), ARRAYS, min_size=1), st.randoms())
def test_what_is_read_is_what_was_written(tmp_path: Path, written, random) -> None:
    for array in written.values():
        array.ravel()[:] = [random.randrange(100) for _ in range(array.size)]
    save_file({name: np.ascontiguousarray(array) for name, array in written.items()}, tmp_path / "file")
    found, whole = reading.read_arrays(tmp_path / "file"), load_file(tmp_path / "file")
    assert found.keys() == whole.keys()
    for name, array in whole.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)


def test_a_file_that_was_cut_is_refused(tmp_path: Path) -> None:
    save_file({"a": np.arange(10.0)}, tmp_path / "file")
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"header|incomplete|buffer"):
        reading.read_arrays(tmp_path / "file")


@settings(max_examples=40)
@given(arrays.arrays(np.float32, arrays.array_shapes(max_dims=2, max_side=9)), st.sampled_from([1, 3, 1 << 18]))
def test_what_is_not_finite_is_seen_wherever_it_lies(array, at_once: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "CHECKED_AT_ONCE", at_once)
        assert reading.finite(array) == bool(np.isfinite(array).all())


@pytest.mark.parametrize(
    ("indptr", "indices", "fit"),
    [
        ([0, 1, 2], [0, 1], True), ([0, 0, 0], [], True), ([0, 1, 2], [0, 2], False), ([0, 1, 2], [-1, 0], False),
        ([0, 2, 1], [0], False), ([1, 1, 2], [0, 1], False),
    ],
)  # fmt: skip
def test_rows_that_point_outside_fit_no_matrix(indptr: list[int], indices: list[int], fit: bool) -> None:
    assert reading.rows_fit(np.array(indptr, np.int64), np.array(indices, np.int32), 2) is fit
