import numpy as np
import pytest
import torch
from scipy import stats

from lowdose.physics.poisson import poisson


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("mean", [0.3, 4.0, 10.0, 11.5, 40.0, 250.0, 3e4])
def test_numbers_are_as_frequent_as_poisson_says(mean):
    drawn = poisson(torch.full((1_000_000,), mean), rng=seeded()).double().numpy()
    low, high = stats.poisson.ppf([1e-4, 1 - 1e-4], mean)
    edges = np.arange(low, high + 1, max(1, (high - low) // 50)) + 0.5
    found = np.histogram(drawn, [-np.inf, *edges, np.inf])[0]
    expected = len(drawn) * np.diff([0, *stats.poisson.cdf(edges, mean), 1])
    ends = expected > 5
    assert stats.chisquare(
        found[ends], expected[ends] * found[ends].sum() / expected[ends].sum()
    ).pvalue > 1e-3  # fmt: skip


@pytest.mark.parametrize("mean", [10.0, 60.0, 1e5])
def test_mean_and_variance_are_the_mean(mean):
    drawn = poisson(torch.full((2_000_000,), mean), rng=seeded(1)).double()
    assert drawn.mean().item() == pytest.approx(mean, abs=5 * (mean / 2e6) ** 0.5)
    assert drawn.var().item() == pytest.approx(mean, rel=0.006)


def test_each_pixel_has_its_own_mean_whatever_stands_beside_it():
    means = torch.tensor([0.0, 0.5, 9.9, 10.1, 700.0]).repeat(200_000, 1)
    drawn = poisson(means, rng=seeded())
    assert torch.equal(drawn, drawn.round())
    assert not drawn[:, 0].any()
    for found, mean in zip(drawn.double().mean(dim=0), means[0], strict=True):
        assert found.item() == pytest.approx(mean.item(), abs=5 * (mean.item() / 2e5) ** 0.5)


def test_neighbours_are_independent():
    drawn = poisson(torch.full((512, 512), 30.0), rng=seeded()).double() - 30
    for one, other in ((drawn[1:], drawn[:-1]), (drawn[:, 1:], drawn[:, :-1])):
        assert (one * other).mean().item() / 30 == pytest.approx(0, abs=0.01)


def test_the_same_state_draws_the_same_and_the_means_are_not_written_to():
    means = 100 * torch.rand(70, 90)
    before = means.clone()
    assert torch.equal(poisson(means, rng=seeded(3)), poisson(means, rng=seeded(3)))
    assert torch.equal(means, before)


@pytest.mark.parametrize("shape", [(0,), (), (1, 1), (3, 1, 5)])
def test_any_shape_is_kept(shape):
    assert poisson(torch.full(shape, 50.0), rng=seeded()).shape == shape
