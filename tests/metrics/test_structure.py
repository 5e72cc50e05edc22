import numpy as np
import pytest
from skimage.metrics import structural_similarity

from lowdose.metrics import ssim


@pytest.mark.parametrize(("shape", "mean"), [((64, 48), 1), ((7, 7), 50), ((33, 90), 5000)])
def test_agrees_with_scikit_image(shape, mean):
    rng = np.random.default_rng(mean)
    reference = mean * (1 + np.add.outer(np.sin(np.arange(shape[0])), np.cos(np.arange(shape[1]))))
    estimate = reference + np.sqrt(mean) * rng.normal(size=shape)
    expected = structural_similarity(estimate, reference, data_range=2 * mean)
    assert ssim(estimate, reference, data_range=2 * mean) == pytest.approx(expected, abs=1e-9)


def test_one_window_by_hand():
    # One pixel of 49 at 49: mean 1, sample variance (48**2 + 48) / 48 = 49; against zero.
    spike = np.zeros((7, 7))
    spike[3, 3] = 49
    c1, c2 = 1.0, 9.0  # data_range 100
    expected = c1 / (1 + c1) * c2 / (49 + c2)
    assert ssim(spike, np.zeros((7, 7)), data_range=100) == pytest.approx(expected)


def test_an_offset_costs_luminance_alone():
    flat = np.full((9, 9), 3.0)
    assert ssim(flat, flat - 2, data_range=100) == pytest.approx((2 * 3 + 1) / (9 + 1 + 1))


def test_is_symmetric():
    a, b = np.random.default_rng(1).normal(size=(2, 16, 16))
    assert ssim(a, b, data_range=4) == pytest.approx(ssim(b, a, data_range=4))


@pytest.mark.parametrize("shape", [(6, 20), (20,), (2, 9, 9)])
def test_refuses_what_no_window_fits(shape):
    with pytest.raises(ValueError, match="at least 7 x 7"):
        ssim(np.zeros(shape), np.zeros(shape), data_range=1)


def test_refuses_a_range_of_nothing():
    with pytest.raises(ValueError, match="positive"):
        ssim(np.zeros((7, 7)), np.zeros((7, 7)), data_range=0)
