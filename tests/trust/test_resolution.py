import math

import numpy as np
import pytest
import torch

from lowdose.metrics.fourier import frc
from lowdose.physics.dose import NoiseModel
from lowdose.trust.resolution import (
    data_resolution,
    invented_detail,
    resolution_findings,
    resolve,
    result_resolution,
)
from tests.trust.networks import blurred, denoised, exposed

WHITE = NoiseModel(1)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def texture(side=256, finest=4.0):
    """Random structure down to a period in pixels, and none below."""
    noise = np.random.default_rng(5).standard_normal((side, side))
    radius = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    kept = np.fft.rfft2(noise) * (radius < 1 / finest) / (0.02 + radius)
    image = np.fft.irfft2(kept, (side, side))
    return np.maximum(1 + 0.2 * (image - image.mean()) / image.std(), 0)


def smooth(electrons, _):
    return blurred(electrons, 1.0)


def test_the_data_reach_as_far_as_two_whole_exposures_agree():
    truth = texture()
    found = resolve(exposed(truth, 100, 0), WHITE, smooth, rng=rng())
    independent = frc(exposed(truth, 100, 1), exposed(truth, 100, 2)).correlation
    rings = slice(8, 60)
    np.testing.assert_allclose(found.data[rings], independent[rings], atol=0.2)
    assert found.data_px == pytest.approx(4.0, rel=0.1)


def test_the_truth_that_nobody_knows_is_told_right():
    truth = texture()
    noisy = exposed(truth, 100, 0)
    seen = []
    found = resolve(noisy, WHITE, lambda e, n: seen.append(smooth(e, n)) or seen[-1], rng=rng())
    known = np.mean([frc(half, truth).correlation for half in seen], axis=0)
    rings = slice(8, 40)
    np.testing.assert_allclose(found.truth[rings], known[rings], atol=0.1)


def test_halves_have_half_the_noise_model():
    told = []
    noise = NoiseModel(2.0, offset=3.0, readout_std=4.0, correlation=(0.2, 0.1))
    electrons = exposed(texture(), 30, 0) + 0.25

    def estimate(image, model):
        told.append((image.mean(), model))
        return image

    resolve(electrons, noise, estimate, rng=rng())
    whole, *halves = told
    assert whole[1].readout_std == 2.0
    for mean, model in halves:
        assert mean == pytest.approx(whole[0] / 2, rel=0.02)
        assert model.gain == 1
        assert model.readout_std == pytest.approx(math.sqrt(0.5) * 2)
        assert model.correlation == (0.2, 0.1)


def test_an_honest_result_reaches_as_far_as_the_data():
    found = resolve(exposed(texture(), 100, 0), WHITE, denoised, rng=rng())
    assert {finding.level for finding in resolution_findings(found)} == {"fine"}


@pytest.mark.parametrize("width", [1.5, 2.0])
def test_a_blurred_result_ends_before_the_data(width):
    def blind(electrons, noise):
        return blurred(denoised(electrons, noise), width)

    found = resolve(exposed(texture(finest=2.2), 1000, 0), WHITE, blind, rng=rng())
    finding = result_resolution(found)
    assert finding.level == "note"
    assert finding.value > 1.5 * found.data_px


def test_a_pattern_of_the_network_is_called_invented():
    x = np.arange(256)
    pattern = (3 * np.sin(2 * np.pi * x / 3)).astype(np.float32)  # finer than the specimen

    def inventive(electrons, noise):
        return denoised(electrons, noise) + pattern

    found = resolve(exposed(texture(), 60, 0), WHITE, inventive, rng=rng())
    finding = invented_detail(found)
    assert finding.level == "warning"
    assert "about 3.0 px" in finding.meaning


def test_noise_alone_has_no_resolution():
    found = resolve(exposed(np.ones((128, 128)), 50, 0), WHITE, smooth, rng=rng())
    assert found.data_px == math.inf
    assert data_resolution(found).level == "warning"


def test_nothing_recorded_has_no_resolution():
    found = resolve(np.zeros((64, 80), np.float32), WHITE, smooth, rng=rng())
    assert found.data_px == found.result_px == math.inf


def test_the_same_state_gives_the_same_curves():
    noisy = exposed(texture(128), 50, 0)
    one, two = (resolve(noisy, WHITE, smooth, rng=rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one.agreement, two.agreement)


def test_a_small_image_is_refused():
    with pytest.raises(ValueError, match="at least 64 x 64"):
        resolve(np.ones((63, 80), np.float32), WHITE, smooth, rng=rng())


@pytest.mark.parametrize("period", [6, 20, 44])
def test_a_lattice_that_has_nothing_at_the_lowest_frequencies_is_structure(period):
    y, x = np.mgrid[:256, :256] * 2 * np.pi / period
    noisy = exposed(1 + 0.5 * np.sin(x) * np.sin(y), 100, 0)
    found = resolve(noisy, WHITE, smooth, rng=rng())
    assert found.data_px == pytest.approx(period / math.sqrt(2), rel=0.4) or period == 44
    assert math.isfinite(found.data_px)
    assert math.isfinite(found.result_px)
    assert "no structure" not in data_resolution(found).meaning
