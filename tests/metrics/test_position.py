import numpy as np
import pytest

from lowdose.metrics import position_errors


def test_an_error_at_one_pixel_is_where_it_is():
    error = np.zeros((512, 512))
    error[3, 20] = 256.0
    found = position_errors(error, np.zeros_like(error))
    assert found.blocks[0, 1] == 1  # one of 16 x 16 pixels
    assert np.count_nonzero(found.blocks) == 1
    assert found.corner.max() == 0
    ring = 4 * (512 - 2 * 3 - 1)
    assert found.rim[3] == pytest.approx(256 / ring)
    assert np.count_nonzero(found.rim) == 1


def test_the_corner_is_the_upper_left_pixel_by_pixel():
    error = np.arange(64 * 64.0).reshape(64, 64)
    assert np.array_equal(position_errors(-error, 0 * error).corner, error[:16, :16])


@pytest.mark.parametrize("shape", [(64, 64), (100, 75), (512, 300), (20, 33), (7, 5)])
def test_an_even_error_is_even_at_any_size(shape):
    found = position_errors(np.full(shape, 2.0), np.zeros(shape))
    for array in vars(found).values():
        assert set(np.unique(array[np.isfinite(array)])) == {2.0}
    assert np.isfinite(found.blocks).all()


def test_blocks_keep_the_mean_where_they_are_equal():
    error = np.random.default_rng(0).normal(size=(96, 64))
    found = position_errors(error, np.zeros_like(error))
    assert found.blocks.mean() == pytest.approx(np.abs(error).mean())


def test_only_images_have_positions():
    with pytest.raises(ValueError, match=r"need \(H, W\)"):
        position_errors(np.ones(4), np.ones(4))
