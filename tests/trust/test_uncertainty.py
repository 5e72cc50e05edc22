"""Stated deviations are held against the image: of a wrong statement the factor is found."""

import dataclasses

import numpy as np
import pytest
import torch

from lowdose.infer import Denoiser
from lowdose.micrograph import Micrograph
from lowdose.physics.dose import NoiseModel
from lowdose.trust.uncertainty import Calibration, denoise_with_uncertainty, familiarity

COUNTS = NoiseModel(1.0)


def image(shape=(512, 512), mean=60.0):
    y, x = np.indices(shape)
    clean = mean * (1 + 0.5 * np.sin(y / 9) * np.sin(x / 13))
    return clean, np.random.default_rng(0).poisson(clean).astype(np.float32)


@pytest.fixture
def denoiser(tiny_weights):
    return Denoiser(str(tiny_weights(spread=3)), device="cpu", precision="float32")


def exaggerating(denoiser, factor):
    """The same weights, but what they state of their errors is so many times as large."""
    last = denoiser._network.spread.layers[-1]
    with torch.no_grad():
        last.bias += np.log(factor)
    return denoiser


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("noise", [NoiseModel(1.0), NoiseModel(4.0, 100.0)])
def test_whatever_is_stated_the_mean_deviation_becomes_that_of_the_error(factor, noise, denoiser):
    clean, counts = image()
    pixels = counts * np.float32(noise.gain) + np.float32(noise.offset)
    found, _ = denoise_with_uncertainty(
        exaggerating(denoiser, factor), Micrograph(pixels), noise=noise
    )
    error = found.micrograph.pixels - (clean * noise.gain + noise.offset)
    stated = np.square(found.uncertainty.pixels).mean()
    assert stated == pytest.approx(np.square(error).mean(), rel=0.1)


def test_a_factor_of_the_record_multiplies_what_the_image_says(denoiser, monkeypatch):
    _, counts = image()
    plain, one = denoise_with_uncertainty(denoiser, Micrograph(counts), noise=NoiseModel(1.0))
    told = dataclasses.replace(denoiser.record, calibration={"factor": 1.5})
    monkeypatch.setattr(denoiser, "record", told)
    wide, other = denoise_with_uncertainty(denoiser, Micrograph(counts), noise=NoiseModel(1.0))
    assert other.factor == pytest.approx(1.5 * one.factor)
    np.testing.assert_allclose(wide.uncertainty.pixels, 1.5 * plain.uncertainty.pixels, rtol=1e-5)


def test_an_uncertain_gain_leaves_more_to_what_is_usual(denoiser):
    _, counts = image()
    denoiser = exaggerating(denoiser, 3.0)
    found = [
        denoise_with_uncertainty(denoiser, Micrograph(counts), noise=NoiseModel(1.0, gain_std=std))
        for std in (0.0, 0.5)
    ]
    sure, unsure = (calibration.from_image for _, calibration in found)
    assert sure < 0.6 * unsure
    assert unsure < 1


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (2, 40, 40), (1300, 1100)])
def test_any_size_gets_deviations(denoiser, shape):
    pixels = np.random.default_rng(0).poisson(9, shape).astype(np.float32)
    found, calibration = denoise_with_uncertainty(
        denoiser, Micrograph(pixels), noise=NoiseModel(1.0)
    )
    assert found.uncertainty.pixels.shape == shape
    assert np.isfinite(found.uncertainty.pixels).all()
    assert calibration.factor > 0


def test_nothing_is_uncertain_without_noise(denoiser):
    found, calibration = denoise_with_uncertainty(
        denoiser, Micrograph(np.ones((64, 64), np.float32))
    )
    assert not found.uncertainty.pixels.any()
    assert calibration.score is None


def test_an_image_of_a_kind_never_seen_is_told():
    _, counts = image((900, 900))
    denoiser = Denoiser("fast", device="cpu")
    known, modest = (
        denoise_with_uncertainty(exaggerating(denoiser, factor), Micrograph(counts), noise=COUNTS)[
            1
        ]
        for factor in (1.0, 0.1)
    )
    assert familiarity(modest).level == "warning"
    assert "unlike" in familiarity(modest).meaning
    assert familiarity(known).level == "fine"


def test_without_noise_nobody_can_tell():
    assert familiarity(Calibration(1.0)).level == "note"
