import math

import numpy as np
import pytest
import torch

from lowdose.physics.transform import stabilise, unstabilise

DOSES = [0.1, 0.5, 1.0, 2.0, 4.0, 10.0, 30.0, 100.0]
READOUTS = [0.0, 0.3, 0.5, 1.0, 2.0, 3.0, 10.0]


def moments(electrons, readout_std):
    """Mean and deviation of stabilised noise, summed over counts and Gauss-Hermite nodes."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(61)
    counts = np.arange(int(electrons + 12 * electrons**0.5 + 20))
    logarithms = [n * math.log(electrons) - electrons - math.lgamma(n + 1) for n in counts]
    share = np.exp(logarithms)[:, None] * weights / weights.sum()
    z = stabilise(torch.from_numpy(counts[:, None] + readout_std * nodes), readout_std).numpy()
    mean = float((share * z).sum())
    return mean, float((share * (z - mean) ** 2).sum()) ** 0.5


@pytest.mark.parametrize("electrons", [4.0, 6.0, 10.0, 100.0, 1000.0])
@pytest.mark.parametrize("readout_std", READOUTS)
def test_noise_has_unit_deviation_above_four_electrons(electrons, readout_std):
    _, deviation = moments(electrons, readout_std)
    assert deviation == pytest.approx(1, abs=0.04 if readout_std else 0.01)


@pytest.mark.parametrize("electrons", DOSES)
@pytest.mark.parametrize("readout_std", READOUTS)
def test_the_inverse_of_the_mean_is_the_expected_electrons(electrons, readout_std):
    mean, _ = moments(electrons, readout_std)
    estimate = unstabilise(torch.tensor(mean).double(), readout_std).item()
    least = 1 if readout_std == 0 else 3
    allowed = min(0.05, 0.01 * electrons) if electrons >= least else 0.05
    assert estimate == pytest.approx(electrons, abs=allowed)


def test_the_algebraic_inverse_would_be_biased_where_ours_is_not():
    z, _ = moments(3.0, 0.0)
    assert z**2 / 4 - 3 / 8 < 2.8
    assert unstabilise(torch.tensor(z)).item() == pytest.approx(3, abs=0.01)


@pytest.mark.parametrize("readout_std", [0.0, 2.0])
def test_both_directions_rise(readout_std):
    electrons = torch.linspace(-0.3, 200, 20_001).double()
    assert (stabilise(electrons, readout_std).diff() > 0).all()
    z = torch.linspace(0, 30, 20_001).double()
    assert (unstabilise(z, readout_std).diff() > 0).all()


def test_far_below_zero_the_transform_is_zero_and_its_inverse_finite():
    z = stabilise(torch.tensor([-1e6, -3.0]), 1.0)
    assert z.tolist() == [0, 0]
    assert torch.isfinite(unstabilise(z, 1.0)).all()


def test_one_readout_noise_per_image_equals_each_alone():
    noisy, readout = torch.rand(2, 1, 4, 4) * 20, torch.tensor([0.5, 4.0]).view(2, 1, 1, 1)
    together = unstabilise(stabilise(noisy, readout), readout)
    for index, std in enumerate((0.5, 4.0)):
        assert torch.equal(together[index], unstabilise(stabilise(noisy[index], std), std))


def test_gradients_are_finite_where_the_transform_is_clipped():
    electrons = torch.tensor([-10.0, -0.374, 0.0, 5.0], requires_grad=True)
    unstabilise(stabilise(electrons)).sum().backward()
    assert torch.isfinite(electrons.grad).all()
