"""A review holds every test, and its verdict follows from them."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from lowdose.data.simulate import simulate_truth
from lowdose.infer import Denoiser
from lowdose.micrograph import Micrograph
from lowdose.physics.dose import NoiseModel
from lowdose.trust.finding import Finding
from lowdose.trust.lattice import Peak
from lowdose.trust.review import review
from lowdose.trust.score import INPUT

COUNTS = NoiseModel(1.0)


@pytest.fixture(scope="module")
def denoiser():
    return Denoiser("everyday", device="cpu")


def noisy(kind="particles", dose=40.0, side=256, seed=3):
    clean = simulate_truth(kind, (side, side), rng=np.random.default_rng(seed)).pixels
    clean = clean * (dose / clean.mean())
    return clean, np.random.default_rng(0).poisson(clean).astype(np.float32)


@pytest.fixture(scope="module")
def honest(denoiser):
    clean, counts = noisy()
    return clean, review(Micrograph(counts), denoiser)


def test_a_good_result_passes_and_its_error_is_told(honest):
    clean, found = honest
    error = float(np.mean((found.denoised.micrograph.pixels - clean) ** 2))
    of = {each.name: each for each in found.scores.scores}
    assert not [each for each in found.findings if each.level == "warning"]
    assert of["everyday"].mse == pytest.approx(error, rel=0.35)
    assert of[INPUT].mse > 3 * of["everyday"].mse
    first, second = found.verdict
    assert "no test found fault" in first
    assert "pixels" in second


def test_every_kind_of_test_is_among_the_findings(honest):
    names = [each.name for each in honest[1].findings]
    assert len(names) == len(set(names))
    for name in (
        "photon transfer", "error", "familiar specimen", "noise removed", "contradictions",
        "resolution of the data", "lattice",
    ):  # fmt: skip
        assert name in names


def test_the_gravest_finding_is_the_level_and_leads_the_verdict(honest):
    _, found = honest
    odd = Finding("oddity", "warning", 2.0, 1.0, "Something is odd.", "Do something about it.")
    warned = dataclasses.replace(found, findings=(*found.findings, odd))
    assert warned.level == "warning"
    assert "look at: oddity" in warned.verdict[0]
    assert warned.verdict[1] == "Do something about it."


def test_a_wrong_gain_is_a_warning(denoiser):
    _, counts = noisy()
    found = review(Micrograph(counts), denoiser, noise=NoiseModel(2.0))
    assert "photon transfer" in {each.name for each in found.findings if each.level == "warning"}


def test_a_better_rival_is_named(denoiser):
    clean, counts = noisy()
    found = review(
        Micrograph(counts),
        denoiser,
        noise=COUNTS,
        rivals={"oracle": lambda e, n: clean * e.mean() / clean.mean()},
    )
    (error,) = [each for each in found.findings if each.name == "error"]
    assert error.level == "note"
    assert "oracle" in error.action


@pytest.mark.parametrize("shape", [(1, 1), (40, 300), (64, 64)])
def test_images_too_small_to_judge_are_still_denoised(shape, denoiser):
    counts = np.random.default_rng(0).poisson(30, shape).astype(np.float32)
    found = review(Micrograph(counts), denoiser, noise=COUNTS)
    assert found.denoised.micrograph.shape == shape
    assert (found.scores is None) == (min(shape) < 64)
    assert all(found.verdict)


def test_an_image_without_noise_is_left_alone_and_says_so(denoiser):
    found = review(Micrograph(np.full((128, 128), 7, np.uint8)), denoiser)
    assert np.array_equal(found.denoised.micrograph.pixels, np.full((128, 128), 7))
    assert "left as it is" in found.verdict[0]


def test_weights_that_tell_no_uncertainty_are_reviewed_without(tiny_weights):
    _, counts = noisy(side=128)
    denoiser = Denoiser(str(tiny_weights()), device="cpu", precision="float32")
    found = review(Micrograph(counts), denoiser, noise=COUNTS)
    assert found.calibration is None
    assert found.denoised.uncertainty is None
    assert found.scores is not None


def test_a_stack_is_refused(denoiser):
    with pytest.raises(ValueError, match="one image"):
        review(Micrograph(np.ones((2, 64, 64))), denoiser)


def test_less_noise_than_assumed_is_the_verdict(denoiser):
    _, counts = noisy()
    found = review(Micrograph(ndimage.gaussian_filter(counts, 1.0)), denoiser, noise=COUNTS)
    (error,) = [each for each in found.findings if each.name == "error"]
    assert error.level == "warning"
    assert "below zero" in error.meaning
    assert "cannot be told" in found.verdict[0]
    assert "%" not in found.verdict[0]


def test_what_was_not_judged_is_not_called_fine(denoiser):
    counts = np.random.default_rng(0).poisson(30, (17, 400)).astype(np.float32)
    assert review(Micrograph(counts), denoiser, noise=COUNTS).level == "note"


def test_advice_is_a_sentence(denoiser):
    _, second = review(Micrograph(np.full((8, 8), 7, np.uint8)), denoiser).verdict
    assert second[0].isupper()
    assert second.endswith(".")


def test_an_empty_image_said_to_hold_noise_is_reviewed(denoiser):
    found = review(Micrograph(np.zeros((64, 64), np.uint8)), denoiser, noise=COUNTS)
    assert all(found.verdict)


def test_other_methods_are_spoken_of_only_where_some_were_tried(honest):
    (error,) = [each for each in honest[1].findings if each.name == "error"]
    assert "no method tried" not in error.meaning


def test_an_error_that_cannot_be_told_is_not_praised(honest):
    _, found = honest
    unsure = tuple(
        dataclasses.replace(each, mse_std=2 * abs(each.mse)) for each in found.scores.scores
    )
    scores = dataclasses.replace(found.scores, scores=unsure)
    first, _ = dataclasses.replace(found, scores=scores).verdict
    assert "known too badly" in first
    assert "% of the squared error" not in first


def test_large_pixels_are_told_without_exponents(honest):
    _, found = honest
    large = tuple(
        dataclasses.replace(each, mse=1e12 * each.mse, mse_std=1e12 * each.mse_std)
        for each in found.scores.scores
    )
    scores = dataclasses.replace(found.scores, scores=large)
    first, _ = dataclasses.replace(found, scores=scores).verdict
    assert ",000" in first
    assert "e+" not in first


def test_spots_that_the_result_keeps_are_no_guess_though_their_rings_are(honest):
    _, found = honest
    plain = found.verdict[1]
    lost, kept = (Peak(fy=0.0, fx=0.4, kept=part, shift=0.1) for part in (0.1, 0.9))
    assert dataclasses.replace(found, peaks=(lost,)).verdict[1] == plain
    second = dataclasses.replace(found, peaks=(lost, kept)).verdict[1]
    assert "the lattice down to 2.5 pixels; other finer detail" in second
