import numpy as np
import pytest

import lowdose.io
from lowdose.micrograph import Micrograph
from tests.io.builders import npy_bytes

RAMP = np.arange(2 * 5 * 7).reshape(2, 5, 7)
TYPES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8"]


@pytest.mark.parametrize("kind", TYPES)
def test_numpy_reads_what_is_written(kind, tmp_path):
    lowdose.io.write(tmp_path / "out.npy", Micrograph(RAMP.astype(kind)))
    independent = np.load(tmp_path / "out.npy", allow_pickle=False)
    assert independent.dtype == np.dtype(kind)
    np.testing.assert_array_equal(independent, RAMP)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", TYPES)
def test_what_numpy_writes_is_read_in_native_order(kind, order, tmp_path):
    np.save(tmp_path / "in.npy", RAMP.astype(order + kind))
    read = lowdose.io.read(tmp_path / "in.npy")
    assert read.pixels.dtype.isnative
    np.testing.assert_array_equal(read.pixels, RAMP)
    assert read.pixel_size_nm is None


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_a_file_built_byte_by_byte_is_read(version, tmp_path):
    header = "{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3)}"
    path = tmp_path / "in.npy"
    path.write_bytes(npy_bytes(header, np.arange(6, dtype="<i2").tobytes(), version=version))
    assert lowdose.io.read(path).pixels.tolist() == [[0, 2, 4], [1, 3, 5]]


def test_column_order_is_kept_apart_from_content(tmp_path):
    np.save(tmp_path / "in.npy", np.asfortranarray(RAMP[0]))
    read = lowdose.io.read(tmp_path / "in.npy")
    lowdose.io.write(tmp_path / "out.npy", read)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), RAMP[0])


def test_a_file_is_mapped_not_loaded(tmp_path):
    np.save(tmp_path / "in.npy", RAMP)
    assert isinstance(lowdose.io.read(tmp_path / "in.npy").pixels, np.memmap)
