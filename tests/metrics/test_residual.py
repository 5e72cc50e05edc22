import numpy as np
import pytest

from lowdose.metrics import residual_statistics


def test_a_perfect_estimate_leaves_white_noise_of_variance_one():
    truth = np.add.outer(np.arange(200.0), np.arange(200.0)) + 20
    noisy = np.random.default_rng(0).poisson(truth)
    found = residual_statistics(truth, noisy, noise_std=np.sqrt(truth))
    assert found.mean == pytest.approx(0, abs=0.02)
    assert found.variance_ratio == pytest.approx(1, abs=0.03)
    assert found.lag1_y == pytest.approx(0, abs=0.02)
    assert found.lag1_x == pytest.approx(0, abs=0.02)


def test_doing_nothing_leaves_nothing():
    image = np.random.default_rng(0).normal(size=(8, 8))
    found = residual_statistics(image, image, noise_std=1)
    assert (found.mean, found.variance_ratio, found.lag1_y, found.lag1_x) == (0, 0, 0, 0)


def test_stripes_by_hand():
    # Rows of +2 and -2 at deviation 1: variance 4, neighbours opposite along y, equal along x.
    stripes = np.tile([[2.0], [-2.0]], (4, 6))
    found = residual_statistics(np.zeros((8, 6)), stripes, noise_std=1)
    assert found.variance_ratio == 4
    assert (found.lag1_y, found.lag1_x) == (pytest.approx(-1), pytest.approx(1))


def test_removed_structure_is_correlated():
    structure = np.sin(np.arange(64) / 5) * np.ones((64, 1))
    noisy = 50 + structure + np.random.default_rng(0).normal(size=(64, 64))
    assert residual_statistics(np.full((64, 64), 50), noisy, noise_std=1).lag1_x > 0.2


def test_lost_intensity_shows_in_the_mean():
    found = residual_statistics(np.zeros((4, 4)), np.full((4, 4), 6.0), noise_std=3)
    assert (found.mean, found.variance_ratio) == (2, 0)


@pytest.mark.parametrize(
    ("shape", "noise_std", "sentence"), [((4, 4), 0, "noise_std is 0"), ((1, 9), 1, "2 x 2")]
)
def test_refuses_what_it_cannot_standardise(shape, noise_std, sentence):
    with pytest.raises(ValueError, match=sentence):
        residual_statistics(np.zeros(shape), np.zeros(shape), noise_std=noise_std)
