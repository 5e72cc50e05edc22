import math
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch

from lowdose.errors import NoiseModelError
from lowdose.physics.correlation import blur, kept_variance, taps_of
from lowdose.physics.dose import NoiseModel
from lowdose.trust.residual import (
    SIZES,
    contradiction_finding,
    contradictions,
    residual_findings,
    standardised_residual,
)
from tests.trust.networks import CASES, blurred, case, denoised, rows_of_atoms

WHITE = NoiseModel(1)


def levels(noisy, estimate, noise=WHITE):
    found = residual_findings(noisy, estimate, noise)
    found.append(contradiction_finding(contradictions(noisy, estimate, noise)))
    return {finding.name: finding.level for finding in found}


def alarms(noisy, estimate, noise=WHITE):
    return {name for name, level in levels(noisy, estimate, noise).items() if level == "warning"}


def shaded(shape=(256, 256), mean=20.0):
    y, x = np.indices(shape)
    return mean * (1 + 0.6 * np.sin(x / 40) * np.cos(y / 55))


@pytest.mark.parametrize("mean", [0.3, 4.0, 1000.0])
def test_noise_alone_raises_no_alarm(mean):
    truth = shaded(mean=mean)
    for seed in range(3):
        noisy = np.random.default_rng(seed).poisson(truth)
        assert set(levels(noisy, truth).values()) == {"fine"}


def test_noise_alone_passes_the_threshold_of_the_map_in_few_images():
    rng = np.random.default_rng(0)
    truth = np.full((64, 64), 9.0)
    passed = [bool(contradictions(rng.poisson(truth), truth, WHITE).places) for _ in range(60)]
    assert np.mean(passed) <= 0.05


def test_the_map_is_the_likelihood_ratio_by_hand():
    # 25 pixels of 16 electrons each, where the result says 9: k ln(k/m) - (k - m).
    noisy = np.full((64, 64), 9.0)
    noisy[30:35, 20:25] = 16
    evidence = contradictions(noisy, np.full((64, 64), 9.0), WHITE)
    assert evidence.map[32, 22] == pytest.approx(25 * (16 * math.log(16 / 9) - 7), rel=1e-4)
    assert evidence.map.dtype == np.float32
    worst = evidence.places[0]
    assert (worst.y, worst.x, worst.size) == (32, 22, 5)
    assert worst.deviations == pytest.approx(math.sqrt(2 * evidence.map[32, 22]), rel=1e-4)


def test_windows_are_cut_off_at_the_border():
    noisy = np.full((64, 64), 9.0)
    noisy[0, 0] = 100  # alone with three neighbours in the window of 3 around it
    evidence = contradictions(noisy, np.full((64, 64), 9.0), WHITE)
    assert evidence.map[0, 0] == pytest.approx(127 * math.log(127 / 36) - 91, rel=1e-4)
    assert evidence.map[0, 40] == 0


@pytest.mark.parametrize("size", SIZES)
def test_a_fault_is_found_in_a_window_of_its_size(size):
    truth, rng = np.full((96, 96), 25.0), np.random.default_rng(size)
    result = truth.copy()
    place = slice(40, 40 + size)
    result[place, place] += 5 * 12 / size  # 12 deviations of the sum
    worst = contradictions(rng.poisson(truth), result, WHITE).places[0]
    assert worst.size in SIZES[max(0, SIZES.index(size) - 1) : SIZES.index(size) + 2]
    assert abs(worst.y - 40 - size // 2) <= 3
    assert worst.deviations < 0


@pytest.mark.parametrize(("kind", "dose"), CASES)
def test_an_honest_result_raises_no_alarm(kind, dose):
    honest = case(kind, dose)
    assert not alarms(honest.noisy, honest.result)


@pytest.mark.parametrize(("kind", "dose"), CASES)
def test_an_invented_feature_of_three_deviations_is_found(kind, dose):
    honest = case(kind, dose)
    result = honest.result.copy()
    place = np.s_[100:105, 140:145]
    result[place] += 3 * np.sqrt(np.maximum(result[place], 0.25))
    evidence = contradictions(honest.noisy, result, WHITE)
    assert any(abs(p.y - 102) <= 4 and abs(p.x - 142) <= 4 for p in evidence.places)
    assert "more than was recorded" in contradiction_finding(evidence).meaning


@pytest.mark.parametrize("dose", [20, 100, 500])
def test_a_missing_row_of_atoms_is_found(dose):
    honest = rows_of_atoms(dose)
    assert not contradictions(honest.noisy, honest.result, WHITE).places
    result = honest.result.copy()
    result[120:137] = result[136]  # what lies between rows
    places = contradictions(honest.noisy, result, WHITE).places
    assert places
    assert all(abs(p.y - 128) <= 16 and p.deviations > 0 for p in places[:5])


@pytest.mark.parametrize("width", [1.5, 2.0])
@pytest.mark.parametrize(("kind", "dose"), CASES[:4])
def test_a_blurred_result_is_found(kind, dose, width):
    honest = case(kind, dose)
    lost = honest.result - blurred(honest.result, width)
    assert np.mean(lost**2 / np.maximum(honest.result, 0.25)) > 0.12**2, "nothing is lost"
    assert alarms(honest.noisy, honest.result - lost)


def test_blur_is_told_by_spectrum_and_neighbours():
    honest = rows_of_atoms(100)
    found = alarms(honest.noisy, blurred(honest.result, 2.0))
    assert {"noise removed", "spectrum removed", "neighbours removed", "contradictions"} <= found


@pytest.mark.parametrize(("gain", "level"), [(0.5, "note"), (2.0, "warning")])
@pytest.mark.parametrize(("kind", "dose"), [("membranes", 20), ("lattice", 100)])
def test_a_wrong_gain_is_found(kind, dose, gain, level):
    noisy, noise = case(kind, dose).noisy, NoiseModel(gain)
    found = residual_findings(noisy, denoised(noisy, noise), noise)[0]
    assert (found.name, found.level) == ("noise removed", level)
    assert "gain" in found.meaning


def test_a_wrong_offset_is_found_in_the_dark():
    truth = shaded()
    noisy = np.random.default_rng(0).poisson(truth)
    wrong = NoiseModel(0.5, offset=-20.0)  # the same variance on average, more of it in the dark
    finding = residual_findings(noisy, truth, wrong)[4]
    assert (finding.name, finding.level) == ("noise against brightness", "warning")
    assert "the first of eight" in finding.meaning


def test_a_shift_of_brightness_is_found():
    truth = shaded(mean=100)
    noisy = np.random.default_rng(0).poisson(truth)
    result = truth + np.where(truth > 130, 2.0, 0.0)
    finding = residual_findings(noisy, result, WHITE)[3]
    assert (finding.name, finding.level) == ("brightness kept", "warning")
    assert "brighter" in finding.meaning


def correlated_exposure(truth, correlation, seed=0):
    taps = [taps_of(value) for value in correlation]
    noise = torch.randn(1, 1, *truth.shape, generator=torch.Generator().manual_seed(seed))
    noise = blur(noise, *taps) / math.sqrt(kept_variance(*taps))
    return truth + np.sqrt(truth) * noise[0, 0].numpy()


def test_correlated_noise_is_allowed_for_where_it_is_known():
    truth, correlation = shaded(mean=200), (0.4, 0.25)
    known = replace(WHITE, correlation=correlation)
    for seed in range(3):
        noisy = correlated_exposure(truth, correlation, seed)
        assert not alarms(noisy, truth, known)
    assert {"neighbours removed", "spectrum removed", "contradictions"} <= alarms(noisy, truth)


def test_units_of_the_file_change_nothing():
    honest = case("membranes", 20)
    noise = NoiseModel(3.0, offset=-50, readout_std=6.0)
    result = honest.result + 3 * (honest.result > 20)
    own = NoiseModel(1.0, readout_std=2.0)
    one = contradictions(honest.noisy, result, own)
    other = contradictions(3.0 * honest.noisy - 50, 3.0 * result - 50, noise)
    np.testing.assert_allclose(one.map, other.map, rtol=1e-3, atol=1e-3)
    values = [f.value for f in residual_findings(honest.noisy, result, own)]
    others = residual_findings(3.0 * honest.noisy - 50, 3.0 * result - 50, noise)
    np.testing.assert_allclose(values, [f.value for f in others], rtol=1e-6, atol=1e-9)


def test_the_residual_of_few_electrons_has_variance_one():
    truth = np.full((256, 256), 0.1)
    noisy = np.random.default_rng(0).poisson(truth)
    assert standardised_residual(noisy, truth, WHITE).var() == pytest.approx(1, abs=0.05)


def test_a_result_of_nothing_is_judged():
    noisy = np.zeros((64, 64))
    assert not alarms(noisy, noisy)
    noisy[32, 32] = 40
    assert alarms(noisy, np.zeros((64, 64))) >= {"contradictions"}


def test_inputs_are_left_alone():
    honest = case("membranes", 20)
    copies = honest.noisy.copy(), honest.result.copy()
    levels(honest.noisy, honest.result)
    np.testing.assert_array_equal(honest.noisy, copies[0])
    np.testing.assert_array_equal(honest.result, copies[1])


@pytest.mark.parametrize(
    ("shapes", "noise", "sentence"),
    [
        (((64, 64), (64, 65)), WHITE, "of the same"),
        (((40, 64), (40, 64)), WHITE, "at least 64 x 64"),
        (((2, 64, 64), (2, 64, 64)), WHITE, "of the same"),
        (((64, 64), (64, 64)), NoiseModel(0), "gain 0"),
    ],
)
def test_refuses_what_it_cannot_compare(shapes, noise, sentence):
    images = [np.ones(shape) for shape in shapes]
    for function in (standardised_residual, residual_findings, contradictions):
        with pytest.raises(ValueError, match=sentence):
            function(*images, noise)


def test_refuses_pixels_that_are_no_numbers():
    noisy = np.ones((64, 64))
    noisy[3, 4] = np.nan
    for function in (standardised_residual, residual_findings, contradictions):
        with pytest.raises(NoiseModelError, match="NaN"):
            function(noisy, np.ones((64, 64)), WHITE)


def test_contradictions_are_those_of_the_whole_image_wherever_bands_meet(monkeypatch):
    noisy = np.random.default_rng(0).poisson(20.0, (150, 90))
    flat = np.full(noisy.shape, 20.0)
    whole = contradictions(noisy, flat, NoiseModel(1))
    monkeypatch.setattr("lowdose.trust.residual._BAND", 40)
    parts = contradictions(noisy, flat, NoiseModel(1))
    np.testing.assert_allclose(parts.map, whole.map, rtol=1e-4, atol=1e-4)


def test_large_images_are_compared_in_the_memory_of_a_few_copies():
    noisy = np.random.default_rng(0).poisson(20.0, (2048, 1024)).astype(np.uint16)
    flat = np.full(noisy.shape, 20.0, np.float32)
    for test in (contradictions, standardised_residual, residual_findings):
        tracemalloc.start()
        test(noisy, flat, NoiseModel(1))
        peak = tracemalloc.get_traced_memory()[1] / noisy.size
        tracemalloc.stop()
        assert peak < 60, test.__name__  # bytes a pixel
