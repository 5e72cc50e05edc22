import numpy as np
import pytest

from lowdose.errors import NoiseModelError
from lowdose.physics.dose import NoiseModel, electrons_per_pixel, gain_from_dose


def test_pixels_become_electrons_by_hand_and_back():
    model = NoiseModel(2.0, offset=100.0, readout_std=6.0)
    pixels = np.array([[100, 102], [90, 300]], "u2")
    electrons = model.to_electrons(pixels)
    assert electrons.dtype == np.float32
    assert electrons.tolist() == [[0, 1], [-5, 100]]
    assert model.to_pixels(electrons).tolist() == pixels.tolist()
    assert model.readout_electrons == 3


def test_a_large_offset_costs_no_digits_of_small_counts():
    model = NoiseModel(1e-3, offset=1e6)
    pixels = np.float64(1e6) + 1e-3 * np.arange(5.0)
    assert model.to_electrons(pixels) == pytest.approx(np.arange(5.0), abs=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1e300])
def test_what_is_no_number_comes_from_no_electrons(bad):
    with pytest.raises(NoiseModelError, match="NaN or infinite"):
        NoiseModel(1.0).to_electrons(np.array([[1.0, bad]]))


def test_variance_is_gain_times_signal_plus_readout():
    model = NoiseModel(4.0, offset=10.0, readout_std=3.0)
    assert model.noise_std(np.array([10.0, 14.0, 110.0])) ** 2 == pytest.approx([9, 25, 409])
    assert NoiseModel(4.0, offset=10.0).noise_std(np.array([0.0])) == 0  # never an imaginary one


def test_an_image_without_shot_noise_is_noise_free():
    assert NoiseModel(0.0).is_noise_free
    assert NoiseModel(0.0, readout_std=5).readout_electrons == 0
    assert not NoiseModel(1e-30).is_noise_free


@pytest.mark.parametrize(
    "settings",
    [
        {"gain": -1.0},
        {"gain": 1.0, "readout_std": -0.1},
        {"gain": float("nan")},
        {"gain": 1.0, "offset": float("inf")},
        {"gain": 1.0, "readout_std": float("nan")},
        {"gain": 1.0, "gain_std": float("nan")},
        {"gain": 1.0, "correlation": (float("nan"), 0.0)},
        {"gain": 1.0, "correlation": (0.0, 5.0)},
    ],
)
def test_refuses_an_impossible_model(settings):
    with pytest.raises(NoiseModelError, match="expected"):
        NoiseModel(**settings)


def test_is_printed_without_what_is_zero():
    assert str(NoiseModel(2.0)) == "gain 2"
    full = NoiseModel(1.25, offset=100, readout_std=3, gain_std=0.1)
    assert str(full) == "gain 1.25 ± 0.1, offset 100, readout noise 3"


def test_dose_per_area_becomes_dose_per_pixel():
    assert electrons_per_pixel(10.0, (0.05, 0.1)) == pytest.approx(5)  # 0.5 x 1 Å


def test_dose_per_area_asks_for_a_pixel_size():
    with pytest.raises(NoiseModelError, match="pixel size"):
        electrons_per_pixel(10.0, None)


def test_the_gain_of_a_known_dose_makes_the_mean_that_dose():
    gain = gain_from_dose(260.0, 40.0, offset=60.0)
    electrons = NoiseModel(gain, offset=60.0).to_electrons(np.array([260.0]))
    assert (gain, electrons.tolist()) == (5, [40])


@pytest.mark.parametrize(
    ("mean", "dose"), [(10.0, 0.0), (10.0, np.nan), (10.0, np.inf), (5.0, 3.0)]
)
def test_refuses_a_dose_that_cannot_be(mean, dose):
    with pytest.raises(NoiseModelError, match="does not fit"):
        gain_from_dose(mean, dose, offset=5.0)
