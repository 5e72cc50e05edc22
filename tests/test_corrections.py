"""What is put right before an image is denoised, and what is said of it."""

import numpy as np
import pytest

from lowdose.corrections import correct
from lowdose.data.simulate import simulate_truth
from lowdose.infer import Denoiser
from lowdose.micrograph import Micrograph
from lowdose.physics.dose import NoiseModel
from lowdose.physics.jitter import put_back
from lowdose.trust.review import review
from lowdose.trust.uncertainty import denoise_with_uncertainty

COUNTS = NoiseModel(1.0)
PLACES = np.array([7, 120, 200]), np.array([299, 30, 0])


@pytest.fixture(scope="module")
def images():
    """The truth, its counts, and these with bright pixels and stripes of half the noise."""
    clean = simulate_truth("membranes", (256, 300), rng=np.random.default_rng(5)).pixels
    clean = clean * (30.0 / clean.mean())
    counts = np.random.default_rng(0).poisson(clean).astype(np.float32)
    faulty = counts + np.float32(2.7) * np.random.default_rng(1).normal(size=(256, 1))
    faulty[PLACES] = 5000
    return clean, counts, faulty.astype(np.float32)


def test_only_what_is_asked_for_is_put_right(images):
    _, _, faulty = images
    image = Micrograph(faulty)
    assert correct(image, COUNTS).micrograph is image
    repaired = correct(image, COUNTS, repair=True)
    assert repaired.repaired >= 3
    assert repaired.stripes == 0
    assert np.abs(repaired.micrograph.pixels[PLACES]).max() < 120
    destriped = correct(image, COUNTS, destripe=True)
    assert destriped.repaired == 0
    assert destriped.stripes == pytest.approx(0.5, rel=0.3)
    assert destriped.micrograph.pixels[PLACES].min() > 4900
    both = correct(image, COUNTS, repair=True, destripe=True)
    assert 3 <= both.repaired < repaired.repaired
    assert both.stripes == destriped.stripes
    assert both.micrograph.history[-1] == str(both)
    assert str(both).startswith(f"pixels repaired: {both.repaired}, stripes of 0.")


def test_what_has_no_fault_stays_itself(images):
    image = Micrograph(images[1])
    found = correct(image, COUNTS, repair=True, destripe=True, dejitter=True)
    assert found.micrograph is image
    assert str(found) == ""


@pytest.mark.parametrize(
    ("dtype", "after"), [("u2", "f4"), ("i4", "f8"), ("f4", "f4"), ("f8", "f8"), (">u2", "f4")]
)
def test_the_type_keeps_the_digits_and_the_input_is_not_changed(dtype, after, images):
    stack = np.stack([images[1], images[2].clip(0)]).astype(dtype)
    image, before = Micrograph(stack), stack.copy()
    repaired = correct(image, COUNTS, repair=True).micrograph.pixels
    assert repaired.dtype == image.pixels.dtype
    assert np.array_equal(repaired[0], before[0])
    destriped = correct(image, COUNTS, destripe=True).micrograph.pixels
    assert destriped.dtype == after
    assert np.array_equal(destriped[0], before[0])
    assert np.array_equal(image.pixels, before)


def jittery(clean, strength=1.5):
    """Counts of which each row is displaced, and by how much."""
    rows = strength * np.random.default_rng(2).normal(size=len(clean))
    moved = np.stack(list(put_back(clean, -rows))).clip(0)
    return np.random.default_rng(0).poisson(moved).astype(np.float32), rows


def test_displaced_rows_are_put_back_frame_by_frame(images):
    clean, counts, _ = images
    faulty, _ = jittery(clean)
    image = Micrograph(np.stack([counts, faulty]))
    found = correct(image, COUNTS, dejitter=True)
    assert found.jitter == pytest.approx(1.5, rel=0.3)
    assert str(found) == f"rows displaced by {found.jitter:.2g} px put back"
    assert found.micrograph.history[-1] == str(found)
    assert np.array_equal(found.micrograph.pixels[0], counts)
    alone = correct(Micrograph(faulty), COUNTS, dejitter=True)
    assert np.array_equal(found.micrograph.pixels[1], alone.micrograph.pixels)
    assert np.array_equal(image.pixels[1], faulty)
    ragged = [np.diff(frame, axis=0).std() for frame in (faulty, alone.micrograph.pixels, counts)]
    assert ragged[1] - ragged[2] < 0.4 * (ragged[0] - ragged[2])


def test_rows_are_put_back_after_what_would_ring_or_pull_at_them(images):
    clean, _, _ = images
    faulty, _ = jittery(clean)
    faulty += np.float32(2.7) * np.random.default_rng(1).normal(size=(256, 1)).astype(np.float32)
    faulty[PLACES] = 5000
    all_three = correct(
        Micrograph(faulty), COUNTS, repair=True, destripe=True, dejitter=True
    ).micrograph.pixels
    assert all_three.max() < 150
    assert all_three.min() > -50
    denoiser = Denoiser("fast", device="cpu")
    before, after = (
        np.mean((denoiser(Micrograph(pixels), noise=COUNTS).micrograph.pixels - clean) ** 2)
        for pixels in (faulty, all_three)
    )
    assert after < 0.3 * before


def test_a_result_of_what_was_put_right_errs_less(images):
    clean, _, faulty = images
    denoiser = Denoiser("fast", device="cpu")
    right = correct(Micrograph(faulty), COUNTS, repair=True, destripe=True).micrograph
    before, after = (
        np.mean((denoiser(image, noise=COUNTS).micrograph.pixels - clean) ** 2)
        for image in (Micrograph(faulty), right)
    )
    assert after < 0.1 * before


def test_uncertainty_and_report_are_of_what_was_put_right(images):
    clean, _, faulty = images
    denoiser, image = Denoiser("fast", device="cpu"), Micrograph(faulty)
    right = correct(image, COUNTS, repair=True, destripe=True).micrograph
    denoised, calibration = denoise_with_uncertainty(denoiser, right, noise=COUNTS)
    error = np.sqrt(np.mean((denoised.micrograph.pixels - clean) ** 2))
    stated = np.sqrt(np.mean(denoised.uncertainty.pixels**2))
    assert stated == pytest.approx(error, rel=0.35)
    assert calibration.from_image < 1.3

    corrected = correct(image, COUNTS, repair=True, destripe=True)
    found = review(image, denoiser, noise=COUNTS, corrected=corrected)
    assert np.array_equal(found.noisy.pixels, right.pixels)
    assert np.array_equal(found.micrograph.pixels, faulty)
    of = {finding.name: finding for finding in found.findings}
    assert of["row noise"].level == "note"
    assert "put right before denoising" in of["row noise"].meaning
    assert all(of[name].level == "fine" for name in ("error", "contradictions", "noise removed"))
    as_it_is = review(image, denoiser, noise=COUNTS)
    warned = {each.name for each in as_it_is.findings if each.level == "warning"}
    assert warned > {"row noise", "contradictions"}
