import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lowdose.metrics import (
    clean_protocol,
    frc,
    frc_resolution,
    paper_images,
    paper_protocol,
)

DOSE = 60


@pytest.fixture
def truth():
    y, x = np.mgrid[:48, :64]
    image = np.sin(x / 6) * np.cos(y / 9)
    return (image - image.min()) / np.ptp(image)


@pytest.fixture
def noisy(truth):
    return np.random.default_rng(0).poisson(DOSE * truth)


def test_paper_scores_of_no_denoising_follow_the_recipe(truth, noisy):
    scaled = (noisy - noisy.min()) / np.ptp(noisy)
    target = truth * scaled.mean() / truth.mean()
    scores = paper_protocol(noisy, truth, noisy)
    assert scores.mse == pytest.approx(np.mean((scaled - target) ** 2))
    assert scores.ssim == pytest.approx(structural_similarity(scaled, target, data_range=1))


def test_paper_error_by_hand():
    # Counts 0 and 4 become 0 and 1 with mean 1/2 and target 0 and 1; the estimate is 0 and 3/4.
    truth = np.tile([0.0, 1.0], (7, 4))
    scores = paper_protocol(3 * truth, truth, 4 * truth)
    assert scores.mse == pytest.approx((1 / 4) ** 2 / 2)


def test_paper_range_is_that_of_the_estimate(truth, noisy):
    estimate = DOSE * (0.5 + 0.2 * (truth - 0.5))
    scaled, span = estimate / noisy.max(), np.ptp(estimate / noisy.max())
    target = truth * (noisy / noisy.max()).mean() / truth.mean()
    expected = structural_similarity(scaled, target, data_range=span)
    assert paper_protocol(estimate, truth, noisy).ssim == pytest.approx(expected)


def test_paper_error_of_the_truth_is_the_error_of_its_mean(truth, noisy):
    scores = paper_protocol(DOSE * truth, truth, noisy)
    assert scores.mse < 1e-4
    assert scores.ssim > 0.99


def test_paper_estimate_is_clipped(truth, noisy):
    inside = np.clip(3.0 * noisy - 40, 0, noisy.max())
    assert paper_protocol(3.0 * noisy - 40, truth, noisy) == paper_protocol(inside, truth, noisy)


def test_the_paper_clips_no_filter_but_its_network(truth, noisy):
    estimate = 3.0 * noisy - 40
    scaled, _ = paper_images(estimate, truth, noisy, clip=False)
    np.testing.assert_allclose(scaled, estimate / noisy.max())
    clipped, target = paper_images(estimate, truth, noisy)
    np.testing.assert_array_equal(clipped, np.clip(scaled, 0, 1))
    free = paper_protocol(estimate, truth, noisy, clip=False)
    assert free.mse == pytest.approx(np.mean((scaled - target) ** 2))
    assert free.mse > paper_protocol(estimate, truth, noisy).mse


def test_clean_scores_agree_with_scikit_image(truth, noisy):
    counts = DOSE * truth
    span = np.ptp(counts)
    scores = clean_protocol(noisy, counts)
    noisy = noisy.astype(float)
    assert scores.mse == pytest.approx(np.mean((noisy - counts) ** 2))
    assert scores.psnr == pytest.approx(peak_signal_noise_ratio(counts, noisy, data_range=span))
    assert scores.ssim == pytest.approx(structural_similarity(noisy, counts, data_range=span))


def test_clean_scores_do_not_clip(truth):
    assert clean_protocol(DOSE * truth - 100, DOSE * truth).mse == pytest.approx(100**2)


def test_bias_is_the_share_of_intensity_gained(truth):
    counts = DOSE * truth
    assert clean_protocol(1.02 * counts, counts).bias == pytest.approx(0.02)
    assert clean_protocol(counts - counts.mean() / 4, counts).bias == pytest.approx(-0.25)
    assert np.isnan(clean_protocol(counts, counts - 2 * counts.mean()).bias)


def test_frc_cutoff_is_the_frequency_where_signal_and_error_are_equal(truth, noisy):
    assert clean_protocol(truth, truth).frc_cutoff == 0.5
    expected = 1 / frc_resolution(frc(noisy, DOSE * truth), threshold=0.5)
    assert clean_protocol(noisy, DOSE * truth).frc_cutoff == expected
    assert 0 < expected < 0.5


def test_inputs_are_not_written_to(truth, noisy):
    kept = truth.copy(), noisy.astype(float)
    given = kept[0].copy(), kept[1].copy()
    paper_protocol(given[1], given[0], given[1])
    clean_protocol(given[1], given[0])
    np.testing.assert_array_equal(given[0], kept[0])
    np.testing.assert_array_equal(given[1], kept[1])
