import numpy as np
import pytest

from lowdose.trust.lattice import lattice_finding, lattice_peaks
from tests.trust.networks import blurred, case, exposed, rows_of_atoms

SIDE = 256


def fringes(fy, fx, strength=0.5):
    y, x = np.indices((SIDE, SIDE))
    return 1 + strength * np.cos(2 * np.pi * (fy * y + fx * x))


def test_a_single_wave_by_hand():
    truth = 100 * fringes(0.1, 0.17)
    (peak,) = lattice_peaks(exposed(truth, 100, 0), 100 + 0.5 * (truth - 100))
    assert (peak.fy, peak.fx) == (pytest.approx(0.1, abs=5e-4), pytest.approx(0.17, abs=5e-4))
    assert peak.kept == pytest.approx(0.5, abs=0.01)
    assert peak.shift < 0.05
    assert peak.period_px == pytest.approx(1 / np.hypot(0.1, 0.17), rel=0.01)


def test_noise_is_not_taken_for_amplitude():
    # As many electrons a pixel as there are pixels a peak: its own noise would add 5 %.
    truth = 4 * fringes(0.21, 0.08)
    peaks = [lattice_peaks(exposed(truth, 4, seed), truth)[0] for seed in range(8)]
    assert np.mean([peak.kept for peak in peaks]) == pytest.approx(1, abs=0.01)


def test_a_moved_peak_is_found():
    noisy = exposed(fringes(0.1, 0.17), 100, 0)
    moved = 100 * fringes(0.1, 0.17 + 0.8 / SIDE)
    finding = lattice_finding(lattice_peaks(noisy, moved))
    assert finding.level == "warning"
    assert finding.value == pytest.approx(0.8, abs=0.15)


@pytest.mark.parametrize("dose", [20, 500])
def test_an_honest_result_keeps_the_lattice(dose):
    honest = rows_of_atoms(dose)
    peaks = lattice_peaks(honest.noisy, honest.result)
    assert len(peaks) >= 2
    assert lattice_finding(peaks).level == "fine"


def test_a_lost_lattice_is_found():
    noisy = exposed(fringes(0.1, 0.17), 100, 0)
    finding = lattice_finding(lattice_peaks(noisy, blurred(100 * fringes(0.1, 0.17), 2.0)))
    assert finding.level == "warning"
    assert "period 5.1 px" in finding.meaning


def test_a_lost_weak_peak_is_a_note():
    weak = fringes(0.31, -0.12, 0.2) - 1
    noisy = exposed(fringes(0.1, 0.17) + weak, 100, 0)
    finding = lattice_finding(lattice_peaks(noisy, 100 * fringes(0.1, 0.17)))
    assert finding.level == "note"
    assert finding.value < 0.1


@pytest.mark.parametrize("kind", [("membranes", 20), ("fracture", 500), ("cryo", 5)])
def test_there_is_no_lattice_in_tissue_surfaces_or_ice(kind):
    honest = case(*kind)
    peaks = lattice_peaks(honest.noisy, honest.result)
    assert not peaks
    finding = lattice_finding(peaks)
    assert finding.level == "fine"
    assert "no lattice" in finding.meaning


def test_images_that_cannot_be_compared_are_refused():
    with pytest.raises(ValueError, match="of the same"):
        lattice_peaks(np.ones((64, 64)), np.ones((64, 65)))


@pytest.mark.parametrize("seed", range(8))
def test_a_lattice_that_is_gone_is_not_said_to_have_moved(seed):
    rng = np.random.default_rng(seed)
    fringes = 100 * (1 + 0.3 * np.sin(2 * np.pi * np.arange(256) / 3.3)) * np.ones((256, 1))
    noisy = rng.poisson(fringes).astype(np.float32)
    gone = (100 + 0.5 * rng.normal(size=noisy.shape)).astype(np.float32)
    finding = lattice_finding(lattice_peaks(noisy, gone))
    assert finding.level == "warning"
    assert "keeps the one of period 3.3 px" in finding.meaning
