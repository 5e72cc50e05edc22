"""Bad files are refused in one line, quickly, without much memory, and nothing is written."""

import gzip
import os
import sys
import time
import warnings

import numpy as np
import pytest

import lowdose.io
from lowdose.errors import InputError, LimitError, LowdoseWarning, MissingExtraError
from tests.io.malformed_cases import (
    CASES,
    GOOD_MRC,
    GOOD_PNG,
    GOOD_TIFF,
    NEED_EXTRA,
    RAMP,
    good_npy,
    mrc_bytes,
)

resource = pytest.importorskip("resource", reason="memory is not accounted for here")


def peak_megabytes():
    """Most memory this process ever held."""
    unit = 1 if sys.platform == "darwin" else 1 << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def test_there_are_at_least_forty_cases():
    assert len(CASES) >= 40


@pytest.mark.parametrize("name", CASES)
def test_a_malformed_file_is_refused_in_one_line(name, tmp_path):
    if name in NEED_EXTRA:
        pytest.importorskip("rsciio")
    path = CASES[name](tmp_path)
    before, start, peak = sorted(tmp_path.iterdir()), time.perf_counter(), peak_megabytes()
    with pytest.raises(InputError) as caught:
        lowdose.io.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert message.endswith((".", "?"))
    assert time.perf_counter() - start < 30  # no hang, however busy the machine
    assert peak_megabytes() - peak < 300
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", [name for name in CASES if "bomb" in name or "5 GB" in name])
def test_a_bomb_is_refused_by_its_claim(name, tmp_path):
    with pytest.raises(LimitError, match="pixels"):
        lowdose.io.read(CASES[name](tmp_path))


def test_only_the_claimed_part_of_a_compressed_file_is_decoded(tmp_path):
    path = tmp_path / "long.mrc.gz"
    path.write_bytes(gzip.compress(GOOD_MRC) + gzip.compress(bytes(1 << 20)) * 600)
    peak = peak_megabytes()
    with pytest.warns(LowdoseWarning, match="more bytes"):
        assert np.array_equal(lowdose.io.read(path).pixels, RAMP)
    assert peak_megabytes() - peak < 50


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_a_file_without_permission_is_refused_with_the_reason(tmp_path):
    path = tmp_path / "mine.mrc"
    path.write_bytes(GOOD_MRC)
    path.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        lowdose.io.read(path)
    tmp_path.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        lowdose.io.read(path)
    tmp_path.chmod(0o700)


SMALL = np.arange(12 * 10, dtype="f4").reshape(12, 10)
VALID = {
    "a.mrc": mrc_bytes(SMALL),
    "b.mrc": mrc_bytes(SMALL.astype("i2"), order=">", extended=bytes(64), exttyp=b"FEI1"),
    "c.mrc.gz": gzip.compress(mrc_bytes(SMALL)),
    "d.npy": good_npy(SMALL),
    "e.png": GOOD_PNG,
    "f.tif": GOOD_TIFF,
}


@pytest.mark.parametrize("name", VALID)
def test_a_file_with_flipped_bytes_is_read_or_refused(name, tmp_path):
    """Seeded fuzzing: no other exception, no large allocation."""
    rng = np.random.default_rng(sum(name.encode()))
    path, peak = tmp_path / name, peak_megabytes()
    for _ in range(150):
        content = bytearray(VALID[name])
        reach = len(content) if rng.random() < 0.5 else min(len(content), 224)
        for position in rng.integers(0, reach, rng.integers(1, 6)):
            content[position] = rng.choice([0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(256))])
        path.write_bytes(content[: len(content) if rng.random() < 0.8 else rng.integers(reach)])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LowdoseWarning)
            try:
                lowdose.io.read(path)
            except (InputError, MissingExtraError) as err:
                assert "\n" not in str(err)  # noqa: PT017 - most flips are harmless
    assert peak_megabytes() - peak < 300
