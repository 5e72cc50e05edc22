"""Dose laws, and the noise that follows from a seed and a name."""

import numpy as np
import pytest

from lowdose.bench.doses import LAWS, SERIES, benchmark_dose, expose, in_words, parse_law, short
from lowdose.data.truths import Truth
from lowdose.errors import ConfigError


def draws(law):
    rng = np.random.default_rng(0)
    return [benchmark_dose(law, rng) for _ in range(4000)]


def test_low_doses_are_25_and_an_exponential_of_mean_75():
    assert min(draws("low")) >= 25
    assert np.mean(draws("low")) == pytest.approx(100, rel=0.05)
    assert np.std(draws("low")) == pytest.approx(75, rel=0.05)


@pytest.mark.parametrize(
    ("law", "least", "most"), [("low-uniform", 25, 100), ("ordinary", 200, 2500)]
)
def test_other_laws_are_uniform(law, least, most):
    doses = draws(law)
    assert least <= min(doses) < max(doses) <= most
    assert np.mean(doses) == pytest.approx((least + most) / 2, rel=0.05)
    assert np.std(doses) == pytest.approx((most - least) / 12**0.5, rel=0.05)


def test_a_number_is_that_dose_always():
    assert set(draws(70.0)) == {70.0}


def test_the_series_goes_from_1_to_10_000():
    assert (min(SERIES), max(SERIES)) == (1, 10_000)


def test_a_law_is_a_word_or_a_number():
    assert (parse_law("low"), parse_law("80")) == ("low", 80.0)
    for text in ("high", "0", "-3", "nan", "inf"):
        with pytest.raises(ConfigError, match=r"expected low, .*, low-binned or a number"):
            parse_law(text)


@pytest.mark.parametrize("law", [*LAWS, *SERIES])
def test_a_law_is_read_as_it_is_written(law):
    assert parse_law(short(law)) == law
    assert in_words(law)


def test_the_same_seed_and_name_give_the_same_noise(truths):
    first, again = (expose(truths[0], "low", seed=3) for _ in range(2))
    assert np.array_equal(first.noisy, again.noisy)
    assert not np.array_equal(first.noisy, expose(truths[0], "low", seed=4).noisy)
    assert first.noisy.dtype == np.float32
    assert np.array_equal(first.noisy, np.round(first.noisy))


def test_noise_is_poisson(truths):
    exposure = expose(truths[0], 100.0, seed=0)
    assert exposure.truth.max() == pytest.approx(100)
    error = exposure.noisy - exposure.truth
    assert np.mean(error**2) == pytest.approx(exposure.truth.mean(), rel=0.1)


@pytest.mark.parametrize(
    ("law", "expected"), [("low-mtf", 0.63), ("low-binned", 1 / 6), ("low", 0)]
)
def test_noise_behind_a_detector_correlates_as_it_says(law, expected):
    flat = Truth(np.ones((512, 512), "f4"), 0.0, 1.0, "flat", "flat")
    exposure = expose(flat, law, seed=0)
    noise = exposure.noisy - exposure.truth
    assert noise.mean() == pytest.approx(0, abs=5 * noise.std() / 100)
    found = (noise[:, 1:] * noise[:, :-1]).mean() / noise.var()
    assert found == pytest.approx(expected, abs=0.02)


def test_a_detector_of_half_contrast_at_half_nyquist_has_it():
    wave = 100 + 50 * np.cos(np.arange(512) * np.pi / 2)
    truth = Truth(np.tile(np.float32(wave / 150), (512, 1)), 0.0, 1.0, "wave", "wave")
    seen, sharp = (expose(truth, law, seed=0).truth for law in ("low-mtf", "low"))
    assert np.ptp(seen[50:-50, 50:-50]) / np.ptp(sharp) == pytest.approx(0.5, abs=0.01)
