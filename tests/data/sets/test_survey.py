import dataclasses
import hashlib
import json

import numpy as np
import pytest

import lowdose
from lowdose.data.sets.survey import (
    Surveyed,
    add_up,
    crop_corners,
    describe,
    extremes,
    survey_file,
)
from lowdose.micrograph import Micrograph
from tests.data.fields import field


def survey(path, crop=32, shrink=1):
    return survey_file(path, path.name, crop=crop, shrink=shrink)


def test_a_frame_of_counts_is_described_by_hand(tmp_path):
    frame = field(0)
    np.save(tmp_path / "a.npy", frame)
    found = survey(tmp_path / "a.npy")
    (only,) = found.frames
    assert found.sha256 == hashlib.sha256((tmp_path / "a.npy").read_bytes()).hexdigest()
    assert (only.height, only.width, only.dtype) == (96, 96, "uint16")
    assert (only.low, only.high, only.mean) == (frame.min(), frame.max(), frame.mean())
    assert only.counts == pytest.approx(frame.mean())
    assert only.noise == pytest.approx(frame.mean() ** 0.5 / np.ptp(frame), rel=0.1)
    assert len(only.crops) == 9


def test_the_noise_of_a_large_frame_is_measured_in_windows_of_it():
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, 1024) + np.zeros((1024, 1))
    frame = (ramp + 0.02 * rng.standard_normal(ramp.shape)).astype(np.float32)
    assert describe(frame, 512).noise == pytest.approx(0.02 / np.ptp(frame), rel=0.1)


def test_grey_levels_are_no_counts_even_if_they_look_like_some():
    frame = field(0, counts=100).clip(0, 255)
    assert describe(frame, 32).counts == pytest.approx(frame.mean(), rel=0.01)
    assert describe(frame.astype(np.uint8), 32).counts is None


def test_a_journal_row_gives_the_record_back(tmp_path):
    np.save(tmp_path / "a.npy", np.stack([field(0), field(1)]))
    found = survey(tmp_path / "a.npy")
    assert found.is_stack
    assert len(found.frames) == 2
    assert Surveyed.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_what_cannot_be_read_says_why(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00 cut")
    found = survey(tmp_path / "a.npy")
    assert found.frames == ()
    assert "cannot be decoded as npy" in found.error


def test_sums_beyond_float32_are_the_error_of_their_file(tmp_path):
    frame = field(0).astype(np.float32)
    frame[:8] = -np.finfo(np.float32).max  # what some programs write where there is no data
    lowdose.write(tmp_path / "a.mrc", Micrograph(frame))
    found = survey(tmp_path / "a.mrc", shrink=2)
    assert found.error.startswith("sums of 2 x 2 pixels pass ±3.4e38. Fill what holds no data")
    assert not found.frames
    assert survey(tmp_path / "a.mrc").frames


@pytest.mark.parametrize(("shrink", "shape"), [(600, (0, 0)), (97, (0, 1))])
def test_a_frame_that_is_shrunk_to_nothing_has_no_crops(shrink, shape, tmp_path):
    np.save(tmp_path / "a.npy", field(0, 128)[:96])
    (only,) = survey(tmp_path / "a.npy", shrink=shrink).frames
    assert (only.height, only.width) == shape
    assert only.crops == ()


def test_an_odd_file_is_read_with_a_remark_and_no_warning(tmp_path):
    np.save(tmp_path / "a.npy", field(0))
    (tmp_path / "a.npy").rename(tmp_path / "a.mrc")
    found = survey(tmp_path / "a.mrc")
    assert found.remark.startswith("named like mrc, but its content is npy")
    assert not found.error


def test_extremes_are_the_share_of_both():
    assert extremes(np.array([[0, 5, 9, 9]])) == (0, 9, 0.75)
    assert extremes(np.full((3, 3), 7)) == (7, 7, 1)


def test_adding_up_keeps_every_count_and_does_not_overflow():
    frame = np.full((5, 7), 65535, np.uint16)
    assert add_up(frame, 2).tolist() == [[4 * 65535] * 3] * 2
    for dtype in ("u1", "i2", "u4", "f2", "f4", "f8"):
        assert add_up(np.ones((4, 4), dtype), 4).item() == 16


def test_shrinking_comes_before_measuring(tmp_path):
    np.save(tmp_path / "a.npy", field(0))
    (whole,), (shrunk,) = (survey(tmp_path / "a.npy", 16, n).frames for n in (1, 3))
    assert (shrunk.height, shrunk.width, shrunk.dtype) == (32, 32, "uint32")
    assert shrunk.mean == pytest.approx(9 * whole.mean)
    assert len(shrunk.crops) == 4


@pytest.mark.parametrize(("height", "width"), [(31, 500), (32, 32), (100, 70), (65, 64)])
def test_crops_lie_side_by_side_inside(height, width):
    seen = np.zeros((height, width), int)
    for top, left in crop_corners(height, width, 32):
        assert top >= 0
        assert left >= 0
        seen[top : top + 32, left : left + 32] += 1
        assert seen[top : top + 32, left : left + 32].shape == (32, 32)
    assert seen.max() <= 1
    assert seen.sum() == (height // 32) * (width // 32) * 32**2


def test_records_are_small_enough_for_a_million(tmp_path):
    frame = dataclasses.replace(describe(field(0, 512), 128), fingerprint=b"")
    assert len(json.dumps(dataclasses.asdict(frame) | {"fingerprint": ""})) < 600
