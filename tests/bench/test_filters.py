"""Filters agree with the libraries called directly, as the paper's released script calls them."""

import cv2
import numpy as np
import pytest
from scipy import signal
from skimage import metrics, restoration

from lowdose.bench.doses import expose
from lowdose.bench.filters import FILTERS, behind_anscombe, on_unit_range
from lowdose.bench.methods import PAPER, build, parse_method
from lowdose.bench.scores import evaluate_pair

# Function and parameters of apply_filters.py, one by one; max_iter is max_num_iter today.
DIRECT = {
    "none": lambda image: image,
    "gaussian": lambda image: cv2.GaussianBlur(image, (3, 3), 0),
    "bilateral": lambda image: cv2.bilateralFilter(image, 9, 75, 75),
    "median": lambda image: cv2.medianBlur(image, 3),
    "wiener": signal.wiener,
    "wavelet": restoration.denoise_wavelet,
    "chambolle": restoration.denoise_tv_chambolle,
    "bregman": lambda image: restoration.denoise_tv_bregman(
        image, weight=0.1, eps=0.0002, max_num_iter=200, isotropic=False
    ),
    "nl-means": restoration.denoise_nl_means,
}


@pytest.fixture(params=["low", "ordinary"])
def exposure(request, truths):
    return expose(truths[0], request.param, seed=0)


def unit(noisy):
    return ((noisy - noisy.min()) / (noisy.max() - noisy.min())).astype(np.float32)


@pytest.mark.parametrize("name", PAPER)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_a_filter_is_the_library_called_the_papers_way(name, exposure):
    noisy = exposure.noisy
    estimate = build(parse_method(name)).run(noisy)
    scaled = (estimate - noisy.min()) / np.ptp(noisy)
    np.testing.assert_allclose(scaled, DIRECT[name](unit(noisy)), rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", PAPER)
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_scores_are_those_of_the_released_script(name, exposure):
    # Its metrics, step by step, in its own float32.
    image = unit(exposure.noisy)
    truth = (exposure.truth / exposure.truth.max()).astype(np.float32)
    truth *= np.mean(image) / np.mean(truth)
    filtered = DIRECT[name](image).astype(np.float32)
    mse = np.sum((filtered - truth) ** 2) / image.size
    span = filtered.max() - filtered.min()
    ssim = metrics.structural_similarity(filtered, truth, data_range=span)
    method = build(parse_method(name))
    found = evaluate_pair(
        exposure.truth, exposure.noisy, method.run(exposure.noisy), clip=method.is_clipped
    ).paper
    assert found.mse == pytest.approx(mse, rel=1e-4)
    assert found.ssim == pytest.approx(ssim, abs=1e-4)


@pytest.mark.parametrize("name", ["bilateral", "chambolle", "bregman", "nl-means"])
def test_tuning_mends_defaults_that_blur_far_too_much_at_high_dose(name, truths):
    exposure = expose(truths[1], 2000.0, seed=0)
    default, tuned = (
        np.mean((build(parse_method(text)).run(exposure.noisy) - exposure.truth) ** 2)
        for text in (name, f"{name}:tuned")
    )
    assert tuned < 0.5 * default


def test_tuning_chooses_less_blur_where_there_is_less_noise(truths):
    chosen = FILTERS["gaussian"]
    kept = []
    for dose in (10.0, 10_000.0):
        noisy = expose(truths[0], dose, seed=0).noisy
        estimate = build(parse_method("gaussian:tuned")).run(noisy)
        sigmas = chosen.grid["sigma"]
        errors = [
            np.abs(
                on_unit_range(lambda image, s=s: chosen.run(image, sigma=s))(noisy) - estimate
            ).max()
            for s in sigmas
        ]
        kept.append(sigmas[int(np.argmin(errors))])
        assert min(errors) == 0
    assert kept[0] > kept[1]


def test_behind_the_anscombe_transform_noise_has_deviation_one_at_any_count():
    seen = []

    def look(image):
        seen.append(image)
        return image

    rng = np.random.default_rng(0)
    for counts in (20, 2000):
        behind_anscombe(look)(rng.poisson(counts, (256, 256)).astype(np.float32))
    assert [image.std() for image in seen] == pytest.approx([1, 1], rel=0.02)


def test_an_estimate_behind_the_transform_is_not_biased(truths):
    exposure = expose(truths[0], 30.0, seed=0)
    estimate = build(parse_method("wavelet:anscombe:tuned")).run(exposure.noisy)
    assert estimate.mean() == pytest.approx(exposure.truth.mean(), rel=0.02)


def test_a_constant_image_stays_as_it_is():
    flat = np.full((16, 16), 3, np.float32)
    assert np.array_equal(on_unit_range(FILTERS["wavelet"].run)(flat), flat)
