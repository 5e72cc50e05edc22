import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from lowdose.models.counts import (
    FURTHEST,
    LEAST_SPAN,
    Probe,
    Scaling,
    Shown,
    estimate_electrons,
    estimate_with_error,
    fit_scaling,
    probe,
)
from lowdose.physics.correlation import correlated_signs
from lowdose.physics.transform import stabilise, unstabilise


class Says(nn.Module):
    """Answers every question with the same noise and remembers the question."""

    def __init__(self, noise=0.0):
        super().__init__()
        self.noise = noise

    def forward(self, image, level):
        self.image, self.level = image, level
        return torch.full_like(image, self.noise)


def counts(mean, shape=(2, 1, 64, 64)):
    return torch.poisson(torch.full(shape, mean), generator=torch.Generator().manual_seed(0))


def shown(noisy, readout):
    return Shown(noisy, readout, fit_scaling(noisy, readout))


def test_the_range_of_an_image_becomes_plus_minus_one_half():
    noisy = torch.linspace(0, 10_000, 4096).view(1, 1, 64, 64)
    scaling = fit_scaling(noisy, torch.zeros(1))
    scaled = scaling.apply(stabilise(noisy))
    low, high = torch.quantile(scaled.flatten(), torch.tensor([0.005, 0.995])).tolist()
    assert (low, high) == (pytest.approx(-0.5, abs=1e-4), pytest.approx(0.5, abs=1e-4))


def test_the_level_is_the_deviation_of_the_noise_after_scaling():
    noisy = counts(400.0)
    scaling = fit_scaling(noisy, torch.zeros(2))
    deviations = scaling.apply(stabilise(noisy)).std(dim=(1, 2, 3))
    torch.testing.assert_close(deviations, scaling.level, rtol=0.05, atol=0)


def test_a_flat_image_is_not_blown_up():
    scaling = fit_scaling(torch.full((1, 1, 8, 8), 50.0), torch.zeros(1))
    assert scaling.span.tolist() == [LEAST_SPAN]


def test_each_image_has_its_own_scaling_that_others_do_not_change():
    noisy, readout = torch.cat([counts(5.0), counts(500.0)]), torch.tensor([0.0, 1, 2, 3])
    together = fit_scaling(noisy, readout)
    for index in range(4):
        alone = fit_scaling(noisy[index : index + 1], readout[index : index + 1])
        assert alone.centre.item() == pytest.approx(together.centre[index].item())
        assert alone.span.item() == pytest.approx(together.span[index].item())


def test_one_hot_pixel_changes_no_scaling_and_is_clipped_for_the_network_alone():
    noisy = counts(50.0, (1, 1, 64, 64))
    hot = noisy.clone()
    hot[..., 5, 5] = 1e5
    scaling = fit_scaling(hot, torch.zeros(1))
    assert scaling.span.item() == pytest.approx(
        fit_scaling(noisy, torch.zeros(1)).span.item(), rel=0.1
    )
    network = Says(0.0)
    estimate = estimate_electrons(network, Shown(hot, torch.zeros(1), scaling))
    assert network.image.max() == FURTHEST
    assert estimate[..., 5, 5].item() == pytest.approx(1e5, rel=1e-3)


def test_no_noise_found_leaves_stabilised_pixels_as_they_are():
    noisy, readout = counts(30.0), torch.tensor([0.0, 2.0])
    estimate = estimate_electrons(Says(0.0), shown(noisy, readout))
    column = readout.view(-1, 1, 1, 1)
    assert torch.equal(estimate, unstabilise(stabilise(noisy, column), column))


def test_the_scaling_comes_back_off_whatever_it_is():
    noisy, readout = counts(30.0), torch.zeros(2)
    estimates = [
        estimate_electrons(
            Says(1.5), Shown(noisy, readout, Scaling(torch.full((2,), c), torch.full((2,), s)))
        )
        for c, s in ((0.0, 1.0), (11.0, 40.0))
    ]
    assert torch.equal(*estimates)
    assert torch.equal(estimates[0], unstabilise(stabilise(noisy) - 1.5))


def test_a_network_that_knows_the_noise_gives_the_truth_without_bias():
    electrons = 30.0
    noisy = counts(electrons)
    mean = stabilise(noisy).mean()

    class Oracle(nn.Module):
        def forward(self, image, level):
            return stabilise(noisy) - mean

    estimate = estimate_electrons(Oracle(), shown(noisy, torch.zeros(2)))
    assert estimate.mean().item() == pytest.approx(electrons, rel=0.01)


def test_more_noise_than_there_is_light_stays_finite():
    noisy = torch.zeros(1, 1, 8, 8)
    estimate = estimate_electrons(Says(6.0), shown(noisy, torch.zeros(1)))
    assert torch.isfinite(estimate).all()


class CallsAllNoise(nn.Module):
    """Takes every deviation from the centre for noise, times a factor."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, image, level):
        return self.factor * image / level.view(-1, 1, 1, 1)


def share_of(network, noisy, centre, *, span=100.0, of_counts=True):
    scaling = Scaling(torch.full((len(noisy),), centre), torch.full((len(noisy),), span))
    rng = torch.Generator().manual_seed(1)
    windows = Shown(noisy, torch.zeros(len(noisy)), scaling)
    return probe(network, windows, of_counts=of_counts, rng=rng).share


@pytest.mark.parametrize("factor", [1.0, 1.25, 2.0])
def test_the_share_undoes_what_a_network_exaggerates(factor):
    noisy = counts(1000.0, (4, 1, 128, 128))
    centre = stabilise(noisy).mean().item()
    assert share_of(CallsAllNoise(factor), noisy, centre) == pytest.approx(1 / factor, abs=0.03)


def test_noise_that_is_less_than_was_believed_is_taken_off_once():
    noisy = counts(1000.0, (4, 1, 128, 128))
    less = 1000 + 0.9 * (noisy - 1000)
    share = share_of(CallsAllNoise(1.0), less, stabilise(less).mean().item(), span=10.0)
    assert share == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("electrons", "span", "most"),
    [
        (1000.0, 10.0, 1.0),
        (1000.0, 128.0, 2.0),
        (1000.0, 256.0, 5.0),
        (10.0, 10.0, 1.0),
        (2e4, 1000.0, 1.0),
    ],
)
def test_fading_is_undone_and_no_more(electrons, span, most):
    noisy = counts(electrons, (4, 1, 128, 128))
    share = share_of(CallsAllNoise(0.2), noisy, stabilise(noisy).mean().item(), span=span)
    assert share == pytest.approx(most, rel=0.03)


@pytest.mark.parametrize(("electrons", "most"), [(1000.0, 1.5), (2e4, 1.0)])
def test_fading_is_undone_by_half_at_most_where_the_noise_was_fitted(electrons, most):
    noisy = counts(electrons, (4, 1, 128, 128))
    centre = stabilise(noisy).mean().item()
    share = share_of(CallsAllNoise(0.5), noisy, centre, span=1000.0, of_counts=False)
    assert share == pytest.approx(most, rel=0.03)


def test_texture_taken_for_noise_lowers_the_share_to_the_part_of_noise():
    rng = torch.Generator().manual_seed(0)
    texture = 1000 + 2 * 1000**0.5 * torch.randn(4, 1, 128, 128, generator=rng)
    noisy = torch.poisson(texture, generator=rng)
    centre = stabilise(noisy).mean().item()
    assert share_of(CallsAllNoise(1.0), noisy, centre) == pytest.approx(1 / (1 + 2**2), abs=0.02)


def test_the_share_of_a_network_that_finds_no_noise_is_harmless():
    assert share_of(Says(0.0), counts(1000.0, (1, 1, 64, 64)), 0.0) == 0


def test_where_next_to_nothing_would_be_gained_an_image_is_left_alone():
    noisy = counts(1000.0, (4, 1, 128, 128))
    scaling, readout = fit_scaling(noisy[:1], torch.zeros(1)), torch.zeros(4)

    def finds_a_part(part):
        """Takes white noise of which so much of the variance is the true noise for noise."""
        rng = torch.Generator().manual_seed(1)
        own = torch.randn(noisy.shape, generator=rng)

        def network(image, level):
            seen = (image - image.mean()) / level.view(-1, 1, 1, 1)
            return part * seen + (part * (1 - part)) ** 0.5 * own.repeat(2, 1, 1, 1)

        rng = torch.Generator().manual_seed(2)
        wide = Scaling(scaling.centre.expand(4), scaling.span.expand(4))
        return probe(network, Shown(noisy, readout, wide), rng=rng).share

    assert finds_a_part(0.03) == 0
    assert finds_a_part(0.15) == pytest.approx(1, abs=0.15)


def test_an_image_left_alone_is_as_far_off_as_its_noise():
    noisy, readout = counts(100.0, (1, 1, 16, 16)), torch.full((1,), 5.0)
    for estimate in (
        estimate_electrons(Says(3.0), shown(noisy, readout), share=0.0),
        estimate_with_error(Says(3.0), shown(noisy, readout), share=0.0)[0],
    ):
        assert torch.equal(estimate, noisy)
    _, deviation = estimate_with_error(Says(3.0), shown(noisy, readout), share=0.0)
    torch.testing.assert_close(deviation, (noisy + 25.375).sqrt())


def test_a_pixel_without_electrons_that_is_left_alone_is_not_certain():
    nothing = torch.zeros(1, 1, 8, 8)
    seen = shown(nothing, torch.zeros(1))
    _, deviation = estimate_with_error(Says(3.0), seen, share=0.0)
    assert deviation.min() > 0.5


def test_what_is_left_of_the_noise_belongs_to_the_deviation():
    class States(nn.Module):
        """All is noise, and known to a tenth of it."""

        def with_deviation(self, image, level):
            noise = image / level.view(-1, 1, 1, 1)
            return noise, torch.full_like(noise, 0.1)

    noisy = counts(1000.0, (1, 1, 256, 256))
    centre = stabilise(noisy).mean().item()
    scaling = Scaling(torch.tensor([centre]), torch.tensor([10.0]))
    seen = Shown(noisy, torch.zeros(1), scaling)
    stated = [
        estimate_with_error(States(), seen, share=share)[1].square().mean().sqrt() / 1000**0.5
        for share in (0.0, 0.001, 0.5, 1.0)
    ]
    assert stated == pytest.approx([1.0, 0.97, 0.51, 0.1], rel=0.02)


def test_only_the_share_is_taken_off():
    seen = shown(counts(100.0, (1, 1, 16, 16)), torch.zeros(1))
    half = estimate_electrons(Says(1.0), seen, share=0.5)
    torch.testing.assert_close(half, estimate_electrons(Says(0.5), seen))


def test_the_share_of_correlated_signs_is_found_by_changes_that_correlate_alike():
    rng = torch.Generator().manual_seed(0)
    noise = correlated_signs((16, 1, 96, 96), (0.6, 0.6), rng=rng)
    noisy = 1e4 + 100 * noise  # so many that the transform is straight
    scaling = fit_scaling(noisy.reshape(1, -1), torch.zeros(1))

    def network(image, level, *told):
        """Takes twice the mean over 3 x 3 pixels for noise."""
        return 2 * F.avg_pool2d(image / level.view(-1, 1, 1, 1), 3, stride=1, padding=1)

    def share(told):
        same = torch.Generator().manual_seed(1)
        readout = torch.zeros(16)
        return probe(network, Shown(noisy, readout, scaling, told), rng=same).share

    said = 2 * F.avg_pool2d(noise, 3, stride=1, padding=1)
    best = ((said * noise).mean() / said.square().mean()).item()
    assert share(torch.tensor([[0.6, 0.6]])) == pytest.approx(best, rel=0.05)
    assert share(None) < 0.5 * best


@pytest.mark.parametrize("size", [1, 2, 150, 201, 4096])
def test_the_scaling_takes_the_quantiles_of_torch(size):
    noisy = torch.rand((3, size), generator=torch.Generator().manual_seed(size)) * 1000
    flat = stabilise(noisy)
    low, high = torch.quantile(flat, torch.tensor([0.005, 0.995]), dim=1)
    scaling = fit_scaling(noisy, torch.zeros(3))
    torch.testing.assert_close(scaling.centre, (low + high) / 2)
    torch.testing.assert_close(scaling.span, (high - low).clamp_min(LEAST_SPAN))


def looks(*factors, kept=0.0):
    """Probes of images without a specimen in which so many times the noise is found."""
    rng = torch.Generator().manual_seed(0)
    noise = torch.randn(4, 1, 64, 64, generator=rng)
    change = 0.2 * (torch.randint(2, noise.shape, generator=rng) * 2.0 - 1)
    return [Probe.of_change(f * noise, f * (noise + change), change, kept=kept) for f in factors]


@pytest.mark.parametrize(
    ("once", "twice", "part"), [(0.5, 1.5, 0.5), (0.2, 1.2, 0.8), (0.5, 0.9, 1.0), (1.0, 0.5, 0.0)]
)
def test_a_second_look_has_the_part_that_leaves_the_least_error(once, twice, part):
    first, second = looks(once, twice)
    assert second.part_beside(first) == pytest.approx(part, abs=0.02)


def test_a_second_look_that_sees_the_same_has_no_part():
    first, second = looks(0.5, 0.5)
    assert second.part_beside(first) == 0


def test_noise_that_only_the_first_look_sees_speaks_for_the_second():
    (first,), (second,) = looks(0.5, kept=0.1), looks(1.5)
    assert second.part_beside(first) == pytest.approx(0.6, abs=0.02)


def test_what_a_look_finds_may_be_taken_in_part():
    first, second = looks(0.5, 3.0)
    assert second.times(1 / 3).part_beside(first) == pytest.approx(1.0, abs=0.05)
    assert second.times(0.5).part_beside(first) == pytest.approx(0.5, abs=0.05)
