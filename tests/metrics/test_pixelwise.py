import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from lowdose.metrics import mse, psnr


def test_mse_by_hand():
    assert mse([[0, 0], [0, 0]], [[1, 2], [3, 4]]) == (1 + 4 + 9 + 16) / 4


def test_psnr_by_hand():
    assert psnr([[1.0, 0.0]], [[0.0, 0.0]], data_range=10) == pytest.approx(10 * math.log10(200))


def test_psnr_takes_the_range_of_the_reference():
    reference = np.array([[3.0, 7.0]])
    assert psnr(reference + 9, reference) == pytest.approx(10 * math.log10(4**2 / 9**2))


def test_psnr_of_equal_images_is_infinite():
    assert psnr([[1, 2]], [[1, 2]]) == math.inf


def test_psnr_agrees_with_scikit_image():
    rng = np.random.default_rng(0)
    reference = rng.poisson(40, (31, 17))
    estimate = reference + rng.normal(size=reference.shape)
    expected = peak_signal_noise_ratio(reference.astype(float), estimate, data_range=50)
    assert psnr(estimate, reference, data_range=50) == pytest.approx(expected, rel=1e-12)


def test_unsigned_counts_do_not_wrap():
    assert mse(np.array([[0]], np.uint8), np.array([[200]], np.uint8)) == 200**2


@pytest.mark.parametrize(
    ("estimate", "reference", "sentence"),
    [
        (np.zeros((2, 2)), np.zeros((2, 3)), "shape"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "no pixel"),
        (np.array([[np.nan]]), np.zeros((1, 1)), "1 pixels of the estimate"),
        (np.zeros((1, 2)), np.array([[0, np.inf]]), "1 pixels of the reference"),
    ],
)
def test_images_that_cannot_be_compared_are_refused(estimate, reference, sentence):
    with pytest.raises(ValueError, match=sentence):
        mse(estimate, reference)


def test_psnr_of_a_constant_reference_asks_for_a_range():
    with pytest.raises(ValueError, match="data range is 0"):
        psnr(np.zeros((2, 2)), np.ones((2, 2)))
