import numpy as np
import pytest

from lowdose.data.simulate.lens import Lens, faded, trimmed, wavelength_nm, widened

PIXEL_NM = 0.05
KX = np.fft.fftfreq(64) / PIXEL_NM


def grating(order, strength=0.01):
    """A weak phase grating with so many periods in 64 px, and the wave behind it."""
    phase = strength * np.cos(2 * np.pi * order * np.arange(64) / 64) * np.ones((64, 1))
    return phase, np.exp(1j * phase)


@pytest.mark.parametrize(("kv", "pm"), [(80, 4.176), (100, 3.701), (200, 2.508), (300, 1.969)])
def test_wavelength_is_the_tabulated_one(kv, pm):
    assert 1000 * wavelength_nm(kv) == pytest.approx(pm, abs=1e-3)


def test_a_phase_object_is_invisible_in_focus():
    image = Lens(200, 0.0).image(grating(5)[1], PIXEL_NM)
    np.testing.assert_allclose(image, 1, atol=1e-5)


@pytest.mark.parametrize("order", [3, 8, 13])
@pytest.mark.parametrize("defocus", [-60.0, 25.0])
def test_a_weak_phase_grating_is_seen_through_twice_the_sine_of_the_phase_shift(order, defocus):
    lens = Lens(200, defocus, cs_mm=1.0)
    phase, wave = grating(order)
    k, wavelength = KX[order], wavelength_nm(200)
    shift = np.pi * wavelength * defocus * k**2 + 0.5 * np.pi * 1e6 * wavelength**3 * k**4
    image = lens.image(wave, PIXEL_NM)
    np.testing.assert_allclose(image - 1, 2 * np.sin(shift) * phase, atol=3e-4)


def test_a_coherent_lens_loses_no_electron():
    rng = np.random.default_rng(0)
    wave = rng.normal(size=(32, 40)) + 1j * rng.normal(size=(32, 40))
    lens = Lens(300, -500.0, cs_mm=2.7, astigmatism_nm=40, astigmatism_angle=0.4)
    assert lens.image(wave, 0.1).mean() == pytest.approx((np.abs(wave) ** 2).mean(), rel=1e-5)


def test_scherzer_focus_makes_atoms_dark():
    lens = Lens(200, Lens(200, 0, 1.0).scherzer_nm, cs_mm=1.0)
    assert lens.defocus_nm == pytest.approx(-60.1, abs=0.1)
    phase, wave = grating(8)  # 0.4 nm, well within the first band
    assert np.corrcoef(lens.image(wave, PIXEL_NM).ravel(), phase.ravel())[0, 1] < -0.99


def test_focal_spread_damps_as_a_gaussian_of_frequency_squared():
    k = np.array([2.0, 4.0])
    damped = np.abs(Lens(200, -60.0, 1.0, focal_spread_nm=4).transfer(k, 0.0 * k))
    np.testing.assert_allclose(damped, np.exp(-0.5 * (np.pi * wavelength_nm(200) * 4 * k**2) ** 2))


def test_astigmatism_parts_the_two_directions_by_twice_its_value():
    lens = Lens(200, -50.0, astigmatism_nm=10, astigmatism_angle=0.0)
    k, none = np.array([3.0]), np.array([0.0])
    along, across = lens.transfer(k, none), lens.transfer(none, k)
    np.testing.assert_allclose(along, Lens(200, -40.0).transfer(k, none), rtol=1e-9)
    np.testing.assert_allclose(across, Lens(200, -60.0).transfer(k, none), rtol=1e-9)


def test_a_faded_wave_keeps_the_frame_near_its_middle_and_closes_at_the_border():
    rng = np.random.default_rng(0)
    wave = rng.normal(size=widened((20, 31))) + 1j
    closed = faded(wave)
    np.testing.assert_allclose(trimmed(closed), trimmed(wave), rtol=1e-12)
    assert trimmed(closed).shape == (20, 31)
    jump = np.abs(closed[0] - closed[-1]).max(), np.abs(closed[:, 0] - closed[:, -1]).max()
    assert max(jump) < 0.01
