import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from lowdose.errors import LimitError, MalformedFileError, OutputError, UnsupportedContentError
from lowdose.io.guard import (
    Limits,
    check_decoded,
    check_shape,
    check_stored,
    check_values,
    row_blocks,
    whole_file,
)

SMALL = Limits(pixels=100, decoded_bytes=10_000, decoded_ratio=10, decoded_floor=1000)


@pytest.fixture
def hundred_bytes(tmp_path):
    path = tmp_path / "hundred"
    path.write_bytes(bytes(100))
    return path


def test_a_claim_may_fill_the_file_but_not_pass_it(hundred_bytes):
    check_stored(hundred_bytes, (5, 9), "u2", 10, SMALL)
    with pytest.raises(MalformedFileError, match="101 bytes in all, and the file has 100"):
        check_stored(hundred_bytes, (5, 9), "u2", 11, SMALL)


@pytest.mark.parametrize("shape", [(), (0, 4), (4, -1), (-4, -4)])
def test_an_empty_shape_is_refused(shape, hundred_bytes):
    with pytest.raises(MalformedFileError, match="no image"):
        check_shape(hundred_bytes, shape, SMALL)


def test_pixels_are_limited_whatever_the_size_of_the_file(hundred_bytes):
    assert check_shape(hundred_bytes, (10, 10), SMALL) == 100
    with pytest.raises(LimitError, match="10 x 11 pixels"):
        check_shape(hundred_bytes, (10, 11), SMALL)


def test_the_ratio_counts_only_above_the_floor(hundred_bytes):
    limits = Limits(pixels=10**6, decoded_bytes=10_000, decoded_ratio=10, decoded_floor=1000)
    check_decoded(hundred_bytes, (10, 100), "u1", 1, limits)
    check_decoded(hundred_bytes, (10, 101), "u1", 101, limits)
    with pytest.raises(LimitError, match="implausible"):
        check_decoded(hundred_bytes, (10, 101), "u1", 100, limits)
    with pytest.raises(LimitError, match="implausible"):
        check_decoded(hundred_bytes, (10, 1001), "u1", 9999, limits)


def test_a_compressed_header_counts_as_decoded(hundred_bytes):
    with pytest.raises(LimitError):
        check_decoded(hundred_bytes, (5, 5), "u1", 100, SMALL, header=10_000)


@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5), (1, 2_000_000), (3, 2000, 1000)])
def test_row_blocks_cover_the_pixels_once_in_order(shape):
    pixels = np.arange(np.prod(shape), dtype="u4").reshape(shape)
    blocks = list(row_blocks(pixels))
    np.testing.assert_array_equal(np.concatenate(blocks), pixels.reshape(-1, shape[-1]))


def test_bad_values_are_counted_in_the_last_row_too(hundred_bytes):
    pixels = np.zeros((3, 2000, 1000), "f4")
    check_values(hundred_bytes, pixels)
    pixels[0, 0, 0], pixels[2, 1999, 999] = np.nan, np.inf
    with pytest.raises(UnsupportedContentError, match="2 of 6000000 pixels"):
        check_values(hundred_bytes, pixels)


def test_values_beyond_float32_are_bad_values(hundred_bytes):
    pixels = np.full((4, 5), 3e38)
    check_values(hundred_bytes, pixels)
    pixels[1, 1] = -4e38
    with pytest.raises(UnsupportedContentError, match="1 of 20 pixels"):
        check_values(hundred_bytes, pixels)


def _write_half(path):
    path.write_text("half")
    raise ZeroDivisionError


def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path):
    path = tmp_path / "out"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), whole_file(path) as temporary:
        _write_half(temporary)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_of_the_same_file_left_goes_after_an_hour(tmp_path):
    ages = {
        ".a[1].mrc.0123abcd.part": 3700,
        ".a[1].mrc.0123abce.part": 3500,  # perhaps still being written
        ".a1.mrc.0123abcd.part": 3700,
        ".a[1].mrc.json.0123abcd.part": 3700,
        ".a[1].mrc.mine.part": 3700,
    }
    for name, age in ages.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    with whole_file(tmp_path / "a[1].mrc") as temporary:
        temporary.write_text("new")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"a[1].mrc", *ages} - {".a[1].mrc.0123abcd.part"}


def test_the_temporary_file_is_hidden_and_has_no_image_suffix(tmp_path):
    with whole_file(tmp_path / "out.mrc") as temporary:
        temporary.write_text("new")
        assert temporary.name.startswith(".")
        assert temporary.suffix == ".part"
        assert temporary.parent == tmp_path
    assert (tmp_path / "out.mrc").read_text() == "new"


def test_a_missing_folder_is_an_output_error(tmp_path):
    with (
        pytest.raises(OutputError, match=r"none.out: cannot be written"),
        whole_file(tmp_path / "none" / "out") as temporary,
    ):
        temporary.write_text("new")


WRITER = """
import sys
import numpy as np
import lowdose.io
from lowdose.micrograph import Micrograph
target = sys.argv[1]
print("ready", flush=True)
for value in range(1, 10_000):
    lowdose.io.write(target, Micrograph(np.full((8, 1024, 1024), value % 251, "u2")))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_killed_writer_leaves_the_old_file_or_the_new_one(tmp_path):
    """Eight moments, of which a plain write would survive hardly one."""
    import lowdose.io
    from lowdose.micrograph import Micrograph

    target, rng = tmp_path / "out.mrc", np.random.default_rng(3)
    lowdose.io.write(target, Micrograph(np.zeros((8, 1024, 1024), "u2")))
    for _ in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE
        )
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(rng.uniform(0.0, 0.15))
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        pixels = lowdose.io.read(target).pixels
        assert pixels.shape == (8, 1024, 1024)
        assert (pixels == pixels[0, 0, 0]).all()
    left = [path for path in tmp_path.iterdir() if path != target]
    assert all(path.suffix == ".part" and path.name.startswith(".") for path in left)


FULL_DISK = """
import resource, sys
import numpy as np
import lowdose.io
from lowdose.errors import OutputError
from lowdose.micrograph import Micrograph
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
noise = np.random.default_rng(0).integers(0, 65_535, (512, 512), "u2")
try:
    lowdose.io.write(sys.argv[1], Micrograph(noise))
except OutputError as err:
    print(err)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
@pytest.mark.parametrize("suffix", [".mrc", ".npy", ".png", ".tif"])
def test_a_full_disk_is_an_error_that_leaves_the_old_file_alone(suffix, tmp_path):
    target = tmp_path / f"out{suffix}"
    target.write_text("old")
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(target)], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{target}: cannot be written (")
    assert "File too large" in done.stdout or "is the disk full?" in done.stdout
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]
