import pytest
import torch

from lowdose.models.unit import estimate_in_range, fit_range, target


def electrons(count=3):
    level = torch.tensor([5.0, 50.0, 500.0])[:count].view(-1, 1, 1, 1)
    return torch.poisson(level * (0.2 + torch.rand(count, 1, 16, 16)))


def test_each_image_is_scaled_by_its_own_extremes_and_back():
    noisy = electrons()
    limits = fit_range(noisy)
    scaled = limits.apply(noisy)
    assert scaled.amin(dim=(1, 2, 3)).tolist() == [0, 0, 0]
    assert scaled.amax(dim=(1, 2, 3)).tolist() == [1, 1, 1]
    torch.testing.assert_close(limits.undo(scaled), noisy)


def test_a_constant_image_becomes_black_and_comes_back():
    flat = torch.full((1, 1, 4, 4), 7.0)
    limits = fit_range(flat)
    assert not limits.apply(flat).any()
    assert torch.equal(limits.undo(limits.apply(flat)), flat)
    # Whatever a network makes of it.
    assert torch.equal(estimate_in_range(lambda x: x + 0.3, flat, limits), flat)


def test_what_the_network_should_make_has_the_shape_of_the_truth_and_the_mean_of_the_noisy():
    clean, noisy = electrons(2) + 1, torch.rand(2, 1, 16, 16)
    wanted = target(noisy, clean)
    torch.testing.assert_close(wanted.mean(dim=(2, 3)), noisy.mean(dim=(2, 3)))
    ratio = wanted / clean
    torch.testing.assert_close(ratio, ratio[..., :1, :1].expand_as(ratio))


def test_a_truth_of_nothing_asks_for_nothing():
    assert not target(torch.rand(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)).any()


@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (3.0, -20.0)])
def test_an_identity_returns_the_electrons_whatever_their_scale(gain, offset):
    noisy = gain * electrons() + offset
    estimate = estimate_in_range(torch.nn.Identity(), noisy, fit_range(noisy))
    torch.testing.assert_close(estimate, noisy)


def test_what_a_network_puts_outside_is_clipped_to_the_range_of_the_noisy_image():
    noisy = electrons()
    estimate = estimate_in_range(lambda x: 6 * x - 3, noisy, fit_range(noisy))
    assert torch.equal(estimate.amax(dim=(1, 2, 3)), noisy.amax(dim=(1, 2, 3)))
    assert torch.equal(estimate.amin(dim=(1, 2, 3)), noisy.amin(dim=(1, 2, 3)))
