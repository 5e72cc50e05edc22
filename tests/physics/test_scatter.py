import numpy as np
import pytest
from scipy import ndimage

from lowdose.physics.scatter import (
    BLOCK,
    QUANTILE,
    QUANTILE_OF_UNIT_NOISE,
    Scatter,
    fit_line,
    measure_scatter,
)


def ramp(side=768):
    """Expected electrons from 20 to 200."""
    return np.tile(np.linspace(20, 200, side), (side, 1))


def test_the_quantile_of_unit_noise_is_what_simulation_gives():
    noise = np.random.default_rng(0).normal(size=(250 * BLOCK, 250 * BLOCK))
    blocks = noise.reshape(250, BLOCK, 250, BLOCK).swapaxes(1, 2)
    mask = np.outer([1, -2, 1], [1, -2, 1])
    windows = np.lib.stride_tricks.sliding_window_view(blocks, (3, 3), axis=(2, 3))
    variance = (np.einsum("abijkl,kl->abij", windows, mask) ** 2).mean(axis=(2, 3)) / 36
    assert variance.mean() == pytest.approx(1, rel=0.005)
    assert np.quantile(variance, QUANTILE) == pytest.approx(QUANTILE_OF_UNIT_NOISE, rel=0.01)


@pytest.mark.parametrize("deviation", [1e-3, 1.0, 250.0])
def test_white_noise_has_its_variance_at_every_intensity(deviation):
    image = ramp() + np.random.default_rng(0).normal(0, deviation, (768, 768))
    scatter = measure_scatter([image])
    assert scatter.variance == pytest.approx(np.full(32, deviation**2), rel=0.15)
    assert scatter.variance.mean() == pytest.approx(deviation**2, rel=0.02)


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (7.3, 100.0), (1e-9, 0.0), (1.0, 3e4)])
def test_gain_and_offset_of_pure_counts_are_found(gain, offset):
    electrons = np.random.default_rng(0).poisson(ramp(1024))
    line = fit_line(measure_scatter([gain * electrons + offset]))
    assert line.slope == pytest.approx(gain, rel=0.05)
    assert line.slope_std < 0.05 * gain
    black = -line.intercept / line.slope
    assert black == pytest.approx(offset, abs=5 * gain)


def test_the_line_follows_the_unit_of_the_pixels():
    image = np.random.default_rng(0).poisson(ramp(256)).astype("f8")
    one = fit_line(measure_scatter([image]))
    other = fit_line(measure_scatter([image * 1e-12]))
    assert other.slope == pytest.approx(1e-12 * one.slope, rel=1e-6)
    assert other.slope_std == pytest.approx(1e-12 * one.slope_std, rel=1e-6)
    assert other.intercept == pytest.approx(1e-24 * one.intercept, rel=1e-6)


def test_edges_along_the_axes_and_ramps_are_no_noise():
    y, x = np.mgrid[:256, :256]
    image = 3.0 * x - 2.0 * y + 100 * (x > 77) + 50 * (y > 131)
    scatter = measure_scatter([image])
    # Only the blocks in which two edges cross count, and they are a minority.
    assert scatter is None or not scatter.variance.any()


def test_structure_in_half_of_the_blocks_does_not_matter():
    image = np.random.default_rng(0).poisson(np.full((512, 512), 50.0)).astype("f8")
    image[:, ::16] += 300
    scatter = measure_scatter([image])
    homogeneous = scatter.variance[scatter.mean < 60]
    assert np.median(homogeneous) == pytest.approx(50, rel=0.1)


def test_the_line_ignores_a_few_bins_far_above_it():
    mean = np.linspace(10, 100, 32)
    variance = 2 * mean + 5
    variance[[3, 17, 30]] *= 20
    line = fit_line(Scatter(mean, variance, np.full(32, 50)))
    assert line.slope == pytest.approx(2, rel=0.02)
    assert line.at(np.array([50.0])) == pytest.approx(105, rel=0.02)


@pytest.mark.parametrize("side", [56, 68, 88])
def test_a_line_through_few_bins_is_known_as_badly_as_it_is(side):
    halves = np.where(np.arange(side)[:, None] < side // 2, 20.0, 80.0) * np.ones(side)
    lines = []
    for seed in range(40):
        counts = np.random.default_rng(seed).poisson(halves).astype("f8")
        lines.append(fit_line(measure_scatter([counts])))
    errors = np.array([(line.slope - 1) / line.slope_std for line in lines])
    assert np.mean(np.abs(errors) < 3) > 0.85
    assert min(line.slope_std for line in lines) > 0.05


def test_too_few_blocks_tell_nothing():
    assert measure_scatter([]) is None
    assert measure_scatter([np.ones((1, 1))]) is None
    assert measure_scatter([np.random.default_rng(0).normal(size=(32, 40))]) is None


def test_masked_and_clipped_areas_are_left_out():
    image = np.random.default_rng(0).poisson(np.full((256, 256), 40.0))
    image[:, 64:] = 255
    scatter = measure_scatter([image])
    assert scatter.mean.max() < 100
    assert 32 * 8 - len(scatter.mean) < scatter.blocks.sum() <= 32 * 8


def test_vacuum_without_a_single_electron_belongs_to_the_line():
    image = np.random.default_rng(0).poisson(np.full((256, 256), 40.0))
    image[:, 128:] = 0
    scatter = measure_scatter([image])
    assert (scatter.mean[0], scatter.variance[0]) == (0, 0)
    assert fit_line(scatter).slope == pytest.approx(1, rel=0.1)


def test_windows_are_pooled():
    image = np.random.default_rng(0).poisson(ramp(256)).astype("u2")
    whole = measure_scatter([image])
    parts = measure_scatter([image[:128], image[128:]])
    assert parts.variance == pytest.approx(whole.variance)


def blurred(width, shape=(512, 512), seed=0):
    noise = np.random.default_rng(seed).normal(size=shape)
    return ndimage.gaussian_filter(noise, width, mode="mirror") if width else noise


def neighbours(width):
    """Correlation of neighbours after a sampled Gaussian of this width."""
    impulse = ndimage.gaussian_filter1d(np.eye(1, 41, 20)[0], width) if width else np.eye(1, 41)[0]
    return (impulse[1:] * impulse[:-1]).sum() / (impulse**2).sum()


@pytest.mark.parametrize("width", [0.5, 0.6, 0.75, 0.9, 1.1])
def test_correlation_and_variance_of_blurred_noise_are_found(width):
    scatter = measure_scatter([blurred(width, seed=seed) for seed in range(4)])
    assert scatter.correlation == pytest.approx((neighbours(width),) * 2, abs=0.03)
    assert 0.85 < scatter.variance.mean() / blurred(width).var() < 1.03  # in doubt less
    assert scatter.if_white.variance.mean() < 0.7 * blurred(width).var()


@pytest.mark.parametrize(("widths", "found"), [((0.8, 0), 0), ((0, 0.8), 1)])
def test_each_axis_has_its_own_correlation(widths, found):
    noise = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(512, 512)), widths)
    correlation = measure_scatter([noise]).correlation
    assert correlation[found] == pytest.approx(neighbours(0.8), abs=0.05)
    assert correlation[1 - found] == 0


@pytest.mark.parametrize("side", [256, 512, 1024, 2048])
@pytest.mark.parametrize("seed", range(3))
def test_white_noise_is_white_in_images_of_any_size(seed, side):
    scatter = measure_scatter([blurred(0, (side, side), seed)])
    assert scatter.correlation == (0, 0)
    assert scatter.is_white
    assert scatter.variance.mean() == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("offset", [0, 1e8, -1e12])
def test_a_large_offset_costs_no_digits(offset):
    image = 100 * blurred(0.6) + offset
    near, far = (measure_scatter([each]) for each in (image - offset, image))
    np.testing.assert_allclose(far.variance, near.variance, rtol=1e-3)
    assert far.correlation == pytest.approx(near.correlation, abs=1e-3)


def test_a_smooth_specimen_does_not_correlate_its_noise():
    y, x = np.mgrid[:512, :512]
    specimen = 200 + 100 * np.sin(x / 15) * np.cos(y / 20)
    scatter = measure_scatter([np.random.default_rng(0).poisson(specimen)])
    assert scatter.correlation == (0, 0)


def test_an_image_too_small_to_tell_is_taken_for_white():
    assert measure_scatter([blurred(0.9, (96, 96))]).correlation == (0, 0)


def interpolated(image, fraction):
    """Moved by a fraction of a pixel along both axes."""
    taps = [fraction, 1 - fraction, 0]
    rows = ndimage.convolve1d(image, taps, axis=0, mode="mirror")
    return ndimage.convolve1d(rows, taps, axis=1, mode="mirror")


@pytest.mark.parametrize("fraction", [0.15, 0.3, 0.5])
def test_correlation_and_variance_of_interpolated_noise_are_found(fraction):
    """No Gaussian: neighbours share a part, and pixels further apart none."""
    noise = interpolated(blurred(0), fraction)
    scatter = measure_scatter([noise])
    alone = fraction**2 + (1 - fraction) ** 2
    assert scatter.correlation == pytest.approx((fraction * (1 - fraction) / alone,) * 2, abs=0.05)
    assert np.median(scatter.variance) == pytest.approx(alone**2, rel=0.1)


@pytest.mark.parametrize("side", [256, 512])
def test_noise_binned_after_interpolation_is_not_taken_for_white(side):
    noise = interpolated(blurred(0, (2 * side, 2 * side)), 0.5)
    scatter = measure_scatter([noise.reshape(side, 2, side, 2).sum(axis=(1, 3))])
    assert scatter.correlation == pytest.approx((1 / 6, 1 / 6), abs=0.05)
    assert np.median(scatter.variance) == pytest.approx(1.5**2, rel=0.1)


def test_structure_of_ten_pixels_is_not_taken_for_noise_that_a_detector_blurred():
    _, x = np.mgrid[:512, :512]
    structure = 0.8 * blurred(0.75).std() * np.sin(2 * np.pi * x / 10)
    scatter = measure_scatter([structure + blurred(0.75)])
    assert np.median(scatter.variance) == pytest.approx(blurred(0.75).var(), rel=0.15)


@pytest.mark.parametrize("width", [0.3, 0.6, 0.9])
def test_noise_that_lost_its_finest_part_alone_is_not_overrated(width):
    """As an image shows it that was enlarged: nothing above six tenths of Nyquist."""
    spectrum = np.fft.rfft2(blurred(width))
    down, across = np.abs(np.fft.fftfreq(512)), np.abs(np.fft.rfftfreq(512))
    noise = np.fft.irfft2(spectrum * np.outer(down < 0.3, across < 0.3))
    assert 0.9 < np.median(measure_scatter([noise]).variance) / noise.var() < 1.2


@pytest.mark.parametrize("order", [1, 3])
def test_noise_of_an_enlarged_image_is_not_overrated(order):
    noise = ndimage.zoom(np.random.default_rng(0).normal(size=(400, 400)), 1.5, order=order)
    assert 0.9 < np.median(measure_scatter([noise]).variance) / noise.var() < 1.2


@pytest.mark.parametrize("frames", [1, 16])
def test_the_correlation_found_does_not_depend_on_the_size_of_the_image(frames):
    scatter = measure_scatter([blurred(0.6, seed=seed) for seed in range(frames)])
    assert scatter.correlation == pytest.approx((neighbours(0.6),) * 2, abs=0.035)
