import math

import numpy as np
import pytest

from lowdose.metrics import RingCorrelation, frc, frc_resolution, radial_profile


def noise(seed, shape=(128, 128)):
    return np.random.default_rng(seed).normal(size=shape)


def low_passed(image, cutoff):
    radius = np.hypot(*np.meshgrid(*map(np.fft.fftfreq, image.shape), indexing="ij"))
    return np.fft.ifft2(np.fft.fft2(image) * (radius <= cutoff)).real


def test_rings_reach_from_one_width_to_nyquist():
    curve = frc(noise(0, (32, 48)), noise(1, (32, 48)))
    np.testing.assert_allclose(curve.frequency, np.arange(1, 17) / 32)


@pytest.mark.parametrize("window", [True, False])
def test_is_one_for_an_image_and_its_scaled_copy(window):
    np.testing.assert_allclose(frc(noise(0), 7 + 3 * noise(0), window=window).correlation, 1)


def test_is_minus_one_for_an_image_and_its_negative():
    np.testing.assert_allclose(frc(noise(0), -noise(0)).correlation, -1)


def test_independent_noise_is_uncorrelated():
    # A ring at half Nyquist holds some 200 values, half of them independent.
    assert abs(frc(noise(0), noise(1)).correlation[20:].mean()) < 0.05


def test_equal_signal_and_noise_correlate_by_half():
    a, b = noise(0) + noise(1), noise(0) + noise(2)
    assert frc(a, b).correlation[20:].mean() == pytest.approx(0.5, abs=0.05)


def test_one_wave_by_hand():
    # cos(kx) and cos(kx + 60°) share a ring and nothing else: correlation cos 60°.
    x = 2 * np.pi * 4 * np.arange(16) / 16
    a, b = np.tile(np.cos(x), (16, 1)), np.tile(np.cos(x + np.pi / 3), (16, 1))
    curve = frc(a, b, window=False)
    assert curve.correlation[3] == pytest.approx(0.5)


def test_window_removes_the_cross_of_a_ramp():
    ramp = np.tile(np.linspace(0, 100, 128), (128, 1))
    a, b = noise(0) + ramp, noise(1) + ramp
    plain, windowed = (frc(a, b, window=window).correlation[30:].mean() for window in (False, True))
    assert plain > 0.3
    assert abs(windowed) < 0.05


def test_resolution_is_the_cutoff_of_a_low_passed_copy():
    signal = low_passed(noise(0), 0.25)
    curve = frc(signal + 0.1 * noise(1), signal + 0.1 * noise(2), window=False)
    assert frc_resolution(curve) == pytest.approx(1 / 0.25, rel=0.05)


def test_images_without_signal_correlate_by_nothing():
    assert not frc(np.ones((8, 8)), np.ones((8, 8))).correlation.any()


def curve_of(*correlation):
    return RingCorrelation(np.arange(1, len(correlation) + 1) / 10, np.array(correlation))


def test_resolution_interpolates_between_rings():
    assert frc_resolution(curve_of(0.9, 0.5, 0.1), threshold=0.2) == pytest.approx(1 / 0.275)


def test_resolution_is_read_at_the_first_fall():
    rebound = curve_of(0.9, 0.1, 0.9, 0.0)
    assert frc_resolution(rebound, threshold=0.5) == pytest.approx(1 / 0.15)


def test_resolution_is_nyquist_at_best_and_infinite_at_worst():
    assert frc_resolution(curve_of(1.0, 0.9)) == 2.0
    assert frc_resolution(curve_of(0.0, 0.9)) == math.inf


def test_refuses_what_has_no_rings():
    with pytest.raises(ValueError, match="at least 4 x 4"):
        frc(np.zeros((3, 9)), np.zeros((3, 9)))


def test_a_radial_profile_is_the_papers_by_its_own_steps():
    image = np.random.default_rng(0).normal(5, 1, (32, 32))
    magnitude = np.fft.fftshift(np.abs(np.fft.fft2(image)))
    y, x = np.indices(image.shape)
    radius = np.sqrt((x - 16) ** 2 + (y - 16) ** 2).astype(int)
    profile = np.bincount(radius.ravel(), magnitude.ravel()) / np.bincount(radius.ravel())
    np.testing.assert_allclose(radial_profile(image), profile / profile.sum())
    assert len(radial_profile(np.ones((512, 512)))) == 363  # as its script has it


def test_a_wave_is_at_its_own_radius():
    y, x = np.mgrid[:64, :64]
    profile = radial_profile(np.cos(2 * np.pi * (3 * y + 4 * x) / 64))
    assert np.argmax(profile) == 5
    assert profile.sum() == pytest.approx(1)


def test_what_has_no_profile_is_refused():
    with pytest.raises(ValueError, match="zero everywhere"):
        radial_profile(np.zeros((8, 8)))
    with pytest.raises(ValueError, match=r"needs \(H, W\)"):
        radial_profile(np.ones(8))


@pytest.mark.parametrize(
    ("shape", "along", "periods", "ring"),
    [
        ((64, 128), 1, 16, 8),
        ((128, 64), 0, 16, 8),
        ((700, 1000), 1, 90, 63),
        ((70, 100), 1, 17, 11),
    ],
)
def test_rings_of_oblong_images_have_one_step(shape, along, periods, ring):
    place = np.indices(shape)[along]
    profile = radial_profile(np.cos(2 * np.pi * periods * place / shape[along]))
    assert profile.argmax() == ring
