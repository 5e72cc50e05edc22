import numpy as np
import pytest

from lowdose.physics.step import value_step

MEANS = [30, 300, 3e3, 3e4, 1e5]


def counts(mean, size=20_000):
    return np.random.default_rng(0).poisson(mean, size)


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("dtype", ["u4", "i4", ">u4", "i8", "u8", "f4", ">f4", "f8"])
def test_counts_have_step_one_in_any_type(mean, dtype):
    assert value_step(counts(mean).astype(dtype)) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize("mean", MEANS)
def test_counts_over_their_largest_keep_their_step(mean):
    image = counts(mean)
    assert value_step(np.float32(image / image.max())) == pytest.approx(1 / image.max(), rel=1e-4)


@pytest.mark.parametrize("mean", MEANS)
def test_counts_scaled_to_zero_and_one_keep_their_step(mean):
    image = counts(mean)
    scaled = np.float32((image - image.min()) / np.ptp(image))
    assert value_step(scaled) == pytest.approx(1 / np.ptp(image), rel=1e-4)


def test_a_gain_and_an_offset_change_the_step_by_the_gain():
    assert value_step(7 * counts(30) + 100) == 7
    assert value_step(np.float32(0.3 * counts(30) - 5)) == pytest.approx(0.3, rel=1e-4)


def test_grey_levels_have_step_one_even_where_most_are_missing():
    assert value_step(np.array([3, 9, 16, 250], "u1")) == 1
    assert value_step(np.array([0, 6, 12, 252], "u1")) == 6


def test_the_widest_integers_do_not_overflow():
    assert value_step(np.array([-(2**63), 0, 2**62], "i8")) == 2**62
    assert value_step(np.array([0, 2**63, 2**64 - 2], "u8")) == 2


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("seed", range(5))
def test_continuous_values_have_none(dtype, seed):
    rng = np.random.default_rng(seed)
    assert value_step(rng.normal(100, 10, 20_000).astype(dtype)) is None
    assert value_step(rng.random(20_000).astype(dtype)) is None


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "f8"])
def test_a_constant_image_has_none(dtype):
    assert value_step(np.full(100, 7, dtype)) is None


def test_counts_with_readout_noise_have_none():
    noise = np.random.default_rng(1).normal(0, 0.5, 20_000)
    assert value_step(np.float32(counts(30) + noise)) is None


def test_steps_as_fine_as_float32_itself_are_not_taken_for_counts():
    image = np.float32(1e7) + np.arange(1000, dtype="f4")
    assert value_step(image) is None


@pytest.mark.parametrize("scale", [1, 3])
def test_whole_numbers_of_half_precision_are_counts(scale):
    counts = scale * np.random.default_rng(0).poisson(50.0, 10_000)
    assert value_step(counts.astype(np.float16)) == scale


def test_whole_numbers_that_rounding_made_are_no_counts():
    coarse = np.random.default_rng(0).normal(1e8, 1e6, 10_000).astype(np.float32)
    assert not np.any(coarse % 1)
    assert value_step(coarse) is None
