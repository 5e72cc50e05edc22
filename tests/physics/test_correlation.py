import numpy as np
import pytest
import torch
from scipy import ndimage

from lowdose.physics.correlation import (
    blur,
    correlated_signs,
    gaussian_taps,
    neighbour_correlation,
    shift_taps,
    taps_of,
)


def measured(noise, axis):
    one, other = (
        noise.narrow(axis, 0, noise.shape[axis] - 1),
        noise.narrow(axis, 1, noise.shape[axis] - 1),
    )
    return ((one * other).mean() / noise.square().mean()).item()


@pytest.mark.parametrize("taps", [gaussian_taps(0.7), gaussian_taps(0.0), shift_taps(0.3)])
def test_a_blur_keeps_the_mean(taps):
    assert taps.sum().item() == pytest.approx(1)


def test_a_blur_is_that_of_scipy():
    image = torch.rand(1, 1, 20, 30)
    down, across = gaussian_taps(0.8), shift_taps(0.25)
    expected = ndimage.correlate1d(image[0, 0].numpy(), down.numpy(), 0, mode="mirror")
    expected = ndimage.correlate1d(expected, across.numpy(), 1, mode="mirror")
    np.testing.assert_allclose(blur(image, down, across)[0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("correlation", [0.0, 0.1, 0.4, 0.64, 0.8])
def test_the_blur_of_a_correlation_has_it(correlation):
    assert neighbour_correlation(taps_of(correlation)) == pytest.approx(correlation, abs=2e-3)


@pytest.mark.parametrize("wanted", [(0.0, 0.5), (0.3, 0.0), (0.0, 0.0), (0.6, 0.6)])
def test_noise_has_variance_one_and_the_correlations_asked_for_along_each_axis(wanted):
    noise = correlated_signs((1, 1, 512, 512), wanted, rng=torch.Generator().manual_seed(0))[0, 0]
    assert noise.square().mean().item() == pytest.approx(1, abs=0.03)
    assert measured(noise, 0) == pytest.approx(wanted[0], abs=0.02)
    assert measured(noise, 1) == pytest.approx(wanted[1], abs=0.02)


def test_white_signs_are_one_or_minus_one_and_follow_the_seed():
    drawn, again = (
        correlated_signs((2, 1, 8, 8), (0.0, 0.0), rng=torch.Generator().manual_seed(4))
        for _ in range(2)
    )
    assert torch.equal(drawn.abs(), torch.ones(2, 1, 8, 8))
    assert torch.equal(drawn, again)


def test_images_are_blurred_each_by_its_own_weights():
    images = torch.rand(3, 1, 20, 24, generator=torch.Generator().manual_seed(0))
    downs, acrosses = (
        torch.stack([gaussian_taps(width) for width in widths])
        for widths in ((0.4, 0.8, 1.2), (1.0, 0.3, 0.6))
    )
    together = blur(images, downs, acrosses)
    for image, down, across, one in zip(images, downs, acrosses, together, strict=True):
        torch.testing.assert_close(one, blur(image[None], down, across)[0])
