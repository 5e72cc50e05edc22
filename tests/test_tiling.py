import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowdose.tiling import tile_plan, view, window_plan

plans = given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    side=st.integers(1, 40),
    halo=st.integers(0, 20),
    stride=st.sampled_from([1, 2, 8, 16]),
)


def through_tiles(image, operation, **geometry):
    result = np.full(image.shape, np.nan)
    passes = []
    for tile in tile_plan(image.shape, **geometry):
        passes.append(tile)
        result[tile.core] = operation(view(image, tile.window))[tile.core_in_window]
    return result, passes


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (33, 17), (64, 64), (65, 129), (200, 333)])
def test_doing_nothing_returns_the_input_in_one_pass_per_tile(shape):
    image = np.random.default_rng(0).poisson(30, shape).astype("f8")
    result, passes = through_tiles(image, lambda window: window, side=64, halo=16, stride=8)
    assert np.array_equal(result, image)
    assert len(passes) == -(-shape[0] // 64) * -(-shape[1] // 64)


@settings(max_examples=60, deadline=None)
@plans
def test_cores_cover_every_pixel_once(height, width, side, halo, stride):
    count = np.zeros((height, width), int)
    for tile in tile_plan((height, width), side=side, halo=halo, stride=stride):
        count[tile.core] += 1
    assert (count == 1).all()


@settings(max_examples=60, deadline=None)
@plans
def test_windows_are_aligned_hold_halo_and_core_and_pass_the_edge_by_less_than_a_stride(
    height, width, side, halo, stride
):
    for tile in tile_plan((height, width), side=side, halo=halo, stride=stride):
        for length, core, window in zip((height, width), tile.core, tile.window, strict=True):
            assert window.start % stride == 0
            assert (window.stop - window.start) % stride == 0
            assert 0 <= window.start <= max(core.start - halo, 0)
            assert min(core.stop + halo, length) <= window.stop < length + stride
            assert core.start < core.stop <= core.start + -(-side // stride) * stride


@settings(max_examples=25, deadline=None)
@plans
def test_an_operation_of_that_reach_gives_the_same_through_any_plan(
    height, width, side, halo, stride
):
    def box(window):
        """Sum over a square of radius `halo`, in cells of `stride`: not shift-invariant."""
        rows, columns = (length // stride for length in window.shape)
        cells = window.reshape(rows, stride, columns, stride).sum(axis=(1, 3))
        for axis in (0, 1):
            padded = np.pad(cells, [(reach, reach) if a == axis else (0, 0) for a in (0, 1)])
            cells = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis).sum(-1)
        return np.repeat(np.repeat(cells, stride, 0), stride, 1)

    reach = halo // stride  # in cells; a pixel also depends on all of its own cell
    image = np.random.default_rng(0).integers(0, 100, (height, width)).astype("f8")
    plan = {"halo": halo + stride - 1, "stride": stride}
    whole, _ = through_tiles(image, box, side=1000, **plan)
    tiled, _ = through_tiles(image, box, side=side, **plan)
    assert np.array_equal(tiled, whole)


def test_an_image_smaller_than_a_tile_is_one_tile():
    (tile,) = tile_plan((5, 7), side=64, halo=16, stride=8)
    assert tile.core == (slice(0, 5), slice(0, 7))
    assert tile.window == (slice(0, 8), slice(0, 8))


def test_cores_are_of_nearly_equal_size():
    heights = {
        t.core[0].stop - t.core[0].start for t in tile_plan((130, 8), side=64, halo=8, stride=2)
    }
    assert heights == {44, 42}


def test_what_lies_past_the_edge_is_mirrored_at_it():
    image = np.array([[1, 2, 3], [4, 5, 6]])
    assert view(image, (slice(0, 4), slice(0, 4))).tolist() == [
        [1, 2, 3, 3],
        [4, 5, 6, 6],
        [4, 5, 6, 6],
        [1, 2, 3, 3],
    ]


def test_a_single_pixel_fills_any_window():
    assert (view(np.array([[7]]), (slice(0, 16), slice(0, 16))) == 7).all()


def test_a_window_inside_the_image_is_no_copy():
    image = np.arange(24).reshape(4, 6)
    assert np.shares_memory(view(image, (slice(2, 4), slice(0, 4))), image)


SIZES = [1, 7, 16, 63, 64, 65, 100, 128, 129, 511]


@pytest.mark.parametrize("height", SIZES)
@pytest.mark.parametrize("width", [5, 64, 200])
def test_cores_of_equal_windows_cover_every_pixel_once(height, width):
    count = np.zeros((height, width), int)
    for tile in window_plan((height, width), side=64, overlap=16, stride=8):
        count[tile.core] += 1
    assert (count == 1).all()


@pytest.mark.parametrize("length", SIZES)
def test_equal_windows_lie_on_the_stride_and_overlap_enough(length):
    plan = window_plan((length, 8), side=64, overlap=16, stride=8)
    windows, cores = ([tile[0] for tile in each] for each in zip(*map(parts, plan), strict=True))
    side = min(64, -(-length // 8) * 8)
    assert all(w.start % 8 == 0 and w.stop - w.start == side for w in windows)
    for before, after in itertools.pairwise(windows):
        assert before.stop - after.start >= 16
    for core, window, is_first, is_last in zip(
        cores, windows, [True, *[False] * (len(cores) - 1)], [*[False] * (len(cores) - 1), True],
        strict=True,
    ):  # fmt: skip
        assert is_first or core.start - window.start >= 8
        assert is_last or window.stop - core.stop >= 8


def parts(tile):
    return tile.window, tile.core


def test_an_image_of_2048_needs_25_windows_of_512():
    assert len(window_plan((2048, 2048), side=512, overlap=128, stride=16)) == 25
    assert len(window_plan((512, 512), side=512, overlap=128, stride=16)) == 1
